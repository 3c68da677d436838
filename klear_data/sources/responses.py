"""Answers that a source brings along: a teacher's responses, or the authors' worked solutions, as rollouts."""

from __future__ import annotations

import re
from typing import Any

from klear_data.sources.columns import Row, unquoted_list
from klear_data.sources.golds import SOLUTION_COLUMNS, gsm8k_gold

RESPONSE_COLUMNS = ("response", "responses", "generations", "completions", "completion", "output")
_PROGRAM_COLUMNS = ("solutions", "solution", "code", "canonical_solution")
_PER_GENERATION = ("correctness_math_verify", "correctness_llama", "finish_reasons", "is_reasoning_complete")
_CALCULATOR = re.compile(r"<<[^<>]*>>")  # GSM8K's marks for a calculator tool: <<48/2=24>>


def read_rollouts(row: Row, *, chat_answer: str | None, ability: str | None, gold: str, source: str) -> dict[str, Any]:
    """``{"sampling": …, "rollouts": […]}`` of what the row brings, ``{}`` if it brings nothing.

    Responses count before worked solutions: a row with both keeps the solution in ``extra_info``.
    """
    judged = _judged_generations(row)
    completions, model = _responses(row, chat_answer)
    if not completions:
        completions = _programs(row) if ability == "code" else _worked_solution(row, gold)
    if not completions:
        return {}
    return {
        "sampling": {"model": model or source, "backend": "source", "n": len(completions)},
        "rollouts": [
            {"index": index, "completion": text, "finish_reason": "stop", "num_tokens": None, **judged.get(text, {})}
            for index, text in enumerate(completions)
        ],
    }


def _responses(row: Row, chat_answer: str | None) -> tuple[list[str], str | None]:
    named = row.peek("model", "generator", "teacher")
    model = named if isinstance(named, str) else None
    if isinstance(row.peek("deepseek_solution"), str):  # OpenThoughts-114k keeps thinking and answer apart
        reasoning, answer = row.take("deepseek_reasoning"), row.take("deepseek_solution")
        return [f"<think>\n{reasoning}\n</think>\n\n{answer}" if reasoning else answer], model or "deepseek-r1"
    value = unquoted_list(row.take(*RESPONSE_COLUMNS), of=str)
    given = value if isinstance(value, list) else [value]
    texts = given if chat_answer in given else [chat_answer, *given]
    return list(dict.fromkeys(text for text in texts if isinstance(text, str) and text.strip())), model


def _judged_generations(row: Row) -> dict[str, dict[str, Any]]:
    """What OpenR1-Math's authors found out about each generation, kept with it and in no pass rate of klear's.

    ``correctness_…`` columns become ``source_verdicts``; a generation without its final answer was cut off.
    """
    texts = row.peek("generations")
    columns = {name: row.peek(name) for name in _PER_GENERATION}
    aligned = {name: values for name, values in columns.items() if isinstance(values, list)}
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        return {}
    if not aligned or any(len(values) != len(texts) for values in aligned.values()):
        return {}
    for name in aligned:
        row.take(name)
    found: dict[str, dict[str, Any]] = {}
    for position, text in enumerate(texts):
        said = {name: values[position] for name, values in aligned.items()}
        complete, reason = said.pop("is_reasoning_complete", True), said.pop("finish_reasons", None)
        verdicts = {name.removeprefix("correctness_"): value for name, value in said.items() if value is not None}
        found[text] = {
            "finish_reason": reason if isinstance(reason, str) else "stop" if complete else "length",
            **({"source_verdicts": verdicts} if verdicts else {}),
        }
    return found


def brings_programs(row: Row) -> bool:
    """True if the worked solutions are code in a fence (OpenCodeReasoning says it nowhere else)."""
    solution = row.peek("solutions", "solution")
    return isinstance(solution, str) and solution.lstrip().startswith("```")


def _programs(row: Row) -> list[str]:
    programs = unquoted_list(row.take(*_PROGRAM_COLUMNS), of=str)
    programs = programs if isinstance(programs, list) else [programs]
    if "canonical_solution" in row:  # HumanEval keeps only the body there
        programs = [f"{row.peek('prompt')}{body}" for body in programs]
    return [_fenced(program) for program in programs if isinstance(program, str) and program.strip()]


def _fenced(program: str) -> str:
    return program if "```" in program else f"```python\n{program.strip(chr(10))}\n```"


def _worked_solution(row: Row, gold: str) -> list[str]:
    answer = row.peek("answer")
    if isinstance(answer, str) and "####" in answer:
        text = _CALCULATOR.sub("", answer.rpartition("####")[0]).rstrip()
        return [f"{text}\n\\boxed{{{gsm8k_gold(answer)}}}"] if text else []
    solution = row.peek(*SOLUTION_COLUMNS)
    if not isinstance(solution, str) or _only_states(solution, gold):
        return []
    return [row.take(*SOLUTION_COLUMNS)]


def _only_states(solution: str, gold: str) -> bool:
    """True for a solution that is the answer again, with nothing worked out."""
    bare = solution.strip().strip("$")
    return bare in (gold, f"\\boxed{{{gold}}}")
