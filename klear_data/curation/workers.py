"""Batches prepared in order, here or by worker processes.

A worker is a fresh interpreter: nothing of the caller is forked into it. It gets the options once and then one
batch after the other over a socket; when its caller dies, however, the socket closes and it ends.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from klear_data.contamination import Detector
from klear_data.curation.options import CurateOptions
from klear_data.curation.prepare import MakeDetector, Prepared, Preparer
from klear_data.jsonl import Batch


def prepare_all(
    batches: Iterable[Batch],
    options: CurateOptions,
    *,
    detector: Detector | None,
    make_detector: MakeDetector | None,
    jobs: int,
) -> Iterator[Prepared]:
    """What each batch comes to, in order."""
    return map(Preparer(options, detector), batches)
