"""Quotas, the draw, vectors of prompts, and what is chosen by them."""

import doctest
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from klear_data import select
from klear_data.errors import CapabilityError, RecordError, UsageError
from klear_data.select import Rows, SelectOptions, choose, quotas
from klear_data.select.embed import open_embedder
from klear_data.select.hashed import HashedTfidf

sizes = st.lists(st.integers(0, 50), min_size=1, max_size=8)


def chosen_ids(records, vectors=None, *, warm=None, **options):
    rows = Rows(SelectOptions(**options))
    for record in records:
        rows.add(record)
    choice = choose(rows, vectors=lambda: (vectors, warm))
    return [record["id"] for record, chosen in zip(records, choice.chosen, strict=True) if chosen]


def records_of(**counts):
    return [{"id": f"{name}{number}", "ability": name} for name, count in counts.items() for number in range(count)]


@given(sizes, st.integers(0, 300))
def test_quotas_add_up_and_no_stratum_gives_more_than_it_has(sizes, k):
    for share in (quotas.proportional, quotas.equal):
        found = share(sizes, k)
        assert sum(found) == min(k, sum(sizes))
        assert all(0 <= quota <= size for quota, size in zip(found, sizes, strict=True))


@given(sizes, st.integers(0, 300))
def test_proportional_quotas_are_less_than_one_off(sizes, k):
    total = sum(sizes)
    for quota, size in zip(quotas.proportional(sizes, k), sizes, strict=True):
        assert total <= k or abs(quota - k * size / total) < 1


def test_a_draw_depends_on_ids_and_seed_and_not_on_the_order():
    records = records_of(math=60, code=40)
    drawn = chosen_ids(records, k=10, method="random", seed=3)
    assert len(drawn) == 10
    assert set(chosen_ids(records[::-1], k=10, method="random", seed=3)) == set(drawn)
    assert set(drawn) < set(chosen_ids(records, k=20, method="random", seed=3))
    assert set(chosen_ids(records, k=10, method="random", seed=4)) != set(drawn)


def test_every_record_is_drawn_equally_often():
    records = records_of(math=20)
    times = Counter(one for seed in range(2000) for one in chosen_ids(records, k=5, method="random", seed=seed))
    assert all(abs(times[record["id"]] - 500) < 100 for record in records)  # five standard deviations


@pytest.mark.parametrize("method", ["random", "k-center"])
@pytest.mark.parametrize(("quota", "expected"), [("proportional", (15, 5)), ("equal", (10, 10))])
def test_strata_get_their_quota_by_either_method(method, quota, expected):
    records = records_of(math=60, code=20)
    vectors = np.random.default_rng(0).standard_normal((80, 8)).astype(np.float32)
    found = chosen_ids(records, vectors, k=20, method=method, stratify=("ability",), quota=quota)
    assert (sum(one.startswith("math") for one in found), sum(one.startswith("code") for one in found)) == expected


def test_k_center_in_a_stratum_is_k_center_of_that_stratum_alone():
    records = records_of(math=60, code=40)
    vectors = np.random.default_rng(0).standard_normal((100, 8)).astype(np.float32)
    both = chosen_ids(records, vectors, k=20, stratify=("ability",))
    alone = chosen_ids(records[:60], vectors[:60], k=12)
    assert [one for one in both if one.startswith("math")] == alone


def test_missing_keys_are_a_stratum_of_their_own():
    records = [{"id": "a", "extra_info": {"level": 1}}, {"id": "b"}, {"id": "c", "extra_info": None}]
    assert [select.stratum_of(record, ["extra_info.level"]) for record in records] == ["1", "null", "null"]


def embedded(*texts):
    embedder = HashedTfidf()
    embedder.add(list(texts))
    return embedder.vectors()


def test_hashed_vectors_are_unit_and_do_not_depend_on_batches():
    texts = [f"tom has {number} red apples and {'many ' * number}pears" for number in range(10)]
    whole = embedded(*texts, "", "?!")
    assert np.linalg.norm(whole, axis=1) == pytest.approx([1.0] * 10 + [0.0, 0.0])
    parts = HashedTfidf()
    for text in [*texts, "", "?!"]:
        parts.add([text])
    assert (parts.vectors() == whole).all()


def test_hashed_vectors_never_change():
    """Their seed, hashes and weights are part of what a selection means; a change needs a line in the changelog."""
    vector = embedded("find the sum of 3 primes", "find the product of 二 primes")[0]
    places = np.argsort(-np.abs(vector), kind="stable")[:3]
    assert places.tolist() == [160, 21, 42]
    assert vector[places] == pytest.approx([0.254813, 0.179065, 0.179065], abs=1e-6)


def test_hashed_vectors_put_like_problems_together_and_ignore_which_numbers():
    one, other_numbers, reworded, different = embedded(
        "tom has 3 red apples and buys 12 more. how many apples?",
        "tom has 4100 red apples and buys 750 more. how many apples?",
        "tom owns 3 apples and buys 12 more red ones. how many apples now?",
        "find the area of the triangle with sides 5, 6 and 7.",
    )
    assert one @ other_numbers == pytest.approx(1.0)
    assert 0.4 < one @ reworded < 1
    assert one @ different < 0.3


def test_projected_distances_are_those_of_tf_idf():
    """The random projection keeps inner products up to its noise of about 1/16."""
    generator = np.random.default_rng(0)
    texts = [
        " ".join(f"w{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in generator.integers(0, 300, 40)) for _ in range(60)
    ]
    words = sorted({word for text in texts for word in text.split()})
    counts = np.array([[text.split().count(word) for word in words] for text in texts])
    idf = np.log((1 + len(texts)) / (1 + (counts > 0).sum(0))) + 1
    weights = np.where(counts, 1 + np.log(np.maximum(counts, 1)), 0) * idf
    weights /= np.linalg.norm(weights, axis=1, keepdims=True)
    vectors = embedded(*texts)
    error = (vectors @ vectors.T - weights @ weights.T)[np.triu_indices(len(texts), 1)]
    assert abs(error.mean()) < 0.02
    assert error.std() < 1.2 / 16


@pytest.mark.parametrize("spec", ["bert", "sentence-transformers:", ""])
def test_unknown_embeddings_name_what_is_known(spec):
    with pytest.raises(UsageError, match="expected hashed, sentence-transformers:NAME"):
        open_embedder(spec)


def test_a_missing_package_names_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(CapabilityError, match=r"pip install 'klear-reasoner\[embed\]'"):
        open_embedder("sentence-transformers:all-MiniLM-L6-v2")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (np.zeros(3), "not a table"),
        (np.array([["a"]]), "not a table"),
        (np.array([[1.0, np.nan]]), "NaN"),
        (np.array([[1e30]]), "huge"),
        (np.array([[None]], dtype=object), "can't be read"),
    ],
)
def test_a_bad_vector_file_is_refused(tmp_path, content, said):
    np.save(tmp_path / "v.npy", content)
    with pytest.raises(UsageError, match=said):
        open_embedder(str(tmp_path / "v.npy"))


def test_a_vector_file_must_have_one_row_a_record(tmp_path):
    np.save(tmp_path / "v.npy", np.zeros((3, 2)))
    embedder = open_embedder(str(tmp_path / "v.npy"))
    embedder.add(["a", "b"])
    with pytest.raises(RecordError, match="3 vectors for 2 records"):
        embedder.vectors()


@pytest.mark.parametrize("module", [select, quotas])
def test_examples_in_docstrings(module):
    assert doctest.testmod(module).failed == 0
