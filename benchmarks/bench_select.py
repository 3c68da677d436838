"""CPU cost of K-Center greedy: klear's blocked form against the plain loop, and that their picks are the same.

    python benchmarks/bench_select.py [--n 100000] [--k 31600] [--prefix 300] [--vectors noise,clusters,prompts] [FILE…]

``prompts`` are the hashed vectors of the problems in FILE…, drawn with small noise until there are n. The plain
loop is timed on the prefix only (its cost grows with the picks); ``plain_cpu_s`` is that time scaled to k.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import numpy as np

from klear_data.jsonl import Source
from klear_data.select.hashed import HashedTfidf
from klear_data.select.k_center import k_center
from klear_data.text import normalise

DIMENSIONS = 256


def made(kind: str, n: int, files: list[str]) -> Any:
    """Unit vectors: Gaussian noise, clusters of about fifty, or prompts."""
    generator = np.random.default_rng(0)
    if kind == "prompts":
        embedder = HashedTfidf()
        rows = (row for path in files for row in Source(path))
        embedder.add([normalise(text) for row in rows for text in row[1].values() if isinstance(text, str)])
        vectors = embedder.vectors()[generator.integers(0, len(embedder.vectors()), n)]
        vectors = vectors + 0.01 * generator.standard_normal((n, DIMENSIONS))
    else:
        vectors = generator.standard_normal((n, DIMENSIONS))
        if kind == "clusters":
            centres = generator.standard_normal((max(n // 50, 1), DIMENSIONS))
            vectors = centres[generator.integers(0, len(centres), n)] + 0.3 * vectors
    vectors = vectors.astype(np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)


def plain_greedy(vectors: Any, k: int) -> list[int]:
    """One pick after the other, all distances updated after each, in float64."""
    wide = vectors.astype(np.float64)
    norms = (wide**2).sum(axis=1)
    near, order = np.full(len(wide), np.inf), [0]
    while True:
        np.minimum(near, norms + norms[order[-1]] - 2 * (wide @ wide[order[-1]]), out=near)
        near[order] = -np.inf
        if len(order) == k:
            return order
        order.append(int(np.argmax(near)))


def cpu(run: Any) -> tuple[float, Any]:
    start_s = time.process_time()
    result = run()
    return time.process_time() - start_s, result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", help="problem files")
    parser.add_argument("--n", type=int, default=100_000)
    parser.add_argument("--k", type=int, default=31_600)
    parser.add_argument("--prefix", type=int, default=300, help="picks compared with the plain loop's")
    parser.add_argument("--vectors", default="noise,clusters")
    options = parser.parse_args()
    k_center(made("noise", 3000, []), 100)  # compiled code is loaded
    report: dict[str, Any] = {"what": "K-Center greedy", "n": options.n, "k": options.k, "d": DIMENSIONS, "runs": {}}
    for kind in options.vectors.split(","):
        vectors = made(kind, options.n, options.files)
        own_s, found = cpu(lambda vectors=vectors: k_center(vectors, options.k))
        plain_s, order = cpu(lambda vectors=vectors: plain_greedy(vectors, options.prefix))
        same = found.order[: options.prefix].tolist() == order
        report["runs"][kind] = {
            "cpu_s": round(own_s, 1),
            "plain_cpu_s": round(plain_s / options.prefix * options.k),
            "times": round(plain_s / options.prefix * options.k / own_s, 1),
            "same_picks_on_prefix": same,
            "prefix": options.prefix,
            "radius": round(float(found.near.max()), 4),
        }
    report |= {
        "peak_rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10,
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "numpy": np.__version__,
    }
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
