"""Whether the sampler has the trainer's weights: a few sequences, read by both.

A push that goes wrong raises no error and trains on: the rollouts come from an old or a broken policy while their
ratios look like learning. Right weights differ by rounding (5e-6 in float32, some 1e-2 in bfloat16); a stale or
missing matrix by tenths to whole units.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from klear_data.errors import KlearError

PROBE_TOKENS = 256
PROBE_SEQUENCES = 4


class SamplerOutOfStep(KlearError):
    """Sampler and trainer do not give the same tokens the same probability."""


def probe_sequences(prompts: Sequence[list[int]]) -> list[list[int]]:
    """A few beginnings of prompts, the same in every run on the same data."""
    distinct = list(dict.fromkeys(tuple(ids[:PROBE_TOKENS]) for ids in prompts if len(ids) > 1))
    step = max(1, len(distinct) // PROBE_SEQUENCES)
    return [list(ids) for ids in distinct[::step][:PROBE_SEQUENCES]]


def check_in_step(sampler: Sequence[Tensor], trainer: Sequence[Tensor], *, limit: float, step: int) -> float:
    """The mean |Δ log π| over the probe's tokens.

    Args:
        sampler, trainer: log-probabilities of the same sequences by the one and the other.
        limit: largest mean that is still rounding.
        step: RL steps done, for the message.

    Raises:
        SamplerOutOfStep: it is above ``limit``, or no number.
    """
    gaps = [(one.double() - other.double()).abs() for one, other in zip(sampler, trainer, strict=True)]
    tokens = sum(gap.numel() for gap in gaps)
    gap = sum(float(gap.sum()) for gap in gaps) / max(tokens, 1)
    if not gap <= limit:
        raise SamplerOutOfStep(
            f"step {step}: sampler and trainer disagree by {gap:.3g} nats a token on the probe (largest allowed: "
            f"rollout.probe_limit = {limit}); expected the sampler to have the trainer's weights; if both compute in "
            "bfloat16 a little more may be rounding: raise the limit; else the push of weights failed: report it"
        )
    return gap
