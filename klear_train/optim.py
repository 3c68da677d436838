"""AdamW with decay on matrices only, and the one optimizer step that both trainers take."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn

from klear_data.errors import KlearError
from klear_train.distributed import whole
from klear_train.schedule import learning_rate
from klear_train.settings import OptimSection


class TrainingStopped(KlearError):
    """Too many steps in a row without a finite loss and gradient."""


def make_optimizer(model: nn.Module, config: OptimSection) -> torch.optim.AdamW:
    """AdamW, fused where the device has it; weight decay on parameters of two dimensions or more."""
    matrices = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    vectors = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    groups = [{"params": matrices, "weight_decay": config.weight_decay}, {"params": vectors, "weight_decay": 0.0}]
    groups = [group for group in groups if group["params"]]
    return torch.optim.AdamW(groups, lr=config.lr, betas=(config.beta1, config.beta2), fused=True)


class Stepper:
    """Takes optimizer steps: schedule, clipping, and a guard against numbers that are none.

    With shards the gradient's norm is that of the whole gradient, so all processes decide alike; ``loss`` must be
    the same number on all of them too.
    """

    def __init__(self, model: Any, config: OptimSection, *, total_steps: int, stop_after_bad_steps: int) -> None:
        self.model, self.config, self.total_steps = model, config, total_steps
        self.optimizer = make_optimizer(model, config)
        self.stop_after_bad_steps = stop_after_bad_steps
        self.bad_in_a_row = 0
        self.skipped = 0

    def step(self, number: int, loss: float) -> dict[str, float]:
        """Apply the accumulated gradient as step ``number`` (from 0), unless it or the loss is not finite.

        Returns:
            Learning rate and gradient norm before clipping.

        Raises:
            TrainingStopped: so many steps in a row were skipped.
        """
        lr = learning_rate(
            number,
            peak=self.config.lr,
            floor=self.config.lr_floor,
            warmup_steps=self.config.warmup_steps,
            total_steps=self.total_steps,
            shape=self.config.schedule,
        )
        norm = whole(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.grad_clip))
        if math.isfinite(loss) and math.isfinite(norm):
            for group in self.optimizer.param_groups:
                group["lr"] = lr
            self.optimizer.step()
            self.bad_in_a_row = 0
        else:
            self.skipped += 1
            self.bad_in_a_row += 1
        self.optimizer.zero_grad(set_to_none=True)
        if self.bad_in_a_row >= self.stop_after_bad_steps:
            raise TrainingStopped(
                f"step {number}: {self.bad_in_a_row} steps in a row without a finite loss and gradient (loss {loss}, "
                f"gradient norm {norm}); expected numbers; lower optim.lr, or look at the data of these steps"
            )
        return {"lr": lr, "grad_norm": norm}

    def state(self) -> dict[str, int]:
        return {"bad_in_a_row": self.bad_in_a_row, "skipped": self.skipped}

    def restore(self, state: dict[str, int]) -> None:
        self.bad_in_a_row, self.skipped = state["bad_in_a_row"], state["skipped"]
