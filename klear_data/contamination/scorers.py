"""The classes of evidence beyond the n-gram rule, each built from the same items."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from klear_data.contamination.types import Item, Scorer
from klear_data.text import normalise

SCORED = ("edited", "variant", "code", "paraphrase")
"""The most certain first; in this order they are asked."""


def make_scorers(items: Sequence[Item], wanted: Iterable[str]) -> dict[str, Scorer]:
    """What finds each wanted class, in the order of :data:`SCORED`.

    Args:
        items: distinct ones.
        wanted: classes; what is not wanted is not built.
    """
    from klear_data.contamination.code_overlap import CodeScorer
    from klear_data.contamination.edited import Edited
    from klear_data.contamination.overlap import Encoder
    from klear_data.contamination.paraphrase import ParaphraseScorer
    from klear_data.contamination.variant import VariantScorer

    names = set(wanted)
    scorers: dict[str, Scorer] = {}
    if "edited" in names:
        scorers["edited"] = Edited(items)
    if "code" in names:
        scorers["code"] = CodeScorer(items)
    if names & {"variant", "paraphrase"}:
        encoder = Encoder([normalise(item.text) for item in items])
        if "variant" in names:
            scorers["variant"] = VariantScorer(items, encoder)
        if "paraphrase" in names:
            scorers["paraphrase"] = ParaphraseScorer(items, encoder)
    return {name: scorers[name] for name in SCORED if name in scorers}
