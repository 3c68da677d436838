"""CPU cost of near-duplicate search on short prompts: klear against rensa and datasketch, on the same texts.

    python benchmarks/bench_near_dup.py [FILE…] [--records 20000] [--repeats 5]

Reads prompts from problem files (made up ones without), adds an edited copy of every fifth, and clusters them.
Every contestant starts from the raw texts and ends with a representative for each; the peers get the same
normaliser and shingles (Python) and judge by their MinHash estimate, klear by the exact Jaccard similarity.
Prints one JSON object; rounds are interleaved, ratios are medians of each round's ratio. Peers that are not
installed are left out.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import os
import platform
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from klear_data.jsonl import Source
from klear_data.near_dup import NearDuplicates
from klear_data.near_dup.definition import near_duplicates, same_numbers, shingles
from klear_data.text import normalise

THRESHOLD = 0.7
PERMUTATIONS = 128
COLUMNS = ("problem", "question", "original_text", "prompt", "text")
Clusters = Sequence[int]


def prompts(paths: list[str], count: int) -> list[str]:
    """Distinct prompts of some files with edited copies of every fifth, shuffled; cut to ``count``."""
    generator = random.Random(0)
    found: dict[str, None] = {}
    for path in paths:
        for item in Source(path):
            text = next((item[1][key] for key in COLUMNS if isinstance(item[1].get(key), str)), None)
            if text:
                found[text] = None
    words = [f"word{number}" for number in range(5000)]
    while len(found) < count:
        found[" ".join(generator.choices(words, k=generator.randint(10, 80)))] = None
    texts = list(found)
    texts += [edited(text, generator) for text in texts[::5]]
    generator.shuffle(texts)
    return texts[:count]


def edited(text: str, generator: random.Random) -> str:
    """One to three words dropped, doubled or replaced."""
    words = text.split()
    for _ in range(generator.randint(1, 3)):
        at = generator.randrange(len(words))
        words[at : at + 1] = generator.choice([["indeed"], [words[at], "also"], [words[at]] * 2])
    return " ".join(words)


def klear(texts: list[str]) -> Clusters:
    near = NearDuplicates(THRESHOLD)
    near.add_many(normalise.__wrapped__(text) for text in texts)  # without its cache: each text comes once
    return near.clusters()


def prepared(texts: list[str]) -> list[list[str]]:
    """What the peers take: the same shingles as strings."""
    return [[" ".join(shingle) for shingle in shingles(normalise.__wrapped__(text))] for text in texts]


def rensa(texts: list[str]) -> Clusters:
    from rensa import RMinHash, RMinHashLSH

    sketches = RMinHash.from_token_sets(prepared(texts), PERMUTATIONS, 42)
    index = RMinHashLSH(THRESHOLD, PERMUTATIONS, 16)
    clusters: list[int] = []
    for row, sketch in enumerate(sketches):
        alike = (rep for rep in sorted(index.query(sketch)) if sketches[rep].jaccard(sketch) >= THRESHOLD)
        clusters.append(next(alike, row))
        if clusters[-1] == row:
            index.insert(row, sketch)
    return clusters


def rensa_flags(texts: list[str]) -> Clusters:
    """rensa's fastest way: which rows collide at all, without clusters (less than the job)."""
    from rensa import RMinHash, RMinHashLSH

    matrix = RMinHash.digest_matrix_from_token_sets(prepared(texts), PERMUTATIONS, 42)
    flags = RMinHashLSH(THRESHOLD, PERMUTATIONS, 16).insert_matrix_and_query_duplicate_flags(matrix)
    assert len(flags) == len(texts)
    return []


def datasketch(texts: list[str]) -> Clusters:
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=THRESHOLD, num_perm=PERMUTATIONS)
    sketches: dict[int, MinHash] = {}
    clusters: list[int] = []
    for row, tokens in enumerate(prepared(texts)):
        sketch = MinHash(num_perm=PERMUTATIONS)
        sketch.update_batch([token.encode() for token in tokens])
        alike = (rep for rep in sorted(index.query(sketch)) if sketches[rep].jaccard(sketch) >= THRESHOLD)
        clusters.append(next(alike, row))
        if clusters[-1] == row:
            index.insert(row, sketch)
            sketches[row] = sketch
    return clusters


def exact(texts: list[str]) -> tuple[Clusters, int]:
    """By the definition, without an index of bands; and how many pairs with a representative reach the threshold."""
    normalised = [normalise.__wrapped__(text) for text in texts]
    sets, holders, clusters, pairs = [shingles(text) for text in normalised], {}, [], 0
    for row, own in enumerate(sets):
        common = Counter(rep for shingle in own for rep in holders.get(shingle, ()))
        alike = [rep for rep, both in common.items() if both / (len(own) + len(sets[rep]) - both) >= THRESHOLD]
        alike = sorted(rep for rep in alike if same_numbers(normalised[rep], normalised[row]))
        pairs += len(alike)
        clusters.append(alike[0] if alike else row)
        if not alike:
            for shingle in own:
                holders.setdefault(shingle, []).append(row)
    return clusters, pairs


def quality(texts: list[str]) -> dict[str, float]:
    """klear's verdicts against the definition."""
    found, (expected, _) = klear(texts), exact(texts)
    joined = [row for row, rep in enumerate(found) if row != rep]
    should = [row for row, rep in enumerate(expected) if row != rep]
    text = [normalise.__wrapped__(one) for one in texts]
    right = sum(near_duplicates(text[found[row]], text[row], threshold=THRESHOLD) for row in joined)
    return {
        "joined": len(joined),
        "precision": right / max(len(joined), 1),
        "recall": sum(found[row] != row for row in should) / max(len(should), 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="problem files")
    parser.add_argument("--records", type=int, default=20_000)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    texts = prompts(options.files, options.records)
    contestants: dict[str, Callable[[list[str]], object]] = {"klear": klear, "preparation of the peers": prepared}
    for name, package, run in (
        ("rensa", "rensa", rensa),
        ("rensa, flags only", "rensa", rensa_flags),
        ("datasketch", "datasketch", datasketch),
    ):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            continue
        contestants[name] = run
    seconds: dict[str, list[float]] = {name: [] for name in contestants}
    for run in contestants.values():
        run(texts[:2000])  # compiled code is loaded, caches are warm
    for _ in range(options.repeats):
        for name, run in contestants.items():
            start_s = time.process_time()
            run(texts)
            seconds[name].append(time.process_time() - start_s)
    report = {
        "what": "near-duplicate clusters of short prompts, from raw texts",
        "n": len(texts),
        "repeats": options.repeats,
        "threshold": THRESHOLD,
        "records_per_cpu_s": {name: round(len(texts) / statistics.median(runs)) for name, runs in seconds.items()},
        "times_klear": {
            name: round(statistics.median(one / own for one, own in zip(runs, seconds["klear"], strict=True)), 1)
            for name, runs in seconds.items()
        },
        "klear_against_the_definition": quality(texts),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {
            name: importlib.metadata.version(name)
            for name in ("numba", "numpy", *(name for name in ("rensa", "datasketch") if name in contestants))
        },
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
