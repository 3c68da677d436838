"""The stage on real files of the field, where they lie beside the checkout."""

from collections import Counter
from functools import partial
from itertools import islice
from pathlib import Path

import pytest

from klear_data.contamination import CLASSES, Detector, DetectorOptions, read_benchmark
from klear_data.curation import CurateOptions, curate_rows
from klear_data.jsonl import Source
from klear_data.records import problem_of
from klear_data.reward.math import verify_response
from klear_data.sources import expand_sources
from klear_data.stage import Drop

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"
TRAINING = {
    "math/gsm8k_train.jsonl": 7473,
    "math/rllm_math.json": 7474,
    "math/rllm_aime.json": 975,
    "math/mwp_math23k_testset.json": 2317,
    "code/rllm_leetcode.json": 1889,
}

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not at hand")


@pytest.fixture(scope="module")
def benchmarks():
    return [item for path in expand_sources([str(DATA / "benchmarks")]) for item in read_benchmark(path)]


def only_verbatim(items):
    policy = {name: "off" for name in CLASSES if name != "verbatim"}
    return partial(Detector, items, DetectorOptions(policy=policy))


def rows_of(name):
    return Source(str(DATA / name))


@pytest.fixture(scope="module")
def outcomes(benchmarks):
    rows = (row for name in TRAINING for row in rows_of(name))
    return list(curate_rows(rows, CurateOptions(filters=("gold",)), make_detector=only_verbatim(benchmarks)))


@pytest.fixture(scope="module")
def kept(outcomes):
    return [outcome for outcome in outcomes if not isinstance(outcome, Drop)]


def drops(outcomes, reason):
    return [outcome for outcome in outcomes if isinstance(outcome, Drop) and outcome.reason == reason]


def test_every_real_row_is_out_or_dropped_with_a_reason(outcomes, kept):
    assert len(outcomes) == sum(TRAINING.values())
    assert all(problem_of(record) is None for record in kept)
    reasons = Counter(outcome.reason for outcome in outcomes if isinstance(outcome, Drop))
    assert set(reasons) <= {"duplicate", "contaminated", "no_gold", "gold_unparseable", "conflicting_gold"}
    assert reasons["no_gold"] == 4  # MATH rows with a null or empty answer
    assert 280 <= reasons["duplicate"] <= 290  # AIME problems that MATH has too
    assert 450 <= reasons["contaminated"] <= 620  # 880 if n-grams frequent in the data could convict


def test_all_eight_benchmarks_are_read(benchmarks):
    assert len({item.benchmark for item in benchmarks}) == 8
    assert len(benchmarks) == 2880


def test_real_duplicates_agree_on_their_gold(outcomes):
    # 097 and 97, 83 degrees and 83: different text, no conflict.
    assert drops(outcomes, "conflicting_gold") == []


def test_real_contamination_shows_nine_words_of_the_item(outcomes, benchmarks):
    texts = {item.where: item.text for item in benchmarks}
    for drop in drops(outcomes, "contaminated"):
        assert len(drop.evidence["span"].split()) >= 9
        assert drop.evidence["item"] in texts


def test_worked_solutions_are_kept_in_a_form_that_the_verifier_reads(kept):
    gsm8k = [record for record in kept if record["data_source"] == "gsm8k_train"]
    assert len(gsm8k) > 7400
    for record in islice(gsm8k, 0, None, 20):
        completion = record["rollouts"][0]["completion"]
        assert "<<" not in completion
        assert verify_response(record["reward_model"]["ground_truth"], completion, think="none").verdict == "AC"


def test_leetcode_has_too_few_tests_for_the_papers_filter():
    outcomes = list(curate_rows(islice(rows_of("code/rllm_leetcode.json"), 100), CurateOptions(min_tests=16)))
    assert {outcome.reason for outcome in outcomes} == {"too_few_tests"}


@pytest.mark.parametrize(
    "name", ["gsm8k_test.jsonl", "math500.jsonl", "humaneval.jsonl", "mbpp.json", "codeforces.json"]
)
def test_a_benchmark_leaks_into_itself_completely(benchmarks, name):
    rows = rows_of(f"benchmarks/{name}")
    verdicts = Counter(
        outcome.reason if isinstance(outcome, Drop) else "kept"
        for outcome in curate_rows(
            rows, CurateOptions(dedup="none", check_gold=False), make_detector=only_verbatim(benchmarks)
        )
    )
    assert set(verdicts) == {"contaminated"}


def test_reworded_problems_pass_the_nine_gram_rule(benchmarks):
    # What the rule can't see; the number is here so that a stronger rule shows.
    rows = rows_of("rephrased/gsm8k_test_rephrased.jsonl")
    options = CurateOptions(ability="math", require_gold=False)
    caught = drops(list(curate_rows(rows, options, make_detector=only_verbatim(benchmarks))), "contaminated")
    assert 10 <= len(caught) <= 60
