"""Reinforcement learning on verifiable rewards with GPPO (Klear-Reasoner §3.2, §4.1).

One step, read from top to bottom: take prompts, sample a group of rollouts for each, judge them while the rest is
being written, turn rewards into advantages, drop the groups without signal, make one optimizer step for each
minibatch of groups, and give the new weights to the sampler. The rollouts are on-policy for the first minibatch and
off-policy after. Under ``torchrun`` every process runs this file: it samples its share of the prompts, and computes
its share of every minibatch.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch

from klear_data.generate.types import SamplingParams
from klear_train import distributed
from klear_train.checkpoint import Checkpoints, load_checkpoint
from klear_train.clock import Clock
from klear_train.distributed import World
from klear_train.evaluate import evaluate
from klear_train.final import save_final
from klear_train.minibatch import minibatches
from klear_train.model import Policy, load_policy
from klear_train.optim import Stepper, TrainingStopped
from klear_train.policy_update import accumulate_gradient
from klear_train.preflight import (
    check_same_as_before,
    check_same_everywhere,
    check_settings,
    digest,
    that_fit,
    warn,
)
from klear_train.prompts import take
from klear_train.rescore import mismatch_figures, rescored
from klear_train.rollout import Group, Judge, check_records, make_judges, sample_groups
from klear_train.rollout.follow import Follower
from klear_train.rollout.share import SamplerFailed, sample_together
from klear_train.rollout_log import RunLog, describe
from klear_train.run_dir import open_run
from klear_train.schedule import is_due
from klear_train.settings import RLConfig
from klear_train.sft import TrainResult
from klear_train.vital_signs import VerifiersFailed, VitalSigns

Row = dict[str, Any]


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
        data: records as ``klear format rl`` writes them; under ``torchrun`` the same on every process.
        out_dir: gets config.toml, versions.json, metrics.jsonl, rollouts.jsonl, checkpoints/ and final/.
        heldout: records for ``evaluation.every``.
        resume: go on from the last complete checkpoint.
        quiet: no live line.

    Raises:
        UsageError: no such model, one without end-of-sequence token, or an ``out_dir`` with another run.
        RecordError: no data, or a record that can't be verified.
        TrainingStopped: the loss stopped being a number.
        VerifiersFailed: the verifiers stopped giving rewards.
        SamplerFailed, SamplerOutOfStep: the sampler died, or lost the policy's weights.
    """
    with ExitStack() as stack:
        world = stack.enter_context(distributed.start())
        records, heldout = list(data), list(heldout)
        world.once(lambda: (check_settings(config), check_records(records, heldout)))
        check_same_everywhere(world, records)
        root, checkpoint = world.once(lambda: open_run(out_dir, config, resume=resume))
        torch.manual_seed(config.seed + world.rank)
        policy, tokenizer = load_policy(config.model, world)
        records = world.once(lambda: that_fit(records, policy.model, tokenizer, max_tokens=config.rollout.max_tokens))
        if world.is_main:
            warn(config, len(records))

        parts = prepare(config, world, policy, tokenizer, [*records, *heldout], root=root, stack=stack)
        state = Position()
        if checkpoint is not None:
            _, saved = load_checkpoint(checkpoint, model=policy, optimizer=parts.stepper.optimizer, rank=world.rank)
            check_same_as_before(saved.pop("records", None), records)
            parts.stepper.restore(saved.pop("stepper"))
            parts.signs.skipped = parts.stepper.skipped
            state = Position(**saved)
        log = RunLog(root, config, world, resumed_step=None if checkpoint is None else state.step, quiet=quiet)
        row = train(parts, records, heldout, state, log)
        final = save_final(root / "final", policy, tokenizer, world=world, config=config.model)
        return TrainResult(final, state.step, row)


def train(
    parts: Parts, records: list[dict[str, Any]], heldout: Sequence[dict[str, Any]], state: Position, log: RunLog
) -> Row:
    """The steps from ``state`` to the end, logged and saved: the last one's metrics."""
    config, row = parts.config, {}
    with parts.saving as saving:

        def save(position: Position) -> None:
            everything = {**asdict(position), "stepper": parts.stepper.state(), "records": digest(records)}
            saving.save(position.step, model=parts.policy, optimizer=parts.stepper.optimizer, position=everything)

        gap = parts.follower.catch_up(state.step)
        if state.step == 0 and config.evaluation.every and heldout:
            log.write({"step": 0, **evaluation(parts, heldout)})
        while state.step < config.steps:
            before = replace(state)
            try:
                row, groups = one_step(parts, records, heldout, state, gap)
                gap = row["probe_gap"]
                log.step(row, groups, last=state.step == config.steps)
                parts.signs.check(row, groups)
            except (SamplerFailed, VerifiersFailed):
                # Nothing of the steps that are whole is lost; one that was not trained on begins again.
                save(before if state.step == before.step else state)
                raise
            saving.poll()
            if is_due(config.checkpoint.every, state.step) and state.step < config.steps:
                save(state)
    return row


@dataclass
class Position:
    """Where a run stands, all of it: RL steps, optimizer steps, prompts taken."""

    step: int = 0
    updates: int = 0
    prompts: int = 0


@dataclass(frozen=True)
class Parts:
    """What every step uses."""

    config: RLConfig
    world: World
    policy: Policy
    reference: Policy | None
    follower: Follower
    stepper: Stepper
    judges: dict[str, Judge]
    pool: ThreadPoolExecutor
    signs: VitalSigns
    saving: Checkpoints


def prepare(
    config: RLConfig,
    world: World,
    policy: Policy,
    tokenizer: Any,
    records: Sequence[dict[str, Any]],
    *,
    root: Path,
    stack: ExitStack,
) -> Parts:
    """Everything that the steps need besides the policy; ``stack`` closes it."""
    per_step = -(-config.rollout.prompts_per_step // config.prompts_per_minibatch) * config.epochs
    follower = Follower(config, policy, tokenizer, records, world)
    stack.callback(follower.engine.close)
    return Parts(
        config=config,
        world=world,
        policy=policy,
        reference=load_policy(config.model, world)[0].eval() if config.loss.kl_weight else None,
        follower=follower,
        stepper=Stepper(
            policy, config.optim, total_steps=config.steps * per_step, stop_after_bad_steps=config.stop_after_bad_steps
        ),
        judges=make_judges(config.reward, {record["ability"] for record in records}, stack),
        pool=stack.enter_context(ThreadPoolExecutor(config.reward.jobs)),
        signs=VitalSigns(config, root, world),
        saving=Checkpoints(
            root / "checkpoints", world, keep_last=config.checkpoint.keep_last, on_error=config.checkpoint.on_error
        ),
    )


def one_step(
    parts: Parts,
    records: list[dict[str, Any]],
    heldout: Sequence[dict[str, Any]],
    state: Position,
    gap: float | None,
) -> tuple[Row, list[Group]]:
    """Sample, judge, update, push, and evaluate where that is due: the step's metrics and its groups.

    ``gap`` is the probe's of the push before this step's rollouts.
    """
    clock = Clock()
    groups = collect(parts, records, state)
    clock.lap("sample_s")
    row = describe(groups)
    kept = [group for group in groups if group.has_signal][: parts.config.rollout.prompts_per_step]
    kept, about_sampler = scored(parts, kept)
    clock.lap("score_s")
    row |= about_sampler | update(parts, kept, state)
    clock.lap("train_s")
    state.step += 1
    row |= {"groups_kept": len(kept), "prompts_used": state.prompts, "probe_gap_before": gap}
    row["probe_gap"] = parts.follower.catch_up(state.step)
    clock.lap("push_s")
    if heldout and is_due(parts.config.evaluation.every, state.step):
        row |= evaluation(parts, heldout)
        clock.lap("eval_s")
    tokens = row["response_tokens"] * row["rollouts"]
    row["sampled_tokens_per_s"] = tokens / max(clock.laps["sample_s"], 1e-9)
    return {"step": state.step, **row, **clock.laps}, groups


def collect(parts: Parts, records: list[dict[str, Any]], state: Position) -> list[Group]:
    """Judged groups for one step, of all ranks, those without signal included; with refills while too few carry one.

    Raises:
        SamplerFailed: the engine died.
    """
    config, world = parts.config, parts.world
    groups: list[Group] = []
    for _ in range(1 + config.rollout.refill_rounds):
        chosen = take(records, state.prompts, config.rollout.prompts_per_step, seed=config.seed)
        # The number of prompts taken never repeats, so a record that comes again gets new draws.
        params = sampling(config, seed=config.seed * 1_000_000_007 + state.prompts)
        state.prompts += len(chosen)
        sample = partial(
            sample_groups,
            parts.follower.engine,
            params=params,
            judges=parts.judges,
            pool=parts.pool,
            config=config,
        )
        groups += sample_together(world, chosen, sample, where=f"step {state.step + 1}")
        if sum(group.has_signal for group in groups) >= config.rollout.prompts_per_step:
            break
    return groups


def scored(parts: Parts, groups: list[Group]) -> tuple[list[Group], Row]:
    """The groups with π_old by the trainer and the reference's log-probabilities, where the settings want them."""
    config, world = parts.config, parts.world
    how: dict[str, Any] = {
        "temperature": config.rollout.temperature, "budget": config.micro_batch_tokens, "world": world
    }  # fmt: skip
    figures: Row = {}
    if config.loss.old_logprobs == "trainer" or (config.loss.old_logprobs == "auto" and not parts.follower.shares):
        groups = rescored(parts.policy, groups, into="old_logprobs_T", **how)
        figures = mismatch_figures(groups)
    if parts.reference is not None:
        groups = rescored(parts.reference, groups, into="reference_logprobs_T", **how)
    return groups, figures


def update(parts: Parts, groups: Sequence[Group], state: Position) -> Row:
    """One optimizer step a minibatch of groups; the metrics' means over those steps."""
    steps: list[dict[str, float]] = []
    for minibatch in minibatches(groups, parts.config, step=state.step):
        metrics = accumulate_gradient(parts.policy, minibatch, parts.config, parts.world)
        try:
            steps.append(metrics | parts.stepper.step(state.updates, metrics["loss"]))
        except TrainingStopped:
            parts.signs.keep(state.step + 1, groups)
            raise
        state.updates += 1
    means = {key: sum(step[key] for step in steps) / len(steps) for key in steps[0]} if steps else {}
    if steps:
        means["ratio_max"] = max(step["ratio_max"] for step in steps)
        # Nothing has moved before the first minibatch: what is not 0 here is π_old disagreeing with the trainer.
        means["first_kl"] = steps[0]["kl"]
    return {**means, "updates": state.updates, "skipped_updates": parts.stepper.skipped}


def evaluation(parts: Parts, heldout: Sequence[dict[str, Any]]) -> Row:
    """Accuracy on held-out records, by ability."""
    engine, judges, pool = parts.follower.engine, parts.judges, parts.pool
    return dict(evaluate(engine, heldout, parts.config, parts.world, judges=judges, pool=pool))


def sampling(config: RLConfig, *, seed: int) -> SamplingParams:
    """The configured way to sample."""
    rollout = config.rollout
    return SamplingParams(
        n=rollout.n, temperature=rollout.temperature, top_p=rollout.top_p, max_tokens=rollout.max_tokens, seed=seed
    )
