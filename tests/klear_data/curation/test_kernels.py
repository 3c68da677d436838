"""What the kernels find over many prompts at once is what the plain functions find in each."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from klear_data.contamination import CLEAN, Detector, DetectorOptions, Item, Problem
from klear_data.curation.kernels import fold, fold_utf8
from klear_data.text import normalise

BLANKS = " \t\n\r\x0b\x0c\x1c\x1d\x1e\x1f\x85\xa0\u2003\u2028"
LETTERS = st.sampled_from(f"aZé'ßİﬁ½\x00~0 {BLANKS}數") | st.characters()
TEXTS = st.lists(st.text(alphabet=LETTERS, max_size=30), min_size=1, max_size=8)
VOCABULARY = "ann bob has 12 red 7 eggs and sells them now".split()  # noqa: SIM905
WORDS = st.lists(st.sampled_from(VOCABULARY), max_size=24).map(" ".join)


def pieces(data, ends):
    starts = [0, *ends[:-1]]
    return [data[start:end].decode("utf-8", "surrogatepass") for start, end in zip(starts, ends, strict=True)]


@settings(max_examples=300, deadline=None)
@given(TEXTS)
def test_folding_many_texts_is_normalising_each(texts):
    data, ends = fold(texts)
    assert pieces(data, ends) == [normalise(text) for text in texts]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text(alphabet=LETTERS.filter(lambda sign: sign.isprintable()), max_size=30), min_size=1, max_size=8))
def test_folding_utf8_is_normalising_each(texts):
    encoded = [text.encode() for text in texts]
    data, ends = fold_utf8(np.frombuffer(b"".join(encoded), np.uint8), np.cumsum(list(map(len, encoded))))
    assert pieces(data, ends) == [normalise(text) for text in texts]


@settings(max_examples=60, deadline=None)
@given(st.lists(WORDS, min_size=1, max_size=6), st.lists(WORDS | TEXTS.map(" ".join), min_size=1, max_size=12))
def test_no_text_with_a_verdict_is_left_out_of_the_candidates(items, texts):
    off = dict.fromkeys(("edited", "variant", "code", "paraphrase"), "off")
    benchmark = [Item("b", f"b:{n}", None, text) for n, text in enumerate(items) if text]
    detector = Detector(benchmark, DetectorOptions(n=4, policy=off))
    data, ends = fold(texts)
    found = detector.lookup_many([Problem(normalise(text), {}) for text in texts])
    wanted = {number for number, verdict in enumerate(found) if verdict is not CLEAN}
    assert wanted <= set(detector.candidates(data, ends))
