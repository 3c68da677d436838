"""The decode loop of the transformers backend: one batch of rows, from prompt to last token.

Shapes: P prompts, R rows (rollouts still being written), T positions so far, V vocabulary.

It is leaner than ``generate`` where that matters for many short rollouts: a prompt is read once for all its
rollouts, keys and values go into buffers that are not copied at each step, and finished rows leave the batch.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from klear_data.errors import UsageError
from klear_data.generate.types import FinishReason, SamplingParams

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

DRAWS_AHEAD = 256
"""Uniform numbers drawn at once for a row."""

COMPACT_BELOW = 0.875
"""Rows leave the batch together once this share or less is still being written: leaving copies the cache."""


@dataclass(frozen=True)
class Row:
    """One rollout to write: which prompt of the batch, and whose random numbers."""

    prompt: int
    record_id: str
    index: int


OnFinish = Callable[[int, list[int], list[float], FinishReason], None]


def decode(
    model: Any,
    prompts: list[list[int]],
    rows: list[Row],
    params: SamplingParams,
    *,
    eos_ids: set[int],
    room: int | None,
    on_finish: OnFinish,
    is_stop: Callable[[list[int]], bool] | None = None,
) -> None:
    """Write every row to its end.

    Args:
        model: a Hugging Face causal model.
        prompts: token ids, each used by at least one row.
        rows: grouped by prompt in the order of ``prompts``.
        params: sampling; ``n`` is not looked at.
        eos_ids: tokens that end a completion.
        room: the model's context in tokens, None if unbounded; each row stops there at the latest.
        on_finish: called with (row number, tokens, logprobs, reason) as soon as a row ends.
        is_stop: says of a row's tokens so far whether they end it.
    """
    import torch

    from klear_data.generate.kv_cache import make_cache

    device = model.device
    longest = max(map(len, prompts))
    limits = [
        params.max_tokens if room is None else min(params.max_tokens, room - len(prompts[r.prompt])) for r in rows
    ]
    ids_PT = torch.tensor([[0] * (longest - len(p)) + p for p in prompts], device=device)
    pads_P = torch.tensor([longest - len(p) for p in prompts], device=device)
    cache = make_cache(model.config, spare=min(max(limits), DRAWS_AHEAD))

    with torch.inference_mode():
        logits_PV = _prefill(model, ids_PT, pads_P, cache)
        of_R = torch.tensor([r.prompt for r in rows], device=device)
        cache.batch_select_indices(of_R)
        logits_RV, pads_R = logits_PV[of_R], pads_P[of_R]
        alive = list(range(len(rows)))
        draws = Draws([f"{params.seed}/{r.record_id}/{r.index}" for r in rows])
        tokens: list[list[int]] = [[] for _ in rows]
        logprobs: list[list[float]] = [[] for _ in rows]
        open_rows = len(rows)
        while True:
            next_R, logprob_R = sample(logits_RV, params, draws.next_R())
            for row, token, logprob in zip(alive, next_R.tolist(), logprob_R.tolist(), strict=True):
                if limits[row] == 0:  # ended earlier, still in the batch
                    continue
                if math.isnan(logprob):
                    raise UsageError(
                        f"record {rows[row].record_id}: the model's logits are no numbers; expected finite ones; its "
                        "weights are broken, or too large for the type: try --dtype float32"
                    )
                tokens[row].append(token)
                logprobs[row].append(logprob)
                limits[row] -= 1
                stopped = token in eos_ids or (is_stop is not None and is_stop(tokens[row]))
                if stopped or limits[row] == 0:
                    limits[row] = 0
                    open_rows -= 1
                    on_finish(row, tokens[row], logprobs[row], "stop" if stopped else "length")
            if not open_rows:
                return
            if open_rows <= COMPACT_BELOW * len(alive):
                keep = [at for at, row in enumerate(alive) if limits[row]]
                keep_R = torch.tensor(keep, device=device)
                alive = [alive[at] for at in keep]
                draws.keep(keep)
                cache.batch_select_indices(keep_R)
                next_R, pads_R = next_R[keep_R], pads_R[keep_R]
            logits_RV = _step(model, next_R, pads_R, cache)


def _prefill(model: Any, ids_PT: Tensor, pads_P: Tensor, cache: Any) -> Tensor:
    """Read the left-padded prompts; the logits after the last token of each."""
    import torch

    T = ids_PT.shape[1]
    at_T = torch.arange(T, device=ids_PT.device)
    real_PT = at_T >= pads_P[:, None]
    # A padding position sees itself, so that no row of the softmax is empty.
    seen_PTT = (at_T[:, None] >= at_T) & (real_PT[:, None, :] | (at_T[:, None] == at_T))
    out = model(
        input_ids=ids_PT,
        attention_mask=seen_PTT[:, None],
        position_ids=(at_T - pads_P[:, None]).clamp(min=0),
        past_key_values=cache,
        use_cache=True,
        logits_to_keep=1,
    )
    return out.logits[:, -1]  # type: ignore[no-any-return]


def _step(model: Any, next_R: Tensor, pads_R: Tensor, cache: Any) -> Tensor:
    """One more token a row: its logits."""
    import torch

    T = cache.get_seq_length() + 1
    seen_RT = torch.arange(T, device=next_R.device) >= pads_R[:, None]
    out = model(
        input_ids=next_R[:, None],
        attention_mask=seen_RT[:, None, None],
        position_ids=(T - 1 - pads_R)[:, None],
        past_key_values=cache,
        use_cache=True,
    )
    return out.logits[:, -1]  # type: ignore[no-any-return]


def sample(logits_RV: Tensor, params: SamplingParams, uniform_R: np.ndarray) -> tuple[Tensor, Tensor]:
    """Draw a token a row by inverting its cumulative distribution at a given uniform number.

    Args:
        logits_RV: of the next token.
        params: temperature (0: the most likely token) and top-p.
        uniform_R: numbers in [0, 1), one a row.

    Returns:
        Tokens and their log-probabilities at the temperature (at 1 where it is 0), before top-p.
    """
    import torch

    logits_RV = logits_RV.float()
    if params.temperature not in (0.0, 1.0):
        logits_RV = logits_RV / params.temperature
    logprobs_RV = logits_RV.log_softmax(-1)
    if params.temperature == 0.0:
        token_R = logits_RV.argmax(-1)
    else:
        probs_RV = logprobs_RV.exp()
        if params.top_p < 1.0:
            sorted_RV, order_RV = probs_RV.sort(dim=-1, descending=True, stable=True)
            beyond_RV = sorted_RV.cumsum(-1, dtype=torch.float64) - sorted_RV >= params.top_p
            probs_RV = torch.zeros_like(probs_RV).scatter(-1, order_RV, sorted_RV.masked_fill(beyond_RV, 0.0))
        # float64: over 150,000 tokens the rounding of float32 would add up to whole tokens.
        cdf_RV = probs_RV.cumsum(-1, dtype=torch.float64)
        threshold_R1 = torch.from_numpy(uniform_R).to(cdf_RV.device)[:, None] * cdf_RV[:, -1:]
        token_R = (cdf_RV <= threshold_R1).sum(-1).clamp(max=cdf_RV.shape[-1] - 1)
    return token_R, logprobs_RV.gather(-1, token_R[:, None])[:, 0]


class Draws:
    """Uniform numbers, each row's from a generator of its own name, whatever rows stand beside it."""

    def __init__(self, names: list[str]) -> None:
        import numpy as np

        keys = (
            int.from_bytes(hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=16).digest(), "big")
            for name in names
        )
        self._generators = [np.random.Generator(np.random.Philox(key=key)) for key in keys]
        self._block = np.empty((len(names), 0))
        self._used = 0

    def next_R(self) -> np.ndarray:
        """The next number of every row."""
        import numpy as np

        if self._used == self._block.shape[1]:
            self._block = np.stack([generator.random(DRAWS_AHEAD) for generator in self._generators])
            self._used = 0
        self._used += 1
        return self._block[:, self._used - 1]

    def keep(self, rows: list[int]) -> None:
        """Forget all rows but these."""
        self._generators = [self._generators[row] for row in rows]
        self._block = self._block[rows]
