"""Test code into tests: asserts become calls whose results are compared on the host.

``assert candidate(2) == 4`` need not run beside the solution: the call ``candidate(2)`` is made in the
sandbox, and what it returned is put back into the rest of the expression here. A walk over the test code
does this for straight-line code, loops over literals, helper functions and ``check(candidate)``; where it
meets something else, the test code is cut into scripts that run in a process of their own (`sandbox.scripts`).
"""

from __future__ import annotations

import ast
import builtins
import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sandbox import pure, scripts
from sandbox.types import AllOf, Call, CallTest, ScriptTest, Test, TestsError

_MOST_TESTS = 20_000
_RESULT = "_returned_"


def tests_of_scripts(value: Any, *, entry_point: str | None, setup: str, is_pytest: bool) -> list[Test]:
    """Tests from code.

    Args:
        value: one text (each assert that it runs is a test; with ``is_pytest`` each test function) or a list
            of texts (each is one test).
        entry_point: what ``check(candidate)`` is to be called with where the code does not do so itself.
        setup: imports and helpers to put before every text.
        is_pytest: the text is a pytest module.

    Raises:
        TestsError: not Python, or nothing is asserted.
    """
    texts = value if isinstance(value, list) else [value]
    if not texts or not all(isinstance(text, str) for text in texts):
        raise TestsError("tests: expected test code as text or a list of texts")
    if is_pytest:
        return [test for text in texts for test in scripts.pytest_tests(_parsed(text), convert=convert)]
    found: list[Test] = []
    for index, text in enumerate(texts):
        parts = _tests_of(f"{setup}\n{text}" if setup else text, entry_point)
        if not parts:
            raise TestsError(f"tests[{index}]: nothing is asserted")
        if isinstance(value, list):
            found.append(parts[0] if len(parts) == 1 else AllOf(tuple(parts)))
        else:
            found += parts
    return found


def _tests_of(text: str, entry_point: str | None) -> list[CallTest | ScriptTest]:
    tree = _parsed(text)
    if entry_point and not _calls_check(tree) and any(_is_def(node, "check") for node in tree.body):
        tree.body += ast.parse(f"check({entry_point})").body
    converted = convert(tree.body)
    return list(converted) if converted is not None else list(scripts.cut(tree))


def convert(body: list[ast.stmt]) -> list[CallTest] | None:
    """The calls that this test code comes down to, ``None`` where it does more than that."""
    walk = _Walk(scripts.shadowed_names(body))
    try:
        walk.run(body)
    except pure.UnsupportedError:
        return None
    except Exception:  # noqa: BLE001  an error in the test code itself: let a real interpreter meet it
        return None
    return walk.tests


def _parsed(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise TestsError(f"tests: not Python: {str(error)[:120]}") from error


def _is_def(node: ast.stmt, name: str) -> bool:
    return isinstance(node, ast.FunctionDef) and node.name == name


def _calls_check(tree: ast.Module) -> bool:
    return any(
        isinstance(node, ast.Expr) and isinstance(node.value, ast.Call) and ast.unparse(node.value.func) == "check"
        for top in tree.body for node in ([top] if isinstance(top, ast.Expr) else ast.walk(top))
    )  # fmt: skip


@dataclass(frozen=True)
class _Solution:
    """A name or expression that stands for something of the solution, by its path."""

    path: str


class _Walk:
    """Runs test code symbolically: what is plain is computed, what is the solution's becomes a call."""

    def __init__(self, shadowed: set[str]) -> None:
        self.shadowed = shadowed
        self.tests: list[CallTest] = []
        self.calls: list[Call] = []
        self.names: dict[str, Any] = {"__name__": "__main__"}
        self.pending: dict[str, ast.expr] = {}  # names bound to an expression with calls in it
        self.helpers: dict[str, ast.FunctionDef] = {}
        self.bodies: dict[str, ast.FunctionDef] = {}
        self.imported: set[str] = set()
        self.steps = 0

    def run(self, body: list[ast.stmt]) -> None:
        for node in body:
            self.steps += 1
            if self.steps > _MOST_TESTS:
                raise pure.UnsupportedError("a long test")
            self._statement(node)

    def _statement(self, node: ast.stmt) -> None:
        if isinstance(node, ast.Assert):
            self._assert(node.test)
        elif isinstance(node, ast.Assign) and len(node.targets) == 1:
            self._assign(node.targets[0], node.value)
        elif isinstance(node, ast.For) and not node.orelse:
            for value in self._plain(node.iter):
                pure.bind(node.target, value, self.names)
                self.run(node.body)
        elif isinstance(node, ast.If):
            self.run(node.body if self._plain(node.test) else node.orelse)
        elif isinstance(node, ast.FunctionDef):
            (self.helpers if pure.is_simple_helper(node) else self.bodies)[node.name] = node
        elif isinstance(node, ast.Expr):
            self._expression(node.value)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            if not scripts.is_solution_import(node):
                self.imported |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif not isinstance(node, ast.Pass):
            raise pure.UnsupportedError(type(node).__name__)

    def _expression(self, node: ast.expr) -> None:
        if isinstance(node, ast.Constant | ast.Name):
            return
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id == "print" and not self._mentions_solution(node):
                return
            if node.func.id in self.bodies:
                self._enter(self.bodies[node.func.id], node)
                return
        raise pure.UnsupportedError("a call for its effect")

    def _enter(self, function: ast.FunctionDef, call: ast.Call) -> None:
        """``check(candidate)``: run the function's body with its parameters bound."""
        parameters = [argument.arg for argument in function.args.args]
        if call.keywords or len(call.args) != len(parameters) or function.decorator_list:
            raise pure.UnsupportedError("a call of another shape")
        before = dict(self.names), dict(self.pending)
        for name, value in zip(parameters, call.args, strict=True):
            path = self._path(value)
            self.pending.pop(name, None)
            self.names[name] = _Solution(path) if path is not None else self._plain(value)
        self.run(function.body)
        self.names, self.pending = before

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        path = self._path(value)
        if isinstance(value, ast.Call) and not value.args and not value.keywords:
            made = self._path(value.func)
            path = "Solution()" if made == "Solution" else path  # LeetCode's class only holds functions
        if path is not None and isinstance(target, ast.Name):
            self.pending.pop(target.id, None)
            self.names[target.id] = _Solution(path)
            return
        reduced = self._reduced(value)
        if isinstance(target, ast.Name) and self._pending_names(reduced):
            self.names.pop(target.id, None)
            self.pending[target.id] = reduced
            return
        for node in ast.walk(target):
            if isinstance(node, ast.Name):
                self.pending.pop(node.id, None)
        pure.bind(target, self._evaluator()(reduced), self.names)

    def _assert(self, test: ast.expr) -> None:
        reduced = self._reduced(test)
        used = sorted(self._pending_names(reduced), key=_number)
        if not used:
            if not self._evaluator()(reduced):
                raise pure.UnsupportedError("an assert that fails by itself")
            return
        self._check_known(reduced, set(used))
        calls = tuple(self.calls[_number(name)] for name in used)
        if any(call.function.isidentifier() and call.function[0].isupper() for call in calls) and not (
            len(calls) == 1 and isinstance(reduced, ast.Compare) and isinstance(reduced.left, ast.Name)
        ):  # all that is known of a result here is what plain data it equals
            raise pure.UnsupportedError("an object of the solution's own class")
        self.tests.append(CallTest(calls, _acceptance(reduced, used, self.helpers)))

    def _check_known(self, node: ast.expr, results: set[str]) -> None:
        """Refuse now what the evaluator would refuse when it is too late: unknown names and node types."""
        bound = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
        for part in ast.walk(node):
            if isinstance(part, ast.Name):
                known = part.id in results | bound | pure.NAMES.keys() | self.helpers.keys()
                if not known and part.id not in ("math", "collections"):
                    raise pure.UnsupportedError(f"the name {part.id}")
            elif isinstance(part, ast.expr) and not hasattr(pure.Evaluator, "_" + type(part).__name__):
                raise pure.UnsupportedError(type(part).__name__)
            elif isinstance(part, ast.BinOp) and isinstance(part.op, ast.LShift | ast.RShift | ast.MatMult | ast.Mod):
                raise pure.UnsupportedError("an operator")
            elif isinstance(part, ast.Attribute) and part.attr not in _KNOWN_ATTRIBUTES:
                raise pure.UnsupportedError(f"the attribute {part.attr}")

    def _plain(self, node: ast.expr) -> Any:
        reduced = self._reduced(node)
        if self._pending_names(reduced):
            raise pure.UnsupportedError("control by what the solution returns")
        return self._evaluator()(reduced)

    def _evaluator(self) -> pure.Evaluator:
        values = {name: value for name, value in self.names.items() if not isinstance(value, _Solution)}
        return pure.Evaluator(values, self.helpers)

    def _reduced(self, node: ast.expr) -> ast.expr:
        """The expression with plain names replaced by their values and solution calls by their results."""
        return _Reduce(self).visit(copy.deepcopy(node))  # type: ignore[no-any-return]

    @staticmethod
    def _pending_names(node: ast.AST) -> set[str]:
        return {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and n.id.startswith(_RESULT)}

    def _mentions_solution(self, node: ast.AST) -> bool:
        return any(isinstance(n, ast.Name) and self._is_solution_name(n.id) for n in ast.walk(node))

    def _is_solution_name(self, name: str) -> bool:
        if name in self.names:
            return isinstance(self.names[name], _Solution)
        if name in self.imported or name in self.shadowed:
            return name in self.shadowed
        return name not in self.pending and name not in self.helpers and name not in self.bodies and (
            name not in pure.NAMES and not hasattr(builtins, name) and name not in ("math", "collections")
        )  # fmt: skip

    def _path(self, node: ast.expr) -> str | None:
        """``f``, ``Solution().f``, ``candidate``: the path of something of the solution, else ``None``."""
        if isinstance(node, ast.Name):
            if not self._is_solution_name(node.id):
                return None
            held = self.names.get(node.id)
            return held.path if isinstance(held, _Solution) else node.id
        if isinstance(node, ast.Attribute):
            owner = self._path(node.value)
            if owner is None and isinstance(node.value, ast.Call) and not node.value.args and not node.value.keywords:
                made = self._path(node.value.func)
                owner = None if made is None or made != "Solution" else f"{made}()"
            return None if owner is None else f"{owner}.{node.attr}"
        return None


class _Reduce(ast.NodeTransformer):
    """Replaces what is known by its value, and calls of the solution by the name of their result."""

    def __init__(self, walk: _Walk) -> None:
        self.walk = walk

    def visit_Call(self, node: ast.Call) -> ast.expr:
        path = self.walk._path(node.func)
        if path is None:
            if isinstance(node.func, ast.Attribute):
                node.func.value = self.visit(node.func.value)
            node.args = [self.visit(argument) for argument in node.args]
            for word in node.keywords:
                word.value = self.visit(word.value)
            return node
        if any(word.arg is None for word in node.keywords):
            raise pure.UnsupportedError("**keywords")
        evaluate = self.walk._plain
        args = evaluate(ast.Tuple(elts=node.args, ctx=ast.Load()))
        words = tuple((str(word.arg), evaluate(word.value)) for word in node.keywords)
        self.walk.calls.append(Call(path, tuple(args), words))
        return ast.Name(id=f"{_RESULT}{len(self.walk.calls) - 1}", ctx=ast.Load())

    def visit_Name(self, node: ast.Name) -> ast.expr:
        if not isinstance(node.ctx, ast.Load):
            return node
        if node.id in self.walk.pending:
            return copy.deepcopy(self.walk.pending[node.id])
        if node.id in self.walk.names:
            value = self.walk.names[node.id]
            if isinstance(value, _Solution):
                raise pure.UnsupportedError("the solution's function as a value")
            return ast.Constant(value=value)
        return node


_KNOWN_ATTRIBUTES = {name for names in pure._METHODS.values() for name in names} | set(pure._MATH) | {"Counter"}


def _number(result: str) -> int:
    return int(result.removeprefix(_RESULT))


def _acceptance(
    expression: ast.expr, results: list[str], helpers: dict[str, ast.FunctionDef]
) -> Callable[[list[Any]], bool]:
    def accept(values: list[Any]) -> bool:
        evaluate = pure.Evaluator(dict(zip(results, values, strict=True)), helpers)
        try:
            return bool(evaluate(expression))
        except Exception:  # noqa: BLE001  as in Python, an assert whose expression raises has not passed
            return False

    return accept
