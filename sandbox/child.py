"""What happens in the process of one test, after the fork. Nothing is imported here any more.

The program's result goes to standard output or, as plain data, to descriptor 3. Neither says whether the
test is passed: that is decided outside, by who knows the expected output. Writing to descriptor 3 directly
is no more than returning another value.
"""

from __future__ import annotations

import _sitebuiltins
import _thread
import atexit
import builtins
import os
import sys
import threading
import types
from collections.abc import Callable
from typing import Any

from sandbox import plain, prelude

RESULT_FD = 3
FILE_NAME = "<solution>"
for _name in ("exit", "quit"):  # what an interpreter started without the site module lacks
    builtins.__dict__.setdefault(_name, _sitebuiltins.Quitter(_name, "the end of the file"))
_OFFERED = {**builtins.__dict__, **prelude.NAMES}


def run_program(code: types.CodeType, module: types.ModuleType) -> int:
    """Run a whole program in its ``__main__`` and return its exit status."""
    status = guarded(exec, code, module.__dict__)
    if _thread._count():  # as at the end of a real run: wait for threads, then atexit, then flush
        status = guarded(threading._shutdown) or status  # type: ignore[attr-defined]
    if atexit._ncallbacks():
        status = guarded(atexit._run_exitfuncs) or status
    return flushed() or status


def flushed() -> int:
    """Flush what the program printed; a failure is an exit status as `guarded` gives it."""
    current, first = sys.stdout, sys.__stdout__
    status = 0 if current is None else guarded(_flush, current)
    return status if first is current or first is None else guarded(_flush, first) or status


def _flush(stream: Any) -> None:
    if not getattr(stream, "closed", False):
        stream.flush()


def run_calls(code: types.CodeType, request: bytes) -> int:
    """Load a solution, make the calls of the request, report what they return."""

    def work() -> None:
        names = load_solution(code)
        returned = []
        for function, args, kwargs in plain.load(request):
            target = resolve(names, function)
            returned.append(target(*prelude.revive(args), **dict(prelude.revive(kwargs))))
        report(b"V" + plain.dump(returned))

    return guarded(work)


def run_with_files(code: types.CodeType, request: bytes) -> int:
    """Run a checker program whose arguments are files: the input, the expected output, the solution's."""
    paths = []
    for name, data in zip(("input", "expected", "output"), plain.load(request), strict=True):
        paths.append(f"/tmp/{name}.txt")
        with open(paths[-1], "wb") as file:
            file.write(data)
    sys.argv[:] = ["checker.py", *paths]
    return run_program(code, new_module("__main__"))


def load_solution(code: types.CodeType) -> dict[str, Any]:
    """Execute a function-style solution in a module of its own, LeetCode's usual names at hand."""
    module = new_module("solution")
    module.__dict__["__builtins__"] = _OFFERED  # beside the built-ins: what is tested must be the solution's own
    exec(code, module.__dict__)
    return module.__dict__


def resolve(names: dict[str, Any], path: str) -> Callable[..., Any]:
    """Find what ``f``, ``Solution().f`` or ``A.b`` stands for; a bare ``f`` may be ``Solution().f``."""
    first, *rest = path.split(".")
    if not rest and first not in names and "Solution" in names:
        first, rest = "Solution()", [first]
    name = first.removesuffix("()")
    if name not in names:
        raise NameError(f"the solution defines no {name!r}")
    target = names[name]() if first.endswith("()") else names[name]
    for attribute in rest:
        target = getattr(target, attribute.removesuffix("()"))
        if attribute.endswith("()"):
            target = target()
    return target  # type: ignore[no-any-return]


def report(message: bytes) -> None:
    view = memoryview(message)
    while view:
        view = view[os.write(RESULT_FD, view) :]


def describe(error: BaseException) -> bytes:
    """``type: message (line n)``, cut short; whatever the exception's own methods do."""
    try:
        text = str(error)[:300]
    except BaseException:  # noqa: BLE001  the program's own __str__
        text = ""
    line = None
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == FILE_NAME:
            line = trace.tb_lineno
        trace = trace.tb_next
    where = f" (line {line})" if line is not None else ""
    return f"{type(error).__name__}: {text}{where}".encode("utf-8", "backslashreplace")


def guarded(work: Callable[..., object], *arguments: Any) -> int:
    """Run some of the program's code; the exit status as Python would give it."""
    try:
        work(*arguments)
    except SystemExit as error:
        code = error.code
        if code is None:
            return 0
        return code & 0xFF if isinstance(code, int) else 1
    except MemoryError:
        report(b"M")
        return 1
    except BaseException as error:  # noqa: BLE001  anything the program raises ends its own process only
        try:
            report(b"E" + describe(error))
        except BaseException:  # noqa: BLE001  it closed the channel, or has no memory left
            pass
        return 1
    return 0


def new_module(name: str) -> types.ModuleType:
    module = types.ModuleType(name)
    module.__dict__["__builtins__"] = builtins
    module.__dict__.setdefault("__file__", FILE_NAME)
    sys.modules[name] = module
    return module
