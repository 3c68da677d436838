"""Reading and writing records: every odd byte that real files hold."""

import datetime
import gzip
import io
import json
import os
import threading
from decimal import Decimal

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from klear_data.errors import RecordError, UsageError
from klear_data.jsonl import BadLine, Source, parse_object, to_line
from klear_data.sink import open_sink


def read_all(path):
    source = Source(str(path))
    try:
        return list(source)
    finally:
        source.close()


def records_of(path):
    return [record for _, record in read_all(path)]


def write_bytes(tmp_path, data, name="in.jsonl"):
    path = tmp_path / name
    path.write_bytes(data)
    return path


def test_lines_carry_file_and_line_number(tmp_path):
    path = write_bytes(tmp_path, b'{"a":1}\n\n{"a":2}\n')
    assert [where for where, _ in read_all(path)] == [f"{path}:1", f"{path}:3"]


def test_bom_crlf_and_missing_last_newline_are_accepted(tmp_path):
    path = write_bytes(tmp_path, b'\xef\xbb\xbf{"a":1}\r\n{"a":2}\r\n{"a":3}')
    assert records_of(path) == [{"a": 1}, {"a": 2}, {"a": 3}]


def test_line_separators_inside_strings_do_not_split_lines(tmp_path):
    text = "one\u2028two\u2029three\x85four\x0bfive"
    path = write_bytes(
        tmp_path, json.dumps({"t": text}, ensure_ascii=False).replace("\x0b", "\\u000b").encode() + b"\n"
    )
    assert records_of(path) == [{"t": text}]


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b'{"a":"\xff"}', "UTF-8"),
        (b'{"a":"x\x00"}', "not JSON"),
        (b'{"a":1}\x00', "not JSON"),
        (b'{"a":"cut', "ends in the middle"),
        (b'{"a":[1,2', "middle of a JSON object"),
        (b"[1,2]", "a JSON array"),
        (b'"text"', "a JSON string"),
        (b"null", "a JSON null"),
        (b"12", "a JSON number"),
        (b'{"a":NaN}', "NaN is not JSON"),
        (b'{"a":-Infinity}', "-Infinity is not JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
    ],
)
def test_a_line_that_is_no_record_is_named_and_kept_whole(tmp_path, line, said):
    path = write_bytes(tmp_path, b'{"ok":1}\n' + line + b'\n{"ok":2}\n')
    first, bad, last = read_all(path)
    assert (first[1], last[1]) == ({"ok": 1}, {"ok": 2})
    assert isinstance(bad, BadLine)
    assert bad.where == f"{path}:2"
    assert said in bad.problem
    assert bad.raw == line


def test_a_line_of_50_mb_is_one_record(tmp_path):
    text = "x" * 50_000_000
    path = write_bytes(tmp_path, b'{"t":"' + text.encode() + b'"}\n{"t":"y"}\n')
    first, second = records_of(path)
    assert len(first["t"]) == len(text)
    assert second == {"t": "y"}


@pytest.mark.parametrize(
    "value",
    [10**30, -(2**64), 2**64, 1.0, 0.1, "\ud800", "a\x00b", "\u2028", {"": None}, [True, 1, 1.0], 12345678901234567890],
)
def test_values_survive_a_round_trip_with_their_types(value):
    again = parse_object(to_line({"v": value}))["v"]
    assert repr(again) == repr(value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda children: st.lists(children, max_size=4) | st.dictionaries(st.text(), children, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), json_values, max_size=5))
def test_any_object_round_trips_on_one_line(record):
    line = to_line(record)
    assert line.count(b"\n") == 1
    assert json.dumps(parse_object(line)) == json.dumps(record)


RECORDS = [
    {
        "schema": "klear/1",
        "prompt": [{"role": "user", "content": "x\u2028"}],
        "n": 1,
        "rollouts": [{"reward": None}, {"k": 1.0}],
    },
    {
        "schema": "klear/1",
        "prompt": [{"role": "user", "content": ""}],
        "n": 2,
        "extra": None,
        "huge": 10**40,
        "s": "\ud800",
    },
    {"n": 3, "schema": "klear/1", "prompt": [], "rollouts": []},
]


@pytest.mark.parametrize("name", ["x.jsonl", "x.jsonl.gz", "x.jsonl.zst", "x.parquet"])
def test_every_format_gives_back_what_it_was_given(tmp_path, name):
    path = tmp_path / name
    with open_sink(str(path)) as sink:
        for record in RECORDS:
            sink.write(record)
    again = records_of(path)
    assert again == RECORDS
    assert [repr(record["n"]) for record in again] == ["1", "2", "3"]
    assert os.listdir(tmp_path) == [name]


def test_parquet_keeps_uniform_nested_columns_native(tmp_path):
    import pyarrow.parquet as pq

    path = tmp_path / "x.parquet"
    with open_sink(str(path)) as sink:
        for n in range(3000):
            sink.write({"prompt": [{"role": "user", "content": str(n)}], "reward_model": {"ground_truth": str(n)}})
    table = pq.read_table(path)
    assert table["prompt"][2999].as_py() == [{"role": "user", "content": "2999"}]
    assert table["reward_model"][0].as_py() == {"ground_truth": "0"}


def test_parquet_from_elsewhere_is_read(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = tmp_path / "hub.parquet"
    pq.write_table(pa.table({"problem": ["a", "b"], "answer": ["1", None]}), path)
    assert records_of(path) == [{"problem": "a", "answer": "1"}, {"problem": "b", "answer": None}]


def test_a_file_that_is_no_parquet_says_so(tmp_path):
    path = write_bytes(tmp_path, b"not parquet at all", "x.parquet")
    with pytest.raises(RecordError, match=r"x\.parquet: not a Parquet file"):
        read_all(path)


def test_a_json_array_is_a_list_of_records(tmp_path):
    path = write_bytes(tmp_path, b' [{"a":1}, 5, {"a":2}]', "x.json")
    first, bad, last = read_all(path)
    assert first == (f"{path}:1", {"a": 1})
    assert bad.where == f"{path}:2"
    assert last == (f"{path}:3", {"a": 2})


def test_a_broken_json_array_is_an_error_not_an_empty_file(tmp_path):
    path = write_bytes(tmp_path, b'[{"a":1}, {"a"', "x.json")
    with pytest.raises(RecordError, match=r"x\.json"):
        read_all(path)


@pytest.mark.parametrize("name", ["x.jsonl.gz", "x.jsonl.zst"])
def test_compressed_data_cut_short_is_an_error_after_what_was_whole(tmp_path, name):
    data = b"".join(to_line({"n": n, "noise": os.urandom(200).hex()}) for n in range(5000))
    packed = gzip.compress(data) if name.endswith("gz") else zstandard.compress(data)
    path = write_bytes(tmp_path, packed[: len(packed) // 2], name)
    seen = 0
    with pytest.raises(RecordError, match="damaged or ends early"):
        for item in Source(str(path)):
            seen += not isinstance(item, BadLine)
    assert seen > 1000


def test_several_zstd_frames_are_one_file(tmp_path):
    data = zstandard.compress(b'{"a":1}\n') + zstandard.compress(b'{"a":2}\n')
    assert records_of(write_bytes(tmp_path, data, "x.jsonl.zst")) == [{"a": 1}, {"a": 2}]


def test_a_missing_file_and_a_folder_are_usage_errors(tmp_path):
    with pytest.raises(UsageError, match="no such file"):
        Source(str(tmp_path / "none.jsonl"))
    with pytest.raises(UsageError, match="a folder"):
        Source(str(tmp_path))


def test_an_unfinished_file_leaves_nothing_behind(tmp_path):
    path = tmp_path / "x.jsonl"
    path.write_text("old\n")
    with pytest.raises(ZeroDivisionError), open_sink(str(path)) as sink:
        sink.write({"a": 1})
        raise ZeroDivisionError
    assert path.read_text() == "old\n"
    assert os.listdir(tmp_path) == ["x.jsonl"]


def test_the_same_records_give_the_same_gzip_bytes(tmp_path):
    for name in ("a.jsonl.gz", "b.jsonl.gz"):
        with open_sink(str(tmp_path / name)) as sink:
            sink.write({"a": 1})
    assert (tmp_path / "a.jsonl.gz").read_bytes() == (tmp_path / "b.jsonl.gz").read_bytes()


def test_a_pipe_is_read_as_it_comes(monkeypatch):
    read_end, write_end = os.pipe()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BufferedReader(io.FileIO(read_end))))
    os.write(write_end, b'{"a":1}\n{"a":')
    items = iter(Source("-"))
    assert next(items) == ("<stdin>:1", {"a": 1})  # before the writer is done
    os.write(write_end, b"2}\n")
    os.close(write_end)
    assert list(items) == [("<stdin>:2", {"a": 2})]


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (b"1e400", "too large"),
        (b"-1e400", "too large"),
        (b"9" * 5000, "5,000 digits"),
        (b"[" * 201 + b"]" * 201, "at most 200 levels"),
        (b'{"a":' * 201 + b"1" + b"}" * 201, "at most 200 levels"),
        (b'"cut', "ends in the middle"),
    ],
)
def test_what_could_not_be_written_again_is_not_read(value, said):
    with pytest.raises(ValueError, match=said):
        parse_object(b'{"x":' + value + b"}")


def test_two_hundred_levels_go_in_and_out():
    line = b'{"x":' + b"[" * 199 + b"]" * 199 + b"}"
    assert to_line(parse_object(line)) == line + b"\n"


def test_brackets_inside_strings_are_no_levels():
    line = b'{"x":"' + b"[{" * 500 + b'"}'
    assert to_line(parse_object(line)) == line + b"\n"


def test_elements_of_an_array_that_are_no_objects_are_bad_lines(tmp_path):
    (tmp_path / "a.json").write_bytes(rb'[{"a":1},123456789012345678901234567890,"\ud800",[]]')
    first, *bad = Source(str(tmp_path / "a.json"))
    assert first[1] == {"a": 1}
    assert [json.loads(line.raw) for line in bad] == [123456789012345678901234567890, "\ud800", []]


def test_a_json_file_may_be_a_pipe(tmp_path):
    for name, content in {"array": b'[{"a":1}]', "lines": b'{"a":1}\n'}.items():
        pipe = tmp_path / f"{name}.json"
        os.mkfifo(pipe)
        threading.Thread(target=pipe.write_bytes, args=(content,), daemon=True).start()
        assert [row for _, row in Source(str(pipe))] == [{"a": 1}]


@pytest.mark.skipif(not os.path.exists("/proc/self/mem"), reason="needs a file that fails when it is read")
def test_a_file_that_fails_while_it_is_read_is_said():
    with pytest.raises(UsageError, match="/proc/self/mem:1: can't be read"):
        list(Source("/proc/self/mem"))


def test_parquet_cells_that_json_does_not_know_become_text_or_null(tmp_path):
    table = pa.table(
        {
            "day": [datetime.date(2025, 8, 12)],
            "image": [b"\xff"],
            "price": [Decimal("1.50")],
            "year": pa.array([float("nan")], pa.float64()),
            "deep": [[{"infinite": float("inf")}]],
        }
    )
    pq.write_table(table, tmp_path / "x.parquet")
    (record,) = records_of(tmp_path / "x.parquet")
    assert record == {"day": "2025-08-12", "image": "/w==", "price": "1.50", "year": None, "deep": [{"infinite": None}]}
    assert parse_object(to_line(record)) == record
