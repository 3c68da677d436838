"""The detector on real benchmarks and training data, where they lie beside the checkout."""

import random
import re
from pathlib import Path

import pytest

from klear_data.contamination import Detector, DetectorOptions, Problem, ngrams, read_benchmark
from klear_data.contamination.edited import Edited
from klear_data.jsonl import Source
from klear_data.sources import expand_sources, to_record
from klear_data.text import normalise, prompt_text
from tests.klear_data.contamination.helpers import only, problem

DATA = Path(__file__).resolve().parents[3].parent / "shared" / "data"
TRAINING = ["math/rllm_math.json", "math/rllm_aime.json", "math/mwp_math23k_testset.json", "code/rllm_leetcode.json"]

pytestmark = pytest.mark.skipif(not DATA.is_dir(), reason="the real data is not at hand")


@pytest.fixture(scope="module")
def items():
    return [item for path in expand_sources([str(DATA / "benchmarks")]) for item in read_benchmark(path)]


@pytest.fixture(scope="module")
def prompts():
    """A third of the training problems, each once."""
    found = {}
    for name in TRAINING:
        for number, (where, raw) in enumerate(Source(str(DATA / name))):
            if number % 3 == 0:
                record = to_record(raw, where, ability="math")
                normalised = normalise(prompt_text(record["prompt"]))
                found.setdefault(normalised, Problem(normalised, record))
    return list(found.values())


@pytest.fixture(scope="module")
def detector(items):
    """With the classes that this package's own rules find."""
    return Detector(items, DetectorOptions(policy={**only("verbatim"), "edited": "drop"}))


@pytest.mark.parametrize("name", ["words", "whitespace", "latex"])
def test_the_kernel_gives_the_verdicts_of_the_plain_rule(items, prompts, name, monkeypatch):
    some = [*prompts[::3], *(problem(item.text) for item in items[::10])]
    options = DetectorOptions(tokeniser=name, policy=only("verbatim"))
    plain = Detector(items, options).lookup_many(some)
    monkeypatch.setattr(ngrams, "PLAIN_UP_TO", 0)
    assert Detector(items, options).lookup_many(some) == plain
    assert sum(verdict.action == "drop" for verdict in plain) > len(items) // 10


def test_the_kernel_names_the_items_of_the_plain_rule(items, prompts):
    texts = [prompt.normalised for prompt in prompts[::2]]
    index = Edited(items)
    plain = list(index.named_plain(texts))
    assert list(index.named_fast(texts)) == plain
    assert len(plain) > 20


def test_every_item_convicts_itself(items, detector):
    verdicts = detector.lookup_many([problem(item.text) for item in items])
    assert {verdict.action for verdict in verdicts} == {"drop"}
    assert all(verdict.evidence["coverage"] == 1 for verdict in verdicts)


DRAW = random.Random(0)
OTHER_WORDS = ["apple", "quickly", "machine", "garden", "often", "walks"]


def other_word(text):
    places = list(re.finditer(r"(?<![\\A-Za-z])[A-Za-z]{2,}", text))
    place = DRAW.choice(places)
    return text[: place.start()] + DRAW.choice(OTHER_WORDS) + text[place.end() :]


def respelled(text):
    for old, new in ((r"\frac", r"\dfrac"), (r"\left(", "("), (r"\right)", ")"), (r"\le ", r"\leq "), (r"\pi", "π"),
                     (r"^\circ", "°"), (r"\cdot", "·"), (r"\times", "×"), (r"\ldots", "…")):  # fmt: skip
        text = text.replace(old, new)
    text = re.sub(r"([\^_])(\d)(?!\d)", r"\1{\2}", text)
    return re.sub(r"(?<!\\)\$([^$]+)\$", r"\\(\1\\)", text)


EDITS = {
    "case": str.upper,
    "spacing": lambda text: re.sub(" ", lambda _: DRAW.choice([" ", "  ", "\n", "\t"]), text),
    "LaTeX": respelled,
    "a word changed": other_word,
    "a word more": lambda text: f"{DRAW.choice(OTHER_WORDS)} ".join(text.split(" ", 3)),
    "wrapped": lambda text: f"Solve the problem below.\n\n{text}\n\nPut your answer in a box.",
    "wrapped with a word changed": lambda text: f"Question: {other_word(text)} Think step by step.",
}


@pytest.mark.parametrize("edit", EDITS)
def test_copies_with_light_edits_are_caught(items, detector, edit):
    planted = [problem(EDITS[edit](item.text)) for item in items[::2] if edit != "case" or "\\" not in item.text]
    caught = sum(verdict.action == "drop" for verdict in detector.lookup_many(planted))
    assert caught / len(planted) >= 0.99


def test_prompts_that_share_only_a_template_are_kept(items, detector):
    """Sentences that stand in more than three items, in problems of which nothing else is known."""
    holders = {}
    for number, item in enumerate(items):
        for sentence in re.split(r"(?<=[.?!:])\s+", item.text):
            if len(sentence.split()) >= 9:
                holders.setdefault(normalise(sentence), set()).add(number)
    templates = sorted(sentence for sentence, numbers in holders.items() if len(numbers) > 3)
    assert len(templates) > 5
    prompts = [problem(f"{text} xyzzy{number} {template}") for number, text in enumerate(("Bake", "Paint", "Sing"))
               for template in templates]  # fmt: skip
    verdicts = detector.lookup_many(prompts)
    assert [verdict.evidence for verdict in verdicts if verdict.action == "drop"] == []
    assert all(verdict.boilerplate for verdict in verdicts)


def test_templates_of_the_training_data_convict_less_once_they_are_counted(detector, prompts):
    verdicts = detector.lookup_many(prompts)
    dropped = [verdict for verdict in verdicts if verdict.action == "drop"]
    detector.count(verdicts)
    stays = [verdict for verdict in verdicts if detector.settle(verdict).action == "drop"]
    assert 10 < len(dropped) - len(stays) < len(dropped)
    assert all(verdict in stays for verdict in dropped if verdict.evidence["coverage"] >= 0.5)


def test_few_real_problems_are_taken_for_edited_copies(items, prompts):
    found = Edited(items).score_many(prompts)
    assert sum(evidence is not None for evidence in found) <= 0.005 * len(prompts)
