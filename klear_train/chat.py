"""From chat messages to training examples: the template's text, with loss on what the assistant says."""

from __future__ import annotations

from typing import Any

from klear_data.generate.transformers_backend import encode_prompt, template_note
from klear_train.packing import Example

THINK = "<think>"


def examples_of(tokenizer: Any, messages: list[dict[str, Any]]) -> list[Example]:
    """The training examples of one conversation: one for each assistant turn, joined where that is exact.

    A turn is tokenised as it is met when sampling: the prompt up to where the assistant begins, then the
    content, then the token that ends a turn; the loss lies on content and end. The content is what the
    record says, even where the template would strip its thinking (as Qwen3's and DeepSeek's do); a
    ``<think>`` that the template already opened is not written twice.

    Turns join into one example where a later prompt continues an earlier turn token by token; templates
    that rewrite history (thinking removed from earlier turns) give one example a turn instead.
    """
    joined: list[Example] = []
    for at, message in enumerate(messages):
        if message["role"] != "assistant":
            continue
        prompt = encode_prompt(tokenizer, messages[:at])
        content = _without_open_think(tokenizer, messages[:at], message["content"])
        response = [*tokenizer(content, add_special_tokens=False).input_ids, tokenizer.eos_token_id]
        before = joined[-1].tokens if joined else []
        if before and prompt[: len(before)] == before:
            trained = joined.pop().trained + [False] * (len(prompt) - len(before))
        else:
            trained = [False] * len(prompt)
        joined.append(Example(prompt + response, trained + [True] * len(response)))
    return joined


def _without_open_think(tokenizer: Any, history: list[dict[str, Any]], content: str) -> str:
    """The content, less a leading ``<think>`` if the prompt already ends with one."""
    if template_note(tokenizer) is not None or not content.lstrip().startswith(THINK):
        return content
    prompt = tokenizer.apply_chat_template(history, add_generation_prompt=True, tokenize=False)
    if not prompt.rstrip().endswith(THINK):
        return content
    opened_with = prompt[prompt.rindex(THINK) + len(THINK) :]
    return content.lstrip().removeprefix(THINK).removeprefix(opened_with)
