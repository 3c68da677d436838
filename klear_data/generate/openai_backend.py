"""Sampling from any OpenAI-compatible server (vLLM, SGLang, a hosted one): one chat request a rollout.

A request of its own for each rollout has a seed of its own and fails on its own; servers with a prefix cache read
the prompt once all the same. What goes wrong is told apart:

- the server is *busy or gone* (connection refused, 429, 502, 503): wait, as long as ``Retry-After`` says where it
  does, with exponential back-off and jitter where it does not. The run ends when nothing has succeeded for
  ``patience_s``.
- the request *failed* (another 5xx, a time-out, a broken answer, a connection lost): try again, a few times; then
  the rollout is a :class:`Failure` and the run goes on.
- it *will never work* (401, 403, 404, a request the server does not accept): the run ends with what to do about it.
"""

from __future__ import annotations

import asyncio
import json
import os
import queue
import random
import threading
import time
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import Any

from klear_data.errors import CapabilityError, KlearError, UsageError, require
from klear_data.generate.server_answer import Retry, TooLong, Wait, check_answer, completion_of
from klear_data.generate.types import Completion, Failure, Prompt, Sampled, SamplingParams

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 30.0


@dataclass(frozen=True)
class Server:
    """Where requests go, and how patient we are.

    Attributes:
        base_url: up to and with the ``/v1``.
        concurrency: requests under way at the same time.
        timeout_s: for one request, from sending it to the last byte of its answer.
        retries: further attempts after one that failed.
        patience_s: how long a server may be busy or gone.
    """

    base_url: str
    concurrency: int = 64
    timeout_s: float = 1800.0
    retries: int = 5
    patience_s: float = 300.0


class OpenAIEngine:
    """See :class:`klear_data.generate.types.Engine`. Requests live in a thread with an event loop of its own.

    Args:
        model: the server's name for it.
        params: how to sample.
        server: where, and how patiently.

    Raises:
        UsageError: ``base_url`` is no URL, or the server refuses the key.
        CapabilityError: nobody listens there.
    """

    note: str | None = None

    def __init__(self, model: str, params: SamplingParams, server: Server) -> None:
        self._http = require("httpx2", extra="openai", needed_by="--backend openai")
        if not server.base_url.startswith(("http://", "https://")):
            raise UsageError(
                f"--base-url {server.base_url}: no URL; expected one like http://127.0.0.1:8000/v1; check it"
            )
        self._model, self.params, self._server = model, params, server
        self._url = server.base_url.rstrip("/") + "/chat/completions"
        self._results: queue.Queue[tuple[int, Sampled] | BaseException] = queue.Queue()
        self._waiting = 0
        self._limit = asyncio.Semaphore(server.concurrency)
        self._last_success_s = time.monotonic()  # patience begins with the run
        self._worked_before = False
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="requests", daemon=True)
        self._thread.start()
        key = os.environ.get("OPENAI_API_KEY")
        self._client = self._http.AsyncClient(
            headers={"Authorization": f"Bearer {key}"} if key else {},
            timeout=self._http.Timeout(server.timeout_s, connect=min(10.0, server.timeout_s)),
            limits=self._http.Limits(max_connections=server.concurrency, max_keepalive_connections=server.concurrency),
        )
        try:
            self._run(self._first_contact())
        except BaseException:
            self.close()
            raise

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _first_contact(self) -> None:
        """Find out before any work whether somebody answers; servers without ``/models`` are fine."""
        url = self._server.base_url.rstrip("/") + "/models"
        try:
            answer = await asyncio.wait_for(self._client.get(url), min(30.0, self._server.timeout_s))
        except (self._http.ConnectError, self._http.ConnectTimeout, self._http.UnsupportedProtocol) as error:
            raise CapabilityError(
                f"{self._server.base_url}: no server answers ({error or type(error).__name__}); expected an "
                "OpenAI-compatible one; start it (vllm serve MODEL) or check --base-url"
            ) from None
        except (self._http.HTTPError, TimeoutError):
            return  # it is there, and in trouble: the requests will tell
        except self._http.InvalidURL as error:
            raise UsageError(f"--base-url {self._server.base_url}: {error}; expected a URL; check it") from None
        if answer.status_code in (401, 403):
            check_answer(answer.status_code, answer.text, url=url, model=self._model, worked_before=False)

    def wants_more(self) -> bool:
        return self._waiting < self._server.concurrency + self.params.n

    def submit(self, number: int, prompt: Prompt) -> None:
        self._waiting += self.params.n
        asyncio.run_coroutine_threadsafe(self._start(number, prompt), self._loop)

    async def _start(self, number: int, prompt: Prompt) -> None:
        task = asyncio.create_task(self._all_of(number, prompt))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _all_of(self, number: int, prompt: Prompt) -> None:
        indices = range(prompt.first_index, prompt.first_index + self.params.n)
        try:
            results = await asyncio.gather(*(self._rollout(prompt, index) for index in indices))
        except Exception as error:  # noqa: BLE001  (raised again by step(), in the thread that can tell the user)
            self._results.put(error)
            return
        too_long = all(long for _, long in results)
        completions = [result for result, _ in results if isinstance(result, Completion)]
        failed = [result for result, _ in results if isinstance(result, Failure)]
        self._results.put((number, Sampled(prompt.record_id, [], completions, too_long, failed)))

    async def _rollout(self, prompt: Prompt, index: int) -> tuple[Completion | Failure, bool]:
        """One rollout however long it takes, and whether its prompt is too long."""
        body = self._body(prompt, index)
        attempts, pause_s, busy_since_s = 0, FIRST_PAUSE_S, None
        while True:
            try:
                async with self._limit:
                    answer = await self._ask(body)
                completion = completion_of(answer, index)
                self._last_success_s, self._worked_before = time.monotonic(), True
                return completion, False
            except TooLong:
                if body.pop("max_tokens", None) is None:
                    return Completion(index, "", "length", [], [], 0), True
                continue  # the server then writes as far as its context goes, which is less than was asked for
            except Wait as busy:
                busy_since_s = busy_since_s or time.monotonic()
                if time.monotonic() - busy_since_s > self._server.patience_s:
                    if time.monotonic() - self._last_success_s > self._server.patience_s:
                        raise self._given_up(busy) from None
                    return Failure(index, f"{busy} for {self._server.patience_s:g} s"), False
                pause = busy.after_s
            except Retry as failed:
                attempts, busy_since_s = attempts + 1, None
                if attempts > self._server.retries:
                    return Failure(index, f"{failed} (the last of {attempts} attempts)"), False
                pause = None
            # Jitter: requests that failed together must not come back together.
            await asyncio.sleep(pause if pause is not None else pause_s * random.uniform(0.5, 1.0))
            pause_s = min(2 * pause_s, LONGEST_PAUSE_S, max(self._server.patience_s / 4, FIRST_PAUSE_S))

    def _given_up(self, busy: Wait) -> KlearError:
        return CapabilityError(
            f"{self._server.base_url}: {busy}, and no request succeeded for {self._server.patience_s:g} s; expected a "
            "server that answers; start it again, then run again (with --resume finished records are kept)"
        )

    def _body(self, prompt: Prompt, index: int) -> dict[str, Any]:
        params = self.params
        body: dict[str, Any] = {
            "model": self._model,
            "messages": prompt.messages,
            "temperature": params.temperature,
            "top_p": params.top_p,
            "max_tokens": params.max_tokens,
            "seed": params.seed_of(prompt.record_id, index),
        }
        return {**body, "stop": list(params.stop)} if params.stop else body

    async def _ask(self, body: dict[str, Any]) -> Any:
        """The server's answer as JSON; else one of Wait, Retry, TooLong or a KlearError."""
        http = self._http
        try:
            # The client's own limit is on the silence between two bytes; this one is on the whole.
            async with asyncio.timeout(self._server.timeout_s):
                answer = await self._client.post(self._url, json=body)
        except (http.ConnectError, http.ConnectTimeout, http.PoolTimeout) as error:
            raise Wait(f"no connection ({error or type(error).__name__})") from None
        except (TimeoutError, http.TimeoutException):
            raise Retry(f"no answer within {self._server.timeout_s:g} s") from None
        except http.HTTPError as error:
            raise Retry(f"the connection broke ({error or type(error).__name__})") from None
        if answer.status_code != 200:
            check_answer(
                answer.status_code, answer.text, url=self._url, model=self._model,
                worked_before=self._worked_before, retry_after=answer.headers.get("retry-after"),
            )  # fmt: skip
        try:
            return answer.json()
        except ValueError:
            raise Retry(f"the answer is no JSON: {answer.text[:80]!r}") from None

    def step(self) -> list[tuple[int, Sampled]]:
        results = [self._results.get()]
        while not self._results.empty():
            results.append(self._results.get())
        finished = []
        for result in results:
            if isinstance(result, BaseException):
                raise result
            finished.append(result)
        self._waiting -= self.params.n * len(finished)
        return finished

    def close(self) -> None:
        async def end() -> None:
            for task in list(self._tasks):
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)
            await self._client.aclose()

        if self._loop.is_running():
            self._run(end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()


def shown(messages: list[dict[str, Any]]) -> str:
    """The messages of a request, for a person to read."""
    return json.dumps(messages, ensure_ascii=False, indent=2)
