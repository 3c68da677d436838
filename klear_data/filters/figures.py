"""Problems that point at something which the text does not have: an image, a figure, a link."""

from __future__ import annotations

import re

from klear_data.filters.base import Rejection, around, question_of
from klear_data.records import Record

_IMAGE = re.compile(
    r"!\[[^\]]{0,300}\]\(|<img\b|<image\b|\[img\]|\\includegraphics|"
    r"https?://\S{1,300}?\.(?:png|jpe?g|gif|svg|webp|bmp)\b|cdn\.mathpix\.com",
    re.IGNORECASE,
)
_THING = (
    r"(?:figures?|fig\.|diagrams?|pictures?|illustrations?|sketch|images?|photographs?|drawing|"
    r"graphs?(?! paper)|charts?)"
)
_PLACE = r"(?:below|above|shown|(?:at|to|on) (?:the )?(?:right|left)|provided|attached)"
_MENTION = re.compile(
    rf"\b(?:in|on|from|of|see|using|refer to|per|by)\s+(?:the|this|these)\s+(?:\w+\s+)?{_THING}\s*\(?{_PLACE}\b"
    rf"|\b(?:in|see|refer to|of|and)\s+(?:figure|fig\.|diagram)\s*\d"
    rf"|\bthe\s+(?:\w+\s+)?{_THING}\s*,?\s*(?:is\s+|are\s+|which is\s+)?(?:{_PLACE}|shows|illustrates|depicts)\b"
    rf"|\b(?:shown|pictured|depicted|illustrated|drawn|indicated|seen|marked|labell?ed|given)\s+(?:here\s+)?"
    rf"(?:in|on|by)\s+(?:the|this|my)\s+(?:\w+\s+)?{_THING}"
    rf"|\b(?:see|refer to)\s+(?:the\s+)?(?:\w+\s+)?{_THING}(?!\s+(?:of|that|for)\b)"
    rf"|\bin\s+the\s+(?:following\s+|accompanying\s+|adjoining\s+|adjacent\s+)?(?:figure|diagram|picture)\b"
    rf"|如图|下图|上图|右图|左图|图中|图所示",
    re.IGNORECASE,
)
_TABLE = re.compile(r"\b(?:table|chart)\s+(?:below|above|shown)\b|(?:下|如|上)表", re.IGNORECASE)
_DRAWN = re.compile(r"\[asy\]|\\begin\s*\{(?:asy|tikzpicture|picture|pspicture)\}|```asy", re.IGNORECASE)
_TYPESET = re.compile(
    r"\\begin\s*\{(?:tabular|array|\w*matrix|align|cases)|\\hline|\|[^|\n]+\|[^|\n]+\||\t.*\t", re.IGNORECASE
)
_LINK = re.compile(r"https?://|www\.", re.IGNORECASE)
# Every match of the patterns above holds one of these, and most prompts hold none: they are done here.
_WORDS = ("figure", "fig.", "diagram", "pict", "drawing", "illustration", "sketch", "image", "img", "graph", "chart",
          "table", "![", "://")  # fmt: skip
_WORDS_OF_CJK = ("图", "表")


def figure_filter(record: Record) -> Rejection | None:
    """``figure_missing``: a mathematics problem that links an image or speaks of a figure or table it does not have.

    A figure drawn in the text (Asymptote, TikZ) is there, and so is what is typeset as a table. "As shown." alone,
    with nothing said of a figure, is not held against a problem: most of those can be solved without it.
    """
    text = question_of(record)
    lowered = text.lower()
    words = _WORDS if text.isascii() else (*_WORDS, *_WORDS_OF_CJK)
    if not any(word in lowered for word in words):
        return None
    image = _IMAGE.search(text)
    if image is not None:
        return Rejection("figure_missing", {"found": around(image)})
    if _DRAWN.search(text) is not None or _TYPESET.search(text) is not None:
        return None
    mention = _MENTION.search(text) or _TABLE.search(text)
    return None if mention is None else Rejection("figure_missing", {"found": around(mention)})


def drawing_filter(record: Record) -> Rejection | None:
    """``figure_in_code``: the figure is there as Asymptote or TikZ, which a model has to draw in its head."""
    text = question_of(record)
    found = _DRAWN.search(text) if "asy" in text or "\\begin" in text else None
    return None if found is None else Rejection("figure_in_code", {"found": around(found)})


def link_filter(record: Record) -> Rejection | None:
    """``link``: the problem holds an address of the web, whose page the model can't read."""
    text = question_of(record)
    found = _LINK.search(text) if "://" in text or "www." in text.lower() else None
    return None if found is None else Rejection("link", {"found": around(found)})
