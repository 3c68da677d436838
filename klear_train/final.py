"""The trained model in Hugging Face format, for transformers, vLLM and whoever reads safetensors."""

from __future__ import annotations

import errno
import json
import shutil
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import Tensor
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict

from klear_data.errors import unwritable
from klear_train.chat import chat_format
from klear_train.distributed import World
from klear_train.model import Policy, lora
from klear_train.settings import LoRASection, ModelSection


def save_final(
    folder: Path,
    model: Any,
    tokenizer: Any,
    *,
    world: World | None = None,
    config: ModelSection | None = None,
    adapter: LoRASection | None = None,
) -> Path:
    """Write a model and its tokenizer in Hugging Face format, whole or absent; every process calls this.

    Args:
        folder: of the model.
        model: a transformers model, or the policy around it, in shards or not.
        tokenizer: is written beside it.
        world: None for one process.
        config: its ``dtype`` is that of the weights on disk (their own without it); its ``path`` the base of an
            adapter.
        adapter: the model was trained through one.

    Raises:
        UsageError: it can't be written.
    """
    whole = StateDictOptions(
        full_state_dict=True, cpu_offload=True, ignore_frozen_params=adapter is not None and adapter.rank > 0
    )
    weights = {
        name.removeprefix("model.") if isinstance(model, Policy) else name: tensor
        for name, tensor in get_model_state_dict(model, options=whole).items()
    }
    inner = model.model if isinstance(model, Policy) else model
    half = folder.with_name(f".writing_{folder.name}")

    def write() -> None:
        try:
            shutil.rmtree(half, ignore_errors=True)
            if adapter is not None and adapter.rank:
                assert config is not None
                lora.save(half, config.path, adapter, weights, dtype=getattr(torch, config.dtype))
            else:
                _save_weights(half, inner, weights, None if config is None else getattr(torch, config.dtype))
            tokenizer.save_pretrained(half)
            _say_what_ends_a_turn(half, tokenizer)
            _as_readable_as_the_rest(half)
            shutil.rmtree(folder, ignore_errors=True)
            half.rename(folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(half, ignore_errors=True)
            cause = error if isinstance(error, OSError) else OSError(errno.EIO, str(error))
            raise unwritable(folder, cause) from error

    if world is None:
        write()
    else:
        world.once(write)
    return folder


def _save_weights(folder: Path, model: Any, weights: dict[str, Tensor], dtype: torch.dtype | None) -> None:
    """As ``save_pretrained`` does, from weights that were gathered, in a type of one's choice."""
    if dtype is not None:
        weights = {name: w.to(dtype) if w.is_floating_point() else w for name, w in weights.items()}
    model.save_pretrained(folder, state_dict=weights)
    if dtype is not None and model.dtype != dtype:  # transformers wrote down that of the weights in memory
        path = folder / "config.json"
        values = json.loads(path.read_text(encoding="utf-8")) | {"dtype": str(dtype).removeprefix("torch.")}
        path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _as_readable_as_the_rest(folder: Path) -> None:
    """Give weights the permissions of the other files, as umask has them: safetensors lets only the owner read."""
    usual = folder / "tokenizer_config.json"
    for weights in folder.glob("*.safetensors"):
        weights.chmod(usual.stat().st_mode & 0o777)


def _say_what_ends_a_turn(folder: Path, tokenizer: Any) -> None:
    """Let samplers stop at the token that the model was trained to end its turns with.

    The chat template's may differ from the tokenizer's end of sequence (``<|im_end|>`` on a base model); vLLM and
    transformers read from generation_config.json where to stop, and would run on to the length limit without it.
    """
    path = folder / "generation_config.json"
    if not path.is_file():  # an adapter alone
        return
    values = json.loads(path.read_text(encoding="utf-8"))
    known = values.get("eos_token_id", tokenizer.eos_token_id)
    ends = list(dict.fromkeys([*(known if isinstance(known, list) else [known]), chat_format(tokenizer).end_token]))
    ends = [token for token in ends if token is not None]
    values["eos_token_id"] = ends if len(ends) > 1 else ends[0]
    path.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
