"""klear's RL loop on one GPU: rollout tokens/s, train tokens/s, peak memory, and where a step's time goes.

    python benchmarks/gpu/bench_rl_gpu.py                       # 0.6B, 1.7B, 4B at 4K and 16K tokens a response
    python benchmarks/gpu/bench_rl_gpu.py --device cpu --shape tiny --max-tokens 32 --prompts 4 --steps 3

Random weights in Qwen3's shapes never end a response, so all of them have the full length; verdicts are dealt out by
turns, as nothing would be right. vLLM samples where it is installed, else klear's own loop (slow at such lengths: give
it fewer prompts). A cell is a process of its own; the first steps are warm-up.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

# ruff: noqa: E402  (the folders above are on the path first: this runs where klear is not installed)
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import torch
from gpu.bench_sft_gpu import SHAPES, make_model

RL_SHAPES = {**SHAPES, "tiny": (64, 192, 2, 2, 2, 32, 512)}
WARM_STEPS = 1
PHASES = ("sample_s", "score_s", "train_s", "push_s")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--engine", choices=["vllm", "transformers"], help="vllm where it is installed")
    parser.add_argument("--vllm", default="{}", help="further arguments of vLLM's engine, as JSON")
    parser.add_argument("--shape", default="0.6B,1.7B,4B")
    parser.add_argument("--max-tokens", default="4096,16384")
    parser.add_argument("--prompts", type=int, default=32)
    parser.add_argument("--n", type=int, default=8)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        print(json.dumps(measure(json.loads(options.child))))
        return
    engine = options.engine or ("vllm" if importlib.util.find_spec("vllm") else "transformers")
    name = torch.cuda.get_device_name() if options.device == "cuda" else "cpu"
    found: dict[str, Any] = {
        "what": "rl on one device", "device": name, "torch": torch.__version__, "engine": engine,
        "steps": options.steps, "prompts": options.prompts, "n": options.n, "cells": [],
    }  # fmt: skip
    for shape in options.shape.split(","):
        for max_tokens in map(int, options.max_tokens.split(",")):
            asked = {**vars(options), "engine": engine, "shape": shape, "max_tokens": max_tokens}
            found["cells"].append({"shape": shape, "max_tokens": max_tokens, **run_child(asked)})
            print(json.dumps(found["cells"][-1]), file=sys.stderr, flush=True)
    print(json.dumps(found))


def run_child(asked: dict[str, Any]) -> dict[str, Any]:
    """A cell in a process of its own; what it said last, where it failed (out of memory, mostly)."""
    done = subprocess.run(
        [sys.executable, __file__, "--child", json.dumps(asked)], capture_output=True, text=True, check=False,
        env={**os.environ, "TOKENIZERS_PARALLELISM": "false", "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    if done.returncode:
        return {"failed": (done.stderr.strip().splitlines() or ["?"])[-1]}
    result: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    return result


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """The loop itself, its steps after the warm ones."""
    from klear_train import rl
    from klear_train.rollout import collect

    on_gpu = asked["device"] == "cuda"
    if not on_gpu:
        torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []

    class Noted(rl.RunLog):
        def step(self, row: dict[str, Any], *others: Any, **more: Any) -> None:
            super().step(row, *others, **more)
            rows.append(row)

    rl.RunLog = Noted  # type: ignore[misc]
    collect.judge_group = by_turns
    with tempfile.TemporaryDirectory() as place:
        model = make_model(Path(place) / "model", RL_SHAPES[asked["shape"]], torch.device(asked["device"]))
        config = settings(model, asked)
        rl.run_rl(config, records(4 * asked["prompts"]), out_dir=Path(place) / "run", quiet=True)
    timed = rows[min(WARM_STEPS, len(rows) - 1) :]
    seconds = {phase: statistics.median(row[phase] for row in timed) for phase in PHASES}
    responses = asked["prompts"] * asked["n"]
    tokens = timed[0]["response_tokens"] * responses
    whole = sum(seconds.values())
    return {
        "rollout_tokens_per_s": round(tokens / seconds["sample_s"]),
        "train_tokens_per_s": round(tokens / seconds["train_s"]),
        "step_s": round(whole, 2),
        "share": {phase.removesuffix("_s"): round(seconds[phase] / whole, 3) for phase in PHASES},
        "probe_gap": timed[-1]["probe_gap"],
        "peak_gib_of_the_trainer": round(peak_gib(on_gpu), 1),
    }


def settings(model: Path, asked: dict[str, Any]) -> Any:
    """tiny-rl's settings but for size: four updates a step, activations recomputed on a GPU."""
    from klear_train.config import load_config

    on_gpu = asked["device"] == "cuda"
    overrides = {
        "model.path": json.dumps(str(model)), "model.dtype": "'bfloat16'" if on_gpu else "'float32'",
        "model.gradient_checkpointing": str(on_gpu).lower(), "model.threads": 0 if on_gpu else 1,
        "steps": asked["steps"], "prompts_per_minibatch": -(-asked["prompts"] // 4),
        "micro_batch_tokens": max(16_384, asked["max_tokens"]), "optim.lr": 1e-6, "optim.lr_floor": 0.0,
        "rollout.prompts_per_step": asked["prompts"], "rollout.n": asked["n"],
        "rollout.max_tokens": asked["max_tokens"], "rollout.engine": f"'{asked['engine']}'", "checkpoint.every": 0,
        "save_rollouts_every": 0,
    }  # fmt: skip
    given = [f"{key}={value}" for key, value in overrides.items()]
    if asked["engine"] == "vllm":
        # Half of the device for each, and room for prompt and response.
        options = {"gpu_memory_utilization": 0.45, "max_model_len": asked["max_tokens"] + 256} if on_gpu else {}
        options |= json.loads(asked["vllm"])
        given += [f"rollout.vllm.{key}={json.dumps(value)}" for key, value in options.items()]
    return load_config("rl", recipe="tiny-rl", overrides=given)


def by_turns(record: dict[str, Any], sampled: Any, judge: Any) -> list[dict[str, Any]]:
    """Right, wrong, right, …: every group carries a signal."""
    return [
        {"reward": 1.0, "verdict": "AC"} if at % 2 == 0 else {"reward": -1.0, "verdict": "WA"}
        for at, _ in enumerate(sampled.completions)
    ]


def records(count: int) -> list[dict[str, Any]]:
    return [
        {
            "schema": "klear/1", "id": f"{number:016x}", "ability": "math",
            "prompt": [{"role": "user", "content": f"Problem {number}: what is {number} plus {number}?"}],
            "reward_model": {"style": "rule", "ground_truth": str(2 * number)},
        }
        for number in range(count)
    ]  # fmt: skip


def peak_gib(on_gpu: bool) -> float:
    if on_gpu:
        return torch.cuda.max_memory_allocated() / 2**30
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1]) / 2**20


if __name__ == "__main__":
    main()
