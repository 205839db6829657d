"""Commands that carry a palace elsewhere: export and import."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from palatine.cli.mine import UNREAD
from palatine.cli.options import Invocation, reading, writing
from palatine.cli.output import give, hint, progress, table
from palatine.errors import InputError
from palatine.types import Imported, Written

if TYPE_CHECKING:
    from palatine.imports.base import Brought

_OURS = b'{"palatine": "export"'


@click.command("export", short_help="Write the palace as JSON Lines, whole.")
@click.argument("file", metavar="FILE|-")
@click.option("--markdown", is_flag=True, help="FILE is a folder; write Markdown to read instead.")
@reading
def export_command(run: Invocation, file: str, markdown: bool) -> None:
    """Writes all that stands in the palace to FILE as JSON Lines; `-`: to standard output.

    Complete and lossless: texts, facts with all that was ever believed, names, links, ids. FILE
    appears when it is complete, readable by you alone; of files that are there, only an older
    export is replaced.

    \b
      palatine export memory.jsonl
      palatine export - | gzip > memory.jsonl.gz
      palatine export --markdown ~/notes/palace     a folder that Obsidian opens
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open_to_read() as palace:
        if markdown:
            _show_written(run, file, palace.export_markdown(file))
            return
        if file == "-":
            palace.export(sys.stdout.buffer)
            return
        with new_file(Path(file)) as target, progress("exporting") as told:
            counts = palace.export(target, progress=told)
    what = ", ".join(f"{count} {name}" for name, count in counts.items() if count)
    sentence = f"exported to {file}: {what or 'an empty palace'}"
    run.tell({"file": file, "lines": dict(counts)}, sentence, *counts.items())


def _show_written(run: Invocation, folder: str, done: Written) -> None:
    run.tell(asdict(done), f"{done.files} files written to {folder}")
    for name in done.foreign:
        hint(f"not ours, and left as it is: {name}")


@contextmanager
def new_file(path: Path, *, mark: bytes = _OURS, what: str = "export") -> Iterator[BinaryIO]:
    """A file, 0600, that takes its name when it is complete; replaces only what begins with mark.

    Raises:
        InputError: something else lies there.
    """
    if path.is_symlink() or path.exists():
        if path.is_symlink() or not path.is_file():
            raise InputError(f"{path} is no file; nothing was written; choose another name")
        with path.open("rb") as old:
            if (begun := old.read(len(mark))) and begun != mark:
                raise InputError(f"{path} is no {what}; it was left alone; choose another name")
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise


@click.command("import", short_help="Add from an export, or another product, what is not here.")
@click.argument("what", metavar="[PRODUCT] PATH|-", nargs=-1, required=True)
@click.option("--dry-run", is_flag=True, help="Write nothing; say what would be added.")
@writing
def import_command(run: Invocation, what: tuple[str, ...], dry_run: bool) -> int:
    """Adds from an export what the palace does not hold; `-` reads it from standard input.

    Into a new palace it makes an equal one. What is here stays as it is, and is told where the
    export has it otherwise; the same import again changes nothing. An export that was cut off, or
    that cannot be used as a whole, is refused before anything is written.

    With a PRODUCT, `mempalace`, `server-memory` or `basic-memory`, what that one keeps at PATH is
    added. Single records that cannot be used are listed; the exit code is then 6.

    \b
      palatine import memory.jsonl
      palatine import mempalace ~/.mempalace
      palatine import server-memory memory.jsonl
      palatine import basic-memory ~/basic-memory
    """  # noqa: D301 (the mark tells click not to wrap)
    if len(what) > 2:
        raise click.UsageError("give one PATH, or a PRODUCT and one PATH")
    brought: Brought | None = None
    with ExitStack() as stack:
        source = stack.enter_context(_source(what[0])) if len(what) == 1 else None
        palace = stack.enter_context(run.open(create=not dry_run))
        told = stack.enter_context(progress("importing"))
        if source is None:
            brought = palace.import_other(*what, dry_run=dry_run, progress=told)
            done = brought.imported
        else:
            done = palace.import_from(source, dry_run=dry_run, progress=told)
    if run.json:
        give(asdict(brought or done))
    else:
        rows = [
            (name, *(each.get(name, 0) for each in (done.added, done.known, done.differing)))
            for name in sorted(done.added.keys() | done.known.keys() | done.differing.keys())
        ]
        table(("", "would be added" if dry_run else "added", "known", "differs"), rows)
        _tell(done, dry_run=dry_run)
        if brought:
            _tell_brought(brought)
    return UNREAD if brought and brought.problems else 0


def _tell_brought(done: Brought) -> None:
    hint(", ".join(f"{count} {what}" for what, count in done.counts.items()) or "nothing was read")
    hint(f"{done.vectors} vectors taken over; `palatine embed` makes the rest")
    if done.problems:
        table(("record", "not used as it is"), [(each.path, each.reason) for each in done.problems])


@contextmanager
def _source(file: str) -> Iterator[BinaryIO]:
    if file != "-":
        with Path(file).open("rb") as source:
            yield source
        return
    with tempfile.TemporaryFile() as copy:  # it is read twice
        shutil.copyfileobj(sys.stdin.buffer, copy)
        copy.seek(0)
        yield copy


def _tell(done: Imported, *, dry_run: bool) -> None:
    for name, before in done.before.items():
        hint(f"{name}: {before} before, {done.after[name]} after")
    if done.last_seq:
        hint(f"changes {done.first_seq} to {done.last_seq}")
    elif not dry_run:
        hint("nothing was changed")
    if done.kept:
        more = sum(done.differing.values()) - len(done.kept)
        rest = f" and {more} more" if more > 0 else ""
        hint(f"here otherwise, and left so: {', '.join(done.kept)}{rest}")
