r"""One spelling of LaTeX: ``\dfrac`` and ``\frac``, ``\left(`` and ``(``, ``x^{2}`` and ``x^2``, ``π`` and ``\pi``.

For comparing texts, never for showing them: a text becomes the row of its tokens. What changes only the look of
a formula is dropped (delimiters of math, spacing, fonts, braces around one token), and of several commands for
one thing one stays. Brackets and punctuation stay: ``(a+b)c`` is not ``a+(bc)``.
"""

from __future__ import annotations

import re

LATEX = "latex-canonical/1"
"""Named in every record that a comparison of this form decided."""

_ALIASES = {
    "dfrac": "frac", "tfrac": "frac", "cfrac": "frac", "dbinom": "binom", "tbinom": "binom",
    "leq": "le", "leqslant": "le", "geq": "ge", "geqslant": "ge", "neq": "ne", "rightarrow": "to",
    "longrightarrow": "to", "implies": "Rightarrow", "iff": "Leftrightarrow", "land": "wedge", "lor": "vee",
    "lnot": "neg", "varepsilon": "epsilon", "varphi": "phi", "vartheta": "theta", "varnothing": "emptyset",
    "bigtriangleup": "triangle", "owns": "ni", "gets": "leftarrow", "bullet": "cdot",
}  # fmt: skip
_PLAIN = {
    "lbrace": r"\{", "rbrace": r"\}", "lvert": "|", "rvert": "|", "vert": "|", "mid": "|", "lbrack": "[",
    "rbrack": "]", "colon": ":", "prime": "'", "lt": "<", "gt": ">", "ast": "*", "slash": "/", "degree": r"^ \circ",
    "ldots": ". . .", "dots": ". . .", "cdots": ". . .", "dotsc": ". . .", "dotsb": ". . .",
}  # fmt: skip
_UPRIGHT = re.findall(r"\w+", """
    sin cos tan cot sec csc arcsin arccos arctan sinh cosh tanh log ln lg exp lim max min sup inf gcd lcm det dim
    ker deg arg hom Pr mod bmod
""")  # fmt: skip
_LOOKS = re.findall(r"\w+", """
    left right middle big Big bigg Bigg bigl bigr Bigl Bigr biggl biggr Biggl Biggr displaystyle textstyle
    scriptstyle limits nolimits quad qquad enspace thinspace medspace thickspace noindent newline nonumber rm bf
    smallskip medskip bigskip par
""")  # fmt: skip
_WRAPPERS = re.findall(r"\w+", """
    text textrm textbf textit textsf texttt textnormal mathrm mathbf mathit mathsf mathbb mathcal mathfrak mbox
    operatorname boldsymbol bm emph hbox
""")  # fmt: skip
_SYMBOLS = {
    "≤": "le", "⩽": "le", "≥": "ge", "⩾": "ge", "≠": "ne", "×": "times", "·": "cdot", "⋅": "cdot", "÷": "div",
    "±": "pm", "∓": "mp", "∞": "infty", "√": "sqrt", "∑": "sum", "∏": "prod", "∫": "int", "∈": "in", "∉": "notin",
    "⊂": "subset", "⊆": "subseteq", "∪": "cup", "∩": "cap", "∅": "emptyset", "→": "to", "⇒": "Rightarrow",
    "⇔": "Leftrightarrow", "∠": "angle", "△": "triangle", "∀": "forall", "∃": "exists", "≈": "approx",
    "≡": "equiv", "∼": "sim", "≅": "cong", "⊥": "perp", "∥": "parallel", "∧": "wedge", "∨": "vee", "¬": "neg",
    "∂": "partial", "∇": "nabla", "⌊": "lfloor", "⌋": "rfloor", "⌈": "lceil", "⌉": "rceil",
    "α": "alpha", "β": "beta", "γ": "gamma", "δ": "delta", "ε": "epsilon", "ϵ": "epsilon", "ζ": "zeta", "η": "eta",
    "θ": "theta", "λ": "lambda", "μ": "mu", "ν": "nu", "ξ": "xi", "π": "pi", "ρ": "rho", "σ": "sigma", "τ": "tau",
    "φ": "phi", "ϕ": "phi", "χ": "chi", "ψ": "psi", "ω": "omega", "Γ": "Gamma", "Δ": "Delta", "Θ": "Theta",
    "Λ": "Lambda", "Ξ": "Xi", "Π": "Pi", "Σ": "Sigma", "Φ": "Phi", "Ψ": "Psi", "Ω": "Omega",
}  # fmt: skip
_SCRIPTS = "⁰¹²³⁴⁵⁶⁷⁸⁹⁻⁺ⁿ", "₀₁₂₃₄₅₆₇₈₉₋₊ₙ"
_LEVEL = {ord(char): "0123456789-+n"[place] for scripts in _SCRIPTS for place, char in enumerate(scripts)}

_TOKENS_OF: dict[str, list[str]] = {
    **{"\\" + name: ["\\" + one] for name, one in _ALIASES.items()},
    **{"\\" + name: text.split() for name, text in _PLAIN.items()},
    **{"\\" + name: [name] for name in _UPRIGHT},
    **{"\\" + name: [] for name in _LOOKS},
    **{symbol: ["\\" + name] for symbol, name in _SYMBOLS.items()},
    **{"\\" + char: [char] for char in "%#&_"},
    **{spelling: [] for spelling in (*(f"\\{char}" for char in "()[],;:!> \\/\n\t$"), "$", "~", "\\")},
    "\\|": ["|", "|"], "−": ["-"], "′": ["'"], "∣": ["|"], "∗": ["*"], "°": ["^", "\\circ"], "…": [".", ".", "."],
}  # fmt: skip
"""What stands for a lexeme, where that is not the lexeme itself."""

_UNWRAPPED = frozenset("\\" + name for name in _WRAPPERS)
_ENVIRONMENT = r"\\(?:begin|end)\s*\{(?:equation|align|gather|multline|displaymath|math)\*?\}"
_APART = re.escape("".join((*_SYMBOLS, *_SCRIPTS)))  # some are letters, but no part of a word
_LEXEME = re.compile(
    rf"{_ENVIRONMENT}|\\(?:left|right)\s*\.|\\[hv]space\*?\s*\{{[^{{}}]*\}}|\\[A-Za-z]+\*?|\\[\W\d_]"
    rf"|[^\W\d_{_APART}]+|\d+|[{_SCRIPTS[0]}]+|[{_SCRIPTS[1]}]+|\S"
)
_DROPPED = re.compile(rf"{_ENVIRONMENT}|\\(?:left|right)\s*\.|\\[hv]space")
_BARE_FRACTION = re.compile(r"\\([dtc]?frac|[dt]?binom)(?![A-Za-z])\s*([\dA-Za-z])\s*([\dA-Za-z])")
_BARE_ROOT = re.compile(r"\\sqrt(?![A-Za-z])\s*([\dA-Za-z])")


def latex_tokens(text: str) -> list[str]:
    r"""The tokens of a text in one spelling of LaTeX: words, numbers, commands, single characters.

    >>> latex_tokens(r"\(\dfrac12 + \left(x^{2}\right)\)")
    ['\\frac', '1', '2', '+', '(', 'x', '^', '2', ')']
    """
    if "\\" in text:
        text = _BARE_FRACTION.sub(r"\\\1 \2 \3 ", text)
        text = _BARE_ROOT.sub(r"\\sqrt \1 ", text)
    tokens: list[str] = []
    opened: list[int] = []  # where each open brace stands, -1 where it wraps text
    wraps = False
    for lexeme in _LEXEME.findall(text):
        if lexeme == "{":
            opened.append(-1 if wraps else len(tokens))
            if not wraps:
                tokens.append(lexeme)
        elif lexeme == "}":
            _close(tokens, opened)
        elif lexeme not in _UNWRAPPED:
            tokens += _spelled(lexeme)
        wraps = lexeme in _UNWRAPPED
    return tokens


def canonical_latex(text: str) -> str:
    r"""The tokens of :func:`latex_tokens`, a space between them: equal for texts that differ only in spelling.

    >>> canonical_latex("$$\\mathrm{sin}\\,\\theta\\leq 30^{\\circ}$$") == canonical_latex(r"\[\sin θ ≤ 30°\]")
    True
    >>> canonical_latex(r"5\text{ cm}\quad \$3") == canonical_latex("5 cm $3")
    True
    >>> canonical_latex(r"x_{1}−\sqrt2"), canonical_latex(r"\sqrt{x+1}")
    ('x _ 1 - \\sqrt 2', '\\sqrt { x + 1 }')
    """
    return " ".join(latex_tokens(text))


def _spelled(lexeme: str) -> list[str]:
    known = _TOKENS_OF.get(lexeme)
    if known is not None:
        return known
    if lexeme[0] == "\\" and _DROPPED.match(lexeme):
        return []
    if lexeme[0] in _SCRIPTS[0] or lexeme[0] in _SCRIPTS[1]:
        mark = "^" if lexeme[0] in _SCRIPTS[0] else "_"
        level = lexeme.translate(_LEVEL)
        return [mark, level] if level.isdigit() or len(level) == 1 else [mark, "{", *level, "}"]
    return [lexeme]


def _close(tokens: list[str], opened: list[int]) -> None:
    """Close the innermost brace; around a single token it goes."""
    start = opened.pop() if opened else None
    if start is None:
        tokens.append("}")
    elif start >= 0 and len(tokens) == start + 2:
        del tokens[start]
    elif start >= 0:
        tokens.append("}")
