"""Restore: a copy of a palace becomes the palace of a folder, whoever has that open.

Into a palace that is well it goes through SQLite's backup API, in one commit. Only where there is
no database, or none that SQLite can open, a file is put in its place; see docs/decisions/0008.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from palatine.errors import (
    ConflictError,
    InputError,
    NotFoundError,
    PalaceMissingError,
    PalaceReplacedError,
    StoreDamagedError,
    StoreError,
)
from palatine.store import copies, inspection
from palatine.store.connections import (
    Files,
    Identity,
    MovedError,
    Pool,
    identity_of,
    mapped,
    require_safe_library,
    unusable,
)
from palatine.store.lock import WriterLock
from palatine.store.retry import Deadline
from palatine.store.sqlite import SqliteStore
from palatine.types import Author, PalaceState, Restored

_LEAP = 1_000_000
"""How far changes are numbered on where the last number of what was replaced cannot be known."""


def restore(
    path: Path,
    source: Path,
    *,
    author: Author,
    timeout_seconds: float,
    open_palace: Callable[[], SqliteStore],
) -> Restored:
    """Makes what the source holds the palace at the path.

    Args:
        path: the palace: well, damaged, missing, or never made.
        source: a backup, or another palace; it is only read.
        author: who restores.
        timeout_seconds: how long to wait for the writer lock.
        open_palace: opens the palace at the path, or makes one.

    Raises:
        NotFoundError: there is no such file.
        InputError: the source is the palace itself.
        StoreDamagedError, SchemaNewerError: the source is no palace, or none for this version.
        ConflictError: somebody else restored at the same time.
        StoreError: see errors.py. Whatever it is, nothing was replaced.
    """
    require_safe_library()
    files, given = Files.at(path), Files.at(source)
    found, before = identity_of(given.database), identity_of(files.database)
    if found is None:
        raise NotFoundError(f"there is no file {given.database}; nothing was restored")
    if found == before:
        raise InputError(f"{source} is the palace itself; nothing was restored; name a backup")
    fresh = not (home := files.database.parent).exists()
    try:
        home.mkdir(parents=True, exist_ok=True, mode=0o700)
        with copies.unfinished(files.database) as staged:
            _stage(given, staged, Deadline(timeout_seconds))
            with closing(SqliteStore(staged, single=True, create=False)) as copy:
                _require_sound(copy, given)
                try:
                    with closing(open_palace()) as palace:
                        return palace.replace_with(copy, author)
                except PalaceReplacedError as error:
                    raise _too_late(files) from error
                except (PalaceMissingError, StoreDamagedError):
                    if not inspection.id_in(files.lock):  # there never was a palace
                        raise
                return _put_in_place(files, before, copy, staged, author, timeout_seconds)
    except OSError as error:
        raise unusable(files.folder, error) from error
    finally:
        if fresh:
            with suppress(OSError):  # with a palace in it, it stays
                home.rmdir()


def _too_late(files: Files) -> ConflictError:
    return ConflictError(
        f"{files.folder}: somebody else has just restored a palace here; nothing was replaced; do"
        " it again if it shall be this one all the same"
    )


def _stage(given: Files, staged: Path, deadline: Deadline) -> None:
    """Copies the source beside the palace, from one snapshot."""
    place = str(given.database)
    try:
        pool = Pool(given, read_only=True)
        with closing(pool), mapped(place, deadline.waited):
            connection = pool.take(deadline)
            try:
                connection.execute("BEGIN")
                state = inspection.state_of(connection, place)
                if state is None:
                    raise StoreDamagedError(f"{place}: there is no palace in this file")
                copies.copy(connection, staged)
                pool.require_same_file()
            finally:
                pool.give(connection)
    except MovedError:
        raise StoreError(f"{place} was written or replaced while it was read; again") from None


def _require_sound(copy: SqliteStore, given: Files) -> None:
    """Refuses what cannot be repaired; the copy has been brought up to date."""
    for problem in copy.check():
        if not problem.repairable:
            raise StoreDamagedError(
                f"{given.database} is damaged ({problem.what}: {problem.detail}); nothing was"
                " restored; take another backup, or open this one (--palace FILE) and export what"
                " can be read"
            )


def _put_in_place(
    files: Files,
    before: Identity | None,
    copy: SqliteStore,
    staged: Path,
    author: Author,
    timeout_seconds: float,
) -> Restored:
    """Puts the copy's file where no database is, or one that SQLite cannot open; that is kept."""
    lock = WriterLock(files.lock)
    try:
        lock.acquire(Deadline(timeout_seconds))
        if identity_of(files.database) != before:
            raise _too_late(files)
        with copy.write(author) as tx:
            was = tx.state()
            new = tx.become(PalaceState("", was.schema, was.seq + _LEAP, was.last_at))
        copy.close()
        if Files.at(staged, single=True).wal.exists():
            raise StoreError(f"{staged}: its log could not be emptied; nothing was restored")
        replaced = _put_aside(files)
        staged.rename(files.database)
        copies.sync(files.database.parent)
        lock.write_id(new.palace_id)
    finally:
        lock.release()
        lock.close()
    return Restored(new.palace_id, new.seq, replaced)


def _put_aside(files: Files) -> str:
    """Moves what lies there away, first what SQLite would apply to another database."""
    journal = files.database.with_name(f"{files.database.name}-journal")
    lying = [each for each in (files.shm, files.wal, journal, files.database) if each.exists()]
    if not lying:
        return ""
    aside = copies.place_for(None, files, "palace", "damaged").with_suffix("")
    aside.mkdir(mode=0o700)
    for each in lying:
        each.rename(aside / each.name)
    return str(aside)
