"""The one normaliser: everything that compares prompts compares them in this form."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

NORMALISER = "nfkc-casefold-ws/1"
"""Named in every record that a comparison decided, so that a change of rule is visible."""

_WORD = re.compile(r"\w+")
ASCII_FOLD = bytes(32 if chr(byte).isspace() else ord(chr(byte).lower()) for byte in range(128))
"""ASCII in one step: capitals to small letters, what str.split() takes for a blank to a space."""
_FOLD = ASCII_FOLD + bytes(128)
_BETWEEN = "\0"


@lru_cache(maxsize=4)  # id, duplicates and decontamination ask for the same prompt in turn
def normalise(text: str) -> str:
    """NFKC, casefold, every run of whitespace one space, no space at the ends.

    >>> normalise("  Ｗhat is\\n１/2? ")
    'what is 1/2?'
    """
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def normalise_many(texts: Sequence[str]) -> list[str]:
    """:func:`normalise` of each text, several times faster where most of them are ASCII.

    >>> normalise_many(["What  is\\n1/2? ", " Ｗhat"])
    ['what is 1/2?', 'what']
    """
    whole = _BETWEEN.join(texts)
    if whole.isascii() and whole.count(_BETWEEN) == len(texts) - 1:
        return _normalise_ascii(texts)
    plain = [text.isascii() and _BETWEEN not in text for text in texts]
    folded = iter(_normalise_ascii([text for text, is_plain in zip(texts, plain, strict=True) if is_plain]))
    return [next(folded) if is_plain else normalise(text) for text, is_plain in zip(texts, plain, strict=True)]


def _normalise_ascii(texts: Sequence[str]) -> list[str]:
    """All texts at once, as one piece of bytes with a NUL between them; only odd spaces are mended one by one."""
    import numpy as np

    if not texts:
        return []
    data = f"{_BETWEEN}{_BETWEEN.join(texts)}{_BETWEEN}".encode("ascii").translate(_FOLD)
    folded = data[1:-1].decode("ascii").split(_BETWEEN)
    codes = np.frombuffer(data, np.uint8)
    blank = codes <= ord(" ")  # of two blanks in a row one is a space too many, or a text is empty
    odd = np.flatnonzero(blank[1:] & blank[:-1])
    if len(odd):
        ends = np.flatnonzero(codes == 0)[1:]
        for position in np.unique(np.searchsorted(ends, odd + 1)).tolist():
            folded[position] = " ".join(folded[position].split())
    return folded


def words(text: str) -> list[str]:
    """The alphanumeric words of a text after :func:`normalise`.

    >>> words("Find $x^2$, Bob!")
    ['find', 'x', '2', 'bob']
    """
    return _WORD.findall(normalise(text))


def prompt_text(prompt: list[dict[str, Any]]) -> str:
    """What a problem says: the contents of its messages but the system's, one after the other."""
    if len(prompt) == 1 and prompt[0]["role"] == "user":  # nearly always, and asked for every row
        return prompt[0]["content"]  # type: ignore[no-any-return]
    return "\n".join(message["content"] for message in prompt if message["role"] != "system")


def content_id(text: str) -> str:
    """First 16 hex digits of the sha256 of the normalised text: the same in every run.

    >>> content_id("What is 1/2?") == content_id("what is  1/2?")
    True
    """
    return hashlib.sha256(normalise(text).encode("utf-8", "surrogatepass")).hexdigest()[:16]
