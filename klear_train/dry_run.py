"""What a run would be, before it is one: settings, size, memory, data, steps, and the first batch with its mask."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from klear_train.config import to_toml
from klear_train.memory import Estimate, estimate
from klear_train.model import lora, tokenizer_of
from klear_train.model.load import without_weights
from klear_train.plan import Plan
from klear_train.settings import RLConfig, SFTConfig
from klear_train.tokens import TokenStore, build_token_store, check_vocabulary

SHOWN_TOKENS = 400
"""Of each example of the first batch; the middle of longer ones is left out."""
SHOWN_EXAMPLES = 8

GREEN, DIM, PLAIN = "\x1b[32m", "\x1b[2m", "\x1b[0m"


def dry_run(config: SFTConfig, data: Iterable[dict[str, Any]], *, devices: int = 1, colour: bool = False) -> str:
    """The report of ``klear train sft --dry-run``.

    The data is tokenised in full, into a folder that is removed again; of the model only its config is read.

    Args:
        config: of the run.
        data: records as ``klear format sft`` writes them.
        devices: processes that the run would have.
        colour: mark what carries loss by colour instead of ⟦brackets⟧.

    Raises:
        UsageError: no such model, or data that does not fit it.
        RecordError: no data, or none of it can be trained on.
    """
    tokenizer = tokenizer_of(config.model)
    model = empty_model(config)
    with tempfile.TemporaryDirectory(prefix="klear-dry-run-") as folder:
        store = build_token_store(
            data, tokenizer, folder=Path(folder) / "data", pack_tokens=config.pack_tokens, overlong=config.overlong,
            jobs=config.data_jobs,
        )  # fmt: skip
        check_vocabulary(store, model.get_input_embeddings().num_embeddings)
        plan = Plan(store.lengths, config)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        parts = [
            to_toml(config),
            model_lines(model),
            memory_lines(estimate(model, config, devices=devices, device=device), devices),
            data_lines(store, config),
            plan_lines(plan, store, config),
            first_batch(plan, store, tokenizer, colour=colour),
        ]
    return "\n".join(parts)


def empty_model(config: SFTConfig | RLConfig) -> Any:
    """The model without weights, with the adapters that the run would train."""
    model = without_weights(config.model.path)
    if isinstance(config, SFTConfig) and config.lora.rank:
        with torch.device("meta"):
            lora.add(model, config.lora)
    return model


def model_lines(model: Any) -> str:
    total = sum(weight.numel() for weight in model.parameters())
    trained = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    return f"model        {type(model).__name__}, {total:,} parameters, {trained:,} of them trained\n"


def memory_lines(memory: Estimate, devices: int) -> str:
    parts = "  ".join(f"{name} {size_text(getattr(memory, name))}" for name in memory.__annotations__)
    over = f"each of {devices} devices" if devices > 1 else "one device"
    there = ""
    if torch.cuda.is_available():
        there = f" of {size_text(torch.cuda.get_device_properties(0).total_memory)}"
    return (
        f"memory       about {size_text(memory.total)}{there} on {over}, and a tenth more for workspaces\n"
        f"             {parts}\n"
    )


def size_text(number: float) -> str:
    return f"{number / 2**30:.1f} GiB" if number >= 2**30 else f"{number / 2**20:.0f} MiB"


def data_lines(store: TokenStore, config: SFTConfig) -> str:
    counts, done = store.counts, "dropped" if config.overlong == "drop" else "cut"
    share = counts["trained_tokens"] / counts["tokens"]
    at = {name: int(np.percentile(store.lengths, part)) for name, part in (("median", 50), ("90%", 90), ("99%", 99))}
    lengths = "  ".join(f"{name} {length:,}" for name, length in at.items())
    return (
        f"data         {counts['records']:,} records, {counts['examples']:,} examples; {counts['overlong']:,} overlong "
        f"({done}), {counts['untrained']:,} with nothing left to learn\n"
        f"tokens       {counts['tokens']:,} an epoch, {share:.1%} of them carry loss\n"
        f"lengths      {lengths}  longest {int(store.lengths.max()):,}\n"
    )


def plan_lines(plan: Plan, store: TokenStore, config: SFTConfig) -> str:
    return (
        f"packing      {plan.rows_per_epoch:,} rows of {config.pack_tokens:,} tokens, {plan.fill:.1%} full\n"
        f"steps        {plan.total:,} ({plan.steps_per_epoch:,} an epoch, {config.epochs} epochs), "
        f"{config.rows_per_step} rows and about {store.counts['tokens'] / plan.steps_per_epoch:,.0f} tokens each\n"
    )


def first_batch(plan: Plan, store: TokenStore, tokenizer: Any, *, colour: bool) -> str:
    """The text of the first row that the run would train on, its trained tokens marked."""
    row = next(plan.steps())[2][0]
    how = "in green" if colour else "in ⟦brackets⟧"
    lines = [f"first row    {len(row)} examples, {int(store.lengths[row].sum()):,} tokens; what carries loss is {how}"]
    for index in row[:SHOWN_EXAMPLES]:
        example = store.example(index)
        lines.append(f"--- example {index} (record {int(store.records[index])}), {len(example.tokens)} tokens")
        lines.append(marked(example.tokens, example.trained, tokenizer, colour=colour))
    if len(row) > SHOWN_EXAMPLES:
        lines.append(f"--- and {len(row) - SHOWN_EXAMPLES} more")
    return "\n".join(lines)


def marked(tokens: Any, trained: Any, tokenizer: Any, *, colour: bool) -> str:
    """Tokens as text, those that carry loss marked; the middle of a long sequence is left out."""
    begin, end = (GREEN, PLAIN) if colour else ("⟦", "⟧")
    before, after = (DIM, PLAIN) if colour else ("", "")
    half = SHOWN_TOKENS // 2
    gap = [] if len(tokens) <= SHOWN_TOKENS else [(half, len(tokens) - half)]
    edges = {0, len(tokens), *(np.flatnonzero(np.diff(trained.astype(int))) + 1).tolist()}
    edges |= {at for one in gap for at in one}
    pieces, places = [], sorted(edges)
    for start, stop in pairwise(places):
        if gap and gap[0][0] <= start < gap[0][1]:
            if start == gap[0][0]:
                pieces.append(f" … {gap[0][1] - gap[0][0]} tokens … ")
            continue
        # What moves a terminal's cursor is shown, not done.
        text = tokenizer.decode(tokens[start:stop]).replace("\x1b", "␛")
        pieces.append(begin + text + end if trained[start] else before + text + after)
    return "".join(pieces)
