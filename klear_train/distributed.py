"""The processes of a run: one, or those that ``torchrun`` started.

With one process there is a group of one, so that everything after this has a single way to go.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from klear_data.errors import KlearError

Result = TypeVar("Result")

PATIENCE = timedelta(days=2)
"""How long the others wait while rank 0 prepares something (tokenising takes hours). A rank that died ends the
wait at once, as its connection closes."""


@dataclass(frozen=True)
class World:
    """This process among those of the run.

    Attributes:
        rank: its number, from 0.
        size: how many there are.
        device: where its tensors live.
        mesh: all processes in one dimension, for sharding.
        control: a group over CPUs for small messages.
        saving: one more, for the thread that writes checkpoints beside the training.
    """

    rank: int
    size: int
    device: torch.device
    mesh: Any
    control: Any
    saving: Any

    @property
    def is_main(self) -> bool:
        return self.rank == 0

    def sum(self, *values: float) -> list[float]:
        """Each value summed over the processes, in float64; the same numbers on all of them."""
        if self.size == 1:
            return [float(value) for value in values]
        total = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(total, group=self.control)
        return list(total.tolist())

    def barrier(self) -> None:
        """Wait for the others."""
        self.sum(0.0)

    def once(self, do: Callable[[], Result]) -> Result:
        """What ``do`` returns on rank 0, handed to all; the others wait meanwhile.

        Raises:
            Exception: on rank 0, whatever ``do`` raised.
            SystemExit: on the others, silently, since rank 0 says what went wrong.
        """
        if self.size == 1:
            return do()
        message: list[Any] = [None]
        if self.is_main:
            try:
                message = [(do(), None)]
            except BaseException as error:
                code = error.exit_code if isinstance(error, KlearError) else 1
                dist.broadcast_object_list([(None, code)], src=0, group=self.control)
                raise
        dist.broadcast_object_list(message, src=0, group=self.control)
        result, code = message[0]
        if code is not None:
            raise SystemExit(code)
        return result  # type: ignore[no-any-return]


@contextmanager
def start() -> Iterator[World]:
    """Join the other processes of the run; leave them at the end.

    Under ``torchrun`` the environment says who they are; without it the process is alone. Tensors go to this
    process's GPU (``LOCAL_RANK``) where there is one. A group that the caller made before is used and kept.
    """
    if torch.cuda.is_available():
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    else:
        device = torch.device("cpu")
    ours = not dist.is_initialized()
    if ours:
        backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
        if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
            dist.init_process_group(backend)
        else:
            dist.init_process_group(backend, store=dist.HashStore(), rank=0, world_size=1)
    world = World(
        rank=dist.get_rank(),
        size=dist.get_world_size(),
        device=device,
        mesh=dist.init_device_mesh(device.type, (dist.get_world_size(),)),
        control=dist.new_group(backend="gloo", timeout=PATIENCE),
        saving=dist.new_group(backend="gloo", timeout=PATIENCE),
    )
    try:
        yield world
    except BaseException:
        ours = ours and world.size == 1  # taking leave of processes that may be gone could wait for them
        raise
    finally:
        if ours and dist.is_initialized():  # vLLM in this process takes it down with its own
            dist.destroy_process_group()


def whole(value: Any) -> float:
    """A number that may be spread over the processes (a norm of shards), as a float."""
    return float(value.full_tensor() if hasattr(value, "full_tensor") else value)
