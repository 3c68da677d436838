"""Conditions of the calling process that must neither change a verdict nor keep the sandbox from starting."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sandbox import JudgePool, parse_tests

_ROOT = Path(__file__).resolve().parents[2]
_JUDGE = """
import os, signal, sys
{before}
from sandbox import JudgePool, parse_tests
program = '''
import signal, threading, time
def ring(*_):
    raise ZeroDivisionError
signal.signal(signal.SIGALRM, ring)
signal.setitimer(signal.ITIMER_REAL, 0.05)
try:
    time.sleep(1)
except ZeroDivisionError:
    thread = threading.Thread(target=print, args=("rang",))
    thread.start()
    thread.join()
'''
tests = parse_tests({{"inputs": [""], "outputs": ["rang"]}})
with JudgePool() as pool:
    judgement = pool.judge(program, tests)
    os.write({answer}, f"{{judgement.verdict}} {{judgement.detail}}".encode())
"""


def _judged(before: str = "", *, limits: str = "", level: str = "full") -> str:
    """The verdict that a host says which runs ``before`` first, under the shell's ``ulimit``s."""
    read, write = os.pipe()
    source = _JUDGE.format(before=before, answer=write)
    command = f"{limits}\nexec {shlex.quote(sys.executable)} -c {shlex.quote(source)}"
    environment = {**os.environ, "PYTHONPATH": str(_ROOT), "KLEAR_SANDBOX_LEVEL": level}
    done = subprocess.run(
        ["bash", "-c", command], env=environment, pass_fds=(write,), capture_output=True, text=True, timeout=60
    )
    os.close(write)
    with open(read) as answer:
        return answer.read().strip() or done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "limits",
    ["ulimit -s 8192", "ulimit -t 500", "ulimit -v 4000000", "ulimit -Sn 128", "ulimit -n 300", "ulimit -u 4000"],
)
def test_finite_limits_of_the_host_do_not_change_a_verdict(limits: str) -> None:
    assert _judged(limits=limits) == "AC"


@pytest.mark.parametrize("limits", ["ulimit -v 800000", "ulimit -f 10000"])
def test_what_the_host_itself_may_not_use_is_a_failure_of_the_machinery(limits: str) -> None:
    assert _judged(limits=limits).startswith("XX")


@pytest.mark.parametrize(
    "before",
    [
        "signal.signal(signal.SIGCHLD, signal.SIG_IGN)",
        "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())",
        "os.close(0); os.close(2)",
        "held = [os.open('/dev/null', 0) for _ in range(400)]",
    ],
    ids=["SIGCHLD ignored", "signals blocked", "no standard streams", "many descriptors"],
)
@pytest.mark.parametrize("level", ["full", "reduced"])
def test_the_state_of_the_host_process_does_not_matter(before: str, level: str) -> None:
    assert _judged(before, level=level) == "AC"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a user of its own to be crowded")
def test_an_ordinary_user_with_many_processes_can_judge_without_namespaces(tmp_path: Path) -> None:
    if not os.access("/usr/bin/python3", os.X_OK):
        pytest.skip("needs an interpreter that every user can read")
    subprocess.run(["cp", "-r", str(_ROOT / "sandbox"), str(tmp_path)], check=True)
    for folder in (tmp_path, *tmp_path.parents):
        if folder.stat().st_mode & 0o5 != 0o5:
            folder.chmod(0o755)
    crowd = [subprocess.Popen(["sleep", "60"], user=54321, group=54321, extra_groups=()) for _ in range(40)]
    try:
        read, write = os.pipe()
        done = subprocess.run(
            ["/usr/bin/python3", "-c", _JUDGE.format(before="", answer=write)], user=54321, group=54321,
            extra_groups=(), pass_fds=(write,), capture_output=True, text=True, timeout=60, cwd="/",
            env={"PYTHONPATH": str(tmp_path), "KLEAR_SANDBOX_LEVEL": "reduced", "PATH": "/usr/bin:/bin"},
        )  # fmt: skip
        os.close(write)
        with open(read) as answer:
            assert answer.read().strip() == "AC", done.stderr[-500:]
    finally:
        for process in crowd:
            process.send_signal(signal.SIGKILL)
            process.wait()


@pytest.mark.skipif(not os.access("/usr/bin/g++", os.X_OK), reason="no g++")
def test_a_limit_on_cpu_time_leaves_the_compiler_what_there_is() -> None:
    before = (
        "import resource; resource.setrlimit(resource.RLIMIT_CPU, (35, 35)); from sandbox import *; "
        "p = JudgePool().__enter__(); "
        "v = p.judge('int main() {}', parse_tests({'inputs': [''], 'outputs': ['']}), language='cpp'); "
        "assert p.level != 'full' or v.verdict == 'AC', v; p.close()"
    )
    assert _judged(before) == "AC"


def test_an_input_may_be_larger_than_the_output_limit() -> None:
    before = (
        "from sandbox import *; p = JudgePool().__enter__(); "
        "v = p.judge('print(len(input()))', parse_tests({'inputs': ['x' * (40 << 20)], 'outputs': [str(40 << 20)]})); "
        "assert v.verdict == 'AC', v; p.close()"
    )
    assert _judged(before) == "AC"


def test_times_of_the_hosts_files_cannot_be_set_where_only_landlock_guards_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KLEAR_SANDBOX_LEVEL", "reduced")
    held = tmp_path / "held"
    held.touch()
    before = held.stat().st_mtime_ns
    with JudgePool() as pool:
        pool.judge(f"import os\nos.utime({str(held)!r}, (5, 5))", parse_tests({"inputs": [""], "outputs": [""]}))
    assert held.stat().st_mtime_ns == before
