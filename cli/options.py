"""What every stage shares: its input, output, rejects, quarantine and report, declared once.

``@stage_options`` hands a command one ``files: StageFiles`` and shows typer the single options behind it.
"""

from __future__ import annotations

import inspect
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass, fields
from functools import wraps
from typing import Annotated, Any

import typer

from klear_data.errors import UsageError
from klear_data.jsonl import STDIO
from klear_data.sink import stdout_errors

Input = Annotated[str, typer.Argument(metavar="[INPUT]", help="Records to read; - is stdin.", show_default=False)]
Output = Annotated[str, typer.Option("-o", "--output", metavar="PATH|-", help="Where records go; - is stdout.")]
Rejects = Annotated[str | None, typer.Option(metavar="PATH", help="Keep dropped records here, each with its reason.")]
Quarantine = Annotated[str | None, typer.Option(metavar="PATH", help="Keep malformed lines here and go on.")]
Report = Annotated[str | None, typer.Option(metavar="PATH", help="Write the stage's counts here as JSON.")]
Limit = Annotated[int | None, typer.Option(min=0, help="Read at most this many records.", show_default="all")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no closing table.")]
Jobs = Annotated[int, typer.Option(min=0, help="Worker processes; 0 is one a core.")]


@dataclass(frozen=True)
class StageFiles:
    """The files of one run of a stage, as the user named them."""

    input: str = STDIO
    output: str = STDIO
    rejects: str | None = None
    quarantine: str | None = None
    report: str | None = None
    limit: int | None = None
    quiet: bool = False

    def __post_init__(self) -> None:
        named = [path for path in (self.output, self.rejects, self.quarantine, self.report) if path is not None]
        places = [path if path == STDIO else os.path.realpath(path) for path in named]
        twice = [path for path, place in zip(named, places, strict=True) if places.count(place) > 1]
        if twice:
            raise UsageError(
                f"{twice[-1]}: named for two outputs; expected one file for each of --output, --rejects, "
                f"--quarantine and --report; change one"
            )


_ANNOTATIONS: dict[str, Any] = {
    "input": Input,
    "output": Output,
    "rejects": Rejects,
    "quarantine": Quarantine,
    "report": Report,
    "limit": Limit,
    "quiet": Quiet,
}


def stage_options(*, without_input: bool = False) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Replace a command's parameter ``files: StageFiles`` by the shared options.

    Args:
        without_input: for a stage that names its inputs by an option of its own.
    """

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        shared = [field for field in fields(StageFiles) if not (without_input and field.name == "input")]
        own = inspect.signature(command, eval_str=True).parameters

        @wraps(command)
        def run(**values: Any) -> None:
            files = StageFiles(**{field.name: values.pop(field.name) for field in shared})
            command(files=files, **values)

        parameters = [parameter for name, parameter in own.items() if name != "files"]
        parameters += [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                default=field.default,
                annotation=_ANNOTATIONS[field.name],
            )
            for field in shared
        ]
        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in parameters]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        del run.__wrapped__  # typer would look behind the new signature
        return run

    return decorate


def split_commas(values: list[str]) -> list[str]:
    """Options that take several values: comma-separated, repeated, or both.

    >>> split_commas(["a,b", "c"])
    ['a', 'b', 'c']
    """
    return [part.strip() for value in values for part in value.split(",") if part.strip()]


def stdin_once(*paths: str | None) -> None:
    """Raise UsageError if more than one of the inputs of a command is stdin: the second would find it empty."""
    if paths.count(STDIO) > 1:
        raise UsageError("-: stdin is named for two inputs; expected it once; put one of them in a file")


def say(text: str) -> None:
    """Print for a person to read; what the terminal's encoding can't hold is escaped.

    Raises:
        ClosedPipe: the reader has gone.
        UsageError: stdout can't be written.
    """
    with stdout_errors():
        encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        typer.echo(text.encode(encoding, "backslashreplace"))


def examples(*lines: str) -> str:
    """The epilog of a command: examples that can be pasted into a shell."""
    return "\b\nExamples:\n" + "\n".join(f"  {line}" for line in lines)
