"""A Qwen3-shaped policy of 150,000 parameters: sampling with kept log-probabilities, and supervised learning.

Shapes: B responses, P tokens of a prompt, T tokens of the longest response.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import torch
from tasks import VOCABULARY, Problem, Task, encode, is_right
from torch import Tensor
from torch.nn import functional
from transformers import DynamicCache, Qwen3Config, Qwen3ForCausalLM

END_TOKEN = 0


def make_policy(seed: int) -> Any:
    """Random weights from a seed."""
    config = Qwen3Config(
        vocab_size=len(VOCABULARY),
        hidden_size=64,
        intermediate_size=192,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=32,
        max_position_embeddings=64,
        tie_word_embeddings=True,
        eos_token_id=END_TOKEN,
        pad_token_id=END_TOKEN,
        bos_token_id=None,
        rope_parameters={"rope_type": "default", "rope_theta": 500.0},
        initializer_range=0.06,
    )
    torch.manual_seed(seed)
    return Qwen3ForCausalLM(config)


@dataclass(frozen=True)
class Samples:
    """Responses with the log-probabilities under the policy that wrote them; END fills what is masked out."""

    prompts_BP: Tensor
    responses_BT: Tensor
    logprobs_BT: Tensor
    mask_BT: Tensor
    right_B: Tensor


@torch.no_grad()
def sample(model: Any, task: Task, problems: list[Problem], generator: torch.Generator) -> Samples:
    """One response to each problem at temperature 1, judged."""
    prompts_BP = torch.tensor([encode(problem.prompt) for problem in problems])
    cache = DynamicCache(config=model.config)
    tokens_B1, running_B = prompts_BP, torch.ones(len(problems), dtype=torch.bool)
    columns: list[tuple[Tensor, Tensor, Tensor]] = []
    while running_B.any() and len(columns) < task.max_tokens:
        logits_BV = model(tokens_B1, past_key_values=cache, use_cache=True, logits_to_keep=1).logits[:, -1]
        all_logprobs_BV = logits_BV.log_softmax(-1)
        tokens_B1 = torch.multinomial(all_logprobs_BV.exp(), 1, generator=generator)
        tokens_B1 = torch.where(running_B[:, None], tokens_B1, END_TOKEN)
        columns.append((tokens_B1[:, 0], all_logprobs_BV.gather(1, tokens_B1)[:, 0], running_B))
        running_B = running_B & (tokens_B1[:, 0] != END_TOKEN)
    responses_BT, logprobs_BT, mask_BT = (torch.stack(column, 1) for column in zip(*columns, strict=True))
    lengths = mask_BT.sum(1).tolist()
    right = [is_right(p, row[:n]) for p, row, n in zip(problems, responses_BT.tolist(), lengths, strict=True)]
    return Samples(prompts_BP, responses_BT, logprobs_BT, mask_BT, torch.tensor(right))


def logprobs_and_entropy(model: Any, prompts_BP: Tensor, responses_BT: Tensor) -> tuple[Tensor, Tensor]:
    """Of each response token: log π with gradient, and the entropy of the distribution it came from without."""
    width = responses_BT.shape[1]
    logits_BTV = model(torch.cat([prompts_BP, responses_BT[:, :-1]], 1), logits_to_keep=width).logits
    all_BTV = logits_BTV.log_softmax(-1)
    entropy_BT = -(all_BTV.detach().exp() * all_BTV.detach()).sum(-1)
    return all_BTV.gather(2, responses_BT[..., None])[..., 0], entropy_BT


def accuracy(model: Any, task: Task, problems: list[Problem], seed: int) -> float:
    """Share of right answers, one response a problem at temperature 1, always with the same draws."""
    model.eval()
    right_B = sample(model, task, problems, torch.Generator().manual_seed(seed)).right_B
    model.train()
    return float(right_B.float().mean())


def fine_tune(task: Task, seed: int, *, wanted: float, batch_size: int = 64, max_steps: int = 4000) -> tuple[Any, int]:
    """A policy trained on worked responses until it answers ``wanted`` of new problems: the start of every arm.

    Returns:
        The policy and the number of steps it took.

    Raises:
        RuntimeError: it never got there.
    """
    rng = random.Random(f"sft/{seed}")
    model = make_policy(seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=0.01, fused=True)
    check = [task.make(random.Random(f"sft-check/{seed}/{i}")) for i in range(256)]
    for step in range(1, max_steps + 1):
        for group in optimizer.param_groups:
            group["lr"] = 2e-3 * min(1.0, step / 50)
        problems = [task.make(rng) for _ in range(batch_size)]
        rows = [encode(problem.prompt + problem.response) for problem in problems]
        width = max(map(len, rows))
        tokens_BS = torch.tensor([row + [END_TOKEN] * (width - len(row)) for row in rows])
        start = len(problems[0].prompt)
        trained_BS = torch.tensor([[start <= at < len(row) for at in range(width)] for row in rows])
        logits_BSV = model(tokens_BS[:, :-1]).logits
        loss_BS = functional.cross_entropy(logits_BSV.transpose(1, 2), tokens_BS[:, 1:], reduction="none")
        loss = (loss_BS * trained_BS[:, 1:]).sum() / trained_BS.sum()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if step % 10 == 0 and accuracy(model, task, check, seed) >= wanted:
            return model, step
    raise RuntimeError(f"seed {seed}: SFT never reached {wanted} within {max_steps} steps")
