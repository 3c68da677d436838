"""The whole chain through the real commands on a model made on the spot, small enough for every test run."""

import json
import os
import shlex
import signal
import subprocess
import time

import pytest

from cli.demo import chain
from cli.main import main
from klear_data.toy import Planted, write_toy
from tests.cli.conftest import BIN, lines, parsed
from tests.cli.test_help import help_of, own_options

pytest.importorskip("torch")


@pytest.fixture(scope="module")
def workshop(tmp_path_factory):
    """A folder with raw toy problems and a tiny model."""
    from klear_train.tiny import make_tiny_model

    folder = tmp_path_factory.mktemp("workshop")
    write_toy(folder, seed=1, n_math=24, n_code=16, n_heldout=8, planted=Planted(duplicates=2, leaks=2, broken=2))
    make_tiny_model(folder / "model", seed=1)
    return folder


def klear(folder, line, *, check=True):
    environment = {**os.environ, "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        ["bash", "-o", "pipefail", "-c", line], capture_output=True, cwd=folder, env=environment, check=False
    )
    if check:
        assert result.returncode == 0, result.stderr.decode()
    return result


@pytest.fixture(scope="module")
def curated(workshop):
    klear(
        workshop,
        "klear curate --sources raw/math.jsonl,raw/code.jsonl --decontaminate heldout/math.jsonl,heldout/code.jsonl "
        "--on edited=off,variant=off,code=off,paraphrase=off --min-tests 16 "
        "--quarantine bad.jsonl --report curate.json -o curated.jsonl",
    )
    klear(workshop, "head -n 8 curated.jsonl > few.jsonl")
    return workshop / "curated.jsonl"


def test_curation_finds_exactly_what_was_planted(curated, workshop):
    report = json.loads((workshop / "curate.json").read_text())
    assert report["dropped"] == {"duplicate": 4, "contaminated": 4}
    assert (report["in"], report["out"], report["quarantined"]) == (24 + 16 + 12, 40, 4)


def test_the_chain_runs_from_raw_files_to_a_model_trained_by_rl(curated, workshop):
    klear(
        workshop,
        "klear reward-math curated.jsonl | klear reward-code | klear label -o labelled.jsonl && "
        "klear format sft labelled.jsonl -o sft.jsonl && "
        "klear train sft --recipe tiny-sft --data sft.jsonl --model model --out sft --set max_steps=3 && "
        "klear sample curated.jsonl --model sft/final --n 2 --max-tokens 24 | klear reward-math | klear reward-code | "
        "klear label -o own.jsonl && klear format rl own.jsonl --keep all --without-rollouts -o rl.jsonl && "
        "klear train rl --recipe tiny-rl --data rl.jsonl --model sft/final --out rl --set steps=2 "
        "--set rollout.max_tokens=24 --set rollout.prompts_per_step=4 --set rollout.n=4 --set nothing=1",
        check=False,
    )
    labelled = parsed((workshop / "labelled.jsonl").read_bytes())
    assert {record["ability"] for record in labelled} == {"math", "code"}
    assert {rollout["verdict"] for record in labelled for rollout in record["rollouts"]} >= {"AC", "WA"}
    assert not (workshop / "rl").exists()  # the unknown key above stops before anything is done
    klear(
        workshop,
        "klear train rl --recipe tiny-rl --data rl.jsonl --model sft/final --out rl --set steps=2 "
        "--set rollout.max_tokens=24 --set rollout.prompts_per_step=4 --set rollout.n=4",
    )
    for run in ("sft", "rl"):
        for name in ("config.toml", "versions.json", "metrics.jsonl", "final/config.json", "final/model.safetensors"):
            assert (workshop / run / name).is_file(), f"{run}/{name}"
    own = parsed((workshop / "own.jsonl").read_bytes())
    assert all(len(record["rollouts"]) == 2 and record["difficulty"]["scored"] == 2 for record in own)
    # What RL made loads and samples like any other model.
    final = klear(workshop, "klear sample curated.jsonl --model rl/final --n 1 --max-tokens 4 --limit 2")
    assert len(parsed(final.stdout)) == 2


SAMPLE = "klear sample curated.jsonl --model model --n 2 --max-tokens 12 --seed 3 --batch-size 4"
FEW = SAMPLE.replace("curated.jsonl", "few.jsonl")


def completions(data):
    return [[rollout["completion"] for rollout in record["rollouts"]] for record in parsed(data)]


def test_samples_depend_on_seed_and_record_only(curated, workshop):
    whole = parsed(klear(workshop, FEW).stdout)
    reverse = klear(workshop, f"tac few.jsonl | {FEW.replace('few.jsonl', '-').replace('size 4', 'size 16')}")
    by_id = {record["id"]: record for record in parsed(reverse.stdout)}
    for record in whole:
        ours, theirs = record["rollouts"], by_id[record["id"]]["rollouts"]
        assert [rollout["completion"] for rollout in ours] == [rollout["completion"] for rollout in theirs]
    other = parsed(klear(workshop, FEW.replace("--seed 3", "--seed 4")).stdout)
    assert [record["rollouts"] for record in other] != [record["rollouts"] for record in whole]


def test_append_adds_new_rollouts_behind_the_old_ones(curated, workshop):
    first = klear(workshop, f"{FEW} --limit 2").stdout
    (workshop / "first.jsonl").write_bytes(first)
    more = parsed(klear(workshop, FEW.replace("few.jsonl", "first.jsonl") + " --append").stdout)
    for before, after in zip(parsed(first), more, strict=True):
        assert [rollout["index"] for rollout in after["rollouts"]] == [0, 1, 2, 3]
        assert after["rollouts"][:2] == before["rollouts"]
        assert after["sampling"]["n"] == 4
        assert after["rollouts"][2:] != before["rollouts"]


def test_a_killed_run_resumes_without_gap_or_repeat(curated, workshop):
    line = f"{SAMPLE} --resume -o resumed.jsonl"
    process = subprocess.Popen(["bash", "-c", f"exec {BIN}/{line}"], cwd=workshop, stderr=subprocess.DEVNULL)
    partial = workshop / "resumed.jsonl.partial"
    deadline = time.monotonic() + 60
    while (not partial.exists() or partial.stat().st_size == 0) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial.exists()
    with partial.open("ab") as file:
        file.write(b'{"schema": "klear/1", "id": "half-wri')  # as a kill in the middle of a write leaves it
    assert b"kept from before" in klear(workshop, line).stderr
    assert not partial.exists()
    assert completions((workshop / "resumed.jsonl").read_bytes()) == completions(klear(workshop, SAMPLE).stdout)


def test_resuming_with_other_settings_is_refused(curated, workshop):
    finished = {"id": "0" * 16, "sampling": {"model": "model", "seed": 4}, "rollouts": []}
    (workshop / "other.jsonl.partial").write_bytes(lines([finished]))
    result = klear(workshop, f"{SAMPLE} --resume -o other.jsonl", check=False)
    assert result.returncode == 2
    assert b"other.jsonl.partial" in result.stderr


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("klear sample curated.jsonl --model nowhere/at/all", 2, "nowhere/at/all"),
        ("klear sample curated.jsonl --model raw", 2, "config.json"),
        ("klear sample curated.jsonl --model mistyped", 2, "mistyped: this is no folder"),
        ("klear sample curated.jsonl --model model --n 0", 2, "--n"),
        ("klear sample curated.jsonl --model model --resume", 2, ".jsonl file with --resume"),
        ("klear train sft --data curated.jsonl --model model --out x", 2, "tiny-sft"),
        ("klear train sft --recipe tiny --data curated.jsonl --model model --out x", 2, "tiny-sft"),
        ("klear train sft --recipe tiny-sft --data curated.jsonl --out x", 2, "--model"),
        ("klear train sft --recipe tiny-sft --data curated.jsonl --model model --out x", 3, "klear format sft"),
        ("klear train sft --recipe tiny-sft --data none.jsonl --model model --out x", 2, "none.jsonl"),
        ("klear train sft --recipe tiny-sft --data curated.jsonl --model raw --out x", 2, "raw"),
        ("klear train sft --recipe tiny-sft --data curated.jsonl --model model --out x --set optim.lrr=1", 2,
         "optim.lr"),
        ("klear train rl --recipe tiny-rl --data /dev/null --model model --out x", 3, "no records"),
        ("klear train rl --recipe tiny-rl --data raw/math.jsonl --model model --out x", 3, "raw/math.jsonl:"),
    ],
)  # fmt: skip
def test_wrong_input_stops_before_time_is_spent(curated, workshop, line, code, said, monkeypatch, capfd):
    # In this process, through the same boundary: thirteen more imports of torch would take a minute.
    monkeypatch.chdir(workshop)
    monkeypatch.setattr("sys.argv", shlex.split(line))
    with pytest.raises(SystemExit) as left:
        main()
    error = capfd.readouterr().err
    assert (left.value.code, "Traceback" in error) == (code, False), error
    assert said in error


def test_a_missing_extra_names_the_command_that_installs_it(curated, workshop):
    program = (
        "import importlib.util as u, sys\nfind = u.find_spec\n"
        "u.find_spec = lambda name, *rest: None if name == 'torch' else find(name, *rest)\n"
        "sys.argv = ['klear', 'sample', 'curated.jsonl', '--model', 'model']\n"
        "from cli.main import main\nmain()\n"
    )
    result = subprocess.run([BIN / "python", "-c", program], capture_output=True, cwd=workshop, check=False)
    assert result.returncode == 4
    assert b"pip install 'klear-reasoner[train]'" in result.stderr


def test_every_line_of_the_demo_can_be_typed():
    for step in chain(seed=0):
        for part in step.command.replace("(", ";").replace(")", ";").replace("|", ";").split(";"):
            for owner, option in own_options(part):
                assert option in help_of(owner), f"{step.name}: {option}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_demo_raises_both_accuracies(tmp_path):
    klear(tmp_path, "klear demo d --seed 1")
    summary = json.loads((tmp_path / "d" / "summary.json").read_text())
    assert summary["accuracy"]["math"]["after"] - summary["accuracy"]["math"]["before"] >= 0.15
    assert summary["accuracy"]["code"]["gain_ci95"][0] > 0
    assert summary["curate"]["dropped"] == {"duplicate": 48, "contaminated": 24}
    assert summary["seconds"]["total"] > 0
