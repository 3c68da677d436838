"""What a named command of the small grammar stands for: fractions, roots, logarithms, functions, Greek letters."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from klear_data.reward.mathcheck.cursor import NotReadable
from klear_data.reward.mathcheck.tree import Node, num

if TYPE_CHECKING:
    from klear_data.reward.mathcheck.expression import Reader

_FUNCTION_NAMES = (
    "arcsinh arccosh arctanh arcsin arccos arctan arccot asin acos atan sinh cosh tanh coth sech csch sin cos tan cot "
    "sec csc cis exp ln lg sgn"
)
_FUNCTIONS = _FUNCTION_NAMES.split()
_INVERSE = {"sin": "arcsin", "cos": "arccos", "tan": "arctan", "cot": "arccot"}
_ALIASES = {"asin": "arcsin", "acos": "arccos", "atan": "arctan"}
_GREEK_NAMES = (
    "alpha beta gamma delta epsilon zeta eta theta iota kappa lambda mu nu xi rho sigma tau upsilon phi chi psi "
    "omega Gamma Delta Theta Lambda Xi Pi Sigma Upsilon Phi Psi Omega ell hbar"
)
_GREEK_LETTERS = frozenset(_GREEK_NAMES.split())
WORD = re.compile(r"(?:" + "|".join(_FUNCTIONS) + r"|sqrt|log|pi|infinity|infty|inf|oo|binom)(?![A-Za-z])")
COMMAND = re.compile(r"\\([A-Za-z]+)")


def command(reader: Reader, name: str) -> Node:
    """The tree of a command whose name has just been read, with its arguments."""
    if name == "frac":
        return ("div", reader.argument(), reader.argument())
    if name in ("sqrt", "cbrt"):
        return _root(reader, name)
    if name == "binom":
        return _binomial(reader)
    if name == "pi":
        return ("const", "pi")
    if name in ("infty", "infinity", "inf", "oo"):
        return ("const", "inf")
    if name in ("lfloor", "lceil"):
        node = reader.sum()
        reader.expect("\\r" + name[1:])
        return ("floor" if name == "lfloor" else "ceil", node)
    if name in ("log", "lg"):
        return _logarithm(reader, name)
    if name in _FUNCTIONS:
        return _function(reader, _ALIASES.get(name, name))
    if name not in _GREEK_LETTERS:
        raise NotReadable(f"\\{name}")
    return reader.symbol("\\" + name)


def _binomial(reader: Reader) -> Node:
    if reader.peek() != "(":
        return ("binom", reader.argument(), reader.argument())
    arguments = reader.arguments()
    if len(arguments) != 2:
        raise NotReadable("binom takes two arguments")
    return ("binom", arguments[0], arguments[1])


def _root(reader: Reader, name: str) -> Node:
    index = num(3 if name == "cbrt" else 2)
    if reader.peek() == "[":
        index = reader.bracketed("[", "]")
    if reader.peek().isdigit():
        return ("root", index, reader.number())
    return ("root", index, reader.argument())


def _logarithm(reader: Reader, name: str) -> Node:
    base = num(10) if name == "lg" else None
    if reader.peek() == "_":
        reader.at += 1
        base = reader.argument()
    power = reader.power()
    value = _function_argument(reader)
    node: Node = ("fn", "log", value) if base is None else ("log", base, value)
    return node if power is None else ("pow", node, power)


def _function(reader: Reader, name: str) -> Node:
    power = reader.power()
    if power == ("neg", num(1)):
        if name not in _INVERSE:
            raise NotReadable(f"{name}^-1")
        name, power = _INVERSE[name], None
    argument = _function_argument(reader)
    node: Node = ("fn", name, argument)
    if name == "cis":
        node = ("add", ("fn", "cos", argument), ("mul", ("const", "i"), ("fn", "sin", argument)))
    return node if power is None else ("pow", node, power)


def _function_argument(reader: Reader) -> Node:
    """``(…)`` whole, else factors up to the next sign, product sign or function: ``sin 2x cos y``."""
    char = reader.peek()
    if char == "(":
        return reader.bracketed("(", ")")
    if char == "{":
        return reader.group()
    if char in "+-" and char:
        reader.at += 1
        inner = _function_argument(reader)
        return ("neg", inner) if char == "-" else inner
    node = reader.factor()
    while reader.starts_factor() and reader.peek() != "(" and not _at_function(reader):
        if node[0] == "num" and reader.peek().isdigit():
            raise NotReadable("two numbers side by side")
        node = ("mul", node, reader.factor())
    if node[0] in ("num", "sym", "const", "mul", "deg", "pow") and reader.peek() == "/":
        mark = reader.at
        reader.at += 1
        below = reader.peek()
        if below.isdigit() or below.isalpha():
            return ("div", node, reader.factor())
        reader.at = mark
    return node


def _at_function(reader: Reader) -> bool:
    reader.skip()
    named, word = COMMAND.match(reader.text, reader.at), WORD.match(reader.text, reader.at)
    name = named.group(1) if named else word.group() if word else ""
    return name in {*_FUNCTIONS, "log"}
