"""Vectors of prompts: hashed TF-IDF, a sentence encoder, or a file that has them already."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol

from klear_data.errors import RecordError, UsageError, require
from klear_data.select.hashed import HashedTfidf

ENCODER_PREFIX = "sentence-transformers:"


class Embedder(Protocol):
    """Takes texts, some at a time, and makes one vector of each.

    Attributes:
        name: what made the vectors, for the report.
    """

    name: str

    def add(self, texts: list[str]) -> None: ...

    def vectors(self) -> Any: ...


class SentenceEncoder:
    """A model of the package sentence-transformers, by its Hub id or its folder.

    Raises:
        CapabilityError: the package is missing.
        UsageError: there is no such model.
    """

    def __init__(self, model: str) -> None:
        self.name = f"{ENCODER_PREFIX}{model}"
        package = require("sentence_transformers", extra="embed", needed_by=f"klear select --embeddings {self.name}")
        try:
            self._model = package.SentenceTransformer(model)
        except (OSError, ValueError) as error:
            reason = (str(error).splitlines() or [""])[0]
            raise UsageError(
                f"--embeddings {self.name}: can't be loaded ({reason}); expected a model of the Hub or its folder"
            ) from None
        self._parts: list[Any] = []

    def add(self, texts: list[str]) -> None:
        self._parts.append(self._model.encode(texts, show_progress_bar=False, convert_to_numpy=True))

    def vectors(self) -> Any:
        import numpy as np

        return np.concatenate(self._parts).astype(np.float32) if self._parts else np.empty((0, 1), dtype=np.float32)


class VectorFile:
    """Rows of a NumPy file, one a record.

    Raises:
        UsageError: it can't be read, or is no table of numbers.
    """

    def __init__(self, path: str) -> None:
        self.name = Path(path).name
        self._path = path
        self._vectors = read_vectors(path)
        self._texts = 0

    def add(self, texts: list[str]) -> None:
        self._texts += len(texts)

    def vectors(self) -> Any:
        """
        Raises:
            RecordError: another number of rows than records.
        """
        if len(self._vectors) != self._texts:
            raise RecordError(
                f"{self._path}: {len(self._vectors):,} vectors for {self._texts:,} records; expected one a record, "
                f"in their order (quarantined lines have none); embed this very input"
            )
        return self._vectors


def read_vectors(path: str) -> Any:
    """A table of finite numbers as float32.

    Raises:
        UsageError: the file can't be read or holds something else.
    """
    import numpy as np

    try:
        vectors = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UsageError(f"{path}: can't be read ({error}); expected a NumPy file (.npy) of row vectors") from None
    if not isinstance(vectors, np.ndarray) or vectors.ndim != 2 or vectors.dtype.kind not in "fiu":
        raise UsageError(
            f"{path}: not a table of numbers; expected an array of rows × dimensions; save one vector a row"
        )
    if not vectors.shape[1]:
        raise UsageError(f"{path}: vectors of no dimension; expected at least one column; check the encoder")
    with np.errstate(over="ignore"):
        vectors = np.ascontiguousarray(vectors, dtype=np.float32)
    if vectors.size and not float(np.abs(vectors).max()) < 1e15:  # False for NaN too; squares must fit float32
        raise UsageError(f"{path}: holds NaN, infinite or huge numbers; expected finite ones; check the encoder")
    return vectors


def open_embedder(spec: str) -> Embedder:
    """What ``--embeddings`` names: ``hashed``, ``sentence-transformers:NAME``, or a ``.npy`` file.

    Raises:
        UsageError: none of these.
    """
    if spec == "hashed":
        return HashedTfidf()
    if spec.startswith(ENCODER_PREFIX) and spec != ENCODER_PREFIX:
        return SentenceEncoder(spec.removeprefix(ENCODER_PREFIX))
    if spec.lower().endswith(".npy"):
        return VectorFile(spec)
    raise UsageError(
        f"--embeddings {spec}: unknown; expected hashed, {ENCODER_PREFIX}NAME or a file of row vectors (.npy)"
    )
