"""Runs a test script and the solution side by side and carries plain data between them."""

from __future__ import annotations

import json
import socket
import time

from sandbox import plain, remote, wire
from sandbox.outcomes import how_it_ended
from sandbox.types import CaseResult, SandboxError, ScriptTest, Verdict
from sandbox.worker import CompileError, Outcome, Server

_MOST_MESSAGES = 200_000


def run_script(solution: Server, test: ScriptTest) -> CaseResult:
    """Judge one script, in two processes; in one (``weak``) where the script says that it cannot be otherwise.

    Raises:
        SandboxError: the machinery failed, or the script itself does not compile.
    """
    try:
        script = Server(solution.zygote, test.source.encode(), language="python", limits=solution.limits)
    except CompileError as error:
        raise SandboxError(f"the test script does not compile: {error}") from error
    try:
        of_script, of_solution = _run_both(solution, script, json.dumps(test.names).encode())
    finally:
        script.close()
    if of_script.result[:1] == remote.NEEDS_ONE:
        request = json.dumps([test.source, list(test.names)]).encode()
        outcome = solution.run(b"w", request)
        return _case(outcome, outcome, solution, weak=True)
    return _case(of_script, of_solution, solution)


def _case(script: Outcome, solution: Outcome, server: Server, *, weak: bool = False) -> CaseResult:
    verdict, detail = how_it_ended(solution, server.limits)
    said = script.result[1:300].decode("utf-8", "replace")
    if verdict in ("AC", "RE"):
        verdict, detail = _by_script(script, server, said, verdict, detail)
    return CaseResult(verdict, solution.cpu_s, max(script.wall_s, solution.wall_s), detail, weak)


def _by_script(script: Outcome, server: Server, said: str, verdict: Verdict, detail: str) -> tuple[Verdict, str]:
    kind = script.result[:1]
    if kind == remote.FAILED:
        return "WA", said.partition(":")[0]  # the kind of exception only: its text may hold the expected value
    if kind == remote.RAISED:
        return "RE", said
    if verdict == "RE":
        return verdict, detail
    ended, why = how_it_ended(script, server.limits)
    if ended != "AC":
        return ended, why
    return ("AC", "") if script.result == remote.PASSED + plain.dump([True]) else ("RE", "ended early")


def _run_both(solution: Server, script: Server, names: bytes) -> tuple[Outcome, Outcome]:
    to_script, script_end = socket.socketpair()
    to_solution, solution_end = socket.socketpair()
    with to_script, to_solution:
        with script_end, solution_end:
            solution.start(b"s", b"", channel=solution_end)
            script.start(b"x", names, channel=script_end)
        _relay(to_script, to_solution, time.monotonic() + solution.limits.wall_s)
    return script.finish(), solution.finish()


def _relay(script: socket.socket, solution: socket.socket, deadline: float) -> None:
    """Carry requests and replies until one side ends, checking that each is plain data within the caps."""
    try:
        for _ in range(_MOST_MESSAGES):
            for source, target in ((script, solution), (solution, script)):
                size = remote.LENGTH.unpack(wire.read_exactly(source, 4, deadline=deadline))[0]
                if size > remote.LARGEST_MESSAGE:
                    return
                message = wire.read_exactly(source, size, deadline=deadline)
                plain.load(message)
                target.settimeout(max(deadline - time.monotonic(), 0.001))
                target.sendall(remote.LENGTH.pack(size) + message)
    except (wire.Gone, wire.Late, plain.PlainError, OSError):
        return  # whoever still waits sees the end of the channel; the outcomes tell the rest
