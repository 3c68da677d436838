"""Supervised fine-tuning: chat messages in, a model in Hugging Face format out (Klear-Reasoner §3.1).

Read from top to bottom: messages become tokens with loss on the assistant's, examples are packed into rows, rows
make optimizer steps. The loss of a step is the mean over *its* trained tokens, however they are split into
micro-batches and over processes.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from klear_data.errors import UsageError
from klear_train import distributed
from klear_train.checkpoint import Checkpoints, load_checkpoint
from klear_train.distributed import World
from klear_train.final import save_final
from klear_train.metrics import Report, Throughput, require_tracker
from klear_train.metrics.throughput import cost_of
from klear_train.model import Policy, load_policy, nll_sum, tokenizer_of
from klear_train.optim import Stepper, TrainingStopped
from klear_train.packing import Batch, Example, collate, pack
from klear_train.plan import Plan, Row, micro_batches
from klear_train.run_dir import open_run
from klear_train.schedule import is_due
from klear_train.settings import SFTConfig
from klear_train.tokens import TokenStore, build_token_store, check_vocabulary, open_token_store

NOTHING = Example([0, 0], [False, False])
"""What a process computes on when the others still have rows: it counts for nothing, and keeps them company."""

SHOWN = ("loss", "validation_loss", "grad_norm", "tokens_per_s", "mfu")
"""What the live line says."""

Records = Iterable[dict[str, Any]]


@dataclass(frozen=True)
class TrainResult:
    """Where a run ended: the final model's folder, optimizer steps, and the last line of metrics."""

    final: Path
    steps: int
    last: dict[str, Any]


def run_sft(
    config: SFTConfig,
    data: Records,
    *,
    out_dir: str | Path,
    resume: bool = False,
    quiet: bool = False,
    validation: Records | None = None,
) -> TrainResult:
    """Train on records with ``messages`` and leave a run directory.

    Under ``torchrun`` every process calls this; rank 0 alone reads the data and says anything.

    Args:
        config: its ``model.path`` names the model.
        data: records as ``klear format sft`` writes them; with a ``stamp`` (:mod:`klear_train.tokens.fingerprint`)
            a run that goes on does not read them again.
        out_dir: gets config.toml, versions.json, data/, metrics.jsonl, checkpoints/ and final/.
        resume: go on from the last complete checkpoint, bit for bit on as many processes.
        quiet: no live line.
        validation: held-out records for ``validation.every``.

    Raises:
        UsageError: no such model, data that does not fit it, an ``out_dir`` that holds another run.
        CapabilityError: the tracker's package is missing.
        RecordError: no data, or none of it can be trained on.
        TrainingStopped: the loss stopped being a number.
    """
    require_tracker(config.track.to)
    with distributed.start() as world:
        root, checkpoint = world.once(lambda: open_run(out_dir, config, resume=resume))
        store, heldout = tokenised(config, data, validation, root=root, world=world, resume=resume, quiet=quiet)
        torch.manual_seed(config.seed + world.rank)
        policy, tokenizer = load_policy(config.model, world, adapter=config.lora)
        check_fits(policy, store, heldout)

        plan = Plan(store.lengths, config)
        stepper = Stepper(
            policy, config.optim, total_steps=plan.total, stop_after_bad_steps=config.stop_after_bad_steps
        )  # fmt: skip
        done = 0
        if checkpoint is not None:
            done, position = load_checkpoint(checkpoint, model=policy, optimizer=stepper.optimizer, rank=world.rank)
            stepper.restore(position)
        note_short(plan, config, world)
        throughput = Throughput(cost_of(policy.model), world.device, world.size)
        report = Report(
            root, config=config, track=config.track, total_steps=plan.total, log_every=config.log_every, shown=SHOWN,
            resumed_step=None if checkpoint is None else done, is_main=world.is_main, quiet=quiet,
        )  # fmt: skip
        if heldout is not None and done == 0:
            report.log({"step": 0, **validate(policy, heldout, config, world)})

        saving = Checkpoints(
            root / "checkpoints", world, keep_last=config.checkpoint.keep_last, on_error=config.checkpoint.on_error
        )  # fmt: skip
        row: dict[str, Any] = {}
        with saving, report:
            for step, epoch, rows in plan.steps(done):
                began = time.perf_counter()
                loss = accumulate(policy, store, rows, config, world)
                update = take_step(stepper, step, loss, store=store, rows=rows, root=root, world=world)
                last = step + 1 == plan.total
                took_s = time.perf_counter() - began
                row = {"step": step + 1, "epoch": epoch, "loss": loss, **update, **counts(store, rows, config)}
                lengths = store.lengths[[i for packed in rows for i in packed]]
                row |= throughput.figures(lengths, row["trained_tokens"], seconds=took_s)
                row["skipped_steps"] = stepper.skipped
                if heldout is not None and (last or is_due(config.validation.every, step + 1)):
                    row |= validate(policy, heldout, config, world)
                report.step(row, last=last, log="validation_loss" in row)
                saving.poll()
                if is_due(config.checkpoint.every, step + 1) and not last:
                    saving.save(step + 1, model=policy, optimizer=stepper.optimizer, position=stepper.state())
        final = save_final(
            root / "final", policy, tokenizer, world=world, config=config.model, adapter=config.lora
        )  # fmt: skip
        return TrainResult(final, plan.total, row)


def accumulate(policy: Policy, store: TokenStore, rows: list[Row], config: SFTConfig, world: World) -> float:
    """Add the gradient of a step's mean loss to the policy's; the loss.

    FSDP averages gradients over the processes, so each multiplies by their number.
    """
    num_trained = sum(int(store.trained[i]) for row in rows for i in row)
    loss = torch.zeros((), device=world.device)
    for members in micro_batches(rows, config.rows_per_micro_batch, rank=world.rank, processes=world.size):
        part = policy(nll_sum, batch_of(store, members, world), scale=world.size / num_trained)
        part.backward()
        loss += part.detach()
    return world.sum(float(loss))[0] / world.size


@torch.no_grad()
def validate(policy: Policy, store: TokenStore, config: SFTConfig, world: World) -> dict[str, float]:
    """Mean loss of the trained tokens of held-out examples."""
    rows = pack(store.lengths, config.pack_tokens)[: config.validation.max_rows]
    num_trained = sum(int(store.trained[i]) for row in rows for i in row)
    policy.eval()
    loss = torch.zeros((), device=world.device)
    for members in micro_batches(rows, config.rows_per_micro_batch, rank=world.rank, processes=world.size):
        loss += policy(nll_sum, batch_of(store, members, world), scale=1 / num_trained)
    policy.train()
    return {"validation_loss": world.sum(float(loss))[0], "validation_tokens": num_trained}


def batch_of(store: TokenStore, members: list[int], world: World) -> Batch:
    """Some examples as a batch on this process's device."""
    return collate([store.example(i) for i in members] or [NOTHING]).to(world.device)


def take_step(
    stepper: Stepper, step: int, loss: float, *, store: TokenStore, rows: list[Row], root: Path, world: World
) -> dict[str, float]:
    """The optimizer's step; where too many in a row came to nothing, the examples of this one are kept.

    Raises:
        TrainingStopped: on rank 0 (the others leave quietly).
    """
    try:
        return stepper.step(step, loss)
    except TrainingStopped as error:
        stopped = error

    def stop() -> None:
        path = root / f"bad_batch_{step + 1:06d}.jsonl"
        with path.open("w", encoding="utf-8") as file:
            for number, row in enumerate(rows):
                for i in row:
                    example = store.example(i)
                    trained = [at for at, flag in enumerate(example.trained) if flag]
                    line = {"row": number, "example": i, "tokens": [int(t) for t in example.tokens], "trained": trained}
                    file.write(json.dumps(line) + "\n")
        raise TrainingStopped(f"{stopped}: {path}")

    world.once(stop)
    raise AssertionError("unreachable: stop always raises")


def tokenised(
    config: SFTConfig,
    data: Records,
    validation: Records | None,
    *,
    root: Path,
    world: World,
    resume: bool,
    quiet: bool,
) -> tuple[TokenStore, TokenStore | None]:
    """Training and held-out examples on disk: tokenised by rank 0, opened by all."""

    def build(records: Records, folder: Path) -> None:
        store = build_token_store(
            records,
            tokenizer_of(config.model),
            folder=folder,
            pack_tokens=config.pack_tokens,
            overlong=config.overlong,
            jobs=config.data_jobs,
            reuse=resume,
            stamp=getattr(records, "stamp", None),
            say=None if quiet else lambda text: print(text, file=sys.stderr),
        )
        if store.counts["overlong"]:
            done = "left out" if config.overlong == "drop" else "cut"
            print(
                f"note: {store.counts['overlong']} examples longer than {config.pack_tokens} tokens were {done}",
                file=sys.stderr,
            )

    folders = [root / "data"]
    world.once(lambda: build(data, folders[0]))
    if validation is not None:
        folders.append(root / "validation")
        world.once(lambda: build(validation, folders[1]))
    stores = [open_token_store(folder) for folder in folders]
    return stores[0], stores[1] if validation is not None else None


def check_fits(policy: Policy, *stores: TokenStore | None) -> None:
    """Raise UsageError if the model can't take the examples: unknown ids, or more tokens than its context."""
    model = policy.model
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    for store in stores:
        if store is None:
            continue
        check_vocabulary(store, model.get_input_embeddings().num_embeddings)
        longest = int(store.lengths.max())
        if room is not None and longest > room:
            raise UsageError(
                f"--data: the longest example has {longest} tokens, the model's context {room}; expected examples that "
                f"fit; set pack_tokens={room}, or raise max_position_embeddings in the model's config.json"
            )


def counts(store: TokenStore, rows: list[Row], config: SFTConfig) -> dict[str, float]:
    """What a step is made of."""
    members = [i for row in rows for i in row]
    tokens = int(store.lengths[members].sum())
    return {
        "tokens": tokens,
        "trained_tokens": int(store.trained[members].sum()),
        "fill": tokens / (len(rows) * config.pack_tokens),
    }


def note_short(plan: Plan, config: SFTConfig, world: World) -> None:
    """Say so if the data ends before ``max_steps``."""
    if world.is_main and plan.available < (config.max_steps or 0):
        print(
            f"note: {config.epochs} epochs are {plan.available} steps, fewer than max_steps = {config.max_steps}",
            file=sys.stderr,
        )
