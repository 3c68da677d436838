"""Read the outer structure of an answer: lists, relations, unions, brackets, ±, matrices, ratios."""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import product
from typing import Literal

from klear_data.reward.mathcheck.numerals import clock, joined_thousands, numeral, plain_number
from klear_data.reward.mathcheck.shape import Combined, Group, Matrix, NamedSet, Ratio, Relation, Shape
from klear_data.reward.mathcheck.single import single_value
from klear_data.reward.mathcheck.split import at_top, brackets
from klear_data.reward.mathcheck.units import compound_amount
from klear_data.reward.mathcheck.words import NO_SOLUTION, REALS, as_words

MAX_ITEMS = 400

_LIST = re.compile(
    r"\s*(?:[,;]|\\text\{\s*(?:,\s*)?(?:and|or)\s*\}|(?<![A-Za-z\\])(?:and|or)(?![A-Za-z])|[和或及与]|\\(?:land|lor|wedge|vee)(?![A-Za-z]))\s*"
)
_RELATION = re.compile(
    r"\s*(?:\\(?:le|ge|ne|approx|in|equiv|notin|Leftrightarrow|iff|to|mapsto|implies)(?![A-Za-z])|:=|(?<!\\)[=<>])\s*"
)
_SETS = re.compile(
    r"\s*\\(?:cup|cap|setminus|backslash|bigcup)(?![A-Za-z])\s*|\\bigcup\b|(?<=\\mathbb\{R\})\s*[-\\]\s*(?=\\\{)"
)
_PM = re.compile(r"\\(pm|mp)(?![A-Za-z])")
_MATRIX = re.compile(
    r"(?P<scale>.*?)\s*\\begin\s*\{(?:[pbB]|small)?(?:matrix|array)\}(?:\s*\{[lcr| ]*\})?"
    r"(?P<body>.*?)\\end\s*\{(?:[pbB]|small)?(?:matrix|array)\}"
    r"\s*(?P<turn>\^\s*\{?\s*(?:T|\\top|\\text\{T\})\s*\}?)?",
    re.DOTALL,
)
_BUILDER = re.compile(r"\s*[a-z]\s*(?:\\in\s*\\mathbb\{R\}\s*)?[|:]\s*(.+)", re.DOTALL)
_FRENCH = re.compile(r"([\[\]])([^\[\](),;]+)[,;]([^\[\](),;]+)([\[\]])")


@lru_cache(maxsize=65536)
def shape_of(text: str) -> Shape:
    """The shape of a normalised answer. Total: what is nothing else is a formula without a tree."""
    text = text.strip()
    if plain_number(text) is not None:
        return single_value(text)
    marked = re.fullmatch(r"\\text\{([^{}]*(?:[,;]| and )[^{}]*)\}", text)
    if marked:
        return shape_of(marked[1])
    time = clock(text)
    if time is not None and (time.half or len(text) <= 8):
        return time
    bare = as_words(text)
    if bare == "infinity":
        return single_value("\\infty")
    if bare in NO_SOLUTION or text in ("\\emptyset", "\\{\\}", "\\{ \\}"):
        return NamedSet("empty")
    if bare in REALS or text == "\\mathbb{R}":
        return NamedSet("reals")
    for reader in (_french, _matrix, _listed, _related, _combined, _bracketed, _spread, _based, _ratio):
        shape = reader(text)
        if shape is not None:
            return shape
    return single_value(text)


def _french(text: str) -> Shape | None:
    """``]0,1]``: an interval with outward brackets for open ends."""
    match = _FRENCH.fullmatch(text)
    if not match or (match[1] != "]" and match[4] != "["):
        return None
    low, high = shape_of(match[2]), shape_of(match[3])
    return Group("[" if match[1] == "[" else "(", (low, high), "]" if match[4] == "]" else ")")


def _listed(text: str) -> Shape | None:
    pieces, found = at_top(text, _LIST)
    pieces = [p.strip() for p in pieces]
    if not found or compound_amount(text) is not None:
        return None
    joined = joined_thousands(text)
    if joined != text and not at_top(joined, _LIST)[1]:
        return shape_of(joined)
    if any(";" in f for f in found) and any("," in f for f in found):
        return _rows_of_lists(text)
    kept = [p for p in pieces if p]
    if not kept or len(kept) > MAX_ITEMS:
        return None
    if len(kept) == 1:
        return shape_of(kept[0]) if kept[0] != text else None
    joints = " ".join(found)
    joined_by: Literal[",", "or", "and"] = (
        "or" if re.search(r"or|或|vee", joints) else "and" if "and" in joints else ","
    )
    return Group("", _flat(kept), "", joined_by)


def _flat(pieces: list[str]) -> tuple[Shape, ...]:
    """The items of a list or a set; ``±1, ±i`` are four."""
    items: list[Shape] = []
    for piece in pieces:
        shape = shape_of(piece)
        spread = isinstance(shape, Group) and not shape.opening and _PM.search(piece)
        items += shape.items if isinstance(shape, Group) and spread else (shape,)
    return tuple(items)


def _rows_of_lists(text: str) -> Shape | None:
    """``p=5,q=2; p=7,q=2``: the semicolon separates answers, the comma their parts."""
    items = []
    for piece in at_top(text, re.compile(r"\s*;\s*"))[0]:
        inner = shape_of(piece)
        if isinstance(inner, Group) and not inner.opening:
            values = [
                shape_of(i.sides[-1]) if isinstance(i, Relation) and i.operators == ("=",) else i for i in inner.items
            ]
            inner = Group("(", tuple(values), ")")
        items.append(inner)
    return Group("", tuple(items), "")


def _related(text: str) -> Shape | None:
    sides, operators = at_top(text, _RELATION)
    if not operators:
        return None
    sides = [s.strip() for s in sides]
    cleaned = [op.strip().lstrip("\\").replace(":=", "=") for op in operators]
    if not sides[0] and cleaned[0] in ("approx", "="):
        sides, cleaned = sides[1:], cleaned[1:]
        if not cleaned:
            return shape_of(sides[0])
    if any(not s for s in sides):
        return None
    return Relation(tuple(sides), tuple(cleaned))


def _combined(text: str) -> Shape | None:
    parts, operators = at_top(text, _SETS)
    if not operators or any(not p.strip() for p in parts):
        return None
    names = ["cap" if "cap" in op else "cup" if "cup" in op else "setminus" for op in operators]
    return Combined(tuple(shape_of(p) for p in parts), tuple(names))


def _bracketed(text: str) -> Shape | None:
    found = brackets(text)
    if found is None:
        return None
    opening, inside, closing = found
    opening = {"\\{": "{", "\\langle": "<"}.get(opening, opening)
    closing = {"\\}": "}", "\\rangle": ">"}.get(closing, closing)
    pieces, commas = at_top(inside, re.compile(r"\s*[,;]\s*"))
    if opening == "{" and (builder := _BUILDER.fullmatch(inside)) and text.startswith("\\{"):
        return shape_of(builder[1])
    if commas and len(pieces) <= MAX_ITEMS:
        if any(not p.strip() for p in pieces):
            return None
        if (opening, closing) not in (("(", ")"), ("[", "]"), ("{", "}"), ("<", ">"), ("(", "]"), ("[", ")")):
            return None
        if opening == "{" and text.startswith("{") and plain_number(inside) is not None:
            return shape_of(inside)
        items = _flat(pieces) if opening == "{" else tuple(shape_of(p) for p in pieces)
        return Group(opening, items, closing)
    if opening == "{" and text.startswith("\\{") and inside:
        return Group("{", tuple(_members(shape_of(inside))), "}")
    pairs = {"(": ")", "[": "]", "{": "}"}
    if pairs.get(opening) == closing and inside and inside != text:
        return shape_of(inside)
    return None


def _members(shape: Shape) -> tuple[Shape, ...]:
    return shape.items if isinstance(shape, Group) and not shape.opening else (shape,)


def _spread(text: str) -> Shape | None:
    """``a ± b`` as the list of its values; several signs are independent unless ``∓`` ties them."""
    signs = _PM.findall(text)
    if not signs or len(signs) > 4:
        return None
    tied = "mp" in signs
    choices = [(s,) * len(signs) for s in "+-"] if tied else list(product("+-", repeat=len(signs)))
    values = [shape_of(_signed(text, signs, choice).strip().removeprefix("+")) for choice in choices]
    return Group("", tuple(dict.fromkeys(values)), "")


def _signed(text: str, signs: list[str], choice: tuple[str, ...]) -> str:
    """The text with each ± or ∓ replaced: the upper sign of ∓ is the lower one of ±."""
    upper = {"pm": {"+": "+", "-": "-"}, "mp": {"+": "-", "-": "+"}}
    chosen = iter([upper[sign][side] for sign, side in zip(signs, choice, strict=True)])
    return _PM.sub(lambda _: next(chosen), text)


def _matrix(text: str) -> Shape | None:
    if "\\begin" not in text:
        return None
    found = brackets(text)
    if found and "\\begin" in found[1] and not found[1].startswith("\\{"):
        text = found[1]
    match = _MATRIX.fullmatch(text)
    if not match:
        return None
    lines = [row for row in re.split(r"\\\\(?:\s*\[[^\]]*\])?", match["body"].replace("\\hline", "")) if row.strip()]
    scale = match["scale"].strip().rstrip("*").removesuffix("\\cdot").strip()
    prefix = "" if not scale else "-" if scale == "-" else f"({scale})"
    rows = tuple(tuple(shape_of(_cell(prefix, cell)) for cell in at_top(row, re.compile("&"))[0]) for row in lines)
    if match["turn"] and rows:
        rows = tuple(zip(*rows, strict=False))
    return Matrix(rows)


def _cell(prefix: str, cell: str) -> str:
    return f"{prefix}({cell.strip()})" if prefix else cell


def _based(text: str) -> Shape | None:
    return numeral(text)


def _ratio(text: str) -> Shape | None:
    text = re.sub(r"\s*\\text\{\s*to\s*\}\s*|(?<=\d) to (?=\d)", ":", text)
    text = re.sub(
        r"\\text\{\s*ratio\s*\}$|\bratio$|\\colon(?![A-Za-z])", lambda m: ":" if "colon" in m.group() else "", text
    )
    pieces, found = at_top(text, re.compile(r"\s*:\s*"))
    if not found or not 2 <= len(pieces) <= 6 or any(not p.strip() for p in pieces):
        return None
    return Ratio(tuple(shape_of(p) for p in pieces), text.replace(" ", ""))
