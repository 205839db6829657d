"""MemPalace's names and shapes for Palatine's nouns."""

from __future__ import annotations

from typing import Any

from palatine.types import Fact, FactCounts

_CLOSET = "closet:"


def entity_id(name: str) -> str:
    """An entity's id: its name in lower case, `_` for blanks, without apostrophes.

    Only a spelling. Two names that share it (`New York` and `new_york`) are two entities.
    """
    return name.lower().replace(" ", "_").replace("'", "")


def triple_id(fact: Fact) -> str:
    """The id of a fact, the same for all beliefs about it: `t_max_works_at_acme_f0c1…`."""
    names = (entity_id(fact.subject), fact.predicate, entity_id(fact.object))
    return f"t_{'_'.join(names)}_{fact.id}"


def source(*, file: str | None, closet: str | None) -> str:
    """The one source that a fact has: the file, else the closet, marked as such."""
    return file or (f"{_CLOSET}{closet}" if closet else "")


def relation(fact: Fact) -> dict[str, Any]:
    """A fact; `current` means that it is true now."""
    closet = fact.source.removeprefix(_CLOSET) if fact.source.startswith(_CLOSET) else None
    return {
        "id": triple_id(fact),
        "subject": fact.subject,
        "predicate": fact.predicate,
        "object": fact.object,
        "valid_from": None if fact.valid_from is None else str(fact.valid_from),
        "valid_to": None if fact.valid_to is None else str(fact.valid_to),
        "confidence": fact.confidence,
        "source_closet": closet,
        "source_file": None if closet else fact.source or None,
        "source_drawer_id": fact.drawer or None,
        "recorded_at": str(fact.recorded_at),
        "current": fact.current,
    }


def directed(fact: Fact, direction: str) -> dict[str, Any]:
    """A fact as seen from one of its ends."""
    return {"direction": direction, **relation(fact)}


def stats(counts: FactCounts) -> dict[str, Any]:
    """Counts of facts; those that start later are neither current nor expired."""
    return {
        "entities": counts.entities,
        "triples": counts.facts,
        "current_facts": counts.current,
        "expired_facts": counts.past,
        "future_facts": counts.future,
        "relationship_types": sorted(counts.predicates),
    }
