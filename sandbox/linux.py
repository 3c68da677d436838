"""The Linux calls that Python has no name for, through ctypes.

Used inside the sandbox only (and by `sandbox.capabilities` in a child of its own): the caller's process
never changes its own privileges.
"""

from __future__ import annotations

import ctypes
import os
import struct

CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x00020000, 0x04000000, 0x08000000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x10000000, 0x20000000, 0x40000000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_REMOUNT, MS_BIND = 1, 2, 4, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
MNT_DETACH = 2
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_SECCOMP, _PR_CAPBSET_DROP = 1, 4, 22, 24
_PR_SET_NO_NEW_PRIVS = 38
_SECCOMP_MODE_FILTER = 2
# The same number on every machine since the system call tables were unified.
_SYS_MOUNT_SETATTR, _SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD, _SYS_LANDLOCK_RESTRICT = 442, 444, 445, 446

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = [ctypes.c_char_p] * 3 + [ctypes.c_ulong, ctypes.c_char_p]
_libc.prctl.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
_libc.syscall.restype = ctypes.c_long


def _check(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result


def unshare(flags: int) -> None:
    _check(_libc.unshare(ctypes.c_int(flags)), "unshare")


def sethostname(name: str) -> None:
    _check(_libc.sethostname(name.encode(), ctypes.c_size_t(len(name))), "sethostname")


def mount(source: str, target: str, kind: str | None, flags: int, data: str | None = None) -> None:
    _check(
        _libc.mount(
            source.encode(), target.encode(), kind.encode() if kind else None, flags,
            data.encode() if data else None,
        ),
        f"mount {target}",
    )  # fmt: skip


def make_read_only(target: str, *, extra: int = 0) -> None:
    """Make a mount and everything below it read-only and without set-uid programs.

    Raises:
        OSError: neither ``mount_setattr`` (Linux 5.12) nor a plain remount is allowed.
    """
    attributes = struct.pack("QQQQ", MS_RDONLY | MS_NOSUID | extra, 0, 0, 0)
    at_fdcwd, at_recursive = -100, 0x8000
    result = _libc.syscall(
        _SYS_MOUNT_SETATTR, ctypes.c_int(at_fdcwd), target.encode(), ctypes.c_uint(at_recursive), attributes,
        ctypes.c_size_t(len(attributes)),
    )  # fmt: skip
    if result < 0:
        held = os.statvfs(target).f_flag & (MS_RDONLY | MS_NOSUID | MS_NODEV | 8)  # 8: noexec
        mount("none", target, None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | extra | held)


def pivot_root(new_root: str) -> None:
    """Make ``new_root`` the root directory and let go of the old one (no directory is needed for it)."""
    os.chdir(new_root)
    number = {"x86_64": 155, "aarch64": 41}[os.uname().machine]
    _check(_libc.syscall(number, b".", b"."), "pivot_root")
    _check(_libc.umount2(b".", MNT_DETACH), "umount of the old root")
    os.chdir("/")


def die_with_parent() -> None:
    _check(_libc.prctl(_PR_SET_PDEATHSIG, 9, 0, 0, 0), "prctl(PDEATHSIG)")


def no_new_privileges() -> None:
    _check(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "prctl(NO_NEW_PRIVS)")


def not_dumpable() -> None:
    """No ptrace, no core file, no reading of this process by others of the same user."""
    _check(_libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0), "prctl(DUMPABLE)")


def drop_bounding_set() -> None:
    """No program started from here on gets a capability, whatever its file says."""
    for capability in range(64):
        if _libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0) < 0:
            break  # past the last capability, or not ours to drop


def drop_capabilities() -> None:
    """Empty every capability set of this process."""
    header, nothing = struct.pack("Ii", 0x20080522, 0), bytes(24)
    _check(_libc.capset(header, nothing), "capset")


# Without errno and without letting go of the interpreter lock: every page of memory that a fresh process
# touches is a page fault, so the two calls that each test makes are as short as ctypes allows.
_in_place = ctypes.PyDLL(None)
_fork, _prctl = _in_place.fork, _in_place.prctl


def fork() -> int:
    """Fork without Python's hooks, for a process of one thread: they cost a tenth of a test.

    What the hooks do is not wanted here: new seeds for ``random`` (runs are to be repeatable), and locks
    made anew that no other thread can hold.

    Raises:
        OSError: no process can be made.
    """
    pid = _fork()
    if pid < 0:
        raise OSError("fork failed")
    return pid  # type: ignore[no-any-return]


class Filter:
    """A seccomp program ready to be installed by `install_filter` without further allocation."""

    def __init__(self, program: bytes) -> None:
        self._code = ctypes.create_string_buffer(program, len(program))
        self.head = ctypes.create_string_buffer(
            struct.pack("HxxxxxxQ", len(program) // 8, ctypes.addressof(self._code)), 16
        )
        address = ctypes.c_ulong(ctypes.addressof(self.head))
        zero = ctypes.c_ulong(0)
        self.call = (ctypes.c_int(_PR_SET_SECCOMP), ctypes.c_ulong(_SECCOMP_MODE_FILTER), address, zero, zero)


def install_filter(program: Filter) -> None:
    """Install a seccomp filter for good; needs ``no_new_privileges`` first."""
    if _prctl(*program.call) != 0:
        raise OSError("prctl(SECCOMP): refused")


def landlock_abi() -> int:
    """Landlock's version on this kernel, 0 where it is missing or switched off."""
    return max(0, int(_libc.syscall(_SYS_LANDLOCK_CREATE, None, ctypes.c_size_t(0), ctypes.c_uint(1))))


# linux/landlock.h, access rights by the version that brought them
_READ = 1 << 0 | 1 << 2 | 1 << 3  # execute, read_file, read_dir
_LIST = 1 << 3
_FILE_ONLY = 1 << 0 | 1 << 1 | 1 << 2 | 1 << 14
_ALL_FS = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1}


def landlock(*, readable: list[str], writable: list[str], listable: list[str]) -> bool:
    """Confine file access to the given paths, and refuse TCP and signals to outside (newer kernels).

    ``listable`` folders can be listed only: Python's import looks into the folder that a package lies in.

    Returns False where the kernel has no Landlock.
    """
    abi = landlock_abi()
    if abi == 0:
        return False
    handled = _ALL_FS[min(abi, 3)] | (1 << 15 if abi >= 5 else 0)  # ABI 5: ioctl on devices
    ruleset = struct.pack("Q", handled)
    if abi >= 4:
        ruleset += struct.pack("Q", 3)  # bind and connect
    if abi >= 6:
        ruleset += struct.pack("Q", 3)  # abstract sockets and signals of outside
    fd = _check(
        _libc.syscall(_SYS_LANDLOCK_CREATE, ruleset, ctypes.c_size_t(len(ruleset)), ctypes.c_uint(0)),
        "landlock_create_ruleset",
    )
    try:
        for path in [*readable, *writable, *listable]:
            if os.path.exists(path):
                rights = handled if path in writable else handled & _READ if path in readable else _LIST
                _allow_below(fd, path, rights if os.path.isdir(path) else rights & _FILE_ONLY)
        _check(_libc.syscall(_SYS_LANDLOCK_RESTRICT, ctypes.c_int(fd), ctypes.c_uint(0)), "landlock_restrict")
    finally:
        os.close(fd)
    return True


def _allow_below(ruleset: int, path: str, rights: int) -> None:
    where = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        rule = struct.pack("=Qi", rights, where)
        _check(
            _libc.syscall(_SYS_LANDLOCK_ADD, ctypes.c_int(ruleset), ctypes.c_int(1), rule, ctypes.c_uint(0)),
            f"landlock_add_rule {path}",
        )
    finally:
        os.close(where)
