"""Settings of the trainers: TOML files read into frozen models that refuse what they do not know.

The text under each field is its documentation (``klear train sft --help-config`` and the docs show it).
"""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from klear_data.errors import UsageError

Kind = Literal["sft", "rl"]


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


CONFIGS: dict[Kind, type[Section]] = {"sft": SFTConfig, "rl": RLConfig}
ConfigT = TypeVar("ConfigT", SFTConfig, RLConfig)


def load_config(
    kind: Kind, *, recipe: str | None = None, path: str | Path | None = None, overrides: Sequence[str] = ()
) -> Any:
    """The config of a trainer: a recipe or a file (or both, the file's values going first), then overrides.

    Args:
        kind: ``sft`` or ``rl``.
        recipe: name of a shipped recipe.
        path: a TOML file.
        overrides: ``a.b=value`` in TOML's notation; what is no TOML value is a string.

    Returns:
        An :class:`SFTConfig` or :class:`RLConfig`.

    Raises:
        UsageError: no such recipe or file, no TOML, an unknown key, a value out of range.
    """
    values: dict[str, Any] = {}
    if recipe is not None:
        values = _merged(values, _read(_recipe_text(kind, recipe), f"recipe {recipe}"))
    if path is not None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: can't be read ({error}); expected a TOML file; check --config") from error
        values = _merged(values, _read(text, str(path)))
    for override in overrides:
        values = _merged(values, _override(override))
    where = str(path) if path is not None else f"recipe {recipe}" if recipe is not None else "config"
    try:
        return CONFIGS[kind].model_validate(values)
    except ValidationError as error:
        raise UsageError(_explain(error, CONFIGS[kind], where)) from error


def recipe_names(kind: Kind | None = None) -> list[str]:
    """Shipped recipes, of one trainer or of both."""
    folder = resources.files("klear_train") / "recipes"
    names = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return [name for name in names if kind is None or _kind_of(name) == kind]


def to_toml(config: Section) -> str:
    """The resolved config as TOML; reads back to an equal config."""
    lines: list[str] = []
    _write_table(config.model_dump(), "", lines)
    return "\n".join(lines).strip() + "\n"


def _kind_of(recipe: str) -> Kind:
    return "sft" if recipe.endswith("sft") else "rl"


def _recipe_text(kind: Kind, recipe: str) -> str:
    known = recipe_names(kind)
    if recipe not in known:
        other = f"; {recipe} is for `klear train {_kind_of(recipe)}`" if recipe in recipe_names() else ""
        raise UsageError(
            f"--recipe {recipe}: no such recipe for `klear train {kind}`{other}; expected one of {', '.join(known)}"
        )
    return (resources.files("klear_train") / "recipes" / f"{recipe}.toml").read_text(encoding="utf-8")


def _read(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{where}: no TOML ({error}); expected `key = value` lines and [tables]; mend that line"
        ) from error


def _override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UsageError(f"--set {text}: no assignment; expected a.b=value; for example --set optim.lr=1e-5")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for part in reversed(parts):
        parsed = {part: parsed}
    return dict(parsed)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _explain(error: ValidationError, model: type[Section], where: str) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    dotted = ".".join(location)
    if first["type"] == "extra_forbidden":
        table: Any = model
        for part in location[:-1]:
            table = table.model_fields[part].annotation
        known = list(table.model_fields)
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {'.'.join([*location[:-1], near[0]])!r}?" if near else "remove it"
        return f"{where}: unknown key {dotted!r}; expected one of {', '.join(known)}; {hint}"
    if first["type"] == "missing":
        return f"{where}: the key {dotted!r} is missing; expected a value; set it with --set {dotted}=…"
    return f"{where}: {dotted} = {first['input']!r} won't do ({first['msg']}); mend it or use --set {dotted}=…"


def _write_table(table: dict[str, Any], name: str, lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if name and plain:
        lines += ["", f"[{name}]"]
    lines += [f"{key} = {_toml_value(value)}" for key, value in plain.items() if value is not None]
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(value, f"{name}.{key}" if name else key, lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON string is a TOML string but for this one character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
