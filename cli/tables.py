"""A note of a stage that is read as a table."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class Table(dict[str, dict[str, Any]]):
    """One line a key, the same columns in each: JSON in a report, aligned text in the closing table.

    >>> print(Table({"math/toy": {"easy": 1200, "pass_rate": 0.5}, "code/toy": {"easy": 3, "pass_rate": None}}))
                 easy  pass rate
      math/toy  1,200      0.500
      code/toy      3          -
    """

    def __str__(self) -> str:
        columns = list(next(iter(self.values()), {}))
        lines = [["", *(column.replace("_", " ") for column in columns)]]
        lines += [[name, *(_shown(row.get(column)) for column in columns)] for name, row in self.items()]
        widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
        return "\n".join(_line(line, widths) for line in lines)


def _line(cells: list[str], widths: list[int]) -> str:
    name, *values = cells
    right = [value.rjust(width) for value, width in zip(values, widths[1:], strict=True)]
    return "  " + "  ".join([name.ljust(widths[0]), *right])


def _shown(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, Mapping | list | tuple):
        return " to ".join(map(_shown, value))
    return f"{value:.3f}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)
