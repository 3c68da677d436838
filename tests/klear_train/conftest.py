from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from klear_data.toy import write_toy
from klear_train.tiny import make_tiny_model


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """More threads of torch wait for each other on small tensors."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder small enough to train in a second."""
    folder = tmp_path_factory.mktemp("tiny") / "model"
    return make_tiny_model(folder, hidden_size=32, num_layers=2, num_heads=2, max_length=256)


@pytest.fixture(scope="session")
def toy_rows(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Toy problems of both abilities, without anything planted."""
    import json

    files = write_toy(tmp_path_factory.mktemp("toy"), n_math=40, n_code=40, n_heldout=30)
    return [json.loads(line) for path in files.heldout.values() for line in path.read_text().splitlines()]
