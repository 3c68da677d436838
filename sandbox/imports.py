"""Which warm interpreter a program needs: the plain one, or the one with numpy in it."""

from __future__ import annotations

import re

from sandbox.layout import WARM_PACKAGES

# One quantifier that can give back, so that a line takes time linear in its length.
_IMPORT = re.compile(rf"^[ \t]*+(?:import|from)[ \t][^#\n]*\b(?:{'|'.join(WARM_PACKAGES)})\b", re.MULTILINE)


def kind_for(program: str) -> str:
    """``numpy`` where the program imports it, else ``python``."""
    return "numpy" if _IMPORT.search(program) else "python"
