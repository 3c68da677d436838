"""The program in a completion: its last fenced code block."""

from __future__ import annotations

import re
from typing import Literal

from sandbox.types import Language

LanguageChoice = Literal["auto", "python", "cpp"]

_TAGS: dict[str, Language] = {
    "python": "python", "py": "python", "python3": "python", "python2": "python", "pypy": "python",
    "pypy3": "python", "cpp": "cpp", "c++": "cpp", "cc": "cpp", "cxx": "cpp", "c++17": "cpp", "c++20": "cpp",
}  # fmt: skip
# Possessive (`+`): a completion is hostile too, and backtracking over a long line would be quadratic.
_OPENING = re.compile(r"[ \t]*+(`{3,}+|~{3,}+)[ \t]*+([^\s`]*+)[^`\n]*+")
_INCLUDE = re.compile(r"^[ \t]*#[ \t]*include\b", re.MULTILINE)


def extract_code(answer_text: str, language: LanguageChoice = "auto") -> tuple[str, Language] | None:
    """The last complete fenced block in a language that is judged, ``None`` without one.

    A block tagged with the language goes before untagged ones, which are mostly sample output; blocks with
    another tag (``text``, ``bash``, …) never count, nor does one whose closing fence is missing.

    Args:
        answer_text: what stands after the last ``</think>``.
        language: ``auto`` takes Python and C++, by the tag, else C++ where there is an ``#include``.
    """
    tagged: tuple[str, Language] | None = None
    untagged: tuple[str, Language] | None = None
    for tag, body in _blocks(answer_text):
        found = _TAGS.get(tag)
        if tag and found is None:
            continue
        spoken: Language = found or ("cpp" if _INCLUDE.search(body) else "python")
        if language not in ("auto", spoken):
            continue
        if found:
            tagged = (body, spoken)
        else:
            untagged = (body, spoken)
    return tagged or untagged


def _blocks(text: str) -> list[tuple[str, str]]:
    """Every complete fenced block as (tag in lower case, body), in order."""
    found: list[tuple[str, str]] = []
    fence, tag, lines, indent = "", "", [""], 0
    for line in text.split("\n"):
        if fence:
            if line.strip().rstrip("\r") and set(line.strip()) == {fence[0]} and len(line.strip()) >= len(fence):
                found.append((tag, "\n".join(lines) + "\n"))
                fence = ""
            else:
                lines.append(line[indent:] if line[:indent].isspace() else line)
            continue
        opening = _OPENING.fullmatch(line.rstrip("\r"))
        if opening:
            fence, tag, lines = opening[1], opening[2].lower().strip("{}.:"), []
            indent = len(line) - len(line.lstrip())
    return found
