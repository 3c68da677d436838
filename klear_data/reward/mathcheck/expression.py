"""A small, strict reader of single formulas: LaTeX or plain text to a tree, linear in its length.

It knows what final answers are made of (numbers, fractions, roots, powers, named functions, symbols)
and refuses everything else with ``NotReadable``; sums, integrals and the like go to sympy. A number is
never read out of a formula that was only partly understood.
"""

from __future__ import annotations

import re
from fractions import Fraction
from functools import lru_cache

from klear_data.reward.mathcheck.commands import COMMAND, WORD, command
from klear_data.reward.mathcheck.cursor import Cursor, NotReadable
from klear_data.reward.mathcheck.tree import Node, letter, num, percent

MAX_CHARS = 4_000
MAX_DEPTH = 48


_NUMBER = re.compile(
    r"(\d*)\.(\d*)\\(?:overline|bar|dot)\s*\{?(\d+)\}?|(\d+\.\d*|\.\d+|\d+)(?:[eE]([+-]?\d{1,6})(?![\dA-Za-z{]))?"
)
_DIGIT_FRACTION = re.compile(r"(\d+)\s*/\s*(\d+)(?![\d.])")
_CHOOSE = re.compile(r"\s*\(\s*(\d+)\s*,\s*(\d+)\s*\)")
_CHINESE_CHOOSE = re.compile(r"C_(\d{1,6})")  # C_{10}^{3}, ten choose three
_TIMES = re.compile(r"\\cdot(?![A-Za-z])|\\times(?![A-Za-z])|\\ast(?![A-Za-z])|\*(?!\*)")
_DIVIDE = re.compile(r"\\div(?![A-Za-z])|/")
_POWER = re.compile(r"\^|\*\*")
_STOP = re.compile(
    r"\\(?:cdot|times|ast|div|pm|mp|cup|cap|in|le|ge|ne|approx|rfloor|rceil|rangle|to|setminus|ldots)(?![A-Za-z])|\\\}"
)


@lru_cache(maxsize=65536)
def read(text: str) -> Node:
    """The tree of one formula.

    Raises:
        NotReadable: the text is no formula of the small grammar.
    """
    if not text or len(text) > MAX_CHARS:
        raise NotReadable("empty" if not text else "too long")
    reader = Reader(text)
    node = reader.sum()
    reader.skip()
    if reader.at != len(text):
        raise NotReadable(f"unexpected {text[reader.at : reader.at + 10]!r}")
    return node


class Reader(Cursor):
    """Recursive descent over the text itself: LaTeX's digits-as-arguments make tokens ambiguous."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = 0
        self.bars = 0

    # sum := term (('+'|'-') term)*
    def sum(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotReadable("nested too deep")
        node = self.signed()
        while (char := self.peek()) and char in "+-":
            self.at += 1
            right = self.term()
            node = ("add", node, right if char == "+" else ("neg", right))
        self.depth -= 1
        return node

    def signed(self) -> Node:
        negative = False
        while (char := self.peek()) and char in "+-":
            negative ^= char == "-"
            self.at += 1
        node = self.term()
        return ("neg", node) if negative else node

    # term := factor (('*'|'/'|nothing) factor)*
    def term(self) -> Node:
        node = self.factor()
        while True:
            if self.take(_TIMES):
                node = ("mul", node, self.signed_factor())
            elif self.take(_DIVIDE):
                node = ("div", node, self.signed_factor())
            elif self.starts_factor():
                if node[0] == "num" and self.text[self.at].isdigit():
                    node = self.mixed(node)
                    continue
                mixed = node[0] == "num" and node[1].denominator == 1
                right = self.factor()
                if mixed and _proper(right):
                    node = ("num", node[1] + _proper_value(right))
                else:
                    node = ("mul", node, right)
            else:
                return node

    def mixed(self, whole: Node) -> Node:
        """``2 3/4``; two numbers side by side mean nothing else."""
        fraction = self.take(_DIGIT_FRACTION)
        if whole[1].denominator != 1 or fraction is None:
            raise NotReadable("two numbers side by side")
        top, bottom = int(fraction[1]), int(fraction[2])
        if top >= bottom:
            raise NotReadable("two numbers side by side")
        return ("num", whole[1] + Fraction(top, bottom))

    def signed_factor(self) -> Node:
        if self.peek() in ("-", "+"):
            sign = self.text[self.at]
            self.at += 1
            node = self.signed_factor()
            return ("neg", node) if sign == "-" else node
        return self.factor()

    def starts_factor(self) -> bool:
        char = self.peek()
        if not char or char in "+-*/^_=<>,;:)]}!'\"&%°?@#~`$":
            return False
        if char == "|":
            return self.bars == 0
        return not (char == "\\" and _STOP.match(self.text, self.at))

    # factor := postfix ('^' exponent)?
    def factor(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise NotReadable("nested too deep")
        node = self.postfix(self.atom())
        if (power := self.power()) is not None:
            node = self.postfix(("pow", node, power))
        self.depth -= 1
        return node

    def postfix(self, node: Node) -> Node:
        while True:
            char = self.peek()
            if char == "!":
                double = self.text.startswith("!!", self.at)
                self.at += 2 if double else 1
                node = ("fact2" if double else "fact", node)
            elif char == "°":
                self.at += 1
                node = ("deg", node)
            elif char == "%":
                self.at += 1
                node = percent(node)
            else:
                return node

    def power(self) -> Node | None:
        """An exponent, if one follows."""
        return self.exponent() if self.take(_POWER) else None

    def exponent(self) -> Node:
        """``^{…}``, ``^2``, and the plain-text ``^10``, ``^-3``, ``^(1/2)``."""
        char = self.peek()
        if char == "{":
            return self.group()
        if char in "+-" and char:
            self.at += 1
            node = self.exponent()
            return ("neg", node) if char == "-" else node
        node = self.atom()
        power = self.power()
        return node if power is None else ("pow", node, power)

    def group(self) -> Node:
        self.expect("{")
        node = self.sum()
        self.expect("}")
        return node

    def argument(self) -> Node:
        """A LaTeX argument: ``{…}`` or one digit, letter or command."""
        char = self.peek()
        if char == "{":
            return self.group()
        if char.isdigit():
            self.at += 1
            return num(int(char))
        if char.isalpha():
            self.at += 1
            return letter(char)
        return self.atom()

    def atom(self) -> Node:
        char = self.peek()
        if char.isdigit() or char == ".":
            return self.number()
        if char == "(":
            return self.bracketed("(", ")")
        if char == "[":
            return self.bracketed("[", "]")
        if char == "{":
            return self.subscripted(self.group())
        if char == "|":
            return self.absolute()
        if char == "\\":
            return self.command()
        if char.isalpha() and char.isascii():
            return self.word()
        raise NotReadable(f"unexpected {char!r}")

    def bracketed(self, opening: str, closing: str) -> Node:
        self.expect(opening)
        bars, self.bars = self.bars, 0
        node = self.sum()
        self.bars = bars
        self.expect(closing)
        return node

    def absolute(self) -> Node:
        self.expect("|")
        self.bars += 1
        node = self.sum()
        self.bars -= 1
        self.expect("|")
        return ("abs", node)

    def number(self) -> Node:
        match = self.take(_NUMBER)
        if match is None:
            raise NotReadable("no number")
        whole, lead, period, plain, power = match.groups()
        if period is not None:
            shift, cycle = 10 ** len(lead), 10 ** len(period) - 1
            value = Fraction(int(whole or 0)) + Fraction(int(lead or 0), shift)
            return ("num", value + Fraction(int(period), cycle * shift))
        if self.peek() == "_":
            raise NotReadable("a numeral with a base")
        value = Fraction(plain if plain[-1] != "." else plain[:-1])
        if power:
            if abs(int(power)) > 5_000:
                raise NotReadable("exponent out of range")
            value *= Fraction(10) ** int(power)
        return ("num", value)

    def subscripted(self, node: Node) -> Node:
        if self.peek() == "_":
            raise NotReadable("a subscript on a group")
        return node

    def word(self) -> Node:
        match = self.take(WORD)
        if match:
            return command(self, match.group())
        name = self.text[self.at]
        self.at += 1
        return self.symbol(name)

    def symbol(self, name: str) -> Node:
        primes = re.compile(r"'*").match(self.text, self.at)
        assert primes is not None
        self.at = primes.end()
        name += primes.group()
        if self.peek() == "_":
            self.at += 1
            name += "_" + self.raw_subscript()
        if (pair := _CHINESE_CHOOSE.fullmatch(name)) and self.peek() == "^":
            mark = self.at
            lower = self.power()
            if lower is not None and lower[0] == "num" and lower[1].denominator == 1 and lower[1] <= int(pair[1]):
                return ("binom", num(int(pair[1])), lower)
            self.at = mark
        if name == "C" and (chosen := _CHOOSE.match(self.text, self.at)):
            self.at = chosen.end()
            return ("binom", num(int(chosen[1])), num(int(chosen[2])))
        if name[0] in "fghFGH" and self.peek() == "(":
            return ("call", name, tuple(self.arguments()))
        return letter(name)

    def raw_subscript(self) -> str:
        self.skip()
        match = re.compile(r"\{([^{}]*)\}|\\[A-Za-z]+|[0-9A-Za-z]").match(self.text, self.at)
        if match is None:
            raise NotReadable("a subscript that is no name")
        self.at = match.end()
        inner = match.group(1) if match.group(1) is not None else match.group()
        return re.sub(r"\\(?:text|mathrm)|[\s{}]", "", inner)

    def arguments(self) -> list[Node]:
        self.expect("(")
        nodes = [self.sum()]
        while self.peek() == ",":
            self.at += 1
            nodes.append(self.sum())
        self.expect(")")
        return nodes

    def command(self) -> Node:
        self.skip()
        if self.text.startswith("\\{", self.at):
            self.at += 2
            node = self.sum()
            self.expect("\\}")
            return node
        match = self.take(COMMAND)
        if match is None:
            raise NotReadable("a stray backslash")
        return command(self, match.group(1))


def _proper(node: Node) -> bool:
    """A fraction of two plain whole numbers below one, as in the mixed number ``2\\frac{3}{4}``."""
    if node[0] != "div" or node[1][0] != "num" or node[2][0] != "num":
        return False
    top, bottom = node[1][1], node[2][1]
    return bool(top.denominator == bottom.denominator == 1 and 0 < top < bottom)


def _proper_value(node: Node) -> Fraction:
    return Fraction(node[1][1], node[2][1])
