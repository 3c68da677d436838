from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from klear_data.errors import RecordError, UsageError
from klear_train.checkpoint import checkpoints
from klear_train.config import load_config
from klear_train.metrics import LiveLine
from klear_train.model import nll_sum
from klear_train.optim import TrainingStopped
from klear_train.plan import Plan, micro_batches
from klear_train.settings import SFTConfig
from klear_train.sft import run_sft
from klear_train.tokens import open_token_store

QUESTION = {"role": "user", "content": "?"}
MEASURED = ("tokens_per_s", "tflops_per_s", "peak_memory_mib")


def records(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {
            "schema": "klear-sft/1",
            "id": f"{number}/0",
            "messages": [
                {"role": "user", "content": row["problem"]},
                {"role": "assistant", "content": row["response"]},
            ],
        }
        for number, row in enumerate(rows)
    ]


def config(model: Path, *overrides: str) -> SFTConfig:
    base = [f"model.path={model}", "max_steps=6", "rows_per_step=4", "rows_per_micro_batch=4", "log_every=1"]
    return load_config("sft", recipe="tiny-sft", overrides=[*base, "checkpoint.every=2", *overrides])


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_loss_falls_and_the_final_folder_loads_in_transformers(tiny_model, toy_rows, tmp_path: Path) -> None:
    result = run_sft(config(tiny_model, "max_steps=30"), records(toy_rows), out_dir=tmp_path / "run", quiet=True)
    rows = metrics(tmp_path / "run")
    assert [row["step"] for row in rows] == list(range(1, 31))
    assert rows[-1]["loss"] < 0.7 * rows[0]["loss"]
    assert result.final == tmp_path / "run" / "final"
    model = AutoModelForCausalLM.from_pretrained(result.final)
    tokenizer = AutoTokenizer.from_pretrained(result.final)
    assert tokenizer.chat_template
    tied = model.get_output_embeddings().weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert tied
    assert load_config("sft", path=tmp_path / "run" / "config.toml") == config(tiny_model, "max_steps=30")
    assert "torch" in json.loads((tmp_path / "run" / "versions.json").read_text())


def test_splitting_a_step_into_micro_batches_changes_nothing(tiny_model, toy_rows, tmp_path: Path) -> None:
    whole, split = tmp_path / "whole", tmp_path / "split"
    run_sft(config(tiny_model), records(toy_rows), out_dir=whole, quiet=True)
    run_sft(config(tiny_model, "rows_per_micro_batch=1"), records(toy_rows), out_dir=split, quiet=True)
    for one, other in zip(metrics(whole), metrics(split), strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=1e-5)
        assert one["grad_norm"] == pytest.approx(other["grad_norm"], rel=1e-4)


def test_a_resumed_run_ends_with_the_same_bits(tiny_model, toy_rows, tmp_path: Path, monkeypatch) -> None:
    through, broken = tmp_path / "through", tmp_path / "broken"
    run_sft(config(tiny_model), records(toy_rows), out_dir=through, quiet=True)

    def killed_at_5(live: LiveLine, step: int, *_: Any, **__: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(LiveLine, "update", killed_at_5)
    with pytest.raises(KeyboardInterrupt):
        run_sft(config(tiny_model), records(toy_rows), out_dir=broken, quiet=True)
    monkeypatch.undo()
    assert [path.name for path in checkpoints(broken / "checkpoints")] == ["step_000002", "step_000004"]
    assert not (broken / "final").exists()
    run_sft(config(tiny_model), records(toy_rows), out_dir=broken, resume=True, quiet=True)
    for name, tensor in weights(through / "final").items():
        assert torch.equal(tensor, weights(broken / "final")[name]), name
    timeless = [
        [{k: v for k, v in row.items() if k not in MEASURED} for row in metrics(run)] for run in (through, broken)
    ]
    assert timeless[0] == timeless[1]


def test_resume_with_another_config_is_refused(tiny_model, toy_rows, tmp_path: Path) -> None:
    run_sft(config(tiny_model), records(toy_rows), out_dir=tmp_path / "run", quiet=True)
    with pytest.raises(UsageError, match=r"--resume with another config.*lr = 0\.1"):
        run_sft(
            config(tiny_model, "optim.lr=0.1"), records(toy_rows), out_dir=tmp_path / "run", resume=True, quiet=True
        )


def test_a_folder_with_a_run_in_it_is_not_overwritten(tiny_model, toy_rows, tmp_path: Path) -> None:
    run_sft(config(tiny_model, "max_steps=1"), records(toy_rows), out_dir=tmp_path / "run", quiet=True)
    with pytest.raises(UsageError, match="holds a run already"):
        run_sft(config(tiny_model, "max_steps=1"), records(toy_rows), out_dir=tmp_path / "run", quiet=True)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([], "no records"),
        ([{"id": "a"}], "record a: key 'messages' is not a list"),
        ([{"id": "a", "messages": [{"role": "user", "content": "hi"}]}], "record a: no assistant turn"),
        ([{"id": "a", "messages": [{"role": "assistant", "content": "hi"}]}], "record a: the assistant speaks first"),
        (
            [{"id": "a", "messages": [QUESTION, {"role": "assistant", "content": "x" * 999}]}],
            "all 1 records are longer than pack_tokens = 160",
        ),
    ],
)
def test_data_that_can_t_be_trained_on_is_one_clear_error(tiny_model, tmp_path: Path, data, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        run_sft(config(tiny_model), data, out_dir=tmp_path / "run", quiet=True)


@pytest.mark.parametrize(("overlong", "examples", "said"), [("drop", 2, "left out"), ("cut", 3, "cut")])
def test_over_long_examples_are_dropped_or_cut_and_said(
    tiny_model, toy_rows, tmp_path: Path, capsys, overlong: str, examples: int, said: str
) -> None:
    long = {"id": "long", "messages": [QUESTION, {"role": "assistant", "content": "x" * 500}]}
    settings = config(tiny_model, f"overlong={overlong}", "max_steps=1")
    run_sft(settings, [long, *records(toy_rows[:2])], out_dir=tmp_path / "run", quiet=True)
    assert f"1 examples longer than 160 tokens were {said}" in capsys.readouterr().err
    store = open_token_store(tmp_path / "run" / "data")
    assert len(store) == examples
    assert max(store.lengths) <= 160


def plan(lengths: list[int], **changes: Any) -> Plan:
    values = {"pack_tokens": 64, "rows_per_step": 3, "epochs": 3, "optim": {"lr": 1.0}} | changes
    return Plan(lengths, SFTConfig.model_validate(values))


def some_lengths() -> list[int]:
    rng = random.Random(0)
    return [rng.randint(1, 64) for _ in range(60)]


def test_every_example_is_seen_once_an_epoch_in_another_order() -> None:
    whole = plan(some_lengths())
    epochs = [[i for step in whole.epoch(number) for row in step for i in row] for number in (0, 1)]
    assert all(sorted(order) == list(range(60)) for order in epochs)
    assert epochs[0] != epochs[1]
    assert [len(whole.epoch(number)) for number in range(3)] == [whole.steps_per_epoch] * 3
    assert whole.epoch(0) != plan(some_lengths(), seed=1).epoch(0)


def test_a_run_that_goes_on_takes_the_steps_that_are_left() -> None:
    whole = list(plan(some_lengths()).steps())
    assert [step for step, _, _ in whole] == list(range(plan(some_lengths()).total))
    for start in (1, plan(some_lengths()).steps_per_epoch, len(whole) - 1, len(whole)):
        assert list(plan(some_lengths()).steps(start)) == whole[start:]
    assert list(plan(some_lengths(), max_steps=7).steps(2)) == whole[2:7]


@pytest.mark.parametrize("processes", [1, 2, 3, 5])
@pytest.mark.parametrize("size", [1, 2, 4])
def test_processes_share_the_rows_and_make_as_many_micro_batches(processes: int, size: int) -> None:
    rows = plan(some_lengths(), rows_per_step=7).epoch(0)[0]
    shares = [micro_batches(rows, size, rank=rank, processes=processes) for rank in range(processes)]
    assert len({len(share) for share in shares}) == 1
    seen = [i for share in shares for members in share for i in members]
    assert sorted(seen) == sorted(i for row in rows for i in row)


def test_a_loss_that_is_no_number_is_skipped_and_ends_the_run_in_the_end(
    tiny_model, toy_rows, tmp_path, monkeypatch
) -> None:
    def broken(model: Any, batch: Any, **options: Any) -> torch.Tensor:
        return nll_sum(model, batch, **options) * float("nan")

    monkeypatch.setattr("klear_train.sft.nll_sum", broken)
    with pytest.raises(TrainingStopped, match="5 steps in a row without a finite loss"):
        run_sft(config(tiny_model), records(toy_rows), out_dir=tmp_path / "run", quiet=True)
    rows = metrics(tmp_path / "run")
    assert [row["skipped_steps"] for row in rows] == [1, 2, 3, 4]
    assert rows[0]["loss"] is None


def test_a_model_folder_that_is_none_is_said_before_anything_else(tmp_path: Path, toy_rows) -> None:
    with pytest.raises(UsageError, match=r"has no config.json; expected a model folder"):
        run_sft(config(tmp_path), records(toy_rows), out_dir=tmp_path / "run", quiet=True)


def test_a_model_without_an_end_of_sequence_token_is_refused(tiny_model, toy_rows, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    AutoModelForCausalLM.from_pretrained(tiny_model).save_pretrained(folder)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)
    with pytest.raises(UsageError, match="no end-of-sequence token"):
        run_sft(config(folder), records(toy_rows), out_dir=tmp_path / "run", quiet=True)
