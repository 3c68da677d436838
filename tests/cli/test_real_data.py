"""The stages on files as their publishers have them, where ../shared/data is at hand."""

import json
from pathlib import Path

import pytest

from tests.cli.conftest import parsed

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
BENCHMARKS = "benchmarks/gsm8k_test.jsonl,benchmarks/math500.jsonl,benchmarks/humaneval.jsonl,benchmarks/mbpp.json"

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real files are not at hand")


def curate_line(source, tmp_path, *options):
    benchmarks = ",".join(str(DATA / name) for name in BENCHMARKS.split(","))
    given = f"klear curate --sources {DATA / source} --decontaminate {benchmarks} --report {tmp_path}/curate.json"
    return " ".join([given, *options])


def test_gsm8k_goes_from_raw_file_to_sft_examples(shell, tmp_path):
    curate = curate_line("math/gsm8k_train.jsonl", tmp_path, "--rejects dropped.jsonl")
    result = shell(f"{curate} | klear reward-math --think none | klear label | klear format sft > sft.jsonl")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "curate.json").read_text())
    assert report["in"] == 7473
    assert report["out"] + report["rejected"] == 7473
    examples = parsed((tmp_path / "sft.jsonl").read_bytes())
    assert len(examples) == report["out"]
    # Worked solutions end in their own gold: every one must verify.
    assert {example["verdict"] for example in examples} == {"AC"}
    dropped = parsed((tmp_path / "dropped.jsonl").read_bytes())
    assert {record["rejected"]["reason"] for record in dropped} == {"contaminated"}
    for record in dropped:
        assert record["rejected"]["benchmark"] in BENCHMARKS
        assert record["rejected"]["span"]


def test_math_and_aime_are_one_collection_without_repeats(shell, tmp_path):
    curate = curate_line(f"math/rllm_math.json,{DATA}/math/rllm_aime.json", tmp_path)
    records = parsed(shell(f"{curate} -q").stdout)
    assert len({record["id"] for record in records}) == len(records) > 7000
    report = json.loads((tmp_path / "curate.json").read_text())
    assert report["in"] == 7474 + 975
    assert report["dropped"]["duplicate"] > 200  # AIME problems that MATH also has


def test_leetcode_reference_solutions_pass_their_tests(shell, tmp_path):
    curate = curate_line("code/rllm_leetcode.json", tmp_path, "--limit 60")
    result = shell(f"{curate} | klear reward-code --think none -o judged.jsonl")
    assert result.returncode == 0, result.stderr
    records = parsed((tmp_path / "judged.jsonl").read_bytes())
    assert len(records) > 50
    rollouts = [rollout for record in records for rollout in record["rollouts"]]
    assert {(rollout["verdict"], rollout["reward"]) for rollout in rollouts} == {("AC", 1.0)}


def test_too_few_tests_drop_a_code_problem_on_request(shell, tmp_path):
    assert shell(curate_line("code/rllm_leetcode.json", tmp_path, "--min-tests 16 --limit 60 -q")).returncode == 0
    report = json.loads((tmp_path / "curate.json").read_text())
    assert report["dropped"] == {"too_few_tests": 60}
