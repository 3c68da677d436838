"""Find the final answer in the visible part of a response: the last closed box, or boxes stated together."""

from __future__ import annotations

import re
from dataclasses import dataclass

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?:\{|(?=[0-9A-Za-z\\]))")
# What may stand between two boxes that are one answer: "\boxed{2} and \boxed{3}", "$\boxed{2}$, $\boxed{3}$".
_JOINER = re.compile(
    r"(?:\s|\$|\\[()\[\]]|\\[,;:! ]|\\q?quad\b|~|\\\\|,|;|、|，|；|&"
    r"|\\(?:text|mathrm|textrm)\{\s*,?\s*(?:and|or)\s*\}|\b(?:and|or)\b|和|或|(?:[A-Za-z]\w{0,2}|[a-z]_\{\w+\})\s*=)*"
)
_ANCHOR = re.compile(r"(?:final\s+answer|answer|答案)\s*(?:is|are|为|是)?\s*[:：]?\s*(?:is\b)?\s*", re.IGNORECASE)
_MATH = re.compile(r"\$\$(?P<a>[^$]+)\$\$|\$(?P<b>[^$\n]+)\$|\\\((?P<c>.+?)\\\)|\\\[(?P<d>.+?)\\\]", re.DOTALL)
_MAX_BOXES = 64
_MAX_TAIL = 20_000


@dataclass(frozen=True)
class Box:
    """One closed box: its content and where it stands."""

    content: str
    start: int
    end: int


def closing_brace(text: str, opening: int) -> int | None:
    """Index of the ``}`` that closes the ``{`` at ``opening``; escaped braces do not count."""
    depth = 0
    i = opening
    while i < len(text):
        char = text[i]
        if char == "\\":
            i += 2
            continue
        if char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return i
        i += 1
    return None


def _box_at(text: str, match: re.Match[str]) -> Box | None:
    if match.group().endswith("{"):
        end = closing_brace(text, match.end() - 1)
        return None if end is None else Box(text[match.end() : end], match.start(), end + 1)
    bare = re.compile(r"-?\d+(?:\.\d+)?|[A-Za-z]").match(text, match.end())
    return Box(bare.group(), match.start(), bare.end()) if bare else None


def closed_boxes(text: str) -> list[Box]:
    """The outermost brace-balanced boxes of ``text`` in order (the last 64 of them)."""
    boxes: list[Box] = []
    for match in list(_BOX.finditer(text))[-_MAX_BOXES:]:
        if boxes and match.start() < boxes[-1].end:
            continue
        box = _box_at(text, match)
        if box is not None:
            boxes.append(box)
    return boxes


def boxed_answer(text: str) -> str | None:
    """The last box; boxes that are stated together with it ("\\boxed{2} and \\boxed{3}") are one answer."""
    boxes = closed_boxes(text)
    if not boxes:
        return None
    together = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        gap = text[box.end : together[0].start]
        if len(gap) > 80 or not _JOINER.fullmatch(gap):
            break
        together.insert(0, box)
    contents = list(dict.fromkeys(box.content.strip() for box in together))
    if len(contents) == 1:
        return contents[0]
    return ", ".join(contents)


def stated_answer(text: str) -> str | None:
    """The answer of a response without a box: after the last "answer:", else the last formula.

    Only used where the caller asks for it: a sentence that happens to hold the number is no answer.
    """
    tail = text[-_MAX_TAIL:]
    anchors = list(_ANCHOR.finditer(tail))
    if anchors:
        rest = tail[anchors[-1].end() :].strip().lstrip("*").strip()
        formula = _MATH.match(rest)
        if formula:
            return next(g for g in formula.groups() if g is not None).strip()
        line = rest.split("\n", 1)[0].split(". ", 1)[0].strip().strip("*").strip()
        return line.rstrip(".") or None
    if len(tail) <= 200 and tail.strip().startswith("$") and "\n" not in tail.strip() and ". " not in tail:
        return tail.strip()
    formulas = list(_MATH.finditer(tail))
    if formulas:
        return next(g for g in formulas[-1].groups() if g is not None).strip()
    return None


def final_answer(text: str, *, fallback: bool = False) -> str | None:
    """The final answer in ``text`` (what follows the last ``</think>``), ``None`` where there is none.

    Args:
        text: the visible part of a response.
        fallback: accept an answer without a box: "answer: …", else the last ``$…$``.
    """
    answer = boxed_answer(text)
    if answer is None and fallback:
        answer = stated_answer(text)
    return answer if answer and answer.strip() else None
