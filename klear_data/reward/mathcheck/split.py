"""Cut a formula at the separators that stand outside all brackets."""

from __future__ import annotations

import re

_OPEN = re.compile(r"\\begin\s*\{|\\\{|\\langle(?![A-Za-z])|\\l(?:floor|ceil)(?![A-Za-z])|[(\[{]")
_CLOSE = re.compile(r"\\end\s*\{[^{}]*\}|\\\}|\\rangle(?![A-Za-z])|\\r(?:floor|ceil)(?![A-Za-z])|[)\]}]")
_SKIP = re.compile(r"\\[A-Za-z]+|\\.", re.DOTALL)


def _step(text: str, at: int) -> tuple[int, int]:
    """How the bracket depth changes with what stands at a place, and where the next thing starts."""
    opened = _OPEN.match(text, at)
    if opened:
        end = opened.end()
        return 1, (text.find("}", end) + 1 or len(text)) if opened.group().startswith("\\begin") else end
    closed = _CLOSE.match(text, at)
    if closed:
        return -1, closed.end()
    skipped = _SKIP.match(text, at)
    return 0, skipped.end() if skipped else at + 1


def at_top(text: str, separator: re.Pattern[str]) -> tuple[list[str], list[str]]:
    """The pieces of ``text`` between top-level matches of ``separator``, and the matches themselves."""
    pieces: list[str] = []
    found: list[str] = []
    depth, start, i = 0, 0, 0
    while i < len(text):
        match = separator.match(text, i) if depth == 0 else None
        if match and match.end() > i:
            pieces.append(text[start:i])
            found.append(match.group())
            start = i = match.end()
            continue
        change, i = _step(text, i)
        depth = max(0, depth + change)
    pieces.append(text[start:])
    return pieces, found


def matching_close(text: str) -> int | None:
    """Index just after the bracket that closes the one at the start of ``text``."""
    depth, i = 0, 0
    while i < len(text):
        change, i = _step(text, i)
        depth += change
        if change < 0 and depth == 0:
            return i
    return None


_BRACKETS = re.compile(r"(\\\{|\\langle|[(\[{\]])\s*(.*?)\s*(\\\}|\\rangle|[)\]}\[])", re.DOTALL)


def brackets(text: str) -> tuple[str, str, str] | None:
    """``(opening, inside, closing)`` if one pair of brackets spans the whole text, else ``None``."""
    match = _BRACKETS.fullmatch(text)
    if not match:
        return None
    if match[1] != "]" and match[3] != "[" and matching_close(text) != len(text):
        return None
    return match[1], match[2], match[3]


def nesting(text: str) -> int:
    """How deep brackets of any kind are nested, at most."""
    depth = deepest = 0
    for char in text:
        if char in "([{":
            depth += 1
            deepest = max(deepest, depth)
        elif char in ")]}":
            depth -= 1
    return deepest


def balanced(text: str) -> bool:
    """Whether braces pair up (escaped ones aside)."""
    depth = 0
    i = 0
    while i < len(text):
        if text[i] == "\\":
            i += 2
            continue
        depth += (text[i] == "{") - (text[i] == "}")
        if depth < 0:
            return False
        i += 1
    return depth == 0
