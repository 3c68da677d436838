"""The shape of the code: imports go one way, the sandbox stands alone, the CLI starts light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
LAYERS = ["sandbox", "klear_data", "klear_train", "cli"]
HEAVY = {
    "torch",
    "transformers",
    "vllm",
    "datasets",
    "polars",
    "pyarrow",
    "sympy",
    "math_verify",
    "ray",
    "numpy",
    "numba",
}

# Modules around one heavy package, imported by the functions that use them.
LOADED_WHEN_NEEDED = {"parquet.py", "kernels.py"}


def imported_packages(path: Path, *, top_level_only: bool) -> set[str]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if top_level_only else ast.walk(tree)
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found.add(node.module.split(".")[0])
    return found


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


@pytest.mark.parametrize("layer", LAYERS)
def test_imports_go_down_the_layers_only(layer: str) -> None:
    above = set(LAYERS[LAYERS.index(layer) + 1 :])
    wrong = {str(path): imported_packages(path, top_level_only=False) & above for path in modules(layer)}
    assert not {path: names for path, names in wrong.items() if names}


def test_sandbox_needs_the_standard_library_only() -> None:
    allowed = sys.stdlib_module_names | {"sandbox"}
    # numpy is what a judged program may ask for; the sandbox loads it on request inside its own server.
    wrong = {str(path): imported_packages(path, top_level_only=True) - allowed for path in modules("sandbox")}
    assert not {path: names for path, names in wrong.items() if names}


@pytest.mark.parametrize("package", ["klear_data", "cli"])
def test_heavy_packages_are_imported_inside_functions(package: str) -> None:
    wrong = {}
    for path in modules(package):
        if path.name in LOADED_WHEN_NEEDED:
            continue
        wrong[str(path)] = imported_packages(path, top_level_only=True) & (HEAVY - {"sympy", "math_verify"})
    assert not {path: names for path, names in wrong.items() if names}


SHOW_HELP = """
from typer.testing import CliRunner
import cli.main
result = CliRunner().invoke(cli.main.app, ["--help"])
assert result.exit_code == 0, result
"""


@pytest.mark.parametrize("program", ["import cli.main", SHOW_HELP])
def test_starting_the_cli_loads_nothing_heavy(program: str) -> None:
    program += f"\nimport sys\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert run.stdout.strip() == "[]", run.stderr


def test_no_file_and_no_function_outgrew_its_idea() -> None:
    long_files, long_functions = [], []
    for package in LAYERS:
        for path in modules(package):
            text = path.read_text(encoding="utf-8")
            if text.count("\n") > 320:
                long_files.append(f"{path}: {text.count(chr(10))} lines")
            for node in ast.walk(ast.parse(text)):
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                    body = [child for child in node.body if not isinstance(child, ast.FunctionDef)]
                    length = (node.end_lineno or 0) - body[0].lineno
                    if length > 70:
                        long_functions.append(f"{path}:{node.lineno} {node.name}: {length} lines")
    assert not long_files + long_functions
