"""Think tags written one way, whoever wrote the response."""

from __future__ import annotations

import re

from klear_data.reward.think import CLOSE, OPEN

# Blank lines before the answer go, and spaces where it follows the tag on one line; the indentation of a first
# line stays, since it may be code.
_BEFORE_ANSWER = re.compile(r"\A(?:(?:[ \t]*\r?\n)+|[ \t]+)")


def normalised(completion: str) -> str:
    r"""A response as ``<think>\n…\n</think>\n\nanswer``, the form of Qwen3's and DeepSeek's templates.

    A response whose template had opened the tag in the prompt gets it back; ``klear train sft`` does not write
    it twice. A response without ``</think>``, with several blocks, or with text before ``<think>`` is no such
    response and stays as it is.

    >>> normalised("one and one</think>2")
    '<think>\none and one\n</think>\n\n2'
    """
    reasoning, close, answer = completion.partition(CLOSE)
    inner = reasoning.lstrip().removeprefix(OPEN)
    if not close or CLOSE in answer or OPEN in inner or OPEN in answer:
        return completion
    return f"{OPEN}\n{inner.strip()}\n{CLOSE}\n\n{_BEFORE_ANSWER.sub('', answer).rstrip()}"


def is_unclosed(completion: str) -> bool:
    """True if a response begins to think and never ends: it was cut off.

    >>> is_unclosed("<think>one and"), is_unclosed("one and one is 2")
    (True, False)
    """
    return completion.lstrip().startswith(OPEN) and CLOSE not in completion
