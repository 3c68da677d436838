"""Reading benchmark files: every schema, and nothing less than was asked for."""

import json

import pytest

from klear_data.contamination import read_benchmark
from klear_data.errors import RecordError, UsageError


def test_benchmark_files_of_every_schema_are_read_and_their_items_named(tmp_path):
    rows = [
        {"question": "q", "answer": "#### 1"},
        {"task_id": "HumanEval/0", "prompt": "def f():", "entry_point": "f", "test": "def check(c): ..."},
        {"messages": [{"role": "user", "content": "m"}], "meta": {"unique_id": "2024-I-1"}},
        {"index": 2, "prompt": "only a prompt"},
    ]
    path = tmp_path / "mixed.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    items = read_benchmark(str(path))
    assert [item.text for item in items] == ["q", "def f():", "m", "only a prompt"]
    assert [item.name for item in items] == [None, "HumanEval/0", "2024-I-1", None]
    assert items[3].where == f"{path}:4"
    assert items[0].record["reward_model"]["ground_truth"] == "1"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no benchmark items"),
        ("\n\n", "no benchmark items"),
        ('{"colour": "red"}\n', ":1: no column holds a problem"),
        ('{"problem": "p"}\n{"problem": " "}\n', ":2: an empty problem"),
        ('{"problem": "p"}\n{"problem": "!!!"}\n', ":2: a problem of signs alone, '!!!'"),
        ('{"problem": "p"}\n{broken\n', ":2: not JSON"),
    ],
)
def test_decontaminating_against_nothing_or_less_than_asked_is_an_error(tmp_path, content, words):
    path = tmp_path / "bench.jsonl"
    path.write_text(content)
    with pytest.raises(RecordError) as caught:
        read_benchmark(str(path))
    assert words in str(caught.value)


def test_a_missing_benchmark_file_is_a_usage_error():
    with pytest.raises(UsageError, match="no such file"):
        read_benchmark("nowhere/bench.jsonl")
