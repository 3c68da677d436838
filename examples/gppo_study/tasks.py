"""Two toy tasks with a chain of thought, made from a random generator, in a character vocabulary.

All prompts of a task have one length, so that nothing needs padding on the left.
"""

from __future__ import annotations

import random
import string
from collections.abc import Callable
from dataclasses import dataclass

END = "$"
VOCABULARY = END + "= :" + string.digits + string.ascii_lowercase
"""Token i is character i; END is token 0 and pads, too."""


@dataclass(frozen=True)
class Problem:
    """A prompt, its worked response, and what has to stand after the last colon."""

    prompt: str
    response: str
    answer: str


@dataclass(frozen=True)
class Task:
    """A source of problems.

    Attributes:
        make: draws one problem.
        max_tokens: longest response that is sampled; worked responses are shorter.
        lr: of RL, constant after the warm-up; at it Clip-Higher still learns with two passes over the
            rollouts (tried on a seed that the study does not use).
    """

    make: Callable[[random.Random], Problem]
    max_tokens: int
    lr: float


def running_sum(rng: random.Random) -> Problem:
    """``3 7 4 …=`` → ``10 14 …:14``: the sum of seven digits by running totals."""
    digits = [rng.randint(1, 9) for _ in range(7)]
    totals = [str(sum(digits[: i + 1])) for i in range(1, 7)]
    return Problem("".join(map(str, digits)) + "=", " ".join(totals) + ":" + totals[-1] + END, totals[-1])


def insertion_sort(rng: random.Random) -> Problem:
    """``dbca…=`` → ``bd bcd abcd …:abcd…``: sort six letters by putting one after the other in its place."""
    letters = rng.choices(string.ascii_lowercase[:12], k=6)
    prefixes = ["".join(sorted(letters[: i + 1])) for i in range(1, 5)]
    answer = "".join(sorted(letters))
    return Problem("".join(letters) + "=", " ".join(prefixes) + ":" + answer + END, answer)


TASKS = {
    "sum": Task(running_sum, max_tokens=28, lr=4e-5),
    "sort": Task(insertion_sort, max_tokens=30, lr=8e-5),
}


def encode(text: str) -> list[int]:
    """Characters to tokens."""
    return [VOCABULARY.index(char) for char in text]


def is_right(problem: Problem, tokens: list[int]) -> bool:
    """Whether a response ended and what follows its last colon is the answer."""
    text = "".join(VOCABULARY[token] for token in tokens)
    return text.endswith(END) and text[:-1].rpartition(":")[2] == problem.answer and ":" in text
