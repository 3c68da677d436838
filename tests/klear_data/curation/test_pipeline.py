"""The stage as a whole: every row is out or dropped with its reason, in the order it came."""

import datetime
import decimal
import json
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klear_data.contamination import Detector, Item
from klear_data.curation import CurateOptions, Curation
from klear_data.curation.rows import row_batches
from klear_data.errors import RecordError, UsageError
from klear_data.jsonl import parse_object
from klear_data.records import problem_of
from klear_data.stage import Drop, Lines

LEAK = "Tom has nine red apples and gives two of them to his sister"


def problem(text, answer="1", **columns):
    return {"problem": text, "answer": answer, **columns}


def numbered(rows):
    return [(f"toy.jsonl:{line}", row) for line, row in enumerate(rows, 1)]


def curate(rows, *, on_bad=None, items=None, size=3, **options):
    """The outcomes, one a row, the records parsed."""
    make_detector = None if items is None else partial(Detector, items)
    curation = Curation(CurateOptions(**options), make_detector=make_detector, on_bad=on_bad)
    outcomes = []
    for outcome in curation.run(row_batches(numbered(rows), size=size)):
        outcomes += map(parse_object, outcome.data.splitlines()) if isinstance(outcome, Lines) else [outcome]
    return outcomes, curation.notes()


def kept(outcomes):
    return [outcome for outcome in outcomes if not isinstance(outcome, Drop)]


def dropped(outcomes):
    return [(drop.reason, drop.evidence["where"]) for drop in outcomes if isinstance(drop, Drop)]


def contents(outcomes):
    return [record["prompt"][0]["content"] for record in kept(outcomes)]


ITEMS = [Item("bench.jsonl", "bench.jsonl:1", "b1", LEAK)]


def test_the_first_of_equal_prompts_survives_with_the_count_of_the_others():
    outcomes, notes = curate([problem("What is 1?"), problem("two"), problem("what  IS 1?"), problem("WHAT is 1?")])
    assert contents(outcomes) == ["What is 1?", "two"]
    assert [record["curation"] for record in kept(outcomes)] == [{"duplicates": 2}, {"duplicates": 0}]
    assert dropped(outcomes) == [("duplicate", "toy.jsonl:3"), ("duplicate", "toy.jsonl:4")]
    assert notes["duplicate_groups"] == 1
    evidence = next(outcome.evidence for outcome in outcomes if isinstance(outcome, Drop))
    assert (evidence["of"], evidence["of_where"]) == (kept(outcomes)[0]["id"], "toy.jsonl:1")


def test_responses_of_duplicates_join_the_survivor():
    outcomes, _ = curate([problem("p", response="a"), problem("P", response="b"), problem("p", response="a")])
    (survivor,) = kept(outcomes)
    assert [rollout["completion"] for rollout in survivor["rollouts"]] == ["a", "b"]
    assert survivor["sampling"]["n"] == 2


def test_programs_judged_by_other_tests_do_not_join_the_survivor():
    first, second = ({"problem": "p", "tests": {"inputs": [n], "outputs": [n]}, "solutions": [n]} for n in "12")
    outcomes, _ = curate([first, second])
    (survivor,) = kept(outcomes)
    assert [rollout["completion"] for rollout in survivor["rollouts"]] == ["```python\n1\n```"]
    assert next(drop for drop in outcomes if isinstance(drop, Drop)).evidence["rollouts_merged"] == 0


def test_duplicates_counted_by_earlier_runs_are_counted_on():
    earlier = [kept(curate([problem("p")] * count)[0])[0] for count in (2, 3)]
    (survivor,) = kept(curate(earlier)[0])
    assert survivor["curation"]["duplicates"] == 4


def test_duplicates_with_different_golds_all_go():
    outcomes, notes = curate([problem("p", "1"), problem("q"), problem("p", "1"), problem("p", "2")])
    assert contents(outcomes) == ["q"]
    assert [reason for reason, _ in dropped(outcomes)] == ["conflicting_gold"] * 3
    assert notes["conflicting_groups"] == 1


def test_dedup_none_keeps_every_row():
    outcomes, notes = curate([problem("p"), problem("p")], dedup="none")
    assert contents(outcomes) == ["p", "p"]
    assert "duplicate_groups" not in notes


@pytest.mark.parametrize("dedup", ["exact", "none"])
def test_contaminated_prompts_go_with_the_item_and_the_span(dedup):
    outcomes, notes = curate([problem("clean"), problem(f"{LEAK}. How many?")], items=ITEMS, dedup=dedup)
    assert contents(outcomes) == ["clean"]
    (drop,) = [outcome for outcome in outcomes if isinstance(outcome, Drop)]
    assert drop.reason == "contaminated"
    assert drop.evidence["item_id"] == "b1"
    assert "red apples" in drop.evidence["span"]
    assert kept(outcomes)[0]["curation"]["decontamination"]["hits"] == 0
    assert notes["decontamination"]["benchmarks"] == {"bench.jsonl": 1}


def test_near_duplicates_say_where_they_and_what_they_resemble_stood():
    text = "tom has {} red apples and gives two of them to anna, how many does he keep"
    rows = [problem("what is 1?"), problem("what is 1?"), problem("a?", "proof"), problem(text.format(7))]
    rows += [problem(text.format(8)), problem(text.format(7) + " now")]
    outcomes, _ = curate(rows, dedup="near", size=2)
    assert dropped(outcomes) == [
        ("duplicate", "toy.jsonl:2"),
        ("no_gold", "toy.jsonl:3"),
        ("near_duplicate", "toy.jsonl:6"),
    ]
    near = next(outcome for outcome in outcomes if isinstance(outcome, Drop) and outcome.reason == "near_duplicate")
    assert near.evidence["of_where"] == "toy.jsonl:4"


def test_duplicates_of_a_contaminated_prompt_do_not_slip_through():
    outcomes, _ = curate([problem(LEAK), problem(LEAK.upper())], items=ITEMS)
    assert dropped(outcomes) == [("contaminated", "toy.jsonl:1"), ("duplicate", "toy.jsonl:2")]


def test_kept_prompts_that_share_only_boilerplate_are_counted():
    template = "print the answer on a single line with no spaces at all"
    items = [Item("b", f"b:{number}", None, f"Task {number}: {template}") for number in range(5)]
    outcomes, notes = curate([problem(f"Bake. {template}")], items=items)
    assert kept(outcomes)[0]["curation"]["decontamination"]["boilerplate_hits"] == 4
    assert notes["kept_with_boilerplate_only"] == 1


def test_each_filter_drops_with_its_own_reason():
    tests = {"inputs": ["1"], "outputs": ["1"]}
    rows = [
        problem(" "),
        problem("no answer", None),
        problem("science", ability="science"),
        {"problem": "few", "tests": tests},
        {"problem": "none", "tests": None, "starter_code": ""},
        {"problem": "odd", "tests": {"inputs": ["1"], "outputs": []}},
    ]
    outcomes, _ = curate(rows, min_tests=16)
    assert sorted(dropped(outcomes), key=lambda drop: drop[1]) == [
        ("empty_prompt", "toy.jsonl:1"),
        ("no_gold", "toy.jsonl:2"),
        ("unsupported_ability", "toy.jsonl:3"),
        ("too_few_tests", "toy.jsonl:4"),
        ("no_tests", "toy.jsonl:5"),
        ("tests_unequal", "toy.jsonl:6"),
    ]


def test_a_problem_without_a_gold_is_kept_on_request_or_gets_one_from_its_duplicate():
    teacher = {"problem": "p", "response": "r", "domain": "math"}
    assert [reason for reason, _ in dropped(curate([teacher])[0])] == ["no_gold"]
    assert len(kept(curate([teacher], require_gold=False)[0])) == 1
    (survivor,) = kept(curate([teacher, problem("p", "7")])[0])
    assert survivor["reward_model"]["ground_truth"] == "7"
    assert survivor["rollouts"][0]["completion"] == "r"


def test_a_row_that_fits_no_schema_stops_the_run_or_is_handed_over():
    rows = [problem("p"), {"colour": "red"}]
    with pytest.raises(RecordError, match=r"^toy.jsonl:2: no column holds a problem"):
        curate(rows)
    bad = []
    outcomes, _ = curate(rows, on_bad=bad.append)
    assert len(outcomes) == 1
    assert (bad[0].where, json.loads(bad[0].raw)) == ("toy.jsonl:2", {"colour": "red"})


def test_curating_its_own_output_changes_nothing():
    rows = [problem("p", response="a"), problem("P", response="b"), problem("q", {"x": 1})]
    first, _ = curate(rows, items=ITEMS, check_gold=False)
    again, _ = curate(kept(first), items=ITEMS, check_gold=False)
    assert again == kept(first)
    without, _ = curate(kept(first), check_gold=False)
    assert without == kept(first)


def test_records_with_keys_of_later_stages_keep_them():
    (record,) = kept(curate([problem("p")])[0])
    marked = {**record, "difficulty": {"pass_rate": 0.5}, "mine": [1]}
    (result,) = kept(curate([marked])[0])
    assert (result["difficulty"], result["mine"]) == ({"pass_rate": 0.5}, [1])


def test_odd_text_survives_the_temporary_file():
    text = "a\u2028b\x00c \ud800 " + "x" * 100_000
    (record,) = kept(curate([problem(text, extra=10**30)])[0])
    assert record["prompt"][0]["content"] == text
    assert record["extra_info"]["extra"] == 10**30


def test_parquet_columns_that_json_cannot_hold_are_kept_as_text():
    odd = {"image": b"\xff", "when": datetime.date(2025, 8, 12), "price": decimal.Decimal("1.50")}
    bad = []
    outcomes, _ = curate([problem("p", decimal.Decimal("2.5"), **odd), {"colour": b"red"}], on_bad=bad.append)
    (record,) = kept(outcomes)
    assert record["extra_info"] == {"image": "/w==", "when": "2025-08-12", "price": "1.50", "index": 0}
    assert record["reward_model"]["ground_truth"] == "2.5"
    assert bad[0].raw == b'{"colour":"cmVk"}'


def test_counts_are_kept_for_each_source():
    rows = [problem("p", data_source="a"), problem("p", data_source="b"), problem("q", data_source="b")]
    assert curate(rows)[1]["sources"] == {"a": {"in": 1, "out": 1}, "b": {"in": 2, "out": 1}}


def test_a_temporary_folder_that_is_full_is_an_error_with_advice(monkeypatch):
    import tempfile

    monkeypatch.setattr(tempfile, "TemporaryFile", lambda: open("/dev/full", "r+b", buffering=0))  # noqa: SIM115
    with pytest.raises(UsageError, match=r"No space left on device.*TMPDIR"):
        curate([problem("p")])


ROW = st.builds(
    problem,
    st.sampled_from(["p", "P", "q", "q ", LEAK, LEAK + "!", "", "r"]),
    st.sampled_from(["1", "2", None, "proof"]),
    response=st.sampled_from([None, "a", "b"]),
)


@settings(deadline=None)
@given(st.lists(ROW | st.just({"colour": "red"}), max_size=12), st.sampled_from(["exact", "none"]))
def test_every_row_is_out_or_dropped_or_bad_exactly_once_and_in_order(rows, dedup):
    bad = []
    items = [Item("b", "b:1", None, LEAK)]
    outcomes, notes = curate(rows, on_bad=bad.append, dedup=dedup, items=items)
    out = kept(outcomes)
    assert len(out) + len(dropped(outcomes)) + len(bad) == len(rows)
    places = [record["extra_info"]["index"] for record in out]
    assert places == sorted(places)
    assert len({at for _, at in dropped(outcomes)}) == len(dropped(outcomes))
    assert all(problem_of(record) is None and record["reward_model"]["ground_truth"] for record in out)
    assert sum(count["out"] for count in notes["sources"].values()) == len(out)
    if dedup == "exact":
        assert len({record["id"] for record in out}) == len(out)
