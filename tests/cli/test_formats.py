"""``klear label`` and ``klear format`` in a shell: tables, exports, and what they refuse."""

import json
import re

import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import judged, lines, parsed


def test_label_ends_with_a_table_by_ability_and_source(shell, tmp_path):
    records = [judged(1), judged(2, verdicts=("XX",)), judged(3, ability="code", data_source="other")]
    result = shell("klear label --report report.json", stdin=lines(records))
    table = [line.split() for line in result.stderr.decode().splitlines()]
    assert ["math/made-up", "2", "1", "0", "1", "1", "0.500", "-"] in table
    assert ["all", "3", "2", "0", "1", "1", "0.500", "0.500", "to", "0.500"] in table
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["by_source"]["code/other"]["problems"] == 1
    assert shell("klear label -q", stdin=lines(records)).stderr == b""


def test_labelling_with_a_second_model_keeps_the_first(shell):
    result = shell("klear label -q --labeler a | klear label -q --labeler b", stdin=lines([judged(1)]))
    (record,) = parsed(result.stdout)
    assert record["difficulty"]["labeler"] == "b"
    assert [other["labeler"] for other in record["difficulty"]["others"]] == ["a"]
    chosen = shell("klear format rl -q --drop-extremes --keep all --labeler a", stdin=result.stdout)
    assert parsed(chosen.stdout) == [record]
    refused = shell("klear format rl -q --labeler c", stdin=result.stdout)
    assert refused.returncode == 3
    assert b"only by b, a" in refused.stderr


def test_difficulty_by_one_model_and_responses_by_another_in_a_shell(shell, tmp_path):
    small = [judged(1, verdicts=("AC", "AC")), judged(2, verdicts=("WA", "AC", "WA")), judged(3, verdicts=("XX",))]
    shell("klear label -q --labeler small -o small.jsonl", stdin=lines(small))
    teacher = [judged(n, verdicts=("AC", "WA"), sampling={"model": "teacher"}) for n in (2, 1, 4)]
    result = shell("klear label --from small.jsonl --report report.json", stdin=lines(teacher))
    assert result.returncode == 0, result.stderr
    found = parsed(result.stdout)
    assert [one["difficulty"]["label"] for one in found] == ["hard", "easy", "unscored"]
    assert [one["rollouts"] for one in found] == [one["rollouts"] for one in teacher]
    assert json.loads((tmp_path / "report.json").read_text())["not_in_the_file"] == 1
    assert re.search(rb"not in the file +1\n", result.stderr)
    chats = shell("klear format sft -q --correctness true-if-easy", stdin=result.stdout)
    assert [one["verdict"] for one in parsed(chats.stdout)] == ["AC", "WA", "AC", "AC", "WA"]
    bare = [{key: value for key, value in one.items() if key != "rollouts"} for one in teacher]
    assert len(parsed(shell("klear label -q --from small.jsonl", stdin=lines(bare)).stdout)) == 3
    both = shell("klear label --from -", stdin=lines(teacher))
    assert (both.returncode, b"stdin is named for two inputs" in both.stderr) == (2, True)


@pytest.mark.parametrize("target", ["verl", "trl"])
def test_an_export_is_read_back_by_the_next_stage(shell, tmp_path, target):
    records = [judged(n, verdicts=("AC", "AC", "WA")) for n in range(3)]
    labelled = shell("klear label -q", stdin=lines(records)).stdout
    plain = shell("klear format rl -q --without-rollouts", stdin=labelled).stdout
    assert shell(f"klear format rl --to {target} -o rl.parquet", stdin=labelled).returncode == 0
    assert "prompt" in pq.read_schema(tmp_path / "rl.parquet").names
    back = shell("klear format rl -q rl.parquet --without-rollouts").stdout
    assert parsed(back) == parsed(plain)
    assert len(parsed(back)) == 3

    chats = shell("klear format sft -q", stdin=labelled).stdout
    assert shell(f"klear format sft --to {target} -o sft.parquet", stdin=labelled).returncode == 0
    rows = pq.read_table(tmp_path / "sft.parquet").to_pylist()
    assert [row["messages"] for row in rows] == [line["messages"] for line in parsed(chats)]


def test_nothing_in_makes_a_file_that_a_loader_can_read(shell, tmp_path):
    assert shell("klear format rl --to verl -o rl.parquet", stdin=b"").returncode == 0
    assert pq.read_table(tmp_path / "rl.parquet").num_rows == 0
    assert "reward_model" in pq.read_schema(tmp_path / "rl.parquet").names


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        ("klear format rl --to verl -o x.jsonl", 2, "-o FILE.parquet"),
        ("klear format sft --to trl", 2, "-o FILE.parquet"),
        ("klear format rl --to openrlhf -o x.parquet", 2, "openrlhf"),
        ("klear format rl --keep most", 2, "most"),
        ("klear format rl", 3, "run `klear label` first"),
        ("klear format rl --keep all --drop-extremes", 3, "--drop-extremes; run `klear label` first"),
        ("klear format sft --correctness true-if-easy", 3, "run `klear label` first"),
    ],
)
def test_what_cannot_be_done_is_said(shell, tmp_path, line, code, said):
    result = shell(line, stdin=lines([judged(1)]))
    assert (result.returncode, result.stdout) == (code, b"")
    assert said.encode() in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_response_is_accounted_for(shell, tmp_path):
    records = [judged(1, verdicts=("AC", "WA", "XX")), judged(2, verdicts=("WA",))]
    shell("klear format sft --correctness only-true --report r.json --rejects no.jsonl", stdin=lines(records))
    report = json.loads((tmp_path / "r.json").read_text())
    assert (report["in"], report["out"], report["rejected"]) == (2, 1, 1)
    assert report["responses"] == {"in": 4, "out": 1, "left_out": 3}
    assert report["responses_left_out"] == {"wrong": 2, "unscored": 1}
