"""Words that mean the same here: without endings, irregular forms and short units brought together."""

from __future__ import annotations

_STOP_WORDS = """
a an the of in to on at by for from with without and or but if then than that this these those it its is are
was were be been being am do does did done has have had having will would can could should may might must shall
he she they we you i him her his hers their theirs them our us your my me mine who whom whose which what when
where why how as so such not no nor there here into onto out up down over under again also just only same own
too very more most less least few many much each every all any both some other others another about after before
during while until since between through against per one ones s t d ll re ve m don didn doesn isn aren wasn
find determine compute calculate total number amount altogether give given value let suppose following please
himself herself itself themselves because still yet now get gets got take takes took make makes made
question problem answer solve solution
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())
"""Of no weight: grammar, and what questions are made of whatever they ask about."""

_SAME = {
    "child": "child children kid kids",
    "person": "person people persons individuals individual",
    "foot": "foot feet ft",
    "man": "man men",
    "woman": "woman women",
    "mouse": "mouse mice",
    "tooth": "tooth teeth",
    "half": "half halves",
    "buy": "buy buys bought buying purchase purchases purchased purchasing",
    "sell": "sell sells sold selling",
    "eat": "eat eats ate eaten eating",
    "pay": "pay pays paid paying",
    "spend": "spend spends spent spending",
    "drink": "drink drinks drank drunk drinking",
    "run": "run runs ran running",
    "drive": "drive drives drove driven driving",
    "write": "write writes wrote written writing",
    "grow": "grow grows grew grown growing",
    "leave": "leave leaves left leaving",
    "remain": "remain remains remained remaining",
    "kilometer": "kilometer kilometers kilometre kilometres km kms",
    "kilogram": "kilogram kilograms kg kgs kilo kilos",
    "centimeter": "centimeter centimeters centimetre centimetres cm",
    "meter": "meter meters metre metres",
    "gram": "gram grams",
    "liter": "liter liters litre litres",
    "pound": "pound pounds lb lbs",
    "ounce": "ounce ounces oz",
    "inch": "inch inches",
    "hour": "hour hours hr hrs hourly",
    "minute": "minute minutes min mins",
    "day": "day days daily",
    "week": "week weeks weekly",
    "month": "month months monthly",
    "year": "year years yearly annual annually",
    "mile": "mile miles mph",
    "dollar": "dollar dollars usd",
    "mum": "mother mom mum",
    "dad": "father dad",
    "list": "list lists array arrays",
    "string": "string strings str",
    "integer": "integer integers int ints",
}
_IRREGULAR = {form: stem for stem, forms in _SAME.items() for form in forms.split()}


def stem(word: str) -> str:
    """A word without its ending, so that its forms fall together; no dictionary, so it overdoes it at times.

    >>> [stem(word) for word in "cooking cooked cooks cook stories story children largest".split()]
    ['cook', 'cook', 'cook', 'cook', 'story', 'story', 'child', 'largest']
    """
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if len(word) <= 3:
        return word
    if word.endswith("ies"):
        word = word[:-3] + "y"
    elif word.endswith(("sses", "shes", "ches", "xes", "zes")):
        word = word[:-2]
    elif word.endswith("s") and not word.endswith(("ss", "us", "is")):
        word = word[:-1]
    for ending, shortest in (("ing", 6), ("ed", 5), ("ly", 5), ("er", 6), ("or", 6), ("ment", 7), ("ion", 7)):
        if len(word) >= shortest and word.endswith(ending):
            word = word[: -len(ending)]
            break
    if len(word) > 3 and word[-1] == word[-2] and word[-1] not in "aeious":
        word = word[:-1]
    return word[:-1] if len(word) > 3 and word.endswith("e") else word
