"""Rows with the columns that verl's and TRL's loaders read, and back to klear's records.

Loaders want the same type in every row: no missing key, no null where a string is meant, no list that holds
now numbers and now strings. So each column has a fixed form. What a record holds beyond it stands as JSON in
one more column, ``klear``, from which the record comes back as it was.
"""

from __future__ import annotations

from typing import Any, Literal

from klear_data.jsonl import parse_object, to_line
from klear_data.records import Record

Target = Literal["klear", "verl", "trl"]

CELL = "klear"
UNKNOWN = "unknown"


def rl_row(record: Record, *, row_number: int, target: Target) -> Record:
    """A problem as verl's ``RLHFDataset`` or TRL's ``GRPOTrainer`` takes it; rollouts are left out.

    verl hands ``data_source``, ``reward_model.ground_truth`` and ``extra_info`` to the reward function, TRL
    every column but ``prompt``. ``solution`` is what TRL's own ``accuracy_reward`` asks for: the gold of a math
    problem in a box, null for code.
    """
    record = {key: value for key, value in record.items() if key != "rollouts"}
    extra_info = record.get("extra_info") or {}
    index, split = extra_info.get("index"), extra_info.get("split")
    row: Record = {
        "data_source": _text(record.get("data_source"), UNKNOWN),
        "prompt": _messages(record["prompt"]),
        "ability": record["ability"],
        "reward_model": {
            "style": _text(record["reward_model"].get("style"), "rule"),
            "ground_truth": _text(record["reward_model"]["ground_truth"]),
        },
        "extra_info": {
            "index": index if type(index) is int and abs(index) < 2**63 else row_number,
            "split": _text(split, UNKNOWN),
            "id": _text(record["id"]),
            "ability": record["ability"],
        },
    }
    if target == "trl":
        gold = row["reward_model"]["ground_truth"]
        row["solution"] = f"\\boxed{{{gold}}}" if record["ability"] == "math" else ""
    return {**row, CELL: _cell(record, row)}


def sft_row(record: Record) -> Record:
    """A conversation as verl's ``MultiTurnSFTDataset`` and TRL's ``SFTTrainer`` take it: ``messages``."""
    reward = record.get("reward")
    row: Record = {
        "id": _text(record["id"]),
        "data_source": _text(record.get("data_source"), UNKNOWN),
        "ability": _text(record.get("ability"), UNKNOWN),
        "messages": _messages(record["messages"]),
        "verdict": _text(record.get("verdict"), UNKNOWN),
        "reward": None if reward is None else float(reward),
    }
    return {**row, CELL: _cell(record, row)}


def record_of(row: Record) -> Record:
    """The record that a row was made of: the same keys in the same order, with the same values."""
    cell = parse_object(row[CELL].encode("utf-8"))
    own = cell["own"]
    return {key: own[key] if key in own else row[key] for key in cell["keys"]}


def _cell(record: Record, row: Record) -> str:
    own = {key: value for key, value in record.items() if key not in row or not _same(row[key], value)}
    return to_line({"keys": list(record), "own": own}).rstrip(b"\n").decode("utf-8")


def _same(left: Any, right: Any) -> bool:
    return to_line({"v": left}) == to_line({"v": right})  # as text: 1 == 1.0 == True in Python


def _messages(messages: list[dict[str, Any]]) -> list[dict[str, str]]:
    return [{"role": _text(message["role"]), "content": _text(message["content"])} for message in messages]


def _text(value: object, default: str = "") -> str:
    """Text that Arrow can hold: a lone half of a surrogate pair becomes ``?``."""
    return value.encode("utf-8", "replace").decode("utf-8") if isinstance(value, str) else default
