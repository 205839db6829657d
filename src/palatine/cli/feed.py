"""Commands over the change feed: log, for a person, and changes, for a program."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from palatine.cli.options import Invocation, reading, wing_option
from palatine.cli.output import hint, on_terminal, one_line
from palatine.mcp import answers
from palatine.types import Change, ChangeFilter

if TYPE_CHECKING:
    from palatine.palace import Palace

_POLL_SECONDS = 0.2
_BATCH = 1000
_FIRST_WORDS_CHARS = 80


@click.command("log", short_help="Show what was done, in words.")
@click.option("--agent", metavar="NAME", help="Only by this agent.")
@click.option("--session", metavar="ID", help="Only of this session.")
@wing_option(help="Only in this wing.")
@click.option("--limit", type=int, default=50, help="The last so many; else 50.")
@reading
def log_command(run: Invocation, **where: Any) -> int:
    """Shows what was done, the newest last, with the beginnings of texts, and facts in words.

    Exit code 1 when nothing was. In a pipe: seq, time, agent, what was done, to what kind, words,
    wing, session.

    \b
      palatine log --session 7f3a      what one agent did
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open_to_read() as palace:
        found = palace.log(**where)
    answer = {"log": [answers.change(each.change) | {"words": each.words} for each in found]}
    rows = []
    for entry in found:
        seq, at, agent, op, kind, _, *rest = _cells(entry.change)
        words = one_line(entry.words, max_chars=_FIRST_WORDS_CHARS)
        rows.append((seq, at, agent, op, kind, words, *rest))
    head = ("seq", "at", "agent", "did", "what", "words", "wing", "session")
    none = "nothing was done, or nothing that matches; palatine log without options shows all"
    return run.show(answer, head, rows, none)


def _cells(change: Change) -> tuple[object, ...]:
    return (
        change.seq,
        str(change.at)[:19] + "Z",
        change.agent,
        change.op,
        change.kind,
        change.ref,
        change.wing,
        change.session,
    )


@click.command("changes", short_help="Show who changed what.")
@click.option(
    "--after",
    type=click.IntRange(0),
    metavar="SEQ",
    help="Only after this change; else all of them.",
)
@click.option("--agent", metavar="NAME", help="Only by this agent.")
@click.option("--session", metavar="ID", help="Only of this session.")
@wing_option(help="Only of this wing.")
@click.option("--limit", type=int, default=1000, help="Most changes; else 1000.")
@click.option(
    "--follow", is_flag=True, help="Print what comes, from now on or --after, until Ctrl-C."
)
@reading
def changes_command(
    run: Invocation, after: int | None, limit: int, follow: bool, **where: Any
) -> int:
    """Shows who changed what, the oldest first. Exit code 1 when there is nothing new.

    --follow goes on until Ctrl-C, which is its good end: one line, or one JSON object, for each
    change as it happens.

    \b
      palatine changes --after 120
      palatine changes --follow --wing shop
    """  # noqa: D301 (the mark tells click not to wrap)
    if follow:
        return _follow(run, after, ChangeFilter(**where))
    with run.open_to_read() as palace:
        found = palace.changes(after=after or 0, limit=limit, **where)
        last = None if found else palace.status().seq
    answer = answers.changes(found, after=after or 0)
    head = ("seq", "at", "agent", "did", "what", "id", "wing", "session")
    rows = [_cells(change) for change in found]
    return run.show(answer, head, rows, f"no change matches; the last one of all is {last}")


def _follow(run: Invocation, after: int | None, where: ChangeFilter) -> int:
    with suppress(KeyboardInterrupt), run.open_to_read() as palace:
        for batch in _batches(palace, palace.status().seq if after is None else after):
            for change in batch:
                if _matches(change, where):
                    click.echo(_line(run, change))
    return 0


def _batches(palace: Palace, seen: int) -> Iterator[Sequence[Change]]:
    """What comes after a change, for ever; each look is one short read that finds it by number.

    It asks for the last one seen again: when that is another one, an older palace was restored.
    """
    last: Change | None = None
    while True:
        found = palace.changes(after=max(0, seen - (last is not None)), limit=_BATCH)
        if last is not None and found[:1] != [last]:
            seen, last = palace.status().seq, None
            hint(f"the palace was put back; its last change is now {seen}")
            continue
        new = found[last is not None :]
        if new:
            last, seen = new[-1], new[-1].seq
            yield new
        else:
            time.sleep(_POLL_SECONDS)


def _matches(change: Change, where: ChangeFilter) -> bool:
    names = ("agent", "session", "wing")
    return all(getattr(where, name) in (None, getattr(change, name)) for name in names)


def _line(run: Invocation, change: Change) -> str:
    if run.json:
        return json.dumps(answers.change(change))
    cells = ["" if cell is None else one_line(str(cell)) for cell in _cells(change)]
    return "  ".join(filter(None, cells)) if on_terminal() else "\t".join(cells)
