"""docs/cli.md names every command, its arguments and its options, and nothing else."""

import re
from collections.abc import Iterator
from pathlib import Path

import click

from palatine.cli import commands

PAGE = Path(__file__).parents[2] / "docs" / "cli.md"
COMMON = {"--palace", "--json", "--agent"}


def leaves(command: click.Command, context: click.Context) -> Iterator[tuple[str, set[str]]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from leaves(child, click.Context(child, parent=context, info_name=name))
        return
    words = [piece for piece in command.collect_usage_pieces(context) if piece != "[OPTIONS]"]
    names = {
        name
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in [*parameter.opts, *parameter.secondary_opts]
    }
    usage = " ".join([context.command_path, *words])
    yield usage, names


def test_the_page_and_the_commands_agree() -> None:
    text = PAGE.read_text("utf-8")
    documented = {}
    for section in text.split("\n### ")[1:]:
        usage = section.split("`")[1]
        options = re.search(r"^Options: (.*)$", section, re.MULTILINE)
        documented[usage] = set(re.findall(r"`(--[\w-]+)`", options[1])) if options else set()
    context = click.Context(commands, info_name="palatine")
    actual = dict(leaves(commands, context))
    actual["palatine mcp"] = actual.pop("palatine mcp [OPTIONS]...")
    # There `--agent` chooses, where elsewhere it says who writes.
    choosing = {"palatine changes", "palatine log", "palatine wakeup"}
    own = {
        usage: names - (COMMON - {"--agent"} if usage in choosing else COMMON)
        for usage, names in actual.items()
    }
    assert documented == own


def test_the_page_and_the_help_tell_the_same_exit_codes() -> None:
    told = set(re.findall(r"^\| (\d+) \|", PAGE.read_text("utf-8"), re.MULTILINE))
    assert commands.epilog is not None
    assert set(re.findall(r"\d+", commands.epilog)) == told - {"141"}
