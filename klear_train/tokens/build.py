"""From chat records to a token store: read once, tokenised by several processes, written in order.

Memory holds a few batches of records and 24 bytes an example, however long the data is. The files depend on the
records, the tokenizer and the settings alone, not on the number of processes.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import orjson
from jinja2 import TemplateError
from numpy.typing import NDArray

from klear_data.errors import RecordError, UsageError
from klear_data.records import messages_problem
from klear_data.workers import in_order
from klear_train.chat import Encoded, chat_format, encode
from klear_train.tokens.store import Origin, StoreWriter, TokenStore, open_token_store

Overlong = Literal["drop", "cut"]

FORMAT = 1
"""Part of the fingerprint: raised whenever other bytes come of the same records."""

BATCH_BYTES, BATCH_RECORDS = 1 << 20, 512
"""Records go to a process in batches of so much JSON or so many, whichever comes first."""

SAY_EVERY_S = 10.0


class Batch(NamedTuple):
    """Records on their way to a tokenizer.

    Attributes:
        first: number of its first record, from 0.
        names: of the records, for messages.
        messages: of each record as JSON.
    """

    first: int
    names: list[str]
    messages: list[bytes]


class Tokenised(NamedTuple):
    """What a batch comes to; see :mod:`klear_train.tokens.store` for the columns."""

    tokens: bytes
    lengths: list[int]
    trained: list[int]
    records: list[int]
    overlong: int
    untrained: int
    largest_token: int


@dataclass(frozen=True)
class Settings:
    """What decides, with the tokenizer, what becomes of a record."""

    pack_tokens: int
    overlong: Overlong


def build_token_store(
    records: Iterable[dict[str, Any]],
    tokenizer: Any,
    *,
    folder: str | Path,
    pack_tokens: int,
    overlong: Overlong = "drop",
    jobs: int = 1,
    reuse: bool = False,
    stamp: str | None = None,
    say: Callable[[str], None] | None = None,
) -> TokenStore:
    """Tokenise records with ``messages``, loss on what the assistant says, into a folder of memory maps.

    The folder is complete or as it was before. Nothing is built where ``reuse`` is asked for and the folder holds
    what the same records, tokenizer and settings give.

    Args:
        records: read once, and not at all where ``reuse`` finds the stamp it was built with.
        tokenizer: of the model.
        folder: the store's place; an older store there is replaced.
        pack_tokens: the longest example.
        overlong: ``drop`` longer ones, or ``cut`` their end (what is left may have nothing to learn: untrained).
        jobs: processes at work, 0 for one a core.
        reuse: for a run that goes on: never tokenise what is there already, never go on with other data.
        stamp: stands for the records without reading them (:func:`klear_train.tokens.fingerprint.file_stamp`).
        say: told every ten seconds how far it is.

    Raises:
        RecordError: no records, a record without an assistant turn or that the template refuses, or none that is
            short enough.
        UsageError: the folder can't be written, or ``reuse`` found a store of other data or settings.
    """
    path, settings = Path(folder), Settings(pack_tokens, overlong)
    asked = Origin(settings_digest(tokenizer, settings), data="", stamp=stamp)
    if reuse and path.is_dir():
        store = open_token_store(path)
        _check_same(store, asked, records)
        return store
    digest = blake2b(digest_size=16)
    writer, setup = StoreWriter(path), (tokenizer, settings)
    counts = {"records": 0, "examples": 0, "overlong": 0, "untrained": 0}
    try:
        largest_token, said_s = 0, time.monotonic()
        for done in in_order(
            _counted(_batches(records, digest), counts), Tokeniser(*setup), make=_tokeniser, setup=setup,
            jobs=jobs or os.cpu_count() or 1, what="klear train sft: --set data_jobs=",
        ):  # fmt: skip
            writer.add(done.tokens, done.lengths, done.trained, done.records)
            counts["overlong"] += done.overlong
            counts["untrained"] += done.untrained
            largest_token = max(largest_token, done.largest_token)
            if say is not None and time.monotonic() - said_s > SAY_EVERY_S:
                said_s = time.monotonic()
                say(f"tokenising: {counts['records']:,} records read, {writer.totals()[1]:,} tokens written")
        counts["examples"], counts["tokens"], counts["trained_tokens"] = writer.totals()
        _check_any(counts, settings)
        origin = Origin(asked.settings, digest.hexdigest(), stamp)
        return writer.close(origin=origin, counts=counts, largest_token=largest_token)
    finally:
        writer.discard()


class Tokeniser:
    """Turns a batch of records into the bytes of a store."""

    def __init__(self, tokenizer: Any, settings: Settings) -> None:
        self._chat, self._settings = chat_format(tokenizer), settings

    def __call__(self, batch: Batch) -> Tokenised:
        named = zip(batch.messages, batch.names, strict=True)
        conversations = [_messages(orjson.loads(line), name) for line, name in named]
        limit, dropping = self._settings.pack_tokens, self._settings.overlong == "drop"
        parts: list[NDArray[np.int32]] = []
        trained, numbers = [], []
        overlong = untrained = 0
        for number, sequence in self._sequences(conversations, batch):
            overlong += len(sequence.tokens) > limit
            if len(sequence.tokens) > limit and dropping:
                continue
            stored = _stored(sequence, limit)
            num_trained = int(np.count_nonzero(stored < 0))
            if num_trained:
                parts.append(stored)
                trained.append(num_trained)
                numbers.append(number)
            else:
                untrained += 1
        tokens = np.concatenate(parts) if parts else np.zeros(0, np.int32)
        largest = int(np.maximum(tokens, ~tokens).max(initial=0))
        return Tokenised(tokens.tobytes(), list(map(len, parts)), trained, numbers, overlong, untrained, largest)

    def _sequences(self, conversations: list[Any], batch: Batch) -> Iterator[tuple[int, Encoded]]:
        """Each sequence with the number of its record."""
        try:
            encoded = encode(self._chat, conversations)
        except TemplateError:  # whose?
            encoded = [self._alone(one, name) for one, name in zip(conversations, batch.names, strict=True)]
        for number, (name, sequences) in enumerate(zip(batch.names, encoded, strict=True), batch.first):
            if not sequences:
                raise RecordError(f"{name}: no assistant turn; expected at least one to learn from; drop the record")
            yield from ((number, sequence) for sequence in sequences)

    def _alone(self, messages: Any, name: str) -> list[Encoded]:
        try:
            return encode(self._chat, [messages])[0]
        except TemplateError as error:
            raise RecordError(
                f"{name}: the chat template refuses its messages ({error}); expected turns it knows; mend the record"
            ) from error


def _stored(sequence: Encoded, limit: int) -> NDArray[np.int32]:
    """Its first ``limit`` tokens, those that carry loss as their complement."""
    ids = np.array(sequence.tokens[:limit], dtype=np.int32)
    for start, end in sequence.spans:
        after = slice(max(1, start), end)  # nothing predicts the first token of a sequence
        np.invert(ids[after], out=ids[after])
    return ids


def _tokeniser(setup: tuple[Any, Settings]) -> Tokeniser:
    """In a worker: one thread, the others have the other cores."""
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    return Tokeniser(*setup)


def settings_digest(tokenizer: Any, settings: Settings) -> str:
    """What a tokenizer and the settings are, in 32 hex digits."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    vocabulary = backend.to_str() if backend is not None else repr(sorted(tokenizer.get_vocab().items()))
    parts = (FORMAT, settings, tokenizer.chat_template, tokenizer.eos_token_id, vocabulary)
    return blake2b(repr(parts).encode(), digest_size=16).hexdigest()


def _batches(records: Iterable[dict[str, Any]], digest: Any) -> Iterator[Batch]:
    """Records in batches; the digest takes in each one's messages."""
    names: list[str] = []
    messages: list[bytes] = []
    size, number = 0, 0
    for number, record in enumerate(records, 1):
        line = _json(record.get("messages"))
        digest.update(b"%d:" % len(line) + line)
        names.append(f"record {record.get('id', number)}")
        messages.append(line)
        size += len(line)
        if size >= BATCH_BYTES or len(names) == BATCH_RECORDS:
            yield Batch(number - len(names), names, messages)
            names, messages, size = [], [], 0
    if names:
        yield Batch(number - len(names), names, messages)


def _json(messages: Any) -> bytes:
    try:
        return orjson.dumps(messages, default=repr)
    except TypeError:  # half a surrogate pair, which no tokenizer takes: "?", as in exported files
        return json.dumps(messages, ensure_ascii=False, default=repr).encode("utf-8", "replace")


def _counted(batches: Iterable[Batch], counts: dict[str, int]) -> Iterator[Batch]:
    for batch in batches:
        counts["records"] += len(batch.names)
        yield batch


def _messages(messages: Any, name: str) -> list[dict[str, Any]]:
    problem = messages_problem(messages, "messages")
    if problem is None and messages[0]["role"] == "assistant":
        problem = "the assistant speaks first; expected a question before its answer; mend or drop the record"
    if problem is not None:
        raise RecordError(f"{name}: {problem}")
    checked: list[dict[str, Any]] = messages
    return checked


def _check_any(counts: dict[str, int], settings: Settings) -> None:
    if not counts["records"]:
        raise RecordError(
            "--data: no records; expected the output of `klear format sft`; check the path or the stage before"
        )
    if not counts["examples"]:
        raise RecordError(
            f"--data: all {counts['records']} records are longer than pack_tokens = {settings.pack_tokens}; expected "
            "shorter ones; raise it with --set pack_tokens=…, or --set overlong=cut"
        )


def _check_same(store: TokenStore, asked: Origin, records: Iterable[dict[str, Any]]) -> None:
    """Raise UsageError unless the store is what these records would give."""
    if store.origin.settings != asked.settings:
        raise UsageError(
            f"{store.folder}: tokenised with another tokenizer, template or settings; expected those the run began "
            "with; give them again, or start in a new --out"
        )
    if asked.stamp is not None and asked.stamp == store.origin.stamp:
        return
    digest = blake2b(digest_size=16)
    for _ in _batches(records, digest):
        pass
    if digest.hexdigest() != store.origin.data:
        raise UsageError(
            f"{store.folder}: tokenised from other data; expected the records the run began with; give the same "
            "--data, or start in a new --out"
        )
