"""What a user can mend: one exception a kind, each with the exit code that the CLI returns.

Messages follow one form, ``where: what is wrong; what was expected; what to do``. Anything else that
escapes a command is a bug and leaves with exit code 1 and its traceback.
"""

from __future__ import annotations

import errno
import importlib
import importlib.util
from pathlib import Path
from types import ModuleType


class KlearError(Exception):
    """A failure the user can act on."""

    exit_code = 1


class UsageError(KlearError):
    """An option, a path or a config that can't be used (exit 2)."""

    exit_code = 2


class RecordError(KlearError):
    """Input that is not what the stage reads (exit 3)."""

    exit_code = 3


class CapabilityError(KlearError):
    """Something the machine or the installation lacks (exit 4)."""

    exit_code = 4


def require(module: str, *, extra: str, needed_by: str) -> ModuleType:
    """Import an optional dependency.

    Args:
        module: the name to import.
        extra: the extra of ``klear-reasoner`` that brings it.
        needed_by: what wants it, as the user typed it (``klear sample``).

    Raises:
        CapabilityError: it is not installed; the message names the command that installs it.
    """
    if importlib.util.find_spec(module) is None:
        raise CapabilityError(
            f"{needed_by}: the package {module!r} is missing; it comes with the extra {extra!r}; "
            f"run: pip install 'klear-reasoner[{extra}]' (in a checkout: pip install -c constraints.txt "
            f"-e '.[{extra}]')"
        )
    return importlib.import_module(module)


def unwritable(path: Path, error: OSError) -> UsageError:
    """The error for a file that can't be written, with what to do about it."""
    if error.errno == errno.ENOSPC:
        advice = "free some space or write elsewhere"
    elif isinstance(error, FileNotFoundError):
        advice = f"create the folder {path.parent} first"
    else:
        advice = "check the folder's permissions or write elsewhere"
    return UsageError(f"{path}: can't be written ({error.strerror}); expected a writable place; {advice}")
