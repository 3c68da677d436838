"""The record: one JSON object a problem, the same through every stage.

A stage only adds keys. Keys it does not know pass through untouched, so the checks below look at what a
stage is about to use and at nothing else.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Literal, NamedTuple

SCHEMA = "klear/1"
SFT_SCHEMA = "klear-sft/1"
ABILITIES = ("math", "code")

Record = dict[str, Any]
Ability = Literal["math", "code"]
Check = Callable[[Record], str | None]
"""Says what is wrong with a record, ``None`` where nothing is."""


# Keys that later stages look into: absent or null, or of this type.
_TYPES: dict[str, tuple[type, str]] = {
    "data_source": (str, "a string"),
    "extra_info": (dict, "an object"),
    "curation": (dict, "an object"),
    "sampling": (dict, "an object"),
    "rollouts": (list, "a list of completions"),
    "difficulty": (dict, "an object"),
}
_PLAIN_KEYS = itemgetter("schema", "id", "ability", "prompt", "reward_model", "data_source")
_LATER_KEYS = frozenset({"curation", "sampling", "rollouts", "difficulty"})


def shown(value: object) -> str:
    """A value for an error message: as Python prints it, cut where it gets long."""
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def problem_of(record: Record) -> str | None:
    """What keeps this object from being a klear record, ``None`` if it is one."""
    schema = record.get("schema")
    if schema != SCHEMA:
        found = "no key 'schema'" if schema is None else f"schema {shown(schema)}"
        return f"{found}; expected {SCHEMA!r}; raw problem files go through `klear curate` first"
    if not isinstance(record.get("id"), str):
        return "key 'id' is not a string; expected the 16 hex digits that `klear curate` writes"
    if record.get("ability") not in ABILITIES:
        return f"key 'ability' is {shown(record.get('ability'))}; expected one of {', '.join(ABILITIES)}"
    prompt_problem = messages_problem(record.get("prompt"), "prompt")
    if prompt_problem:
        return prompt_problem
    reward_model = record.get("reward_model")
    if not isinstance(reward_model, dict) or not isinstance(reward_model.get("ground_truth"), str):
        return "key 'reward_model.ground_truth' is not a string; expected the gold answer or the tests as JSON"
    for key, (kind, expected) in _TYPES.items():
        value = record.get(key)
        if value is not None and not isinstance(value, kind):
            return f"key {key!r} is {shown(value)}; expected {expected}"
    return _rollouts_problem(record.get("rollouts") or [])


class Plain(NamedTuple):
    """What records that are as nearly all are hold, column by column.

    Attributes:
        prompts: what each asks.
        golds: the answers or tests.
        sources: each one's ``data_source``.
        abilities: those that occur.
        extras: how many have an ``extra_info``.
    """

    prompts: Sequence[str]
    golds: Sequence[str]
    sources: Sequence[str]
    abilities: set[str]
    extras: int


def plain_columns(records: Sequence[Any]) -> Plain | None:
    """The columns of records that are as nearly all are; ``None`` if one of them is not.

    Each must be whole (:func:`problem_of`), say its source, ask in one message of a user, and hold nothing that
    a later stage adds. The checks go column by column, several times as fast as record by record.
    """
    try:
        schemas, ids, abilities, prompts, reward_models, sources = zip(*map(_PLAIN_KEYS, records), strict=True)
        messages = list(map(itemgetter(0), prompts))
        roles, contents = zip(*map(itemgetter("role", "content"), messages), strict=True)
        golds = list(map(itemgetter("ground_truth"), reward_models))
        extras = list(map(type, map(dict.get, records, repeat("extra_info"))))
        kinds = {*abilities}
        plain = (
            {*schemas} == {SCHEMA}
            and kinds <= {*ABILITIES}
            and {*roles} == {"user"}
            and {*map(type, chain(ids, contents, golds, sources))} == {str}
            and {*map(type, chain(messages, reward_models))} == {dict}
            and {*map(type, prompts)} == {list}
            and {*map(len, prompts)} == {1}
            and {*extras} <= {dict, type(None)}
            and all(map(_LATER_KEYS.isdisjoint, records))
        )
    except (KeyError, TypeError, IndexError, ValueError):
        return None
    return Plain(contents, golds, sources, kinds, extras.count(dict)) if plain else None


def messages_problem(messages: object, key: str) -> str | None:
    """What keeps a value from being a non-empty list of chat messages, ``None`` if it is one."""
    expected = f"key {key!r} is not a list of chat messages; expected [{{'role': …, 'content': …}}, …]"
    if not isinstance(messages, list) or not messages:
        return expected
    for message in messages:
        if not isinstance(message, dict):
            return expected
        if not isinstance(message.get("role"), str) or not isinstance(message.get("content"), str):
            return expected
    return None


def rollouts_problem(record: Record) -> str | None:
    """Like :func:`problem_of`, and the record must hold rollouts."""
    problem = problem_of(record)
    if problem:
        return problem
    if record.get("rollouts") is None:
        return "no key 'rollouts'; expected a list of completions; run `klear sample` first"
    return None


def _rollouts_problem(rollouts: list[Any]) -> str | None:
    for position, rollout in enumerate(rollouts):
        if not isinstance(rollout, dict) or not isinstance(rollout.get("completion"), str):
            return f"rollouts[{position}].completion is not a string; expected what the model wrote"
    return None


def rewards_problem(record: Record) -> str | None:
    """Like :func:`rollouts_problem`, and every rollout must have been judged."""
    problem = rollouts_problem(record)
    if problem:
        return problem
    command = "klear reward-code" if record["ability"] == "code" else "klear reward-math"
    for position, rollout in enumerate(record["rollouts"]):
        if "reward" not in rollout or not isinstance(rollout.get("verdict"), str):
            return f"rollouts[{position}] has no reward and verdict; expected both; run `{command}` first"
        if rollout["reward"] is not None and not is_number(rollout["reward"]):
            return f"rollouts[{position}].reward is {shown(rollout['reward'])}; expected a number or null"
    return None


def is_number(value: object) -> bool:
    """True for what a double can hold; JSON's true and false are no numbers."""
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
