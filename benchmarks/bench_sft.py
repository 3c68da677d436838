"""klear's SFT trainer beside TRL's SFTTrainer: same model, tokens, rows, optimizer; a process each, in turns.

    OMP_NUM_THREADS=1 python benchmarks/bench_sft.py --rounds 3

needs ``trl==1.16`` beside klear. TRL runs in three ways: ``trl-packed`` gets klear's packed rows (padding-free, with
position ids that restart, from which transformers makes a block-diagonal mask), so that each step trains on the same
tokens and the losses can be compared; ``trl-padded`` pads batches of 8 examples in random order, as it does by default;
``trl-grouped`` pads batches of examples of about one length. The ratio is to the fastest of them. A child times its
steps after a few warm ones, by CPU and by wall clock, data and logging included. Memory is that of one forward and
backward pass at Qwen3's vocabulary over what stood before it; ``plain`` is transformers' own loss with whole logits.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import statistics
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

from sft_runs import Stamped, run_child

SHAPES: dict[str, dict[str, Any]] = {
    # hidden, layers, heads, vocabulary; packing and steps
    "tiny": {"shape": (128, 4, 4, None), "pack_tokens": 512, "rows": 8, "micro": 4, "steps": 24},
    "28M": {"shape": (384, 8, 6, 32_000), "pack_tokens": 512, "rows": 2, "micro": 2, "steps": 7},
}
TRAINERS = ("klear", "trl-packed", "trl-padded", "trl-grouped")
WARM_STEPS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", default="tiny,28M")
    parser.add_argument("--no-memory", action="store_true")
    parser.add_argument("--padded-batch", type=int, default=8)
    options = parser.parse_args()
    found: dict[str, Any] = {"what": "sft beside TRL", "rounds": options.rounds, **versions()}
    with tempfile.TemporaryDirectory() as place:
        for name in options.shapes.split(","):
            found[name] = speed(Path(place) / name, SHAPES[name], options)
        if not options.no_memory:
            found["memory"] = memory(Path(place) / "memory")
    print(json.dumps(found))


def speed(folder: Path, case: dict[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    settings = prepare(folder, case)
    common = {"folder": str(folder), "device": "cpu", "steps": case["steps"], "warm_steps": WARM_STEPS,
              "padded_batch": options.padded_batch, "trl_attention": "sdpa"}  # fmt: skip
    rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in TRAINERS}
    for number in range(options.rounds):
        for name in TRAINERS if number % 2 == 0 else TRAINERS[::-1]:
            rounds[name].append(run_child({**common, "trainer": name}))
    speeds = {
        name: {
            unit: round(statistics.median(one["tokens"] / one[second] for one in of_one))
            for unit, second in (("tokens_per_cpu_s", "cpu_s"), ("tokens_per_wall_s", "wall_s"))
        }
        for name, of_one in rounds.items()
    }
    ours = speeds["klear"]["tokens_per_cpu_s"]
    peers = {name: one["tokens_per_cpu_s"] for name, one in speeds.items() if name != "klear"}
    pairs = list(zip(rounds["klear"][0]["losses"], rounds["trl-packed"][0]["losses"], strict=True))
    return {
        **settings,
        **speeds,
        "all_tokens_per_cpu_s": {n: [round(o["tokens"] / o["cpu_s"]) for o in of] for n, of in rounds.items()},
        "ratio_tokens_per_cpu_s": round(ours / max(peers.values()), 3),
        "ratios": {name: round(ours / peer, 3) for name, peer in peers.items()},
        "peak_rss_mib": {n: round(statistics.median(o["peak_rss_mib"] for o in of)) for n, of in rounds.items()},
        "loss": {"klear": [round(a, 5) for a, _ in pairs], "trl-packed": [round(b, 5) for _, b in pairs]},
        "loss_largest_relative_difference": max(abs(a - b) / b for a, b in pairs),
    }


def memory(folder: Path) -> dict[str, Any]:
    """Over base, MiB, at Qwen3's vocabulary and 1,024 tokens."""
    vocabulary, tokens = 151_936, 1024
    prepare(folder, {"shape": (128, 2, 4, vocabulary), "pack_tokens": 1024, "rows": 1, "micro": 1, "steps": 1})
    common = {"folder": str(folder), "device": "cpu", "tokens": tokens, "vocabulary": vocabulary}
    found = {how: run_child({**common, "memory": how}) for how in ("klear", "trl", "plain")}
    over = {how: one["over_base_mib"] for how, one in found.items()}
    return {
        "vocabulary": vocabulary,
        "tokens": tokens,
        **found,
        "ratio_to_plain": round(over["klear"] / over["plain"], 3),
        "ratio_to_trl": round(over["klear"] / over["trl"], 3),
    }


def prepare(folder: Path, case: dict[str, Any]) -> dict[str, Any]:
    """Model, data, settings and token store of a case; what is printed of it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from klear_train.tokens import build_token_store

    hidden, layers, heads, vocabulary = case["shape"]
    folder.mkdir(parents=True)
    model = make_model(folder / "model", hidden, layers, heads, vocabulary)
    texts = long_tailed(tokens=case["pack_tokens"] * case["rows"] * case["steps"], longest=case["pack_tokens"] - 40)
    (folder / "bench.toml").write_text(
        f"pack_tokens = {case['pack_tokens']}\nrows_per_step = {case['rows']}\nrows_per_micro_batch = {case['micro']}\n"
        f"max_steps = {case['steps']}\nepochs = 4\n[model]\npath = {json.dumps(str(model))}\nthreads = 1\n"
        "[optim]\nlr = 1e-3\nschedule = 'constant'\nweight_decay = 0.1\n[checkpoint]\nevery = 0\n"
    )
    store = build_token_store(
        texts, AutoTokenizer.from_pretrained(model), folder=folder / "run" / "data", pack_tokens=case["pack_tokens"],
        stamp=Stamped.stamp,
    )  # fmt: skip
    lengths = sorted(store.lengths.tolist())
    parameters = AutoModelForCausalLM.from_pretrained(model).num_parameters()
    return {
        "parameters": parameters, "steps": case["steps"], "rows_per_step": case["rows"],
        "pack_tokens": case["pack_tokens"], "rows_per_micro_batch": case["micro"],
        "example_tokens": {"median": lengths[len(lengths) // 2], "p90": lengths[len(lengths) * 9 // 10],
                           "max": lengths[-1]},
    }  # fmt: skip


def make_model(folder: Path, hidden: int, layers: int, heads: int, vocabulary: int | None) -> Path:
    """A random Qwen3 with the byte-level tokenizer of klear's tests, its vocabulary as large as asked for."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from klear_train.tiny import make_tiny_model

    make_tiny_model(folder, hidden_size=hidden, num_layers=layers, num_heads=heads, max_length=2048)
    if vocabulary is not None:
        config = AutoConfig.from_pretrained(folder)
        config.vocab_size = vocabulary
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def long_tailed(*, tokens: int, longest: int) -> list[dict[str, Any]]:
    """Made-up conversations whose answers' lengths are log-normal (median 90 bytes, sigma 0.9)."""
    rng, found, total = random.Random(0), [], 0
    words = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 7))) for _ in range(200)]
    while total < tokens:
        size = min(longest, max(8, int(rng.lognormvariate(4.5, 0.9))))
        answer = ""
        while len(answer) < size:
            answer += rng.choice(words) + " "
        answer = answer[:size]
        question = rng.choice(words) + "?"
        found.append({"id": str(len(found)), "messages": [{"role": "user", "content": question},
                                                          {"role": "assistant", "content": answer}]})  # fmt: skip
        total += size + len(question) + 4
    return found


def versions() -> dict[str, Any]:
    packages = ("torch", "transformers", "trl", "accelerate", "datasets")
    return {
        "python": platform.python_version(), "cpus": os.cpu_count(), "omp_threads": os.environ.get("OMP_NUM_THREADS"),
        **{package: version(package) for package in packages},
    }  # fmt: skip


if __name__ == "__main__":
    main()
