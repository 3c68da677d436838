"""What the end of a test's process says by itself, before anybody looks at the answer."""

from __future__ import annotations

from sandbox.types import Limits, SandboxError, Verdict
from sandbox.worker import Outcome

_SIGNALS = {4: "SIGILL", 6: "SIGABRT", 7: "SIGBUS", 8: "SIGFPE", 9: "SIGKILL", 11: "SIGSEGV", 31: "SIGSYS"}


def how_it_ended(outcome: Outcome, limits: Limits) -> tuple[Verdict, str]:
    """What the end of a process says by itself; ``AC`` where it says nothing against it.

    Raises:
        SandboxError: the process never got as far as the program, or somebody else killed it.
    """
    if not outcome.ready:
        raise SandboxError(f"a test's process could not be set up (exit code {outcome.exit_code})")
    if outcome.hit_cpu or outcome.cpu_s > limits.time_limit_s or outcome.signal == 24:
        return "TL", f"{outcome.cpu_s:.2f} s of CPU time"
    if outcome.hit_wall:
        return "TL", f"no end after {limits.wall_s:g} s on the clock"
    cap = limits.output_mib << 20
    if len(outcome.output) >= cap or len(outcome.result) >= cap or outcome.signal == 25:
        return "OL", f"{limits.output_mib} MiB of output"
    said = outcome.result[1:400].decode("utf-8", "replace")
    if outcome.result[:1] == b"M" or outcome.peak_mib > 0.95 * limits.memory_mib:
        return "ML", f"more than {limits.memory_mib} MiB"
    if outcome.signal == 9:  # not by the server, which would say so: by a machine out of memory, most likely
        raise SandboxError("a test's process was killed from outside")
    if outcome.signal:
        return "RE", _SIGNALS.get(outcome.signal, f"signal {outcome.signal}")
    if outcome.exit_code:
        return "RE", said if outcome.result[:1] == b"E" else f"exit code {outcome.exit_code}"
    return "AC", ""
