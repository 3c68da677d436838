"""Units after a number, and currency before it: which there are, what they measure, how they convert."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True)
class Unit:
    """A unit as written: its dimension and factor if klear knows it, else only its name."""

    name: str
    dimension: str | None = None
    factor: Fraction = Fraction(1)


_TABLE = """
length 1/1000 mm millimeter millimeters millimetre millimetres 毫米
length 1/100 cm centimeter centimeters centimetre centimetres 厘米
length 1/10 dm decimeter decimeters 分米
length 1 m meter meters metre metres 米
length 1000 km kilometer kilometers kilometre kilometres 千米 公里
length 127/5000 in inch inches
length 381/1250 ft foot feet
length 1143/1250 yd yard yards
length 201168/125 mi mile miles
mass 1/1000 mg milligram milligrams 毫克
mass 1 g gram grams 克
mass 1000 kg kilogram kilograms kilos 千克 公斤
mass 1000000 tonne tonnes 吨
mass 45359237/100000 lb lbs pound pounds
mass 45359237/1600000 oz ounce ounces
time 1 s sec secs second seconds 秒
time 60 min mins minute minutes 分钟
time 3600 h hr hrs hour hours 小时 时
time 86400 day days 天
time 604800 week weeks 周
month 1 month months 月 个月
month 12 yr yrs year years 年
money 1 dollar dollars usd bucks 美元
money 1/100 cent cents ¢
euro 1 euro euros eur €
yuan 1 元 yuan rmb
volume 1 l liter liters litre litres 升
volume 1/1000 ml milliliter milliliters millilitre millilitres 毫升
angle 1 degree degrees deg
speed 1 m/s
speed 5/18 km/h kph
speed2 1 mph
"""
_UNITS: dict[str, Unit] = {}
for _line in _TABLE.strip().splitlines():
    _dimension, _factor, *_names = _line.split()
    for _name in _names:
        _UNITS[_name] = Unit(_name, _dimension, Fraction(_factor))

_CURRENCY = {"\\$": _UNITS["dollar"], "USD": _UNITS["dollar"],
             "$": _UNITS["dollar"], "€": _UNITS["euro"], "¥": _UNITS["yuan"],
             "£": Unit("pound sterling", "sterling"), "₹": Unit("rupee", "rupee"), "Rs.": Unit("rupee", "rupee"),
             "Rs": Unit("rupee", "rupee"), "\\pounds": Unit("pound sterling", "sterling")}  # fmt: skip
_LEADING = re.compile(r"^(-?)\s*(\\\$|\$|€|¥|£|₹|\\pounds|Rs\.?|USD(?=[ \d]))\s*(-?)\s*(?=[\d.\\({])")
_POWERS = {"square": 2, "sq": 2, "sq.": 2, "cubic": 3, "cu": 3, "平方": 2, "立方": 3}
_POWER_SUFFIX = re.compile(r"\s*\^\s*\{?\s*(-?\d)\s*\}?$")
_TEMPERATURE = re.compile(r"(?<=\d)\s*°\s*(?:\\text\{\s*)?([CF])\s*\}?$")
_TEXT_TAIL = re.compile(r"\\text\{([^{}]*)\}\s*(\^\s*\{?\s*-?\d\s*\}?)?$")
_BARE_TAIL = re.compile(
    r"(?<=[\d})\]%°\s])(?:(?<=[\d}])|\s)\s*([A-Za-z\u3400-\u9fff¢][A-Za-z\u3400-\u9fff./ ]*)(\^\s*\{?\s*-?\d\s*\}?)?$"
)
_MAX_UNIT_CHARS = 40
_HEDGE_WORDS = "or more less at least most about not than approximately roughly nearly almost between"
_HEDGES = frozenset(_HEDGE_WORDS.split())
_NO_UNIT_WORDS = "or and to is are the of pi sqrt sin cos tan ln log if for where when mod base with e i"
_NO_UNIT = frozenset(_NO_UNIT_WORDS.split())
_MATH_LETTERS = re.compile(r"[A-Za-z]")


def named_unit(words: str, power: str | None = None) -> Unit | None:
    """The unit that the words after a number name; one that is not in the table keeps only its name."""
    words = words.strip().strip(".").strip()
    if words in _UNITS and power is None:
        return _UNITS[words]
    exponent = int(re.sub(r"[^\d-]", "", power)) if power else 1
    parts = words.split()
    if len(parts) > 1 and parts[0].lower() in _POWERS:
        exponent, parts = _POWERS[parts[0].lower()], parts[1:]
    elif words[:2] in _POWERS and len(words) > 2:
        exponent, parts = _POWERS[words[:2]], [words[2:]]
    elif len(parts) > 1 and parts[-1].lower() in ("squared", "cubed"):
        exponent, parts = (2 if parts[-1].lower() == "squared" else 3), parts[:-1]
    name = " ".join(parts)
    known = _UNITS.get(name) or _UNITS.get(name.lower()) or _UNITS.get(name.rstrip("."))
    if known and known.dimension:
        dimension = known.dimension if exponent == 1 else f"{known.dimension}^{exponent}"
        return Unit(name, dimension, known.factor**exponent)
    return Unit(name.lower()) if name else None


_TRAILING = re.compile(r"(?<=\d)\s*(\\\$|\$|€|¥|£|₹)$")


def split_currency(text: str) -> tuple[str, Unit | None]:
    """``\\$6.50`` is 6.50 and dollars; so is ``6.50\\$``."""
    after = _TRAILING.search(text)
    if after:
        return text[: after.start()], _CURRENCY.get(after[1], Unit(after[1]))
    match = _LEADING.match(text)
    if not match:
        return text, None
    sign = "-" if match[1] or match[3] else ""
    return sign + text[match.end() :].strip(), _CURRENCY.get(match[2], Unit(match[2]))


def split_unit(text: str) -> tuple[str, Unit | None]:
    """Separate a formula from the unit after it: ``15\\text{ cm}^2``, ``64 square feet``, ``25元``.

    A letter that may be a variable (``5m``) is not taken for a unit unless it is marked as text.
    """
    match = _TEMPERATURE.search(text)
    if match:
        return text[: match.start()].strip(), Unit("temperature", match[1])
    match = _TEXT_TAIL.search(text)
    if match and (len(match[1]) > _MAX_UNIT_CHARS or _HEDGES.intersection(match[1].lower().split())):
        return text, None
    if match and match.start() and _is_amount(text[: match.start()]):
        return text[: match.start()].strip(), named_unit(match[1], match[2])
    match = _BARE_TAIL.search(text)
    if not match or len(match[1]) > _MAX_UNIT_CHARS or not _is_amount(text[: match.start()]):
        return text, None
    words = match[1].strip()
    first = words.split()[0] if words.split() else ""
    spaced = text[match.start(1) - 1 : match.start(1)] == " "
    known = words in _UNITS or words.lower() in _UNITS or any(w.lower() in _UNITS for w in words.split())
    cjk = not words.isascii()
    if (
        _HEDGES.intersection(words.lower().split())
        or first.lower() in _NO_UNIT
        or (len(words) == 1 and not cjk and not (spaced and words in _UNITS))
    ):
        return text, None
    if known or cjk or (spaced and len(first) >= 3):
        return text[: match.start()].strip(), named_unit(words, match[2])
    return text, None


def _is_amount(head: str) -> bool:
    """Whether what stands before a would-be unit is a number or closed constant, not a sentence."""
    head = head.strip()
    if not head or not re.search(r"\d|\\pi|\\infty|\\frac|π", head):
        return False
    bare = re.sub(r"\\[A-Za-z]+", "", head)
    return len(_MATH_LETTERS.findall(bare)) <= 6 and not bare.endswith(("=", "<", ">", "+", "-", "*", "/", "^", "_"))


_COMPOUND = re.compile(
    r"\s*(\d+(?:\.\d+)?)\s*(?:\\text\{\s*([A-Za-z]+)\.?\s*\}|([A-Za-z\u3400-\u9fff]+)\.?)\s*(?:,|and|\\text\{\s*and\s*\})?"
)


def compound_amount(text: str) -> tuple[Fraction, Unit] | None:
    """``2 hours 30 minutes`` as an amount of the first unit's dimension in base units."""
    at, total, dimension, count = 0, Fraction(0), "", 0
    while at < len(text):
        match = _COMPOUND.match(text, at)
        if not match:
            return None
        unit = named_unit(match[2] or match[3])
        if unit is None or unit.dimension is None or (dimension and unit.dimension != dimension):
            return None
        dimension = unit.dimension
        total += Fraction(match[1]) * unit.factor
        count += 1
        at = match.end()
    return (total, Unit("compound", dimension)) if count >= 2 else None
