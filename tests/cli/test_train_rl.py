"""``klear train rl`` as a shell runs it: dry runs, and what is refused before time is spent."""

import pytest

from tests.cli.conftest import lines

pytest.importorskip("torch")
RUN = "OMP_NUM_THREADS=1 klear train rl --recipe tiny-rl --model model"


@pytest.fixture
def folder(tmp_path):
    from klear_train.tiny import make_tiny_model

    make_tiny_model(tmp_path / "model", hidden_size=16, num_layers=1, num_heads=1, max_length=256)
    (tmp_path / "rl.jsonl").write_bytes(
        lines(
            {
                "schema": "klear/1", "id": f"{at:016x}", "ability": "math",
                "prompt": [{"role": "user", "content": f"Question {at}"}],
                "reward_model": {"style": "rule", "ground_truth": "1"},
            }
            for at in range(40)
        )
    )  # fmt: skip
    return tmp_path


def test_a_dry_run_prints_on_stdout_and_leaves_nothing(shell, folder):
    before = sorted(folder.iterdir())
    done = shell(f"{RUN} --data rl.jsonl --dry-run --devices 2 --set epochs=2 --set loss.kl_weight=0.1")
    assert done.returncode == 0, done.stderr
    text = done.stdout.decode()
    for part in (
        "prompts_per_minibatch = 4", "parameters", "each of 2 devices", "a copy of the weights", "the reference",
        "40 records (40 math)", "45, 3 of them an epoch", "16 prompts x 8 rollouts of at most 128 tokens, 8 updates",
        "warning      epochs = 2 with gppo", "<|user|>Question",
    ):  # fmt: skip
        assert part in text, part
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("--data rl.jsonl", "no folder for the run; expected --out DIR, or --dry-run"),
        ("--data rl.jsonl --dry-run --set rollout.overlong_buffer=999", "rollout.overlong_buffer = 999"),
        ("--data - --eval-data - --out run", "stdin is named for two inputs"),
    ],
)
def test_what_can_t_be_is_refused_in_a_line(shell, folder, options, message):
    done = shell(f"{RUN} {options}", stdin=b"")
    assert done.returncode == 2
    assert message in done.stderr.decode()
    assert len(done.stderr.decode().strip().splitlines()) == 1


def test_several_processes_can_t_share_stdin(shell, folder):
    done = shell(f"WORLD_SIZE=2 RANK=0 {RUN} --data - --out run", stdin=b"")
    assert done.returncode == 2
    assert b"2 processes can't share stdin; expected a file" in done.stderr
    assert not (folder / "run").exists()
