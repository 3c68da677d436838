"""Prompts as arrays of codes: one integer a token, which says what the token is and which one.

The low two bits are the kind (:data:`WORD`, :data:`NUMBER`, :data:`SYMBOL`, :data:`CHARACTER`), the rest is a number
within the kind. Codes below ``Encoder.known`` of their kind occur in a benchmark item.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, NamedTuple

from klear_data.contamination.overlap.numbers import GLUE, join_number_words, value_of
from klear_data.contamination.overlap.words import stem

WORD, NUMBER, SYMBOL, CHARACTER = range(4)
"""Kinds: a word; a number by its value; a letter, command or sign of a formula; a Chinese or Japanese character."""

LITERAL = "\0"
"""First character of a token that stands for a value in a program, such as ``[1,2,3]``."""

_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
# The most frequent kind first: the pattern is most of the cost of a prompt.
_TOKEN = re.compile(
    r"[a-z\u00df-\u024f]+"
    r"|\d+(?:(?: |\{,\}|,(?:\\!)?)\d{3}(?!\d))*"  # 1500  1,500  10{,}000  400 000
    r"(?:\.\d+)?(?: ?[/\u2044] ?\d+)?(?:\\?%)?"  # its end: .5  /2  30\%
    r"|\\(?:[dt]?frac\s*(?:\{\d+\}|\d)\s*(?:\{\d+\}|\d)|[a-z]+)"  # \frac{1}{2}  \frac12  \sin
    rf"|\.\d+|[-^=+*/<>!|{_CJK}]|[^\W\d_a-z\u00df-\u024f{_CJK}]+"
)
_DRAWING = re.compile(r"\[asy\].*?(?:\[/asy\]|$)|\\begin\{tikzpicture\}.*?(?:\\end\{tikzpicture\}|$)", re.DOTALL)

# How a formula looks, not what it says.
_LOOKS = (
    "left right big bigg bigl bigr text textbf textit mathrm mathbf mathbb mathcal mbox operatorname "
    "displaystyle begin end quad qquad item emph overline underline bar limits"
)
_TYPESETTING = frozenset(f"\\{name}" for name in _LOOKS.split())
_SAME_SYMBOL = {
    r"\dfrac": r"\frac",
    r"\tfrac": r"\frac",
    r"\times": "*",
    r"\cdot": "*",
    r"\le": "<",
    r"\leq": "<",
    r"\ge": ">",
    r"\geq": ">",
    r"\lvert": "|",
    r"\rvert": "|",
    r"\mid": "|",
    r"\dots": r"\ldots",
    r"\cdots": r"\ldots",
    r"\pmod": r"\mod",
    r"\bmod": r"\mod",
}
NOTHING = -1
"""Code of a token that is there for the looks."""
_MEMO_LIMIT = 1 << 18


class Batch(NamedTuple):
    """The codes of several prompts, one after the other.

    Attributes:
        codes: int64, of all tokens.
        starts: int64, where each prompt begins, and the end of the last.
    """

    codes: Any
    starts: Any


class Encoder:
    """Gives codes to tokens. Tokens of the items get the low ones, in the order they come.

    Args:
        texts: of the items, normalised.
        tokenise: what the tokens of a text are; one that begins with :data:`LITERAL` takes the place of a number.
    """

    def __init__(self, texts: Iterable[str], tokenise: Callable[[str], list[str]] | None = None) -> None:
        self._tokenise = tokenise or tokens_of
        self._ids: dict[tuple[int, object], int] = {}
        self._next = [0, 0, 0, 0]
        self._memo = _Memo(self)
        self.known = [0, 0, 0, 0]
        self.items = self._encoded(list(texts))
        self.known = list(self._next)
        # Several classes look at one batch, or at what an earlier class left of it.
        self._places: dict[str, Any] = {}

    def encode(self, texts: Sequence[str]) -> Batch:
        """The codes of normalised prompts.

        Unknown tokens get codes too, so that two of them differ; those hold within one batch only.
        """
        if not all(text in self._places for text in texts):
            batch = self._encoded(texts)
            bounds = pairwise(batch.starts.tolist())
            self._places = {text: batch.codes[start:end] for text, (start, end) in zip(texts, bounds, strict=True)}
            return batch
        return _joined([self._places[text] for text in texts])

    def item_codes(self) -> list[Any]:
        """The codes of each item, those of tokens that say nothing left out."""
        codes, starts = self.items
        texts = (codes[start:end] for start, end in pairwise(starts.tolist()))
        return [text[text != NOTHING] for text in texts]

    def key_of(self, token: str) -> tuple[int, object] | None:
        """Kind and identity of a token, ``None`` where it says nothing."""
        if token[0] == LITERAL:
            return NUMBER, token[1:]
        value = value_of(token.replace("\\%", "%"))
        if value is not None:
            return NUMBER, value
        if token[0] == "\\":
            token = _SAME_SYMBOL.get(token, token)
            return None if token in _TYPESETTING else (SYMBOL, token)
        if len(token) > 1:
            return WORD, stem(token)
        return (CHARACTER if token >= "\u3040" else SYMBOL), token

    def code_of(self, token: str) -> int:
        """The code of a token, a new one if it has none."""
        key = self.key_of(token)
        if key is None:
            return NOTHING
        number = self._ids.get(key)
        if number is None:
            kind = key[0]
            number = self._ids[key] = self._next[kind]
            self._next[kind] += 1
        return number << 2 | key[0]

    def word_id(self, stemmed: str) -> int | None:
        return self._ids.get((WORD, stemmed))

    def number_id(self, value: object) -> int:
        """The id of a number, -1 if no item has it."""
        return self._ids.get((NUMBER, value), -1)

    def number_values(self) -> list[Any]:
        """The values of the known numbers, by id."""
        return [value for (kind, value), number in self._ids.items() if kind == NUMBER and number < self.known[kind]]

    def _encoded(self, texts: Sequence[str]) -> Batch:
        import numpy as np

        if len(self._memo) > _MEMO_LIMIT:
            self._forget()  # not while codes of an earlier batch are kept: they are replaced now
        codes, starts = array("q"), array("q", [0])
        code_of, tokenise = self._memo.__getitem__, self._tokenise
        for text in texts:
            codes.extend(map(code_of, tokenise(text)))
            starts.append(len(codes))
        all_codes = np.frombuffer(codes, dtype=np.int64) if codes else np.zeros(0, dtype=np.int64)
        return Batch(all_codes, np.frombuffer(starts, dtype=np.int64))

    def _forget(self) -> None:
        """Drop what no item has, so that memory stays bounded whatever the prompts hold."""
        self._ids = {key: number for key, number in self._ids.items() if number < self.known[key[0]]}
        self._next = list(self.known)
        self._memo = _Memo(self)


def _joined(parts: Sequence[Any]) -> Batch:
    import numpy as np

    starts = np.zeros(len(parts) + 1, dtype=np.int64)
    np.cumsum([len(part) for part in parts], out=starts[1:])
    return Batch(np.concatenate([np.zeros(0, dtype=np.int64), *parts]), starts)


class _Memo(dict[str, int]):
    """Token → code, asked of the encoder the first time."""

    def __init__(self, encoder: Encoder) -> None:
        super().__init__()
        self._encoder = encoder

    def __missing__(self, token: str) -> int:
        code = self[token] = self._encoder.code_of(token)
        return code


def tokens_of(normalised: str) -> list[str]:
    """The tokens that are compared: words, whole numbers and fractions, signs of formulas.

    >>> tokens_of("sells 1,200 eggs at $1.50, half of \\\\frac{3}{4} in twenty-five boxes")
    ['sells', '1,200', 'eggs', 'at', '1.50', 'half', 'of', '\\\\frac{3}{4}', 'in', '25', 'boxes']
    """
    if "[asy]" in normalised or "{tikzpicture}" in normalised:
        normalised = _DRAWING.sub(" ", normalised)
    tokens = _TOKEN.findall(normalised)
    return tokens if GLUE.isdisjoint(tokens) else join_number_words(tokens)
