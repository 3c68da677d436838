"""What both trainers can be told: model, optimizer, checkpoints."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of a config file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True)


class ModelSection(Section):
    """What is trained."""

    path: str = ""
    """Model folder or hub id; the command's --model goes before it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of computation. SFT keeps weights, gradients and optimizer in float32 either way; ``final/`` is written in
    this type."""
    threads: int = Field(default=0, ge=0)
    """Threads of torch on the CPU, 0 for torch's own choice. A small model is fastest with 1: more threads
    wait for each other, and on a busy machine they all but stand still."""
    attention: Literal["auto", "sdpa", "varlen", "flex", "flash"] = "auto"
    """How packed sequences are kept apart: ``sdpa`` (one call each), torch's ``varlen`` FlashAttention, ``flex``, or
    the flash-attn package; ``auto`` is varlen on a GPU in bfloat16, else sdpa. None of them holds T×T numbers."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, memory for one layer at a time."""
    reshard: bool = True
    """With shards: give a layer's gathered weights up after the forward pass and gather them again in the backward
    pass. False is faster and holds a whole copy of the weights in ``dtype`` on every device."""


class OptimSection(Section):
    """AdamW and its schedule."""

    lr: float = Field(gt=0)
    """Peak learning rate."""
    lr_floor: float = Field(default=0.0, ge=0)
    """Learning rate at the end of a cosine or linear schedule."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """Shape after the warm-up."""
    warmup_steps: int = Field(default=0, ge=0)
    """Optimizer steps of linear rise at the start."""
    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled; on matrices only, norms and biases are left alone."""
    beta1: float = Field(default=0.9, ge=0, lt=1)
    """Decay of the gradient's running mean."""
    beta2: float = Field(default=0.95, ge=0, lt=1)
    """Decay of its running square."""
    grad_clip: float = Field(default=1.0, gt=0)
    """Largest norm of the whole gradient; larger ones are scaled down."""


class CheckpointSection(Section):
    """What is kept for --resume."""

    every: int = Field(default=100, ge=0)
    """Optimizer steps (SFT) or RL steps between checkpoints; 0 writes none."""
    keep_last: int = Field(default=2, ge=1)
    """Older ones are removed."""
    on_error: Literal["continue", "stop"] = "continue"
    """When one can't be written (disk full): warn and go on training, or end the run."""


class LoRASection(Section):
    """Low-rank adapters instead of all weights; needs peft."""

    rank: int = Field(default=0, ge=0)
    """Rank of the adapters; 0 trains all weights."""
    alpha: float = Field(default=32.0, gt=0)
    """The adapters' output is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Of the adapters' input."""
    targets: str = "all-linear"
    """Names of the layers to adapt, comma-separated (``q_proj,v_proj``); all-linear is every linear layer but the
    output layer."""
    merge: bool = True
    """``final/`` is the whole model with the adapters added to its weights; false writes the adapter alone."""


class TrackSection(Section):
    """Metrics sent to a tracker, beside metrics.jsonl; each is a package of its own."""

    to: Literal["none", "trackio", "wandb", "tensorboard"] = "none"
    """Which. tensorboard writes into the run's folder, trackio into its own place, wandb to its server."""
    project: str = "klear"
    """The project that trackio and wandb put the run into."""
    name: str = ""
    """Of the run; the name of the run's folder by default."""
