from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from klear_data.text import words
from klear_data.toy import Planted, ToyFiles, write_toy


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> ToyFiles:
    return write_toy(tmp_path_factory.mktemp("toy"), seed=1, n_math=400, n_code=300, n_heldout=100)


def lines(path: Path) -> tuple[list[dict[str, Any]], int]:
    """The problems of a file and its number of broken lines."""
    good, broken = [], 0
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            good.append(json.loads(line))
        except json.JSONDecodeError:
            broken += 1
    return good, broken


def program_of(response: str) -> str:
    return response.split("```python\n")[1].split("```")[0]


def outputs(program: str, inputs: list[str]) -> list[str]:
    found = []
    for text in inputs:
        printed: list[str] = []
        exec(program, {"input": lambda text=text: text, "print": lambda x, printed=printed: printed.append(f"{x}\n")})
        found.append("".join(printed))
    return found


def test_the_same_seed_writes_the_same_bytes_and_another_one_others(tmp_path: Path) -> None:
    texts = []
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        files = write_toy(tmp_path / name, seed=seed, n_math=50, n_code=50, n_heldout=20)
        texts.append([path.read_text() for path in (*files.raw.values(), *files.heldout.values())])
    assert texts[0] == texts[1]
    assert all(one != other for one, other in zip(texts[0], texts[2], strict=True))


@pytest.mark.parametrize(("ability", "count"), [("math", 400), ("code", 300)])
def test_what_is_planted_is_what_is_found(toy: ToyFiles, ability: str, count: int) -> None:
    raw, broken = lines(toy.raw[ability])
    heldout = {problem["problem"] for problem in lines(toy.heldout[ability])[0]}
    planted = toy.planted[ability]
    times = Counter(problem["problem"] for problem in raw)
    assert broken == planted.broken
    assert sum(problem["problem"] in heldout for problem in raw) == planted.leaks
    assert sum(times.values()) - len(times) == planted.duplicates
    assert len(raw) == count + planted.duplicates + planted.leaks


def test_the_teacher_is_right_in_most_cases_but_not_all(toy: ToyFiles) -> None:
    math, _ = lines(toy.raw["math"])
    boxed = [problem["response"].split("\\boxed{")[1].rstrip("}") == problem["answer"] for problem in math]
    code, _ = lines(toy.raw["code"])
    passed = [
        outputs(program_of(problem["response"]), problem["tests"]["inputs"]) == problem["tests"]["outputs"]
        for problem in code
    ]
    for right in (boxed, passed):
        assert 0.55 < sum(right) / len(right) < 0.85


def test_no_raw_problem_but_a_leak_shares_a_word_run_with_a_held_out_one(toy: ToyFiles) -> None:
    for ability in ("math", "code"):
        heldout = [problem["problem"] for problem in lines(toy.heldout[ability])[0]]
        known = {run for text in heldout for run in word_runs(text)}
        clean = [problem["problem"] for problem in lines(toy.raw[ability])[0] if problem["problem"] not in heldout]
        assert not [text for text in clean if known & set(word_runs(text))]


def word_runs(text: str) -> list[tuple[str, ...]]:
    found = words(text)
    assert len(found) >= 9, "shorter ones could never match"
    return [tuple(found[at : at + 9]) for at in range(len(found) - 8)]


def test_a_math_answer_is_the_sum_its_problem_asks_for(toy: ToyFiles) -> None:
    for problem in lines(toy.raw["math"])[0]:
        digits = [int(char) for char in problem["problem"] if char.isdigit()]
        assert 3 <= len(digits) <= 6
        assert int(problem["answer"]) == sum(digits)


def test_code_problems_have_16_tests_and_a_response_with_think_and_program(toy: ToyFiles) -> None:
    for problem in lines(toy.raw["code"])[0] + lines(toy.heldout["code"])[0]:
        assert len(problem["tests"]["inputs"]) == len(problem["tests"]["outputs"]) == 16
        assert problem["response"].startswith("<think>")
        compile(program_of(problem["response"]), "response", "exec")


def test_the_expected_outputs_are_those_of_the_described_operations() -> None:
    from klear_data.toy import _run_chain

    assert _run_chain([("times", 3), ("plus", 7), ("min", 5)], 2) == 5
    assert _run_chain([("minus", 4), ("max", 2)], 1) == 2


def test_more_problems_than_there_are_is_an_error_and_no_endless_loop(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("klear_data.toy.LETTERS", "abcdef")
    monkeypatch.setattr("random.Random.randint", lambda self, low, high: low)
    with pytest.raises(ValueError, match="more distinct ones were asked for than there are"):
        write_toy(tmp_path, n_math=10, n_code=1, n_heldout=2, planted=Planted(0, 0, 0))
