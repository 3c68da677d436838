"""Items worked on in order, by this process or by workers.

A worker is a fresh interpreter, so nothing of the caller is forked into it (threads, a GPU's context). It gets its
setup once and then one item after the other over its stdin; when its caller dies, however that may be, stdin ends
and so does the worker. Workers start when this process has worked for a second: small inputs are done before they
would be ready.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from klear_data.errors import CapabilityError

ALONE_S = 1.0
_ROOT = Path(__file__).resolve().parents[1]


def in_order(
    items: Iterable[Any],
    work: Callable[[Any], Any],
    *,
    make: Callable[[Any], Callable[[Any], Any]],
    setup: Any,
    jobs: int,
    what: str,
    alone_s: float = ALONE_S,
) -> Iterator[Any]:
    """What each item comes to, in the order of the items.

    Args:
        items: read a few ahead where there are workers.
        work: what this process does with an item.
        make: makes the same of ``setup`` in a worker; a function of a module.
        setup: sent to each worker once.
        jobs: processes at work; 1 starts no worker.
        what: the command and its option for messages, as in ``klear curate: --jobs``.
        alone_s: CPU seconds of this process before the workers start.

    Raises:
        CapabilityError: a worker was ended from outside.
    """
    following = iter(items)
    began_s = time.process_time()
    for item in following:
        yield work(item)
        if jobs > 1 and time.process_time() - began_s > alone_s:
            with _Workers(jobs, (make, setup), what) as workers:
                yield from workers.map(following)


class _Workers:
    def __init__(self, jobs: int, setup: tuple[Callable[[Any], Any], Any], what: str) -> None:
        search = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        self._jobs, self._what = jobs, what
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="klear-workers")
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._processes = [
            subprocess.Popen(
                # -P: nothing in the folder where klear was started is taken for one of its modules.
                [sys.executable, "-P", "-c", f"from {__name__} import serve; serve()"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": search},
            )
            for _ in range(jobs)
        ]
        for process in self._processes:
            _send(process.stdin, setup)
            self._idle.put(process)

    def __enter__(self) -> _Workers:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:  # first: a thread may wait for a worker that waits for somebody to listen
            process.kill()
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.communicate()

    def map(self, items: Iterable[Any]) -> Iterator[Any]:
        pending: deque[Future[Any]] = deque()
        for item in items:
            pending.append(self._threads.submit(self._ask, item))
            while len(pending) > 2 * self._jobs or (pending and pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _ask(self, item: Any) -> Any:
        process = self._idle.get()
        try:
            _send(process.stdin, item)
            assert process.stdout is not None
            answer = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            command, _, option = self._what.partition(": ")
            raise CapabilityError(
                f"{command}: a worker ended with status {process.wait()}; expected it to live on (out of memory?); "
                f"pass {option} 1, or fewer than {self._jobs}"
            ) from None
        finally:
            self._idle.put(process)
        if isinstance(answer, Exception):
            raise answer
        return answer


def _send(stream: IO[bytes] | None, value: Any) -> None:
    assert stream is not None
    pickle.dump(value, stream, protocol=pickle.HIGHEST_PROTOCOL)
    stream.flush()


def serve() -> None:
    """The worker: its setup first, then item after item until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's business
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    questions = sys.stdin.buffer
    try:
        make, setup = pickle.load(questions)
        work = make(setup)
        while True:
            item = pickle.load(questions)
            try:
                answer = work(item)
            except Exception as error:  # noqa: BLE001  (raised again by the caller)
                answer = error
            _send(answers, answer)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):  # the caller is gone, perhaps within a question
        return
