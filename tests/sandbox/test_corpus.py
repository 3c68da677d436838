"""Every program of ``tests/sandbox_cases`` is judged as its file says; a case is added as data, without code."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import pytest

from sandbox import JudgePool, parse_tests

_ROOT = Path(__file__).resolve().parents[1] / "sandbox_cases"
_CASES = sorted(_ROOT.glob("*/*.toml"))


def _read(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    case = tomllib.loads(path.read_text())
    tests = case["tests"]
    for key in ("inputs", "outputs"):
        if key in tests:
            tests[key] = json.loads(tests[key])
    return case, tests


def test_the_corpus_is_there_and_has_all_its_groups() -> None:
    assert len(_CASES) >= 80
    groups = {path.parent.name for path in _CASES}
    assert groups == {"honest", "forging", "theft", "escape", "bombs", "crash", "leaks"}


@pytest.mark.parametrize("path", _CASES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_program_is_judged_as_its_file_says(path: Path, pool: JudgePool) -> None:
    case, tests = _read(path)
    language = case.get("language", "python")
    if language == "cpp" and (not shutil.which("g++") or pool.level != "full"):
        pytest.skip("C++ needs g++ and user namespaces")
    judgement = pool.judge(case["program"], parse_tests(tests), language=language)
    why = f"{case['why']}: {judgement}"
    assert judgement.verdict != "XX", why
    if case["score"] == "full":
        assert judgement.passed == judgement.total > 0, why
    elif case["score"] == "zero":
        assert judgement.passed == 0 < judgement.total, why
    else:
        assert judgement.passed < judgement.total, why
    if "verdicts" in case:
        assert judgement.verdict in case["verdicts"], why
    if "weak" in case:
        assert judgement.weak is case["weak"], why
