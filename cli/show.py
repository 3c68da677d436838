"""``klear show``: records as a person reads them."""

from __future__ import annotations

import textwrap
from typing import Annotated, Any

import typer

from cli.options import Input, examples, say
from klear_data.errors import RecordError
from klear_data.jsonl import STDIO, BadLine, Source
from klear_data.records import Record

EXAMPLES = examples(
    "klear show judged.jsonl",
    "klear curate --sources problems.jsonl --rejects - -o kept.jsonl | klear show --limit 5",
)


def show(
    input: Input = STDIO,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Show at most this many records.")] = 3,
    chars: Annotated[int, typer.Option(min=20, help="Cut every text to this many characters.")] = 600,
) -> None:
    """Print records for reading: prompt, answer, and each rollout with its verdict."""
    source = Source(input)
    try:
        for number, item in enumerate(source):
            if number == limit:
                break
            if isinstance(item, BadLine):
                raise RecordError(f"{item.where}: {item.problem}; mend the line or show another file")
            where, record = item
            say(f"── {where}\n{_rendered(record, chars)}")
    finally:
        source.close()


def _rendered(record: Record, chars: int) -> str:
    parts: list[str] = []
    for key, value in record.items():
        if key in ("prompt", "messages") and isinstance(value, list):
            parts += [_block(f"{key}/{_get(message, 'role')}", _get(message, "content"), chars) for message in value]
        elif key == "rollouts" and isinstance(value, list):
            parts += [_block(_rollout_title(rollout), _get(rollout, "completion"), chars) for rollout in value]
        elif key == "reward_model" and isinstance(value, dict):
            parts.append(_block("ground truth", value.get("ground_truth"), chars))
        else:
            parts.append(f"{key}: {_cut(value, chars)}")
    return "\n".join(parts)


def _get(value: Any, key: str) -> Any:
    return value.get(key) if isinstance(value, dict) else value


def _rollout_title(rollout: Any) -> str:
    if not isinstance(rollout, dict):
        return "rollout"
    facts = [f"{key} {rollout[key]}" for key in ("verdict", "reward", "passed", "total", "answer") if key in rollout]
    return "  ".join([f"rollout {rollout.get('index', '')}", *facts])


def _block(title: str, text: Any, chars: int) -> str:
    return f"{title}:\n{textwrap.indent(_cut(text, chars), '    ')}"


def _cut(value: Any, chars: int) -> str:
    text = str(value)
    return text if len(text) <= chars else f"{text[:chars]}… (+{len(text) - chars:,} characters)"
