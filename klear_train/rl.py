"""Reinforcement learning on verifiable rewards with GPPO (Klear-Reasoner §3.2, §4.1).

One step, read from top to bottom: take prompts, sample a group of rollouts for each, judge them while the
rest is being written, turn rewards into advantages, drop the groups without signal, and make one optimizer
step for each minibatch of groups. The rollouts are on-policy for the first minibatch and off-policy after.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import torch
from torch import Tensor

from klear_data.generate.types import SamplingParams
from klear_train import losses
from klear_train.checkpoint import load_checkpoint, save_checkpoint, save_final
from klear_train.config import LossSection, RLConfig
from klear_train.evaluate import accuracy_by_ability, evaluate
from klear_train.metrics import LiveLine, MetricsLog
from klear_train.model import load_for_training, target_logprobs
from klear_train.optim import Stepper
from klear_train.packing import Batch, collate, pack
from klear_train.rollout import Group, Judge, Rollout, check_records, make_judges, sample_groups
from klear_train.run_dir import open_run
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
    check_records([*records, *heldout])
    root, checkpoint = open_run(out_dir, config, resume=resume)
    torch.manual_seed(config.seed)
    model, tokenizer = load_for_training(config.model)
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

    log = MetricsLog(root / "metrics.jsonl", resumed_step=state.step if checkpoint else None)
    live = LiveLine(config.steps, quiet=quiet)
    row: dict[str, Any] = {}
    with ExitStack() as stack:
        judges = make_judges(config.reward, {record["ability"] for record in [*records, *heldout]}, stack)
        pool = stack.enter_context(ThreadPoolExecutor(config.reward.jobs))
        dump = stack.enter_context((root / "rollouts.jsonl").open("a", encoding="utf-8"))
        trainer = Trainer(config, model, tokenizer, stepper, judges, pool)
        while state.step < config.steps:
            began = time.perf_counter()
            groups = trainer.collect(records, state)
            sampled = time.perf_counter()
            row = {"step": state.step + 1, **describe(groups), **trainer.train(groups, state)}
            state.step += 1
            row |= {"sample_s": sampled - began, "train_s": time.perf_counter() - sampled, "prompts_used": state.prompts}
            if config.evaluation.every and heldout and state.step % config.evaluation.every == 0:
                row |= trainer.evaluation(heldout)
            state.constant = 0 if row["groups_kept"] else state.constant + 1
            if state.constant == CONSTANT_STEPS_TO_WARN:
                print(
                    f"warning: no group had two different rewards for {state.constant} steps (mean reward "
                    f"{row['reward']:.3f}); nothing is being learnt: the problems are too easy or too hard for this "
                    "model, or its responses fail the tag rule (reward.think)",
                    file=sys.stderr,
                )
            log.write(row)
            shown = {key: row[key] for key in ("reward", "accuracy", "response_tokens", "entropy") if key in row}
            live.update(state.step, shown, last=state.step == config.steps)
            if config.save_rollouts_every and state.step % config.save_rollouts_every == 0:
                write_rollouts(dump, state.step, groups)
            if config.checkpoint.every and state.step % config.checkpoint.every == 0 and state.step < config.steps:
                save_checkpoint(
                    root / "checkpoints",
                    step=state.step,
                    model=model,
                    optimizer=stepper.optimizer,
                    position={**asdict(state), "stepper": stepper.state()},
                    keep_last=config.checkpoint.keep_last,
                )
    log.close()
    return TrainResult(save_final(root / "final", model, tokenizer), state.step, row)


@dataclass
class Position:
    """Where a run stands, all of it: RL steps, optimizer steps, prompts taken, steps without signal."""

    step: int = 0
    updates: int = 0
    prompts: int = 0
    constant: int = 0


@dataclass(frozen=True)
class Trainer:
    """The parts of a run that every step uses."""

    config: RLConfig
    model: Any
    tokenizer: Any
    stepper: Stepper
    judges: dict[str, Judge]
    pool: ThreadPoolExecutor

    def collect(self, records: list[dict[str, Any]], state: Position) -> list[Group]:
        """Groups for one step, those without signal included, with refills while too few carry one."""
        rollout = self.config.rollout
        self.model.eval()
        groups: list[Group] = []
        for _ in range(1 + rollout.refill_rounds):
            chosen = take(records, state.prompts, rollout.prompts_per_step, seed=self.config.seed)
            params = SamplingParams(
                n=rollout.n,
                temperature=rollout.temperature,
                top_p=rollout.top_p,
                max_tokens=rollout.max_tokens,
                # The prompts taken so far never repeat, so a record that returns gets new draws.
                seed=self.config.seed * 1_000_000_007 + state.prompts,
            )
            state.prompts += len(chosen)
            groups += sample_groups(
                self.model, self.tokenizer, chosen, params, judges=self.judges, pool=self.pool,
                batch_size=rollout.batch_size, loss=self.config.loss,
            )  # fmt: skip
            if sum(group.has_signal for group in groups) >= rollout.prompts_per_step:
                break
        self.model.train()
        return groups

    def train(self, groups: list[Group], state: Position) -> dict[str, float]:
        """Optimizer steps on the groups that carry a signal: metrics, weighted by tokens."""
        kept = [group for group in groups if group.has_signal][: self.config.rollout.prompts_per_step]
        sums: dict[str, float] = {}
        weight = 0.0
        for epoch in range(self.config.epochs):
            order = list(kept)
            random.Random(f"{self.config.seed}/{state.step}/{epoch}").shuffle(order)
            for start in range(0, len(order), self.config.prompts_per_minibatch):
                metrics, tokens = self.minibatch(order[start : start + self.config.prompts_per_minibatch], state)
                weight += tokens
                for key, value in metrics.items():
                    sums[key] = max(sums.get(key, 0.0), value) if key == "ratio_max" else sums.get(key, 0.0) + value * tokens
        means = {key: value if key == "ratio_max" else value / max(weight, 1) for key, value in sums.items()}
        return {"groups_kept": len(kept), **means, "skipped_updates": self.stepper.skipped}

    def minibatch(self, groups: list[Group], state: Position) -> tuple[dict[str, float], int]:
        """One optimizer step; its loss is normalised over the whole minibatch, however that is split."""
        chosen = [(group.prompt_ids, rollout) for group in groups for rollout in self.trainable(group)]
        num_tokens = sum(len(rollout.completion.token_ids) for _, rollout in chosen)
        num_correct = sum(len(rollout.completion.token_ids) for _, rollout in chosen if rollout.correct)
        total: dict[str, float] = {}
        for micro in micro_batches(chosen, self.config.micro_batch_tokens):
            loss, metrics, tokens = self.micro_loss(micro, num_tokens, num_correct, len(chosen))
            loss.backward()
            total["loss"] = total.get("loss", 0.0) + float(loss.detach())
            for key, value in metrics.items():
                if key == "ratio_max":
                    total[key] = max(total.get(key, 0.0), value)
                else:
                    total[key] = total.get(key, 0.0) + value * tokens / num_tokens
        if chosen:
            total |= self.stepper.step(state.updates, total["loss"])
            state.updates += 1
        return total, num_tokens

    def trainable(self, group: Group) -> Iterator[Rollout]:
        """The rollouts that carry a gradient: scored, not empty, and not cut off if those are to be left out."""
        for rollout in group.rollouts:
            cut_off = self.config.rollout.drop_truncated and rollout.completion.finish_reason == "length"
            if rollout.advantage is not None and rollout.completion.token_ids and not cut_off:
                yield rollout

    def micro_loss(
        self, members: list[tuple[list[int], Rollout]], num_tokens: int, num_correct: int, num_responses: int
    ) -> tuple[Tensor, dict[str, float], int]:
        """This micro-batch's share of the minibatch's loss (Eq. 13: policy loss + α·NLL)."""
        device = self.model.device
        batch = self.layout(members).to(device)
        logprobs_N, entropy_N = target_logprobs(
            self.model, batch, temperature=self.config.rollout.temperature, with_entropy=True
        )  # fmt: skip
        old_N = torch.tensor([lp for _, rollout in members for lp in rollout.completion.logprobs], device=device)
        logprobs_BT, old_BT = batch.rows_SL(logprobs_N), batch.rows_SL(in_row_order(old_N, batch))
        mask_BT = batch.rows_SL(torch.ones_like(logprobs_N)).bool()
        advantages_B = torch.tensor([rollout.advantage for _, rollout in members], device=device)
        loss, metrics = policy_loss(
            logprobs_BT, old_BT, advantages_B, mask_BT, self.config.loss, num_tokens, num_responses
        )  # fmt: skip
        if self.config.loss.nll_weight:
            correct_B = torch.tensor([rollout.correct for _, rollout in members], device=device)
            nll, nll_metrics = losses.positive_nll_loss(logprobs_BT, correct_B, mask_BT, num_tokens=max(num_correct, 1))
            loss = loss + self.config.loss.nll_weight * nll
            metrics |= nll_metrics
        metrics["entropy"] = float(entropy_N.mean())
        return loss, metrics, batch.num_trained

    @staticmethod
    def layout(members: list[tuple[list[int], Rollout]]) -> Batch:
        """Rollouts packed into rows as long as the longest of them."""
        examples = [rollout.example(prompt_ids) for prompt_ids, rollout in members]
        lengths = [len(example.tokens) for example in examples]
        return collate(examples, pack(lengths, max(lengths)), length=max(lengths), pad_id=0)

    def evaluation(self, heldout: Sequence[dict[str, Any]]) -> dict[str, float]:
        """Accuracy on held-out records, one rollout each, always with the same draws."""
        per_ability: dict[str, list[dict[str, Any]]] = {}
        for record in heldout:
            per_ability.setdefault(record["ability"], []).append(record)
        chosen = [record for group in per_ability.values() for record in group[: self.config.evaluation.max_records]]
        rollout = self.config.rollout
        params = SamplingParams(
            n=1, temperature=rollout.temperature, top_p=rollout.top_p, max_tokens=rollout.max_tokens, seed=self.config.seed
        )  # fmt: skip
        found = evaluate(
            self.model, self.tokenizer, chosen, params, judges=self.judges, pool=self.pool, batch_size=rollout.batch_size
        )  # fmt: skip
        return {
            key: value
            for ability, accuracy in found.items()
            for key, value in ((f"eval_{ability}", accuracy.mean), (f"eval_{ability}_half_width", accuracy.half_width))
        }


def policy_loss(
    logprobs_BT: Tensor,
    old_BT: Tensor,
    advantages_B: Tensor,
    mask_BT: Tensor,
    config: LossSection,
    num_tokens: float,
    num_responses: float,
) -> tuple[Tensor, dict[str, float]]:
    """The configured loss; every kind is normalised over the whole minibatch."""
    tensors = (logprobs_BT, old_BT, advantages_B, mask_BT)
    clip = {"clip_low": config.clip_low, "clip_high": config.clip_high}
    if config.kind == "gspo":
        return losses.gspo_loss(*tensors, **clip, num_responses=num_responses)
    if config.kind == "cispo":
        return losses.cispo_loss(*tensors, **clip, num_tokens=num_tokens)
    if config.kind == "clip_higher":
        return losses.clip_higher_loss(*tensors, **clip, ratio_cap=config.ratio_cap, num_tokens=num_tokens)
    betas = {"beta_low": config.beta_low, "beta_high": config.beta_high}
    return losses.gppo_loss(*tensors, **clip, **betas, ratio_cap=config.ratio_cap, num_tokens=num_tokens)


def micro_batches(
    members: list[tuple[list[int], Rollout]], tokens: int
) -> Iterator[list[tuple[list[int], Rollout]]]:
    """Rollouts of about one length together, at most ``tokens`` to a micro-batch (or one that is longer)."""
    ordered = sorted(members, key=lambda member: len(member[0]) + len(member[1].completion.token_ids))
    micro: list[tuple[list[int], Rollout]] = []
    used = 0
    for member in ordered:
        size = len(member[0]) + len(member[1].completion.token_ids)
        if micro and used + size > tokens:
            yield micro
            micro, used = [], 0
        micro.append(member)
        used += size
    if micro:
        yield micro


def in_row_order(values_N: Tensor, batch: Batch) -> Tensor:
    """Values listed sequence by sequence, in the order in which packing laid the sequences out."""
    lengths_S = torch.bincount(batch.sequence_N, minlength=batch.num_sequences)
    starts_S = lengths_S.cumsum(0) - lengths_S
    return values_N[starts_S[batch.sequence_N] + batch.ordinal_N]


def take(records: list[dict[str, Any]], start: int, count: int, *, seed: int) -> list[dict[str, Any]]:
    """Records number ``start`` to ``start + count`` of an endless shuffle, none of them twice."""
    chosen: dict[str, dict[str, Any]] = {}
    for position in range(start, start + min(count, len(records))):
        epoch, at = divmod(position, len(records))
        order = list(range(len(records)))
        random.Random(f"{seed}/{epoch}").shuffle(order)
        record = records[order[at]]
        chosen.setdefault(record["id"], record)
    return list(chosen.values())


def warnings_for(config: RLConfig, num_records: int) -> list[str]:
    """What is likely to go wrong with these settings, said before time is spent."""
    found = []
    keeps_low = config.loss.kind == "cispo" or (config.loss.kind == "gppo" and config.loss.beta_low > 0)
    if config.epochs > 1 and keeps_low:
        found.append(
            f"epochs = {config.epochs} with {config.loss.kind}: several passes over the same rollouts made the policy "
            "collapse in our tests, through tokens already pushed below the range; use epochs = 1, or "
            "loss.kind = gppo with loss.beta_low = 0"
        )
    if config.rollout.top_p < 1:
        found.append(
            f"rollout.top_p = {config.rollout.top_p}: responses come from a cut distribution whose log-probabilities are "
            "not those that the loss compares; use 1"
        )
    if num_records < config.rollout.prompts_per_step:
        found.append(f"{num_records} records for {config.rollout.prompts_per_step} prompts a step: each step takes all of them")
    return found


def describe(groups: Sequence[Group]) -> dict[str, Any]:
    """Figures of the rollouts themselves; rewards and accuracy leave unscored rollouts out."""
    rollouts = [rollout for group in groups for rollout in group.rollouts]
    rewards = [rollout.reward for rollout in rollouts if rollout.reward is not None]
    by_ability = accuracy_by_ability(groups)
    rates = [accuracy.mean * accuracy.problems for accuracy in by_ability.values()]
    flat = [group for group in groups if not group.has_signal]
    return {
        "reward": sum(rewards) / max(len(rewards), 1),
        "accuracy": sum(rates) / max(sum(accuracy.problems for accuracy in by_ability.values()), 1),
        **{f"accuracy_{ability}": accuracy.mean for ability, accuracy in by_ability.items()},
        "groups": len(groups),
        "groups_all_correct": sum(all(rollout.correct for rollout in group.rollouts) for group in flat),
        "groups_none_correct": sum(not any(rollout.correct for rollout in group.rollouts) for group in flat),
        "unscored": len(rollouts) - len(rewards),
        "response_tokens": sum(len(rollout.completion.token_ids) for rollout in rollouts) / len(rollouts),
        "truncated": sum(rollout.completion.finish_reason == "length" for rollout in rollouts) / len(rollouts),
    }


def write_rollouts(file: TextIO, step: int, groups: Sequence[Group]) -> None:
    """One line a group: what was asked, written and judged in this step."""
    for group in groups:
        rollouts = [
            {**rollout.completion.as_rollout(), **rollout.judgement, "advantage": rollout.advantage}
            for rollout in group.rollouts
        ]
        line = {"step": step, "id": group.record["id"], "prompt": group.record["prompt"], "rollouts": rollouts}
        file.write(json.dumps(line, ensure_ascii=False) + "\n")
    file.flush()
