"""`klear select`: what is chosen keeps order and bytes, what is not has its reason, and bad input says so."""

import json

import numpy as np
import pytest

from tests.cli.conftest import judged, lines, parsed


def records(count, *, source="made-up"):
    words = ["apples", "boats", "cubes", "drums", "eggs", "forks", "goats"]
    return [
        judged(
            number,
            data_source=source,
            prompt=[
                {"role": "user", "content": f"{words[number % 7]} and {words[number * 3 % 5]} {words[number % 4]}?"}
            ],
        )
        for number in range(count)
    ]


def test_chosen_records_keep_their_order_and_their_bytes(shell, tmp_path):
    spaced = b"".join(
        json.dumps(record, indent=None, separators=(" , ", " : ")).encode() + b"\n" for record in records(40)
    )
    (tmp_path / "in.jsonl").write_bytes(spaced)
    result = shell("klear select in.jsonl --k 12 --rejects rest.jsonl --report report.json")
    assert result.returncode == 0, result.stderr
    came = spaced.splitlines()
    places = [came.index(line) for line in result.stdout.splitlines()]
    assert len(places) == 12
    assert places == sorted(places)
    rest = parsed((tmp_path / "rest.jsonl").read_bytes())
    assert len(rest) == 28
    assert {one["rejected"]["reason"] for one in rest} == {"not_selected"}
    why = rest[0]["rejected"]
    nearest = came[int(why["nearest"].rpartition(":")[2]) - 1]
    assert nearest in result.stdout.splitlines()
    assert why["distance"] <= json.loads((tmp_path / "report.json").read_text())["radius"]
    assert b"in 40  out 12  dropped 28" in result.stderr


def test_a_larger_k_chooses_what_a_smaller_chose_and_more(shell):
    few, more = (parsed(shell(f"klear select -q --k {k}", stdin=lines(records(40))).stdout) for k in (5, 12))
    assert {one["id"] for one in few} < {one["id"] for one in more}


def test_strata_get_their_share(shell, tmp_path):
    data = lines([*records(30, source="a"), *records(10, source="b")])
    for options, expected in (("", (6, 2)), ("--quota equal", (4, 4)), ("--method random", (6, 2))):
        result = shell(f"klear select --k 8 --stratify ability,data_source {options} --report r.json", stdin=data)
        report = json.loads((tmp_path / "r.json").read_text())
        assert report["strata"] == {"math/a": {"in": 30, "out": expected[0]}, "math/b": {"in": 10, "out": expected[1]}}
        assert [one["data_source"] for one in parsed(result.stdout)] == ["a"] * expected[0] + ["b"] * expected[1]


def test_a_warm_start_is_kept_away_from(shell, tmp_path):
    (tmp_path / "before.jsonl").write_bytes(lines(records(30)[:6]))
    result = shell("klear select --k 5 --warm-start before.jsonl --report r.json", stdin=lines(records(30)))
    assert result.returncode == 0, result.stderr
    assert {one["id"] for one in parsed(result.stdout)}.isdisjoint(one["id"] for one in records(30)[:6])
    assert json.loads((tmp_path / "r.json").read_text())["warm_start"] == 6


def test_vectors_from_a_file_decide(shell, tmp_path):
    np.save(tmp_path / "v.npy", np.array([[0.0], [10], [1], [4], [9]]))
    np.save(tmp_path / "w.npy", np.array([[0.0]]))
    run = "klear select -q --embeddings v.npy --warm-start w.npy --k 2"
    chosen = parsed(shell(run, stdin=lines(records(5))).stdout)
    assert [int(one["id"], 16) for one in chosen] == [1, 3]


def test_more_than_there_are_none_and_an_empty_input(shell):
    result = shell("klear select --k 9", stdin=lines(records(3)))
    assert parsed(result.stdout) == records(3)
    assert b"--k 9, but there are 3 records; all are kept" in result.stderr
    assert shell("klear select --k 0", stdin=lines(records(3))).stdout == b""
    empty = shell("klear select --k 3", stdin=b"")
    assert (empty.returncode, empty.stdout) == (0, b"")


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("", 2, "--k"),
        ("--k -1", 2, "--k"),
        ("--k 2 --embeddings bert", 2, "expected hashed"),
        ("--k 2 --embeddings v.npy", 3, "v.npy: 2 vectors for 3 records"),
        ("--k 2 --embeddings none.npy", 2, "none.npy: can't be read"),
        ("--k 2 --warm-start none.jsonl", 2, "none.jsonl: no such file"),
        ("--k 2 --warm-start empty.jsonl", 3, "no records in it"),
        ("--k 2 --warm-start raw.jsonl", 3, "raw.jsonl:1: no key 'schema'"),
        ("--k 2 --warm-start v.npy", 2, "expected vectors (.npy) for vectors"),
        ("--k 2 --embeddings three.npy --warm-start wide.npy", 2, "vectors of 2 dimensions; expected 1"),
        ("--k 2 --method random --warm-start v.npy", 2, "--method k-center"),
        ("--k 2 --warm-start -", 2, "stdin is named for two inputs"),
        ("--k 2 --stratify ability,data_sorce", 2, "data_sorce: no record has it"),
        ("--k 2 --stratify ''", 2, "--stratify: empty"),
        ("--k 2 --embeddings flat.npy", 2, "flat.npy: vectors of no dimension"),
    ],
)
def test_what_can_not_be_done_is_said(shell, tmp_path, options, code, said):
    np.save(tmp_path / "v.npy", np.zeros((2, 1)))
    np.save(tmp_path / "three.npy", np.zeros((3, 1)))
    np.save(tmp_path / "flat.npy", np.zeros((3, 0)))
    np.save(tmp_path / "wide.npy", np.zeros((3, 2)))
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "raw.jsonl").write_bytes(b'{"problem": "1+1?"}\n')
    result = shell(f"klear select {options}", stdin=lines(records(3)))
    assert result.returncode == code, result.stderr
    assert said in result.stderr.decode()
    assert b"Traceback" not in result.stderr


def test_bad_lines_are_quarantined_and_do_not_shift_the_vectors(shell, tmp_path):
    np.save(tmp_path / "v.npy", np.array([[0.0], [5], [1]]))
    good = lines(records(3)).splitlines(keepends=True)
    data = good[0] + b"{broken\n" + good[1] + b'{"schema": "other"}\n' + good[2]
    result = shell("klear select --embeddings v.npy --k 2 --quarantine bad.jsonl", stdin=data)
    assert result.returncode == 0, result.stderr
    assert good[1] in result.stdout
    assert [line["where"] for line in parsed((tmp_path / "bad.jsonl").read_bytes())] == ["<stdin>:2", "<stdin>:4"]
    assert shell("klear select --k 2", stdin=data).returncode == 3
