"""Checkpoints that are whole or absent, and the final model in Hugging Face format."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import torch

from klear_data.errors import UsageError

_NAME = re.compile(r"step_(\d+)")
STATE = "state.pt"


def save_checkpoint(
    folder: Path, *, step: int, model: Any, optimizer: Any, position: dict[str, Any], keep_last: int
) -> Path:
    """Write weights, optimizer, torch's random state and the trainer's position; drop old checkpoints.

    The folder appears under its name only when everything in it is on disk, so a kill at any moment leaves
    the last complete checkpoint.

    Args:
        folder: ``checkpoints/`` of the run.
        step: optimizer steps done.
        model, optimizer: as they are.
        position: whatever else the trainer needs to go on, of plain types.
        keep_last: how many checkpoints stay.
    """
    target, half = folder / f"step_{step:06d}", folder / f".writing_{step:06d}"
    shutil.rmtree(half, ignore_errors=True)
    half.mkdir(parents=True)
    state = {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "position": position,
    }
    with (half / STATE).open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    shutil.rmtree(target, ignore_errors=True)
    half.rename(target)
    for old in checkpoints(folder)[: -max(1, keep_last)]:
        shutil.rmtree(old)
    return target


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = [path for path in folder.glob("step_*") if _NAME.fullmatch(path.name) and (path / STATE).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def load_checkpoint(path: Path, *, model: Any, optimizer: Any) -> tuple[int, dict[str, Any]]:
    """Put a checkpoint's state into model, optimizer and random generators; its step and position.

    Raises:
        UsageError: it is of another model.
    """
    state = torch.load(path / STATE, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
    except (RuntimeError, ValueError) as error:
        raise UsageError(
            f"{path}: the checkpoint is of another model ({str(error).splitlines()[0]}); expected the one this "
            "run began with; give --model as before, or start in a new --out"
        ) from error
    torch.set_rng_state(state["rng"])
    if torch.cuda.is_available() and state["cuda_rng"]:
        torch.cuda.set_rng_state_all(state["cuda_rng"])
    return int(state["step"]), dict(state["position"])


def save_final(folder: Path, model: Any, tokenizer: Any) -> Path:
    """Write model and tokenizer in Hugging Face format, whole or absent."""
    half = folder.with_name(f".writing_{folder.name}")
    shutil.rmtree(half, ignore_errors=True)
    model.save_pretrained(half)
    tokenizer.save_pretrained(half)
    shutil.rmtree(folder, ignore_errors=True)
    half.rename(folder)
    return folder
