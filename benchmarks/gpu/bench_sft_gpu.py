"""klear's SFT trainer on one GPU: tokens/s, peak memory and MFU on Qwen3's shapes, TRL beside it where installed.

    python benchmarks/gpu/bench_sft_gpu.py                      # 0.6B, 1.7B, 4B at 4K to 32K tokens, random weights
    python benchmarks/gpu/bench_sft_gpu.py --device cpu --shape tiny --lengths 256 --steps 4     # does it run at all

A row is one document of the full length, all of it trained, in bfloat16 with weights and optimizer in float32; the
same rows for both. Activations are recomputed where the estimate without it would not leave a fifth of the device
free, for both alike. MFU counts the model's operations (klear_train/metrics/throughput.py) for both. Rounds alternate;
all of them are printed beside the median.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

# ruff: noqa: E402  (the folders above are on the path first: this runs where klear is not installed)
sys.path[:0] = [str(Path(__file__).resolve().parents[1]), str(Path(__file__).resolve().parents[2])]

import numpy as np
import torch
from sft_runs import Stamped, config_of, run_child
from transformers import AutoConfig, AutoModelForCausalLM, Qwen3Config

from klear_train.memory import estimate
from klear_train.metrics.throughput import cost_of, peak_tflops
from klear_train.tiny import make_tokenizer
from klear_train.tokens.build import Settings, settings_digest
from klear_train.tokens.store import Origin, StoreWriter

# hidden, feed-forward, layers, heads, key/value heads, dimensions a head, vocabulary: the models' config.json
SHAPES = {
    "tiny": (64, 192, 2, 4, 2, 16, 512),
    "0.6B": (1024, 3072, 28, 16, 8, 128, 151_936),
    "1.7B": (2048, 6144, 28, 16, 8, 128, 151_936),
    "4B": (2560, 9728, 36, 32, 8, 128, 151_936),
}
WARM_STEPS = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--shape", default="0.6B,1.7B,4B")
    parser.add_argument("--lengths", default="4096,8192,16384,32768")
    parser.add_argument("--rows", type=int, default=0, help="rows a step; 0 for 64K tokens")
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    trainers = ["klear", *(["trl-packed"] if importlib.util.find_spec("trl") else [])]
    device = torch.device(options.device)
    found: dict[str, Any] = {
        "what": "sft on one device", "device": torch.cuda.get_device_name() if device.type == "cuda" else "cpu",
        "torch": torch.__version__, "trainers": trainers, "rounds": options.rounds, "cells": [],
    }  # fmt: skip
    for shape in options.shape.split(","):
        with tempfile.TemporaryDirectory() as place:
            model = make_model(Path(place) / "model", SHAPES[shape], device)
            for length in map(int, options.lengths.split(",")):
                cell = measure(Path(place) / str(length), model, length, trainers, options)
                found["cells"].append({"shape": shape, "tokens": length, **cell})
                print(json.dumps(found["cells"][-1]), file=sys.stderr, flush=True)
    print(json.dumps(found))


def measure(
    folder: Path, model: Path, length: int, trainers: list[str], options: argparse.Namespace
) -> dict[str, Any]:  # fmt: skip
    rows = options.rows or max(1, 65_536 // length)
    dtype = "bfloat16" if options.device == "cuda" else "float32"
    write_config(folder, model, length, rows, options.steps, dtype, recompute=False)
    config = config_of(folder, {})
    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model), dtype=torch.float32)
    needed = estimate(empty, config, devices=1, device=options.device).total
    room = torch.cuda.get_device_properties(0).total_memory if options.device == "cuda" else float("inf")
    recompute = needed > 0.8 * room
    if recompute:
        write_config(folder, model, length, rows, options.steps, dtype, recompute=True)
        config = config_of(folder, {})
        needed = estimate(empty, config, devices=1, device=options.device).total
    write_store(folder / "run" / "data", length, rows * options.steps, empty.config.vocab_size)
    common = {
        "folder": str(folder), "device": options.device, "steps": options.steps, "warm_steps": WARM_STEPS,
        "padded_batch": 1, "trl_attention": "flash_attention_2" if importlib.util.find_spec("flash_attn") else "sdpa",
    }  # fmt: skip
    runs: dict[str, list[dict[str, Any]]] = {name: [] for name in trainers}
    for number in range(options.rounds):
        for name in trainers if number % 2 == 0 else trainers[::-1]:
            runs[name].append(run_child({**common, "trainer": name}))
    cost, peak = cost_of(empty), peak_tflops(torch.device(options.device))
    documents = rows * (options.steps - WARM_STEPS)
    flops = documents * cost.flops([length], length - 1)
    cell: dict[str, Any] = {"rows_per_step": rows, "recomputed": recompute, "estimated_gib": round(needed / 2**30, 1)}
    for name, of_one in runs.items():
        seconds = statistics.median(one["wall_s"] for one in of_one)
        cell[name] = {
            "tokens_per_s": round(documents * length / seconds),
            "all_tokens_per_s": [round(one["tokens"] / one["wall_s"]) for one in of_one],
            "peak_gib": round(of_one[0].get("peak_gpu_mib", of_one[0]["peak_rss_mib"]) / 1024, 1),
            "mfu": None if peak is None else round(flops / seconds / 1e12 / peak, 3),
        }
    return cell


def make_model(folder: Path, shape: tuple[int, ...], device: torch.device) -> Path:
    """Random weights, saved in bfloat16, with a tokenizer that is there and never asked."""
    hidden, inner, layers, heads, kv_heads, dim, vocabulary = shape
    tokenizer = make_tokenizer()
    config = Qwen3Config(
        vocab_size=vocabulary, hidden_size=hidden, intermediate_size=inner, num_hidden_layers=layers,
        num_attention_heads=heads, num_key_value_heads=kv_heads, head_dim=dim, tie_word_embeddings=True,
        max_position_embeddings=40_960, eos_token_id=tokenizer.eos_token_id, pad_token_id=tokenizer.pad_token_id,
        bos_token_id=None,
    )  # fmt: skip
    with device:
        torch.manual_seed(0)
        model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    del model
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return folder


def write_config(
    folder: Path, model: Path, length: int, rows: int, steps: int, dtype: str, *, recompute: bool
) -> None:  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "bench.toml").write_text(
        f"pack_tokens = {length}\nrows_per_step = {rows}\nrows_per_micro_batch = 1\nmax_steps = {steps}\n"
        f"[model]\npath = {json.dumps(str(model))}\ndtype = '{dtype}'\n"
        f"gradient_checkpointing = {str(recompute).lower()}\n"
        "[optim]\nlr = 1e-5\nschedule = 'constant'\n[checkpoint]\nevery = 0\n"
    )


def write_store(folder: Path, length: int, count: int, vocabulary: int) -> None:
    """Random tokens, all but each first one trained."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    writer = StoreWriter(folder)
    random = np.random.default_rng(0)
    for number in range(count):
        ids = random.integers(0, vocabulary, length, dtype=np.int32)
        ids[1:] = ~ids[1:]
        writer.add(ids.tobytes(), [length], [length - 1], [number])
    counts = {"records": count, "examples": count, "overlong": 0, "untrained": 0, "tokens": count * length,
              "trained_tokens": count * (length - 1)}  # fmt: skip
    origin = Origin(settings_digest(make_tokenizer(), Settings(length, "drop")), data="", stamp=Stamped.stamp)
    writer.close(origin=origin, counts=counts, largest_token=vocabulary - 1)


if __name__ == "__main__":
    main()
