"""Learning rate as a function of the step: nothing to save, nothing to restore."""

from __future__ import annotations

import math
from typing import Literal

Shape = Literal["cosine", "linear", "constant"]


def learning_rate(step: int, *, peak: float, floor: float, warmup_steps: int, total_steps: int, shape: Shape) -> float:
    """Rate of step ``step``, counted from 0.

    Rises linearly over the warm-up (its first step is ``peak / warmup_steps``, not 0), then falls from
    ``peak`` to ``floor``, which the last step reaches.

    >>> rates = [learning_rate(s, peak=1.0, floor=0.5, warmup_steps=2, total_steps=5, shape="linear") for s in range(5)]
    >>> rates
    [0.5, 1.0, 1.0, 0.75, 0.5]
    """
    if step < warmup_steps:
        return peak * (step + 1) / warmup_steps
    if shape == "constant":
        return peak
    done = min(1.0, (step - warmup_steps) / max(1, total_steps - 1 - warmup_steps))
    left = 0.5 * (1 + math.cos(math.pi * done)) if shape == "cosine" else 1 - done
    return floor + (peak - floor) * left


def is_due(every: int, step: int) -> bool:
    """Whether something done every so many steps (0: never) is done after this one."""
    return every > 0 and step % every == 0
