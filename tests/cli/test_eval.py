"""`klear eval` and `klear compare` through the shell: replays, references, kills, failures, wrong input."""

import json
import os
import subprocess
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli.main import app
from klear_data.errors import KlearError
from klear_data.sources.benchmarks import benchmark_records, expand_benchmark
from tests.cli.conftest import BIN, lines, parsed
from tests.klear_data.api_server import ApiServer, serving
from tests.klear_data.evaluation.helpers import judged

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data" / "benchmarks"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason="the real data is not at hand")


def klear(folder, *arguments, code=0, **variables):
    result = subprocess.run(
        [BIN / "klear", *map(str, arguments)], capture_output=True, cwd=folder, check=False, timeout=240,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(folder / "home"), **variables},
    )  # fmt: skip
    assert result.returncode == code, result.stderr.decode()
    return result


def summary(path):
    return json.loads(path.read_bytes())["benchmarks"]


def problems(count):
    return "".join(json.dumps({"problem": f"{at} + 1?", "answer": str(at + 1)}) + "\n" for at in range(count))


def answers(request):
    """Right at two in three: the answer depends on the seed that klear sends."""
    number = int(request["messages"][-1]["content"].split()[0])
    right = request["seed"] % 3
    return {"content": f"<think>hm</think> \\boxed{{{number + 1 if right else 0}}}"}


def over_http(server, *options):
    return ["eval", "--model", "m", "--backend", "openai", "--base-url", server.url, "--benchmark", "sums.jsonl",
            "-q", *options]  # fmt: skip


def test_replayed_verdicts_give_the_known_figures_and_are_not_judged_anew(tmp_path):
    records = [judged("AC AC WA WA", number=0), judged("AC WA XX", number=1, lost=1)]
    (tmp_path / "judged.jsonl").write_bytes(lines(records))
    run = klear(tmp_path, "eval", "--from", "judged.jsonl", "--k", "1,2", "--report", "s.json", "--markdown", "s.md")
    found = summary(tmp_path / "s.json")["toy"]
    assert found["avg"]["value"] == pytest.approx((1 / 2 + 1 / 4) / 2)
    assert found["pass_at"]["2"]["value"] == pytest.approx((5 / 6 + 1 / 2) / 2)
    assert (found["rates"]["verifier_failed"], found["rates"]["sampling_failed"]) == (1 / 8, 1 / 8)
    assert run.stdout == b""
    table = (tmp_path / "s.md").read_text()
    assert table in run.stderr.decode()
    assert "| toy " in table
    assert "2 of 8 samples failed or could not be judged" in table
    klear(tmp_path, "eval", "--from", "judged.jsonl", "-q", "-o", "folder")
    assert parsed((tmp_path / "folder" / "judged.jsonl").read_bytes()) == records
    assert summary(tmp_path / "folder" / "summary.json")["toy"]["avg"] == found["avg"]


def test_rollouts_without_verdicts_are_judged_and_go_where_they_are_wanted(tmp_path):
    record = judged("AC AC", number=4)
    for rollout, text in zip(record["rollouts"], ["<think></think> \\boxed{5}", "no"], strict=True):
        rollout["completion"] = text
        del rollout["verdict"], rollout["reward"], rollout["answer"]
    (tmp_path / "sampled.jsonl").write_bytes(lines([record]))
    out = klear(tmp_path, "eval", "--from", "sampled.jsonl", "-o", "-", "-q", "--report", "s.json").stdout
    assert [one["verdict"] for one in parsed(out)[0]["rollouts"]] == ["AC", "FE"]
    klear(tmp_path, "eval", "--from", "sampled.jsonl", "-o", "folder", "-q", "--think", "none")
    assert summary(tmp_path / "folder" / "summary.json")["toy"]["verdicts"] == {"AC": 1, "NA": 1}
    assert (tmp_path / "folder" / "summary.md").exists()
    again = klear(tmp_path, "eval", "--from", "folder", "-q", "-o", "-").stdout
    assert [one["verdict"] for one in parsed(again)[0]["rollouts"]] == ["AC", "NA"]


@needs_shared
@pytest.mark.parametrize(("name", "questions"), [("humaneval", 164), pytest.param("mbpp", 399, marks=pytest.mark.slow)])
def test_reference_solutions_score_what_reward_code_gives_them(tmp_path, monkeypatch, name, questions):
    monkeypatch.setenv("KLEAR_BENCHMARKS", str(SHARED))
    (benchmark,) = expand_benchmark(name)
    records = [record for _, record in benchmark_records(benchmark)]
    (tmp_path / "references.jsonl").write_bytes(lines(records))
    klear(
        tmp_path, "eval", "--from", "references.jsonl", "--think", "none", "-q", "-o", "e.jsonl", "--report", "s.json"
    )
    klear(tmp_path, "reward-code", "references.jsonl", "--think", "none", "-q", "-o", "r.jsonl")
    pairs = zip(parsed((tmp_path / "e.jsonl").read_bytes()), parsed((tmp_path / "r.jsonl").read_bytes()), strict=True)
    verdicts = [[record["rollouts"][0][key] for record in pair for key in ("verdict", "reward")] for pair in pairs]
    assert all(one[:2] == one[2:] for one in verdicts)
    found = summary(tmp_path / "s.json")[name]
    assert found["questions"] == questions
    assert found["correct"] == sum(one[0] == "AC" for one in verdicts) >= 0.99 * questions


def test_a_whole_run_over_a_server_leaves_every_rollout_on_disk(tmp_path):
    (tmp_path / "sums.jsonl").write_text(problems(6))
    with serving(ApiServer(message=answers)) as server:
        klear(tmp_path, *over_http(server, "--n", 5, "--k", "1,5", "-o", "out"))
        assert len(server.seen) == 30
        assert {(one["temperature"], one["top_p"], one["max_tokens"]) for one in server.seen} == {(0.6, 0.95, 32768)}
        assert server.seen[0]["messages"][-1]["content"].endswith("\\boxed{}.")
    records = parsed((tmp_path / "out" / "sums.jsonl").read_bytes())
    assert [len(record["rollouts"]) for record in records] == [5] * 6
    right = sum(one["verdict"] == "AC" for record in records for one in record["rollouts"])
    found = summary(tmp_path / "out" / "summary.json")["sums"]
    assert (found["samples"], found["correct"]) == (30, right)
    assert found["avg"]["value"] == pytest.approx(right / 30)
    assert 0 < right < 30
    # The same rollouts, judged by the command that judges for training.
    klear(tmp_path, "reward-math", "out/sums.rollouts.jsonl", "-q", "-o", "alone.jsonl")
    verdicts = [[one["verdict"] for one in record["rollouts"]] for record in records]
    alone = parsed((tmp_path / "alone.jsonl").read_bytes())
    assert [[one["verdict"] for one in record["rollouts"]] for record in alone] == verdicts


def test_a_run_killed_again_and_again_ends_with_the_same_files(tmp_path):
    (tmp_path / "sums.jsonl").write_text(problems(60))
    rollouts = tmp_path / "out" / "sums.rollouts.jsonl"
    partial = rollouts.with_name(rollouts.name + ".partial")

    def lines_kept():
        return partial.read_bytes().count(b"\n") if partial.exists() else 0

    with serving(ApiServer(message=answers, delay_s=0.05)) as server:
        klear(tmp_path, *over_http(server, "--n", 2, "-o", "whole", "--concurrency", 8))
        resumed = [str(one) for one in over_http(server, "--n", 2, "-o", "out", "--resume", "--concurrency", 8)]
        for reached in (lambda: lines_kept() >= 5, lambda: lines_kept() >= 25, rollouts.exists):
            process = subprocess.Popen([BIN / "klear", *resumed], cwd=tmp_path, stderr=subprocess.DEVNULL)
            while not reached():
                assert process.poll() is None
                time.sleep(0.002)
            process.kill()
            process.wait()
        klear(tmp_path, *resumed)
        asked = len(server.seen)
        assert asked < 2 * 120 + 3 * 16
        judged_at = (tmp_path / "out" / "sums.jsonl").stat().st_mtime_ns
        klear(tmp_path, *resumed)
        assert len(server.seen) == asked  # nothing is sampled anew,
        assert (tmp_path / "out" / "sums.jsonl").stat().st_mtime_ns == judged_at  # and nothing judged
        klear(tmp_path, *resumed, "--think", "closing")
        assert (tmp_path / "out" / "sums.jsonl").stat().st_mtime_ns > judged_at  # by other rules it is
    for name in ("sums.rollouts.jsonl", "sums.problems.jsonl"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert summary(tmp_path / "out" / "summary.json") == summary(tmp_path / "whole" / "summary.json")


def test_failed_samples_count_as_not_right_are_shown_and_leave_with_code_4(tmp_path):
    (tmp_path / "sums.jsonl").write_text(problems(4))

    def fails_on_one(request, _):
        return (500, {}, b"boom") if request["messages"][-1]["content"].startswith("2 + 1?") else None

    server = ApiServer(message=lambda request: answers({**request, "seed": 1}), behaviour=fails_on_one)
    with serving(server):
        run = klear(tmp_path, *over_http(server, "--n", 3, "-o", "out.jsonl", "--retries", 0), code=4)
    assert b"3 rollouts of 1 records failed" in run.stderr
    assert b"3 of 12 samples failed" in run.stderr
    found = summary(tmp_path / "out.jsonl.eval" / "summary.json")["sums"]
    assert found["avg"]["value"] == pytest.approx(9 / 12)
    assert found["rates"]["sampling_failed"] == pytest.approx(3 / 12)
    assert len(parsed((tmp_path / "out.jsonl").read_bytes())) == 4


def test_two_evaluations_are_compared_question_by_question(tmp_path):
    a = [
        judged(["AC"] * (at % 3) + ["WA"] * (4 - at % 3), number=at, extra_info={"item": f"q{at}"}) for at in range(12)
    ]
    b = [judged(["AC"] * (at % 3 + 1) + ["WA"] * (3 - at % 3), number=at) for at in range(11)]
    (tmp_path / "a.jsonl").write_bytes(lines(a))
    (tmp_path / "b.jsonl").write_bytes(lines(b))
    run = klear(tmp_path, "compare", "a.jsonl", "b.jsonl", "-o", "moved.jsonl", "--report", "c.json", "--top", 3)
    found = summary(tmp_path / "c.json")["toy"]
    assert found["difference"]["value"] == pytest.approx(0.25)
    assert (found["questions"], found["better"], found["worse"]) == (11, 11, 0)
    assert found["sign_flip"] == {"p": pytest.approx(2 / 2**11), "method": "exact"}
    moved = parsed((tmp_path / "moved.jsonl").read_bytes())
    assert len(moved) == 11
    assert [len(moved[0][side]["rollouts"]) for side in "ab"] == [4, 4]
    said = run.stderr.decode()
    assert "only A has 1 questions" in said
    assert said.count("| toy ") == 4
    assert klear(tmp_path, "compare", "a.jsonl", "a.jsonl", "--report", "-").stdout.startswith(b"{")


MODEL = ["--model", "m", "-o", "o", "--benchmark"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([*MODEL, "amie24"], 2, "did you mean aime24?"),
        ([*MODEL, "sums.jsonl,sums.jsonl"], 2, "one is named twice"),
        ([*MODEL, "sums.jsonl", "--n", "4", "--k", "8"], 2, "--k 8: sums is sampled 4 times"),
        ([*MODEL, "sums.jsonl", "--k", "x"], 2, "--k x: no count"),
        ([*MODEL, "sums.jsonl", "-o", "full"], 2, "full: not empty"),
        ([*MODEL, "sums.jsonl", "-o", "-"], 2, "rollouts stay on disk"),
        ([*MODEL, "bare.jsonl"], 3, "bare.jsonl:2: neither an answer nor tests"),
        ([*MODEL, "lcb-v6"], 4, "put test6.jsonl from https://"),
        ([*MODEL, "sums.jsonl", "--template", "boxes"], 2, "did you mean boxed?"),
        ([*MODEL, "sums.jsonl", "--top-p", "0"], 2, "top_p: got 0.0"),
        ([*MODEL, "sums.jsonl", "--budget", "64m"], 2, "--budget 64m"),
        ([*MODEL, "sums.jsonl", "--backend", "openai", "--base-url", "http://x/v1", "--budget", "64k"], 2,
         "the server decides what its context is"),
        (["--model", "m"], 2, "add --benchmark, -o"),
        (["--from", "sums.jsonl", "--model", "m"], 2, "--from: judges what is sampled already"),
        (["--from", "sums.jsonl"], 3, "sums.jsonl:1: no key 'schema'"),
        (["--from", "nothing"], 2, "nothing"),
        (["--from", "-"], 2, "-: a pipe; expected a folder or a file"),
        (["--from", "home"], 2, "home: no records in this folder"),
        (["--from", "unanswered.jsonl"], 3, "unanswered.jsonl:1: no answer and no tests"),
        (["--from", "four.jsonl", "--k", "5"], 2, "has a question with 4 samples"),
        (["--from", "empty.jsonl"], 3, "no records; expected at least one"),
    ],
)  # fmt: skip
def test_what_can_not_be_evaluated_is_said(tmp_path, monkeypatch, arguments, code, said):
    unanswered = judged("AC")
    del unanswered["rollouts"][0]["verdict"]
    unanswered["reward_model"]["ground_truth"] = " "
    (tmp_path / "sums.jsonl").write_text(problems(2))
    (tmp_path / "bare.jsonl").write_text(problems(1) + '{"problem": "q"}\n')
    (tmp_path / "unanswered.jsonl").write_bytes(lines([unanswered]))
    (tmp_path / "four.jsonl").write_bytes(lines([judged("AC WA WA WA")]))
    (tmp_path / "empty.jsonl").write_bytes(b"")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").write_text("x")
    (tmp_path / "home").mkdir()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("KLEAR_BENCHMARKS", str(tmp_path))
    result = CliRunner().invoke(app, ["eval", *arguments])
    assert isinstance(result.exception, KlearError), result.output
    assert (result.exception.exit_code, said in str(result.exception)) == (code, True), result.exception


def test_nothing_in_common_and_unjudged_records_are_no_comparison(tmp_path):
    (tmp_path / "a.jsonl").write_bytes(lines([judged("AC", number=1)]))
    (tmp_path / "b.jsonl").write_bytes(lines([judged("AC", number=2)]))
    assert b"no question in common" in klear(tmp_path, "compare", "a.jsonl", "b.jsonl", code=3).stderr
    record = judged("AC", number=1)
    del record["rollouts"][0]["verdict"]
    (tmp_path / "b.jsonl").write_bytes(lines([record]))
    assert b"run `klear reward-math` first" in klear(tmp_path, "compare", "a.jsonl", "b.jsonl", code=3).stderr
