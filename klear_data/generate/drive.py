"""The one loop around every backend: prompts in while the engine wants more, results out as they finish."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from klear_data.generate.types import Engine, Prompt, Sampled


def drive(engine: Engine, prompts: Iterable[Prompt], *, window: int | None = None) -> Iterator[tuple[int, Sampled]]:
    """Sample every prompt; there is no barrier between one prompt and the next.

    Args:
        engine: of any backend.
        prompts: read only when the engine wants more.
        window: hand the results out in the order of the prompts, and read at most this many prompts beyond the
            oldest unfinished one, so that one long answer can't fill the memory with finished ones behind it.
            None: hand them out as they finish.

    Yields:
        The prompt's number, counted from 0, and its result.
    """
    following = iter(prompts)
    done: dict[int, Sampled] = {}  # finished before their turn
    submitted = finished = handed_out = 0
    exhausted = False
    while True:
        while not exhausted and engine.wants_more() and (window is None or submitted - handed_out < window):
            prompt = next(following, None)
            if prompt is None:
                exhausted = True
            else:
                engine.submit(submitted, prompt)
                submitted += 1
        if finished == submitted:
            if exhausted:
                return
            raise AssertionError("the engine wants no prompt although it has none; please report this bug")
        for number, sampled in engine.step():
            finished += 1
            if window is None:
                yield number, sampled
            else:
                done[number] = sampled
        while handed_out in done:
            yield handed_out, done.pop(handed_out)
            handed_out += 1
