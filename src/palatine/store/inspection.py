"""What `check()` looks at: rows against what is derived from them, and the palace's files."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import apsw

from palatine import text as texts
from palatine.store import migrations, rows
from palatine.store.connections import Files
from palatine.types import Problem

# Each query yields one line of detail for each fault it finds.
_ROW_CHECKS: tuple[tuple[str, bool, str], ...] = (
    (
        "chunks without full text",
        True,
        "SELECT 'chunk ' || row FROM chunk WHERE row NOT IN (SELECT id FROM words_docsize)",
    ),
    (
        "full text without chunks",
        True,
        "SELECT 'full-text row ' || id FROM words_docsize WHERE id NOT IN (SELECT row FROM chunk)",
    ),
    (
        "chunks neither with a vector nor pending",
        True,
        "SELECT 'chunk ' || row FROM chunk WHERE row NOT IN (SELECT chunk FROM vector)"
        " AND row NOT IN (SELECT chunk FROM pending)",
    ),
    (
        "chunks pending that have a vector",
        True,
        "SELECT 'chunk ' || chunk FROM pending WHERE chunk IN (SELECT chunk FROM vector)",
    ),
    (
        "vectors of the wrong length",
        True,
        "SELECT 'chunk ' || chunk FROM vector WHERE length(f16) <>"
        " 2 * (SELECT ifnull(max(dimension), 0) FROM embedder)",
    ),
    (
        "vectors beyond the last number",
        True,
        "SELECT 'vector ' || number FROM vector"
        " WHERE number > (SELECT ifnull(max(last), 0) FROM embedder)",
    ),
    (
        "change feed with gaps",
        False,
        "SELECT 'last seq ' || max(seq) || ', entries ' || count(*) FROM change"
        " HAVING ifnull(max(seq), 0) <> count(*)",
    ),
    (
        "revisions of no change",
        False,
        "SELECT 'revision ' || seq FROM revision WHERE seq NOT IN (SELECT seq FROM change)",
    ),
    (
        "facts ended before they were recorded",
        False,
        "SELECT id || ' version ' || version FROM fact WHERE ended_at < recorded_at",
    ),
    (
        "facts with two beliefs at once",
        False,
        "SELECT id FROM fact WHERE ended_at IS NULL GROUP BY id HAVING count(*) > 1",
    ),
    (
        "facts that end before they start",
        False,
        "SELECT id || ' version ' || version FROM fact WHERE valid_to <= valid_from",
    ),
    (
        "drawers newer than the change feed",
        False,
        "SELECT id FROM drawer WHERE seq > (SELECT ifnull(max(seq), 0) FROM change)",
    ),
)

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
    problems = [
        Problem("SQLite integrity", str(row[0]))
        for row in connection.execute("PRAGMA integrity_check(20)")
        if row[0] != "ok"
    ]
    for check in (_check_schema, _check_readable, _check_references, _check_texts):
        try:
            problems.extend(check(connection))
        except _UNREADABLE as error:
            problems.append(Problem("rows that cannot be read", str(error)))
    return problems


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
    for what, repairable, query in _ROW_CHECKS:
        for (detail,) in connection.execute(query):
            yield Problem(what, str(detail), repairable)
    yield from _check_packs(connection)


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


def check_files(files: Files, palace_id: str) -> list[Problem]:
    """The lock file's id and the modes of the files."""
    problems = []
    try:
        found = files.lock.read_text("utf-8", "replace").strip()
        if found != palace_id:
            problems.append(Problem("lock file of another palace", f"{found}, not {palace_id}"))
    except OSError as error:
        problems.append(Problem("lock file that cannot be read", str(error.strerror)))
    problems += [
        Problem("files open to others", f"{path.name} has mode {mode:03o}")
        for path in (files.database, files.wal, files.shm, files.lock)
        if path.exists() and (mode := path.stat().st_mode & 0o077)
    ]
    return problems


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
    "SELECT 1 FROM revision WHERE instr(before, ?1)",
    "SELECT 1 FROM entity WHERE instr(CAST(key || char(10) || name || char(10) || type"
    " || char(10) || properties AS BLOB), ?1)",
    "SELECT 1 FROM alias WHERE instr(CAST(key || char(10) || name AS BLOB), ?1)",
    "SELECT 1 FROM fact WHERE instr(CAST(wing || char(10) || predicate || char(10) || source"
    " AS BLOB), ?1)",
    "SELECT 1 FROM link WHERE instr(CAST(label AS BLOB), ?1)",
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
