"""What bench_rl.py runs in processes of their own: klear's loop or TRL's, timed by CPU time.

Both judge with the same rewarder of klear. klear's CPU time is split by wrapping its functions and reading the main
thread's CPU clock: *generation* is the decode loop without what it calls back, *forward_backward* the policy's forward
pass, the loss and the backward pass, *optimizer* clipping and AdamW; *other threads* is everything that the main thread
did not do (judging), *rest* what it did besides.
"""

from __future__ import annotations

import functools
import re
import resource
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

import torch

GENERATION, MODEL = "generation", "forward_backward"
GOLD = "1"


def cpu_s() -> float:
    """CPU seconds of this process, all threads, and of the children that have ended."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


@dataclass
class Cycles:
    """CPU seconds from the end of the warm cycles to the end of the last one."""

    warm: int
    began: float = 0.0
    ended: float = 0.0
    done: int = 0
    on_begin: Callable[[], None] = lambda: None

    def cycle_ended(self) -> None:
        self.done += 1
        self.ended = cpu_s()
        if self.done == self.warm:
            self.began = self.ended
            self.on_begin()

    @property
    def per_cpu_s(self) -> float:
        return (self.done - self.warm) / (self.ended - self.began)


@dataclass
class Split:
    """The main thread's CPU seconds by name; what is called inside counts for the inner name alone."""

    seconds: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    open: list[list[Any]] = field(default_factory=list)

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(function)
        def wrapped(*args: Any, **options: Any) -> Any:
            self.open.append([name, time.thread_time(), 0.0])
            try:
                return function(*args, **options)
            finally:
                _, start, inner = self.open.pop()
                took = time.thread_time() - start
                self.seconds[name] += took - inner
                if self.open:
                    self.open[-1][2] += took

        return wrapped

    def wrap(self, owner: Any, attribute: str, name: str) -> None:
        setattr(owner, attribute, self.timed(name, getattr(owner, attribute)))


def klear(folder: Path, texts: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """``run_rl`` itself."""
    from klear_data.text import content_id
    from klear_train import rl
    from klear_train.config import load_config

    split, cycles, rows = Split(), Cycles(options["warm"]), []
    main_thread = [0.0]

    def begin() -> None:
        split.seconds.clear()
        main_thread[0] = time.thread_time()

    cycles.on_begin = begin
    watch(split)

    class Timed(rl.RunLog):  # the last thing that a step does
        def step(self, row: dict[str, Any], *args: Any, **others: Any) -> None:
            split.timed("log", super().step)(row, *args, **others)
            rows.append(row)
            cycles.cycle_ended()
            main_thread.append(time.thread_time())

    rl.RunLog = Timed  # type: ignore[misc]
    overrides = {
        "model.path": options["model"], "steps": options["warm"] + options["cycles"], "seed": options["seed"],
        "prompts_per_minibatch": options["prompts"] // options["updates"],
        "micro_batch_tokens": options["micro_batch_tokens"], "rollout.prompts_per_step": options["prompts"],
        "rollout.n": options["n"], "rollout.max_tokens": options["max_tokens"], "optim.lr": 1e-7,
        "optim.lr_floor": 0.0, "checkpoint.every": 0, "reward.jobs": 1,
    }  # fmt: skip
    settings = load_config("rl", recipe="tiny-rl", overrides=[f"{key}={value}" for key, value in overrides.items()])
    records = [
        {
            "schema": "klear/1", "id": content_id(text), "ability": "math",
            "prompt": [{"role": "user", "content": text}],
            "reward_model": {"style": "rule", "ground_truth": GOLD},
        }
        for text in texts
    ]  # fmt: skip
    rl.run_rl(settings, records, out_dir=folder / "run", quiet=True)
    timed = rows[options["warm"] :]
    return {
        **figures(cycles, [row["response_tokens"] for row in timed], [row["accuracy"] for row in timed]),
        "where": shares(split, cycles, main_thread[-1] - main_thread[0]),
        "groups_kept": fmean(row["groups_kept"] for row in timed),
    }


def watch(split: Split) -> None:
    """Wrap the parts of klear's loop."""
    from klear_data.generate import transformers_backend
    from klear_train import losses, optim, policy_update, rl
    from klear_train.model import Policy
    from klear_train.rollout import collect, engines

    def decode(*args: Any, on_finish: Any, inner: Any = transformers_backend.decode, **options: Any) -> None:
        return split.timed(GENERATION, inner)(*args, on_finish=split.timed("texts", on_finish), **options)

    transformers_backend.decode = decode  # type: ignore[assignment]
    split.wrap(engines, "generate", "sampling")
    split.wrap(collect, "make_group", "groups")
    split.wrap(Policy, "forward", MODEL)
    split.wrap(torch.Tensor, "backward", MODEL)
    split.wrap(policy_update, "policy_loss", MODEL)
    split.wrap(losses, "positive_nll_loss", MODEL)
    split.wrap(policy_update, "collate", "collate")
    split.wrap(policy_update, "deal", "minibatches")
    split.wrap(rl, "describe", "log")
    split.wrap(optim.Stepper, "step", "optimizer")


def shares(split: Split, cycles: Cycles, main_thread_s: float) -> dict[str, float]:
    """Of all CPU seconds; ``overhead`` is what is neither generation nor forward, loss and backward."""
    whole = cycles.ended - cycles.began
    found = {name: seconds / whole for name, seconds in split.seconds.items()}
    found["other_threads"] = max(0.0, (whole - main_thread_s) / whole)
    found["rest"] = max(0.0, 1.0 - sum(found.values()))
    found["overhead"] = 1.0 - found[GENERATION] - found[MODEL]
    found["overhead_without_optimizer"] = found["overhead"] - found["optimizer"]
    return found


def trl(folder: Path, texts: list[str], options: dict[str, Any]) -> dict[str, Any]:
    """TRL's GRPOTrainer on the same prompts, with klear's rewarder as its reward function."""
    import transformers
    from datasets import Dataset
    from trl import GRPOConfig, GRPOTrainer

    from klear_data.reward.math import MathRewarder

    cycles, right, lengths = Cycles(options["warm"]), [], []
    rewarder = MathRewarder(scheme="paper", think="full", jobs=1)

    def reward(completions: list[Any], completion_ids: list[list[int]], **_: Any) -> list[float]:
        verdicts = [rewarder.reward_one(GOLD, completion[0]["content"]) for completion in completions]
        right.append(fmean(verdict["verdict"] == "AC" for verdict in verdicts))
        lengths.append(fmean(map(len, completion_ids)))
        return [verdict["reward"] for verdict in verdicts]

    class Timing(transformers.TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step % options["updates"] == 0:
                cycles.cycle_ended()

    model = transformers.AutoModelForCausalLM.from_pretrained(options["model"], dtype="float32")
    tokenizer = transformers.AutoTokenizer.from_pretrained(options["model"])
    micro, rollouts = options["micro_batch"], options["prompts"] * options["n"]
    arguments = GRPOConfig(
        output_dir=str(folder / "trl"), max_steps=(options["warm"] + options["cycles"]) * options["updates"],
        per_device_train_batch_size=micro, gradient_accumulation_steps=rollouts // options["updates"] // micro,
        steps_per_generation=rollouts // micro, num_generations=options["n"], num_iterations=1,
        max_completion_length=options["max_tokens"], temperature=1.0, top_p=1.0, top_k=0, beta=0.0, epsilon=0.2,
        epsilon_high=0.28, learning_rate=1e-7, lr_scheduler_type="constant", weight_decay=0.1, max_grad_norm=1.0,
        optim="adamw_torch_fused", seed=options["seed"], logging_steps=1, save_strategy="no", report_to="none",
        bf16=False, use_cpu=True, gradient_checkpointing=False, disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    rows = [{"prompt": [{"role": "user", "content": text}]} for text in texts]
    trainer = GRPOTrainer(
        model=model, args=arguments, reward_funcs=reward, train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer, callbacks=[Timing()],
    )  # fmt: skip
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()
    rewarder.close()
    return figures(cycles, lengths[options["warm"] :], right[options["warm"] :])


def figures(cycles: Cycles, lengths: list[float], right: list[float]) -> dict[str, Any]:
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return {
        "cycles_per_cpu_s": cycles.per_cpu_s, "response_tokens": fmean(lengths), "accuracy": fmean(right),
        "peak_rss_mib": int(found[1]) / 1024,
    }  # fmt: skip
