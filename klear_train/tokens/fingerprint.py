"""What a file is, without reading it."""

from __future__ import annotations

from pathlib import Path


def file_stamp(path: str | Path) -> str | None:
    """Path, size and time of an ordinary file; None for what can be read once only (a pipe, ``-``).

    Records read from a file of the same stamp are the same records.
    """
    place = Path(path)
    if not place.is_file():
        return None
    found = place.stat()
    return f"{place.resolve()} {found.st_size} {found.st_mtime_ns}"
