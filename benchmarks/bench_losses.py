"""CPU cost of klear's policy losses against PPO's clip as it is usually written (two products and a maximum).

    OMP_NUM_THREADS=1 python benchmarks/bench_losses.py [--responses 64] [--tokens 4096] [--rounds 15]

Each round times every loss once, forward and backward and with its metrics, in turns. The plain form computes the
loss, the clip fraction and the KL estimate, as trainers around it do; it overflows where log-ratios are large, which
the ones here do not have. The step that the losses are part of costs billions of operations a token; what counts is
that this stays far below. Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from torch import Tensor

from klear_train import losses

Loss = Callable[[Tensor, Tensor, Tensor, Tensor], tuple[Tensor, dict[str, float]]]


def plain_clip(
    logprobs_BT: Tensor, old_BT: Tensor, advantages_B: Tensor, mask_BT: Tensor
) -> tuple[Tensor, dict[str, float]]:
    """min(δÃ, clip(δ)Ã) by exponentials, products and a mask that is multiplied."""
    log_ratio_BT = logprobs_BT - old_BT
    ratio_BT = log_ratio_BT.exp()
    unclipped_BT = -advantages_B[:, None] * ratio_BT
    clipped_BT = -advantages_B[:, None] * ratio_BT.clamp(0.8, 1.28)
    count = mask_BT.sum()
    loss = (torch.maximum(unclipped_BT, clipped_BT) * mask_BT).sum() / count
    with torch.no_grad():
        clip_fraction = ((clipped_BT > unclipped_BT) * mask_BT).sum() / count
        kl = (-log_ratio_BT * mask_BT).sum() / count
    return loss, {"clip_fraction": clip_fraction.item(), "kl": kl.item()}


def main() -> None:
    """Time all losses in turns and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--responses", type=int, default=64)
    parser.add_argument("--tokens", type=int, default=4096)
    parser.add_argument("--rounds", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    shape = (args.responses, args.tokens)
    old_BT = -torch.rand(shape)
    logprobs_BT = (old_BT + 0.1 * torch.randn(shape)).requires_grad_()
    advantages_B = torch.randn(args.responses)
    mask_BT = torch.arange(args.tokens) < torch.randint(args.tokens // 4, args.tokens + 1, (args.responses, 1))
    compared: dict[str, Loss] = {
        "plain_clip": plain_clip,
        "gppo": losses.gppo_loss,
        "clip_higher": losses.clip_higher_loss,
        "cispo": losses.cispo_loss,
        "gspo": losses.gspo_loss,
    }
    seconds: dict[str, list[float]] = {name: [] for name in compared}
    for round_number in range(args.rounds + 1):
        for name, loss_of in compared.items():
            logprobs_BT.grad = None
            began = time.process_time()
            loss, _ = loss_of(logprobs_BT, old_BT, advantages_B, mask_BT)
            loss.backward()
            if round_number:  # the first one warms up
                seconds[name].append(time.process_time() - began)
    median = {name: statistics.median(found) for name, found in seconds.items()}
    tokens = int(mask_BT.sum())
    print(
        json.dumps(
            {
                "what": "CPU time of a policy loss, forward, backward and metrics",
                "n": args.rounds,
                "tokens": tokens,
                "unit": "ns a token",
                "median": {name: round(1e9 * value / tokens, 1) for name, value in median.items()},
                "ratio_to_plain_clip": {name: round(value / median["plain_clip"], 2) for name, value in median.items()},
                "machine": f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, one thread",
                "versions": {"python": platform.python_version(), "torch": torch.__version__},
            },
            indent=2,
        )
    )


if __name__ == "__main__":
    main()
