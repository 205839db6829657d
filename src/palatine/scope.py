"""One wing of a palace as a store of its own: what is outside is neither seen nor touched.

It stands between the rules of the domain and the store that holds all wings. Every filter gets
the wing, a single row is shown only if it is the wing's, and a write outside is refused. Names
(entities, aliases, predicates) belong to the whole palace: a scope sees those that its facts use,
adds names by adding facts, and changes none.

Each verb of the port is written out, so that a new one is closed until somebody has decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

from palatine.errors import ScopeError
from palatine.instants import Instant
from palatine.store.base import Lookups, Noun, ReadTx, Store, WriteTx
from palatine.text import clean_name
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
    Source,
    Span,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_ALL = 2**40
_WHOLE = ("database_bytes", "wal_bytes")

Tx = TypeVar("Tx", bound=Lookups)
Where = TypeVar("Where", DrawerFilter, FactFilter, ChangeFilter)


def outside(wing: str, what: str) -> ScopeError:
    """The error for something that is not the wing's."""
    return ScopeError(
        f"{what} is outside wing {wing!r}, and this palace is limited to that; nothing was"
        " written; open the palace without a wing for it"
    )


class _Scoped(Generic[Tx]):
    """What both transactions can ask, of one wing.

    Chunks go by numbers, and only those of the wing's are ever handed out.
    """

    def __init__(self, tx: Tx, wing: str) -> None:
        self._tx = tx
        self._wing = wing

    def _within(self, where: Where) -> Where:
        if where.wing not in (None, self._wing):
            raise outside(self._wing, f"wing {where.wing!r}")
        return replace(where, wing=self._wing)

    def _ours(self, ids: Iterable[str]) -> set[str]:
        """Those of these drawers that are the wing's, or were when they were deleted."""
        asked = tuple(ids)
        standing = self._tx.drawers(DrawerFilter(ids=asked), limit=len(asked), texts=False)
        wings = {drawer.id: drawer.wing for drawer in standing}
        for ref in set(asked) - wings.keys():
            had = ChangeFilter(kind=Kind.DRAWER, ref=ref)
            for change in self._tx.changes(had, limit=1, newest_first=True):
                wings[ref] = change.wing
        return {ref for ref, wing in wings.items() if wing == self._wing}

    def _seen(self, facts: Sequence[Fact]) -> list[Fact]:
        """The facts, without the ids of drawers outside."""
        named = {fact.drawer for fact in facts} - {""}
        hidden = named - self._ours(named) if named else named
        return [replace(f, drawer="") if f.drawer in hidden else f for f in facts]

    def _held(self, links: Sequence[Link]) -> list[Link]:
        """Those of the links that the wing holds at both ends."""
        pairs = [(link.source, link.target) for link in links]
        ours = self._ours({end.drawer for pair in pairs for end in pair} - {""})
        inside = (
            [end.drawer in ours if end.drawer else end.wing == self._wing for end in pair]
            for pair in pairs
        )
        return [link for link, ends in zip(links, inside, strict=True) if all(ends)]

    def _root(self, name: str) -> str:
        """What the whole palace calls a root of this scope; nobody can give a name with a tab."""
        return f"{self._wing}\t{name}"

    def state(self) -> PalaceState:
        """The palace, as of the wing's last change."""
        last = self._tx.changes(ChangeFilter(wing=self._wing), limit=1, newest_first=True)
        seq, at = (last[0].seq, last[0].at.micros) if last else (0, 0)
        return replace(self._tx.state(), seq=seq, last_at=at)

    def drawer(self, drawer_id: str) -> Drawer | None:
        """The drawer with this id or former id, if it is the wing's."""
        found = self._tx.drawer(drawer_id)
        return found if found is not None and found.wing == self._wing else None

    def drawers(
        self,
        where: DrawerFilter,
        *,
        limit: int,
        before: tuple[int, str] | None = None,
        texts: bool = True,
    ) -> list[Drawer]:
        """The wing's drawers."""
        return self._tx.drawers(self._within(where), limit=limit, before=before, texts=texts)

    def former_ids(self, *, after: str, limit: int) -> list[FormerId]:
        """Former ids of the wing's drawers."""
        found: list[FormerId] = []
        while len(found) < limit and (page := self._tx.former_ids(after=after, limit=limit)):
            ours = self._ours(pair.drawer for pair in page)
            found += [pair for pair in page if pair.drawer in ours]
            after = page[-1].id
        return found[:limit]

    def places(self, where: DrawerFilter) -> list[Place]:
        """The wing's rooms."""
        return self._tx.places(self._within(where))

    def facts(
        self, where: FactFilter, *, limit: int, after: tuple[int | None, str, int] | None = None
    ) -> list[Fact]:
        """The wing's beliefs."""
        return self._seen(self._tx.facts(self._within(where), limit=limit, after=after))

    def beliefs(self, *, after: tuple[str, int], limit: int) -> list[Fact]:
        """All of the wing's beliefs, also past ones."""
        found: list[Fact] = []
        while len(found) < limit and (page := self._tx.beliefs(after=after, limit=limit)):
            found += [fact for fact in page if fact.wing == self._wing]
            after = page[-1].id, page[-1].version
        return self._seen(found[:limit])

    def edges(self, where: FactFilter) -> list[Edge]:
        """The wing's beliefs as steps."""
        return self._tx.edges(self._within(where))

    def fact_counts(self, *, wing: str | None, now: int) -> FactCounts:
        """Counts of the wing's beliefs."""
        return self._tx.fact_counts(wing=self._within(FactFilter(wing=wing)).wing, now=now)

    def entity(self, key: str) -> Entity | None:
        """The entity with this key or alias, if a fact of the wing names it or ever did."""
        found = self._tx.entity(key)
        if found is None:
            return None
        named = FactFilter(wing=self._wing, entities=(found.key,), every_belief=True)
        return found if self._tx.facts(named, limit=1) else None

    def entities(self, *, words: Sequence[str], limit: int) -> list[Entity]:
        """Entities that the wing's facts name."""
        steps = self._tx.edges(FactFilter(wing=self._wing, every_belief=True))
        named = {key for step in steps for key in (step.subject_key, step.object_key)}
        found = self._tx.entities(words=words, limit=_ALL)
        return [entity for entity in found if entity.key in named][:limit]

    def predicate(self, name: str) -> Cardinality | None:
        """How many objects the predicate takes at a time, in the whole palace."""
        return self._tx.predicate(name)

    def predicates(self) -> dict[str, Cardinality]:
        """What is known of the predicates of the wing's facts."""
        used = self._tx.fact_counts(wing=self._wing, now=0).predicates
        return {name: known for name, known in self._tx.predicates().items() if name in used}

    def links(self, *, ref: str | None = None, limit: int) -> list[Link]:
        """The wing's links."""
        return self._held(self._tx.links(ref=ref, limit=_ALL))[:limit]

    def changes(
        self, where: ChangeFilter, *, limit: int, after: int = 0, newest_first: bool = False
    ) -> list[Change]:
        """The wing's changes."""
        if where.kind is not Kind.PALACE:  # what happens to the palace happens to its wings
            where = self._within(where)
        return self._tx.changes(where, limit=limit, after=after, newest_first=newest_first)

    def before(self, seq: int) -> Noun | None:
        """The row as it stood before this change, if it was the wing's then."""
        noun = self._tx.before(seq)
        if isinstance(noun, Link):
            return noun if self._held([noun]) else None
        return noun if isinstance(noun, Drawer) and noun.wing == self._wing else None

    def roots(self) -> dict[str, str]:
        """The roots that were mined within this scope."""
        found = self._tx.roots().items()
        own = self._root("")
        return {name.removeprefix(own): at for name, at in found if name.startswith(own)}

    def sources(self, root: str) -> dict[str, Source]:
        """All files of a root that were mined within this scope, by path."""
        found = self._tx.sources(self._root(root)).items()
        return {path: replace(source, root=root) for path, source in found}

    def source(self, root: str, path: str) -> Source | None:
        """One file that was mined within this scope."""
        found = self._tx.source(self._root(root), path)
        return found and replace(found, root=root)

    def embedder(self) -> tuple[str, int] | None:
        """What made the palace's vectors."""
        return self._tx.embedder()

    def pending(self, where: DrawerFilter, *, limit: int) -> list[Pending]:
        """The wing's chunks that have no vector yet."""
        return self._tx.pending(self._within(where), limit=limit)

    def count_pending(self) -> int:
        """How many of the wing's chunks have no vector yet."""
        if not self._tx.count_pending():  # so it is mostly, and quicker to know
            return 0
        return len(self._tx.pending(DrawerFilter(wing=self._wing), limit=_ALL))


class _ScopedRead(_Scoped[ReadTx]):
    """One snapshot of one wing.

    How rare a word is, which decides the order and the confidence of hits, is asked of the whole
    palace: to count the wing's own texts would read all of them for each search.
    """

    @property
    def rows_read(self) -> int:
        """How many rows it has read so far."""
        return self._tx.rows_read

    def matching(
        self,
        phrases: Sequence[str],
        where: DrawerFilter,
        *,
        limit: int,
        beside: Sequence[str] = (),
    ) -> list[Match]:
        """The wing's best chunks by BM25."""
        return self._tx.matching(phrases, self._within(where), limit=limit, beside=beside)

    def nearest(
        self, vector: NDArray[np.float32], where: DrawerFilter, *, limit: int
    ) -> list[Match]:
        """The wing's chunks nearest to the vector."""
        return self._tx.nearest(vector, self._within(where), limit=limit)

    def cosines(self, vector: NDArray[np.float32], chunks: Sequence[int]) -> dict[int, float]:
        """The cosine of each of these chunks."""
        return self._tx.cosines(vector, chunks)

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text as the index keeps them."""
        return self._tx.words(texts)

    def frequencies(self, words: Sequence[str]) -> tuple[int, dict[str, int]]:
        """How many chunks the palace has, and in how many each word stands."""
        return self._tx.frequencies(words)

    def neighbours(self, chunks: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """For each chunk the one before and the one after it, which are of the same wing."""
        return self._tx.neighbours(chunks)

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """Where those of these chunks stand that are the wing's."""
        found = self._tx.spans(chunks)
        ours = self._ours({span.drawer for span in found})
        return [span for span in found if span.drawer in ours]


class _ScopedWrite(_Scoped[WriteTx]):
    """The one writer's transaction, for one wing."""

    def __init__(self, tx: WriteTx, wing: str) -> None:
        super().__init__(tx, wing)
        self.recorded_at = tx.recorded_at

    def _require(self, inside: object, what: str) -> None:
        if not inside:
            raise outside(self._wing, what)

    def _believed(self, fact_id: str) -> list[Fact]:
        held = self._tx.facts(FactFilter(id=fact_id, every_belief=True), limit=_ALL)
        self._require(all(fact.wing == self._wing for fact in held), f"fact {fact_id}")
        return held

    def state(self) -> PalaceState:
        """The whole palace's state: changes are numbered on from there."""
        return self._tx.state()

    def entity(self, key: str) -> Entity | None:
        """The entity with this key or alias; of one that is not named here yet only its name."""
        known = self._tx.entity(key)
        return super().entity(key) or (known and Entity(known.key, known.name))

    def links(self, *, ref: str | None = None, limit: int) -> list[Link]:
        """The wing's links; refuses where one leads out from this drawer, and would go with it."""
        every = self._tx.links(ref=ref, limit=_ALL)
        held = self._held(every)
        leads_out = len(held) < len(every) and ref is not None and self._ours([ref])
        self._require(not leads_out, f"what drawer {ref} is linked with")
        return held[:limit]

    def record(self, kind: Kind, ref: str, op: Op, *, wing: str, before: Noun | None) -> int:
        """Appends to the wing's change feed; of names only what is learnt of a new predicate."""
        learnt = kind is Kind.PREDICATE and op is Op.ADD
        self._require(learnt or wing == self._wing, f"{kind} {ref}")
        return self._tx.record(kind, ref, op, wing=wing, before=before)

    def put_drawer(self, drawer: Drawer, chunks: Sequence[Chunk]) -> None:
        """Inserts or replaces a drawer of the wing."""
        held = self._tx.drawer(drawer.id) or drawer
        self._require(held.wing == drawer.wing == self._wing, f"drawer {drawer.id}")
        self._tx.put_drawer(drawer, chunks)

    def delete_drawer(self, drawer_id: str) -> None:
        """Removes a drawer of the wing."""
        self._require(self.drawer(drawer_id), f"drawer {drawer_id}")
        self._tx.delete_drawer(drawer_id)

    def put_former_id(self, former: str, drawer_id: str) -> None:
        """Makes an id that leads nowhere else lead to a drawer of the wing."""
        held = self._tx.drawer(former)
        ours = self.drawer(drawer_id) and (held is None or held.wing == self._wing)
        self._require(ours, f"former id {former}")
        self._tx.put_former_id(former, drawer_id)

    def put_fact(self, fact: Fact) -> None:
        """Inserts a belief of the wing; a drawer outside that an earlier one named stays named."""
        held = self._believed(fact.id)
        self._require(fact.wing == self._wing, f"wing {fact.wing!r}")
        named = next((belief.drawer for belief in held if belief.drawer), "")
        self._tx.put_fact(replace(fact, drawer=fact.drawer or named))

    def end_fact(self, fact_id: str, version: int) -> None:
        """Stops believing a belief of the wing."""
        self._believed(fact_id)
        self._tx.end_fact(fact_id, version)

    def erase_fact(self, fact_id: str) -> None:
        """Removes all beliefs about a fact of the wing."""
        self._believed(fact_id)
        self._tx.erase_fact(fact_id)

    def put_entity(self, entity: Entity) -> None:
        """Makes a name known that is not; what it is can be said in the whole palace only."""
        self._require(not (entity.type or entity.properties), f"what {entity.name!r} is")
        if self._tx.entity(entity.key) is None:
            self._tx.put_entity(entity)

    def delete_entity(self, key: str) -> None:
        """Refuses."""
        raise outside(self._wing, f"entity {key}")

    def put_alias(self, name: str, alias_key: str, entity_key: str) -> None:
        """Refuses."""
        raise outside(self._wing, f"alias {name!r}")

    def delete_alias(self, alias_key: str) -> None:
        """Refuses."""
        raise outside(self._wing, f"alias {alias_key}")

    def put_predicate(self, name: str, cardinality: Cardinality | None) -> None:
        """Says how many objects a predicate takes of which nobody has said it."""
        self._require(self._tx.predicate(name) in (None, cardinality), f"predicate {name}")
        self._tx.put_predicate(name, cardinality)

    def put_link(self, link: Link) -> None:
        """Inserts a link of the wing."""
        self._require(self._held([link]), f"link {link.id}")
        self._tx.put_link(link)

    def delete_link(self, link_id: str) -> None:
        """Removes a link of the wing."""
        self._require(self._held(self._tx.links(ref=link_id, limit=1)), f"link {link_id}")
        self._tx.delete_link(link_id)

    def put_root(self, name: str, folder: str) -> None:
        """Says where the files of a root lie now."""
        self._tx.put_root(self._root(name), folder)

    def put_source(self, source: Source) -> None:
        """Keeps what was read of a file."""
        self._tx.put_source(replace(source, root=self._root(source.root)))

    def delete_source(self, root: str, path: str) -> None:
        """Forgets that a file was read."""
        self._tx.delete_source(self._root(root), path)

    def forget_revisions(self, kind: Kind, ref: str) -> int:
        """Removes what stood before any change of an object that was never outside."""
        had = self._tx.changes(ChangeFilter(kind=kind, ref=ref), limit=_ALL)
        self._require(all(change.wing == self._wing for change in had), f"{kind} {ref}")
        return self._tx.forget_revisions(kind, ref)

    def empty_trash(self, before: Instant) -> int:
        """Refuses."""
        raise outside(self._wing, "the trash of all wings")

    def set_embedder(self, name: str, dimension: int) -> None:
        """Records the embedder of a palace that has none."""
        self._require(self._tx.embedder() is None, "another embedder")
        self._tx.set_embedder(name, dimension)

    def put_vectors(self, vectors: Sequence[tuple[int, int, NDArray[np.float32]]]) -> int:
        """Stores vectors."""
        return self._tx.put_vectors(vectors)


class ScopedStore:
    """One wing of an open store. Any number of them may stand on one store.

    Attributes:
        place: what the store is called in messages.
        wing: the only one that is seen.
    """

    def __init__(self, store: Store, wing: str) -> None:
        """Takes the store of all wings; raises InputError for what no wing can be called."""
        self._store = store
        self.place = store.place
        self.wing = clean_name(wing, "the wing")

    @contextmanager
    def read(self) -> Iterator[ReadTx]:
        """One snapshot of the wing."""
        with self._store.read() as tx:
            yield _ScopedRead(tx, self.wing)

    @contextmanager
    def write(self, author: Author, *, timeout_seconds: float | None = None) -> Iterator[WriteTx]:
        """The right to write in the wing."""
        with self._store.write(author, timeout_seconds=timeout_seconds) as tx:
            yield _ScopedWrite(tx, self.wing)

    def embedding(self) -> AbstractContextManager[bool]:
        """The right to embed."""
        return self._store.embedding()

    def check(self) -> list[Problem]:
        """Refuses: it reads, and names, what is outside."""
        raise outside(self.wing, "the check of all rows")

    def rebuild(self, chunks_of: Callable[[Drawer], Sequence[Chunk]]) -> int:
        """Refuses."""
        raise outside(self.wing, "the repair of all indexes")

    def backup(self, target: Path | None, *, keep: int) -> BackedUp:
        """Refuses."""
        raise outside(self.wing, "the backup of all rows")

    def scrub(self, needles: Sequence[bytes]) -> list[str]:
        """Makes removed rows unrecoverable."""
        return self._store.scrub(needles)

    def details(self) -> Mapping[str, object]:
        """Facts about the store, without the sizes of what holds all wings."""
        return {k: value for k, value in self._store.details().items() if k not in _WHOLE}

    def reopen(self) -> None:
        """Closes everything, forgets everything derived, and accepts what lies there now."""
        self._store.reopen()

    def close(self) -> None:
        """Closes the store of all wings."""
        self._store.close()

    def shutdown(self) -> None:
        """Closes it within 100 ms."""
        self._store.shutdown()
