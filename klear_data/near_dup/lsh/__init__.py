"""MinHash with many short bands: which earlier representatives a text is worth comparing with."""

from __future__ import annotations

import math

ROWS_A_BAND = 3
RECALL_AT_THRESHOLD = 0.99


def bands_for(threshold: float) -> int:
    """Bands of three minima that miss at most one in a hundred pairs right at a threshold.

    A pair of Jaccard J agrees on a band with probability J³, and on one of b bands with 1 − (1 − J³)ᵇ.

    >>> bands_for(0.7), bands_for(0.9)
    (11, 4)
    """
    agree = min(threshold, 0.98) ** ROWS_A_BAND
    return math.ceil(math.log(1 - RECALL_AT_THRESHOLD) / math.log(1 - agree))
