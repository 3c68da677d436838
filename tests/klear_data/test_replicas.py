"""Copies of an engine in processes of their own: the work of one, dealt out."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from dataclasses import replace
from functools import partial
from typing import Any

import pytest

pytest.importorskip("httpx2")

from cli.engines import Settings, _shares
from klear_data.errors import CapabilityError, UsageError
from klear_data.generate.drive import drive
from klear_data.generate.openai_backend import OpenAIEngine, Server
from klear_data.generate.replicas import AHEAD, Replicas
from klear_data.generate.types import Prompt, Sampled, SamplingParams
from tests.klear_data.api_server import ApiServer, serving

PARAMS = SamplingParams(n=2, max_tokens=50, seed=1)


def prompts(count: int, size: int = 1) -> list[Prompt]:
    return [Prompt(f"id-{at}", [{"role": "user", "content": f"{at}" + " please" * size}]) for at in range(count)]


def opened(url: str, copies: int = 2, **how: Any) -> Replicas:
    open_one = partial(OpenAIEngine, "m", PARAMS, Server(url, **{"concurrency": 4, **how}))
    return Replicas(open_one, PARAMS, [{"OPENAI_API_KEY": f"copy {at}"} for at in range(copies)])


def run(engine: Any, asked: list[Prompt]) -> list[Sampled]:
    try:
        return [sampled for _, sampled in drive(engine, asked, window=1000)]
    finally:
        engine.close()


def test_copies_share_the_work_and_give_what_one_gives() -> None:
    with serving(ApiServer(delay_s=0.01)) as server:
        alone = run(OpenAIEngine("m", PARAMS, Server(server.url)), prompts(200))
        server.headers.clear()
        assert run(opened(server.url), prompts(200)) == alone
    keys = Counter({name.lower(): value for name, value in one.items()}["authorization"] for one in server.headers)
    assert keys.keys() == {"Bearer copy 0", "Bearer copy 1"}
    assert min(keys.values()) > 100  # of 400: neither did nearly all
    assert not multiprocessing.active_children()


def test_a_few_prompts_go_to_all_copies_alike() -> None:
    with serving(ApiServer(delay_s=1.0)) as server:  # none is done before all are dealt out
        run(opened(server.url), prompts(4))
    keys = Counter({name.lower(): value for name, value in one.items()}["authorization"] for one in server.headers)
    assert keys == {"Bearer copy 0": 4, "Bearer copy 1": 4}


def test_settings_may_change_between_two_rounds() -> None:
    with serving(ApiServer()) as server:
        engine = opened(server.url)
        first = [sampled for _, sampled in drive(engine, prompts(3))]
        engine.params = replace(PARAMS, n=3, seed=2)
        second = run(engine, prompts(3))
    assert ([len(one.completions) for one in first], [len(one.completions) for one in second]) == ([2] * 3, [3] * 3)
    assert {one["seed"] for one in server.seen[6:]} == {
        engine.params.seed_of(f"id-{at}", n) for at in range(3) for n in range(3)
    }


def test_prompts_larger_than_a_pipe_do_not_block() -> None:
    asked = prompts(3 * AHEAD, size=20_000)
    with serving(ApiServer(message=lambda request: {"content": request["messages"][0]["content"]})) as server:
        results = run(opened(server.url), asked)
    assert [one.completions[1].text for one in results] == [prompt.messages[0]["content"] for prompt in asked]


def test_a_copy_that_dies_ends_the_run_with_what_to_do() -> None:
    with serving(ApiServer(delay_s=0.01)) as server:
        engine = opened(server.url)
        results = drive(engine, prompts(4000))
        next(results)
        process = engine._copies[1].process
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        with pytest.raises(CapabilityError, match=r"a copy of the model ended \(exit code -9\).*--resume"):
            list(results)
        engine.close()
    assert not multiprocessing.active_children()


def test_what_keeps_a_copy_from_opening_is_said_and_none_is_left() -> None:
    with pytest.raises(CapabilityError, match="no server answers"):
        opened("http://127.0.0.1:1/v1")
    assert not multiprocessing.active_children()


def test_what_goes_wrong_in_a_copy_is_said_as_if_there_were_one() -> None:
    with serving(ApiServer(behaviour=lambda *_: (404, {}, b"no such model"))) as server:
        with pytest.raises(UsageError, match="HTTP 404: no such model"):
            run(opened(server.url), prompts(10))


def test_copies_end_when_their_parent_is_killed() -> None:
    with serving(ApiServer(delay_s=0.01)) as server:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            engine = opened(server.url)
            os.write(write, " ".join(str(copy.process.pid) for copy in engine._copies).encode())
            list(drive(engine, prompts(100_000)))
            os._exit(0)
        copies = [int(one) for one in os.read(read, 100).split()]
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        until_s = time.monotonic() + 20
        while any(os.path.exists(f"/proc/{one}") and not _is_zombie(one) for one in copies):
            assert time.monotonic() < until_s
            time.sleep(0.05)


def _is_zombie(pid: int) -> bool:
    """Ended; in a container nobody may have collected it."""
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rpartition(")")[2].split()[0] == "Z"


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, [{"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "2,3"}]),
        (
            {"CUDA_VISIBLE_DEVICES": "7,5,3,1", "VLLM_CPU_OMP_THREADS_BIND": "0|1|2-3|4"},
            [
                {"CUDA_VISIBLE_DEVICES": "7,5", "VLLM_CPU_OMP_THREADS_BIND": "0|1"},
                {"CUDA_VISIBLE_DEVICES": "3,1", "VLLM_CPU_OMP_THREADS_BIND": "2-3|4"},
            ],
        ),
        ({"CUDA_VISIBLE_DEVICES": "0,1"}, None),
        ({"VLLM_CPU_OMP_THREADS_BIND": "0|1"}, None),
        ({"VLLM_CPU_OMP_THREADS_BIND": "auto"}, [{"CUDA_VISIBLE_DEVICES": "0,1"}, {"CUDA_VISIBLE_DEVICES": "2,3"}]),
    ],
)
def test_each_copy_has_devices_of_its_own(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], expected: list[dict[str, str]] | None
) -> None:
    for name in ("CUDA_VISIBLE_DEVICES", "VLLM_CPU_OMP_THREADS_BIND"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    settings = Settings("m", "vllm", PARAMS, data_parallel=2, tensor_parallel=2)
    if expected is None:
        with pytest.raises(UsageError, match="names 2; expected 4 for --data-parallel 2 and --tensor-parallel 2"):
            _shares(settings)
    else:
        assert _shares(settings) == expected
