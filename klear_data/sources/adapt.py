"""A raw row as a klear record."""

from __future__ import annotations

from typing import Any

from klear_data.jsonl import as_json
from klear_data.records import SCHEMA, Record, problem_of
from klear_data.sources.columns import Row, unquoted
from klear_data.sources.golds import ANSWER_COLUMNS, SOLUTION_COLUMNS, read_gold, unwrapped
from klear_data.sources.paths import source_name
from klear_data.sources.prompts import read_prompt
from klear_data.sources.responses import brings_programs, read_rollouts
from klear_data.sources.testcases import TEST_COLUMNS, looks_like_tests, read_tests
from klear_data.text import content_id, prompt_text

_ABILITIES = {
    "math": "math", "mathematics": "math", "maths": "math", "math_reasoning": "math", "verifiable_math": "math",
    "code": "code", "coding": "code", "programming": "code", "verifiable_code": "code",
    "science": "science",
}  # fmt: skip
_PROGRAM_COLUMNS = ("starter_code", "fn_name", "entry_point")


def to_record(raw: dict[str, Any], where: str, *, ability: str | None = None) -> Record:
    """Read one raw row; records of klear itself come back as they are.

    Args:
        raw: the row, its columns as the source names them.
        where: ``FILE:LINE``, for the row's index and the data set's name where the row has none.
        ability: what the problem is where neither a column nor tests say it.

    Raises:
        ValueError: the row fits no schema: what is wrong; what was expected; what to do.
    """
    if "schema" in raw and raw["schema"] == SCHEMA:
        problem = problem_of(raw)
        if problem:
            raise ValueError(problem)
        return (
            raw if raw.get("data_source") is not None else {**raw, "data_source": source_name(where.rpartition(":")[0])}
        )
    row = Row(raw)
    path, _, line = where.rpartition(":")
    named = isinstance(row.peek("data_source"), str)
    source = row.take("data_source") if named else source_name(path)
    prompt, chat_answer = read_prompt(row)
    found, gold = _ability_and_gold(row, ability)
    rollouts = read_rollouts(row, chat_answer=chat_answer, ability=found, gold=gold, source=source)
    reward_model = unquoted(row.take("reward_model")) or {}
    return {
        "schema": SCHEMA,
        "id": content_id(prompt_text(prompt)),
        "data_source": source,
        "ability": found,
        "prompt": prompt,
        "reward_model": {"style": "rule", **reward_model, "ground_truth": gold},
        "extra_info": _extra_info(row, index=int(line) - 1 if line.isdecimal() else None),
        **rollouts,
    }


def _ability_and_gold(row: Row, default: str | None) -> tuple[str, str]:
    """What the problem is and what decides it; both together, since the one is often told by the other."""
    ability = _said_ability(row)
    stated = _stated_gold(row)
    if stated is not None:
        return ability or ("code" if looks_like_tests(stated) else default or "math"), stated
    tests = read_tests(row) if ability in (None, "code") else None
    if tests is not None:
        return "code", tests
    if ability == "code":
        return "code", ""
    gold = read_gold(row)
    ability = ability or default or _told_by_columns(row, gold)
    if ability is None:
        raise ValueError(
            f"neither an answer nor tests nor an ability (columns: {', '.join(row.names())}); expected one of "
            f"{', '.join((*ANSWER_COLUMNS, *TEST_COLUMNS))}; rename the column that holds it or pass --ability"
        )
    return ability, "" if ability == "code" else gold


def _told_by_columns(row: Row, gold: str) -> str | None:
    """The ability of a row that has no tests and does not name it; a table's empty columns tell it too."""
    if not gold and (brings_programs(row) or any(column in row for column in (*TEST_COLUMNS, *_PROGRAM_COLUMNS))):
        return "code"
    return "math" if gold or any(column in row for column in (*ANSWER_COLUMNS, *SOLUTION_COLUMNS)) else None


def _said_ability(row: Row) -> str | None:
    """The ability that a column names: ``ability`` whatever it says, others where klear knows the word."""
    for column in ("ability", "domain", "task_type", "category"):
        said = row.peek(column)
        if not isinstance(said, str) or (column != "ability" and said.lower() not in _ABILITIES):
            continue
        ability = _ABILITIES.get(said.lower(), said)
        if ability == said:
            row.take(column)
        return ability
    return None


def _stated_gold(row: Row) -> str | None:
    """``reward_model.ground_truth`` as text, ``None`` where the row has none."""
    reward_model = unquoted(row.peek("reward_model"))
    if reward_model is None:
        return None
    if not isinstance(reward_model, dict):
        raise ValueError(
            f"column 'reward_model' is a {type(reward_model).__name__}; expected {{'ground_truth': …}}; "
            f"put the gold answer or the tests there"
        )
    ground_truth = reward_model.get("ground_truth")
    return None if ground_truth is None else unwrapped(ground_truth)


def _extra_info(row: Row, *, index: int | None) -> dict[str, Any]:
    """What the source had for itself, plus every column that found no other place."""
    own = unquoted(row.take("extra_info"))
    extra = dict(own) if isinstance(own, dict) else {} if own is None else {"extra_info": own}
    for name, value in row.rest().items():
        if name not in extra:
            extra[name] = as_json(value)
        elif extra[name] != value:
            extra[f"column_{name}"] = as_json(value)
    if index is not None:
        extra.setdefault("index", index)
    return extra
