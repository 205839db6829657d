"""The port as plain Python: dicts, copied for each write, and put in place when its block ends.

Nothing here is fast and nothing is clever, so that it can be seen to be right. The tests hold it
beside the real stores. Its full text is the words of a text in lower case, its score the number of
phrases that a chunk contains: enough to compare what is found, not in which order.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from palatine import instants
from palatine.errors import StoreBusyError, StoreClosedError, StoreError
from palatine.instants import Instant
from palatine.store.base import Noun
from palatine.types import (
    Author,
    BackedUp,
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
    Problem,
    Reading,
    Source,
    Span,
)

_FOREVER = 2**63 - 1


@dataclass
class Rows:
    """Everything that a palace holds.

    Attributes:
        numbers: a number for each drawer's id, for `Match`.
        chunks: by their number, with the id of their drawer.
        former: drawer ids by former id.
        facts: by id and version; the names in them are looked up when they are read.
        entities: by key, without their aliases.
        aliases: by key: the name as given and the entity's key.
        revisions: by seq.
        embedder: name and dimension of what made the vectors.
        vectors: by the chunk's number.
    """

    palace_id: str
    drawers: dict[str, Drawer] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    chunks: dict[int, tuple[str, Chunk]] = field(default_factory=dict)
    former: dict[str, str] = field(default_factory=dict)
    facts: dict[tuple[str, int], Fact] = field(default_factory=dict)
    entities: dict[str, Entity] = field(default_factory=dict)
    aliases: dict[str, tuple[str, str]] = field(default_factory=dict)
    predicates: dict[str, Cardinality] = field(default_factory=dict)
    links: dict[str, Link] = field(default_factory=dict)
    changes: list[Change] = field(default_factory=list)
    revisions: dict[int, Noun] = field(default_factory=dict)
    embedder: tuple[str, int] | None = None
    vectors: dict[int, NDArray[np.float32]] = field(default_factory=dict)
    roots: dict[str, str] = field(default_factory=dict)
    sources: dict[tuple[str, str], Source] = field(default_factory=dict)
    readings: dict[tuple[str, str], Reading] = field(default_factory=dict)

    def copy(self) -> Rows:
        """Rows that can be changed without changing these; the nouns in them never change."""
        return Rows(
            self.palace_id,
            dict(self.drawers),
            dict(self.numbers),
            dict(self.chunks),
            dict(self.former),
            dict(self.facts),
            dict(self.entities),
            dict(self.aliases),
            dict(self.predicates),
            dict(self.links),
            list(self.changes),
            dict(self.revisions),
            self.embedder,
            dict(self.vectors),
            dict(self.roots),
            dict(self.sources),
            dict(self.readings),
        )


SCHEMA = 5
"""What the schema of the store under test is; a migration raises it here, too."""


class ModelLookups:
    """What both transactions can ask."""

    def __init__(self, rows: Rows) -> None:
        self.rows = rows

    def state(self) -> PalaceState:
        last = self.rows.changes[-1] if self.rows.changes else None
        return PalaceState(
            self.rows.palace_id, SCHEMA, last.seq if last else 0, last.at.micros if last else 0
        )

    def drawer(self, drawer_id: str) -> Drawer | None:
        known = drawer_id if drawer_id in self.rows.drawers else self.rows.former.get(drawer_id)
        return None if known is None else self.rows.drawers.get(known)

    def drawers(
        self,
        where: DrawerFilter,
        *,
        limit: int,
        before: tuple[int, str] | None = None,
        texts: bool = True,
    ) -> list[Drawer]:
        found = [
            drawer
            for drawer in self.rows.drawers.values()
            if drawer_matches(drawer, where)
            and (drawer.id, drawer.digest) not in self._read_by(where.unread_by)
            and where.read_by in (None, *(r for d, r in self.rows.readings if d == drawer.id))
        ]
        found.sort(key=_filing, reverse=True)
        if before is not None:
            found = [drawer for drawer in found if _filing(drawer) < before]
        return [drawer if texts else replace(drawer, text="") for drawer in found[:limit]]

    def _read_by(self, reader: str | None) -> set[tuple[str, bytes]]:
        return {(r.drawer, r.digest) for r in self.rows.readings.values() if r.reader == reader}

    def readings(
        self, *, drawer: str | None = None, fact: str | None = None, limit: int
    ) -> list[Reading]:
        found = [
            reading
            for _, reading in sorted(self.rows.readings.items())
            if (drawer is not None and reading.drawer == drawer)
            or (drawer is None and fact is not None and fact in reading.facts.values())
            or (drawer is fact is None and reading.drawer not in self.rows.drawers)
        ]
        return found[:limit]

    def contradictory(
        self, predicates: Sequence[str], *, wing: str | None, now: int, limit: int
    ) -> list[tuple[str, str, str]]:
        found = set()
        where = FactFilter(wing=wing, during=(now, _FOREVER))
        believed = [fact for fact in self._facts(where) if fact.predicate in predicates]
        for fact in believed:
            for other in believed:
                names = (fact.wing, fact.subject_key, fact.predicate)
                start = -_FOREVER if other.valid_from is None else other.valid_from.micros
                end = _FOREVER if other.valid_to is None else other.valid_to.micros
                beside = names == (other.wing, other.subject_key, other.predicate)
                if beside and fact.object_key != other.object_key and fact.true_during(start, end):
                    found.add(names)
        return sorted(found)[:limit]

    def former_ids(self, *, after: str, limit: int) -> list[FormerId]:
        found = sorted(
            (former, drawer)
            for former, drawer in self.rows.former.items()
            if former > after and drawer in self.rows.drawers
        )
        return [FormerId(*pair) for pair in found[:limit]]

    def places(self, where: DrawerFilter) -> list[Place]:
        rooms = Counter(
            (drawer.wing, drawer.room)
            for drawer in self.rows.drawers.values()
            if drawer_matches(drawer, where)
        )
        return [Place(wing, room, count) for (wing, room), count in sorted(rooms.items())]

    def _facts(self, where: FactFilter) -> list[Fact]:
        return [self._named(fact) for fact in self.rows.facts.values() if fact_matches(fact, where)]

    def _named(self, fact: Fact) -> Fact:
        names = self.rows.entities
        return replace(
            fact, subject=names[fact.subject_key].name, object=names[fact.object_key].name
        )

    def facts(
        self, where: FactFilter, *, limit: int, after: tuple[int | None, str, int] | None = None
    ) -> list[Fact]:
        found = sorted(self._facts(where), key=_validity)
        if after is not None:
            start, fact_id, version = after
            last = (_FOREVER if start is None else start, fact_id, version)
            found = [fact for fact in found if _validity(fact) > last]
        return found[:limit]

    def beliefs(self, *, after: tuple[str, int], limit: int) -> list[Fact]:
        keys = sorted(key for key in self.rows.facts if key > after)
        return [self._named(self.rows.facts[key]) for key in keys[:limit]]

    def edges(self, where: FactFilter) -> list[Edge]:
        return [Edge(fact.id, fact.subject_key, fact.object_key) for fact in self._facts(where)]

    def fact_counts(self, *, wing: str | None, now: int) -> FactCounts:
        believed = self._facts(FactFilter(wing=wing))
        past = sum(1 for fact in believed if fact.valid_to and fact.valid_to.micros <= now)
        future = sum(1 for fact in believed if fact.valid_from and fact.valid_from.micros > now)
        if wing is None:
            names = set(self.rows.entities)
        else:
            ever = self._facts(FactFilter(wing=wing, every_belief=True))
            names = {key for fact in ever for key in (fact.subject_key, fact.object_key)}
        counted = Counter(fact.predicate for fact in believed)
        return FactCounts(
            entities=len(names),
            facts=len(believed),
            current=len(believed) - past - future,
            past=past,
            future=future,
            predicates=dict(sorted(counted.items(), key=lambda each: (-each[1], each[0]))),
        )

    def entity(self, key: str) -> Entity | None:
        if key in self.rows.aliases:
            key = self.rows.aliases[key][1]
        entity = self.rows.entities.get(key)
        return None if entity is None else self._with_aliases(entity)

    def _with_aliases(self, entity: Entity) -> Entity:
        names = (name for name, key in self.rows.aliases.values() if key == entity.key)
        return replace(entity, aliases=tuple(sorted(names)))

    def entities(self, *, words: Sequence[str], limit: int) -> list[Entity]:
        found = [
            self._with_aliases(entity)
            for entity in self.rows.entities.values()
            if not words or any(word in entity.key for word in words)
        ]
        return sorted(found, key=lambda entity: (len(entity.key), entity.key))[:limit]

    def predicate(self, name: str) -> Cardinality | None:
        return self.rows.predicates.get(name)

    def roots(self) -> dict[str, str]:
        return dict(sorted(self.rows.roots.items()))

    def sources(self, root: str) -> dict[str, Source]:
        return {path: kept for (name, path), kept in self.rows.sources.items() if name == root}

    def source(self, root: str, path: str) -> Source | None:
        return self.rows.sources.get((root, path))

    def predicates(self) -> dict[str, Cardinality]:
        return dict(sorted(self.rows.predicates.items()))

    def links(self, *, ref: str | None = None, limit: int) -> list[Link]:
        found = [
            link
            for link in self.rows.links.values()
            if ref is None or (ref and ref in (link.id, link.source.drawer, link.target.drawer))
        ]
        return sorted(found, key=lambda link: link.id)[:limit]

    def changes(
        self, where: ChangeFilter, *, limit: int, after: int = 0, newest_first: bool = False
    ) -> list[Change]:
        found = [
            change
            for change in self.rows.changes
            if change.seq > after
            and change_matches(change, where)
            and where.kept in (None, change.seq in self.rows.revisions)
        ]
        return (found[::-1] if newest_first else found)[:limit]

    def labels(self) -> list[str]:
        return list({n for c in self.rows.changes for n in (c.wing, c.agent, c.session)})

    def before(self, seq: int) -> Noun | None:
        return self.rows.revisions.get(seq)

    def embedder(self) -> tuple[str, int] | None:
        return self.rows.embedder

    def pending(self, where: DrawerFilter, *, limit: int) -> list[Pending]:
        found = []
        for number, (drawer_id, chunk) in sorted(self.rows.chunks.items()):
            drawer = self.rows.drawers[drawer_id]
            if number not in self.rows.vectors and drawer_matches(drawer, where):
                own = self.rows.numbers[drawer_id]
                found.append(Pending(number, own, drawer_id, drawer.seq, chunk.start, chunk.end))
        return found[:limit]

    def count_pending(self) -> int:
        return len(self.rows.chunks) - len(self.rows.vectors)


class ModelReadTx(ModelLookups):
    """One snapshot: committed rows are never changed, so that it is enough to hold them."""

    def __init__(self, rows: Rows) -> None:
        super().__init__(rows)
        self.rows_read = 0

    def matching(
        self,
        phrases: Sequence[str],
        where: DrawerFilter,
        *,
        limit: int,
        beside: Sequence[str] = (),
    ) -> list[Match]:
        found = []
        for number, (drawer_id, chunk) in self.rows.chunks.items():
            if drawer_matches(self.rows.drawers[drawer_id], where):
                text = _joined(words_of(chunk.indexed))
                score = sum(_joined(words_of(phrase)) in text for phrase in phrases)
                if score:
                    score += sum(_joined(words_of(phrase)) in text for phrase in beside)
                    found.append(Match(number, self.rows.numbers[drawer_id], float(score)))
        found.sort(key=lambda match: -match.score)
        self.rows_read += len(found[:limit])
        return found[:limit]

    def nearest(
        self, vector: NDArray[np.float32], where: DrawerFilter, *, limit: int
    ) -> list[Match]:
        found = []
        for number, cosine in self.cosines(vector, list(self.rows.chunks)).items():
            drawer_id = self.rows.chunks[number][0]
            if drawer_matches(self.rows.drawers[drawer_id], where):
                found.append(Match(number, self.rows.numbers[drawer_id], cosine))
        return sorted(found, key=lambda match: -match.score)[:limit]

    def cosines(self, vector: NDArray[np.float32], chunks: Sequence[int]) -> dict[int, float]:
        known = self.rows.vectors
        return {chunk: float(known[chunk] @ vector) for chunk in chunks if chunk in known}

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        return [words_of(text) for text in texts]

    def frequencies(self, words: Sequence[str]) -> tuple[int, dict[str, int]]:
        chunks = [set(words_of(chunk.indexed)) for _, chunk in self.rows.chunks.values()]
        return len(chunks), {word: sum(word in chunk for chunk in chunks) for word in words}

    def neighbours(self, chunks: Sequence[int]) -> dict[int, tuple[int, ...]]:
        return {
            chunk: tuple(n for n in self._beside(chunk) if n is not None)
            for chunk in chunks
            if chunk in self.rows.chunks
        }

    def _beside(self, chunk: int) -> tuple[int | None, int | None]:
        drawer = self.rows.drawers[self.rows.chunks[chunk][0]]
        own = self._chunks_of(drawer.id)
        at = own.index(chunk)
        earlier, later = self._drawers_beside(drawer)
        before = own[at - 1] if at > 0 else max(self._chunks_of(earlier), default=None)
        after = own[at + 1] if at + 1 < len(own) else min(self._chunks_of(later), default=None)
        return before, after

    def _drawers_beside(self, drawer: Drawer) -> tuple[str | None, str | None]:
        """The drawers before and after this one in its source."""
        if not drawer.source or drawer.position < 0:
            return None, None
        place = DrawerFilter(wing=drawer.wing, room=drawer.room, source=drawer.source)
        others = [
            (other.position, other.id)
            for other in self.rows.drawers.values()
            if drawer_matches(other, place) and other.position >= 0
        ]
        earlier = [other for other in others if other[0] < drawer.position]
        later = [other for other in others if other[0] > drawer.position]
        return max(earlier)[1] if earlier else None, min(later)[1] if later else None

    def _chunks_of(self, drawer_id: str | None) -> list[int]:
        return sorted(n for n, (owner, _) in self.rows.chunks.items() if owner == drawer_id)

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        found = [
            (number, *self.rows.chunks[number]) for number in chunks if number in self.rows.chunks
        ]
        return [Span(number, drawer, chunk.start, chunk.end) for number, drawer, chunk in found]


class ModelWriteTx(ModelLookups):
    """The one writer's transaction, on its own copy of the rows."""

    def __init__(self, rows: Rows, author: Author) -> None:
        super().__init__(rows)
        state = self.state()
        self.recorded_at = Instant(max(instants.now().micros, state.last_at + 1))
        self._author = author
        self._operation = state.seq + 1

    def record(self, kind: Kind, ref: str, op: Op, *, wing: str, before: Noun | None) -> int:
        seq = self.state().seq + 1
        who = self._author
        self.rows.changes.append(
            Change(
                seq, self._operation, kind, ref, op, wing, self.recorded_at, who.agent, who.session
            )
        )
        if before is not None:
            self.rows.revisions[seq] = before
        return seq

    def put_drawer(self, drawer: Drawer, chunks: Sequence[Chunk]) -> None:
        for other in self.rows.drawers.values():
            if other.id != drawer.id and _sameness(other) == _sameness(drawer):
                raise StoreError(f"drawer {other.id} holds the same text in the same place")
        self.rows.drawers[drawer.id] = drawer
        self.rows.numbers.setdefault(drawer.id, len(self.rows.numbers) + 1)
        self._put_chunks(drawer.id, chunks)

    def _put_chunks(self, drawer_id: str, chunks: Sequence[Chunk]) -> None:
        kept = {n: each for n, each in self.rows.chunks.items() if each[0] != drawer_id}
        first = max(self.rows.chunks, default=0) + 1
        new = {first + n: (drawer_id, chunk) for n, chunk in enumerate(chunks)}
        self.rows.chunks = kept | new
        self.rows.vectors = {n: v for n, v in self.rows.vectors.items() if n in kept}

    def delete_drawer(self, drawer_id: str) -> None:
        self._put_chunks(drawer_id, [])
        self.rows.drawers.pop(drawer_id, None)

    def put_former_id(self, former: str, drawer_id: str) -> None:
        self.rows.former[former] = drawer_id

    def put_fact(self, fact: Fact) -> None:
        if not {fact.subject_key, fact.object_key} <= self.rows.entities.keys():
            raise StoreError(f"{fact} names an entity that is not there")
        if (fact.id, fact.version) in self.rows.facts:
            raise StoreError(f"fact {fact.id} has version {fact.version} already")
        for other in self.rows.facts.values():
            if _is_open(fact) and _is_open(other) and _names(other) == _names(fact):
                raise StoreError(f"fact {other.id} says the same and is open")
        self.rows.facts[fact.id, fact.version] = fact

    def end_fact(self, fact_id: str, version: int) -> None:
        fact = self.rows.facts[fact_id, version]
        self.rows.facts[fact_id, version] = replace(fact, ended_at=self.recorded_at)

    def erase_fact(self, fact_id: str) -> None:
        gone = [fact for fact in self.rows.facts.values() if fact.id == fact_id]
        for fact in gone:
            del self.rows.facts[fact.id, fact.version]
        for key in {key for fact in gone for key in (fact.subject_key, fact.object_key)}:
            entity = self.entity(key)
            if entity == Entity(key, entity.name if entity else "") and not self._is_named(key):
                del self.rows.entities[key]

    def _is_named(self, key: str) -> bool:
        return bool(self._facts(FactFilter(entities=(key,), every_belief=True)))

    def put_entity(self, entity: Entity) -> None:
        self.rows.entities[entity.key] = replace(entity, aliases=())

    def delete_entity(self, key: str) -> None:
        if self._is_named(key) or any(key == entity for _, entity in self.rows.aliases.values()):
            raise StoreError(f"entity {key} is named by a fact or an alias")
        self.rows.entities.pop(key, None)

    def put_alias(self, name: str, alias_key: str, entity_key: str) -> None:
        if entity_key not in self.rows.entities:
            raise StoreError(f"no entity {entity_key}")
        self.rows.aliases[alias_key] = (name, entity_key)

    def delete_alias(self, alias_key: str) -> None:
        self.rows.aliases.pop(alias_key, None)

    def put_root(self, name: str, folder: str) -> None:
        self.rows.roots[name] = folder

    def put_source(self, source: Source) -> None:
        self.rows.sources[source.root, source.path] = source

    def delete_source(self, root: str, path: str) -> None:
        self.rows.sources.pop((root, path), None)

    def put_reading(self, reading: Reading) -> None:
        self.rows.readings[reading.drawer, reading.reader] = reading

    def delete_reading(self, drawer: str, reader: str) -> None:
        self.rows.readings.pop((drawer, reader), None)

    def put_predicate(self, name: str, cardinality: Cardinality | None) -> None:
        self.rows.predicates.pop(name, None)
        if cardinality is not None:
            self.rows.predicates[name] = cardinality

    def put_link(self, link: Link) -> None:
        self.rows.links[link.id] = link

    def delete_link(self, link_id: str) -> None:
        self.rows.links.pop(link_id, None)

    def forget_revisions(self, kind: Kind, ref: str) -> int:
        of = {
            change.seq for change in self.rows.changes if (change.kind, change.ref) == (kind, ref)
        }
        gone = of & self.rows.revisions.keys()
        for seq in gone:
            del self.rows.revisions[seq]
        return len(gone)

    def relabel(self, old: str, new: str) -> None:
        def named(name: str) -> str:
            return new if name == old else name

        self.rows.changes = [
            replace(c, wing=named(c.wing), agent=named(c.agent), session=named(c.session))
            for c in self.rows.changes
        ]

    def empty_trash(self, before: Instant) -> int:
        of = {change.seq for change in self.rows.changes if change.at.micros < before.micros}
        gone = of & self.rows.revisions.keys()
        for seq in gone:
            del self.rows.revisions[seq]
        return len(gone)

    def set_embedder(self, name: str, dimension: int) -> None:
        self.rows.embedder = (name, dimension)
        self.rows.vectors = {}

    def put_vectors(self, vectors: Sequence[tuple[int, int, NDArray[np.float32]]]) -> int:
        if self.rows.embedder is None:
            raise StoreError("no embedder is set")
        stored = 0
        for number, seq, vector in vectors:
            if vector.shape != (self.rows.embedder[1],):
                raise StoreError("a vector of another dimension")
            owner = self.rows.chunks.get(number, ("", None))[0]
            fits = owner and self.rows.drawers[owner].seq == seq
            if fits and number not in self.rows.vectors:
                self.rows.vectors[number] = vector.astype(np.float16).astype(np.float32)
                stored += 1
        return stored

    def rebuild(self, chunks_of: Callable[[Drawer], Sequence[Chunk]]) -> int:
        for drawer in self.rows.drawers.values():
            chunks = chunks_of(drawer)
            own = sorted(n for n, (owner, _) in self.rows.chunks.items() if owner == drawer.id)
            was = [(self.rows.chunks[n][1].start, self.rows.chunks[n][1].end) for n in own]
            if was == [(chunk.start, chunk.end) for chunk in chunks]:
                new = zip(own, chunks, strict=True)
                self.rows.chunks |= {n: (drawer.id, chunk) for n, chunk in new}
            else:
                self._put_chunks(drawer.id, chunks)
        return len(self.rows.chunks)


class ModelStore:
    """A palace of one process, in its memory."""

    def __init__(self, *, palace_id: str = "model", place: str = "model") -> None:
        self.place = place
        self._rows = Rows(palace_id)
        self._writing = threading.Lock()
        self._embedding = threading.Lock()
        self._writer: int | None = None
        self._closed = False

    @contextmanager
    def read(self) -> Iterator[ModelReadTx]:
        self._require_open()
        yield ModelReadTx(self._rows)

    @contextmanager
    def write(
        self, author: Author, *, timeout_seconds: float | None = None
    ) -> Iterator[ModelWriteTx]:
        self._require_open()
        if self._writer == threading.get_ident():
            raise StoreError("this thread is already writing")
        if not self._writing.acquire(timeout=60 if timeout_seconds is None else timeout_seconds):
            raise StoreBusyError(timeout_seconds or 60)
        try:
            self._writer = threading.get_ident()
            try:
                tx = ModelWriteTx(self._rows.copy(), author)
                yield tx
                self._rows = tx.rows
            finally:
                self._writer = None
        finally:
            self._writing.release()

    @contextmanager
    def embedding(self) -> Iterator[bool]:
        alone = self._embedding.acquire(blocking=False)
        try:
            yield alone
        finally:
            if alone:
                self._embedding.release()

    def _require_open(self) -> None:
        if self._closed:
            raise StoreClosedError(f"{self.place}: the palace is closed")

    def check(self) -> list[Problem]:
        return []

    def rebuild(self, chunks_of: Callable[[Drawer], Sequence[Chunk]]) -> int:
        with self.write(Author()) as tx:
            return tx.rebuild(chunks_of)

    def backup(self, target: Path | None, *, keep: int) -> BackedUp:
        raise StoreError(f"{self.place}: what is only in memory has no file to copy")

    def scrub(self, needles: Sequence[bytes]) -> list[str]:
        return []

    def details(self) -> Mapping[str, object]:
        return {"place": self.place, "palace_id": self._rows.palace_id}

    def reopen(self) -> None:
        self._closed = False

    def close(self) -> None:
        self._closed = True

    def shutdown(self) -> None:
        self.close()


def drawer_matches(drawer: Drawer, where: DrawerFilter) -> bool:
    """Tells whether the filter lets the drawer through."""
    same = ("wing", "room", "kind", "source", "position", "author", "session", "pinned", "digest")
    return (
        all(getattr(where, name) in (None, getattr(drawer, name)) for name in same)
        and (where.ids is None or drawer.id in where.ids)
        and (where.below is None or bool(drawer.source and drawer.source.startswith(where.below)))
        and _within(drawer.said_at, where.said_since, where.said_before)
        and _within(drawer.filed_at, where.filed_since, where.filed_before)
    )


def _within(moment: Instant | None, since: Instant | None, before: Instant | None) -> bool:
    if since is None and before is None:
        return True
    return (
        moment is not None
        and (since is None or moment.micros >= since.micros)
        and (before is None or moment.micros < before.micros)
    )


def fact_matches(fact: Fact, where: FactFilter) -> bool:
    """Tells whether the filter lets the belief through."""
    start, end = fact.valid_from, fact.valid_to
    return (
        where.id in (None, fact.id)
        and where.wing in (None, fact.wing)
        and where.subject in (None, fact.subject_key)
        and where.predicate in (None, fact.predicate)
        and where.object in (None, fact.object_key)
        and where.source_drawer in (None, fact.drawer)
        and (where.entities is None or _touches(fact, where.entities, where.direction))
        and (where.during is None or fact.true_during(*where.during))
        and (where.starts_after is None or bool(start and start.micros >= where.starts_after))
        and (where.ends_by is None or bool(end and end.micros <= where.ends_by))
        and _is_believed(fact, where)
    )


def _touches(fact: Fact, keys: Sequence[str], direction: str) -> bool:
    outgoing, incoming = fact.subject_key in keys, fact.object_key in keys
    return {"outgoing": outgoing, "incoming": incoming, "both": outgoing or incoming}[direction]


def _is_believed(fact: Fact, where: FactFilter) -> bool:
    if where.every_belief:
        return True
    if where.known_at is None:
        return fact.ended_at is None
    ended = _FOREVER if fact.ended_at is None else fact.ended_at.micros
    return fact.recorded_at.micros <= where.known_at < ended


def change_matches(change: Change, where: ChangeFilter) -> bool:
    """Tells whether the filter lets the change through."""
    same = ("operation", "kind", "ref", "wing", "agent", "session")
    return all(getattr(where, name) in (None, getattr(change, name)) for name in same) and (
        where.since is None or change.at.micros >= where.since.micros
    )


def words_of(text: str) -> list[str]:
    """The words of a text as this model's index keeps them."""
    return re.findall(r"\w+", text.replace("_", " ").lower())


def _joined(words: Sequence[str]) -> str:
    return f" {' '.join(words)} "


def _filing(drawer: Drawer) -> tuple[int, str]:
    return drawer.filed_at.micros, drawer.id


def _validity(fact: Fact) -> tuple[int, str, int]:
    start = _FOREVER if fact.valid_from is None else fact.valid_from.micros
    return start, fact.id, fact.version


def _sameness(drawer: Drawer) -> tuple[object, ...]:
    return drawer.digest, drawer.wing, drawer.room, drawer.source, drawer.position


def _is_open(fact: Fact) -> bool:
    return fact.valid_to is None and fact.ended_at is None


def _names(fact: Fact) -> tuple[str, ...]:
    return fact.wing, fact.subject_key, fact.predicate, fact.object_key
