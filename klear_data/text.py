"""The one normaliser: everything that compares prompts compares them in this form."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from functools import lru_cache
from typing import Any

NORMALISER = "nfkc-casefold-ws/1"
"""Named in every record that a comparison decided, so that a change of rule is visible."""

_WORD = re.compile(r"\w+")


@lru_cache(maxsize=4)  # id, duplicates and decontamination ask for the same prompt in turn
def normalise(text: str) -> str:
    """NFKC, casefold, every run of whitespace one space, no space at the ends.

    >>> normalise("  Ｗhat is\\n１/2? ")
    'what is 1/2?'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def words(text: str) -> list[str]:
    """The alphanumeric words of a text after :func:`normalise`.

    >>> words("Find $x^2$, Bob!")
    ['find', 'x', '2', 'bob']
    """
    return _WORD.findall(normalise(text))


def prompt_text(prompt: list[dict[str, Any]]) -> str:
    """What a problem says: the contents of its messages but the system's, one after the other."""
    return "\n".join(message["content"] for message in prompt if message["role"] != "system")


def content_id(text: str) -> str:
    """First 16 hex digits of the sha256 of the normalised text: the same in every run.

    >>> content_id("What is 1/2?") == content_id("what is  1/2?")
    True
    """
    return hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()[:16]
