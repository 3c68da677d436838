"""Building the walls: namespaces, a private read-only root, an unprivileged user, Landlock.

Three processes: the *keeper* stays outside; the *builder* enters new namespaces;
its child, pid 1 of the new process namespace, builds the root and becomes the zygote. When any of them
ends, the kernel ends everything below.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field

from sandbox import linux

_NAMESPACES = (
    linux.CLONE_NEWUSER | linux.CLONE_NEWPID | linux.CLONE_NEWNS | linux.CLONE_NEWNET | linux.CLONE_NEWIPC
    | linux.CLONE_NEWUTS
)  # fmt: skip
_NOBODY = 65534
INSIDE_ID = 1000  # the user that solutions run as, seen from inside
_ROOT_MOUNT_POINTS = ("/sys", "/mnt", "/media", "/srv", "/opt", "/tmp")


@dataclass(frozen=True)
class Walls:
    """What the zygote is to set up.

    Attributes:
        level: ``full`` (namespaces), ``reduced`` (Landlock, seccomp, limits) or ``none`` (limits only).
        readable: paths of the host that the interpreter needs; the only ones that exist inside.
        listable: folders that those lie in and that imports look through.
        links: symbolic links to make inside, name → target (``/lib`` → ``usr/lib``).
        scratch_mib: size of a private ``/tmp``, 0 for none.
        open_to_all: whether every user of the host can reach the readable paths.
    """

    level: str
    readable: list[str] = field(default_factory=list)
    listable: list[str] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)
    scratch_mib: int = 0
    open_to_all: bool = True


def enter(walls: Walls) -> None:
    """Go behind the walls; returns in the process that is to be the zygote.

    Raises:
        OSError: the kernel refuses one of the layers.
    """
    if walls.level != "full":
        return
    was_root = os.geteuid() == 0
    gate_read, gate_write = os.pipe()
    done_read, done_write = os.pipe()
    keeper = os.getpid()
    builder = os.fork()
    if builder != 0:
        os.close(gate_read)
        os.close(done_write)
        _keep(builder, was_root=was_root, entered=done_read, gate=gate_write)
    os.close(gate_write)
    os.close(done_read)
    linux.die_with_parent()
    if os.getppid() != keeper:
        os._exit(1)
    linux.unshare(_NAMESPACES)
    os.write(done_write, b"u")
    os.close(done_write)
    if os.read(gate_read, 1) != b"m":
        raise OSError("the user mapping could not be written")
    os.close(gate_read)
    zygote = os.fork()
    if zygote != 0:
        _outlive(zygote)
    linux.die_with_parent()
    _become_inside_root(was_root=was_root)
    linux.sethostname("sandbox")
    _private_root(walls)


def _keep(builder: int, *, was_root: bool, entered: int, gate: int) -> None:
    """The keeper: write the builder's user mapping, then wait for the end. Does not return.

    It does not ask to die with its parent: the kernel means the thread that started it, which may end before
    the host does. The end of the host is the end of the channel, and so of the zygote.
    """
    if os.read(entered, 1) == b"u":
        uid, gid = os.geteuid(), os.getegid()
        if was_root:
            uids = gids = f"0 0 1\n{INSIDE_ID} {_NOBODY} 1\n"
        else:
            uids, gids = f"{INSIDE_ID} {uid} 1\n", f"{INSIDE_ID} {gid} 1\n"
            _write(f"/proc/{builder}/setgroups", "deny")
        _write(f"/proc/{builder}/uid_map", uids)
        _write(f"/proc/{builder}/gid_map", gids)
        os.write(gate, b"m")
    os.close(gate)
    _outlive(builder)


def _outlive(pid: int) -> None:
    """Wait for ``pid`` and end as it did. Does not return."""
    os.closerange(0, 2)
    os.closerange(3, 256)
    _, status = os.waitpid(pid, 0)
    os._exit(abs(os.waitstatus_to_exitcode(status)) & 0xFF)


def _become_inside_root(*, was_root: bool) -> None:
    if was_root:  # everything the host gave root is already gone: these ids exist in this namespace only
        os.setgroups([])
        os.setresgid(0, 0, 0)
        os.setresuid(0, 0, 0)


def _write(path: str, text: str) -> None:
    with open(path, "w") as file:
        file.write(text)


def _private_root(walls: Walls) -> None:
    """A small tmpfs with read-only binds of what the interpreter needs, and nothing else of the host."""
    linux.mount("none", "/", None, linux.MS_REC | linux.MS_PRIVATE)
    base = next(
        point for point in _ROOT_MOUNT_POINTS
        if os.path.isdir(point) and not any(_below(path, point) for path in walls.readable)
    )  # fmt: skip
    linux.mount("tmpfs", base, "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, "size=1m,nr_inodes=4096,mode=755")
    for path in sorted(walls.readable):
        target = base + path
        if os.path.exists(target):
            continue  # lies below one that is bound already
        if os.path.isdir(path):
            os.makedirs(target)
        else:
            os.makedirs(os.path.dirname(target), exist_ok=True)
            open(target, "w").close()
        linux.mount(path, target, None, linux.MS_BIND | linux.MS_REC)
        linux.make_read_only(target, extra=linux.MS_NODEV)
    for name, to in walls.links.items():
        if not os.path.lexists(base + name):
            os.makedirs(os.path.dirname(base + name), exist_ok=True)
            os.symlink(to, base + name)
    os.makedirs(base + "/dev", exist_ok=True)
    open(base + "/dev/null", "w").close()
    linux.mount("/dev/null", base + "/dev/null", None, linux.MS_BIND)
    os.makedirs(base + "/tmp", exist_ok=True)
    if walls.scratch_mib:
        options = f"size={walls.scratch_mib}m,nr_inodes=1024,mode=1777"
        linux.mount("tmpfs", base + "/tmp", "tmpfs", linux.MS_NOSUID | linux.MS_NODEV, options)
    linux.mount("none", base, None, linux.MS_REMOUNT | linux.MS_BIND | linux.MS_RDONLY | linux.MS_NOSUID
                | linux.MS_NODEV)  # fmt: skip
    linux.pivot_root(base)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def confine(walls: Walls) -> None:
    """What the zygote takes from itself and so from all below it: files and privileges it will never need.

    Raises:
        OSError: a layer that this level promises is refused.
    """
    os.umask(0o077)
    if walls.level == "full":
        linux.drop_bounding_set()
    if walls.level == "none":
        return
    linux.no_new_privileges()
    writable = ["/dev/null", *(["/tmp"] if walls.scratch_mib and walls.level == "full" else [])]
    if (
        not linux.landlock(readable=walls.readable, writable=writable, listable=walls.listable)
        and walls.level == "reduced"
    ):
        raise OSError("Landlock is not available")


def become_nobody(walls: Walls) -> None:
    """Called in a solution's server: from here on it is nobody, for good."""
    if walls.level == "full" or os.geteuid() == 0:
        inside = INSIDE_ID if walls.level == "full" else _NOBODY
        # Without a root of its own, an interpreter in root's home stays out of nobody's reach: then it must do
        # to give up root's powers and to be confined by Landlock.
        if os.getuid() == 0 and (walls.level == "full" or walls.open_to_all):
            os.setgroups([])
            os.setresgid(inside, inside, inside)
            os.setresuid(inside, inside, inside)
        linux.drop_capabilities()
    linux.not_dumpable()
    linux.die_with_parent()  # last, since changing the user clears it


def kill_all(servers: list[int], *, level: str) -> list[int | None]:
    """Kill everything that the zygote started, collect it, and say how each server ended (-n: signal n)."""
    try:
        if level == "full":
            os.kill(-1, signal.SIGKILL)  # all of this process namespace but pid 1 itself
    except ProcessLookupError:
        pass
    if level != "full":
        for pid in servers:
            try:
                os.killpg(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return [ended.get(server) for server in servers]
        ended[pid] = os.waitstatus_to_exitcode(status)
