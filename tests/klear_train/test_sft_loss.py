"""What a step computes, against plain transformers; held-out loss; data and numbers that can't be trained on."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from klear_data.errors import RecordError, UsageError
from klear_train.chat import examples_of
from klear_train.config import load_config
from klear_train.optim import TrainingStopped, make_optimizer
from klear_train.packing import Example
from klear_train.schedule import learning_rate
from klear_train.settings import SFTConfig
from klear_train.sft import run_sft
from klear_train.tiny import make_tiny_model


def records(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [
        {"id": f"{n}/0", "messages": [{"role": "user", "content": row["problem"]},
                                      {"role": "assistant", "content": row["response"]}]}
        for n, row in enumerate(rows)
    ]  # fmt: skip


def config(model: Path, *overrides: str) -> SFTConfig:
    small = ["max_steps=4", "rows_per_step=3", "rows_per_micro_batch=2", "log_every=1", "checkpoint.every=0"]
    return load_config("sft", recipe="tiny-sft", overrides=[f"model.path={model}", *small, *overrides])


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def plain_loss(model: Any, examples: list[Example]) -> torch.Tensor:
    """Mean over all trained tokens of all examples, each alone, by torch's own cross-entropy."""
    sums = []
    for example in examples:
        tokens = torch.tensor([example.tokens])
        logits_TV = model(tokens).logits[0]
        targets = [t if flag else -100 for t, flag in zip(example.tokens, example.trained, strict=True)]
        sums.append(
            torch.nn.functional.cross_entropy(logits_TV[:-1], torch.tensor(targets[1:]), reduction="sum")
        )  # fmt: skip
    return torch.stack(sums).sum() / sum(example.num_trained for example in examples)


def test_steps_are_those_of_plain_transformers_on_one_big_batch(tiny_model: Path, toy_rows, tmp_path: Path) -> None:
    """One epoch is one step: every example, unpacked, in one batch; then the next."""
    data = records(toy_rows[:20])
    settings = config(tiny_model, "max_steps=3", "rows_per_step=1000", "optim.warmup_steps=0", "optim.lr=0.01")
    final = run_sft(settings, data, out_dir=tmp_path / "run", quiet=True).final
    model, tokenizer = AutoModelForCausalLM.from_pretrained(tiny_model), AutoTokenizer.from_pretrained(tiny_model)
    examples = [example for record in data for example in examples_of(tokenizer, record["messages"])]
    optimizer = torch.optim.AdamW(
        [{"params": [p for p in model.parameters() if p.dim() == 2], "weight_decay": settings.optim.weight_decay},
         {"params": [p for p in model.parameters() if p.dim() == 1], "weight_decay": 0.0}],
        betas=(settings.optim.beta1, settings.optim.beta2),
    )  # fmt: skip
    for step, row in enumerate(metrics(tmp_path / "run")):
        loss = plain_loss(model, examples)
        assert row["loss"] == pytest.approx(float(loss.detach()), rel=1e-5)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), settings.optim.grad_clip)
        assert row["grad_norm"] == pytest.approx(float(norm), rel=1e-5)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(
                step, peak=0.01, floor=settings.optim.lr_floor, warmup_steps=0, total_steps=3, shape="cosine"
            )  # fmt: skip
        optimizer.step()
        optimizer.zero_grad()
    trained = AutoModelForCausalLM.from_pretrained(final).state_dict()
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(trained[name], tensor, rtol=1e-4, atol=1e-5)


def test_held_out_loss_is_measured_before_between_and_at_the_end(tiny_model: Path, toy_rows, tmp_path: Path) -> None:
    heldout = records(toy_rows[30:50])
    settings = config(tiny_model, "validation.every=2", "max_steps=5")
    final = run_sft(
        settings, records(toy_rows[:30]), out_dir=tmp_path / "run", quiet=True, validation=heldout
    ).final  # fmt: skip
    measured = {row["step"]: row["validation_loss"] for row in metrics(tmp_path / "run") if "validation_loss" in row}
    assert list(measured) == [0, 2, 4, 5]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    examples = [example for record in heldout for example in examples_of(tokenizer, record["messages"])]
    for folder, step in ((tiny_model, 0), (final, 5)):
        with torch.no_grad():
            loss = plain_loss(AutoModelForCausalLM.from_pretrained(folder), examples)
        assert measured[step] == pytest.approx(float(loss), rel=1e-5)
    few = config(tiny_model, "validation.every=2", "validation.max_rows=1")
    run_sft(few, records(toy_rows[:30]), out_dir=tmp_path / "few", quiet=True, validation=heldout)
    (first, *_) = metrics(tmp_path / "few")
    assert 0 < first["validation_tokens"] < sum(example.num_trained for example in examples)


def test_measuring_held_out_loss_changes_nothing_else(tiny_model: Path, toy_rows, tmp_path: Path) -> None:
    for name, heldout in (("with", records(toy_rows[30:40])), ("without", None)):
        settings = config(tiny_model, "validation.every=1")
        run_sft(settings, records(toy_rows[:30]), out_dir=tmp_path / name, quiet=True, validation=heldout)
    one, other = (
        AutoModelForCausalLM.from_pretrained(tmp_path / n / "final").state_dict() for n in ("with", "without")
    )
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_step_of_numbers_that_are_none_leaves_the_weights_alone(tiny_model: Path, toy_rows, tmp_path: Path) -> None:
    """A learning rate beyond reason makes the second loss infinite; that step and the next are skipped."""
    settings = config(tiny_model, "optim.lr=1e30", "optim.warmup_steps=0", "stop_after_bad_steps=2", "max_steps=9")
    with pytest.raises(TrainingStopped, match=r"2 steps in a row .*bad_batch_000003\.jsonl"):
        run_sft(settings, records(toy_rows), out_dir=tmp_path / "run", quiet=True)
    rows = metrics(tmp_path / "run")
    assert math.isfinite(rows[0]["loss"])
    assert rows[1]["skipped_steps"] == 1
    lines = [json.loads(line) for line in (tmp_path / "run" / "bad_batch_000003.jsonl").read_text().splitlines()]
    assert {line["row"] for line in lines} == {0, 1, 2}
    assert all(set(line["trained"]) <= set(range(1, len(line["tokens"]))) for line in lines)


def test_data_that_the_model_can_t_take_is_refused_before_the_first_step(tiny_model: Path, toy_rows, tmp_path) -> None:
    long = [{"id": "a/0", "messages": [{"role": "user", "content": "x" * 300}, {"role": "assistant", "content": "y"}]}]
    with pytest.raises(UsageError, match=r"longest example has \d+ tokens, the model's context 256"):
        run_sft(config(tiny_model, "pack_tokens=512"), long, out_dir=tmp_path / "long", quiet=True)
    narrow = changed_model(tiny_model, tmp_path / "narrow", lambda model: model.resize_token_embeddings(200))
    with pytest.raises(UsageError, match="the tokenizer has 263 tokens but the model embeds 200"):
        run_sft(config(narrow), records(toy_rows), out_dir=tmp_path / "narrow_run", quiet=True)
    with pytest.raises(RecordError, match="no records"):
        run_sft(config(tiny_model), records(toy_rows), out_dir=tmp_path / "held", quiet=True, validation=[])
    for run in ("long", "narrow_run", "held"):
        assert not (tmp_path / run / "metrics.jsonl").exists()


def changed_model(source: Path, folder: Path, change: Any) -> Path:
    model = AutoModelForCausalLM.from_pretrained(source)
    with torch.no_grad():
        change(model)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(source).save_pretrained(folder)
    return folder


def test_a_model_of_numbers_that_are_none_is_refused(tiny_model: Path, toy_rows, tmp_path: Path) -> None:
    folder = changed_model(tiny_model, tmp_path / "model", lambda model: model.model.norm.weight.fill_(math.nan))
    with pytest.raises(UsageError, match="it computes numbers that are none"):
        run_sft(config(folder), records(toy_rows), out_dir=tmp_path / "run", quiet=True)


def test_quantised_weights_are_refused(tiny_model: Path, toy_rows, tmp_path: Path) -> None:
    folder = changed_model(tiny_model, tmp_path / "model", lambda _: None)
    values = json.loads((folder / "config.json").read_text())
    values["quantization_config"] = {"quant_method": "fp8"}
    (folder / "config.json").write_text(json.dumps(values))
    with pytest.raises(UsageError, match=r"quantised \(fp8\)"):
        run_sft(config(folder), records(toy_rows), out_dir=tmp_path / "run", quiet=True)


def test_resuming_with_another_model_is_refused(tiny_model: Path, toy_rows, tmp_path: Path) -> None:
    """Same path, other weights behind it."""
    folder = make_tiny_model(tmp_path / "model", hidden_size=32, num_layers=2, num_heads=2, max_length=256)
    settings = config(folder, "checkpoint.every=1")
    run_sft(settings, records(toy_rows), out_dir=tmp_path / "run", quiet=True)
    make_tiny_model(folder, hidden_size=64, num_layers=2, num_heads=2, max_length=256)
    with pytest.raises(UsageError, match="the checkpoint is of another model"):
        run_sft(settings, records(toy_rows), out_dir=tmp_path / "run", resume=True, quiet=True)


def test_decay_lies_on_matrices_only(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    groups = make_optimizer(model, config(tiny_model).optim).param_groups
    assert [(group["weight_decay"], {p.dim() for p in group["params"]}) for group in groups] == [(0.1, {2}), (0.0, {1})]


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("cosine", [0.5, 1.0, 1.0, 0.875, 0.625, 0.5]),
        ("linear", [0.5, 1.0, 1.0, 1 - 0.5 / 3, 1 - 1 / 3, 0.5]),
        ("constant", [0.5, 1.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)
def test_the_rate_rises_and_falls_to_its_floor(shape: Any, expected: list[float]) -> None:
    rates = [learning_rate(s, peak=1.0, floor=0.5, warmup_steps=2, total_steps=6, shape=shape) for s in range(6)]
    assert rates == pytest.approx(expected)
