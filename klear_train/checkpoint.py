"""Checkpoints that are whole or absent: everything that a run needs to go on.

A checkpoint is a folder ``step_000123`` with the shards of weights and optimizer (torch's distributed checkpoint:
any number of processes can read what any other number wrote), each process's random state, and ``position.json``.
It is written under another name and renamed when everything is on disk, so a kill at any moment leaves the last
complete one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import sys
import warnings
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_state_dict,
    set_state_dict,
)
from torch.distributed.checkpoint.state_dict_saver import AsyncSaveResponse

from klear_data.errors import KlearError, UsageError
from klear_train.distributed import World

_NAME = re.compile(r"step_(\d+)")
_HALF = ".writing_"
POSITION = "position.json"
_TRAINED_ONLY = StateDictOptions(ignore_frozen_params=True, strict=False)


class Checkpoints:
    """Writes checkpoints beside the training, one at a time, and removes old ones.

    The tensors are copied before :meth:`save` returns; a thread writes the copies. Leaving the context waits for
    the last one. Every process makes the same calls.
    """

    def __init__(self, folder: Path, world: World, *, keep_last: int, on_error: str = "continue") -> None:
        self.folder, self.world, self.keep_last, self.on_error = folder, world, keep_last, on_error
        self.failed = 0
        self._writing: tuple[Path, Future[Any]] | None = None
        if world.is_main:
            for half in folder.glob(f"{_HALF}*"):  # of a run that was killed
                shutil.rmtree(half, ignore_errors=True)

    def __enter__(self) -> Checkpoints:
        return self

    def __exit__(self, kind: type[BaseException] | None, _: BaseException | None, __: TracebackType | None) -> None:
        self.finish(raising=kind is None)

    def save(self, step: int, *, model: Any, optimizer: Any, position: dict[str, Any]) -> None:
        """Begin to write the state after ``step`` optimizer steps.

        Raises:
            KlearError: the one before could not be written, and ``on_error`` is ``stop``.
        """
        self.finish()
        half = self.folder / f"{_HALF}{step:06d}"
        problem = self.world.once(lambda: _begin(half, step, model, self.world.size, position))
        if problem is None:
            state = _state(model, optimizer) | {"random": {str(self.world.rank): _random_state(self.world.device)}}
            writing = dcp.async_save(state, checkpoint_id=half, process_group=self.world.saving)
            future = writing.upload_completion if isinstance(writing, AsyncSaveResponse) else writing
            self._writing = (half, future)
        else:
            self._report(half, problem)

    def finish(self, *, raising: bool = True) -> None:
        """Wait for what is being written, and give it its name.

        Raises:
            KlearError: it could not be written, and ``on_error`` is ``stop``.
        """
        if self._writing is None:
            return
        (half, future), self._writing = self._writing, None
        failure = future.exception()
        problem = None if failure is None else _reason(failure)
        if not raising:  # something else went wrong; the others may be gone
            if problem is None and self.world.is_main:
                _commit(half, self.keep_last)
            return
        if self.world.sum(float(problem is not None))[0] == 0:
            problem = self.world.once(lambda: _commit(half, self.keep_last))
        if problem is not None or failure is not None:
            self._report(half, problem or "another process could not write its part")

    def poll(self) -> None:
        """Give a checkpoint its name as soon as all processes have written their part; cheap, called every step.

        Raises:
            KlearError: it could not be written, and ``on_error`` is ``stop``.
        """
        if self._writing is None:
            return
        if self.world.sum(float(self._writing[1].done()))[0] == self.world.size:
            self.finish()

    def _report(self, half: Path, problem: str) -> None:
        self.failed += 1
        if self.world.is_main:
            shutil.rmtree(half, ignore_errors=True)
        target = half.with_name(half.name.replace(_HALF, "step_"))
        free_mib = shutil.disk_usage(self.folder).free >> 20
        message = (
            f"{target}: the checkpoint can't be written ({problem}; {free_mib} MiB are free there); expected room on a "
            "writable disk; free some"
        )
        if self.on_error == "stop":
            raise KlearError(f"{message}, then go on with --resume")
        if self.world.is_main:
            print(f"warning: {message}; training goes on (checkpoint.on_error = continue)", file=sys.stderr)


def save_checkpoint(
    folder: Path, *, step: int, model: Any, optimizer: Any, position: dict[str, Any], keep_last: int
) -> Path:
    """Write a checkpoint of a model that one process holds, and wait until it is on disk.

    Args:
        folder: ``checkpoints/`` of the run.
        step: steps done.
        model, optimizer: as they are.
        position: whatever else the trainer needs to go on, of plain types.
        keep_last: how many checkpoints stay.

    Raises:
        UsageError: it can't be written.
    """
    half = folder / f"{_HALF}{step:06d}"
    problem = _begin(half, step, model, 1, position)
    if problem is None:
        try:
            state = _state(model, optimizer) | {"random": {"0": _random_state(_device_of(model))}}
            with _alone():
                dcp.save(state, checkpoint_id=half)
        except (dcp.api.CheckpointException, OSError) as error:
            problem = _reason(error)
    problem = problem or _commit(half, keep_last)
    if problem is not None:
        shutil.rmtree(half, ignore_errors=True)
        raise UsageError(f"{half}: can't be written ({problem}); expected room on a writable disk; free some")
    return folder / f"step_{step:06d}"


def checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = [path for path in folder.glob("step_*") if _NAME.fullmatch(path.name) and (path / POSITION).is_file()]
    return sorted(found, key=lambda path: int(path.name.removeprefix("step_")))


def load_checkpoint(path: Path, *, model: Any, optimizer: Any, rank: int = 0) -> tuple[int, dict[str, Any]]:
    """Put a checkpoint's state into model, optimizer and random generators; its step and position.

    Processes beyond those that wrote it keep the random state that they have.

    Raises:
        UsageError: it is of another model, or can't be read.
    """
    try:
        position = json.loads((path / POSITION).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(
            f"{path}: the checkpoint can't be read ({error}); remove it to go on from the one before"
        ) from error
    if position["parameters"] != _fingerprint(model):
        raise UsageError(
            f"{path}: the checkpoint is of another model (its parameters have other names or shapes); expected the one "
            "this run began with; give --model as before, or start in a new --out"
        )
    device = _device_of(model)
    state = _state(model, optimizer)
    if rank < position["processes"]:
        state["random"] = {str(rank): _random_state(device)}
    try:
        with _alone():
            dcp.load(state, checkpoint_id=path)
    except (dcp.api.CheckpointException, OSError, RuntimeError) as error:
        raise UsageError(
            f"{path}: the checkpoint can't be read ({_reason(error)}); expected files as klear wrote them; remove the "
            "folder to go on from the one before"
        ) from error
    set_state_dict(
        model, optimizer, model_state_dict=state["model"], optim_state_dict=state["optimizer"], options=_TRAINED_ONLY
    )  # fmt: skip
    if "random" in state:
        _set_random_state(state["random"][str(rank)], device)
    return int(position["step"]), dict(position["position"])


def _state(model: Any, optimizer: Any) -> dict[str, Any]:
    """What is trained, once: neither frozen weights nor the second name of tied ones."""
    weights, moments = get_state_dict(model, optimizer, options=_TRAINED_ONLY)
    every = {name for name, _ in model.named_parameters(remove_duplicate=False)}
    trained = {name for name, weight in model.named_parameters() if weight.requires_grad}
    weights = {name: weight for name, weight in weights.items() if name in trained or name not in every}
    return {"model": weights, "optimizer": moments}


@contextmanager
def _alone() -> Iterator[None]:
    """torch warns where there is no group of processes; with one process there need be none."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)
        yield


def _device_of(model: Any) -> torch.device:
    return next(iter(model.parameters())).device  # type: ignore[no-any-return]


def _random_state(device: torch.device) -> dict[str, Tensor]:
    """torch's random state of this process, as tensors."""
    states = {"cpu": torch.get_rng_state()}
    return states | ({"cuda": torch.cuda.get_rng_state(device)} if device.type == "cuda" else {})


def _set_random_state(states: dict[str, Tensor], device: torch.device) -> None:
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda":
        torch.cuda.set_rng_state(states["cuda"], device)


def _begin(half: Path, step: int, model: Any, processes: int, position: dict[str, Any]) -> str | None:
    """Make the folder and write what is no tensor; what went wrong, if anything did."""
    try:
        shutil.rmtree(half, ignore_errors=True)
        half.mkdir(parents=True)
        text = json.dumps(
            {"step": step, "processes": processes, "parameters": _fingerprint(model), "position": position}
        )
        _write(half / POSITION, text.encode())
    except OSError as error:
        return _reason(error)
    return None


def _commit(half: Path, keep_last: int) -> str | None:
    """Rename a complete checkpoint and remove old ones; what went wrong, if anything did."""
    target = half.with_name(half.name.replace(_HALF, "step_"))
    try:
        shutil.rmtree(target, ignore_errors=True)
        half.rename(target)
        _sync_folder(target.parent)
        for old in checkpoints(target.parent)[: -max(1, keep_last)]:
            # Renamed first: a kill halfway through must not leave a folder that looks whole.
            doomed = old.with_name(old.name.replace("step_", _HALF))
            shutil.rmtree(doomed, ignore_errors=True)
            old.rename(doomed)
            shutil.rmtree(doomed)
    except OSError as error:
        return _reason(error)
    return None


def _fingerprint(model: Any) -> str:
    shapes = sorted(f"{name} {tuple(weight.shape)} {weight.requires_grad}" for name, weight in model.named_parameters())
    return hashlib.sha256("\n".join(shapes).encode()).hexdigest()


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(folder: Path) -> None:
    number = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _reason(error: BaseException) -> str:
    """The system's own words, found under torch's."""
    if isinstance(error, dcp.api.CheckpointException) and error.failures:
        error = next(iter(error.failures.values()))[0]
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = str(error).strip().splitlines() or [type(error).__name__]
    # What torch's writer says, a moment later, where the system's own error is lost on the way to rank 0.
    return "it took only part of a file" if "unexpected pos" in lines[0] else lines[0]
