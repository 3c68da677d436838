"""K-Center greedy, blocked: the picks of the plain greedy, ties and all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from klear_data.select import kernels
from klear_data.select.k_center import k_center


def plain_greedy(vectors, k, *, first=0, warm_start=None):
    """The loop as the paper has it: update every distance after every pick."""
    vectors = np.asarray(vectors, dtype=np.float32).astype(np.float64)
    centres = [] if warm_start is None else list(np.asarray(warm_start, dtype=np.float32).astype(np.float64))
    near = np.full(len(vectors), np.inf)
    for centre in centres:
        near = np.minimum(near, exact(vectors, centre))
    order, distances = [], []
    while len(order) < min(k, len(vectors)):
        row = first if not order and not centres else int(np.argmax(near))
        order.append(row)
        distances.append(np.sqrt(near[row]))
        near = np.minimum(near, exact(vectors, vectors[row]))
        near[order] = -1
    return order, distances, np.sqrt(np.maximum(near, 0))


def exact(vectors, centre):
    # One coordinate after the other, as the definition of the distance says: NumPy's own sum goes pairwise.
    return np.add.accumulate((vectors - centre) ** 2, axis=1)[:, -1]


def vectors_of(kind, *, n=1200, d=32, seed=0):
    generator = np.random.default_rng(seed)
    if kind == "noise":
        return generator.standard_normal((n, d)).astype(np.float32)
    if kind == "clusters":
        centres = generator.standard_normal((20, d))
        return (centres[generator.integers(0, 20, n)] + 0.1 * generator.standard_normal((n, d))).astype(np.float32)
    if kind == "grid":  # few distances, so ties everywhere, and every vector many times
        return generator.integers(0, 3, (n, 4)).astype(np.float32)
    if kind == "unit":
        return np.eye(d, dtype=np.float32)[generator.integers(0, d, n)]
    far = generator.standard_normal((n, d)) + 1000.0  # products cancel nearly all they hold
    return far.astype(np.float32)


@pytest.mark.parametrize("block", [1, 7, 64, 2048])
@pytest.mark.parametrize("kind", ["noise", "clusters", "grid", "unit", "far"])
def test_picks_are_those_of_the_plain_greedy(kind, block, monkeypatch):
    monkeypatch.setattr(kernels, "BLOCK", block)
    vectors = vectors_of(kind)
    found = k_center(vectors, 400, first=7)
    order, distances, near = plain_greedy(vectors, 400, first=7)
    assert found.order.tolist() == order
    assert found.distances == pytest.approx(distances)
    assert found.near == pytest.approx(near)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_small_integer_vectors_with_any_ties(data):
    n, d = data.draw(st.integers(1, 30)), data.draw(st.integers(1, 3))
    cells = st.lists(st.lists(st.integers(-2, 2), min_size=d, max_size=d), min_size=n, max_size=n)
    vectors, first = np.array(data.draw(cells), dtype=np.float32), data.draw(st.integers(0, n - 1))
    k = data.draw(st.integers(0, n + 2))
    found = k_center(vectors, k, first=first)
    assert found.order.tolist() == plain_greedy(vectors, k, first=first)[0]
    assert len(found.order) == min(k, n)


def test_warm_start_keeps_away_from_what_was_chosen_before():
    vectors, warm = vectors_of("clusters"), vectors_of("noise", n=50, seed=1)
    found = k_center(vectors, 100, warm_start=warm)
    order, _, near = plain_greedy(vectors, 100, warm_start=warm)
    assert found.order.tolist() == order
    assert found.near == pytest.approx(near)


def test_going_on_from_the_first_half_chooses_the_second():
    vectors = vectors_of("noise")
    whole = k_center(vectors, 200, first=3).order
    rest = np.setdiff1d(np.arange(len(vectors)), whole[:100])
    more = k_center(vectors[rest], 100, warm_start=vectors[whole[:100]])
    assert rest[more.order].tolist() == whole[100:].tolist()


def test_nearest_is_the_centre_that_the_distance_is_measured_to():
    vectors, warm = vectors_of("noise", n=300), vectors_of("noise", n=5, seed=1)
    for start in (None, warm):
        found = k_center(vectors, 20, warm_start=start)
        for row, centre in enumerate(found.nearest):
            there = warm[-1 - centre] if centre < 0 else vectors[found.order[centre]]
            assert np.linalg.norm(vectors[row] - there) == pytest.approx(found.near[row], abs=1e-3)


def test_all_rows_none_and_no_rows():
    vectors = vectors_of("noise", n=10)
    assert sorted(k_center(vectors, 99).order) == list(range(10))
    assert k_center(vectors, 0).order.tolist() == []
    assert k_center(np.empty((0, 4), dtype=np.float32), 3).order.tolist() == []


def test_the_radius_is_at_most_twice_the_best():
    vectors = vectors_of("clusters")
    assert k_center(vectors, 20).near.max() < 2.5  # one pick a cluster: what is left is the noise within them
    assert k_center(vectors, 19).near.max() > 4
