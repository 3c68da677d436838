"""What goes into the detector and what comes out of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, Protocol

from klear_data.contamination.seen import seen
from klear_data.records import Record
from klear_data.text import prompt_text

Action = Literal["drop", "review", "keep"]
Policy = Literal["drop", "review", "keep", "off"]

Evidence = dict[str, Any]
"""Why a class suspects a prompt: at least ``class``, ``rule``, ``benchmark``, ``item``, ``span``, ``coverage``."""

ACTIONS: tuple[Action, ...] = ("drop", "review", "keep")
"""The strongest first."""


@dataclass(frozen=True)
class Item:
    """One benchmark problem.

    Attributes:
        benchmark: the file's name.
        where: its place there, ``FILE:LINE``.
        name: what its file calls it, ``None`` where it doesn't.
        text: what it asks.
        record: the whole row as curation reads it: tests, worked solutions.
    """

    benchmark: str
    where: str
    name: str | None
    text: str
    record: Record = field(default_factory=dict, compare=False, repr=False)

    def named(self) -> Evidence:
        """The part of the evidence that says which item it is."""
        name = {} if self.name is None else {"item_id": self.name}
        return {"benchmark": self.benchmark, "item": self.where, **name}


class Problem(NamedTuple):
    """A prompt to look up: its text after :func:`klear_data.text.normalise`, and its record."""

    normalised: str
    record: Record

    @property
    def text(self) -> str:
        """The prompt as it was written, for who reads it."""
        return seen(prompt_text(self.record["prompt"]))


class Scorer(Protocol):
    """One class of evidence, built once from the items."""

    def score_many(self, problems: Sequence[Problem]) -> list[Evidence | None]:
        """The evidence against each prompt, ``None`` where there is none; no prompt's depends on another's."""


class Finding(NamedTuple):
    """One reason to suspect a prompt.

    Attributes:
        action: what the policy of its class wants.
        evidence: see :data:`Evidence`.
        ngrams: benchmark n-grams that it rests on; it falls once all of them turn out to be frequent in the
            training data. Empty where it stands whatever is frequent.
    """

    action: Action
    evidence: Evidence
    ngrams: tuple[int, ...] = ()


class Verdict(NamedTuple):
    """What the detector makes of one prompt; plain data, to be pickled or written as JSON.

    Attributes:
        findings: the strongest action first.
        boilerplate: how many n-grams it shares with items that are only boilerplate.
    """

    findings: tuple[Finding, ...] = ()
    boilerplate: int = 0

    @property
    def action(self) -> Action:
        return self.findings[0].action if self.findings else "keep"

    @property
    def evidence(self) -> Evidence | None:
        """Of the finding that decided, ``None`` where there is none."""
        return self.findings[0].evidence if self.findings else None


CLEAN = Verdict()
