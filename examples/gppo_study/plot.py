"""Three pictures of the study from ``results/runs.csv``; needs matplotlib, which klear does not.

pip install matplotlib && python examples/gppo_study/plot.py examples/gppo_study/results
"""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from statistics import fmean
from typing import Any

import matplotlib as mpl

mpl.use("Agg")
import matplotlib.pyplot as plt

COLOURS = {
    "clip_higher": "#1b7837",
    "gppo": "#b2182b",
    "gppo_low0": "#2166ac",
    "cispo": "#e08214",
    "gppo_high0": "#762a83",
    "gppo_1epoch": "#999999",
}
LABELS = {
    "clip_higher": "Clip-Higher",
    "gppo": "GPPO",
    "gppo_low0": "GPPO, β_low = 0",
    "gppo_low0.25": "GPPO, β_low = 0.25",
    "gppo_low0.5": "GPPO, β_low = 0.5",
    "gppo_low0.75": "GPPO, β_low = 0.75",
    "cispo": "CISPO",
    "gppo_high0": "GPPO, β_high = 0 (low branch only)",
    "gppo_nll0.1": "GPPO + 0.1 NLL",
    "gppo_dual10": "GPPO, dual clip at 10",
    "gppo_1epoch": "GPPO, 1 epoch",
    "clip_higher_1epoch": "Clip-Higher, 1 epoch",
    "gppo_half_lr": "GPPO, half the rate",
    "clip_higher_half_lr": "Clip-Higher, half the rate",
    "gppo_low0_half_lr": "GPPO, β_low = 0, half the rate",
}


def curves(lines: list[dict[str, Any]], path: Path) -> None:
    """Held-out accuracy by step: means over seeds, each seed behind them."""
    tasks = sorted({line["task"] for line in lines}, reverse=True)
    steps = sorted(int(key.removeprefix("heldout_")) for key in lines[0] if key.startswith("heldout_"))
    figure, axes = plt.subplots(1, len(tasks), figsize=(5 * len(tasks), 3.6), layout="constrained", squeeze=False)
    for axis, task in zip(axes[0], tasks, strict=True):
        for arm, colour in COLOURS.items():
            runs = [[float(line[f"heldout_{step}"]) for step in steps] for line in lines
                    if line["task"] == task and line["arm"] == arm]  # fmt: skip
            for run in runs:
                axis.plot(steps, run, color=colour, alpha=0.2, linewidth=0.8)
            if runs:
                mean = [fmean(values) for values in zip(*runs, strict=True)]
                axis.plot(steps, mean, color=colour, linewidth=2, label=LABELS[arm])
        axis.set(title=task, xlabel="RL step", ylabel="held-out accuracy", ylim=(0, None))
        axis.grid(alpha=0.3)
    axes[0][-1].legend(fontsize=7)
    save(figure, path)


def differences(summary: dict[str, Any], path: Path) -> None:
    """Late accuracy of each arm minus that of its Clip-Higher, on the same seeds, with 95% intervals."""
    rows = [row | {"reference": next((name for name in row["minus"] if name.startswith("clip_higher")), None)}
            for row in summary["arms"]]  # fmt: skip
    rows = [row for row in rows if row["reference"] is not None and not row["arm"].startswith("clip_higher")]
    arms = list(dict.fromkeys(row["arm"] for row in rows))[::-1]
    figure, axis = plt.subplots(figsize=(7, 0.36 * len(arms) + 1.2), layout="constrained")
    for task, shift, colour in (("sum", 0.2, "#2166ac"), ("sort", -0.2, "#e08214"), ("all", 0.0, "black")):
        for row in rows:
            if row["task"] != task:
                continue
            found, height = row["minus"][row["reference"]], arms.index(row["arm"]) + shift
            axis.errorbar(found["mean"], height, xerr=found["half_width"] or 0, fmt="o", color=colour, markersize=4,
                          capsize=2)  # fmt: skip
        axis.plot([], [], "o", color=colour, label=task)
    axis.axvline(0, color="grey", linewidth=0.8)
    axis.set_yticks(range(len(arms)), [LABELS[arm] for arm in arms], fontsize=8)
    axis.set_xlabel("late accuracy minus Clip-Higher's (same regime, same seeds; 95% interval)")
    axis.legend(fontsize=7)
    save(figure, path)


def dose(lines: list[dict[str, Any]], path: Path) -> None:
    """What a run gained against the share of its tokens outside the range."""
    figure, axis = plt.subplots(figsize=(6, 3.8), layout="constrained")
    for arms, colour, label in (
        (("clip_higher", "clip_higher_1epoch", "clip_higher_half_lr"), "#1b7837", "Clip-Higher"),
        (("gppo_low0", "gppo_low0_half_lr"), "#2166ac", "GPPO, β_low = 0"),
        (("gppo", "gppo_1epoch", "gppo_half_lr", "gppo_high0", "gppo_nll0.1"), "#b2182b", "β_low = 1"),
        (("cispo",), "#e08214", "CISPO"),
    ):
        chosen = [line for line in lines if line["arm"] in arms]
        gains = [float(line["late"]) - float(line["heldout_0"]) for line in chosen]
        axis.scatter([100 * float(line["outside"]) for line in chosen], gains, s=16, color=colour, label=label)
    axis.axhline(0, color="grey", linewidth=0.8)
    axis.set(xlabel="tokens outside the range, %, mean over the run", ylabel="late accuracy − start")
    axis.legend(fontsize=7)
    save(figure, path)


def save(figure: Any, path: Path) -> None:
    """A small PNG without metadata that changes from run to run."""
    figure.savefig(path, dpi=110, metadata={"Software": None})
    plt.close(figure)


def main() -> None:
    """Draw everything beside the table."""
    folder = Path(sys.argv[1])
    with (folder / "runs.csv").open(encoding="utf-8") as file:
        lines = list(csv.DictReader(file))
    curves(lines, folder / "curves.png")
    differences(json.loads((folder / "summary.json").read_text(encoding="utf-8")), folder / "differences.png")
    dose(lines, folder / "outside.png")


if __name__ == "__main__":
    main()
