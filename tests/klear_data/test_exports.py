"""Exports: what the loaders of verl and TRL read, and what klear reads back."""

import json
import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from klear_data.errors import UsageError
from klear_data.export import parquet as export_parquet
from klear_data.export.parquet import ExportSink
from klear_data.export.rows import record_of, rl_row, sft_row
from klear_data.jsonl import Source
from klear_data.sink import FileSink

RL_COLUMNS = ["data_source", "prompt", "ability", "reward_model", "extra_info"]
HUGE_TESTS = json.dumps({"inputs": ["7\n" * 400_000] * 3, "outputs": ["é\x00\n"] * 3})


def problem(number, **keys):
    return {
        "schema": "klear/1",
        "id": f"{number:016x}",
        "data_source": "made-up",
        "ability": "math",
        "prompt": [{"role": "user", "content": f"{number} + 1?"}],
        "reward_model": {"style": "rule", "ground_truth": str(number + 1)},
        "extra_info": {"index": number, "split": "train"},
        "difficulty": {"pass_rate": 0.75, "label": "easy", "others": [{"pass_rate": None}]},
        **keys,
    }


def without(record, *keys):
    return {key: value for key, value in record.items() if key not in keys}


# Everything that a loader would stumble over, and that klear must give back as it was.
AWKWARD = [
    problem(0),
    without(problem(1), "data_source", "extra_info", "difficulty"),
    problem(2, data_source=None, extra_info=None),
    problem(3, extra_info={"index": "3a", "tags": ["a", 1, None], "split": None}),
    problem(4, extra_info={"index": 2**70}, reward_model={"ground_truth": "5", "weight": 0.5}),
    problem(5, ability="code", reward_model={"style": "tests", "ground_truth": HUGE_TESTS}),
    problem(6, prompt=[{"role": "system", "content": "Add."}, {"role": "user", "content": "7", "name": "Ann"}]),
    problem(7, prompt=[{"role": "user", "content": "half a pair: \ud800, all of one: 😀, \u2028"}]),
    dict(reversed(problem(8, unknown={"x": [1, 1.0, True]}).items())),
    problem(9, klear="a key of this name", extra_info={"index": True}),
]
EXAMPLES = [
    {
        "schema": "klear-sft/1",
        "id": "0" * 16 + "/0",
        "data_source": "made-up",
        "ability": "math",
        "messages": [
            {"role": "user", "content": "1+1?"},
            {"role": "assistant", "content": "<think>\na\n</think>\n\n2"},
        ],
        "verdict": "AC",
        "reward": 1.0,
        "difficulty": {"pass_rate": 0.5},
    },
    {
        "schema": "klear-sft/1",
        "id": "b/0",
        "messages": [{"role": "user", "content": "?"}],
        "reward": 1,
        "verdict": None,
    },
]


def export(path, records, *, kind="rl", target="verl"):
    with ExportSink(str(path), kind, target) as sink:
        for record in records:
            sink.write(record)
    return path


def read_back(path):
    source = Source(str(path))
    try:
        return [record for _, record in source]
    finally:
        source.close()


@pytest.mark.parametrize("target", ["verl", "trl"])
def test_klear_reads_back_the_records_it_exported(tmp_path, target):
    back = read_back(export(tmp_path / "rl.parquet", AWKWARD, target=target))
    # As text: the order of keys and 1, 1.0 and true must hold too.
    assert [json.dumps(record) for record in back] == [json.dumps(record) for record in AWKWARD]


def test_klear_reads_back_the_conversations_it_exported(tmp_path):
    back = read_back(export(tmp_path / "sft.parquet", EXAMPLES, kind="sft"))
    assert [json.dumps(record) for record in back] == [json.dumps(record) for record in EXAMPLES]


def test_every_row_has_the_same_types_and_no_null_that_a_loader_would_stumble_over(tmp_path):
    rows = pq.read_table(export(tmp_path / "rl.parquet", AWKWARD)).to_pylist()
    for number, row in enumerate(rows):
        assert list(row)[: len(RL_COLUMNS)] == RL_COLUMNS
        assert all(isinstance(row[key], str) and row[key] for key in ("data_source", "ability"))
        assert {type(value) for value in row["reward_model"].values()} == {str}
        assert [set(message) for message in row["prompt"]] == [{"role", "content"}] * len(row["prompt"])
        assert type(row["extra_info"]["index"]) is int
        assert row["extra_info"]["id"] == AWKWARD[number]["id"]
    assert rows[5]["reward_model"]["ground_truth"] == HUGE_TESTS
    assert rows[1]["data_source"] == "unknown"
    assert rows[3]["extra_info"]["index"] == 3, "an index that is no integer is the row's number"
    assert rows[7]["prompt"][0]["content"] == "half a pair: ?, all of one: 😀, \u2028"


def test_rollouts_stay_behind(tmp_path):
    path = export(tmp_path / "rl.parquet", [problem(1, rollouts=[{"completion": "x" * 99}])])
    assert read_back(path) == [problem(1)]
    assert "rollouts" not in pq.read_table(path)["klear"][0].as_py()


def test_tests_are_stored_once(tmp_path):
    path = export(tmp_path / "rl.parquet", [AWKWARD[5]])
    (row,) = pq.read_table(path).to_pylist()
    assert len(row["klear"]) < 1000 < len(row["reward_model"]["ground_truth"])


def test_random_records_come_back(tmp_path):
    draw = random.Random(0)
    values = [None, True, 1, 1.0, -0.0, 10**30, "", "unknown", "é", [], {}, [None, "a", {"b": 1}], {"index": 1.5}]
    keys = ["data_source", "extra_info", "sampling", "curation", "new", "solution", "columns"]
    for number in range(300):
        record = problem(number)
        for key in draw.sample(keys, 3):
            record[key] = draw.choice(values) if key != "extra_info" else draw.choice([None, {}, {"split": 1}])
        row = rl_row(record, row_number=number, target="trl")
        assert json.dumps(record_of(row)) == json.dumps(record)
    assert record_of(sft_row(EXAMPLES[0])) == EXAMPLES[0]


@pytest.mark.parametrize(("kind", "target"), [("rl", "verl"), ("rl", "trl"), ("sft", "verl"), ("sft", "trl")])
def test_no_records_make_a_file_with_columns_and_no_rows(tmp_path, kind, target):
    table = pq.read_table(export(tmp_path / "none.parquet", [], kind=kind, target=target))
    assert table.num_rows == 0
    assert {"prompt", "reward_model"} <= {*table.column_names} or "messages" in table.column_names
    assert pa.types.is_list(table.schema.field("prompt" if kind == "rl" else "messages").type)
    assert read_back(tmp_path / "none.parquet") == []


def test_row_groups_end_before_arrow_cannot_read_them(tmp_path, monkeypatch):
    monkeypatch.setattr(export_parquet, "_GROUP_BYTES", 10_000_000)
    gold = {"style": "rule", "ground_truth": HUGE_TESTS}
    records = [problem(n, ability="code", reward_model=gold) for n in range(8)]
    path = export(tmp_path / "rl.parquet", records)
    assert pq.ParquetFile(path).num_row_groups == 4, "two of 4.8 MB a group"
    assert read_back(path) == records


@pytest.mark.parametrize("path", ["x.jsonl", "-", "x.parquet.gz"])
def test_another_suffix_than_parquet_is_refused(tmp_path, monkeypatch, path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"-o FILE\.parquet"):
        ExportSink(path, "rl", "verl")
    assert list(tmp_path.iterdir()) == []


def test_an_export_that_fails_leaves_nothing(tmp_path):
    with pytest.raises(RuntimeError), ExportSink(str(tmp_path / "x.parquet"), "rl", "verl") as sink:
        assert isinstance(sink, FileSink)
        sink.write(problem(1))
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["verl", "trl"])
def test_datasets_loads_an_export_with_nested_columns(tmp_path, target):
    datasets = pytest.importorskip("datasets", reason="datasets is not installed (extra hub)")
    path = export(tmp_path / "rl.parquet", AWKWARD, target=target)
    loaded = datasets.load_dataset("parquet", data_files=str(path), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(loaded) == len(AWKWARD)
    assert loaded[0]["prompt"] == AWKWARD[0]["prompt"]
    assert loaded[5]["reward_model"] == AWKWARD[5]["reward_model"]
    if target == "trl":
        assert [loaded[0]["solution"], loaded[5]["solution"]] == ["\\boxed{1}", ""]


def test_pandas_loads_conversations_as_verl_does(tmp_path):
    pandas = pytest.importorskip("pandas", reason="pandas is not installed")
    path = export(tmp_path / "sft.parquet", EXAMPLES, kind="sft")
    frame = pandas.read_parquet(path, dtype_backend="pyarrow")
    assert list(frame["messages"][0]) == EXAMPLES[0]["messages"]
