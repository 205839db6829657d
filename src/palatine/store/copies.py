"""Copies of a palace in one file each: made in one piece, checked, named, and thinned out."""

from __future__ import annotations

import glob
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import apsw

from palatine import instants
from palatine.errors import InputError, StoreDamagedError
from palatine.store.connections import Files, create_database_file, mapped
from palatine.store.inspection import UNFINISHED, check_integrity, state_of
from palatine.types import PalaceState

_PAGES = 2000  # so that an interrupt need not wait for the end
_PAGE_BYTES = 4096


def copy(source: apsw.Connection, target: Path) -> PalaceState:
    """Copies what the connection sees into a new file, 0600, that needs no log beside it.

    Raises:
        apsw.Error: it cannot be read or written, or it is no palace.
    """
    create_database_file(Files.at(target, single=True))
    with closing(apsw.Connection(str(target))) as made:
        made.execute("PRAGMA synchronous = OFF")  # it is synced once, below
        with made.backup("main", source, "main") as backup:
            while not backup.done:
                backup.step(_PAGES)
        made.pragma("journal_mode", "delete")
        if made.pragma("page_size") != _PAGE_BYTES:  # of others nothing goes into a live palace
            made.execute(f"PRAGMA page_size = {_PAGE_BYTES}; VACUUM")
        state = state_of(made, str(target))
    sync(target)
    if state is None:
        raise StoreDamagedError(f"{target}: there is no palace in this file; nothing was written")
    return state


def require_sound(path: Path, place: str) -> None:
    """Refuses a copy that SQLite finds damaged.

    Raises:
        StoreDamagedError: it is.
    """
    flags = apsw.SQLITE_OPEN_READONLY
    with mapped(place), closing(apsw.Connection(str(path), flags)) as made:
        for problem in check_integrity(made):
            raise StoreDamagedError(
                f"{place}: it is damaged ({problem.detail}); no copy was made: see palatine doctor"
            )


@contextmanager
def unfinished(target: Path) -> Iterator[Path]:
    """A name beside the target for what is not whole yet; what then still lies there goes."""
    made = target.with_name(f"{target.name}.{secrets.token_hex(4)}{UNFINISHED}")
    try:
        yield made
    finally:
        for each in made.parent.glob(f"{glob.escape(made.name)}*"):
            each.unlink(missing_ok=True)


def sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk. Not for a live database."""
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):
        return  # this system syncs no folders
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def place_for(target: Path | None, files: Files, palace_id: str, what: str) -> Path:
    """Where a copy goes: a new name in a folder, or the file that was named.

    Raises:
        InputError: something lies there, or it is a file of the palace itself.
    """
    if target is None:
        files.backups.mkdir(mode=0o700, exist_ok=True)
        target = files.backups
    target = target.absolute()
    if target.is_dir():
        return target / f"{what}-{palace_id}-{instants.now().at:%Y%m%dT%H%M%S%fZ}.db"
    own = {files.database, files.wal, files.shm, files.lock, files.embed_lock}
    if target.parent.resolve() / target.name in {each.resolve() for each in own}:
        raise InputError(f"{target} is the palace's own; nothing was written; give another name")
    if target.exists() or target.is_symlink():
        raise InputError(f"{target} is there already; nothing was written; give a new name")
    if not target.parent.is_dir():
        raise InputError(f"there is no folder {target.parent}; nothing was written; make it first")
    return target


def thin_out(newest: Path, palace_id: str, keep: int) -> list[str]:
    """Removes this palace's oldest backups in a folder until so many are left."""
    pattern = re.compile(rf"backup-{re.escape(palace_id)}-\d{{8}}T\d{{12}}Z\.db")
    found = sorted(each for each in newest.parent.iterdir() if pattern.fullmatch(each.name))
    surplus = [each for each in found if each != newest][: max(0, len(found) - keep)]
    for each in surplus:
        each.unlink()
    return [str(each) for each in surplus]
