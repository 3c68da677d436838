"""What the end of a process says before anybody looks at its answer."""

from __future__ import annotations

import pytest

from sandbox.outcomes import how_it_ended
from sandbox.types import Limits, SandboxError
from sandbox.worker import Outcome

_LIMITS = Limits(time_limit_s=2, memory_mib=1024)


def _killed(*, hit_wall: bool = False, hit_cpu: bool = False, cpu_s: float = 0.1, peak_mib: float = 20) -> Outcome:
    return Outcome(
        ready=True, hit_wall=hit_wall, hit_cpu=hit_cpu, exit_code=0, signal=9, cpu_s=cpu_s, wall_s=0.2,
        peak_mib=peak_mib, output=b"", result=b"",
    )  # fmt: skip


def test_a_process_killed_below_its_limits_is_a_failure_of_the_machinery() -> None:
    with pytest.raises(SandboxError, match="killed from outside"):
        how_it_ended(_killed(), _LIMITS)


def test_a_process_killed_at_one_of_its_limits_has_that_verdict() -> None:
    assert how_it_ended(_killed(hit_cpu=True), _LIMITS)[0] == "TL"
    assert how_it_ended(_killed(hit_wall=True), _LIMITS)[0] == "TL"
    assert how_it_ended(_killed(cpu_s=2.1), _LIMITS)[0] == "TL"
    assert how_it_ended(_killed(peak_mib=1000), _LIMITS)[0] == "ML"
