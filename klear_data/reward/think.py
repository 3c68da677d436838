"""Think tags: which are required, which are missing, and where the answer may stand.

The reward of the paper needs to know whether the model kept its reasoning between
``<think>`` and ``</think>`` (Klear-Reasoner §4.1); every verifier reads the answer only after the
last ``</think>``, so that a box or a code block tried out while thinking is never the answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

OPEN, CLOSE = "<think>", "</think>"

ThinkMode = Literal["full", "closing", "none"]
MissingTag = Literal["open", "close"]


@dataclass(frozen=True)
class ThinkSplit:
    """A completion seen through the tag rule.

    Attributes:
        answer_text: what stands after the last ``</think>``; the whole completion without one.
        missing: the first required tag that is absent, ``None`` where the format is right.
    """

    answer_text: str
    missing: MissingTag | None

    @property
    def format_ok(self) -> bool:
        return self.missing is None


def split_think(completion: str, mode: ThinkMode = "full") -> ThinkSplit:
    """Split a completion after its last ``</think>`` and say which required tag is missing.

    Args:
        completion: the model's text.
        mode: ``full`` requires both tags in order, ``closing`` only ``</think>`` (for chat templates
            that open ``<think>`` in the prompt), ``none`` requires nothing.
    """
    reasoning, close, after = completion.rpartition(CLOSE)
    answer_text = after if close else completion
    missing: MissingTag | None = None
    if mode == "full" and OPEN not in (reasoning if close else completion):
        missing = "open"
    elif mode != "none" and not close:
        missing = "close"
    return ThinkSplit(answer_text, missing)
