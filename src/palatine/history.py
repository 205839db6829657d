"""Undo, which puts back what stood before, and forget, which removes for good."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from palatine import text as texts
from palatine.beliefs import describe, overlapping
from palatine.drawers import chunks_of, find_twin, remove
from palatine.errors import ConflictError, ForgetIncompleteError, InputError, NotFoundError
from palatine.instants import Instant, Time, parse_start
from palatine.store.base import Lookups, Noun, Store, WriteTx
from palatine.types import (
    Author,
    Change,
    ChangeFilter,
    Drawer,
    Entity,
    Fact,
    FactFilter,
    Kept,
    Kind,
    Link,
    Logged,
    Op,
    Predicate,
    Removed,
)

MOST_CHANGES = 100_000
TRASH = "trash"
_NEEDLE_BYTES = 24
_NEEDLES = 16


class History:
    """The change feed of one store, and the two ways back."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def changes(self, where: ChangeFilter, *, after: int, limit: int) -> list[Change]:
        """Entries of the change feed after a seq, the oldest first."""
        if isinstance(after, bool) or not isinstance(after, int) or after < 0:
            raise InputError(f"after {after!r} cannot be used; give the last seq that you have")
        texts.clean_count(limit, "limit", most=MOST_CHANGES)
        with self._store.read() as tx:
            return tx.changes(where, limit=limit, after=min(after, tx.state().seq))

    def log(self, where: ChangeFilter, *, limit: int, after: int | None = None) -> list[Logged]:
        """The last entries of the change feed in words, or the first after a seq; newest last."""
        texts.clean_count(limit, "limit", most=MOST_CHANGES)
        with self._store.read() as tx:
            found = tx.changes(where, limit=limit, after=after or 0, newest_first=after is None)
            found = found[::-1] if after is None else found
            pairs = [(change, _subject(tx, change)) for change in found]
            return [Logged(change, _told(change, noun), noun) for change, noun in pairs]

    def undo(
        self,
        *,
        seq: int | None = None,
        session: str | None = None,
        since: Time | None = None,
        author: Author,
    ) -> Removed:
        """Puts back what stood before one call, one session's calls, or all since a time.

        One transaction. An undo is itself a change and can be undone.

        Args:
            seq: any change of the call to undo.
            session: whose changes to undo.
            since: undo everything from this time on.
            author: who undoes.

        Raises:
            InputError: not exactly one of the three was given.
            NotFoundError: there is no such change.
            ConflictError: somebody has built on it since; says what. Nothing was undone.
        """
        where = _selection(seq, session, since)
        with self._store.write(author) as tx:
            if seq is not None:
                where = ChangeFilter(operation=_operation(tx, seq))
            chosen = tx.changes(where, limit=MOST_CHANGES)
            if not chosen:
                raise NotFoundError("there is no such change; nothing was undone")
            plans = _plan(tx, chosen)
            first = tx.state().seq + 1
            # What refers is taken away before what it refers to, and put back after it.
            for plan in sorted(
                plans, key=lambda plan: _ORDER.index(plan.kind) * ((plan.before and 1) or -1)
            ):
                _put_back(tx, plan)
        return Removed(tuple(plan.ref for plan in plans), first)

    def trash(self, *, limit: int) -> list[Kept]:
        """What was deleted or replaced and is still kept, the newest first."""
        texts.clean_count(limit, "limit", most=MOST_CHANGES)
        with self._store.read() as tx:
            kept = tx.changes(ChangeFilter(kept=True), limit=limit, newest_first=True)
            return [_kept(change, tx.before(change.seq)) for change in kept]

    def empty_trash(self, *, before: Time | None, author: Author) -> int:
        """Removes what was replaced before a time (None: all of it) for good.

        Raises:
            ForgetIncompleteError: removed, but a reader still holds the old bytes; empty it again.
        """
        until = parse_start(before, what="before")
        with self._store.write(author) as tx:
            oldest = tx.changes(ChangeFilter(kept=True), limit=_NEEDLES)
            nouns = [tx.before(change.seq) for change in oldest]
            secrets = [noun.text for noun in nouns if isinstance(noun, Drawer)]
            removed = tx.empty_trash(until or tx.recorded_at)
            if removed:
                tx.record(Kind.PALACE, TRASH, Op.FORGET, wing="", before=None)
        self.scrub(secrets, "the trash is emptied", "empty it again")
        return removed

    def forget(self, ref: str, *, author: Author) -> Removed:
        """Removes a drawer or a fact for good: rows, revisions, full text, and bytes in files.

        Facts that were read from a forgotten drawer stay; forget them by their own ids.

        Args:
            ref: the id of a drawer (also of a deleted one) or of a fact.
            author: who forgets.

        Raises:
            NotFoundError: nothing is known under this id.
            ForgetIncompleteError: removed, but a reader still holds the old bytes; forget again.
        """
        ref = texts.clean_name(ref, "the id")
        with self._store.write(author) as tx:
            forgotten = forget_fact(tx, ref) or forget_drawer(tx, ref)
        if forgotten is None:
            raise NotFoundError(f"nothing is known under {ref!r}; nothing was forgotten")
        seq, secrets = forgotten
        self.scrub(secrets, f"{ref} is removed", "forget it again")
        return Removed((ref,), seq)

    def scrub(self, secrets: Sequence[str], done: str, again: str) -> None:
        """Makes what was removed unrecoverable; raises where a reader still holds its bytes."""
        needles = [needle for secret in secrets for needle in _needles(secret)]
        if left := self._store.scrub(needles):
            raise ForgetIncompleteError(
                f"{done}, but bytes of it are still in {', '.join(left)} while a reader"
                f" holds an old snapshot open; {again} when that has ended"
            )


def _kept(change: Change, noun: Noun | None) -> Kept:
    words = _noun_in_words(noun) or change.ref
    return Kept(change, words, len(texts.encode(words)))


def in_words(tx: Lookups, change: Change) -> str:
    """What a change was about: a text, a fact as it was believed then, or a name."""
    return _told(change, _subject(tx, change))


def _subject(tx: Lookups, change: Change) -> Noun | Fact | None:
    kind, ref = change.kind, change.ref
    if kind is Kind.FACT:
        at = change.at.micros
        for moment in (at, at - 1):  # as it was from then on, else as it was until then
            if beliefs := tx.facts(FactFilter(id=ref, known_at=moment), limit=1):
                return beliefs[0]
    if kind not in (Kind.DRAWER, Kind.LINK):
        return None
    noun = standing(tx, kind, ref)
    if noun is None:
        last = tx.changes(ChangeFilter(kind=kind, ref=ref), limit=1, newest_first=True)[0]
        noun = tx.before(last.seq)
    return noun


def _told(change: Change, subject: Noun | Fact | None) -> str:
    if isinstance(subject, Fact):
        return describe(subject)
    named = change.kind not in (Kind.FACT, Kind.DRAWER, Kind.LINK)
    return change.ref if named else _noun_in_words(subject)


def _noun_in_words(noun: Noun | None) -> str:
    if isinstance(noun, Link):
        ends = (end.drawer or f"{end.wing}/{end.room}" for end in (noun.source, noun.target))
        return f"{' - '.join(ends)} {noun.label}".rstrip()
    return noun.text if isinstance(noun, Drawer) else ""


@dataclass(frozen=True, slots=True)
class _Plan:
    """One object and what shall stand in its place.

    Attributes:
        now: what stands now; None when nothing does.
        before: what shall stand; None for nothing.
    """

    kind: Kind
    ref: str
    wing: str
    now: Noun | Fact | None
    before: Noun | Fact | None


_ORDER = (Kind.PREDICATE, Kind.ENTITY, Kind.ALIAS, Kind.DRAWER, Kind.LINK, Kind.FACT)


def _selection(seq: int | None, session: str | None, since: Time | None) -> ChangeFilter:
    if sum(value is not None for value in (seq, session, since)) != 1:
        raise InputError("say what to undo: one of seq, session or since")
    if session is not None:
        return ChangeFilter(session=texts.clean_name(session, "the session"))
    return ChangeFilter(since=parse_start(since, what="since"))


def _operation(tx: Lookups, seq: int) -> int:
    if isinstance(seq, bool) or not isinstance(seq, int) or seq < 1:
        raise InputError(f"seq {seq!r} cannot be used; give the number of a change")
    found = tx.changes(ChangeFilter(), after=min(seq, tx.state().seq + 1) - 1, limit=1)
    if not found or found[0].seq != seq:
        raise NotFoundError(f"there is no change {seq}; nothing was undone")
    return found[0].operation


def _plan(tx: Lookups, chosen: Sequence[Change]) -> list[_Plan]:
    """For each object touched, what stood before the first of the chosen changes.

    Raises:
        ConflictError: a change that was not chosen came after, or what stood is gone.
    """
    seqs = {change.seq for change in chosen}
    firsts: dict[tuple[Kind, str], Change] = {}
    for change in chosen:
        firsts.setdefault((change.kind, change.ref), change)
    standing: list[str] = []
    for (kind, ref), first in firsts.items():
        later = tx.changes(ChangeFilter(kind=kind, ref=ref), after=first.seq, limit=MOST_CHANGES)
        built = [change for change in later if change.seq not in seqs]
        if built and not _cancelled_out(tx, built):
            standing += [_who(change) for change in built]
        if first.op is Op.FORGET or kind is Kind.PALACE:
            done = "forgotten" if first.op is Op.FORGET else "restored; restore what it replaced"
            standing.append(f"{kind} {ref} is {done}")
    if standing:
        raise ConflictError(
            "somebody has built on it since; nothing was undone: " + "; ".join(standing[:5]),
            standing=tuple(standing),
        )
    return [_target(tx, first) for first in firsts.values()]


def _cancelled_out(tx: Lookups, built: Sequence[Change]) -> bool:
    """Tells whether what stood before these changes of one object stands again.

    So that who has undone the last change can undo the one before it.
    """
    if any(change.op is Op.FORGET for change in built):
        return False
    plan = _target(tx, built[0])
    return _content(plan.now) == _content(plan.before)


def _content(noun: Noun | Fact | None) -> Noun | Fact | None:
    """The noun without what only says when it was written."""
    if isinstance(noun, Drawer):
        return replace(noun, seq=0, changed_at=noun.filed_at)
    if isinstance(noun, Fact):
        return replace(noun, version=0, recorded_at=Instant(0), ended_at=None)
    return noun


def _who(change: Change) -> str:
    who = f" by {change.agent}" if change.agent else ""
    return f"change {change.seq}{who} ({change.op} {change.kind} {change.ref})"


def _target(tx: Lookups, first: Change) -> _Plan:
    kind, ref = first.kind, first.ref
    now: Noun | Fact | None
    before: Noun | Fact | None
    if kind is Kind.FACT:
        believed = tx.facts(FactFilter(id=ref), limit=1)
        # Imported beliefs are older than the change that brought them here.
        known_at = None if first.op is Op.ADD else first.at.micros - 1
        then = tx.facts(FactFilter(id=ref, known_at=known_at), limit=1) if known_at else []
        now, before = (facts[0] if facts else None for facts in (believed, then))
    else:
        now, before = standing(tx, kind, ref), tx.before(first.seq)
        # When a trash was emptied, nothing kept does not mean that nothing stood.
        emptied = ChangeFilter(kind=Kind.PALACE, ref=TRASH)
        lost = first.op is Op.RESTORE and tx.changes(emptied, after=first.seq, limit=1)
        if before is None and (lost or first.op in (Op.UPDATE, Op.DELETE)):
            raise ConflictError(
                f"what stood before change {first.seq} is not kept any more; nothing was undone"
            )
    return _Plan(kind, ref, first.wing, now, before)


def standing(tx: Lookups, kind: Kind, ref: str) -> Noun | None:
    """What is there now; of facts see `Lookups.facts`."""
    if kind is Kind.DRAWER:
        drawer = tx.drawer(ref)
        return drawer if drawer is not None and drawer.id == ref else None
    if kind is Kind.LINK:
        return next((link for link in tx.links(ref=ref, limit=1)), None)
    if kind is Kind.PREDICATE:
        cardinality = tx.predicate(ref)
        return None if cardinality is None else Predicate(ref, cardinality)
    return tx.entity(ref)


def _put_back(tx: WriteTx, plan: _Plan) -> None:
    if plan.now == plan.before:
        return
    if plan.kind is Kind.FACT:
        _put_back_fact(tx, plan)
        return
    now = None if isinstance(plan.now, Fact) else plan.now
    seq = tx.record(plan.kind, plan.ref, Op.RESTORE, wing=plan.wing, before=now)
    before = plan.before
    if plan.kind is Kind.ALIAS:
        _put_back_alias(tx, plan)
    elif isinstance(before, Drawer):
        _require_place(tx, before)
        drawer = replace(before, seq=seq, changed_at=tx.recorded_at)
        tx.put_drawer(drawer, chunks_of(drawer))
    elif isinstance(before, Link):
        _require_ends(tx, before)
        tx.put_link(before)
    elif isinstance(before, Entity):
        tx.put_entity(before)
    elif isinstance(before, Predicate):
        tx.put_predicate(before.name, before.cardinality)
    else:
        _take_away(tx, plan)


def _put_back_alias(tx: WriteTx, plan: _Plan) -> None:
    """Removes an alias, or makes it again from the entity as it was with it."""
    if not isinstance(plan.before, Entity):
        tx.delete_alias(plan.ref)
        return
    if plan.now is not None:
        raise _since(f"{plan.ref!r} is an entity of its own", plan.ref)
    name = next(name for name in plan.before.aliases if texts.fold(name) == plan.ref)
    tx.put_alias(name, plan.ref, plan.before.key)


def _take_away(tx: WriteTx, plan: _Plan) -> None:
    if plan.kind is Kind.DRAWER:
        _require_unlinked(tx, plan.ref)
        tx.delete_drawer(plan.ref)
    elif plan.kind is Kind.LINK:
        tx.delete_link(plan.ref)
    elif plan.kind is Kind.PREDICATE:
        tx.put_predicate(plan.ref, None)
    elif isinstance(plan.now, Entity):
        named = FactFilter(entities=(plan.ref,), every_belief=True)
        standing = tx.entity(plan.ref)
        if tx.facts(named, limit=1) or (standing and standing.aliases):
            tx.put_entity(replace(plan.now, type="", properties={}))
        else:
            tx.delete_entity(plan.ref)


def _put_back_fact(tx: WriteTx, plan: _Plan) -> None:
    now, before = plan.now, plan.before
    if isinstance(now, Fact):
        tx.end_fact(now.id, now.version)
    if isinstance(before, Fact):
        if rival := overlapping(tx, before):
            raise _since(f"fact {rival.id} says the same", rival.id)
        versions = tx.facts(FactFilter(id=before.id, every_belief=True), limit=MOST_CHANGES)
        version = max(fact.version for fact in versions) + 1
        tx.put_fact(replace(before, version=version, recorded_at=tx.recorded_at, ended_at=None))
    tx.record(Kind.FACT, plan.ref, Op.RESTORE, wing=plan.wing, before=None)


def _require_place(tx: Lookups, drawer: Drawer) -> None:
    """Refuses to put back a drawer where its text has been added again.

    Raises:
        ConflictError: another drawer holds that text there now.
    """
    if (twin := find_twin(tx, drawer)) and twin.id != drawer.id:
        raise _since(f"drawer {twin.id} holds the same text in the same place", twin.id)


def _require_unlinked(tx: Lookups, drawer_id: str) -> None:
    """Refuses to take away a drawer that somebody has linked since."""
    if links := tx.links(ref=drawer_id, limit=1):
        raise _since(f"drawer {drawer_id} is linked", links[0].id, f" (link {links[0].id})")


def _require_ends(tx: Lookups, link: Link) -> None:
    """Refuses to put back a link to a drawer that is gone since."""
    for end in (link.source, link.target):
        if end.drawer and tx.drawer(end.drawer) is None:
            raise _since(f"drawer {end.drawer} is gone", end.drawer)


def _since(what: str, standing: str, more: str = "") -> ConflictError:
    return ConflictError(f"{what} since{more}; nothing was undone", standing=(standing,))


def forget_fact(tx: WriteTx, ref: str) -> tuple[int, list[str]] | None:
    """Removes a fact for good; the seq and what is gone with it, None where there is none."""
    beliefs = tx.facts(FactFilter(id=ref, every_belief=True), limit=MOST_CHANGES)
    if not beliefs:
        return None
    fact = beliefs[0]
    seq = tx.record(Kind.FACT, ref, Op.FORGET, wing=fact.wing, before=None)
    tx.erase_fact(ref)
    gone = ((fact.subject_key, fact.subject), (fact.object_key, fact.object))
    return seq, [name for key, name in gone if tx.entity(key) is None]


def forget_drawer(tx: WriteTx, ref: str) -> tuple[int, list[str]] | None:
    """The same for a drawer, also a deleted one, and its earlier versions."""
    drawer = tx.drawer(ref)
    ref = ref if drawer is None else drawer.id
    changes = tx.changes(ChangeFilter(kind=Kind.DRAWER, ref=ref), limit=MOST_CHANGES)
    if not changes:
        return None
    kept = [tx.before(change.seq) for change in changes]
    secrets = [noun.text for noun in (drawer, *kept) if isinstance(noun, Drawer)]
    if drawer is None:
        seq = tx.record(Kind.DRAWER, ref, Op.FORGET, wing=changes[0].wing, before=None)
    else:
        seq = remove(tx, drawer, Op.FORGET)
    tx.forget_revisions(Kind.DRAWER, ref)
    for reading in tx.readings(drawer=ref, limit=MOST_CHANGES):
        tx.delete_reading(ref, reading.reader)
    return seq, secrets


def _needles(secret: str) -> list[bytes]:
    """Byte strings that would be found if the text were still in a file.

    Pieces, because SQLite cuts a long text into pages; spread over it, and long enough not to be
    met by chance.
    """
    data = texts.encode(secret)
    if len(data) <= _NEEDLE_BYTES:
        return [data] if len(data) >= _NEEDLE_BYTES // 3 else []
    stride = max(_NEEDLE_BYTES, (len(data) - _NEEDLE_BYTES) // _NEEDLES)
    pieces = [
        data[at : at + _NEEDLE_BYTES] for at in range(0, len(data) - _NEEDLE_BYTES + 1, stride)
    ]
    return [piece for piece in pieces if len(set(piece)) > 3]
