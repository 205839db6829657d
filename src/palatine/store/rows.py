"""How nouns stand in columns, and how a filter becomes SQL.

Filters compose fragments from the constant tables below; every value is bound.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from palatine import text as texts
from palatine.instants import Instant
from palatine.store.base import Noun
from palatine.types import (
    Change,
    ChangeFilter,
    Drawer,
    DrawerFilter,
    End,
    Entity,
    Fact,
    FactFilter,
    Kind,
    Link,
    Op,
    Predicate,
)

Values = list[Any]

DRAWER_COLUMNS = (
    "d.id, d.wing, d.room, d.kind, d.pinned, d.digest, d.source, d.position, d.author, d.session,"
    " d.said_at, d.said_code, d.filed_at, d.changed_at, d.metadata, d.seq"
)
FACT_COLUMNS = (
    "f.id, f.version, f.wing, f.subject, s.name, f.predicate, f.object, o.name, f.valid_from,"
    " f.from_code, f.valid_to, f.to_code, f.confidence, f.source, f.drawer, f.recorded_at,"
    " f.ended_at"
)
_GIVEN_TIMES = ("said_at", "valid_from", "valid_to")
"""Fields with a second column, for the precision with which they were given."""
CHANGE_COLUMNS = "seq, operation, kind, ref, op, wing, at, agent, session"

_DRAWER_TERMS: Mapping[str, str] = {
    "wing": "d.wing = ?",
    "room": "d.room = ?",
    "kind": "d.kind = ?",
    "source": "d.source = ?",
    "position": "d.position = ?",
    "author": "d.author = ?",
    "session": "d.session = ?",
    "pinned": "d.pinned = ?",
    "said_since": "d.said_at >= ?",
    "said_before": "d.said_at < ?",
    "filed_since": "d.filed_at >= ?",
    "filed_before": "d.filed_at < ?",
    "ids": "d.id IN (SELECT value FROM json_each(?))",
    "digest": "d.digest = ?",
    "unread_by": "NOT EXISTS (SELECT 1 FROM reading r WHERE r.drawer = d.id AND r.reader = ?"
    " AND r.digest = d.digest)",
    "read_by": "d.id IN (SELECT drawer FROM reading WHERE reader = ?)",
}
_FACT_TERMS: Mapping[str, str] = {
    "id": "f.id = ?",
    "wing": "f.wing = ?",
    "subject": "f.subject = ?",
    "predicate": "f.predicate = ?",
    "object": "f.object = ?",
    "starts_after": "f.valid_from >= ?",
    "ends_by": "f.valid_to <= ?",
    "source_drawer": "f.drawer = ?",
}
_CHANGE_TERMS: Mapping[str, str] = {
    "kind": "kind = ?",
    "ref": "ref = ?",
    "wing": "wing = ?",
    "agent": "agent = ?",
    "session": "session = ?",
    "since": "at >= ?",
    "kept": "(seq IN (SELECT seq FROM revision)) = ?",
    # The changes of one operation follow each other: stop where the next one begins.
    "operation": "operation = ?1 AND seq >= ?1 AND seq < ifnull((SELECT seq FROM change"
    " WHERE seq > ?1 AND operation > ?1 ORDER BY seq LIMIT 1), 9223372036854775807)",
}
# A wing may have nearly all drawers and changes, an id has one or few: the plus keeps the wing's
# index out.
_DRAWERS_BY_ID = {**_DRAWER_TERMS, "wing": "+d.wing = ?"}
_CHANGES_OF_ONE = {**_CHANGE_TERMS, "wing": "+wing = ?"}
_AS_SUBJECT = "f.subject IN (SELECT value FROM json_each(?))"
_AS_OBJECT = "f.object IN (SELECT value FROM json_each(?))"
# Two seeks instead of an OR over both columns: the planner then uses both indexes.
_AS_EITHER = (
    "f.row IN (SELECT row FROM fact WHERE subject IN (SELECT value FROM json_each(?))"
    " UNION ALL SELECT row FROM fact WHERE object IN (SELECT value FROM json_each(?)))"
)


def _bound(value: object) -> object:
    """A value as SQLite takes it."""
    if isinstance(value, Instant):
        return value.micros
    if isinstance(value, tuple):
        return json.dumps(value)
    if isinstance(value, bool):
        return int(value)
    return value


def _terms(table: Mapping[str, str], where: object) -> tuple[list[str], Values]:
    fragments, values = [], []
    for name, fragment in table.items():
        value = getattr(where, name)
        if value is not None:
            fragments.append(fragment)
            values.append(_bound(value))
    return fragments, values


def _all_of(fragments: Sequence[str]) -> str:
    """The fragments as one condition; true when there are none."""
    return " AND ".join(fragments) or "1"


def drawer_terms(where: DrawerFilter) -> tuple[str, Values]:
    """A condition over `drawer d`, and its values; no values where nothing restricts."""
    fragments, values = _terms(_DRAWER_TERMS if where.ids is None else _DRAWERS_BY_ID, where)
    if where.source:
        fragments.append("d.source <> ''")  # only so the index of sources can be used
    if where.below is not None:
        fragments.append("d.source >= ? AND d.source < ? AND d.source <> ''")
        values += [where.below, where.below + "\U0010ffff"]
    return _all_of(fragments), values


def fact_terms(where: FactFilter) -> tuple[str, Values]:
    """A condition over `fact f`, and its values."""
    fragments, values = _terms(_FACT_TERMS, where)
    if where.entities is not None:
        keys = json.dumps(where.entities)
        if where.direction == "both":
            fragments.append(_AS_EITHER)
            values += [keys, keys]
        else:
            fragments.append(_AS_SUBJECT if where.direction == "outgoing" else _AS_OBJECT)
            values.append(keys)
    if where.during is not None:
        start, end = where.during
        fragments.append("(f.valid_from IS NULL OR f.valid_from < ?)")
        fragments.append("(f.valid_to IS NULL OR f.valid_to > ?)")
        values += [end, start]
    if not where.every_belief:
        if where.known_at is None:
            fragments.append("f.ended_at IS NULL")
        else:
            fragments.append("f.recorded_at <= ? AND (f.ended_at IS NULL OR f.ended_at > ?)")
            values += [where.known_at, where.known_at]
    return _all_of(fragments), values


def change_terms(where: ChangeFilter) -> tuple[str, Values]:
    """A condition over `change`, and its values."""
    fragments, values = _terms(_CHANGE_TERMS if where.ref is None else _CHANGES_OF_ONE, where)
    if where.operation is not None:  # its fragment names its value ?1: it must be bound first
        fragments.insert(0, fragments.pop())
        values.insert(0, values.pop())
    return _all_of(fragments), values


def _instant(micros: int | None, code: int | None) -> Instant | None:
    return None if micros is None else Instant.from_code(micros, code or 0)


def _values(noun: Drawer | Fact, *, without: Sequence[str]) -> Values:
    """The noun's fields but these as its table's columns, which have the same order."""
    values: Values = []
    for name in (field.name for field in fields(noun) if field.name not in without):
        value = getattr(noun, name)
        if isinstance(value, Mapping):
            value = json.dumps(dict(value))
        if name in _GIVEN_TIMES:
            values += (None, None) if value is None else (value.micros, value.code)
        else:
            values.append(_bound(value))
    return values


def drawer_from(row: Sequence[Any], text: bytes | None) -> Drawer:
    """A drawer from DRAWER_COLUMNS and its text."""
    cells = [
        *row[:4],
        bool(row[4]),
        "" if text is None else texts.decode(text),
        *row[5:10],
        _instant(row[10], row[11]),
        Instant(row[12]),
        Instant(row[13]),
        json.loads(row[14]),
        row[15],
    ]
    return Drawer(*cells)


def drawer_values(drawer: Drawer) -> Values:
    """The drawer as the values of DRAWER_COLUMNS and its text."""
    return [*_values(drawer, without=("text",)), texts.encode(drawer.text)]


def fact_from(row: Sequence[Any]) -> Fact:
    """A fact from FACT_COLUMNS."""
    given = [_instant(row[8], row[9]), _instant(row[10], row[11])]
    cells = [*row[:8], *given, *row[12:15], Instant(row[15]), _instant(row[16], 0)]
    return Fact(*cells)


def fact_values(fact: Fact) -> Values:
    """The fact as the values of its own columns, in the table's order."""
    return _values(fact, without=("subject", "object"))


def entity_from(row: Sequence[Any]) -> Entity:
    """An entity from its columns and a JSON array of its aliases."""
    key, name, kind, properties, aliases = row
    return Entity(key, name, kind, json.loads(properties), tuple(json.loads(aliases)))


def change_from(row: Sequence[Any]) -> Change:
    """A change from CHANGE_COLUMNS."""
    seq, operation, kind, ref, op, wing, at, agent, session = row
    return Change(seq, operation, Kind(kind), ref, Op(op), wing, Instant(at), agent, session)


def link_from(row: Sequence[Any]) -> Link:
    """A link from its table's columns."""
    return Link(row[0], End(*row[1:4]), End(*row[4:7]), row[7], Instant(row[8]))


def link_values(link: Link) -> Values:
    """The link as its table's columns."""
    a, b = link.source, link.target
    ends = [a.wing, a.room, a.drawer, b.wing, b.room, b.drawer]
    return [link.id, *ends, link.label, link.linked_at.micros]


def encode_noun(noun: Noun) -> bytes:
    """A row as a revision keeps it: one line of JSON, then a drawer's text as its bytes."""
    if isinstance(noun, Drawer):
        *columns, text = drawer_values(noun)
        columns[5] = noun.digest.hex()
        return json.dumps(["drawer", columns]).encode("ascii") + b"\n" + bytes(text)
    if isinstance(noun, Link):
        return json.dumps(["link", link_values(noun)]).encode("ascii") + b"\n"
    kind = "entity" if isinstance(noun, Entity) else "predicate"
    return json.dumps([kind, asdict(noun)]).encode("ascii") + b"\n"


def decode_noun(data: bytes) -> Noun:
    """What `encode_noun` made, back."""
    head, _, text = data.partition(b"\n")
    kind, columns = json.loads(head)
    if kind == "drawer":
        columns[5] = bytes.fromhex(columns[5])
        return drawer_from(columns, text)
    if kind == "link":
        return link_from(columns)
    if kind == "predicate":
        return Predicate(**columns)
    columns["aliases"] = tuple(columns["aliases"])
    return Entity(**columns)
