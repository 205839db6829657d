"""Basic Memory: a folder of Markdown notes with observations and relations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from palatine import text as texts
from palatine.drawers import DEFAULT_ROOM, DEFAULT_WING
from palatine.errors import InputError
from palatine.imports.base import Noun, Reading, drawer, fact, moment, new_id
from palatine.ingest import files
from palatine.instants import now
from palatine.types import Entity

PRODUCT = "basic-memory"
_FRONT = re.compile(r"\A---[ \t]*\n(.*?)^---[ \t]*$", re.DOTALL | re.MULTILINE)
_KEY = re.compile(r"^([A-Za-z_]+):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_OBSERVATION = re.compile(r"^\s*[-*] \[([^\[\]()]{2,}|[^\[\]() xX-])\] (?!\()(.+)$", re.MULTILINE)
_RELATION = re.compile(r"^\s*[-*] ([^\[\]]*)\[\[([^\[\]]+)\]\]", re.MULTILINE)
_TRAILING = re.compile(r"(?:\s+#[\w/-]+|\s+\([^()]*\))+\s*$")
_FENCED = re.compile(r"^(```|~~~).*?^\1", re.DOTALL | re.MULTILINE)


def read(path: Path, reading: Reading) -> Iterator[Noun]:
    """A note is a drawer, verbatim; its observations and relations are facts that name it.

    Raises:
        InputError: there is no such folder.
    """
    if not path.is_dir():
        raise InputError(f"{path}: there is no such folder; give the folder of the notes")
    root = path.resolve()
    for entry in files.walk(root, root):
        if isinstance(entry, files.Problem):
            reading.problems.append(entry)
        elif entry.file.suffix.lower() == ".md":
            reading.counts["notes"] += 1
            yield from reading.attempt(entry.path, _note, entry, root.name, reading)


def _note(entry: files.Found, name: str, reading: Reading) -> Iterator[Noun]:
    if entry.size > files.MAX_BYTES:
        raise ValueError(f"{entry.size} bytes; at most {files.MAX_BYTES} are read")
    try:
        text, _ = files.decoded(entry.file.read_bytes()) or ("", "")
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None
    front = _FRONT.match(text)
    told = {k: v.strip("'\"") for k, v in _KEY.findall(front[1] if front else "")}
    title = told.get("title") or PurePosixPath(entry.path).stem
    parts = PurePosixPath(entry.path).parts
    ref = new_id(PRODUCT, f"{reading.wing}\0{name}/{entry.path}")
    yield drawer(
        ref,
        text,
        wing=reading.wing or DEFAULT_WING,
        room=texts.safe_label(parts[0]) if len(parts) > 1 else DEFAULT_ROOM,
        source=f"{name}/{entry.path}",
        position=0,
        said_at=moment(told.get("created")) or moment(told.get("date")),
        metadata={PRODUCT: told},
    )
    yield Entity(texts.fold(title), title, told.get("type", ""))
    at = str(now())  # in an id: what is known already is found by its names
    body = _FENCED.sub("", text[front.end() if front else 0 :])
    facts = [(kind, _TRAILING.sub("", said).strip()) for kind, said in _OBSERVATION.findall(body)]
    facts += [
        (kind.strip() or "relates_to", target.partition("|")[0].strip())
        for kind, target in _RELATION.findall(body)
    ]
    for predicate, said in facts:
        reading.counts["observations and relations"] += 1
        key = new_id(PRODUCT, "\0".join((at, title, predicate, said)), letter="f")
        names = title, predicate, said
        yield from reading.attempt(
            entry.path,
            lambda key, names: [fact(key, names, drawer=ref, wing=reading.wing)],
            key,
            names,
        )
