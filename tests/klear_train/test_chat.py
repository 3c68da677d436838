"""Where the loss lies, under chat templates of several styles."""

from __future__ import annotations

from typing import Any

import pytest

from klear_train.chat import examples_of
from klear_train.packing import Example
from klear_train.tiny import make_tokenizer

# Written in the style of families in use: plain ChatML, one that opens <think> in the prompt, and one that
# removes the thinking from earlier turns.
MARKS = "{{ '<|' + m['role'] + '|>' }}"
PLAIN = "{% for m in messages %}" + MARKS + "{{ m['content'] }}<|end|>\n{% endfor %}"
OPENS_THINK = (
    "{% for m in messages %}" + MARKS + "{% if m['role'] == 'assistant' %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}<|end|>{% endfor %}"
)
STRIPS_HISTORY = (
    "{% for m in messages %}" + MARKS + "{% if m['role'] == 'assistant' and not loop.last %}"
    "{{ m['content'].split('</think>')[-1] }}{% else %}{{ m['content'] }}{% endif %}<|end|>{% endfor %}"
)
ASK = "{% if add_generation_prompt %}<|assistant|>{% endif %}"
ASK_THINKING = "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"

ONE_TURN = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "<think>\nhm</think>A"}]
TWO_TURNS = [*ONE_TURN, {"role": "user", "content": "R"}, {"role": "assistant", "content": "<think>\nso</think>B"}]


def tokenizer_with(template: str | None) -> Any:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = template
    return tokenizer


def shown(tokenizer: Any, example: Example) -> str:
    """The example's text with its trained tokens in brackets."""
    pieces, inside = [], False
    for token, trained in zip(example.tokens, example.trained, strict=True):
        if trained != inside:
            pieces.append("[" if trained else "]")
            inside = trained
        pieces.append(tokenizer.decode([token]))
    return "".join(pieces) + ("]" if inside else "")


@pytest.mark.parametrize(
    ("template", "messages", "expected"),
    [
        (PLAIN + ASK, ONE_TURN, ["<|user|>Q<|end|>\n<|assistant|>[<think>\nhm</think>A<|end|>]"]),
        (
            PLAIN + ASK,
            TWO_TURNS,
            [
                "<|user|>Q<|end|>\n<|assistant|>[<think>\nhm</think>A<|end|>]\n<|user|>R<|end|>\n<|assistant|>"
                "[<think>\nso</think>B<|end|>]"
            ],
        ),
        (OPENS_THINK + ASK_THINKING, ONE_TURN, ["<|user|>Q<|end|><|assistant|><think>\n[hm</think>A<|end|>]"]),
        (
            STRIPS_HISTORY + ASK,
            TWO_TURNS,
            [
                "<|user|>Q<|end|><|assistant|>[<think>\nhm</think>A<|end|>]",
                "<|user|>Q<|end|><|assistant|>A<|end|><|user|>R<|end|><|assistant|>[<think>\nso</think>B<|end|>]",
            ],
        ),
        (None, ONE_TURN, ["Q\n\n[<think>\nhm</think>A<|end|>]"]),
    ],
    ids=["plain", "two_turns_join", "think_already_open", "history_rewritten", "no_template"],
)
def test_the_loss_lies_on_what_the_assistant_says_and_on_its_end(template, messages, expected) -> None:
    tokenizer = tokenizer_with(template)
    assert [shown(tokenizer, example) for example in examples_of(tokenizer, messages)] == expected


def test_a_conversation_without_assistant_has_no_examples() -> None:
    assert examples_of(tokenizer_with(PLAIN + ASK), [{"role": "user", "content": "Q"}]) == []
