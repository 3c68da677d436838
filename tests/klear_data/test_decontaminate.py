"""The n-gram rule: what it convicts, what it must not, and what it says about it."""

import doctest
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from klear_data import decontaminate
from klear_data.decontaminate import CLEAN, Benchmarks, Item, read_benchmark, tokens_of
from klear_data.errors import RecordError, UsageError
from klear_data.text import normalise

ITEM = "A train leaves Paris at noon and reaches Lyon two hours later; how fast is it?"


def benchmarks(*texts, **options):
    return Benchmarks(
        [Item("bench.jsonl", f"bench.jsonl:{line}", None, text) for line, text in enumerate(texts, 1)], **options
    )


def lookup(index, prompt):
    return index.lookup(normalise(prompt))


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return str(path)


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
    evidence = lookup(benchmarks(ITEM), prompt).evidence
    assert evidence["rule"] == "9-gram"
    assert (evidence["benchmark"], evidence["item"]) == ("bench.jsonl", "bench.jsonl:1")
    assert evidence["span"].startswith("a train leaves paris at noon and reaches lyon")


@pytest.mark.parametrize("prompt", ["A train leaves Paris at noon and reaches Nice", "noon at Paris", "", "?!"])
def test_eight_words_in_a_row_do_not_convict(prompt):
    assert lookup(benchmarks(ITEM), prompt) == CLEAN


def test_a_changed_word_in_every_nine_escapes_and_n_is_the_users_choice():
    prompt = "A train leaves Paris at ten and reaches Lyon two hours later"
    assert lookup(benchmarks(ITEM), prompt) == CLEAN
    assert lookup(benchmarks(ITEM, n=5), prompt).evidence["rule"] == "5-gram"


def test_evidence_gives_the_longest_common_span_and_how_much_of_the_item_is_covered():
    words = [f"w{number}" for number in range(20)]
    prompt = [*words[:9], "x", *words[9:19], "y"]
    evidence = lookup(benchmarks(" ".join(words)), " ".join(prompt)).evidence
    assert evidence["span"] == " ".join(words[9:19])
    assert evidence["coverage"] == 0.95
    assert (evidence["shared_ngrams"], evidence["boilerplate_ngrams"]) == (3, 0)


def test_the_item_covered_most_is_the_one_named():
    shared = "one two three four five six seven eight nine"
    index = benchmarks(f"{shared} and much more that is not in the prompt at all", f"{shared} ten")
    assert lookup(index, f"{shared} ten eleven").evidence["item"] == "bench.jsonl:2"


TEMPLATE = "the first line of the input contains a single integer number t"


def test_ngrams_of_many_items_do_not_convict_alone():
    index = benchmarks(*[f"Task {number}: paint {number} walls. {TEMPLATE} {number}" for number in range(4)])
    verdict = lookup(index, f"Bake a cake. {TEMPLATE}")
    assert verdict.evidence is None
    assert verdict.boilerplate == 4
    assert lookup(benchmarks(f"Paint walls. {TEMPLATE}"), f"Bake a cake. {TEMPLATE}").evidence is not None


def test_an_item_made_of_boilerplate_alone_still_convicts_its_whole_copy():
    index = benchmarks(TEMPLATE, *[f"Task {number} {TEMPLATE}" for number in range(5)])
    evidence = lookup(index, f"Bake a cake. {TEMPLATE}").evidence
    assert (evidence["rule"], evidence["item"], evidence["coverage"]) == ("whole item", "bench.jsonl:1", 1.0)


def test_the_same_item_in_several_files_does_not_become_boilerplate():
    index = Benchmarks([Item(f"{name}.jsonl", f"{name}.jsonl:1", None, ITEM) for name in "abcdef"])
    assert lookup(index, ITEM).evidence["benchmark"] == "a.jsonl"
    assert index.notes()["items"] == 1
    assert index.notes()["benchmarks"] == {f"{name}.jsonl": 1 for name in "abcdef"}


@pytest.mark.parametrize("prompt", ["Simplify $\\tan 100^\\circ$.", "Please simplify \\tan 100^\\circ now"])
def test_an_item_shorter_than_n_convicts_by_whole_containment(prompt):
    evidence = lookup(benchmarks("Simplify $\\tan 100^\\circ.$"), prompt).evidence
    assert (evidence["rule"], evidence["span"]) == ("whole item", "simplify tan 100 circ")


def test_part_of_a_short_item_does_not_convict():
    assert lookup(benchmarks("Simplify $\\tan 100^\\circ + 4$"), "Simplify $\\tan 100^\\circ$") == CLEAN


def test_a_tiny_item_convicts_only_the_prompt_that_is_the_item():
    index = benchmarks("$1+1$")
    assert lookup(index, " $1+1$ ").evidence["rule"] == "whole item"
    assert lookup(index, "What is $1+1$ if 1 is 2?") == CLEAN


def test_chinese_counts_a_token_a_character():
    index = benchmarks("一段布剪去6米，正好剪去这段布的(2/5)，这段布还剩多少米？")
    assert lookup(index, "一段布剪去6米,正好的").evidence["span"] == "一 段 布 剪 去 6 米 正 好"
    assert lookup(index, "一段布剪去6米，正在") == CLEAN


@given(st.lists(st.sampled_from("abcde"), max_size=40), st.lists(st.sampled_from("abcde"), min_size=3, max_size=30))
def test_the_rule_agrees_with_its_definition_word_by_word(prompt, item):
    n = 3
    grams = {tuple(item[start : start + n]) for start in range(len(item) - n + 1)}
    expected = any(tuple(prompt[start : start + n]) in grams for start in range(len(prompt) - n + 1))
    index = benchmarks(" ".join(item), n=n, boilerplate_above=1)
    assert (lookup(index, " ".join(prompt)).evidence is not None) == expected


def test_verdicts_do_not_depend_on_the_order_of_items():
    draw = random.Random(0)
    texts = [" ".join(draw.choices("abcdefgh", k=20)) for _ in range(60)]
    prompts = [" ".join(draw.choices("abcdefgh", k=20)) for _ in range(60)]
    one, other = benchmarks(*texts, n=4), benchmarks(*reversed(texts), n=4)
    flagged = [lookup(one, prompt).evidence is None for prompt in prompts]
    assert flagged == [lookup(other, prompt).evidence is None for prompt in prompts]
    assert True in flagged
    assert False in flagged


def test_tokens_are_words_after_normalising():
    assert tokens_of(normalise("Find $x_1^2$ — ÉTÉ, ｆｕｌｌ")) == ["find", "x_1", "2", "été", "full"]


def test_the_stamp_names_the_semantics():
    index = benchmarks(ITEM)
    assert index.stamp(CLEAN) == {
        "n": 9,
        "tokeniser": "words+cjk/1",
        "normaliser": "nfkc-casefold-ws/1",
        "hits": 0,
        "boilerplate_hits": 0,
    }


def test_benchmark_files_of_every_schema_are_read_and_their_items_named(tmp_path):
    path = write(
        tmp_path / "mixed.jsonl",
        {"question": "q", "answer": "#### 1"},
        {"task_id": "HumanEval/0", "prompt": "def f():", "entry_point": "f", "test": "def check(c): ..."},
        {"messages": [{"role": "user", "content": "m"}], "meta": {"unique_id": "2024-I-1"}},
        {"index": 2, "prompt": "only a prompt"},
    )
    items = read_benchmark(path)
    assert [item.text for item in items] == ["q", "def f():", "m", "only a prompt"]
    assert [item.name for item in items] == [None, "HumanEval/0", "2024-I-1", None]
    assert items[3].where == f"{path}:4"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "no benchmark items"),
        ("\n\n", "no benchmark items"),
        ('{"colour": "red"}\n', ":1: no column holds a problem"),
        ('{"problem": "p"}\n{"problem": " "}\n', ":2: an empty problem"),
        ('{"problem": "p"}\n{broken\n', ":2: not JSON"),
    ],
)
def test_decontaminating_against_nothing_or_less_than_asked_is_an_error(tmp_path, content, words):
    path = tmp_path / "bench.jsonl"
    path.write_text(content)
    with pytest.raises(RecordError) as caught:
        read_benchmark(str(path))
    assert words in str(caught.value)


def test_a_missing_benchmark_file_is_a_usage_error():
    with pytest.raises(UsageError, match="no such file"):
        read_benchmark("nowhere/bench.jsonl")


def test_the_examples_in_the_docstrings_hold():
    assert doctest.testmod(decontaminate).failed == 0
