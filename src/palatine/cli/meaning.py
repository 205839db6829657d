"""Commands for search by meaning: embed what waits for it, and change the embedder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from palatine.cli.options import Invocation, writing
from palatine.cli.output import give, hint, say
from palatine.types import Embedded

_Progress = Callable[[int, int], None]


@click.command("embed", short_help="Make new texts findable by meaning.")
@writing
def embed_command(run: Invocation) -> int:
    """Embeds every text that is not embedded yet, so that search finds it by meaning, too.

    Texts are found by their words at once; a server that searches embeds them by itself. Others
    may go on working. Interrupted, it goes on next time. Exit code 3 when the palace's vectors
    are another embedder's: see reembed.
    """
    with run.open() as palace, _bar() as progress:
        embedded = palace.embed(progress=progress)
    return _show(run, embedded)


@click.command("reembed", short_help="Change the embedder of the palace.")
@writing
def reembed_command(run: Invocation) -> int:
    """Embeds every text anew, with the embedder that PALATINE_EMBEDDER names (else minilm).

    Others may go on working: what is not embedded anew yet is found by its words. Interrupted, it
    goes on next time; with the embedder that the palace has it is the same as embed.
    """
    with run.open() as palace, _bar() as progress:
        embedded = palace.reembed(progress=progress)
    return _show(run, embedded)


def _show(run: Invocation, embedded: Embedded) -> int:
    if run.json:
        give(
            {
                "stored": embedded.stored,
                "pending": embedded.pending,
                "another_process_is_at_it": not embedded.alone,
            }
        )
    elif embedded.alone:
        say(f"embedded: {embedded.stored} passages; {embedded.pending} not embedded yet")
    else:
        hint(f"another process is embedding; {embedded.pending} passages not embedded yet")
    return 0


@contextmanager
def _bar() -> Iterator[_Progress | None]:
    """A progress bar on standard error, where a person is looking."""
    if not sys.stderr.isatty():
        yield None
        return
    # Only where a bar is drawn: rich takes longer to load than most commands take to run.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import Progress  # noqa: PLC0415

    with Progress(console=Console(stderr=True), transient=True) as drawn:
        task = drawn.add_task("embedding", total=None)
        yield lambda stored, left: drawn.update(task, completed=stored, total=stored + left)
