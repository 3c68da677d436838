"""The real vLLM on a model made on the spot: in process, from the command line, and as a server."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("vllm", reason="vLLM is not installed; `make test-vllm` installs its CPU build")

from klear_data.errors import UsageError
from klear_data.generate.drive import drive
from klear_data.generate.transformers_backend import generate, load_model_and_tokenizer
from klear_data.generate.types import Engine, Prompt, Sampled, SamplingParams
from klear_train.tiny import make_tiny_model

pytestmark = [pytest.mark.vllm, pytest.mark.timeout(280)]
BIN = Path(sys.executable).parent
OPTIONS: dict[str, Any] = {"dtype": "float32", "enforce_eager": True, "max_num_seqs": 16}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Heads of 32: vLLM's CPU attention takes no smaller ones.
    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=64, num_heads=2, num_layers=2)


@pytest.fixture(scope="module")
def engine(model: Path) -> Iterator[Any]:
    from klear_data.generate.vllm_backend import VLLMEngine

    opened = VLLMEngine(str(model), SamplingParams(n=2), OPTIONS)
    yield opened
    opened.close()


def prompts(count: int, letters: int = 3) -> list[Prompt]:
    return [
        Prompt(f"id-{at}", [{"role": "user", "content": f"{at} " + "x" * letters * (at % 5)}]) for at in range(count)
    ]


def run(engine: Any, asked: list[Prompt], params: SamplingParams, window: int | None = 1000) -> list[Sampled]:
    engine.params = params  # one engine for all tests: it takes long to open
    opened: Engine = engine
    return [sampled for _, sampled in drive(opened, asked, window=window)]


def tokens(results: list[Sampled]) -> dict[str, list[list[int]]]:
    return {one.record_id: [completion.token_ids for completion in one.completions] for one in results}


def test_many_more_prompts_than_slots_come_back_whole_and_in_order(engine: Any) -> None:
    params = SamplingParams(n=3, top_p=1.0, max_tokens=24, seed=1)
    results = run(engine, prompts(40), params)
    assert [one.record_id for one in results] == [f"id-{at}" for at in range(40)]
    assert all([completion.index for completion in one.completions] == [0, 1, 2] for one in results)
    assert all(len({tuple(c.token_ids) for c in one.completions}) == 3 for one in results)
    for completion in (completion for one in results for completion in one.completions):
        assert (completion.finish_reason == "length") == (len(completion.token_ids) == 24) or (
            completion.finish_reason == "stop"
        )
        assert not completion.text.endswith("<|end|>")
    assert sorted(tokens(run(engine, prompts(40), params, window=None))) == sorted(tokens(results))


def test_a_rollout_is_the_same_alone_and_in_a_crowd(engine: Any) -> None:
    params = SamplingParams(n=2, top_p=0.9, max_tokens=24, seed=5)
    crowd = tokens(run(engine, prompts(30), params))
    alone = tokens(run(engine, prompts(30)[7:8], params))
    assert alone["id-7"] == crowd["id-7"]
    other = tokens(run(engine, prompts(30)[7:8], SamplingParams(n=2, top_p=0.9, max_tokens=24, seed=6)))
    assert other["id-7"] != crowd["id-7"]


def test_greedy_decoding_agrees_with_the_transformers_backend(engine: Any, model: Path) -> None:
    params = SamplingParams(n=1, temperature=0.0, max_tokens=16)
    loaded = load_model_and_tokenizer(model, dtype="float32", device="cpu")
    expected = list(generate(*loaded, prompts(8), params))
    found = run(engine, prompts(8), params)
    assert [one.prompt_ids for one in found] == [one.prompt_ids for one in expected]
    assert tokens(found) == tokens(expected)
    assert [c.text for one in found for c in one.completions] == [c.text for one in expected for c in one.completions]


def test_stop_texts_end_a_completion_and_are_not_part_of_it(engine: Any) -> None:
    plain = run(engine, prompts(4), SamplingParams(n=1, temperature=0.0, max_tokens=16))
    stop = plain[0].completions[0].text[5:7]
    cut = run(engine, prompts(4), SamplingParams(n=1, temperature=0.0, max_tokens=16, stop=(stop,)))
    assert cut[0].completions[0].finish_reason == "stop"
    text = plain[0].completions[0].text
    assert cut[0].completions[0].text == text[: text.index(stop)]


def test_a_prompt_beyond_the_context_is_kept_and_marked_and_a_long_one_stops_at_its_end(engine: Any) -> None:
    asked = [*prompts(2), Prompt("long", [{"role": "user", "content": "x" * 600}])]
    asked.append(Prompt("nearly", [{"role": "user", "content": "x" * 500}]))
    results = run(engine, asked, SamplingParams(n=2, top_p=1.0, max_tokens=20))
    assert [one.prompt_too_long for one in results] == [False, False, True, False]
    assert [c.finish_reason for c in results[2].completions] == ["length", "length"]
    assert all(len(c.token_ids) <= 512 - len(results[3].prompt_ids) for c in results[3].completions)


def test_a_folder_that_vllm_can_not_load_is_said(tmp_path: Path) -> None:
    from klear_data.generate.vllm_backend import VLLMEngine

    (tmp_path / "config.json").write_text(json.dumps({"model_type": "none-such"}))
    with pytest.raises(UsageError, match="vLLM can't load it"):
        VLLMEngine(str(tmp_path), SamplingParams(), OPTIONS)


def problems(path: Path, count: int) -> None:
    one = {"schema": "klear/1", "ability": "math", "reward_model": {"style": "rule", "ground_truth": "1"}}
    records = [{**one, "id": f"{at:016x}", "prompt": [{"role": "user", "content": f"{at}?"}]} for at in range(count)]
    path.write_text("".join(json.dumps(record) + "\n" for record in records))


def klear(folder: Path, *arguments: object, environment: dict[str, str] | None = None) -> Any:
    return subprocess.run(
        [BIN / "klear", *map(str, arguments)], cwd=folder, capture_output=True, check=False,
        env=os.environ | (environment or {}),
    )  # fmt: skip


def test_the_command_line_samples_with_vllm(tmp_path: Path, model: Path) -> None:
    problems(tmp_path / "in.jsonl", 6)
    result = klear(
        tmp_path, "sample", "in.jsonl", "--model", model, "--backend", "vllm", "--dtype", "float32", "--n", 2,
        "--max-tokens", 12, "--max-model-len", 256, "-q",
    )  # fmt: skip
    assert result.returncode == 0, result.stderr.decode()[-3000:]
    records = [json.loads(line) for line in result.stdout.splitlines()]  # vLLM's own lines are not on stdout
    assert [record["id"] for record in records] == [f"{at:016x}" for at in range(6)]
    assert all(len(record["rollouts"]) == 2 and record["sampling"]["backend"] == "vllm" for record in records)


@pytest.mark.timeout(600)  # vLLM starts five times
def test_copies_of_a_model_and_a_model_in_parts_give_what_one_gives(tmp_path: Path, model: Path) -> None:
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("two workers want two cores")
    problems(tmp_path / "in.jsonl", 12)
    line = ["sample", "in.jsonl", "--model", model, "--backend", "vllm", "--dtype", "float32", "--n", 2, "-q"]
    line += ["--max-tokens", 12, "--max-model-len", 256, "--temperature", 0]
    first, second, *_ = sorted(os.sched_getaffinity(0))
    cores = {"VLLM_CPU_OMP_THREADS_BIND": f"{first}|{second}"}
    alone = klear(tmp_path, *line)
    for option in ("--data-parallel", "--tensor-parallel"):
        found = klear(tmp_path, *line, option, 2, environment=cores)
        assert found.returncode == 0, found.stderr.decode()[-3000:]
        assert found.stdout == alone.stdout


@pytest.fixture
def server(model: Path, tmp_path: Path) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path / "server.log").open("wb")
    process = subprocess.Popen(
        # What `vllm serve` runs: the CPU build's own command looks for a distribution called vllm and ends there.
        [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", model, "--served-model-name", "tiny",
         "--host", "127.0.0.1", "--port", str(port), "--dtype", "float32", "--enforce-eager", "--max-num-seqs", "16"],
        stdout=log, stderr=log, env=os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1"},
    )  # fmt: skip
    try:
        deadline_s = time.monotonic() + 200
        while not _answers(f"http://127.0.0.1:{port}/health"):
            said = (tmp_path / "server.log").read_text()[-3000:]
            assert process.poll() is None, said
            assert time.monotonic() < deadline_s, said
            time.sleep(0.5)
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        process.wait(timeout=30)
        log.close()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def test_vllm_as_a_server_is_driven_by_the_openai_backend(tmp_path: Path, server: str) -> None:
    problems(tmp_path / "in.jsonl", 12)
    line = ["sample", "in.jsonl", "--backend", "openai", "--base-url", server, "--n", 2, "--max-tokens", 12, "--resume"]
    result = klear(tmp_path, *line, "--model", "tiny", "-o", "out.jsonl", "-q")
    assert result.returncode == 0, result.stderr.decode()
    records = [json.loads(one) for one in (tmp_path / "out.jsonl").open()]
    assert [record["id"] for record in records] == [f"{at:016x}" for at in range(12)]
    rollouts = [rollout for record in records for rollout in record["rollouts"]]
    assert len(rollouts) == 24
    assert all(
        0 < rollout["num_tokens"] <= 12 and rollout["finish_reason"] in ("stop", "length") for rollout in rollouts
    )
    # The default of 32,768 tokens is more than this model's context: the server writes as far as it goes.
    far = klear(tmp_path, *line[:-3], "--model", "tiny", "--limit", 1, "-q")
    assert json.loads(far.stdout)["rollouts"][0]["num_tokens"] > 12, far.stderr
    wrong = klear(tmp_path, *line, "--model", "other", "-o", "other.jsonl")
    assert wrong.returncode == 2
    assert b"HTTP 404" in wrong.stderr
    assert b"--model" in wrong.stderr
