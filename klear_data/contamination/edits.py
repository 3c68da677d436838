"""Edits that a copied benchmark item goes through on its way into training data, from light to heavy.

Each takes the text as written and a random generator, and gives the edited text, or ``None`` where the edit does
not apply (no fraction to respell, no number to change). The audit plants what they give.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable
from dataclasses import dataclass

Apply = Callable[[str, random.Random], str | None]

_WORD = re.compile(r"(?<![\\$\w{])[a-zA-Z]{3,}(?![\w}])")
_INTEGER = re.compile(r"(?<![\w.^_{,/])\d{1,6}(?![\w.}^_/]|,\d)")
_SENTENCE_END = re.compile(r"(?<=[.?!])\s+(?=[A-Z$])")
_NAME = re.compile(r"(?<=[a-z,;] )[A-Z][a-z]{2,}\b")
_CALLED = re.compile(r"\bdef (\w+)\(")
_DIGITS = "zero one two three four five six seven eight nine ten eleven twelve"
_DIGIT_WORDS = tuple(_DIGITS.split())
_FILLER = ("really", "indeed", "clearly", "there", "always", "only", "then")
_NAMES = ("Oksana", "Tobias", "Ngozi", "Priya", "Mateo", "Hanneke", "Yusuf", "Ingrid")
_UNITS = (
    ("kilometers per hour", "km/h"),
    ("miles per hour", "mph"),
    ("kilometers", "km"),
    ("centimeters", "cm"),
    ("kilograms", "kg"),
    ("meters", "metres"),
    ("liters", "litres"),
    ("minutes", "min"),
    ("hours", "hrs"),
    ("pounds", "lbs"),
    ("ounces", "oz"),
    ("feet", "ft"),
    ("percent", "%"),
)
_SYNONYMS = (
    ("How many", "What number of"),
    ("how many", "what number of"),
    ("how much", "what amount of money"),
    ("Find ", "Determine "),
    ("Compute ", "Calculate "),
    ("What is", "Determine"),
    ("buys", "purchases"),
    ("bought", "purchased"),
    ("children", "kids"),
    ("wants to", "would like to"),
    ("each", "apiece"),
    ("more than", "above"),
    ("positive integers", "natural numbers"),
    ("Write a function", "Implement a function"),
    ("Return", "Give back"),
)
_LATEX = (
    ("\\frac", "\\dfrac"),
    ("\\le ", "\\leq "),
    ("\\ge ", "\\geq "),
    ("\\left(", "("),
    ("\\right)", ")"),
    ("\\cdot", "\\times"),
    ("\\ldots", "\\dots"),
    ("\\[", "$$"),
    ("\\]", "$$"),
)
_BEFORE = (
    "The following exercise comes from a collection for self-study. Read it twice before you begin, write down what "
    "is known, and keep your reasoning short.\n\n"
)
_AFTER = "\n\nThink step by step and put your final answer in \\boxed{}. If you are unsure, say so."


@dataclass(frozen=True)
class Edit:
    """One way of editing a copy.

    Attributes:
        name: as it stands in the report.
        light: whether a detector is expected to see (nearly) every such copy.
        apply: see :data:`Apply`.
    """

    name: str
    light: bool
    apply: Apply


def _copy(text: str, _: random.Random) -> str:
    return text


def _case(text: str, _: random.Random) -> str | None:
    return _changed(text, text.upper() if "\\" not in text else text.capitalize())


def _spacing(text: str, draw: random.Random) -> str:
    return re.sub(r"\s+", lambda _: draw.choice(("  ", "\n", "\t", " \n ")), text) + "  "


def _punctuation(text: str, _: random.Random) -> str | None:
    return _changed(text, re.sub(r"[,;:?!]|\.(?=\s|$)", "", text))


def _latex(text: str, _: random.Random) -> str | None:
    for old, new in _LATEX:
        text = text.replace(old, new) if old in text else text
    return text if "\\" in text else None


def _padded(text: str, _: random.Random) -> str:
    return _BEFORE + text + _AFTER


def _word_replaced(text: str, draw: random.Random) -> str | None:
    return _one_word(text, draw, lambda _: draw.choice(_FILLER))


def _word_inserted(text: str, draw: random.Random) -> str | None:
    return _one_word(text, draw, lambda word: f"{draw.choice(_FILLER)} {word}")


def _word_deleted(text: str, draw: random.Random) -> str | None:
    return _one_word(text, draw, lambda _: "")


def _one_word(text: str, draw: random.Random, edit: Callable[[str], str]) -> str | None:
    """Edit one word of the prose: no command, name of a variable, or part of a number."""
    words = list(_WORD.finditer(text))
    if len(words) < 8:
        return None
    word = draw.choice(words)
    return text[: word.start()] + edit(word.group()) + text[word.end() :]


def _numbers(text: str, draw: random.Random) -> str | None:
    """Every free-standing integer above 1 another one of about the same size."""

    def other(match: re.Match[str]) -> str:
        value = int(match.group())
        return match.group() if value < 2 else str(value + draw.choice((1, 2, 3, max(4, value // 4))))

    return _changed(text, _INTEGER.sub(other, text))


def _sentences(text: str, draw: random.Random) -> str | None:
    """The sentences in another order, the question last."""
    sentences = _SENTENCE_END.split(text.strip())
    if len(sentences) < 3 or '"""' in text:
        return None
    told = sentences[:-1]
    while told == sentences[:-1]:
        draw.shuffle(told)
        if len(set(told)) == 1:
            return None
    return " ".join([*told, sentences[-1]])


def _names(text: str, draw: random.Random) -> str | None:
    """People, places and functions called otherwise."""
    called = {name: draw.choice(_NAMES) for name in dict.fromkeys(_NAME.findall(text))}
    called |= {name: f"solve_{draw.randrange(100)}" for name in dict.fromkeys(_CALLED.findall(text))}
    edited = text
    for name, new in called.items():
        edited = re.sub(rf"\b{re.escape(name)}\b", new, edited)
    return _changed(text, edited)


def _units(text: str, _: random.Random) -> str | None:
    edited = text
    for long, short in _UNITS:
        edited = re.sub(rf"\b{long}\b", short, edited)
    return _changed(text, re.sub(r"\$(\d[\d,.]*\d|\d)(?![\d$])(?![^$]*\$)", r"\1 dollars", edited))


def _digits_in_words(text: str, _: random.Random) -> str | None:
    return _changed(
        text,
        re.sub(r"(?<= )\d{1,2}(?= [a-z])", lambda m: _word_of(m.group()), text),
    )


def _word_of(digits: str) -> str:
    return _DIGIT_WORDS[int(digits)] if int(digits) < len(_DIGIT_WORDS) else digits


def _synonyms(text: str, _: random.Random) -> str | None:
    edited = text
    for old, new in _SYNONYMS:
        edited = edited.replace(old, new)
    return _changed(text, edited)


def _truncated(text: str, _: random.Random) -> str | None:
    words = text.split(" ")
    return " ".join(words[: len(words) * 7 // 10]) if len(words) >= 15 else None


def _reworked(text: str, draw: random.Random) -> str | None:
    """Several at once: order, names, synonyms, numbers in words."""
    edited = text
    for edit in (_sentences, _names, _synonyms, _digits_in_words, _word_deleted):
        edited = edit(edited, draw) or edited
    return _changed(text, edited)


def _changed(text: str, edited: str) -> str | None:
    return None if edited == text else edited


EDITS = (
    Edit("copy", True, _copy),
    Edit("case", True, _case),
    Edit("spacing", True, _spacing),
    Edit("punctuation", True, _punctuation),
    Edit("latex respelled", True, _latex),
    Edit("padded", True, _padded),
    Edit("word replaced", True, _word_replaced),
    Edit("word inserted", True, _word_inserted),
    Edit("word deleted", True, _word_deleted),
    Edit("units", True, _units),
    Edit("numbers in words", True, _digits_in_words),
    Edit("names changed", False, _names),
    Edit("synonyms", False, _synonyms),
    Edit("sentences reordered", False, _sentences),
    Edit("numbers changed", False, _numbers),
    Edit("truncated", False, _truncated),
    Edit("reworked", False, _reworked),
)
"""Light ones first."""
