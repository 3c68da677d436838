"""The catalogue of benchmarks: names, windows, local files, and what is said when one is out of reach."""

import base64
import json
import pickle
import subprocess
import sys
import zlib
from pathlib import Path

import pytest

from klear_data.errors import CapabilityError, RecordError, UsageError
from klear_data.records import problem_of
from klear_data.sources.benchmarks import (
    benchmark_records,
    benchmark_rows,
    expand_benchmark,
    load_benchmarks,
    where_from,
)
from sandbox.formats import parse_tests

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "benchmarks"
NAMES = [benchmark.name for benchmark in load_benchmarks()]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KLEAR_BENCHMARKS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path


def benchmark(name):
    return expand_benchmark(name)[0]


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def lcb_row(day, number=0, *, function=None):
    kind = "functional" if function else "stdin"
    private = [{"input": "2", "output": "3", "testtype": kind}]
    return {
        "question_title": "Add one",
        "question_content": f"Add one ({number}).",
        "platform": "atcoder",
        "question_id": f"abc{number}",
        "contest_id": "abc",
        "contest_date": day,
        "starter_code": "class Solution:\n    def add(self, x):" if function else "",
        "difficulty": "easy",
        "public_test_cases": json.dumps([{"input": "1", "output": "2", "testtype": kind}]),
        "private_test_cases": base64.b64encode(zlib.compress(pickle.dumps(json.dumps(private)))).decode(),
        "metadata": json.dumps({"func_name": function} if function else {}),
    }


def test_the_names_that_evaluation_needs_are_there():
    wanted = {"aime24", "aime25", "hmmt25", "math500", "gsm8k", "lcb-v5", "lcb-v6", "humaneval", "mbpp"}
    assert wanted <= set(NAMES)
    assert len(NAMES) == len(set(NAMES))


def test_an_unknown_name_is_offered_a_close_one_and_else_all(folder):
    with pytest.raises(UsageError, match=r"did you mean aime24\?"):
        expand_benchmark("aime_24")
    with pytest.raises(UsageError, match="the names are aime24, aime25"):
        expand_benchmark("something")


def test_a_path_is_no_name_and_a_file_of_that_name_wins(folder, monkeypatch):
    assert expand_benchmark("some/file.jsonl") is None
    assert expand_benchmark("AIME24") == [benchmark("aime24")]
    monkeypatch.chdir(folder)
    (folder / "aime24").write_text("{}")
    assert expand_benchmark("aime24") is None


@pytest.mark.parametrize(("name", "inside"), [("lcb-v5", [1, 2, 3]), ("lcb-v6", [3, 4, 5])])
def test_livecodebench_is_cut_to_its_window_with_both_days(folder, name, inside):
    days = [
        "2024-07-31T23:00:00",
        "2024-08-01T00:00:00",
        "2024-12-24",
        "2025-02-01T02:00:00",
        "2025-03-01",
        "2025-05-01",
    ]
    rows = [lcb_row(day, number) for number, day in enumerate(days)]
    write(
        folder / name / "test6.jsonl" if name == "lcb-v6" else folder / name / "test5.jsonl",
        [*rows, lcb_row("2025-05-02", 9)],
    )
    found = [int(record["extra_info"]["item"].removeprefix("abc")) for _, record in benchmark_records(benchmark(name))]
    assert found == inside


def test_livecodebenchs_packed_tests_and_both_kinds_are_read(folder):
    write(folder / "lcb-v6.jsonl", [lcb_row("2025-03-01"), lcb_row("2025-03-01", 1, function="add")])
    records = [record for _, record in benchmark_records(benchmark("lcb-v6"))]
    assert [len(parse_tests(record["reward_model"]["ground_truth"])) for record in records] == [2, 2]
    assert "class Solution" in records[1]["prompt"][0]["content"]


def test_a_row_without_a_date_can_not_be_told_apart(folder):
    write(folder / "lcb-v6.jsonl", [{**lcb_row("2025-03-01"), "contest_date": None}])
    with pytest.raises(RecordError, match="'contest_date' is None; expected a date"):
        list(benchmark_rows(benchmark("lcb-v6")))


def test_nothing_inside_the_window_is_an_error(folder):
    write(folder / "lcb-v6.jsonl", [lcb_row("2023-03-01")])
    with pytest.raises(RecordError, match="no problem between 2025-02-01 and 2025-05-01"):
        list(benchmark_rows(benchmark("lcb-v6")))


def test_a_benchmark_out_of_reach_says_which_file_to_put_where(folder):
    with pytest.raises(CapabilityError, match=r"put test6\.jsonl from https://.* into .*/lcb-v6/"):
        list(benchmark_rows(benchmark("lcb-v6")))


def test_a_folder_as_the_hub_has_it_must_have_the_catalogues_columns(folder):
    write(folder / "aime25" / "test.jsonl", [{"problem": "p", "solution": "5"}])
    with pytest.raises(UsageError, match="no column 'answer'"):
        list(benchmark_rows(benchmark("aime25")))


@pytest.mark.parametrize(
    ("name", "row", "gold"),
    [
        ("aime24", {"id": 60, "problem": "p", "solution": "s", "answer": "204", "url": "u", "year": "2024"}, "204"),
        ("aime25", {"problem": "p", "answer": "70", "id": "0"}, "70"),
        ("hmmt25", {"problem_idx": 1, "problem": "p", "answer": "103", "problem_type": ["Number Theory"]}, "103"),
        ("math500", {"problem": "p", "solution": "s", "answer": "\\pi", "level": 2, "unique_id": "u"}, "\\pi"),
        ("gsm8k", {"question": "p", "answer": "So 1,200.\n#### 1,200"}, "1200"),
        ("amc23", {"id": 0, "answer": "27.0", "question": "p", "url": "u"}, "27.0"),
        ("minerva", {"question": "p", "answer": "5"}, "5"),
        ("olympiadbench", {"id": 1606, "question": "p", "solution": ["s"], "final_answer": ["2"]}, "2"),
    ],
)  # fmt: skip
def test_mathematics_is_read_in_the_schema_of_the_hub(folder, name, row, gold):
    write(folder / name / f"{benchmark(name).parts[0].split}.jsonl", [row])
    ((_, record),) = benchmark_records(benchmark(name))
    assert problem_of(record) is None
    assert (record["data_source"], record["ability"]) == (name, "math")
    assert record["reward_model"]["ground_truth"] == gold


@pytest.mark.parametrize(
    ("name", "row", "tests"),
    [
        (
            "humaneval",
            {
                "task_id": "HumanEval/0", "prompt": "def f(x):\n", "canonical_solution": "    return x\n",
                "test": "def check(candidate):\n    assert candidate(1) == 1\n", "entry_point": "f",
            },
            1,
        ),
        (
            "mbpp",
            {
                "task_id": 11, "text": "Write f.", "code": "def f(x): return x", "test_list": ["assert f(1) == 1"] * 2,
                "test_setup_code": "", "challenge_test_list": [],
            },
            2,
        ),
    ],
)  # fmt: skip
def test_code_is_read_in_the_schema_of_the_hub(folder, name, row, tests):
    write(folder / name / "test.jsonl", [row])
    ((_, record),) = benchmark_records(benchmark(name))
    assert (record["data_source"], record["ability"]) == (name, "code")
    assert len(parse_tests(record["reward_model"]["ground_truth"])) == tests
    assert record["extra_info"]["item"] == str(row["task_id"])


def test_a_broken_line_in_a_benchmark_stops_the_run(folder):
    (folder / "aime24.jsonl").write_text('{"problem": "p", "answer": "1"}\n{"problem": \n')
    with pytest.raises(RecordError, match=r"aime24\.jsonl:2: .*mend the benchmark file"):
        list(benchmark_rows(benchmark("aime24")))


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not at hand")
@pytest.mark.parametrize(
    ("name", "count"),
    [("aime24", 30), ("aime25", 30), ("hmmt25", 30), ("math500", 500), ("gsm8k", 1319), ("humaneval", 164),
     ("mbpp", 399), ("codeforces", 408)],
)  # fmt: skip
def test_real_files_are_found_by_name_and_read_whole(monkeypatch, name, count):
    monkeypatch.setenv("KLEAR_BENCHMARKS", str(SHARED))
    records = [record for _, record in benchmark_records(benchmark(name))]
    assert len(records) == count
    assert all(problem_of(record) is None and record["reward_model"]["ground_truth"] for record in records)
    assert where_from(benchmark(name)).startswith(f"{name} from {SHARED}/")


def test_the_command_prints_the_benchmarks():
    run = [sys.executable, "-c", "from cli.main import main; main()", "sources", "--benchmarks"]
    out = subprocess.run(run, capture_output=True, text=True, check=True).stdout
    for entry in load_benchmarks():
        assert entry.hub_id in out
    assert "2024-08-01 to 2025-02-01" in out
