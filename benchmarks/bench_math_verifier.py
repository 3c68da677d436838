"""klear's math verifier beside math-verify as verl, TRL and the paper's authors call it: accuracy and CPU time.

    python benchmarks/bench_math_verifier.py --shared ../shared --problems 1500

Prints one JSON object. The peers are written here from descriptions of their few lines around math-verify;
all run in this process, in turn, on the same pairs. CPU time is per pair, workers' included.
"""

from __future__ import annotations

import argparse
import json
import logging
import platform
import random
import re
import statistics
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

from klear_data.reward.math import MathRewarder
from klear_data.reward.mathcheck import decide, exact, expression, normalise, numerals, structure, tree, words

Judge = Callable[[str, str], tuple[bool, float]]
"""(gold, response) to whether it is accepted and the CPU seconds that took."""


def timed(call: Callable[[str, str], bool]) -> Judge:
    """A peer with its CPU time; what it raises counts as a rejection, as in its trainer."""

    def judge(gold: str, response: str) -> tuple[bool, float]:
        started = time.process_time()
        try:
            accepted = call(gold, response)
        except Exception:  # noqa: BLE001 - each peer's trainer turns any error into "wrong"
            accepted = False
        return accepted, time.process_time() - started

    return judge


def peers() -> dict[str, Judge]:
    """math-verify, called three ways."""
    from latex2sympy2_extended import NormalizationConfig
    from math_verify import ExprExtractionConfig, LatexExtractionConfig, parse, verify
    from math_verify.metric import math_metric

    for name in ("math_verify.parser", "math_verify.grader", "math_verify.utils"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    metric = math_metric(
        gold_extraction_target=(LatexExtractionConfig(),),
        pred_extraction_target=(ExprExtractionConfig(), LatexExtractionConfig()),
    )
    latex_only = LatexExtractionConfig(
        normalization_config=NormalizationConfig(
            basic_latex=True, units=True, malformed_operators=False, nits=False, boxed="all", equations=True
        ),
        boxed_match_priority=0,
        try_extract_without_anchor=False,
    )

    def authors(gold: str, response: str) -> bool:
        visible = response.rpartition("</think>")[2]
        return bool(verify(parse(f"\\boxed{{{gold}}}"), parse(visible)))

    def verl(gold: str, response: str) -> bool:
        return bool(metric([f"\\boxed{{{gold}}}"], [response])[0])

    def trl(gold: str, response: str) -> bool:
        expected = parse(f"${gold}$", extraction_mode="first_match")
        found = parse(response, extraction_config=[latex_only], extraction_mode="first_match")
        return bool(expected) and bool(verify(expected, found))

    return {"authors": timed(authors), "verl": timed(verl), "trl": timed(trl)}


def klear(rewarder: MathRewarder) -> Judge:
    """klear, with the CPU time of its worker processes in it."""

    def judge(gold: str, response: str) -> tuple[bool, float]:
        started = time.process_time()
        found = rewarder.verify_response(gold, response)
        here = time.process_time() - started
        return found.verdict == "AC", max(here, found.cpu_ms / 1000)

    return judge


def forget() -> None:
    """Empty klear's caches, so that no run profits from the one before."""
    for module in (decide, exact, expression, normalise, numerals, structure, tree, words):
        for value in vars(module).values():
            if hasattr(value, "cache_clear"):
                value.cache_clear()


def case_table(judges: dict[str, Judge], path: Path) -> dict[str, Any]:
    """Accuracy, precision and recall on the non-policy cases, and klear's errors by kind."""
    cases = [case for case in map(json.loads, path.read_text().splitlines()) if not case["policy"]]
    table: dict[str, Any] = {}
    for name, judge in judges.items():
        outcomes: Counter[tuple[bool, bool]] = Counter()
        by_kind: dict[str, list[int]] = defaultdict(lambda: [0, 0])
        for case in cases:
            response = case["pred"] if case["level"] == "response" else f"\\boxed{{{case['pred']}}}"
            accepted = judge(case["gold"], response)[0]
            outcomes[accepted, case["equivalent"]] += 1
            by_kind[case["kind"]][0] += accepted == case["equivalent"]
            by_kind[case["kind"]][1] += 1
        right, positive = outcomes[True, True], outcomes[True, True] + outcomes[True, False]
        table[name] = {
            "cases": len(cases),
            "accuracy": round((right + outcomes[False, False]) / len(cases), 4),
            "precision": round(right / positive, 4),
            "recall": round(right / (right + outcomes[False, True]), 4),
            "by_kind": {kind: f"{right}/{of}" for kind, (right, of) in sorted(by_kind.items())},
        }
    return table


def math_pairs(path: Path, problems: int, seed: int) -> list[list[str]]:
    """For each drawn MATH problem: its gold, the answer as the gold spells it, respelled, and a wrong one."""
    golds = [p["answer"] for p in json.loads(path.read_text()) if p["answer"]]
    draw = random.Random(seed)
    chosen = draw.sample(golds, problems)
    return [[gold, gold, respelled(gold), wrong(gold, draw.choice(golds), draw)] for gold in chosen]


def respelled(gold: str) -> str:
    """The same answer as another writer would put it."""
    text = gold.replace("\\frac", "\\dfrac").replace("(", "\\left(").replace(")", "\\right)").replace("\\!", "")
    simple = re.fullmatch(r"(-?)\\dfrac\{(\d+)\}\{(\d+)\}", text)
    return f"{simple[1]}{simple[2]}/{simple[3]}" if simple else f" {text} "


def wrong(gold: str, other: str, draw: random.Random) -> str:
    """One digit changed, or another problem's answer."""
    spots = [match.start() for match in re.finditer(r"\d", gold)]
    if not spots or draw.random() < 0.5:
        return other
    spot = draw.choice(spots)
    return gold[:spot] + str((int(gold[spot]) + 1) % 10) + gold[spot + 1 :]


def cpu_times(judge: Judge, pairs: list[tuple[str, str]]) -> dict[str, Any]:
    """Milliseconds of CPU time a pair."""
    times = sorted(1000 * judge(gold, f"so \\boxed{{{answer}}}")[1] for gold, answer in pairs)
    return {
        "pairs": len(times),
        "total_s": round(sum(times) / 1000, 3),
        "median_ms": round(statistics.median(times), 4),
        "p99_ms": round(times[int(0.99 * len(times))], 3),
        "p99.9_ms": round(times[int(0.999 * len(times))], 3),
        "max_ms": round(times[-1], 3),
    }


def main() -> None:
    """Run all and print the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"), help="folder with data/ and cases/")
    parser.add_argument("--problems", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=7)
    options = parser.parse_args()
    rows = math_pairs(options.shared / "data/math/rllm_math.json", options.problems, options.seed)
    distinct = list(dict.fromkeys((gold, answer) for gold, *answers in rows for answer in answers))
    groups = [(gold, answers[i]) for gold, *answers in rows for i in (0, 0, 1, 0, 2, 0, 1, 2)]
    result: dict[str, Any] = {"what": "math verifier", "unit": "CPU ms a pair"}
    with MathRewarder(think="none", fallback=True) as rewarder:
        judges = {"klear": klear(rewarder), **peers()}
        for judge in judges.values():  # loads the parsers, so that no pair pays for an import
            judge("\\sqrt{12}", "\\boxed{2\\sqrt{3}}")
            judge("55", "\\boxed{\\sum_{k=1}^{10} k}")
        result["accuracy"] = case_table(judges, options.shared / "cases/math_equivalence.jsonl")
    result["distinct"], result["groups_of_8"] = {}, {}
    for name in judges:
        for what, pairs in (("distinct", distinct), ("groups_of_8", groups)):
            forget()
            with MathRewarder(think="none") as fresh:
                judge = klear(fresh) if name == "klear" else judges[name]
                judge("\\sqrt{12}", "\\boxed{2\\sqrt{3}}")
                result[what][name] = cpu_times(judge, pairs)
    for what in ("distinct", "groups_of_8"):
        totals = {name: row["total_s"] for name, row in result[what].items()}
        result[what]["klear_over_authors"] = round(totals["klear"] / totals["authors"], 4)
    result["versions"] = {p: version(p) for p in ("math-verify", "latex2sympy2_extended", "sympy", "mpmath")}
    result["machine"] = {"python": platform.python_version(), "system": platform.platform()}
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
