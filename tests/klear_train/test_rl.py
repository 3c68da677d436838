"""The RL loop on a tiny model, with the real math verifier and, once, the real sandbox."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from klear_data.errors import RecordError
from klear_data.generate.types import Completion, Sampled
from klear_data.text import content_id
from klear_train.config import load_config
from klear_train.metrics import LiveLine
from klear_train.model import load_for_training
from klear_train.packing import collate
from klear_train.policy_update import accumulate_gradient, micro_batches, trainable
from klear_train.preflight import that_fit, warnings_for
from klear_train.prompts import take
from klear_train.rl import run_rl
from klear_train.rollout import Group, Rollout, check_records, judge_group, make_judges
from klear_train.settings import LossSection, ModelSection, RewardSection, RLConfig


def record(problem: str, gold: str, ability: str = "math") -> dict[str, Any]:
    return {
        "schema": "klear/1",
        "id": content_id(problem),
        "ability": ability,
        "prompt": [{"role": "user", "content": problem}],
        "reward_model": {"style": "rule", "ground_truth": gold},
    }


def of_rows(rows: list[dict[str, Any]], ability: str) -> list[dict[str, Any]]:
    return [
        record(row["problem"], row["answer"] if ability == "math" else json.dumps(row["tests"]), ability)
        for row in rows
        if row["ability"] == ability
    ]


def config(model: Path, *overrides: str) -> RLConfig:
    small = ["rollout.prompts_per_step=4", "rollout.n=4", "prompts_per_minibatch=2", "rollout.max_tokens=24", "steps=4"]
    return load_config(
        "rl",
        recipe="tiny-rl",
        # A random model is never right: whether the tags are there is what it can be rewarded for.
        overrides=[f"model.path={model}", *small, "checkpoint.every=1", "save_rollouts_every=2", *overrides],
    )


@pytest.fixture(scope="module")
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


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return AutoModelForCausalLM.from_pretrained(folder).state_dict()


def test_reward_rises_with_the_real_verifier(sometimes_right, tmp_path: Path) -> None:
    model, records = sometimes_right
    settings = config(model, "steps=14", "rollout.n=8", "optim.lr=3e-3", "optim.warmup_steps=0", "evaluation.every=7")
    result = run_rl(settings, records, out_dir=tmp_path / "run", heldout=records[:3], quiet=True)
    before, *rows = metrics(tmp_path / "run")
    assert before.keys() == {"step", "eval_math", "eval_math_half_width"}
    first, last = (sum(row["accuracy"] for row in part) / 4 for part in (rows[:4], rows[-4:]))
    assert last > first + 0.2
    assert rows[0]["kl"] >= 0
    assert rows[6]["eval_math_half_width"] >= 0
    assert {"entropy", "loss", "grad_norm", "groups_kept", "unscored", "response_tokens"} <= rows[0].keys()
    assert result.final.is_dir()
    dumped = [json.loads(line) for line in (tmp_path / "run" / "rollouts.jsonl").read_text().splitlines()]
    assert dumped[0]["rollouts"][0].keys() >= {"completion", "reward", "verdict", "advantage"}


def test_a_resumed_run_ends_with_the_same_bits(sometimes_right, tmp_path: Path, monkeypatch) -> None:
    model, records = sometimes_right
    through, broken = tmp_path / "through", tmp_path / "broken"
    run_rl(config(model), records, out_dir=through, quiet=True)

    def killed_at_3(live: LiveLine, step: int, *_: Any, **__: Any) -> None:
        if step == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(LiveLine, "update", killed_at_3)
    with pytest.raises(KeyboardInterrupt):
        run_rl(config(model), records, out_dir=broken, quiet=True)
    monkeypatch.undo()
    run_rl(config(model), records, out_dir=broken, resume=True, quiet=True)
    for name, tensor in weights(through / "final").items():
        assert torch.equal(tensor, weights(broken / "final")[name]), name
    untimed = {"sample_s": 0, "train_s": 0}
    for one, other in zip(metrics(through), metrics(broken), strict=True):
        assert one | untimed == other | untimed


def groups_of(lengths: list[int], rewards: list[float]) -> list[Group]:
    """Two groups of made-up rollouts with different lengths."""
    generator = torch.Generator().manual_seed(0)

    def rollout(index: int) -> Rollout:
        ids = torch.randint(0, 256, (lengths[index],), generator=generator).tolist()
        logprobs_T = -6 * torch.rand(lengths[index], generator=generator)
        judgement = {"reward": rewards[index], "verdict": "AC" if rewards[index] > 0 else "WA"}
        reason = "length" if index == 0 else "stop"
        return Rollout(
            index, "", reason, [1, 2, 3 + index], ids, logprobs_T, judgement, rewards[index], rewards[index], logprobs_T
        )

    rollouts = [rollout(index) for index in range(len(lengths))]
    half = len(rollouts) // 2
    return [Group({}, rollouts[:half], True), Group({}, rollouts[half:], True)]


@pytest.mark.parametrize("kind", ["gppo", "clip_higher", "cispo", "gspo"])
def test_the_gradient_does_not_depend_on_how_a_minibatch_is_split(tiny_model: Path, kind: str) -> None:
    model, _ = load_for_training(ModelSection(path=str(tiny_model)))
    groups = groups_of([30, 5, 17, 9, 2, 40], [1.0, -1.0, 0.5, -0.5, 1.0, -1.0])
    found = []
    for tokens in (10_000, 60, 8):
        model.zero_grad()
        settings = config(tiny_model, f"micro_batch_tokens={tokens}", f"loss.kind={kind}")
        loss = accumulate_gradient(model, groups, settings, pad_id=0)["loss"]
        found.append((loss, model.get_input_embeddings().weight.grad.clone()))
    for loss, gradient in found[1:]:
        assert loss == pytest.approx(found[0][0], rel=1e-5)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-4, atol=1e-6)


def test_old_log_probabilities_meet_their_own_tokens_after_packing(tiny_model: Path) -> None:
    rollouts = [rollout for group in groups_of([30, 5, 17, 9], [1.0, 1.0, 1.0, 1.0]) for rollout in group.rollouts]
    batch = collate([rollout.example() for rollout in rollouts])
    old_N = torch.cat([rollout.old_logprobs_T for rollout in rollouts])
    rows_SL = batch.rows_SL(old_N)
    for at, rollout in enumerate(rollouts):
        assert rows_SL[at, : rollout.num_tokens].tolist() == rollout.old_logprobs_T.tolist()


def test_micro_batches_hold_every_rollout_once_within_the_budget() -> None:
    rollouts = [rollout for group in groups_of([30, 5, 17, 9, 2, 40], [1.0] * 6) for rollout in group.rollouts]
    micros = list(micro_batches(rollouts, 40))
    sizes = [sum(rollout.num_tokens + 3 for rollout in micro) for micro in micros]
    assert sorted(rollout.num_tokens for micro in micros for rollout in micro) == [2, 5, 9, 17, 30, 40]
    assert all(size <= 40 or len(micro) == 1 for size, micro in zip(sizes, micros, strict=True))


def test_unscored_empty_and_by_choice_cut_off_rollouts_train_nothing(tiny_model: Path) -> None:
    (group, _) = groups_of([4, 0, 5, 6, 1, 1], [1.0, -1.0, 0.5, -0.5, 1.0, 1.0])
    assert [rollout.num_tokens for rollout in trainable(group, config(tiny_model))] == [4, 5]
    dropping = config(tiny_model, "rollout.drop_truncated=true")
    assert [rollout.num_tokens for rollout in trainable(group, dropping)] == [5]


@pytest.fixture(scope="module")
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(2) as threads:
        yield threads


def test_both_verifiers_judge_as_their_commands_do(toy_rows) -> None:
    code = next(row for row in toy_rows if row["ability"] == "code")
    with ExitStack() as stack:
        judges = make_judges(RewardSection(), {"math", "code"}, stack)
        right = judges["math"]("7", "<think>x</think>\\boxed{7.0}")
        wrong = judges["math"]("7", "<think>x</think>\\boxed{8}")
        untagged = judges["math"]("7", "\\boxed{7}")
        program = "<think></think>\n```python\nprint(input())\n```"
        echo = judges["code"](json.dumps({"inputs": ["1\n", "2\n"], "outputs": ["1\n", "3\n"]}), program)
        crash = judges["code"](json.dumps(code["tests"]), "<think></think>\n```python\n1/0\n```")
    assert [(j["verdict"], j["reward"]) for j in (right, wrong, untagged)] == [("AC", 1.0), ("WA", -1.0), ("FE", -1.0)]
    assert (echo["verdict"], echo["reward"], crash["verdict"], crash["reward"]) == ("WA", 0.5, "RE", 0.0)


def test_equal_completions_are_judged_once() -> None:
    asked: list[str] = []

    def judge(gold: str, completion: str) -> dict[str, Any]:
        asked.append(completion)
        return {"reward": 1.0, "verdict": "AC"}

    completions = [Completion(i, text, "stop", [1], [0.0]) for i, text in enumerate("abab")]
    found = judge_group(record("p", "1"), Sampled("id", [1], completions), judge)
    assert len(found) == 4
    assert asked == ["a", "b"]


@pytest.mark.parametrize(
    ("records", "message"),
    [
        ([], "no records"),
        ([{"schema": "klear/1"}], "key 'id' is not a string"),
        ([record("p", " ")], "ground_truth' is empty"),
        ([record("p", "not tests", "code")], "its tests can't be used"),
    ],
)
def test_data_that_can_t_be_verified_is_one_clear_error(tiny_model, tmp_path, records, message: str) -> None:
    with pytest.raises(RecordError, match=message):
        run_rl(config(tiny_model), records, out_dir=tmp_path / "run", quiet=True)
    assert not (tmp_path / "run").exists()


def test_a_reward_that_never_differs_is_said_and_changes_nothing(tiny_model, tmp_path: Path, capsys) -> None:
    settings = config(tiny_model, "steps=5", "rollout.max_tokens=2", "checkpoint.every=0")
    run_rl(settings, [record(f"Problem {n}", "7") for n in range(8)], out_dir=tmp_path / "run", quiet=True)
    assert "no group had two different rewards for 5 steps" in capsys.readouterr().err
    assert all(row["groups_kept"] == 0 and row["groups_none_correct"] == 4 for row in metrics(tmp_path / "run"))
    for name, tensor in weights(tmp_path / "run" / "final").items():
        assert torch.equal(tensor, weights(tiny_model)[name]), name


def test_prompts_that_fill_the_context_are_left_out_and_counted(tiny_model: Path, capsys) -> None:
    model, tokenizer = load_for_training(ModelSection(path=str(tiny_model)))
    fitting = record("short", "1")
    assert that_fit([record("x" * 400, "1"), fitting], model, tokenizer) == [fitting]
    assert "1 prompts fill the context of 256 tokens" in capsys.readouterr().err
    with pytest.raises(RecordError, match="the prompts of all 1 records fill the model's context"):
        that_fit([record("x" * 400, "1")], model, tokenizer)


def test_prompts_come_from_an_endless_shuffle_without_repeats_in_a_step() -> None:
    records = [record(f"p{n}", "1") for n in range(10)]
    epoch = [r["id"] for start in (0, 5) for r in take(records, start, 5, seed=1)]
    assert sorted(epoch) == sorted(r["id"] for r in records)
    assert [r["id"] for r in take(records, 10, 10, seed=1)] != epoch
    assert len(take(records, 8, 6, seed=1)) == len({r["id"] for r in take(records, 8, 6, seed=1)})
    assert len(take(records, 0, 99, seed=1)) == 10


def test_refills_sample_more_prompts_while_groups_lack_a_signal(tiny_model: Path, tmp_path: Path) -> None:
    settings = config(tiny_model, "steps=1", "rollout.max_tokens=2", "rollout.refill_rounds=2", "checkpoint.every=0")
    run_rl(settings, [record(f"Problem {n}", "7") for n in range(12)], out_dir=tmp_path / "run", quiet=True)
    (row,) = metrics(tmp_path / "run")
    assert (row["groups"], row["prompts_used"]) == (12, 12)


def test_settings_that_collapsed_are_warned_of(tiny_model: Path) -> None:
    def warned(*overrides: str) -> bool:
        return any("collapse" in text for text in warnings_for(config(tiny_model, *overrides), 99))

    assert not warned()
    assert warned("epochs=2")
    assert warned("epochs=2", "loss.kind=cispo")
    assert not warned("epochs=2", "loss.beta_low=0")
    assert not warned("epochs=2", "loss.kind=clip_higher")


def test_a_verdict_that_could_be_forged_gives_no_reward_unless_asked_for() -> None:
    # A function as an argument can't cross from the tests' process to the solution's.
    tests = json.dumps({"functional": "assert apply(lambda n: n + 1, [1, 2]) == [2, 3]"})
    program = "def apply(f, values):\n    return [f(value) for value in values]"
    completion = f"<think></think>\n```python\n{program}\n```"
    for keep_weak, reward in ((False, None), (True, 1.0)):
        with ExitStack() as stack:
            judge = make_judges(RewardSection(keep_weak=keep_weak), {"code"}, stack)["code"]
            judgement = judge(tests, completion)
        assert (judgement["verdict"], judgement["reward"], judgement["weak"]) == ("AC", reward, True)


def test_check_records_accepts_what_the_toy_files_hold(toy_rows) -> None:
    check_records(of_rows(toy_rows, "math") + of_rows(toy_rows, "code"))
    assert LossSection().kind == "gppo"
