"""The system call filters of a judged program, as raw BPF (no libseccomp).

Two of them, because installing a filter costs more the larger it is: the `wall`, an allow list
(`sandbox.syscalls`), is installed once in the zygote and inherited; the `door`, a dozen calls that keeping
processes takes and a program may not have, closes in every test's process. Both are binary searches.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping

from sandbox.syscalls import ALLOWED, AUDIT_ARCH, CONDITIONAL, EXEC, KEEPING, Machine

# linux/bpf_common.h
_LOAD, _JEQ, _JGE, _JSET, _RET = 0x20, 0x15, 0x35, 0x45, 0x06
# linux/seccomp.h: offsets in struct seccomp_data, and return actions
_NR, _ARCH = 0, 4
_ARGUMENT = (16, 24, 32)  # low words of the first arguments (little endian on both machines)
ALLOW, KILL = 0x7FFF0000, 0x80000000
_ERRNO = 0x00050000
EPERM, ENOSYS = 1, 38

_CLONE_THREAD = 0x10000
_AF_UNIX = 1
# With SOCK_NONBLOCK and SOCK_CLOEXEC. Not datagrams: they could be sent to any socket of the host by its path.
_STREAMS = tuple(1 | flags for flags in (0, 0x800, 0x80000, 0x80800))
_PRCTL_NAMES = (15, 16, 0x53564D41)  # PR_SET_NAME, PR_GET_NAME, PR_SET_VMA (glibc names its heaps)
# TCGETS, TIOCGWINSZ, FIONREAD, FIONBIO, FIONCLEX, FIOCLEX: "is it a terminal" and blocking modes
_IOCTLS = (0x5401, 0x5413, 0x541B, 0x5421, 0x5450, 0x5451)
_FCNTLS = (0, 1, 2, 3, 4, 1030)  # F_DUPFD, F_{GET,SET}FD, F_{GET,SET}FL, F_DUPFD_CLOEXEC: no locks, no leases

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def this_machine() -> Machine | None:
    """The machine whose numbers apply, ``None`` where there is no table for it."""
    name = platform.machine()
    if name == "x86_64":
        return "x86_64"
    return "aarch64" if name in ("aarch64", "arm64") else None


def _argument_in(index: int, values: tuple[int, ...]) -> list[Instruction]:
    """Allow where an argument's low word is one of ``values``, else EPERM."""
    code: list[Instruction] = [(_LOAD, 0, 0, _ARGUMENT[index])]
    for left, value in zip(range(len(values), 0, -1), values, strict=True):
        code.append((_JEQ, left, 0, value))  # over the rest of the tests and the refusal
    return [*code, (_RET, 0, 0, _ERRNO | EPERM), (_RET, 0, 0, ALLOW)]


def _leaf(name: str) -> list[Instruction]:
    if name == "clone":  # threads, yes; processes, no
        return [(_LOAD, 0, 0, _ARGUMENT[0]), (_JSET, 1, 0, _CLONE_THREAD), (_RET, 0, 0, _ERRNO | EPERM),
                (_RET, 0, 0, ALLOW)]  # fmt: skip
    if name == "clone3":  # its flags lie behind a pointer that BPF cannot follow: glibc then uses clone
        return [(_RET, 0, 0, _ERRNO | ENOSYS)]
    if name == "prctl":
        return _argument_in(0, _PRCTL_NAMES)
    if name == "ioctl":
        return _argument_in(1, _IOCTLS)
    if name == "fcntl":
        return _argument_in(1, _FCNTLS)
    if name == "socketpair":
        return [*_argument_in(0, (_AF_UNIX,))[:-1], *_argument_in(1, _STREAMS)]
    if name == "prlimit64":  # its own limits only (0), which without capabilities never go up again
        return _argument_in(0, (0,))
    return [(_RET, 0, 0, ALLOW)]


def _find(entries: list[tuple[int, list[Instruction]]], otherwise: Instruction) -> list[Instruction]:
    """A binary search over system call numbers, the number being in the accumulator."""
    if len(entries) == 1:
        number, leaf = entries[0]
        return [(_JEQ, 1, 0, number), otherwise, *leaf]
    middle = len(entries) // 2
    low, high = _find(entries[:middle], otherwise), _find(entries[middle:], otherwise)
    # A jump reaches 255 instructions only: the low half is passed over by a step of any length (BPF_JA).
    return [(_JGE, 0, 1, entries[middle][0]), (0x05, 0, 0, len(low)), *low, *high]


def wall(machine: Machine, *, allow_exec: bool = False) -> list[Instruction]:
    """The filter that the zygote installs once: the allow list, and what keeping processes takes.

    Args:
        machine: whose numbers to use; a call made under another ABI kills the process.
        allow_exec: starting other programs too (for compiled solutions).
    """
    names = [*ALLOWED, *CONDITIONAL, *KEEPING, *(EXEC if allow_exec else ())]
    free = {*ALLOWED, *KEEPING, *EXEC, "clone", "prctl", "fcntl", "prlimit64"}
    entries = _entries(machine, {name: [(_RET, 0, 0, ALLOW)] if name in free else _leaf(name) for name in names})
    # x32 calls carry bit 30 on x86-64; they are above every number of the tree and end in its refusal.
    return [
        (_LOAD, 0, 0, _ARCH), (_JEQ, 1, 0, AUDIT_ARCH[machine]), (_RET, 0, 0, KILL), (_LOAD, 0, 0, _NR),
        *_find(entries, (_RET, 0, 0, _ERRNO | EPERM)),
    ]  # fmt: skip


def door(machine: Machine, *, allow_exec: bool = False, toolchain: bool = False) -> list[Instruction]:
    """The small filter that closes behind every test's process: what `wall` still allowed, it refuses.

    Args:
        allow_exec: the process is about to become a compiled program.
        toolchain: it is about to become a compiler, which starts processes of its own.
    """
    refuse = [(_RET, 0, 0, _ERRNO | EPERM)]
    names = dict.fromkeys(KEEPING, refuse) | {name: _leaf(name) for name in ("prctl", "fcntl", "prlimit64")}
    names["clone"] = _leaf("clone")
    if toolchain:
        for name in ("fork", "vfork", "clone", "chmod", "fchmod", "fchmodat", "fcntl"):
            del names[name]
    if not allow_exec and not toolchain:
        names |= dict.fromkeys(EXEC, refuse)
    return [(_LOAD, 0, 0, _NR), *_find(_entries(machine, names), (_RET, 0, 0, ALLOW))]


def _entries(machine: Machine, leaves: Mapping[str, list[Instruction]]) -> list[tuple[int, list[Instruction]]]:
    """The leaves by system call number, in order; calls that the machine lacks are left out."""
    numbers = ALLOWED | CONDITIONAL | KEEPING | EXEC
    column = 0 if machine == "x86_64" else 1
    found = [(numbers[name][column], leaf) for name, leaf in leaves.items()]
    return sorted(((number, leaf) for number, leaf in found if number is not None), key=lambda entry: entry[0])


def assemble(program: list[Instruction]) -> bytes:
    """The program as an array of ``struct sock_filter``."""
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)
