"""What the port asks, as SQL: one statement or a few for each verb."""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import astuple, replace
from typing import TYPE_CHECKING, Any

import apsw

from palatine import instants
from palatine.instants import Instant
from palatine.store import rows
from palatine.store.base import Noun
from palatine.types import (
    Author,
    Cardinality,
    Change,
    ChangeFilter,
    Chunk,
    Drawer,
    DrawerFilter,
    Edge,
    Entity,
    Fact,
    FactCounts,
    FactFilter,
    FormerId,
    Kind,
    Link,
    Match,
    Op,
    PalaceState,
    Pending,
    Place,
    Reading,
    Source,
    Span,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from palatine.store.codes import Codes

_UNDATED = 2**63 - 1
_TOKENIZER = ("porter", ["unicode61", "remove_diacritics", "2"])

_STATE = """SELECT palace.id, palace.schema, ifnull(c.seq, 0), ifnull(c.at, 0)
FROM palace LEFT JOIN (SELECT seq, at FROM change ORDER BY seq DESC LIMIT 1) AS c"""
_FACT_ORDER = "ORDER BY ifnull(f.valid_from, 9223372036854775807), f.id, f.version"
_FACTS_JOINED = """AS m CROSS JOIN fact f ON f.row = m.row
CROSS JOIN entity s ON s.key = f.subject CROSS JOIN entity o ON o.key = f.object"""
# The first comparison says less than the second, but only it is a seek in the index.
_FACT_AFTER = """ifnull(f.valid_from, 9223372036854775807) >= ?
AND (ifnull(f.valid_from, 9223372036854775807), f.id, f.version) > (?, ?, ?)"""
_COUNT_FACTS = """SELECT count(*), count(*) FILTER (WHERE f.valid_to <= ?),
count(*) FILTER (WHERE f.valid_from > ?) FROM fact f NOT INDEXED WHERE"""
_COUNT_ENTITIES_OF = """SELECT count(*) FROM (SELECT subject FROM fact NOT INDEXED WHERE wing = ?1
UNION SELECT object FROM fact NOT INDEXED WHERE wing = ?1)"""
# Without a filter the best are taken before anything is joined; with one, the filter is part of
# the query, so that three drawers out of a million are found all three.
# "ORDER BY rank" would have FTS5 sort all matches and score the best ones twice.
_MATCH_ALL = """SELECT m.row, c.drawer, m.score
FROM (SELECT rowid AS row, -rank AS score FROM words WHERE words MATCH ?
    ORDER BY score DESC LIMIT ?) AS m
JOIN chunk c ON c.row = m.row ORDER BY m.score DESC"""
_MATCH_SOME = """SELECT words.rowid, c.drawer, -words.rank AS score
FROM words CROSS JOIN chunk c ON c.row = words.rowid CROSS JOIN drawer d ON d.row = c.drawer
WHERE words MATCH ? AND"""
_NEIGHBOURS = """SELECT k.row,
ifnull((SELECT n.row FROM chunk n WHERE n.row = k.row - 1 AND n.drawer = k.drawer),
    iif(d.source = '', NULL, (SELECT max(n.row) FROM chunk n WHERE n.drawer =
        (SELECT e.row FROM drawer e WHERE e.source <> '' AND e.source = d.source
         AND e.wing = d.wing AND e.room = d.room AND e.position < d.position AND e.position >= 0
         ORDER BY e.position DESC, e.id DESC LIMIT 1)))),
ifnull((SELECT n.row FROM chunk n WHERE n.row = k.row + 1 AND n.drawer = k.drawer),
    iif(d.source = '', NULL, (SELECT min(n.row) FROM chunk n WHERE n.drawer =
        (SELECT e.row FROM drawer e WHERE e.source <> '' AND e.source = d.source
         AND e.wing = d.wing AND e.room = d.room AND e.position > d.position AND d.position >= 0
         ORDER BY e.position, e.id LIMIT 1))))
FROM json_each(?) j JOIN chunk k ON k.row = j.value JOIN drawer d ON d.row = k.drawer"""
_PENDING = """SELECT p.chunk, c.drawer, d.id, d.seq, c.start, c.end FROM pending p
JOIN chunk c ON c.row = p.chunk JOIN drawer d ON d.row = c.drawer WHERE"""
_SET_EMBEDDER = """INSERT INTO embedder(one, name, dimension, generation, last)
VALUES (1, ?, ?, 1, 0) ON CONFLICT(one) DO UPDATE SET name = excluded.name,
dimension = excluded.dimension, generation = generation + 1"""
_BEFORE_REBUILD = (
    "REINDEX",
    "INSERT INTO words(words) VALUES ('delete-all')",
    "DELETE FROM pending WHERE chunk NOT IN (SELECT c.row FROM chunk c JOIN drawer d"
    " ON d.row = c.drawer)",
    "DELETE FROM vector WHERE chunk NOT IN (SELECT c.row FROM chunk c JOIN drawer d"
    " ON d.row = c.drawer)",
    "DELETE FROM chunk WHERE drawer NOT IN (SELECT row FROM drawer)",
)
_CHUNKS_OF = "SELECT row, start, end FROM chunk WHERE drawer = ? ORDER BY row"
_REPAIR_VECTORS = (
    "DELETE FROM vector WHERE length(f16) <> 2 * (SELECT ifnull(max(dimension), 0) FROM embedder)",
    "UPDATE embedder SET last = max(last, (SELECT ifnull(max(number), 0) FROM vector))",
    "INSERT OR IGNORE INTO pending(chunk) SELECT row FROM chunk"
    " WHERE row NOT IN (SELECT chunk FROM vector)",
    "DELETE FROM pending WHERE chunk IN (SELECT chunk FROM vector)",
)
_PUT_DRAWER = """INSERT INTO drawer(id, wing, room, kind, pinned, digest, source, position, author,
session, said_at, said_code, filed_at, changed_at, metadata, seq, text)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT(id) DO UPDATE SET wing = excluded.wing, room = excluded.room, kind = excluded.kind,
pinned = excluded.pinned, digest = excluded.digest, source = excluded.source,
position = excluded.position, author = excluded.author, session = excluded.session,
said_at = excluded.said_at, said_code = excluded.said_code, changed_at = excluded.changed_at,
metadata = excluded.metadata, seq = excluded.seq, text = excluded.text RETURNING row"""
_RECORD = """INSERT INTO change(seq, operation, kind, ref, op, wing, at, agent, session)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_LABELS = "SELECT wing FROM change UNION SELECT agent FROM change UNION SELECT session FROM change"
_RELABEL = (
    "UPDATE change SET wing = ? WHERE wing = ?",
    "UPDATE change SET agent = ? WHERE agent = ?",
    "UPDATE change SET session = ? WHERE session = ?",
)
_PUT_FACT = """INSERT INTO fact(id, version, wing, subject, predicate, object, valid_from,
from_code, valid_to, to_code, confidence, source, drawer, recorded_at, ended_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"""
_PUT_ENTITY = """INSERT INTO entity(key, name, type, properties) VALUES (?, ?, ?, ?)
ON CONFLICT(key) DO UPDATE SET name = excluded.name, type = excluded.type,
properties = excluded.properties"""
_ENTITIES = """SELECT key, name, type, properties, (SELECT json_group_array(a.name ORDER BY a.name)
FROM alias a WHERE a.entity = entity.key) FROM entity"""
_SOURCES = "SELECT root, path, size, modified, digest, at, position FROM source WHERE root = ?"
_READINGS = """SELECT r.drawer, r.reader, r.digest, (SELECT json_group_object(s.digest, s.fact)
FROM statement s WHERE s.drawer = r.drawer AND s.reader = r.reader) FROM reading r WHERE"""
# Groups of one object are passed over in the index; of the others each fact is compared with the
# latest end of those that began before it, and not with each of them.
_CONTRADICTORY = """WITH several AS (
    SELECT subject, predicate FROM fact WHERE ended_at IS NULL
    AND predicate IN (SELECT value FROM json_each(?1))
    GROUP BY subject, predicate HAVING min(object) <> max(object)
), standing AS (
    SELECT f.wing, f.subject, f.predicate, ifnull(f.valid_from, -9223372036854775808) AS start,
    max(ifnull(f.valid_to, 9223372036854775807)) OVER (
        PARTITION BY f.wing, f.subject, f.predicate
        ORDER BY ifnull(f.valid_from, -9223372036854775808)
        ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM several CROSS JOIN fact f ON f.subject = several.subject
    AND f.predicate = several.predicate AND f.ended_at IS NULL
    WHERE f.wing = ifnull(?2, f.wing) AND (f.valid_to IS NULL OR f.valid_to > ?3)
)
SELECT DISTINCT wing, subject, predicate FROM standing WHERE before > start
ORDER BY 1, 2, 3 LIMIT ?4"""
_ORPHANS = """DELETE FROM entity WHERE key IN (?, ?) AND type = '' AND properties = '{}'
AND NOT EXISTS (SELECT 1 FROM fact WHERE subject = entity.key)
AND NOT EXISTS (SELECT 1 FROM fact WHERE object = entity.key)
AND NOT EXISTS (SELECT 1 FROM alias WHERE alias.entity = entity.key)"""


def _sql(*parts: str) -> str:
    return " ".join(parts)


def _json(values: Sequence[object]) -> str:
    """As `json_each` takes them."""
    return json.dumps(list(values))


def _any_of(phrases: Sequence[str]) -> str:
    """As FTS5 is asked: each phrase quoted, so that nothing in it is an operator."""
    quoted = " OR ".join(f'"{phrase}"' for phrase in phrases)
    return f"({quoted})"


class SqliteLookups:
    """What both transactions can ask.

    Attributes:
        connection: in a transaction; for the store only.
        rows_read: how many rows the statements of this transaction have yielded.
    """

    def __init__(self, connection: apsw.Connection) -> None:
        self.connection = connection
        self.rows_read = 0

    def all_rows(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a statement, counted; for the store only."""
        found = self.connection.execute(sql, values).fetchall()
        self.rows_read += len(found)
        return found

    def _one(self, sql: str, values: Sequence[Any] = ()) -> tuple[Any, ...] | None:
        found = self.connection.execute(sql, values).fetchone()
        self.rows_read += found is not None
        return found

    def state(self) -> PalaceState:
        """The palace's id, schema version and last change."""
        row: tuple[Any, ...] = self.connection.execute(_STATE).fetchall()[0]
        return PalaceState(*row)

    def drawer(self, drawer_id: str) -> Drawer | None:
        """The drawer with this id, or with this former id."""
        found = self._drawers(
            "WHERE d.id = ifnull((SELECT id FROM drawer WHERE id = ?1),"
            " (SELECT drawer FROM former_id WHERE id = ?1))",
            [drawer_id],
            texts=True,
        )
        return found[0] if found else None

    def drawers(
        self,
        where: DrawerFilter,
        *,
        limit: int,
        before: tuple[int, str] | None = None,
        texts: bool = True,
    ) -> list[Drawer]:
        """Drawers, the newest filing first, then by id downwards."""
        condition, values = rows.drawer_terms(where)
        if before is not None:
            condition += " AND (d.filed_at, d.id) < (?, ?)"
            values += before
        tail = _sql("WHERE", condition, "ORDER BY d.filed_at DESC, d.id DESC LIMIT ?")
        return self._drawers(tail, [*values, limit], texts=texts)

    def _drawers(self, tail: str, values: Sequence[Any], *, texts: bool) -> list[Drawer]:
        text = "d.text" if texts else "NULL"
        sql = _sql("SELECT", rows.DRAWER_COLUMNS, ",", text, "FROM drawer d", tail)
        return [rows.drawer_from(row[:-1], row[-1]) for row in self.all_rows(sql, values)]

    def former_ids(self, *, after: str, limit: int) -> list[FormerId]:
        """Former ids that lead to a drawer, by id."""
        found = self.all_rows(
            "SELECT f.id, f.drawer FROM former_id f JOIN drawer d ON d.id = f.drawer"
            " WHERE f.id > ? ORDER BY f.id LIMIT ?",
            [after, limit],
        )
        return [FormerId(*row) for row in found]

    def places(self, where: DrawerFilter) -> list[Place]:
        """The rooms that hold drawers, by wing, then room."""
        condition, values = rows.drawer_terms(where)
        select = "SELECT d.wing, d.room, count(*) FROM drawer d WHERE"
        sql = _sql(select, condition, "GROUP BY d.wing, d.room ORDER BY d.wing, d.room")
        return [Place(*row) for row in self.all_rows(sql, values)]

    def facts(
        self, where: FactFilter, *, limit: int, after: tuple[int | None, str, int] | None = None
    ) -> list[Fact]:
        """Beliefs by start of validity, undated last, then by id and version."""
        condition, values = rows.fact_terms(where)
        if after is not None:
            start, fact_id, version = after
            condition += f" AND {_FACT_AFTER}"
            start = _UNDATED if start is None else start
            values += [start, start, fact_id, version]
        return self._facts(condition, _FACT_ORDER, [*values, limit])

    def beliefs(self, *, after: tuple[str, int], limit: int) -> list[Fact]:
        """All beliefs, also past ones, by the fact's id and version."""
        order = "ORDER BY f.id, f.version"
        return self._facts("(f.id, f.version) > (?, ?)", order, [*after, limit])

    def _facts(self, condition: str, order: str, values: Sequence[Any]) -> list[Fact]:
        # The rows of a page are chosen and put in order before their names are joined to them.
        chosen = _sql("(SELECT f.row FROM fact f WHERE", condition, order, "LIMIT ?)")
        sql = _sql("SELECT", rows.FACT_COLUMNS, "FROM", chosen, _FACTS_JOINED, order)
        return [rows.fact_from(row) for row in self.all_rows(sql, values)]

    def edges(self, where: FactFilter) -> list[Edge]:
        """All beliefs that match, as steps between entities, in no order."""
        condition, values = rows.fact_terms(where)
        sql = _sql("SELECT f.id, f.subject, f.object FROM fact f WHERE", condition)
        return [Edge(*row) for row in self.all_rows(sql, values)]

    def fact_counts(self, *, wing: str | None, now: int) -> FactCounts:
        """Counts of what is believed; `now` decides what is current."""
        condition, values = rows.fact_terms(FactFilter(wing=wing))
        # One pass in the table's order: an index would look up each row of it by itself.
        facts, past, future = self.all_rows(_sql(_COUNT_FACTS, condition), [now, now, *values])[0]
        each = "SELECT f.predicate, count(*) AS n FROM fact f"
        where = "WHERE" if wing is None else "NOT INDEXED WHERE"
        by_number = "GROUP BY f.predicate ORDER BY n DESC, f.predicate"
        predicates = self.all_rows(_sql(each, where, condition, by_number), values)
        if wing is None:
            entities = self.all_rows("SELECT count(*) FROM entity")[0][0]
        else:
            entities = self.all_rows(_COUNT_ENTITIES_OF, [wing])[0][0]
        current = facts - past - future
        return FactCounts(entities, facts, current, past, future, dict(predicates))

    def entity(self, key: str) -> Entity | None:
        """The entity with this key, or with this key as an alias."""
        named = "WHERE key = ifnull((SELECT entity FROM alias WHERE key = ?1), ?1)"
        row = self._one(_sql(_ENTITIES, named), [key])
        return None if row is None else rows.entity_from(row)

    def entities(self, *, words: Sequence[str], limit: int) -> list[Entity]:
        """Entities whose key contains any of the words, the shortest key first."""
        containing = "WHERE EXISTS (SELECT 1 FROM json_each(?1) j WHERE instr(entity.key, j.value))"
        where = containing if words else "WHERE ?1 IS NOT NULL"
        sql = _sql(_ENTITIES, where, "ORDER BY length(key), key LIMIT ?2")
        return [rows.entity_from(row) for row in self.all_rows(sql, [_json(words), limit])]

    def predicate(self, name: str) -> Cardinality | None:
        """How many objects the predicate takes at a time; None when nobody has said."""
        row = self._one("SELECT cardinality FROM predicate WHERE name = ?", [name])
        return None if row is None else row[0]

    def roots(self) -> dict[str, str]:
        """The folder of each named root of mined files, as it was last seen."""
        return dict(self.all_rows("SELECT name, folder FROM root ORDER BY name"))

    def sources(self, root: str) -> dict[str, Source]:
        """All mined files of a root, by path."""
        found = self.all_rows(_SOURCES, [root])
        return {source.path: source for source in (Source(*row) for row in found)}

    def source(self, root: str, path: str) -> Source | None:
        """One mined file."""
        found = self.all_rows(f"{_SOURCES} AND path = ?", [root, path])
        return Source(*found[0]) if found else None

    def readings(
        self, *, drawer: str | None = None, fact: str | None = None, limit: int
    ) -> list[Reading]:
        """What was read of a drawer, or stated a fact, or of drawers that are gone."""
        condition = "r.drawer NOT IN (SELECT id FROM drawer) AND ?1 IS NULL"
        if drawer is not None:
            condition = "r.drawer = ?1"
        elif fact is not None:
            condition = "(r.drawer, r.reader) IN (SELECT drawer, reader FROM statement"
            condition += " WHERE fact = ?1)"
        found = self.all_rows(
            _sql(_READINGS, condition, "ORDER BY r.drawer, r.reader LIMIT ?2"),
            [drawer or fact, limit],
        )
        return [Reading(who[0], who[1], who[2], json.loads(who[3])) for who in found]

    def contradictory(
        self, predicates: Sequence[str], *, wing: str | None, now: int, limit: int
    ) -> list[tuple[str, str, str]]:
        """Where several objects of one predicate hold at the same time."""
        found = self.all_rows(_CONTRADICTORY, [json.dumps(list(predicates)), wing, now, limit])
        return [(wing, subject, predicate) for wing, subject, predicate in found]

    def predicates(self) -> dict[str, Cardinality]:
        """All predicates of which it is known."""
        return dict(self.all_rows("SELECT name, cardinality FROM predicate ORDER BY name"))

    def links(self, *, ref: str | None = None, limit: int) -> list[Link]:
        """Links by id; `ref` is a link's id, or a drawer's at one of the ends."""
        if ref is None:
            found = self.all_rows("SELECT * FROM link ORDER BY id LIMIT ?", [limit])
        else:
            found = self.all_rows(
                "SELECT * FROM link WHERE id = ?1 OR (source_drawer <> '' AND source_drawer = ?1)"
                " OR (target_drawer <> '' AND target_drawer = ?1) ORDER BY id LIMIT ?2",
                [ref, limit],
            )
        return [rows.link_from(row) for row in found]

    def changes(
        self, where: ChangeFilter, *, limit: int, after: int = 0, newest_first: bool = False
    ) -> list[Change]:
        """Entries of the change feed with a seq greater than `after`."""
        condition, values = rows.change_terms(where)
        order = "DESC LIMIT ?" if newest_first else "LIMIT ?"
        select = ("SELECT", rows.CHANGE_COLUMNS, "FROM change WHERE")
        sql = _sql(*select, condition, "AND seq > ? ORDER BY seq", order)
        return [rows.change_from(row) for row in self.all_rows(sql, [*values, after, limit])]

    def labels(self) -> list[str]:
        """What the change feed calls wings, agents and sessions, each name once."""
        return [row[0] for row in self.all_rows(_LABELS)]

    def before(self, seq: int) -> Noun | None:
        """The row as it stood before this change."""
        row = self._one("SELECT before FROM revision WHERE seq = ?", [seq])
        return None if row is None else rows.decode_noun(row[0])

    def embedder(self) -> tuple[str, int] | None:
        """The name and the dimension of what made the palace's vectors; None before the first."""
        row = self._one("SELECT name, dimension FROM embedder")
        return None if row is None else (row[0], row[1])

    def pending(self, where: DrawerFilter, *, limit: int) -> list[Pending]:
        """Chunks that have no vector yet, the oldest first."""
        condition, values = rows.drawer_terms(where)
        sql = _sql(_PENDING, condition, "ORDER BY p.chunk LIMIT ?")
        return [Pending(*row) for row in self.all_rows(sql, [*values, limit])]

    def count_pending(self) -> int:
        """How many chunks have no vector yet."""
        return int(self.all_rows("SELECT count(*) FROM pending")[0][0])


class SqliteReadTx(SqliteLookups):
    """One snapshot, with search.

    Attributes:
        codes_known: the last vector's number in the codes before the snapshot began.
    """

    def __init__(
        self,
        connection: apsw.Connection,
        *,
        codes: Callable[[], Codes] | None = None,
        codes_known: int = 0,
    ) -> None:
        super().__init__(connection)
        self._codes = codes
        self.codes_known = codes_known

    def nearest(
        self, vector: NDArray[np.float32], where: DrawerFilter, *, limit: int
    ) -> list[Match]:
        """The chunks nearest to the vector, the best first; the score is the cosine."""
        from palatine.store import vectors  # noqa: PLC0415 (numpy, where meaning is asked for)

        if self._codes is None:
            raise AssertionError("only the store's own snapshots search by meaning")
        return vectors.nearest(self, self._codes(), vector, where, limit)

    def cosines(self, vector: NDArray[np.float32], chunks: Sequence[int]) -> dict[int, float]:
        """The cosine of each of these chunks that has a vector."""
        from palatine.store import vectors  # noqa: PLC0415 (numpy, where meaning is asked for)

        return vectors.cosines(self, vector, chunks)

    def matching(
        self,
        phrases: Sequence[str],
        where: DrawerFilter,
        *,
        limit: int,
        beside: Sequence[str] = (),
    ) -> list[Match]:
        """The best chunks by BM25 that contain any of the phrases."""
        if not phrases:
            return []
        question = _any_of(phrases)
        if beside:
            # FTS5 scores a phrase as often as it is named: all are named twice, and scores halved.
            question = f"{question} AND {_any_of([*phrases, *beside, *beside])}"
        condition, values = rows.drawer_terms(where)
        if values:
            sql = _sql(_MATCH_SOME, condition, "ORDER BY score DESC LIMIT ?")
            found = self.all_rows(sql, [question, *values, limit])
        else:
            found = self.all_rows(_MATCH_ALL, [question, limit])
        share = 0.5 if beside else 1.0
        return [Match(chunk, drawer, share * score) for chunk, drawer, score in found]

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text as the index keeps them."""
        tokenize = self.connection.fts5_tokenizer(*_TOKENIZER)
        plain = {"include_offsets": False, "include_colocated": False}
        return [
            [str(word) for word in tokenize(t.encode(), apsw.FTS5_TOKENIZE_DOCUMENT, None, **plain)]
            for t in texts
        ]

    def frequencies(self, words: Sequence[str]) -> tuple[int, dict[str, int]]:
        """About how many chunks there are, and in how many each of these index words stands."""
        total = self.all_rows("SELECT ifnull(max(row), 0) FROM chunk")[0][0]
        counts = self.all_rows(
            "SELECT w.term, w.doc FROM json_each(?) j JOIN word_count w ON w.term = j.value",
            [_json(words)],
        )
        return total, dict.fromkeys(words, 0) | dict(counts)

    def neighbours(self, chunks: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """For each chunk the one before and the one after it."""
        found = self.all_rows(_NEIGHBOURS, [_json(chunks)])
        return {row: tuple(n for n in (a, b) if n is not None) for row, a, b in found}

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """Where these chunks stand."""
        found = self.all_rows(
            "SELECT c.row, d.id, c.start, c.end FROM json_each(?) j"
            " JOIN chunk c ON c.row = j.value JOIN drawer d ON d.row = c.drawer",
            [_json(chunks)],
        )
        return [Span(*row) for row in found]


class SqliteWriteTx(SqliteLookups):
    """The one writer's transaction.

    Attributes:
        recorded_at: the time of everything in it; after that of every earlier change, also
            when the clock has stepped back.
    """

    def __init__(self, connection: apsw.Connection, state: PalaceState, author: Author) -> None:
        super().__init__(connection)
        self.recorded_at = Instant(max(instants.now().micros, state.last_at + 1))
        self._author = author
        self._began = state
        self._seq = state.seq
        self._operation = state.seq + 1

    def _do(self, sql: str, *values: object) -> None:
        self.connection.execute(sql, values)

    def state(self) -> PalaceState:
        """As it was read at the beginning, with what was recorded since: nobody else writes."""
        if self._seq == self._began.seq:
            return self._began
        return replace(self._began, seq=self._seq, last_at=self.recorded_at.micros)

    def record(self, kind: Kind, ref: str, op: Op, *, wing: str, before: Noun | None) -> int:
        """Appends to the change feed and returns the seq; keeps `before` as a revision."""
        self._seq += 1
        what = (self._seq, self._operation, str(kind), ref, str(op), wing)
        who = (self.recorded_at.micros, self._author.agent, self._author.session)
        self._do(_RECORD, *what, *who)
        if before is not None:
            kept = rows.encode_noun(before)
            self._do("INSERT INTO revision(seq, before) VALUES (?, ?)", self._seq, kept)
        return self._seq

    def put_drawer(self, drawer: Drawer, chunks: Sequence[Chunk]) -> None:
        """Inserts the drawer, or replaces the one with its id, chunks and full text included."""
        row = self.connection.execute(_PUT_DRAWER, rows.drawer_values(drawer)).get
        self._delete_chunks(row)
        self._put_chunks(row, chunks)

    def _put_chunks(self, drawer_row: int, chunks: Sequence[Chunk]) -> None:
        # A drawer's chunks have consecutive numbers: that is how its neighbours are found.
        first = self.connection.execute("SELECT ifnull(max(row), 0) + 1 FROM chunk").get
        self.connection.executemany(
            "INSERT INTO chunk(row, drawer, start, end) VALUES (?, ?, ?, ?)",
            [(first + n, drawer_row, chunk.start, chunk.end) for n, chunk in enumerate(chunks)],
        )
        self._put_words(first, chunks)
        self.connection.executemany(
            "INSERT INTO pending(chunk) VALUES (?)", [(first + n,) for n in range(len(chunks))]
        )

    def _put_words(self, first: int, chunks: Sequence[Chunk]) -> None:
        self.connection.executemany(
            "INSERT INTO words(rowid, text) VALUES (?, ?)",
            [(first + n, chunk.indexed) for n, chunk in enumerate(chunks)],
        )

    def _delete_chunks(self, drawer_row: int) -> None:
        found = self.all_rows("SELECT row FROM chunk WHERE drawer = ?", [drawer_row])
        if found:
            self.connection.executemany("DELETE FROM words WHERE rowid = ?", found)
            self.connection.executemany("DELETE FROM pending WHERE chunk = ?", found)
            self.connection.executemany("DELETE FROM vector WHERE chunk = ?", found)
            self._do("DELETE FROM chunk WHERE drawer = ?", drawer_row)

    def delete_drawer(self, drawer_id: str) -> None:
        """Removes the drawer with its chunks and full-text rows."""
        row = self.connection.execute("SELECT row FROM drawer WHERE id = ?", [drawer_id]).get
        self._delete_chunks(row)
        self._do("DELETE FROM drawer WHERE row = ?", row)

    def put_former_id(self, former: str, drawer_id: str) -> None:
        """Makes an id from elsewhere lead to this drawer."""
        self._do("INSERT OR REPLACE INTO former_id(id, drawer) VALUES (?, ?)", former, drawer_id)

    def put_fact(self, fact: Fact) -> None:
        """Inserts a belief."""
        self._do(_PUT_FACT, *rows.fact_values(fact))

    def end_fact(self, fact_id: str, version: int) -> None:
        """Stops believing this belief, at this transaction's time."""
        ended = "UPDATE fact SET ended_at = ? WHERE id = ? AND version = ?"
        self._do(ended, self.recorded_at.micros, fact_id, version)

    def erase_fact(self, fact_id: str) -> None:
        """Removes all beliefs about the fact, and its entities when nothing else holds them."""
        keys = self._one("SELECT subject, object FROM fact WHERE id = ?", [fact_id])
        self._do("DELETE FROM fact WHERE id = ?", fact_id)
        self._do(_ORPHANS, *(keys or ("", "")))

    def put_entity(self, entity: Entity) -> None:
        """Inserts the entity, or replaces name, type and properties of the one with its key."""
        properties = json.dumps(dict(entity.properties))
        self._do(_PUT_ENTITY, entity.key, entity.name, entity.type, properties)

    def delete_entity(self, key: str) -> None:
        """Removes an entity; no fact may name it."""
        self._do("DELETE FROM entity WHERE key = ?", key)

    def put_alias(self, name: str, alias_key: str, entity_key: str) -> None:
        """Makes a name lead to an entity."""
        put = "INSERT OR REPLACE INTO alias(key, name, entity) VALUES (?, ?, ?)"
        self._do(put, alias_key, name, entity_key)

    def delete_alias(self, alias_key: str) -> None:
        """Removes an alias."""
        self._do("DELETE FROM alias WHERE key = ?", alias_key)

    def put_reading(self, reading: Reading) -> None:
        """Keeps what was read of a drawer, in place of what the reader had found there."""
        key = (reading.drawer, reading.reader)
        self.delete_reading(*key)
        self._do("INSERT INTO reading VALUES (?, ?, ?)", *key, reading.digest)
        self.connection.executemany(
            "INSERT INTO statement VALUES (?, ?, ?, ?)",
            [(*key, *stated) for stated in reading.facts.items()],
        )

    def delete_reading(self, drawer: str, reader: str) -> None:
        """Forgets that a drawer was read; the facts stay."""
        self._do("DELETE FROM statement WHERE drawer = ? AND reader = ?", drawer, reader)
        self._do("DELETE FROM reading WHERE drawer = ? AND reader = ?", drawer, reader)

    def put_root(self, name: str, folder: str) -> None:
        """Says where the files of a root lie now."""
        self._do("INSERT OR REPLACE INTO root VALUES (?, ?)", name, folder)

    def put_source(self, source: Source) -> None:
        """Keeps what was read of a file, in place of what was known."""
        self._do("INSERT OR REPLACE INTO source VALUES (?, ?, ?, ?, ?, ?, ?)", *astuple(source))

    def delete_source(self, root: str, path: str) -> None:
        """Forgets that a file was read; its drawers stay."""
        self._do("DELETE FROM source WHERE root = ? AND path = ?", root, path)

    def put_predicate(self, name: str, cardinality: Cardinality | None) -> None:
        """Says how many objects the predicate takes at a time; None: not known."""
        if cardinality is None:
            self._do("DELETE FROM predicate WHERE name = ?", name)
        else:
            put = "INSERT OR REPLACE INTO predicate(name, cardinality) VALUES (?, ?)"
            self._do(put, name, cardinality)

    def put_link(self, link: Link) -> None:
        """Inserts the link, or replaces the one with its id."""
        put = "INSERT OR REPLACE INTO link VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
        self._do(put, *rows.link_values(link))

    def delete_link(self, link_id: str) -> None:
        """Removes the link."""
        self._do("DELETE FROM link WHERE id = ?", link_id)

    def relabel(self, old: str, new: str) -> None:
        """Gives what the change feed calls so, a wing, an agent or a session, another name."""
        for sql in _RELABEL:
            self._do(sql, new, old)

    def forget_revisions(self, kind: Kind, ref: str) -> int:
        """Removes what stood before any change of this object; returns how many."""
        return self._forget("ref = ? AND kind = ?", ref, str(kind))

    def empty_trash(self, before: Instant) -> int:
        """Removes what stood before any change that was recorded before then; returns how many."""
        return self._forget("at < ?", before.micros)

    def _forget(self, condition: str, *values: object) -> int:
        of = "DELETE FROM revision WHERE seq IN (SELECT seq FROM change WHERE"
        self._do(_sql(of, condition, ")"), *values)
        return self.connection.changes()

    def set_embedder(self, name: str, dimension: int) -> None:
        """Records which embedder the vectors are of; those there are go, and all is pending."""
        self._do("DELETE FROM vector")
        self._do("DELETE FROM pack")
        self._do("INSERT OR IGNORE INTO pending(chunk) SELECT row FROM chunk")
        self._do(_SET_EMBEDDER, name, dimension)

    def put_vectors(self, vectors: Sequence[tuple[int, int, NDArray[np.float32]]]) -> int:
        """Stores vectors of chunks whose drawer still has that seq; returns how many."""
        from palatine.store import vectors as stored  # noqa: PLC0415 (numpy, as who calls has it)

        return stored.put(self, vectors)

    # For the store itself

    def become(self, replaced: PalaceState) -> PalaceState:
        """Makes a restored palace another one than it was, and than the one that it replaces.

        Whatever anybody remembers (an id, a seq, sign codes) is told apart from what is here now.
        """
        self._seq = max(self._seq, replaced.seq)
        self._operation = self._seq + 1
        self.recorded_at = Instant(max(self.recorded_at.micros, replaced.last_at + 1))
        self.record(Kind.PALACE, self._began.palace_id, Op.RESTORE, wing="", before=None)
        palace_id = secrets.token_hex(8)
        self._do("UPDATE palace SET id = ?", palace_id)
        self._do("UPDATE embedder SET generation = ?", secrets.randbits(48))
        return replace(self.state(), palace_id=palace_id)

    def rebuild(self, chunks_of: Callable[[Drawer], Sequence[Chunk]]) -> int:
        """Makes chunks and full text anew from every drawer; returns the number of chunks.

        Chunks that come out as they were keep their numbers, and so their vectors.
        """
        for statement in _BEFORE_REBUILD:
            self._do(statement)
        made = 0
        for (row,) in self.all_rows("SELECT row FROM drawer ORDER BY row"):
            drawer = self._drawers("WHERE d.row = ?", [row], texts=True)[0]
            chunks = chunks_of(drawer)
            was = self.all_rows(_CHUNKS_OF, [row])
            first = was[0][0] if was else 0
            if was == [(first + n, c.start, c.end) for n, c in enumerate(chunks)]:
                self._put_words(first, chunks)
            else:
                self._delete_chunks(row)
                self._put_chunks(row, chunks)
            made += len(chunks)
        self._repair_vectors()
        return made

    def _repair_vectors(self) -> None:
        for statement in _REPAIR_VECTORS:
            self._do(statement)
        if self._one("SELECT 1 FROM embedder"):
            from palatine.store import vectors  # noqa: PLC0415 (numpy, where there are vectors)

            vectors.repack(self.connection)

    def drop_dead_codes(self) -> None:
        """Rewrites the packs that hold codes of texts that are gone."""
        if self._one("SELECT 1 FROM pack"):
            from palatine.store import vectors  # noqa: PLC0415 (numpy, where there are vectors)

            vectors.drop_dead_codes(self.connection)

    def merge_words(self, pages: int) -> bool:
        """Merges the full-text index by so many pages (negative: begins anew); False when done."""
        before = self.connection.total_changes()
        self._do("INSERT INTO words(words, rank) VALUES ('merge', ?)", pages)
        return self.connection.total_changes() - before >= 2
