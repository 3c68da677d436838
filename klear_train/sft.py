"""Supervised fine-tuning: chat messages in, a model in Hugging Face format out (Klear-Reasoner §3.1).

Read from top to bottom: messages become examples with loss on the assistant's tokens, examples are packed
into rows, rows make optimizer steps. The loss of a step is the mean over *its* trained tokens, however they
are split into micro-batches.
"""

from __future__ import annotations

import random
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from jinja2 import TemplateError

from klear_data.errors import RecordError
from klear_data.records import messages_problem
from klear_train.chat import examples_of
from klear_train.checkpoint import load_checkpoint, save_checkpoint, save_final
from klear_train.metrics import LiveLine, StepLog
from klear_train.model import load_for_training, nll_sum
from klear_train.optim import Stepper
from klear_train.packing import Example, collate, pack
from klear_train.run_dir import open_run
from klear_train.settings import SFTConfig


@dataclass
class SFTData:
    """Tokenised examples and what became of the records."""

    examples: list[Example] = field(default_factory=list)
    records: int = 0
    overlong: int = 0

    @property
    def num_trained(self) -> int:
        return sum(example.num_trained for example in self.examples)


@dataclass(frozen=True)
class TrainResult:
    """Where a run ended: the final model's folder, optimizer steps, and the last line of metrics."""

    final: Path
    steps: int
    last: dict[str, Any]


def run_sft(
    config: SFTConfig, data: Iterable[dict[str, Any]], *, out_dir: str | Path, resume: bool = False, quiet: bool = False
) -> TrainResult:
    """Train on records with ``messages`` and leave a run directory.

    Args:
        config: its ``model.path`` names the model.
        data: records as ``klear format sft`` writes them.
        out_dir: gets config.toml, versions.json, metrics.jsonl, checkpoints/ and final/.
        resume: go on from the last complete checkpoint, bit for bit.
        quiet: no live line.

    Raises:
        UsageError: no such model, an ``out_dir`` that holds another run.
        RecordError: no data, or none of it can be trained on.
        TrainingStopped: the loss stopped being a number.
    """
    root, checkpoint = open_run(out_dir, config, resume=resume)
    torch.manual_seed(config.seed)
    model, tokenizer = load_for_training(config.model)
    examples = tokenise(data, tokenizer, config).examples

    total = total_steps(examples, config)
    stepper = Stepper(model, config.optim, total_steps=total, stop_after_bad_steps=config.stop_after_bad_steps)
    done = 0
    if checkpoint is not None:
        done, position = load_checkpoint(checkpoint, model=model, optimizer=stepper.optimizer)
        stepper.restore(position)
    log = StepLog(root / "metrics.jsonl", resumed_step=done if checkpoint else None)
    live = LiveLine(total, quiet=quiet)
    row: dict[str, Any] = {}

    for step, epoch, rows in _steps(examples, config, start=done, end=total):
        began = time.perf_counter()
        num_trained = sum(examples[i].num_trained for packed in rows for i in packed)
        loss, tokens, slots = 0.0, 0, 0
        for start in range(0, len(rows), config.rows_per_micro_batch):
            packed = rows[start : start + config.rows_per_micro_batch]
            members = [examples[i] for row_ in packed for i in row_]
            batch = collate(members).to(model.device)
            micro_loss = nll_sum(model, batch, scale=1 / num_trained)
            micro_loss.backward()
            loss += float(micro_loss.detach())
            tokens += sum(len(example.tokens) for example in members)
            slots += len(packed) * config.pack_tokens
        update = stepper.step(step, loss)
        row = {
            "step": step + 1,
            "epoch": epoch,
            "loss": loss,
            **update,
            "trained_tokens": num_trained,
            "fill": tokens / slots,
            "tokens_per_s": tokens / (time.perf_counter() - began),
            "skipped_steps": stepper.skipped,
        }
        last = step + 1 == total
        if (step + 1) % config.log_every == 0 or last:
            log.write(row)
        live.update(step + 1, {key: row[key] for key in ("loss", "grad_norm", "tokens_per_s")}, last=last)
        if config.checkpoint.every and (step + 1) % config.checkpoint.every == 0 and not last:
            save_checkpoint(
                root / "checkpoints",
                step=step + 1,
                model=model,
                optimizer=stepper.optimizer,
                position=stepper.state(),
                keep_last=config.checkpoint.keep_last,
            )
    return TrainResult(save_final(root / "final", model, tokenizer), total, row)


def tokenise(data: Iterable[dict[str, Any]], tokenizer: Any, config: SFTConfig) -> SFTData:
    """Records to examples; over-long ones dropped or cut, and counted.

    Raises:
        RecordError: no records, a record without an assistant turn, or nothing short enough.
    """
    found = SFTData()
    for record in data:
        found.records += 1
        name = f"record {record.get('id', found.records)}"
        problem = messages_problem(record.get("messages"), "messages")
        if problem is None and record["messages"][0]["role"] == "assistant":
            problem = "the assistant speaks first; expected a question before its answer; mend or drop the record"
        if problem is not None:
            raise RecordError(f"{name}: {problem}")
        try:
            turns = examples_of(tokenizer, record["messages"])
        except TemplateError as error:
            raise RecordError(
                f"{name}: the chat template refuses its messages ({error}); expected turns it knows; mend the record"
            ) from error
        if not turns:
            raise RecordError(f"{name}: no assistant turn; expected at least one to learn from; drop the record")
        for example in turns:
            if len(example.tokens) > config.pack_tokens:
                found.overlong += 1
                if config.overlong == "drop":
                    continue
                example = Example(example.tokens[: config.pack_tokens], example.trained[: config.pack_tokens])
            if example.num_trained:
                found.examples.append(example)
    if not found.records:
        raise RecordError(
            "--data: no records; expected the output of `klear format sft`; check the path or the stage before"
        )
    if not found.examples:
        raise RecordError(
            f"--data: all {found.records} records are longer than pack_tokens = {config.pack_tokens}; expected shorter "
            "ones; raise it with --set pack_tokens=…, or --set overlong=cut"
        )
    return found


def total_steps(examples: list[Example], config: SFTConfig) -> int:
    """Optimizer steps of the run: those of all epochs, or ``max_steps`` if that comes first."""
    available = sum(len(epoch_steps(examples, config, epoch)) for epoch in range(config.epochs))
    if config.max_steps is None:
        return available
    if available < config.max_steps:
        print(
            f"note: {config.epochs} epochs are {available} steps, fewer than max_steps = {config.max_steps}",
            file=sys.stderr,
        )
    return min(available, config.max_steps)


def epoch_steps(examples: list[Example], config: SFTConfig, epoch: int) -> list[list[list[int]]]:
    """The optimizer steps of an epoch: for each its rows, for each row its examples.

    Depends on the seed and the epoch alone, so a resumed run needs no data position but its step.
    """
    rng = random.Random(f"{config.seed}/{epoch}")
    order = list(range(len(examples)))
    rng.shuffle(order)
    bins = pack([len(examples[i].tokens) for i in order], config.pack_tokens)
    rng.shuffle(bins)
    rows = [[order[at] for at in packed] for packed in bins]
    return [rows[start : start + config.rows_per_step] for start in range(0, len(rows), config.rows_per_step)]


def _steps(
    examples: list[Example], config: SFTConfig, *, start: int, end: int
) -> Iterator[tuple[int, int, list[list[int]]]]:
    """(step, epoch, rows) of the steps from ``start`` to before ``end``."""
    step = 0
    for epoch in range(config.epochs):
        for rows in epoch_steps(examples, config, epoch):
            if start <= step < end:
                yield step, epoch, rows
            step += 1
