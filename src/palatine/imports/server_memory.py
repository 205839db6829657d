"""The reference memory server of MCP: one file of JSON Lines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from palatine import text as texts
from palatine.drawers import DEFAULT_WING
from palatine.errors import InputError
from palatine.imports.base import Noun, Reading, drawer, fact, new_id
from palatine.instants import now
from palatine.types import Entity

PRODUCT = "server-memory"


def read(path: Path, reading: Reading) -> Iterator[Noun]:
    """Entities with their types; relations as facts; an observation as a drawer and a fact.

    The drawer stands in a room that is called like the entity, so that search finds it; the fact
    `entity observation text` names the drawer.

    Raises:
        InputError: there is no such file.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; give the server's memory.jsonl")
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            if line.strip():
                yield from reading.attempt(f"{path}, line {number}", _record, line, path, reading)


def _record(line: bytes, path: Path, reading: Reading) -> Iterator[Noun]:
    record = json.loads(line)
    at = str(now())  # in an id: what is known already is found by its names
    if record["type"] == "entity":
        name = record["name"]
        reading.counts["entities"] += 1
        yield Entity(texts.fold(name), name, str(record.get("entityType") or ""))
        told = record.get("observations") or ()
        for text in [told] if isinstance(told, str) else told:
            if not isinstance(text, str):
                reading.problem(f"entity {name}", f"the observation {text!r:.80} is no text")
                continue
            reading.counts["observations"] += 1
            ref = new_id(PRODUCT, f"{reading.wing}\0{name}\0{text}")
            yield drawer(
                ref,
                text,
                wing=reading.wing or DEFAULT_WING,
                room=texts.safe_label(name) or "notes",
                source=f"{path.name}/{name}",
                metadata={PRODUCT: {"entity": name}},
            )
            key = new_id(PRODUCT, f"{at}\0{name}\0{text}", letter="f")
            yield fact(key, (name, "observation", text), drawer=ref, wing=reading.wing)
    elif record["type"] == "relation":
        reading.counts["relations"] += 1
        names = record["from"], record["relationType"], record["to"]
        key = new_id(PRODUCT, "\0".join((at, *names)), letter="f")
        yield fact(key, names, source=path.name, wing=reading.wing)
    else:
        raise ValueError(f"{record['type']!r} is neither entity nor relation")
