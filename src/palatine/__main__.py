"""Where `palatine` and `python -m palatine` begin: sends each command to its part.

`palatine mcp` never loads the command line: the first reply to a client must be quick, because
some clients ask only in the first second which tools there are. So its few options are parsed here.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Never

_MCP_USAGE = """\
Usage: palatine mcp [--palace DIR] [--wing NAME] [--read-only] [--compat mempalace]

Serves a palace to one MCP client on standard input and output. The client starts
it; ends with its input. Any number of servers share a palace.

Options:
  --palace DIR  the palace's folder, or its name if it has one (else PALATINE_PALACE,
                else what palatine.toml says, else your own palace)
  --wing NAME   sees and writes this wing only (else PALATINE_WING, else what
                palatine.toml says, else all wings)
  --read-only   offers no tool that writes
  --compat mempalace
                answers MemPalace's tools, under its names, instead of our own
  -h, --help    shows this
"""


def main() -> int | None:
    """Runs the command that the process was started with."""
    command, *arguments = sys.argv[1:] or [""]
    if command == "mcp":
        return _mcp(arguments)
    if command == "hook" and "--help" not in arguments:
        from palatine.hooks import main as answer  # what a client waits for is quick

        return answer(arguments)
    from palatine.cli import main as run  # the command line imports what a server must not

    return run()


def _mcp(arguments: Sequence[str]) -> int:
    values: dict[str, str] = {}
    read_only = False
    rest = list(arguments)
    while rest:
        option, has_value, value = rest.pop(0).partition("=")
        if option in ("-h", "--help") and not has_value:
            sys.stdout.write(_MCP_USAGE)
            return 0
        if option == "--read-only" and not has_value:
            read_only = True
            continue
        if option not in ("--palace", "--wing", "--compat"):
            return _misused(f"there is no option or argument {option!r}")
        if not has_value:
            value = rest.pop(0) if rest and not rest[0].startswith("--") else ""
        if not value:
            return _misused(f"{option} needs a {'folder' if option == '--palace' else 'name'}")
        if option == "--compat" and value != "mempalace":
            return _misused("--compat knows only mempalace")
        values[option] = value
    return _serve(values, read_only)


def _misused(fault: str) -> int:
    sys.stderr.write(f"palatine mcp: {fault}\n\n{_MCP_USAGE}")
    return 2


def _serve(values: Mapping[str, str], read_only: bool) -> Never:
    # Here and not at the top: the command line has no use for the server.
    from palatine import config
    from palatine.mcp import stdio, tools

    wing = config.default_wing(values.get("--wing"), from_files=False)
    if "--compat" in values:
        registry = tools.mempalace(read_only=read_only)
    else:
        registry = tools.registry(read_only=read_only, wing=wing)
    stdio.serve(
        registry,
        open_palace=tools.opener(values.get("--palace"), read_only=read_only, wing=wing),
        environment=config.environment(),
    )


if __name__ == "__main__":
    sys.exit(main())
