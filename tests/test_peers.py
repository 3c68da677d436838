"""klear's rewards inside other people's processes: a Ray task, TRL's trainer, verl's way of loading.

Ray and TRL are not among klear's own needs: the tests run where they are installed.
"""

import importlib.util
import json
from pathlib import Path

import pytest

from klear_data.reward import hooks

PROGRAM = "<think></think>\n```python\nprint(sum(map(int, input().split())))\n```"
TESTS = json.dumps({"inputs": ["1 2\n", "40 2\n"], "outputs": ["3\n", "42\n"]})


def test_both_rewards_work_inside_a_ray_task():
    ray = pytest.importorskip("ray", reason="ray is not installed")
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:

        @ray.remote
        def judge():
            from klear_data.reward.code import CodeRewarder
            from klear_data.reward.math import MathRewarder

            with MathRewarder() as math, CodeRewarder() as code:
                return [
                    math.reward_one(r"\frac{\sqrt{8}}{2}", r"<think></think>\boxed{\sqrt 2}")["verdict"],
                    math.reward_one(r"\sin(x)^2+\cos(x)^2", r"<think></think>\boxed{1}")["verdict"],
                    math.reward_one("5", r"<think></think>\boxed{9^{9^{9^9}}}")["verdict"],
                    code.reward_one(TESTS, PROGRAM)["verdict"],
                    code.reward_one(TESTS, PROGRAM.replace("sum", "max"))["verdict"],
                    hooks.compute_score("x", PROGRAM, TESTS, {"ability": "code"})["verdict"],
                ]

        verdicts = ray.get(judge.remote(), timeout=120)
    finally:
        ray.shutdown()
    assert verdicts[0] == verdicts[1] == verdicts[3] == "AC"
    assert verdicts[2] != "AC"
    assert verdicts[4:] == ["WA", "AC"]


def test_trl_trains_a_step_on_the_math_reward(tmp_path):
    trl = pytest.importorskip("trl", reason="trl is not installed")
    datasets = pytest.importorskip("datasets", reason="datasets is not installed")
    from klear_train.tiny import make_tiny_model

    rows = [
        {"prompt": [{"role": "user", "content": f"{n}+1?"}], "reward_model": {"ground_truth": str(n + 1)}}
        for n in range(4)
    ]
    seen = []
    judge = hooks.trl_math_reward()

    def klear_math(completions, **columns):
        seen.append(judge(completions, **columns))
        return seen[-1]

    trl.GRPOTrainer(
        model=str(make_tiny_model(tmp_path / "model")),
        reward_funcs=klear_math,
        args=trl.GRPOConfig(
            output_dir=str(tmp_path / "out"), max_steps=1, per_device_train_batch_size=4, num_generations=4,
            max_completion_length=8, use_cpu=True, report_to=[], save_strategy="no",
        ),
        train_dataset=datasets.Dataset.from_list(rows),
    ).train()  # fmt: skip
    rewards = [reward for batch in seen for reward in batch]
    assert rewards
    assert set(rewards) <= {-1.0, 1.0}


def test_verl_finds_the_score_function_by_its_path():
    # verl's custom_reward_function.path: the file is loaded on its own, the function called by keywords.
    spec = importlib.util.spec_from_file_location("custom_module", Path(hooks.__file__))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = module.compute_score(
        data_source="x", solution_str=r"<think></think>\boxed{1/2}", ground_truth="0.5", extra_info={"index": 1}
    )
    assert (found["score"], found["verdict"]) == (1.0, "AC")
