"""CPU cost of judging one program on 16 stdin tests: klear's sandbox against its peers and the fork floor.

    python benchmarks/bench_sandbox.py [--repeats 5] [--livecodebench GIT_DIR_OR_CHECKOUT]

Prints one JSON object. CPU seconds of this process and of all its descendants, by ``getrusage``; peers that
are not installed are left out. The rounds of all contestants are interleaved, since machines are shared; the
ratios are medians of each round's ratio.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sandbox import JudgePool, Limits, parse_tests
from sandbox.layout import interpreter
from sandbox.types import StdinTest, TestSuite

TESTS = 16
PROGRAM = "n = int(input())\nvalues = list(map(int, input().split()))\nprint(sum(values[:n]))\n"
INPUTS = [f"5\n{' '.join(str(i * j) for j in range(5))}\n" for i in range(TESTS)]
OUTPUTS = [f"{10 * i}\n" for i in range(TESTS)]

_FLOOR = """
import gc, importlib, os, sys
for name in sys.argv[2:]: importlib.import_module(name)
gc.collect(); gc.freeze()
for _ in range(int(sys.argv[1])):
    pid = os.fork()
    if pid == 0: os._exit(0)
    os.waitpid(pid, 0)
"""
_LIVECODEBENCH = """
import json, sys
import os
sys.path.insert(0, sys.argv[1])
from lcb_runner.evaluation.testing_util import run_test
data = json.load(sys.stdin)
sample = {"input_output": json.dumps({"inputs": data["inputs"], "outputs": data["outputs"]})}
for _ in range(int(sys.argv[2])):  # its evaluation forks a process a problem, which run_test then disarms
    pid = os.fork()
    if pid == 0:
        results, _ = run_test(sample, test=data["program"], debug=False, timeout=6)
        os._exit(not (all(r is True for r in results) and len(results) == len(data["inputs"])))
    assert os.waitpid(pid, 0)[1] == 0
"""


# As the authors' reward calls it (KlearReasoner, code_r1_reward/firejail_exec.py), but for --timeout, which alone
# costs two seconds, and --kill-at-exit, which Debian's firejail refuses. --private hides the home folder, and
# with it any interpreter that is installed there.
FIREJAIL = [
    "firejail", "--private", "--quiet", "--seccomp=socket", "--profile=pip", "--rlimit-nproc=32", "--rlimit-nofile=32",
    "--rlimit-fsize=8m", "--rlimit-as=1024m", "--whitelist={program}", "/usr/bin/python3",
]  # fmt: skip


def cpu_s() -> float:
    """CPU seconds so far of this process and of the descendants that have been waited for."""
    usages = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def each_test(command: list[str]) -> Callable[[], object]:
    """A contestant that starts one process a test."""

    def run() -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder, "solution.py")
            path.write_text(PROGRAM)
            whole = [part.format(program=path) for part in command] + [str(path)]
            for given, expected in zip(INPUTS, OUTPUTS, strict=True):
                done = subprocess.run(whole, input=given, capture_output=True, text=True, timeout=60)
                assert done.stdout == expected, (whole, done)

    return run


def klear(programs: int) -> Callable[[], object]:
    """Judge different programs of the same cost on a pool that is started and ended within the measurement."""
    suite = parse_tests({"inputs": INPUTS, "outputs": OUTPUTS})

    def run() -> None:
        with JudgePool(limits=Limits()) as pool:
            for number in range(programs):
                assert pool.judge(PROGRAM + f"# {number}\n", suite).verdict == "AC"

    return run


def zygote_modules() -> list[str]:
    """What klear's zygote has loaded, as a program in it sees it."""
    seen: list[str] = []

    def keep(output: bytes) -> bool:
        seen.extend(output.decode().split())
        return True

    with JudgePool() as pool:
        pool.judge("import sys\nprint(*sys.modules)", TestSuite((StdinTest(b"", keep),)))
    return [name for name in seen if name != "__main__"]


def floor(forks: int, modules: list[str]) -> Callable[[], object]:
    """Fork and wait, in a bare interpreter with the modules that klear's zygote has loaded."""
    command = [interpreter(), "-I", "-S", "-c", _FLOOR, str(forks), *modules]
    return lambda: subprocess.run(command, check=True) and None


def livecodebench(folder: str, programs: int) -> Callable[[], object]:
    """LiveCodeBench's ``run_test`` in a fork a problem, as its evaluation does, from a warm process."""
    data = json.dumps({"inputs": INPUTS, "outputs": OUTPUTS, "program": PROGRAM})
    command = [sys.executable, "-c", _LIVECODEBENCH, folder, str(programs)]
    return lambda: subprocess.run(command, input=data, text=True, check=True, capture_output=True) and None


def measure(work: Callable[[], object]) -> float:
    before = cpu_s()
    work()
    return cpu_s() - before


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--livecodebench", help="a checkout with lcb_runner/")
    options = parser.parse_args()
    python = interpreter()
    few, many, forks, modules = 5, 55, 20 * TESTS, zygote_modules()
    contestants = {"klear_few": klear(few), "klear_many": klear(many), "floor_none": floor(0, modules)}
    contestants |= {"floor": floor(forks, modules), "python -I -S": each_test([python, "-I", "-S"])}
    if shutil.which("bwrap"):
        contestants["bubblewrap"] = each_test(
            ["bwrap", "--ro-bind", "/", "/", "--unshare-all", "--as-pid-1", python, "-I", "-S"]
        )
    if shutil.which("firejail"):
        contestants["firejail"] = each_test(FIREJAIL)
        contestants["firejail, bare"] = each_test(
            ["firejail", "--quiet", "--noprofile", "--net=none", python, "-I", "-S"]
        )
    if options.livecodebench:
        contestants["LiveCodeBench"] = livecodebench(options.livecodebench, 1)
        contestants["LiveCodeBench_many"] = livecodebench(options.livecodebench, 1 + few)
    rounds = [{name: measure(work) for name, work in contestants.items()} for _ in range(options.repeats)]
    per_test = [costs(times, programs=many - few, forks=forks, warm=few) for times in rounds]
    names = list(per_test[0])
    ratios = {name: statistics.median(c[name] / c["klear"] for c in per_test) for name in names}
    print(json.dumps({
        "what": f"CPU milliseconds a test, one stdin program on {TESTS} tests", "n": options.repeats, "unit": "ms",
        "median": {name: round(statistics.median(1000 * cost[name] for cost in per_test), 3) for name in names},
        "times klear's cost": {name: round(ratio, 2) for name, ratio in ratios.items()},
        "klear over floor": round(statistics.median(c["klear"] / c["fork + wait floor"] for c in per_test), 2),
        "versions": {"python": platform.python_version(), "linux": platform.release(), "cores": os.cpu_count()},
    }, indent=1))  # fmt: skip


def costs(times: dict[str, float], *, programs: int, forks: int, warm: int) -> dict[str, float]:
    """CPU seconds a test of every contestant in one round, without what starts once."""
    found = {
        "klear": (times["klear_many"] - times["klear_few"]) / programs / TESTS,
        "fork + wait floor": (times["floor"] - times["floor_none"]) / forks,
    }
    if "LiveCodeBench_many" in times:
        found["LiveCodeBench, warm"] = (times["LiveCodeBench_many"] - times["LiveCodeBench"]) / warm / TESTS
    started = {name: time / TESTS for name, time in times.items() if "_" not in name and name != "floor"}
    return found | started


if __name__ == "__main__":
    main()
