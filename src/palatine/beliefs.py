"""The rules of single beliefs: what is the same fact, what stands against it, what follows it.

Every function works inside a transaction that somebody else opened.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from palatine import text as texts
from palatine.errors import ConflictError, NotFoundError
from palatine.instants import Instant, as_end, check_interval
from palatine.store.base import Lookups, WriteTx
from palatine.types import (
    Cardinality,
    ChangeFilter,
    Entity,
    Fact,
    FactAdded,
    FactFilter,
    Kind,
    Op,
    Predicate,
    Superseded,
)

NAME_CHARS = 2000
MOST = 100_000
"""More facts with the same names, or beliefs about one fact, are not looked at."""


Names = tuple[str, str, str]


def describe(fact: Fact) -> str:
    """A fact in words, for messages: its names and, where given, its interval."""
    since = f" from {fact.valid_from}" if fact.valid_from else ""
    until = f" to {fact.valid_to}" if fact.valid_to else ""
    return f"{fact.subject} {fact.predicate} {fact.object}{since}{until}"


def names_of(subject: str, predicate: str, object_: str) -> Names:
    """Subject, predicate and object as they are kept; raises InputError for what no name is."""
    return (
        texts.clean_name(subject, "the subject", max_chars=NAME_CHARS),
        texts.clean_name(predicate, "the predicate"),
        texts.clean_name(object_, "the object", max_chars=NAME_CHARS),
    )


def wanted_fact(
    names: Names, *, valid_from: Instant | None, valid_to: Instant | None, **known: Any
) -> Fact:
    """A fact to `add`, with its wing, confidence, source and drawer.

    Raises:
        InputError: it ends before it begins.
    """
    check_interval(valid_from, valid_to, what=" ".join(names)[:200])
    return Fact(
        id="",
        version=1,
        subject_key=texts.fold(names[0]),
        subject=names[0],
        predicate=texts.fold_predicate(names[1]),
        object_key=texts.fold(names[2]),
        object=names[2],
        valid_from=valid_from,
        valid_to=valid_to,
        recorded_at=Instant(0),
        **known,
    )


def add(tx: WriteTx, wanted: Fact, *, report: bool = True) -> FactAdded:
    """Adds the belief, unless the same fact is known at the same time."""
    subject = _get_or_make(tx, wanted.subject)
    object_ = _get_or_make(tx, wanted.object)
    wanted = replace(
        wanted,
        id="",
        subject_key=subject.key,
        subject=subject.name,
        object_key=object_.key,
        object=object_.name,
        version=1,
        recorded_at=tx.recorded_at,
    )
    if known := overlapping(tx, wanted):
        over = known.valid_to is not None and known.valid_to.micros <= tx.recorded_at.micros
        if wanted.valid_from or not over or _bounds(wanted)[1] <= tx.recorded_at.micros:
            differs = _differs(known, wanted)
            return FactAdded(known, created=False, conflicts=(), differs=differs, seq=0)
        # It has ended, and is now said to be true: again, since nothing says since when.
        wanted = replace(wanted, valid_from=tx.recorded_at)
    conflicts = _conflicts(tx, wanted) if report else ()
    state = tx.state()
    seed = "\0".join((state.palace_id, wanted.wing, str(state.seq), str(wanted.recorded_at)))
    names = "\0".join((wanted.subject_key, wanted.predicate, wanted.object_key))
    fact = replace(wanted, id="f" + texts.digest(f"{seed}\0{names}".encode()).hex()[:15])
    tx.put_fact(fact)
    seq = tx.record(Kind.FACT, fact.id, Op.ADD, wing=fact.wing, before=None)
    return FactAdded(fact, created=True, conflicts=conflicts, differs="", seq=seq)


def supersede(tx: WriteTx, old: Fact, wanted: Fact, *, start: Instant) -> Superseded:
    """Ends the old belief and adds the wanted one, in the caller's transaction."""
    end = as_end(start)
    check_interval(old.valid_from, end, what=str(old))
    ended = succeed(tx, old, valid_to=end)
    seq = tx.record(Kind.FACT, old.id, Op.END, wing=old.wing, before=None)
    learn(tx, old.predicate, "single")
    added = add(tx, wanted, report=False)
    known = added.fact
    if not added.created and (known.valid_to or _bounds(known)[0] > start.micros):
        raise known_otherwise(known)
    return Superseded(known, ended, added.created, seq)


def overlapping(tx: Lookups, wanted: Fact) -> Fact | None:
    """Another believed fact with the same names and wing, true at the same time; the last one."""
    same = FactFilter(
        wing=wanted.wing,
        subject=wanted.subject_key,
        predicate=wanted.predicate,
        object=wanted.object_key,
        during=_bounds(wanted),
    )
    if not tx.edges(same):  # so it is nearly always, and a tenth of the work to know
        return None
    others = [fact for fact in tx.facts(same, limit=MOST) if fact.id != wanted.id]
    return max(others, key=lambda fact: _bounds(fact)[1], default=None)


def _bounds(fact: Fact) -> tuple[int, int]:
    start = -(2**63) if fact.valid_from is None else fact.valid_from.micros
    return start, 2**63 - 1 if fact.valid_to is None else fact.valid_to.micros


def _differs(known: Fact, wanted: Fact) -> str:
    """What was said otherwise of a known fact; what was not said does not differ."""
    parts = []
    if wanted.valid_from not in (None, known.valid_from):
        parts.append(f"valid_from is {known.valid_from or 'unknown'}, not {wanted.valid_from}")
    if wanted.valid_to != known.valid_to:
        parts.append(f"valid_to is {known.valid_to or 'open'}, not {wanted.valid_to or 'open'}")
    if wanted.confidence not in (1.0, known.confidence):
        parts.append(f"confidence is {known.confidence}, not {wanted.confidence}")
    for what in ("source", "drawer"):
        mine, theirs = getattr(known, what), getattr(wanted, what)
        if theirs not in ("", mine):
            parts.append(f"{what} is {mine or 'unknown'}, not {theirs}")
    return "; ".join(parts)


def known_otherwise(known: Fact) -> ConflictError:
    """The error for a fact that is known, but at another time than wanted."""
    return ConflictError(
        f"{describe(known)} is known already, for another time: correct {known.id} instead;"
        " nothing was written",
        standing=(describe(known),),
    )


def _conflicts(tx: WriteTx, wanted: Fact) -> tuple[Fact, ...]:
    """Other objects of the same predicate at the same time, where that is worth a word.

    Always for a *single* predicate; for one of which nothing is known the first time only: it is
    then taken to be one of many until somebody says otherwise.
    """
    cardinality = tx.predicate(wanted.predicate)
    if cardinality == "many":
        return ()
    beside = FactFilter(
        wing=wanted.wing,
        subject=wanted.subject_key,
        predicate=wanted.predicate,
        during=_bounds(wanted),
    )
    found = tuple(
        fact for fact in tx.facts(beside, limit=MOST) if fact.object_key != wanted.object_key
    )
    if found and cardinality is None:
        learn(tx, wanted.predicate, "many")
    return found


def rivals(facts: Iterable[Fact]) -> tuple[Fact, ...]:
    """Those believed facts of one subject, predicate and wing that hold together with another.

    They differ in their objects: of the same three names no two hold at the same time.
    """
    found: dict[str, Fact] = {}
    standing: list[Fact] = []
    for fact in sorted(facts, key=_bounds):
        start = _bounds(fact)[0]
        standing = [other for other in standing if _bounds(other)[1] > start]
        standing.append(fact)
        found |= {other.id: other for other in standing if len(standing) > 1}
    return tuple(found.values())


def learn(tx: WriteTx, name: str, cardinality: Cardinality, *, overrule: bool = False) -> None:
    """Remembers how many objects a predicate takes; what is known already is not overruled."""
    known = tx.predicate(name)
    if known == cardinality or (known is not None and not overrule):
        return
    before = None if known is None else Predicate(name, known)
    tx.record(Kind.PREDICATE, name, Op.UPDATE if known else Op.ADD, wing="", before=before)
    tx.put_predicate(name, cardinality)


def succeed(tx: WriteTx, fact: Fact, **values: Any) -> Fact:
    """Ends the belief and inserts the next one about the same fact."""
    tx.end_fact(fact.id, fact.version)
    successor = replace(
        fact, **values, version=fact.version + 1, recorded_at=tx.recorded_at, ended_at=None
    )
    tx.put_fact(successor)
    return successor


def require_open(
    tx: WriteTx, names: Names, wing: str | None, *, end: Instant, same_end: bool = False
) -> Fact:
    """The fact with these names that nobody has ended and that holds, or will, until `end`.

    A fact that was ended from a future day on has been ended: of two who do it, one wins.

    Args:
        same_end: one that has ended at exactly `end` will do.

    Raises:
        NotFoundError: there is none and was none.
        ConflictError: it was ended already, or stands in several wings.
    """
    pattern = FactFilter(
        wing=wing,
        subject=entity_key(tx, names[0]),
        predicate=texts.fold_predicate(names[1]),
        object=entity_key(tx, names[2]),
    )
    known = tx.facts(pattern, limit=MOST)
    until = max(end.micros, tx.recorded_at.micros)
    open_ = [fact for fact in known if _bounds(fact)[1] > until and not _was_ended(tx, fact)]
    if len(open_) == 1:
        return open_[0]
    if open_:
        raise ConflictError(
            f"{' '.join(names)}: {len(open_)} such facts are open; name the wing, or correct one"
            " by its id; nothing was written",
            standing=tuple(f"{describe(fact)} (wing {fact.wing!r})" for fact in open_),
        )
    if not known:
        near = _near_facts(tx, pattern, names)
        hint = f"; near it: {'; '.join(near)}" if near else ""
        raise NotFoundError(
            f"there is no fact {' '.join(names)}; nothing was written{hint}", candidates=near
        )
    last = max(known, key=lambda fact: _bounds(fact)[1])
    if same_end and last.valid_to == end:
        return last
    raise _already_ended(tx, last)


def _was_ended(tx: Lookups, fact: Fact) -> bool:
    """Whether the end that is known was said in order to end the fact."""
    if fact.valid_to is None:
        return False
    about = ChangeFilter(kind=Kind.FACT, ref=fact.id)
    return tx.changes(about, limit=1, newest_first=True)[0].op is Op.END


def _already_ended(tx: Lookups, fact: Fact) -> ConflictError:
    """Says when and by whom a fact was ended, and what holds in its place."""
    changes = tx.changes(ChangeFilter(kind=Kind.FACT, ref=fact.id), limit=1, newest_first=True)
    who = f" by {changes[0].agent}" if changes and changes[0].agent else ""
    seq = f" (change {changes[0].seq})" if changes else ""
    beside = FactFilter(wing=fact.wing, subject=fact.subject_key, predicate=fact.predicate)
    found = tx.facts(beside, limit=MOST)
    now = tuple(describe(other) for other in found if other.valid_to is None)
    instead = f"; now: {'; '.join(now)}" if now else ""
    return ConflictError(
        f"{describe(fact)}: this was ended already{who}{seq}{instead}; nothing was written",
        standing=now,
    )


def _near_facts(tx: Lookups, pattern: FactFilter, names: Names) -> tuple[str, ...]:
    """Facts that share two of the three names, then facts of near entities."""
    anything: Any = None
    parts = ("object", "predicate", "subject")
    looser = [replace(pattern, **{part: anything}) for part in parts]
    found = [describe(fact) for where in looser for fact in tx.facts(where, limit=3)]
    if not found:
        found = [name for given in (names[0], names[2]) for name in candidates(tx, given)]
    return tuple(dict.fromkeys(found))[:5]


def entity_key(tx: Lookups, name: str) -> str:
    """The key under which a name, or an alias, is or would be kept."""
    entity = tx.entity(texts.fold(name))
    return entity.key if entity else texts.fold(name)


def _get_or_make(tx: WriteTx, name: str) -> Entity:
    if found := tx.entity(texts.fold(name)):
        return found
    tx.put_entity(made := Entity(texts.fold(name), name))
    return made


def require_entity(tx: Lookups, name: str) -> Entity:
    """The entity with this name or alias; raises NotFoundError with near names."""
    name = texts.clean_name(name, "the entity's name", max_chars=NAME_CHARS)
    if entity := tx.entity(texts.fold(name)):
        return entity
    near = candidates(tx, name)
    hint = f"; did you mean {', '.join(near)}?" if near else ""
    raise NotFoundError(f"nothing is known of {name!r}{hint}", candidates=near)


def candidates(tx: Lookups, name: str) -> tuple[str, ...]:
    """Names and aliases near this one, best first."""
    key = texts.fold(name)
    words = key.split()
    found = tx.entities(words=words + [word[:3] for word in words if len(word) > 3], limit=200)
    return texts.near_names(name, [n for e in found for n in (e.name, *e.aliases)])


def require_fact(tx: Lookups, fact_id: str) -> Fact:
    """What is believed about the fact; raises NotFoundError when nothing is."""
    found = tx.facts(FactFilter(id=texts.clean_name(fact_id, "the fact's id")), limit=1)
    if not found:
        raise NotFoundError(f"nothing is believed under {fact_id!r}; nothing was written")
    return found[0]
