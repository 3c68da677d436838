"""The system call filter of a judged program, as raw BPF (no libseccomp).

The filter is an allow list (`sandbox.syscalls`) searched as a binary tree, so that a call costs about
eight comparisons and the kernel's per-call cache is filled quickly when the filter is installed.
"""

from __future__ import annotations

import platform
import struct
from collections.abc import Mapping

from sandbox.syscalls import ALLOWED, AUDIT_ARCH, CONDITIONAL, EXEC, TOOLCHAIN, Machine

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
        return _argument_in(0, (_AF_UNIX,))
    if name == "prlimit64":  # its own limits only (0), which without capabilities never go up again
        return _argument_in(0, (0,))
    return [(_RET, 0, 0, ALLOW)]


def _tree(entries: list[tuple[int, list[Instruction]]]) -> list[Instruction]:
    """A binary search over system call numbers, the number being in the accumulator."""
    if len(entries) == 1:
        number, leaf = entries[0]
        return [(_JEQ, 1, 0, number), (_RET, 0, 0, _ERRNO | EPERM), *leaf]
    middle = len(entries) // 2
    low, high = _tree(entries[:middle]), _tree(entries[middle:])
    # A jump reaches 255 instructions: over the low half by an unconditional step of any length (BPF_JA).
    return [(_JGE, 0, 1, entries[middle][0]), (0x05, 0, 0, len(low)), *low, *high]


def instructions(machine: Machine, *, allow_exec: bool = False, toolchain: bool = False) -> list[Instruction]:
    """The filter's program.

    Args:
        machine: whose numbers to use; a call made under another ABI kills the process.
        allow_exec: also allow starting another program (a compiled solution).
        toolchain: also allow processes and what a compiler driver does.
    """
    tables: list[Mapping[str, tuple[int | None, int | None]]] = [ALLOWED, CONDITIONAL]
    if allow_exec or toolchain:
        tables.append(EXEC)
    if toolchain:
        tables.append(TOOLCHAIN)
    column = 0 if machine == "x86_64" else 1
    entries: list[tuple[int, list[Instruction]]] = []
    for table in tables:
        for name, numbers in table.items():
            number = numbers[column]
            if number is not None:
                free = toolchain and name in ("clone", "fcntl")
                entries.append((number, [(_RET, 0, 0, ALLOW)] if free else _leaf(name)))
    entries.sort(key=lambda entry: entry[0])
    # x32 calls carry bit 30 on x86-64; they are above every number of the tree and end in its last refusal.
    head: list[Instruction] = [
        (_LOAD, 0, 0, _ARCH), (_JEQ, 1, 0, AUDIT_ARCH[machine]), (_RET, 0, 0, KILL), (_LOAD, 0, 0, _NR),
    ]  # fmt: skip
    return head + _tree(entries)


def assemble(program: list[Instruction]) -> bytes:
    """The program as an array of ``struct sock_filter``."""
    return b"".join(struct.pack("HBBI", *instruction) for instruction in program)
