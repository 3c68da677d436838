"""Loading a Hugging Face causal model for training: on one process, or in shards over many."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, set_model_state_dict
from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

from klear_data.errors import UsageError
from klear_data.generate.transformers_backend import load_model_and_tokenizer, load_tokenizer, not_loaded
from klear_train.distributed import World
from klear_train.model import attention, lora
from klear_train.model.policy import Policy, check_documents_stay_apart
from klear_train.settings import LoRASection, ModelSection

_HEAD_CHANGES = ("final_logit_softcapping", "logit_scale", "logits_scaling", "output_multiplier_scale")


def load_for_training(config: ModelSection) -> tuple[Any, Any]:
    """A causal model in training mode and its tokenizer, whole, on this process, in ``config.dtype``.

    Raises:
        UsageError: the folder is none, the tokenizer has no end-of-sequence token (no rollout would ever
            end), or the model computes attention or logits in a way that klear does not.
    """
    model, tokenizer = _load_whole(config, dtype=config.dtype)
    prepare(model, config)
    return model, tokenizer


def load_policy(config: ModelSection, world: World, *, adapter: LoRASection | None = None) -> tuple[Policy, Any]:
    """A causal model in training mode and its tokenizer, with weights in float32, in shards where needed.

    One process in float32 holds the plain model. Everything else is sharded over ``world.mesh`` with FSDP2, one
    process included: it computes in ``config.dtype`` and keeps weights, gradients and their sums in float32.
    Only rank 0 reads the weights; the others get their shards from it.

    Raises:
        UsageError: as :func:`load_for_training`, or packed sequences see each other in this model.
    """
    loaded: list[tuple[Any, Any]] = []
    world.once(lambda: loaded.append(_load_whole(config, dtype="float32", device="cpu")))
    model, tokenizer = loaded[0] if world.is_main else _load_empty(config)
    prepare(model, config)
    if adapter is not None and adapter.rank:
        lora.add(model, adapter)
    policy = Policy(model)
    if world.size > 1 or config.dtype != "float32":
        _shard(policy, config, world)
    else:
        policy.to(world.device)
    check_documents_stay_apart(policy, model.get_input_embeddings().num_embeddings, world.device)
    return policy, tokenizer


def prepare(model: Any, config: ModelSection) -> None:
    """Give a loaded model klear's attention and the configured way to keep activations.

    Raises:
        UsageError: it computes attention or logits in a way of its own.
    """
    changed = [name for name in _HEAD_CHANGES if getattr(model.config, name, None) not in (None, 1, 1.0)]
    if changed:
        raise UsageError(
            f"{config.path}: the model's config sets {', '.join(changed)}; expected logits straight from the output "
            "layer; train a model without it"
        )
    attention.install(model, config.attention)
    if config.gradient_checkpointing:
        model.gradient_checkpointing_enable({"use_reentrant": False})
    model.train()


def tokenizer_of(config: ModelSection) -> Any:
    """The model's tokenizer.

    Raises:
        UsageError: there is none, or it names no end-of-sequence token.
    """
    if not config.path:
        raise UsageError("model.path: no model is named; expected a model folder or a hub id; give --model")
    tokenizer = load_tokenizer(config.path)
    if tokenizer.eos_token_id is None:
        raise UsageError(
            f"{config.path}: the tokenizer names no end-of-sequence token; expected one; set `eos_token` in its config"
        )
    return tokenizer


def read_config(path: str) -> Any:
    """The model's config.

    Raises:
        UsageError: it can't be read, or is of a kind that transformers doesn't know.
    """
    from transformers import AutoConfig

    try:
        return AutoConfig.from_pretrained(path)
    except (OSError, ValueError, KeyError) as error:
        raise not_loaded(path, error) from error


def without_weights(path: str) -> Any:
    """The model on torch's ``meta`` device: shapes, and no memory.

    Raises:
        UsageError: as :func:`read_config`, or it is no causal language model.
    """
    from transformers import AutoModelForCausalLM

    config = read_config(path)
    try:
        with torch.device("meta"):
            return AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    except ValueError as error:
        raise not_loaded(path, error) from error


def check_config(path: str, tokenizer: Any) -> None:
    """What can be told before gigabytes are read.

    Raises:
        UsageError: the weights are quantised, or the tokenizer has tokens that the model does not know.
    """
    config = read_config(path)
    kind = getattr(config, "quantization_config", None)
    if kind is not None:
        method = kind.get("quant_method", "") if isinstance(kind, dict) else type(kind).__name__
        raise UsageError(
            f"{path}: the weights are quantised ({method}); expected float32, bfloat16 or float16; train the model "
            "that it was made from"
        )
    size = getattr(config.get_text_config(), "vocab_size", None)
    if size is not None and len(tokenizer) > size:
        raise UsageError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens but the model embeds {size}; expected a tokenizer that "
            "fits; use the model's own"
        )


def _load_whole(config: ModelSection, *, dtype: str, device: str | None = None) -> tuple[Any, Any]:
    check_config(config.path, tokenizer_of(config))
    if config.threads:
        torch.set_num_threads(config.threads)
    return load_model_and_tokenizer(config.path, dtype=dtype, device=device)


def _load_empty(config: ModelSection) -> tuple[Any, Any]:
    """The same model with weights that are not there yet: memory is promised, not used, until shards arrive."""
    if config.threads:
        torch.set_num_threads(config.threads)
    model = without_weights(config.path)
    model.to_empty(device="cpu")
    model.tie_weights()
    return model, load_tokenizer(config.path)


def _shard(policy: Policy, config: ModelSection, world: World) -> None:
    """Shard each decoder layer, then what is left; send rank 0's numbers to where they belong."""
    whole = policy.state_dict() if world.is_main and world.size > 1 else {}
    options: dict[str, Any] = {"mesh": world.mesh, "reshard_after_forward": config.reshard}
    if config.dtype != "float32":
        options["mp_policy"] = MixedPrecisionPolicy(
            param_dtype=getattr(torch, config.dtype), reduce_dtype=torch.float32
        )
    for layer in decoder_layers(policy.model):
        fully_shard(layer, **options)
    fully_shard(policy, **options)
    if world.size == 1:
        return
    set_model_state_dict(
        policy, whole, options=StateDictOptions(full_state_dict=True, broadcast_from_rank0=True)
    )  # fmt: skip
    for buffer in _buffers(policy):  # some (rotary frequencies) are in no state dict
        dist.broadcast(buffer, src=0)


def decoder_layers(model: Any) -> list[nn.Module]:
    """The blocks that a transformers model is a stack of."""
    names = set(getattr(model, "_no_split_modules", None) or [])
    layers = [module for module in model.base_model.modules() if type(module).__name__ in names]
    if not layers:
        layers = list(max((m for m in model.modules() if isinstance(m, nn.ModuleList)), key=len, default=[]))
    return layers


def _buffers(policy: Policy) -> list[Tensor]:
    return [buffer for _, buffer in sorted(policy.named_buffers())]
