from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from klear_data.toy import write_toy
from klear_train.config import load_config
from klear_train.tiny import make_tiny_model
from tests.klear_train.rl_runs import record


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


@pytest.fixture(scope="session")
def sometimes_right(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict[str, Any]]]:
    """A model that answers at random with one of a few boxes, so that some rollouts are right."""
    from klear_train.sft import run_sft

    answers = ["<think>a</think>\\boxed{1}", "<think>a</think>\\boxed{2}", "\\boxed{1}"]
    problems = [f"Say {n} or not?" for n in "abcdef"]
    data = [
        {"id": "x", "messages": [{"role": "user", "content": problem}, {"role": "assistant", "content": answer}]}
        for problem in problems
        for answer in answers
    ]
    settings = load_config(
        "sft", recipe="tiny-sft", overrides=[f"model.path={tiny_model}", "max_steps=100", "epochs=999"]
    )
    final = run_sft(settings, data, out_dir=tmp_path_factory.mktemp("sft") / "run", quiet=True).final
    return final, [record(problem, "1") for problem in problems]
