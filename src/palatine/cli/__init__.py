"""The command line: tables for a person at a terminal, plain lines in a pipe, JSON on request."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Sequence
from io import TextIOWrapper
from pathlib import Path

import click
from click.shell_completion import shell_complete

from palatine import __version__, config
from palatine.cli.options import COMPLETE, palace_option
from palatine.cli.output import hint
from palatine.errors import ConflictError, InputError, NotFoundError, PalatineError
from palatine.text import near_names

_MODULES = {
    "drawers": "add search get list",
    "edits": "update delete pin unpin link links unlink diary",
    "facts": "kg",
    "wakeup": "wakeup",
    "feed": "log changes",
    "care": "status undo forget trash backup restore doctor mcp",
    "transfer": "export import",
    "secrets": "secrets",
    "meaning": "embed reembed",
    "mine": "mine hook",
    "watch": "watch",
    "install": "install",
    "serve": "serve token",
    "palaces": "palaces config completion",
    "demo": "demo",
}
"""Each module and its commands, which it has as `<name>_command`; in the order of the help."""
_COMMANDS = {name: module for module, names in _MODULES.items() for name in names.split()}

USAGE, BUSY_OR_BROKEN, INTERRUPTED, NOBODY_READS = 2, 4, 130, 141
_CODES: tuple[tuple[type[PalatineError], int], ...] = (
    (NotFoundError, 1),
    (InputError, USAGE),
    (ConflictError, 3),
    (PalatineError, BUSY_OR_BROKEN),
)


class _Commands(click.Group):
    """Loads the module of a command when that command runs: `--help` of one needs no other."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            near = near_names(cmd_name, _COMMANDS, limit=1)
            if near and not ctx.resilient_parsing:
                ctx.fail(f"No such command {cmd_name!r}; did you mean {near[0]}?")
            return None
        module = importlib.import_module(f"palatine.cli.{_COMMANDS[cmd_name]}")
        command: click.Command = getattr(module, f"{cmd_name}_command")
        return command


@click.command(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 done; 1 not found, or nothing matched; 2 the command or a value cannot be"
    " used; 3 somebody else's write stands against it; 4 the palace is busy, damaged or missing;"
    " 5 doctor found problems, or secrets are left; 6 mine could not read a file; 130 interrupted.",
)
@click.version_option(__version__, message="%(prog)s %(version)s")
@palace_option
def commands() -> None:
    """A memory palace that you and any number of AI agents share.

    \b
      palatine add "We ship on Fridays because ..."     files a text, and says where
      palatine search why fridays                       finds it again
      palatine kg add Max works_at Acme --from 2024-03  keeps a fact and its time
      palatine demo                                     four agents write at once
    """  # noqa: D301 (the mark tells click not to wrap)


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; the only place where errors become messages and exit codes.

    Args:
        argv: the words after `palatine`; None: those of this process.
    """
    sys.stdout = sys.stdout or Path(os.devnull).open("w")  # noqa: SIM115 (for good: it was closed)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # for terminals that are not UTF-8
    try:
        return _run(sys.argv[1:] if argv is None else list(argv))
    except click.exceptions.NoArgsIsHelpError as error:
        hint(error.format_message())
        return USAGE
    except click.ClickException as error:
        path = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else ""
        more = f"; see {path} --help" if path else ""
        hint(f"{path or 'palatine'}: {_one_line(error.format_message()).rstrip('.')}{more}")
        return USAGE
    except (click.Abort, KeyboardInterrupt):
        hint("interrupted")
        return INTERRUPTED
    except PalatineError as error:
        hint(f"palatine: {_one_line(str(error))}")
        return next(code for kind, code in _CODES if isinstance(error, kind))
    except BrokenPipeError:
        return NOBODY_READS
    except OSError as error:
        hint(f"palatine: {_one_line(str(error))}")
        return BUSY_OR_BROKEN


def _run(argv: list[str]) -> int:
    if asked := config.environment().get(COMPLETE):
        return shell_complete(commands, {}, "palatine", COMPLETE, asked)
    # Not `commands.main`: it takes a broken pipe for itself and ends with 1, "not found" here.
    try:
        with commands.make_context("palatine", argv) as context:
            code = commands.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as done:
        return done.exit_code
    except BrokenPipeError:
        # What is left in the buffer goes nowhere, without another complaint at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise
    return code if isinstance(code, int) else 0


def _one_line(message: str) -> str:
    return " ".join(message.split())
