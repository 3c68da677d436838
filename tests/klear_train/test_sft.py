from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from klear_data.errors import RecordError, UsageError
from klear_train.checkpoint import checkpoints, load_checkpoint, save_checkpoint
from klear_train.config import load_config
from klear_train.metrics import LiveLine
from klear_train.model import load_for_training, nll_sum
from klear_train.optim import TrainingStopped
from klear_train.settings import ModelSection, SFTConfig
from klear_train.sft import epoch_steps, run_sft, tokenise
from klear_train.tiny import make_tiny_model

QUESTION = {"role": "user", "content": "?"}


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
        [{k: v for k, v in row.items() if k != "tokens_per_s"} for row in metrics(run)] for run in (through, broken)
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


def test_a_checkpoint_brings_back_torch_s_random_numbers(tiny_model, tmp_path: Path) -> None:
    model, _ = load_for_training(ModelSection(path=str(tiny_model)))
    optimizer = torch.optim.AdamW(model.parameters())
    saved = save_checkpoint(
        tmp_path, step=3, model=model, optimizer=optimizer, position={"a": 1}, keep_last=1
    )  # fmt: skip
    drawn = torch.rand(4)
    assert load_checkpoint(saved, model=model, optimizer=optimizer) == (3, {"a": 1})
    assert torch.equal(torch.rand(4), drawn)


def test_a_checkpoint_of_another_model_is_refused(tiny_model, tmp_path: Path) -> None:
    model, _ = load_for_training(ModelSection(path=str(tiny_model)))
    optimizer = torch.optim.AdamW(model.parameters())
    saved = save_checkpoint(tmp_path, step=3, model=model, optimizer=optimizer, position={}, keep_last=1)
    wider = make_tiny_model(tmp_path / "wider", hidden_size=64, num_layers=2, num_heads=2)
    other, _ = load_for_training(ModelSection(path=str(wider)))
    with pytest.raises(UsageError, match="the checkpoint is of another model"):
        load_checkpoint(saved, model=other, optimizer=torch.optim.AdamW(other.parameters()))


def test_only_the_last_checkpoints_are_kept(tiny_model, tmp_path: Path) -> None:
    model, _ = load_for_training(ModelSection(path=str(tiny_model)))
    optimizer = torch.optim.AdamW(model.parameters())
    for step in (9, 10, 11):
        save_checkpoint(tmp_path, step=step, model=model, optimizer=optimizer, position={}, keep_last=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000010", "step_000011"]


def test_a_half_written_checkpoint_is_not_taken_for_one(tmp_path: Path) -> None:
    (tmp_path / "step_000004").mkdir()
    (tmp_path / ".writing_000006").mkdir()
    (tmp_path / ".writing_000006" / "state.pt").write_bytes(b"")
    assert checkpoints(tmp_path) == []


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


def test_over_long_examples_are_dropped_or_cut_and_counted(tiny_model, toy_rows) -> None:
    _, tokenizer = load_for_training(ModelSection(path=str(tiny_model)))
    long = {"id": "long", "messages": [QUESTION, {"role": "assistant", "content": "x" * 500}]}
    data = [long, *records(toy_rows[:2])]
    dropped = tokenise(data, tokenizer, config(tiny_model))
    assert (len(dropped.examples), dropped.overlong) == (2, 1)
    cut = tokenise(data, tokenizer, config(tiny_model, "overlong=cut"))
    assert (len(cut.examples), cut.overlong) == (3, 1)
    assert max(len(example.tokens) for example in cut.examples) == 160


def test_every_example_is_seen_once_an_epoch_in_another_order(tiny_model, toy_rows) -> None:
    _, tokenizer = load_for_training(ModelSection(path=str(tiny_model)))
    settings = config(tiny_model)
    examples = tokenise(records(toy_rows), tokenizer, settings).examples
    epochs = [[i for step in epoch_steps(examples, settings, epoch) for row in step for i in row] for epoch in (0, 1)]
    assert all(sorted(order) == list(range(len(examples))) for order in epochs)
    assert epochs[0] != epochs[1]


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
