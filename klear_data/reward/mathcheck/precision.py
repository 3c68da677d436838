"""klear's own mpmath context, one thread at a time.

mpmath keeps its working precision in a global object: two threads that evaluate at once would compute with
each other's precision, and so would the caller's own mpmath. Evaluation holds the interpreter lock anyway,
so waiting for each other costs nothing.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

_lock = threading.RLock()


def _renew_lock() -> None:
    """A forked child starts with a free lock, whoever held it in the parent."""
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_renew_lock)


@lru_cache(maxsize=1)
def context() -> Any:
    """The context; change its precision only through :func:`working_digits`."""
    import mpmath

    return mpmath.mp.clone()


@contextmanager
def working_digits(digits: int) -> Iterator[Any]:
    """The context at a precision of so many decimal digits, for this thread alone."""
    with _lock, context().workdps(digits):
        yield context()
