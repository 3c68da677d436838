"""Problems of a kind that a final answer can't judge: proofs, and multiple choice, which can be guessed."""

from __future__ import annotations

import re

from klear_data.filters.base import Rejection, around, question_of, said
from klear_data.records import Record

_PROOF = re.compile(r"\b(?:prove|proof|show that|demonstrate that|verify that|justify)\b|证明|求证", re.IGNORECASE)
# What asks for something that can be written in a box; then the proof is only half of the task.
_QUESTION = re.compile(
    r"\b(?:find|compute|calculate|determine|evaluate|what|which|how|solve|express|simplify|factor|give|state|list|"
    r"is it|does|do|are there|is there|can|who|where|when|name|choose|enter)\b|[?？求]",
    re.IGNORECASE,
)
_MARKERS = (
    re.compile(r"\(\s?([A-E])\s?\)"),  # (A), \textbf{(A)}
    # A. A) A、 where a line or a column begins; blanks are looked back at, or a long run of them takes for ever
    re.compile(
        r"(?:^|(?<=\s\s)|(?<=\n)|(?<=quad)\s?)\$?(?:\\(?:text|mathrm)(?:bf|rm)?\{)?([A-E])\s?[).:、．]\s?(?=\S)"
    ),
)
# What is drawn names its points: dot(A); dot(B); are no options.
_DRAWING = re.compile(
    r"\[asy\].*?(?:\[/asy\]|$)|\\begin\{tikzpicture\}.*?(?:\\end\{tikzpicture\}|$)", re.DOTALL | re.IGNORECASE
)
_LEAST_OPTIONS = 4
_LEAST_OF_WHICH = 3  # where the text asks which of them
_PROOF_WORDS = ("prove", "proof", " that", "justify", "证")


def proof_filter(record: Record) -> Rejection | None:
    """``proof``: the source calls it a proof, or the text asks to prove something and asks for nothing else."""
    for column in ("question_type", "problem_type"):
        if said(record, column) == "proof":
            return Rejection("proof", {column: "proof"})
    text = question_of(record)
    lowered = text.lower()
    asked = _PROOF.search(text) if any(word in lowered for word in _PROOF_WORDS) else None
    if asked is None or _QUESTION.search(_PROOF.sub(" ", text)) is not None:
        return None
    return Rejection("proof", {"found": around(asked)})


def multiple_choice_filter(record: Record) -> Rejection | None:
    """``multiple_choice``: the source calls it so, or options A, B, C … follow each other in the text."""
    if said(record, "question_type") in ("mcq", "multiple-choice", "multiple choice"):
        return Rejection("multiple_choice", {"question_type": said(record, "question_type")})
    text = question_of(record)
    if "A" not in text or "B" not in text:
        return None
    text = _DRAWING.sub("", text)
    least = _LEAST_OF_WHICH if "which of" in text.lower() else _LEAST_OPTIONS
    for marker in _MARKERS:
        options = _run_of_options(marker.findall(text))
        if len(options) >= least:
            return Rejection("multiple_choice", {"options": options})
    return None


def _run_of_options(letters: list[str]) -> str:
    """The longest ``ABC…`` that the letters spell from some A on, nothing between."""
    best = ""
    for start, letter in enumerate(letters):
        if letter == "A":
            run = "A"
            for following in letters[start + 1 :]:
                if following != chr(ord(run[-1]) + 1):
                    break
                run += following
            best = max(best, run, key=len)
    return best
