"""How much the detector sees: edited copies of benchmark items, planted among real problems, and what it says.

For each edit of :mod:`klear_data.contamination.edits`, a seeded draw of items is edited and looked up, with the
training problems around them: their n-grams are counted first, as in a run of curation. Three figures come out:

- **recall** per edit, and by the class that found the copy;
- **control**: clean problems that are given a sentence which more than ``boilerplate_above`` items share ("Express
  your answer as a common fraction."), and must stay;
- **flagged** among the training problems themselves: false drops, or contamination that was there already. The
  evidence of each is in the report, to be read.
"""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from klear_data.contamination.detector import Detector
from klear_data.contamination.edits import EDITS, Edit
from klear_data.contamination.types import Evidence, Item, Problem, Verdict
from klear_data.records import Record
from klear_data.text import normalise, prompt_text

BATCH = 1000
SHOWN_MISSES = 5
SHOWN_FLAGS = 50
LEAST_SENTENCE_WORDS = 5
_SENTENCE = re.compile(r"[^.?!]+[.?!]")


@dataclass(frozen=True)
class Planted:
    """What became of the copies with one edit.

    Attributes:
        edit: its name; ``light`` whether nearly every copy should be found.
        planted: copies; items that the edit doesn't apply to are not counted.
        dropped: copies that the policy drops; ``review`` those it keeps with their evidence.
        right_item: of the found ones, how many by the item they were made from, or one with the same text.
        classes: found copies by the class that decided.
        missed: where the items of some missed copies stand.
    """

    edit: str
    light: bool
    planted: int
    dropped: int
    review: int
    right_item: int
    classes: dict[str, int]
    missed: list[str]

    @property
    def recall(self) -> float | None:
        """Part of the copies that are dropped or set aside for review; ``None`` without copies."""
        return (self.dropped + self.review) / self.planted if self.planted else None


@dataclass(frozen=True)
class Audit:
    """The result of :func:`audit`.

    Attributes:
        seed: of the draws.
        items: distinct benchmark items.
        problems: training problems.
        edits: one entry an edit.
        control_planted: clean problems given a shared sentence; ``control_dropped`` those that were dropped.
        flagged: training problems by the class that decides.
        evidence: of some of them: id, where there is one, and what convicts.
    """

    seed: int
    items: int
    problems: int
    edits: list[Planted]
    control_planted: int
    control_dropped: int
    flagged: dict[str, int]
    evidence: list[Evidence] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For the report."""
        edits = [{**asdict(planted), "recall": planted.recall} for planted in self.edits]
        return {**asdict(self), "edits": edits}


def audit(detector: Detector, records: Sequence[Record], *, seed: int = 0, per_edit: int | None = 200) -> Audit:
    """Plant edited copies of the detector's items among training problems, and count what is found.

    Args:
        detector: fresh; what it is told to count here stays with it.
        records: the training problems.
        seed: of the draws: which items, and how they are edited.
        per_edit: items drawn for each edit, ``None`` for all.
    """
    problems = [_problem(prompt_text(record["prompt"]), record) for record in records]
    verdicts = _looked_up(detector, problems)
    detector.count(verdicts)
    settled = [detector.settle(verdict) for verdict in verdicts]
    found = [(problem, verdict) for problem, verdict in zip(problems, settled, strict=True) if verdict.findings]
    clean = [problem for problem, verdict in zip(problems, settled, strict=True) if not verdict.findings]
    shared_above = detector.options.boilerplate_above
    controls = list(_controls(detector.items, clean, shared_above=shared_above, seed=seed))
    control_verdicts = [detector.settle(verdict) for verdict in _looked_up(detector, controls)]
    return Audit(
        seed=seed,
        items=len(detector.items),
        problems=len(problems),
        edits=[_plant(detector, edit, seed=seed, per_edit=per_edit) for edit in EDITS],
        control_planted=len(controls),
        control_dropped=sum(verdict.action == "drop" for verdict in control_verdicts),
        flagged=dict(Counter(_class_of(verdict) for _, verdict in found).most_common()),
        evidence=[{"id": problem.record.get("id"), **_evidence(verdict)} for problem, verdict in found[:SHOWN_FLAGS]],
    )


def _plant(detector: Detector, edit: Edit, *, seed: int, per_edit: int | None) -> Planted:
    """Copies of items with one edit, looked up."""
    # One generator an edit: a further edit changes nothing for the others.
    draw = random.Random(f"{seed}/{edit.name}")
    order = list(detector.items)
    draw.shuffle(order)
    copies: list[tuple[Item, Problem]] = []
    for item in order:
        if len(copies) == per_edit:
            break
        edited = edit.apply(item.text, draw)
        if edited is not None:
            copies.append((item, _problem(edited, _planted_record(edited, item))))
    verdicts = [detector.settle(verdict) for verdict in _looked_up(detector, [problem for _, problem in copies])]
    pairs = [(item, verdict) for (item, _), verdict in zip(copies, verdicts, strict=True)]
    found = [(item, verdict) for item, verdict in pairs if verdict.action != "keep"]
    return Planted(
        edit=edit.name,
        light=edit.light,
        planted=len(copies),
        dropped=sum(verdict.action == "drop" for _, verdict in pairs),
        review=sum(verdict.action == "review" for _, verdict in pairs),
        right_item=sum(_evidence(verdict)["item"] == item.where for item, verdict in found),
        classes=dict(Counter(_class_of(verdict) for _, verdict in found).most_common()),
        missed=[item.where for item, verdict in pairs if verdict.action == "keep"][:SHOWN_MISSES],
    )


def _controls(items: Sequence[Item], clean: Sequence[Problem], *, shared_above: int, seed: int) -> Iterator[Problem]:
    """Clean problems, each with a sentence before or after it that so many items share that it is a template."""
    holders = Counter(sentence for item in items for sentence in set(_sentences(item.text)))
    templates = sorted(sentence for sentence, count in holders.items() if count > shared_above)
    draw = random.Random(f"{seed}/control")
    for template in templates if clean else ():
        for problem in draw.sample(clean, k=min(3, len(clean))):
            text = problem.text
            edited = f"{template} {text}" if draw.random() < 0.5 else f"{text} {template}"
            yield _problem(edited, {**problem.record, "prompt": [{"role": "user", "content": edited}]})


def _sentences(text: str) -> list[str]:
    found = (" ".join(match.group().split()) for match in _SENTENCE.finditer(text))
    return [sentence for sentence in found if len(sentence.split()) >= LEAST_SENTENCE_WORDS]


def _planted_record(text: str, item: Item) -> Record:
    """A record as somebody's training file would hold it: without the benchmark's answer."""
    return {"prompt": [{"role": "user", "content": text}], "ability": item.record.get("ability", "math")}


def _problem(text: str, record: Record) -> Problem:
    return Problem(normalise(text), record)


def _looked_up(detector: Detector, problems: Sequence[Problem]) -> list[Verdict]:
    return [
        verdict
        for start in range(0, len(problems), BATCH)
        for verdict in detector.lookup_many(problems[start : start + BATCH])
    ]


def _evidence(verdict: Verdict) -> Evidence:
    if verdict.evidence is None:
        raise ValueError("a verdict without findings has no evidence")
    return verdict.evidence


def _class_of(verdict: Verdict) -> str:
    return str(_evidence(verdict)["class"])
