"""The tree of a formula, and what can be asked of any tree.

A tree is nested tuples: ``("num", Fraction)``, ``("sym", name)``, ``("const", "pi"|"e"|"i"|"inf")``,
``("add"|"mul"|"div"|"pow", a, b)``, ``("neg"|"fact"|"fact2"|"abs"|"floor"|"ceil"|"deg", a)``,
``("fn", name, a)``, ``("log", base, a)``, ``("root", index, a)``, ``("binom", n, k)``,
``("call", name, args)`` for an unknown function such as f(x).
"""

from __future__ import annotations

from fractions import Fraction
from functools import lru_cache
from typing import Any

Node = tuple[Any, ...]


def num(value: int | Fraction) -> Node:
    """The tree of a number."""
    return ("num", Fraction(value))


def letter(name: str) -> Node:
    """The tree of a symbol; e and i are constants."""
    return ("const", name) if name in ("e", "i") else ("sym", name)


def percent(node: Node) -> Node:
    """A hundredth of a tree."""
    return ("div", node, num(100))


def children(node: Node) -> tuple[Node, ...]:
    """The trees directly below a node."""
    if node[0] == "call":
        return tuple(node[2])
    return tuple(part for part in node[1:] if isinstance(part, tuple))


@lru_cache(maxsize=65536)
def symbols(node: Node) -> frozenset[str]:
    """Names of the free symbols in a tree."""
    if node[0] == "sym":
        return frozenset({node[1]})
    return frozenset().union(*(symbols(child) for child in children(node)))


def count(node: Node, kinds: frozenset[str] | None = None) -> int:
    """Number of nodes of a tree, all of them or those of some kinds."""
    here = int(kinds is None or node[0] in kinds)
    return here + sum(count(child, kinds) for child in children(node))


def uses(node: Node, *kinds: str) -> bool:
    """Whether a node of one of these kinds (or a constant/function of that name) occurs in the tree."""
    if node[0] in kinds or (node[0] in ("const", "fn", "sym") and node[1] in kinds):
        return True
    return any(uses(child, *kinds) for child in children(node))
