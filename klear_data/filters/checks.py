"""What every record must have to be of use: a question, an ability with a verifier, an answer that can be checked."""

from __future__ import annotations

from klear_data.filters.base import Rejection
from klear_data.records import ABILITIES, Record
from klear_data.text import prompt_text

NO_ANSWER = frozenset({"", "-", "proof", "notfound", "not found", "null", "none"})
"""What sources write where a problem has no answer to check (NuminaMath: ``proof``, ``notfound``)."""


def prompt_filter(record: Record) -> Rejection | None:
    """``empty_prompt``: nothing asked, or only the ``-`` of a row that must be joined to another data set."""
    text = prompt_text(record["prompt"]).strip()
    return Rejection("empty_prompt", {"prompt": text}) if text in ("", "-") else None


def ability_filter(record: Record) -> Rejection | None:
    """``unsupported_ability``: neither math nor code, so nothing here could verify an answer."""
    ability = record["ability"]
    return None if ability in ABILITIES else Rejection("unsupported_ability", {"ability": ability})


def gold_filter(record: Record) -> Rejection | None:
    """``gold_unparseable``: the gold of a math problem that the verifier can't read or that fails against itself."""
    gold = record["reward_model"]["ground_truth"]
    if record["ability"] != "math" or not has_gold(record):
        return None
    from klear_data.reward.math import gold_problem  # not at import: sympy takes its time

    problem = gold_problem(gold)
    return None if problem is None else Rejection("gold_unparseable", {"gold": gold, "problem": problem})


def suite_filter(record: Record, *, min_tests: int = 1) -> Rejection | None:
    """``too_few_tests`` (the paper keeps problems with 16 or more, §3.2.1), or why the tests can't be used."""
    if record["ability"] != "code" or not has_gold(record):
        return None
    from sandbox.formats import parse_tests
    from sandbox.types import TestsError

    try:
        count = len(parse_tests(record["reward_model"]["ground_truth"]))
    except TestsError as error:
        return Rejection(error.reason, {"problem": str(error)})
    if count < min_tests:
        return Rejection("too_few_tests", {"tests": count, "min_tests": min_tests})
    return None


def answer_filter(record: Record) -> Rejection | None:
    """``no_gold`` or ``no_tests``: nothing to check an answer against."""
    if has_gold(record):
        return None
    gold = record["reward_model"]["ground_truth"]
    return Rejection("no_tests" if record["ability"] == "code" else "no_gold", {"gold": gold})


def has_gold(record: Record) -> bool:
    return is_gold(record["reward_model"]["ground_truth"])


def is_gold(gold: str) -> bool:
    """Whether this is an answer or tests, and not one of the ways to say that there is none."""
    return len(gold) > 16 or gold.strip().lower() not in NO_ANSWER  # tests may be megabytes
