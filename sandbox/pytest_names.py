"""The part of pytest's interface that tests of generated problems use, for scripts inside the sandbox."""

from __future__ import annotations

import inspect
import math
import re
import types
from collections.abc import Callable
from typing import Any


class Failed(AssertionError):
    """``pytest.fail``, or an exception that was expected and did not come."""


class _Raises:
    """``with pytest.raises(ValueError, match=…) as info``."""

    def __init__(self, expected: Any, match: str | None) -> None:
        self.expected, self.match = expected, match
        self.value: BaseException | None = None

    def __enter__(self) -> _Raises:
        return self

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> bool:
        if error is None:
            raise Failed("an exception was expected")
        if not isinstance(error, self.expected):
            return False
        if self.match is not None and not re.search(self.match, str(error)):
            raise Failed("another message was expected")
        self.value = error
        return True


def raises(expected: Any, *call: Any, match: str | None = None, **kwargs: Any) -> _Raises:
    """``pytest.raises``, as a context or with a function to call."""
    context = _Raises(expected, match)
    if call:
        with context:
            call[0](*call[1:], **kwargs)
    return context


class Approx:
    """``pytest.approx``: relative 1e-6 or absolute 1e-12, within lists, tuples and dicts too."""

    def __init__(
        self, expected: Any, rel: float | None = None, abs: float | None = None, nan_ok: bool = False
    ) -> None:  # fmt: skip
        self.expected, self.nan_ok = expected, nan_ok
        self.rel = rel if rel is not None else (0.0 if abs is not None else 1e-6)
        self.abs = 1e-12 if abs is None else abs

    def __eq__(self, other: object) -> bool:
        return self._same(other, self.expected)

    __hash__ = None  # type: ignore[assignment]

    def _same(self, got: Any, want: Any) -> bool:
        if isinstance(want, dict):
            return isinstance(got, dict) and got.keys() == want.keys() and all(
                self._same(got[key], want[key]) for key in want
            )  # fmt: skip
        if isinstance(want, list | tuple):
            return isinstance(got, list | tuple) and len(got) == len(want) and all(map(self._same, got, want))
        if not isinstance(want, int | float) or not isinstance(got, int | float):
            return bool(got == want)
        if math.isnan(want):
            return self.nan_ok and math.isnan(got)
        return math.isclose(got, want, rel_tol=self.rel, abs_tol=self.abs)


def run_test(names: dict[str, Any], *path: str) -> None:
    """Run ``test_f`` or ``TestClass``, ``test_f``: with its fixtures, once for each set of its parameters."""
    function = names[path[0]]
    if len(path) == 2:
        owner = function()
        for setup in ("setup_method", "setUp"):
            method = getattr(owner, setup, None)
            if method is not None:
                method(*([None] if setup == "setup_method" and inspect.signature(method).parameters else []))
        function = getattr(owner, path[1])
    for given in getattr(function, "_parameter_sets", [{}]):
        missing = [name for name in inspect.signature(function).parameters if name not in given]
        function(**given, **{name: names[name]() for name in missing})


def _parametrize(names: Any, values: Any, **_: Any) -> Callable[[Any], Any]:
    split = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)

    def mark(function: Any) -> Any:
        sets = [dict(zip(split, [row] if len(split) == 1 else row, strict=True)) for row in values]
        held = getattr(function, "_parameter_sets", [{}])
        function._parameter_sets = [{**one, **other} for other in held for one in sets]
        return function

    return mark


def _fixture(*args: Any, **_: Any) -> Any:
    return args[0] if args and callable(args[0]) else lambda function: function


def _fail(reason: str = "") -> None:
    raise Failed(reason)


class _Marks:
    parametrize = staticmethod(_parametrize)

    def __getattr__(self, name: str) -> Any:
        return lambda *args, **_: args[0] if args and callable(args[0]) else lambda function: function


def module() -> types.ModuleType:
    """A module to stand in ``sys.modules`` as ``pytest``."""
    made = types.ModuleType("pytest")
    made.__dict__.update(
        raises=raises, approx=Approx, mark=_Marks(), fixture=_fixture, fail=_fail, param=lambda *row, **_: row
    )
    return made
