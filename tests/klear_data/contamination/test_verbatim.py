"""The n-gram rule: what it convicts, what it must not, and what it says about it."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klear_data.contamination import CLEAN, Detector, DetectorOptions, Item
from tests.klear_data.contamination.helpers import lookup, ngram_rule, only, problem

ITEM = "A train leaves Paris at noon and reaches Lyon two hours later; how fast is it?"


@pytest.mark.parametrize(
    "prompt",
    [
        ITEM,
        ITEM.upper(),
        f"Solve this.  {ITEM}\nThink step by step.",
        "a TRAIN, leaves - Paris (at) noon and\nreaches Lyon",
        "Ａ train leaves Paris at noon and reaches Lyon",
    ],
)
def test_nine_words_in_a_row_convict_whatever_their_case_and_punctuation(prompt):
    evidence = lookup(ngram_rule(ITEM), prompt).evidence
    assert (evidence["class"], evidence["rule"]) == ("verbatim", "9-gram")
    assert (evidence["benchmark"], evidence["item"]) == ("bench.jsonl", "bench.jsonl:1")
    assert evidence["span"].startswith("a train leaves paris at noon and reaches lyon")


@pytest.mark.parametrize("prompt", ["A train leaves Paris at noon and reaches Nice", "noon at Paris", "", "?!"])
def test_eight_words_in_a_row_do_not_convict(prompt):
    assert lookup(ngram_rule(ITEM), prompt) == CLEAN


def test_a_changed_word_in_every_nine_escapes_and_n_is_the_users_choice():
    prompt = "A train leaves Paris at ten and reaches Lyon two hours later"
    assert lookup(ngram_rule(ITEM), prompt) == CLEAN
    assert lookup(ngram_rule(ITEM, n=5), prompt).evidence["rule"] == "5-gram"


def test_whitespace_tokens_tell_case_and_punctuation_apart():
    detector = ngram_rule(ITEM, tokeniser="whitespace")
    assert lookup(detector, f"Solve.\n{ITEM}").evidence["span"] == ITEM
    assert lookup(detector, ITEM.upper()) == CLEAN
    assert lookup(detector, ITEM.replace(" ", ", ")) == CLEAN


def test_latex_tokens_see_through_the_spelling_of_formulas():
    item = r"Find $\frac{a}{b} + \frac{c}{d} \leq x^2 \cdot \pi$."
    other = r"Find \(\dfrac{a}{b} + \tfrac cd ≤ x^{2} · π\)."
    assert lookup(ngram_rule(item, tokeniser="latex"), other).evidence["coverage"] == 1.0
    assert lookup(ngram_rule(item), other) == CLEAN


def test_evidence_gives_the_longest_common_span_and_how_much_of_the_item_is_covered():
    words = [f"w{number}" for number in range(20)]
    prompt = [*words[:9], "x", *words[9:19], "y"]
    evidence = lookup(ngram_rule(" ".join(words)), " ".join(prompt)).evidence
    assert evidence["span"] == " ".join(words[9:19])
    assert evidence["coverage"] == 0.95
    assert (evidence["shared_ngrams"], evidence["boilerplate_ngrams"]) == (3, 0)


def test_the_item_covered_most_is_the_one_named():
    shared = "one two three four five six seven eight nine"
    detector = ngram_rule(f"{shared} and much more that is not in the prompt at all", f"{shared} ten")
    assert lookup(detector, f"{shared} ten eleven").evidence["item"] == "bench.jsonl:2"


TEMPLATE = "the first line of the input contains a single integer number t"


def test_ngrams_of_many_items_do_not_convict_alone():
    detector = ngram_rule(*[f"Task {number}: paint {number} walls. {TEMPLATE} {number}" for number in range(4)])
    verdict = lookup(detector, f"Bake a cake. {TEMPLATE}")
    assert (verdict.action, verdict.evidence, verdict.boilerplate) == ("keep", None, 4)
    assert lookup(ngram_rule(f"Paint walls. {TEMPLATE}"), f"Bake a cake. {TEMPLATE}").action == "drop"


def test_a_sentence_of_many_items_and_the_next_words_do_not_convict():
    sentence = "each test contains multiple test cases"
    endings = ["the same color", "a broken clock", "seven green bottles", "no way out"]
    items = [f"{sentence} {ending} {' '.join(f'{ending[0]}{n}' for n in range(20))}" for ending in endings]
    prompt = f"Dogs eat. {sentence} the same color"
    assert lookup(ngram_rule(items[0]), prompt).action == "drop"
    assert lookup(ngram_rule(*items), prompt).evidence is None
    assert lookup(ngram_rule(*items), f"Dogs eat. {sentence} the same color t0 t1").action == "drop"


def test_an_item_made_of_boilerplate_alone_still_convicts_its_whole_copy():
    detector = ngram_rule(TEMPLATE, *[f"Task {number} {TEMPLATE}" for number in range(5)])
    evidence = lookup(detector, f"Bake a cake. {TEMPLATE}").evidence
    assert (evidence["rule"], evidence["item"], evidence["coverage"]) == ("whole item", "bench.jsonl:1", 1.0)


def test_the_same_item_in_several_files_does_not_become_boilerplate():
    items = [Item(f"{name}.jsonl", f"{name}.jsonl:1", None, ITEM) for name in "abcdef"]
    detector = Detector(items, DetectorOptions(policy=only("verbatim")))
    assert lookup(detector, ITEM).evidence["benchmark"] == "a.jsonl"
    assert detector.notes()["items"] == 1
    assert detector.notes()["benchmarks"] == {f"{name}.jsonl": 1 for name in "abcdef"}


@pytest.mark.parametrize("prompt", ["Simplify $\\tan 100^\\circ$.", "Please simplify \\tan 100^\\circ now"])
def test_an_item_shorter_than_n_convicts_by_whole_containment(prompt):
    evidence = lookup(ngram_rule("Simplify $\\tan 100^\\circ.$"), prompt).evidence
    assert (evidence["rule"], evidence["span"]) == ("whole item", "simplify tan 100 circ")


def test_part_of_a_short_item_does_not_convict():
    assert lookup(ngram_rule("Simplify $\\tan 100^\\circ + 4$"), "Simplify $\\tan 100^\\circ$") == CLEAN


def test_a_tiny_item_convicts_only_the_prompt_that_is_the_item():
    detector = ngram_rule("$1+1$")
    assert lookup(detector, " $1+1$ ").evidence["rule"] == "whole item"
    assert lookup(detector, "What is $1+1$ if 1 is 2?") == CLEAN


def test_chinese_counts_a_token_a_character():
    detector = ngram_rule("一段布剪去6米，正好剪去这段布的(2/5)，这段布还剩多少米？")
    assert lookup(detector, "一段布剪去6米,正好的").evidence["span"] == "一 段 布 剪 去 6 米 正 好"
    assert lookup(detector, "一段布剪去6米，正在") == CLEAN


LETTERS = st.lists(st.sampled_from("abcde"), max_size=30)


@settings(deadline=None)
@given(LETTERS, st.lists(st.sampled_from("abcde"), min_size=3, max_size=30))
def test_the_rule_agrees_with_its_definition_word_by_word(prompt, item):
    n = 3
    grams = {tuple(item[start : start + n]) for start in range(len(item) - n + 1)}
    expected = any(tuple(prompt[start : start + n]) in grams for start in range(len(prompt) - n + 1))
    detector = ngram_rule(" ".join(item), n=n, boilerplate_above=1)
    assert (lookup(detector, " ".join(prompt)).action == "drop") == expected


def test_verdicts_do_not_depend_on_the_order_of_items():
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcdefgh", k=20)) for _ in range(60)]
    prompts = [problem(" ".join(draw.choices("abcdefgh", k=20))) for _ in range(60)]
    one, other = ngram_rule(*texts, n=4), ngram_rule(*reversed(texts), n=4)
    flagged = [verdict.action for verdict in one.lookup_many(prompts)]
    assert flagged == [verdict.action for verdict in other.lookup_many(prompts)]
    assert set(flagged) == {"drop", "keep"}
