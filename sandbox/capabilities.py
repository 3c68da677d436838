"""What this host can enforce, found out by trying each layer in a process of its own."""

from __future__ import annotations

import functools
import json
import os
import subprocess
from dataclasses import dataclass
from typing import Literal

from sandbox.layout import interpreter
from sandbox.types import SandboxError
from sandbox.worker import Zygote

Level = Literal["full", "reduced", "none"]

#: Sets a ceiling on the level, to try the fallbacks on a host that could do more.
CEILING_VARIABLE = "KLEAR_SANDBOX_LEVEL"

_PROBE = """
import json, os, signal, sys
signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # a host may ignore it
sys.path.insert(0, sys.argv[1])
from sandbox import linux, seccomp
def attempt(work):
    pid = os.fork()
    if pid == 0:
        try:
            work()
            os._exit(0)
        except OSError as error:
            os._exit(error.errno or 1)
        except BaseException:
            os._exit(255)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
def confine():
    linux.no_new_privileges()
    machine = seccomp.this_machine()
    if machine is None:
        raise OSError(38, "no table of system calls for this machine")
    linux.install_filter(linux.Filter(seccomp.assemble(seccomp.wall(machine))))
print(json.dumps({
    "namespaces": attempt(lambda: linux.unshare(0x7E020000 & ~0x02000000)),
    "no_new_privs": attempt(linux.no_new_privileges),
    "seccomp": attempt(confine),
    "landlock": linux.landlock_abi(),
}))
"""


@dataclass(frozen=True)
class Capability:
    """One layer: whether it works here, and what was found."""

    name: str
    ok: bool
    detail: str


@functools.cache
def probe() -> list[Capability]:
    """Try every layer; the last entry is the level that follows (``full``, ``reduced``, ``none``)."""
    root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    found: dict[str, int] = {}
    problem = ""
    try:
        done = subprocess.run(
            [interpreter(), "-I", "-S", "-c", _PROBE, root], capture_output=True, timeout=60, check=True
        )
        found = json.loads(done.stdout)
    except (OSError, SandboxError, ValueError, subprocess.SubprocessError) as error:
        problem = str(error)[:200]
    layers = [_layer(name, found.get(name), problem) for name in ("namespaces", "no_new_privs", "seccomp")]
    abi = found.get("landlock", 0)
    layers.append(Capability("landlock", abi > 0, f"version {abi}" if abi else problem or "not in this kernel"))
    start, detail = _start("full")
    layers.append(Capability("private root", start, detail))
    ok = {layer.name: layer.ok for layer in layers}
    level: Level = "none"
    if ok["seccomp"] and ok["private root"]:
        level = "full"
    elif ok["seccomp"] and ok["landlock"] and ok["no_new_privs"] and _start("reduced")[0]:
        level = "reduced"
    layers.append(Capability("level", level != "none", level))
    return layers


def usable_level() -> Level:
    """The level that programs run at here, no higher than ``$KLEAR_SANDBOX_LEVEL`` says."""
    order: list[Level] = ["none", "reduced", "full"]
    level = next(name for name in order if name == probe()[-1].detail)
    ceiling = os.environ.get(CEILING_VARIABLE)
    if ceiling in order and order.index(ceiling) < order.index(level):
        return ceiling
    return level


def explain() -> str:
    """Why programs are refused on this host, and what to do."""
    missing = "; ".join(f"{layer.name}: {layer.detail}" for layer in probe()[:-1] if not layer.ok)
    return (
        f"sandbox: this host cannot hold programs in ({missing or CEILING_VARIABLE + ' is none'}); expected user "
        "namespaces, or Landlock and seccomp; allow unprivileged user namespaces "
        "(sysctl user.max_user_namespaces, or the container's seccomp profile), or accept limits only "
        "with --allow-weak"
    )


def _layer(name: str, code: int | None, problem: str) -> Capability:
    if code == 0:
        return Capability(name, True, "works")
    return Capability(name, False, problem or os.strerror(code or 0))


def _start(level: Level) -> tuple[bool, str]:
    try:
        Zygote("python", level=level).close()
    except SandboxError as error:
        return False, str(error)
    return True, "works"
