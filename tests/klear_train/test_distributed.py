"""Two processes over gloo do what one does: the same losses, checkpoints that either reads, one voice."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from klear_train import distributed
from klear_train.checkpoint import checkpoints
from tests.klear_train.two_processes import copy_at_step_3, run

pytestmark = pytest.mark.timeout(280)
ROOT = Path(__file__).resolve().parents[2]
CLOSE = {"rel": 1e-5, "abs": 1e-7}


def torchrun(*command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", *command],
        capture_output=True, text=True, check=False, cwd=ROOT,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tiny_model: Path, toy_rows: list[dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All runs: the plain one here, the others by two processes."""
    path = tmp_path_factory.mktemp("distributed")
    (path / "model").symlink_to(tiny_model)
    with (path / "sft.jsonl").open("w") as file:
        for number, row in enumerate(toy_rows[:60]):
            turns = [("user", row["problem"]), ("assistant", row["response"])]
            record = {"id": f"{number}/0", "messages": [{"role": role, "content": text} for role, text in turns]}
            file.write(json.dumps(record) + "\n")
    run(path, "one_process")
    run(path, "bfloat16_one", "model.dtype=bfloat16")
    done = torchrun("tests.klear_train.two_processes", str(path))
    assert done.returncode == 0, done.stderr[-3000:]
    copy_at_step_3(path / "two_processes", path / "two_then_one")
    run(path, "two_then_one", resume=True)
    return path


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def assert_same_losses(one: Path, other: Path, **close: float) -> None:
    assert [row["step"] for row in metrics(one)] == [row["step"] for row in metrics(other)] == list(range(7))
    for first, second in zip(metrics(one), metrics(other), strict=True):
        assert first.keys() == second.keys()
        for key in first.keys() & {"loss", "grad_norm", "validation_loss"}:
            assert first[key] == pytest.approx(second[key], **close), (first["step"], key)


@pytest.mark.parametrize("name", ["two_processes", "one_then_two", "two_then_one"])
def test_losses_are_those_of_one_process_from_the_start_and_after_going_on(folder: Path, name: str) -> None:
    assert_same_losses(folder / "one_process", folder / name, **CLOSE)


def test_the_final_models_of_one_and_two_processes_agree(folder: Path) -> None:
    one, two = (AutoModelForCausalLM.from_pretrained(folder / n / "final") for n in ("one_process", "two_processes"))
    for name, tensor in one.state_dict().items():
        torch.testing.assert_close(two.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)
    assert two.get_output_embeddings().weight.data_ptr() == two.get_input_embeddings().weight.data_ptr()


def test_each_process_writes_its_part_of_a_checkpoint(folder: Path) -> None:
    (found,) = checkpoints(folder / "two_processes" / "checkpoints")
    assert {"__0_0.distcp", "__1_0.distcp", "position.json"} <= {path.name for path in found.iterdir()}


def test_bfloat16_keeps_weights_in_float32_while_training_and_writes_bfloat16(folder: Path) -> None:
    assert_same_losses(folder / "bfloat16_one", folder / "bfloat16_two", rel=0.02)
    assert_same_losses(folder / "bfloat16_one", folder / "one_process", rel=0.05)
    half = AutoModelForCausalLM.from_pretrained(folder / "bfloat16_two" / "final", dtype="auto")
    assert half.dtype == torch.bfloat16
    state = torch.distributed.checkpoint.FileSystemReader(folder / "bfloat16_two" / "checkpoints" / "step_000003")
    kinds = {entry.properties.dtype for name, entry in state.read_metadata().state_dict_metadata.items()
             if hasattr(entry, "properties") and name.startswith(("model.", "optimizer."))}  # fmt: skip
    assert kinds == {torch.float32}


def test_an_error_is_said_by_one_process_and_ends_all_of_them(folder: Path) -> None:
    first, second = ((folder / f"nothing_fits_{rank}.txt").read_text() for rank in (0, 1))
    assert first.startswith("RecordError --data: all 60 records are longer than pack_tokens = 8")
    assert second == "SystemExit 3"


def test_a_number_that_is_none_on_one_process_skips_the_step_on_all_and_its_batch_is_kept(folder: Path) -> None:
    first, second = ((folder / f"broken_{rank}.txt").read_text() for rank in (0, 1))
    assert "2 steps in a row without a finite loss" in first
    assert "bad_batch_000002.jsonl" in first
    assert second == "SystemExit 1"
    lines = [json.loads(line) for line in (folder / "broken" / "bad_batch_000002.jsonl").read_text().splitlines()]
    assert {line["row"] for line in lines} == set(range(5))
    assert all(line["trained"] and max(line["trained"]) < len(line["tokens"]) for line in lines)


def test_the_command_runs_under_torchrun_and_speaks_with_one_voice(folder: Path) -> None:
    done = torchrun(
        "cli.main", "train", "sft", "--recipe", "tiny-sft", "--model", str(folder / "model"), "--data",
        str(folder / "sft.jsonl"), "--out", str(folder / "command"), "--set", "max_steps=2",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == ""
    assert done.stderr.count("step 2/2") == done.stderr.count("klear train: 2 steps") == 1
    assert (folder / "command" / "final" / "config.json").is_file()


def test_one_process_alone_is_a_world_of_one() -> None:
    with distributed.start() as world:
        assert (world.rank, world.size, world.is_main) == (0, 1, True)
        assert world.sum(1.5, 2.0) == [1.5, 2.0]
        assert world.once(lambda: "x") == "x"
    assert not torch.distributed.is_initialized()
