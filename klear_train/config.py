"""From a recipe, a TOML file and ``--set`` overrides to the settings of a run, and back to TOML."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from klear_data.errors import UsageError
from klear_train.settings import RLConfig, Section, SFTConfig

Kind = Literal["sft", "rl"]

CONFIGS: dict[Kind, type[Section]] = {"sft": SFTConfig, "rl": RLConfig}


def load_config(
    kind: Kind, *, recipe: str | None = None, path: str | Path | None = None, overrides: Sequence[str] = ()
) -> Any:
    """The config of a trainer: a recipe or a file (or both, the file's values going first), then overrides.

    Args:
        kind: ``sft`` or ``rl``.
        recipe: name of a shipped recipe.
        path: a TOML file.
        overrides: ``a.b=value`` in TOML's notation; what is no TOML value is a string.

    Returns:
        An :class:`SFTConfig` or :class:`RLConfig`.

    Raises:
        UsageError: no such recipe or file, no TOML, an unknown key, a value out of range.
    """
    values: dict[str, Any] = {}
    if recipe is not None:
        values = _merged(values, _read(_recipe_text(kind, recipe), f"recipe {recipe}"))
    if path is not None:
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: can't be read ({error}); expected a TOML file; check --config") from error
        values = _merged(values, _read(text, str(path)))
    for override in overrides:
        values = _merged(values, _override(override))
    where = str(path) if path is not None else f"recipe {recipe}" if recipe is not None else "config"
    try:
        return CONFIGS[kind].model_validate(values)
    except ValidationError as error:
        raise UsageError(_explain(error, CONFIGS[kind], where)) from error


def recipe_names(kind: Kind | None = None) -> list[str]:
    """Shipped recipes, of one trainer or of both."""
    folder = resources.files("klear_train") / "recipes"
    names = sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))
    return [name for name in names if kind is None or _kind_of(name) == kind]


def to_toml(config: Section) -> str:
    """The resolved config as TOML; reads back to an equal config."""
    lines: list[str] = []
    _write_table(config.model_dump(), "", lines)
    return "\n".join(lines).strip() + "\n"


def _kind_of(recipe: str) -> Kind:
    return "sft" if recipe.endswith("sft") else "rl"


def _recipe_text(kind: Kind, recipe: str) -> str:
    known = recipe_names(kind)
    if recipe not in known:
        other = f"; {recipe} is for `klear train {_kind_of(recipe)}`" if recipe in recipe_names() else ""
        raise UsageError(
            f"--recipe {recipe}: no such recipe for `klear train {kind}`{other}; expected one of {', '.join(known)}"
        )
    return (resources.files("klear_train") / "recipes" / f"{recipe}.toml").read_text(encoding="utf-8")


def _read(text: str, where: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{where}: no TOML ({error}); expected `key = value` lines and [tables]; mend that line"
        ) from error


def _override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise UsageError(f"--set {text}: no assignment; expected a.b=value; for example --set optim.lr=1e-5")
    try:
        parsed: Any = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()
    for part in reversed(parts):
        parsed = {part: parsed}
    return dict(parsed)


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        if isinstance(value, dict) and isinstance(merged.get(key), dict):
            merged[key] = _merged(merged[key], value)
        else:
            merged[key] = value
    return merged


def _explain(error: ValidationError, model: type[Section], where: str) -> str:
    first = error.errors()[0]
    location = [str(part) for part in first["loc"]]
    dotted = ".".join(location)
    if first["type"] == "extra_forbidden":
        table: Any = model
        for part in location[:-1]:
            table = table.model_fields[part].annotation
        known = list(table.model_fields)
        near = difflib.get_close_matches(location[-1], known, n=1)
        hint = f"did you mean {'.'.join([*location[:-1], near[0]])!r}?" if near else "remove it"
        return f"{where}: unknown key {dotted!r}; expected one of {', '.join(known)}; {hint}"
    if first["type"] == "missing":
        return f"{where}: the key {dotted!r} is missing; expected a value; set it with --set {dotted}=…"
    return f"{where}: {dotted} = {first['input']!r} won't do ({first['msg']}); mend it or use --set {dotted}=…"


def _write_table(table: dict[str, Any], name: str, lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if name and plain:
        lines += ["", f"[{name}]"]
    lines += [f"{key} = {_toml_value(value)}" for key, value in plain.items() if value is not None]
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(value, f"{name}.{key}" if name else key, lines)


def _toml_value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # A JSON string is a TOML string but for this one character.
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    return repr(value)
