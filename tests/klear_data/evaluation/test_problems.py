"""What is asked: templates, files, LiveCodeBench, and what is no benchmark."""

import base64
import json
import pickle
import zlib
from pathlib import Path

import pytest

from klear_data.errors import CapabilityError, RecordError, UsageError
from klear_data.evaluation.problems import choose, problems, protocol, template_named, templates
from klear_data.records import problem_of
from klear_data.sources.benchmarks import load_benchmarks
from sandbox.formats import parse_tests

SHARED = Path(__file__).resolve().parents[3].parent / "shared" / "data" / "benchmarks"


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("KLEAR_BENCHMARKS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def asked(spec, **how):
    return list(problems(choose(spec), **how))


def question(record):
    return record["prompt"][-1]["content"]


def lcb_row(*, private, function=None, number=0):
    kind = "functional" if function else "stdin"
    return {
        "question_title": "Add one", "question_content": "Add one.", "platform": "atcoder",
        "question_id": f"abc{number}", "contest_id": "abc", "contest_date": "2025-03-01T00:00:00",
        "starter_code": f"class Solution:\n    def {function}(self, x):" if function else "", "difficulty": "hard",
        "public_test_cases": json.dumps([{"input": "1", "output": "2", "testtype": kind}]),
        "private_test_cases": private, "metadata": json.dumps({"func_name": function} if function else {}),
    }  # fmt: skip


def packed(value):
    return base64.b64encode(zlib.compress(pickle.dumps(value))).decode()


def test_every_template_of_the_catalogue_exists_and_keeps_the_problem():
    known = templates()
    for benchmark in load_benchmarks():
        if benchmark.evaluate:
            assert "{braces} stay" in known[benchmark.template].fill("{braces} stay")
    assert known["program"].called in known


def test_the_papers_settings_are_the_usual_ones():
    usual = protocol()
    assert (usual.temperature, usual.top_p, usual.max_tokens) == (0.6, 0.95, 32768)
    samples = {benchmark.name: benchmark.n for benchmark in load_benchmarks()}
    assert [samples[name] for name in ("aime24", "aime25", "hmmt25", "lcb-v5", "lcb-v6")] == [64, 64, 64, 8, 8]


def test_a_file_is_asked_by_what_its_answers_are(folder):
    write(folder / "mine.jsonl", {"problem": "1 + 1?", "answer": "2"})
    write(
        folder / "code.jsonl",
        {"prompt": "Add.", "ability": "code", "reward_model": {"ground_truth": '{"inputs": ["1"], "outputs": ["2"]}'}},
        {"prompt": "Add f.", "ability": "code", "reward_model": {"ground_truth": '{"functional": "assert f(1) == 2"}'}},
    )
    (mine,) = asked("mine.jsonl")
    assert mine["data_source"] == "mine"
    assert question(mine).endswith("\\boxed{}.")
    assert problem_of(mine) is None
    program, function = asked("code.jsonl")
    assert [one["evaluation"]["template"] for one in (program, function)] == ["program", "function"]
    assert "stdin" in question(program)


def test_the_template_can_be_another_and_the_id_stays_the_problems(folder):
    write(folder / "mine.jsonl", {"problem": "1 + 1?", "answer": "2"})
    (boxed,) = asked("mine.jsonl")
    (plain,) = asked("mine.jsonl", template=template_named("plain"))
    assert question(plain) == "1 + 1?"
    assert plain["id"] == boxed["id"]
    with pytest.raises(UsageError, match=r"did you mean boxed\?"):
        template_named("boxes")


def test_the_last_message_of_the_user_is_what_the_template_takes(folder):
    chat = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "1 + 1?"}]
    write(folder / "mine.jsonl", {"prompt": chat, "ability": "math", "reward_model": {"ground_truth": "2"}})
    (record,) = asked("mine.jsonl")
    assert record["prompt"][0] == chat[0]
    assert question(record).startswith("1 + 1?\n")


def test_livecodebench_is_read_with_both_kinds_of_tests_its_starter_code_and_its_difficulty(folder):
    stdin = packed(json.dumps([{"input": "2", "output": "3", "testtype": "stdin"}] * 2))
    called = packed(json.dumps([{"input": "2", "output": "3", "testtype": "functional"}]))
    write(folder / "lcb-v6.jsonl", lcb_row(private=stdin), lcb_row(private=called, function="add", number=1))
    program, function = asked("lcb-v6")
    assert "stdin" in question(program)
    assert "class Solution:" not in question(program)
    assert "def add(self, x):" in question(function)
    assert "stdin" not in question(function)
    assert [len(parse_tests(one["reward_model"]["ground_truth"])) for one in (program, function)] == [3, 2]
    assert [one["extra_info"]["difficulty"] for one in (program, function)] == ["hard", "hard"]
    assert [one["extra_info"]["item"] for one in (program, function)] == ["abc0", "abc1"]


class Opens:
    """What a hostile pickle does when it is loaded."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("wrap", [lambda bad: bad, lambda bad: [json.dumps([]), bad], lambda bad: {"text": bad}])
def test_packed_tests_are_never_executed(folder, wrap):
    witness = folder / "executed"
    write(folder / "lcb-v6.jsonl", lcb_row(private=packed(wrap(Opens(str(witness))))))
    with pytest.raises(RecordError, match=r"lcb-v6\.jsonl:1: its tests can't be used"):
        asked("lcb-v6")
    assert not witness.exists()


@pytest.mark.parametrize("value", [["a list"], 5, b"bytes", ("[]", "[]")])
def test_a_pickle_of_anything_but_one_text_is_refused(folder, value):
    write(folder / "lcb-v6.jsonl", lcb_row(private=packed(value)))
    with pytest.raises(RecordError, match="its tests can't be used"):
        asked("lcb-v6")


def test_an_unknown_name_is_offered_a_close_one(folder):
    with pytest.raises(UsageError, match=r"did you mean aime24\?"):
        choose("amie24")
    with pytest.raises(UsageError, match="the names are aime24, aime25, hmmt25"):
        choose("xyzzy")
    with pytest.raises(UsageError, match="to decontaminate against only"):
        choose("codeforces")


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"problem": "p", "answer": "1"}, {"problem": "q"}], r"mine\.jsonl:2: neither an answer nor tests"),
        ([{"problem": "p", "answer": ""}], r"mine\.jsonl:1: no answer and no tests"),
        ([{"prompt": "p", "ability": "code", "tests": "none"}], r"mine\.jsonl:1: its tests can't be used"),
        ([], "no problem in it"),
    ],
)
def test_a_file_without_answers_is_refused_with_its_line(folder, rows, said):
    write(folder / "mine.jsonl", *rows)
    with pytest.raises(RecordError, match=said):
        asked("mine.jsonl")


def test_a_benchmark_out_of_reach_says_which_file_to_put_where(folder):
    with pytest.raises(CapabilityError, match=r"put test6\.jsonl from https://.* into .*/lcb-v6/"):
        asked("lcb-v6")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not at hand")
@pytest.mark.parametrize(("name", "count"), [("aime24", 30), ("aime25", 30), ("hmmt25", 30), ("math500", 500),
                                             ("gsm8k", 1319)])  # fmt: skip
def test_real_benchmarks_are_asked_whole(monkeypatch, name, count):
    monkeypatch.setenv("KLEAR_BENCHMARKS", str(SHARED))
    records = asked(name)
    assert len(records) == count
    assert all(question(record).endswith("\\boxed{}.") for record in records)
    assert len(asked(name, limit=3)) == 3
