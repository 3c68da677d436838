"""Writes many short records with known duplicates and leaks, for ``bench_curate.py``.

    python benchmarks/short_records.py ../shared/data OUT_DIR --records 1000000

Prompts are sentences of real training problems put together anew, 150 to 250 characters, the numbers drawn again.
A sentence that shares nine words in a row with a benchmark item is left out, so that what is contaminated is
known: the planted leaks. ``planted.json`` says how many duplicates and leaks there are.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from klear_data.jsonl import Source, to_line
from klear_data.records import SCHEMA
from klear_data.sources import expand_sources, to_record
from klear_data.text import content_id, prompt_text, words

TRAINING = ("math/gsm8k_train.jsonl", "math/rllm_math.json", "math/rllm_aime.json")
HELD_OUT = ("math/mwp_math23k_testset.json",)
DUPLICATES, LEAKS = 0.10, 0.002
_NUMBER = re.compile(r"\d+")
_SENTENCE = re.compile(r"(?<=[.?!])\s+")


def texts(paths: list[str]) -> Iterator[str]:
    """The problems of some files, in any schema klear reads."""
    for path in paths:
        source = Source(path)
        for item in source:
            if isinstance(item, tuple):
                yield prompt_text(to_record(item[1], item[0], ability="math")["prompt"])
        source.close()


def nine_grams(text: str) -> set[tuple[str, ...]]:
    tokens = words(text)
    return {tuple(tokens[start : start + 9]) for start in range(len(tokens) - 8)}


def benchmark_items(data: Path, count: int) -> list[str]:
    """The benchmarks at hand, filled up to ``count`` distinct items with problems that no record is made of."""
    found = texts([*expand_sources([str(data / "benchmarks")]), *(str(data / name) for name in HELD_OUT)])
    return list(dict.fromkeys(text for text in found if len(text) > 30))[:count]


def sentences(data: Path, items: list[str]) -> list[str]:
    taken = set().union(*map(nine_grams, items))
    whole = texts([str(data / name) for name in TRAINING])
    parts = (part for text in whole for part in _SENTENCE.split(" ".join(text.split())))
    return [part for part in dict.fromkeys(parts) if 30 <= len(part) <= 140 and taken.isdisjoint(nine_grams(part))]


def prompt(rng: random.Random, pool: list[str]) -> str:
    text = rng.choice(pool)
    while len(text) < 150:
        following = rng.choice(pool)
        if len(text) + len(following) <= 250:
            text = f"{text} {following}"
    return _NUMBER.sub(lambda _: str(rng.randrange(2, 10_000)), text)


def respelled(rng: random.Random, text: str) -> str:
    """The same prompt to the normaliser, not to a comparison of bytes."""
    return rng.choice([text, text.upper(), text.replace(" ", "  ", 3), text + "\n"])


def record(number: int, text: str) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "id": content_id(text),
        "data_source": f"source-{number % 7}",
        "ability": "math",
        "prompt": [{"role": "user", "content": text}],
        "reward_model": {"style": "rule", "ground_truth": "7"},
        "extra_info": {"index": number, "split": "train"},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--records", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=4000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(arguments.seed)
    items = benchmark_items(arguments.data, arguments.items)
    pool = sentences(arguments.data, items)
    with (arguments.out / "items.jsonl").open("wb") as file:
        file.writelines(to_line({"problem": text, "answer": "7"}) for text in items)
    leaks = [text for text in items if len(words(text)) >= 9 and len(text) <= 250]
    seen: list[str] = []
    keys: set[str] = set()
    counts = {"records": arguments.records, "items": len(items), "duplicates": 0, "leaked_prompts": 0}
    with (arguments.out / "records.jsonl").open("wb") as file:
        for number in range(arguments.records):
            draw = rng.random()
            if seen and draw < DUPLICATES:
                text = respelled(rng, seen[rng.randrange(max(0, len(seen) - 100_000), len(seen))])
            elif draw > 1 - LEAKS:
                text = f"{rng.choice(leaks)} (No. {number})"
            else:
                text = prompt(rng, pool)
            line = record(number, text)
            first = line["id"] not in keys
            keys.add(line["id"])
            counts["duplicates"] += not first
            counts["leaked_prompts"] += first and draw > 1 - LEAKS
            if draw >= DUPLICATES and draw <= 1 - LEAKS:
                seen.append(text)
                if len(seen) > 200_000:
                    del seen[:100_000]
            file.write(to_line(line))
    (arguments.out / "planted.json").write_text(json.dumps(counts, indent=2) + "\n", encoding="utf-8")
    print(json.dumps(counts))


if __name__ == "__main__":
    main()
