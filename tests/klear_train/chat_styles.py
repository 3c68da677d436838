"""Chat templates in the styles of the families in use, written small, each with a tokenizer that knows its marks.

The tokenizers are byte-level, so a token is a byte or a mark, except ``sentencepiece_like``: words with the space in
front of them, and one more space put before every text, as Llama-2's and Mistral's tokenizers do.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast


@dataclass(frozen=True)
class Style:
    template: str
    marks: tuple[str, ...]
    eos: str
    bos: str | None = None
    words: tuple[str, ...] = ()


CHATML_TURN = "{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}"
CHATML_ASK = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
CHATML_MARKS = ("<|im_start|>", "<|im_end|>", "<|endoftext|>")

# Base models of this family end a text with <|endoftext|> and a turn with <|im_end|>; a system prompt is put in.
QWEN25 = Style(
    "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe good.<|im_end|>\n' }}{% endif %}"
    "{% for m in messages %}" + CHATML_TURN + "{% endfor %}" + CHATML_ASK,
    CHATML_MARKS,
    eos="<|endoftext|>",
)

# Thinking stays after the last question only, always in one form, and is put in empty where there is none.
QWEN3 = Style(
    "{% set ns = namespace(last=0) %}"
    "{% for m in messages %}{% if m['role'] == 'user' %}{% set ns.last = loop.index0 %}{% endif %}{% endfor %}"
    "{% for m in messages %}{% if m['role'] != 'assistant' %}" + CHATML_TURN + "{% else %}"
    "{% set said = m['content'].split('</think>')[-1].lstrip('\n') %}"
    "{% set thought = m['content'].split('</think>')[0].split('<think>')[-1].strip('\n') "
    "if '</think>' in m['content'] else '' %}"
    "{{ '<|im_start|>assistant\n' }}"
    "{% if loop.index0 > ns.last and (loop.last or thought) %}{{ '<think>\n' + thought + '\n</think>\n\n' }}{% endif %}"
    "{{ said + '<|im_end|>\n' }}{% endif %}{% endfor %}" + CHATML_ASK,
    CHATML_MARKS,
    eos="<|im_end|>",
)

# Opens <think> in the prompt, removes it from every answer.
DEEPSEEK_R1 = Style(
    "{{ bos_token }}{% for m in messages %}"
    "{% if m['role'] == 'system' %}{{ m['content'] }}"
    "{% elif m['role'] == 'user' %}{{ '<|User|>' + m['content'] }}"
    "{% else %}{{ '<|Assistant|>' + m['content'].split('</think>')[-1] + '<|end_of_sentence|>' }}{% endif %}"
    "{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|Assistant|><think>\n' }}{% endif %}",
    ("<|User|>", "<|Assistant|>"),
    eos="<|end_of_sentence|>",
    bos="<|begin_of_sentence|>",
)

# Trims the contents; the turn ends with <|eot_id|>, the text of a base model with <|end_of_text|>.
LLAMA3 = Style(
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|start_header_id|>' + m['role'] + '<|end_header_id|>\n\n' + m['content'] | trim + '<|eot_id|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}",
    ("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
    eos="<|end_of_text|>",
    bos="<|begin_of_text|>",
)

# No mark of where the assistant begins; a space before its answer; refuses a system prompt.
MISTRAL = Style(
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% elif m['role'] == 'assistant' %}{{ ' ' + m['content'] + eos_token }}"
    "{% else %}{{ raise_exception('only user and assistant roles') }}{% endif %}{% endfor %}",
    (),
    eos="</s>",
    bos="<s>",
    words=("[INST]", "[/INST]", "Q", "R", "A", "B"),
)

# The assistant is called model.
GEMMA = Style(
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<start_of_turn>' + ('model' if m['role'] == 'assistant' else m['role']) + '\n' + m['content'] | trim"
    " + '<end_of_turn>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<start_of_turn>model\n' }}{% endif %}",
    ("<start_of_turn>", "<end_of_turn>"),
    eos="<eos>",
    bos="<bos>",
)

# A second end, of the text, after the last turn's.
PHI3 = Style(
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' + m['content'] + '<|end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% else %}{{ eos_token }}{% endif %}",
    ("<|system|>", "<|user|>", "<|assistant|>", "<|end|>"),
    eos="<|endoftext|>",
)

# Says itself where the assistant speaks; one with the newline inside the mark, one with the end outside.
MARKED = Style(
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + '<|im_end|>\n' }}{% endgeneration %}"
    "{% else %}{{ m['content'] + '<|im_end|>\n' }}{% endif %}{% endfor %}" + CHATML_ASK,
    CHATML_MARKS,
    eos="<|endoftext|>",
)
MARKED_WITHOUT_END = Style(
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' }}{% if m['role'] == 'assistant' %}"
    "{% set parts = m['content'].split('::') %}{{ parts[0] + '::' if parts | length > 1 }}"
    "{%- generation -%}{{ parts[-1] }}{%- endgeneration -%}"
    "{% else %}{{ m['content'] }}{% endif %}{{ '<|im_end|>\n' }}{% endfor %}" + CHATML_ASK,
    CHATML_MARKS,
    eos="<|endoftext|>",
)

# Plain headings without any special token.
ALPACA = Style(
    "{% for m in messages %}{{ '### ' + m['role'] + ':\n' + m['content'] + '\n\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '### assistant:\n' }}{% endif %}",
    (),
    eos="</s>",
)


def tokenizer_of(style: Style) -> Any:
    """A tokenizer with the marks of a style; where it has a bos, tokenising plain text adds one."""
    backend = _sentencepiece_like(style.words) if style.words else _byte_level()
    special = [style.eos, *([style.bos] if style.bos else []), *style.marks]
    backend.add_special_tokens([AddedToken(mark, special=True, normalized=False) for mark in special])
    backend.add_tokens([AddedToken(tag, special=False, normalized=False) for tag in ("<think>", "</think>")])
    if style.bos:
        backend.post_processor = processors.TemplateProcessing(
            single=f"{style.bos} $A", special_tokens=[(style.bos, backend.token_to_id(style.bos))]
        )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=style.eos, bos_token=style.bos, clean_up_tokenization_spaces=False
    )
    wrapped.chat_template = style.template
    return wrapped


def _byte_level() -> Tokenizer:
    # Two newlines are one token where they stand together, as in the large vocabularies.
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {char: index for index, char in enumerate([*alphabet, "ĊĊ"])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[("Ċ", "Ċ")]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    return backend


def _sentencepiece_like(words: tuple[str, ...]) -> Tokenizer:
    pieces = ["<unk>", "▁", *words, *(f"▁{word}" for word in words)]
    backend = Tokenizer(models.WordLevel({piece: at for at, piece in enumerate(pieces)}, unk_token="<unk>"))
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
    backend.decoder = decoders.Metaspace(prepend_scheme="never")
    return backend
