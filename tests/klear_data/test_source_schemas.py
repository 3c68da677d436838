"""Every catalogued source, read from small files in its own schema: as JSON lines and as Parquet."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from source_samples import APPS_ROW, CODEFORCES_ROW, FENCED, OCR_ROW, PROBLEM, SAMPLES, TACO_ROW

from klear_data.curation import CurateOptions, curate_rows
from klear_data.errors import CapabilityError, UsageError
from klear_data.filters import suite_filter
from klear_data.records import problem_of, rollouts_problem
from klear_data.sources import to_record
from klear_data.sources.catalog import expand_names, load_catalog, source_rows
from sandbox.formats import parse_tests
from sandbox.types import CheckerTest


def put(folder, name, rows, *, kind="jsonl"):
    path = folder / f"{name}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("KLEAR_SOURCES", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    return tmp_path


def source(name):
    return expand_names(name)[0]


def records(name):
    return [to_record(row, where) for where, row in source_rows(source(name))]


def gold(record):
    return record["reward_model"]["ground_truth"]


def completions(record):
    return tuple(rollout["completion"] for rollout in record.get("rollouts", ()))


def folder_of(mirror, name):
    return mirror / (source(name).folder or name)


def test_every_source_of_the_catalogue_has_a_sample():
    # OpenThoughts3-code and AceReason's code rows are the same files as their mathematics.
    assert {entry.name for entry in load_catalog()} - {sample.source for sample in SAMPLES} == {
        "OpenThoughts3-code",
        "AceReason-1.1-SFT-code",
    }


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: f"{sample.source}:{sample.ability}")
def test_a_source_is_read_in_its_own_schema(mirror, sample, kind):
    pattern = (source(sample.source).parts[0].files or ("",))[0]
    if pattern and not pattern.endswith(kind) and "/" not in pattern:
        kind = pattern.rpartition(".")[2]
    put(folder_of(mirror, sample.source), sample.file, [sample.row], kind=kind)
    (record,) = records(sample.source)
    assert problem_of(record) is None
    assert (record["data_source"], record["ability"]) == (sample.source, sample.ability)
    if sample.gold is None:
        assert len(parse_tests(gold(record))) == 2
    else:
        assert gold(record) == sample.gold
    assert completions(record) == sample.completions
    if sample.completions:
        assert rollouts_problem(record) is None
        assert (record["sampling"]["model"], record["sampling"]["backend"]) == (sample.model, "source")
        assert all(rollout["num_tokens"] is None for rollout in record["rollouts"])
    if sample.prompt is not None:
        assert record["prompt"] == [{"role": "user", "content": sample.prompt}]
    assert record["extra_info"]["license"]
    assert record["extra_info"]["split"]


def test_sixteen_rows_of_a_question_become_one_record_with_sixteen_rollouts(mirror):
    rows = [
        {
            "difficulty": None,
            "source": "s",
            "domain": "math",
            "conversations": [{"from": "human", "value": question}, {"from": "gpt", "value": f"answer {number}"}],
        }
        for number in range(16)
        for question in ("What is 2 + 3?", "What is 2 + 4?")
    ]
    put(mirror / "OpenThoughts3", "data/train-00000-of-00001", rows)
    options = CurateOptions(require_gold=False)
    found = [out for out in curate_rows(source_rows(source("OpenThoughts3")), options) if isinstance(out, dict)]
    assert [len(record["rollouts"]) for record in found] == [16, 16]
    assert [record["curation"]["duplicates"] for record in found] == [15, 15]
    assert found[0]["sampling"] == {"model": "QwQ-32B", "backend": "source", "n": 16}


def test_rows_of_another_domain_are_no_rows_of_the_source(mirror):
    chat = [{"from": "human", "value": PROBLEM}, {"from": "gpt", "value": FENCED}]
    rows = [
        {"difficulty": 1, "source": name, "domain": domain, "conversations": chat}
        for name, domain in (("stackexchange_codegolf", "code"), ("nvidia/OpenCodeReasoning", "code"), ("x", "math"))
    ]
    put(mirror / "OpenThoughts3", "data/train-00000-of-00001", rows)
    assert [len(records(name)) for name in ("OpenThoughts3-math", "OpenThoughts3-code", "CodeGolf")] == [1, 2, 1]


def test_what_openr1_found_out_about_a_generation_stays_with_it(mirror):
    sample = next(sample for sample in SAMPLES if sample.source == "OpenR1-Math")
    put(mirror / "OpenR1-Math", "data/train-00000-of-00001", [sample.row])
    right, cut = records("OpenR1-Math")[0]["rollouts"]
    assert (right["finish_reason"], right["source_verdicts"]) == ("stop", {"math_verify": True})
    assert (cut["finish_reason"], cut["source_verdicts"]) == ("length", {"math_verify": False})


def test_taco_limits_in_words_become_numbers_of_the_sandbox(mirror):
    put(mirror / "TACO", "ALL/train-00000-of-00001", [TACO_ROW], kind="parquet")
    tests = json.loads(gold(records("TACO")[0]))
    assert (tests["time_limit"], tests["memory_limit"]) == (2.0, 256.0)


CHECKER = "import sys\nprint(int(open(sys.argv[3]).read().split()[0] > open(sys.argv[1]).read()))\n"


def test_a_codeforces_checker_becomes_the_checker_of_its_tests(mirror):
    put(mirror / "Codeforces", "data/train-00000-of-00001", [{**CODEFORCES_ROW, "generated_checker": CHECKER}])
    suite = parse_tests(gold(records("Codeforces")[0]))
    assert all(isinstance(test, CheckerTest) and test.checker == CHECKER for test in suite.tests)
    assert (suite.time_limit_s, suite.memory_mib) == (2.0, 256)


@pytest.mark.parametrize("odd", [{"input_mode": "file"}, {"interaction_format": "Ask, then answer."}])
def test_codeforces_problems_that_no_stdin_can_judge_are_dropped_as_unsupported(mirror, odd):
    put(mirror / "Codeforces", "data/train-00000-of-00001", [{**CODEFORCES_ROW, **odd}])
    (record,) = records("Codeforces")
    assert suite_filter(record).reason == "tests_unsupported"


def test_codeforces_test_split_is_left_alone(mirror):
    put(mirror / "Codeforces", "data/train-00000-of-00001", [CODEFORCES_ROW])
    put(mirror / "Codeforces", "data/test-00000-of-00001", [CODEFORCES_ROW])
    put(mirror / "Codeforces", "generated_tests/test_cases_0001", [{"problem_id": "1/A"}])
    # As on the Hub: the pattern is for Parquet, and the split in the name serves where it does not match.
    assert len(records("Codeforces")) == 1


def split_1_row(**changes):
    return {**OCR_ROW, "input": "-", "dataset": "taco", "split": "train", "index": "1", **changes}


def test_opencodereasoning_rows_without_a_problem_are_joined_to_taco_and_apps(mirror):
    function = {**TACO_ROW, "question": "Add two numbers.", "starter_code": "def add(a, b):"}
    put(mirror / "TACO", "ALL/train-00000-of-00001", [TACO_ROW, function], kind="parquet")
    put(mirror / "APPS", "train", [{**APPS_ROW, "question": "not this one"}])
    put(mirror / "APPS", "test", [{**APPS_ROW, "question": "Subtract."}])
    put(mirror / "OpenCodeReasoning", "split_0/train-00000-of-00001", [OCR_ROW])
    rows = [split_1_row(), split_1_row(dataset="apps", split="test", index="0"), split_1_row(dataset="elsewhere")]
    put(mirror / "OpenCodeReasoning", "split_1/train-00000-of-00001", rows)
    prompts = [record["prompt"][0]["content"] for record in records("OpenCodeReasoning")]
    assert prompts == [PROBLEM, "Add two numbers.\n\n```python\ndef add(a, b):\n```", "Subtract.", "-"]
    (_, taco) = records("TACO")
    assert taco["id"] == records("OpenCodeReasoning")[1]["id"]  # so exact dedup brings TACO's tests to its responses


def test_a_missing_partner_says_which_files_to_put_where(mirror):
    put(mirror / "OpenCodeReasoning", "split_1/train-00000-of-00001", [split_1_row()])
    with pytest.raises(CapabilityError, match=r"TACO train.*put ALL/train-\*\.parquet .*BAAI/TACO.* into .*/TACO/"):
        records("OpenCodeReasoning")


@pytest.mark.parametrize("index", ["2", "-1", None])
def test_an_index_that_the_partner_does_not_have_is_an_error_and_no_wrong_problem(mirror, index):
    put(mirror / "TACO", "ALL/train-00000-of-00001", [TACO_ROW] * 2, kind="parquet")
    put(mirror / "OpenCodeReasoning", "split_1/train-00000-of-00001", [split_1_row(index=index)])
    with pytest.raises(UsageError, match="of TACO train, which has 2"):
        records("OpenCodeReasoning")


def test_a_partner_without_the_split_is_not_read_in_another_one(mirror):
    put(mirror / "TACO", "ALL/train-00000-of-00001", [TACO_ROW] * 2, kind="parquet")
    put(mirror / "OpenCodeReasoning", "split_1/train-00000-of-00001", [split_1_row(split="test")])
    with pytest.raises(UsageError, match="none of its 1 files is of split 'test'"):
        records("OpenCodeReasoning")


def test_a_row_of_verl_keeps_its_own_provenance_beside_the_catalogues(mirror):
    sample = next(sample for sample in SAMPLES if sample.source == "Skywork-OR1-Math")
    put(mirror / "Skywork-OR1", "data/math-00000-of-00001", [sample.row])
    extra = records("Skywork-OR1-Math")[0]["extra_info"]
    assert extra["original_data_source"] == sample.row["data_source"]
    assert (extra["index"], extra["split"]) == (7, "math")


def test_what_a_row_says_of_its_licence_and_split_counts_more_than_the_catalogue(mirror):
    put(mirror / "OpenCodeReasoning", "split_0/train-0", [{**OCR_ROW, "split": "valid"}])
    extra = records("OpenCodeReasoning")[0]["extra_info"]
    assert (extra["license"], extra["split"]) == ("mit", "valid")
    sample = next(sample for sample in SAMPLES if sample.source == "KlearReasoner-MathSub")
    put(mirror / "KlearReasoner-MathSub", "train", [{**sample.row, "extra_info": {"split": "mine", "index": 3}}])
    extra = records("KlearReasoner-MathSub")[0]["extra_info"]
    assert (extra["split"], extra["license"], "column_split" in extra) == ("mine", "Apache-2.0", False)
