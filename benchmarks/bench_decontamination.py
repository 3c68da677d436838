"""Recall and false flags of each class of decontamination on real data, beside the n-gram rules that others use.

    python benchmarks/bench_decontamination.py --shared ../shared

Prints one JSON object. The coefficients of ``paraphrase`` and ``code`` were chosen on the even rows of the reworded
GSM8K problems and of the training problems, and on the rewordings of the tests' folder marked ``tune``. The figures
named ``held_out`` are of the other halves. Times are CPU seconds of one process, the second of two runs.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from klear_data.contamination import Detector, DetectorOptions, Evidence, Item, Problem, read_benchmark
from klear_data.contamination.detector import CLASSES
from klear_data.contamination.scorers import SCORED, make_scorers
from klear_data.jsonl import BadLine, Source
from klear_data.sources import expand_sources, to_record
from klear_data.text import normalise, prompt_text

REWORDINGS = Path(__file__).parents[1] / "tests" / "klear_data" / "contamination" / "rewordings.jsonl"
Look = Callable[[Sequence[Problem]], Sequence[Evidence | None]]


def problems_of(path: Path) -> list[Problem]:
    """The problems of a file or folder, in the order of the files."""
    found = []
    for name in expand_sources([str(path)]):
        for row in Source(name):
            if isinstance(row, BadLine):
                raise SystemExit(f"{row.where}: {row.problem}")
            where, raw = row
            record = to_record(raw, where, ability="math")
            found.append(Problem(normalise(prompt_text(record["prompt"])), record))
    return found


def written(text: str, ability: str = "math") -> Problem:
    return Problem(normalise(text), {"prompt": [{"role": "user", "content": text}], "ability": ability})


def detector_with(items: list[Item], policy: dict[str, Any]) -> Look:
    """The deciding evidence of a detector, nothing counted in the training data."""
    detector = Detector(items, DetectorOptions(policy=policy))
    return lambda problems: [verdict.evidence for verdict in detector.lookup_many(problems)]


def open_r1_rule(items: list[Item], n: int = 8) -> Look:
    """What open-r1's decontamination script is described to do: any shared run of 8 lower-cased words."""

    def runs(text: str) -> set[tuple[str, ...]]:
        words = text.lower().split()
        return set(zip(*(words[start:] for start in range(n)), strict=False))

    index: dict[tuple[str, ...], str] = {}
    for item in items:
        for run in runs(item.text):
            index.setdefault(run, item.where)

    def look(problems: Sequence[Problem]) -> list[Evidence | None]:
        return [
            None if not (found := runs(problem.normalised) & index.keys()) else {"item": index[min(found)]}
            for problem in problems
        ]

    return look


def measured(look: Look, data: dict[str, Any]) -> dict[str, Any]:
    """Recall on rewordings and flags on training problems, by half."""
    look(data["train"])  # compiles, and fills what is remembered
    look(data["gsm8k"])  # encoded batches are remembered too: this one takes their place
    started = time.process_time()
    flags = [found is not None for found in look(data["train"])]
    seconds = time.process_time() - started
    gsm8k = [found is not None for found in look(data["gsm8k"])]
    own = look([problem for problem, _ in data["own"]])
    halves: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for (_, row), found in zip(data["own"], own, strict=True):
        right = found is not None and found["item"].endswith(f"{row['benchmark']}:{row['item'] + 1}")
        halves[row["half"]][row["benchmark"]].append(right)
    leetcode = [flag for flag, problem in zip(flags, data["train"], strict=True) if problem.record["ability"] == "code"]
    return {
        "gsm8k_reworded_recall": {"tune": _share(gsm8k[0::2]), "held_out": _share(gsm8k[1::2])},
        "training_flagged_percent": {"tune": 100 * _share(flags[0::2]), "held_out": 100 * _share(flags[1::2])},
        "training_flagged": sum(flags),
        "leetcode_flagged": f"{sum(leetcode)}/{len(leetcode)}",
        "own_rewordings_right_item": {
            half: {name: f"{sum(right)}/{len(right)}" for name, right in by_name.items()}
            for half, by_name in halves.items()
        },
        "cpu_us_a_problem": round(seconds / len(flags) * 1e6, 1),
    }


def _share(flags: list[bool]) -> float:
    return round(sum(flags) / len(flags), 5)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared"))
    folder = parser.parse_args().shared / "data"
    items = [item for path in expand_sources([str(folder / "benchmarks")]) for item in read_benchmark(path)]
    rewordings = [json.loads(line) for line in REWORDINGS.read_text(encoding="utf-8").splitlines()]
    reworded = (folder / "rephrased" / "gsm8k_test_rephrased.jsonl").read_text(encoding="utf-8").splitlines()
    abilities = {item.benchmark: item.record["ability"] for item in items}
    data = {
        "train": problems_of(folder / "math") + problems_of(folder / "code"),
        "gsm8k": [written(json.loads(line)["prompt"]) for line in reworded],
        "own": [(written(row["text"], abilities[row["benchmark"]]), row) for row in rewordings],
    }
    scorers = make_scorers(items, SCORED)
    rules: dict[str, Look] = {
        "9-gram": detector_with(items, {**dict.fromkeys(CLASSES, "off"), "verbatim": "drop"}),
        "open-r1 8-gram": open_r1_rule(items),
        **{name: scorer.score_many for name, scorer in scorers.items()},
        "all classes": detector_with(items, {}),
    }
    result = {
        "what": "decontamination: recall on rewordings, flags on training problems",
        "items": len(items),
        "items_by_benchmark": dict(Counter(item.benchmark for item in items)),
        "training_problems": len(data["train"]),
        "reworded_gsm8k": len(data["gsm8k"]),
        "own_rewordings": len(data["own"]),
        "rules": {name: measured(look, data) for name, look in rules.items()},
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **{name: version(name) for name in ("numpy", "numba")}},
    }
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
