"""What dies during an RL run, and what then becomes of it: each has one outcome, said and without loss."""

from __future__ import annotations

import json
import multiprocessing
import resource
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file

from klear_data.errors import RecordError, UsageError
from klear_data.generate.types import Sampled
from klear_train import distributed, rl
from klear_train.optim import TrainingStopped
from klear_train.rollout.engines import TransformersRollouts
from klear_train.rollout.share import SamplerFailed, sample_together
from klear_train.vital_signs import VerifiersFailed
from tests.klear_train.rl_runs import config, record

LEARNS = ("optim.lr=1e-3", "optim.warmup_steps=0", "checkpoint.every=0")
Model = tuple[Path, list[dict[str, Any]]]


def metrics(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "final" / "model.safetensors")


def same(one: Path, other: Path) -> bool:
    return all(torch.equal(tensor, weights(other)[name]) for name, tensor in weights(one).items())


def checkpoints(run: Path) -> list[str]:
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def at_every_sampling(monkeypatch: pytest.MonkeyPatch, do: Callable[[int, Sampled], Sampled]) -> None:
    """Have ``do`` see every prompt's rollouts, with the number of the sampling (from 1)."""
    whole, calls = TransformersRollouts.sample, [0]

    def sample(self: TransformersRollouts, *args: Any) -> Iterator[Sampled]:
        calls[0] += 1
        now = calls[0]
        yield from (do(now, sampled) for sampled in whole(self, *args))

    monkeypatch.setattr(TransformersRollouts, "sample", sample)


def judged_by(monkeypatch: pytest.MonkeyPatch, change: Callable[[int, str], None]) -> None:
    """Call ``change`` before every verdict, with its number (from 1) and the response: it may raise."""
    whole, calls = rl.make_judges, [0]

    def make(*args: Any) -> Any:
        def breaking(judge: Any) -> Any:
            def judged(gold: str, completion: str) -> Any:
                calls[0] += 1
                change(calls[0], completion)
                return judge(gold, completion)

            return judged

        return {ability: breaking(judge) for ability, judge in whole(*args).items()}

    monkeypatch.setattr(rl, "make_judges", make)


def test_dead_verifiers_end_the_run_with_a_checkpoint_from_which_it_goes_on(
    sometimes_right: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, records = sometimes_right
    settings, run = config(model, *LEARNS, "steps=4", "stop_after_unscored_steps=2"), tmp_path / "run"

    def die(number: int, completion: str) -> None:
        if number > 20:
            raise OSError("the sandbox is gone")

    judged_by(monkeypatch, die)
    with pytest.raises(VerifiersFailed, match=r"for 2 steps \(OSError: the sandbox is gone; see bad_step_\d{6}.jsonl"):
        rl.run_rl(settings, records, out_dir=run, quiet=True)
    rows = metrics(run)
    blind = rows[-1]["step"]
    assert [row["unscored"] > row["rollouts"] / 2 for row in rows] == [False] * (blind - 2) + [True, True]
    assert (rows[-1]["unscored"], rows[-1]["groups_kept"]) == (rows[-1]["rollouts"], 0)
    assert checkpoints(run) == [f"step_{blind:06d}"]
    kept = [json.loads(line) for line in (run / f"bad_step_{blind:06d}.jsonl").read_text().splitlines()]
    assert {rollout["verdict"] for group in kept for rollout in group["rollouts"]} == {"XX"}
    monkeypatch.undo()
    assert rl.run_rl(settings, records, out_dir=run, resume=True, quiet=True).steps == 4
    assert [row["step"] for row in metrics(run)] == [1, 2, 3, 4]


def test_a_verifier_that_breaks_on_one_response_costs_that_group_alone(
    sometimes_right: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, records = sometimes_right

    def break_down(number: int, completion: str) -> None:
        if number == 3:
            raise KeyError("a bug")

    judged_by(monkeypatch, break_down)
    rl.run_rl(config(model, *LEARNS, "steps=2"), records, out_dir=tmp_path / "run", quiet=True)
    assert [row["unscored"] for row in metrics(tmp_path / "run")] == [4, 0]


def test_a_dead_sampler_loses_no_step_and_the_run_goes_on_to_the_same_end(
    sometimes_right: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, records = sometimes_right
    settings, through, broken = config(model, *LEARNS), tmp_path / "through", tmp_path / "broken"
    rl.run_rl(settings, records, out_dir=through, quiet=True)

    def die(number: int, sampled: Sampled) -> Sampled:
        if number == 3:
            raise RuntimeError("out of memory\nand many lines more")
        return sampled

    at_every_sampling(monkeypatch, die)
    with pytest.raises(SamplerFailed, match=r"step 3: the rollout engine failed \(RuntimeError: out of memory\);"):
        rl.run_rl(settings, records, out_dir=broken, quiet=True)
    assert checkpoints(broken) == ["step_000002"]
    monkeypatch.undo()
    rl.run_rl(settings, records, out_dir=broken, resume=True, quiet=True)
    assert same(through, broken)
    assert [row["step"] for row in metrics(broken)] == [1, 2, 3, 4]


def one_of_two(folder: str, rank: int) -> None:
    """What each of two processes does: one of them samples, the other's engine is dead."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", store=dist.FileStore(f"{folder}/store", 2), rank=rank, world_size=2)

    def sample(records: Any) -> list[Any]:
        if rank == 1:
            raise RuntimeError("out of memory")
        return []

    with distributed.start() as world:
        try:
            sample_together(world, [], sample, where="step 7")
        except SamplerFailed as error:
            Path(folder, str(rank)).write_text(str(error))
        world.barrier()  # both are still in step


def test_where_one_rank_s_sampler_dies_all_ranks_end_alike(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    ranks = [fork.Process(target=one_of_two, args=(str(tmp_path), n), daemon=True) for n in (0, 1)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(45)
        assert rank.exitcode == 0
    said = [(tmp_path / name).read_text() for name in "01"]
    assert said[0] == said[1]
    assert said[0].startswith("step 7: the rollout engine failed (RuntimeError: out of memory);")


def without_numbers(sampled: Sampled) -> Sampled:
    return replace(
        sampled,
        completions=[replace(one, logprobs=[float("nan")] * len(one.logprobs)) for one in sampled.completions],
    )


def test_a_batch_without_numbers_is_skipped_counted_and_kept(
    sometimes_right: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, records = sometimes_right
    settings, run = config(model, *LEARNS, "steps=3"), tmp_path / "run"

    def break_down(number: int, sampled: Sampled) -> Sampled:
        if number == 3:
            raise RuntimeError("gone")
        return without_numbers(sampled) if number == 2 else sampled

    at_every_sampling(monkeypatch, break_down)
    with pytest.raises(SamplerFailed):
        rl.run_rl(settings, records, out_dir=run, quiet=True)
    said = "step 2: a loss or gradient was no number; update skipped, rollouts kept"
    assert said in capsys.readouterr().err
    monkeypatch.undo()
    rl.run_rl(settings, records, out_dir=run, resume=True, quiet=True)
    assert "was no number" not in capsys.readouterr().err, "what was said before the run went on is said again"
    rows = metrics(run)
    skipped = rows[1]["skipped_updates"]
    assert skipped > 0
    assert [row["skipped_updates"] for row in rows] == [0, skipped, skipped]
    assert rows[1]["loss"] is None
    assert len((run / "bad_step_000002.jsonl").read_text().splitlines()) == rows[1]["groups"]
    assert all(tensor.isfinite().all() for tensor in weights(run).values())


def test_many_batches_without_numbers_end_the_run(
    sometimes_right: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, records = sometimes_right
    at_every_sampling(monkeypatch, lambda number, sampled: without_numbers(sampled))
    with pytest.raises(TrainingStopped, match="3 steps in a row without a finite loss and gradient"):
        rl.run_rl(config(model, *LEARNS, "stop_after_bad_steps=3"), records, out_dir=tmp_path / "run", quiet=True)
    assert list((tmp_path / "run").glob("bad_step_*.jsonl"))


def test_a_disk_that_is_full_for_a_while_costs_checkpoints_and_no_steps(
    sometimes_right: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model, records = sometimes_right
    unlimited = resource.RLIM_INFINITY

    def fill_up(number: int, sampled: Sampled) -> Sampled:
        # No file may grow beyond the limit: a checkpoint is larger than that, and metrics.jsonl is not.
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000 if number in (2, 3) else unlimited, unlimited))
        return sampled

    at_every_sampling(monkeypatch, fill_up)
    try:
        settings = config(model, *LEARNS, "steps=6", "checkpoint.every=1", "checkpoint.keep_last=9")
        rl.run_rl(settings, records, out_dir=tmp_path / "run", quiet=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (unlimited, unlimited))
    assert "step_000002: the checkpoint can't be written" in capsys.readouterr().err
    found = checkpoints(tmp_path / "run")
    assert "step_000002" not in found
    assert "step_000005" in found
    assert [row["step"] for row in metrics(tmp_path / "run")] == [1, 2, 3, 4, 5, 6]


def test_a_model_without_an_end_token_is_refused_before_anything_is_loaded(tiny_model: Path, tmp_path: Path) -> None:
    endless = tmp_path / "model"
    shutil.copytree(tiny_model, endless)
    (endless / "model.safetensors").unlink()
    path = endless / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "eos_token": None}))
    with pytest.raises(UsageError, match="names no end-of-sequence token; expected one; set `eos_token`"):
        rl.run_rl(config(endless), [record("p", "1")], out_dir=tmp_path / "run", quiet=True)


def test_settings_and_prompts_that_can_t_go_together_are_said_first(
    tiny_model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(UsageError, match=r"rollout.overlong_buffer = 99: .* max_tokens = 24"):
        rl.run_rl(config(tiny_model, "rollout.overlong_buffer=99"), [record("p", "1")], out_dir=tmp_path / "a")
    with pytest.raises(RecordError, match="fill the model's context of 256 tokens"):
        rl.run_rl(config(tiny_model), [record("x" * 400, "1")], out_dir=tmp_path / "b")
    longest = [f"{'x' * 240} {n}" for n in range(2)]
    rl.run_rl(config(tiny_model, *LEARNS, "steps=1"), [record(p, "1") for p in longest], out_dir=tmp_path / "c")
    said = capsys.readouterr().err
    assert "2 of 2 prompts leave less than rollout.max_tokens = 24 of the model's context of 256 tokens" in said
    (row,) = metrics(tmp_path / "c")
    assert row["truncated"] > 0
    assert row["response_tokens_max"] < 24
