"""Exports in the packages they are for: verl's two data sets and TRL's two trainers.

Neither package is among klear's own needs: the tests run where they are installed.
"""

import json

import pytest

from klear_data.export.parquet import ExportSink

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

    from klear_data.reward.hooks import compute_score

    path = export(tmp_path / "rl.parquet", PROBLEMS[:1], "rl", "verl")
    config = OmegaConf.create({"cache_dir": str(tmp_path / "cache"), "filter_overlong_prompts": False})
    row = RLHFDataset([path], tokenizer, config)[0]
    found = compute_score(
        row["data_source"], r"<think></think>\boxed{1}", row["reward_model"]["ground_truth"], row["extra_info"]
    )
    assert (found["score"], found["verdict"]) == (1.0, "AC")


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

    from klear_data.reward.hooks import trl_math_reward

    path = export(tmp_path / "rl.parquet", PROBLEMS, "rl", "trl")
    rows = datasets.load_dataset("parquet", data_files=path, cache_dir=str(tmp_path / "cache"))["train"]
    rows = rows.filter(lambda row: row["ability"] == "math")
    judge, seen = trl_math_reward(), []

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
