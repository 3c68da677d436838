"""Test code that has to run: cut into scripts, one a test, for `sandbox.remote` to run beside the solution."""

from __future__ import annotations

import ast
import builtins
import copy
import sys
from collections.abc import Callable

from sandbox import pure
from sandbox.types import AllOf, CallTest, ScriptTest, Test, TestsError

#: Names that the script's process offers by itself (`sandbox.prelude`).
_HELPERS = frozenset(("ListNode", "TreeNode", *pure.NAMES, "defaultdict", "deque", "OrderedDict"))
#: A test that uses these without importing them relies on the solution's imports, but means the real ones.
_MODULES = {name: f"import {name}" for name in (*sys.stdlib_module_names, "numpy", "pytest")} | {
    "np": "import numpy as np"
}
Convert = Callable[[list[ast.stmt]], list[CallTest] | None]


def cut(tree: ast.Module) -> list[ScriptTest]:
    """One script for each statement that asserts, with the statements before it that it may depend on.

    An earlier assert is kept, as a bare expression, where it mentions a variable of the test code (its call
    may have changed that); otherwise it is left out, so that every test has a fresh process.
    """
    module = [node for node in tree.body if not is_solution_import(node)]
    checks = _checked_function(module)
    if checks is None:
        return [_script(body) for body in _slices(module)]
    function, rest = checks
    found = []
    for body in _slices(function.body):
        sliced = copy.copy(function)
        sliced.body = body
        found.append(_script([sliced if node is function else node for node in rest]))
    return found


def pytest_tests(tree: ast.Module, *, convert: Convert) -> list[Test]:
    """One test for each test function (and each set of its parameters) of a pytest module.

    Raises:
        TestsError: the module has no test functions.
    """
    module = [node for node in tree.body if not is_solution_import(node)]
    functions = [node for node in module if isinstance(node, ast.FunctionDef) and node.name.startswith("test")]
    classes = [node for node in module if isinstance(node, ast.ClassDef) and node.name.startswith("Test")]
    preamble = [node for node in module if node not in functions]
    found: list[Test] = []
    for function in functions:
        found += _pytest_function(function, [n for n in preamble if n not in classes], convert)
    for owner in classes:
        for method in owner.body:
            if isinstance(method, ast.FunctionDef) and method.name.startswith("test"):
                found.append(_script([*preamble, *ast.parse(f"__run_test__({owner.name!r}, {method.name!r})").body]))
    if not found:
        raise TestsError("tests: the pytest module has no test functions")
    return found


def is_solution_import(node: ast.stmt) -> bool:
    """``from solution import f``: an import of something that is no known module is the solution's."""
    if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
        return False
    top = node.module.split(".")[0]
    return top not in sys.stdlib_module_names and top not in ("numpy", "pytest", "sortedcontainers")


def _pytest_function(function: ast.FunctionDef, preamble: list[ast.stmt], convert: Convert) -> list[Test]:
    converted: list[Test] = []
    for bindings in _parameter_sets(function, preamble):
        calls = None if bindings is None else convert([*preamble, *bindings, *function.body])
        if not calls:
            return [_script([*preamble, function, *ast.parse(f"__run_test__({function.name!r})").body])]
        converted.append(calls[0] if len(calls) == 1 else AllOf(tuple(calls)))
    return converted


def _parameter_sets(function: ast.FunctionDef, preamble: list[ast.stmt]) -> list[list[ast.stmt] | None]:
    """The assignments that stand for each set of ``parametrize``; ``[None]`` where it is more than that."""
    if not function.decorator_list:
        return [None] if function.args.args else [[]]
    mark = function.decorator_list[0]
    simple = (
        len(function.decorator_list) == 1 and isinstance(mark, ast.Call) and len(mark.args) == 2
        and ast.unparse(mark.func) == "pytest.mark.parametrize" and not mark.keywords
    )  # fmt: skip
    if not simple or not isinstance(mark, ast.Call):
        return [None]
    try:
        names = pure.Evaluator({})(mark.args[0])
        names = [name.strip() for name in names.split(",")] if isinstance(names, str) else list(names)
        rows = list(pure.Evaluator({})(mark.args[1]))
    except Exception:  # noqa: BLE001  not literal: leave it to the script
        return [None]
    sets: list[list[ast.stmt] | None] = []
    for row in rows:
        values = [row] if len(names) == 1 else list(row)
        if len(values) != len(names):
            return [None]
        sets.append([
            ast.Assign(targets=[ast.Name(id=name, ctx=ast.Store())], value=ast.Constant(value=value), lineno=1)
            for name, value in zip(names, values, strict=True)
        ])  # fmt: skip
    return sets or [None]


def _checked_function(module: list[ast.stmt]) -> tuple[ast.FunctionDef, list[ast.stmt]] | None:
    """``def check(candidate): …`` with asserts, called once at the end: the function, and the whole module."""
    if not module or not isinstance(module[-1], ast.Expr) or not isinstance(module[-1].value, ast.Call):
        return None
    called = module[-1].value.func
    for node in module:
        if isinstance(node, ast.FunctionDef) and isinstance(called, ast.Name) and node.name == called.id:
            return (node, module) if _asserts(node) else None
    return None


def _slices(body: list[ast.stmt]) -> list[list[ast.stmt]]:
    stored = {n.id for node in body for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
    found: list[list[ast.stmt]] = []
    before: list[ast.stmt] = []
    for node in body:
        testing = _asserts(node) and not isinstance(node, ast.FunctionDef | ast.ClassDef)
        if testing and not _is_true(node):
            found.append([*before, node])
        if not testing:
            before.append(node)
        elif stored & {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}:
            before.append(_Unasserted().visit(copy.deepcopy(node)))
    return found or ([body] if any(_asserts(node) for node in body) else [])


class _Unasserted(ast.NodeTransformer):
    def visit_Assert(self, node: ast.Assert) -> ast.stmt:
        return ast.copy_location(ast.Expr(value=node.test), node)


def _is_true(node: ast.stmt) -> bool:
    return isinstance(node, ast.Assert) and isinstance(node.test, ast.Constant) and bool(node.test.value)


def _asserts(node: ast.AST) -> bool:
    return any(isinstance(part, ast.Assert) for part in ast.walk(node))


def _script(body: list[ast.stmt]) -> ScriptTest:
    module = ast.Module(body=body, type_ignores=[])
    imports = [_MODULES[name] for name in sorted(_borrowed_modules(module))]
    module.body = [*ast.parse("\n".join(imports)).body, *body]
    ast.fix_missing_locations(module)
    try:
        source = ast.unparse(module)
    except RecursionError as error:
        raise TestsError("tests: code nested too deeply") from error
    caught = _caught_names(module)
    return ScriptTest(source, tuple(("!" if name in caught else "") + name for name in sorted(free_names(module))))


def _caught_names(module: ast.Module) -> set[str]:
    """Names in ``except E`` and ``pytest.raises(E)``: those of the solution are marked ``!E`` in a script's names."""
    places: list[ast.expr] = []
    for node in ast.walk(module):
        if isinstance(node, ast.ExceptHandler) and node.type:
            places.append(node.type)
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in ("raises", "pytest.raises"):
            places += node.args[:1]
    return {n.id for place in places for n in [place, *getattr(place, "elts", [])] if isinstance(n, ast.Name)}


def _borrowed_modules(module: ast.Module) -> set[str]:
    """Modules that are used (``math.pi``) without an import; what is called (``copy(x)``) is a function."""
    called = {n.func.id for n in ast.walk(module) if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)}
    return (free_names(module) & _MODULES.keys()) - called


def free_names(module: ast.Module) -> set[str]:
    """Names that the script uses and nobody in it binds: they are the solution's."""
    bound: set[str] = set()
    used: set[str] = set()
    for node in ast.walk(module):
        if isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else bound).add(node.id)
        elif isinstance(node, ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            bound |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
    return {name for name in used - bound - _HELPERS if not hasattr(builtins, name) and not name.startswith("__")}


def shadowed_names(body: list[ast.stmt]) -> set[str]:
    """Built-in names that the tests mean the solution's function by (``assert sum(10, 15) == 6``).

    These can only be meant where the test code calls nothing that is not built in.
    """
    module = ast.Module(body=body, type_ignores=[])
    if free_names(module) or not all(isinstance(node, ast.Assert) for node in body):
        return set()
    heads = [node.test.left if isinstance(node.test, ast.Compare) else node.test for node in body
             if isinstance(node, ast.Assert)]  # fmt: skip
    return {head.func.id for head in heads if isinstance(head, ast.Call) and isinstance(head.func, ast.Name)}
