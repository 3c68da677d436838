"""Raw problem files that a model of a million parameters can learn from within minutes.

Two abilities, made on the spot from a seed:

- **math**: the points of three to six dice; the worked response keeps a running total in ``<think>`` and boxes it.
- **code**: a chain of small operations on one integer read from stdin; the response plans the chain in
  ``<think>`` and writes a Python program; each problem has stdin/stdout tests.

The teacher who wrote the responses is right in most cases. In the others it is *hasty*: it skips the
thinking and guesses a sum that is near, or forgets an operation. So verification, difficulty labels and
the choice of what to train on have work to do, and a model trained on all responses picks up both habits,
which is what RL then has to sort out.

Planted in the raw files, for curation to find: exact duplicates, problems of the held-out files, and
lines that are no JSON.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from klear_data.text import words

Problem = dict[str, Any]

SHARED_WORDS = 9
"""Length of the word runs that no problem may share with a held-out one (the usual decontamination rule),
so that every record curation flags was planted."""


@dataclass(frozen=True)
class Planted:
    """How many lines of each kind stand in a raw file beside the problems themselves."""

    duplicates: int
    leaks: int
    broken: int


@dataclass(frozen=True)
class ToyFiles:
    """What :func:`write_toy` wrote.

    Attributes:
        raw: the problem file of each ability.
        heldout: the held-out problems of each ability: benchmark for decontamination and evaluation.
        planted: what each raw file hides.
    """

    raw: dict[str, Path]
    heldout: dict[str, Path]
    planted: dict[str, Planted]


def write_toy(
    out_dir: str | Path,
    *,
    seed: int = 0,
    n_math: int = 2400,
    n_code: int = 1000,
    n_heldout: int = 256,
    hasty: float = 0.4,
    planted: Planted = Planted(duplicates=24, leaks=12, broken=3),
) -> ToyFiles:
    """Write ``raw/{math,code}.jsonl`` and ``heldout/{math,code}.jsonl`` below ``out_dir``.

    Args:
        out_dir: a folder, made if absent.
        seed: the same seed writes the same bytes.
        n_math, n_code: distinct problems in each raw file, before anything is planted.
        n_heldout: held-out problems of each ability; none is among the raw problems (leaks apart).
        hasty: share of responses that the teacher writes without thinking; nearly all are wrong.
        planted: what to hide in each raw file.

    Raises:
        ValueError: more problems are asked for than there are.
    """
    root = Path(out_dir)
    raw: dict[str, Path] = {}
    heldout: dict[str, Path] = {}
    for ability, count, make in (("math", n_math, _math_problem), ("code", n_code, _code_problem)):
        rng = random.Random(f"{seed}/{ability}")
        problems = _distinct(make, rng, hasty)
        held = [next(problems) for _ in range(n_heldout)]
        known = {run for problem in held for run in _runs(problem["problem"])}
        train = _take(problems, count, avoid=known)
        heldout[ability] = _write(root / "heldout" / f"{ability}.jsonl", [_line(problem) for problem in held])
        raw[ability] = _write(root / "raw" / f"{ability}.jsonl", _with_planted(train, held, planted, rng))
    return ToyFiles(raw, heldout, dict.fromkeys(raw, planted))


def _distinct(make: Callable[[random.Random, float], Problem], rng: random.Random, hasty: float) -> Iterator[Problem]:
    seen: set[str] = set()
    while True:
        for _ in range(1000):
            problem = make(rng, hasty)
            if problem["problem"] not in seen:
                break
        else:
            raise ValueError("the toy problems: more distinct ones were asked for than there are; ask for fewer")
        seen.add(problem["problem"])
        yield problem


def _take(problems: Iterator[Problem], count: int, *, avoid: set[tuple[str, ...]]) -> list[Problem]:
    kept: list[Problem] = []
    while len(kept) < count:
        problem = next(problems)
        if avoid.isdisjoint(_runs(problem["problem"])):
            kept.append(problem)
    return kept


LETTERS = "abcdef"


def _math_problem(rng: random.Random, hasty: float) -> Problem:
    digits = [rng.randint(1, 6) for _ in range(rng.randint(3, 6))]
    totals = [sum(digits[: i + 1]) for i in range(len(digits))]
    dice = " ".join(f"{letter}{digit}" for letter, digit in zip(LETTERS, digits, strict=False))
    if rng.random() < hasty:
        guess = totals[-1] + rng.choice([-3, -2, -1, 0, 1, 2, 3])
        response = f"<think></think>\\boxed{{{guess}}}"
    else:
        running = " ".join(
            f"{letter}{digit}={total}" for letter, digit, total in zip(LETTERS, digits, totals, strict=False)
        )
        response = f"<think>{running}</think>\\boxed{{{totals[-1]}}}"
    return {
        "problem": f"Dice {dice}: how many points in all?",
        "answer": str(totals[-1]),
        "response": response,
        "ability": "math",
    }


OPERATIONS: dict[str, tuple[str, Callable[[int, int], int]]] = {
    "times": ("x=x*{k}", lambda x, k: x * k),
    "plus": ("x=x+{k}", lambda x, k: x + k),
    "minus": ("x=x-{k}", lambda x, k: x - k),
    "max": ("x=max(x,{k})", max),
    "min": ("x=min(x,{k})", min),
}
"""What a code problem's words mean: the Python line and the function that gives the expected output."""


def _code_problem(rng: random.Random, hasty: float) -> Problem:
    chain = [(rng.choice(list(OPERATIONS)), rng.randint(2, 9)) for _ in range(rng.randint(2, 4))]
    if rng.random() < hasty:
        forgotten = rng.randrange(len(chain))
        thought, done = "", chain[:forgotten] + chain[forgotten + 1 :]
    else:
        thought, done = " ".join(f"{name} {k}" for name, k in chain), chain
    body = "\n".join(OPERATIONS[name][0].format(k=k) for name, k in done)
    program = f"x=int(input())\n{body}\nprint(x)"
    inputs = rng.sample(range(-20, 41), 16)
    return {
        "problem": f"Read x, {', '.join(f'{name} {k}' for name, k in chain)}, then print x.",
        "tests": {
            "inputs": [f"{x}\n" for x in inputs],
            "outputs": [f"{_run_chain(chain, x)}\n" for x in inputs],
        },
        "response": f"<think>{thought}</think>\n```python\n{program}\n```",
        "ability": "code",
    }


def _run_chain(chain: list[tuple[str, int]], x: int) -> int:
    for name, k in chain:
        x = OPERATIONS[name][1](x, k)
    return x


def _runs(text: str) -> list[tuple[str, ...]]:
    """The word runs that decontamination compares; a shorter text is one run."""
    found = words(text)
    return [tuple(found[i : i + SHARED_WORDS]) for i in range(max(1, len(found) - SHARED_WORDS + 1))]


def _with_planted(train: list[Problem], held: list[Problem], planted: Planted, rng: random.Random) -> list[str]:
    """The raw file's lines, shuffled: problems, copies, held-out problems, and cut-off lines."""
    copies = rng.sample(train, planted.duplicates) + rng.sample(held, planted.leaks)
    lines = [_line(problem) for problem in [*train, *copies]]
    lines += [_line(problem)[:40] for problem in rng.sample(train, planted.broken)]
    rng.shuffle(lines)
    return lines


def _line(problem: Problem) -> str:
    return json.dumps(problem, ensure_ascii=False)


def _write(path: Path, lines: list[str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path
