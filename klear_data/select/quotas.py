"""How many of each stratum: in proportion to its size, or the same of each."""

from __future__ import annotations

from collections.abc import Sequence


def proportional(sizes: Sequence[int], k: int) -> list[int]:
    """k shared out in proportion, the remainders to the largest fractions (of equal ones to the first).

    >>> proportional([70, 20, 10], 8), proportional([2, 1], 9)
    ([6, 1, 1], [2, 1])
    """
    total = sum(sizes)
    if k >= total:
        return list(sizes)
    quotas = [k * size // total for size in sizes]
    by_fraction = sorted(range(len(sizes)), key=lambda at: -(k * sizes[at] % total))
    for at in by_fraction[: k - sum(quotas)]:
        quotas[at] += 1
    return quotas


def equal(sizes: Sequence[int], k: int) -> list[int]:
    """The same of each as far as it has them; what a small one lacks goes to the others.

    >>> equal([70, 20, 3], 30), equal([5, 5], 3)
    ([14, 13, 3], [2, 1])
    """
    quotas = [0] * len(sizes)
    left = min(k, sum(sizes))
    while left:
        open_ones = [at for at, size in enumerate(sizes) if quotas[at] < size]
        share, extra = divmod(left, len(open_ones))
        for place, at in enumerate(open_ones):
            quotas[at] += min(share + (place < extra), sizes[at] - quotas[at])
        left = min(k, sum(sizes)) - sum(quotas)
    return quotas
