"""Judging programs that nobody trusts: isolated, exact and fast, with the standard library alone.

>>> from sandbox import JudgePool, parse_tests
>>> suite = parse_tests({"inputs": ["2 3\\n"], "outputs": ["5\\n"]})
>>> with JudgePool() as pool:
...     pool.judge("print(sum(map(int, input().split())))", suite).verdict
'AC'

Names are loaded when used, so that the process inside the sandbox does not carry the host's half along.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sandbox.capabilities import Capability, probe
    from sandbox.formats import parse_tests
    from sandbox.pool import Job, JudgePool
    from sandbox.types import (
        CaseResult,
        IsolationError,
        Judgement,
        Limits,
        SandboxError,
        TestsError,
        TestSuite,
    )  # fmt: skip

_HOME = {
    "Capability": "capabilities", "probe": "capabilities", "parse_tests": "formats", "Job": "pool",
    "JudgePool": "pool", "CaseResult": "types", "IsolationError": "types", "Judgement": "types",
    "Limits": "types", "SandboxError": "types", "TestsError": "types", "TestSuite": "types",
}  # fmt: skip

__all__ = [
    "Capability", "CaseResult", "IsolationError", "Job", "JudgePool", "Judgement", "Limits", "SandboxError",
    "TestSuite", "TestsError", "parse_tests", "probe",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'sandbox' has no attribute {name!r}")
    return getattr(importlib.import_module(f"sandbox.{_HOME[name]}"), name)
