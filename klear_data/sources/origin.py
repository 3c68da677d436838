"""Where the rows of a catalogued data set come from: a folder on disk, a cache of the Hub, the Hub itself.

All three give the same rows in the same order. A folder wins, since somebody put it there on purpose.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from klear_data.errors import CapabilityError, UsageError
from klear_data.jsonl import Source
from klear_data.records import Record
from klear_data.sources import hub
from klear_data.sources.dataset import DataSet, Part
from klear_data.sources.paths import SUFFIXES

Located = tuple[str, Record, Part, str | None]
"""``where``, the raw row, the part it stands in, and the commit it was read at (``None`` for files on disk)."""
_ARROW = ".arrow"
_SPLITS = ("train", "test", "validation", "valid", "dev")
_SHARD = re.compile(r"(.*)-\d+-of-0*(\d+)\.\w+")


def rows_of(data: DataSet, place: Path, *, needed_by: str) -> Iterator[Located]:
    """The raw rows of a data set.

    Args:
        data: which.
        place: the folder with its files, or that name plus a suffix for a single file; need not exist.
        needed_by: the option that asked for it, for the error.

    Raises:
        CapabilityError: it is neither on disk nor in reach; the message says which files to put where.
        UsageError: the folder holds no file that can be read.
    """
    local = folder_at(place, data)
    if local is not None:
        for part, paths in zip(data.parts, local.parts, strict=True):
            for path in paths:
                yield from ((where, row, part, None) for where, row in _file_rows(path))
        return
    try:
        yield from _remote_rows(data, needed_by)
    except hub.OutOfReach as error:
        raise CapabilityError(
            f"{needed_by}: {data.hub_id} is out of reach ({error}); expected the Hugging Face Hub, its cache, or "
            f"the files on disk; {_what_to_put(data, place)}"
        ) from None


@dataclass(frozen=True)
class Folder:
    """Files of a data set on disk: all of them, and those of each part, in the order of the parts."""

    root: Path
    parts: tuple[tuple[Path, ...], ...]


def folder_at(place: Path, data: DataSet) -> Folder | None:
    """The files below a folder, or the one file of that name; None where neither exists.

    Raises:
        UsageError: the folder is there and holds no data file.
    """
    for root in (place, place.parent / data.hub_id):
        if root.is_dir():
            found = _data_files(root)
            if not found:
                raise UsageError(
                    f"{root}: no file to read; expected {', '.join(SUFFIXES)}; put the data set's files there"
                )
            folder = Folder(root, _shared_out(found, root, data.parts))
            if not any(folder.parts):
                raise UsageError(
                    f"{root}: none of its {len(found)} files is of split {data.parts[0].split!r}; expected one whose "
                    f"path says so; {_what_to_put(data, root)}"
                )
            return folder
    single = next((path for path in (Path(f"{place}{suffix}") for suffix in SUFFIXES) if path.is_file()), None)
    return None if single is None else Folder(single.parent, ((single,), *((),) * (len(data.parts) - 1)))


def _shared_out(paths: Sequence[Path], root: Path, parts: Sequence[Part]) -> tuple[tuple[Path, ...], ...]:
    """Which part each file belongs to, by the strictest of three rules under which any file belongs to one.

    Its catalogue's pattern or its configuration and split are in the path; its split is; no split is, and such
    files are the first part (a folder that somebody filled by hand). What is another split's is nobody's.
    """
    for claims in (_claims_by_name, _claims_by_split):
        shares: list[list[Path]] = [[] for _ in parts]
        for path in paths:
            name = path.relative_to(root).as_posix()
            owner = next((number for number, part in enumerate(parts) if claims(part, name)), None)
            if owner is not None:
                shares[owner].append(path)
        if any(shares):
            return tuple(map(tuple, shares))
    others = _SPLITS if any(part.split in _SPLITS for part in parts) else ()
    unnamed = [path for path in paths if not any(_says(path.relative_to(root).as_posix(), split) for split in others)]
    return (tuple(unnamed), *((),) * (len(parts) - 1))


def _claims_by_name(part: Part, name: str) -> bool:
    if part.files:
        return any(fnmatch(name, pattern) for pattern in part.files)
    return (part.config is None or _says(name, part.config)) and _says(name, part.split)


def _claims_by_split(part: Part, name: str) -> bool:
    return _says(name, part.split)


def _says(name: str, word: str) -> bool:
    """True if a word stands alone in a path, as ``train`` in ``data/train-00000-of-00005.parquet``."""
    return re.search(rf"(?<![a-z0-9]){re.escape(word.lower())}(?![a-z0-9])", name.lower()) is not None


def _data_files(root: Path) -> list[Path]:
    return [path for path in sorted(root.rglob("*")) if _is_data(path.relative_to(root))]


def _is_data(path: Path) -> bool:
    hidden = any(part.startswith(".") for part in path.parts)
    is_cache_index = path.name in ("dataset_info.json", "state.json", "dataset_dict.json", "dataset_infos.json")
    return not hidden and not is_cache_index and path.name.lower().endswith((*SUFFIXES, _ARROW))


def _file_rows(path: Path) -> Iterator[tuple[str, Record]]:
    if path.name.lower().endswith(_ARROW):
        yield from hub.arrow_rows(path)
        return
    if not path.stat().st_size:
        raise UsageError(f"{path}: an empty file; expected rows of the data set; fetch the file again")
    source = Source(str(path))
    try:
        for item in source:
            if not isinstance(item, tuple):
                raise UsageError(f"{item.where}: {item.problem}; fetch the file again")
            yield item
    finally:
        source.close()


def _remote_rows(data: DataSet, needed_by: str) -> Iterator[Located]:
    """From the Hub; from its caches where the Hub can't be reached or was forbidden (``HF_HUB_OFFLINE=1``)."""
    try:
        commit = hub.commit_of(data, needed_by=needed_by)
    except hub.OutOfReach as error:
        yield from _cached_rows(data, error)
        return
    for part in data.parts:
        yield from ((where, row, part, commit) for where, row in hub.streamed_rows(data, part, commit))


def _cached_rows(data: DataSet, reason: hub.OutOfReach) -> Iterator[Located]:
    for part, paths in zip(data.parts, _snapshot_shares(data), strict=True):
        root = hub.cached_snapshot(data) if paths else None
        paths = paths or tuple(hub.prepared_files(data, part))
        if not paths:
            raise reason
        commit = root.name if root is not None else paths[0].parent.name
        for path in paths:
            yield from ((where, row, part, commit) for where, row in _file_rows(path))


def _snapshot_shares(data: DataSet) -> tuple[tuple[Path, ...], ...]:
    """The files that ``hf download`` left, for each part; a part of which some were never fetched has none."""
    root = hub.cached_snapshot(data)
    if root is None:
        return ((),) * len(data.parts)
    shares = _shared_out(_data_files(root), root, data.parts)
    return tuple(() if _missing_shards(Folder(root, (paths,))) else paths for paths in shares)


def _what_to_put(data: DataSet, place: Path) -> str:
    what = []
    for part in data.parts:
        config = f" of configuration {part.config!r}" if part.config else ""
        what.append(" and ".join(part.files) if part.files else f"the files of split {part.split!r}{config}")
    revision = f" (revision {data.revision})" if data.revision else ""
    return f"put {' and '.join(what)} from https://huggingface.co/datasets/{data.hub_id}{revision} into {place}/"


def described(data: DataSet, place: Path) -> str:
    """Where the rows will come from, in one line, with what is missing on disk."""
    local = folder_at(place, data)
    if local is None:
        return f"{data.name} from the Hub ({data.hub_id})"
    count = sum(map(len, local.parts))
    empty = [part.config or part.split for part, paths in zip(data.parts, local.parts, strict=True) if not paths]
    notes = [*([f"none for {', '.join(empty)}"] if empty else []), *_missing_shards(local)]
    found = f"{count} file{'s' * (count != 1)} in {local.root}"
    return f"{data.name} from {found}" + (f" ({'; '.join(notes)})" if notes else "")


def _missing_shards(local: Folder) -> list[str]:
    """``data/train: 3 of 120 files`` for names that say how many there are."""
    shards: dict[tuple[str, int], int] = {}
    for path in (path for paths in local.parts for path in paths):
        match = _SHARD.fullmatch(path.relative_to(local.root).as_posix())
        if match:
            key = match[1], int(match[2])
            shards[key] = shards.get(key, 0) + 1
    return [f"{name}: {found} of {total} files" for (name, total), found in shards.items() if found < total]


def folder_of(variable: str, default: str) -> Path:
    """The folder that holds one subfolder a data set: from the environment, else a default below the cwd."""
    return Path(os.environ.get(variable) or default)
