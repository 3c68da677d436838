"""Hostile answers, killed workers, threads, forks and load: nothing changes another answer's verdict."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from klear_data.reward.hooks import compute_score, trl_math_reward
from klear_data.reward.math import MathRewarder
from klear_data.reward.mathcheck.workers import Fate, Pool

CASES = Path(__file__).resolve().parents[2] / "math_cases"
HOSTILE = [json.loads(line) for line in (CASES / "hostile.jsonl").read_text().splitlines()]
PAIRS = [json.loads(line) for line in (CASES / "pairs.jsonl").read_text(encoding="utf-8").splitlines()]
ENDLESS = "\\sum_{k=1}^{10^{9}} \\sin(k)^k"
BY_SYMPY = [
    ("55", "\\sum_{k=1}^{10} k"),
    ("\\frac13", "\\int_0^1 x^2 dx"),
    ("56", "\\sum_{k=1}^{10} k"),
    ("6", "\\prod_{k=1}^{3} k"),
]


def text_of(case: dict) -> str:
    return "".join(part * times for part, times in case["parts"])


def verdicts(rewarder: MathRewarder, pairs: list[tuple[str, str]]) -> list[str]:
    return [rewarder.verify_answer(gold, answer).verdict for gold, answer in pairs]


def test_hostile_answers_stay_within_the_limits_and_change_no_other_verdict():
    limit_s = 0.25
    assert len(HOSTILE) >= 150
    with MathRewarder(jobs=2, timeout_s=limit_s) as rewarder, ThreadPoolExecutor(2) as threads:
        before = verdicts(rewarder, BY_SYMPY)

        def judged(case: dict) -> tuple[str, str, float, float]:
            started = time.thread_time()
            found = rewarder.verify_answer("\\frac{5}{2}", text_of(case))
            return case["name"], found.verdict, found.cpu_ms, time.thread_time() - started

        outcomes = list(threads.map(judged, HOSTILE))
        rewarder._judge.verdicts._kept.clear()
        assert verdicts(rewarder, BY_SYMPY) == before == ["AC", "AC", "WA", "AC"]
    assert {verdict for _, verdict, _, _ in outcomes} <= {"WA", "NA", "TL"}
    # What is decided in this process is bounded by its size, and takes twice as long on cores that others use too.
    assert [o for o in outcomes if o[2] > 4 * limit_s * 1000] == []
    assert [o for o in outcomes if o[3] > 4 * limit_s] == []


def test_an_answer_that_runs_too_long_is_tl_at_its_cpu_limit():
    with MathRewarder(timeout_s=0.3) as rewarder:
        found = rewarder.verify_answer("5", ENDLESS)
    assert (found.verdict, found.reason) == ("TL", "CPU limit")
    assert 250 <= found.cpu_ms <= 500


def test_an_answer_that_wants_too_much_memory_is_tl():
    with MathRewarder(timeout_s=20, memory_mib=700) as rewarder:
        found = rewarder.verify_answer("5", "\\gcd(2^{9^{11}}, 6)")
    assert (found.verdict, found.reason) == ("TL", "memory limit")


def test_a_killed_worker_costs_no_verdict_at_all():
    with MathRewarder() as rewarder:
        assert verdicts(rewarder, BY_SYMPY[:1]) == ["AC"]
        worker = rewarder._judge.pool._idle.get_nowait()
        os.kill(worker.pid, signal.SIGKILL)
        rewarder._judge.pool._idle.put(worker)
        assert verdicts(rewarder, BY_SYMPY[1:]) == ["AC", "WA", "AC"]


def test_a_killed_forking_process_is_replaced():
    with MathRewarder() as rewarder:
        assert verdicts(rewarder, BY_SYMPY[:1]) == ["AC"]
        rewarder._judge.pool._nursery.process.kill()
        worker = rewarder._judge.pool._idle.get_nowait()
        os.kill(worker.pid, signal.SIGKILL)
        rewarder._judge.pool._idle.put(worker)
        assert verdicts(rewarder, BY_SYMPY[1:]) == ["AC", "WA", "AC"]


def test_a_worker_that_hangs_is_ended_by_the_wall_limit_and_is_no_verdict():
    pool = Pool(cpu_limit_s=30)
    pool.wall_limit_s = 0.4
    try:
        outcome = pool.ask({"gold": "5", "answer": ENDLESS})
    finally:
        pool.close()
    assert isinstance(outcome, Fate)
    assert outcome.kind == "wall"


def test_the_callers_signals_and_timers_are_left_alone():
    kinds = (signal.SIGALRM, signal.SIGPROF, signal.SIGCHLD, signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(kind) for kind in kinds]
    with MathRewarder(timeout_s=0.2) as rewarder:
        verdicts(rewarder, [*BY_SYMPY, ("5", ENDLESS)])
        assert [signal.getsignal(kind) for kind in kinds] == before
        assert signal.getitimer(signal.ITIMER_PROF) == signal.getitimer(signal.ITIMER_VIRTUAL) == (0.0, 0.0)


def test_verdicts_are_the_same_from_many_threads():
    pairs = [(pair["gold"], pair["answer"]) for pair in PAIRS[::4]] + BY_SYMPY
    with MathRewarder(jobs=2) as alone:
        expected = verdicts(alone, pairs)
    with MathRewarder(jobs=2) as shared, ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda pair: shared.verify_answer(*pair).verdict, pairs))
    assert found == expected


def records() -> list[dict]:
    made = []
    for index, pair in enumerate(PAIRS + [{"gold": g, "answer": a} for g, a in BY_SYMPY]):
        completion = f"<think>well</think> \\boxed{{{pair['answer']}}}"
        made.append({
            "id": str(index), "ability": "math", "reward_model": {"ground_truth": pair["gold"]},
            "rollouts": [{"index": 0, "completion": completion, "mine": 1}, {"index": 1, "completion": "none"}],
        })  # fmt: skip
    return made


def scored(jobs: int) -> list[dict]:
    with MathRewarder(jobs=jobs) as rewarder:
        out = list(rewarder.reward_records(records()))
    for record in out:
        for rollout in record["rollouts"]:
            assert rollout.pop("wall_s") >= 0
    return out


def test_one_job_and_eight_give_the_same_records_in_order():
    one, eight = scored(1), scored(8)
    assert one == eight
    assert [record["id"] for record in one] == [str(i) for i in range(len(one))]
    first = one[0]["rollouts"]
    assert first[0]["mine"] == 1
    assert (first[0]["verdict"], first[0]["reward"], first[0]["format_ok"]) == ("AC", 1.0, True)
    assert (first[1]["verdict"], first[1]["reward"], first[1]["answer"]) == ("FE", -1.0, None)


def test_verdicts_are_the_same_under_eight_busy_processes():
    pairs = [(pair["gold"], pair["answer"]) for pair in PAIRS[::6]] + BY_SYMPY
    with MathRewarder(jobs=2) as quiet:
        expected = verdicts(quiet, pairs)
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(8)]
    try:
        with MathRewarder(jobs=2) as loaded:
            assert verdicts(loaded, pairs) == expected
    finally:
        for process in busy:
            process.kill()
            process.wait()


def test_code_records_pass_untouched_and_reading_stays_a_bounded_way_ahead():
    read = 0

    def source():
        nonlocal read
        for record in records():
            read += 1
            yield {"ability": "code", "rollouts": [{"completion": "x"}]} if read % 2 else record

    with MathRewarder(jobs=2) as rewarder:
        stream = rewarder.reward_records(source())
        assert next(stream) == {"ability": "code", "rollouts": [{"completion": "x"}]}
        assert "reward" in next(stream)["rollouts"][0]
        assert read <= 2 + 8 * 2 + 1
        stream.close()


def test_a_gold_that_cannot_be_read_gives_null_rewards_and_keeps_the_record():
    record = {
        "ability": "math",
        "reward_model": {"ground_truth": "\\frac{1"},
        "rollouts": [{"completion": "<think></think>\\boxed{1}"}],
    }
    with MathRewarder() as rewarder:
        (out,) = rewarder.reward_records([record])
    assert out["rollouts"][0]["reward"] is None
    assert out["rollouts"][0]["verdict"] == "XX"


def run_script(body: str) -> subprocess.CompletedProcess[str]:
    root = Path(__file__).resolve().parents[3]
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(body)], cwd=root, capture_output=True, text=True, timeout=120, check=True
    )


def test_a_fork_of_the_caller_gets_workers_of_its_own():
    done = run_script("""
        import os
        from klear_data.reward.math import MathRewarder
        rewarder = MathRewarder()
        print(rewarder.verify_answer("55", "\\\\sum_{k=1}^{10} k").verdict, flush=True)
        pid = os.fork()
        print(rewarder.verify_answer("6", "\\\\prod_{k=1}^{3} k").verdict, flush=True)
        rewarder.close()
        if pid:
            assert os.waitpid(pid, 0)[1] == 0
        else:
            os._exit(0)
    """)
    assert done.stdout.split() == ["AC", "AC", "AC"]


def test_no_process_outlives_the_caller():
    done = run_script("""
        from klear_data.reward import math
        math.verify_answer("55", "\\\\sum_{k=1}^{10} k")
        print(math.shared_rewarder()._judge.pool._nursery.process.pid)
        import os; os._exit(0)
    """)
    pid = int(done.stdout)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline and Path(f"/proc/{pid}/cmdline").exists():
        if b"nursery" not in Path(f"/proc/{pid}/cmdline").read_bytes():
            break
        time.sleep(0.05)
    else:
        assert not Path(f"/proc/{pid}").exists() or b"nursery" not in Path(f"/proc/{pid}/cmdline").read_bytes()


def test_importing_the_reward_loads_no_parser():
    done = run_script("""
        import sys
        from klear_data.reward.math import verify_answer
        verify_answer("5", "5.0"), verify_answer("1,2", "2,1")
        heavy = ("sympy", "mpmath", "latex2sympy2_extended", "math_verify", "antlr4")
        print([name for name in heavy if name in sys.modules])
    """)
    assert done.stdout.strip() == "[]"


def test_trl_gets_none_where_there_is_no_reward():
    reward = trl_math_reward(think="none")
    completions = ["\\boxed{5}", [{"role": "assistant", "content": "\\boxed{6}"}], "\\boxed{1}"]
    assert reward(completions=completions, prompts=["", "", ""], ground_truth=["5", "5", "\\frac{1"]) == [
        1.0,
        -1.0,
        None,
    ]
    models = [{"ground_truth": "5"}] * 3
    assert reward(completions=completions, reward_model=models) == [1.0, -1.0, -1.0]
    with pytest.raises(ValueError, match="no gold answers among"):
        reward(completions=completions, prompts=["", "", ""])


def test_verl_gets_a_number_and_whether_it_counts():
    right = compute_score("math", "<think></think>\\boxed{5}", "5", {"index": 0})
    assert (right["score"], right["acc"], right["scored"]) == (1.0, 1.0, 1.0)
    unscored = compute_score("math", "<think></think>\\boxed{5}", "\\frac{1")
    assert (unscored["score"], unscored["scored"], unscored["verdict"]) == (0.0, 0.0, "XX")


HOSTILE_GOLDS = [
    "(" * 4950 + "5" + ")" * 4950,
    "\\sqrt{" * 300 + "2" + "}" * 300,
    "5%" * 4900,
    "\\text{" * 1600,
    "((((3!)!)!)!)!",
    "9" * 9000,
    "\\pm1" * 200,
    "\\begin{pmatrix}1&2" * 500,
    "1,000" * 1900,
]


@pytest.mark.parametrize("gold", HOSTILE_GOLDS, ids=lambda gold: gold[:12])
def test_a_hostile_gold_costs_no_more_than_a_hostile_answer(gold):
    with MathRewarder(timeout_s=0.25) as rewarder:
        started = time.thread_time()
        found = rewarder.verify_answer(gold, "5")
        assert time.thread_time() - started <= 0.25
    assert found.verdict in ("WA", "TL", "XX")
    assert found.cpu_ms <= 450


def test_a_closed_rewarder_says_so_instead_of_waiting_for_a_worker():
    with MathRewarder() as rewarder:
        assert verdicts(rewarder, BY_SYMPY[:1]) == ["AC"]
    found = rewarder.verify_answer(*BY_SYMPY[1])
    assert (found.verdict, found.stage, found.reason) == ("XX", "worker", "the rewarder is closed")
    assert rewarder.verify_answer("5", "5.0").verdict == "AC"


def test_opening_and_closing_leaves_no_file_and_no_process_behind():
    done = run_script("""
        import os
        from pathlib import Path
        from klear_data.reward.math import MathRewarder

        def children():
            return [p for p in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]

        left = []
        for _ in range(3):
            with MathRewarder(jobs=2) as rewarder:
                rewarder.verify_answer("55", "\\\\sum_{k=1}^{10} k")
            left.append((len(os.listdir("/proc/self/fd")), children()))
        print(left[0] == left[1] == left[2] and left[2][1] == [])
    """)
    assert done.stdout.strip() == "True"


def test_closing_does_not_wait_for_a_fork_that_still_lives():
    done = run_script("""
        import os, time
        from klear_data.reward.math import MathRewarder
        rewarder = MathRewarder()
        rewarder.verify_answer("55", "\\\\sum_{k=1}^{10} k")
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(writing)
            os.read(reading, 1)
            os._exit(0)
        started = time.monotonic()
        rewarder.close()
        print(time.monotonic() - started < 5)
        os.close(writing)
        os.waitpid(pid, 0)
    """)
    assert done.stdout.strip() == "True"


def test_a_worker_killed_over_an_item_costs_that_item_a_second_try_only():
    with MathRewarder(timeout_s=0.6) as rewarder:
        verdicts(rewarder, BY_SYMPY[:1])
        worker = rewarder._judge.pool._idle.get_nowait()
        rewarder._judge.pool._idle.put(worker)
        killer = threading.Timer(0.2, os.kill, (worker.pid, signal.SIGKILL))
        killer.start()
        found = rewarder.verify_answer("5", ENDLESS)
        killer.join()
        assert (found.verdict, found.reason) == ("TL", "CPU limit")
        assert verdicts(rewarder, BY_SYMPY[1:]) == ["AC", "WA", "AC"]
