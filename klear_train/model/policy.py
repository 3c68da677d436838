"""A causal model asked about given tokens: their likelihood, with sequences packed and the head in chunks.

Shapes: T tokens of a batch, N trained ones, D the model's width.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from klear_data.errors import UsageError
from klear_train.model.head import nll_sum as head_nll_sum
from klear_train.model.head import token_logprobs
from klear_train.packing import Batch, Example, collate

Result = TypeVar("Result")

TOLERANCE = {torch.float32: 1e-3, torch.bfloat16: 0.1}
"""How far the states of a packed sequence may be from those it has alone, relative to their size: rounding
differs, as another number of tokens is multiplied at once."""


class Policy(nn.Module):
    """A transformers model whose computations run inside one forward call.

    FSDP gathers what lies outside the decoder layers (embedding, last norm, head) in the hook before this
    module's forward; a head used after the forward would be a shard.
    """

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model

    def forward(self, compute: Callable[..., Result], *args: Any, **options: Any) -> Result:
        """``compute(model, *args, **options)``, with all weights at hand."""
        return compute(self.model, *args, **options)


def hidden_states_TD(model: Any, batch: Batch) -> Tensor:
    """The decoder's last hidden states; no sequence sees another."""
    return model.base_model(  # type: ignore[no-any-return]
        input_ids=batch.input_ids_T[None],
        position_ids=batch.position_ids_T[None],
        # transformers passes a mask of four dimensions on as it is; the attention here needs none, and says so.
        attention_mask=batch.input_ids_T.new_empty(1, 1, 0, 0),
        use_cache=False,
        documents=batch.documents,
        kernel=model.klear_kernel,
    ).last_hidden_state[0]


def nll_sum(model: Any, batch: Batch, *, scale: float = 1.0) -> Tensor:
    """−scale · Σ log π over the batch's trained tokens: a scalar in float32, with gradient."""
    head = model.get_output_embeddings()
    hidden_ND = hidden_states_TD(model, batch).index_select(0, batch.predictors_N)
    return head_nll_sum(hidden_ND, head.weight, head.bias, batch.targets_N, scale=scale)


def target_logprobs(
    model: Any, batch: Batch, *, temperature: float = 1.0, with_entropy: bool = False
) -> tuple[Tensor, Tensor | None]:
    """log π of the batch's trained tokens, (N,), and on request the entropy at each, (N,), without gradient.

    Args:
        model: a causal model whose head is one linear layer.
        batch: packed sequences.
        temperature: divides the logits, as the sampler divided them.
        with_entropy: compute H(π(·|prefix)) too.
    """
    head = model.get_output_embeddings()
    hidden_ND = hidden_states_TD(model, batch).index_select(0, batch.predictors_N)
    return token_logprobs(
        hidden_ND, head.weight, head.bias, batch.targets_N, temperature=temperature, with_entropy=with_entropy
    )


@torch.no_grad()
def check_documents_stay_apart(policy: Policy, vocabulary: int, device: torch.device) -> None:
    """Compare two short sequences packed with each of them alone, on this very model.

    Whatever a model does between its tokens besides attention (convolutions, recurrent states, positions of its
    own) would let one example leak into the next without a sign; this is the sign.

    Raises:
        UsageError: the second sequence is not what it is alone, or no numbers at all.
    """
    was_training = policy.training
    policy.eval()
    examples = [
        Example([(7 * at + shift) % vocabulary for at in range(length)], [False] * length)
        for length, shift in ((9, 1), (6, 3))
    ]
    together_TD = policy(hidden_states_TD, collate(examples).to(device))
    alone_TD = policy(hidden_states_TD, collate(examples[1:]).to(device))
    policy.train(was_training)
    if not bool(alone_TD.isfinite().all()):
        raise UsageError(
            f"model {type(policy.model).__name__}: it computes numbers that are none (nan or inf) on a short text; "
            "expected weights that a training left whole; look at the model's files"
        )
    # One token may differ at random in bf16 where experts are chosen; all of them do only where something leaks.
    apart_T = (together_TD[9:] - alone_TD).float().norm(dim=-1) / alone_TD.float().norm(dim=-1)
    if not bool(apart_T.median() <= TOLERANCE.get(alone_TD.dtype, 0.1)):
        raise UsageError(
            f"model {type(policy.model).__name__}: packed sequences see each other (states differ by "
            f"{float(apart_T.median()):.2g} of their size); expected a decoder in which tokens meet in attention only; "
            "train another model"
        )
