"""What other products remember, brought into a palace: read whole first, then merged as an export.

A product's module turns its files into our nouns. They are checked and put in order outside of the
palace; then `transfer` merges them, so that dry runs, counts, sameness, and being killed or run
twice at any moment are what they are for an export.
"""

from __future__ import annotations

import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from palatine import text as texts
from palatine import transfer
from palatine.embed.base import Embedder, EmbedderError
from palatine.embedding import Embedding, Progress, meant, put_vectors
from palatine.errors import InputError
from palatine.imports import basic_memory, mempalace, server_memory
from palatine.imports.base import Brought, Noun, Reading, Vector
from palatine.store.base import ReadTx, Store
from palatine.types import Author, Drawer, DrawerFilter, Entity, Fact, FormerId, Link, Pending

Vector32: TypeAlias = NDArray[np.float32]
Found: TypeAlias = tuple[int, int, Vector32]
Reader: TypeAlias = Callable[[Path, Reading], Iterator[Noun]]
READERS: Mapping[str, Reader] = {
    "mempalace": mempalace.read,
    "server-memory": server_memory.read,
    "basic-memory": basic_memory.read,
}
_RANKS: Mapping[type, int] = {Entity: 0, Drawer: 1, FormerId: 2, Link: 3, Fact: 4}
_TABLES = """
CREATE TABLE line(rank, ref, kind, line, PRIMARY KEY(rank, ref)) WITHOUT ROWID;
CREATE TABLE vector(drawer PRIMARY KEY, digest, numbers);
BEGIN
"""
_BATCH = 500
_SAMPLE = 8
_ALIKE = 0.99  # the packaged model and the published one give .999 and more for one text


def bring(
    store: Store,
    product: str,
    path: Path,
    *,
    author: Author,
    embedding: Embedding,
    wing: str = "",
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Brought:
    """Merges what another product keeps; again, or by several processes at once, it is merged once.

    Args:
        store: where to.
        product: one of READERS.
        path: its folder or file.
        author: who imports.
        embedding: decides whether its vectors can be taken over.
        wing: the only wing of the store; empty: all.
        dry_run: write nothing and say what would be done.
        progress: told before each batch how many records are merged and how many are left.

    Raises:
        InputError: the product is unknown, or nothing of it is there. Nothing was written.
        ScopeError: there is something of another wing. Nothing was written.
    """
    if product not in READERS:
        raise InputError(f"nothing is known of {product!r}; give one of {', '.join(READERS)}")
    with (
        tempfile.TemporaryDirectory(prefix="palatine-import-") as scratch,
        tempfile.TemporaryFile() as spool,
        closing(sqlite3.connect(Path(scratch) / "lines.db", isolation_level=None)) as kept,
    ):
        reading = Reading(Path(scratch), wing)
        kept.executescript(_TABLES)
        for noun in READERS[product](path, reading):
            _keep(kept, noun, reading)
        lines = kept.execute("SELECT kind, line FROM line ORDER BY rank, ref")
        transfer.write_lines(spool, product, lines)
        spool.seek(0)
        done = transfer.import_from(
            store, spool, author=author, dry_run=dry_run, wing=wing, progress=progress
        )
        (vectors,) = kept.execute("SELECT count(*) FROM vector").fetchone()
        if vectors and not dry_run:
            vectors = _reuse(store, kept, author, embedding, reading)
    return Brought(done, dict(reading.counts), vectors, tuple(reading.problems))


def _keep(kept: sqlite3.Connection, noun: Noun, reading: Reading) -> None:
    """Puts a noun aside as a line of an export, if it can be one; of two with one id the first."""
    if isinstance(noun, Vector):
        row = noun.drawer, texts.digest(texts.encode(noun.text)), noun.numbers
        kept.execute("INSERT OR IGNORE INTO vector VALUES (?, ?, ?)", row)
        return
    if reading.wing and isinstance(noun, Entity):
        reading.counts["entities left to their facts: not of one wing"] += 1
        return
    ref = noun.key if isinstance(noun, Entity) else noun.id
    try:
        kind, line = transfer.line_of(noun)
    except InputError as error:
        reading.problem(f"{type(noun).__name__.lower()} {ref}", error)
        return
    done = kept.execute(
        "INSERT OR IGNORE INTO line VALUES (?, ?, ?, ?)", (_RANKS[type(noun)], ref, kind, line)
    )
    if not done.rowcount and not isinstance(noun, Entity | FormerId):
        reading.counts[f"{kind} there twice"] += 1


def _reuse(
    store: Store,
    kept: sqlite3.Connection,
    author: Author,
    embedding: Embedding,
    reading: Reading,
) -> int:
    """Stores the vectors whose texts wait for just these; the rest is left to the queue."""
    with store.read() as tx:
        palace_id, recorded = tx.state().palace_id, tx.embedder()
    stored, embedder, trusted = 0, None, False
    rows = kept.execute("SELECT drawer, digest, numbers FROM vector")
    for batch in iter(lambda: rows.fetchmany(_BATCH), []):
        there = {ref: (digest, numbers) for ref, digest, numbers in batch}
        with store.read() as tx:
            waiting = _waiting(tx, there)
        if not waiting:
            continue
        if embedder is None:
            try:
                embedder = embedding.embedder(recorded)
            except EmbedderError as error:
                reading.counts[f"vectors not taken over: {error}"] += 1
                break
        found = [(p.chunk, p.seq, _unit(there[p.drawer][1], embedder)) for p, _ in waiting]
        usable = [
            (each, text) for each, (_, text) in zip(found, waiting, strict=True) if each[2].size
        ]
        if not trusted and usable and not _same_model(embedder, recorded, usable[:_SAMPLE]):
            reading.counts["vectors not taken over: of another model"] += 1
            break
        trusted = trusted or bool(usable)
        with store.write(author) as door:
            stored += put_vectors(door, embedder, [each for each, _ in usable], palace_id)
    return stored


def _waiting(tx: ReadTx, there: Mapping[str, tuple[bytes, bytes]]) -> list[tuple[Pending, str]]:
    """Chunks without a vector that are, as they are embedded here, a text that had one there."""
    ids = tuple(there)
    pending = tx.pending(DrawerFilter(ids=ids), limit=2 * len(ids))
    if not pending:
        return []
    drawers = {each.id: each for each in tx.drawers(DrawerFilter(ids=ids), limit=len(ids))}
    found = []
    for chunk in pending:
        text = meant(drawers[chunk.drawer], chunk.start, chunk.end)
        if texts.digest(texts.encode(text)) == there[chunk.drawer][0]:
            found.append((chunk, text))
    return found


def _unit(numbers: bytes, embedder: Embedder) -> Vector32:
    """The vector at unit length; empty when it cannot be one of this embedder's."""
    vector = np.frombuffer(numbers, "<f4").astype(np.float32) if len(numbers) % 4 == 0 else None
    length = 0.0 if vector is None else float(np.linalg.norm(vector))
    if vector is None or len(vector) != embedder.dimension or not 0 < length < np.inf:
        return np.empty(0, np.float32)
    return vector / np.float32(length)


def _same_model(
    embedder: Embedder, recorded: tuple[str, int] | None, usable: Sequence[tuple[Found, str]]
) -> bool:
    """Whether this embedder gives, for a few of the texts, the vectors that they had there."""
    if recorded not in (None, (embedder.name, embedder.dimension)):
        return False
    own = embedder.embed([text for _, text in usable])
    theirs = np.stack([vector for (_, _, vector), _ in usable])
    return bool(((own * theirs).sum(axis=1) >= _ALIKE).all())
