"""What the kernel reads from the bytes of a line is what a parser of JSON finds in it, or it leaves the line alone."""

import json
from itertools import pairwise

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from klear_data.curation.plain_lines.kernels import scan
from klear_data.filters import is_gold
from klear_data.records import plain_columns

RECORD = {
    "schema": "klear/1",
    "id": "74a9ccb79e9c832d",
    "data_source": "toy",
    "ability": "math",
    "prompt": [{"role": "user", "content": 'Löse 数: $\\frac{x}{2}$ = "1"\n\tfor x.'}],
    "reward_model": {"style": "rule", "ground_truth": "\\frac12"},
    "extra_info": {"index": 3, "x": [True, False, None, -0.5, {"y": []}, {}], "z": "a/b"},
}
PLAIN = orjson.dumps(RECORD)
PIECES = [
    *(sign.encode() for sign in '{}[],:"\\01-\t\r\0\x7f é'),
    *rb'\u0041 \n 01 1.5 1. 1e9 1234567890123456 null nul "id": "curation":{}, "ability":"code",'.split(),
    *(b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xe0\x80\x80", b"\xf0\x9f\x98\x80", b"\xf4\x90\x80\x80", b"\xe6\x95"),
    b"{{" * 40,
]


def texts(data, ends):
    return [data[start:end] for start, end in pairwise([0, *ends])]


def read(lines):
    """``None`` for each line that is not plain, else prompt and source."""
    found = scan(lines)
    prompts = [text.tobytes().decode() for text in texts(found.prompts, found.prompt_ends)]
    columns = zip(prompts, found.sources, strict=True)
    return [next(columns) if plain else None for plain in found.plain]


def check(line, got):
    """What was read from a plain line is in it."""
    plain = plain_columns([orjson.loads(line)])
    assert plain is not None
    assert plain.abilities == {"math"}
    assert got == (plain.prompts[0], plain.sources[0])
    assert is_gold(plain.golds[0])
    assert len(got[0].strip()) > 1
    assert line.endswith(b"}")


@pytest.mark.parametrize("separators", [(",", ":"), (", ", ": "), (" ,\t", " : ")])
@pytest.mark.parametrize("order", [1, -1])
def test_records_are_plain_in_any_order_and_spacing(separators, order):
    line = json.dumps(dict(list(RECORD.items())[::order]), separators=separators, ensure_ascii=False).encode()
    (got,) = read([line])
    check(line, got)


@pytest.mark.parametrize(
    "change",
    [
        {"schema": "klear/2"},
        {"id": 7},
        {"ability": "code"},
        {"data_source": None},
        {"data_source": 'a"b'},
        {"prompt": []},
        {"prompt": [{"role": "user"}]},
        {"prompt": [{"role": "user", "content": 3}]},
        {"prompt": [{"role": "system", "content": "Solve it."}]},
        {"prompt": [{"role": "user", "content": " -\n"}]},
        {"prompt": [{"role": "user", "content": "\u3000\u3000é"}]},
        {"prompt": RECORD["prompt"] * 2},
        {"reward_model": {}},
        {"reward_model": "1"},
        {"reward_model": {"ground_truth": 1}},
        {"extra_info": []},
        {"curation": {"duplicates": 0}},
        {"rollouts": []},
        {"sampling": None},
    ],
)
def test_records_that_need_a_second_look_are_not_plain(change):
    line = orjson.dumps({**RECORD, **change})
    before, got, after = read([PLAIN, line, PLAIN])
    assert got is None
    check(PLAIN, before)
    check(PLAIN, after)


@pytest.mark.parametrize("name", sorted(RECORD))
def test_a_record_without_one_of_its_keys_is_plain_only_if_it_can_do_without(name):
    line = orjson.dumps({key: value for key, value in RECORD.items() if key != name})
    assert (read([b'"', line])[1] is not None) == (name == "extra_info")


@pytest.mark.parametrize("gold", ["", "-", " NotFound", "x", "né" * 20])
def test_golds_that_may_say_that_there_is_none_are_left_alone(gold):
    assert read([orjson.dumps({**RECORD, "reward_model": {"ground_truth": gold}})]) == [None]


def test_equal_golds_have_equal_hashes_and_others_do_not():
    golds = ["7", "7", "8", "\\frac12", "\\frac13", "77", "né" * 40]
    hashes = scan([orjson.dumps({**RECORD, "reward_model": {"ground_truth": gold}}) for gold in golds]).golds.tolist()
    assert [hashes.index(value) for value in hashes] == [0, 0, 2, 3, 4, 5, 6]
    assert 0 not in hashes


@given(st.lists(st.text(max_size=40), min_size=1, max_size=5))
def test_prompts_in_any_script_are_read_as_they_are(prompts):
    lines = [json.dumps({**RECORD, "prompt": [{"role": "user", "content": f"it {text}"}]}, ensure_ascii=False)
             for text in prompts if text.isprintable()]  # fmt: skip
    for line, got in zip(lines, read([line.encode() for line in lines]), strict=True):
        check(line.encode(), got)


@settings(max_examples=1500, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(PLAIN)), st.integers(0, 3), st.sampled_from(PIECES)), min_size=1, max_size=3)
)
@example([(len(PLAIN), 0, b" ")])
@example([(0, 0, b" ")])
@example([(0, len(PLAIN), b'"')])
def test_a_line_that_was_tampered_with_is_read_as_a_parser_reads_it_or_not_at_all(edits):
    line = PLAIN
    for place, removed, piece in edits:
        line = line[:place] + piece + line[place + removed :]
    if b"\n" in line or not line:
        return
    before, got, after = read([line, line, PLAIN])
    assert before == got
    check(PLAIN, after)
    if got is not None:
        check(line, got)
