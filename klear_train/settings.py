"""What can be set for a training run: frozen models that refuse what they do not know.

The text under each field is its documentation.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Section(BaseModel):
    """A table of a config file."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class ModelSection(Section):
    """What is trained."""

    path: str = ""
    """Model folder or hub id; the command's --model goes before it."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Type of weights and computation."""
    threads: int = Field(default=0, ge=0)
    """Threads of torch on the CPU, 0 for torch's own choice. A small model is fastest with 1: more threads
    wait for each other, and on a busy machine they all but stand still."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third slower, memory for one layer at a time."""


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


class SFTConfig(Section):
    """``klear train sft``."""

    model: ModelSection = ModelSection()
    optim: OptimSection
    checkpoint: CheckpointSection = CheckpointSection()
    pack_tokens: int = Field(ge=8)
    """Tokens of a packed row, and so of the longest example."""
    rows_per_step: int = Field(ge=1)
    """Packed rows an optimizer step."""
    rows_per_micro_batch: int = Field(default=1, ge=1)
    """Rows in memory at once; the loss is normalised over the whole step, so this changes speed only."""
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


class RolloutSection(Section):
    """How the policy is sampled (one RL step)."""

    prompts_per_step: int = Field(ge=1)
    """Groups wanted for an RL step."""
    n: int = Field(default=8, ge=2)
    """Rollouts a prompt: the group that the advantage is relative to."""
    temperature: float = Field(default=1.0, gt=0)
    """Of sampling; the trainer divides its logits by the same."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Below 1 the policy that samples is no longer the one whose log-probabilities are kept."""
    max_tokens: int = Field(ge=1)
    """Longest response in tokens."""
    batch_size: int = Field(default=128, ge=1)
    """Rollouts written at the same time."""
    refill_rounds: int = Field(default=0, ge=0)
    """Further rounds of sampling while zero-advantage groups leave fewer groups than wanted."""
    drop_truncated: bool = False
    """Overlong filter: rollouts that ran into max_tokens count in the group's mean but train nothing."""


class RewardSection(Section):
    """How rollouts are judged; the same verifiers as ``klear reward-math`` and ``klear reward-code``."""

    scheme: Literal["paper", "official", "binary"] = "paper"
    """From verdict to reward."""
    think: Literal["full", "closing", "none"] = "full"
    """Which think tags are required."""
    jobs: int = Field(default=2, ge=1)
    """Prompts judged at the same time, beside the sampling."""
    code_time_limit_s: float = Field(default=6.0, gt=0)
    """CPU seconds a test of a code problem."""
    max_tests: int | None = Field(default=None, ge=1)
    """At most this many tests of a code problem (the same ones for every rollout); all by default."""
    keep_weak: bool = False
    """Reward code whose tests can only run beside it in one interpreter, where it could forge its verdict."""


class LossSection(Section):
    """GPPO + α·NLL (Eq. 13) and the alternatives."""

    kind: Literal["gppo", "clip_higher", "cispo", "gspo"] = "gppo"
    """Which policy loss."""
    clip_low: float = Field(default=0.2, ge=0, lt=1)
    """ε_low."""
    clip_high: float = Field(default=0.28, ge=0)
    """ε_high."""
    beta_low: float = Field(default=1.0, ge=0)
    """GPPO only: weight of the gradient of tokens below the range whose advantage is negative."""
    beta_high: float = Field(default=1.0, ge=0)
    """GPPO only: weight of the gradient of tokens above the range whose advantage is positive."""
    ratio_cap: float | None = Field(default=None, gt=1)
    """Upper bound of the ratio for negative advantages; none in the paper."""
    nll_weight: float = Field(default=0.1, ge=0)
    """α of the likelihood of correct rollouts."""
    advantage_scale: Literal["std", "none"] = "std"
    """Divide advantages by the group's standard deviation, or not."""
    advantage_baseline: Literal["mean", "leave_one_out"] = "mean"
    """What a reward is compared with."""


class EvalSection(Section):
    """Accuracy on held-out records during RL."""

    every: int = Field(default=0, ge=0)
    """RL steps between evaluations, the first before step 1; 0 for none."""
    max_records: int = Field(default=128, ge=1)
    """Records an evaluation, the first of each ability."""


class RLConfig(Section):
    """``klear train rl``."""

    model: ModelSection = ModelSection()
    optim: OptimSection
    rollout: RolloutSection
    reward: RewardSection = RewardSection()
    loss: LossSection = LossSection()
    evaluation: EvalSection = EvalSection()
    checkpoint: CheckpointSection = CheckpointSection()
    steps: int = Field(ge=1)
    """RL steps: sample, judge, train."""
    prompts_per_minibatch: int = Field(ge=1)
    """Groups an optimizer step; a step with several minibatches is off-policy from the second on."""
    epochs: int = Field(default=1, ge=1)
    """Passes over a step's rollouts. With 2, GPPO and CISPO collapsed in our tests; Clip-Higher held."""
    micro_batch_tokens: int = Field(ge=8)
    """Tokens in memory at once when training; changes speed only."""
    seed: int = 0
    """Of the order of prompts and of every draw."""
    stop_after_bad_steps: int = Field(default=5, ge=1)
    """Optimizer steps in a row with a loss or gradient that is no number before the run ends."""
    save_rollouts_every: int = Field(default=10, ge=0)
    """RL steps between dumps of rollouts to rollouts.jsonl; 0 for none."""
