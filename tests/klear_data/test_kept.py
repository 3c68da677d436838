"""What `klear sample --resume` keeps on disk: nothing lost, nothing twice, the order of the input at the end."""

from __future__ import annotations

import itertools
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest

from klear_data.errors import UsageError
from klear_data.generate.kept import KeptSink

SETTINGS = {"model": "m", "seed": 1, "system": None}


def record(number: int, **keys: Any) -> dict[str, Any]:
    return {"id": str(number), "note": f"\u2028{number}", **keys}


def done(number: int, **sampling: Any) -> dict[str, Any]:
    written = {"model": "m", "seed": 1, **sampling}
    return record(number, sampling=written, rollouts=[{"completion": f"answer {number}"}])


def finish(path: Path, numbers: list[int], order: list[int], **how: Any) -> list[int]:
    """One run over ``numbers`` whose rest finishes in ``order``; which ones were left to do."""
    with KeptSink(str(path), SETTINGS, **how) as sink:
        rest = [number for number in numbers if not sink.takes(record(number))]
        for number in order:
            if number in rest:
                sink.write(done(number))
    return rest


def ids(path: Path) -> list[str]:
    return [json.loads(line)["id"] for line in path.read_bytes().splitlines()]


def killed(path: Path, finished: list[int], tail: bytes = b"") -> None:
    lines = "".join(json.dumps(done(number)) + "\n" for number in finished).encode()
    path.with_name(path.name + ".partial").write_bytes(lines + tail)


def test_records_land_in_the_order_of_the_input(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    assert finish(path, [1, 2, 3, 4], [3, 1, 4, 2]) == [1, 2, 3, 4]
    assert ids(path) == ["1", "2", "3", "4"]
    assert [one.name for one in tmp_path.iterdir()] == ["out.jsonl"]


def test_only_the_rest_is_left_and_a_half_written_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    whole = tmp_path / "whole.jsonl"
    finish(whole, [1, 2, 3, 4], [1, 2, 3, 4])
    line = json.dumps(done(4)).encode()
    for cut in (1, len(line) // 2, len(line)):
        path.unlink(missing_ok=True)
        killed(path, [3, 1], line[:cut])
        assert finish(path, [1, 2, 3, 4], [4, 2]) == [2, 4]
        assert [json.loads(one) for one in path.open()] == [json.loads(one) for one in whole.open()]


def test_a_complete_file_leaves_nothing_to_do_and_stays_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    finish(path, [1, 2, 3], [2, 1, 3])
    before = path.stat()
    assert finish(path, [1, 2, 3], []) == []
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert finish(path, [0, 1, 2, 3, 4], [4, 0]) == [0, 4]  # a longer input: what is new is done
    assert ids(path) == ["0", "1", "2", "3", "4"]


def test_records_with_failed_rollouts_are_done_again_and_stand_there_once(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with KeptSink(str(path), SETTINGS) as sink:
        for number in (1, 2):
            sink.takes(record(number))
        sink.write(done(2, failed=[{"index": 0, "error": "HTTP 500"}]))
        sink.write(done(1))
    assert finish(path, [1, 2], [2]) == [2]
    assert [json.loads(line) for line in path.open()] == [done(1), done(2)]


def test_equal_records_each_get_their_line(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    killed(path, [5])
    with KeptSink(str(path), SETTINGS) as sink:
        assert [sink.takes(record(number)) for number in (5, 6, 5)] == [True, False, False]
        sink.write(done(5))
        sink.write(done(6))
    assert ids(path) == ["5", "6", "5"]


def test_unordered_output_is_as_the_records_finished(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    killed(path, [3])
    finish(path, [1, 2, 3, 4], [4, 1, 2], ordered=False)
    assert ids(path) == ["3", "4", "1", "2"]


def test_an_interrupted_run_keeps_its_records_and_an_empty_one_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with pytest.raises(KeyboardInterrupt):
        with KeptSink(str(path), SETTINGS) as sink:
            raise KeyboardInterrupt
    assert not list(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        with KeptSink(str(path), SETTINGS) as sink:
            sink.takes(record(1))
            sink.write(done(1))
            raise KeyboardInterrupt
    assert [one.name for one in tmp_path.iterdir()] == ["out.jsonl.partial"]
    assert finish(path, [1], []) == []


@pytest.mark.parametrize("name", ["out.jsonl", "out.jsonl.partial"])
@pytest.mark.parametrize(
    ("line", "said"),
    [
        (json.dumps(done(1, seed=2)).encode(), "sampled with {'seed': 2}; .*same settings"),
        (json.dumps(done(1, system="s")).encode(), "sampled with {'system': 's'}"),
        (json.dumps(record(1)).encode(), "a record that was not sampled"),
        (b"\x00", "remove it to begin anew"),
    ],
)
def test_what_another_run_left_is_not_touched(tmp_path: Path, name: str, line: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(json.dumps(done(2)).encode() + b"\n" + line + b"\n")
    with pytest.raises(UsageError, match=rf"{name}:2: .*{said}"):
        KeptSink(str(tmp_path / "out.jsonl"), SETTINGS)
    assert [one.name for one in tmp_path.iterdir()] == [name]


def test_another_input_is_refused_and_what_is_there_stays(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    killed(path, [1, 2])
    with pytest.raises(UsageError, match="1 finished records that the input does not hold"):
        finish(path, [1, 3], [3])
    assert ids(tmp_path / "out.jsonl.partial") == ["1", "2", "3"]
    assert not path.exists()


def test_two_runs_do_not_write_one_file_and_only_jsonl_can_be_resumed(tmp_path: Path) -> None:
    path = str(tmp_path / "out.jsonl")
    with KeptSink(path, SETTINGS):
        with pytest.raises(UsageError, match="another run is writing it"):
            KeptSink(path, SETTINGS)
    for other in ("-", "out.parquet", "out.jsonl.gz"):
        with pytest.raises(UsageError, match=r"expected a \.jsonl file with --resume"):
            KeptSink(other, SETTINGS)


def test_a_kill_before_any_step_of_landing_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    numbers = [1, 2, 3]
    finish(tmp_path / "whole.jsonl", numbers, numbers)
    for earlier in ([], [2]):  # without and with an output of an earlier run
        for at in itertools.count():
            for one in tmp_path.glob("*out.jsonl*"):
                one.unlink()
            if earlier:
                finish(path, earlier, earlier)
            pid = os.fork()
            if pid == 0:
                _killed_at_step(at)
                finish(path, numbers, [3, 1, 2])
                os._exit(0)
            was_killed = os.waitpid(pid, 0)[1] == signal.SIGKILL
            finish(path, numbers, numbers)
            assert path.read_bytes() == (tmp_path / "whole.jsonl").read_bytes(), at
            assert sorted(one.name for one in tmp_path.iterdir()) == ["out.jsonl", "whole.jsonl"], at
            if not was_killed:
                break
        assert at >= 3  # so many steps there are at least


def _killed_at_step(at: int) -> None:
    """From now on this process kills itself before its step number ``at`` on files."""
    steps = itertools.count()

    def counted(name: str, arguments: Any) -> None:
        if name in ("os.rename", "os.remove", "os.truncate", "open") and next(steps) == at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(counted)
