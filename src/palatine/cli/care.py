"""Commands about the palace as a whole: status, undo, forget, doctor."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from palatine.beliefs import describe
from palatine.cli.options import Invocation, palace_option, reading, session_option, writing
from palatine.cli.output import give, hint, on_terminal, one_line, say, table
from palatine.errors import InputError, NotFoundError
from palatine.mcp import answers
from palatine.types import Problem

if TYPE_CHECKING:
    from palatine.palace import Palace

UNHEALTHY = 5
_SHOWN_CHARS = 60


@click.command("status", short_help="Show what the palace holds and where it lies.")
@reading
def status_command(run: Invocation) -> None:
    """Shows what the palace holds and where it lies."""
    with run.open_to_read() as palace:
        state = palace.status()
    if run.json:
        give(answers.status(state))
        return
    facts = state.facts
    rows: list[tuple[object, ...]] = [
        ("palace", state.store["place"]),
        ("id", state.palace_id),
        ("changes", state.seq),
        ("drawers", state.drawers),
        ("facts", facts.facts, f"{facts.current} now, {facts.past} past, {facts.future} to come"),
        ("entities", facts.entities),
        ("embedder", state.embedder, f"{state.pending} passages not embedded yet"),
        ("bytes", state.store["database_bytes"], f"log {state.store['wal_bytes']}"),
        ("sqlite", state.store["sqlite"]),
    ]
    rows += [("room", f"{place.wing}/{place.room}", place.drawers) for place in state.places]
    table((), rows)


@click.command("undo", short_help="Put back what stood before a change.")
@click.argument("seq", type=int, required=False)
@click.option("--session", "whose", metavar="ID", help="Undo all that this session did.")
@click.option("--since", metavar="TIME", help="Undo everything from this time on.")
@writing
def undo_command(run: Invocation, seq: int | None, whose: str | None, since: str | None) -> None:
    """Puts back what stood before change SEQ, before a session, or at a time.

    All of it or nothing: it refuses (exit code 3) when somebody has built on it since. An undo is
    a change itself and can be undone. SEQ stands in the reply of the command that did it, and in
    `palatine changes`.
    """
    with run.open() as palace:
        removed = palace.undo(seq, session=whose, since=since)
    if run.json:
        give({"refs": list(removed.refs), "seq": removed.seq})
    elif on_terminal():
        say(f"undone: {', '.join(removed.refs)}; palatine undo {removed.seq} does it again")
    else:
        table((), [(ref,) for ref in removed.refs])


@click.command("forget", short_help="Remove a text or a fact for good.")
@click.argument("ref", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@writing
@session_option
def forget_command(run: Invocation, ref: str, yes: bool) -> int:
    """Removes a drawer or a fact for good, also a deleted one: no undo brings it back.

    Looks into the palace's files whether the bytes are gone. Copies that others made, backups
    among them, are out of its reach.
    """
    with run.open() as palace:
        if not yes:
            if not (sys.stdin.isatty() and on_terminal()):
                raise InputError("forget cannot be undone; without a terminal, confirm with --yes")
            what = _shown(palace, ref)
            if not click.confirm(f"Forget {what} for good?", err=True):
                hint("nothing was forgotten")
                return 1
        removed = palace.forget(ref)
    if run.json:
        give({"refs": list(removed.refs), "seq": removed.seq})
    else:
        say(f"forgotten: {', '.join(removed.refs)}")
    return 0


def _shown(palace: Palace, ref: str) -> str:
    """The beginning of what an id stands for, so that nobody forgets the wrong thing."""
    try:
        return f"{ref} ({one_line(palace.get(ref).text, max_chars=_SHOWN_CHARS)})"
    except NotFoundError:
        pass
    try:
        return f"{ref} ({one_line(describe(palace.knowledge.get(ref)), max_chars=_SHOWN_CHARS)})"
    except NotFoundError:
        return f"{one_line(ref)} (deleted, or not known)"


@click.command("doctor", short_help="Check the palace; repair what is derived.")
@click.option("--repair", is_flag=True, help="First make chunks and full text anew from the rows.")
@reading
def doctor_command(run: Invocation, repair: bool) -> int:
    """Checks everything that can be wrong with the palace. Exit code 5 when something is.

    Reads the whole palace; others may go on working. --repair makes everything derived anew from
    the rows, and then checks.
    """
    chunks = None
    with run.open() if repair else run.open_to_read() as palace:
        if repair:
            chunks = palace.repair()
        problems = [*palace.check(), *_of_the_place(palace)]
    if run.json:
        found = {"problems": [asdict(problem) for problem in problems]}
        give(found if chunks is None else {**found, "rebuilt_chunks": chunks})
    else:
        _show_health(problems, chunks)
    return UNHEALTHY if problems else 0


def _of_the_place(palace: Palace) -> list[Problem]:
    store = palace.status().store
    if store["location"] not in ("network", "synced"):
        return []
    return [
        Problem(
            f"{store['location']} folder",
            f"{store['location_detail']}: several computers, or a program that copies files, can"
            " damage the palace here; move it to a local folder",
        )
    ]


def _show_health(problems: list[Problem], chunks: int | None) -> None:
    if chunks is not None:
        say(f"made anew: {chunks} chunks and their full text")
    if not problems:
        say("no problems found")
        return
    rows = [(p.what, p.detail, "--repair" if p.repairable else "") for p in problems]
    table(("problem", "detail", "cure"), rows)
    if not any(problem.repairable for problem in problems):
        hint("--repair does not help here: restore a backup, or change what the detail names")


@click.command(
    "mcp",
    short_help="Serve the palace to an MCP client on standard input and output.",
    context_settings={"ignore_unknown_options": True},
    add_help_option=False,
)
@click.argument("options", nargs=-1)
@palace_option
def mcp_command(options: tuple[str, ...]) -> None:
    """Serves the palace; never reached as `palatine mcp`, which loads no command line."""
    raise click.UsageError("`mcp` comes first: palatine mcp --palace DIR")
