"""What can be known to go wrong before time is spent on an RL run."""

from __future__ import annotations

import hashlib
import sys
from typing import Any

from klear_data.errors import RecordError, UsageError
from klear_data.generate.transformers_backend import encode_prompt
from klear_train.distributed import World
from klear_train.rollout.share import gather
from klear_train.settings import RLConfig


def check_settings(config: RLConfig) -> None:
    """Raise UsageError for settings that contradict each other."""
    rollout = config.rollout
    if rollout.overlong_buffer > rollout.max_tokens:
        raise UsageError(
            f"rollout.overlong_buffer = {rollout.overlong_buffer}: it is the last part of a response of max_tokens = "
            f"{rollout.max_tokens}; expected no more than that; lower it, or raise rollout.max_tokens"
        )


def that_fit(records: list[dict[str, Any]], model: Any, tokenizer: Any, *, max_tokens: int) -> list[dict[str, Any]]:
    """The records whose prompt leaves room for a response in the model's context; says how many leave too little.

    Raises:
        RecordError: none does.
    """
    room = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if room is None:
        return records
    left = [room - len(encode_prompt(tokenizer, record["prompt"], of=f"record {record['id']}")) for record in records]
    fitting = [record for record, tokens in zip(records, left, strict=True) if tokens > 0]
    if not fitting:
        raise RecordError(
            f"--data: the prompts of all {len(records)} records fill the model's context of {room} tokens; expected "
            "shorter ones; use a model with a longer context"
        )
    if len(fitting) < len(records):
        left_out = len(records) - len(fitting)
        print(f"warning: {left_out} prompts fill the context of {room} tokens and are left out", file=sys.stderr)
    short = sum(0 < tokens < max_tokens for tokens in left)
    if short:
        print(
            f"warning: {short} of {len(records)} prompts leave less than rollout.max_tokens = {max_tokens} of the "
            f"model's context of {room} tokens; their responses are cut off where it ends",
            file=sys.stderr,
        )
    return fitting


def check_same_everywhere(world: World, records: list[dict[str, Any]]) -> None:
    """Raise RecordError unless all processes read the same records: each samples its share of them."""
    found = gather(world, (len(records), digest(records)))
    if len(set(found)) > 1:
        raise RecordError(
            f"--data: the processes of this run read different records ({', '.join(str(n) for n, _ in found)}); "
            "expected the same on each; give a file that all can read, not a pipe"
        )


def digest(records: list[dict[str, Any]]) -> str:
    """What the records are and in which order, by their ids, in 64 hex digits."""
    return hashlib.sha256("\n".join(record["id"] for record in records).encode("utf-8", "surrogatepass")).hexdigest()


def check_same_as_before(saved: str | None, records: list[dict[str, Any]]) -> None:
    """Raise UsageError unless a checkpoint's :func:`digest` is that of these records: its data position counts them."""
    if saved is not None and saved != digest(records):
        raise UsageError(
            "--data: --resume with other records; expected those the run began with, in their order; give the same "
            "file, or start in a new --out"
        )


def warn(config: RLConfig, num_records: int) -> None:
    """Print what :func:`warnings_for` finds."""
    for warning in warnings_for(config, num_records):
        print(f"warning: {warning}", file=sys.stderr)


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
            f"rollout.top_p = {config.rollout.top_p}: responses come from a cut distribution whose "
            "log-probabilities are not those that the loss compares; use 1"
        )
    if num_records < config.rollout.prompts_per_step:
        found.append(
            f"{num_records} records for {config.rollout.prompts_per_step} prompts a step: each step takes all of them"
        )
    return found
