"""Runs the real ``klear`` in a real process, as a shell would."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BIN = Path(sys.executable).parent


@pytest.fixture
def shell(tmp_path):
    """Run a bash line in a fresh folder, with ``klear`` on the PATH and pipefail set."""

    def run(line, *, stdin=None, timeout_s=120):
        environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "COLUMNS": "120"}
        return subprocess.run(
            ["bash", "-o", "pipefail", "-c", line],
            input=stdin,
            capture_output=True,
            cwd=tmp_path,
            env=environment,
            timeout=timeout_s,
            check=False,
        )

    return run


def judged(number, *, verdicts=("AC", "WA"), ability="math", **keys):
    """A record as the reward stages leave it."""
    rewards = {"AC": 1.0, "XX": None}
    return {
        "schema": "klear/1",
        "id": f"{number:016x}",
        "data_source": "made-up",
        "ability": ability,
        "prompt": [{"role": "user", "content": f"{number} + 1?"}],
        "reward_model": {"style": "rule", "ground_truth": str(number + 1)},
        "rollouts": [
            {"index": i, "completion": f"\\boxed{{{number}}}", "reward": rewards.get(verdict, -1.0), "verdict": verdict}
            for i, verdict in enumerate(verdicts)
        ],
        **keys,
    }


def lines(records):
    return "".join(json.dumps(record) + "\n" for record in records).encode()


def parsed(data):
    return [json.loads(line) for line in data.splitlines()]
