"""Kills `klear sample --resume` at random moments until it has been killed often enough, and compares what is left.

    OMP_NUM_THREADS=1 python -m tests.cli.kills transformers --kills 200
    OMP_NUM_THREADS=1 VLLM_CPU_KVCACHE_SPACE=1 VLLM_ENABLE_V1_MULTIPROCESSING=0 TORCHDYNAMO_DISABLE=1 \
        .venv-vllm/bin/python -m tests.cli.kills vllm --kills 200

A *life* is one run of the command, in a fork of this process, which has imported everything heavy and holds no engine.
It is ended by SIGKILL after a random while (``start``), when the partial file has grown by a share (``grown``),
or around the moment when the output gets its name (``landing``); or by the kernel in the middle of a write, at any
byte, by a limit on the size of files (``cut``, ``landing_cut``: SIGXFSZ, which nothing handles). Lives follow each
other until one ends by itself: then its file must be that of an undisturbed run, and the next cycle begins anew.
Prints one JSON object.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import random
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

HOW = {"start": 2, "grown": 5, "landing": 2, "cut": 2, "landing_cut": 1}
"""How lives end, by weight."""

PROBLEMS = 48
PADDING = 20_000
"""Characters a record carries along: a line takes several pages, so that a write can be cut and landing takes time."""


def problem(number: int) -> dict[str, Any]:
    return {
        "schema": "klear/1",
        "id": f"{number:016x}",
        "ability": "math",
        "prompt": [{"role": "user", "content": f"{number} + 1?"}],
        "reward_model": {"style": "rule", "ground_truth": str(number + 1)},
        "extra_info": {"padding": f"{number}é" * (PADDING // 4)},
    }


class Lives:
    """Starts the command in forks, ends them, and counts how they ended."""

    def __init__(self, folder: Path, line: list[str], *, seed: int) -> None:
        self.folder, self.line = folder, line
        self.draw = random.Random(seed)
        self.output, self.partial = folder / "out.jsonl", folder / "out.jsonl.partial"
        self.ended: Counter[str] = Counter()
        self.left: Counter[str] = Counter()

    def start(self, *options: str) -> int:
        pid = os.fork()
        if pid:
            return pid
        try:
            os.chdir(self.folder)
            os.dup2(os.open("log", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644), 2)
            signal.signal(signal.SIGXFSZ, signal.SIG_DFL)  # Python ignores it
            sys.argv = ["klear", *self.line, *options]
            from cli.main import main

            main()
        except SystemExit as end:
            os._exit(end.code if isinstance(end.code, int) else end.code is not None)
        except BaseException:  # noqa: BLE001  (a fork must not run on in its parent's code)
            traceback.print_exc()
            os._exit(1)
        os._exit(0)

    def finish(self, pid: int) -> None:
        _, status = os.waitpid(pid, 0)
        if status:
            raise SystemExit(f"exit status {os.waitstatus_to_exitcode(status)}\n{(self.folder / 'log').read_text()}")

    def size(self) -> int:
        try:
            return self.partial.stat().st_size
        except FileNotFoundError:
            return 0

    def live_until(self, how: str, *, whole: int, longest_s: float) -> bool:
        """One life; false if it came to its end before we did."""
        pid, draw = self.start("--resume", "-o", "out.jsonl"), self.draw
        if how == "never":
            self.finish(pid)
            return False
        if how == "start":
            alive = self._wait(pid, lambda: False, at_most_s=draw.uniform(0, longest_s))
        else:
            far = how.startswith("landing")
            target = whole * 0.99 if far else min(self.size() + draw.uniform(0, 0.3) * whole, whole * 0.95)
            alive = self._wait(pid, lambda: self.size() >= target)
        if not alive:
            return False
        if how.endswith("cut"):
            limit = draw.randrange(whole) if how == "landing_cut" else self.size() + draw.randrange(1, 2 * PADDING)
            try:
                resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, limit))
            except ProcessLookupError:
                pass  # it has just ended
        elif not self._wait(pid, lambda: False, at_most_s=draw.uniform(0, 0.06 if how == "landing" else 0.03)):
            return False
        else:
            os.kill(pid, signal.SIGKILL)  # not waited for yet, so it is no other process's number
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if ended not in (0, -signal.SIGKILL, -signal.SIGXFSZ):
            raise SystemExit(f"exit status {ended}\n{(self.folder / 'log').read_text()}")
        if ended == 0:
            return False
        self.ended[f"{how} ({signal.Signals(-ended).name})"] += 1
        self.left[self._state()] += 1
        return True

    def _wait(self, pid: int, reached: Any, at_most_s: float = 300.0) -> bool:
        """Wait for a condition or a time; false if the process has ended by then. It stays to be waited for."""
        until_s = time.monotonic() + at_most_s
        while not reached() and time.monotonic() < until_s:
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
                self.finish(pid)
                return False
            time.sleep(0.0005)
        return True

    def _state(self) -> str:
        names = {path.name for path in self.folder.iterdir()}
        if any(name.startswith(".out.jsonl") for name in names):
            return "an output half written"
        if "out.jsonl" in names:
            return "an output and a partial file" if self.size() else "an output"
        if not self.size():
            return "nothing"
        with self.partial.open("rb") as stream:
            stream.seek(-1, os.SEEK_END)
            return "whole lines" if stream.read() == b"\n" else "half a line"


def compare(found: Path, whole: Path, differing: Counter[str], *, exact: bool) -> None:
    """The killed run's file against the undisturbed one's: to the byte, or (vLLM) but for the last bits of logits."""
    if found.read_bytes() == whole.read_bytes():
        differing["files equal to the byte"] += 1
        return
    if exact:
        raise SystemExit(f"{found} and {whole} differ")
    pairs = [[json.loads(line) for line in path.open()] for path in (found, whole)]
    for left, right in zip(*pairs, strict=True):
        for one, other in zip(left.pop("rollouts"), right.pop("rollouts"), strict=True):
            assert one["index"] == other["index"]
            differing["rollouts that differ"] += one != other
        assert left == right
    differing["files equal but for some rollouts"] += 1


def run(backend: str, *, kills: int, seed: int, folder: Path, line: list[str], longest_s: float) -> dict[str, Any]:
    """See the module; ``longest_s`` is how long a ``start`` life may take at most."""
    lives = Lives(folder, line, seed=seed)
    began_s = time.monotonic()
    lives.finish(lives.start("-o", "whole.jsonl"))
    print(f"an undisturbed run takes {time.monotonic() - began_s:.1f} s", file=sys.stderr)
    whole = (folder / "whole.jsonl").stat().st_size
    compared: Counter[str] = Counter()
    expected = {"in.jsonl", "log", "model", "out.jsonl", "whole.jsonl"}
    while True:
        while lives.live_until(
            lives.draw.choices([*HOW], [*HOW.values()])[0] if killed(lives) < kills else "never",
            whole=whole, longest_s=longest_s,
        ):  # fmt: skip
            pass
        compare(lives.output, folder / "whole.jsonl", compared, exact=backend != "vllm")
        left = {path.name for path in folder.iterdir()} - expected
        assert not left, left
        lives.output.unlink()
        print(f"{killed(lives)} kills, {dict(compared)}, {time.monotonic() - began_s:.0f} s", file=sys.stderr)
        if killed(lives) >= kills:
            break
    return {
        "what": f"kills of klear sample --resume, backend {backend}",
        "sigkills": killed(lives),
        "killed_in_a_write": sum(n for how, n in lives.ended.items() if "XFSZ" in how),
        "ended": dict(sorted(lives.ended.items())),
        "found_after_a_kill": dict(lives.left.most_common()),
        "compared": dict(compared),
        "seed": seed,
        "wall_s": round(time.monotonic() - began_s),
        "python": sys.version.split()[0],
    }


def killed(lives: Lives) -> int:
    return sum(count for how, count in lives.ended.items() if "SIGKILL" in how)


@contextmanager
def api_server() -> Iterator[str]:
    """The test server in a process of its own; its address."""
    from tests.klear_data.api_server import ApiServer, serving

    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        with serving(ApiServer(delay_s=0.01)) as server:
            os.write(write, server.url.encode())
            signal.pause()
    try:
        yield os.read(read, 100).decode()
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def make_model(folder: Path) -> None:
    """A tiny model, made in a fork: saving it leaves threads behind."""
    pid = os.fork()
    if pid == 0:
        from klear_train.tiny import make_tiny_model

        make_tiny_model(folder / "model", hidden_size=64, num_heads=2, num_layers=1)
        os._exit(0)
    if os.waitpid(pid, 0)[1]:
        raise SystemExit("no model could be made")


def prepare(backend: str, folder: Path) -> tuple[list[str], float]:
    """Import what is heavy; the command line, and how long a life may take that is killed by the clock."""
    (folder / "in.jsonl").write_text("".join(json.dumps(problem(at)) + "\n" for at in range(PROBLEMS)))
    line = ["sample", "in.jsonl", "-q", "--n", "2", "--backend", backend]
    import_all("cli.main", "cli.sample", "klear_data.sink", f"klear_data.generate.{backend}_backend")
    if backend == "openai":
        import_all("httpx2")
        return [*line, "--model", "m", "--concurrency", "4"], 1.0
    make_model(folder)
    line += ["--model", "model", "--dtype", "float32"]
    import_all("torch", "transformers", "transformers.models.qwen3.modeling_qwen3", "klear_data.generate.kv_cache")
    if backend == "transformers":
        return [*line, "--batch-size", "4", "--max-tokens", "40"], 3.0
    import_all("vllm", "vllm.v1.engine.llm_engine", "vllm.model_executor.models.qwen3", "vllm.v1.worker.cpu_worker")
    # All are in one batch: long enough that they end one after another.
    return [*line, "--max-model-len", "256", "--max-tokens", "200"], 15.0


def import_all(*names: str) -> None:
    for name in names:
        importlib.import_module(name)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backend", choices=["transformers", "openai", "vllm"])
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if asked.backend == "openai":
            with api_server() as url:
                line, longest_s = prepare("openai", folder)
                line += ["--base-url", url]
                found = run("openai", kills=asked.kills, seed=asked.seed, folder=folder, line=line, longest_s=longest_s)
        else:
            line, longest_s = prepare(asked.backend, folder)
            assert len(os.listdir("/proc/self/task")) == threading.active_count() == 1, "a fork keeps one thread"
            found = run(
                asked.backend, kills=asked.kills, seed=asked.seed, folder=folder, line=line, longest_s=longest_s
            )
    print(json.dumps(found))


if __name__ == "__main__":
    main()
