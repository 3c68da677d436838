"""Low-rank adapters (LoRA, arXiv 2106.09685) through peft, inside the model that they change.

The model keeps its class and names; only the adapters are trained, checkpointed and, by choice, written out.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from klear_data.errors import UsageError, require
from klear_train.settings import LoRASection

_NEEDED_BY = "lora.rank"


def add(model: Any, config: LoRASection) -> None:
    """Freeze the model and add trainable adapters to the layers named by ``config.targets``.

    Raises:
        CapabilityError: peft is not installed.
        UsageError: no layer has such a name, or one of them is the output layer.
    """
    peft = require("peft", extra="peft", needed_by=_NEEDED_BY)
    try:
        peft.inject_adapter_in_model(_peft_config(config), model)
    except ValueError as error:
        raise UsageError(
            f"lora.targets = {config.targets!r}: no layer can be adapted ({str(error).splitlines()[0]}); expected "
            "names of linear layers, or all-linear; look at the model's layers"
        ) from error
    if hasattr(model.get_output_embeddings(), "lora_A") or hasattr(model.get_input_embeddings(), "lora_A"):
        raise UsageError(
            f"lora.targets = {config.targets!r}: it names the embedding or the output layer; expected layers between "
            "them; leave it out"
        )
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)


def save(folder: Path, base_path: str, config: LoRASection, adapter: dict[str, Tensor], dtype: Any) -> None:
    """Write the adapter in peft's format, or the base model with the adapter added to its weights.

    Args:
        folder: is made.
        base_path: the model that the adapter was trained on.
        config: ``merge`` says which.
        adapter: its weights by the names that they have in the trained model.
        dtype: of the merged weights.
    """
    from transformers import AutoModelForCausalLM

    peft = require("peft", extra="peft", needed_by=_NEEDED_BY)
    base = AutoModelForCausalLM.from_pretrained(base_path, dtype="float32")
    wrapped = peft.get_peft_model(base, _peft_config(config))
    wrapped.peft_config["default"].base_model_name_or_path = base_path
    unknown = wrapped.base_model.model.load_state_dict(adapter, strict=False).unexpected_keys
    assert not unknown, f"adapter weights without a place: {unknown[:3]}"
    if config.merge:
        wrapped.merge_and_unload().to(dtype).save_pretrained(folder)
    else:
        wrapped.save_pretrained(folder)


def _peft_config(config: LoRASection) -> Any:
    import peft

    targets: Any = config.targets if config.targets == "all-linear" else config.targets.split(",")
    return peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,
        lora_dropout=config.dropout,
        target_modules=targets,
        task_type="CAUSAL_LM",
    )
