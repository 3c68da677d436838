"""The token store: tokens a CPU second beside the tokenizer alone, and peak memory as the data grows.

    OMP_NUM_THREADS=1 python benchmarks/bench_tokens.py --rounds 3 --counts 5000,50000,200000

The floor is the tokenizer's own batch call on the same messages' contents, without template, mask or file. The
tokenizer is a byte-level BPE of 16,000 tokens with GPT-2's splitting, trained here on made-up words; the answers'
lengths are log-normal. Memory is the peak of a process that makes so many examples of about 1,000 tokens and stores
them.
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
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from klear_train.tiny import CHAT_TEMPLATE, END, ROLES
from klear_train.tokens import build_token_store

WORDS = 20_000


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--records", type=int, default=1000)
    parser.add_argument("--words", type=int, default=1000, help="median words of an answer")
    parser.add_argument("--counts", default="5000,50000", help="examples for the peak memory")
    parser.add_argument("--peak", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    if options.peak:
        print(peak_mib(options.peak))
        return
    words = made_up_words()
    tokenizer = trained_tokenizer(words)
    records = list(conversations(words, options.records, options.words))
    texts = [message["content"] for record in records for message in record["messages"]]
    runs: dict[str, Callable[[], int]] = {
        "tokenizer": lambda: tokens_alone(tokenizer, texts),
        "store": lambda: tokens_stored(tokenizer, records),
    }
    speeds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(options.rounds):
        for name in list(runs) if number % 2 == 0 else list(runs)[::-1]:
            began_s = time.process_time()
            speeds[name].append(runs[name]() / (time.process_time() - began_s))
    peaks = {
        count: round(float(subprocess.run([sys.executable, __file__, "--peak", count], capture_output=True, text=True,
                                          check=True).stdout))
        for count in options.counts.split(",")
    }  # fmt: skip
    medians = {name: round(statistics.median(found)) for name, found in speeds.items()}
    print(json.dumps({
        "what": "token store", "records": options.records, "rounds": options.rounds, "tokens_per_cpu_s": medians,
        "ratio": round(medians["store"] / medians["tokenizer"], 3), "peak_mib_by_examples": peaks,
        "python": platform.python_version(), "cpus": os.cpu_count(),
    }))  # fmt: skip


def made_up_words() -> list[str]:
    rng = random.Random(0)
    return ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=rng.randint(2, 9))) for _ in range(WORDS)]


def trained_tokenizer(words: list[str]) -> Any:
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=16_000, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator((" " + word for word in words for _ in range(3)), trainer)
    backend.add_special_tokens([AddedToken(mark, special=True) for mark in (END, *(f"<|{role}|>" for role in ROLES))])
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END, clean_up_tokenization_spaces=False)
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def conversations(words: list[str], count: int, median: int, *, sigma: float = 0.8) -> Iterator[dict[str, Any]]:
    rng = random.Random(1)
    for number in range(count):
        answer = " ".join(rng.choices(words, k=max(1, int(median * rng.lognormvariate(0, sigma)))))
        question = " ".join(rng.choices(words, k=20))
        yield {"id": str(number), "messages": [{"role": "user", "content": question},
                                               {"role": "assistant", "content": answer}]}  # fmt: skip


def tokens_alone(tokenizer: Any, texts: list[str]) -> int:
    found = 0
    for start in range(0, len(texts), 512):
        encoded = tokenizer(texts[start : start + 512], add_special_tokens=False, return_attention_mask=False)
        found += sum(map(len, encoded["input_ids"]))
    return found


def tokens_stored(tokenizer: Any, records: list[dict[str, Any]]) -> int:
    with tempfile.TemporaryDirectory() as folder:
        store = build_token_store(records, tokenizer, folder=Path(folder) / "data", pack_tokens=1 << 20, jobs=1)
        return store.counts["tokens"]


def peak_mib(count: int) -> float:
    words = made_up_words()
    tokens_stored(trained_tokenizer(words), conversations(words, count, 480, sigma=0.0))  # type: ignore[arg-type]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
