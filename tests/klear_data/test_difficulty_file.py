"""Difficulty from another file, by record id."""

import pytest

from klear_data.difficulty import difficulties, label_difficulty
from klear_data.difficulty_file import DifficultyFile
from klear_data.errors import RecordError, UsageError
from klear_data.records import problem_of
from tests.cli.conftest import judged, lines


def labelled(number, *verdicts, labeler="small", **keys):
    return label_difficulty(judged(number, verdicts=verdicts, **keys), labeler=labeler)


def written(path, records):
    path.write_bytes(lines(records))
    return str(path)


def test_a_record_gets_the_label_of_its_id_and_keeps_everything_else(tmp_path):
    there = DifficultyFile(written(tmp_path / "d.jsonl", [labelled(1, "AC", "WA"), labelled(2, "WA")]))
    teacher = judged(2, verdicts=("AC",), sampling={"model": "teacher"})
    after = there.label(teacher)
    assert {key: value for key, value in after.items() if key != "difficulty"} == teacher
    assert after["difficulty"] == labelled(2, "WA")["difficulty"]
    assert there.label(judged(1))["difficulty"]["pass_rate"] == 0.5
    assert there.not_found == 0


def test_a_record_that_was_never_measured_is_unscored_and_counted(tmp_path):
    there = DifficultyFile(written(tmp_path / "d.jsonl", [labelled(1, "AC")]))
    after = there.label(judged(7))
    assert (after["difficulty"]["label"], after["difficulty"]["pass_rate"]) == ("unscored", None)
    assert problem_of(after) is None
    assert there.not_found == 1


def test_a_named_labeler_is_taken_and_other_labels_of_the_record_stay(tmp_path):
    both = label_difficulty({**labelled(1, "AC"), "rollouts": judged(1, verdicts=("WA",))["rollouts"]}, labeler="large")
    path = written(tmp_path / "d.jsonl", [both])
    mine = labelled(1, "AC", "WA", labeler="mine")
    for labeler, rate in (("small", 1.0), ("large", 0.0), (None, 0.0)):
        after = DifficultyFile(path, labeler=labeler).label(mine)
        assert [(one["labeler"], one["pass_rate"]) for one in difficulties(after)] == [
            (labeler or "large", rate),
            ("mine", 0.5),
        ]
    again = DifficultyFile(path, labeler="small").label(labelled(1, "WA"))  # an older word of the same labeler goes
    assert [one["pass_rate"] for one in difficulties(again)] == [1.0]


def test_the_file_s_label_holds_unless_a_threshold_is_given(tmp_path):
    strict = label_difficulty(judged(1, verdicts=("AC", "WA")), hard_below=0.9)
    there = DifficultyFile(written(tmp_path / "d.jsonl", [strict]))
    assert there.label(judged(1))["difficulty"]["label"] == "hard"
    assert there.label(judged(1), hard_below=0.5)["difficulty"]["label"] == "easy"
    without = {**strict, "difficulty": {"pass_rate": 0.4}}
    assert DifficultyFile(written(tmp_path / "e.jsonl", [without])).label(judged(1))["difficulty"]["label"] == "hard"


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ([judged(1)], r"d\.jsonl:1: no key 'difficulty'; expected one for --from; run `klear label` first"),
        ([labelled(1, "AC", labeler="b")], "no difficulty by 'a', only by b"),
        ([labelled(1, "AC", labeler="a"), labelled(1, "WA", labeler="a")], r"d\.jsonl:2: another difficulty of record"),
        ([{"id": "x"}], r"d\.jsonl:1: no key 'schema'"),
    ],
)
def test_a_file_that_says_nothing_or_two_things_is_refused(tmp_path, records, said):
    with pytest.raises(RecordError, match=said):
        DifficultyFile(written(tmp_path / "d.jsonl", records), labeler="a")
    with pytest.raises(UsageError, match="no such file"):
        DifficultyFile(str(tmp_path / "none.jsonl"))
    twice = [labelled(1, "AC", labeler="a")] * 2
    assert DifficultyFile(written(tmp_path / "d.jsonl", twice), labeler="a").not_found == 0  # the same, said twice
