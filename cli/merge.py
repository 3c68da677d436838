"""``klear merge``: the parts of a sharded curation, put together in the order of the input."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from cli.options import Output, examples
from klear_data.jsonl import STDIO
from klear_data.sink import open_sink

EXAMPLES = examples(
    "klear merge part1.jsonl part2.jsonl part3.jsonl part4.jsonl -o curated.jsonl",
    "klear merge rejects1.jsonl rejects2.jsonl > rejects.jsonl",
)


def merge(
    parts: Annotated[list[str], typer.Argument(metavar="PART…", help="All parts of one run, in any order.")],
    output: Output = STDIO,
) -> None:
    """Join the parts that `klear curate --shard I/N` wrote into what one run over everything writes.

    Parts of records may be joined, and parts of rejects. A part that is missing, named twice or of another run is
    refused.
    """
    from klear_data.curation import merge_parts

    count = 0
    with open_sink(output) as sink:
        for line in merge_parts(parts):
            sink.write_lines(line + b"\n")
            count += 1
    sys.stderr.write(f"klear merge: {len(parts)} parts, {count:,} records\n")
