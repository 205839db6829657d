"""Vectors as SQL: stored, packed, caught up with, and the nearest found.

Each vector has a number; numbers only grow, so that an index that has all up to one asks for those
after it. A thousand vectors' codes lie together in a pack, which a new process reads instead of
the vectors. Imports numpy: loaded by the first search by meaning.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import apsw
import numpy as np
from numpy.typing import ArrayLike, NDArray

from palatine.errors import StoreError
from palatine.store import rows
from palatine.store.codes import Codes, Numbers, View, from_halves, pack, sign_codes, unpack
from palatine.types import DrawerFilter, Match, Problem

if TYPE_CHECKING:
    from palatine.store.transactions import SqliteLookups, SqliteReadTx

PACKED = 1000
"""So many vectors' numbers share a pack."""
RESCORED = 200
"""The best so many by code are scored by their vectors."""
_FILTERED = 2000
"""Of so many by code those that pass the filter count; when they are too few, all are asked."""
_DEAD_SHARE = 0.1

_PUT = """INSERT INTO vector(chunk, number, f16)
SELECT c.row, ?, ? FROM chunk c JOIN drawer d ON d.row = c.drawer WHERE c.row = ? AND d.seq = ?
ON CONFLICT DO NOTHING"""
_PUT_OFF = "DELETE FROM pending WHERE chunk = ?1 AND EXISTS (SELECT 1 FROM vector WHERE chunk = ?1)"
_VECTORS = """SELECT v.chunk, v.f16 FROM json_each(?) j CROSS JOIN vector v ON v.chunk = j.value
WHERE length(v.f16) = ?"""
_DRAWERS = "SELECT c.row, c.drawer FROM json_each(?) j CROSS JOIN chunk c ON c.row = j.value"
_PASSING = """SELECT c.row FROM json_each(?) j CROSS JOIN chunk c ON c.row = j.value
CROSS JOIN drawer d ON d.row = c.drawer WHERE"""
_ALL_PASSING = "SELECT c.row FROM drawer d JOIN chunk c ON c.drawer = d.row WHERE"
_SINGLES = """SELECT chunk, f16 FROM vector WHERE number > ? AND number <= ? AND length(f16) = ?
ORDER BY number"""
_ENDS = """SELECT (SELECT max(last) FROM pack WHERE last <= ?1),
(SELECT min(last) FROM pack WHERE last > ?1)"""


# Finding


def nearest(
    tx: SqliteReadTx, codes: Codes, vector: ArrayLike, where: DrawerFilter, limit: int
) -> list[Match]:
    """The chunks nearest to the vector, by cosine, the best first."""
    query = np.asarray(vector, np.float32)
    rescored = max(limit, RESCORED)
    view = catch_up(tx, codes)
    if not len(view):
        return []
    condition, values = rows.drawer_terms(where)
    if values:
        found = _scored(tx, query, _passing(tx, view, query, condition, values, rescored))
    else:
        best = view.best(query, rescored)
        found = _scored(tx, query, best)
        if len(found) < (1 - _DEAD_SHARE) * min(rescored, len(view)):
            found = _scored(tx, query, _without_dead(tx, codes).best(query, rescored))
    found = sorted(found, key=lambda each: -each[1])[:limit]
    drawers = dict(tx.all_rows(_DRAWERS, [json.dumps([chunk for chunk, _ in found])]))
    return [Match(chunk, drawers[chunk], score) for chunk, score in found if chunk in drawers]


def cosines(tx: SqliteReadTx, vector: ArrayLike, chunks: Sequence[int]) -> dict[int, float]:
    """The cosine of each of these chunks that has a vector."""
    return dict(_scored(tx, np.asarray(vector, np.float32), chunks))


def _passing(
    tx: SqliteReadTx,
    view: View,
    query: NDArray[np.float32],
    condition: str,
    values: Sequence[object],
    limit: int,
) -> list[int]:
    """The best chunks by code that pass the filter."""
    best = view.best(query, _FILTERED)
    passing = {
        row for (row,) in tx.all_rows(f"{_PASSING} {condition}", [json.dumps(best), *values])
    }
    if len(passing) < limit and len(view) > _FILTERED:
        allowed = [row for (row,) in tx.all_rows(f"{_ALL_PASSING} {condition}", values)]
        return view.best(query, limit, among=np.array(allowed, np.int64))
    return [chunk for chunk in best if chunk in passing][:limit]


def _scored(
    tx: SqliteReadTx, query: NDArray[np.float32], chunks: Sequence[int]
) -> list[tuple[int, float]]:
    """Those of the chunks that have a vector, each with its cosine."""
    found = tx.all_rows(_VECTORS, [json.dumps(list(chunks)), 2 * len(query)]) if chunks else []
    if not found:
        return []
    rows, blobs = zip(*found, strict=True)
    scores = from_halves(b"".join(blobs), len(query)).astype(np.float32) @ query
    return list(zip(rows, scores.tolist(), strict=True))


def catch_up(tx: SqliteReadTx, codes: Codes) -> View:
    """The codes of all vectors of this snapshot; reads those that the index does not have yet."""
    state = tx.all_rows("SELECT generation, last, dimension FROM embedder")
    if not state:
        return View(np.empty(0, np.int64), np.empty((0, 0), np.uint64))
    generation, last, dimension = state[0]
    with codes.mutex:
        # An older snapshot than the one that the index was last brought up to is no reason to
        # forget anything: what it does not have is dropped when the vectors are asked for.
        if generation != codes.generation or last < tx.codes_known:
            codes.reset(generation=generation, dimension=dimension)
        if last > codes.last:
            codes.append(list(_news(tx, codes.last, last, dimension)))
            codes.last = last
        return codes.view()


def _news(
    tx: SqliteReadTx, known: int, last: int, dimension: int
) -> Iterator[tuple[Numbers, NDArray[np.uint64]]]:
    """Chunks and codes of the vectors after `known`: packed where a whole pack is new."""
    before, after = tx.connection.execute(_ENDS, (known,)).get
    if known != (before or 0):  # in the middle of a pack
        end = after or last
        yield from _singles(tx, known, end, dimension)
        known = end
    for end, chunks, packed in tx.all_rows(
        "SELECT last, chunks, codes FROM pack WHERE last > ? ORDER BY last", [known]
    ):
        yield unpack(chunks, packed, dimension)
        known = end
    yield from _singles(tx, known, last, dimension)


def _singles(
    tx: SqliteReadTx, after: int, last: int, dimension: int
) -> Iterator[tuple[Numbers, NDArray[np.uint64]]]:
    found = tx.all_rows(_SINGLES, [after, last, 2 * dimension]) if last > after else []
    if found:
        halves = from_halves(b"".join(blob for _, blob in found), dimension)
        yield np.array([chunk for chunk, _ in found], np.int64), sign_codes(halves)


def _without_dead(tx: SqliteReadTx, codes: Codes) -> View:
    """Drops the codes of chunks that are gone in this snapshot, if it is the newest."""
    alive = np.array([row for (row,) in tx.all_rows("SELECT chunk FROM vector")], np.int64)
    last = tx.all_rows("SELECT last FROM embedder")[0][0]
    with codes.mutex:
        if codes.last == last:
            codes.keep(alive)
        return codes.view()


# Storing


def put(tx: SqliteLookups, vectors: Iterable[tuple[int, int, ArrayLike]]) -> int:
    """Stores vectors of chunks that are still those of the drawer's seq; returns how many."""
    state = tx.all_rows("SELECT dimension, last FROM embedder")
    if not state:
        raise StoreError("vectors need an embedder: set_embedder comes first; nothing was written")
    dimension, began = map(int, state[0])
    connection, last = tx.connection, began
    for chunk, seq, vector in vectors:
        half = np.asarray(vector).astype("<f2")
        if half.shape != (dimension,) or not np.isfinite(half).all():
            raise StoreError(
                f"a vector of shape {half.shape} cannot be stored, or it holds what is no number:"
                f" {dimension} numbers are wanted; nothing was written"
            )
        connection.execute(_PUT, (last + 1, half.tobytes(), chunk, seq))
        last += connection.changes()
        connection.execute(_PUT_OFF, (chunk,))
    if last > began:
        connection.execute("UPDATE embedder SET last = ?", (last,))
        _pack_full(connection, last, dimension)
    return last - began


def _pack_full(connection: apsw.Connection, last: int, dimension: int) -> None:
    """Packs the codes of each thousand numbers that are all handed out."""
    packed = connection.execute("SELECT ifnull(max(last), 0) FROM pack").get
    while packed + PACKED <= last:
        packed += PACKED
        _put_pack(connection, packed - PACKED, packed, dimension)


def _numbered(
    connection: apsw.Connection, after: int, last: int, dimension: int
) -> tuple[list[int], NDArray[np.float16]]:
    """The chunks and the vectors with the numbers from `after` (exclusive) to `last`."""
    found: list[tuple[Any, ...]] = connection.execute(
        _SINGLES, (after, last, 2 * dimension)
    ).fetchall()
    return [row[0] for row in found], from_halves(b"".join(row[1] for row in found), dimension)


def _put_pack(connection: apsw.Connection, after: int, last: int, dimension: int) -> None:
    chunks, halves = _numbered(connection, after, last, dimension)
    connection.execute(
        "INSERT OR REPLACE INTO pack(last, chunks, codes) VALUES (?, ?, ?)",
        (last, *pack(chunks, halves)),
    )


def repack(connection: apsw.Connection) -> None:
    """Makes all packs anew from the vectors; other processes then read them again."""
    connection.execute("DELETE FROM pack")
    connection.execute("UPDATE embedder SET generation = generation + 1")
    state: tuple[Any, ...] = connection.execute("SELECT last, dimension FROM embedder").get
    _pack_full(connection, *state)


def drop_dead_codes(connection: apsw.Connection) -> None:
    """Rewrites the packs that hold codes of vectors that are gone."""
    dimension = connection.execute("SELECT dimension FROM embedder").get
    after = 0
    for last in [last for (last,) in connection.execute("SELECT last FROM pack ORDER BY last")]:
        held = connection.execute("SELECT length(chunks) / 8 FROM pack WHERE last = ?", (last,)).get
        alive = connection.execute(
            "SELECT count(*) FROM vector WHERE number > ? AND number <= ?", (after, last)
        ).get
        if held != alive:
            _put_pack(connection, after, last, dimension)
        after = last


# Checking


def check(connection: apsw.Connection) -> Iterator[Problem]:
    """Each pack against the vectors that it is of; it may hold codes of ones that are gone."""
    dimension = connection.execute("SELECT ifnull(max(dimension), 0) FROM embedder").get
    after = 0
    packs: list[tuple[Any, ...]] = connection.execute(
        "SELECT last, chunks, codes FROM pack ORDER BY last"
    ).fetchall()
    for last, packed_chunks, packed in packs:
        chunks, halves = _numbered(connection, after, last, dimension)
        after = last
        try:
            numbers, words = unpack(packed_chunks, packed, dimension)
            held = {n: code.tobytes() for n, code in zip(numbers.tolist(), words, strict=True)}
        except ValueError:
            held = {}
        codes = sign_codes(halves) if chunks else ()
        if any(held.get(n) != code.tobytes() for n, code in zip(chunks, codes, strict=True)):
            yield Problem("packed codes that differ from their vectors", f"pack {last}", True)
