"""klear's sampling beside the engine's own: tokens a second on the same prompts, model and process.

    OMP_NUM_THREADS=1 python benchmarks/bench_sampling.py transformers
    OMP_NUM_THREADS=1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_ENABLE_V1_MULTIPROCESSING=0 TORCHDYNAMO_DISABLE=1 \
        .venv-vllm/bin/python benchmarks/bench_sampling.py vllm

The peer of ``vllm`` is ``LLM.generate`` with one request a rollout, seeded like ours; that of ``transformers`` is
``model.generate`` in plain batches of prompts sorted by length, at its best of several sizes. Rounds alternate.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from typing import Any

from klear_data.generate.drive import drive
from klear_data.generate.transformers_backend import TransformersEngine, encode_prompt, load_model_and_tokenizer
from klear_data.generate.types import Engine, Prompt, SamplingParams
from klear_train.tiny import make_tiny_model

BATCH_SIZES = (32, 64, 128, 256)


def prompts(count: int) -> list[Prompt]:
    return [
        Prompt(f"id-{at}", [{"role": "user", "content": f"Add {at} and {at * 7}." + " please" * (at % 12)}])
        for at in range(count)
    ]


def timed(work: Callable[[], int]) -> dict[str, float]:
    began_s, cpu_s = time.monotonic(), time.process_time()
    tokens = work()
    wall_s = time.monotonic() - began_s
    return {"tokens_per_s": tokens / wall_s, "tokens_per_cpu_s": tokens / (time.process_time() - cpu_s)}


def through_klear(engine: Engine, asked: list[Prompt]) -> int:
    return sum(len(c.token_ids) for _, sampled in drive(engine, asked, window=4096) for c in sampled.completions)


def with_vllm(folder: str, asked: list[Prompt], params: SamplingParams) -> dict[str, Callable[[], int]]:
    import vllm

    from klear_data.generate.vllm_backend import VLLMEngine

    llm = vllm.LLM(folder, dtype="float32", enforce_eager=True, max_num_seqs=64, enable_prefix_caching=True)
    vllm.LLMEngine.from_engine_args = lambda _: llm.llm_engine  # one engine for both: same weights, same cache
    ours = VLLMEngine(folder, params, {})
    tokenizer = llm.get_tokenizer()

    def peer(*, seeded: bool) -> int:
        requests, how = [], []
        for prompt in asked:
            ids = encode_prompt(tokenizer, prompt.messages)
            for index in range(params.n):
                requests.append(vllm.inputs.TokensPrompt(prompt_token_ids=ids))
                how.append(
                    vllm.SamplingParams(
                        temperature=params.temperature, top_p=params.top_p, max_tokens=params.max_tokens,
                        seed=params.seed_of(prompt.record_id, index) if seeded else None,
                    )
                )  # fmt: skip
        return sum(len(out.outputs[0].token_ids) for out in llm.generate(requests, how, use_tqdm=False))

    return {
        "klear": lambda: through_klear(ours, asked),
        "LLM.generate": lambda: peer(seeded=True),
        "LLM.generate, unseeded": lambda: peer(seeded=False),
    }


def with_transformers(folder: str, asked: list[Prompt], params: SamplingParams) -> dict[str, Callable[[], int]]:
    import torch

    model, tokenizer = load_model_and_tokenizer(folder, dtype="float32", device="cpu")
    tokenizer.padding_side = "left"

    def peer(size: int) -> int:
        torch.manual_seed(0)
        encoded = [encode_prompt(tokenizer, prompt.messages) for prompt in asked for _ in range(params.n)]
        encoded.sort(key=len)
        tokens = 0
        for start in range(0, len(encoded), size):
            batch = tokenizer.pad({"input_ids": encoded[start : start + size]}, return_tensors="pt")
            out = model.generate(
                **batch, do_sample=True, temperature=params.temperature, top_p=params.top_p, top_k=0,
                max_new_tokens=params.max_tokens, pad_token_id=tokenizer.pad_token_id,
            )  # fmt: skip
            tokens += int((out[:, batch["input_ids"].shape[1] :] != tokenizer.pad_token_id).sum())
        return tokens

    runs: dict[str, Callable[[], int]] = {}
    for size in BATCH_SIZES:
        engine = TransformersEngine(folder, params, batch_size=size, dtype="float32", device="cpu")
        runs[f"klear {size}"] = lambda engine=engine: through_klear(engine, asked)
        runs[f"generate {size}"] = lambda size=size: peer(size)
    return runs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("engine", choices=["vllm", "transformers"])
    parser.add_argument("--prompts", type=int, default=128)
    parser.add_argument("--n", type=int, default=4)
    parser.add_argument("--max-tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    params = SamplingParams(n=options.n, top_p=0.95, max_tokens=options.max_tokens, seed=1)
    asked = prompts(options.prompts)
    with tempfile.TemporaryDirectory() as folder:
        make_tiny_model(folder, hidden_size=128, num_layers=4, num_heads=4)
        make = with_vllm if options.engine == "vllm" else with_transformers
        runs = make(folder, asked, params)
        measured: dict[str, list[dict[str, float]]] = {name: [] for name in runs}
        for work in runs.values():
            work()  # warm
        for number in range(options.rounds):
            for name in list(runs) if number % 2 == 0 else list(runs)[::-1]:
                measured[name].append(timed(runs[name]))
    print(json.dumps({"what": f"sampling with {options.engine}", **vars(options), **summary(measured), **where()}))


def summary(measured: dict[str, list[dict[str, float]]]) -> dict[str, Any]:
    """Medians by run, and ours over the peer's (for transformers each at its best batch size)."""
    found: dict[str, Any] = {}
    for unit in ("tokens_per_s", "tokens_per_cpu_s"):
        medians = {name: round(statistics.median(one[unit] for one in rounds)) for name, rounds in measured.items()}
        ours = max(value for name, value in medians.items() if name.startswith("klear"))
        peer = max(value for name, value in medians.items() if "unseeded" not in name and "klear" not in name)
        found |= {unit: medians, f"ratio_{unit}": round(ours / peer, 3)}
    return found


def where() -> dict[str, Any]:
    import torch
    import transformers

    return {
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "cpus": os.cpu_count(),
        "omp_threads": os.environ.get("OMP_NUM_THREADS"),
    }


if __name__ == "__main__":
    main()
