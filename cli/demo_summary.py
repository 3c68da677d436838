"""What the demo found: a short table for people, ``summary.json`` for programs."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path
from typing import Any

from klear_data.jsonl import BadLine, Source
from klear_data.records import ABILITIES, Record
from klear_data.sink import JsonSink
from klear_data.stats import mean_ci95


def summarise(directory: Path, seconds: dict[str, float]) -> None:
    """Write ``summary.json`` and print the same as a table."""
    curate = json.loads((directory / "curate.json").read_text(encoding="utf-8"))
    sft = _metrics(directory / "sft")
    rl = _metrics(directory / "rl")
    summary: dict[str, Any] = {
        "curate": curate,
        "sft": {"first_loss": sft[0]["loss"], "last_loss": sft[-1]["loss"], "steps": sft[-1]["step"]},
        "rl": {"first_reward": rl[0]["reward"], "last_reward": rl[-1]["reward"], "steps": rl[-1]["step"]},
        "accuracy": {ability: _accuracy(directory, ability) for ability in ABILITIES},
        "seconds": {stage: round(spent, 1) for stage, spent in seconds.items()},
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}",
    }
    with JsonSink(str(directory / "summary.json")) as sink:
        sink.write(summary)
    print(_table(summary, directory))


def _metrics(run: Path) -> list[dict[str, Any]]:
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def _accuracy(directory: Path, ability: str) -> dict[str, Any]:
    """Mean pass rate before and after RL, and the paired gain, each with its 95% interval over problems."""
    before, after = (_pass_rates(directory / name, ability) for name in ("before.jsonl", "after.jsonl"))
    found: dict[str, Any] = {"problems": len(before)}
    gains = [after[problem] - rate for problem, rate in before.items()]
    for name, values in (("before", list(before.values())), ("after", list(after.values())), ("gain", gains)):
        mean, low, high = mean_ci95(values)
        found[name] = round(mean, 4)
        found[f"{name}_ci95"] = [round(low, 4), round(high, 4)]
    return found


def _pass_rates(path: Path, ability: str) -> dict[str, float]:
    source = Source(str(path))
    try:
        records: list[Record] = [item[1] for item in source if not isinstance(item, BadLine)]
    finally:
        source.close()
    # A problem without a scored rollout counts as unsolved: failures never leave the denominator.
    return {
        record["id"]: record["difficulty"]["pass_rate"] or 0.0 for record in records if record["ability"] == ability
    }


def _table(summary: dict[str, Any], directory: Path) -> str:
    curate, sft, rl = summary["curate"], summary["sft"], summary["rl"]
    dropped = ", ".join(f"{count} {reason}" for reason, count in curate["dropped"].items())
    rows = [
        ("curated", f"{curate['in']} lines in, {curate['out']} out; {dropped}; {curate['quarantined']} quarantined"),
        ("SFT loss", f"{sft['first_loss']:.3f} → {sft['last_loss']:.3f} in {sft['steps']} steps"),
        ("RL reward", f"{rl['first_reward']:.3f} → {rl['last_reward']:.3f} in {rl['steps']} steps"),
    ]
    for ability, found in summary["accuracy"].items():
        parts = [f"{name} {_points(found, name)}" for name in ("before", "after", "gain")]
        rows.append((f"{ability} accuracy", f"{'   '.join(parts)}   ({found['problems']} held-out problems)"))
    slowest = sorted(summary["seconds"].items(), key=lambda item: -item[1])
    rows.append(("seconds", ", ".join(f"{stage} {spent:.0f}" for stage, spent in slowest if spent >= 1)))
    rows.append(("machine", summary["machine"]))
    for name, what in (
        ("files", "curated.jsonl, rejected.jsonl, quarantined.jsonl, before.jsonl, after.jsonl, summary.json"),
        ("models", "model/ (random), sft/final/, rl/final/"),
    ):
        rows.append((name, f"{directory}: {what}"))
    width = max(len(name) for name, _ in rows)
    return "\n" + "\n".join(f"{name:<{width}}  {value}" for name, value in rows)


def _points(found: dict[str, Any], name: str) -> str:
    low, high = found[f"{name}_ci95"]
    sign = "+" if name == "gain" else ""
    return f"{100 * found[name]:{sign}.1f}% [{100 * low:.1f}, {100 * high:.1f}]"
