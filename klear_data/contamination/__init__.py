"""Decontamination: which prompts are in a benchmark, by which rule, and what to do with them (§3.1 and beyond).

How a pipeline uses it::

    items = [item for path in paths for item in read_benchmark(path)]
    detector = Detector(items, DetectorOptions(n=9))
    verdicts = detector.lookup_many(problems)            # pure: any batches, any process
    detector.count(verdicts)                             # once a distinct prompt; leave out in a single pass
    verdict = detector.settle(verdict)                   # when every prompt is counted
    if verdict.action == "drop": …                       # verdict.evidence says why
    record["curation"]["decontamination"] = detector.stamp(verdict)

``count`` and ``settle`` are what keeps a sentence that half the training data begins with from convicting half
the training data. Counting belongs to all of the data, so it is done once a prompt, after exact dedup, and no
verdict is settled before the last prompt has been counted; then the result is the same for any batch, job or
shard. A pipeline that sees only a part (a shard, a single pass over a pipe) counts a sample given beforehand
instead, the same for every part, or nothing. A :class:`Verdict` is plain data and may wait in a file.

A class of evidence is a :class:`Scorer`: built from the items, then asked with batches of problems.
"""

from klear_data.contamination.benchmarks import read_benchmark, refuse_wordless
from klear_data.contamination.detector import CLASSES, Detector, DetectorOptions
from klear_data.contamination.types import CLEAN, Action, Evidence, Finding, Item, Policy, Problem, Scorer, Verdict

__all__ = [
    "CLASSES",
    "CLEAN",
    "Action",
    "Detector",
    "DetectorOptions",
    "Evidence",
    "Finding",
    "Item",
    "Policy",
    "Problem",
    "Scorer",
    "Verdict",
    "read_benchmark",
    "refuse_wordless",
]
