"""Sampling over HTTP from a server that is sometimes busy, broken, slow or gone."""

from __future__ import annotations

import threading
import time
from email.utils import formatdate
from typing import Any

import pytest

pytest.importorskip("httpx2")

from klear_data.errors import CapabilityError, KlearError, UsageError
from klear_data.generate import openai_backend
from klear_data.generate.drive import drive
from klear_data.generate.openai_backend import OpenAIEngine, Server
from klear_data.generate.types import Prompt, Sampled, SamplingParams
from tests.klear_data.api_server import ApiServer, serving

PARAMS = SamplingParams(n=2, max_tokens=50, seed=1)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openai_backend, "FIRST_PAUSE_S", 0.02)


def prompts(count: int) -> list[Prompt]:
    return [Prompt(f"id-{at}", [{"role": "user", "content": f"question {at}"}]) for at in range(count)]


def ask(
    server: ApiServer, count: int = 3, params: SamplingParams = PARAMS, window: int | None = 100, **how: Any
) -> list[Sampled]:
    how = {"timeout_s": 5.0, "retries": 3, "patience_s": 5.0, **how}
    engine = OpenAIEngine("m", params, Server(server.url, **how))
    try:
        return [sampled for _, sampled in drive(engine, prompts(count), window=window)]
    finally:
        engine.close()


def texts(results: list[Sampled]) -> list[list[str]]:
    return [[completion.text for completion in one.completions] for one in results]


def undisturbed(count: int = 3, **how: Any) -> list[list[str]]:
    with serving(ApiServer()) as server:
        return texts(ask(server, count, **how))


def test_each_rollout_is_a_request_with_its_own_seed_and_comes_in_order() -> None:
    params = SamplingParams(n=3, temperature=0.7, top_p=0.9, max_tokens=50, seed=1, stop=("END",))
    with serving(ApiServer()) as server:
        results = ask(server, 20, params)
    assert [one.record_id for one in results] == [f"id-{at}" for at in range(20)]
    assert [[c.index for c in one.completions] for one in results] == [[0, 1, 2]] * 20
    assert len({request["seed"] for request in server.seen}) == len(server.seen) == 60
    sent = next(r for r in server.seen if r["seed"] == params.seed_of("id-4", 2))
    assert sent == {
        "model": "m", "messages": [{"role": "user", "content": "question 4"}], "temperature": 0.7, "top_p": 0.9,
        "max_tokens": 50, "seed": params.seed_of("id-4", 2), "stop": ["END"],
    }  # fmt: skip
    assert results[4].completions[2].text == f"question 4 \\boxed{{{sent['seed'] % 1000}}}"
    assert results[4].completions[2].as_rollout()["num_tokens"] == 7


def test_tokens_are_counted_by_the_server_even_where_nothing_can_be_seen() -> None:
    with serving(ApiServer(message=lambda _: {"content": ""})) as server:
        assert {c.as_rollout()["num_tokens"] for c in ask(server, 1)[0].completions} == {7}
    uncounted = (200, {}, b'{"choices": [{"message": {"content": "a"}, "finish_reason": "stop"}]}')
    with serving(ApiServer(behaviour=lambda *_: uncounted)) as server:
        assert {c.as_rollout()["num_tokens"] for c in ask(server, 1)[0].completions} == {None}


def test_no_more_requests_are_under_way_than_allowed() -> None:
    with serving(ApiServer(delay_s=0.01)) as server:
        ask(server, 30, concurrency=4)
    assert 2 <= server.most_at_once <= 4


def test_the_key_of_the_environment_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(ApiServer()) as server:
        monkeypatch.setenv("OPENAI_API_KEY", "k-1")
        ask(server, 1)
        monkeypatch.delenv("OPENAI_API_KEY")
        ask(server, 1)
    keys = [{name.lower(): value for name, value in headers.items()}.get("authorization") for headers in server.headers]
    assert keys == ["Bearer k-1", "Bearer k-1", None, None]


@pytest.mark.parametrize("key", ["reasoning_content", "reasoning"])
def test_split_reasoning_goes_back_between_the_tags(key: str) -> None:
    for content in ("\n\n4", "4", " 4"):
        with serving(ApiServer(message=lambda _, content=content: {key: "\nhm\n", "content": content})) as server:
            assert texts(ask(server, 1)) == [["<think>\nhm\n</think>\n\n4"] * 2]
    with serving(ApiServer(message=lambda _: {key: "hm", "content": None})) as server:
        assert texts(ask(server, 1)) == [["<think>\nhm\n"] * 2]


@pytest.mark.parametrize(
    "trouble",
    [
        (500, {}, b"boom"), (429, {"retry-after": "0.05"}, b"slow down"), (429, {}, b""), (503, {}, b"loading"),
        (200, {}, b'{"choices": [{"mess'), (200, {}, b'{"choices": []}'), (200, {}, b"[1]"), (0, {}, b""),
    ],
)  # fmt: skip
def test_trouble_that_passes_leaves_no_trace(trouble: Any) -> None:
    with serving(ApiServer(behaviour=lambda _, earlier: trouble if earlier < 2 else None)) as server:
        results = ask(server)
    assert texts(results) == undisturbed()
    assert not any(one.failed for one in results)
    assert len(server.seen) == 18  # each of the six asked three times


@pytest.mark.parametrize("status", [429, 502, 503, 529])
def test_a_busy_server_is_waited_for_and_costs_no_attempt(status: int) -> None:
    with serving(ApiServer(behaviour=lambda _, earlier: (status, {}, b"") if earlier < 3 else None)) as server:
        assert texts(ask(server, 1, retries=0)) == undisturbed(1)


def test_retry_after_is_obeyed_in_seconds_and_as_a_date() -> None:
    times: list[float] = []

    def busy_twice(request: Any, earlier: int) -> Any:
        times.append(time.monotonic())
        after = ("1", formatdate(time.time() + 2, usegmt=True))[min(earlier, 1)]
        return (429, {"retry-after": after}, b"") if earlier < 2 else None

    with serving(ApiServer(behaviour=busy_twice)) as server:
        ask(server, 1, SamplingParams(n=1))
    assert times[1] - times[0] >= 0.95
    assert times[2] - times[1] >= 0.9  # a date has whole seconds: between one and two are left


def test_a_hanging_request_is_cut_and_tried_again() -> None:
    def hang_once(request: Any, earlier: int) -> None:
        if earlier == 0:
            time.sleep(1.0)

    with serving(ApiServer(behaviour=hang_once)) as server:
        assert texts(ask(server, timeout_s=0.3)) == undisturbed()


def test_an_answer_that_comes_drop_by_drop_is_cut_too() -> None:
    with serving(ApiServer(drip_s=0.05)) as server:  # about 100 bytes: never silent for long, and never done
        results = ask(server, 1, SamplingParams(n=1), timeout_s=0.6, retries=0)
    (failure,) = results[0].failed
    assert failure.reason == "no answer within 0.6 s (the last of 1 attempts)"


def test_a_rollout_that_fails_for_good_is_kept_apart_with_its_reason() -> None:
    bad_seed = PARAMS.seed_of("id-1", 0)

    def poison(request: Any, _: int) -> Any:
        return (500, {}, b"CUDA error") if request["seed"] == bad_seed else None

    with serving(ApiServer(behaviour=poison)) as server:
        results = ask(server)
    assert [[c.index for c in one.completions] for one in results] == [[0, 1], [1], [0, 1]]
    (failure,) = results[1].failed
    assert (failure.index, failure.reason) == (0, "HTTP 500: CUDA error (the last of 4 attempts)")
    assert failure.as_entry()["finish_reason"] == "error"


def test_a_server_that_dies_for_a_while_costs_nothing() -> None:
    server = ApiServer(delay_s=0.02)
    results: list[list[Sampled]] = []
    with serving(server):
        run = threading.Thread(target=lambda: results.append(ask(server, 40, concurrency=4)))
        run.start()
        while len(server.seen) < 10:
            time.sleep(0.005)
    time.sleep(1.0)  # nobody listens on the port
    with serving(server):
        run.join(timeout=60)
    assert texts(results[0]) == undisturbed(40)
    assert not any(one.failed for one in results[0])


def test_a_server_that_never_comes_back_ends_the_run() -> None:
    server = ApiServer(delay_s=0.02)
    raised: list[BaseException] = []

    def run() -> None:
        try:
            ask(server, 4000, concurrency=4, patience_s=0.5)
        except KlearError as error:
            raised.append(error)

    with serving(server):
        thread = threading.Thread(target=run)
        thread.start()
        while len(server.seen) < 10:
            time.sleep(0.005)
    thread.join(timeout=30)
    assert isinstance(raised[0], CapabilityError)
    assert "no request succeeded for 0.5 s" in str(raised[0])
    assert "--resume" in str(raised[0])


def test_nobody_there_is_said_before_any_work() -> None:
    with serving(ApiServer()) as server:
        pass
    with pytest.raises(CapabilityError, match="no server answers"):
        ask(server)
    with pytest.raises(UsageError, match="no URL; expected one like http"):
        OpenAIEngine("m", PARAMS, Server("localhost:8000"))


def test_a_wrong_path_ends_the_run_with_what_to_check() -> None:
    with serving(ApiServer()) as server:
        engine = OpenAIEngine("m", PARAMS, Server(server.url.removesuffix("/v1")))
        with pytest.raises(UsageError, match=r"HTTP 404.*check --base-url"):
            list(drive(engine, prompts(3)))
        engine.close()
    assert not server.seen


@pytest.mark.parametrize(("status", "said"), [(401, "OPENAI_API_KEY"), (400, "check the options"), (404, "--model")])
def test_what_will_never_work_is_not_tried_again(status: int, said: str) -> None:
    with serving(ApiServer(behaviour=lambda *_: (status, {}, b"no"))) as server:
        with pytest.raises(UsageError, match=f"HTTP {status}: no; .*{said}"):
            ask(server, 1)
    assert len(server.seen) <= 2


def test_a_prompt_beyond_the_context_is_kept_and_marked() -> None:
    def small_context(request: Any, _: int) -> Any:
        too_long = request["messages"][0]["content"] == "question 1" or request.get("max_tokens", 0) > 40
        return (400, {}, b'{"message": "This model\'s maximum context length is 64 tokens"}') if too_long else None

    with serving(ApiServer(behaviour=small_context)) as server:
        results = ask(server)
    assert [one.prompt_too_long for one in results] == [False, True, False]
    assert [c.as_rollout() for c in results[1].completions] == [
        {"index": index, "completion": "", "finish_reason": "length", "num_tokens": 0} for index in (0, 1)
    ]
    assert texts(results)[0] == undisturbed()[0]  # max_tokens was too much: the server goes as far as it can


def test_a_prompt_is_too_long_only_if_it_is_for_every_rollout() -> None:
    def once(request: Any, _: int) -> Any:
        refused = request["seed"] == PARAMS.seed_of("id-0", 1)
        return (400, {}, b"maximum context length is 64 tokens") if refused else None

    with serving(ApiServer(behaviour=once)) as server:
        (result,) = ask(server, 1)
    assert not result.prompt_too_long
    assert [(bool(c.text), c.finish_reason) for c in result.completions] == [(True, "stop"), (False, "length")]


def test_one_long_answer_holds_up_the_order_but_not_the_work() -> None:
    def slow_first(request: Any, _: int) -> None:
        if request["messages"][0]["content"] == "question 0":
            until_s = time.monotonic() + 4.0
            while len(server.seen) < 50 and time.monotonic() < until_s:
                time.sleep(0.01)

    with serving(ApiServer(behaviour=slow_first)) as server:
        unordered = [one.record_id for one in ask(server, 30, window=None, concurrency=8)]
    assert sorted(unordered) == sorted(f"id-{at}" for at in range(30))
    assert unordered.index("id-0") > 15
