"""What ``klear train sft`` can be told."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from klear_train.settings.common import (
    CheckpointSection,
    LoRASection,
    ModelSection,
    OptimSection,
    Section,
    TrackSection,
)


class ValidationSection(Section):
    """Loss on held-out records (``--validation``)."""

    every: int = Field(default=0, ge=0)
    """Optimizer steps between measurements, the first before step 1 and one at the end; 0 for none."""
    max_rows: int | None = Field(default=None, ge=1)
    """At most so many packed rows of them, always the same ones; all by default."""


class SFTConfig(Section):
    """``klear train sft``."""

    model: ModelSection = ModelSection()
    optim: OptimSection
    checkpoint: CheckpointSection = CheckpointSection()
    validation: ValidationSection = ValidationSection()
    lora: LoRASection = LoRASection()
    track: TrackSection = TrackSection()
    pack_tokens: int = Field(ge=8)
    """Tokens of a packed row, and so of the longest example."""
    rows_per_step: int = Field(ge=1)
    """Packed rows an optimizer step, over all processes."""
    rows_per_micro_batch: int = Field(default=1, ge=1)
    """Rows in memory at once, on each process; the loss is normalised over the step, so this changes speed only."""
    overlong: Literal["drop", "cut"] = "drop"
    """Examples above pack_tokens are left out, or lose their end (and then never learn to stop)."""
    epochs: int = Field(default=1, ge=1)
    """Passes over the data."""
    max_steps: int | None = Field(default=None, ge=1)
    """End after this many optimizer steps; the schedule ends there too."""
    seed: int = 0
    """Of the order of the data and of dropout."""
    stop_after_bad_steps: int = Field(default=5, ge=1)
    """Steps in a row with a loss or gradient that is no number (each is skipped) before the run ends."""
    log_every: int = Field(default=1, ge=1)
    """Steps a line of metrics.jsonl."""
    data_jobs: int = Field(default=1, ge=1)
    """Processes that tokenise the data."""
