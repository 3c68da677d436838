"""The whole of `klear eval` on a tiny model made on the spot, over the real benchmark files."""

import json
import os
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("torch")
pytest.importorskip("transformers")

from klear_train.tiny import make_tiny_model
from tests.cli.conftest import BIN, parsed

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "benchmarks"
pytestmark = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not at hand")
QUESTIONS = {"aime24": 30, "aime25": 30, "hmmt25": 30, "math500": 500, "humaneval": 164, "mbpp": 399}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=48, num_layers=2, max_length=8192)


def evaluated(folder, model, *options):
    line = ["eval", "--model", str(model), "--benchmarks-dir", str(SHARED), "--max-tokens", "8", *map(str, options)]
    run = subprocess.run(
        [BIN / "klear", *line], capture_output=True, cwd=folder, check=False, timeout=900,
        env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr.decode()
    return run.stderr.decode()


def check(folder, questions, n):
    found = json.loads((folder / "out" / "summary.json").read_bytes())
    assert found["seconds"]["sampling"] > 0
    assert {name: one["questions"] for name, one in found["benchmarks"].items()} == questions
    for name, count in questions.items():
        records = parsed((folder / "out" / f"{name}.jsonl").read_bytes())
        assert [len(record["rollouts"]) for record in records] == [n] * count
        assert all(0 < one["num_tokens"] <= 8 for record in records for one in record["rollouts"])
        assert all(one["verdict"] == "NA" for record in records for one in record["rollouts"])  # it knows nothing
        assert found["benchmarks"][name]["rates"]["no_answer"] == 1.0


def test_a_few_problems_of_each_benchmark(tmp_path, model):
    some = dict.fromkeys(QUESTIONS, 4)
    said = evaluated(
        tmp_path, model, "--benchmark", ",".join(some), "--limit", 4, "--n", 2, "--think", "none", "-o", "out"
    )
    check(tmp_path, some, 2)
    assert "the first 4 problems of each only" in said


def test_a_budget_beyond_the_model_is_stretched_and_one_beyond_that_refused(tmp_path, model):
    options = ["--benchmark", "aime24", "--limit", 1, "--n", 2, "--resume", "-o", "out"]
    evaluated(tmp_path, model, *options, "--budget", "16k")
    (record,) = parsed((tmp_path / "out" / "aime24.jsonl").read_bytes())
    assert record["sampling"]["config"]["rope_parameters"]["rope_type"] == "yarn"
    with pytest.raises(AssertionError, match=r"reaches 20,480 with YaRN's factor of 2\.5"):
        evaluated(tmp_path, model, *options, "--budget", "64k")
    with pytest.raises(AssertionError, match=r"sampled with \{'config'"):  # stretched and plain samples do not mix
        evaluated(tmp_path, model, *options)


@pytest.mark.slow
@pytest.mark.timeout(1000)
def test_every_problem_of_each_benchmark(tmp_path, model):
    evaluated(tmp_path, model, "--benchmark", ",".join(QUESTIONS), "--n", 2, "--think", "none", "-o", "out")
    check(tmp_path, QUESTIONS, 2)
