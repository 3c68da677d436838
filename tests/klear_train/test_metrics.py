"""The log, the live line, the trackers, and what a step is said to compute."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode
from transformers import AutoModelForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM

from klear_data.errors import CapabilityError
from klear_train.metrics import LiveLine, Report, StepLog, Throughput, open_tracker, require_tracker
from klear_train.metrics.throughput import PEAK_TFLOPS, cost_of, pairs, peak_memory_mib, peak_tflops
from klear_train.metrics.trackers import numbers
from klear_train.settings import OptimSection, SFTConfig, TrackSection

CPU = torch.device("cpu")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_resumed_log_keeps_what_stands_before_its_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    log = StepLog(path)
    for step in range(1, 6):
        log.write({"step": step, "loss": 1 / step})
    with path.open("a") as file:
        file.write('{"step": 6, "lo')  # a kill while writing
    again = StepLog(path, resumed_step=3)
    again.write({"step": 4, "loss": float("inf")})
    assert [row["step"] for row in rows(path)] == [1, 2, 3, 4]
    assert rows(path)[3]["loss"] is None


def test_a_terminal_sees_one_line_that_is_rewritten() -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    stream = Terminal()
    live = LiveLine(3, stream=stream)
    live.every_s = 0.0
    for step in (1, 2, 3):
        live.update(step, {"loss": 0.51234, "tokens_per_s": 123456.7}, last=step == 3)
    text = stream.getvalue()
    assert text.count("\n") == 1
    assert text.endswith("\n")
    assert text.count("\r\x1b[2K") == 3
    assert "step 3/3  loss 0.5123  tokens_per_s 123,457  " in text
    assert "0m00s left" in text.split("\r")[-1]


def test_a_log_file_gets_few_lines_and_the_last_one() -> None:
    stream = io.StringIO()
    live = LiveLine(1000, stream=stream)
    for step in range(1, 1001):
        live.update(step, {}, last=step == 1000)
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("step 1/1000")
    assert lines[-1].startswith("step 1000/1000")
    assert len(lines) < 5


def test_a_step_costs_what_torch_counts(tiny_model: Path) -> None:
    """The body and the head against torch's own counter; attention is counted apart, as kernels differ."""
    model = AutoModelForCausalLM.from_pretrained(tiny_model, attn_implementation="sdpa")
    cost, length = cost_of(model), 40
    with FlopCounterMode(display=False) as counter:
        model(torch.arange(length)[None] % 200, use_cache=False).logits.sum().backward()
    attention = sum(flops for name, flops in counter.get_flop_counts()["Global"].items() if "attention" in str(name))
    counted = counter.get_total_flops() - attention
    ours = cost.flops([length], trained_tokens=length) - cost_attention(cost, [length])
    # The embedding's output needs no gradient in torch's first layer, and rotary frequencies are a tiny product.
    assert ours == pytest.approx(counted, rel=0.02)


def cost_attention(cost: Any, lengths: list[int]) -> float:
    return sum(3 * 4 * width * sum(int(pairs(torch.tensor(n).numpy(), window)) for n in lengths)
               for window, width in cost.layers)  # fmt: skip


def test_attention_is_counted_within_documents_and_back_from_each_token(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    cost = cost_of(model)
    apart, together = cost.flops([10, 10], 5), cost.flops([20], 5)
    layers, width = 2, 32
    assert together - apart == 3 * layers * 4 * width * (20 * 21 // 2 - 2 * (10 * 11 // 2))


def test_of_experts_the_chosen_ones_are_counted() -> None:
    def cost(chosen: int) -> Any:
        config = Qwen3MoeConfig(
            vocab_size=50,
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            num_key_value_heads=2,
            head_dim=8,
            num_experts=4,
            num_experts_per_tok=chosen,
            moe_intermediate_size=8,
            mlp_only_layers=[],
        )
        return cost_of(Qwen3MoeForCausalLM(config))

    assert cost(2).body - cost(1).body == 3 * 16 * 8  # gate, up and down of one more expert


def test_frozen_weights_cost_a_third_less(tiny_model: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(tiny_model)
    free = cost_of(model)
    model.requires_grad_(False)
    frozen = cost_of(model)
    linear = free.flops([1], 0) - cost_attention(free, [1])
    assert frozen.flops([1], 0) - cost_attention(frozen, [1]) == pytest.approx(linear * 2 / 3)


def test_rates_are_of_all_processes_and_mfu_of_one_device(tiny_model: Path, monkeypatch) -> None:
    cost = cost_of(AutoModelForCausalLM.from_pretrained(tiny_model))
    one = Throughput(cost, CPU).figures([10, 20], 12, seconds=2.0)
    assert one["tokens_per_s"] == 15
    assert one["tflops_per_s"] == pytest.approx(cost.flops([10, 20], 12) / 2e12)
    assert "mfu" not in one
    monkeypatch.setattr("klear_train.metrics.throughput.peak_tflops", lambda device: 100.0)
    two = Throughput(cost, CPU, processes=2).figures([10, 20], 12, seconds=2.0)
    assert two["tokens_per_s"] == 15
    assert two["mfu"] == pytest.approx(one["tflops_per_s"] / 2 / 100)


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H200", 989.0), ("NVIDIA H100 PCIe", 756.0), ("NVIDIA H100 80GB HBM3", 989.0),
     ("NVIDIA A100-SXM4-80GB", 312.0), ("NVIDIA L40S", 362.0), ("NVIDIA L4", 121.0), ("Some Card", None)],
)  # fmt: skip
def test_the_peak_of_a_device_is_found_by_its_name(monkeypatch, name: str, peak: float | None) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: name)
    assert peak_tflops(torch.device("cuda")) == peak
    assert peak_tflops(CPU) is None


def test_no_name_in_the_table_hides_a_longer_one() -> None:
    names = list(PEAK_TFLOPS)
    hidden = [(a, b) for at, a in enumerate(names) for b in names[at + 1 :] if a in b]
    assert hidden == []


def test_peak_memory_rises_with_what_is_held() -> None:
    before = peak_memory_mib(CPU)
    held = torch.ones(int(before * 2**20 / 4) + (64 << 20) // 4)
    assert peak_memory_mib(CPU) >= before + 32
    assert held[0] == 1


def test_only_numbers_are_tracked() -> None:
    row = {"step": 3, "loss": 0.5, "grad_norm": float("nan"), "note": "x", "kept": True, "tokens": 7}
    assert numbers(row) == {"loss": 0.5, "tokens": 7.0}


def config(**track: str) -> SFTConfig:
    return SFTConfig(optim=OptimSection(lr=1e-3), pack_tokens=64, rows_per_step=1, track=TrackSection(**track))


def report(root: Path, settings: SFTConfig, **options: Any) -> Report:
    defaults = {"total_steps": 6, "log_every": 2, "shown": ("loss",), "resumed_step": None, "is_main": True}
    return Report(root, config=settings, track=settings.track, quiet=True, **{**defaults, **options})


def test_rows_are_written_when_due_and_at_the_end(tmp_path: Path) -> None:
    with report(tmp_path, config()) as told:
        for step in range(1, 6):
            told.step({"step": step, "loss": 1.0}, last=step == 5, log=step == 3)
    assert [row["step"] for row in rows(tmp_path / "metrics.jsonl")] == [2, 3, 4, 5]


def test_the_other_processes_write_nothing(tmp_path: Path) -> None:
    with report(tmp_path, config(to="tensorboard"), is_main=False) as told:
        told.step({"step": 2, "loss": 1.0}, last=True)
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_not_there_names_the_command_that_installs_it(monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CapabilityError, match=r"track.to = 'wandb'.*pip install 'klear-reasoner\[wandb\]'") as raised:
        require_tracker("wandb")
    assert raised.value.exit_code == 4
    require_tracker("none")


def test_no_tracker_is_opened_unasked(tmp_path: Path) -> None:
    assert open_tracker("none", project="p", name="n", config={}, folder=tmp_path, resumed_step=None) is None


def test_tensorboard_gets_every_row_and_a_resumed_run_goes_on(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with report(tmp_path, config(to="tensorboard")) as told:
        for step in (2, 4, 6):
            told.step({"step": step, "loss": 1 / step, "grad_norm": float("nan")}, last=False)
    with report(tmp_path, config(to="tensorboard"), resumed_step=2) as told:
        told.step({"step": 4, "loss": 0.5}, last=False)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert events.Tags()["scalars"] == ["loss"]
    assert [(event.step, pytest.approx(event.value)) for event in events.Scalars("loss")] == [(2, 0.5), (4, 0.5)]


def test_trackio_gets_every_row(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    pytest.importorskip("trackio")
    import sqlite3

    with report(tmp_path, config(to="trackio", project="klear-test", name="run")) as told:
        for step in (2, 4):
            told.step({"step": step, "loss": 1 / step}, last=False)
    (database,) = (tmp_path / "trackio").glob("*.db")
    with sqlite3.connect(database) as connection:
        found = connection.execute("select step, metrics from metrics order by step").fetchall()
    assert [(step, json.loads(text)["loss"]) for step, text in found] == [(2, 0.5), (4, 0.25)]
