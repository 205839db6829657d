"""The rules of facts: keys, sameness, conflicts, ending and superseding, and what can be asked.

A fact is a chain of beliefs. A belief is never updated but for the moment at which the palace
stopped holding it, so that both questions can be asked: what was true then (`as_of`), and what
did we believe then (`known_at`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, get_args

from palatine import beliefs, instants, paths
from palatine import text as texts
from palatine.errors import ConflictError, InputError, NotFoundError
from palatine.instants import Instant, Time, as_end, check_interval, parse_end, parse_start
from palatine.store.base import Lookups, Store
from palatine.types import (
    Author,
    Cardinality,
    Direction,
    Entity,
    Fact,
    FactAdded,
    FactChanged,
    FactCounts,
    FactFilter,
    Kind,
    Near,
    Op,
    Page,
    State,
    Superseded,
)

MAX_DEPTH = 10
_LAST_VERSION = 2**31
_UNSET: Any = object()


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Facts that hold at the same time, of one subject, with several objects of one predicate.

    Attributes:
        facts: each holds together with another one of them; by start of validity, undated first.
        cardinality: `single`, or None: nobody has said whether there may be several.
    """

    facts: tuple[Fact, ...]
    cardinality: Cardinality | None


class Knowledge:
    """The knowledge graph of one store."""

    def __init__(self, store: Store, author: Author, *, wing: str = "") -> None:
        """Takes the store, who writes, and the wing of facts that are added without one."""
        self._store = store
        self._author = author
        self._wing = wing

    # Writing

    def add(
        self,
        subject: str,
        predicate: str,
        object: str,
        *,
        valid_from: Time | None = None,
        valid_to: Time | None = None,
        wing: str = "",
        confidence: float = 1.0,
        source: str = "",
        drawer: str = "",
        author: Author | None = None,
    ) -> FactAdded:
        """Adds a fact; the same fact again is one fact.

        What is known of the same three names at the same time stays as it is: the answer then
        says `created=False` and how it differs. Nothing is ever ended by adding.

        Args:
            subject, object: names or aliases of entities; made if there are none.
            predicate: folded to lower case with `_`.
            valid_from: 2025, 2025-03, 2025-03-14 or a datetime; None: not known, or now for a
                fact that has ended and is true again.
            valid_to: its end; a year, month or day means through it. None: still true.
            wing: when empty the wing that this palace is limited to, else none.
            confidence: 0 to 1.
            source: where it was read.
            drawer: the drawer that says so.
            author: who adds it; None: who opened the palace.

        Raises:
            InputError: a value cannot be used, or the interval is inverted.
            NotFoundError: there is no such drawer.
        """
        names = beliefs.names_of(subject, predicate, object)
        wanted = beliefs.wanted_fact(
            names,
            wing=texts.clean_label(wing, "the wing") or self._wing,
            valid_from=parse_start(valid_from, what="valid_from"),
            valid_to=parse_end(valid_to, what="valid_to"),
            confidence=texts.clean_share(confidence, "confidence"),
            source=texts.clean_label(source, "the source", max_chars=4096),
            drawer=texts.clean_label(drawer, "the drawer's id"),
        )
        with self._store.write(author or self._author) as tx:
            if wanted.drawer:
                wanted = replace(wanted, drawer=_drawer_id(tx, wanted.drawer))
            return beliefs.add(tx, wanted)

    def end(
        self,
        subject: str,
        predicate: str,
        object: str,
        *,
        ended: Time | None = None,
        wing: str | None = None,
        author: Author | None = None,
    ) -> FactChanged:
        """Ends a fact that is true: its validity stops, and what was believed stays on record.

        Args:
            subject: an entity's name or alias.
            predicate: folded to lower case with `_`.
            object: like the subject.
            ended: when; a year, month or day means through it. None: now.
            wing: None: whichever has it.
            author: who ends it.

        Raises:
            NotFoundError: there is no such fact; names near ones.
            ConflictError: it was ended already, at another time; use `correct`.
            InputError: the end would not be after its start.
        """
        names = beliefs.names_of(subject, predicate, object)
        wing = _clean_wing(wing)
        given = parse_end(ended, what="ended")
        with self._store.write(author or self._author) as tx:
            end = given or tx.recorded_at
            fact = beliefs.require_open(tx, names, wing, end=end, same_end=True)
            if fact.valid_to == end:
                return FactChanged(fact, changed=False, seq=0)
            check_interval(fact.valid_from, end, what=str(fact))
            successor = beliefs.succeed(tx, fact, valid_to=end)
            seq = tx.record(Kind.FACT, fact.id, Op.END, wing=fact.wing, before=None)
        return FactChanged(successor, changed=True, seq=seq)

    def supersede(
        self,
        subject: str,
        predicate: str,
        old: str,
        new: str,
        *,
        at: Time | None = None,
        wing: str | None = None,
        confidence: float = 1.0,
        source: str = "",
        drawer: str = "",
        author: Author | None = None,
    ) -> Superseded:
        """Ends one object of a predicate and begins another, in one transaction.

        Of two who supersede the same fact exactly one wins; the other gets an error that says
        what it lost to.

        Args:
            subject, predicate: as in `add`.
            old, new: the object until then, and from then on.
            at: when; of a year, month or day its beginning. None: now.
            wing: None: whichever has it.
            confidence: of the new fact, 0 to 1.
            source: where the new fact was read.
            drawer: the drawer that says so.
            author: who supersedes.

        Raises:
            NotFoundError: the old fact does not exist; names near ones.
            ConflictError: the old fact was ended already; says when, by whom, and what holds now.
                Or the new one is known, but not for all the time from then on.
            InputError: `at` is not after the old fact's start.
        """
        names = beliefs.names_of(subject, predicate, old)
        new = texts.clean_name(new, "the new object", max_chars=beliefs.NAME_CHARS)
        wing = _clean_wing(wing)
        source = texts.clean_label(source, "the source", max_chars=4096)
        drawer = texts.clean_label(drawer, "the drawer's id")
        confidence = texts.clean_share(confidence, "confidence")
        given = parse_start(at, what="at")
        with self._store.write(author or self._author) as tx:
            start = given or tx.recorded_at
            fact = beliefs.require_open(tx, names, wing, end=as_end(start))
            if beliefs.entity_key(tx, new) == fact.object_key:
                return Superseded(fact, fact, created=False, seq=0)
            wanted = replace(fact, object=new, valid_from=start, valid_to=None)
            wanted = replace(wanted, confidence=confidence, source=source)
            wanted = replace(wanted, drawer=_drawer_id(tx, drawer))
            return beliefs.supersede(tx, fact, wanted, start=start)

    def correct(
        self,
        fact_id: str,
        *,
        valid_from: Time | None = _UNSET,
        valid_to: Time | None = _UNSET,
        confidence: float = _UNSET,
        source: str = _UNSET,
        author: Author | None = None,
    ) -> FactChanged:
        """Replaces what is believed about a fact; the earlier belief stays on record.

        Args:
            fact_id: the fact's id; what is not given stays.
            valid_from: None: not known.
            valid_to: a year, month or day means through it; None: still true.
            confidence: 0 to 1.
            source: where it was read.
            author: who corrects it.

        Raises:
            NotFoundError: nothing is believed under this id.
            InputError: the interval would be inverted, or nothing was given.
            ConflictError: another fact with the same names holds at that time.
        """
        values: dict[str, Any] = {}
        if valid_from is not _UNSET:
            values["valid_from"] = parse_start(valid_from, what="valid_from")
        if valid_to is not _UNSET:
            values["valid_to"] = parse_end(valid_to, what="valid_to")
        if confidence is not _UNSET:
            values["confidence"] = texts.clean_share(confidence, "confidence")
        if source is not _UNSET:
            values["source"] = texts.clean_label(source, "the source", max_chars=4096)
        if not values:
            raise InputError("say what to correct: valid_from, valid_to, confidence or source")
        with self._store.write(author or self._author) as tx:
            fact = beliefs.require_fact(tx, fact_id)
            wanted = replace(fact, **values)
            if wanted == fact:
                return FactChanged(fact, changed=False, seq=0)
            check_interval(wanted.valid_from, wanted.valid_to, what=str(fact))
            if rival := beliefs.overlapping(tx, wanted):
                raise beliefs.known_otherwise(rival)
            successor = beliefs.succeed(tx, fact, **values)
            seq = tx.record(Kind.FACT, fact.id, Op.UPDATE, wing=fact.wing, before=None)
        return FactChanged(successor, changed=True, seq=seq)

    def delete(self, fact_id: str, *, author: Author | None = None) -> FactChanged:
        """Stops believing a fact altogether; what was believed can be asked with `known_at`.

        Raises:
            NotFoundError: nothing is believed under this id.
        """
        with self._store.write(author or self._author) as tx:
            fact = beliefs.require_fact(tx, fact_id)
            tx.end_fact(fact.id, fact.version)
            seq = tx.record(Kind.FACT, fact.id, Op.DELETE, wing=fact.wing, before=None)
        return FactChanged(replace(fact, ended_at=tx.recorded_at), changed=True, seq=seq)

    def add_entity(
        self,
        name: str,
        *,
        type: str = "",
        properties: Mapping[str, Any] | None = None,
        author: Author | None = None,
    ) -> Entity:
        """Makes an entity, or adds a type and properties to the one that is there.

        What is not given stays; a property with the value None is removed.
        """
        name = texts.clean_name(name, "the entity's name", max_chars=beliefs.NAME_CHARS)
        type = texts.clean_label(type, "the entity's type")
        given = _clean_properties(properties or {})
        with self._store.write(author or self._author) as tx:
            old = tx.entity(texts.fold(name))
            held = dict(old.properties) if old else {}
            merged = {k: v for k, v in (held | given).items() if v is not None}
            if old is None:
                entity = Entity(texts.fold(name), name, type, merged)
            else:
                entity = replace(old, type=type or old.type, properties=merged)
            if entity != old:
                op = Op.UPDATE if old else Op.ADD
                tx.record(Kind.ENTITY, entity.key, op, wing="", before=old)
                tx.put_entity(entity)
        return entity

    def add_alias(self, name: str, alias: str, *, author: Author | None = None) -> Entity:
        """Makes another name lead to an entity.

        Raises:
            NotFoundError: there is no such entity.
            ConflictError: the alias is an entity of its own, or leads to another one.
        """
        alias = texts.clean_name(alias, "the alias", max_chars=beliefs.NAME_CHARS)
        key = texts.fold(alias)
        with self._store.write(author or self._author) as tx:
            entity = beliefs.require_entity(tx, name)
            taken = tx.entity(key)
            if taken is not None and taken.key != entity.key:
                how = "an entity of its own" if taken.key == key else f"an alias of {taken.name}"
                raise ConflictError(
                    f"{alias!r} is {how}; nothing was written", standing=(taken.name,)
                )
            if taken is None:
                tx.record(Kind.ALIAS, key, Op.ADD, wing="", before=None)
                tx.put_alias(alias, key, entity.key)
            return tx.entity(entity.key) or entity

    def set_predicate(
        self, name: str, cardinality: Cardinality, *, author: Author | None = None
    ) -> None:
        """Says whether a predicate takes one object at a time (`single`) or `many`."""
        if cardinality not in ("single", "many"):
            raise InputError(f"{cardinality!r} is not known; a predicate is 'single' or 'many'")
        name = texts.fold_predicate(texts.clean_name(name, "the predicate"))
        with self._store.write(author or self._author) as tx:
            beliefs.learn(tx, name, cardinality, overrule=True)

    # Asking

    def get(self, fact_id: str) -> Fact:
        """What is believed about the fact with this id.

        Raises:
            NotFoundError: nothing.
        """
        with self._store.read() as tx:
            return beliefs.require_fact(tx, fact_id)

    def history(self, fact_id: str) -> list[Fact]:
        """All beliefs about a fact, the first one first.

        Raises:
            NotFoundError: there never was such a fact.
        """
        with self._store.read() as tx:
            fact_id = texts.clean_name(fact_id, "the fact's id")
            held = tx.facts(FactFilter(id=fact_id, every_belief=True), limit=beliefs.MOST)
        if not held:
            raise NotFoundError(f"no fact {fact_id!r}")
        return sorted(held, key=lambda fact: fact.version)

    def about(
        self,
        name: str,
        *,
        direction: Direction = "both",
        as_of: Time | None = None,
        known_at: Time | None = None,
        state: State = "current",
        wing: str | None = None,
        limit: int = 1000,
        cursor: str = "",
    ) -> list[Fact]:
        """Facts about an entity: those true now, unless asked otherwise.

        Args:
            name: its name or an alias.
            direction: `outgoing`: as subject; `incoming`: as object.
            as_of: true at some moment of this year, month, day or instant.
            known_at: as believed at the end of this year, month or day, or at this instant;
                what is current is then judged at that time, or now where it is still to come.
            state: `current`, `past`, `future` or `all`; not used with `as_of`.
            wing: None: all wings.
            limit: at most so many, 1 to 10,000.
            cursor: `cursor_after` the last fact seen: go on after it.

        Returns:
            Facts by start of validity, undated last.

        Raises:
            NotFoundError: nobody has heard of the entity; names near ones.
        """
        if direction not in ("both", "outgoing", "incoming"):
            raise InputError(
                f"direction {direction!r} is unknown; use 'both', 'outgoing' or 'incoming'"
            )
        with self._store.read() as tx:
            where = _where(tx, as_of=as_of, known_at=known_at, state=state, wing=wing)
            entity = beliefs.require_entity(tx, name)
            where = replace(where, entities=(entity.key,), direction=direction)
            return tx.facts(where, limit=_clean_limit(limit), after=_parse_cursor(cursor))

    def find(
        self,
        *,
        subject: str | None = None,
        predicate: str | None = None,
        object: str | None = None,
        as_of: Time | None = None,
        known_at: Time | None = None,
        state: State = "current",
        wing: str | None = None,
        limit: int = 1000,
        cursor: str = "",
    ) -> list[Fact]:
        """Facts that match a pattern; a part that is left out matches anything.

        Arguments, order and errors as in `about`.
        """
        with self._store.read() as tx:
            where = _where(tx, as_of=as_of, known_at=known_at, state=state, wing=wing)
            where = replace(where, predicate=_predicate_key(predicate))
            if subject is not None:
                where = replace(where, subject=beliefs.require_entity(tx, subject).key)
            if object is not None:
                where = replace(where, object=beliefs.require_entity(tx, object).key)
            return tx.facts(where, limit=_clean_limit(limit), after=_parse_cursor(cursor))

    def timeline(
        self,
        name: str | None = None,
        *,
        predicate: str | None = None,
        wing: str | None = None,
        limit: int = 100,
        cursor: str = "",
    ) -> Page[Fact]:
        """All that is believed, of one entity or of all, by start of validity, undated last.

        Args:
            name: None: everything.
            predicate: None: all predicates.
            wing: None: all wings.
            limit: facts on a page, 1 to 10,000.
            cursor: from the page before.
        """
        limit = _clean_limit(limit)
        where = FactFilter(wing=_clean_wing(wing), predicate=_predicate_key(predicate))
        with self._store.read() as tx:
            if name is not None:
                where = replace(where, entities=(beliefs.require_entity(tx, name).key,))
            facts = tx.facts(where, limit=limit + 1, after=_parse_cursor(cursor))
        if len(facts) <= limit:
            return Page(tuple(facts), "")
        return Page(tuple(facts[:limit]), cursor_after(facts[limit - 1]))

    def neighbours(
        self, name: str, *, depth: int = 1, as_of: Time | None = None, wing: str | None = None
    ) -> list[Near]:
        """Entities within so many steps over facts of any direction, the nearest first.

        Args:
            name: where to start.
            depth: 1 to 10 steps.
            as_of: over facts that held then; None: hold now.
            wing: None: all wings.
        """
        texts.clean_count(depth, "depth", most=MAX_DEPTH)
        with self._store.read() as tx:
            where = _where(tx, as_of=as_of, known_at=None, state="current", wing=wing)
            start = beliefs.require_entity(tx, name).key
            steps = paths.within(tx, where, start, depth)
            return [Near(_name(tx, key), step) for key, step in steps.items()]

    def graph(
        self,
        name: str | None = None,
        *,
        depth: int = 1,
        as_of: Time | None = None,
        known_at: Time | None = None,
        state: State = "current",
        wing: str | None = None,
        limit: int = 10_000,
    ) -> list[Fact]:
        """The facts within so many steps of an entity, or all of them: what a picture shows.

        Args:
            name: where to start; None: everything.
            depth: 1 to 10 steps over facts of any direction.
            as_of, known_at, state, wing, limit: as in `about`.
        """
        texts.clean_count(depth, "depth", most=MAX_DEPTH)
        with self._store.read() as tx:
            where = _where(tx, as_of=as_of, known_at=known_at, state=state, wing=wing)
            if name is not None:
                start = beliefs.require_entity(tx, name).key
                near = paths.within(tx, where, start, depth - 1)
                where = replace(where, entities=(start, *near))
            return tx.facts(where, limit=_clean_limit(limit))

    def path(
        self,
        start: str,
        goal: str,
        *,
        max_depth: int = 4,
        as_of: Time | None = None,
        wing: str | None = None,
    ) -> list[Fact]:
        """The facts of a shortest path between two entities; empty when there is none.

        Args:
            start: where it begins.
            goal: where it ends.
            max_depth: facts that it may have, 1 to 10.
            as_of: over facts that held then; None: hold now.
            wing: None: all wings.
        """
        texts.clean_count(max_depth, "depth", most=MAX_DEPTH)
        with self._store.read() as tx:
            where = _where(tx, as_of=as_of, known_at=None, state="current", wing=wing)
            a, b = (beliefs.require_entity(tx, name).key for name in (start, goal))
            ids = [] if a == b else paths.shortest(tx, where, a, b, max_depth)
            found = (tx.facts(FactFilter(id=ref), limit=1) for ref in ids)
            return [fact for facts in found for fact in facts]

    def contradictions(
        self, *, unsaid: bool = False, wing: str | None = None, limit: int = 100
    ) -> list[Contradiction]:
        """Where several objects of a *single* predicate hold at the same time, now or later.

        Nothing is changed.

        Args:
            unsaid: also of predicates of which nobody has said whether they take one object.
            wing: None: each wing for itself.
            limit: subjects with their predicate, 1 to 10,000.
        """
        with self._store.read() as tx:
            known = tx.predicates()
            names = {name for name, cardinality in known.items() if cardinality == "single"}
            if unsaid:
                used = tx.fact_counts(wing=_clean_wing(wing), now=0).predicates
                names |= used.keys() - known.keys()
            groups = tx.contradictory(
                sorted(names), wing=_clean_wing(wing), now=_now(tx), limit=_clean_limit(limit)
            )
            found = []
            for of, subject, predicate in groups:
                where = FactFilter(None, of, subject, predicate, during=(_now(tx), 2**63 - 1))
                facts = beliefs.rivals(tx.facts(where, limit=beliefs.MOST))
                found += [Contradiction(facts, known.get(predicate))] if facts else []
            return found

    def stats(self, *, wing: str | None = None) -> FactCounts:
        """Counts of what is believed."""
        with self._store.read() as tx:
            return tx.fact_counts(wing=_clean_wing(wing), now=_now(tx))

    def entity(self, name: str) -> Entity:
        """The entity with this name or alias.

        Raises:
            NotFoundError: nobody has heard of it; names near ones.
        """
        with self._store.read() as tx:
            return beliefs.require_entity(tx, name)

    def entities(self, *, containing: str = "", limit: int = 1000) -> list[Entity]:
        """Entities in whose names this text stands, the shortest first; empty: all of them."""
        key = texts.fold(containing)
        with self._store.read() as tx:
            return tx.entities(words=[key] if key else [], limit=_clean_limit(limit))

    def candidates(self, name: str) -> tuple[str, ...]:
        """Names of entities near this one, best first."""
        with self._store.read() as tx:
            return beliefs.candidates(tx, name)

    def predicates(self) -> dict[str, Cardinality]:
        """Predicates of which it is known whether they take one object at a time."""
        with self._store.read() as tx:
            return tx.predicates()


def _drawer_id(tx: Lookups, given: str) -> str:
    found = tx.drawer(given) if given else None
    if given and found is None:
        raise NotFoundError(f"no drawer {given!r}; nothing was written")
    return found.id if found else ""


def _predicate_key(given: str | None) -> str | None:
    if given is None:
        return None
    return texts.fold_predicate(texts.clean_name(given, "the predicate"))


def _name(tx: Lookups, key: str) -> str:
    entity = tx.entity(key)
    return entity.name if entity else key


def _now(tx: Lookups) -> int:
    """This moment, but not before the last change: clocks step back."""
    return max(instants.now().micros, tx.state().last_at)


def _where(
    tx: Lookups, *, as_of: Time | None, known_at: Time | None, state: State, wing: str | None
) -> FactFilter:
    if state not in get_args(State):
        raise InputError(f"state {state!r} is unknown; use 'current', 'past', 'future' or 'all'")
    where = FactFilter(wing=_clean_wing(wing))
    moment = _now(tx)
    if (known := instants.parse_period(known_at, what="known_at")) is not None:
        where = replace(where, known_at=known[1].micros - 1)
        moment = min(moment, known[1].micros - 1)
    if (period := instants.parse_period(as_of, what="as_of")) is not None:
        return replace(where, during=(period[0].micros, period[1].micros))
    if state == "current":
        return replace(where, during=(moment, moment + 1))
    if state == "past":
        return replace(where, ends_by=moment)
    return replace(where, starts_after=moment + 1) if state == "future" else where


def _clean_limit(limit: int) -> int:
    return texts.clean_count(limit, "limit", most=10_000)


def _clean_wing(wing: str | None) -> str | None:
    return None if wing is None else texts.clean_label(wing, "the wing")


def _clean_properties(properties: Mapping[str, Any]) -> dict[str, Any]:
    try:
        cleaned = json.loads(json.dumps(dict(properties), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the properties cannot be kept as JSON: {error}") from None
    return {texts.clean_name(name, "a property's name"): cleaned[name] for name in cleaned}


def cursor_after(fact: Fact) -> str:
    """What goes on in a list after this fact."""
    return f"{'' if fact.valid_from is None else fact.valid_from.micros}:{fact.id}"


def _parse_cursor(cursor: str) -> tuple[int | None, str, int] | None:
    if not cursor:
        return None
    start, _, fact_id = cursor.partition(":")
    try:
        micros = Instant(int(start)).micros if start else None
        # Behind every belief about the fact: one that is ended meanwhile does not come again.
        return micros, texts.clean_name(fact_id, "the cursor"), _LAST_VERSION
    except ValueError:
        raise InputError(f"cursor {cursor!r:.80} was not made by this list; leave it out") from None
