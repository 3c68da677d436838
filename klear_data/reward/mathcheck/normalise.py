"""One spelling for every way to write the same formula: Unicode, LaTeX spacing, styles, wrappers.

Nothing here changes what is said: no rounding, no unit dropped, no number taken out of a sentence.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_SYMBOLS = {
    "−": "-", "–": "-", "—": "-", "﹣": "-", "－": "-", "×": r"\times ", "⋅": r"\cdot ", "·": r"\cdot ",
    "∙": r"\cdot ", "÷": "/", "∕": "/", "⁄": "/", "±": r"\pm ", "∓": r"\mp ", "≤": r"\le ", "≦": r"\le ",
    "⩽": r"\le ", "≥": r"\ge ", "≧": r"\ge ", "⩾": r"\ge ", "≠": r"\ne ", "≈": r"\approx ", "∞": r"\infty ",
    "∪": r"\cup ", "∩": r"\cap ", "∈": r"\in ", "∅": r"\emptyset ", "⌀": r"\emptyset ", "ℝ": r"\mathbb{R}",
    "ℤ": r"\mathbb{Z}", "ℕ": r"\mathbb{N}", "ℚ": r"\mathbb{Q}", "ℂ": r"\mathbb{C}", "∖": r"\setminus ",
    "°": r"^\circ ", "º": r"^\circ ", "˚": r"^\circ ", "℃": r"^\circ\text{C}", "…": r"\ldots ", "⋯": r"\ldots ",
    "′": "'", "″": "''", "’": "'", "“": '"', "”": '"', "∠": r"\angle ", "△": r"\triangle ", "⌊": r"\lfloor ",
    "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": r"\langle ", "⟩": r"\rangle ", "∛": r"\sqrt[3]",
    "∜": r"\sqrt[4]", "√": r"\sqrt", "∣": "|", "。": ".", "、": ",", "￥": "¥", "％": "%", "∶": ":", "ϕ": r"\phi ",
    "⇒": r"\to ", "→": r"\to ", "∧": r"\text{ and }", "∨": r"\text{ or }", "𝑖": "i", "𝑒": "e",
}  # fmt: skip
_GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi pi rho sigma tau upsilon phi "
    "chi psi omega Gamma Delta Theta Lambda Xi Pi Sigma Phi Psi Omega"
)
_GREEK = dict(zip("αβγδεζηθικλμνξπρστυφχψωΓΔΘΛΞΠΣΦΨΩ", _GREEK_NAMES.split(), strict=True))
_SUPERSCRIPT = dict(zip("⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻ⁿⁱ", "0123456789+-ni", strict=True))
_SUBSCRIPT = dict(zip("₀₁₂₃₄₅₆₇₈₉", "0123456789", strict=True))
_SUPER_RUN = re.compile("[" + "".join(_SUPERSCRIPT) + "]+")
_SUB_RUN = re.compile("[" + "".join(_SUBSCRIPT) + "]+")
_TABLE = str.maketrans({**_SYMBOLS, **{k: f"\\{v} " for k, v in _GREEK.items()}})
_INVISIBLE = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff\u00ad\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")

_REWRITES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern), to)
    for pattern, to in (
        (r"\\(?:d|t|c)frac(?![A-Za-z])", r"\\frac"),
        (r"\\(?:tbinom|dbinom)(?![A-Za-z])", r"\\binom"),
        (r"\{([^{}]*)\\over(?![A-Za-z])([^{}]*)\}", r"\\frac{\1}{\2}"),
        (r"\{([^{}]*)\\choose(?![A-Za-z])([^{}]*)\}", r"\\binom{\1}{\2}"),
        (r"(?:^|\{\})[\^_]\s*\{?(\d+)\}?\s*(?:\\mathrm\{C\}|C)\s*_\s*\{?(\d+)\}?", r"\\binom{\1}{\2}"),
        (r"\\(?:text)?color\s*\{[^{}]*\}", ""),
        (r"\s*\\pmod\s*(?:(\w)|\{\s*(\w+)\s*\})", r" \\pmod{\1\2}"),
        (r"\\math(?:rm|bf)\s*\{C\}(?=\s*_)", "C"),
        (r"\\math(?:bf|rm|it)\s+([A-Za-z0-9])(?![A-Za-z])", r"\1"),
        (r"\\(?:left|right|[bB]ig[glrm]?|[bB]igg[lrm]?)(?![A-Za-z])\s*\.", ""),
        (r"\\(?:left|right|[bB]igg?[lrm]?)(?![A-Za-z])", ""),
        (r"\\(?:displaystyle|textstyle|scriptstyle|limits|nolimits)(?![A-Za-z])", " "),
        (r"\\(?:rm|bf|it|normalsize|large|Large|hfill)(?![A-Za-z])", " "),
        (r"\\(?:leq|leqslant|leqq|le)(?![A-Za-z])", r"\\le "),
        (r"\\(?:geq|geqslant|geqq|ge)(?![A-Za-z])", r"\\ge "),
        (r"\\(?:neq|not\s*=|ne)(?![A-Za-z])", r"\\ne "),
        (r"\\not\s*=", r"\\ne "),
        (r"<=|=<", r"\\le "),
        (r">=|=>", r"\\ge "),
        (r"!=", r"\\ne "),
        (r"\\lt(?![A-Za-z])", "<"),
        (r"\\gt(?![A-Za-z])", ">"),
        (r"\\(?:varnothing|O|empty)(?![A-Za-z])", r"\\emptyset "),
        (r"\\(?:lbrace)(?![A-Za-z])", r"\\{"),
        (r"\\(?:rbrace)(?![A-Za-z])", r"\\}"),
        (r"\\(?:lvert|rvert|vert|mid)(?![A-Za-z])", "|"),
        (r"\\(?:lVert|rVert|Vert|\|)(?![A-Za-z])", "|"),
        (r"\\(?:dots|cdots|dotsc|dotsb|hdots)(?![A-Za-z])", r"\\ldots "),
        (r"\.\.\.+", r"\\ldots "),
        (r"\^\s*\{?\s*\\circ\s*\}?", "°"),
        (r"\\degrees?(?![A-Za-z])", "°"),
        (r"\\varphi(?![A-Za-z])", r"\\phi "),
        (r"\\varepsilon(?![A-Za-z])", r"\\epsilon "),
        (r"\\(?:R|reals|Reals)(?![A-Za-z])", r"\\mathbb{R}"),
        (r"\\(?:mathbb|mathbf|bf|Bbb)\s*\{?\s*([RZNQC])\s*\}?", r"\\mathbb{\1}"),
        (r"\\[hv]?phantom\s*(?:\{[^{}]*\}|[-+\w])", " "),
        (r"\\(?:hspace\*?|vspace\*?|label|tag)\s*\{[^{}]*\}", " "),
        (r",\s*\\!\s*", ","),
        (r"\{\s*,\s*\}", ","),
        (r"(?<!\\)\\!", ""),
        (r"(?<!\\)\\[,;: ]|\\(?:quad|qquad|thinspace|enspace|nobreakspace|space)(?![A-Za-z])|~", " "),
        (r"\\%|\\(?:percent|pct)(?![A-Za-z])", "%"),
        (r"\\(?:mathdollar|textdollar)(?![A-Za-z])", r"\\$"),
        (r"\\#|\\&", " "),
        (r"\*\*(?=\s*[\d({a-zA-Z])(?<=[\w)}]\*\*)", "^"),
    )
)  # fmt: skip
_STYLE = re.compile(
    r"\\(?:text(?:bf|it|rm|tt|sf|normal|up|sl)?|mathrm|mathbf|mathit|mathsf|mathtt|mbox|hbox|operatorname\*?|"
    r"boldsymbol|bm|emph|underline|boxed|fbox|mathord|mathcal|ensuremath|pmb)\s*\{([^{}]*)\}"
)
# What is left of these holds a formula with braces of its own: the style goes, the group stays.
_STYLED_GROUP = re.compile(r"\\(?:math(?:bf|rm|it|sf|tt)|boldsymbol|bm|ensuremath|textbf)\s*(?=\{)")
_WORDY = re.compile(r"[A-Za-z\u00c0-\u024f\u3400-\u9fff]")
_OUTER = re.compile(r"(?:\$\$?|\\[()\[\]])")
_FUNCTION_NAMES = (
    "sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh ln log lg exp cis sqrt max min gcd lcm mod"
)
_FUNCTION_WORDS = frozenset(_FUNCTION_NAMES.split())


def _unstyle(match: re.Match[str]) -> str:
    """``\\mathbf{42}`` is 42; a word stays marked as text so that it is never read as a product."""
    inner = match.group(1).strip()
    if inner in _FUNCTION_WORDS and (inner not in ("min", "max") or match.group().startswith("\\op")):
        return f"\\{inner} "
    if re.fullmatch(r"\([A-Z]\)[.:]?", inner):
        return inner + " "
    letters = _WORDY.findall(inner)
    if len(letters) <= 1 and not match.group().startswith(("\\text{", "\\mathrm{", "\\mbox{", "\\textrm{")):
        return inner if inner.isalnum() else f"{{{inner}}}" if inner else ""
    if not letters or inner in {"e", "i"}:
        return inner
    return f"\\text{{{match.group(1)}}}".replace("\\text{", "\x01").replace("}", "\x02")


def unicode_to_latex(text: str) -> str:
    """Map mathematical Unicode to LaTeX, then fold what is left (full-width forms) with NFKC."""
    if text.isascii():
        return text
    text = _SUPER_RUN.sub(lambda m: "^{" + "".join(_SUPERSCRIPT[c] for c in m.group()) + "}", text)
    text = _SUB_RUN.sub(lambda m: "_{" + "".join(_SUBSCRIPT[c] for c in m.group()) + "}", text)
    out = []
    for char in text.translate(_TABLE):
        if not char.isascii() and unicodedata.decomposition(char).startswith("<fraction>"):
            top, bottom = unicodedata.normalize("NFKC", char).split("⁄")
            out.append(f"\\frac{{{top}}}{{{bottom}}}")
        else:
            out.append(char)
    return unicodedata.normalize("NFKC", "".join(out)).translate(_TABLE)


def _strip_wrappers(text: str) -> str:
    text = text.strip()
    for _ in range(4):
        before = text
        text = re.sub(r"^\*+(.*?)\*+$", r"\1", text, flags=re.DOTALL).strip()
        text = re.sub(r"^`+(.*?)`+$", r"\1", text, flags=re.DOTALL).strip()
        if re.fullmatch(r"\$?\\\$.*?\\\$\$?", text, re.DOTALL):
            text = text.replace("\\$", "")
        text = re.sub(r"(?<![\\.])[.,;:。]$|(?<!\\)[,;:。]+$", "", text).strip()
        if text == before:
            break
    return text


@lru_cache(maxsize=65536)
def normalise(text: str) -> str:
    """Rewrite an answer into klear's one spelling (ASCII where it can be, plain LaTeX, single spaces).

    >>> normalise("$\\\\dfrac{1}{2}$.")
    '\\\\frac{1}{2}'
    >>> normalise("１２，０００")
    '12,000'
    """
    text = _INVISIBLE.sub("", unicode_to_latex(text)).replace("\u00a0", " ").replace("\u202f", " ")
    if "\\\\" in text and "\\begin" not in text:
        text = re.sub(r"\\\\(?=[A-Za-z{}])", r"\\", text)
    text = _strip_wrappers(text)
    currency = re.match(r"\s*\$\s*(?=[\d.])[^$]*$", text)
    if currency:
        text = "\\$" + text.strip()[1:]
    text = _OUTER.sub(lambda m: m.group() if m.start() and text[m.start() - 1] == "\\" else " ", text)
    for pattern, to in _REWRITES:
        text = pattern.sub(to, text)
    for _ in range(6):
        styled = _STYLE.sub(_unstyle, text)
        if styled == text:
            break
        text = styled
    text = _STYLED_GROUP.sub("", text)
    text = text.replace("\x01", "\\text{").replace("\x02", "}")
    text = re.sub(r"\s+", " ", text).strip()
    return _strip_wrappers(text)


_LOOSE_SPACE = re.compile(r"(?<![0-9A-Za-z.,]) +| +(?![0-9A-Za-z.\\])|(?<=[^A-Za-z0-9]) +")


def compact(normalised: str) -> str:
    """The normalised text without the spaces that mean nothing (never those between two digits)."""
    return _LOOSE_SPACE.sub("", normalised)
