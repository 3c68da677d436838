"""Batches prepared in order, by this process or by workers.

A worker is a fresh interpreter, so nothing of the caller is forked into it. It gets the options once and then one
batch after the other over its stdin; when its caller dies, however that may be, stdin ends and so does the worker.
Workers start when this process has worked for a second: small inputs are done before they would be ready.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import IO, Any

from klear_data.contamination import Detector
from klear_data.curation.options import CurateOptions
from klear_data.curation.prepare import MakeDetector, Prepared, Preparer
from klear_data.errors import CapabilityError
from klear_data.jsonl import Batch

ALONE_S = 1.0
_ROOT = Path(__file__).resolve().parents[2]


def prepare_all(
    batches: Iterable[Batch],
    options: CurateOptions,
    *,
    detector: Detector | None,
    make_detector: MakeDetector | None,
    jobs: int,
    alone_s: float = ALONE_S,
) -> Iterator[Prepared]:
    """What each batch comes to, in order.

    Args:
        batches: of the input; read a few ahead where there are workers.
        options: what to do.
        detector: for this process.
        make_detector: builds it in a worker.
        jobs: processes at work; 1 starts no worker.
        alone_s: CPU seconds of this process before the workers start.

    Raises:
        CapabilityError: a worker was ended from outside.
    """
    prepare = Preparer(options, detector)
    following = iter(batches)
    began_s = time.process_time()
    for batch in following:
        yield prepare(batch)
        if jobs > 1 and time.process_time() - began_s > alone_s:
            with _Workers(jobs, (options, make_detector)) as workers:
                yield from workers.prepare(following)


class _Workers:
    def __init__(self, jobs: int, setup: tuple[CurateOptions, MakeDetector | None]) -> None:
        search = os.pathsep.join(filter(None, [str(_ROOT), os.environ.get("PYTHONPATH")]))
        self._jobs = jobs
        self._threads = ThreadPoolExecutor(jobs, thread_name_prefix="klear-curate")
        self._idle: SimpleQueue[subprocess.Popen[bytes]] = SimpleQueue()
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-c", f"from {__name__} import serve; serve()"],
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
        self._threads.shutdown(cancel_futures=True)
        for process in self._processes:
            process.kill()
            process.communicate()

    def prepare(self, batches: Iterable[Batch]) -> Iterator[Prepared]:
        pending: deque[Future[Prepared]] = deque()
        for batch in batches:
            pending.append(self._threads.submit(self._ask, batch))
            while len(pending) > 2 * self._jobs or (pending and pending[0].done()):
                yield pending.popleft().result()
        while pending:
            yield pending.popleft().result()

    def _ask(self, batch: Batch) -> Prepared:
        process = self._idle.get()
        try:
            _send(process.stdin, batch)
            assert process.stdout is not None
            answer = pickle.load(process.stdout)
        except (EOFError, BrokenPipeError, pickle.UnpicklingError):
            raise CapabilityError(
                f"klear curate: a worker ended with status {process.wait()}; expected it to live on (out of memory?); "
                f"pass --jobs 1, or fewer than {self._jobs}"
            ) from None
        finally:
            self._idle.put(process)
        if isinstance(answer, Exception):
            raise answer
        result: Prepared = answer
        return result


def _send(stream: IO[bytes] | None, value: Any) -> None:
    assert stream is not None
    pickle.dump(value, stream, protocol=pickle.HIGHEST_PROTOCOL)
    stream.flush()


def serve() -> None:
    """The worker: options first, then batch after batch until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the caller's business
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    questions = sys.stdin.buffer
    try:
        options, make_detector = pickle.load(questions)
        prepare = Preparer(options, None if make_detector is None else make_detector())
        while True:
            batch = pickle.load(questions)
            try:
                answer: Prepared | Exception = prepare(batch)
            except Exception as error:  # noqa: BLE001  (raised again by the caller)
                answer = error
            _send(answers, answer)
    except (EOFError, BrokenPipeError, pickle.UnpicklingError):  # the caller is gone, perhaps within a question
        return
