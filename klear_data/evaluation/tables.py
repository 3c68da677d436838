"""Figures as Markdown: the table on stderr is the one in ``summary.md``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

NO_VALUE = "–"
COLUMNS = [
    "benchmark", "questions × n", "avg@n [95%, questions]", "[95%, samples]", "pass@k", "maj@n", "truncated",
    "no answer", "tags missing", "XX", "failed", "tokens",
]  # fmt: skip


def summary_table(benchmarks: Mapping[str, Mapping[str, Any]]) -> str:
    """A line a benchmark; accuracies and rates in percent."""
    return table(COLUMNS, [_row(name, found) for name, found in benchmarks.items()])


def by_group_table(benchmarks: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Accuracy by the benchmarks' own levels, nothing where none has some."""
    rows = [
        [name, group, str(found["questions"]), percent(found["avg"])]
        for name, one in benchmarks.items()
        for group, found in one["by_group"].items()
    ]
    return [table(["benchmark", "level", "questions", "avg@n"], rows)] if rows else []


def _row(name: str, found: Mapping[str, Any]) -> list[str]:
    rates = found["rates"]
    tokens = found["mean_tokens"]
    passes = ", ".join(f"{k}: {percent(one['value'])}" for k, one in found["pass_at"].items())
    n = f"{found['n']}–{found['n_most']}" if "n_most" in found else str(found["n"])
    return [
        name,
        f"{found['questions']} × {n}",
        f"{percent(found['avg']['value'])} {interval(found['avg']['over_questions'])}",
        interval(found["avg"]["over_samples"]),
        passes or NO_VALUE,
        NO_VALUE if found["maj"] is None else percent(found["maj"]["value"]),
        *(percent(rates[key]) for key in ("truncated", "no_answer", "tags_missing", "verifier_failed")),
        percent(rates["sampling_failed"]),
        NO_VALUE if tokens is None else f"{tokens:,.0f}",
    ]


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table whose columns line up as plain text too.

    >>> print(table(["a", "b"], [["x", "12.5"]]))
    | a |    b |
    |:--|-----:|
    | x | 12.5 |
    """
    widths = [max(2 if at else 1, *map(len, cells)) for at, cells in enumerate(zip(columns, *rows, strict=True))]
    rule = [f":{'-' * (widths[0] + 1)}", *(f"{'-' * (width + 1)}:" for width in widths[1:])]
    return "\n".join([_line(columns, widths), f"|{'|'.join(rule)}|", *(_line(row, widths) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = [
        cells[0].ljust(widths[0]),
        *(cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)),
    ]
    return f"| {' | '.join(padded)} |"


def percent(value: float, *, signed: bool = False) -> str:
    """A share as percent with one decimal.

    >>> percent(0.8333), percent(-0.02, signed=True)
    ('83.3', '-2.0')
    """
    return f"{100 * value:{'+' if signed else ''}.1f}"


def interval(error: Mapping[str, Any] | None, *, signed: bool = False) -> str:
    """The bounds of an interval, a dash where there is none."""
    if error is None:
        return NO_VALUE
    return f"[{percent(error['low'], signed=signed)}, {percent(error['high'], signed=signed)}]"
