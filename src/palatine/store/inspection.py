"""What makes a database a palace, and what `check()` looks at: rows, what is derived, files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw

from palatine import text as texts
from palatine.errors import SchemaNewerError, StoreDamagedError
from palatine.store import migrations, rows
from palatine.store.connections import Files
from palatine.store.transactions import SqliteLookups, SqliteReadTx
from palatine.types import PalaceState, Problem

UNFINISHED = ".unfinished"
"""How the names of files end that are not whole yet."""
_ABANDONED_SECONDS = 3600.0


def state_of(connection: apsw.Connection, place: str) -> PalaceState | None:
    """What the palace is, or None where the tables are not made yet.

    Raises:
        SchemaNewerError: made by a newer Palatine.
        StoreDamagedError: another program's database, or one that cannot be read.
    """
    application = connection.pragma("application_id")
    if application == migrations.APPLICATION_ID:
        return state_in(SqliteReadTx(connection), place)
    if application or connection.execute("SELECT count(*) FROM sqlite_schema").get:
        raise StoreDamagedError(
            f"{place}: this database belongs to another program; nothing was written; choose"
            " another one"
        )
    return None


def state_in(tx: SqliteLookups, place: str) -> PalaceState:
    """The state of a palace that this version can use; raises like `state_of`."""
    try:
        state = tx.state()
    except (IndexError, ValueError, apsw.SQLError) as error:
        raise StoreDamagedError(
            f"{place}: the database lacks what makes it a palace ({error}); nothing was"
            " written; restore a backup"
        ) from error
    if not all(isinstance(each, int) for each in (state.schema, state.seq, state.last_at)):
        raise StoreDamagedError(
            f"{place}: the palace's own row is damaged; nothing was written; restore a backup"
        )
    if state.schema > len(migrations.MIGRATIONS):
        raise SchemaNewerError(
            f"{place}: the palace has schema {state.schema}, this Palatine knows up to"
            f" {len(migrations.MIGRATIONS)}; nothing was written; use the newer Palatine"
        )
    return state


# Each query yields one line of detail for each fault it finds, in an area of types.AREAS.
_DERIVED = {
    "full text: chunks without full text": "SELECT 'chunk ' || row FROM chunk"
    " WHERE row NOT IN (SELECT id FROM words_docsize)",
    "full text: full text without chunks": "SELECT 'full-text row ' || id FROM words_docsize"
    " WHERE id NOT IN (SELECT row FROM chunk)",
    "vectors: chunks neither with a vector nor pending": "SELECT 'chunk ' || row FROM chunk"
    " WHERE row NOT IN (SELECT chunk FROM vector) AND row NOT IN (SELECT chunk FROM pending)",
    "vectors: chunks pending that have a vector": "SELECT 'chunk ' || chunk FROM pending"
    " WHERE chunk IN (SELECT chunk FROM vector)",
    "vectors: vectors of the wrong length": "SELECT 'chunk ' || chunk FROM vector"
    " WHERE length(f16) <> 2 * (SELECT ifnull(max(dimension), 0) FROM embedder)",
    "vectors: vectors beyond the last number": "SELECT 'vector ' || number FROM vector"
    " WHERE number > (SELECT ifnull(max(last), 0) FROM embedder)",
}
"""What can be made anew, as `area: what is wrong`."""
_KEPT = {
    "change feed: change feed with gaps": "SELECT 'before seq ' || seq FROM change c"
    " WHERE kind <> 'palace' AND seq > 1"
    " AND NOT EXISTS (SELECT 1 FROM change WHERE seq = c.seq - 1)",
    "change feed: revisions of no change": "SELECT 'revision ' || seq FROM revision"
    " WHERE seq NOT IN (SELECT seq FROM change)",
    "facts: facts ended before they were recorded": "SELECT id || ' version ' || version"
    " FROM fact WHERE ended_at < recorded_at",
    "facts: facts with two beliefs at once": "SELECT id FROM fact WHERE ended_at IS NULL"
    " GROUP BY id HAVING count(*) > 1",
    "facts: facts that end before they start": "SELECT id || ' version ' || version FROM fact"
    " WHERE valid_to <= valid_from",
    "change feed: drawers newer than the change feed": "SELECT id FROM drawer"
    " WHERE seq > (SELECT ifnull(max(seq), 0) FROM change)",
}
"""What cannot."""

# Every row of what has no digest is made into its noun: what cannot be read is damaged.
_ROWS: tuple[tuple[str, str, Callable[[Any], object]], ...] = (
    (rows.DRAWER_COLUMNS, "drawer d", lambda row: rows.drawer_from(row, None)),
    (
        rows.FACT_COLUMNS,
        "fact f JOIN entity s ON s.key = f.subject JOIN entity o ON o.key = f.object",
        rows.fact_from,
    ),
    (rows.CHANGE_COLUMNS, "change", rows.change_from),
    ("*", "link", rows.link_from),
    ("before", "revision", lambda row: rows.decode_noun(row[0])),
    ("properties, *", "entity", lambda row: json.loads(row[0])),
    ("*", "alias", tuple),
    ("*", "predicate", tuple),
    ("*", "former_id", tuple),
)

# What damaged rows raise: no text, no JSON, no such kind, NULL.
_UNREADABLE = (ValueError, TypeError, LookupError, AttributeError)


def check_rows(connection: apsw.Connection) -> list[Problem]:
    """SQLite's own checks, then ours, in the connection's read transaction."""
    problems: list[Problem] = []
    for area, check in _CHECKS:
        try:
            problems.extend(replace(each, area=each.area or area) for each in check(connection))
        except (*_UNREADABLE, apsw.SQLError, apsw.CorruptError) as error:
            problems.append(Problem("rows that cannot be read", str(error), area=area))
    return problems


def check_integrity(connection: apsw.Connection) -> Iterator[Problem]:
    """SQLite's own check; what it says of indexes can be repaired."""
    # Without a query before it, the check of full text goes by what this connection remembers of
    # it, and takes what others have written since for damage (SQLite 3.54.1).
    with suppress(apsw.Error):
        connection.execute("SELECT rowid FROM words WHERE words MATCH 'a' LIMIT 1").fetchall()
    for (told,) in connection.execute("PRAGMA integrity_check(20)"):
        if told != "ok":
            derived = told.startswith("fts5") or " index " in told
            yield Problem("SQLite integrity", str(told), derived)


def _check_schema(connection: apsw.Connection) -> Iterator[Problem]:
    """A table or index whose definition is damaged gives wrong answers without an error."""
    query = "SELECT name, sql FROM sqlite_schema"
    with closing(apsw.Connection(":memory:")) as fresh:
        for step in migrations.MIGRATIONS:
            step(fresh)
        expected = set(fresh.execute(query))
    for name, _ in expected - set(connection.execute(query)):
        yield Problem("tables that are not as they were made", str(name))


def _check_references(connection: apsw.Connection) -> Iterator[Problem]:
    for table, row, parent, _ in connection.execute("PRAGMA foreign_key_check"):
        yield Problem("rows that refer to nothing", f"{table} row {row} to {parent}")
    for check, query in (_DERIVED | _KEPT).items():
        area, _, what = check.partition(": ")
        for (detail,) in connection.execute(query):
            yield Problem(what, str(detail), check in _DERIVED, area)


def _check_packs(connection: apsw.Connection) -> Iterator[Problem]:
    if connection.execute("SELECT 1 FROM pack LIMIT 1").fetchone():
        from palatine.store import vectors  # noqa: PLC0415 (numpy, where there are vectors)

        yield from vectors.check(connection)


def _check_texts(connection: apsw.Connection) -> Iterator[Problem]:
    spans = "SELECT count(*), ifnull(max(end), 0) FROM chunk WHERE drawer = ?"
    for row, drawer_id, digest, data in connection.execute(
        "SELECT row, id, digest, text FROM drawer"
    ):
        if not isinstance(data, bytes) or texts.digest(data) != digest:
            yield Problem("texts that differ from their digest", drawer_id)
            continue
        text = texts.decode(data)
        count, end = connection.execute(spans, (row,)).get
        if end > len(text) or (not count and text.strip()):
            yield Problem("chunks that do not fit their text", drawer_id, repairable=True)


def _check_readable(connection: apsw.Connection) -> Iterator[Problem]:
    for columns, source, read in _ROWS:
        try:
            for row in connection.execute(" ".join(("SELECT", columns, "FROM", source))):
                read(row)
        except _UNREADABLE as error:
            yield Problem("rows that cannot be read", f"{source.split()[0]}: {error}")


_CHECKS: tuple[tuple[str, Callable[[apsw.Connection], Iterator[Problem]]], ...] = (
    ("SQLite", check_integrity),
    ("tables", _check_schema),
    ("rows", _check_readable),
    ("rows", _check_references),
    ("vectors", _check_packs),
    ("texts", _check_texts),
)


def check_files(files: Files, palace_id: str) -> Iterator[Problem]:
    """The lock file's id, the modes of the files, and what was left behind."""
    if (found := id_in(files.lock)) != palace_id:
        detail = f"{found!r}, not {palace_id!r}"
        yield Problem("lock file of another palace", detail, True, "lock file")
    for path in _private(files):
        if path.exists() and (mode := path.stat().st_mode & 0o077):
            yield Problem("open to others", f"{path.name} has mode {mode:03o}", True, "files")
    for path in _abandoned(files):
        yield Problem("left by one that was killed", str(path), True, "leftovers")


def repair_files(files: Files) -> None:
    """Closes the files to others and removes what was left behind, where the system lets us."""
    for path in _private(files):
        with suppress(OSError):
            path.chmod(path.stat().st_mode & 0o700)
    for path in _abandoned(files):
        with suppress(OSError):
            path.unlink()


def _private(files: Files) -> list[Path]:
    """What nobody else may read: the folder too, and the server's keys in it."""
    own = (files.database, files.wal, files.shm, files.lock, files.embed_lock, files.backups)
    more = (*files.folder.glob("tokens/*"), *files.backups.glob("*.db"))
    return list(dict.fromkeys((files.folder, *own, *more)))


def _abandoned(files: Files) -> list[Path]:
    """Files that were never made whole; young ones may be somebody's who is at it."""
    made = [*files.database.parent.glob(f"*{UNFINISHED}*"), *files.backups.glob(f"*{UNFINISHED}*")]
    latest = time.time() - _ABANDONED_SECONDS
    return [path for path in made if path.exists() and path.stat().st_mtime < latest]


def id_in(lock: Path) -> str:
    """The palace's id in its lock file; empty when there is none, or nobody may look."""
    try:
        return lock.read_text("utf-8", "replace").strip()
    except OSError:
        return ""


def size_of(path: Path) -> int:
    """Bytes of a file; 0 when it is not there."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 (twice as fast, and in every write)
    except FileNotFoundError:
        return 0


_READ_BYTES = 2**20

# Rows that may rightly hold what was removed elsewhere: another drawer with the same words in it.
_HOLDERS = (
    "SELECT 1 FROM drawer WHERE instr(text, ?1)",
    "SELECT 1 FROM drawer WHERE instr(CAST(wing || char(10) || room || char(10) || source"
    " || char(10) || author || char(10) || session || char(10) || metadata AS BLOB), ?1)",
    "SELECT 1 FROM word_count WHERE instr(CAST(term AS BLOB), ?1)",  # of a text in capitals, say
    "SELECT 1 FROM revision WHERE instr(before, ?1)",
    "SELECT 1 FROM entity WHERE instr(CAST(key || char(10) || name || char(10) || type"
    " || char(10) || properties AS BLOB), ?1)",
    "SELECT 1 FROM alias WHERE instr(CAST(key || char(10) || name AS BLOB), ?1)",
    "SELECT 1 FROM fact WHERE instr(CAST(wing || char(10) || predicate || char(10) || source"
    " AS BLOB), ?1)",
    "SELECT 1 FROM link WHERE instr(CAST(label || char(10) || source_wing || char(10)"
    " || source_room || char(10) || target_wing || char(10) || target_room AS BLOB), ?1)",
    "SELECT 1 FROM source WHERE instr(CAST(root || char(10) || path AS BLOB), ?1)",
    "SELECT 1 FROM root WHERE instr(CAST(name || char(10) || folder AS BLOB), ?1)",
    "SELECT 1 FROM predicate WHERE instr(CAST(name AS BLOB), ?1)",
    "SELECT 1 FROM change WHERE instr(CAST(ref || char(10) || wing || char(10) || agent"
    " || char(10) || session AS BLOB), ?1)",
)


def in_no_row(connection: apsw.Connection, needles: Sequence[bytes]) -> list[bytes]:
    """Those of the byte strings that no row holds."""
    return [
        needle
        for needle in needles
        if all(connection.execute(query, (needle,)).fetchone() is None for query in _HOLDERS)
    ]


def files_with(files: Files, needles: Sequence[bytes]) -> list[str]:
    """The names of the palace's files in which one of the byte strings is found."""
    return [
        path.name for path in (files.database, files.wal) if size_of(path) and _holds(path, needles)
    ]


def _holds(path: Path, needles: Sequence[bytes]) -> bool:
    # Through SQLite: were the database opened and closed by hand, this process would lose all its
    # locks on it (https://sqlite.org/howtocorrupt.html, 2.2), and a neighbour that closes could
    # delete the log in use.
    flags = [apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_MAIN_DB, 0]
    file = apsw.VFSFile("", str(path), flags)
    try:
        size, overlap = file.xFileSize(), max(map(len, needles), default=0)
        for start in range(0, size, _READ_BYTES):
            data = file.xRead(min(_READ_BYTES + overlap, size - start), start)
            if any(needle in data for needle in needles):
                return True
    finally:
        file.xClose()
    return False
