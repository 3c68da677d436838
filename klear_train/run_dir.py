"""The folder of a training run: resolved config, versions, metrics, checkpoints, final model."""

from __future__ import annotations

import json
import platform
import sys
from importlib.metadata import version
from pathlib import Path

from klear_data.errors import UsageError
from klear_train.checkpoint import checkpoints
from klear_train.config import to_toml
from klear_train.settings import Section

CONFIG = "config.toml"


def open_run(out_dir: str | Path, config: Section, *, resume: bool) -> tuple[Path, Path | None]:
    """Make a run's folder, or return to it.

    Args:
        out_dir: the run's folder.
        config: resolved; written to ``config.toml``.
        resume: go on from the last complete checkpoint, if there is one.

    Returns:
        The folder, and the checkpoint to go on from.

    Raises:
        UsageError: the folder holds another run, the config is not the one it began with, or it can't be
            written.
    """
    root = Path(out_dir)
    text = to_toml(config)
    try:
        root.mkdir(parents=True, exist_ok=True)
        began_with = (root / CONFIG).read_text(encoding="utf-8") if _has_begun(root) else None
        if began_with is not None and not resume:
            raise UsageError(
                f"{root}: holds a run already; expected a new folder; give another --out, or --resume to go on"
            )
        if began_with is not None and began_with != text:
            changed = sorted(set(text.splitlines()) ^ set(began_with.splitlines()))
            raise UsageError(
                f"{root}: --resume with another config ({'; '.join(changed)}); expected the one in {root / CONFIG}; "
                "give the same settings, or start in a new --out"
            )
        (root / "checkpoints").mkdir(exist_ok=True)
        if began_with is None:
            (root / CONFIG).write_text(text, encoding="utf-8")
        (root / "versions.json").write_text(json.dumps(_versions(), indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{root}: can't be written ({error}); expected a folder for the run; check --out") from error
    found = checkpoints(root / "checkpoints")
    return root, found[-1] if resume and found else None


def _has_begun(root: Path) -> bool:
    """Whether a step was taken here; what failed before that (no model, no data) leaves nothing to lose."""
    metrics = root / "metrics.jsonl"
    has_metrics = metrics.is_file() and metrics.stat().st_size > 0
    return (root / CONFIG).is_file() and (has_metrics or bool(checkpoints(root / "checkpoints")))


def _versions() -> dict[str, str]:
    packages = ("klear-reasoner", "torch", "transformers", "tokenizers", "numpy", "pydantic")
    return {
        "python": sys.version.split()[0],
        "platform": platform.platform(),
        **{package: version(package) for package in packages},
    }
