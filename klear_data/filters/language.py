"""The language of a prompt, without a model: by script, and between Latin ones by their commonest words.

What it can tell: Chinese, Japanese, Korean, Russian (any Cyrillic), Greek, Arabic, Hebrew, Hindi (any Devanagari),
Thai; English, Spanish, French, German, Portuguese, Italian, Dutch, Polish, Turkish, Vietnamese, Indonesian. What it
can't: texts of a few words, mixtures (the commonest wins), languages that are not listed (``und``).
"""

from __future__ import annotations

import re
from collections import Counter

from klear_data.errors import UsageError
from klear_data.filters.base import Rejection
from klear_data.records import Record
from klear_data.text import prompt_text

UNKNOWN = "und"
_SCRIPTS = {
    "ja": re.compile(r"[\u3040-\u30ff]"),
    "zh": re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff]"),
    "ko": re.compile(r"[\uac00-\ud7af]"),
    "ru": re.compile(r"[\u0400-\u04ff]"),
    "el": re.compile(r"[\u0370-\u03ff]"),
    "ar": re.compile(r"[\u0600-\u06ff]"),
    "he": re.compile(r"[\u0590-\u05ff]"),
    "hi": re.compile(r"[\u0900-\u097f]"),
    "th": re.compile(r"[\u0e00-\u0e7f]"),
}
_STOP_WORDS = {
    "en": "the of and is in to that for are how what find if with each be a an by from which it he she on many then "
    "let at has have had this two as per much will they their there be been was were than so all more her his him its "
    "these those each when where who does do did can such not no but also must may",
    "es": "el la los las de que en un una es por con para se del si cuántos cuál su al entre hallar sea como",
    "fr": "le la les des et est un une dans que pour du si on qui quel combien soit sur avec au pas par trouver",
    "de": "der die das und ist ein eine von zu mit den dem wie viele für auf es nicht wenn sind welche hat im bestimme",
    "pt": "os as de que em um uma por com para se do da dos das não quantos qual ao sua seja entre como",
    "it": "il lo gli di che in un una per con se del della quanti quale sono nel al sia trova le",
    "nl": "de het een van en is in dat op te zijn met voor hoeveel wat als er niet aan bij welke",
    "pl": "na że jest do nie się o jak ile oraz dla jeśli który która są znajdź liczba to",
    "tr": "ve bir bu için ile kaç olan ne bulunuz ise de da olarak kadar sayısı her",
    "vi": "và là của có các một cho trong số với được bao nhiêu tìm hình từ đó biết",
    "id": "dan yang di adalah dari untuk dengan berapa pada jika sebuah ini itu dalam nilai jumlah",
}
# A word of one letter is left out everywhere: it is more often a variable.
_LANGUAGES: dict[str, list[str]] = {}
for _language, _words in _STOP_WORDS.items():
    for _word in _words.split():
        _LANGUAGES.setdefault(_word, []).append(_language)
NAMES = (*_SCRIPTS, *_STOP_WORDS)

_NO_PROSE = re.compile(
    r"```.*?```|\\begin\{(\w+)\*?\}.*?\\end\{\1\*?\}|\[asy\].*?\[/asy\]|"  # code, tables, drawings
    r"\$\$.*?\$\$|\$[^$]*\$|\\\[.*?\\\]|\\\(.*?\\\)|\\[a-zA-Z]+|https?://\S+",
    re.DOTALL,
)
_WORD = re.compile(r"[^\W\d_]+")
_LEAST_STOP_WORDS = 2
_ENOUGH = 10_000  # characters; and a bound on what unclosed brackets cost


def parse_languages(text: str, *, option: str) -> tuple[str, ...]:
    """``en,zh`` as names that this module knows.

    Raises:
        UsageError: one that it does not.
    """
    names = tuple(name.strip().lower() for name in text.split(",") if name.strip())
    unknown = [name for name in names if name not in NAMES]
    if unknown or not names:
        raise UsageError(f"{option} {text}: {unknown or 'empty'}; expected some of {', '.join(NAMES)}")
    return names


def language_filter(record: Record, *, keep: tuple[str, ...]) -> Rejection | None:
    """``language``: the prompt is in none of the languages to keep; what can't be told stays."""
    found = language_of(prompt_text(record["prompt"]))
    return None if found == UNKNOWN or found in keep else Rejection("language", {"language": found})


def language_of(text: str) -> str:
    """The language of a text's prose; formulas, code and addresses do not count.

    >>> language_of("How many primes are there between $1$ and $100$?"), language_of("一段布剪去6米")
    ('en', 'zh')
    >>> language_of("$x+1=2$")
    'und'
    """
    prose = _NO_PROSE.sub(" ", text[:_ENOUGH])
    if not prose.isascii():
        by_script = _of_script(prose)
        if by_script is not None:
            return by_script
    return _of_words(prose)


def _of_script(prose: str) -> str | None:
    """The script that at least half as many letters as the Latin one are in; one CJK character weighs two letters."""
    latin = sum(1 for letter in prose if letter.isalpha() and letter < "\u0250")
    counts = {language: len(script.findall(prose)) for language, script in _SCRIPTS.items()}
    if counts["ja"]:  # Japanese writes Chinese characters too
        counts["ja"] += counts.pop("zh")
    language = max(counts, key=counts.__getitem__)
    weight = counts[language] * (2 if language in ("zh", "ja", "ko") else 1)
    return language if weight and 2 * weight >= latin else None


def _of_words(prose: str) -> str:
    votes: Counter[str] = Counter()
    for word in _WORD.findall(prose.lower()):
        votes.update(_LANGUAGES.get(word, ()))
    ranked = votes.most_common(2)
    if not ranked or ranked[0][1] < _LEAST_STOP_WORDS:
        return UNKNOWN
    tied = len(ranked) > 1 and ranked[0][1] == ranked[1][1]
    return UNKNOWN if tied else ranked[0][0]
