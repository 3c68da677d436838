"""klear's RL loop beside TRL's GRPOTrainer: same model, prompts, verifier, updates; a process each, in turns.

    OMP_NUM_THREADS=1 python benchmarks/bench_rl.py --rounds 3

needs ``trl==1.16`` beside klear. The model is a small one that was taught to answer at random, right in half of the
cases, after thoughts of long-tailed length; the learning rate is too low to change it, so every cycle (sample a group
for each prompt, judge, update) costs about the same. A child times its cycles after a few warm ones by CPU time of
all threads and finished children. ``where`` says what klear's own CPU time went into; see rl_runs.py.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
CASES: dict[str, dict[str, Any]] = {
    # One update with all rollouts of a cycle, and four (the paper has eight of 16 prompts; the last ones off-policy).
    "one-update": {"updates": 1, "max_tokens": 128},
    "four-updates": {"updates": 4, "max_tokens": 128},
    "long": {"updates": 4, "max_tokens": 448},
}
SHAPE = {"hidden_size": 128, "num_layers": 4, "num_heads": 4}
COMMON = {"prompts": 16, "n": 8, "micro_batch": 32, "micro_batch_tokens": 4096}
WARM_CYCLES = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--cycles", type=int, default=6, help="timed, in each round, after the warm ones")
    parser.add_argument("--cases", default="one-update,four-updates")
    parser.add_argument("--trainers", default="klear,trl")
    parser.add_argument("--micro-batch", type=int, default=COMMON["micro_batch"], help="TRL's, in responses")
    parser.add_argument("--model", help="a folder made before; by default one is made and removed")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    found: dict[str, Any] = {"what": "rl beside TRL", "rounds": options.rounds, "cycles": options.cycles, **versions()}
    with tempfile.TemporaryDirectory() as place:
        for name in options.cases.split(","):
            case = {**COMMON, **CASES[name], "micro_batch": options.micro_batch, "cycles": options.cycles}
            found[name] = compare(Path(place), case, options)
    print(json.dumps(found))


def compare(place: Path, case: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Rounds of both trainers in turns; medians over rounds."""
    model = Path(options.model) if options.model else place / f"model-{case['max_tokens']}"
    if not model.exists():
        run_child({"make": str(model), "max_tokens": case["max_tokens"]})
    names = options.trainers.split(",")
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    for number in range(options.rounds):
        for name in names if number % 2 == 0 else names[::-1]:
            asked = {**case, "trainer": name, "model": str(model), "warm": WARM_CYCLES, "seed": number}
            rounds[name].append(run_child(asked))

    def median(name: str, key: str) -> float:
        return float(statistics.median(one[key] for one in rounds[name]))

    result: dict[str, Any] = {**case}
    for name in names:
        result[name] = {
            "cycles_per_cpu_s": round(median(name, "cycles_per_cpu_s"), 4),
            "each": [round(one["cycles_per_cpu_s"], 4) for one in rounds[name]],
            **{key: round(median(name, key), 2) for key in ("response_tokens", "accuracy", "peak_rss_mib")},
        }
    if {"klear", "trl"} <= set(names):
        ratio = median("klear", "cycles_per_cpu_s") / median("trl", "cycles_per_cpu_s")
        result["ratio_cycles_per_cpu_s"] = round(ratio, 3)
    if "klear" in names:
        result["where"] = {
            key: round(statistics.median(one["where"][key] for one in rounds["klear"]), 4)
            for key in rounds["klear"][0]["where"]
        }
    return result


def make_model(folder: Path, *, max_tokens: int) -> None:
    """A model that thinks at random for a while and then says 1 or 2."""
    from klear_train.config import load_config
    from klear_train.sft import run_sft
    from klear_train.tiny import make_tiny_model

    base = make_tiny_model(folder.with_name(folder.name + "-base"), **SHAPE, max_length=512)
    rng = random.Random(0)
    data = []
    for number in range(1500):
        size = min(max_tokens - 16, max(2, int(rng.lognormvariate(0.0, 0.6) * max_tokens / 4)))
        thoughts = "".join(rng.choice("ab ") for _ in range(size))
        answer = f"<think>{thoughts}</think>\\boxed{{{rng.choice('12')}}}"
        turns = [("user", prompt(number % 64)), ("assistant", answer)]
        messages = [{"role": role, "content": text} for role, text in turns]
        data.append({"id": str(number), "messages": messages})
    overrides = [f"model.path={base}", "max_steps=160", f"pack_tokens={2 * max_tokens}", "checkpoint.every=0"]
    settings = load_config("sft", recipe="tiny-sft", overrides=overrides)
    run = folder.with_name(folder.name + "-sft")
    run_sft(settings, data, out_dir=run, quiet=True).final.rename(folder)


def prompt(number: int) -> str:
    """Prompts of different lengths, as real ones have."""
    return f"Question {number}: one or two?" + " Think first." * (number % 5)


def run_child(options: dict[str, Any]) -> dict[str, Any]:
    """One trainer in a process of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(options)], capture_output=True, text=True, env=environment,
        check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"{options}\n{done.stdout[-3000:]}\n{done.stderr[-6000:]}")
    found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return found


def child(options: dict[str, Any]) -> None:
    import torch

    torch.set_num_threads(1)
    if "make" in options:
        make_model(Path(options["make"]), max_tokens=options["max_tokens"])
        print("{}")
        return
    import rl_runs

    texts = [prompt(number) for number in range(64)]
    with tempfile.TemporaryDirectory() as place:
        run = {"klear": rl_runs.klear, "trl": rl_runs.trl}[options["trainer"]]
        print(json.dumps(run(Path(place), texts, options)))


def versions() -> dict[str, Any]:
    packages = ("torch", "transformers", "trl", "accelerate", "datasets")
    return {
        "python": platform.python_version(), "cpus": os.cpu_count(), "omp_threads": os.environ.get("OMP_NUM_THREADS"),
        **{package: version(package) for package in packages},
    }  # fmt: skip


if __name__ == "__main__":
    main()
