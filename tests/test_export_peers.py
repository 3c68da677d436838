"""Exports in the packages they are for: verl's two data sets and TRL's two trainers.

Neither package is among klear's own needs: the tests run where they are installed.
"""

import asyncio
import json

import pytest

from klear_data.export.parquet import ExportSink
from klear_data.reward import hooks

ADD = "<think></think>\n```python\nprint(sum(map(int, input().split())))\n```"
TESTS = json.dumps({"inputs": ["1 2\n" * 300_000], "outputs": ["3\n"]})


def problem(number, **keys):
    return {
        "schema": "klear/1",
        "id": f"{number:016x}",
        "data_source": "made-up",
        "ability": "math",
        "prompt": [{"role": "user", "content": f"{number} + 1?"}],
        "reward_model": {"style": "rule", "ground_truth": str(number + 1)},
        "extra_info": {"index": number, "split": "train"},
        **keys,
    }


PROBLEMS = [
    problem(0),
    problem(1, ability="code", reward_model={"ground_truth": TESTS}),
    problem(2, data_source=None, extra_info=None),
    problem(3, extra_info={"index": "three", "tags": ["a", 1]}),
]
SUM = problem(
    4, ability="code", reward_model={"ground_truth": json.dumps({"inputs": ["1 2", "0 2"], "outputs": ["3", "2"]})}
)
CONVERSATIONS = [
    {
        "schema": "klear-sft/1",
        "id": f"{number:016x}/0",
        "ability": "math",
        "messages": [
            {"role": "user", "content": f"{number} + 1?"},
            {"role": "assistant", "content": f"<think>\nadd\n</think>\n\n{number + 1}"},
        ],
        "verdict": "AC",
        "reward": 1.0,
    }
    for number in range(4)
]


def export(path, records, kind, target):
    with ExportSink(str(path), kind, target) as sink:
        for record in records:
            sink.write(record)
    return str(path)


@pytest.fixture(scope="module")
def model_dir(tmp_path_factory):
    from klear_train.tiny import make_tiny_model

    return str(make_tiny_model(tmp_path_factory.mktemp("model") / "tiny"))


@pytest.fixture(scope="module")
def tokenizer(model_dir):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(model_dir)


def test_verl_rl_data_set_takes_every_problem(tmp_path, tokenizer):
    pytest.importorskip("verl", reason="verl is not installed")
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset, collate_fn

    path = export(tmp_path / "rl.parquet", PROBLEMS, "rl", "verl")
    config = OmegaConf.create({"cache_dir": str(tmp_path / "cache"), "filter_overlong_prompts_workers": 1})
    rows = RLHFDataset([path], tokenizer, config)
    assert len(rows) == len(PROBLEMS), "none is filtered as a prompt that can't be read"
    batch = collate_fn([rows[at] for at in range(len(rows))])
    assert [list(one) for one in batch["raw_prompt"]] == [one["prompt"] for one in PROBLEMS]
    assert list(batch["data_source"]) == ["made-up", "made-up", "unknown", "made-up"]
    assert [one["ground_truth"] for one in batch["reward_model"]] == ["1", TESTS, "3", "4"]
    assert list(batch["index"]) == [0, 1, 2, 3]
    assert [one["id"] for one in batch["extra_info"]] == [one["id"] for one in PROBLEMS]


def test_klears_score_for_verl_takes_the_exported_columns(tmp_path, tokenizer):
    pytest.importorskip("verl", reason="verl is not installed")
    from omegaconf import OmegaConf
    from verl.utils.dataset.rl_dataset import RLHFDataset

    path = export(tmp_path / "rl.parquet", PROBLEMS[:1], "rl", "verl")
    config = OmegaConf.create({"cache_dir": str(tmp_path / "cache"), "filter_overlong_prompts": False})
    row = RLHFDataset([path], tokenizer, config)[0]
    found = hooks.compute_score(
        row["data_source"], r"<think></think>\boxed{1}", row["reward_model"]["ground_truth"], row["extra_info"]
    )
    assert (found["score"], found["verdict"]) == (1.0, "AC")


def test_verl_s_reward_manager_scores_math_and_code_of_one_export(tmp_path, tokenizer):
    pytest.importorskip("verl", reason="verl is not installed")
    import numpy as np
    import torch
    from omegaconf import OmegaConf
    from verl import DataProto
    from verl.trainer.ppo.reward import load_reward_manager
    from verl.utils.dataset.rl_dataset import RLHFDataset

    path = export(tmp_path / "rl.parquet", [PROBLEMS[0], SUM], "rl", "verl")
    config = OmegaConf.create({"cache_dir": str(tmp_path / "cache"), "filter_overlong_prompts": False})
    rows = RLHFDataset([path], tokenizer, config)
    reward = {
        "custom_reward_function": {"path": hooks.__file__, "name": "compute_score", "reward_kwargs": {"jobs": 1}},
        "reward_manager": {"source": "register", "name": "naive"},
    }

    async def judge(at, said):
        ids = torch.tensor([tokenizer(said).input_ids])
        columns = {
            key: np.array([rows[at][key]], dtype=object) for key in ("data_source", "reward_model", "extra_info")
        }
        tensors = {"responses": ids, "attention_mask": torch.ones_like(ids)}
        manager = load_reward_manager(OmegaConf.create({"reward": reward}), tokenizer)
        return await manager.run_single(DataProto.from_dict(tensors=tensors, non_tensors=columns))

    said = [(0, r"<think></think>\boxed{1}"), (1, ADD), (1, ADD.replace("sum", "max"))]
    found = [asyncio.run(judge(*one)) for one in said]
    assert [one["reward_score"] for one in found] == [1.0, 1.0, 0.5]
    assert [one["reward_extra_info"]["verdict"] for one in found] == ["AC", "AC", "WA"]


def test_verl_sft_data_set_puts_the_loss_on_the_response(tmp_path, tokenizer):
    pytest.importorskip("verl", reason="verl is not installed")
    from verl.utils.dataset.multiturn_sft_dataset import MultiTurnSFTDataset

    path = export(tmp_path / "sft.parquet", CONVERSATIONS, "sft", "verl")
    rows = MultiTurnSFTDataset(path, tokenizer, {"max_length": 256, "truncation": "error"})
    assert len(rows) == len(CONVERSATIONS)
    for row, example in zip(rows, CONVERSATIONS, strict=True):
        trained = tokenizer.decode(row["input_ids"][row["loss_mask"].bool()])
        assert example["messages"][1]["content"] in trained
        assert example["messages"][0]["content"] not in trained


def test_trl_grpo_trains_a_step_on_an_export(tmp_path, model_dir):
    trl = pytest.importorskip("trl", reason="trl is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    from trl.rewards import accuracy_reward

    path = export(tmp_path / "rl.parquet", PROBLEMS, "rl", "trl")
    rows = datasets.load_dataset("parquet", data_files=path, cache_dir=str(tmp_path / "cache"))["train"]
    rows = rows.filter(lambda row: row["ability"] == "math")
    judge, seen = hooks.trl_math_reward(), []

    def klear_math(completions, **columns):
        seen.extend(gold["ground_truth"] for gold in columns["reward_model"])
        return judge(completions, **columns)

    trl.GRPOTrainer(
        model=model_dir, reward_funcs=[klear_math, accuracy_reward],
        args=trl.GRPOConfig(
            output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=6, num_generations=2,
            max_completion_length=8, use_cpu=True, report_to=[], save_strategy="no",
        ),
        train_dataset=rows,
    ).train()  # fmt: skip
    assert sorted(seen) == ["1", "1", "3", "3", "4", "4"]


def test_trl_grpo_trains_a_step_on_math_and_code_of_one_export(tmp_path, model_dir):
    trl = pytest.importorskip("trl", reason="trl is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    path = export(tmp_path / "rl.parquet", [PROBLEMS[0], SUM], "rl", "trl")
    rows = datasets.load_dataset("parquet", data_files=path, cache_dir=str(tmp_path / "cache"))["train"]
    said = {
        "math": [r"<think></think>\boxed{1}", r"<think></think>\boxed{2}"],
        "code": [ADD, ADD.replace("sum", "max")],
    }
    judge, seen = hooks.trl_reward(), []

    def klear(completions, **columns):
        # What an untrained model writes is worth nothing: the rewards are those of answers written by hand.
        texts = [said[ability][at % 2] for at, ability in enumerate(columns["ability"])]
        seen.extend(zip(columns["ability"], judge(texts, **columns), strict=True))
        return [reward for _, reward in seen]

    trainer = trl.GRPOTrainer(
        model=model_dir, reward_funcs=klear,
        args=trl.GRPOConfig(
            output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, num_generations=2,
            max_completion_length=8, use_cpu=True, report_to=[], save_strategy="no", logging_steps=1,
        ),
        train_dataset=rows,
    )  # fmt: skip
    trainer.train()
    assert sorted(seen) == [("code", 0.5), ("code", 1.0), ("math", -1.0), ("math", 1.0)]
    (logged,) = [line for line in trainer.state.log_history if "klear/unscored" in line]
    assert (logged["reward"], logged["klear/unscored"]) == (pytest.approx(0.375), 0.0)


def test_trl_own_reward_reads_the_solution_column(tmp_path):
    pytest.importorskip("trl", reason="trl is not installed")
    from trl.rewards import accuracy_reward

    from klear_data.export.rows import rl_row

    golds = [rl_row(one, row_number=0, target="trl")["solution"] for one in PROBLEMS[:2]]
    said = [[{"role": "assistant", "content": "It is $\\boxed{1}$."}]] * 2
    assert accuracy_reward(said, golds) == [1.0, None]


def test_trl_sft_trains_a_step_on_an_export(tmp_path, model_dir):
    trl = pytest.importorskip("trl", reason="trl is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")

    path = export(tmp_path / "sft.parquet", CONVERSATIONS, "sft", "trl")
    rows = datasets.load_dataset("parquet", data_files=path, cache_dir=str(tmp_path / "cache"))["train"]
    done = trl.SFTTrainer(
        model=model_dir,
        args=trl.SFTConfig(
            output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, use_cpu=True, bf16=False,
            report_to=[], save_strategy="no",
        ),
        train_dataset=rows,
    ).train()  # fmt: skip
    assert done.training_loss > 0
