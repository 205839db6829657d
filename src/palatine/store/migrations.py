"""The tables, as numbered steps. A step is never edited once it has been released."""

from __future__ import annotations

from collections.abc import Callable

import apsw

APPLICATION_ID = 0x50414C41
"""`PALA`, in the database's header: tells a palace from another program's file."""


def m001_initial(connection: apsw.Connection) -> None:
    """Drawers with chunks and full text, facts, links, the change feed and revisions."""
    connection.execute(_INITIAL)


def m002_vectors(connection: apsw.Connection) -> None:
    """Vectors, their codes in packs, and which chunks have none yet: all of them."""
    connection.execute(_VECTORS)


def m003_sources(connection: apsw.Connection) -> None:
    """What was read of mined files."""
    connection.execute(_SOURCES)


def m004_wings(connection: apsw.Connection) -> None:
    """The last changes and drawers of one wing are found without a look at all others."""
    connection.execute("CREATE INDEX change_wing ON change(wing)")
    connection.execute("CREATE INDEX drawer_wing ON drawer(wing, filed_at, id)")


def m005_readings(connection: apsw.Connection) -> None:
    """Who has read which drawers for facts, and which facts they state."""
    connection.execute(_READINGS)


MIGRATIONS: tuple[Callable[[apsw.Connection], None], ...] = (
    m001_initial,
    m002_vectors,
    m003_sources,
    m004_wings,
    m005_readings,
)
"""Step n leads from schema n to schema n + 1."""

# The text of a drawer stands last in its row: reading the other columns then never walks
# its overflow pages. Names that do not exist are '' so that UNIQUE indexes see them.
_INITIAL = """
CREATE TABLE palace(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    id TEXT NOT NULL,
    schema INTEGER NOT NULL
);
CREATE TABLE change(
    seq INTEGER PRIMARY KEY,
    operation INTEGER NOT NULL,
    kind TEXT NOT NULL,
    ref TEXT NOT NULL,
    op TEXT NOT NULL,
    wing TEXT NOT NULL,
    at INTEGER NOT NULL,
    agent TEXT NOT NULL,
    session TEXT NOT NULL
);
CREATE INDEX change_ref ON change(ref, kind);
CREATE INDEX change_session ON change(session, agent) WHERE session <> '' OR agent <> '';
CREATE TABLE revision(
    seq INTEGER PRIMARY KEY REFERENCES change(seq),
    before BLOB NOT NULL
);
CREATE TABLE drawer(
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    wing TEXT NOT NULL,
    room TEXT NOT NULL,
    kind TEXT NOT NULL,
    pinned INTEGER NOT NULL,
    digest BLOB NOT NULL,
    source TEXT NOT NULL,
    position INTEGER NOT NULL,
    author TEXT NOT NULL,
    session TEXT NOT NULL,
    said_at INTEGER,
    said_code INTEGER,
    filed_at INTEGER NOT NULL,
    changed_at INTEGER NOT NULL,
    metadata TEXT NOT NULL,
    seq INTEGER NOT NULL,
    text BLOB NOT NULL
);
CREATE UNIQUE INDEX drawer_same ON drawer(digest, wing, room, source, position);
CREATE INDEX drawer_place ON drawer(wing, room, filed_at, id);
CREATE INDEX drawer_filed ON drawer(filed_at, id);
CREATE INDEX drawer_source ON drawer(source, wing, room, position) WHERE source <> '';
CREATE INDEX drawer_pinned ON drawer(wing) WHERE pinned = 1;
CREATE TABLE former_id(
    id TEXT PRIMARY KEY,
    drawer TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE chunk(
    row INTEGER PRIMARY KEY,
    drawer INTEGER NOT NULL REFERENCES drawer(row),
    start INTEGER NOT NULL,
    end INTEGER NOT NULL
);
CREATE INDEX chunk_drawer ON chunk(drawer);
CREATE VIRTUAL TABLE words USING fts5(
    text, content='', contentless_delete=1, tokenize='porter unicode61 remove_diacritics 2'
);
CREATE VIRTUAL TABLE word_count USING fts5vocab(words, 'row');
CREATE TABLE entity(
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    type TEXT NOT NULL,
    properties TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE alias(
    key TEXT PRIMARY KEY,
    name TEXT NOT NULL,
    entity TEXT NOT NULL REFERENCES entity(key)
) WITHOUT ROWID;
CREATE INDEX alias_entity ON alias(entity);
CREATE TABLE predicate(
    name TEXT PRIMARY KEY,
    cardinality TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE fact(
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    version INTEGER NOT NULL,
    wing TEXT NOT NULL,
    subject TEXT NOT NULL REFERENCES entity(key),
    predicate TEXT NOT NULL,
    object TEXT NOT NULL REFERENCES entity(key),
    valid_from INTEGER,
    from_code INTEGER,
    valid_to INTEGER,
    to_code INTEGER,
    confidence REAL NOT NULL,
    source TEXT NOT NULL,
    drawer TEXT NOT NULL,
    recorded_at INTEGER NOT NULL,
    ended_at INTEGER,
    UNIQUE (id, version)
);
CREATE UNIQUE INDEX fact_open ON fact(subject, predicate, object, wing)
    WHERE valid_to IS NULL AND ended_at IS NULL;
CREATE INDEX fact_subject ON fact(subject, predicate, ended_at, object);
CREATE INDEX fact_object ON fact(object, predicate, ended_at, subject);
CREATE INDEX fact_predicate ON fact(predicate, ended_at);
CREATE INDEX fact_time ON fact(ifnull(valid_from, 9223372036854775807), id, version)
    WHERE ended_at IS NULL;
CREATE INDEX fact_drawer ON fact(drawer) WHERE drawer <> '';
CREATE TABLE link(
    id TEXT PRIMARY KEY,
    source_wing TEXT NOT NULL,
    source_room TEXT NOT NULL,
    source_drawer TEXT NOT NULL,
    target_wing TEXT NOT NULL,
    target_room TEXT NOT NULL,
    target_drawer TEXT NOT NULL,
    label TEXT NOT NULL,
    linked_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX link_source ON link(source_drawer) WHERE source_drawer <> '';
CREATE INDEX link_target ON link(target_drawer) WHERE target_drawer <> '';
"""

# `embedder.last` is the highest number that a vector was ever given; a new `generation` tells those
# who hold codes to read them all again. A pack holds the codes of the numbers up to its last.
_VECTORS = """
CREATE TABLE embedder(
    one INTEGER PRIMARY KEY CHECK (one = 1),
    name TEXT NOT NULL,
    dimension INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    last INTEGER NOT NULL
);
CREATE TABLE vector(
    chunk INTEGER PRIMARY KEY REFERENCES chunk(row),
    number INTEGER NOT NULL UNIQUE,
    f16 BLOB NOT NULL
);
CREATE TABLE pack(
    last INTEGER PRIMARY KEY,
    chunks BLOB NOT NULL,
    codes BLOB NOT NULL
);
CREATE TABLE pending(
    chunk INTEGER PRIMARY KEY REFERENCES chunk(row)
);
INSERT INTO pending(chunk) SELECT row FROM chunk;
"""

_SOURCES = """
CREATE TABLE root(
    name TEXT PRIMARY KEY,
    folder TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE source(
    root TEXT NOT NULL,
    path TEXT NOT NULL,
    size INTEGER NOT NULL,
    modified INTEGER NOT NULL,
    digest BLOB NOT NULL,
    at INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (root, path)
) WITHOUT ROWID;
"""

_READINGS = """
CREATE TABLE reading(
    drawer TEXT NOT NULL,
    reader TEXT NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (drawer, reader)
) WITHOUT ROWID;
CREATE TABLE statement(
    drawer TEXT NOT NULL,
    reader TEXT NOT NULL,
    digest TEXT NOT NULL,
    fact TEXT NOT NULL,
    PRIMARY KEY (drawer, reader, digest)
) WITHOUT ROWID;
CREATE INDEX statement_fact ON statement(fact);
"""
