"""Data parallelism: copies of an engine, each in a process of its own.

vLLM runs no two copies in one process (its own example starts a process for each and deals the prompts out
beforehand). Here a prompt goes to the copy that has least to do, when one wants more; what a rollout draws does not
depend on where it is written.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Any

from klear_data.errors import CapabilityError, KlearError
from klear_data.generate.types import Engine, Prompt, Sampled, SamplingParams

AHEAD = 64
"""Prompts sent to a copy that it has not yet told of."""

_PATIENCE_S = 30.0


@dataclass(frozen=True)
class _State:
    """What a copy tells: prompts received so far, whether it wants more, what it has finished since."""

    received: int
    wants_more: bool
    finished: list[tuple[int, Sampled]]
    note: str | None = None


@dataclass
class _Copy:
    """The parent's side of a copy."""

    process: BaseProcess
    connection: Connection
    sent: int = 0
    received: int = 0
    unfinished: int = 0
    wants_more: bool = True

    def wants(self) -> bool:
        return self.wants_more and self.sent - self.received < AHEAD


class Replicas:
    """See :class:`klear_data.generate.types.Engine`.

    Args:
        open_one: opens an engine; can be pickled.
        params: how to sample.
        environments: a copy for each: variables that are set before it imports anything heavy.

    Raises:
        KlearError: a copy can't be opened.
    """

    note: str | None = None

    def __init__(
        self, open_one: Callable[[], Engine], params: SamplingParams, environments: Sequence[Mapping[str, str]]
    ) -> None:
        self.params = params
        context = multiprocessing.get_context("spawn")  # a fork would share what the engines' libraries opened
        self._copies: list[_Copy] = []
        self._messages: queue.Queue[tuple[_Copy, _State | KlearError | None]] = queue.Queue()
        try:
            for environment in environments:
                ours, theirs = context.Pipe()
                process = context.Process(target=_work, args=(theirs, open_one, dict(environment)))
                process.start()
                theirs.close()
                self._copies.append(_Copy(process, ours))
                # Read at once: a copy and its parent that both wait to be read would wait for ever.
                threading.Thread(target=self._listen, args=(self._copies[-1],), daemon=True).start()
            for _ in self._copies:
                self._take(*self._messages.get())
        except BaseException:
            self.close()
            raise

    def _listen(self, copy: _Copy) -> None:
        try:
            while True:
                self._messages.put((copy, copy.connection.recv()))
        except (EOFError, OSError):
            self._messages.put((copy, None))

    def _take(self, copy: _Copy, message: _State | KlearError | None) -> list[tuple[int, Sampled]]:
        if isinstance(message, KlearError):
            raise message
        if message is None:
            copy.process.join(_PATIENCE_S)
            raise CapabilityError(
                f"a copy of the model ended (exit code {copy.process.exitcode}); expected it to live as long as the "
                "run; see its lines above, then run again (with --resume finished records are kept)"
            )
        copy.received, copy.wants_more = message.received, message.wants_more
        copy.unfinished -= len(message.finished)
        self.note = message.note or self.note
        return message.finished

    def wants_more(self) -> bool:
        return any(copy.wants() for copy in self._copies)

    def submit(self, number: int, prompt: Prompt) -> None:
        copy = min((copy for copy in self._copies if copy.wants()), key=lambda copy: copy.unfinished)
        copy.sent += 1
        copy.unfinished += 1
        try:
            copy.connection.send((number, prompt, self.params))
        except OSError:
            pass  # it has ended: step() says so

    def step(self) -> list[tuple[int, Sampled]]:
        finished = self._take(*self._messages.get())
        while not self._messages.empty():
            finished += self._take(*self._messages.get())
        return finished

    def close(self) -> None:
        for copy in self._copies:
            try:
                copy.connection.send(None)
            except OSError:
                pass  # it has ended
        for copy in self._copies:
            copy.process.join(_PATIENCE_S)
            if copy.process.exitcode is None:
                copy.process.kill()
                copy.process.join()


def _work(connection: Connection, open_one: Callable[[], Engine], environment: dict[str, str]) -> None:
    """A copy's process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which lets us finish
    os.environ.update(environment)
    os.dup2(2, 1)  # what libraries print must not stand between records
    try:
        with closing(open_one()) as engine:
            _serve(connection, engine)
    except KlearError as error:
        connection.send(error)
    except (EOFError, BrokenPipeError):
        pass  # the parent is gone


def _serve(connection: Connection, engine: Engine) -> None:
    received = unfinished = 0
    told = _State(0, engine.wants_more(), [], engine.note)
    connection.send(told)
    while True:
        while connection.poll(0 if unfinished else None):  # with nothing to do, wait for a prompt
            item: Any = connection.recv()
            if item is None:
                return
            number, prompt, engine.params = item
            engine.submit(number, prompt)
            received += 1
            unfinished += 1
        finished = engine.step()
        unfinished -= len(finished)
        state = _State(received, engine.wants_more(), finished)
        if finished or (state.received, state.wants_more) != (told.received, told.wants_more):
            connection.send(state)
            told = state
