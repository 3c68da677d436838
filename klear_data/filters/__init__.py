"""Filters of single records: each looks at a record and says with what reason it must go, or nothing.

``base`` says what a filter is, ``checks`` holds what no run can do without, ``chosen`` the list of the others and
which of them a run uses.
"""

from klear_data.filters.base import Filter, Rejection
from klear_data.filters.checks import (
    ability_filter,
    answer_filter,
    gold_filter,
    has_gold,
    is_gold,
    prompt_filter,
    suite_filter,
)
from klear_data.filters.chosen import DEFAULTS, FILTERS, FilterOptions, chosen_filters, row_filters
from klear_data.filters.language import parse_languages
from klear_data.filters.length import Bounds

__all__ = [
    "DEFAULTS",
    "FILTERS",
    "Bounds",
    "Filter",
    "FilterOptions",
    "Rejection",
    "ability_filter",
    "answer_filter",
    "chosen_filters",
    "gold_filter",
    "has_gold",
    "is_gold",
    "parse_languages",
    "prompt_filter",
    "row_filters",
    "suite_filter",
]
