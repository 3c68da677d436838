"""Responses that ran into the length limit: shaped by a penalty, or left out (DAPO, arXiv 2503.14476, §3.4)."""

from __future__ import annotations

from collections.abc import Sequence


def soft_overlong_penalty(num_tokens: int, *, max_tokens: int, buffer_tokens: int) -> float:
    """What is added to the reward of a long response (DAPO Eq. 13): 0, then falling to −1 over the buffer.

    Args:
        num_tokens: length of the response.
        max_tokens: L_max; a response longer than this, or cut off at it, gets −1.
        buffer_tokens: L_cache, the stretch before L_max in which the penalty grows.

    Raises:
        ValueError: no buffer, or one that is longer than a response may be.

    >>> [soft_overlong_penalty(n, max_tokens=100, buffer_tokens=20) for n in (80, 85, 100, 120)]
    [0.0, -0.25, -1.0, -1.0]
    """
    if not 0 < buffer_tokens <= max_tokens:
        raise ValueError(f"buffer_tokens: got {buffer_tokens}; expected 1 to max_tokens = {max_tokens}")
    excess = num_tokens - (max_tokens - buffer_tokens)
    return -min(max(excess, 0), buffer_tokens) / buffer_tokens if excess > 0 else 0.0


def without_cut_off(values: Sequence[float | None], cut_off: Sequence[bool]) -> list[float | None]:
    """The overlong filter: ``None`` in the place of each response that was cut off.

    On a group's *rewards*, before :func:`klear_train.advantage.group_advantages`, cut-off responses enter neither
    the group's mean nor the loss; on its *advantages* they count in the mean and train nothing.

    >>> without_cut_off([1.0, -1.0, -1.0], [False, True, False])
    [1.0, None, -1.0]
    """
    return [None if cut else value for value, cut in zip(values, cut_off, strict=True)]
