"""What brings spellings together, and the classes built on it."""

import doctest
import json
import random
from collections import Counter
from pathlib import Path

import pytest

from klear_data.contamination import Detector, DetectorOptions, Item, Problem, code_overlap, read_benchmark
from klear_data.contamination.audit import audit
from klear_data.contamination.code_overlap import CodeScorer, literals
from klear_data.contamination.edits import EDITS
from klear_data.contamination.overlap import Encoder, encode, numbers, words
from klear_data.contamination.overlap.encode import tokens_of
from klear_data.contamination.overlap.numbers import value_of
from klear_data.contamination.paraphrase import ParaphraseScorer
from klear_data.contamination.scorers import make_scorers
from klear_data.contamination.variant import VariantScorer
from klear_data.jsonl import Source
from klear_data.sources import expand_sources, to_record
from klear_data.text import normalise, prompt_text
from tests.klear_data.contamination.helpers import items_of, problem

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
REWORDINGS = [json.loads(line) for line in (Path(__file__).parent / "rewordings.jsonl").open(encoding="utf-8")]

BAKERY = (
    "A bakery in Utrecht bakes 48 rye loaves every morning and sells each loaf for $3.50. On Saturday it gives a "
    "quarter of the loaves to a shelter. How much money does it earn from loaves on Saturday?"
)
REWORDED = (
    "Each morning 4 dozen loaves of rye leave the oven of a Utrecht bakery, at 3.50 dollars a loaf. A shelter gets "
    "25% of them on Saturdays. What are that day's earnings from the loaves?"
)
OTHERS = (
    "A train leaves Paris at 9 and reaches Lyon 2 hours later. How fast was it if the distance is 470 km?",
    "Find the number of positive integers below 1000 that are divisible by 7 but not by 11.",
)


def scorer(kind, *texts):
    items = items_of(*texts)
    return kind(items, Encoder([normalise(item.text) for item in items]))


def found(kind, prompt, *texts):
    return scorer(kind, *(texts or (BAKERY, *OTHERS))).score_many([problem(prompt)])[0]


@pytest.mark.parametrize("module", [numbers, words, encode, code_overlap])
def test_the_examples_in_the_docstrings_hold(module):
    assert doctest.testmod(module).failed == 0


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,500 m", "fifteen hundred m"),
        ("1,500 m", "1500 m"),
        ("2.50", "2.5"),
        ("half of", "1/2 of"),
        ("half of", r"\frac{1}{2} of"),
        ("25%", "a quarter"),
        ("25%", r"25\%"),
        ("25%", "25 percent"),
        ("a dozen", "12"),
        ("three dozen", "36"),
        ("twenty-five", "25"),
        ("two hundred and forty", "240"),
        ("two thirds", "2/3"),
        ("thrice", "3"),
        ("75 cents", "0.75"),
        ("$1.5 million", "$1,500,000"),
    ],
)
def test_a_number_has_one_value_however_it_is_spelled(one, other):
    def values(text):
        return [value for token in tokens_of(normalise(text)) if (value := value_of(token.replace("\\%", "%")))]

    assert values(one) == values(other) != []


@pytest.mark.parametrize("text", ["0/0", "1/0", r"\frac{1}{0}", "...", "9" * 400, "٣", "²", "1,2,3,", "a-", "-", ""])
def test_odd_numbers_do_not_stop_anybody(text):
    assert found(ParaphraseScorer, text) is None
    assert found(VariantScorer, text) is None


def test_a_reworded_problem_is_found_whatever_the_order_and_the_spelling_of_numbers():
    evidence = found(ParaphraseScorer, REWORDED)
    assert (evidence["class"], evidence["item"]) == ("paraphrase", "bench.jsonl:1")
    assert evidence["number_overlap"] > 0.6


def test_the_same_words_with_other_numbers_are_a_variant_and_no_paraphrase():
    prompt = BAKERY.replace("48", "60").replace("3.50", "4.20").replace("quarter", "fifth part")
    assert found(VariantScorer, prompt)["item"] == "bench.jsonl:1"
    assert found(VariantScorer, BAKERY) is None
    assert found(ParaphraseScorer, prompt) is None


def test_one_shared_sentence_is_neither_variant_nor_paraphrase():
    prompt = f"{BAKERY.split('. ')[0].replace('48', '50')}. Draw its logo, and say which of five colours fits it best."
    assert found(VariantScorer, prompt) is None


def test_one_instead_of_1_makes_no_variant():
    item = "Bernie walks 1 mile with each of her 4 dogs, and then another mile by herself along the river bank"
    worded = item.replace("1 mile", "one mile")
    assert found(VariantScorer, worded, item) is None
    assert found(VariantScorer, item, worded) is None
    assert found(VariantScorer, item.replace("4", "5"), worded) is not None


def test_a_verdict_depends_on_the_prompt_alone():
    prompts = [problem(text) for text in (REWORDED, *OTHERS, "unknown words zzz qqq 77", BAKERY) * 3]
    for kind in (VariantScorer, ParaphraseScorer):
        whole = scorer(kind, BAKERY, *OTHERS)
        together = whole.score_many(prompts)
        assert [whole.score_many([prompt])[0] for prompt in reversed(prompts)] == together[::-1]
        assert whole.score_many([]) == []


def test_memory_of_unknown_words_is_bounded(monkeypatch):
    monkeypatch.setattr(encode, "_MEMO_LIMIT", 50)
    small = scorer(ParaphraseScorer, BAKERY, *OTHERS)
    draw = random.Random(0)
    for _ in range(30):
        made_up = ["".join(draw.choices("abcdefgh", k=7)) for _ in range(20)]
        assert small.score_many([problem(" ".join(made_up)), problem(REWORDED)])[1] is not None
    assert len(small._index._encoder._memo) < 200


TASK = '''def rolling_max(numbers: List[int]) -> List[int]:
    """ From a given list of integers, generate a list of rolling maximum element found until given moment.
    >>> rolling_max([4, 2, 7, 7, 19, 3])
    [4, 4, 7, 7, 19, 19]
    """'''


SUBJECTS = "colour price weight island planet bridge engine window letter garden market river castle forest"


def code_items():
    """Rarity needs company: a benchmark of one task has only rare words."""
    others = [
        f'def {verb}_{subject}({subject}s: List[int], number: int) -> int:\n    """ {verb} the integers of a list of '
        f'{subject}s. >>> {verb}_{subject}([{place}, {place + 5}, 2], 3)\n    {place + 5} """'
        for place, subject in enumerate(SUBJECTS.split())
        for verb in ("count", "order", "paint")
    ]
    return [
        Item("code.jsonl", f"code.jsonl:{line}", None, task, {"ability": "code"})
        for line, task in enumerate([TASK, *others])
    ]


@pytest.mark.parametrize(
    "prompt",
    [
        "// Rolling maximum element of the numbers. peaks({4, 2, 7, 7, 19, 3}) returns {4, 4, 7, 7, 19, 19}",
        "Generate the list of the maximum integer up to each moment.\nInput: [4,2,7,7,19,3]\nOutput: [4,4,7,7,19,19]",
        "def rollingMax(numbers): the rolling maximum element of a list of integers until each moment",
    ],
)
def test_a_renamed_task_is_found_by_its_examples_or_its_words(prompt):
    evidence = CodeScorer(code_items()).score_many([problem(prompt, ability="code")])[0]
    assert (evidence["class"], evidence["item"]) == ("code", "code.jsonl:0")


def test_common_literals_do_not_convict_a_task():
    prompt = "def mean(numbers: List[int]) -> float:\n  The mean of a list of integers. mean([4, 9, 2]) == 5"
    assert CodeScorer(code_items()).score_many([problem(prompt, ability="code")]) == [None]


def test_literals_are_read_in_linear_time():
    assert literals("[" * 100_000) == []
    assert literals("['" * 50_000) is not None


def test_the_audit_finds_light_edits_leaves_the_rest_alone_and_repeats_itself():
    items = items_of(BAKERY, *OTHERS)
    records = [
        problem(f"Say in {count} words why birds sing at dawn.", ability="math").record for count in range(20, 40)
    ]
    results = [audit(Detector(items), records, seed=3, per_edit=None).as_dict() for _ in range(2)]
    assert results[0] == results[1]
    by_name = {planted["edit"]: planted for planted in results[0]["edits"]}
    assert set(by_name) == {edit.name for edit in EDITS}
    assert all(planted["recall"] == 1 for planted in by_name.values() if planted["light"] and planted["planted"])
    assert by_name["copy"]["classes"] == {"verbatim": 3}
    assert results[0]["flagged"] == {}


@pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not at hand")
def test_rewordings_of_real_benchmarks_that_nothing_was_chosen_on_are_found():
    items = [item for path in expand_sources([str(DATA / "benchmarks")]) for item in read_benchmark(path)]
    abilities = {item.benchmark: item.record["ability"] for item in items}
    held_out = [row for row in REWORDINGS if row["half"] == "held_out"]
    prompts = [problem(row["text"], ability=abilities[row["benchmark"]]) for row in held_out]
    verdicts = Detector(items, DetectorOptions()).lookup_many(prompts)
    right: Counter[str] = Counter()
    for row, verdict in zip(held_out, verdicts, strict=True):
        place = f"{row['benchmark']}:{row['item'] + 1}"
        right[abilities[row["benchmark"]]] += verdict.evidence is not None and verdict.evidence["item"].endswith(place)
    kinds = Counter(abilities[row["benchmark"]] for row in held_out)
    assert right["math"] >= 0.85 * kinds["math"]
    assert right["code"] >= 0.35 * kinds["code"]

    reworded = [json.loads(line)["prompt"] for line in (DATA / "rephrased/gsm8k_test_rephrased.jsonl").open()]
    flags = [verdict.action == "drop" for verdict in Detector(items).lookup_many(list(map(problem, reworded[1::2])))]
    assert sum(flags) >= 0.95 * len(flags)


@pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not at hand")
def test_few_real_training_problems_are_flagged():
    items = [item for path in expand_sources([str(DATA / "benchmarks")]) for item in read_benchmark(path)]
    for kind, name, at_most in (
        ("paraphrase", "math/gsm8k_train.jsonl", 0.003),
        ("code", "code/rllm_leetcode.json", 0.005),
    ):
        records = [to_record(raw, where) for where, raw in Source(str(DATA / name))]
        prompts = [Problem(normalise(prompt_text(record["prompt"])), record) for record in records]
        flags = make_scorers(items, [kind])[kind].score_many(prompts)
        assert sum(flag is not None for flag in flags) <= at_most * len(flags)
