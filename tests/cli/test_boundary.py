"""What holds for every stage, tried on `klear label` with real processes and pipes."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from tests.cli.conftest import BIN, judged, lines, parsed

BAD_LINE = b'{"schema": "klear/1", "id": '


def test_records_on_stdout_and_everything_else_on_stderr(shell):
    result = shell("klear label", stdin=lines([judged(1), judged(2)]))
    assert result.returncode == 0
    assert [record["difficulty"]["pass_rate"] for record in parsed(result.stdout)] == [0.5, 0.5]
    assert b"klear label: in 2  out 2  dropped 0  quarantined 0" in result.stderr


def test_unknown_keys_pass_through_untouched(shell):
    record = judged(1, mine={"deep": [1, 1.0, None, "\u2028", 10**25]}, _x="\ud83d\ude00")
    (out,) = parsed(shell("klear label -q", stdin=lines([record])).stdout)
    out.pop("difficulty")
    assert json.dumps(out) == json.dumps(record)


def test_a_malformed_line_stops_with_file_line_and_advice(shell, tmp_path):
    (tmp_path / "in.jsonl").write_bytes(lines([judged(1)]) + BAD_LINE + b"\n" + lines([judged(2)]))
    result = shell("klear label in.jsonl -o out.jsonl")
    assert result.returncode == 3
    message = result.stderr.decode().splitlines()[-1]
    assert message.startswith("error: in.jsonl:2: ")
    assert "--quarantine" in message
    assert not (tmp_path / "out.jsonl").exists()


def test_quarantine_keeps_every_byte_of_a_bad_line_and_the_books_balance(shell, tmp_path):
    broken = [BAD_LINE, b'{"a": "\xff\x00"}', b"[1]", json.dumps({"schema": "klear/1"}).encode()]
    (tmp_path / "in.jsonl").write_bytes(lines([judged(1)]) + b"\n".join(broken) + b"\n" + lines([judged(2)]))
    result = shell("klear label in.jsonl -o out.jsonl --quarantine bad.jsonl --report report.json")
    assert result.returncode == 0, result.stderr
    report = json.loads((tmp_path / "report.json").read_text())
    assert (report["in"], report["out"], report["quarantined"], report["rejected"]) == (6, 2, 4, 0)
    kept = parsed((tmp_path / "bad.jsonl").read_bytes())
    assert [line["where"] for line in kept] == [f"in.jsonl:{n}" for n in (2, 3, 4, 5)]
    import base64

    raw = [line["raw"].encode() if "raw" in line else base64.b64decode(line["raw_base64"]) for line in kept]
    assert raw[:3] == broken[:3]
    assert json.loads(raw[3]) == json.loads(broken[3])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rollouts": None}, "run `klear sample` first"),
        ({"rollouts": [{"completion": "x"}]}, "klear reward-math"),
        ({"rollouts": [{"completion": "x"}], "ability": "code"}, "klear reward-code"),
        ({"rollouts": [{"completion": 7}]}, "rollouts[0].completion"),
        ({"rollouts": [{"completion": "x", "reward": "1", "verdict": "AC"}]}, "expected a number or null"),
        ({"prompt": "1+1?"}, "chat messages"),
        ({"ability": "music"}, "math, code"),
        ({"reward_model": {"ground_truth": 2}}, "ground_truth"),
        ({"schema": "klear/9"}, "klear/9"),
        ({"id": None}, "'id'"),
    ],
)
def test_a_wrong_type_names_the_key_and_what_to_do(shell, change, said):
    result = shell("klear label", stdin=lines([{**judged(1), **change}]))
    assert result.returncode == 3
    assert result.stdout == b""
    assert result.stderr.startswith(b"error: <stdin>:1: ")
    assert said in result.stderr.decode()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("klear label none.jsonl", "none.jsonl: no such file"),
        ("klear label .", "a folder"),
        ("klear label -o nowhere/out.jsonl", "nowhere"),
        ("klear label -o /proc/out.jsonl", "can't be written"),
        ("klear label -o a.jsonl --rejects a.jsonl", "named for two outputs"),
        ("klear label --hard-below 2", "--hard-below"),
        ("klear label --nonsense", "--nonsense"),
        ("klear nonsense", "nonsense"),
        ("klear format sft --correctness sometimes", "sometimes"),
        ("klear curate --sources none.jsonl", "none.jsonl"),
        ("klear curate --sources OpenThoughts4", "OpenThoughts3"),
        ("klear curate --sources top:zero", "top:K"),
        ("klear curate --sources - --decontaminate ''", "--decontaminate: empty"),
        ("klear curate --sources - --decontaminate a.jsonl --decontaminate ,", "--decontaminate: empty"),
        ("klear audit-decontamination --decontaminate ''", "--decontaminate: empty"),
    ],
)
def test_usage_errors_exit_2_and_name_the_culprit(shell, line, said):
    result = shell(line, stdin=b"")
    assert result.returncode == 2
    assert said in result.stderr.decode()
    assert b"Traceback" not in result.stderr


def test_an_empty_input_gives_an_empty_output(shell, tmp_path):
    assert shell("klear label -o out.jsonl", stdin=b"").returncode == 0
    assert (tmp_path / "out.jsonl").read_bytes() == b""


def test_limit_reads_no_further(shell):
    result = shell("klear label --limit 2", stdin=lines([judged(1), judged(2)]) + BAD_LINE)
    assert result.returncode == 0
    assert len(parsed(result.stdout)) == 2


def test_quiet_says_nothing(shell):
    assert shell("klear label -q", stdin=lines([judged(1)])).stderr == b""


def test_rejects_hold_the_record_the_stage_and_the_reason(shell, tmp_path):
    records = [judged(1, difficulty={"pass_rate": 0.5}), judged(2, difficulty={"pass_rate": 0.75})]
    result = shell("klear format rl --rejects no.jsonl", stdin=lines(records))
    assert parsed(result.stdout) == records[1:]
    (rejected,) = parsed((tmp_path / "no.jsonl").read_bytes())
    why = rejected.pop("rejected")
    assert rejected == records[0]
    assert why == {"stage": "format rl", "reason": "pass_rate_not_above_half", "pass_rate": 0.5}
    assert b"in 2  out 1  dropped 1" in result.stderr


def test_a_fan_out_counts_records_and_lines(shell, tmp_path):
    result = shell("klear format sft --report r.json", stdin=lines([judged(1), judged(2, verdicts=("XX",))]))
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["in"], report["out"], report["lines"], report["dropped"]) == (2, 1, 2, {"unscored": 1})
    assert len(parsed(result.stdout)) == 2


@pytest.mark.parametrize("suffix", [".jsonl.gz", ".jsonl.zst", ".parquet"])
def test_stages_pass_records_on_in_every_format(shell, suffix, tmp_path):
    shell(f"klear label -o a{suffix}", stdin=lines([judged(1), judged(2)]))
    direct = shell("klear label -q", stdin=lines([judged(1), judged(2)]))
    through = shell(f"klear label -q a{suffix}")
    assert parsed(through.stdout) == parsed(direct.stdout)


def test_a_closed_pipe_ends_quietly(shell, tmp_path):
    (tmp_path / "in.jsonl").write_bytes(lines(judged(n) for n in range(20_000)))
    result = shell("klear label in.jsonl | head -1")
    assert result.returncode == 0
    assert len(parsed(result.stdout)) == 1
    assert result.stderr == b""


def test_ctrl_c_finishes_what_is_in_flight(tmp_path):
    process = subprocess.Popen(
        [BIN / "klear", "label"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdin.write(lines([judged(1), judged(2)]))
    process.stdin.flush()
    assert process.stdout.readline()  # the stage runs
    process.send_signal(signal.SIGINT)
    time.sleep(0.2)
    out, err = process.communicate(lines([judged(3)]), timeout=30)
    assert process.returncode == 130
    assert out.endswith(b"}\n")  # the stream is whole
    assert b"finishing what is in flight" in err
    assert b"in 2  out 2" in err


def test_ctrl_c_leaves_no_half_file(tmp_path):
    process = subprocess.Popen(
        [BIN / "klear", "label", "-o", tmp_path / "out.jsonl"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdin.write(lines([judged(1)]))
    process.stdin.flush()
    deadline = time.monotonic() + 30
    while not os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert b"not written" in err
    assert os.listdir(tmp_path) == []


def test_sigterm_leaves_no_half_file(tmp_path):
    process = subprocess.Popen(
        [BIN / "klear", "label", "-o", tmp_path / "out.jsonl"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    deadline = time.monotonic() + 30
    while not os.listdir(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.05)
    process.terminate()
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (143, b"")
    assert os.listdir(tmp_path) == []


def test_a_full_stdout_is_said_not_swallowed(shell):
    result = shell("klear label > /dev/full", stdin=lines([judged(1)]))
    assert result.returncode == 2
    assert b"No space left" in result.stderr


@pytest.mark.skipif(
    shutil.which("unshare") is None
    or subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0,
    reason="needs a user namespace to mount a small tmpfs",
)
@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet", "out.jsonl.gz"])
def test_a_full_disk_is_said_and_leaves_no_half_file(shell, tmp_path, name):
    noise = [judged(n, noise=os.urandom(300).hex()) for n in range(500)]
    (tmp_path / "in.jsonl").write_bytes(lines(noise))
    (tmp_path / "small").mkdir()
    inside = (
        f"mount -t tmpfs -o size=64k none small && {{ klear label in.jsonl -o small/{name}; echo $?; ls -A small; }}"
    )
    result = shell(f"unshare -rm bash -c '{inside}'")
    assert result.stdout.decode().split() == ["2"]
    assert b"No space left on device" in result.stderr
    assert b"Traceback" not in result.stderr


def test_a_bug_is_called_a_bug(tmp_path):
    program = (
        "import cli.main, klear_data.difficulty as d\n"
        "def broken(*_, **__): raise ZeroDivisionError('oops')\n"
        "import cli.label; cli.label.label_difficulty = broken\n"
        "import sys; sys.argv = ['klear', 'label']; cli.main.main()\n"
    )
    result = subprocess.run([sys.executable, "-c", program], input=lines([judged(1)]), capture_output=True, check=False)
    assert result.returncode == 1
    assert b"ZeroDivisionError" in result.stderr
    assert b"bug in klear" in result.stderr
