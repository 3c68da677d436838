"""`klear sample` through the shell: killed at random moments, against servers, with wrong input."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from klear_data.schema import RECORD_SCHEMA
from tests.cli.conftest import BIN, judged, lines, parsed
from tests.klear_data.api_server import ApiServer, serving

pytest.importorskip("httpx2")

SAMPLING_KEYS = RECORD_SCHEMA["properties"]["sampling"]["properties"].keys()


def problems(count):
    return [{key: value for key, value in judged(at).items() if key != "rollouts"} for at in range(count)]


def over_http(server, *options):
    return ["sample", "in.jsonl", "--model", "m", "--backend", "openai", "--base-url", server.url, "--n", "2", *options]


def klear(folder, arguments):
    return subprocess.run([BIN / "klear", *arguments], capture_output=True, cwd=folder, check=False, timeout=120)


def killed_until_done(folder, arguments, *, draw, longest_s):
    """Start the same line again and again, each time killed after a random while, until one ends by itself."""
    kills = 0
    while True:
        process = subprocess.Popen([BIN / "klear", *arguments], cwd=folder, stderr=subprocess.PIPE)
        try:
            _, said = process.communicate(timeout=draw.uniform(0, longest_s))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills += 1
            continue
        assert process.returncode == 0, said.decode()
        return kills


@pytest.mark.slow
def test_a_run_killed_at_random_moments_asks_for_the_rest_only_and_ends_the_same(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(lines(problems(300)))
    with serving(ApiServer(delay_s=0.05)) as server:
        assert klear(tmp_path, over_http(server, "-q", "-o", "whole.jsonl", "--concurrency", "8")).returncode == 0
        once = len(server.seen)
        resumed = over_http(server, "-q", "--resume", "-o", "out.jsonl", "--concurrency", "8")
        kills = killed_until_done(tmp_path, resumed, draw=random.Random(5), longest_s=2.5)
        assert kills >= 3
        # A kill loses what is under way: eight requests, and the finished half of their pairs.
        assert once == 600
        assert len(server.seen) - once <= 600 + kills * 16
        asked = len(server.seen)
        again = klear(tmp_path, [*resumed, "--report", "report.json"])
        assert (again.returncode, len(server.seen)) == (0, asked)  # nothing was sampled anew
    report = json.loads((tmp_path / "report.json").read_bytes())
    assert (report["in"], report["out"], report["kept_from_before"]) == (300, 300, 300)
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.jsonl", "out.jsonl", "report.json", "whole.jsonl"]


def test_failures_are_counted_leave_with_code_4_and_are_tried_again_on_request(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(lines(problems(6)))
    broken = True

    def fails_on_one(request, _):
        return (500, {}, b"boom") if broken and request["messages"][0]["content"] == "3 + 1?" else None

    with serving(ApiServer(behaviour=fails_on_one)) as server:
        line = over_http(server, "--resume", "-o", "out.jsonl", "--retries", "0")
        first = klear(tmp_path, line)
        assert first.returncode == 4, first.stderr
        assert b"2 rollouts of 1 records failed" in first.stderr
        assert b"failed rollouts" in first.stderr.partition(b"error:")[0]  # the closing table
        records = parsed((tmp_path / "out.jsonl").read_bytes())
        assert all(record["sampling"].keys() <= SAMPLING_KEYS for record in records)
        assert [len(record["rollouts"]) for record in records] == [2, 2, 2, 0, 2, 2]
        assert [one["finish_reason"] for one in records[3]["sampling"]["failed"]] == ["error", "error"]
        assert records[3]["sampling"]["failed"][0]["error"].startswith("HTTP 500: boom")
        broken, asked = False, len(server.seen)
        assert klear(tmp_path, line).returncode == 0
        assert len(server.seen) == asked + 2
        assert klear(tmp_path, over_http(server, "-o", "whole.jsonl")).returncode == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


def test_a_prompt_beyond_the_context_is_kept_marked_and_counted(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(lines(problems(3)))

    def small(request, _):
        return (400, {}, b"maximum context length") if request["messages"][0]["content"] == "1 + 1?" else None

    with serving(ApiServer(behaviour=small)) as server:
        result = klear(tmp_path, over_http(server, "--report", "report.json"))
    assert result.returncode == 0, result.stderr
    records = parsed(result.stdout)
    assert [record["sampling"].get("prompt_too_long") for record in records] == [None, True, None]
    assert [one["completion"] for one in records[1]["rollouts"]] == ["", ""]
    assert json.loads((tmp_path / "report.json").read_bytes())["prompts_too_long"] == 1


def test_a_server_that_goes_for_good_keeps_what_is_finished(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(lines(problems(400)))
    server = ApiServer(delay_s=0.02)
    with serving(server):
        line = over_http(server, "--resume", "-o", "out.jsonl", "--concurrency", "4", "--patience", "1")
        process = subprocess.Popen([BIN / "klear", *line], cwd=tmp_path, stderr=subprocess.PIPE)
        while len(server.seen) < 40:
            time.sleep(0.01)
    said = process.communicate(timeout=60)[1]
    assert process.returncode == 4, said
    assert b"no request succeeded for 1 s" in said
    kept = parsed((tmp_path / "out.jsonl.partial").read_bytes())
    assert 10 <= len(kept) < 400
    assert not any("failed" in record["sampling"] for record in kept)


def test_ctrl_c_finishes_what_is_in_flight_and_keeps_it(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(lines(problems(2000)))
    with serving(ApiServer(delay_s=0.02)) as server:
        line = over_http(server, "--resume", "-o", "out.jsonl", "--concurrency", "4")
        process = subprocess.Popen([BIN / "klear", *line], cwd=tmp_path, stderr=subprocess.PIPE)
        while len(server.seen) < 40:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=60)[1]
        assert process.returncode == 130, said
        assert b"what is finished is kept" in said
        assert len(parsed((tmp_path / "out.jsonl.partial").read_bytes())) == len(server.seen) / 2


def test_the_system_prompt_is_sent_and_written_down_and_append_counts_on(tmp_path):
    records = problems(2)
    records[1]["rollouts"] = [{"index": 0, "completion": "a"}, {"index": 5, "completion": "b"}]
    (tmp_path / "in.jsonl").write_bytes(lines(records))
    with serving(ApiServer()) as server:
        options = ["--system", "Be brief.", "--stop", "END", "--append", "--unordered"]
        found = parsed(klear(tmp_path, over_http(server, *options)).stdout)
    assert {request["messages"][0]["content"] for request in server.seen} == {"Be brief."}
    assert all(request["stop"] == ["END"] for request in server.seen)
    by_id = {record["id"]: record for record in found}
    assert all(record["sampling"].keys() <= SAMPLING_KEYS for record in found)
    assert [one["index"] for one in by_id[records[1]["id"]]["rollouts"]] == [0, 5, 6, 7]
    assert by_id[records[0]["id"]]["sampling"]["system"] == "Be brief."
    assert by_id[records[0]["id"]]["prompt"] == records[0]["prompt"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("torch")
    from klear_train.tiny import make_tiny_model

    return make_tiny_model(tmp_path_factory.mktemp("tiny") / "model", hidden_size=32, num_layers=1, num_heads=1)


def test_a_dry_run_shows_the_prompt_in_its_template_and_samples_nothing(tmp_path, model):
    (tmp_path / "in.jsonl").write_bytes(lines(problems(5)))
    shown = klear(tmp_path, ["sample", "in.jsonl", "--model", model, "--dry-run", "--system", "S", "-o", "out.jsonl"])
    assert shown.returncode == 0, shown.stderr
    assert b"temperature: 1.0" in shown.stdout
    assert b"<|system|>S<|end|><|user|>0 + 1?<|end|><|assistant|>" in shown.stdout
    assert not (tmp_path / "out.jsonl").exists()
    line = [
        "sample",
        "in.jsonl",
        "--model",
        "m",
        "--backend",
        "openai",
        "--base-url",
        "http://127.0.0.1:1",
        "--dry-run",
    ]
    assert b'"content": "0 + 1?"' in klear(tmp_path, line).stdout  # no server is asked


@pytest.mark.slow
def test_a_transformers_run_killed_while_it_writes_ends_the_same(tmp_path, model):
    (tmp_path / "in.jsonl").write_bytes(lines(problems(60)))
    line = ["sample", "in.jsonl", "--model", model, "--n", "2", "--max-tokens", "40", "--batch-size", "4", "-q"]
    assert klear(tmp_path, [*line, "-o", "whole.jsonl"]).returncode == 0
    partial = tmp_path / "out.jsonl.partial"
    draw = random.Random(1)
    for _ in range(2):
        process = subprocess.Popen([BIN / "klear", *line, "--resume", "-o", "out.jsonl"], cwd=tmp_path)
        before = partial.stat().st_size if partial.exists() else 0
        while process.poll() is None and (not partial.exists() or partial.stat().st_size <= before):
            time.sleep(0.01)
        time.sleep(draw.uniform(0, 0.3))
        process.kill()
        process.wait()
    os.truncate(partial, partial.stat().st_size - 5)
    assert klear(tmp_path, [*line, "--resume", "-o", "out.jsonl"]).returncode == 0
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("--backend openai", 2, "no server is named"),
        ("--base-url http://x/v1", 2, "--base-url is given"),
        ("--backend openai --base-url http://127.0.0.1:1/v1", 4, "no server answers"),
        ("--backend openai --base-url nowhere", 2, "no URL"),
        ("--data-parallel 2", 2, "--data-parallel is given; expected it with --backend vllm"),
        ("--backend openai --base-url http://x/v1 --tensor-parallel 2", 2, "give it to the server"),
        ("--backend vllm --n 0", 2, "--n"),
    ],
)
def test_wrong_options_are_said_and_leave_no_file(tmp_path, options, code, said):
    (tmp_path / "in.jsonl").write_bytes(lines(problems(1)))
    result = klear(tmp_path, ["sample", "in.jsonl", "--model", "m/m", *options.split(), "--resume", "-o", "out.jsonl"])
    assert (result.returncode, b"Traceback" in result.stderr) == (code, False), result.stderr
    assert said in result.stderr.decode()
    assert [path.name for path in tmp_path.iterdir()] == ["in.jsonl"]


def test_a_missing_vllm_names_the_command_that_installs_it(tmp_path):
    (tmp_path / "in.jsonl").write_bytes(lines(problems(1)))
    program = (
        "import importlib.util as u, sys\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'vllm' else find(name, *rest)\n"
        "sys.argv = ['klear', 'sample', 'in.jsonl', '--model', 'a/b', '--backend', 'vllm']\n"
        "from cli.main import main\nmain()\n"
    )
    result = subprocess.run([BIN / "python", "-c", program], capture_output=True, cwd=tmp_path, check=False)
    assert result.returncode == 4, result.stderr
    assert b"pip install 'klear-reasoner[vllm]'" in result.stderr
