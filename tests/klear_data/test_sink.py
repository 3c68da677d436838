"""Outputs: what a path may be besides a plain new file."""

import json
import os
import stat
import threading

import pytest

from klear_data.errors import UsageError
from klear_data.sink import JsonSink, ResumableSink, open_sink

RECORD = {"id": "1", "text": "\u2028"}


def write(path, records):
    with open_sink(str(path)) as sink:
        for record in records:
            sink.write(record)


def test_a_named_pipe_is_written_and_stays_a_pipe(tmp_path):
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    got = []
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()), daemon=True)
    reader.start()
    write(pipe, [RECORD])
    reader.join(timeout=10)
    assert json.loads(got[0]) == RECORD
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    assert os.listdir(tmp_path) == ["pipe"]


def test_a_link_is_followed_and_stays_a_link(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out.jsonl").symlink_to(tmp_path / "elsewhere" / "real.jsonl")
    write(tmp_path / "out.jsonl", [RECORD])
    assert (tmp_path / "out.jsonl").is_symlink()
    assert json.loads((tmp_path / "elsewhere" / "real.jsonl").read_bytes()) == RECORD


@pytest.mark.parametrize("path", ["", "/", ".", ".."])
def test_a_folder_is_no_output(path):
    with pytest.raises(UsageError, match="a folder"):
        open_sink(path)


def test_json_holds_what_utf8_can_not(tmp_path):
    with JsonSink(str(tmp_path / "report.json")) as sink:
        sink.write({"\ud800": 1})
    assert json.loads((tmp_path / "report.json").read_bytes()) == {"\ud800": 1}


def test_two_runs_do_not_write_one_partial_file(tmp_path):
    path = str(tmp_path / "out.jsonl")
    with ResumableSink(path) as first:
        first.write(RECORD)
        with pytest.raises(UsageError, match="another run"):
            ResumableSink(path)
    assert json.loads((tmp_path / "out.jsonl").read_bytes()) == RECORD


def test_a_damaged_partial_file_is_said_with_its_line(tmp_path):
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(b'{"id": "1"}\n\x00\x00\n')
    with pytest.raises(UsageError, match=r"out\.jsonl\.partial:2: .*remove it"):
        ResumableSink(str(tmp_path / "out.jsonl"))
    assert partial.read_bytes() == b'{"id": "1"}\n\x00\x00\n'


def test_a_half_written_last_line_is_cut_off(tmp_path):
    partial = tmp_path / "out.jsonl.partial"
    partial.write_bytes(b'{"id": "1"}\n{"id"')
    with ResumableSink(str(tmp_path / "out.jsonl")) as sink:
        assert (sink.finished, sink.last) == (1, {"id": "1"})
        sink.write({"id": "2"})
    assert (tmp_path / "out.jsonl").read_bytes() == b'{"id": "1"}\n{"id":"2"}\n'
