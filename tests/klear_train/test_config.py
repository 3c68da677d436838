from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from klear_data.errors import UsageError
from klear_train.config import CONFIGS, Kind, load_config, recipe_names, to_toml
from klear_train.settings import RLConfig, Section, SFTConfig

KINDS: list[Kind] = ["sft", "rl"]


@pytest.mark.parametrize(("kind", "recipe"), [(kind, name) for kind in KINDS for name in recipe_names(kind)])
def test_every_shipped_recipe_parses_and_survives_a_round_trip(kind: Kind, recipe: str, tmp_path: Path) -> None:
    config = load_config(kind, recipe=recipe)
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert load_config(kind, path=path) == config


def test_the_recipes_are_those_promised() -> None:
    assert recipe_names("sft") == ["klear-8b-sft", "tiny-sft"]
    assert recipe_names("rl") == ["klear-8b-code", "klear-8b-math", "tiny-rl"]


def test_the_paper_s_settings_stand_in_the_8b_recipes() -> None:
    sft: SFTConfig = load_config("sft", recipe="klear-8b-sft")
    assert (sft.optim.lr, sft.optim.lr_floor, sft.epochs, sft.pack_tokens) == (8e-5, 4e-5, 4, 32768)
    math: RLConfig = load_config("rl", recipe="klear-8b-math")
    code: RLConfig = load_config("rl", recipe="klear-8b-code")
    assert (math.optim.lr, math.prompts_per_minibatch) == (1e-6, 16)
    assert (code.optim.lr, code.prompts_per_minibatch) == (5e-7, 32)
    for rl in (math, code):
        assert (rl.rollout.prompts_per_step, rl.rollout.n, rl.rollout.max_tokens) == (128, 8, 32768)
        assert (rl.loss.kind, rl.loss.clip_low, rl.loss.clip_high, rl.loss.nll_weight) == ("gppo", 0.2, 0.28, 0.1)
        assert (rl.loss.beta_low, rl.loss.beta_high, rl.loss.ratio_cap) == (1.0, 1.0, None)


def test_overrides_go_before_the_file_and_the_file_before_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "my.toml"
    path.write_text("epochs = 3\n[optim]\nlr = 0.5\n")
    config = load_config("sft", recipe="tiny-sft", path=path, overrides=["optim.lr=1e-4", "model.path=a/b c"])
    assert (config.epochs, config.optim.lr, config.model.path) == (3, 1e-4, "a/b c")
    assert config.optim.warmup_steps == load_config("sft", recipe="tiny-sft").optim.warmup_steps


@pytest.mark.parametrize(
    ("kind", "overrides", "message"),
    [
        ("rl", ["loss.clip_hihg=1"], r"unknown key 'loss.clip_hihg'.*did you mean 'loss.clip_high'\?"),
        ("sft", ["pack_token=9"], r"did you mean 'pack_tokens'\?"),
        ("sft", ["zzz=1"], r"unknown key 'zzz'; expected one of .*remove it"),
        ("sft", ["optim.lr=-1"], r"optim\.lr = -1 won't do \(Input should be greater than 0\)"),
        ("sft", ["optim.lr=1e400"], r"optim\.lr = inf won't do \(Input should be a finite number\)"),
        ("rl", ["loss.kind=ppo"], r"loss\.kind = 'ppo' won't do"),
        ("sft", ["optim"], r"--set optim: no assignment; expected a\.b=value"),
        ("sft", ["optim=3"], r"optim = 3 won't do"),
    ],
)
def test_a_setting_that_won_t_do_says_which_and_what_instead(kind: Kind, overrides: list[str], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_config(kind, recipe=f"tiny-{kind}", overrides=overrides)


def test_a_missing_setting_is_named() -> None:
    with pytest.raises(UsageError, match=r"the key 'optim' is missing"):
        load_config("sft", overrides=["pack_tokens=64", "rows_per_step=1"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"recipe": "tiny"}, "no such recipe for `klear train sft`; expected one of klear-8b-sft, tiny-sft"),
        ({"recipe": "tiny-rl"}, "tiny-rl is for `klear train rl`"),
        ({"path": "nowhere.toml"}, r"nowhere\.toml: can't be read"),
    ],
)
def test_a_recipe_or_file_that_is_none_is_said_clearly(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        load_config("sft", **arguments)


def test_a_file_that_is_no_toml_is_said_clearly(tmp_path: Path) -> None:
    path = tmp_path / "bad.toml"
    path.write_text("lr: 3\n")
    with pytest.raises(UsageError, match=r"bad\.toml: no TOML \("):
        load_config("sft", path=path)


def test_strings_that_toml_must_escape_survive(tmp_path: Path) -> None:
    odd = 'a"b\\c\nd\x7fü😀'
    config = SFTConfig.model_validate(load_config("sft", recipe="tiny-sft").model_dump() | {"model": {"path": odd}})
    path = tmp_path / "config.toml"
    path.write_text(to_toml(config), encoding="utf-8")
    assert load_config("sft", path=path).model.path == odd


def test_every_setting_is_documented() -> None:
    def undocumented(model: type[Section], prefix: str = "") -> list[str]:
        found = []
        for name, field in model.model_fields.items():
            if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
                assert field.annotation.__doc__
                found += undocumented(field.annotation, f"{prefix}{name}.")
            elif not field.description:
                found.append(prefix + name)
        return found

    assert [name for model in CONFIGS.values() for name in undocumented(model)] == []
