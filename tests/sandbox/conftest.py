"""One warm pool for the tests that only need some pool."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sandbox import JudgePool, Limits


@pytest.fixture(scope="session")
def pool() -> Iterator[JudgePool]:
    with JudgePool(jobs=2, limits=Limits(time_limit_s=0.5, wall_limit_s=2)) as opened:
        yield opened
