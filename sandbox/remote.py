"""Test code in one process, the solution in another, plain data between them.

Inside the sandbox: `serve_solution` answers requests beside the solution, `run_script` runs a test script
whose names for the solution are `Remote` (`sandbox.stand_ins`). The host relays every message and reads it on the way
(`sandbox.duet`). A test's verdict comes from the script's process, where no line of the solution ever runs.

Requests are ``[operation, target, name, args, kwargs]``, replies ``["ok", value, arguments changed]`` or
``["error", exception names, message]``. The solution's process may forge replies; all that this gives it is
another value to return.
"""

from __future__ import annotations

import builtins
import operator
import os
import struct
import sys
import types
from typing import Any

from sandbox import child, plain, prelude, pytest_names
from sandbox.stand_ins import OPERATORS, NeedsOneInterpreter, Remote, SolutionRaisedError, known_handle

LENGTH = struct.Struct("<I")
LARGEST_MESSAGE = 32 << 20
#: Reports of a script's process: passed; failed; the solution raised; must share an interpreter.
PASSED, FAILED, RAISED, NEEDS_ONE = b"V", b"A", b"E", b"N"


def write_message(channel: int, message: bytes) -> None:
    view = memoryview(LENGTH.pack(len(message)) + message)
    while view:
        view = view[os.write(channel, view) :]


def read_message(channel: int) -> bytes | None:
    """The next message, ``None`` at the end."""
    head = _exactly(channel, LENGTH.size)
    return None if head is None else _exactly(channel, LENGTH.unpack(head)[0])


def _exactly(channel: int, length: int) -> bytes | None:
    parts = bytearray()
    while len(parts) < length:
        part = os.read(channel, min(length - len(parts), 1 << 20))
        if not part:
            return None
        parts += part
    return bytes(parts)


def serve_solution(code: types.CodeType, channel: int) -> int:
    """Load the solution and answer requests until the channel ends; its exit status."""

    def work() -> None:
        solution = _Objects(child.load_solution(code))
        while (message := read_message(channel)) is not None:
            write_message(channel, solution.answer(plain.load(message)))

    return child.guarded(work)


class _Objects:
    """The solution's names and the objects it has handed out by number."""

    def __init__(self, names: dict[str, Any]) -> None:
        self.names = names
        self.held: dict[int, Any] = {}

    def answer(self, request: list[Any]) -> bytes:
        operation, target, name, args, kwargs = request
        try:
            args, kwargs = prelude.revive(args, self.held), dict(prelude.revive(kwargs, self.held))
            before = plain.dump(args, wrap=self._wrap)
            value = self._do(operation, target, name, args, kwargs)
            changed = args if value is None and plain.dump(args, wrap=self._wrap) != before else None
            return plain.dump(["ok", value, changed], wrap=self._wrap)
        except BaseException as error:  # noqa: BLE001  all of it is the solution's doing; the script is told
            kinds = [kind.__name__ for kind in type(error).__mro__][:10]
            return plain.dump(["error", kinds, child.describe(error).decode("utf-8", "replace")])

    def _do(self, operation: str, target: Any, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
        owner: Any = child.resolve(self.names, target) if isinstance(target, str) else self.held[target]
        if operation == "get":
            return getattr(owner, name) if name else owner
        if operation in ("iterate", "next"):
            return iter(owner) if operation == "iterate" else next(owner)
        if operation == "set":
            return setattr(owner, name, *args)
        if name in OPERATORS:
            return getattr(operator, name)(owner, *args)
        if name == "__bool__":
            return bool(owner)
        if name.startswith("__") and not hasattr(owner, name):  # as Python has it: list() then does without a length
            raise TypeError(f"{type(owner).__name__} has no {name}")
        return (getattr(owner, name) if name else owner)(*args, **kwargs)

    def _wrap(self, value: Any) -> plain.Opaque:
        number = next((n for n, held in self.held.items() if held is value), len(self.held))
        self.held[number] = value
        return plain.Opaque(type(value).__name__, number)


class Link:
    """The script's end of the channel to the solution."""

    def __init__(self, channel: int) -> None:
        self.channel = channel
        self.errors: dict[str, type[Exception]] = {}

    def name(self, name: str) -> Any:
        """What stands for a name of the solution: an exception of its own where the test catches it (``!E``)."""
        if name[0] != "!":
            return Remote(self, name, name)
        return self.errors.setdefault(name[1:], type(name[1:], (Exception,), {}))

    def ask(self, operation: str, target: Any, name: str = "", args: Any = (), kwargs: Any = None) -> Any:
        """Make a request; what comes back is plain data or a `Remote`.

        Raises:
            NeedsOneInterpreter: an argument of the test's own making is no plain data.
            SolutionRaisedError: the reply holds what only a forger sends.
            Exception: what the solution raised, as the nearest built-in exception.
        """
        args, pairs = list(args), [list(pair) for pair in (kwargs or {}).items()]
        write_message(self.channel, plain.dump([operation, target, name, args, pairs], wrap=known_handle))
        message = read_message(self.channel)
        if message is None:
            raise SolutionRaisedError("the solution's process ended")
        kind, *rest = plain.load(message)
        if kind == "error":
            raise _exception(rest[0], str(rest[1]), self.errors, may_stop=operation == "next")
        if rest[0] is None and rest[1] is not None:  # what returns something has no business with its arguments
            for ours, theirs in zip(args, self._local(rest[1]), strict=True):
                _update(ours, theirs)
        return self._local(rest[0])

    def _local(self, value: Any) -> Any:
        if type(value) is plain.Iterated or (type(value) is plain.Opaque and value.handle is None):
            raise SolutionRaisedError("a reply that was not asked for")
        if type(value) is plain.Opaque:
            return Remote(self, value.handle, value.type_name)
        if type(value) in (list, tuple):
            return type(value)(self._local(item) for item in value)
        if type(value) is dict:
            return {key: self._local(item) for key, item in value.items()}
        return prelude.revive(value)


def _update(ours: Any, theirs: Any) -> None:
    """Bring an argument that the solution changed in place up to date."""
    if type(ours) is list and type(theirs) is list:
        ours[:] = theirs
    elif type(ours) in (dict, set) and type(theirs) is type(ours):
        ours.clear()
        ours.update(theirs)
    elif isinstance(ours, prelude.ListNode | prelude.TreeNode) and type(ours) is type(theirs):
        ours.__dict__.update(theirs.__dict__)


def _exception(kinds: list[Any], message: str, caught: dict[str, type[Exception]], *, may_stop: bool) -> BaseException:
    """The nearest built-in exception to what the solution raised (never one that ends a process).

    It is also each of the solution's own exceptions that the test names (``caught``). Only an iterator may say
    that it stops: out of a function it would end the test's own loops, ``for r, x in zip(map(f, xs), xs)``.
    """
    for name in kinds:
        if name == "StopIteration" and not may_stop:
            return SolutionRaisedError(message)
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            own = dict.fromkeys(caught[name] for name in kinds if name in caught)
            made: type[Exception] = type(str(kinds[0]), (*own, kind), {}) if own else kind
            error = made.__new__(made, message)
            error.args = (message.partition(": ")[2].rpartition(" (line ")[0],)
            error.__dict__["of_the_solution"] = message
            return error
    return SolutionRaisedError(message)


def run_script(code: types.CodeType, solution_names: list[str], channel: int) -> int:
    """Run a test script against the solution at the other end of ``channel``; reports how it went."""
    link = Link(channel)
    return _run(code, {name.lstrip("!"): link.name(name) for name in solution_names})


def run_together(solution: types.CodeType, script: str, solution_names: list[str]) -> int:
    """Run a test script in the solution's own interpreter, which the solution could subvert (``weak``)."""

    def work() -> None:
        names = child.load_solution(solution)
        wanted = {name: names[name] for name in (n.lstrip("!") for n in solution_names) if name in names}
        sys.exit(_run(compile(script, "<test>", "exec"), wanted))

    return child.guarded(work)


def _run(code: types.CodeType, names: dict[str, Any]) -> int:
    module = child.new_module("__test__")
    module.__dict__.update(prelude.NAMES)
    module.__dict__.update(names)
    sys.modules["pytest"] = pytest_names.module()
    module.__dict__["__run_test__"] = lambda *path: pytest_names.run_test(module.__dict__, *path)
    try:
        exec(code, module.__dict__)
    except NeedsOneInterpreter:
        child.report(NEEDS_ONE)
        return 1
    except MemoryError:
        child.report(b"M")
        return 1
    except BaseException as error:  # noqa: BLE001  whatever it is, the test has not passed
        raised = getattr(error, "of_the_solution", None) or isinstance(error, SolutionRaisedError)
        child.report((RAISED if raised else FAILED) + child.describe(error))
        return 1
    child.report(PASSED + plain.dump([True]))
    return 0
