"""Every command is there, with its options and two examples that can be typed."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from cli.main import app

COMMANDS = {
    "curate": ["--sources", "--dedup", "--decontaminate", "--ngram", "--min-tests"],
    "select": ["--k", "--method", "--stratify", "--quota", "--embeddings", "--warm-start", "--seed"],
    "sample": ["--model", "--n", "--backend", "--temperature", "--top-p", "--max-tokens", "--seed",
               "--append", "--resume"],
    "reward-math": ["--scheme", "--think", "--timeout", "--jobs"],
    "reward-code": ["--tests", "--no-tests", "--tests-from", "--max-tests", "--time-limit", "--memory-mib",
                    "--scheme", "--think", "--jobs"],
    "label": ["--hard-below"],
    "format sft": ["--correctness"],
    "format rl": ["--keep"],
    "train sft": ["--recipe", "--config", "--data", "--model", "--out", "--set", "--resume"],
    "train rl": ["--recipe", "--config", "--data", "--model", "--out", "--set", "--resume"],
    "eval": ["--model", "--benchmark", "--from", "--n", "--k", "--budget", "--template", "--benchmarks-dir", "--think",
             "--resume", "--backend", "--base-url", "--tensor-parallel", "--output", "--report", "--markdown"],
    "compare": ["--output", "--top", "--report", "--markdown"],
    "show": [],
    "sources": [],
    "schema": [],
    "doctor": [],
    "demo": [],
}  # fmt: skip
STAGES = ["curate", "select", "sample", "reward-math", "reward-code", "label", "format sft", "format rl"]
SHARED = ["--output", "--report", "--rejects", "--quarantine", "--limit", "--quiet"]


def help_of(command):
    result = CliRunner().invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    return result.output


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_has_the_options_of_the_contract(command):
    text = help_of(command)
    for option in COMMANDS[command] + (SHARED if command in STAGES else []):
        assert re.search(rf"(^|[\s,]){option}\b", text), f"{option} is missing"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_two_examples_whose_options_exist(command):
    examples = help_of(command).partition("Examples:\n")[2].strip().splitlines()
    assert len(examples) == 2
    for example in examples:
        used = [word for part in re.split(r"\||;", example) for word in own_options(part)]
        for owner, option in used:
            assert option in help_of(owner), f"{example}: {option}"


def own_options(part):
    """(command, option) for each long option of one command line."""
    words = shlex.split(part, comments=True)
    if not words or words[0] != "klear":
        return
    owner = " ".join(words[1:3]) if words[1] in ("format", "train") else words[1]
    for word in words:
        if word.startswith("--"):
            yield owner, word


def test_help_lists_every_command():
    text = help_of("")
    for command in COMMANDS:
        assert f"  {command.split()[0]} " in text
