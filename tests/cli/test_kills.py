"""`klear sample --resume`, killed again and again: see :mod:`tests.cli.kills`, which takes more kills by hand."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "needs"), [("transformers", "torch"), ("openai", "httpx2")])
def test_killed_runs_end_with_the_file_of_an_undisturbed_one(backend, needs):
    pytest.importorskip(needs, reason=f"{needs} is not installed")
    done = subprocess.run(
        [sys.executable, "-m", "tests.cli.kills", backend, "--kills", "40"], cwd=ROOT, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    found = json.loads(done.stdout)
    assert found["sigkills"] >= 40
    assert found["compared"].keys() == {"files equal to the byte"}
    assert found["killed_in_a_write"] > 0
