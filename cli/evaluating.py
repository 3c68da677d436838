"""The run of ``klear eval``: phases over one folder, each made of stages that are commands of their own.

``NAME.problems.jsonl`` (what is asked) → ``NAME.rollouts.jsonl`` (``klear sample``) → ``NAME.jsonl``
(``klear reward-math``, ``klear reward-code``) → ``summary.json``, ``summary.md``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from cli.engines import EngineWhenNeeded, Settings
from cli.eval_files import Folder, files_of, records_of, work_folder, write_records
from cli.options import StageFiles
from cli.reward_code import reward_code
from cli.reward_math import reward_math
from cli.sample import Sampling
from cli.summary import Shown, summarise
from klear_data.errors import CapabilityError, RecordError, UsageError
from klear_data.generate.kept import KeptSink
from klear_data.jsonl import STDIO
from klear_data.records import Record, rewards_problem, rollouts_problem
from klear_data.reward.think import ThinkMode

if TYPE_CHECKING:
    from klear_data.evaluation.problems import Chosen


@dataclass(frozen=True)
class Judging:
    """How rollouts are judged: options of ``klear reward-math`` and ``klear reward-code``."""

    think: ThinkMode
    time_limit: float
    memory_mib: int
    allow_weak: bool
    jobs: int
    rejudge: bool

    def that_decides(self) -> dict[str, object]:
        """What a verdict depends on."""
        return {"think": self.think, "time_limit": self.time_limit, "memory_mib": self.memory_mib}


@dataclass(frozen=True)
class Run:
    """What is asked of which model; how many samples is each benchmark's own business, unless ``n`` says it."""

    settings: Settings
    benchmarks: tuple[str, ...]
    output: str
    n: int | None
    template: str | None
    system: str | None
    resume: bool
    limit: int | None

    def settings_for(self, chosen: Chosen) -> Settings:
        return replace(self.settings, params=replace(self.settings.params, n=self.n or chosen.n))


def evaluate(run: Run, judging: Judging, shown: Shown) -> None:
    """Sample and judge every benchmark, then summarise.

    Raises:
        CapabilityError: rollouts failed; all else is written, and they count as not right.
    """
    from klear_data.evaluation.problems import choose, problems, template_named

    started = time.perf_counter()
    chosen = [choose(spec) for spec in run.benchmarks]
    names = [one.name for one in chosen]
    if len(set(names)) < len(names):
        raise UsageError(f"--benchmark {','.join(names)}: one is named twice; expected each once; drop one")
    template = None if run.template is None else template_named(run.template)
    for one in chosen:
        shown.check_k(run.settings_for(one).params.n, one.name)
    if run.output == STDIO:
        raise UsageError("--output -: rollouts stay on disk; expected a folder or a file; name one")
    with work_folder(run.output, keep=True) as folder:
        if not run.resume and any(folder.path.iterdir()):
            raise UsageError(f"{folder.path}: not empty; expected a new folder; pass --resume to go on, or another -o")
        abilities: dict[str, set[str]] = {}
        for one in chosen:
            shown.say(f"klear eval: {one.described}")
            asked = problems(one, template=template, limit=run.limit)
            abilities[one.name] = _write_problems(folder.problems(one.name), asked)
        sampling_from = time.perf_counter()
        failure = _sample(run, chosen, folder, quiet=shown.quiet)
        judging_from = time.perf_counter()
        folder.agree_on(judging.that_decides())
        for name in names:
            if judging.rejudge or not folder.is_judged(name):
                _judge(folder.rollouts(name), folder.judged(name), abilities[name], judging, quiet=shown.quiet)
        judged_at = time.perf_counter()
        about = {
            "model": run.settings.model, "judging": judging.that_decides(), "limit": run.limit,
            "seconds": {"sampling": judging_from - sampling_from, "judging": judged_at - judging_from},
        }  # fmt: skip
        summarise([folder.judged(name) for name in names], folder, shown, about, started=started)
    if failure is not None:
        raise failure


def _write_problems(path: Path, asked: Iterable[Record]) -> set[str]:
    """Write what is asked; the abilities in it."""
    abilities: set[str] = set()
    write_records(path, asked, then=lambda record: abilities.add(record["ability"]))
    return abilities


def _sample(run: Run, chosen: Sequence[Chosen], folder: Folder, *, quiet: bool) -> CapabilityError | None:
    """Sample the benchmarks one after the other with one engine; what failed, to be said at the end."""
    failure = None
    with closing(EngineWhenNeeded(run.settings)) as engine:
        for one in chosen:
            settings = run.settings_for(one)
            sampling = Sampling(settings, system=run.system)
            files = StageFiles(str(folder.problems(one.name)), str(folder.rollouts(one.name)), quiet=quiet)
            engine.params = settings.params
            kept = KeptSink(files.output, sampling.wanted())
            sampling.run(files, engine, kept)
            try:
                sampling.raise_for_failures(files, kept)
            except CapabilityError as error:
                failure = error
    return failure


def _judge(source: Path, target: Path, abilities: set[str], judging: Judging, *, quiet: bool) -> None:
    """Run the reward stages as their commands do; a record that they can't judge was refused before."""
    both = {"math", "code"} <= abilities
    between = target.with_name(f"{target.name}.math.jsonl") if both else target
    if "math" in abilities:
        reward_math(
            **vars(StageFiles(str(source), str(between), quiet=quiet)), scheme="paper", think=judging.think,
            timeout=5.0, fallback=False, jobs=judging.jobs,
        )  # fmt: skip
    if "code" in abilities:
        reward_code(
            **vars(StageFiles(str(between if both else source), str(target), quiet=quiet)), tests=True,
            tests_from=None, max_tests=None, time_limit=judging.time_limit, memory_mib=judging.memory_mib,
            scheme="paper", think=judging.think, language="auto", seed=0, allow_weak=judging.allow_weak,
            jobs=judging.jobs,
        )  # fmt: skip
    if both:
        between.unlink()


def replay(source: str, output: str | None, judging: Judging, shown: Shown) -> None:
    """Judge sampled records where they have no verdicts yet, and summarise.

    Raises:
        RecordError: a record without rollouts, one that can't be judged, or no record at all.
    """
    started = time.perf_counter()
    with work_folder(output, keep=False) as folder:
        judged, judging_s = [], 0.0
        for path in files_of(source, sampled=judging.rejudge):
            abilities, is_judged = _looked_over(path, again=judging.rejudge)
            target = folder.replayed(path)
            if not is_judged:
                judging_from = time.perf_counter()
                _judge(path, target, abilities, judging, quiet=shown.quiet)
                judging_s += time.perf_counter() - judging_from
            elif folder.keeps:
                write_records(target, (record for _, record in records_of([path], rewards_problem)))
            judged.append(path if is_judged else target)
        about = {"from": source, "judging": judging.that_decides(), "seconds": {"judging": judging_s}}
        summarise(judged, folder, shown, about, started=started)


def _looked_over(path: Path, *, again: bool) -> tuple[set[str], bool]:
    """The abilities in a file of rollouts, and whether all of these are judged.

    Raises:
        RecordError: no rollouts, or nothing to judge them by.
    """
    from klear_data.evaluation.problems import unanswerable

    abilities: set[str] = set()
    is_judged = not again
    for where, record in records_of([path], rollouts_problem):
        abilities.add(record["ability"])
        if is_judged and rewards_problem(record) is None:
            continue
        is_judged = False
        problem = unanswerable(record)
        if problem is not None:
            raise RecordError(f"{where}: {problem}")
    return abilities, is_judged
