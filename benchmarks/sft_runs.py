"""What bench_sft.py and gpu/bench_sft_gpu.py run in processes of their own: one trainer, its steps and figures.

Every trainer gets the same token store and the same plan (klear's packed rows, in klear's order), so the same
examples enter each optimizer step; TRL's padded batches alone hold a fixed number of them, in an order of their own.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from klear_train.config import load_config
from klear_train.plan import Plan
from klear_train.settings import SFTConfig
from klear_train.tokens import open_token_store

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Clock:
    """CPU and wall seconds from the end of warm-up to the end of the run."""

    warm_steps: int
    device: str
    began: tuple[float, float] = (0.0, 0.0)
    ended: tuple[float, float] = (0.0, 0.0)
    losses: list[float] = field(default_factory=list)

    def step_ended(self, step: int) -> None:
        """Called after each optimizer step, counted from 1."""
        if self.device == "cuda":
            torch.cuda.synchronize()
        now = (time.process_time(), time.perf_counter())
        if step == self.warm_steps:
            self.began = now
            if self.device == "cuda":
                torch.cuda.reset_peak_memory_stats()
        self.ended = now

    @property
    def seconds(self) -> dict[str, float]:
        return {"cpu_s": self.ended[0] - self.began[0], "wall_s": self.ended[1] - self.began[1]}


def peak_rss_mib(*, reset: bool = False) -> float:
    """The most memory this process had, since the last reset where the system allows one (Linux)."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5")
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 1024


class Stamped:
    """Stands for the records of a store that is there already: nobody reads them."""

    stamp = "benchmark"

    def __iter__(self) -> Any:
        raise AssertionError("the store is there; nothing is read")


def klear(folder: Path, options: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """``run_sft`` itself, resumed onto the store that all share."""
    from klear_train import sft

    class Timed(sft.Report):  # the one thing a step does last
        def step(self, row: dict[str, Any], **others: Any) -> None:
            super().step(row, **others)
            clock.losses.append(row["loss"])
            clock.step_ended(row["step"])

    sft.Report = Timed  # type: ignore[misc]
    config = config_of(folder, options)
    sft.run_sft(config, Stamped(), out_dir=folder / "run", resume=True, quiet=True)
    return {}


def trl(folder: Path, options: dict[str, Any], clock: Clock) -> dict[str, Any]:
    """TRL's SFTTrainer on the same tokens: klear's rows without padding, or its own padded batches."""
    os.environ["HF_DATASETS_DISABLE_PROGRESS_BARS"] = "1"
    import transformers
    from datasets import Dataset
    from trl import SFTConfig as TRLConfig
    from trl import SFTTrainer

    config = config_of(folder, options)
    rows = planned_rows(folder, config)
    store = open_token_store(folder / "run" / "data")
    padded = options["trainer"] != "trl-packed"
    order = {"trl-packed": "sequential", "trl-padded": "random", "trl-grouped": "group_by_length"}[options["trainer"]]
    if padded:
        members = [[i] for row in rows for i in row]
        per_step = max(1, round(len(members) / (len(rows) / config.rows_per_step)))
        batch = min(options["padded_batch"], per_step)
        sizes = {"per_device_train_batch_size": batch, "gradient_accumulation_steps": max(1, per_step // batch)}
    else:
        members, micro = rows, config.rows_per_micro_batch
        sizes = {"per_device_train_batch_size": micro, "gradient_accumulation_steps": config.rows_per_step // micro}
    dataset = Dataset.from_list([_trl_row(store, row, with_lengths=not padded) for row in members])
    bf16 = config.model.dtype == "bfloat16"
    model = transformers.AutoModelForCausalLM.from_pretrained(
        config.model.path, dtype="float32", attn_implementation=options["trl_attention"]
    )
    model.config.use_cache = False
    tokenizer = transformers.AutoTokenizer.from_pretrained(config.model.path)
    seen_tokens: list[int] = []

    class Timing(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            clock.step_ended(state.global_step)
            seen_tokens.append(int(trainer._total_train_tokens))

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float] | None = None, **_: Any) -> None:
            if logs and "loss" in logs:
                clock.losses.append(float(logs["loss"]))

    arguments = TRLConfig(
        output_dir=str(folder / "trl"), max_steps=options["steps"], learning_rate=config.optim.lr,
        lr_scheduler_type="constant", weight_decay=config.optim.weight_decay, adam_beta1=config.optim.beta1,
        adam_beta2=config.optim.beta2, max_grad_norm=config.optim.grad_clip, optim="adamw_torch_fused", seed=0,
        train_sampling_strategy=order, padding_free=not padded,
        shuffle_dataset=False, max_length=None, dataset_kwargs={"skip_prepare_dataset": True}, logging_steps=1,
        save_strategy="no", report_to="none", bf16=bf16, disable_tqdm=True, use_cpu=options["device"] == "cpu",
        gradient_checkpointing=config.model.gradient_checkpointing, dataloader_pin_memory=False, **sizes,
    )  # fmt: skip
    trainer = SFTTrainer(
        model=model, args=arguments, train_dataset=dataset, processing_class=tokenizer, callbacks=[Timing()]
    )
    trainer.train()
    return {"tokens_timed": seen_tokens[-1] - seen_tokens[options["warm_steps"] - 1]} if padded else {}


def _trl_row(store: Any, row: list[int], *, with_lengths: bool) -> dict[str, Any]:
    examples = [store.example(i) for i in row]
    tokens = np.concatenate([example.tokens for example in examples])
    trained = np.concatenate([example.trained for example in examples])
    found = {"input_ids": tokens.tolist(), "labels": np.where(trained, tokens, -100).tolist()}
    return found | ({"seq_lengths": [len(example.tokens) for example in examples]} if with_lengths else {})


def config_of(folder: Path, options: dict[str, Any]) -> SFTConfig:
    """The settings of all trainers, in klear's words."""
    settings: SFTConfig = load_config("sft", path=folder / "bench.toml")
    return settings


def planned_rows(folder: Path, config: SFTConfig) -> list[list[int]]:
    """All rows of the run, in the order in which klear takes them."""
    store = open_token_store(folder / "run" / "data")
    return [row for _, _, rows in Plan(store.lengths, config).steps() for row in rows]


def loss_and_gradient(folder: Path, options: dict[str, Any], how: str) -> dict[str, Any]:
    """Memory of one forward and backward pass over ``tokens`` tokens, over what stood before it."""
    import transformers

    config = config_of(folder, options)
    length = options["tokens"]
    ids = torch.randint(0, options["vocabulary"], (length,), generator=torch.Generator().manual_seed(0))
    work: Callable[[], Any]
    if how == "klear":
        from klear_train import distributed
        from klear_train.model import load_policy, nll_sum
        from klear_train.packing import Example, collate

        with distributed.start() as world:
            policy, _ = load_policy(config.model, world)
        batch = collate([Example(ids.numpy(), np.arange(length) > 0)])
        work = lambda: policy(nll_sum, batch, scale=1 / length).backward()  # noqa: E731
    else:
        model = transformers.AutoModelForCausalLM.from_pretrained(config.model.path, dtype="float32")
        model.train()
        inputs = {"input_ids": ids[None], "labels": ids[None].clone(), "attention_mask": torch.ones_like(ids[None])}
        if how == "plain":
            work = lambda: model(**inputs, use_cache=False).loss.backward()  # noqa: E731
        else:
            from datasets import Dataset
            from trl import SFTConfig as TRLConfig
            from trl import SFTTrainer

            arguments = TRLConfig(
                output_dir=str(folder / "trl"), report_to="none", bf16=False, use_cpu=True, max_length=None,
                gradient_checkpointing=False, dataset_kwargs={"skip_prepare_dataset": True},
            )  # fmt: skip
            data = Dataset.from_list([{"input_ids": ids.tolist(), "labels": ids.tolist()}])
            tokenizer = transformers.AutoTokenizer.from_pretrained(config.model.path)
            trainer = SFTTrainer(model=model, args=arguments, train_dataset=data, processing_class=tokenizer)
            work = lambda: trainer.training_step(model, inputs, num_items_in_batch=torch.tensor(length - 1))  # noqa: E731
    peak_rss_mib(reset=True)
    base = peak_rss_mib()
    work()
    return {"base_mib": round(base), "over_base_mib": round(peak_rss_mib() - base)}


def run_child(options: dict[str, Any]) -> dict[str, Any]:
    """One trainer in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, __file__, json.dumps(options)], capture_output=True, text=True, env=environment, check=False
    )
    if done.returncode:
        raise SystemExit(f"{options}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def timed(folder: Path, options: dict[str, Any]) -> dict[str, Any]:
    """Tokens and seconds after the warm steps, every step's loss, peak memory."""
    clock = Clock(options["warm_steps"], options["device"])
    config = config_of(folder, options)
    rows = planned_rows(folder, config)[options["warm_steps"] * config.rows_per_step :]
    lengths = open_token_store(folder / "run" / "data").lengths
    for leftover in ("metrics.jsonl", "config.toml"):
        (folder / "run" / leftover).unlink(missing_ok=True)
    shutil.rmtree(folder / "run" / "final", ignore_errors=True)
    if options["trainer"] == "klear":
        more = klear(folder, options, clock)
    else:
        more = trl(folder, options, clock)
    tokens = more.get("tokens_timed", sum(int(lengths[i]) for row in rows for i in row))
    found = {"tokens": tokens, **clock.seconds, "losses": clock.losses, "peak_rss_mib": peak_rss_mib()}
    if options["device"] == "cuda":
        found["peak_gpu_mib"] = torch.cuda.max_memory_allocated() / 2**20
    return found


def child(options: dict[str, Any]) -> None:
    if options["device"] == "cpu":
        torch.set_num_threads(1)
    folder = Path(options["folder"])
    how = options.get("memory")
    print(json.dumps(timed(folder, options) if how is None else loss_and_gradient(folder, options, how)))


if __name__ == "__main__":
    child(json.loads(sys.argv[1]))
