"""Which filters a run uses: the finite list of their names, what is on by default, and how to change that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from klear_data.errors import UsageError
from klear_data.filters.base import Filter
from klear_data.filters.checks import ability_filter, gold_filter, prompt_filter, suite_filter
from klear_data.filters.figures import drawing_filter, figure_filter, link_filter
from klear_data.filters.kinds import multiple_choice_filter, proof_filter
from klear_data.filters.language import language_filter
from klear_data.filters.leaks import answer_filter_of_prompt
from klear_data.filters.length import ANY, Bounds, length_filter
from klear_data.filters.sources import validity_filter


@dataclass(frozen=True)
class FilterOptions:
    """What filters need to know.

    Attributes:
        min_tests: code problems with fewer tests go.
        chars: of the prompt; a bound switches the filter ``length`` on.
        tokens: likewise, as :func:`klear_data.filters.length.count_tokens` counts them.
        languages: to keep; naming some switches the filter ``language`` on.
    """

    min_tests: int = 1
    chars: Bounds = ANY
    tokens: Bounds = ANY
    languages: tuple[str, ...] = ()


@dataclass(frozen=True)
class NamedFilter:
    """A filter that can be switched on and off.

    Attributes:
        check: the predicate.
        default: on unless switched off.
        drops: what goes, for people.
    """

    check: Filter
    default: bool
    drops: str


FILTERS: dict[str, NamedFilter] = {
    "validity": NamedFilter(validity_filter, True, "rows that their source marks as invalid"),
    "figure": NamedFilter(figure_filter, True, "problems that speak of a figure or table they do not have"),
    "proof": NamedFilter(proof_filter, True, "problems that ask for a proof and for nothing else"),
    "leak": NamedFilter(answer_filter_of_prompt, True, "problems that state their own answer"),
    "multiple-choice": NamedFilter(multiple_choice_filter, False, "problems with options A, B, C …"),
    "drawing": NamedFilter(drawing_filter, False, "problems whose figure is Asymptote or TikZ code"),
    "link": NamedFilter(link_filter, False, "problems with an address of the web"),
    "gold": NamedFilter(gold_filter, True, "answers that do not verify against themselves"),
}
"""In the order in which they are asked, cheapest first. Empty prompts, abilities without a verifier and tests that
can't be used are no choice; ``length`` and ``language`` are switched on by their own options."""
DEFAULTS = tuple(name for name, entry in FILTERS.items() if entry.default)


def chosen_filters(wanted: Sequence[str] = (), unwanted: Sequence[str] = ()) -> tuple[str, ...]:
    """The names that are on.

    Args:
        wanted: names to switch on besides the defaults; ``none`` begins with no filter, ``all`` with every one.
        unwanted: names to switch off.

    Raises:
        UsageError: a name that is none.

    >>> chosen_filters(["none", "proof"]), chosen_filters([], DEFAULTS)
    (('proof',), ())
    """
    for name in (*wanted, *unwanted):
        if name not in FILTERS and not (name in ("none", "all") and name in wanted):
            raise UsageError(f"filter {name}: no such filter; expected some of {', '.join(FILTERS)}, none, all")
    on = set() if "none" in wanted else set(FILTERS) if "all" in wanted else set(DEFAULTS)
    on = (on | set(wanted)) - set(unwanted)
    return tuple(name for name in FILTERS if name in on)


def row_filters(names: Sequence[str], options: FilterOptions, *, sound: bool = False) -> list[Filter]:
    """The filters of a run, in the order in which they are asked; the first that rejects is the reason.

    Args:
        names: as :func:`chosen_filters` gives them.
        options: what they need to know.
        sound: for math problems whose prompts are more than a sign: without the checks that all of these pass.
    """
    filters: list[Filter] = [] if sound else [prompt_filter, ability_filter]
    if options.chars != ANY or options.tokens != ANY:
        filters.append(partial(length_filter, chars=options.chars, tokens=options.tokens))
    if options.languages:
        filters.append(partial(language_filter, keep=options.languages))
    filters += [FILTERS[name].check for name in names]
    return filters if sound else [*filters, partial(suite_filter, min_tests=options.min_tests)]
