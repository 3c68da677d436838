"""Reinforcement learning on verifiable rewards with GPPO (Klear-Reasoner §3.2, §4.1).

One step, read from top to bottom: take prompts, sample a group of rollouts for each, judge them while the
rest is being written, turn rewards into advantages, drop the groups without signal, and make one optimizer
step for each minibatch of groups. The rollouts are on-policy for the first minibatch and off-policy after.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from klear_data.generate.types import SamplingParams
from klear_train.checkpoint import load_checkpoint, save_checkpoint
from klear_train.evaluate import evaluate
from klear_train.final import save_final
from klear_train.metrics import LiveLine, StepLog
from klear_train.model import load_for_training
from klear_train.optim import Stepper
from klear_train.policy_update import accumulate_gradient
from klear_train.preflight import that_fit, warnings_for
from klear_train.prompts import take
from klear_train.rollout import Group, Judge, check_records, make_judges, sample_groups
from klear_train.rollout.engines import RolloutEngine, TransformersRollouts
from klear_train.rollout_log import describe, figures, rollout_lines
from klear_train.run_dir import open_run
from klear_train.settings import RLConfig
from klear_train.sft import TrainResult

CONSTANT_STEPS_TO_WARN = 5


def run_rl(
    config: RLConfig,
    data: Iterable[dict[str, Any]],
    *,
    out_dir: str | Path,
    heldout: Sequence[dict[str, Any]] = (),
    resume: bool = False,
    quiet: bool = False,
) -> TrainResult:
    """Train on records with verifiable answers and leave a run directory.

    Args:
        config: its ``model.path`` names the model.
        data: records as ``klear format rl`` writes them.
        out_dir: gets config.toml, versions.json, metrics.jsonl, rollouts.jsonl, checkpoints/ and final/.
        heldout: records for ``evaluation.every``.
        resume: go on from the last complete checkpoint.
        quiet: no live line.

    Raises:
        UsageError: no such model, one without end-of-sequence token, or an ``out_dir`` with another run.
        RecordError: no data, or a record that can't be verified.
        TrainingStopped: the loss stopped being a number.
    """
    records = list(data)
    check_records(records)
    if heldout:
        check_records(heldout)
    root, checkpoint = open_run(out_dir, config, resume=resume)
    torch.manual_seed(config.seed)
    model, tokenizer = load_for_training(config.model)
    records = that_fit(records, model, tokenizer)
    minibatches = -(-config.rollout.prompts_per_step // config.prompts_per_minibatch) * config.epochs
    stepper = Stepper(
        model, config.optim, total_steps=config.steps * minibatches, stop_after_bad_steps=config.stop_after_bad_steps
    )  # fmt: skip
    state = Position()
    if checkpoint is not None:
        _, saved = load_checkpoint(checkpoint, model=model, optimizer=stepper.optimizer)
        stepper.restore(saved.pop("stepper"))
        state = Position(**saved)
    for warning in warnings_for(config, len(records)):
        print(f"warning: {warning}", file=sys.stderr)

    resumed_step = None if checkpoint is None else state.step
    log = StepLog(root / "metrics.jsonl", resumed_step=resumed_step)
    rollout_log = StepLog(root / "rollouts.jsonl", resumed_step=resumed_step)
    live = LiveLine(config.steps, quiet=quiet)
    row: dict[str, Any] = {}
    with ExitStack() as stack:
        judges = make_judges(config.reward, {record["ability"] for record in [*records, *heldout]}, stack)
        pool = stack.enter_context(ThreadPoolExecutor(config.reward.jobs))
        engine = TransformersRollouts(model, tokenizer, batch_size=config.rollout.batch_size, follows=False)
        parts = Parts(config, model, tokenizer, engine, stepper, judges, pool)
        if state.step == 0 and config.evaluation.every and heldout:
            log.write({"step": 0, **evaluation(parts, heldout)})
        while state.step < config.steps:
            row, groups = one_step(parts, records, heldout, state)
            log.write(row)
            live.update(state.step, figures(row), last=state.step == config.steps)
            if is_due(config.save_rollouts_every, state.step):
                for line in rollout_lines(groups, state.step):
                    rollout_log.write(line)
            if is_due(config.checkpoint.every, state.step) and state.step < config.steps:
                save_checkpoint(
                    root / "checkpoints",
                    step=state.step,
                    model=model,
                    optimizer=stepper.optimizer,
                    position={**asdict(state), "stepper": stepper.state()},
                    keep_last=config.checkpoint.keep_last,
                )
    return TrainResult(save_final(root / "final", model, tokenizer), state.step, row)


@dataclass
class Position:
    """Where a run stands, all of it: RL steps, optimizer steps, prompts taken, steps without signal."""

    step: int = 0
    updates: int = 0
    prompts: int = 0
    constant: int = 0


@dataclass(frozen=True)
class Parts:
    """What every step uses."""

    config: RLConfig
    model: Any
    tokenizer: Any
    engine: RolloutEngine
    stepper: Stepper
    judges: dict[str, Judge]
    pool: ThreadPoolExecutor


def one_step(
    parts: Parts, records: list[dict[str, Any]], heldout: Sequence[dict[str, Any]], state: Position
) -> tuple[dict[str, Any], list[Group]]:
    """Sample, judge, update, and evaluate where that is due: the step's metrics and its groups."""
    began = time.perf_counter()
    groups = collect(parts, records, state)
    sampled = time.perf_counter()
    row = describe(groups) | update(parts, groups, state)
    row |= {"sample_s": sampled - began, "train_s": time.perf_counter() - sampled, "prompts_used": state.prompts}
    state.step += 1
    state.constant = 0 if row["groups_kept"] else state.constant + 1
    if state.constant == CONSTANT_STEPS_TO_WARN:
        print(
            f"warning: no group had two different rewards for {state.constant} steps (mean reward "
            f"{row['reward']:.3f}); nothing is being learnt: the problems are too easy or too hard for this model, or "
            "its responses fail the tag rule (reward.think)",
            file=sys.stderr,
        )
    if heldout and is_due(parts.config.evaluation.every, state.step):
        row |= evaluation(parts, heldout)
    return {"step": state.step, **row}, groups


def collect(parts: Parts, records: list[dict[str, Any]], state: Position) -> list[Group]:
    """Judged groups for one step, those without signal included, with refills while too few carry one."""
    rollout = parts.config.rollout
    groups: list[Group] = []
    for _ in range(1 + rollout.refill_rounds):
        chosen = take(records, state.prompts, rollout.prompts_per_step, seed=parts.config.seed)
        # The number of prompts taken never repeats, so a record that comes again gets new draws.
        params = sampling(parts.config, n=rollout.n, seed=parts.config.seed * 1_000_000_007 + state.prompts)
        state.prompts += len(chosen)
        groups += sample_groups(
            parts.engine,
            chosen,
            params,
            judges=parts.judges,
            pool=parts.pool,
            loss=parts.config.loss,
        )
        if sum(group.has_signal for group in groups) >= rollout.prompts_per_step:
            break
    return groups


def update(parts: Parts, groups: Sequence[Group], state: Position) -> dict[str, float]:
    """One optimizer step a minibatch of groups that carry a signal; the metrics' means over those steps."""
    config = parts.config
    kept = [group for group in groups if group.has_signal][: config.rollout.prompts_per_step]
    pad_id = parts.tokenizer.pad_token_id or 0
    steps: list[dict[str, float]] = []
    for epoch in range(config.epochs):
        order = list(kept)
        random.Random(f"{config.seed}/{state.step}/{epoch}").shuffle(order)
        for start in range(0, len(order), config.prompts_per_minibatch):
            minibatch = order[start : start + config.prompts_per_minibatch]
            metrics = accumulate_gradient(parts.model, minibatch, config, pad_id=pad_id)
            if metrics:
                steps.append(metrics | parts.stepper.step(state.updates, metrics["loss"]))
                state.updates += 1
    means = {key: sum(step[key] for step in steps) / len(steps) for key in steps[0]} if steps else {}
    if steps:
        means["ratio_max"] = max(step["ratio_max"] for step in steps)
        # Nothing has moved before the first minibatch: what is not 0 here is the sampler disagreeing with the trainer.
        means["sampler_kl"] = steps[0]["kl"]
    return {"groups_kept": len(kept), **means, "updates": state.updates, "skipped_updates": parts.stepper.skipped}


def evaluation(parts: Parts, heldout: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Accuracy on held-out records, one rollout each, always with the same draws."""
    by_ability: dict[str, list[dict[str, Any]]] = {}
    for record in heldout:
        by_ability.setdefault(record["ability"], []).append(record)
    chosen = [record for found in by_ability.values() for record in found[: parts.config.evaluation.max_records]]
    accuracies = evaluate(
        parts.engine,
        chosen,
        sampling(parts.config, n=1, seed=parts.config.seed),
        judges=parts.judges,
        pool=parts.pool,
    )
    row: dict[str, float] = {}
    for ability, accuracy in accuracies.items():
        row |= {f"eval_{ability}": accuracy.mean, f"eval_{ability}_half_width": accuracy.half_width}
    return row


def sampling(config: RLConfig, *, n: int, seed: int) -> SamplingParams:
    """The configured way to sample."""
    rollout = config.rollout
    return SamplingParams(
        n=n, temperature=rollout.temperature, top_p=rollout.top_p, max_tokens=rollout.max_tokens, seed=seed
    )


def is_due(every: int, step: int) -> bool:
    """Whether something done every so many steps (0: never) is done after this one."""
    return every > 0 and step % every == 0
