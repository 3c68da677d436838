"""What `klear format` writes, in any of its forms, `klear train` reads: the same training to the last bit."""

import json

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cli.main import app
from klear_data.errors import RecordError
from tests.cli.conftest import judged, lines

pytest.importorskip("torch")
pytest.importorskip("transformers")

TESTS = json.dumps({"inputs": ["1 2\n"] * 2, "outputs": ["3\n"] * 2})
# An untrained model is never right. It writes </think> now and then, and that makes the difference to learn from.
RL = (
    "--recipe tiny-rl --set steps=1 --set rollout.max_tokens=60 --set rollout.prompts_per_step=4 --set rollout.n=8 "
    "--set reward.scheme=official --set reward.think=closing"
)
SFT = "--recipe tiny-sft --set max_steps=1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    from klear_train.tiny import make_tiny_model

    path = tmp_path_factory.mktemp("roundtrip")
    make_tiny_model(path / "model", hidden_size=32, num_layers=1, num_heads=1)
    code = judged(3, verdicts=("AC", "WA"), ability="code", reward_model={"style": "tests", "ground_truth": TESTS})
    records = [judged(n, verdicts=("AC", "AC", "WA")) for n in range(3)] + [code]
    (path / "judged.jsonl").write_bytes(lines(records))
    klear(path, "label judged.jsonl -q -o labelled.jsonl")
    return path


def klear(folder, line):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        result = CliRunner().invoke(app, line.split())
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize(("kind", "options", "how"), [("rl", RL, "--keep all"), ("sft", SFT, "")])
def test_every_form_of_an_export_trains_the_same_model(folder, kind, options, how):
    trained = {}
    for to, suffix in (("klear", "jsonl"), ("klear", "parquet"), ("verl", "parquet"), ("trl", "parquet")):
        name = f"{kind}-{to}-{suffix}"
        klear(folder, f"format {kind} labelled.jsonl {how} --to {to} -q -o {name}.{suffix}")
        klear(folder, f"train {kind} {options} --data {name}.{suffix} --model model --out {name} -q")
        trained[name] = (folder / name / "final" / "model.safetensors").read_bytes()
    assert len(set(trained.values())) == 1, "one of them trained on something else"
    assert trained.popitem()[1] != (folder / "model" / "model.safetensors").read_bytes()


def test_a_file_that_klear_did_not_write_is_refused_with_what_to_do(folder):
    klear(folder, "format rl labelled.jsonl --keep all --to verl -q -o whole.parquet")
    table = pq.read_table(folder / "whole.parquet")
    pq.write_table(table.drop_columns(["klear"]).replace_schema_metadata(None), folder / "theirs.parquet")
    with pytest.raises(RecordError, match=r"theirs\.parquet:1: .*'schema'.*through `klear curate`"):
        klear(folder, f"train rl {RL} --data theirs.parquet --model model --out theirs -q")
    klear(folder, "curate --sources theirs.parquet --min-tests 1 -q -o ours.jsonl")
    klear(folder, f"train rl {RL} --data ours.jsonl --model model --out ours -q")
