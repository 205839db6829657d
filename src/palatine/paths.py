"""Searches along facts: what is near an entity, and how two of them are connected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from palatine.store.base import Lookups
from palatine.types import FactFilter


def within(tx: Lookups, where: FactFilter, start: str, depth: int) -> dict[str, int]:
    """How many steps each other entity is away, by breadth-first search; the nearest first."""
    steps = {start: 0}
    frontier = [start]
    for step in range(1, depth + 1):
        edges = tx.edges(replace(where, entities=tuple(frontier)))
        ends = {key for edge in edges for key in (edge.subject_key, edge.object_key)}
        frontier = sorted(ends - steps.keys())
        steps |= dict.fromkeys(frontier, step)
    del steps[start]
    return steps


def shortest(tx: Lookups, where: FactFilter, a: str, b: str, max_depth: int) -> list[str]:
    """Fact ids of a shortest path; empty when there is none of so many steps.

    Breadth first from both ends, the smaller side next, so that a hub is not spread out from both.
    """
    # For each side: each entity reached, with the fact and the entity it was reached from.
    sides: list[dict[str, tuple[str, str] | None]] = [{a: None}, {b: None}]
    frontiers = [[a], [b]]
    for _ in range(max_depth):
        side = 0 if len(frontiers[0]) <= len(frontiers[1]) else 1
        mine, other = sides[side], sides[1 - side]
        reached: list[str] = []
        for edge in tx.edges(replace(where, entities=tuple(frontiers[side]))):
            ends = (edge.subject_key, edge.object_key)
            for here, there in (ends, ends[::-1]):
                if here in mine and there not in mine:
                    mine[there] = (edge.fact, here)
                    reached.append(there)
        if meeting := next((key for key in reached if key in other), None):
            return _walk(sides[0], meeting)[::-1] + _walk(sides[1], meeting)
        frontiers[side] = reached
        if not reached:
            return []
    return []


def _walk(side: Mapping[str, tuple[str, str] | None], key: str) -> list[str]:
    """Fact ids from an entity back to where its side began."""
    facts = []
    while (step := side[key]) is not None:
        facts.append(step[0])
        key = step[1]
    return facts
