"""From chat messages to tokens: the template's text, with loss on what the assistant says.

A turn is tokenised as it is met when sampling: the prompt as the template renders it, up to where the assistant
begins, then what the assistant says, then the token with which the template ends a turn. The loss lies on the
last two. What a template writes after that token (a newline, a second end mark) is never sampled and so not part
of the turn.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from klear_data.generate.transformers_backend import encode_prompt, prompt_text

if TYPE_CHECKING:
    from klear_train.packing import Example

Messages = Sequence[dict[str, Any]]

THINK, END_THINK = "<think>", "</think>"
_PROBE = "klear:probe"
_MARKS = re.compile(r"\{%[-+]?\s*generation\s*[-+]?%\}")


@dataclass(frozen=True)
class Encoded:
    """One sequence: its tokens, and the stretches of them that carry loss.

    Attributes:
        tokens: ids.
        spans: (start, end) of each trained stretch, in order, none empty.
    """

    tokens: list[int]
    spans: list[tuple[int, int]]


@dataclass(frozen=True)
class ChatFormat:
    """How a tokenizer's template writes a turn of the assistant.

    Attributes:
        tokenizer: of the model.
        end_token: the token that ends a turn: the first one of the vocabulary's added tokens that the template
            writes after the content; the tokenizer's end of sequence where it writes none.
        end_text: the template's text from the content's end to that token, the token included.
        tail: everything the template writes after the last turn's content.
        marked: the template says itself where the assistant speaks (``{% generation %}``).
    """

    tokenizer: Any
    end_token: int
    end_text: str = ""
    tail: str = ""
    marked: bool = False


def chat_format(tokenizer: Any) -> ChatFormat:
    """Learn from a probe how the tokenizer's template ends what the assistant says.

    It may well differ from the tokenizer's own end of sequence: ChatML ends a turn with ``<|im_end|>`` under base
    models whose texts end with ``<|endoftext|>``, Llama-3 with ``<|eot_id|>``.
    """
    plain = ChatFormat(tokenizer, tokenizer.eos_token_id)
    template = getattr(tokenizer, "chat_template", None)
    if not template:
        return plain
    try:
        text = _rendered(tokenizer, [{"role": "user", "content": "?"}, {"role": "assistant", "content": _PROBE}])
    except TemplateError:  # it wants other roles; its own errors come with the records
        return plain
    if _PROBE not in text:
        return plain
    tail = text[text.rindex(_PROBE) + len(_PROBE) :]
    marked = isinstance(template, str) and _MARKS.search(template) is not None
    found = [(tail.find(name), -len(name), token) for name, token in tokenizer.get_added_vocab().items()]
    at, negative_length, token = min((one for one in found if one[0] >= 0), default=(0, 0, tokenizer.eos_token_id))
    return ChatFormat(tokenizer, token, tail[: at - negative_length], tail, marked)


def examples_of(tokenizer: Any, messages: Messages) -> list[Example]:
    """The training examples of one conversation; see :func:`encode`."""
    from klear_train.packing import Example

    examples = []
    for sequence in encode(chat_format(tokenizer), [messages])[0]:
        trained = [False] * len(sequence.tokens)
        for start, end in sequence.spans:
            trained[start:end] = [True] * (end - start)
        examples.append(Example(sequence.tokens, trained))
    return examples


def encode(chat: ChatFormat, conversations: Sequence[Messages]) -> list[list[Encoded]]:
    """Tokens and trained stretches of conversations: of each one sequence, or as many as history demands.

    The content is what the record says, even where the template would strip its thinking (as Qwen3's and
    DeepSeek's do); a ``<think>`` that the template already opened is not written twice. What a template puts
    between its prompt and the content (Mistral's space, Qwen3's empty thinking) is for the assistant to write, so
    it is trained on. White space at the content's ends goes where the template trims it.

    Turns join into one sequence where a later prompt continues an earlier turn token by token; templates that
    rewrite history (thinking removed from earlier turns) give one sequence a turn instead.

    Raises:
        jinja2.TemplateError: the template refuses the messages.
    """
    turns = [
        [(at, *_turn(chat, messages[: at + 1])) for at, one in enumerate(messages) if one["role"] == "assistant"]
        for messages in conversations
    ]
    texts = [text for of_one in turns for _, prompt, said in of_one for text in (prompt, prompt + said)]
    ids = iter(_token_ids(chat, texts))
    found = []
    for conversation, of_one in zip(conversations, turns, strict=True):
        joined: list[Encoded] = []
        for at, _, said in of_one:
            turn = _tokenised(chat, next(ids), next(ids), said)
            if chat.marked:
                turn = _as_marked(chat, conversation[: at + 1], turn)
            if joined and turn.tokens[: len(joined[-1].tokens)] == joined[-1].tokens:
                earlier = joined.pop()
                turn = Encoded(turn.tokens, earlier.spans + turn.spans)
            joined.append(turn)
        found.append(joined)
    return found


def _turn(chat: ChatFormat, messages: Messages) -> tuple[str, str]:
    """The text before the last message's turn, and the turn with its end."""
    content: str = messages[-1]["content"]
    prompt = prompt_text(chat.tokenizer, list(messages[:-1]))
    if not getattr(chat.tokenizer, "chat_template", None):
        return prompt, content
    said = _without_open_think(prompt, content)
    whole = _rendered(chat.tokenizer, messages)
    if whole.endswith(chat.tail):
        body = whole[: len(whole) - len(chat.tail)]
        kept = content.strip()
        if body.startswith(prompt) and body[len(prompt) :].strip().endswith(said.strip()):
            return prompt, body[len(prompt) :] + chat.end_text
        if _opens_think(prompt) and END_THINK not in content and kept and body.endswith(kept):
            # The prompt opens thinking that this answer does not have: as the template renders such an answer.
            return body[: len(body) - len(kept)], kept + chat.end_text
    return prompt, said + chat.end_text


def _tokenised(chat: ChatFormat, prompt: list[int], whole: list[int], said: str) -> Encoded:
    """Prompt and turn as tokens, split where sampling would begin."""
    if whole[: len(prompt)] != prompt:  # a token across the border, which no sampler would meet
        whole = prompt + list(chat.tokenizer(said, add_special_tokens=False).input_ids)
    if not chat.end_text:
        whole = [*whole, chat.end_token]
    return Encoded(whole, [(len(prompt), len(whole))])


def _as_marked(chat: ChatFormat, messages: Messages, turn: Encoded) -> Encoded:
    """The turn with the loss where the template's own ``{% generation %}`` marks put it, and on its end.

    A template that marks what it has changed (thinking it stripped) can't say where the loss lies on the
    record's content: then the turn stays as it is.
    """
    marked = chat.tokenizer.apply_chat_template(
        list(messages), tokenize=True, return_dict=True, return_assistant_tokens_mask=True
    )
    stop = len(turn.tokens)
    if list(marked["input_ids"][:stop]) != turn.tokens:
        return turn
    begins = len(encode_prompt(chat.tokenizer, list(messages[:-1])))
    # Earlier turns have examples of their own, and a mark around the role's name would train what sampling gives.
    flags = [bool(mark) and at >= begins for at, mark in enumerate(marked["assistant_masks"][:stop])]
    if any(flags):
        flags[-1] = True  # a model that is never shown its end never ends
    return Encoded(turn.tokens, _runs(flags))


def _runs(flags: list[bool]) -> list[tuple[int, int]]:
    """(start, end) of each stretch of True.

    >>> _runs([False, True, True, False, True])
    [(1, 3), (4, 5)]
    """
    edges = [at for at, (now, before) in enumerate(zip([*flags, False], [False, *flags], strict=True)) if now != before]
    return list(zip(edges[::2], edges[1::2], strict=True))


def _token_ids(chat: ChatFormat, texts: list[str]) -> list[list[int]]:
    if not texts:
        return []
    # A template writes the special tokens itself; adding them again would double the first one.
    templated = bool(getattr(chat.tokenizer, "chat_template", None))
    encoded = chat.tokenizer(
        texts, add_special_tokens=not templated, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )
    return list(encoded["input_ids"])


def _rendered(tokenizer: Any, messages: Messages) -> str:
    return str(tokenizer.apply_chat_template(list(messages), tokenize=False))


def _opens_think(prompt: str) -> bool:
    return prompt.rstrip().endswith(THINK)


def _without_open_think(prompt: str, content: str) -> str:
    """The content, less a leading ``<think>`` if the prompt already ends with one."""
    if not _opens_think(prompt) or not content.lstrip().startswith(THINK):
        return content
    opened_with = prompt[prompt.rindex(THINK) + len(THINK) :]
    return content.lstrip().removeprefix(THINK).removeprefix(opened_with)
