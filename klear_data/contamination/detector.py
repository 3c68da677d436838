"""Prompts in, verdicts out: every class of evidence asked in turn, and the policy on what it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from klear_data.contamination.scorers import SCORED, make_scorers
from klear_data.contamination.seen import seen
from klear_data.contamination.tokens import TokeniserName, tokeniser
from klear_data.contamination.types import ACTIONS, CLEAN, Evidence, Finding, Item, Policy, Problem, Verdict
from klear_data.contamination.verbatim import NOTHING, Passage, Sight, Suspicion, Text, Verbatim
from klear_data.text import normalise

CLASSES = ("verbatim", *SCORED)
"""Classes of evidence, the most certain first."""


@dataclass(frozen=True)
class DetectorOptions:
    """What counts as contamination, and what to do about it.

    Attributes:
        n: tokens in a row that make a prompt suspect of ``verbatim`` (the paper: 9).
        tokeniser: what a token is: ``words``, ``whitespace`` or ``latex``.
        boilerplate_above: an n-gram in more than this many distinct items is boilerplate and convicts nobody alone.
        frequent_above: so is one in more than this many distinct prompts, where those are counted.
        policy: of each class that should not simply be dropped: ``review`` keeps the record with its evidence,
            ``keep`` only counts, ``off`` does not look.
        scan_solutions: look for items in the records' responses, and for prompts in the items' solutions.
    """

    n: int = 9
    tokeniser: TokeniserName = "words"
    boilerplate_above: int = 3
    frequent_above: int = 5
    policy: Mapping[str, Policy] = field(default_factory=dict)
    scan_solutions: bool = False

    def policy_of(self, name: str) -> Policy:
        return self.policy.get(name, "drop")


class Detector:
    """Benchmark items made ready to look prompts up.

    Args:
        items: of one or more benchmarks; one equal to an earlier one counts once.
        options: see :class:`DetectorOptions`.
    """

    def __init__(self, items: Iterable[Item], options: DetectorOptions | None = None) -> None:
        self.options = options or DetectorOptions()
        self._read: Counter[str] = Counter()
        distinct: dict[str, Item] = {}
        for item in items:
            self._read[item.benchmark] += 1
            item = replace(item, text=seen(item.text))
            distinct.setdefault(normalise(item.text), item)
        self.items = list(distinct.values())
        self._tokeniser = tokeniser(self.options.tokeniser)
        self._questions = self._index(Passage(item, item.text) for item in self.items)
        self._solutions = self._index(_solutions(self.items)) if self.options.scan_solutions else None
        self._scorers = make_scorers(self.items, filter(self._looks_for, SCORED))
        self._counts: Counter[int] = Counter()

    def lookup_many(self, problems: Sequence[Problem]) -> list[Verdict]:
        """The verdict on each prompt; it depends on nothing but that prompt and what comes with it."""
        problems = [problem._replace(normalised=_seen(problem.normalised)) for problem in problems]
        sights = self._sights(problems)
        found: dict[int, list[Finding]] = {
            number: [self._finding(seen.evidence, seen.ngrams) for seen in sight.suspicions]
            for number, sight in enumerate(sights)
            if sight.suspicions
        }
        for name, scorer in self._scorers.items():
            asked = [number for number in range(len(problems)) if _is_open(found.get(number, ()), name)]
            for number, evidence in zip(asked, scorer.score_many([problems[at] for at in asked]), strict=True):
                if evidence is not None:
                    found[number] = _joined(found.get(number, []), self._finding(evidence))
        verdicts = [Verdict((), sight.boilerplate) if sight.boilerplate else CLEAN for sight in sights]
        for number, findings in found.items():
            findings.sort(key=lambda finding: ACTIONS.index(finding.action))
            verdicts[number] = Verdict(tuple(findings), sights[number].boilerplate)
        return verdicts

    def candidates(self, data: bytes, ends: Any) -> Sequence[int]:
        """Which of many prompts :meth:`lookup_many` must be asked about; all others are clean.

        Args:
            data: the prompts, normalised, in UTF-8, one after the other.
            ends: where each ends (int64).
        """
        others = self._scorers or self._solutions is not None or self._tokeniser.reads_original
        if others or not self._looks_for("verbatim"):
            return range(len(ends))
        return self._questions.candidates(*self._as_seen(data, ends))

    @staticmethod
    def _as_seen(data: bytes, ends: Any) -> tuple[bytes, Any]:
        if data.isascii():
            return data, ends
        from klear_data.contamination import kernels

        return kernels.respelled(data, ends, _seen)

    def count(self, verdicts: Iterable[Verdict]) -> None:
        """Count the n-grams of distinct prompts, so that those frequent among them convict nobody alone."""
        for verdict in verdicts:
            self._counts.update({run for finding in verdict.findings for run in finding.ngrams})

    def settle(self, verdict: Verdict) -> Verdict:
        """The verdict after what :meth:`count` has seen: the same where nothing was counted."""
        findings = tuple(finding for finding in verdict.findings if self._stands(finding))
        return verdict if len(findings) == len(verdict.findings) else verdict._replace(findings=findings)

    def stamp(self, verdict: Verdict) -> dict[str, Any]:
        """``curation.decontamination`` of a record that stays."""
        review = [finding.evidence for finding in verdict.findings if finding.action == "review"]
        stamp = {
            "n": self.options.n,
            "tokeniser": self._tokeniser.name,
            "normaliser": self._tokeniser.normaliser,
            "hits": len(verdict.findings),
            "boilerplate_hits": verdict.boilerplate,
        }
        return {**stamp, "review": review} if review else stamp

    def notes(self) -> dict[str, Any]:
        """What was compared against and how, for the stage's report."""
        limit = self.options.frequent_above
        return {
            "benchmarks": dict(self._read),
            "n": self.options.n,
            "tokeniser": self._tokeniser.name,
            "normaliser": self._tokeniser.normaliser,
            "policy": {name: self.options.policy_of(name) for name in CLASSES},
            **self._questions.notes(),
            "frequent_above": limit,
            "frequent_ngrams": sum(count > limit for count in self._counts.values()),
        }

    def _index(self, passages: Iterable[Passage]) -> Verbatim:
        return Verbatim(passages, self._tokeniser, n=self.options.n, boilerplate_above=self.options.boilerplate_above)

    def _looks_for(self, name: str) -> bool:
        return self.options.policy_of(name) != "off"

    def _finding(self, evidence: Evidence, ngrams: tuple[int, ...] = ()) -> Finding:
        policy = self.options.policy_of(evidence["class"])
        assert policy != "off", evidence
        return Finding(policy, evidence, ngrams)

    def _stands(self, finding: Finding) -> bool:
        limit = self.options.frequent_above
        return not finding.ngrams or any(self._counts[run] <= limit for run in finding.ngrams)

    def _sights(self, problems: Sequence[Problem]) -> list[Sight]:
        """What the n-gram rule sees in each prompt, and if asked to in what comes with it."""
        if not self._looks_for("verbatim"):
            return [NOTHING] * len(problems)
        original = self._tokeniser.reads_original
        texts = [Text(problem.normalised, problem.text if original else "") for problem in problems]
        sights = self._questions.look(texts)
        if self._solutions is not None:
            sights = _first_seen(sights, [_numbered_apart(sight) for sight in self._solutions.look(texts)])
            sights = _first_seen(sights, self._in_responses(problems))
        return sights

    def _in_responses(self, problems: Sequence[Problem]) -> list[Sight]:
        """What the rule sees of benchmark questions in the responses of each record: in the worst of them."""
        places: list[tuple[int, int]] = []
        texts: list[Text] = []
        for number, problem in enumerate(problems):
            for index, rollout in enumerate(problem.record.get("rollouts") or ()):
                places.append((number, index))
                completion = seen(rollout["completion"])
                texts.append(Text(normalise(completion), completion))
        worst = [NOTHING] * len(problems)
        for (number, index), sight in zip(places, self._questions.look(texts), strict=True):
            if sight.suspicions and sight.coverage > worst[number].coverage:
                found_in = {"found_in": f"rollouts[{index}]"}
                marked = (Suspicion({**seen.evidence, **found_in}, seen.ngrams) for seen in sight.suspicions)
                worst[number] = Sight(tuple(marked))
        return worst


def _first_seen(first: list[Sight], second: list[Sight]) -> list[Sight]:
    """For each text the first of two looks that raises a suspicion."""
    return [one if one.suspicions or not other.suspicions else other for one, other in zip(first, second, strict=True)]


def _numbered_apart(sight: Sight) -> Sight:
    """The n-grams of solutions with numbers that those of questions don't have."""
    apart = (Suspicion(seen.evidence, tuple(-1 - run for run in seen.ngrams)) for seen in sight.suspicions)
    return Sight(tuple(apart), sight.boilerplate)


def _is_open(findings: Sequence[Finding], name: str) -> bool:
    """Whether a class has still something to say: no drop is certain, or what is there may be a variant."""
    if name == "variant" and findings and findings[0].evidence["coverage"] < 1:
        return True
    return not any(finding.action == "drop" and not finding.ngrams for finding in findings)


def _joined(findings: list[Finding], new: Finding) -> list[Finding]:
    """The findings with one more; a variant of an item is that and no verbatim copy."""
    if new.evidence["class"] == "variant":
        findings = [finding for finding in findings if finding.evidence["item"] != new.evidence["item"]]
    return [*findings, new]


def _solutions(items: Iterable[Item]) -> Iterator[Passage]:
    """The worked solutions that benchmark files bring."""
    for item in items:
        for rollout in item.record.get("rollouts") or ():
            yield Passage(item, seen(rollout["completion"]), "solution")


def _seen(normalised: str) -> str:
    """A normalised text as a reader sees it, normalised."""
    visible = seen(normalised)
    return visible if visible is normalised else normalise(visible)
