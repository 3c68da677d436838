"""What a test script holds for the solution's names and objects, and what these may answer for themselves."""

from __future__ import annotations

from typing import Any

from sandbox import plain

# What plain values can do. An object of the solution may not pose as one of them by having these methods.
_PLAIN_METHODS = frozenset(name for kind in (str, list, dict, set, tuple, int, float, bytes) for name in dir(kind))


class NeedsOneInterpreter(BaseException):
    """The test hands the solution something that is no plain data (a function, a class of its own)."""


class SolutionRaisedError(Exception):
    """An exception of the solution that has no built-in equal, or the end of its process."""


class Remote:
    """Stands for an object of the solution: to be called, asked for attributes, iterated over.

    Only an object that the test itself made from a class (``Stack()``) is trusted to measure, convert or compare
    itself: that is what such a test is about. It may say how it compares with another remote object, never with
    plain data: what a capitalised function returned looks the same. What any other function returned must be
    plain data to be equal to anything. A method may return its object, to be gone on with: but as an answer it
    must not contain whatever it is asked for.
    """

    def __init__(self, link: Any, target: Any, type_name: str = "") -> None:
        self.__dict__.update(_link=link, _target=target, _type_name=type_name, _trusted=False, _answered=False)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        value = self._link.ask("call", self._target, "", args, kwargs)
        if isinstance(value, Remote) and _is_class_name(self._target):
            value.__dict__["_trusted"] = True
        return value

    def __getattr__(self, name: str) -> Any:
        known = self._trusted or _is_class_name(self._target)
        if name.startswith("__") or (name in _PLAIN_METHODS and not known):
            raise TypeError(f"the solution returned a {self._type_name}; only plain data has {name}")
        return _Method(self, name)

    def __setattr__(self, name: str, value: Any) -> None:
        self._link.ask("set", self._target, name, [value])

    def __instancecheck__(self, instance: object) -> bool:
        return self._link.ask("call", self._target, "__instancecheck__", [instance]) is True

    def __iter__(self) -> Any:
        return Remote(self._link, self._link.ask("iterate", self._target)._target, "iterator")

    def __next__(self) -> Any:
        return self._link.ask("next", self._target)

    def _special(self, name: str, *args: Any) -> Any:
        if not self._trusted or (name == "__contains__" and self._answered):
            raise TypeError(f"the solution returned a {self._type_name}; expected plain data")
        return self._link.ask("call", self._target, name, args)

    def _compare(self, name: str, other: object) -> bool:
        if not isinstance(other, Remote) or not (self._trusted or other._trusted):
            raise TypeError(f"{self._type_name} and {type(other).__name__} cannot be compared")
        return self._link.ask("call", self._target, name, [other]) is True

    def _combine(self, name: str, other: Any) -> Any:
        """An operator: with plain data it may make an object, not say a number (it could be any number)."""
        value = self._special(name, other)
        if isinstance(value, Remote):
            value.__dict__["_trusted"] = isinstance(other, Remote)
        elif not isinstance(other, Remote):
            raise TypeError(f"{self._type_name} and {type(other).__name__} make no object")
        return value

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Remote):
            return False
        if self._trusted or other._trusted:
            return self._compare("__eq__", other)
        return type(self._target) is int and self._target == other._target

    __hash__ = None  # type: ignore[assignment]


class _Method:
    """An attribute of a remote object: a method to call, or by its value in anything else one does with it."""

    def __new__(cls, owner: Remote, name: str) -> Any:
        value = owner._link.ask("get", owner._target, name)
        if not isinstance(value, Remote):
            return value
        method = object.__new__(cls)
        method.owner, method.name, method.value = owner, name, value
        return method

    owner: Remote
    name: str
    value: Remote

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        value = self.owner._link.ask("call", self.owner._target, self.name, args, kwargs)
        if isinstance(value, Remote) and value._target == self.owner._target:  # ``return self``
            value.__dict__.update(_trusted=self.owner._trusted, _answered=True)
        return value

    def __getattr__(self, name: str) -> Any:
        return getattr(self.value, name)


def _is_class_name(target: Any) -> bool:
    return isinstance(target, str) and target[:1].isupper()


def _forward(name: str, way: str) -> Any:
    return lambda self, *args: getattr(self, way)(name, *args)


_COMPARING = ("__lt__", "__le__", "__gt__", "__ge__")
_COMBINING = ("__add__", "__sub__", "__mul__", "__truediv__", "__floordiv__", "__mod__", "__pow__", "__matmul__")
_REFLECTED = ("__radd__", "__rsub__", "__rmul__", "__rtruediv__")
_OTHERS = ("__bool__", "__len__", "__getitem__", "__contains__", "__str__", "__repr__", "__int__", "__float__",
           "__neg__", "__abs__", "__setitem__", "__delitem__", "__enter__", "__exit__")  # fmt: skip
# Asked for as an expression does, so that the reflected method has its turn.
OPERATORS = frozenset(("__eq__", "__contains__", *_COMPARING, *_COMBINING))
for _names, _way in ((_COMPARING, "_compare"), (_COMBINING + _REFLECTED, "_combine"), (_OTHERS, "_special")):
    for _name in _names:
        setattr(Remote, _name, _forward(_name, _way))


def known_handle(value: Any) -> plain.Opaque:
    if type(value) is _Method:
        value = value.value
    if type(value) is plain.Iterated:
        raise SolutionRaisedError("a reply that was not asked for")  # no test makes one
    if type(value) is Remote and isinstance(value._target, int):
        return plain.Opaque(value._type_name, value._target)
    raise NeedsOneInterpreter
