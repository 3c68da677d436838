"""Which files of the host an interpreter needs, found out once per process by asking one."""

from __future__ import annotations

import functools
import importlib.machinery
import json
import os
import subprocess
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path

from sandbox.types import SandboxError

#: Packages of the caller's environment that solutions may import; the first kind is loaded when asked for.
WARM_PACKAGES = ("numpy",)
PURE_PACKAGES = ("sortedcontainers",)

# Modules that most solutions use: loaded once, so that a test does not pay for their import.
COMMON_MODULES = (
    "bisect", "collections", "copy", "functools", "heapq", "itertools", "math", "operator", "random", "re",
    "string", "threading", "typing",
)  # fmt: skip

_ASK = """
import importlib, json, os, sys
for name in sys.argv[1:]:
    try: importlib.import_module(name)
    except ImportError: pass
with open("/proc/self/maps") as maps:
    files = {line.split(None, 5)[5].strip() for line in maps if line.count("/")}
print(json.dumps(sorted(f for f in files if ".so" in os.path.basename(f))))
"""


@dataclass(frozen=True)
class Layout:
    """What the private root of one kind of zygote holds.

    Attributes:
        readable: directories (and files) bound into it.
        links: symbolic links made in it.
        path: ``sys.path`` of the solutions.
        preload: modules loaded before the first fork.
    """

    readable: list[str]
    links: dict[str, str]
    path: list[str]
    preload: list[str]

    @property
    def open_to_all(self) -> bool:
        """Whether every user of the host can reach the readable paths."""
        folders = {Path(path) for path in self.readable} | {p for path in self.readable for p in Path(path).parents}
        return all(folder.stat().st_mode & 0o5 == 0o5 for folder in folders if folder.is_dir())


def interpreter() -> str:
    """The interpreter behind ``sys.executable`` (a virtual environment's is a link to it).

    Raises:
        SandboxError: an embedded Python that knows no executable.
    """
    if not sys.executable:
        raise SandboxError("sys.executable is empty: the sandbox starts a Python of its own and needs its path")
    return os.path.realpath(sys.executable)


@functools.cache
def layout_of(kind: str) -> Layout:
    """The layout for ``python``, ``numpy`` or ``cpp`` solutions."""
    stdlib = os.path.realpath(sysconfig.get_path("stdlib"))
    extensions = os.path.join(stdlib, "lib-dynload")
    packages = [*PURE_PACKAGES, *(WARM_PACKAGES if kind == "numpy" else ())]
    folders = [folder for name in packages for folder in _package_folders(name)]
    readable = {stdlib, *folders, *_library_folders(extensions)}
    preload = [*COMMON_MODULES]
    if kind == "numpy" and folders:
        preload.append("numpy")
    if os.path.exists("/etc/ld.so.cache"):
        readable.add("/etc/ld.so.cache")
    if kind == "cpp":
        readable |= {path for path in ("/usr", "/lib", "/lib64", "/bin") if os.path.isdir(path)}
    links = {}
    for name in ("/lib", "/lib64", "/lib32", "/libx32", "/bin"):
        if os.path.islink(name):
            links[name] = os.readlink(name)
    readable = {path for path in readable if path not in links}
    sites = list(dict.fromkeys(os.path.dirname(folder) for folder in folders))
    return Layout(sorted(readable), links, [stdlib, extensions, *sites], preload)


def has_package(name: str) -> bool:
    """Whether solutions can import this package of the caller's environment."""
    return bool(_package_folders(name))


@functools.cache
def _package_folders(name: str) -> tuple[str, ...]:
    spec = importlib.machinery.PathFinder.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        return ()
    folder = os.path.realpath(next(iter(spec.submodule_search_locations)))
    libraries = os.path.join(os.path.dirname(folder), f"{name}.libs")
    return (folder, libraries) if os.path.isdir(libraries) else (folder,)


def _library_folders(extensions: str) -> set[str]:
    """Directories of the shared libraries that the standard library's extension modules load."""
    names = []
    if os.path.isdir(extensions):
        names = sorted({file.split(".")[0] for file in os.listdir(extensions) if file.endswith(".so")})
    wanted = [name for name in names if not name.startswith(("_test", "_tkinter", "xx"))]
    command = [interpreter(), "-I", "-S", "-c", _ASK, *wanted]
    try:
        done = subprocess.run(command, capture_output=True, timeout=60, check=True, env={"LANG": "C.UTF-8"})
    except (OSError, subprocess.SubprocessError) as error:
        raise SandboxError(f"{command[0]}: the interpreter does not start: {error}") from error
    return {os.path.dirname(file) for file in json.loads(done.stdout) if not file.startswith(extensions)}
