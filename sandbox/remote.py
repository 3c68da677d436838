"""Test code in one process, the solution in another, plain data between them.

Inside the sandbox: `serve_solution` answers requests beside the solution, `run_script` runs a test script
whose names for the solution are `Remote` stand-ins. The host relays every message and reads it on the way
(`sandbox.duet`). A test's verdict comes from the script's process, where no line of the solution ever runs.

Requests are ``[operation, target, name, args, kwargs]``, replies ``["ok", value, arguments changed]`` or
``["error", exception names, message]``.
"""

from __future__ import annotations

import builtins
import os
import struct
import sys
import types
from typing import Any

from sandbox import child, plain, prelude, pytest_names

LENGTH = struct.Struct("<I")
LARGEST_MESSAGE = 32 << 20
#: Reports of a script's process: passed; failed; the solution raised; must share an interpreter.
PASSED, FAILED, RAISED, NEEDS_ONE = b"V", b"A", b"E", b"N"

# What plain values can do. An object of the solution may not pose as one of them by having these methods.
_PLAIN_METHODS = frozenset(name for kind in (str, list, dict, set, tuple, int, float, bytes) for name in dir(kind))


class NeedsOneInterpreter(BaseException):
    """The test hands the solution something that is no plain data (a function, a class of its own)."""


class SolutionRaisedError(Exception):
    """An exception of the solution that has no built-in equal, or the end of its process."""


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
            changed = args if plain.dump(args, wrap=self._wrap) != before else None
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
        return (getattr(owner, name) if name else owner)(*args, **kwargs)

    def _wrap(self, value: Any) -> plain.Opaque:
        number = next((n for n, held in self.held.items() if held is value), len(self.held))
        self.held[number] = value
        return plain.Opaque(type(value).__name__, number)


class Link:
    """The script's end of the channel to the solution."""

    def __init__(self, channel: int) -> None:
        self.channel = channel

    def ask(self, operation: str, target: Any, name: str = "", args: Any = (), kwargs: Any = None) -> Any:
        """Make a request; what comes back is plain data or a `Remote`.

        Raises:
            NeedsOneInterpreter: an argument is no plain data.
            Exception: what the solution raised, as the nearest built-in exception.
        """
        args, pairs = list(args), [list(pair) for pair in (kwargs or {}).items()]
        write_message(self.channel, plain.dump([operation, target, name, args, pairs], wrap=_known_handle))
        message = read_message(self.channel)
        if message is None:
            raise SolutionRaisedError("the solution's process ended")
        kind, *rest = plain.load(message)
        if kind == "error":
            raise _exception(rest[0], str(rest[1]))
        if rest[1] is not None:
            for ours, theirs in zip(args, self._local(rest[1]), strict=True):
                _update(ours, theirs)
        return self._local(rest[0])

    def _local(self, value: Any) -> Any:
        if type(value) is plain.Opaque:
            return Remote(self, value.handle, value.type_name)
        if type(value) in (list, tuple):
            return type(value)(self._local(item) for item in value)
        if type(value) is dict:
            return {key: self._local(item) for key, item in value.items()}
        return prelude.revive(value)


class Remote:
    """Stands for an object of the solution: to be called, asked for attributes, iterated over.

    Only an object that the test itself made from a class (``Stack()``) is trusted to compare, measure or
    convert itself: that is what such a test is about. What a function returned must be plain data to be
    equal to anything.
    """

    def __init__(self, link: Link, target: Any, type_name: str = "", *, trusted: bool = False) -> None:
        self.__dict__.update(_link=link, _target=target, _type_name=type_name, _trusted=trusted)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        value = self._link.ask("call", self._target, "", args, kwargs)
        if isinstance(value, Remote) and isinstance(self._target, str) and self._target[:1].isupper():
            value.__dict__["_trusted"] = True
        return value

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__") or (name in _PLAIN_METHODS and not self._trusted):
            raise TypeError(f"the solution returned a {self._type_name}; only plain data has {name}")
        return _Method(self._link, self._target, name)

    def __setattr__(self, name: str, value: Any) -> None:
        raise NeedsOneInterpreter

    def __iter__(self) -> Any:
        return Remote(self._link, self._link.ask("iterate", self._target)._target, "iterator")

    def __next__(self) -> Any:
        return self._link.ask("next", self._target)

    def _special(self, name: str, *args: Any) -> Any:
        if not self._trusted:
            raise TypeError(f"the solution returned a {self._type_name}; expected plain data")
        return self._link.ask("call", self._target, name, args)

    def __eq__(self, other: object) -> bool:
        if self._trusted:
            return self._special("__eq__", other) is True
        return isinstance(other, Remote) and type(self._target) is int and self._target == other._target

    __hash__ = None  # type: ignore[assignment]


class _Method:
    """An attribute of a remote object: a method to call, or by its value in anything else one does with it."""

    def __new__(cls, link: Link, target: Any, name: str) -> Any:
        value = link.ask("get", target, name)
        if not isinstance(value, Remote):
            return value
        method = object.__new__(cls)
        method.link, method.target, method.name = link, target, name
        return method

    link: Link
    target: Any
    name: str

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.link.ask("call", self.target, self.name, args, kwargs)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.link.ask("get", self.target, self.name), name)


def _forward(name: str) -> Any:
    return lambda self, *args: self._special(name, *args)


for _name in ("__len__", "__getitem__", "__contains__", "__str__", "__repr__", "__lt__", "__le__", "__gt__",
              "__ge__", "__add__", "__sub__", "__mul__", "__int__", "__float__", "__setitem__", "__delitem__",
              "__enter__", "__exit__"):  # fmt: skip
    setattr(Remote, _name, _forward(_name))


def _known_handle(value: Any) -> plain.Opaque:
    if type(value) is Remote and isinstance(value._target, int):
        return plain.Opaque(value._type_name, value._target)
    raise NeedsOneInterpreter


def _update(ours: Any, theirs: Any) -> None:
    """Bring an argument that the solution changed in place up to date."""
    if type(ours) is list and type(theirs) is list:
        ours[:] = theirs
    elif type(ours) in (dict, set) and type(theirs) is type(ours):
        ours.clear()
        ours.update(theirs)
    elif isinstance(ours, prelude.ListNode | prelude.TreeNode) and type(ours) is type(theirs):
        ours.__dict__.update(theirs.__dict__)


def _exception(kinds: list[Any], message: str) -> BaseException:
    """The nearest built-in exception to what the solution raised (never one that ends a process)."""
    for name in kinds:
        kind = getattr(builtins, str(name), None)
        if isinstance(kind, type) and issubclass(kind, Exception):
            error = kind.__new__(kind, message)
            error.args = (message.partition(": ")[2].rpartition(" (line ")[0],)
            error.__dict__["of_the_solution"] = message
            return error
    return SolutionRaisedError(message)


def run_script(code: types.CodeType, solution_names: list[str], channel: int) -> int:
    """Run a test script against the solution at the other end of ``channel``; reports how it went."""
    link = Link(channel)
    return _run(code, {name: Remote(link, name, name) for name in solution_names})


def run_together(solution: types.CodeType, script: str, solution_names: list[str]) -> int:
    """Run a test script in the solution's own interpreter, which the solution could subvert (``weak``)."""

    def work() -> None:
        names = child.load_solution(solution)
        wanted = {name: names[name] for name in solution_names if name in names}
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
