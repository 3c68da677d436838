"""From the study's runs to a table: one line a run, and paired differences between arms.

    python examples/gppo_study/summarise.py runs.jsonl --out results

Writes ``runs.csv`` (accuracies and where the tokens lay) and ``summary.json``. What counts is the *late accuracy*:
the mean of the last two held-out evaluations. Arms are compared on the same seeds, so on the
same start and the same problems; the interval is Student's t over those differences.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from klear_data.stats import t_quantile95

TOKENS = ("clip_low_negative", "clip_high_positive", "below_positive", "above_negative")
FIGURES = (*TOKENS, "outside_gradient_share", "kl", "entropy", "grad_norm")
COLLAPSED_BY = 0.1


def references_of(arm: str) -> list[str]:
    """What an arm is compared with: Clip-Higher and GPPO in its own regime, and itself in the study's main one."""
    suffix = next((suffix for suffix in ("_1epoch", "_half_lr") if arm.endswith(suffix)), "")
    wanted = [f"clip_higher{suffix}", f"gppo{suffix}", arm.removesuffix(suffix)]
    return [name for name in dict.fromkeys(wanted) if name != arm]


def line_of(run: dict[str, Any]) -> dict[str, Any]:
    """One run as figures: held-out accuracy by step, and means over its steps."""
    heldout = {int(step): value for step, value in run["heldout"].items()}
    curves = run["curves"]
    line: dict[str, Any] = {key: run[key] for key in ("task", "arm", "seed", "lr", "steps", "sft_steps", "updates")}
    line |= {f"heldout_{step}": round(value, 4) for step, value in heldout.items()}
    line["late"] = round(fmean(list(heldout.values())[-2:]), 4)
    line["outside"] = float(f"{sum(fmean(curves[name]) for name in TOKENS):.4g}")
    line |= {name: float(f"{fmean(curves[name]):.4g}") for name in FIGURES}
    line["ratio_max"] = max(curves["ratio_max"])
    line["cpu_s"] = run["cpu_s"]
    return line


def interval(values: list[float]) -> dict[str, Any]:
    """Mean and, from two values on, the half width of its 95% t interval."""
    half = t_quantile95(len(values) - 1) * stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return {"n": len(values), "mean": round(fmean(values), 4), "half_width": None if half is None else round(half, 4)}


def compared(lines: list[dict[str, Any]], task: str | None) -> list[dict[str, Any]]:
    """Each arm on one task (or on all of them): its late accuracy and its differences to others, seed by seed."""
    chosen = [line for line in lines if task in (None, line["task"])]
    late = {(line["task"], line["seed"], line["arm"]): line["late"] for line in chosen}
    table = []
    for arm in dict.fromkeys(line["arm"] for line in chosen):
        own = [line for line in chosen if line["arm"] == arm]
        row = {
            "task": task or "all",
            "arm": arm,
            "start": round(fmean(line["heldout_0"] for line in own), 4),
            "late": interval([line["late"] for line in own]),
            "gain": interval([line["late"] - line["heldout_0"] for line in own]),
            "collapsed": sum(line["late"] < line["heldout_0"] - COLLAPSED_BY for line in own),
            "worse_than_start": sum(line["late"] < line["heldout_0"] for line in own),
            "outside": round(fmean(line["outside"] for line in own), 4),
            "clipped": round(fmean(line["clip_low_negative"] + line["clip_high_positive"] for line in own), 4),
            "outside_gradient_share": round(fmean(line["outside_gradient_share"] for line in own), 4),
            "minus": {},
        }
        for reference in references_of(arm):
            pairs = [(line["late"], late.get((line["task"], line["seed"], reference))) for line in own]
            differences = [mine - other for mine, other in pairs if other is not None]
            if differences:
                worse = sum(difference < 0 for difference in differences)
                row["minus"][reference] = interval(differences) | {"worse_on": worse}
        table.append(row)
    return table


def main() -> None:
    """Write the table and the summary, and print the comparison."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    args = parser.parse_args()
    runs = [json.loads(line) for line in args.runs.read_text(encoding="utf-8").splitlines()]
    lines = sorted(map(line_of, runs), key=lambda line: (line["task"], line["seed"]))
    args.out.mkdir(parents=True, exist_ok=True)
    with (args.out / "runs.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(lines[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(lines)
    tasks = [None, *dict.fromkeys(line["task"] for line in lines)]
    table = [row for task in tasks for row in compared(lines, task)]
    summary = {"runs": len(lines), "cpu_s": round(sum(line["cpu_s"] for line in lines)), "arms": table}
    (args.out / "summary.json").write_text(json.dumps(summary, indent=1) + "\n", encoding="utf-8")
    for row in table:
        against = [
            f"− {name} {found['mean']:+.3f} ± {found['half_width'] or 0:.3f} "
            f"({found['worse_on']} of {found['n']} worse)"
            for name, found in row["minus"].items()
        ]
        print(
            f"{row['task']:5}{row['arm']:20} late {row['late']['mean']:.3f} gain {row['gain']['mean']:+.3f} ± "
            f"{row['gain']['half_width'] or 0:.3f} collapsed {row['collapsed']} outside {100 * row['outside']:.1f}% "
            f"gradient {100 * row['outside_gradient_share']:.1f}%",
            *against,
            sep="  ",
        )


if __name__ == "__main__":
    main()
