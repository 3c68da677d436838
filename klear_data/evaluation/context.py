"""A longer context for a model by YaRN (arXiv 2309.00071), as the authors reach 64K tokens with a factor of 2.5.

YaRN stretches the rotary position embeddings at run time; the weights stay as they are. Backends get it as changes to
the model's config, so transformers and vLLM compute the same.
"""

from __future__ import annotations

import re
from typing import Any

from klear_data.errors import UsageError, require

YARN_FACTOR = 2.5
_TRAINED = {40_960: 32_768}
"""Qwen3's chat models state 32,768 for the answer and 8,192 for the prompt; they were trained on the former."""


def tokens_of(budget: str) -> int:
    """A budget in tokens.

    Raises:
        UsageError: it is no positive number.

    >>> tokens_of("64k"), tokens_of("500")
    (65536, 500)
    """
    match = re.fullmatch(r"(\d{1,9})([kK]?)", budget.strip())
    if match is None or int(match[1]) == 0:
        raise UsageError(f"--budget {budget}: no number of tokens; expected one like 32k or 65536; change it")
    return int(match[1]) * (1024 if match[2] else 1)


def stretched(model: str, tokens: int) -> dict[str, Any] | None:
    """The changes to a model's config that let it write so many tokens.

    Args:
        model: folder or Hub id; only its config is read.
        tokens: the budget of a completion. A prompt takes its share of the context too: where the model's own
            positions just hold the budget, the completion ends earlier, as in the authors' runs at 32K.

    Returns:
        None where its own positions reach.

    Raises:
        UsageError: they don't, not even stretched; or it has no plain rotary embeddings to stretch.
        CapabilityError: transformers is not installed.
    """
    config = _config(model)
    positions = getattr(config, "max_position_embeddings", None)
    if positions is None or positions >= tokens:
        return None
    rope = getattr(config, "rope_parameters", None)
    kind = rope.get("rope_type", "default") if isinstance(rope, dict) else None
    if not isinstance(rope, dict) or kind is None or "rope_theta" not in rope:
        raise UsageError(_refusal(model, tokens, positions, "has no rotary embeddings that YaRN could stretch"))
    if kind != "default":
        raise UsageError(_refusal(model, tokens, positions, f"is scaled by {kind!r} already"))
    trained = _TRAINED.get(positions, positions)
    reach = int(YARN_FACTOR * trained)
    if reach < tokens:
        raise UsageError(
            _refusal(model, tokens, positions, f"reaches {reach:,} with YaRN's factor of {YARN_FACTOR}, as the authors")
        )
    yarn = {"rope_type": "yarn", "factor": YARN_FACTOR, "original_max_position_embeddings": trained}
    return {"rope_parameters": {**rope, **yarn}, "max_position_embeddings": reach}


def _refusal(model: str, tokens: int, positions: int, why: str) -> str:
    return (
        f"--budget {tokens}: {model} has {positions:,} positions and {why}; expected a model whose positions hold the "
        f"budget; use a smaller budget or another model"
    )


def _config(model: str) -> Any:
    from klear_data.generate.transformers_backend import check_folder

    transformers = require("transformers", extra="train", needed_by="--budget")
    check_folder(model)
    try:
        return transformers.AutoConfig.from_pretrained(model).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise UsageError(
            f"{model}: its config can't be read ({reason}); expected a model folder or a Hub id; check --model"
        ) from None
