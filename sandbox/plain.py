"""Plain data: the only thing that crosses the wall between a solution and its judge.

Values are walked by their built-in base types (a ``list`` subclass becomes a list, with what the list
really holds) and written as JSON with one-key objects for what JSON lacks. Whatever is not plain becomes
`Opaque`, which equals nothing. Reading builds built-in objects and `Linked`/`Tree`/`Opaque`: nothing in
the bytes can choose a class, run code, or (by the caps) cost more than they weigh.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

from sandbox.bounds import MAX_NODES, Budget, CostError, check_nodes

# Held here, so that a solution that replaces the json module's functions disturbs nobody.
_to_text, _from_text = json.dumps, json.loads

MAX_DEPTH = 200
MAX_INT_BITS = 400_000  # about 120,000 digits
_MOST_YIELDED = 100_000

_SCALARS = frozenset((bool, float, str, type(None)))
_SMALL = 1 << 63


class PlainError(ValueError):
    """A value too deep or too large, or bytes that no encoder of ours wrote."""


@dataclass(frozen=True)
class Linked:
    """A LeetCode linked list: its values from the head."""

    values: tuple[Any, ...]


@dataclass(frozen=True)
class Tree:
    """A LeetCode binary tree: its values level by level, ``None`` for a missing child, none at the end."""

    values: tuple[Any, ...]


@dataclass(frozen=True, eq=False)
class Iterated:
    """What a generator (``range``, ``map``, …) yielded: to be iterated over, equal to nothing else."""

    values: tuple[Any, ...]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.values)


@dataclass(frozen=True, eq=False)
class Opaque:
    """Something that is no plain data; equal to itself only."""

    type_name: str
    handle: int | None = None


Wrap = Callable[[object], "Opaque | None"]


def dump(value: object, *, wrap: Wrap | None = None) -> bytes:
    """Encode a value.

    Args:
        value: anything.
        wrap: what to call for something that is not plain, to give it a handle.

    Raises:
        PlainError: deeper than ``MAX_DEPTH``, an integer above ``MAX_INT_BITS``, too many nodes.
    """
    try:
        encoded = _to_text(_wire(value, 0, wrap), ensure_ascii=True, separators=(",", ":")).encode()
        check_nodes(encoded)
    except (RecursionError, CostError) as error:
        raise PlainError(str(error) if isinstance(error, CostError) else "nested too deeply") from error
    return encoded


def _wire(value: Any, depth: int, wrap: Wrap | None) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is int:
        return value if -_SMALL < value < _SMALL else _big(value)
    if depth > MAX_DEPTH:
        raise PlainError(f"nested deeper than {MAX_DEPTH}")
    if kind is list:
        return _items(value, depth, wrap)
    if kind is tuple:
        return {"t": _items(value, depth, wrap)}
    if kind is dict:
        return {"d": [_items(pair, depth, wrap) for pair in value.items()]}
    return _by_base(value, depth, wrap)


def _items(values: Any, depth: int, wrap: Wrap | None) -> list[Any]:
    return [_wire(value, depth + 1, wrap) for value in values]


def _big(value: int) -> dict[str, str]:
    if value.bit_length() > MAX_INT_BITS:
        raise PlainError("an integer too large to be compared")
    return {"i": hex(value)}


def _by_base(value: Any, depth: int, wrap: Wrap | None) -> Any:
    """Values of rarer types, by what they are built on (never by their own methods where there are some)."""
    bases = type(value).__mro__
    if int in bases:
        return _wire(int.__add__(value, 0), depth, wrap)
    if float in bases:
        return float.__float__(value)
    if str in bases:
        return str.__getitem__(value, slice(None)) if type(value) is str else "".join(str.__iter__(value))
    if list in bases:
        return _items(list(list.__iter__(value)), depth, wrap)
    if tuple in bases:
        return {"t": _items(list(tuple.__iter__(value)), depth, wrap)}
    if dict in bases:
        return {"d": [_items(pair, depth, wrap) for pair in list(dict.items(value))]}
    if set in bases:
        return {"s": _items(list(set.__iter__(value)), depth, wrap)}
    if frozenset in bases:
        return {"f": _items(list(frozenset.__iter__(value)), depth, wrap)}
    if bytes in bases or bytearray in bases:
        return {"b": bytes(memoryview(value)).decode("latin-1")}
    if complex in bases:
        return {"c": [value.real, value.imag]}
    return _by_name(value, depth, wrap)


def _by_name(value: Any, depth: int, wrap: Wrap | None) -> Any:
    kind = type(value)
    if kind is Linked:
        return {"L": _items(value.values, depth, wrap)}
    if kind is Tree:
        return {"T": _items(value.values, depth, wrap)}
    if kind is Opaque:
        return {"x": [value.type_name, value.handle]}
    if kind.__module__ == "collections" and kind.__name__ == "deque":
        return _items(list(value), depth, wrap)
    if kind.__name__ == "ListNode" and hasattr(value, "next"):
        return {"L": _items(_linked_values(value), depth, wrap)}
    if kind.__name__ == "TreeNode" and hasattr(value, "left"):
        return {"T": _items(_tree_values(value), depth, wrap)}
    if kind.__module__ in ("fractions", "decimal") and kind.__name__ in ("Fraction", "Decimal"):
        return {"q": [kind.__name__, str(value)]}
    if kind.__module__ == "numpy" and hasattr(value, "tolist"):
        return _wire(value.tolist(), depth + 1, wrap)
    if wrap is None and kind.__module__ in ("builtins", "itertools") and hasattr(kind, "__iter__"):
        yielded = list(islice(value, _MOST_YIELDED + 1))
        if len(yielded) <= _MOST_YIELDED:
            return {"y": _items(yielded, depth, wrap)}
    opaque = wrap(value) if wrap is not None else None
    return {"x": [kind.__name__[:80], opaque.handle if opaque else None]}


def _linked_values(node: Any) -> list[Any]:
    values: list[Any] = []
    while node is not None:
        values.append(node.val)
        node = node.next
        if len(values) > MAX_NODES:
            raise PlainError("a linked list without an end")
    return values


def _tree_values(root: Any) -> list[Any]:
    values: list[Any] = []
    level = [root]
    while level:
        following = []
        for node in level:
            values.append(None if node is None else node.val)
            if node is not None:
                following += [node.left, node.right]
        if len(values) + len(following) > MAX_NODES:
            raise PlainError("a tree without an end")
        level = following
    while values and values[-1] is None:
        values.pop()
    return values


def load(data: bytes) -> Any:
    """Decode what `dump` wrote.

    Raises:
        PlainError: anything else.
    """
    try:
        check_nodes(data)
        return _value(_from_text(data), 0, Budget())
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise PlainError(f"not plain data: {str(error)[:200]}") from error


def _value(wire: Any, depth: int, budget: Budget) -> Any:
    kind = type(wire)
    if kind in _SCALARS or kind is int:
        return wire
    if depth > 2 * MAX_DEPTH + 20:
        raise PlainError("nested too deeply")
    if kind is list:
        return [_value(item, depth + 1, budget) for item in wire]
    ((tag, body),) = wire.items()
    if tag == "i":
        number = int(body, 16)
        if number.bit_length() > MAX_INT_BITS:
            raise PlainError("an integer too large to be compared")
        return number
    if tag == "b":
        return str(body).encode("latin-1")
    if tag == "x":
        name, handle = body
        return Opaque(str(name)[:80], handle if type(handle) is int else None)
    if tag == "c":
        return complex(float(body[0]), float(body[1]))
    if tag == "q":
        return budget.exact_number(str(body[0]), str(body[1]))
    items = [_value(item, depth + 1, budget) for item in body]
    if tag == "d":
        budget.hash_all(key for key, _ in items)
        return dict(items)
    if tag in ("s", "f"):
        budget.hash_all(items)
        return set(items) if tag == "s" else frozenset(items)
    if tag == "t":
        return tuple(items)
    if tag == "y":
        return Iterated(tuple(items))
    if tag == "L":
        return Linked(tuple(items))
    if tag == "T":
        return Tree(tuple(items))
    raise PlainError(f"an unknown kind of value: {str(tag)[:20]}")
