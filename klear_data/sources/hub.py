"""Rows from the Hugging Face Hub and from what earlier runs left in its caches, through ``datasets``."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from klear_data.errors import require
from klear_data.jsonl import as_json
from klear_data.records import Record
from klear_data.sources.dataset import DataSet, Part

_BUILDERS = {".parquet": "parquet", ".arrow": "arrow", ".csv": "csv"}
_EXTRA = "hub"


class OutOfReach(Exception):
    """The Hub can't be asked, or has no such data set; str() says why in one line."""


def commit_of(data: DataSet, *, needed_by: str) -> str:
    """The commit that is read: the pinned one, else the newest. Asks the Hub.

    Raises:
        CapabilityError: the package ``datasets`` is missing.
        OutOfReach: no answer, or no such data set or revision.
    """
    require("datasets", extra=_EXTRA, needed_by=needed_by)
    from datasets import config
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if config.HF_HUB_OFFLINE:  # HF_DATASETS_OFFLINE too, which the Hub's client does not know
        raise OutOfReach("offline mode is on: HF_HUB_OFFLINE or HF_DATASETS_OFFLINE is set")
    try:
        return str(HfApi().dataset_info(data.hub_id, revision=data.revision).sha)
    except (HfHubHTTPError, HFValidationError, OSError, _transport_errors()) as error:
        raise OutOfReach(_first_line(error)) from None


def streamed_rows(data: DataSet, part: Part, commit: str) -> Iterator[tuple[str, Record]]:
    """Rows of one part as they come over the network; nothing is kept on disk.

    Raises:
        OutOfReach: the Hub stopped answering, or the part does not exist there.
    """
    import datasets

    if part.files:
        builder = _BUILDERS.get(Path(part.files[0]).suffix, "json")
        urls = [f"hf://datasets/{data.hub_id}@{commit}/{name}" for name in part.files]
        asked: dict[str, Any] = {"path": builder, "data_files": {"rows": urls}, "split": "rows"}
    else:
        asked = {"path": data.hub_id, "name": part.config, "split": part.split, "revision": commit}
    number = 0
    try:
        for number, row in enumerate(datasets.load_dataset(**asked, streaming=True), start=1):
            yield f"{_place(data, part)}:{number}", as_json(row)
    except (datasets.exceptions.DatasetsError, OSError, ValueError, RuntimeError, _transport_errors()) as error:
        raise OutOfReach(f"after {number:,} rows: {_first_line(error)}" if number else _first_line(error)) from None


def cached_snapshot(data: DataSet) -> Path | None:
    """The folder where ``hf download`` or a loader left files of this revision, ``None`` if there is none."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(data.hub_id, repo_type="dataset", revision=data.revision, local_files_only=True)
    except LocalEntryNotFoundError:
        return None
    return Path(found)


def prepared_files(data: DataSet, part: Part) -> list[Path]:
    """The Arrow files that ``datasets.load_dataset`` made of a part in an earlier run, of the pinned commit or
    else of the latest; empty if there are none.

    Read from the folder and not by ``load_dataset``: offline that takes any commit, and where only this one
    request failed it would download the whole data set.
    """
    from datasets import config, naming

    owner, _, name = data.hub_id.partition("/")
    name = naming.camelcase_to_snakecase(name)
    versions = Path(config.HF_DATASETS_CACHE, f"{owner}___{name}", part.config or "default")
    stem = re.compile(rf"{re.escape(name)}-{re.escape(part.split)}(-\d+-of-\d+)?\.arrow")
    found: dict[Path, list[Path]] = {}
    for path in sorted(versions.glob(f"*/{data.revision or '*'}/*.arrow")):
        if stem.fullmatch(path.name) and not path.parent.name.endswith(".incomplete"):
            found.setdefault(path.parent, []).append(path)
    latest = max(found, key=lambda folder: folder.stat().st_mtime, default=None)
    return [] if latest is None else found[latest]


def arrow_rows(path: Path) -> Iterator[tuple[str, Record]]:
    """Rows of an Arrow file as ``Dataset.save_to_disk`` and the cache of ``datasets`` write it."""
    import pyarrow as pa

    number = 0
    with pa.memory_map(str(path)) as stream, pa.ipc.open_stream(stream) as reader:
        for batch in reader:
            for row in batch.to_pylist():
                number += 1
                yield f"{path}:{number}", as_json(row)


def _place(data: DataSet, part: Part) -> str:
    inside = part.config if len(data.parts) > 1 and part.config else None
    return f"{data.hub_id}/{inside}" if inside else data.hub_id


def _transport_errors() -> type[BaseException]:
    """What the Hub's client raises when nobody answers: its HTTP library's base class, whichever library it is."""
    from huggingface_hub.errors import HfHubHTTPError

    return next(base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")


def _first_line(error: BaseException) -> str:
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
