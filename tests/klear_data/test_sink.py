"""Outputs: what a path may be besides a plain new file."""

import json
import os
import stat
import threading

import pytest

from klear_data.errors import UsageError
from klear_data.sink import JsonSink, open_sink

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
