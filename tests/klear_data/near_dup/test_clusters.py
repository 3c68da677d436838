"""Clusters: exact verdicts, first representative wins, the same in any batches, hardly any pair overlooked."""

import random
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from klear_data.errors import UsageError
from klear_data.jsonl import Source
from klear_data.near_dup import NearDuplicates
from klear_data.near_dup.definition import jaccard, near_duplicates, same_numbers, shingles
from klear_data.near_dup.lsh import bands_for
from klear_data.text import normalise

ROOT = Path(__file__).resolve().parents[3]
SHARED = ROOT.parent / "shared" / "data"
WORDS = [f"word{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(400)]


def clusters_of(texts, *, threshold=0.7):
    near = NearDuplicates(threshold)
    near.add_many(texts)
    return near.clusters().tolist()


def by_definition(texts, *, threshold=0.7):
    """Every text against every earlier representative that shares a shingle with it, without any index of bands."""
    sets, holders, result = [shingles(text) for text in texts], {}, []
    for row, text in enumerate(texts):
        common = Counter(rep for shingle in sets[row] for rep in holders.get(shingle, ()))
        alike = (
            rep
            for rep, count in sorted(common.items())
            if count / (len(sets[row]) + len(sets[rep]) - count) >= threshold and same_numbers(texts[rep], text)
        )
        result.append(next(alike, row))
        if result[row] == row:
            for shingle in sets[row]:
                holders.setdefault(shingle, []).append(row)
    return result


def edited(text, generator, *, edits):
    """A text with some of its words replaced, dropped or doubled."""
    words = text.split()
    for _ in range(edits):
        at = generator.randrange(len(words))
        words[at : at + 1] = generator.choice([[], [generator.choice(WORDS)], [words[at]] * 2])
        words = words or ["left"]
    return " ".join(words)


def made_up(count, *, seed, words=(3, 60), edits=3):
    """Short prompts and edited copies of them, in random order."""
    generator = random.Random(seed)
    texts = []
    for _ in range(count):
        texts.append(" ".join(generator.choices(WORDS, k=generator.randint(*words))))
        texts += [edited(texts[-1], generator, edits=generator.randint(1, edits)) for _ in range(2)]
    generator.shuffle(texts)
    return texts


def real_prompts():
    if not SHARED.is_dir():
        pytest.skip("the shared data is not here")
    files = {"rllm_math.json": "problem", "rllm_aime.json": "problem", "gsm8k_train.jsonl": "question"}
    files["mwp_math23k_testset.json"] = "original_text"
    rows = ((row, key) for name, key in files.items() for row in Source(str(SHARED / "math" / name)))
    return [normalise(row[1][key]) for row, key in rows]


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.9, 1.0])
def test_made_up_prompts_cluster_as_the_definition_says(threshold):
    texts = made_up(1500, seed=1)
    found, expected = (kind(texts, threshold=threshold) for kind in (clusters_of, by_definition))
    joined = sum(row != rep for row, rep in enumerate(expected))
    assert joined > (10 if threshold == 1.0 else 300)
    assert sum(a != b for a, b in zip(found, expected, strict=True)) <= 0.01 * joined


def test_real_prompts_cluster_as_the_definition_says():
    texts = real_prompts()
    found, expected = clusters_of(texts), by_definition(texts)
    assert sum(row != rep for row, rep in enumerate(expected)) > 100
    assert sum(a != b for a, b in zip(found, expected, strict=True)) <= 2


def test_every_verdict_is_exact():
    texts = made_up(1500, seed=2, edits=8)
    near = NearDuplicates(0.6)
    near.add_many(texts)
    joined = [(row, rep) for row, rep in enumerate(near.clusters()) if row != rep]
    assert len(joined) > 300
    for row, rep in joined:
        assert rep < row
        assert near.clusters()[rep] == rep
        assert near_duplicates(texts[rep], texts[row], threshold=0.6)
        assert near.similarities()[row] == pytest.approx(jaccard(texts[rep], texts[row]))


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8])
def test_pairs_just_above_the_threshold_are_found(threshold):
    generator = random.Random(3)
    pairs = []
    while len(pairs) < 1000:
        one = " ".join(generator.choices(WORDS, k=generator.randint(8, 60)))
        two = edited(one, generator, edits=generator.randint(1, 8))
        if threshold <= jaccard(one, two) < threshold + 0.03:
            pairs += [(one, two)]
    rows = clusters_of([text for pair in pairs for text in pair], threshold=threshold)
    found = sum(rows[2 * number + 1] == 2 * number for number in range(len(pairs)))
    assert found >= 0.975 * len(pairs)


def test_a_chain_of_edits_does_not_become_one_cluster():
    texts = [" ".join(WORDS[start : start + 30]) for start in range(0, 40, 2)]
    assert jaccard(texts[0], texts[1]) > 0.7 > jaccard(texts[0], texts[3])
    rows = clusters_of(texts)
    assert len(set(rows)) > 5
    assert rows == by_definition(texts)


def test_batches_and_single_texts_make_no_difference(monkeypatch):
    texts = [*made_up(800, seed=4), "", "?", "find x", "x " * 5000]
    expected = clusters_of(texts)
    for size in (1, 7, 1000):
        monkeypatch.setattr("klear_data.near_dup._BATCH_TEXTS", size)
        near = NearDuplicates()
        for row, text in enumerate(texts):
            near.add(text)
            if row % 500 == 3:
                near.clusters()  # asking in between changes nothing
        assert near.clusters().tolist() == expected
        assert len(near) == len(texts)


def test_problems_that_differ_in_a_number_are_kept_and_reworded_ones_go():
    story = "tom buys {} red apples on monday and gives {} of them to his little sister. how many does he have left{}?"
    texts = [story.format(*filled) for filled in ((9, 4, ""), (9, 5, ""), (9, 4, " now"), (4, 9, ""), ("nine", 4, ""))]
    assert clusters_of(texts) == [0, 1, 0, 3, 0]


def test_numbers_that_change_places_make_another_problem():
    story = "a farmer near the old mill has {} grey geese in one field and his kind neighbour across the narrow river "
    story += "keeps {} brown ducks in a small pond. if both sell a third of their birds, how many birds are left?"
    one, two = story.format(60, 90), story.format(90, 60)
    assert jaccard(one, two) > 0.7
    assert clusters_of([one, two]) == [0, 1]


def test_short_and_empty_texts():
    texts = [
        "",
        "",
        "?",
        "find x",
        "find x!",
        "find y",
        "x",
        "x.",
        "剪去",
        "剪去。",
        "剪去6米后还剩几米",
        "剪去6米后还剩几米呢",
    ]
    assert clusters_of(texts) == [0, 1, 2, 3, 3, 5, 6, 6, 8, 8, 10, 10]


def test_nothing_gives_nothing():
    near = NearDuplicates()
    assert near.clusters().tolist() == near.similarities().tolist() == []
    assert near.notes()["representatives"] == 0


@pytest.mark.parametrize("threshold", [0.2, 1.5, float("nan")])
def test_a_threshold_out_of_range_is_refused(threshold):
    with pytest.raises(UsageError, match=r"expected 0\.5 to 1"):
        NearDuplicates(threshold)


def test_datasketch_proposes_no_near_duplicate_that_is_overlooked():
    """The reference: its index over the same shingles, its proposals judged by the definition."""
    datasketch = pytest.importorskip("datasketch")
    texts = made_up(300, seed=5)
    # Recall weighs more than in its default, as every proposal is judged here.
    index = datasketch.MinHashLSH(threshold=0.7, num_perm=128, weights=(0.1, 0.9))
    theirs = []
    for row, text in enumerate(texts):
        sketch = datasketch.MinHash(num_perm=128)
        sketch.update_batch([" ".join(shingle).encode() for shingle in shingles(text)])
        proposed = sorted(rep for rep in index.query(sketch) if near_duplicates(texts[rep], text, threshold=0.7))
        theirs.append(proposed[0] if proposed else row)
        if not proposed:
            index.insert(row, sketch)
    ours = clusters_of(texts)
    assert sum(row != rep for row, rep in enumerate(theirs)) > 200
    assert [row for row, rep in enumerate(theirs) if row != rep and ours[row] == row] == []
    assert sum(a != b for a, b in zip(ours, theirs, strict=True)) <= 5


def test_minhash_estimates_the_jaccard_similarity_as_datasketch_does():
    datasketch = pytest.importorskip("datasketch")
    import numpy as np

    from klear_data.near_dup.lsh.kernels import make_permutations, minima
    from tests.klear_data.near_dup.test_definition import sketched

    generator = random.Random(6)
    permutations = make_permutations(86, seed=0)
    ours, theirs = [], []
    for _ in range(100):
        one = " ".join(generator.choices(WORDS, k=40))
        two = edited(one, generator, edits=generator.randint(0, 10))
        signatures = np.empty((2, 258), dtype=np.uint32)
        for place, (found, *_) in enumerate(sketched([one, two])):
            values = np.sort(np.array(list(found), dtype=np.uint64))
            minima(values, 0, values.size, permutations, signatures[place])
        sketches = [datasketch.MinHash(num_perm=258) for _ in "12"]
        for sketch, text in zip(sketches, (one, two), strict=True):
            sketch.update_batch([" ".join(shingle).encode() for shingle in shingles(text)])
        ours.append((signatures[0] == signatures[1]).mean() - jaccard(one, two))
        theirs.append(sketches[0].jaccard(sketches[1]) - jaccard(one, two))
    assert abs(np.mean(ours)) < 0.01
    assert np.std(ours) < 1.3 * np.std(theirs)


def test_bands_miss_one_pair_in_a_hundred_at_the_threshold():
    for threshold in (0.5, 0.6, 0.7, 0.8, 0.9):
        bands = bands_for(threshold)
        assert (1 - threshold**3) ** bands <= 0.01 < (1 - threshold**3) ** (bands - 1)


def test_memory_a_text_stays_as_stated():
    """100,000 distinct prompts of 45 words, in a process of their own."""
    program = (
        "import random, re\n"
        "from klear_data.near_dup import NearDuplicates\n"
        "near = NearDuplicates(); near.add('warm up'); near.clusters()\n"
        "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())[1]) * 1024\n"
        "generator = random.Random(0); before = peak(); n = 100_000\n"
        "words = [f'word{i}' for i in range(5000)]\n"
        "near.add_many(' '.join(generator.choices(words, k=45)) for _ in range(n))\n"
        "assert near.notes()['representatives'] == n + 1\n"
        "print((peak() - before) / n)\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 0, result.stderr
    assert 350 < float(result.stdout) < 1_200
