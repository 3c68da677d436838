"""A text as a reader sees it: without characters that show nothing, and with the letters that others pass for.

A zero-width space or a soft hyphen inside a word, or a Cyrillic letter that looks like a Latin one, changes the
bytes of a copy and nothing for who reads it. Both sides of every comparison go through this, so that two problems
in Russian or Greek stay as different as they were.
"""

from __future__ import annotations

import re

SEEN = "seen/1"
"""Named in every record, beside the normaliser."""

# Default_Ignorable_Code_Point of the Unicode character database, but for what NFKC takes away.
_IGNORABLE = (
    (0xAD, 0xAD), (0x34F, 0x34F), (0x61C, 0x61C), (0x115F, 0x1160), (0x17B4, 0x17B5), (0x180B, 0x180F),
    (0x200B, 0x200F), (0x202A, 0x202E), (0x2060, 0x206F), (0x3164, 0x3164), (0xFE00, 0xFE0F), (0xFEFF, 0xFEFF),
    (0xFFA0, 0xFFA0), (0xFFF0, 0xFFF8), (0x1BCA0, 0x1BCA3), (0x1D173, 0x1D17A), (0xE0000, 0xE0FFF),
)  # fmt: skip
# Code points of Cyrillic, Armenian and Greek letters that common fonts draw like these Latin ones.
_LOOK_ALIKES = {
    "a": (0x430, 0x3B1), "c": (0x441, 0x3F2), "d": (0x501,), "e": (0x435, 0x3B5), "h": (0x4BB, 0x570),
    "i": (0x456, 0x3B9), "j": (0x458, 0x3F3), "k": (0x43A, 0x3BA), "l": (0x4CF,), "m": (0x43C,), "n": (0x578,),
    "o": (0x43E, 0x3BF, 0x585), "p": (0x440, 0x3C1), "q": (0x51B,), "s": (0x455,), "t": (0x442, 0x3C4),
    "u": (0x57D, 0x3C5), "v": (0x475, 0x3BD), "w": (0x51D,), "x": (0x445, 0x3C7), "y": (0x443,),
}  # fmt: skip

_TABLE: dict[int, str | None] = {code: None for first, last in _IGNORABLE for code in range(first, last + 1)}
for _letter, _codes in _LOOK_ALIKES.items():
    for _code in _codes:
        _TABLE[_code] = _letter
        if len(chr(_code).upper()) == 1 and chr(_code).upper() != chr(_code):
            _TABLE[ord(chr(_code).upper())] = _letter.upper()
_RANGES = "".join(f"{chr(first)}-{chr(last)}" for first, last in _IGNORABLE)
_ODD = re.compile(f"[{_RANGES}{''.join(chr(code) for code, letter in _TABLE.items() if letter)}]").search


def seen(text: str) -> str:
    """The text without what nobody sees.

    >>> seen("ho\\u200bw m\\u0430ny \\u0410pples") == "how many Apples"
    True
    """
    return text if text.isascii() or _ODD(text) is None else text.translate(_TABLE)
