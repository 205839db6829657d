"""Nouns for the tests of the port, with as little said about each as a test needs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from palatine import text as texts
from palatine.instants import Instant
from palatine.store.base import Lookups, ReadTx, Store, WriteTx
from palatine.types import (
    Author,
    Change,
    ChangeFilter,
    Chunk,
    Drawer,
    DrawerFilter,
    End,
    Entity,
    Fact,
    FactFilter,
    Kind,
    Link,
    Op,
    Pending,
)

NOBODY = Author()
ANY = DrawerFilter()
EVERYTHING = 1_000_000


def a_drawer(drawer_id: str = "d1", *, text: str = "", **fields: Any) -> Drawer:
    text = text or f"text of {drawer_id}"
    plain = Drawer(
        id=drawer_id,
        wing="app",
        room="api",
        kind="note",
        pinned=False,
        text=text,
        digest=texts.digest(texts.encode(text)),
        source="",
        position=-1,
        author="",
        session="",
        said_at=None,
        filed_at=Instant(1_000),
        changed_at=Instant(1_000),
    )
    return replace(plain, **fields)


def one_chunk(drawer: Drawer) -> list[Chunk]:
    return [Chunk(0, len(drawer.text), texts.searchable(drawer.text))]


def chunk_by_line(drawer: Drawer) -> list[Chunk]:
    chunks, start = [], 0
    for line in drawer.text.split("\n"):
        chunks.append(Chunk(start, start + len(line), texts.searchable(line)))
        start += len(line) + 1
    return chunks


def put_drawer(tx: WriteTx, drawer: Drawer) -> None:
    tx.put_drawer(drawer, one_chunk(drawer))


def put(store: Store, *drawers: Drawer) -> None:
    with store.write(NOBODY) as tx:
        for drawer in drawers:
            put_drawer(tx, drawer)


DIMENSION = 70


def a_vector(*places: float) -> NDArray[np.float32]:
    """A vector of unit length: these numbers in front, zeros behind."""
    vector = np.zeros(DIMENSION, np.float32)
    vector[: len(places)] = places
    return vector / np.float32(np.linalg.norm(vector))


def put_vectors(store: Store, *vectors: NDArray[np.float32], name: str = "model") -> int:
    """Gives the pending chunks these vectors, in their order."""
    with store.write(NOBODY) as tx:
        if tx.embedder() is None:
            tx.set_embedder(name, DIMENSION)
        waiting = tx.pending(ANY, limit=len(vectors))
        return tx.put_vectors([(p.chunk, p.seq, v) for p, v in zip(waiting, vectors, strict=True)])


def a_fact(fact_id: str = "f1", names: str = "max likes tea", **fields: Any) -> Fact:
    subject, predicate, object_ = names.split()
    plain = Fact(
        id=fact_id,
        version=1,
        wing="",
        subject_key=subject,
        subject=subject,
        predicate=predicate,
        object_key=object_,
        object=object_,
        valid_from=None,
        valid_to=None,
        confidence=1.0,
        source="",
        drawer="",
        recorded_at=Instant(0),
    )
    return replace(plain, **fields)


def put_fact(tx: WriteTx, fact: Fact) -> Fact:
    """Puts the fact, recorded now, and the entities that it names."""
    for key, name in ((fact.subject_key, fact.subject), (fact.object_key, fact.object)):
        if tx.entity(key) is None:
            tx.put_entity(Entity(key, name))
    fact = replace(fact, recorded_at=tx.recorded_at)
    tx.put_fact(fact)
    return fact


def put_facts(store: Store, *facts: Fact) -> list[Fact]:
    with store.write(NOBODY) as tx:
        return [put_fact(tx, fact) for fact in facts]


def refused(store: Store, error: type[BaseException], act: Callable[[WriteTx], None]) -> None:
    """A write that does this ends with the error and leaves no trace."""
    before = dump(store)
    with pytest.raises(error), store.write(NOBODY) as tx:
        act(tx)
    assert dump(store) == before


def a_link(link_id: str, source: End, target: End, *, label: str = "") -> Link:
    return Link(link_id, source, target, label, Instant(5))


def record(store: Store, *refs: str, author: Author = NOBODY) -> list[int]:
    """One operation that adds these drawers to the change feed, and to it alone."""
    with store.write(author) as tx:
        return [tx.record(Kind.DRAWER, ref, Op.ADD, wing="", before=None) for ref in refs]


def ids(drawers: list[Drawer]) -> list[str]:
    return [drawer.id for drawer in drawers]


def drawer_ids(store: Store, where: DrawerFilter, **page: Any) -> list[str]:
    with store.read() as tx:
        return ids(tx.drawers(where, limit=page.pop("limit", EVERYTHING), **page))


def holders(tx: ReadTx, *phrases: str, where: DrawerFilter = ANY, limit: int = 100) -> list[str]:
    """The ids of the drawers that full text finds, sorted."""
    matches = tx.matching(phrases, where, limit=limit)
    return sorted(span.drawer for span in tx.spans([match.chunk for match in matches]))


def believed(store: Store, where: FactFilter, **page: Any) -> list[str]:
    """Each belief that matches, as `id.version`."""
    with store.read() as tx:
        found = tx.facts(where, limit=page.pop("limit", EVERYTHING), **page)
    return [f"{fact.id}.{fact.version}" for fact in found]


def changes(store: Store, where: ChangeFilter | None = None, **page: Any) -> list[Change]:
    with store.read() as tx:
        return tx.changes(where or ChangeFilter(), limit=page.pop("limit", EVERYTHING), **page)


def dump(store: Store) -> dict[str, object]:
    """All that the port can tell about a palace, for comparing."""
    with store.read() as tx:
        everything = _rows(tx)
        drawers = tx.drawers(DrawerFilter(), limit=EVERYTHING)
        phrases = sorted({phrase for drawer in drawers for phrase in texts.phrases(drawer.text)})
        seen = sorted({word for words in tx.words(phrases) for word in words})
        matches = tx.matching(phrases, DrawerFilter(), limit=EVERYTHING)
        spans = tx.spans([match.chunk for match in matches])
        names = {span.chunk: (span.drawer, span.start) for span in spans}
        beside = tx.neighbours(list(names))
        everything["spans"] = sorted((span.drawer, span.start, span.end) for span in spans)
        everything["near"] = _near(tx)
        everything["words"] = tx.frequencies(seen)[1]
        everything["neighbours"] = sorted(
            (names[chunk], tuple(names.get(n) for n in near)) for chunk, near in beside.items()
        )
    return everything


def _pending(tx: Lookups) -> list[Pending]:
    waiting = tx.pending(ANY, limit=EVERYTHING)
    assert tx.count_pending() == len(waiting)
    return sorted(waiting, key=lambda p: (p.drawer, p.start))


def _near(tx: ReadTx) -> list[tuple[str, int, float]]:
    """The chunks with vectors, and how near they are to one that is near to many."""
    found = tx.nearest(a_vector(3, 2, 1), ANY, limit=EVERYTHING)
    near = {match.chunk: match.score for match in found}
    assert tx.cosines(a_vector(3, 2, 1), list(near)) == near
    return sorted((s.drawer, s.start, round(near[s.chunk], 2)) for s in tx.spans(list(near)))


def _rows(tx: Lookups) -> dict[str, object]:
    drawers = tx.drawers(DrawerFilter(), limit=EVERYTHING)
    entries = tx.changes(ChangeFilter(), limit=EVERYTHING)
    return {
        "state": tx.state(),
        "drawers": drawers,
        "roots": tx.roots(),
        "sources": {name: tx.sources(name) for name in tx.roots()},
        "readings": [tx.readings(drawer=drawer.id, limit=EVERYTHING) for drawer in drawers],
        "readings of what is gone": tx.readings(limit=EVERYTHING),
        "former ids": tx.former_ids(after="", limit=EVERYTHING),
        "places": tx.places(DrawerFilter()),
        "facts": tx.facts(FactFilter(every_belief=True), limit=EVERYTHING),
        "counts": tx.fact_counts(wing=None, now=0),
        "entities": tx.entities(words=(), limit=EVERYTHING),
        "predicates": tx.predicates(),
        "links": tx.links(limit=EVERYTHING),
        "changes": entries,
        "embedder": tx.embedder(),
        "pending": [(p.drawer, p.seq, p.start, p.end) for p in _pending(tx)],
        "revisions": {change.seq: tx.before(change.seq) for change in entries},
    }
