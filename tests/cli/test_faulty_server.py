"""`klear sample --backend openai` against a server in every kind of trouble at once."""

import json
import random
import re
import subprocess
import time

import pytest

from tests.cli.conftest import BIN, judged, lines, parsed
from tests.klear_data.api_server import HANG_UP, ApiServer, half, serving

pytest.importorskip("httpx2")

N, RECORDS = 2, 60
FINE = (200, {}, b'{"choices": [{"message": {"content": "cut off here, if it is cut off"}, "finish_reason": "stop"}]}')
PASSING = {
    "busy": (429, {"retry-after": "0.2"}, b"slow down"),
    "busy, no word for how long": (429, {}, b""),
    "loading": (503, {}, b"loading"),
    "bad gateway": (502, {}, b""),
}
FAILING = {
    "broken": (500, {}, b"boom"),
    "no JSON": (200, {}, FINE[2][:40]),
    "no completion": (200, {}, b'{"choices": []}'),
    "hang up": HANG_UP,
    "half a body": half(FINE),
    "hang": None,
}
SAID = {
    "broken": "HTTP 500: boom",
    "no JSON": "the answer is no JSON",
    "no completion": "the answer is no chat completion",
    "hang up": "the connection broke",
    "half a body": "the connection broke",
    "hang": "no answer within 1 s",
}


class Troubled:
    """Some requests never succeed, each for a reason of its own; the others do at the third attempt at the latest."""

    healed = False

    def __init__(self):
        self.poisoned = {}

    def __call__(self, request, earlier):
        if self.healed:
            return None
        draw = random.Random(request["seed"])
        if draw.random() < 0.1:
            kind = draw.choice([*FAILING])
            self.poisoned[request["seed"]] = kind
        else:
            kinds = draw.sample([*PASSING, *FAILING], 2)
            if earlier >= draw.randrange(3):
                return None
            kind = kinds[earlier]
        if kind == "hang":
            time.sleep(1.5)
        return {**PASSING, **FAILING}[kind]


@pytest.mark.parametrize("gone_s", [1, pytest.param(30, marks=pytest.mark.slow)])
def test_every_rollout_is_there_or_accounted_for_whatever_the_server_does(tmp_path, gone_s):
    records = [{key: value for key, value in judged(at).items() if key != "rollouts"} for at in range(RECORDS)]
    (tmp_path / "in.jsonl").write_bytes(lines(records))
    server = ApiServer(behaviour=Troubled(), delay_s=0.05)
    command = [BIN / "klear", "sample", "in.jsonl", "--model", "m", "--backend", "openai", "--n", str(N)]
    patient = ["--timeout", "1", "--retries", "3", "--patience", "90", "--concurrency", "32"]
    with serving(server):
        command += ["--base-url", server.url, *patient]
        resumed = [*command, "--resume", "-o", "out.jsonl", "--report", "report.json"]
        process = subprocess.Popen(resumed, cwd=tmp_path, stderr=subprocess.PIPE)
        while len(server.seen) < RECORDS:
            time.sleep(0.01)
    time.sleep(gone_s)  # nobody listens on the port
    assert process.poll() is None
    with serving(server):
        said = process.communicate(timeout=200)[1].decode()
        found = parsed((tmp_path / "out.jsonl").read_bytes())
        poisoned = len(server.behaviour.poisoned)
        assert poisoned > 5
        assert process.returncode == 4, said
        assert [record["id"] for record in found] == [record["id"] for record in records]
        assert re.search(rf"failed rollouts +{poisoned}\n", said.partition("error:")[0])  # the closing table
        assert f"{poisoned} rollouts of" in said.partition("error:")[2]
        for record in found:
            failed = record["sampling"].get("failed", [])
            assert sorted(one["index"] for one in [*record["rollouts"], *failed]) == list(range(N))
            assert all(one["finish_reason"] == "error" for one in failed)
            assert all("cut off" not in one["completion"] for one in record["rollouts"])
        reasons = [one["error"] for record in found for one in record["sampling"].get("failed", [])]
        expected = [SAID[kind] for kind in server.behaviour.poisoned.values()]
        assert sorted(next(one for one in SAID.values() if one in reason) for reason in reasons) == sorted(expected)
        assert all("(the last of 4 attempts)" in reason for reason in reasons)

        server.behaviour.healed = True
        assert subprocess.run(resumed, cwd=tmp_path, check=False, capture_output=True).returncode == 0
        subprocess.run([*command, "-o", "whole.jsonl"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert "failed_rollouts" not in json.loads((tmp_path / "report.json").read_bytes())
