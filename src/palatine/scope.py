"""One wing of a palace as a store of its own: what is outside is neither seen nor touched.

It stands between the rules of the domain and the store that holds all wings. Every filter gets
the wing, a single row is shown only if it is the wing's, and a write outside is refused. Names
(entities, aliases, predicates) belong to the whole palace: a scope sees those that its facts use,
adds names by adding facts, and changes none.

Each verb of the port is written out, so that a new one is closed until somebody has decided.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from palatine.errors import ScopeError
from palatine.store.base import Lookups, Noun, ReadTx, Store, WriteTx
from palatine.text import clean_name
from palatine.types import (
    Author,
    Cardinality,
    Change,
    ChangeFilter,
    Chunk,
    Drawer,
    DrawerFilter,
    Entity,
    Fact,
    FactCounts,
    FactFilter,
    FormerId,
    Kind,
    Link,
    Op,
    PalaceState,
    Reading,
    Source,
    Span,
)

_ALL = 2**40
_WHOLE = ("database_bytes", "wal_bytes")

Tx = TypeVar("Tx", bound=Lookups)
T = TypeVar("T")
P = ParamSpec("P")


def _asked(verb: Callable[Concatenate[Any, P], T]) -> Callable[Concatenate[Any, P], T]:
    """A verb that the whole palace answers, with every filter that it takes kept to the wing."""

    def ask(self: Any, /, *given: P.args, **named: P.kwargs) -> T:
        kept = [_within(self.wing, value) for value in given]
        by_name = {name: _within(self.wing, value) for name, value in named.items()}
        answer: T = getattr(self._whole, verb.__name__)(*kept, **by_name)
        return answer

    return ask


def _within(wing: str, value: T) -> T:
    """A filter kept to the wing; what is no filter as it is."""
    if not isinstance(value, DrawerFilter | FactFilter | ChangeFilter):
        return value
    if value.wing not in (None, wing):
        raise outside(wing, f"wing {value.wing!r}")
    return replace(value, wing=wing)


def _refused(verb: Callable[Concatenate[Any, P], T], what: str) -> Callable[Concatenate[Any, P], T]:
    """A verb that a scope does not have: the error names `what`, with what the verb was given."""

    def refuse(self: Any, /, *given: P.args, **_: P.kwargs) -> T:
        raise outside(self.wing, what.format(*given))

    return refuse


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

    drawers = _asked(Lookups.drawers)
    places = _asked(Lookups.places)
    edges = _asked(Lookups.edges)
    pending = _asked(Lookups.pending)
    predicate = _asked(Lookups.predicate)
    embedder = _asked(Lookups.embedder)

    def __init__(self, tx: Tx, wing: str) -> None:
        self._whole = tx
        self.wing = wing

    def _ours(self, ids: Iterable[str]) -> set[str]:
        """Those of these drawers that are the wing's, or were when they were deleted."""
        asked = tuple(ids)
        standing = self._whole.drawers(DrawerFilter(ids=asked), limit=len(asked), texts=False)
        wings = {drawer.id: drawer.wing for drawer in standing}
        for ref in set(asked) - wings.keys():
            had = ChangeFilter(kind=Kind.DRAWER, ref=ref)
            for change in self._whole.changes(had, limit=1, newest_first=True):
                wings[ref] = change.wing
        return {ref for ref, wing in wings.items() if wing == self.wing}

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
            [end.drawer in ours if end.drawer else end.wing == self.wing for end in pair]
            for pair in pairs
        )
        return [link for link, ends in zip(links, inside, strict=True) if all(ends)]

    def _root(self, name: str) -> str:
        """What the whole palace calls a root of this scope; nobody can give a name with a tab."""
        return f"{self.wing}\t{name}"

    def state(self) -> PalaceState:
        """The palace, as of the wing's last change."""
        last = self._whole.changes(ChangeFilter(wing=self.wing), limit=1, newest_first=True)
        seq, at = (last[0].seq, last[0].at.micros) if last else (0, 0)
        return replace(self._whole.state(), seq=seq, last_at=at)

    def drawer(self, drawer_id: str) -> Drawer | None:
        """The drawer with this id or former id, if it is the wing's."""
        found = self._whole.drawer(drawer_id)
        return found if found is not None and found.wing == self.wing else None

    def former_ids(self, *, after: str, limit: int) -> list[FormerId]:
        """Former ids of the wing's drawers."""
        found: list[FormerId] = []
        while len(found) < limit and (page := self._whole.former_ids(after=after, limit=limit)):
            ours = self._ours(pair.drawer for pair in page)
            found += [pair for pair in page if pair.drawer in ours]
            after = page[-1].id
        return found[:limit]

    def facts(
        self, where: FactFilter, *, limit: int, after: tuple[int | None, str, int] | None = None
    ) -> list[Fact]:
        """The wing's beliefs."""
        return self._seen(self._whole.facts(_within(self.wing, where), limit=limit, after=after))

    def beliefs(self, *, after: tuple[str, int], limit: int) -> list[Fact]:
        """All of the wing's beliefs, also past ones."""
        found: list[Fact] = []
        while len(found) < limit and (page := self._whole.beliefs(after=after, limit=limit)):
            found += [fact for fact in page if fact.wing == self.wing]
            after = page[-1].id, page[-1].version
        return self._seen(found[:limit])

    def fact_counts(self, *, wing: str | None, now: int) -> FactCounts:
        """Counts of the wing's beliefs."""
        return self._whole.fact_counts(wing=_within(self.wing, FactFilter(wing=wing)).wing, now=now)

    def entity(self, key: str) -> Entity | None:
        """The entity with this key or alias, if a fact of the wing names it or ever did."""
        found = self._whole.entity(key)
        if found is None:
            return None
        named = FactFilter(wing=self.wing, entities=(found.key,), every_belief=True)
        return found if self._whole.facts(named, limit=1) else None

    def entities(self, *, words: Sequence[str], limit: int) -> list[Entity]:
        """Entities that the wing's facts name."""
        steps = self._whole.edges(FactFilter(wing=self.wing, every_belief=True))
        named = {key for step in steps for key in (step.subject_key, step.object_key)}
        found = self._whole.entities(words=words, limit=_ALL)
        return [entity for entity in found if entity.key in named][:limit]

    def predicates(self) -> dict[str, Cardinality]:
        """What is known of the predicates of the wing's facts."""
        used = self._whole.fact_counts(wing=self.wing, now=0).predicates
        return {name: known for name, known in self._whole.predicates().items() if name in used}

    def links(self, *, ref: str | None = None, limit: int) -> list[Link]:
        """The wing's links."""
        return self._held(self._whole.links(ref=ref, limit=_ALL))[:limit]

    def changes(
        self, where: ChangeFilter, *, limit: int, after: int = 0, newest_first: bool = False
    ) -> list[Change]:
        """The wing's changes."""
        if where.kind is not Kind.PALACE:  # what happens to the palace happens to its wings
            where = _within(self.wing, where)
        return self._whole.changes(where, limit=limit, after=after, newest_first=newest_first)

    def labels(self) -> list[str]:
        """None: what the change feed calls agents and sessions belongs to all wings."""
        return []

    def before(self, seq: int) -> Noun | None:
        """The row as it stood before this change, if it was the wing's then."""
        noun = self._whole.before(seq)
        if isinstance(noun, Link):
            return noun if self._held([noun]) else None
        return noun if isinstance(noun, Drawer) and noun.wing == self.wing else None

    def roots(self) -> dict[str, str]:
        """The roots that were mined within this scope."""
        found = self._whole.roots().items()
        own = self._root("")
        return {name.removeprefix(own): at for name, at in found if name.startswith(own)}

    def sources(self, root: str) -> dict[str, Source]:
        """All files of a root that were mined within this scope, by path."""
        found = self._whole.sources(self._root(root)).items()
        return {path: replace(source, root=root) for path, source in found}

    def source(self, root: str, path: str) -> Source | None:
        """One file that was mined within this scope."""
        found = self._whole.source(self._root(root), path)
        return found and replace(found, root=root)

    def readings(
        self, *, drawer: str | None = None, fact: str | None = None, limit: int
    ) -> list[Reading]:
        """What was read of the wing's drawers."""
        found = self._whole.readings(drawer=drawer, fact=fact, limit=_ALL)
        ours = self._ours({reading.drawer for reading in found})
        return [reading for reading in found if reading.drawer in ours][:limit]

    def contradictory(
        self, predicates: Sequence[str], *, wing: str | None, now: int, limit: int
    ) -> list[tuple[str, str, str]]:
        """Where several objects of one predicate hold at the same time in the wing."""
        wing = _within(self.wing, FactFilter(wing=wing)).wing
        return self._whole.contradictory(predicates, wing=wing, now=now, limit=limit)

    def count_pending(self) -> int:
        """How many of the wing's chunks have no vector yet."""
        if not self._whole.count_pending():  # so it is mostly, and quicker to know
            return 0
        return len(self._whole.pending(DrawerFilter(wing=self.wing), limit=_ALL))


class _ScopedRead(_Scoped[ReadTx]):
    """One snapshot of one wing.

    How rare a word is, which decides the order and the confidence of hits, is asked of the whole
    palace: to count the wing's own texts would read all of them for each search.
    """

    matching = _asked(ReadTx.matching)
    nearest = _asked(ReadTx.nearest)
    cosines = _asked(ReadTx.cosines)
    words = _asked(ReadTx.words)
    frequencies = _asked(ReadTx.frequencies)
    neighbours = _asked(ReadTx.neighbours)

    @property
    def rows_read(self) -> int:
        """How many rows it has read so far."""
        return self._whole.rows_read

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """Where those of these chunks stand that are the wing's."""
        found = self._whole.spans(chunks)
        ours = self._ours({span.drawer for span in found})
        return [span for span in found if span.drawer in ours]


class _ScopedWrite(_Scoped[WriteTx]):
    """The one writer's transaction, for one wing."""

    state = _asked(WriteTx.state)  # the whole palace's: changes are numbered on from there
    put_vectors = _asked(WriteTx.put_vectors)
    delete_entity = _refused(WriteTx.delete_entity, "entity {}")
    put_alias = _refused(WriteTx.put_alias, "alias {!r}")
    delete_alias = _refused(WriteTx.delete_alias, "alias {}")
    relabel = _refused(WriteTx.relabel, "the change feed of all wings")
    empty_trash = _refused(WriteTx.empty_trash, "the trash of all wings")

    def __init__(self, tx: WriteTx, wing: str) -> None:
        super().__init__(tx, wing)
        self.recorded_at = tx.recorded_at

    def _require(self, inside: object, what: str) -> None:
        if not inside:
            raise outside(self.wing, what)

    def _believed(self, fact_id: str) -> list[Fact]:
        held = self._whole.facts(FactFilter(id=fact_id, every_belief=True), limit=_ALL)
        self._require(all(fact.wing == self.wing for fact in held), f"fact {fact_id}")
        return held

    def entity(self, key: str) -> Entity | None:
        """The entity with this key or alias; of one that is not named here yet only its name."""
        known = self._whole.entity(key)
        return super().entity(key) or (known and Entity(known.key, known.name))

    def links(self, *, ref: str | None = None, limit: int) -> list[Link]:
        """The wing's links; refuses where one leads out from this drawer, and would go with it."""
        every = self._whole.links(ref=ref, limit=_ALL)
        held = self._held(every)
        leads_out = len(held) < len(every) and ref is not None and self._ours([ref])
        self._require(not leads_out, f"what drawer {ref} is linked with")
        return held[:limit]

    def record(self, kind: Kind, ref: str, op: Op, *, wing: str, before: Noun | None) -> int:
        """Appends to the wing's change feed; of names only what is learnt of a new predicate."""
        learnt = kind is Kind.PREDICATE and op is Op.ADD
        self._require(learnt or wing == self.wing, f"{kind} {ref}")
        return self._whole.record(kind, ref, op, wing=wing, before=before)

    def put_drawer(self, drawer: Drawer, chunks: Sequence[Chunk]) -> None:
        """Inserts or replaces a drawer of the wing."""
        held = self._whole.drawer(drawer.id) or drawer
        self._require(held.wing == drawer.wing == self.wing, f"drawer {drawer.id}")
        self._whole.put_drawer(drawer, chunks)

    def delete_drawer(self, drawer_id: str) -> None:
        """Removes a drawer of the wing."""
        self._require(self.drawer(drawer_id), f"drawer {drawer_id}")
        self._whole.delete_drawer(drawer_id)

    def put_former_id(self, former: str, drawer_id: str) -> None:
        """Makes an id that leads nowhere else lead to a drawer of the wing."""
        held = self._whole.drawer(former)
        ours = self.drawer(drawer_id) and (held is None or held.wing == self.wing)
        self._require(ours, f"former id {former}")
        self._whole.put_former_id(former, drawer_id)

    def put_fact(self, fact: Fact) -> None:
        """Inserts a belief of the wing; a drawer outside that an earlier one named stays named."""
        held = self._believed(fact.id)
        self._require(fact.wing == self.wing, f"wing {fact.wing!r}")
        named = next((belief.drawer for belief in held if belief.drawer), "")
        self._whole.put_fact(replace(fact, drawer=fact.drawer or named))

    def end_fact(self, fact_id: str, version: int) -> None:
        """Stops believing a belief of the wing."""
        self._believed(fact_id)
        self._whole.end_fact(fact_id, version)

    def erase_fact(self, fact_id: str) -> None:
        """Removes all beliefs about a fact of the wing."""
        self._believed(fact_id)
        self._whole.erase_fact(fact_id)

    def put_entity(self, entity: Entity) -> None:
        """Makes a name known that is not; what it is can be said in the whole palace only."""
        self._require(not (entity.type or entity.properties), f"what {entity.name!r} is")
        if self._whole.entity(entity.key) is None:
            self._whole.put_entity(entity)

    def put_predicate(self, name: str, cardinality: Cardinality | None) -> None:
        """Says how many objects a predicate takes of which nobody has said it."""
        self._require(self._whole.predicate(name) in (None, cardinality), f"predicate {name}")
        self._whole.put_predicate(name, cardinality)

    def put_link(self, link: Link) -> None:
        """Inserts a link of the wing."""
        self._require(self._held([link]), f"link {link.id}")
        self._whole.put_link(link)

    def delete_link(self, link_id: str) -> None:
        """Removes a link of the wing."""
        self._require(self._held(self._whole.links(ref=link_id, limit=1)), f"link {link_id}")
        self._whole.delete_link(link_id)

    def put_root(self, name: str, folder: str) -> None:
        """Says where the files of a root lie now."""
        self._whole.put_root(self._root(name), folder)

    def put_source(self, source: Source) -> None:
        """Keeps what was read of a file."""
        self._whole.put_source(replace(source, root=self._root(source.root)))

    def delete_source(self, root: str, path: str) -> None:
        """Forgets that a file was read."""
        self._whole.delete_source(self._root(root), path)

    def put_reading(self, reading: Reading) -> None:
        """Keeps what was read of a drawer of the wing."""
        self._require(self._ours([reading.drawer]), f"drawer {reading.drawer}")
        self._whole.put_reading(reading)

    def delete_reading(self, drawer: str, reader: str) -> None:
        """Forgets that a drawer of the wing was read."""
        self._require(self._ours([drawer]), f"drawer {drawer}")
        self._whole.delete_reading(drawer, reader)

    def forget_revisions(self, kind: Kind, ref: str) -> int:
        """Removes what stood before any change of an object that was never outside."""
        had = self._whole.changes(ChangeFilter(kind=kind, ref=ref), limit=_ALL)
        self._require(all(change.wing == self.wing for change in had), f"{kind} {ref}")
        return self._whole.forget_revisions(kind, ref)

    def set_embedder(self, name: str, dimension: int) -> None:
        """Records the embedder of a palace that has none."""
        self._require(self._whole.embedder() is None, "another embedder")
        self._whole.set_embedder(name, dimension)


class ScopedStore:
    """One wing of an open store. Any number of them may stand on one store.

    Attributes:
        place: what the store is called in messages.
        wing: the only one that is seen.
    """

    embedding = _asked(Store.embedding)
    scrub = _asked(Store.scrub)
    reopen = _asked(Store.reopen)
    close = _asked(Store.close)
    shutdown = _asked(Store.shutdown)
    check = _refused(Store.check, "the check of all rows")
    rebuild = _refused(Store.rebuild, "the repair of all indexes")
    backup = _refused(Store.backup, "the backup of all rows")

    def __init__(self, store: Store, wing: str) -> None:
        """Takes the store of all wings; raises InputError for what no wing can be called."""
        self._whole = store
        self.place = store.place
        self.wing = clean_name(wing, "the wing")

    @contextmanager
    def read(self) -> Iterator[ReadTx]:
        """One snapshot of the wing."""
        with self._whole.read() as tx:
            yield _ScopedRead(tx, self.wing)

    @contextmanager
    def write(self, author: Author, *, timeout_seconds: float | None = None) -> Iterator[WriteTx]:
        """The right to write in the wing."""
        with self._whole.write(author, timeout_seconds=timeout_seconds) as tx:
            yield _ScopedWrite(tx, self.wing)

    def details(self) -> Mapping[str, object]:
        """Facts about the store, without the sizes of what holds all wings."""
        return {k: value for k, value in self._whole.details().items() if k not in _WHOLE}
