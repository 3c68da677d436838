"""``klear schema``: the record as JSON Schema."""

from __future__ import annotations

import json
from typing import Annotated, Literal

import typer

from cli.options import examples, say

EXAMPLES = examples(
    "klear schema > klear-1.schema.json",
    "klear schema sft | python -m json.tool",
)


def schema(
    kind: Annotated[Literal["record", "sft"], typer.Argument(help="The record of the stages, or of SFT.")] = "record",
) -> None:
    """Print the JSON Schema of the lines that stages read and write."""
    from klear_data.schema import RECORD_SCHEMA, SFT_RECORD_SCHEMA

    chosen = RECORD_SCHEMA if kind == "record" else SFT_RECORD_SCHEMA
    say(json.dumps(chosen, indent=2, ensure_ascii=False))
