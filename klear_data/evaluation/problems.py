"""What is asked: the problems of a benchmark or a file as records, each in the benchmark's prompt template."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from itertools import islice
from typing import Any

from klear_data.errors import RecordError, UsageError
from klear_data.generate.kept import ADDED
from klear_data.jsonl import BadLine, Source
from klear_data.records import Record
from klear_data.sources.adapt import to_record
from klear_data.sources.benchmarks import Benchmark, benchmark_records, expand_benchmark, where_from
from klear_data.sources.catalog import did_you_mean
from klear_data.sources.paths import expand_sources, source_name
from sandbox.formats import parse_tests
from sandbox.types import TestsError

SAMPLES_OF_A_FILE = 4


@dataclass(frozen=True)
class Protocol:
    """How the paper samples (§4.1): ``benchmarks.toml`` holds the values."""

    temperature: float
    top_p: float
    max_tokens: int


@dataclass(frozen=True)
class Template:
    """A way to ask; ``called`` names the one for problems whose tests call a function."""

    name: str
    text: str
    called: str | None = None

    def fill(self, problem: str) -> str:
        """The question: ``{problem}`` is the only thing that is filled in; other braces are text."""
        return self.text.replace("{problem}", problem)


@dataclass(frozen=True)
class Chosen:
    """A benchmark that was asked for, or a file of problems.

    Attributes:
        name: of the benchmark or the file, the ``data_source`` of its records.
        n: samples a problem, unless the user says otherwise.
        benchmark: the catalogued one, None for files.
        paths: of the files.
    """

    name: str
    n: int
    benchmark: Benchmark | None
    paths: tuple[str, ...] = ()

    @property
    def described(self) -> str:
        """Where the problems come from, in one line for the user."""
        return where_from(self.benchmark) if self.benchmark is not None else f"{self.name} from {', '.join(self.paths)}"


@lru_cache(maxsize=1)
def _catalogue() -> dict[str, Any]:
    return tomllib.loads(files("klear_data.sources").joinpath("benchmarks.toml").read_text(encoding="utf-8"))


def protocol() -> Protocol:
    """The paper's sampling settings."""
    return Protocol(**_catalogue()["protocol"])


def templates() -> dict[str, Template]:
    """The prompt templates by name."""
    return {entry["name"]: Template(**entry) for entry in _catalogue()["template"]}


def template_named(name: str) -> Template:
    """The template of a name.

    Raises:
        UsageError: there is none; the message offers a close one.
    """
    known = templates()
    if name not in known:
        hint = did_you_mean(name, list(known)) or f"the names are {', '.join(known)}"
        raise UsageError(f"--template {name}: no such template; expected one of klear's; {hint}")
    return known[name]


def choose(spec: str) -> Chosen:
    """What ``--benchmark`` names: a catalogued benchmark, a file, a folder or a pattern.

    Raises:
        UsageError: nothing of that name, or a benchmark that is none to evaluate on.
    """
    named = expand_benchmark(spec)
    if named is None:
        paths = tuple(expand_sources([spec]))
        return Chosen(source_name(paths[0]), SAMPLES_OF_A_FILE, None, paths)
    (benchmark,) = named
    if not benchmark.evaluate:
        raise UsageError(
            f"--benchmark {spec}: catalogued to decontaminate against only ({benchmark.defects}); expected a benchmark "
            "to evaluate on; choose another"
        )
    return Chosen(benchmark.name, benchmark.n, benchmark)


def problems(chosen: Chosen, *, template: Template | None = None, limit: int | None = None) -> Iterator[Record]:
    """The records to sample, asked in the template; ``evaluation`` says how, and the id is still the problem's.

    Args:
        chosen: from :func:`choose`.
        template: instead of the benchmark's own; for files by default ``boxed`` (math) or ``program`` (code).
        limit: this many problems, the first of them.

    Raises:
        RecordError: a problem without an answer or usable tests, or no problem at all.
        CapabilityError: the benchmark is out of reach; the message says which files to put where.
    """
    found = False
    for where, record in islice(_records(chosen), limit):
        found = True
        yield _asked(record, chosen, _template_of(record, where, chosen, template))
    if not found and limit != 0:
        raise RecordError(f"{chosen.described}: no problem in it; expected at least one; check the file")


def _records(chosen: Chosen) -> Iterator[tuple[str, Record]]:
    if chosen.benchmark is not None:
        yield from benchmark_records(chosen.benchmark)
        return
    for path in chosen.paths:
        source = Source(path)
        try:
            for item in source:
                if isinstance(item, BadLine):
                    raise RecordError(f"{item.where}: {item.problem}; mend the benchmark file")
                where, row = item
                try:
                    yield where, {**to_record(row, where), "data_source": chosen.name}
                except ValueError as error:
                    raise RecordError(f"{where}: {error}") from None
        finally:
            source.close()


def _template_of(record: Record, where: str, chosen: Chosen, wanted: Template | None) -> Template:
    """Also the check that the record can be judged at all: what can't would leave the denominator."""
    known = templates()
    problem = unanswerable(record)
    if problem is not None:
        raise RecordError(f"{where}: {problem}")
    usual = "program" if record["ability"] == "code" else "boxed"
    template = wanted or known[usual if chosen.benchmark is None else chosen.benchmark.template]
    if template.called is None or parse_tests(record["reward_model"]["ground_truth"]).reads_stdin:
        return template
    return known[template.called]


def unanswerable(record: Record) -> str | None:
    """What keeps a record from being judged, None if it can be: an answer, or tests that the sandbox reads."""
    gold = record["reward_model"]["ground_truth"]
    if not gold.strip():
        return (
            "no answer and no tests; expected a benchmark to have them for each problem; drop the row, or name the "
            "column as docs/curation.md says"
        )
    if record["ability"] == "code":
        try:
            parse_tests(gold)
        except TestsError as error:
            return f"its tests can't be used ({error}); expected one of the forms in docs/records.md; drop the row"
    return None


def _asked(record: Record, chosen: Chosen, template: Template) -> Record:
    messages = list(record["prompt"])
    last = max(at for at, message in enumerate(messages) if message["role"] == "user" or at == 0)
    messages[last] = {**messages[last], "content": template.fill(messages[last]["content"])}
    plain = {key: value for key, value in record.items() if key not in ADDED}  # not the benchmark's own solutions
    return {**plain, "prompt": messages, "evaluation": {"benchmark": chosen.name, "template": template.name}}
