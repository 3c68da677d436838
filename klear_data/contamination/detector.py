"""Prompts in, verdicts out: every class of evidence asked in turn, and the policy on what it finds."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from klear_data.contamination.types import ACTIONS, CLEAN, Finding, Item, Policy, Problem, Verdict
from klear_data.decontaminate import Benchmarks

CLASSES: tuple[str, ...] = ("verbatim", "edited", "variant", "code", "paraphrase")
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
    tokeniser: str = "words"
    boilerplate_above: int = 3
    frequent_above: int = 20
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
        self._verbatim: Any = Benchmarks(
            list[Any](items), n=self.options.n, boilerplate_above=self.options.boilerplate_above
        )
        self._counts: Counter[int] = Counter()

    def lookup_many(self, problems: Sequence[Problem]) -> list[Verdict]:
        """The verdict on each prompt; it depends on nothing but that prompt."""
        return [self._lookup(problem) for problem in problems]

    def count(self, verdicts: Iterable[Verdict]) -> None:
        """Count the n-grams of distinct prompts, so that those frequent among them convict nobody alone."""
        for verdict in verdicts:
            self._counts.update({gram for finding in verdict.findings for gram in finding.ngrams})

    def settle(self, verdict: Verdict) -> Verdict:
        """The verdict after what :meth:`count` has seen: the same where nothing was counted."""
        findings = tuple(finding for finding in verdict.findings if self._stands(finding))
        return verdict if len(findings) == len(verdict.findings) else verdict._replace(findings=findings)

    def stamp(self, verdict: Verdict) -> dict[str, Any]:
        """``curation.decontamination`` of a record that stays."""
        review = [finding.evidence for finding in verdict.findings if finding.action == "review"]
        stamp: dict[str, Any] = self._verbatim.stamp(verdict)
        return {**stamp, "hits": len(verdict.findings), **({"review": review} if review else {})}

    def notes(self) -> dict[str, Any]:
        """What was compared against, for the stage's report."""
        notes: dict[str, Any] = self._verbatim.notes()
        return notes

    def _stands(self, finding: Finding) -> bool:
        limit = self.options.frequent_above
        return not finding.ngrams or any(self._counts[gram] <= limit for gram in finding.ngrams)

    def _lookup(self, problem: Problem) -> Verdict:
        policy = self.options.policy_of("verbatim")
        if policy == "off":
            return CLEAN
        old = self._verbatim.lookup(problem.normalised)
        if old.evidence is None:
            return Verdict((), old.boilerplate) if old.boilerplate else CLEAN
        finding = Finding(policy, {"class": "verbatim", **old.evidence})
        return Verdict(tuple(sorted([finding], key=lambda found: ACTIONS.index(found.action))), old.boilerplate)
