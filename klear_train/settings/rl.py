"""What ``klear train rl`` can be told."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from klear_train.settings.common import CheckpointSection, ModelSection, OptimSection, Section


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
    engine: Literal["transformers", "vllm"] = "transformers"
    """Who samples: klear's own loop over the policy (laptops), or vLLM in the trainer's process."""
    batch_size: int = Field(default=128, ge=1)
    """transformers: rollouts written at the same time."""
    vllm: dict[str, Any] = Field(default_factory=dict)
    """vllm: further arguments of its EngineArgs, such as gpu_memory_utilization, max_model_len, tensor_parallel_size
    or enable_sleep_mode (its memory is given to the trainer between samplings)."""
    probe_limit: float = Field(default=0.05, gt=0)
    """Largest mean difference, in nats a token, between sampler and trainer on a probe after every push of weights;
    beyond it the run stops. Rounding is 1e-5 in float32 and some 1e-2 in bfloat16; stale weights are tenths."""
    refill_rounds: int = Field(default=0, ge=0)
    """Further rounds of sampling while zero-advantage groups leave fewer groups than wanted (dynamic sampling)."""
    drop_truncated: bool = False
    """Overlong filter: rollouts that ran into max_tokens count in the group's mean but train nothing."""
    overlong_buffer: int = Field(default=0, ge=0)
    """Soft overlong penalty (DAPO, Eq. 13): over the last so many tokens before max_tokens the reward falls linearly
    by overlong_penalty; 0 for none."""
    overlong_penalty: float = Field(default=1.0, ge=0)
    """What a response of max_tokens loses under the soft overlong penalty."""


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
    old_logprobs: Literal["auto", "sampler", "trainer"] = "auto"
    """π_old of the ratio: as the sampler gave it, or computed again by the trainer before the step's first update
    (one forward pass more). auto: the sampler's where it samples the policy itself (transformers, one process,
    float32), else the trainer's, as a copy or other kernels round otherwise."""
    mismatch: Literal["none", "truncate", "mask"] = "truncate"
    """Where the trainer's π_old differs from what was sampled from: weight by min(π_old/π_sampler, mismatch_cap)
    (truncated importance sampling), leave out what lies outside [mismatch_floor, mismatch_cap], or nothing. Without
    effect where the sampler's own log-probabilities are π_old."""
    mismatch_level: Literal["token", "sequence", "geometric"] = "token"
    """What a weight belongs to: a token, a response, or a response by its tokens' geometric mean."""
    mismatch_cap: float = Field(default=2.0, ge=1)
    """Largest importance weight between sampler and trainer."""
    mismatch_floor: float = Field(default=0.5, ge=0, le=1)
    """mask: smaller weights count as 0 too."""
    kl_weight: float = Field(default=0.0, ge=0)
    """Weight of KL(π‖reference) in the loss; the reference is the model that the run began with. 0, as in the paper,
    keeps no reference in memory."""
    kl_estimator: Literal["k2", "k3"] = "k2"
    """How the KL is estimated from the sampled tokens: k2 has the gradient of KL(π‖reference), k3 is GRPO's."""
    advantage_scale: Literal["std", "none"] = "std"
    """Divide advantages by the group's standard deviation, or not."""
    advantage_baseline: Literal["mean", "leave_one_out"] = "mean"
    """What a reward is compared with."""


class EvalSection(Section):
    """Accuracy on held-out records during RL."""

    every: int = Field(default=0, ge=0)
    """RL steps between evaluations, the first before step 1; 0 for none."""
    n: int = Field(default=1, ge=1)
    """Rollouts a record: avg@n."""
    temperature: float = Field(default=1.0, ge=0)
    """Of sampling."""
    top_p: float = Field(default=1.0, gt=0, le=1)
    """Of sampling."""
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
    """Optimizer steps in a row with a loss or gradient that is no number (each is skipped) before the run ends."""
    stop_after_unscored_steps: int = Field(default=3, ge=1)
    """RL steps in a row in which the verifiers failed on more than half of the rollouts before the run ends."""
    save_rollouts_every: int = Field(default=10, ge=0)
    """RL steps between dumps of rollouts to rollouts.jsonl; 0 for none."""
