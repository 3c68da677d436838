"""What a token is: the three usual readings of "9-gram", each with a name that goes into every record."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from klear_data.contamination.seen import SEEN
from klear_data.latex import LATEX, canonical_latex
from klear_data.text import NORMALISER, normalise

TokeniserName = Literal["words", "whitespace", "latex"]

# Han with its extension A and compatibility forms, hiragana, katakana.
_CJK = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_LETTER = rf"[^\W\d_{_CJK}]"

# Classes of characters, for the kernels.
BETWEEN, WORD, SINGLE, DIGIT, ESCAPE, COMMAND = range(6)
_CODE_POINTS = 0x40000  # those above are of the last one's class: they are no letters


@dataclass(frozen=True)
class Tokeniser:
    """How a prompt becomes tokens.

    Attributes:
        name: with its version.
        normaliser: what the text goes through first, with the versions.
        prepare: from the normalised and the original text to the one that is cut into tokens.
        word: the characters (a class of a regular expression) whose runs are tokens.
        single: characters that are a token each.
        digit: characters whose runs are tokens apart from those of ``word``.
        commands: whether a word after a backslash is a word like others, a token with its backslash, or no token.
        reads_original: whether ``prepare`` looks at the original text.
    """

    name: str
    normaliser: str
    prepare: Callable[[str, str], str]
    word: str
    single: str | None = None
    digit: str | None = None
    commands: Literal["words", "tokens", "dropped"] = "words"
    reads_original: bool = True

    @cached_property
    def tokens(self) -> Callable[[str], list[str]]:
        """From a prepared text to its tokens."""
        before = {"words": "", "tokens": r"\\?", "dropped": rf"(?<!\\)(?<!{self.word})"}[self.commands]
        runs = [before + self.word + "+", self.digit and self.digit + "+", self.single]
        return re.compile("|".join(filter(None, runs))).findall

    @cached_property
    def classes(self) -> bytes:
        """The class of each code point, for the kernels: the same tokens as :attr:`tokens`."""
        every = "".join(map(chr, range(_CODE_POINTS)))
        table = bytearray(_CODE_POINTS)
        for kind, members in ((WORD, self.word), (SINGLE, self.single), (DIGIT, self.digit)):
            for run in re.finditer(f"{members}+", every) if members else ():
                table[run.start() : run.end()] = bytes([kind]) * (run.end() - run.start())
        if self.commands != "words":
            table[ord("\\")] = ESCAPE if self.commands == "tokens" else COMMAND
        return bytes(table)


def _normalised(normalised: str, original: str) -> str:
    return normalised


def _original(normalised: str, original: str) -> str:
    return original


_HAS_MARKUP = re.compile(r"[\\$^_~{}]|[^\x00-\x7f]").search


def _canonical(normalised: str, original: str) -> str:
    """In one spelling; without LaTeX the tokens are those of the text as it is."""
    return normalised if _HAS_MARKUP(normalised) is None else normalise(canonical_latex(original))


_PLAIN = f"{NORMALISER} {SEEN}"
_TOKENISERS = {
    "words": Tokeniser(
        "words+cjk/1",
        f"{NORMALISER} {SEEN}",
        _normalised,
        word=rf"[^\W{_CJK}]",
        single=f"[{_CJK}]",
        reads_original=False,
    ),
    "whitespace": Tokeniser("whitespace/1", SEEN, _original, word=r"\S"),
    "latex": Tokeniser(
        "latex+cjk/1",
        f"{LATEX} {_PLAIN}",
        _canonical,
        word=_LETTER,
        digit=r"\d",
        single=rf"[{_CJK}+*/=<>^_|!%\-]",
        commands="tokens",
    ),
}
SKELETON = Tokeniser(
    "skeleton", NORMALISER, _normalised, word=rf"[^\W\d_{_CJK}\u0370-\u03ff]", digit=r"\d", single=f"[{_CJK}]",
    commands="dropped", reads_original=False,
)  # fmt: skip
"""Words and numbers without LaTeX's commands and Greek letters: much the same however a formula is spelled."""


def tokeniser(name: TokeniserName) -> Tokeniser:
    """One of the three.

    - ``words``: runs of letters, digits and underscores, in lower case; each Chinese or Japanese character.
    - ``whitespace``: what stands between white space, as it is written.
    - ``latex``: words, numbers, commands and operators of the text in one spelling of LaTeX, in lower case,
      without brackets and punctuation; each Chinese or Japanese character.

    >>> tokeniser("words").tokens("剪去6米, find x_1+2")
    ['剪', '去', '6', '米', 'find', 'x_1', '2']
    >>> tokeniser("whitespace").tokens("Find  x_1+2, Bob")
    ['Find', 'x_1+2,', 'Bob']
    >>> latex = tokeniser("latex")
    >>> latex.tokens(latex.prepare("find $\\\\dfrac{x}{2}$", "Find $\\\\dfrac{x}{2}$"))
    ['find', '\\\\frac', 'x', '2']
    """
    return _TOKENISERS[name]
