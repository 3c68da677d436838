"""Where the loss lies, token by token, under chat templates of several styles."""

from __future__ import annotations

from typing import Any

import pytest
from jinja2 import TemplateError

from klear_train.chat import chat_format, encode, examples_of
from klear_train.packing import Example
from klear_train.tiny import make_tokenizer
from tests.klear_train import chat_styles as styles

ASK_R = {"role": "user", "content": "R"}
SYSTEM = {"role": "system", "content": "S"}
ONE = [{"role": "user", "content": "Q"}, {"role": "assistant", "content": "A"}]
TWO = [*ONE, ASK_R, {"role": "assistant", "content": "B"}]
THINKS = [ONE[0], {"role": "assistant", "content": "<think>\nhm\n</think>\n\nA"}]
THINKS_TWICE = [*THINKS, ASK_R, {"role": "assistant", "content": "<think>\nso\n</think>\n\nB"}]
THINKS_TIGHT = [ONE[0], {"role": "assistant", "content": "<think>hm</think>A"}]
OPENED = [ONE[0], {"role": "assistant", "content": "hm\n</think>\n\nA"}]


def shown(tokenizer: Any, example: Example) -> str:
    """The example's text with its trained tokens in brackets; the space that SentencePiece writes is ``▁``."""
    pieces, inside = [], False
    for token, trained in zip(example.tokens, example.trained, strict=True):
        if trained != inside:
            pieces.append("⟦" if trained else "⟧")
            inside = trained
        piece = tokenizer.convert_ids_to_tokens(int(token))
        pieces.append(piece if "▁" in piece or piece in ("[INST]", "Q") else tokenizer.decode([token]))
    return "".join(pieces) + ("⟧" if inside else "")


def seen(style: styles.Style, messages: list[dict[str, Any]]) -> list[str]:
    tokenizer = styles.tokenizer_of(style)
    return [shown(tokenizer, example) for example in examples_of(tokenizer, messages)]


BE_GOOD = "<|im_start|>system\nBe good.<|im_end|>\n"
Q_CHATML = "<|im_start|>user\nQ<|im_end|>\n<|im_start|>assistant\n"
R_CHATML = "\n<|im_start|>user\nR<|im_end|>\n<|im_start|>assistant\n"
BEGIN_R1, BEGIN_L3 = "<|begin_of_sentence|>", "<|begin_of_text|>"


def llama3(role: str) -> str:
    return f"<|start_header_id|>{role}<|end_header_id|>\n\n"


CASES = {
    "qwen2.5": (styles.QWEN25, ONE, [BE_GOOD + Q_CHATML + "⟦A<|im_end|>⟧"]),
    "qwen2.5, system": (
        styles.QWEN25,
        [SYSTEM, *ONE],
        ["<|im_start|>system\nS<|im_end|>\n" + Q_CHATML + "⟦A<|im_end|>⟧"],
    ),
    "qwen2.5, two turns": (
        styles.QWEN25,
        TWO,
        [BE_GOOD + Q_CHATML + "⟦A<|im_end|>⟧" + R_CHATML + "⟦B<|im_end|>⟧"],
    ),
    "qwen3": (styles.QWEN3, THINKS, [Q_CHATML + "⟦<think>\nhm\n</think>\n\nA<|im_end|>⟧"]),
    "qwen3, thinking in another form is kept as it is": (
        styles.QWEN3,
        THINKS_TIGHT,
        [Q_CHATML + "⟦<think>hm</think>A<|im_end|>⟧"],
    ),
    "qwen3, no thinking: the empty one is the assistant's to write": (
        styles.QWEN3,
        ONE,
        [Q_CHATML + "⟦<think>\n\n</think>\n\nA<|im_end|>⟧"],
    ),
    "qwen3, two turns: history without thinking is another text": (
        styles.QWEN3,
        THINKS_TWICE,
        [
            Q_CHATML + "⟦<think>\nhm\n</think>\n\nA<|im_end|>⟧",
            Q_CHATML + "A<|im_end|>" + R_CHATML + "⟦<think>\nso\n</think>\n\nB<|im_end|>⟧",
        ],
    ),
    "deepseek-r1: the prompt opened <think>": (
        styles.DEEPSEEK_R1,
        THINKS,
        [BEGIN_R1 + "<|User|>Q<|Assistant|><think>\n⟦hm\n</think>\n\nA<|end_of_sentence|>⟧"],
    ),
    "deepseek-r1, a response that begins inside the thinking": (
        styles.DEEPSEEK_R1,
        OPENED,
        [BEGIN_R1 + "<|User|>Q<|Assistant|><think>\n⟦hm\n</think>\n\nA<|end_of_sentence|>⟧"],
    ),
    "deepseek-r1, no thinking: no <think> stays open": (
        styles.DEEPSEEK_R1,
        ONE,
        [BEGIN_R1 + "<|User|>Q<|Assistant|>⟦A<|end_of_sentence|>⟧"],
    ),
    "deepseek-r1, two turns, system": (
        styles.DEEPSEEK_R1,
        [SYSTEM, *THINKS_TWICE],
        [
            BEGIN_R1 + "S<|User|>Q<|Assistant|><think>\n⟦hm\n</think>\n\nA<|end_of_sentence|>⟧",
            BEGIN_R1 + "S<|User|>Q<|Assistant|>\n\nA<|end_of_sentence|><|User|>R<|Assistant|><think>\n"
            "⟦so\n</think>\n\nB<|end_of_sentence|>⟧",
        ],
    ),
    "llama-3, two turns": (
        styles.LLAMA3,
        [SYSTEM, *TWO],
        [
            BEGIN_L3 + llama3("system") + "S<|eot_id|>" + llama3("user") + "Q<|eot_id|>" + llama3("assistant")
            + "⟦A<|eot_id|>⟧" + llama3("user") + "R<|eot_id|>" + llama3("assistant") + "⟦B<|eot_id|>⟧"
        ],
    ),
    "llama-3, what the template trims": (
        styles.LLAMA3,
        [ONE[0], {"role": "assistant", "content": "\n A \n"}],
        [BEGIN_L3 + llama3("user") + "Q<|eot_id|>" + llama3("assistant") + "⟦A<|eot_id|>⟧"],
    ),
    "mistral, two turns: one space before the answer, not two": (
        styles.MISTRAL,
        TWO,
        ["<s>▁[INST]▁Q▁[/INST]⟦▁A</s>⟧▁[INST]▁R▁[/INST]⟦▁B</s>⟧"],
    ),
    "gemma, two turns": (
        styles.GEMMA,
        TWO,
        [
            "<bos><start_of_turn>user\nQ<end_of_turn>\n<start_of_turn>model\n⟦A<end_of_turn>⟧\n<start_of_turn>user\nR"
            "<end_of_turn>\n<start_of_turn>model\n⟦B<end_of_turn>⟧"
        ],
    ),
    "phi-3, two turns: the text's end is not the turn's": (
        styles.PHI3,
        [SYSTEM, *TWO],
        [
            "<|system|>\nS<|end|>\n<|user|>\nQ<|end|>\n<|assistant|>\n⟦A<|end|>⟧\n<|user|>\nR<|end|>\n<|assistant|>\n"
            "⟦B<|end|>⟧"
        ],
    ),
    "marked, two turns: the newline after the end is not sampled": (
        styles.MARKED,
        TWO,
        [Q_CHATML + "⟦A<|im_end|>⟧" + R_CHATML + "⟦B<|im_end|>⟧"],
    ),
    "marked without the end, and only part of the content": (
        styles.MARKED_WITHOUT_END,
        [ONE[0], {"role": "assistant", "content": "call::A"}],
        [Q_CHATML + "call::⟦A<|im_end|>⟧"],
    ),
    "no special token: the end of sequence is put after the content": (
        styles.ALPACA,
        TWO,
        [
            "### user:\nQ\n\n### assistant:\n⟦A</s>⟧",
            "### user:\nQ\n\n### assistant:\nA\n\n### user:\nR\n\n### assistant:\n⟦B</s>⟧",
        ],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("style", "messages", "expected"), CASES.values(), ids=CASES)
def test_the_loss_lies_on_what_the_assistant_says_and_on_its_end(style, messages, expected) -> None:
    assert seen(style, messages) == expected


def test_a_template_that_refuses_the_messages_says_so() -> None:
    with pytest.raises(TemplateError, match="only user and assistant"):
        seen(styles.MISTRAL, [SYSTEM, *ONE])


@pytest.mark.parametrize("content", ["A", "\n\nA", "  A", "end", "<|im_start|>", "", "assistant\n"])
def test_the_prompt_has_the_tokens_that_sampling_would_give_it(content: str) -> None:
    from klear_data.generate.transformers_backend import encode_prompt

    tokenizer = styles.tokenizer_of(styles.QWEN25)
    (example,) = examples_of(tokenizer, [ONE[0], {"role": "assistant", "content": content}])
    prompt = encode_prompt(tokenizer, [ONE[0]])
    assert example.tokens[: len(prompt)] == prompt
    assert example.trained == [False] * len(prompt) + [True] * (len(example.tokens) - len(prompt))
    assert tokenizer.decode(example.tokens[len(prompt) :]) == content + "<|im_end|>"


@pytest.mark.parametrize(
    "style", [styles.MARKED, styles.QWEN25, styles.LLAMA3, styles.GEMMA], ids=["marked", "qwen2.5", "llama-3", "gemma"]
)
def test_a_conversation_whose_history_stays_is_the_text_the_template_makes(style: styles.Style) -> None:
    tokenizer = styles.tokenizer_of(style)
    (example,) = examples_of(tokenizer, TWO)
    whole = tokenizer.apply_chat_template(TWO, tokenize=True, return_dict=True)["input_ids"]
    assert example.tokens == whole[: len(example.tokens)]
    assert tokenizer.decode(whole[len(example.tokens) :]).strip() == ""


@pytest.mark.parametrize(
    ("style", "token"),
    [
        (styles.QWEN25, "<|im_end|>"),
        (styles.QWEN3, "<|im_end|>"),
        (styles.DEEPSEEK_R1, "<|end_of_sentence|>"),
        (styles.LLAMA3, "<|eot_id|>"),
        (styles.MISTRAL, "</s>"),
        (styles.GEMMA, "<end_of_turn>"),
        (styles.PHI3, "<|end|>"),
        (styles.ALPACA, "</s>"),
    ],
    ids=["qwen2.5", "qwen3", "r1", "llama-3", "mistral", "gemma", "phi-3", "alpaca"],
)
def test_the_token_that_ends_a_turn_is_the_templates(style: styles.Style, token: str) -> None:
    tokenizer = styles.tokenizer_of(style)
    assert chat_format(tokenizer).end_token == tokenizer.convert_tokens_to_ids(token)


def test_a_tokenizer_without_a_template_reads_plain_text() -> None:
    tokenizer = make_tokenizer()
    tokenizer.chat_template = None
    (example,) = examples_of(tokenizer, THINKS_TIGHT)
    assert shown(tokenizer, example) == "Q\n\n⟦<think>hm</think>A<|end|>⟧"


def test_a_plain_tokenizer_begins_with_one_bos() -> None:
    tokenizer = styles.tokenizer_of(styles.LLAMA3)
    tokenizer.chat_template = None
    (example,) = examples_of(tokenizer, ONE)
    assert shown(tokenizer, example) == "<|begin_of_text|>Q\n\n⟦A<|end_of_text|>⟧"


def test_conversations_together_are_what_they_are_one_by_one() -> None:
    chat = chat_format(styles.tokenizer_of(styles.QWEN3))
    conversations = [ONE, THINKS_TWICE, [ONE[0]], TWO, [SYSTEM, *THINKS]]
    assert encode(chat, conversations) == [encode(chat, [one])[0] for one in conversations]


def test_a_conversation_without_assistant_has_no_examples() -> None:
    assert examples_of(styles.tokenizer_of(styles.QWEN25), [ONE[0]]) == []
