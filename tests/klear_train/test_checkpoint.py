"""Checkpoints are whole or absent, whoever writes them and whatever happens to the one who does."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from klear_data.errors import KlearError, UsageError
from klear_train import distributed
from klear_train.checkpoint import Checkpoints, checkpoints, load_checkpoint, save_checkpoint
from klear_train.model import load_for_training, nll_sum
from klear_train.packing import Example, collate
from klear_train.settings import ModelSection
from klear_train.tiny import make_tiny_model


@pytest.fixture
def trained(tiny_model: Path) -> tuple[Any, Any]:
    """A model and its optimizer after a step."""
    model, _ = load_for_training(ModelSection(path=str(tiny_model)))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, fused=True)
    one_step(model, optimizer)
    return model, optimizer


def one_step(model: Any, optimizer: Any) -> None:
    nll_sum(model, collate([Example([5, 6, 7, 8], [False, True, True, True])])).backward()
    optimizer.step()
    optimizer.zero_grad()


def everything(model: Any, optimizer: Any) -> list[torch.Tensor]:
    moments = [
        value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)
    ]
    return [tensor.detach().clone() for tensor in [*model.state_dict().values(), *moments]]


def test_a_checkpoint_brings_back_weights_moments_and_random_numbers(trained, tiny_model, tmp_path: Path) -> None:
    model, optimizer = trained
    saved = save_checkpoint(tmp_path, step=3, model=model, optimizer=optimizer, position={"a": [1]}, keep_last=1)
    before, drawn = everything(model, optimizer), torch.rand(4)
    fresh, _ = load_for_training(ModelSection(path=str(tiny_model)))
    fresh_optimizer = torch.optim.AdamW(fresh.parameters(), lr=0.1, fused=True)
    assert load_checkpoint(saved, model=fresh, optimizer=fresh_optimizer) == (3, {"a": [1]})
    assert torch.equal(torch.rand(4), drawn)
    assert all(map(torch.equal, before, everything(fresh, fresh_optimizer)))
    for one, other in ((model, optimizer), (fresh, fresh_optimizer)):
        one_step(one, other)
    assert all(map(torch.equal, everything(model, optimizer), everything(fresh, fresh_optimizer)))


def test_what_is_written_beside_the_training_is_what_it_was_when_asked_for(trained, tmp_path: Path) -> None:
    model, optimizer = trained
    before = everything(model, optimizer)
    with distributed.start() as world, Checkpoints(tmp_path, world, keep_last=2) as saving:
        saving.save(1, model=model, optimizer=optimizer, position={})
        for _ in range(5):
            one_step(model, optimizer)
    load_checkpoint(tmp_path / "step_000001", model=model, optimizer=optimizer)
    assert all(map(torch.equal, before, everything(model, optimizer)))


def test_a_checkpoint_of_another_model_is_refused(trained, tmp_path: Path) -> None:
    model, optimizer = trained
    saved = save_checkpoint(tmp_path, step=3, model=model, optimizer=optimizer, position={}, keep_last=1)
    wider = make_tiny_model(tmp_path / "wider", hidden_size=64, num_layers=2, num_heads=2)
    other, _ = load_for_training(ModelSection(path=str(wider)))
    with pytest.raises(UsageError, match="the checkpoint is of another model"):
        load_checkpoint(saved, model=other, optimizer=torch.optim.AdamW(other.parameters()))


@pytest.mark.parametrize("name", ["position.json", "__0_0.distcp", ".metadata"])
def test_a_damaged_checkpoint_is_one_clear_error(trained, tmp_path: Path, name: str) -> None:
    model, optimizer = trained
    saved = save_checkpoint(tmp_path, step=3, model=model, optimizer=optimizer, position={}, keep_last=1)
    content = (saved / name).read_bytes()
    (saved / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(UsageError, match=r"step_000003: the checkpoint can't be read"):
        load_checkpoint(saved, model=model, optimizer=optimizer)


def test_only_the_last_checkpoints_are_kept(trained, tmp_path: Path) -> None:
    model, optimizer = trained
    with distributed.start() as world, Checkpoints(tmp_path, world, keep_last=2) as saving:
        for step in (9, 10, 11):
            saving.save(step, model=model, optimizer=optimizer, position={})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step_000010", "step_000011"]
    save_checkpoint(tmp_path, step=12, model=model, optimizer=optimizer, position={}, keep_last=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000012"]


def test_a_half_written_checkpoint_is_not_taken_for_one_and_goes(tmp_path: Path) -> None:
    (tmp_path / "step_000004").mkdir()
    (tmp_path / ".writing_000006").mkdir()
    (tmp_path / ".writing_000006" / "position.json").write_text("{}")
    assert checkpoints(tmp_path) == []
    with distributed.start() as world:
        Checkpoints(tmp_path, world, keep_last=1)
    assert [path.name for path in tmp_path.iterdir()] == ["step_000004"]


ON_A_FULL_DISK = """
import resource, sys
from pathlib import Path
import torch
from klear_train import distributed
from klear_train.checkpoint import Checkpoints
model = torch.nn.Linear(300, 300)
optimizer = torch.optim.AdamW(model.parameters())
folder, on_error = Path(sys.argv[1]), sys.argv[2]
with distributed.start() as world, Checkpoints(folder, world, keep_last=2, on_error=on_error) as saving:
    saving.save(1, model=model, optimizer=optimizer, position={})
    saving.finish()
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))  # no file may grow beyond it
    saving.save(2, model=model, optimizer=optimizer, position={})
    saving.finish()
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    saving.save(3, model=model, optimizer=optimizer, position={})
print(saving.failed)
"""


@pytest.mark.parametrize("on_error", ["continue", "stop"])
def test_a_disk_that_takes_no_more_is_said_and_training_goes_on_or_stops(tmp_path: Path, on_error: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", ON_A_FULL_DISK, str(tmp_path), on_error], capture_output=True, text=True, check=False
    )
    assert "step_000002: the checkpoint can't be written (it took only part of a file;" in run.stderr
    names = ["step_000001", "step_000003"] if on_error == "continue" else ["step_000001"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names, run.stderr
    assert run.returncode == (0 if on_error == "continue" else 1)
    assert run.stdout.strip() == ("1" if on_error == "continue" else "")


def test_a_folder_that_can_t_be_made_is_said(trained, tmp_path: Path, capsys) -> None:
    model, optimizer = trained
    (tmp_path / "file").write_text("")
    with distributed.start() as world:
        with Checkpoints(tmp_path / "file", world, keep_last=1) as saving:
            saving.save(1, model=model, optimizer=optimizer, position={})
        assert "can't be written (Not a directory;" in capsys.readouterr().err
        stopping = Checkpoints(tmp_path / "file", world, keep_last=1, on_error="stop")
        with pytest.raises(KlearError, match="Not a directory"):
            stopping.save(1, model=model, optimizer=optimizer, position={})
    with pytest.raises(UsageError, match="Not a directory"):
        save_checkpoint(tmp_path / "file", step=1, model=model, optimizer=optimizer, position={}, keep_last=1)
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
