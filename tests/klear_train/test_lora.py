"""Adapters through the real peft: little is trained, everything else stays as it is everywhere else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

pytest.importorskip("peft", reason="peft is not installed; the extra `peft` brings it")

from klear_data.errors import UsageError
from klear_train.checkpoint import checkpoints
from klear_train.config import load_config
from klear_train.metrics import LiveLine
from klear_train.settings import SFTConfig
from klear_train.sft import run_sft

QUESTION = {"role": "user", "content": "?"}


def config(model: Path, *overrides: str) -> SFTConfig:
    small = ["max_steps=8", "epochs=99", "rows_per_step=2", "log_every=1", "checkpoint.every=3", "lora.rank=4"]
    return load_config("sft", recipe="tiny-sft", overrides=[f"model.path={model}", *small, *overrides])


def records() -> list[dict[str, Any]]:
    answers = ["one", "two", "three", "four and more"]
    return [
        {"id": f"{n}/0", "messages": [QUESTION, {"role": "assistant", "content": a * 5}]} for n, a in enumerate(answers)
    ]


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_merged_model_differs_from_its_base_in_the_adapted_layers_only(
    tiny_model: Path, tmp_path: Path, dtype: str
) -> None:
    settings = config(tiny_model, "lora.targets=q_proj,v_proj", f"model.dtype={dtype}")
    result = run_sft(settings, records(), out_dir=tmp_path / "run", quiet=True)
    rows = metrics(tmp_path / "run")
    assert rows[-1]["loss"] < rows[0]["loss"]
    before, after = weights(tiny_model), weights(result.final)
    assert before.keys() == after.keys()
    changed = {name for name in before if not torch.equal(before[name].to(after[name].dtype), after[name])}
    assert changed == {name for name in before if "q_proj" in name or "v_proj" in name}


def test_the_adapter_alone_loads_in_peft_and_is_what_the_merged_model_has(tiny_model: Path, tmp_path: Path) -> None:
    from peft import AutoPeftModelForCausalLM

    merged = run_sft(config(tiny_model), records(), out_dir=tmp_path / "merged", quiet=True).final
    alone = run_sft(config(tiny_model, "lora.merge=false"), records(), out_dir=tmp_path / "alone", quiet=True).final
    assert {"adapter_config.json", "adapter_model.safetensors"} <= {path.name for path in alone.iterdir()}
    model = AutoPeftModelForCausalLM.from_pretrained(alone).merge_and_unload()
    expected = weights(merged)
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-5, atol=1e-6)


def test_a_checkpoint_holds_the_adapter_alone_and_brings_it_back_to_the_bit(
    tiny_model: Path, tmp_path: Path, monkeypatch
) -> None:
    through, broken = tmp_path / "through", tmp_path / "broken"
    settings = config(tiny_model, "lora.dropout=0.2", "lora.merge=false")
    run_sft(settings, records(), out_dir=through, quiet=True)

    def killed_at_5(live: LiveLine, step: int, *_: Any, **__: Any) -> None:
        if step == 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(LiveLine, "update", killed_at_5)
    with pytest.raises(KeyboardInterrupt):
        run_sft(settings, records(), out_dir=broken, quiet=True)
    monkeypatch.undo()
    (saved,) = checkpoints(broken / "checkpoints")
    names = torch.distributed.checkpoint.FileSystemReader(saved).read_metadata().state_dict_metadata
    kept = [name for name in names if name.startswith("model.")]
    assert kept
    assert all("lora_" in name for name in kept)
    run_sft(settings, records(), out_dir=broken, resume=True, quiet=True)
    one, other = ((run / "final" / "adapter_model.safetensors").read_bytes() for run in (through, broken))
    assert one == other


@pytest.mark.parametrize("targets", ["no_such_layer", "lm_head"])
def test_layers_that_can_t_be_adapted_are_refused(tiny_model: Path, tmp_path: Path, targets: str) -> None:
    with pytest.raises(UsageError, match=r"lora\.targets"):
        run_sft(config(tiny_model, f"lora.targets={targets}"), records(), out_dir=tmp_path / "run", quiet=True)
