"""``klear train sft`` as a shell runs it: dry runs, held-out loss, trackers, what it refuses."""

import json

import pytest

from tests.cli.conftest import lines, parsed

pytest.importorskip("torch")


def chats(count):
    return lines(
        {"id": f"{at}/0", "messages": [{"role": "user", "content": "Q"}, {"role": "assistant", "content": f"A{at}"}]}
        for at in range(count)
    )


@pytest.fixture
def folder(tmp_path):
    from klear_train.tiny import make_tiny_model

    make_tiny_model(tmp_path / "model", hidden_size=16, num_layers=1, num_heads=1, max_length=256)
    (tmp_path / "sft.jsonl").write_bytes(chats(40))
    return tmp_path


RUN = "OMP_NUM_THREADS=1 klear train sft --recipe tiny-sft --model model"


def test_a_dry_run_prints_on_stdout_and_leaves_nothing(shell, folder):
    before = sorted(folder.iterdir())
    done = shell(f"{RUN} --data sft.jsonl --dry-run --devices 2")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    for part in ("pack_tokens = 160", "parameters", "each of 2 devices", "40 records", "rows of 160", "⟦A"):
        assert part in text
    assert sorted(folder.iterdir()) == before


def test_held_out_loss_is_measured_before_during_and_after(shell, folder):
    (folder / "heldout.jsonl").write_bytes(chats(5))
    done = shell(
        f"{RUN} --data sft.jsonl --out run --validation heldout.jsonl --set max_steps=4 --set rows_per_step=1 "
        "--set rows_per_micro_batch=1 --set validation.every=2 -q"
    )
    assert done.returncode == 0, done.stderr
    rows = parsed((folder / "run" / "metrics.jsonl").read_bytes())
    assert [row["step"] for row in rows if "validation_loss" in row] == [0, 2, 4]
    assert json.loads((folder / "run" / "data" / "store.json").read_text())["counts"]["records"] == 40
    again = shell(f"{RUN} --data other.jsonl --out run --set max_steps=4 --set rows_per_step=1 "
                  "--set rows_per_micro_batch=1 --set validation.every=2 --resume", stdin=b"")  # fmt: skip
    assert again.returncode == 2
    assert b"other.jsonl" in again.stderr


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        ("--data sft.jsonl", 2, "no folder for the run; expected --out DIR, or --dry-run"),
        ("--data - --validation - --out run", 2, "stdin is named for two inputs"),
        ("--data /dev/null --dry-run", 3, "no records; expected the output of `klear format sft`"),
        ("--data sft.jsonl --out run --set track.to=wandb", 4, "pip install 'klear-reasoner[wandb]'"),
        ("--data sft.jsonl --out run --set track.to=mlflow", 2, "track.to = 'mlflow' won't do"),
    ],
)
def test_what_can_t_be_run_is_one_line_and_leaves_no_run(shell, folder, options, code, message):
    done = shell(f"{RUN} {options}", stdin=b"")
    assert (done.returncode, done.stdout) == (code, b"")
    assert message in done.stderr.decode()
    assert not (folder / "run" / "metrics.jsonl").exists()
