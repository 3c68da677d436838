"""One raw row, and which of its columns have found their place in the record."""

from __future__ import annotations

import ast
import json
from typing import Any

from klear_data.jsonl import MAX_LEVELS, nested_deeper


class Row:
    """The columns of a raw row; what is taken is remembered, so that the rest can be kept."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._columns = columns
        self._filled = {name: value for name, value in columns.items() if has_content(value)}
        self._taken: set[str] = set()

    def __contains__(self, name: str) -> bool:
        return name in self._columns

    def peek(self, *names: str) -> Any:
        """The value of the first of these columns that holds something, ``None`` if none does."""
        for name in names:
            if name in self._filled:
                return self._filled[name]
        return None

    def take(self, *names: str) -> Any:
        """Like :meth:`peek`, and the column now has its place."""
        for name in names:
            if name in self._filled:
                self._taken.add(name)
                return self._filled[name]
        return None

    def rest(self) -> dict[str, Any]:
        """The columns that nothing took."""
        return {name: value for name, value in self._columns.items() if name not in self._taken}

    def names(self) -> list[str]:
        return list(self._columns)


def has_content(value: object) -> bool:
    """False for what data sets write where they have nothing: null, blank text, empty lists and objects."""
    if isinstance(value, str):
        return bool(value.strip())
    return value is not None and value != [] and value != {}


def unquoted(value: Any) -> Any:
    """The list or object inside a string column (JSON, or as Python prints it); other values as they are.

    >>> unquoted('["a"]'), unquoted("{'a': True}"), unquoted("[0, 1) is an interval")
    (['a'], {'a': True}, '[0, 1) is an interval')
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("[", "{")):
        return value
    for parse in (json.loads, ast.literal_eval):
        try:
            inner = parse(value.strip())
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            continue
        return inner if isinstance(inner, list | dict) and not nested_deeper(inner, than=MAX_LEVELS) else value
    return value


def unquoted_list(value: Any, *, of: type) -> Any:
    """Like :func:`unquoted`, for lists of one kind only: the answer "[1, 2]" is no list of responses.

    >>> unquoted_list('["a", "b"]', of=str), unquoted_list("[1, 2]", of=str)
    (['a', 'b'], '[1, 2]')
    """
    inner = unquoted(value)
    whole = isinstance(inner, list) and inner and all(isinstance(entry, of) for entry in inner)
    return inner if whole else value


def as_text(value: object) -> str:
    """A cell as text: strings untouched, numbers as Python prints them, lists and objects as JSON."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | list | dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # 5.0 is how a table with holes stores 5
    return "" if value is None else str(value)
