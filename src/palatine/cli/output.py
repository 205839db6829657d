"""How answers look: tables on a terminal, tab-separated lines in a pipe, JSON for a program.

Stored text reaches a terminal through `text.plain` only: nothing in it can act on the terminal.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import click

from palatine import text as texts


def on_terminal() -> bool:
    """Tells whether a person is looking."""
    return sys.stdout.isatty()


def say(text: str, *, bold: bool = False) -> None:
    """Prints text, made plain."""
    click.echo(click.style(texts.plain(text), bold=bold) if bold else texts.plain(text))


def hint(text: str) -> None:
    """Prints on standard error: what a person may want to know and a pipe must not get."""
    click.echo(texts.plain(text), err=True)


def give(value: object) -> None:
    """Prints JSON, in ASCII, so that any text arrives whole and nothing acts on a terminal."""
    click.echo(json.dumps(value, indent=2 if on_terminal() else None))


def give_bytes(data: bytes) -> None:
    """Writes exactly these bytes."""
    sys.stdout.flush()
    sys.stdout.buffer.write(data)


def one_line(text: str, *, max_chars: int | None = None) -> str:
    """The text with each run of white space as one blank, cut if it is long."""
    looked_at = text if max_chars is None else text[: 4 * max_chars]
    line = " ".join(texts.plain(looked_at).split())
    if max_chars is None or len(line) <= max_chars:
        return line
    return line[: max_chars - 1] + "…"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Prints rows: aligned under their names on a terminal, else one a line between tabs.

    A terminal is not shown a column that is empty in all rows; a pipe gets them all.

    Args:
        columns: their names; empty: no head.
        rows: cells, in some rows fewer; None is empty.
    """
    cells = [["" if cell is None else one_line(str(cell)) for cell in row] for row in rows]
    if not on_terminal():
        for row in cells:
            click.echo("\t".join(row))
        return
    # Only where a table is drawn: rich takes longer to load than most commands take to run.
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    width = max(map(len, cells))
    cells = [row + [""] * (width - len(row)) for row in cells]
    shown = [number for number in range(width) if any(row[number] for row in cells)]
    drawn = Table(box=SIMPLE_HEAD if columns else None, show_header=bool(columns), pad_edge=False)
    for number in shown:
        name = Text(columns[number] if columns else "")
        drawn.add_column(name, overflow="fold", no_wrap=number == 0)
    for row in cells:
        drawn.add_row(*(Text(row[number]) for number in shown))
    Console(highlight=False).print(drawn)


@contextmanager
def progress(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """A bar on standard error where a person is looking; gives what is told (done, left).

    Args:
        what: what is being done, as `embedding`.
    """
    if not (sys.stderr.isatty() and on_terminal()):
        yield None
        return
    # Only where a bar is drawn: rich takes longer to load than most commands take to run.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    counted = (TextColumn("{task.completed}/{task.total} {task.fields[rate]}"),)
    columns = (*Progress.get_default_columns()[:2], *counted, TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task(what, total=None, rate="")

        def told(done: int, left: int) -> None:
            rate = f"{done / (drawn.tasks[task].elapsed or 1):.0f}/s"
            drawn.update(task, completed=done, total=done + left, rate=rate)

        yield told
