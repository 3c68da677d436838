"""How GPPO and its relatives behave when the rollouts grow stale, on models small enough for one core.

    OMP_NUM_THREADS=1 python examples/gppo_study/study.py --out runs.jsonl [--seeds 5] [--steps 40]

Runs task × seed × arm, seed by seed, and appends one JSON line a run; runs already in the file are skipped, so a
killed study goes on where it was. Every arm of a (task, seed) starts from the same fine-tuned policy, kept beside
the output, and draws the same problems.
"""

from __future__ import annotations

import argparse
import copy
import json
import random
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import torch
from policy import Samples, accuracy, fine_tune, logprobs_and_entropy, make_policy, sample
from tasks import TASKS, Task
from torch import Tensor

from klear_train import losses
from klear_train.advantage import group_advantages

PROMPTS, ROLLOUTS = 16, 8  # a step
MINIBATCH_PROMPTS = 2  # so 8 minibatches, as in the paper (128 prompts in minibatches of 16)
WARMUP_UPDATES = 10
EVALUATE_EVERY = 10
HELDOUT = 512
START_ACCURACY = 0.45


@dataclass(frozen=True)
class Arm:
    """What differs between runs.

    Attributes:
        kind: the loss's name in :mod:`klear_train.losses`, without ``_loss``.
        options: its keyword arguments.
        epochs: passes over a step's rollouts, 8 minibatches each.
        nll_weight: α of Eq. 13.
        dual_clip: drop the gradient of tokens with Ã < 0 and δ above it, as the authors' code does at 10.
        lr_scale: of the task's learning rate.
    """

    kind: str = "gppo"
    options: dict[str, float] = field(default_factory=dict)
    epochs: int = 2
    nll_weight: float = 0.0
    dual_clip: float | None = None
    lr_scale: float = 1.0


ARMS = {
    "clip_higher": Arm("clip_higher"),
    "gppo": Arm(),
    "gppo_low0": Arm(options={"beta_low": 0.0}),
    "cispo": Arm("cispo"),
    "gppo_high0": Arm(options={"beta_high": 0.0}),
    "gppo_low0.5": Arm(options={"beta_low": 0.5}),
    "gppo_low0.25": Arm(options={"beta_low": 0.25}),
    "gppo_nll0.1": Arm(nll_weight=0.1),
    "gppo_dual10": Arm(dual_clip=10.0),
    "gppo_1epoch": Arm(epochs=1),
    "clip_higher_1epoch": Arm("clip_higher", epochs=1),
    "gppo_half_lr": Arm(lr_scale=0.5),
    "clip_higher_half_lr": Arm("clip_higher", lr_scale=0.5),
    "gppo_low0_half_lr": Arm(options={"beta_low": 0.0}, lr_scale=0.5),
    "gppo_low0.75": Arm(options={"beta_low": 0.75}),
}


def policy_loss(arm: Arm, logprobs_BT: Tensor, samples: Samples, advantages_B: Tensor) -> tuple[Tensor, dict]:
    """The arm's loss on one minibatch, a mean over its tokens (Eq. 7, 11, 13)."""
    mask_BT, num_tokens = samples.mask_BT, float(samples.mask_BT.sum())
    if arm.dual_clip is not None:
        ratio_BT = (logprobs_BT.detach() - samples.logprobs_BT).exp()
        mask_BT = mask_BT & ~((advantages_B[:, None] < 0) & (ratio_BT > arm.dual_clip))
    loss_of = getattr(losses, f"{arm.kind}_loss")
    loss, metrics = loss_of(
        logprobs_BT, samples.logprobs_BT, advantages_B, mask_BT, **arm.options, num_tokens=num_tokens
    )
    if arm.nll_weight:
        nll, _ = losses.positive_nll_loss(logprobs_BT, samples.right_B, samples.mask_BT)
        loss = loss + arm.nll_weight * nll
    return loss, metrics


def advantages_of(right_B: Tensor) -> tuple[Tensor, list[int]]:
    """Group-relative advantages of ±1 rewards, and the groups that carry a signal."""
    advantages: list[float] = []
    kept: list[int] = []
    for group, right_G in enumerate(right_B.view(-1, ROLLOUTS)):
        found = group_advantages([2.0 * right - 1.0 for right in right_G.tolist()])
        advantages += found or [0.0] * ROLLOUTS
        kept += [group] if found else []
    return torch.tensor(advantages), kept


def minibatches(kept: Sequence[int], samples: Samples, epochs: int, rng: random.Random) -> Iterator[tuple[Any, Tensor]]:
    """Rows of each minibatch as samples, epoch after epoch, in a new order each."""
    for _ in range(epochs):
        order = rng.sample(kept, len(kept))
        for start in range(0, len(order), MINIBATCH_PROMPTS):
            rows = torch.tensor([g * ROLLOUTS + i for g in order[start : start + MINIBATCH_PROMPTS] for i in range(8)])
            yield Samples(*(getattr(samples, name)[rows] for name in Samples.__dataclass_fields__)), rows


def run(task: Task, arm: Arm, start: Any, *, seed: int, steps: int, lr: float) -> dict[str, Any]:
    """One RL run from a copy of ``start``: its curves, one value a step, and its held-out accuracies."""
    model = copy.deepcopy(start)
    matrices = [p for p in model.parameters() if p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": 0.1}, {"params": vectors, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.999), fused=True)
    heldout = [task.make(random.Random(f"heldout/{seed}/{i}")) for i in range(HELDOUT)]
    problems_rng, order_rng = random.Random(f"rl/{seed}"), random.Random(f"order/{seed}")
    generator = torch.Generator().manual_seed(seed)
    curves: dict[str, list[float]] = {}
    heldout_accuracy = {0: accuracy(model, task, heldout, seed)}
    updates = 0
    for step in range(1, steps + 1):
        problems = [task.make(problems_rng) for _ in range(PROMPTS)]
        model.eval()
        samples = sample(model, task, [problem for problem in problems for _ in range(ROLLOUTS)], generator)
        model.train()
        advantages_B, kept = advantages_of(samples.right_B)
        found: list[dict[str, float]] = []
        for part, rows in minibatches(kept, samples, arm.epochs, order_rng):
            logprobs_BT, entropy_BT = logprobs_and_entropy(model, part.prompts_BP, part.responses_BT)
            loss, metrics = policy_loss(arm, logprobs_BT, part, advantages_B[rows])
            loss.backward()
            metrics["grad_norm"] = float(torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0))
            metrics["entropy"] = float(entropy_BT[part.mask_BT].mean())
            updates += 1
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, updates / WARMUP_UPDATES)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            found.append(metrics)
        row = {key: sum(one[key] for one in found) / len(found) for key in found[0]} if found else {}
        if found:
            row["ratio_max"] = max(one["ratio_max"] for one in found)
        row |= {"right": float(samples.right_B.float().mean()), "groups": float(len(kept))}
        row["tokens"] = float(samples.mask_BT.sum()) / len(samples.mask_BT)
        for key, value in row.items():
            curves.setdefault(key, []).append(float(f"{value:.4g}"))
        if step % EVALUATE_EVERY == 0:
            heldout_accuracy[step] = accuracy(model, task, heldout, seed)
    return {"heldout": heldout_accuracy, "updates": updates, "curves": curves}


def started(name: str, seed: int, folder: Path) -> tuple[Any, int]:
    """The fine-tuned policy of a task and seed, and its SFT steps; made once and kept."""
    path = folder / f"sft-{name}-{seed}.pt"
    if not path.exists():
        model, sft_steps = fine_tune(TASKS[name], seed, wanted=START_ACCURACY)
        folder.mkdir(parents=True, exist_ok=True)
        torch.save({"weights": model.state_dict(), "sft_steps": sft_steps}, path)
    saved = torch.load(path)
    model = make_policy(seed)
    model.load_state_dict(saved["weights"])
    return model, saved["sft_steps"]


def main() -> None:
    """Run what is missing in the output file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, appended to")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--tasks", default=",".join(TASKS))
    parser.add_argument("--arms", default=",".join(ARMS))
    parser.add_argument("--lr", type=float, help="instead of the task's")
    args = parser.parse_args()
    torch.set_num_threads(1)
    done = set()
    if args.out.exists():
        rows = map(json.loads, args.out.read_text(encoding="utf-8").splitlines())
        done = {(row["task"], row["arm"], row["seed"], row["lr"], row["steps"]) for row in rows}
    for seed in range(args.first_seed, args.first_seed + args.seeds):
        for name in args.tasks.split(","):
            for arm in args.arms.split(","):
                lr = (args.lr or TASKS[name].lr) * ARMS[arm].lr_scale
                key = {"task": name, "arm": arm, "seed": seed, "lr": lr, "steps": args.steps}
                if tuple(key.values()) in done:
                    continue
                start, sft_steps = started(name, seed, args.out.with_suffix(".sft"))
                began = time.process_time()
                result = run(TASKS[name], ARMS[arm], start, seed=seed, steps=args.steps, lr=lr)
                row = key | {"sft_steps": sft_steps} | result
                row["cpu_s"] = round(time.process_time() - began, 1)
                with args.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row) + "\n")
                print(name, seed, arm, lr, row["heldout"], f"{row['cpu_s']} s", flush=True)


if __name__ == "__main__":
    main()
