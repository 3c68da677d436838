"""Sending a run's metrics to a tracker as well; each is an ordinary package that need not be there."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, Protocol

from klear_data.errors import require

Kind = Literal["none", "trackio", "wandb", "tensorboard"]


class Tracker(Protocol):
    """Where numbers go."""

    def log(self, row: dict[str, Any]) -> None:
        """The numbers of a row under its ``step``; what is no finite number is left out."""

    def close(self) -> None:
        """Send what is still on its way."""


def require_tracker(kind: Kind) -> None:
    """Raise CapabilityError with the command that installs it, if a tracker's package is missing."""
    if kind != "none":
        require(kind, extra=kind, needed_by=f"track.to = {kind!r}")


def open_tracker(
    kind: Kind, *, project: str, name: str, config: dict[str, Any], folder: Path, resumed_step: int | None
) -> Tracker | None:
    """Open a tracker, None for ``none``.

    Args:
        kind: which.
        project: the runs it stands among.
        name: of the run.
        config: the run's settings.
        folder: for the files of a tracker that has any.
        resumed_step: the step a run goes on from; what was tracked after it is overwritten where that is possible.

    Raises:
        CapabilityError: its package is missing.
    """
    require_tracker(kind)
    opening: dict[str, Callable[..., Tracker]] = {
        "tensorboard": _tensorboard,
        "wandb": _wandb,
        "trackio": _trackio,
    }
    if kind == "none":
        return None
    return opening[kind](project=project, name=name, config=config, folder=folder, resumed_step=resumed_step)


def numbers(row: dict[str, Any]) -> dict[str, float]:
    """What of a row can be drawn.

    >>> numbers({"step": 3, "loss": 0.5, "grad_norm": float("nan"), "note": "x", "kept": True})
    {'loss': 0.5}
    """
    return {
        key: float(value)
        for key, value in row.items()
        if key != "step" and isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    }


class _Tensorboard:
    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def log(self, row: dict[str, Any]) -> None:
        for key, value in numbers(row).items():
            self._writer.add_scalar(key, value, row["step"])

    def close(self) -> None:
        self._writer.close()


def _tensorboard(*, project: str, name: str, config: dict[str, Any], folder: Path, resumed_step: int | None) -> Tracker:
    from torch.utils.tensorboard import SummaryWriter

    purge = None if resumed_step is None else resumed_step + 1
    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=purge)
    if resumed_step is None:
        writer.add_text("config", "\n".join(f"    {key}: {value}" for key, value in config.items()))
    return _Tensorboard(writer)


class _Run:
    """wandb and trackio, whose calls are alike."""

    def __init__(self, log: Callable[..., Any], finish: Callable[[], Any]) -> None:
        self._log, self._finish = log, finish

    def log(self, row: dict[str, Any]) -> None:
        self._log(numbers(row), step=row["step"])

    def close(self) -> None:
        self._finish()


def _wandb(*, project: str, name: str, config: dict[str, Any], folder: Path, resumed_step: int | None) -> Tracker:
    import wandb

    # One id a run directory: a resumed run goes on in the same run.
    run = wandb.init(project=project, name=name, id=_safe(name), config=config, dir=str(folder), resume="allow")
    return _Run(run.log, run.finish)


def _trackio(*, project: str, name: str, config: dict[str, Any], folder: Path, resumed_step: int | None) -> Tracker:
    import trackio

    trackio.init(project=project, name=name, config=config, resume="allow")
    return _Run(trackio.log, trackio.finish)


def _safe(name: str) -> str:
    return "".join(char if char.isalnum() or char in "-_" else "-" for char in name)
