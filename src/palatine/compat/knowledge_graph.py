"""The class `KnowledgeGraph` as users of MemPalace know it, over a palace."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self, get_args

from palatine.beliefs import describe
from palatine.compat import shapes
from palatine.errors import ConflictError, InputError
from palatine.instants import Time, parse_end, parse_period, parse_start
from palatine.palace import Palace
from palatine.types import Author, Direction, Fact

_TIMELINE = 100
_PAGE = 10_000


class KnowledgeGraph:
    """Facts with dates, in a palace's folder or in a single file, for any number of processes.

    Arguments, defaults and results are MemPalace's; a time may be anything that Palatine reads
    (2025, 2025-03, 2025-03-14, a datetime with or without an offset). It differs where the other
    answer would not be true:

    * `current` means true now: a fact that starts in 2099 is not current, one that ends in 2099
      is; the first is counted in `future_facts`, not in `current_facts`.
    * An end given as a day is that whole day, `as_of` a day means at some moment of it, and what
      is ended without saying when ends now: what has been ended today is no longer current.
    * What cannot be done is an error, not a success: ending or superseding a fact that is not
      there, ending an ended one at another time, asking about an entity nobody has heard of,
      naming a drawer that does not exist, adding a known fact with other dates. `ConflictError`
      then says what is known, `NotFoundError` names what is near.
    * Superseding a value by itself changes nothing. Of two who supersede the same fact one wins.
    * The same closed fact added twice is one fact. One that has ended and is added again without
      a start is another fact, true from now on.
    * Names are the stored ones, not those asked with. `New York` and `new_york`, `O'Brien` and
      `OBrien` are two entities each: an id as `add_entity` returns it is no name to ask with.
    * Adding an entity again keeps its properties and, where none is given, its type.
    * What was given as source is returned. A fact has one source: of a file and a closet, the
      file. The adapter's name stands in the change feed.
    """

    def __init__(self, db_path: str | Path | None = None) -> None:
        """Opens the graph, or makes it, with its parent folders.

        Args:
            db_path: a folder (one that exists, or a name without a suffix) for a palace with
                everything in it; a file for this graph alone, with its lock beside it; None: the
                user's own palace.

        Raises:
            StoreError: it cannot be used, see `palatine.errors`; nothing was written.
        """
        self._palace = Palace.open(db_path, single=bool(db_path) and _is_file(str(db_path)))
        self._knowledge = self._palace.knowledge

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes; again is no error."""
        self._palace.close()

    def add_entity(
        self,
        name: str,
        entity_type: str = "unknown",
        properties: Mapping[str, Any] | None = None,
    ) -> str:
        """Makes an entity, or adds to the one that is there; returns its id, as `dr._chen`.

        Raises:
            InputError: a value cannot be used; nothing was written.
        """
        known = "" if entity_type == "unknown" else entity_type
        entity = self._knowledge.add_entity(name, type=known, properties=properties)
        return shapes.entity_id(entity.name)

    def add_triple(
        self,
        subject: str,
        predicate: str,
        obj: str,
        valid_from: Time | None = None,
        valid_to: Time | None = None,
        confidence: float = 1.0,
        source_closet: str | None = None,
        source_file: str | None = None,
        source_drawer_id: str | None = None,
        adapter_name: str | None = None,
    ) -> str:
        """Adds a fact and returns its id, as `t_max_works_at_acme_…`; of a known one that id.

        Raises:
            InputError: a value cannot be used, or the interval is inverted.
            NotFoundError: there is no such drawer.
            ConflictError: it is known with other dates; nothing was written.
        """
        added = self._knowledge.add(
            subject,
            predicate,
            obj,
            valid_from=valid_from,
            valid_to=valid_to,
            confidence=confidence,
            source=shapes.source(file=source_file, closet=source_closet),
            drawer=source_drawer_id or "",
            author=Author(adapter_name) if adapter_name else None,
        )
        fact = added.fact
        dated = parse_start(valid_from) not in (None, fact.valid_from)
        if not added.created and (dated or parse_end(valid_to) != fact.valid_to):
            raise ConflictError(
                f"{fact} is known already, but {added.differs}; nothing was written;"
                " end it, or correct it with Palace.knowledge.correct",
                standing=(describe(fact),),
            )
        return shapes.triple_id(fact)

    def invalidate(self, subject: str, predicate: str, obj: str, ended: Time | None = None) -> None:
        """Ends a fact: at the end of the day, month or year given, at an instant, or now.

        Raises:
            NotFoundError: there is no such fact; names near ones.
            ConflictError: it was ended already, at another time.
            InputError: the end would not be after its start.
        """
        self._knowledge.end(subject, predicate, obj, ended=ended)

    def supersede(
        self,
        subject: str,
        predicate: str,
        old_obj: str,
        new_obj: str,
        at: Time | None = None,
        confidence: float = 1.0,
        source_closet: str | None = None,
        source_file: str | None = None,
        source_drawer_id: str | None = None,
        adapter_name: str | None = None,
    ) -> str:
        """Ends one object and begins another at one moment; returns the new fact's id.

        Raises:
            NotFoundError: the old fact, or the drawer, does not exist.
            ConflictError: the old fact was ended already; says what holds now.
            InputError: a value cannot be used, or `at` is not after the old fact's start.
        """
        done = self._knowledge.supersede(
            subject,
            predicate,
            old_obj,
            new_obj,
            at=at,
            confidence=confidence,
            source=shapes.source(file=source_file, closet=source_closet),
            drawer=source_drawer_id or "",
            author=Author(adapter_name) if adapter_name else None,
        )
        return shapes.triple_id(done.fact)

    def query_entity(
        self, name: str, as_of: Time | None = None, direction: str = "outgoing"
    ) -> list[dict[str, Any]]:
        """Facts about an entity, ended and future ones too unless `as_of` says when.

        With `both`, a fact that leads from an entity to itself is there in both directions.

        Raises:
            NotFoundError: nobody has heard of the entity; names near ones.
            InputError: the time or the direction cannot be used.
        """
        if direction not in get_args(Direction):
            raise InputError(f"direction {direction!r} is unknown; use {get_args(Direction)}")
        key = self._knowledge.entity(name).key
        facts = self._facts(name=name, as_of=as_of)
        found = []
        if direction != "incoming":
            found += [shapes.directed(f, "outgoing") for f in facts if f.subject_key == key]
        if direction != "outgoing":
            found += [shapes.directed(f, "incoming") for f in facts if f.object_key == key]
        return found

    def query_relationship(self, predicate: str, as_of: Time | None = None) -> list[dict[str, Any]]:
        """Facts with this predicate, ended and future ones too unless `as_of` says when."""
        facts = self._facts(predicate=predicate, as_of=as_of)
        return [shapes.relation(fact) for fact in facts]

    def timeline(self, entity_name: str | None = None) -> list[dict[str, Any]]:
        """The first 100 facts, of one entity or of all, by start, undated last.

        Raises:
            NotFoundError: nobody has heard of the entity; names near ones.
        """
        page = self._knowledge.timeline(entity_name or None, limit=_TIMELINE)
        return [shapes.relation(fact) for fact in page]

    def stats(self) -> dict[str, Any]:
        """Counts: entities, triples, current, expired and future facts; and the predicates."""
        return shapes.stats(self._knowledge.stats())

    def _facts(
        self, *, name: str | None = None, predicate: str | None = None, as_of: Time | None
    ) -> list[Fact]:
        """All that is believed about a name or with a predicate, however much it is."""
        period = parse_period(as_of, what="as_of")
        page = self._knowledge.timeline(name, predicate=predicate, limit=_PAGE)
        facts = list(page)
        while page.cursor:
            page = self._knowledge.timeline(
                name, predicate=predicate, limit=_PAGE, cursor=page.cursor
            )
            facts += page
        if period is None:
            return facts
        start, end = (moment.micros for moment in period)
        return [fact for fact in facts if fact.true_during(start, end)]


def _is_file(given: str) -> bool:
    path = Path(given).expanduser()
    return not path.is_dir() and (path.is_file() or bool(path.suffix))
