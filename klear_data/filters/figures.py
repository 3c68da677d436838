"""Problems that point at something which the text does not have: an image, a figure, a link."""

from __future__ import annotations

import re

from klear_data.filters.base import Rejection, around, question_of
from klear_data.records import Record

_IMAGE = re.compile(
    r"!\[[^\]]*\]\(|<img\b|<image\b|\[img\]|\\includegraphics|"
    r"https?://\S+?\.(?:png|jpe?g|gif|svg|webp|bmp)\b|cdn\.mathpix\.com",
    re.IGNORECASE,
)
_THING = r"(?:figures?|fig\.|diagrams?|pictures?|drawings?|illustrations?|sketch|images?|photographs?|graphs?|charts?)"
_MENTION = re.compile(
    rf"\b(?:in|on|from|of|see|using|refer to|per|at)\s+(?:the\s+)?(?:\w+\s+)?{_THING}\s*"
    rf"(?:\d+\b|\(?(?:below|above|shown|at (?:the )?(?:right|left)|(?:to|on) the (?:right|left)|provided|attached))"
    rf"|\bthe\s+(?:\w+\s+)?{_THING}\s*,?\s*(?:is\s+|are\s+|which is\s+)?"
    rf"(?:below|above|shown|at (?:the )?(?:right|left)|(?:to|on) the (?:right|left)|shows|illustrates|depicts)\b"
    rf"|\b(?:shown|pictured|depicted|illustrated|drawn|indicated|seen|marked|labell?ed|given)\s+"
    rf"(?:here\s+)?(?:in|on|by)\s+(?:the\s+|this\s+|my\s+)?(?:\w+\s+)?{_THING}"
    rf"|\b(?:pictured|depicted|illustrated|sketched|graphed|shown)\s*,?\s+"
    rf"(?:below|above|here|(?:at|to the|on the) (?:right|left))\b"
    rf"|\b(?:see|refer to)\s+(?:the\s+)?(?:\w+\s+)?{_THING}(?!\s+(?:of|that|for)\b)"
    rf"|\b(?:as|is|are)\s+(?:shown|pictured)\s*[.,]"
    rf"|\bin\s+the\s+(?:following\s+|accompanying\s+|adjoining\s+)?(?:figure|diagram|picture|drawing)\b"
    r"|如图|下图|上图|右图|左图|图中|图所示",
    re.IGNORECASE,
)
_TABLE = re.compile(
    r"\b(?:table|chart|data)\s+(?:below|above|shown)\b|\bin the (?:following )?table\b|(?:下|如|上)表", re.IGNORECASE
)
_DRAWN = re.compile(r"\[asy\]|\\begin\s*\{(?:asy|tikzpicture|picture|pspicture)\}|\\draw\b|```asy", re.IGNORECASE)
_TABULAR = re.compile(r"\\begin\s*\{(?:tabular|array|matrix|[pbv]matrix)\}|\|.+\|.*\n|\\hline|\t.*\t", re.IGNORECASE)
_LINK = re.compile(r"https?://|www\.", re.IGNORECASE)
# Words of which every match of the patterns above holds one: most prompts are done after these.
_WORDS = ("figure", "fig.", "diagram", "pictur", "drawing", "illustrat", "sketch", "image", "photo", "graph", "chart",
          "shown", "depicted", "[img]", "<img", "![", "://", "www.", "mathpix", "includegraphics", "图", "table",
          "data ", "表")  # fmt: skip


def figure_filter(record: Record) -> Rejection | None:
    """``figure_missing``: a mathematics problem that shows an image or speaks of a figure or table it does not have.

    A figure drawn in the text (Asymptote, TikZ) is there, and so is a table that is typeset.
    """
    text = question_of(record)
    lowered = text.lower()
    if not any(word in lowered for word in _WORDS):
        return None
    image = _IMAGE.search(text)
    if image is not None:
        return Rejection("figure_missing", {"found": around(image)})
    if _DRAWN.search(text) is not None:
        return None
    mention = _MENTION.search(text) or (None if _TABULAR.search(text) else _TABLE.search(text))
    return None if mention is None else Rejection("figure_missing", {"found": around(mention)})


def drawing_filter(record: Record) -> Rejection | None:
    """``figure_in_code``: the figure is there as Asymptote or TikZ, which a model has to draw in its head."""
    found = _DRAWN.search(question_of(record))
    return None if found is None else Rejection("figure_in_code", {"found": around(found)})


def link_filter(record: Record) -> Rejection | None:
    """``link``: the problem holds an address of the web, whose page the model can't read."""
    found = _LINK.search(question_of(record))
    return None if found is None else Rejection("link", {"found": around(found)})
