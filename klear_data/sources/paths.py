"""Which files ``--sources`` means, and what a data set is called after its file."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterable
from functools import lru_cache
from pathlib import Path

from klear_data.errors import UsageError
from klear_data.jsonl import STDIO

SUFFIXES = (".jsonl", ".json", ".jsonl.gz", ".json.gz", ".jsonl.zst", ".json.zst", ".parquet")
_SHARD = re.compile(r"[-_.]?\d{2,}(-of-\d+)?$")
# Names that say which part of a data set a file is, and not which data set.
_PARTS = frozenset({"", "train", "test", "validation", "valid", "dev", "data", "default", "main", "part", "shard"})


def expand_sources(specs: Iterable[str]) -> list[str]:
    """The files behind file names, folders, patterns and ``-``, in the order given, each once.

    A folder means every data file below it and a pattern every match, both in sorted order, so that the
    same files are read in the same order on every machine.

    Raises:
        UsageError: a name that is no file, a folder or pattern without data files, no source at all.
    """
    files = [file for spec in specs for file in _files_of(spec)]
    if not files:
        raise UsageError("--sources: nothing to read; expected files, folders, patterns or -; name at least one")
    return list(dict.fromkeys(files))


def _files_of(spec: str) -> list[str]:
    path = Path(spec)
    if spec == STDIO or (path.exists() and not path.is_dir()):  # <(…) is a pipe
        return [spec]
    if path.is_dir():
        found = sorted(str(file) for file in path.rglob("*") if file.is_file() and _is_data(file.relative_to(path)))
        what = f"{spec}: no data files in this folder"
    elif glob.has_magic(spec):
        found = [name for name in sorted(glob.glob(spec, recursive=True)) if Path(name).is_file()]
        what = f"{spec}: no file matches this pattern"
    else:
        found, what = [], f"{spec}: no such file or folder"
    if not found:
        raise UsageError(
            f"{what}; expected files named {', '.join('*' + suffix for suffix in SUFFIXES)}; check the path"
        )
    return found


def _is_data(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    return not hidden and path.name.lower().endswith(SUFFIXES)


@lru_cache(maxsize=64)  # asked for every row
def source_name(path: str) -> str:
    """What to call a data set that does not say its name: its file, or the folder of ``train.jsonl`` and the like.

    >>> source_name("data/gsm8k_train.jsonl.gz"), source_name("NuminaMath-1.5/data/train-00000-of-00005.parquet")
    ('gsm8k_train', 'NuminaMath-1.5')
    """
    if path in (STDIO, "<stdin>"):
        return "stdin"
    file = Path(path)
    suffix = max((suffix for suffix in SUFFIXES if path.lower().endswith(suffix)), key=len, default="")
    stem = file.name[: len(file.name) - len(suffix)]
    for name in (stem, *reversed(file.parent.parts)):
        if _SHARD.sub("", name).lower() not in _PARTS and name not in ("..", "/", "."):
            return name
    return stem or "unnamed"
