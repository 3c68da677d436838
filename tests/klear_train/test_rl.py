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

from klear_data.errors import RecordError, UsageError
from klear_data.generate.types import Completion, Sampled
from klear_train import distributed
from klear_train.distributed import World
from klear_train.metrics import LiveLine
from klear_train.minibatch import deal, length, micro_batches, minibatches
from klear_train.model import load_for_training, load_policy
from klear_train.packing import collate
from klear_train.policy_update import accumulate_gradient
from klear_train.preflight import that_fit, warnings_for
from klear_train.prompts import take
from klear_train.rl import run_rl
from klear_train.rollout import Group, Rollout, check_records, judge_group, make_group, make_judges
from klear_train.settings import LossSection, ModelSection, RewardSection
from tests.klear_train.rl_runs import config, record


def of_rows(rows: list[dict[str, Any]], ability: str) -> list[dict[str, Any]]:
    return [
        record(row["problem"], row["answer"] if ability == "math" else json.dumps(row["tests"]), ability)
        for row in rows
        if row["ability"] == ability
    ]


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
    untimed = {name: 0 for name in metrics(through)[0] if name.endswith("_s")}
    for one, other in zip(metrics(through), metrics(broken), strict=True):
        assert one | untimed == other | untimed
    for others in (records[1:], records[::-1]):
        with pytest.raises(UsageError, match="--data: --resume with other records"):
            run_rl(config(model), others, out_dir=broken, resume=True, quiet=True)


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


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with distributed.start() as alone:
        yield alone


@pytest.mark.parametrize("kind", ["gppo", "clip_higher", "cispo", "gspo"])
def test_the_gradient_does_not_depend_on_how_a_minibatch_is_split(tiny_model: Path, kind: str, world: World) -> None:
    policy, _ = load_policy(ModelSection(path=str(tiny_model)), world)
    groups = groups_of([30, 5, 17, 9, 2, 40], [1.0, -1.0, 0.5, -0.5, 1.0, -1.0])
    found = []
    for tokens in (10_000, 60, 8):
        policy.zero_grad()
        settings = config(tiny_model, f"micro_batch_tokens={tokens}", f"loss.kind={kind}")
        (minibatch,) = minibatches(groups, settings, step=0)
        metrics = accumulate_gradient(policy, minibatch, settings, world)
        found.append((metrics, policy.model.get_input_embeddings().weight.grad.clone()))
    for metrics, gradient in found[1:]:
        # Metrics of GSPO are means over responses, of which a micro-batch has a share that its tokens do not tell.
        same = ("loss", "positive_nll") if kind == "gspo" else sorted(set(metrics) - {"outside_gradient_share"})
        assert {key: metrics[key] for key in same} == pytest.approx({key: found[0][0][key] for key in same}, rel=1e-4)
        torch.testing.assert_close(gradient, found[0][1], rtol=1e-4, atol=1e-6)


def test_every_rank_gets_as_many_micro_batches_and_about_as_many_tokens() -> None:
    lengths = [30, 5, 17, 9, 2, 40, 25, 31, 8, 12]
    rollouts = [rollout for group in groups_of(lengths, [1.0] * len(lengths)) for rollout in group.rollouts]
    for ranks in (1, 2, 3, 12):
        hands = deal(rollouts, ranks=ranks, budget=40)
        dealt = sorted(rollout.num_tokens for hand in hands for micro in hand for rollout in micro)
        assert dealt == sorted(lengths)
        assert len({len(hand) for hand in hands}) == 1
        held = [sum(length(rollout) for micro in hand for rollout in micro) for hand in hands]
        assert max(held) - min(held) <= max(map(length, rollouts))


def test_old_log_probabilities_meet_their_own_tokens_after_packing(tiny_model: Path) -> None:
    rollouts = [rollout for group in groups_of([30, 5, 17, 9], [1.0, 1.0, 1.0, 1.0]) for rollout in group.rollouts]
    batch = collate([rollout.example() for rollout in rollouts])
    old_N = torch.cat([rollout.old_logprobs_T for rollout in rollouts])
    rows_SL = batch.rows_SL(old_N)
    for at, rollout in enumerate(rollouts):
        assert rows_SL[at, : rollout.num_tokens].tolist() == rollout.old_logprobs_T.tolist()


def test_micro_batches_hold_every_rollout_once_within_the_budget() -> None:
    rollouts = [rollout for group in groups_of([30, 5, 17, 9, 2, 40], [1.0] * 6) for rollout in group.rollouts]
    micros = micro_batches(rollouts, budget=40)
    sizes = [sum(map(length, micro)) for micro in micros]
    assert sorted(rollout.num_tokens for micro in micros for rollout in micro) == [2, 5, 9, 17, 30, 40]
    assert all(size <= 40 or len(micro) == 1 for size, micro in zip(sizes, micros, strict=True))


def test_unscored_empty_and_by_choice_cut_off_rollouts_train_nothing(tiny_model: Path) -> None:
    lengths = [4, 0, 5, 6]
    completions = [
        Completion(at, "", "length" if at == 0 else "stop", [1] * n, [0.0] * n) for at, n in enumerate(lengths)
    ]
    judgements = [{"reward": reward, "verdict": "WA"} for reward in (1.0, -1.0, -1.0, None)]
    asked = Sampled("x", [1, 2], completions)

    def trained(*overrides: str) -> list[int]:
        group = make_group(record("p", "1"), asked, judgements, config(tiny_model, *overrides))
        return [rollout.num_tokens for rollout in group.rollouts if rollout.trains]

    assert trained() == [4, 5]
    assert trained("rollout.drop_truncated=true") == [5]


def test_the_overlong_penalty_shapes_rewards_and_not_verdicts(tiny_model: Path) -> None:
    settings = config(tiny_model, "rollout.max_tokens=20", "rollout.overlong_buffer=10", "rollout.overlong_penalty=0.5")
    completions = [Completion(at, "", "stop", [1] * n, [0.0] * n) for at, n in enumerate((10, 15, 20))]
    judgements = [{"reward": 1.0, "verdict": "AC"}] * 3
    group = make_group(record("p", "1"), Sampled("x", [1], completions), judgements, settings)
    assert [rollout.reward for rollout in group.rollouts] == pytest.approx([1.0, 0.75, 0.5])
    assert [rollout.judgement["reward"] for rollout in group.rollouts] == [1.0] * 3
    assert group.has_signal


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
    assert that_fit([record("x" * 400, "1"), fitting], model, tokenizer, max_tokens=9) == [fitting]
    assert "1 prompts fill the context of 256 tokens" in capsys.readouterr().err
    with pytest.raises(RecordError, match="the prompts of all 1 records fill the model's context"):
        that_fit([record("x" * 400, "1")], model, tokenizer, max_tokens=9)


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
