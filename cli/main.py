"""``klear``: the commands, and the boundary where errors become messages and exit codes."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from types import FrameType

import typer

from cli import commands
from klear_data.errors import CapabilityError, KlearError
from klear_data.sink import ClosedPipe
from sandbox.types import IsolationError

app = typer.Typer(
    name="klear",
    help="From raw problem collections to a trained reasoning model: stages that pipe JSONL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110},
)
commands.register(app)


def main() -> None:
    """Run a command and leave with the exit code of the contract.

    0 done, 1 a bug, 2 usage or config, 3 bad records, 4 a missing capability, 130 interrupted, 143 terminated.
    """
    if sys.stderr is None:  # closed by who started us (2>&-): nobody listens, and that is no failure
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    _end_orderly_on_sigterm()
    try:
        app()
    except ClosedPipe:
        _leave(0)
    except KlearError as error:
        sys.stderr.write(f"error: {error}\n")
        _leave(error.exit_code)
    except IsolationError as error:
        sys.stderr.write(f"error: {error}\n")
        _leave(CapabilityError.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        _leave(130)
    except Exception:  # noqa: BLE001  (the boundary: whatever is left is a bug, and said to be one)
        traceback.print_exc()
        sys.stderr.write("error: this is a bug in klear, not in your data; please report it with the lines above\n")
        _leave(1)


def _end_orderly_on_sigterm() -> None:
    """Let SIGTERM (``timeout``, a scheduler) unwind the stack, so that unfinished files go."""
    own = os.getpid()

    def on_sigterm(number: int, _frame: FrameType | None) -> None:
        if os.getpid() == own:
            sys.exit(128 + number)
        signal.signal(number, signal.SIG_DFL)  # a forked worker, which has nothing to put in order
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGTERM, on_sigterm)


def _leave(code: int) -> None:
    """Exit without a second complaint from a pipe that is already closed."""
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


if __name__ == "__main__":  # `torchrun -m cli.main train …`
    main()
