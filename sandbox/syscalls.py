"""System call numbers, and which of them a judged program may use.

An allow list: what is not named here is refused with ``EPERM``, new system calls of later kernels
included. Numbers from the kernel's ``unistd_64.h`` (x86-64) and ``asm-generic/unistd.h`` (aarch64, which
lacks the older calls, hence ``None``).
"""

from __future__ import annotations

from typing import Literal

Machine = Literal["x86_64", "aarch64"]

#: ``AUDIT_ARCH_*`` of ``linux/audit.h``, as seccomp reports it.
AUDIT_ARCH: dict[str, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}

# Reading, writing and looking around in the (read-only) file system.
_FILES: dict[str, tuple[int | None, int | None]] = {
    "read": (0, 63), "write": (1, 64), "readv": (19, 65), "writev": (20, 66), "pread64": (17, 67),
    "pwrite64": (18, 68), "preadv": (295, 69), "pwritev": (296, 70), "open": (2, None), "openat": (257, 56),
    "stat": (4, None), "fstat": (5, 80), "lstat": (6, None), "newfstatat": (262, 79), "statx": (332, 291),
    "access": (21, None), "faccessat": (269, 48), "faccessat2": (439, 439), "readlink": (89, None),
    "readlinkat": (267, 78), "getcwd": (79, 17), "chdir": (80, 49), "fchdir": (81, 50),
    "getdents": (78, None), "getdents64": (217, 61), "close": (3, 57), "close_range": (436, 436),
    "lseek": (8, 62), "dup": (32, 23), "dup2": (33, None), "dup3": (292, 24), "ftruncate": (77, 46),
    "truncate": (76, 45), "fsync": (74, 82), "fdatasync": (75, 83), "mkdir": (83, None),
    "mkdirat": (258, 34), "rmdir": (84, None), "unlink": (87, None), "unlinkat": (263, 35),
    "rename": (82, None), "renameat": (264, 38), "renameat2": (316, 276),
    "statfs": (137, 43), "fstatfs": (138, 44), "fadvise64": (221, 223), "umask": (95, 166),
}  # fmt: skip

_MEMORY_AND_SIGNALS: dict[str, tuple[int | None, int | None]] = {
    "mmap": (9, 222), "munmap": (11, 215), "mprotect": (10, 226), "mremap": (25, 216), "madvise": (28, 233),
    "brk": (12, 214), "msync": (26, 227), "membarrier": (324, 283), "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135), "rt_sigreturn": (15, 139), "rt_sigsuspend": (130, 133),
    "rt_sigpending": (127, 136), "rt_sigtimedwait": (128, 137), "sigaltstack": (131, 132),
    "restart_syscall": (219, 128), "getitimer": (36, 102), "setitimer": (38, 103), "alarm": (37, None),
    "pause": (34, None),
}  # fmt: skip

# asyncio needs a pipe or a socket pair to itself, and epoll.
_WITHIN_THE_PROCESS: dict[str, tuple[int | None, int | None]] = {
    "pipe": (22, None), "pipe2": (293, 59), "poll": (7, None), "ppoll": (271, 73), "select": (23, None),
    "pselect6": (270, 72), "epoll_create": (213, None), "epoll_create1": (291, 20), "epoll_ctl": (233, 21),
    "epoll_wait": (232, None), "epoll_pwait": (281, 22), "epoll_pwait2": (441, 441), "eventfd": (284, None),
    "eventfd2": (290, 19), "timerfd_create": (283, 85), "timerfd_settime": (286, 86),
    "timerfd_gettime": (287, 87), "sendto": (44, 206), "recvfrom": (45, 207), "sendmsg": (46, 211),
    "recvmsg": (47, 212), "shutdown": (48, 210), "getsockname": (51, 204), "getsockopt": (55, 209),
    "getpeername": (52, 205), "setsockopt": (54, 208), "futex": (202, 98), "futex_waitv": (449, 449),
    "set_robust_list": (273, 99), "get_robust_list": (274, 100), "rseq": (334, 293),
    "arch_prctl": (158, None), "set_tid_address": (218, 96), "exit": (60, 93), "exit_group": (231, 94),
    "wait4": (61, 260), "waitid": (247, 95), "sched_yield": (24, 124),
}  # fmt: skip

_CLOCKS_AND_IDENTITY: dict[str, tuple[int | None, int | None]] = {
    "nanosleep": (35, 101), "clock_nanosleep": (230, 115), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "gettimeofday": (96, 169), "time": (201, None), "times": (100, 153),
    "getpid": (39, 172), "getppid": (110, 173), "gettid": (186, 178), "getuid": (102, 174),
    "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getresuid": (118, 148),
    "getresgid": (120, 150), "getgroups": (115, 158), "getpgrp": (111, None), "getpgid": (121, 155),
    "getsid": (124, 156), "uname": (63, 160), "sysinfo": (99, 179), "getrusage": (98, 165),
    "getrlimit": (97, 163), "setrlimit": (160, 164), "getpriority": (140, 141),
    "sched_getaffinity": (204, 123), "getrandom": (318, 278), "getcpu": (309, 168),
}  # fmt: skip

#: Allowed whatever their arguments are.
ALLOWED = _FILES | _MEMORY_AND_SIGNALS | _WITHIN_THE_PROCESS | _CLOCKS_AND_IDENTITY

#: Allowed for some values of one argument only; `sandbox.seccomp` says which.
CONDITIONAL: dict[str, tuple[int | None, int | None]] = {
    "clone": (56, 220), "clone3": (435, 435), "prctl": (157, 167), "ioctl": (16, 29), "fcntl": (72, 25),
    "socketpair": (53, 199), "prlimit64": (302, 261),
}  # fmt: skip

#: What the zygote and its servers need beyond that; taken away again in every test's process.
KEEPING: dict[str, tuple[int | None, int | None]] = {
    "fork": (57, None), "vfork": (58, None), "kill": (62, 129), "setpgid": (109, 154), "capset": (126, 91),
    "setgroups": (116, 159), "setresuid": (117, 147), "setresgid": (119, 149), "memfd_create": (319, 279),
    "chmod": (90, None), "fchmod": (91, 52), "fchmodat": (268, 53),
}  # fmt: skip

#: What starting another program needs: for compiled solutions, and for the compiler itself.
EXEC: dict[str, tuple[int | None, int | None]] = {"execve": (59, 221), "execveat": (322, 281)}
