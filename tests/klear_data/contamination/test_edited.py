"""The class ``edited``: one word or the LaTeX changed, and no other problem taken for that."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klear_data.contamination import Detector, DetectorOptions
from klear_data.contamination.edited import Edited
from tests.klear_data.contamination.helpers import items_of, lookup, only, problem

ITEM = "Tom has 9 red apples and gives 2 of them to his sister"
FORMULA = r"Find $\frac{x^2}{3} + \left(y_1 \leq \pi\right)$ if $y_1 = \sqrt{2}$ and $x \neq 30^\circ$."


def edited(*texts):
    return Detector(items_of(*texts), DetectorOptions(policy=only("edited")))


@pytest.mark.parametrize(
    "prompt",
    [
        ITEM,
        ITEM.replace("apples", "pears"),
        ITEM.replace("red ", ""),
        ITEM.replace("his", "his younger"),
        f"Solve this problem carefully: {ITEM.upper().replace('APPLES', 'PLUMS')} Put the answer in a box.",
    ],
)
def test_a_word_changed_dropped_or_added_is_caught_though_no_nine_are_left(prompt):
    evidence = lookup(edited(ITEM), prompt).evidence
    assert (evidence["class"], evidence["rule"], evidence["item"]) == ("edited", "edited copy", "bench.jsonl:1")
    assert evidence["coverage"] >= 0.9
    assert evidence["span"].startswith("tom has 9") or "tom has 9" in evidence["span"]


def test_formulas_in_another_spelling_are_the_same_formulas():
    other = r"FIND \(\dfrac{x^{2}}{3} + (y_{1} ≤ π)\) IF \(y_{1} = \sqrt2\) AND \(x \ne 30°\)."
    assert lookup(edited(FORMULA), other).evidence["coverage"] == 1.0


@pytest.mark.parametrize(
    "prompt",
    [
        ITEM.replace("9", "8"),  # a variant
        ITEM.replace("red", "3 red"),
        "Tom has 9 brothers and 2 of them live with a sister of his who grows red apples",
        "Ann buys 9 green pears and sells 2 of them to a friend",
        "Tom has 9 red apples",
        "2 9",
        "",
    ],
)
def test_other_numbers_other_words_and_parts_are_not_edited_copies(prompt):
    assert lookup(edited(ITEM), prompt).findings == ()


def test_a_short_item_is_caught_only_with_all_of_its_tokens():
    item = r"Compute $\sin 60^\circ$ by hand"
    assert lookup(edited(item), r"Compute \(\sin 60^{\circ}\) by hand.").action == "drop"
    assert lookup(edited(item), r"Compute $\cos 60^\circ$ by hand").findings == ()


def test_the_same_words_in_another_order_are_no_copy():
    item = "A dog that lives on a farm runs after a cat that lives in a town"
    other = "A cat that lives in a town runs after a dog that lives on a farm"
    assert lookup(edited(item), other).findings == ()


def test_one_changed_word_may_break_all_runs_but_one():
    item = r"Evaluate $\sin x + \cos y$ for those angles"
    assert lookup(edited(item), item.replace("for", "with")).action == "drop"


def test_a_run_that_a_prompt_repeats_counts_once():
    index = Edited(items_of("one two three four five six seven eight nine"))
    texts = ["one two three one two three one two three"]
    assert list(index.named_fast(texts)) == list(index.named_plain(texts)) == []


def test_the_item_copied_most_closely_is_the_one_named():
    closer = ITEM.replace("red", "ripe")
    assert lookup(edited(ITEM, closer), closer.replace("sister", "aunt")).evidence["item"] == "bench.jsonl:2"


TEXT = st.lists(st.sampled_from([*"abcd12πé剪", "\\pi", "\\frac"]), max_size=25).map(" ".join)


@settings(deadline=None)  # the first call loads the kernel
@given(st.lists(TEXT, max_size=6), st.lists(TEXT, max_size=6))
def test_the_kernel_names_the_same_items_as_the_plain_rule(items, texts):
    index = Edited(items_of(*items))
    assert list(index.named_fast(texts)) == list(index.named_plain(texts))


def test_more_pairs_than_there_is_room_for_at_first_are_all_named():
    index = Edited(items_of(*[f"one two three four {number}" for number in range(30)]))
    texts = ["one two three four"] * 100
    named = list(index.named_fast(texts))
    assert named == list(index.named_plain(texts))
    assert len(named) == 3000


def test_verdicts_are_the_same_by_both_ways(monkeypatch):
    from klear_data.contamination import edited as module

    prompts = [problem(text) for text in (ITEM, ITEM.replace("red", "big"), "something else entirely", ITEM[:20])]
    plain = Edited(items_of(ITEM)).score_many(prompts)
    monkeypatch.setattr(module, "PLAIN_UP_TO", 0)
    assert Edited(items_of(ITEM)).score_many(prompts) == plain
    assert [evidence is not None for evidence in plain] == [True, True, False, False]
