"""``--decontaminate`` and ``--on``: which benchmarks are meant, and what to do about each class of evidence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, cast, get_args

from cli.options import split_commas
from klear_data.errors import UsageError

if TYPE_CHECKING:
    from klear_data.contamination import Item, Policy


def benchmark_names(values: Sequence[str]) -> list[str]:
    """What ``--decontaminate`` names, comma-separated or repeated.

    Raises:
        UsageError: the option is there and names nothing, as where a shell's variable is empty.
    """
    for value in values:
        if not split_commas([value]):
            raise UsageError("--decontaminate: empty; expected benchmark files or names; name at least one")
    return split_commas(list(values))


def benchmark_items(specs: Sequence[str]) -> list[Item]:
    """The problems of benchmark files, folders and patterns, and of catalogued benchmarks by name.

    Raises:
        UsageError: nothing of that name.
        RecordError: a file that is empty or of no known schema.
        CapabilityError: a catalogued benchmark that is not at hand.
    """
    from klear_data.contamination import Item, read_benchmark, refuse_wordless
    from klear_data.sources.benchmarks import benchmark_records, expand_benchmark, where_from
    from klear_data.sources.paths import expand_sources
    from klear_data.text import prompt_text

    items: list[Item] = []
    for spec in specs:
        named = expand_benchmark(spec)
        if named is None:
            items += [item for path in expand_sources([spec]) for item in read_benchmark(path)]
            continue
        for benchmark in named:
            sys.stderr.write(f"klear: --decontaminate {spec} is {where_from(benchmark)}\n")
            for where, record in benchmark_records(benchmark):
                name = record["extra_info"].get("item")
                text = prompt_text(record["prompt"])
                refuse_wordless(text, where)
                items.append(Item(benchmark.name, where, None if name is None else str(name), text, record))
    return items


def policy_of(settings: Sequence[str]) -> dict[str, Policy]:
    """What ``--on`` says, by class.

    >>> policy_of(["variant=review", "paraphrase=off"])
    {'variant': 'review', 'paraphrase': 'off'}

    Raises:
        UsageError: no such class, no such policy, or a class named twice.
    """
    from klear_data.contamination import CLASSES, Policy

    policy: dict[str, Policy] = {}
    for setting in settings:
        name, _, wanted = setting.partition("=")
        if name not in CLASSES or wanted not in get_args(Policy) or name in policy:
            raise UsageError(
                f"--on {setting}: not understood; expected CLASS=POLICY, each class once, with a class of "
                f"{', '.join(CLASSES)} and a policy of {', '.join(get_args(Policy))}; for example --on variant=review"
            )
        policy[name] = cast("Policy", wanted)
    return policy
