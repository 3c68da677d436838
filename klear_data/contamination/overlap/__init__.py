"""What two problems have in common when one may be a rewording of the other.

:mod:`numbers` and :mod:`words` bring spellings together ("a dozen" and 12, "children" and "child"),
:mod:`encode` turns prompts into arrays of codes, :mod:`index` holds the items, :mod:`kernels` compares.
"""

from klear_data.contamination.overlap.encode import Batch, Encoder
from klear_data.contamination.overlap.index import Features, Match, OverlapIndex, answer_key

__all__ = ["Batch", "Encoder", "Features", "Match", "OverlapIndex", "answer_key"]
