"""Which warm interpreter a program needs: the plain one, or the one with numpy in it."""

from __future__ import annotations

import re

from sandbox.layout import WARM_PACKAGES

# One quantifier that can give back, so that a line takes time linear in its length.
_IMPORT = re.compile(rf"^[ \t]*+(?:import|from)[ \t][^#\n]*\b(?:{'|'.join(WARM_PACKAGES)})\b", re.MULTILINE)


def kind_for(*sources: str) -> str:
    """``numpy`` where one of the sources (the program, what its tests run) imports it, else ``python``."""
    return "numpy" if any(map(_IMPORT.search, sources)) else "python"
