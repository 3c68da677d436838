"""The token store: what it holds, that it is the same however it is built, and that it is whole or absent."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from klear_data.errors import RecordError, UsageError
from klear_train.chat import examples_of
from klear_train.tiny import make_tokenizer
from klear_train.tokens import build_token_store, check_vocabulary, open_token_store
from klear_train.tokens.fingerprint import file_stamp
from tests.klear_train import chat_styles as styles

QUESTION = {"role": "user", "content": "?"}
FILES = ("tokens.bin", "lengths.npy", "trained.npy", "records.npy", "store.json")


def record(number: int, *answers: str) -> dict[str, Any]:
    turns = [message for answer in answers for message in (QUESTION, {"role": "assistant", "content": answer})]
    return {"id": f"{number}/0", "messages": turns}


def some(count: int) -> list[dict[str, Any]]:
    return [record(at, *(f"{at} " * (at % 7 + 1) for _ in range(at % 3 + 1))) for at in range(count)]


def build(tmp_path: Path, records: Any, *, tokenizer: Any = None, pack_tokens: int = 200, **options: Any) -> Any:
    return build_token_store(
        records, tokenizer or make_tokenizer(), folder=tmp_path / "data", pack_tokens=pack_tokens, **options
    )


def test_an_example_is_what_tokenising_its_messages_gives(tmp_path: Path) -> None:
    records = some(40)
    store = build(tmp_path, records)
    expected = [example for one in records for example in examples_of(make_tokenizer(), one["messages"])]
    assert len(store) == len(expected)
    for at, example in enumerate(expected):
        found = store.example(at)
        assert (found.tokens.dtype, found.trained.dtype) == (np.int32, np.bool_)
        assert found.tokens.tolist() == list(example.tokens)
        assert found.trained.tolist() == list(example.trained)
        assert (store.lengths[at], store.trained[at]) == (len(example.tokens), sum(example.trained))
    assert store.counts == {
        "records": 40,
        "examples": 40,
        "overlong": 0,
        "untrained": 0,
        "tokens": sum(len(example.tokens) for example in expected),
        "trained_tokens": sum(sum(example.trained) for example in expected),
    }
    assert store.largest_token == max(max(example.tokens) for example in expected)


def test_half_a_surrogate_pair_is_a_question_mark(tmp_path: Path) -> None:
    halved, plain = (build(tmp_path / name, [record(0, f"A{one}")]) for name, one in (("a", "\ud83d"), ("b", "?")))
    np.testing.assert_array_equal(halved.example(0).tokens, plain.example(0).tokens)


def test_examples_know_their_record(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("klear_train.tokens.build.BATCH_RECORDS", 2)
    records = [record(0, "x" * 500), record(1, "A"), record(2, "A", "B"), record(3, "A"), record(4, "A")]
    tokenizer = styles.tokenizer_of(styles.QWEN3)  # history without thinking: an example a turn
    store = build(tmp_path, records, tokenizer=tokenizer)
    assert store.records.tolist() == [1, 2, 2, 3, 4]


def test_a_store_opened_again_is_the_one_that_was_built(tmp_path: Path) -> None:
    built, opened = build(tmp_path, some(20)), open_token_store(tmp_path / "data")
    assert (opened.counts, opened.origin, opened.largest_token) == (built.counts, built.origin, built.largest_token)
    for at in range(20):
        np.testing.assert_array_equal(opened.example(at).tokens, built.example(at).tokens)
        np.testing.assert_array_equal(opened.example(at).trained, built.example(at).trained)


def test_any_number_of_processes_writes_the_same_bytes(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("klear_train.tokens.build.BATCH_RECORDS", 16)
    monkeypatch.setattr("klear_data.workers.in_order.__kwdefaults__", {"alone_s": 0.0})
    records = some(300)
    build(tmp_path / "1", records, jobs=1)
    build(tmp_path / "3", records, jobs=3)
    for name in FILES:
        one, three = ((tmp_path / jobs / "data" / name).read_bytes() for jobs in ("1", "3"))
        assert one == three, name


def test_what_a_worker_finds_wrong_ends_the_run_with_its_message(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("klear_train.tokens.build.BATCH_RECORDS", 16)
    monkeypatch.setattr("klear_data.workers.in_order.__kwdefaults__", {"alone_s": 0.0})
    records = [*some(100), {"id": "bad", "messages": [QUESTION]}, *some(100)]
    with pytest.raises(RecordError, match=r"^record bad: no assistant turn; expected"):
        build(tmp_path, records, jobs=2)
    assert list(tmp_path.iterdir()) == []


def test_over_long_examples_are_dropped_or_cut_and_counted(tmp_path: Path) -> None:
    long_prompt = {
        "id": "p",
        "messages": [{"role": "user", "content": "x" * 400}, {"role": "assistant", "content": "A"}],
    }
    records = [record(0, "x" * 500), record(1, "A"), long_prompt]
    dropped = build(tmp_path / "drop", records)
    assert (len(dropped), dropped.counts["overlong"], dropped.counts["untrained"]) == (1, 2, 0)
    cut = build(tmp_path / "cut", records, overlong="cut")
    assert (len(cut), cut.counts["overlong"], cut.counts["untrained"]) == (2, 2, 1)
    assert cut.lengths.tolist() == [200, dropped.lengths[0]]
    assert bool(cut.example(0).trained[-1])


def test_the_first_token_is_never_trained(tmp_path: Path) -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{% for m in messages %}{{ m['content'] }}{% endfor %}"
    store = build(tmp_path, [{"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "AB"}]}],
                  tokenizer=tokenizer)  # fmt: skip
    assert store.example(0).trained.tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no records; expected the output of `klear format sft`"),
        ([{"id": "a", "messages": [QUESTION]}], "record a: no assistant turn"),
        ([{"id": "a", "prompt": []}], "record a: key 'messages' is not a list of chat messages"),
        ([{"messages": [{"role": "assistant", "content": "A"}, QUESTION]}], "record 1: the assistant speaks first"),
        ([record(0, "x" * 500)], "all 1 records are longer than pack_tokens = 200"),
    ],
)
def test_data_that_can_t_be_trained_on_is_one_clear_error(tmp_path: Path, records, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        build(tmp_path, records)
    assert list(tmp_path.iterdir()) == []


def test_the_record_that_a_template_refuses_is_named(tmp_path: Path) -> None:
    refused = {"id": "sys", "messages": [{"role": "system", "content": "S"}, *record(0, "A")["messages"]]}
    with pytest.raises(RecordError, match=r"record sys: the chat template refuses its messages \(only user"):
        build(tmp_path, [record(0, "A"), refused], tokenizer=styles.tokenizer_of(styles.MISTRAL))


def test_a_store_of_the_same_data_is_used_again(tmp_path: Path) -> None:
    before = build(tmp_path, some(20))
    place = (tmp_path / "data" / "tokens.bin").stat()
    after = build(tmp_path, some(20), reuse=True)
    assert (tmp_path / "data" / "tokens.bin").stat() == place
    assert after.origin == before.origin


@pytest.mark.parametrize(
    ("records", "options", "message"),
    [
        ([*some(19), record(19, "another")], {}, "tokenised from other data"),
        (some(19), {}, "tokenised from other data"),
        (some(20), {"pack_tokens": 100}, "another tokenizer, template or settings"),
        (some(20), {"overlong": "cut"}, "another tokenizer, template or settings"),
        (some(20), {"tokenizer": styles.tokenizer_of(styles.PHI3)}, "another tokenizer, template or settings"),
    ],
    ids=["a record", "fewer", "length", "cut", "tokenizer"],
)
def test_a_store_of_something_else_is_refused(tmp_path: Path, records, options, message: str) -> None:
    build(tmp_path, some(20))
    with pytest.raises(UsageError, match=message):
        build(tmp_path, records, reuse=True, **options)


def test_another_template_is_another_origin(tmp_path: Path) -> None:
    build(tmp_path, some(20))
    tokenizer = make_tokenizer()
    tokenizer.chat_template = "{{ 'x' }}" + tokenizer.chat_template
    with pytest.raises(UsageError, match="another tokenizer, template or settings"):
        build(tmp_path, some(20), reuse=True, tokenizer=tokenizer)


def unread() -> Iterator[dict[str, Any]]:
    raise AssertionError("the records were read")
    yield


def test_a_stamp_spares_reading_the_data_again(tmp_path: Path) -> None:
    file = tmp_path / "sft.jsonl"
    file.write_text("{}\n")
    build(tmp_path, some(5), stamp=file_stamp(file))
    assert len(build(tmp_path, unread(), reuse=True, stamp=file_stamp(file))) == 5
    file.write_text("{} \n")
    with pytest.raises(AssertionError, match="were read"):
        build(tmp_path, unread(), reuse=True, stamp=file_stamp(file))
    assert len(build(tmp_path, some(5), reuse=True, stamp=file_stamp(file))) == 5


def test_a_pipe_has_no_stamp() -> None:
    assert file_stamp("-") is None


def test_a_build_that_breaks_off_leaves_what_was_there(tmp_path: Path) -> None:
    def breaking() -> Iterator[dict[str, Any]]:
        yield from some(2000)
        raise RecordError("sft.jsonl:2001: cut")

    with pytest.raises(RecordError, match="2001"):
        build(tmp_path, breaking())
    assert list(tmp_path.iterdir()) == []
    build(tmp_path, some(3))
    with pytest.raises(RecordError, match="2001"):
        build(tmp_path, breaking())
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert len(open_token_store(tmp_path / "data")) == 3


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_store_is_said_to_be_one(tmp_path: Path, name: str) -> None:
    build(tmp_path, some(5))
    file = tmp_path / "data" / name
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2 // 4 * 4])
    with pytest.raises(UsageError, match="no token store that can be read"):
        open_token_store(tmp_path / "data")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full")
def test_a_full_disk_is_said(tmp_path: Path, monkeypatch) -> None:
    original = Path.open
    monkeypatch.setattr(
        Path, "open", lambda self, *a: original(Path("/dev/full") if self.name == "tokens.bin" else self, *a)
    )
    with pytest.raises(UsageError, match=r"can't be written .*space left.*free some space"):
        build(tmp_path, some(5))


def test_ids_beyond_the_model_s_vocabulary_are_refused(tmp_path: Path) -> None:
    store = build(tmp_path, some(3))
    check_vocabulary(store, store.largest_token + 1)
    with pytest.raises(UsageError, match=rf"holds token {store.largest_token}, the model embeds 100"):
        check_vocabulary(store, 100)


MEASURE = """
import resource, sys
from tokenizers import pre_tokenizers
from klear_train.tiny import make_tokenizer
from klear_train.tokens import build_token_store
tokenizer, count = make_tokenizer(), int(sys.argv[2])
tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # words: faster
answer = " a long answer" * 40
records = ({"id": str(at), "messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": answer}]}
           for at in range(count))
store = build_token_store(records, tokenizer, folder=sys.argv[1], pack_tokens=1000, jobs=1)
assert len(store) == count
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


@pytest.mark.slow
def test_memory_does_not_grow_with_the_data(tmp_path: Path) -> None:
    """Five times the data is 17 MiB more of tokens: less than 8 MiB more of memory."""

    def peak_kib(count: int) -> int:
        run = subprocess.run(
            [sys.executable, "-c", MEASURE, str(tmp_path / str(count)), str(count)],
            capture_output=True, text=True, check=True, env={**os.environ, "TOKENIZERS_PARALLELISM": "false"},
        )  # fmt: skip
        return int(run.stdout)

    assert peak_kib(10_000) - peak_kib(2_000) < 8192
