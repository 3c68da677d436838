"""Verdicts: classes and their policies, frequent n-grams, solutions, and what does not change a verdict."""

import pickle
import random

import pytest

from klear_data.contamination import CLASSES, CLEAN, Detector, DetectorOptions, Item, ngrams
from klear_data.curation.kernels import fold
from tests.klear_data.contamination.helpers import items_of, lookup, ngram_rule, only, problem

ITEM = (
    "A farmer picks 14 baskets of ripe plums on Monday and 9 baskets on Tuesday. He sells each basket at the "
    "village market for 6 dollars. How much money does the farmer earn from all of the baskets?"
)
VARIANT = ITEM.replace("14", "21").replace(" 9 ", " 8 ").replace(" 6 ", " 5 ")
PHRASE = "picks ripe plums on Monday and then on Tuesday again"
LONG = f"{PHRASE} " + " ".join(f"w{number}" for number in range(40))


def test_a_copy_is_verbatim_an_edited_one_edited_and_other_numbers_make_a_variant():
    detector = Detector(items_of(ITEM, "Ann has 9 red apples and gives 2 to Bob today"))
    found = {
        text: lookup(detector, text).evidence["class"]
        for text in (ITEM, VARIANT, "Ann has 9 ripe apples and gives 2 to Bob today")
    }
    assert list(found.values()) == ["verbatim", "variant", "edited"]
    assert lookup(detector, "What is the capital of France?") == CLEAN


def test_a_variant_is_no_verbatim_copy_however_many_words_they_share():
    assert lookup(ngram_rule(ITEM), VARIANT).evidence["class"] == "verbatim"
    review = Detector(items_of(ITEM), DetectorOptions(policy={"variant": "review"}))
    verdict = lookup(review, VARIANT)
    assert (verdict.action, verdict.evidence["class"]) == ("review", "variant")


@pytest.mark.parametrize("action", ["drop", "review", "keep"])
def test_each_class_has_its_own_action(action):
    verdict = lookup(Detector(items_of(ITEM), DetectorOptions(policy=only("variant", action))), VARIANT)
    assert (verdict.action, verdict.evidence["class"]) == (action, "variant")


def test_a_class_that_is_off_is_not_looked_for():
    detector = Detector(items_of(ITEM), DetectorOptions(policy=dict.fromkeys(CLASSES, "off")))
    assert lookup(detector, ITEM) == CLEAN


def test_the_strongest_action_of_several_classes_decides():
    policy = {**only("verbatim", "keep"), "edited": "review", "paraphrase": "off"}
    verdict = lookup(Detector(items_of(ITEM), DetectorOptions(policy=policy)), ITEM)
    assert [(finding.action, finding.evidence["class"]) for finding in verdict.findings] == [
        ("review", "edited"),
        ("keep", "verbatim"),
    ]
    assert verdict.action == "review"


def test_a_record_kept_for_review_carries_its_evidence():
    detector = Detector(items_of(ITEM), DetectorOptions(policy=only("verbatim", "review")))
    stamp = detector.stamp(lookup(detector, ITEM))
    assert stamp["hits"] == 1
    assert [evidence["class"] for evidence in stamp["review"]] == ["verbatim"]


def test_the_stamp_names_the_semantics():
    assert ngram_rule(ITEM).stamp(CLEAN) == {
        "n": 9,
        "tokeniser": "words+cjk/1",
        "normaliser": "nfkc-casefold-ws/1 seen/1",
        "hits": 0,
        "boilerplate_hits": 0,
    }
    assert (
        ngram_rule(ITEM, tokeniser="latex").stamp(CLEAN)["normaliser"] == "latex-canonical/1 nfkc-casefold-ws/1 seen/1"
    )
    assert ngram_rule(ITEM, tokeniser="whitespace").stamp(CLEAN)["normaliser"] == "seen/1"


def settled(detector, texts):
    verdicts = detector.lookup_many([problem(text) for text in texts])
    detector.count(verdicts)
    return [detector.settle(verdict).action for verdict in verdicts]


def test_a_sentence_that_many_prompts_share_with_one_item_convicts_none_of_them():
    few = [f"{PHRASE} number {number}" for number in range(5)]
    many = [f"{PHRASE} number {number}" for number in range(6)]
    assert settled(ngram_rule(LONG), few) == ["drop"] * 5
    assert settled(ngram_rule(LONG), many) == ["keep"] * 6
    detector = ngram_rule(LONG)
    assert settled(detector, many) == ["keep"] * 6
    assert detector.notes()["frequent_ngrams"] == 2


def test_copies_of_half_an_item_do_not_excuse_each_other():
    half = " ".join(LONG.split()[:30])
    assert settled(ngram_rule(LONG), [f"{half} number {number}" for number in range(20)]) == ["drop"] * 20


def test_a_rare_ngram_convicts_beside_frequent_ones():
    other = " ".join(f"w{number}" for number in range(20, 31))
    texts = [f"{PHRASE} number {number}" for number in range(9)]
    assert settled(ngram_rule(LONG), [*texts, f"{PHRASE} and {other}"]) == ["keep"] * 9 + ["drop"]


def test_without_counting_every_verdict_stands():
    detector = ngram_rule(LONG)
    verdicts = detector.lookup_many([problem(f"{PHRASE} number {number}") for number in range(30)])
    assert [detector.settle(verdict) for verdict in verdicts] == verdicts


def test_where_frequent_ngrams_excuse_a_prompt_its_other_findings_still_count():
    near = "Picks sour plums on Monday and then on Friday again with 3 friends"
    policy = {**only("verbatim"), "edited": "drop"}
    detector = Detector(items_of(LONG, near), DetectorOptions(policy=policy))
    texts = [f"{PHRASE} number {number}" for number in range(9)]
    assert settled(detector, [*texts, f"{PHRASE} with 3 friends"]) == ["keep"] * 9 + ["drop"]


SOLUTION = "First multiply the fourteen baskets by six and then add the nine others"


def with_solution():
    rollouts = [{"index": 0, "completion": SOLUTION}]
    return Item("bench.jsonl", "bench.jsonl:1", "b1", LONG, {"rollouts": rollouts})


def test_solutions_are_looked_through_only_on_request():
    leak = problem("A new question", rollouts=[{"completion": "fine"}, {"completion": f"It says: {LONG}"}])
    told = problem(f"Hint: {SOLUTION}. What comes out?")
    for scan, expected in ((False, ["keep", "keep"]), (True, ["drop", "drop"])):
        detector = Detector([with_solution()], DetectorOptions(policy=only("verbatim"), scan_solutions=scan))
        verdicts = detector.lookup_many([leak, told])
        assert [verdict.action for verdict in verdicts] == expected
    assert verdicts[0].evidence["found_in"] == "rollouts[1]"
    assert verdicts[1].evidence["part"] == "solution"


def test_frequent_ngrams_of_solutions_are_not_mixed_up_with_those_of_questions():
    solution = f"{PHRASE} " + " ".join(f"s{number}" for number in range(40))
    item = Item(
        "b", "b:1", None, " ".join(f"q{number}" for number in range(40)), {"rollouts": [{"completion": solution}]}
    )
    detector = Detector([item], DetectorOptions(policy=only("verbatim"), scan_solutions=True))
    texts = [f"{PHRASE} number {number}" for number in range(9)]
    assert settled(detector, [*texts, " ".join(f"q{number}" for number in range(10))]) == ["keep"] * 9 + ["drop"]


def drawn(count, seed):
    draw = random.Random(seed)
    words = [f"w{number}" for number in range(60)]
    return [" ".join([*draw.choices(words, k=25), str(draw.randrange(9))]) for _ in range(count)]


@pytest.mark.parametrize("policy", [only("verbatim"), {}])
def test_verdicts_depend_neither_on_the_batch_nor_on_the_way(monkeypatch, policy):
    items, texts = drawn(300, 0), drawn(300, 1)
    prompts = [problem(text) for text in (*texts, *items[:20], *(text.replace("w1", "w2") for text in items[:40]))]
    make = lambda: Detector(items_of(*items), DetectorOptions(n=3, policy=policy))  # noqa: E731
    whole = make().lookup_many(prompts)
    assert {verdict.action for verdict in whole} == {"drop", "keep"}
    monkeypatch.setattr(ngrams, "PLAIN_UP_TO", 0)
    monkeypatch.setattr("klear_data.contamination.edited.PLAIN_UP_TO", 0)
    detector = make()
    parts = [
        verdict for start in range(0, len(prompts), 7) for verdict in detector.lookup_many(prompts[start : start + 7])
    ]
    assert parts == whole


def test_verdicts_travel_between_processes():
    verdict = lookup(ngram_rule(LONG), f"{PHRASE} indeed")
    assert verdict.findings[0].ngrams
    assert pickle.loads(pickle.dumps(verdict)) == verdict


def test_an_empty_batch_gives_no_verdicts():
    assert Detector(items_of(ITEM)).lookup_many([]) == []


def test_the_report_says_what_was_compared_and_how():
    notes = ngram_rule(ITEM, "1+1").notes()
    assert notes["benchmarks"] == {"bench.jsonl": 2}
    assert (notes["items"], notes["items_shorter_than_n"], notes["n"]) == (2, 1, 9)
    assert notes["policy"] == only("verbatim")


CYRILLIC, GREEK = str.maketrans("aeocpyx", "аеосрух"), str.maketrans("AEOT", "ΑΕΟΤ")
UNSEEN = {
    "zero-width spaces": lambda text: "\u200b".join(text),
    "soft hyphens": lambda text: text.replace("e", "e\u00ad"),
    "Cyrillic letters": lambda text: text.translate(CYRILLIC),
    "Greek capitals": lambda text: text.upper().translate(GREEK),
    "variation selectors and bidi marks": lambda text: text.replace("e", "e\u200e\ufe0f"),
}
OTHER = "Ann has seven eggs, eats three of them and sells what is left for a dollar."
RUSSIAN = "у маши было два яблока и она съела одно из них вечером дома"


@pytest.mark.parametrize("rule", ["words", "latex"])
@pytest.mark.parametrize("name", UNSEEN)
def test_what_no_reader_sees_hides_no_copy(name, rule):
    detector = ngram_rule(ITEM, tokeniser=rule)
    texts = [UNSEEN[name](ITEM), UNSEEN[name](OTHER), "short but said in more than four words"]
    assert texts[0] != ITEM
    assert [verdict.action for verdict in detector.lookup_many(list(map(problem, texts)))] == ["drop", "keep", "keep"]
    assert 0 in detector.candidates(*fold(texts))


def test_an_item_with_unseen_characters_is_found_in_a_prompt_without():
    assert lookup(ngram_rule(UNSEEN["zero-width spaces"](ITEM)), ITEM).action == "drop"


def test_problems_in_scripts_of_look_alikes_stay_apart():
    assert lookup(ngram_rule(RUSSIAN), RUSSIAN).action == "drop"
    assert lookup(ngram_rule(RUSSIAN), RUSSIAN.replace("два", "три").replace("одно", "всё")).action == "keep"
