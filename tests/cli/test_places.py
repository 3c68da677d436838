"""Where a stage reads and writes: odd paths, closed streams, reports, interrupted runs."""

import os
import stat
import subprocess

import pytest

from tests.cli.conftest import BIN, judged, lines, parsed


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("klear label <&-", "<stdin>: closed"),
        ("klear label >&-", "<stdout>: closed"),
        ("klear label -o ''", "a folder"),
        ("klear label -o /", "a folder"),
        ("klear label --report -", "named for two outputs"),
        ("klear label -o a.jsonl --rejects ./a.jsonl", "named for two outputs"),
        ("klear schema > /dev/full", "No space left"),
        ("klear sources > /dev/full", "No space left"),
        ("klear doctor > /dev/full", "No space left"),
        ("klear curate --sources - --decontaminate -", "stdin is named for two inputs"),
        ("klear reward-code --tests-from -", "stdin is named for two inputs"),
        ("klear train rl --recipe tiny-rl --out x --data - --eval-data -", "stdin is named for two inputs"),
    ],
)
def test_a_place_that_can_not_serve_is_a_usage_error(shell, line, said):
    result = shell(line, stdin=b"")
    assert result.returncode == 2, result.stderr
    assert said in result.stderr.decode()
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("line", ["klear doctor | head -1", "klear sources | head -1", "klear schema | head -1"])
def test_a_reader_that_goes_away_is_no_failure(shell, line):
    result = shell(line)
    assert (result.returncode, result.stderr) == (0, b"")


def test_a_closed_stderr_is_no_failure(shell):
    result = shell("klear label 2>&-", stdin=lines([judged(1)]))
    assert result.returncode == 0
    assert len(parsed(result.stdout)) == 1


def test_show_prints_what_the_terminal_can_not_hold(shell):
    result = shell("PYTHONIOENCODING=ascii klear show", stdin=lines([judged(1, note="\ud800 …")]))
    assert result.returncode == 0
    assert rb"\ud800 \u2026" in result.stdout


def test_a_report_that_can_not_be_written_is_said_before_the_work(shell, tmp_path):
    result = shell("klear label --report none/r.json -o out.jsonl", stdin=lines([judged(1)]))
    assert result.returncode == 2
    assert b"create the folder none first" in result.stderr
    assert os.listdir(tmp_path) == []


def test_a_report_may_go_to_stdout(shell):
    result = shell("klear label -q --report - -o out.jsonl", stdin=lines([judged(1)]))
    (report,) = parsed(result.stdout)
    assert (report["in"], report["out"]) == (1, 1)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a device")
def test_a_device_is_never_replaced_by_a_file(shell, tmp_path):
    try:
        os.mknod(tmp_path / "null", 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    except PermissionError:
        pytest.skip("this root can't make a device")
    result = shell("klear label -q -o null", stdin=lines([judged(1)]))
    assert result.returncode == 0, result.stderr
    assert stat.S_ISCHR((tmp_path / "null").stat().st_mode)
    assert os.listdir(tmp_path) == ["null"]


@pytest.mark.parametrize("limit", [0, 2])
def test_limit_does_not_wait_for_a_line_it_will_not_read(limit):
    process = subprocess.Popen(
        [BIN / "klear", "label", "-q", "--limit", str(limit)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    process.stdin.write(lines([judged(n) for n in range(limit)]))
    process.stdin.flush()
    assert process.wait(timeout=30) == 0
    assert len(parsed(process.stdout.read())) == limit
    process.stdin.close()
    process.stdout.close()
