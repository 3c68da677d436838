"""Batches prepared in order, by this process or by workers; see :mod:`klear_data.workers`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from klear_data.contamination import Detector
from klear_data.curation.options import CurateOptions
from klear_data.curation.prepare import MakeDetector, Preparer
from klear_data.curation.prepared import Prepared
from klear_data.jsonl import Batch
from klear_data.workers import ALONE_S, in_order


def prepare_all(
    batches: Iterable[Batch],
    options: CurateOptions,
    *,
    detector: Detector | None,
    make_detector: MakeDetector | None,
    jobs: int,
    alone_s: float = ALONE_S,
) -> Iterator[Prepared]:
    """What each batch comes to, in order.

    Args:
        batches: of the input; read a few ahead where there are workers.
        options: what to do.
        detector: for this process.
        make_detector: builds it in a worker.
        jobs: processes at work; 1 starts no worker.
        alone_s: CPU seconds of this process before the workers start.

    Raises:
        CapabilityError: a worker was ended from outside.
    """
    work = Preparer(options, detector)
    setup = (options, make_detector)
    yield from in_order(
        batches, work, make=_preparer, setup=setup, jobs=jobs, what="klear curate: --jobs", alone_s=alone_s
    )


def _preparer(setup: tuple[CurateOptions, MakeDetector | None]) -> Preparer:
    options, make_detector = setup
    return Preparer(options, None if make_detector is None else make_detector())
