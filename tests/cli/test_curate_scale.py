"""`klear curate` at scale: the same result however the work is cut, kept, or stopped."""

import json
import os
import random
import signal
import subprocess
import time

import pytest

from tests.cli.conftest import BIN, judged, lines, parsed

WORDS = [
    "tom",
    "anna",
    "has",
    "had",
    "red",
    "green",
    "apples",
    "pears",
    "buys",
    "sells",
    "nine",
    "two",
    "box",
    "boxes",
    "how",
    "many",
    "left",
    "in",
    "all",
    "day",
]
LEAK = "a farmer has nine brown cows and sells two of them to his old neighbour"


def problem(rng):
    """A row in one of the forms that files hold, often one that was there before."""
    text = " ".join(rng.choice(WORDS) for _ in range(rng.choice([2, 3, 12])))
    text = rng.choice([text, text.upper(), f"{text}.  {LEAK}", LEAK, "p"])
    answer = rng.choice(["1", "2", "1", "1", None])
    row = {"problem": text, "answer": answer, "domain": "math", "response": rng.choice([None, "r", "s"])}
    if rng.random() < 0.5:
        gold = {"style": "rule", "ground_truth": answer or ""}
        prompt = [{"role": "user", "content": text}]
        row = {"schema": "klear/1", "id": "x", "data_source": "s", "ability": "math", "prompt": prompt}
        row = {**row, "reward_model": gold, "mine": 10**25, **rng.choice([{}, {}, {"curation": {"duplicates": 1}}])}
    return json.dumps(row, separators=rng.choice([(",", ":"), (", ", ": ")]))


@pytest.fixture(scope="module")
def rows():
    rng = random.Random(0)
    found = [
        problem(rng) if rng.random() > 0.03 else rng.choice(["", '{"a":', '{"colour": "red"}']) for _ in range(4000)
    ]
    return "\n".join(found) + "\n"


VERBATIM = "--on variant=off,paraphrase=off,code=off,edited=off"
OPTIONS = "--decontaminate bench.jsonl --quarantine bad.jsonl"


@pytest.fixture
def files(tmp_path, rows):
    (tmp_path / "in.jsonl").write_text(rows)
    (tmp_path / "bench.jsonl").write_text(json.dumps({"problem": LEAK, "answer": "7"}) + "\n")
    return tmp_path


def curate(shell, options):
    result = shell(f"klear curate --sources in.jsonl {OPTIONS} -q {options}")
    assert result.returncode == 0, result.stderr
    return result


def test_workers_shards_and_pipes_give_the_bytes_of_one_process(shell, files):
    curate(shell, "--jobs 1 -o whole.jsonl --rejects no.jsonl")
    curate(shell, "--jobs 3 -o jobs.jsonl")
    whole = (files / "whole.jsonl").read_bytes()
    assert len(parsed(whole)) > 500
    assert (files / "jobs.jsonl").read_bytes() == whole
    shell(f"cat in.jsonl | klear curate --sources - {OPTIONS} -q -o piped.jsonl")
    assert (files / "piped.jsonl").read_bytes().replace(b'"stdin"', b'"in"') == whole
    for part in (1, 2, 3):
        curate(shell, f"--shard {part}/3 -o part{part}.jsonl --rejects no{part}.jsonl --report r{part}.json")
    merged = shell("klear merge part2.jsonl part1.jsonl part3.jsonl")
    assert merged.stdout == whole
    assert shell("klear merge no1.jsonl no2.jsonl no3.jsonl").stdout == (files / "no.jsonl").read_bytes()
    reports = [json.loads((files / f"r{part}.json").read_text()) for part in (1, 2, 3)]
    assert sum(report["in"] for report in reports) == sum(
        bool(line) for line in (files / "in.jsonl").open("rb").read().split(b"\n")
    )


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ("p1.jsonl", "2/2"),
        ("p1.jsonl p1.jsonl", "each part once"),
        ("p1.jsonl other.jsonl", "of another run"),
        ("p1.jsonl in.jsonl", "no mark of a shard"),
        ("p1.jsonl no2.jsonl", "no2.jsonl: rejects, and p1.jsonl holds records"),
    ],
)
def test_parts_that_are_not_all_of_one_run_are_refused(shell, files, parts, said):
    curate(shell, "--no-check-gold --shard 1/2 -o p1.jsonl")
    curate(shell, "--no-check-gold --shard 2/2 --no-require-gold -o other.jsonl")
    curate(shell, "--no-check-gold --shard 2/2 -o p2.jsonl --rejects no2.jsonl")
    result = shell(f"klear merge {parts} -o out.jsonl")
    assert result.returncode == 2
    assert said in result.stderr.decode()
    assert not (files / "out.jsonl").exists()


def test_a_run_that_is_killed_goes_on_and_ends_the_same(shell, files, tmp_path):
    (files / "in.jsonl").write_bytes((files / "in.jsonl").read_bytes() * 8)
    curate(shell, "--no-check-gold -o whole.jsonl --rejects no.jsonl")
    command = [BIN / "klear", "curate", "--sources", "in.jsonl", *OPTIONS.split(), "-q", "--no-check-gold", "--resume"]
    command += ["-o", "out.jsonl", "--rejects", "no2.jsonl"]
    process = subprocess.Popen(command, cwd=tmp_path)
    journal = tmp_path / "out.jsonl.partial.journal"
    deadline = time.monotonic() + 60
    while not (journal.exists() and journal.read_bytes().count(b"\n") > 3) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert journal.read_bytes().count(b"\n") > 3
    refused = shell(f"klear curate --sources in.jsonl {OPTIONS} --resume -o out.jsonl")
    assert refused.returncode == 2
    assert b"other settings" in refused.stderr
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "out.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()
    assert (tmp_path / "no2.jsonl").read_bytes() == (tmp_path / "no.jsonl").read_bytes()
    assert not [name for name in os.listdir(tmp_path) if "partial" in name]


def test_another_input_is_not_gone_on_with(shell, files, tmp_path):
    (files / "in.jsonl").write_bytes((files / "in.jsonl").read_bytes() * 2 + b'{"a":\n')
    options = "--decontaminate bench.jsonl --no-check-gold --resume -o out.jsonl"
    assert (
        shell(
            "grep -v '^.*{\"a\":$' in.jsonl | grep -v colour > ok; cp ok in.jsonl; echo '{\"a\":' >> in.jsonl"
        ).returncode
        == 0
    )
    assert shell(f"klear curate --sources in.jsonl {options}").returncode == 3  # the last line is bad
    (tmp_path / "in.jsonl").write_bytes(b"{}" + (tmp_path / "in.jsonl").read_bytes())
    result = shell(f"klear curate --sources in.jsonl {options}")
    assert result.returncode == 2
    assert b"not what it was" in result.stderr


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(shell, files):
    (files / "in.jsonl").write_bytes((files / "in.jsonl").read_bytes() * 150)  # 100 MB
    result = shell(
        f"ulimit -v 700000; OPENBLAS_NUM_THREADS=1 klear curate --sources in.jsonl "
        f"{OPTIONS} -q --no-check-gold {VERBATIM} | tail -c 10"
    )
    assert result.returncode == 0, result.stderr


def test_near_is_exact_and_then_near(shell, files):
    near = [
        {"problem": f"tom has {n} red apples and gives two of them to anna, how many does he keep{end}?", "answer": "1"}
        for n in range(50)
        for end in ("", " now")
    ]
    (files / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in near))
    curate(shell, "--no-check-gold --dedup near -o near.jsonl")
    curate(shell, "--no-check-gold -o exact.jsonl")
    shell("klear curate --sources exact.jsonl --dedup near --decontaminate bench.jsonl --no-check-gold -o then.jsonl")
    assert (files / "then.jsonl").read_bytes() == (files / "near.jsonl").read_bytes()
    assert len(parsed((files / "near.jsonl").read_bytes())) == 50
    assert len(parsed((files / "exact.jsonl").read_bytes())) == 100


@pytest.mark.parametrize("command", ["reward-math", "reward-code --no-tests"])
def test_records_that_a_stage_leaves_alone_pass_byte_for_byte(shell, command):
    other = "code" if "math" in command else "math"
    record = {**judged(1, ability=other), "mine": [1.0, 10**25, "\u00e9"]}
    line = b"  " + json.dumps(dict(reversed(record.items())), indent=1).replace("\n", " ").encode() + b" \n"
    assert shell(f"klear {command} -q", stdin=line * 3).stdout == line * 3


def test_a_stage_that_dies_leaves_a_stream_that_the_next_one_refuses(shell):
    (line,) = lines([judged(1)]).splitlines()
    producer = "klear label -q < fifo & echo $! > pid; wait"
    made = (
        f"mkfifo fifo; ((printf '%s\\n%s\\n' '{line.decode()}' '{line.decode()}'; sleep 6) > fifo &) ; "
        f"({producer}) | (klear label -q -o out.jsonl; echo $? > rc) & "
        "sleep 4; kill -9 $(cat pid); wait; cat rc; ls out.jsonl"
    )
    result = shell(made)
    assert result.stdout.split()[0] == b"3"
    assert b"ends in the middle" in result.stderr
    assert b"out.jsonl\n" not in result.stdout
