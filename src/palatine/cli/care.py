"""Commands about the palace as a whole: status, undo, forget, backup, restore, doctor."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import click

from palatine.beliefs import describe
from palatine.cli.options import (
    Invocation,
    palace_class,
    palace_option,
    reading,
    writing,
    writing_out_of_session,
)
from palatine.cli.output import give, hint, on_terminal, one_line, table
from palatine.errors import InputError, NotFoundError
from palatine.mcp import answers
from palatine.types import Examined, Kept

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
    facts = state.facts
    rows: list[tuple[object, ...]] = [
        ("palace", state.store["place"], *([f"only wing {state.wing}"] if state.wing else [])),
        *([("name", state.name)] if state.name else []),
        ("id", state.palace_id),
        ("changes", state.seq),
        ("drawers", state.drawers),
        ("facts", facts.facts, f"{facts.current} now, {facts.past} past, {facts.future} to come"),
        ("entities", facts.entities),
        ("embedder", state.embedder, f"{state.pending} passages not embedded yet"),
        ("sqlite", state.store["sqlite"]),
    ]
    if not state.wing:
        rows.append(("bytes", state.store["database_bytes"], f"log {state.store['wal_bytes']}"))
    rows += [("room", f"{place.wing}/{place.room}", place.drawers) for place in state.places]
    run.show(answers.status(state), (), rows, "")


@click.command("undo", short_help="Put back what stood before a change.")
@click.argument("seq", type=int, required=False)
@click.option("--session", "whose", metavar="ID", help="Undo all that this session did.")
@click.option("--since", metavar="TIME", help="Undo everything from this time on.")
@writing_out_of_session
def undo_command(run: Invocation, seq: int | None, whose: str | None, since: str | None) -> None:
    """Puts back what stood before change SEQ, before a session, or at a time.

    All of it or nothing: it refuses (exit code 3) when somebody has built on it since. An undo is
    a change itself and can be undone. SEQ stands in the reply of the command that did it, and in
    `palatine changes`.
    """
    with run.open() as palace:
        removed = palace.undo(seq, session=whose, since=since)
    sentence = f"undone: {', '.join(removed.refs)}; palatine undo {removed.seq} does it again"
    run.tell(
        {"refs": list(removed.refs), "seq": removed.seq}, sentence, *((r,) for r in removed.refs)
    )


@click.command("forget", short_help="Remove a text or a fact for good.")
@click.argument("ref", metavar="ID")
@click.option("--yes", is_flag=True, help="Do not ask.")
@writing
def forget_command(run: Invocation, ref: str, yes: bool) -> int:
    """Removes a drawer or a fact for good, also a deleted one: no undo brings it back.

    Looks into the palace's files whether the bytes are gone. Copies that others made, backups
    among them, are out of its reach.
    """
    with run.open() as palace:
        if not sure(yes, f"forget {_shown(palace, ref)} for good"):
            return 1
        removed = palace.forget(ref)
    answer = {"refs": list(removed.refs), "seq": removed.seq}
    run.tell(answer, f"forgotten: {', '.join(removed.refs)}")
    return 0


def sure(yes: bool, what: str) -> bool:
    """Asks a person about something that cannot be undone; a program has to say --yes."""
    if yes:
        return True
    if not (sys.stdin.isatty() and on_terminal()):
        raise InputError(f"to {what} confirm with --yes: there is no terminal to ask at")
    if click.confirm(f"{what[0].upper()}{what[1:]}?", err=True):
        return True
    hint("nothing was done")
    return False


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


@click.command("backup", short_help="Copy the palace into one file, while others write.")
@click.argument("target", metavar="[FILE|DIR]", required=False)
@click.option("--keep", type=click.IntRange(1), metavar="N", help="Then keep the newest N of DIR.")
@reading
def backup_command(run: Invocation, target: str | None, keep: int | None) -> None:
    """Copies the palace into one file, checked, readable by you alone; nobody has to stop.

    Every write acknowledged before it began is in it. FILE must be new; in DIR, and without
    either in the folder `backups` of the palace, the copy gets a name with the time. --keep
    removes older backups of this palace from there, and nothing else.

    \b
      palatine backup
      palatine backup /media/stick --keep 7
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open_to_read(whole=True) as palace:
        done = palace.backup(target, keep=keep or 0)
    sentence = f"backed up to {done.path}: all up to change {done.seq}, {done.size_bytes} bytes"
    run.tell(asdict(done), sentence, (done.path, done.seq, done.size_bytes))
    for path in done.removed:
        hint(f"removed {path}")


@click.command("restore", short_help="Make a backup the palace.")
@click.argument("file", metavar="FILE|DIR")
@click.option("--yes", is_flag=True, help="Do not ask.")
@writing
def restore_command(run: Invocation, file: str, yes: bool) -> int:
    """Makes what FILE holds the palace: a backup, or the folder of another palace.

    Servers and agents may run: they all learn of it at their next call and go on when they
    reconnect. What is replaced is kept in the folder `backups`. A damaged or foreign file is
    refused, one of an older Palatine brought up to date. Killed half-way, the palace is as it was.

    \b
      palatine restore ~/palace/backups/backup-....db
      palatine --palace ~/new restore /media/stick/NAME     where there is no palace yet
    """  # noqa: D301 (the mark tells click not to wrap)
    if not sure(yes, f"replace the palace in {run.folder} by {file}"):
        return 1
    agent, session = run.who
    done = palace_class().restore(file, run.folder, agent=agent, session=session)
    sentence = f"restored: the palace in {run.folder} is now {done.palace_id}, at change {done.seq}"
    run.tell(asdict(done), sentence)
    if done.replaced and not run.json:
        hint(f"what was there is kept in {done.replaced}")
    return 0


@click.command("trash", short_help="Show what was deleted or replaced; empty it.")
@click.argument("action", metavar="[empty]", type=click.Choice(["empty"]), required=False)
@click.option("--older-than", metavar="AGE", help="Empty only what is older: 36h, 30d, 8w.")
@click.option("--limit", type=int, default=1000, help="Show the newest so many; else 1000.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@writing_out_of_session
def trash_command(
    run: Invocation, action: str | None, older_than: str | None, limit: int, yes: bool
) -> int:
    """Shows what was deleted or replaced, the newest first; `undo SEQ` puts it back.

    `trash empty` removes it for good, and looks into the files whether it is gone. In a pipe: seq,
    time, agent, what was done, to what kind, bytes, words, wing.

    \b
      palatine trash
      palatine trash empty --older-than 30d
    """  # noqa: D301 (the mark tells click not to wrap)
    if action is None and older_than is not None:
        raise click.UsageError("--older-than goes with `trash empty`")
    before = _ago(older_than) if older_than else None
    with run.open(whole=True) as palace:
        if action is None:
            return _show_trash(run, palace.trash(limit=limit))
        if not sure(yes, f"empty the trash of what is older than {older_than or 'now'}"):
            return 1
        removed = palace.empty_trash(before=before)
    run.tell({"removed": removed}, f"removed for good: {removed}")
    return 0


def _ago(age: str) -> datetime:
    """The time that was so long ago."""
    if not (match := re.fullmatch(r"(\d{1,5})([hdw])", age)):
        raise InputError(f"{age!r} is no age; give one like 36h, 30d or 8w")
    unit = {"h": "hours", "d": "days", "w": "weeks"}[match[2]]
    return datetime.now(UTC) - timedelta(**{unit: int(match[1])})


def _show_trash(run: Invocation, kept: Sequence[Kept]) -> int:
    if run.json:
        told = [{"words": each.words, "size_bytes": each.size_bytes} for each in kept]
        give({"trash": [answers.change(k.change) | it for k, it in zip(kept, told, strict=True)]})
        return 0
    if not kept:
        hint("the trash is empty")
        return 1
    rows = []
    for change, words, size in ((each.change, each.words, each.size_bytes) for each in kept):
        said = one_line(words, max_chars=_SHOWN_CHARS)
        done = (change.agent, change.op, change.kind, size, said, change.wing)
        rows.append((change.seq, change.at, *done))
    table(("seq", "at", "agent", "did", "what", "bytes", "words", "wing"), rows)
    if on_terminal():
        hint("palatine undo SEQ puts one back; palatine trash empty removes all for good")
    return 0


@click.command("doctor", short_help="Check the palace; repair what is derived.")
@click.option("--repair", is_flag=True, help="First make anew what is derived, and tidy the files.")
@reading
def doctor_command(run: Invocation, repair: bool) -> int:
    """Checks everything that can be wrong with the palace. Exit code 5 when something is.

    Reads the whole palace; others may go on working. --repair makes everything derived anew from
    the rows, closes the files to others, removes what was left behind, and then checks. In a pipe:
    what was looked at, `ok` or what is wrong, detail, cure.

    \b
      palatine doctor
      palatine doctor --repair
    """  # noqa: D301 (the mark tells click not to wrap)
    chunks = None
    with run.open(whole=True) if repair else run.open_to_read(whole=True) as palace:
        if repair:
            chunks = palace.repair()
        examined = palace.examine()
    problems = [problem for each in examined for problem in each.problems]
    if run.json:
        checks = [{"area": e.area, "ok": not e.problems, "remark": e.remark} for e in examined]
        found = {"checks": checks, "problems": [asdict(problem) for problem in problems]}
        give(found if chunks is None else {**found, "rebuilt_chunks": chunks})
    else:
        _show_health(examined, chunks)
        if problems and not any(problem.repairable for problem in problems):
            hint("--repair does not help: restore a backup, or change what the detail names")
    return UNHEALTHY if problems else 0


def _show_health(examined: Sequence[Examined], chunks: int | None) -> None:
    if chunks is not None:
        hint(f"made anew: {chunks} chunks and their full text")
    rows: list[tuple[str, ...]] = []
    for each in examined:
        rows += [
            (each.area, p.what, p.detail, "--repair" if p.repairable else "") for p in each.problems
        ] or [(each.area, "ok", each.remark, "")]
    table(("looked at", "found", "detail", "cure"), rows)


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
