"""What kind of thing an answer is: a formula, words, a list, tuple, set or interval, a relation, a matrix."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from klear_data.reward.mathcheck.numerals import Clock, Numeral
from klear_data.reward.mathcheck.tree import Node
from klear_data.reward.mathcheck.units import Unit


@dataclass(frozen=True)
class Formula:
    """One value: its text, its tree where the small grammar can read it, and what is attached to it."""

    text: str
    node: Node | None
    unit: Unit | None = None
    percent: bool = False
    degree: bool = False


@dataclass(frozen=True)
class Words:
    """A textual answer in canonical spelling."""

    text: str


@dataclass(frozen=True)
class Group:
    """Items in brackets (``(``, ``[``, ``{``, ``<``) or, with empty brackets, a bare list."""

    opening: str
    items: tuple[Shape, ...]
    closing: str
    joined_by: Literal[",", "or", "and"] = ","

    @property
    def ordered(self) -> bool:
        return self.opening in ("(", "[", "<")


@dataclass(frozen=True)
class Combined:
    """Sets joined by ``cup``, ``cap`` or ``setminus``, read from the left."""

    parts: tuple[Shape, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Relation:
    """``a < b = c``: the sides' texts and the operators between them."""

    sides: tuple[str, ...]
    operators: tuple[str, ...]


@dataclass(frozen=True)
class Matrix:
    """Rows of entries."""

    rows: tuple[tuple[Shape, ...], ...]


@dataclass(frozen=True)
class Ratio:
    """``a : b : c``."""

    parts: tuple[Shape, ...]
    text: str


@dataclass(frozen=True)
class NamedSet:
    """The reals or the empty set."""

    name: Literal["reals", "empty"]


Shape: TypeAlias = Formula | Words | Group | Combined | Relation | Matrix | Ratio | NamedSet | Numeral | Clock
