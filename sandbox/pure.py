"""A small evaluator for the expressions that tests are made of, so that no test code runs on the host.

It knows literals, arithmetic within bounds, comparisons, comprehensions and a list of harmless built-ins;
its values are plain data (`sandbox.plain`). Everything else is `Unsupported` and goes to a sandboxed process.
"""

from __future__ import annotations

import ast
import collections
import itertools
import math
import operator
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from sandbox import arithmetic
from sandbox.bounds import Budget
from sandbox.plain import Iterated, Linked, Opaque, Tree

_FUEL = 500_000
_MOST_CPU_S = 5.0
_MOST_ITEMS = 1_000_000


class UnsupportedError(Exception):
    """An expression that this evaluator leaves to a real interpreter."""


def _tree(values: Any) -> Tree | None:
    found = list(values)
    while found and found[-1] is None:
        found.pop()
    return Tree(tuple(found)) if found else None


def _linked(values: Any) -> Linked | None:
    return Linked(tuple(values)) if values else None


def _same_nodes(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return type(one) is type(other) and isinstance(one, Linked | Tree) and bool(one.values == other.values)


def _range(*bounds: int) -> range:
    found = range(*bounds)
    if len(found) > _MOST_ITEMS:
        raise UnsupportedError("a long range")
    return found


#: Names with a meaning in tests, all without side effects.
NAMES: dict[str, Any] = {
    **{f.__name__: f for f in (abs, all, any, bool, dict, divmod, enumerate, float, frozenset, int, isinstance,
                               len, list, max, min, reversed, round, set, sorted, str, sum, tuple, zip, type,
                               complex)},
    "range": _range, "bytes": bytes, "Counter": collections.Counter, "isclose": math.isclose,
    "list_node": _linked, "tree_node": _tree, "is_same_list": _same_nodes, "is_same_tree": _same_nodes,
    "inf": math.inf,
}  # fmt: skip
_MATH = ("isclose", "fabs", "sqrt", "floor", "ceil", "isnan", "isinf", "pi", "e", "inf", "nan", "log", "exp")
_CALLABLE = {value for value in NAMES.values() if callable(value)} | {getattr(math, name) for name in _MATH}
_METHODS: dict[Any, tuple[str, ...]] = {
    str: ("strip", "lstrip", "rstrip", "lower", "upper", "split", "splitlines", "startswith", "endswith", "count",
          "index", "find", "isdigit", "isalpha", "isalnum", "isupper", "islower", "isspace"),
    list: ("count", "index"), tuple: ("count", "index"),
    dict: ("keys", "values", "items", "get"),
    set: ("union", "intersection", "difference", "issubset", "issuperset"),
    frozenset: ("union", "intersection", "difference", "issubset", "issuperset"),
}  # fmt: skip
_COMPARE: dict[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq, ast.NotEq: operator.ne, ast.Lt: operator.lt, ast.LtE: operator.le,
    ast.Gt: operator.gt, ast.GtE: operator.ge, ast.In: lambda a, b: a in b, ast.NotIn: lambda a, b: a not in b,
    ast.Is: lambda a, b: type(a) is type(b) and a == b, ast.IsNot: lambda a, b: not (type(a) is type(b) and a == b),
}  # fmt: skip
_BINARY: dict[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Div: operator.truediv, ast.FloorDiv: operator.floordiv,
    ast.BitAnd: operator.and_, ast.BitOr: operator.or_, ast.BitXor: operator.xor,
}  # fmt: skip
_UNARY: dict[type[ast.unaryop], Callable[[Any], Any]] = {
    ast.USub: operator.neg, ast.UAdd: operator.pos, ast.Not: operator.not_, ast.Invert: operator.invert,
}  # fmt: skip


class Evaluator:
    """Evaluates expressions over plain values.

    Args:
        names: values of the names in scope, before `NAMES`.
        functions: helper functions of the test code that are one ``return``.
    """

    def __init__(self, names: Mapping[str, Any], functions: Mapping[str, ast.FunctionDef] | None = None) -> None:
        self.names = dict(names)
        self.functions = dict(functions or {})
        self._fuel = _FUEL
        self._budget = Budget()
        self._end = time.thread_time() + _MOST_CPU_S

    def __call__(self, node: ast.expr) -> Any:
        """The expression's value.

        Raises:
            UnsupportedError: something this evaluator does not know or will not spend time on.
            Exception: whatever the built-in operation raises (``TypeError``, ``ZeroDivisionError``, …).
        """
        self._tick()
        method = getattr(self, "_" + type(node).__name__, None)
        if method is None:
            raise UnsupportedError(type(node).__name__)
        return method(node)

    def _tick(self) -> None:
        """Every single operation is bounded by its operands; this bounds how many of them there are."""
        self._fuel -= 1
        if self._fuel < 0 or time.thread_time() > self._end:
            raise UnsupportedError("a long computation")

    def _hashed(self, values: Iterable[Any]) -> list[Any]:
        found = list(values)
        self._budget.hash_all(found)
        return found

    def _Constant(self, node: ast.Constant) -> Any:
        return node.value

    def _Name(self, node: ast.Name) -> Any:
        for scope in (self.names, NAMES):
            if node.id in scope:
                return scope[node.id]
        raise UnsupportedError(f"the name {node.id}")

    def _List(self, node: ast.List | ast.Tuple | ast.Set) -> Any:
        found: list[Any] = []
        for item in node.elts:
            if isinstance(item, ast.Starred):
                found.extend(self(item.value))
            else:
                found.append(self(item))
        return found

    def _Tuple(self, node: ast.Tuple) -> Any:
        return tuple(self._List(node))

    def _Set(self, node: ast.Set) -> Any:
        return set(self._hashed(self._List(node)))

    def _Dict(self, node: ast.Dict) -> Any:
        if any(key is None for key in node.keys):
            raise UnsupportedError("a merged dict display")
        return self._dict([(self(key), self(value)) for key, value in zip(node.keys, node.values, strict=True) if key])

    def _dict(self, pairs: Iterable[Any], **words: Any) -> dict[Any, Any]:
        if isinstance(pairs, Mapping):
            pairs = pairs.items()
        held = [tuple(pair) for pair in pairs]
        self._budget.hash_all(pair[0] for pair in held)
        return dict(held, **words)

    def _UnaryOp(self, node: ast.UnaryOp) -> Any:
        return _UNARY[type(node.op)](self(node.operand))

    def _BinOp(self, node: ast.BinOp) -> Any:
        left, right = self(node.left), self(node.right)
        if isinstance(node.op, ast.Mult):
            return arithmetic.product(left, right)
        if isinstance(node.op, ast.Pow):
            return arithmetic.power(left, right)
        if isinstance(node.op, ast.Mod) and not isinstance(left, str | bytes):
            return left % right
        if type(node.op) not in _BINARY:
            raise UnsupportedError(type(node.op).__name__)
        return _BINARY[type(node.op)](left, right)

    def _BoolOp(self, node: ast.BoolOp) -> Any:
        value = None
        for part in node.values:
            value = self(part)
            if bool(value) is isinstance(node.op, ast.Or):
                break
        return value

    def _Compare(self, node: ast.Compare) -> Any:
        left = self(node.left)
        for compare, comparator in zip(node.ops, node.comparators, strict=True):
            right = self(comparator)
            if not _COMPARE[type(compare)](left, right):
                return False
            left = right
        return True

    def _IfExp(self, node: ast.IfExp) -> Any:
        return self(node.body) if self(node.test) else self(node.orelse)

    def _Subscript(self, node: ast.Subscript) -> Any:
        return self(node.value)[self(node.slice)]

    def _Slice(self, node: ast.Slice) -> Any:
        return slice(*(None if part is None else self(part) for part in (node.lower, node.upper, node.step)))

    def _ListComp(self, node: ast.ListComp) -> Any:
        return list(self._generate(node.elt, node.generators))

    def _GeneratorExp(self, node: ast.GeneratorExp) -> Any:
        return list(self._generate(node.elt, node.generators))

    def _SetComp(self, node: ast.SetComp) -> Any:
        return set(self._hashed(self._generate(node.elt, node.generators)))

    def _DictComp(self, node: ast.DictComp) -> Any:
        pair = ast.Tuple(elts=[node.key, node.value], ctx=ast.Load())
        return self._dict(self._generate(pair, node.generators))

    def _generate(self, element: ast.expr, generators: list[ast.comprehension]) -> Iterator[Any]:
        if not generators:
            yield self(element)
            return
        first, rest = generators[0], generators[1:]
        for value in self(first.iter):
            before = dict(self.names)
            bind(first.target, value, self.names)
            if all(self(condition) for condition in first.ifs):
                yield from self._generate(element, rest)
            self.names = before

    def _Attribute(self, node: ast.Attribute) -> Any:
        if isinstance(node.value, ast.Name) and node.value.id not in self.names:
            if node.value.id == "math" and node.attr in _MATH:
                return getattr(math, node.attr)
            if node.value.id == "collections" and node.attr == "Counter":
                return collections.Counter
        raise UnsupportedError(f"the attribute {node.attr}")

    def _Call(self, node: ast.Call) -> Any:
        if any(word.arg is None for word in node.keywords):
            raise UnsupportedError("**keywords")
        args = self._List(ast.List(elts=node.args))
        words = {word.arg: self(word.value) for word in node.keywords if word.arg}
        if isinstance(node.func, ast.Name) and node.func.id in self.functions:
            return self._helper(self.functions[node.func.id], args, words)
        if isinstance(node.func, ast.Attribute) and not isinstance(node.func.value, ast.Name):
            return self._method(self(node.func.value), node.func.attr, args, words)
        if isinstance(node.func, ast.Attribute) and node.func.value.id in self.names:  # type: ignore[attr-defined]
            return self._method(self(node.func.value), node.func.attr, args, words)
        return self._built_in(self(node.func), args, words)

    def _built_in(self, function: Any, args: list[Any], words: dict[str, Any]) -> Any:
        if function not in _CALLABLE:
            raise UnsupportedError("a call of something unknown")
        if function is dict:
            return self._dict(*args, **words) if args else dict(**words)
        if function is sum:
            return arithmetic.total(*args, **words, tick=self._tick)
        if function in (set, frozenset, collections.Counter) and args and not isinstance(args[0], dict):
            args[0] = self._hashed(args[0])
        count = args[-1] if args and isinstance(args[-1], int) else words.get("ndigits", 0)
        if function in (round, bytes) and abs(count) > _MOST_ITEMS:
            raise UnsupportedError("a large count")
        return function(*args, **words)

    def _method(self, owner: Any, name: str, args: list[Any], words: dict[str, Any]) -> Any:
        if name not in _METHODS.get(type(owner), ()):
            if isinstance(owner, Opaque | Iterated):
                raise TypeError(f"what was returned has no {name}")
            raise UnsupportedError(f"the method {name}")
        if isinstance(owner, set | frozenset):
            args = [self._hashed(values) for values in args]
        return getattr(owner, name)(*args, **words)

    def _helper(self, function: ast.FunctionDef, args: list[Any], words: dict[str, Any]) -> Any:
        """A helper that is a single ``return``, evaluated in a scope of its own."""
        parameters = [argument.arg for argument in function.args.args]
        defaults = function.args.defaults
        scope = {name: self(value) for name, value in zip(parameters[len(parameters) - len(defaults) :], defaults,
                                                          strict=True)}  # fmt: skip
        scope |= dict(zip(parameters, args, strict=False)) | words
        if len(args) > len(parameters) or set(scope) != set(parameters):
            raise UnsupportedError(f"the call of {function.name}")
        returned = function.body[-1]
        if not isinstance(returned, ast.Return) or returned.value is None:
            raise UnsupportedError(f"the helper {function.name}")
        before, self.names = self.names, {**self.names, **scope}
        try:
            return self(returned.value)
        finally:
            self.names = before


def is_simple_helper(node: ast.stmt) -> bool:
    """Whether a function definition is one ``return`` that `Evaluator` can call."""
    if not isinstance(node, ast.FunctionDef) or node.decorator_list:
        return False
    arguments = node.args
    if arguments.vararg or arguments.kwarg or arguments.kwonlyargs or arguments.posonlyargs:
        return False
    body = [s for s in node.body if not (isinstance(s, ast.Expr) and isinstance(s.value, ast.Constant))]
    return len(body) == 1 and isinstance(body[0], ast.Return) and body[0].value is not None


def bind(target: ast.expr, value: Any, names: dict[str, Any]) -> None:
    """Assign as ``target = value`` does, for names and (nested) tuples of names."""
    if isinstance(target, ast.Name):
        names[target.id] = value
    elif isinstance(target, ast.Tuple | ast.List) and not any(isinstance(t, ast.Starred) for t in target.elts):
        values = list(itertools.islice(value, len(target.elts) + 1))
        if len(values) != len(target.elts):
            raise UnsupportedError("unpacking of another length")
        for inner, item in zip(target.elts, values, strict=True):
            bind(inner, item, names)
    else:
        raise UnsupportedError("an assignment to something else than names")
