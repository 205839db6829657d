"""MemPalace palaces: drawers with their vectors, diaries, facts, tunnels, people."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from palatine import text as texts
from palatine.drawers import DEFAULT_WING, DIARY_ROOM
from palatine.errors import InputError
from palatine.imports import chroma
from palatine.imports.base import Noun, Reading, Vector, drawer, fact, moment, new_id
from palatine.imports.chroma import Row
from palatine.instants import Instant, parse_start
from palatine.types import End, Entity, FormerId, Link

PRODUCT = "mempalace"
_PARENTS = ("parent_drawer_id", "parent_entry_id")
_SLICE = re.compile(r"_chunk_\d{6}$")
_GRAPH = "knowledge_graph.sqlite3"
_ELSEWHERE = {"wing", "room", "source_file", "type", "agent", "topic", *_PARENTS}


def read(path: Path, reading: Reading) -> Iterator[Noun]:
    """Reads a palace; with its configuration's folder also what lies beside it; or a graph alone.

    Args:
        path: the palace's folder (`~/.mempalace/palace`); or `~/.mempalace` itself, whose graph
            may hold the facts of several palaces; or a `knowledge_graph.sqlite3`.
        reading: is told what is damaged, and what was skipped.

    Raises:
        InputError: no palace is there.
    """
    if path.is_file() and path.suffix == ".sqlite3" and path.name != "chroma.sqlite3":
        yield from _facts(path, reading)
        return
    home = None
    if not (path / "chroma.sqlite3").is_file():
        home, path = path, path / "palace"
    if not (path / "chroma.sqlite3").is_file():
        raise InputError(
            f"{home}: no chroma.sqlite3 is there; give a MemPalace palace, mostly ~/.mempalace"
        )
    places: dict[tuple[str, str], End] = {}
    yield from _drawers(path, reading, places)
    graph = next((f for f in (path / _GRAPH, (home or path) / _GRAPH) if f.is_file()), None)
    if graph:
        yield from _facts(graph, reading)
    elif (path.parent / _GRAPH).is_file():
        reading.counts[f"graph left alone: {path.parent / _GRAPH}; give {path.parent}"] += 1
    for tunnel in _json(path.parent / "tunnels.json", list, reading):
        yield from reading.attempt(f"tunnel {tunnel!s:.80}", _tunnel, tunnel, places, reading)
    people = _json(home / "entity_registry.json", dict, reading).get("people") if home else {}
    for name, known in people.items() if isinstance(people, dict) else ():
        yield from reading.attempt(f"person {name}", _person, name, known)


def _drawers(path: Path, reading: Reading, places: dict[tuple[str, str], End]) -> Iterator[Noun]:
    try:
        db = chroma.copied(path / "chroma.sqlite3", reading.scratch)
        for collection in db.execute("SELECT * FROM collections").fetchall():
            if "closets" in collection["name"]:
                reading.counts["collections of closets skipped"] += 1
                continue
            for rows in chroma.units(db, path, collection, _PARENTS, reading):
                reading.counts["rows"] += len(rows)
                yield from reading.attempt(f"drawer {rows[0].id}", _drawer, rows, reading, places)
    except (sqlite3.Error, ValueError) as error:
        reading.problem(path / "chroma.sqlite3", f"cannot be read on: {error}")


def _drawer(
    rows: Sequence[Row], reading: Reading, places: dict[tuple[str, str], End]
) -> Iterator[Noun]:
    slices = [row for row in rows if any(row.metadata.get(name) for name in _PARENTS)]
    rows = slices or rows[:1]
    first = rows[0]
    known = dict(first.metadata)
    if first.id.startswith("_reg_") or known.get("ingest_mode") == "registry":
        reading.counts["registry rows skipped"] += 1
        return
    unit = next((str(known[name]) for name in _PARENTS if known.get(name)), first.id)
    ref = new_id(PRODUCT, unit)
    numbers = [row.metadata.get("chunk_index") for row in slices]
    if slices and numbers != list(range(len(slices))):
        reading.problem(f"drawer {unit}", f"slices are missing: only {numbers} are there")
        known["left_out"] = f"all slices but {numbers}"
    if any(row.text is None for row in rows):
        raise ValueError("a row has no text")
    text = "".join(row.text or "" for row in rows)
    values = _values(known, first, unit, in_slices=bool(slices))
    old = str(known.get("wing") or DEFAULT_WING), str(known.get("room") or "notes")
    places[old] = End(values["wing"], values["room"])
    yield drawer(ref, text, **values)
    reading.counts["slices joined"] += len(slices)
    for former in {unit, *(row.id for row in rows)}:
        yield FormerId(former, ref)
    if not first.vector:
        reading.counts["rows without a vector there"] += 1
    elif len(rows) == 1:
        yield Vector(ref, text, first.vector)


def _values(known: Mapping[str, Any], first: Row, unit: str, *, in_slices: bool) -> dict[str, Any]:
    filed = _local(known.get("filed_at")) or moment(first.created_at)
    kept = {k: v for k, v in known.items() if k not in _ELSEWHERE}
    values: dict[str, Any] = {
        "wing": str(known.get("wing") or DEFAULT_WING),
        "room": str(known.get("room") or "notes"),
        "source": str(known.get("source_file") or ""),
        "said_at": moment(known.get("authored_at")) or moment(known.get("content_date")),
        "filed_at": filed,
        "metadata": {PRODUCT: {"id": unit, **kept}},
    }
    if known.get("type") == "diary_entry":
        agent = str(known.get("agent") or values["wing"].removeprefix("wing_"))
        topic = {"topic": known.get("topic") or "general"}
        values |= {"kind": "diary", "author": agent, "wing": agent, "room": DIARY_ROOM}
        values |= {"metadata": topic | values["metadata"], "position": filed.micros if filed else 0}
    elif values["source"] and not in_slices and type(known.get("chunk_index")) is int:
        values["position"] = known["chunk_index"]
    return values


def _local(value: object) -> Instant | None:
    """A time without a zone, which is this computer's."""
    try:
        return parse_start(datetime.fromisoformat(str(value)).astimezone())
    except (ValueError, OverflowError):
        return None


def _facts(file: Path, reading: Reading) -> Iterator[Noun]:
    try:
        db = chroma.copied(file, reading.scratch)
        for row in db.execute("SELECT * FROM entities"):
            yield from reading.attempt(f"entity {row['name']}", _entity, dict(row))
        triples = db.execute(
            "SELECT t.*, s.name AS subject_name, o.name AS object_name FROM triples t"
            " LEFT JOIN entities s ON s.id = t.subject LEFT JOIN entities o ON o.id = t.object"
        )
        for row in triples:
            reading.counts["facts"] += 1
            yield from reading.attempt(f"fact {row['id']}", _fact, dict(row), reading.wing)
    except sqlite3.Error as error:
        reading.problem(file, f"cannot be read on: {error}")


def _entity(row: Mapping[str, Any]) -> Iterator[Noun]:
    kind = "" if row.get("type") in (None, "unknown") else str(row["type"])
    properties = json.loads(row.get("properties") or "{}")
    if kind or properties:
        yield Entity(texts.fold(row["name"]), row["name"], kind, properties)


def _fact(row: Mapping[str, Any], wing: str) -> Iterator[Noun]:
    told = row.get("source_drawer_id")
    seed = f"{row['id']}\0{row.get('extracted_at')}"
    yield fact(
        new_id(PRODUCT, seed, letter="f"),
        (
            row["subject_name"] or row["subject"],
            row["predicate"],
            row["object_name"] or row["object"],
        ),
        valid_from=row["valid_from"],
        valid_to=row["valid_to"],
        confidence=1.0 if row["confidence"] is None else row["confidence"],
        source=row.get("source_file") or "",
        drawer=new_id(PRODUCT, _SLICE.sub("", told)) if told else "",
        recorded_at=moment(row.get("extracted_at")),
        wing=wing,
    )


def _tunnel(
    tunnel: Mapping[str, Any], places: Mapping[tuple[str, str], End], reading: Reading
) -> Iterator[Noun]:
    if tunnel.get("kind", "explicit") != "explicit":
        reading.counts["computed tunnels skipped"] += 1
        return
    ends = []
    for end in (tunnel["source"], tunnel["target"]):
        place = places.get((end["wing"], end["room"]))
        if place is None:
            reading.counts["tunnels to rooms that are not here"] += 1
            return
        old = end.get("drawer_id")
        ends.append(End(drawer=new_id(PRODUCT, _SLICE.sub("", old))) if old else place)
    linked = parse_start(tunnel["created_at"]) or Instant(0)
    yield Link(str(tunnel["id"]), ends[0], ends[1], str(tunnel.get("label") or ""), linked)


def _person(name: str, known: Mapping[str, Any]) -> Iterator[Noun]:
    said = {"relationship": known["relationship"]} if known.get("relationship") else {}
    aliases = tuple(map(str, known.get("aliases") or ()))
    yield Entity(texts.fold(name), name, "person", said, aliases)


def _json(file: Path, shape: type[dict[str, Any]] | type[list[Any]], reading: Reading) -> Any:
    try:
        found = json.loads(file.read_bytes()) if file.is_file() else shape()
        if isinstance(found, shape):
            return found
        reading.problem(file, f"cannot be read: no {shape.__name__} stands in it")
    except (OSError, ValueError, RecursionError) as error:
        reading.problem(file, f"cannot be read: {error}")
    return shape()
