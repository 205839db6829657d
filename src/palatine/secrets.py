"""Secrets in what a palace holds: where they stand, and how they are masked or forgotten."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeVar

from palatine import text as texts
from palatine.drawers import chunks_of, find_twin
from palatine.errors import InputError
from palatine.history import MOST_CHANGES, History, forget_drawer, forget_fact, standing
from palatine.ingest import redact
from palatine.store.base import Lookups, Noun, Store, WriteTx
from palatine.types import (
    Added,
    Author,
    Change,
    ChangeFilter,
    Drawer,
    DrawerFilter,
    Entity,
    Fact,
    FactFilter,
    Kind,
    Link,
    Op,
    Updated,
)

Cure = Literal["", "mask", "forget"]
Progress = Callable[[int, int], None]
Done = TypeVar("Done", Added, Updated)
_CHANGE = "change"
_LABELS = ("wing", "room", "author", "session")
_PAGE = 100
_ALL = 2**40


@dataclass(frozen=True, slots=True)
class Found:
    """Where a secret stands; never the secret itself.

    Attributes:
        secret: of which kind it is, as `AWS Access Key`.
        kind: what it is in: a drawer, a fact, an entity, a link; or `change`: the change feed.
        ref: the id of that; empty where that would show the secret.
        field: in which part of it.
        seq: the change before which it stood so; 0: it stands so now.
        line, column: in the field, counted from 1.
        wing, room, source: where it is filed; masked, too.
    """

    secret: str
    kind: str
    ref: str
    field: str
    seq: int
    line: int
    column: int
    wing: str
    room: str
    source: str


@dataclass(frozen=True, slots=True)
class Secrets:
    """What was found, and those of it that are still there."""

    found: tuple[Found, ...]
    left: tuple[Found, ...]


def warned(done: Done) -> Done:
    """What came of a write, with a warning for each kind of secret in the text, kept as it is."""
    seen = ((field, redact.places(part)) for field, part in _fields(done.drawer))
    warnings = tuple(
        f"the {field} holds what looks like a secret ({kind}); it was kept as it is;"
        " `palatine secrets --mask` masks it"
        for field, kind in dict.fromkeys((field, kind) for field, all_ in seen for kind, *_ in all_)
    )
    return replace(done, warnings=warnings) if warnings else done


def look(
    store: Store, *, wing: str, cure: Cure, author: Author, progress: Progress | None
) -> Secrets:
    """Finds all secrets; masks or forgets what holds them, in one short write for each.

    Others go on meanwhile; what they change in between is looked at again. Ended at any moment,
    each object is as it was or without its secrets, and the next call does the rest.

    Args:
        store: of all wings, or of one.
        wing: the one; then what belongs to no wing (names and what is said of them) is left out.
        cure: empty: only look.
        author: who masks or forgets.
        progress: told now and then how many objects were looked at and how many are left.

    Raises:
        InputError: the wing's own name holds one.
        ForgetIncompleteError: done, but a reader still holds the old bytes; do it again later.
    """
    if redact.places(wing):
        raise InputError("the wing's name holds a secret itself; look into all wings at once")
    nouns = _nouns(store, wing)
    found = list(_found(_counted(store, nouns, progress) if progress else nouns))
    found += _in_labels(store)
    if not cure:
        every = tuple(each for _, each in found)
        return Secrets(every, every)
    secrets: list[str] = []
    # A name is free when the facts that use it are gone.
    refs = dict.fromkeys((each.kind, ref) for ref, each in found)
    for kind, ref in sorted(refs, key=lambda key: (key[0] == Kind.ENTITY, key[0] == _CHANGE)):
        if kind == _CHANGE:
            secrets += _rename(store, ref, author)
        else:
            secrets += _settle(store, Kind(kind), ref, forget=cure == "forget", author=author)
    # Also when nothing was found: who masked before may have been ended before this.
    History(store).scrub(secrets, "it is done", "do it again")
    left = [each for ref, each in found if cure == "mask" and not _maskable(each)]
    return Secrets(tuple(each for _, each in found), tuple(left))


def _maskable(found: Found) -> bool:
    return found.kind != Kind.FACT and (found.seq > 0 or found.field not in ("name", "ends"))


def _nouns(store: Store, wing: str) -> Iterator[tuple[Kind, str, int, Noun | Fact]]:
    """All that holds free text: kind, id, the change before which it stood so, and itself."""

    def drawers(tx: Lookups, before: tuple[int, str] | None) -> list[Drawer]:
        return tx.drawers(DrawerFilter(), limit=_PAGE, before=before)

    def facts(tx: Lookups, after: tuple[str, int]) -> list[Fact]:
        return tx.beliefs(after=after, limit=_PAGE)

    def earlier(tx: Lookups, seq: int) -> list[tuple[Change, Noun | None]]:
        kept = tx.changes(ChangeFilter(kept=True), limit=_PAGE, after=seq)
        return [(change, tx.before(change.seq)) for change in kept]

    for drawer in _pages(store, drawers, None, lambda last: (last.filed_at.micros, last.id)):
        yield Kind.DRAWER, drawer.id, 0, drawer
    for fact in _pages(store, facts, ("", 0), lambda last: (last.id, last.version)):
        yield Kind.FACT, fact.id, 0, fact
    for change, noun in _pages(store, earlier, 0, lambda last: last[0].seq):
        if noun is not None:
            yield change.kind, change.ref, change.seq, noun
    with store.read() as tx:
        links = tx.links(limit=_ALL)
        entities = [] if wing else tx.entities(words=(), limit=_ALL)
    yield from ((Kind.LINK, link.id, 0, link) for link in links)
    described = (each for each in entities if each.type or each.properties or each.aliases)
    yield from ((Kind.ENTITY, each.key, 0, each) for each in described)


T = TypeVar("T")
C = TypeVar("C")


def _pages(
    store: Store, ask: Callable[[Lookups, C], Sequence[T]], cursor: C, after: Callable[[T], C]
) -> Iterator[T]:
    """All pages' items, each page of a snapshot of its own: no long read stands in a writer's way.

    Args:
        store: what is read.
        ask: gives the page after a cursor.
        cursor: that of the first page.
        after: the cursor that goes on after an item.
    """
    while True:
        with store.read() as tx:
            page = ask(tx, cursor)
        yield from page
        if not page:
            return
        cursor = after(page[-1])


def _counted(store: Store, nouns: Iterable[T], progress: Progress) -> Iterator[T]:
    with store.read() as tx:
        total = sum(place.drawers for place in tx.places(DrawerFilter()))
    for done, noun in enumerate(nouns, 1):
        yield noun
        if not done % _PAGE:
            progress(done, max(0, total - done))


def _found(
    nouns: Iterable[tuple[Kind, str, int, Noun | Fact]],
) -> Iterator[tuple[str, Found]]:
    """Each secret, with the id of what holds it."""
    for kind, ref, seq, noun in nouns:
        for field, text in _fields(noun):
            for secret, start, _ in redact.places(text):
                line = text.count("\n", 0, start) + 1
                column = start - text.rfind("\n", 0, start)
                place = (str(getattr(noun, name, "")) for name in ("wing", "room", "source"))
                shown = "" if isinstance(noun, Entity) and field == "name" else ref
                where = [redact.mask_line(name) if name else "" for name in place]
                if isinstance(noun, Link):
                    where[2] = ""
                yield ref, Found(secret, kind, shown, field, seq, line, column, *where)


def _in_labels(store: Store) -> Iterator[tuple[str, Found]]:
    """Each secret in a name by which the change feed calls a wing, an agent or a session."""
    with store.read() as tx:
        labels = tx.labels()
    for label in labels:
        for secret, start, _ in redact.places(label):
            yield label, Found(secret, _CHANGE, "", "label", 0, 1, start + 1, "", "", "")


def _rename(store: Store, label: str, author: Author) -> list[str]:
    """Masks a name in the change feed, unless it is a wing that still holds facts."""
    with store.write(author) as tx:
        if tx.facts(FactFilter(wing=label, every_belief=True), limit=1):
            return []
        tx.relabel(label, _mask_name(label))
    return [label[start:end] for _, start, end in redact.places(label)]


def _fields(noun: Noun | Fact | None) -> Iterator[tuple[str, str]]:
    """The parts of a noun in which anything may stand, as the store keeps them."""
    if isinstance(noun, Drawer):
        yield from ((name, getattr(noun, name)) for name in ("text", "source", *_LABELS))
        yield from _members("metadata", noun.metadata)
    elif isinstance(noun, Fact):
        yield "fact", f"{noun.subject}\n{noun.predicate}: {noun.object}\n{noun.source}\n{noun.wing}"
    elif isinstance(noun, Entity):
        yield "name", "\n".join((noun.name, *noun.aliases))
        yield from _members("properties", noun.properties)
    elif isinstance(noun, Link):
        yield "label", noun.label
        ends = (noun.source, noun.target)
        yield "ends", "\n".join(name for end in ends for name in (end.wing, end.room))


def _members(field: str, members: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    return ((field, json.dumps({key: value})) for key, value in members.items())


def _without(members: Mapping[str, Any]) -> dict[str, Any]:
    """The members that hold no secret."""
    return {k: v for k, v in members.items() if not redact.places(json.dumps({k: v}))}


def _secrets(nouns: Iterable[Noun | Fact | None]) -> list[str]:
    return [
        text[start:end]
        for noun in nouns
        for _, text in _fields(noun)
        for _, start, end in redact.places(text)
    ]


def _masked(noun: Noun | None) -> Noun | None:
    if isinstance(noun, Drawer):
        text, source = _mask(noun.text), _mask(noun.source)
        digest = texts.digest(texts.encode(text))
        names: Any = {name: _mask_name(getattr(noun, name)) for name in _LABELS}
        metadata = _without(noun.metadata)
        return replace(noun, text=text, digest=digest, source=source, metadata=metadata, **names)
    if isinstance(noun, Link):
        return replace(noun, label=_mask(noun.label))
    return replace(noun, properties=_without(noun.properties)) if isinstance(noun, Entity) else noun


def _mask(text: str) -> str:
    """The text with marks, until no rule finds anything."""
    done, counts = redact.mask(text)
    return _mask(done) if counts and done != text else done


def _mask_name(name: str) -> str:
    return texts.safe_label(_mask(name))


def _last(tx: Lookups, kind: Kind, ref: str) -> int:
    changes = tx.changes(ChangeFilter(kind=kind, ref=ref), limit=1, newest_first=True)
    return changes[0].seq if changes else 0


def _settle(store: Store, kind: Kind, ref: str, *, forget: bool, author: Author) -> list[str]:
    """Masks or forgets one object, and its earlier versions; returns the secrets that are gone."""
    while True:
        with store.read() as tx:
            last = _last(tx, kind, ref)
            if kind is Kind.FACT:
                every = FactFilter(id=ref, every_belief=True)
                secrets = _secrets(tx.facts(every, limit=MOST_CHANGES))
                now = None
            else:
                kept = tx.changes(ChangeFilter(kind=kind, ref=ref, kept=True), limit=MOST_CHANGES)
                now = standing(tx, kind, ref)
                secrets = _secrets([now, *(tx.before(change.seq) for change in kept)])
        if not secrets or (kind is Kind.FACT and not forget):
            return []
        new = _masked(now)
        with store.write(author) as tx:
            if _last(tx, kind, ref) == last:
                _write(tx, kind, ref, now, new, forget=forget)
                return secrets


def _write(
    tx: WriteTx, kind: Kind, ref: str, now: Noun | None, new: Noun | None, *, forget: bool
) -> None:
    """Puts the masked noun in the place of another and removes what stood there before."""
    if kind is Kind.FACT:
        forget_fact(tx, ref)
        return
    if isinstance(new, Drawer) and not forget:
        twin = None if new.kind == "diary" else find_twin(tx, new)
        if twin is None or twin.id == ref:
            seq = tx.record(kind, ref, Op.UPDATE, wing=new.wing, before=None)
            tx.put_drawer(replace(new, seq=seq, changed_at=tx.recorded_at), chunks_of(new))
        else:
            forget_drawer(tx, ref)
            tx.put_former_id(ref, twin.id)
    elif kind is Kind.DRAWER:
        forget_drawer(tx, ref)
    else:
        changes = tx.changes(ChangeFilter(kind=kind, ref=ref), limit=1)
        op = Op.FORGET if now is None or (forget and kind is Kind.LINK) else Op.UPDATE
        tx.record(kind, ref, op, wing=changes[0].wing if changes else "", before=None)
        if isinstance(new, Link):
            tx.delete_link(ref) if forget else tx.put_link(new)
        elif isinstance(new, Entity) and kind is Kind.ENTITY:
            _put_entity(tx, new, forget=forget)
    tx.forget_revisions(kind, ref)


def _put_entity(tx: WriteTx, entity: Entity, *, forget: bool) -> None:
    named = FactFilter(entities=(entity.key,), every_belief=True)
    if forget and _secrets([replace(entity, properties={})]) and not tx.facts(named, limit=1):
        for alias in entity.aliases:
            tx.delete_alias(texts.fold(alias))
        tx.delete_entity(entity.key)
    else:
        tx.put_entity(entity)
