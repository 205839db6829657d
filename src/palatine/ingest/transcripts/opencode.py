"""OpenCode: `opencode.db`, or the folders of JSON files that it had before (`storage`)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from palatine.ingest.base import Piece
from palatine.ingest.files import Found
from palatine.ingest.transcripts.agents import Turn, exchanges
from palatine.ingest.transcripts.databases import nanoseconds, parsed, reading

_SESSIONS = """
SELECT session.id, directory, title, count(*), max(message.time_updated)
FROM session JOIN message ON session_id = session.id GROUP BY session.id
"""
_MESSAGES = "SELECT id, data FROM message WHERE session_id = ? ORDER BY time_created, id"
_PARTS = "SELECT data FROM part WHERE message_id = ? ORDER BY id"

_Message = tuple[Mapping[str, Any], Iterable[Mapping[str, Any]]]


def parts(found: Found) -> list[Found] | None:
    """The sessions in a file; none for a file that belongs to one; None when it is no such file."""
    file = found.file
    if file.name.startswith("opencode") and file.suffix == ".db":
        with reading(file) as db:
            return [
                Found(
                    f"{found.path}/{key}",
                    file,
                    count,
                    nanoseconds(updated),
                    partial(_database, file, {"sessionId": key, "cwd": cwd, "title": title}),
                )
                for key, cwd, title, count, updated in db.execute(_SESSIONS).fetchall()
            ]
    storage = next((above for above in file.parents if above.name == "storage"), None)
    if storage is None or storage.parent.name != "opencode":
        return None
    if file.parent.parent != storage / "session" or (storage.parent / "opencode.db").exists():
        return []
    messages = [each.stat() for each in _files(storage / "message" / file.stem)]
    newest = max([found.modified, *(each.st_mtime_ns for each in messages)])
    read = partial(_folder, storage, file)
    return [replace(found, size=found.size + len(messages), modified=newest, read=read)]


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def _database(file: Path, session: Mapping[str, Any], _: BinaryIO) -> Iterator[Piece]:
    with reading(file) as db:
        rows = db.execute(_MESSAGES, (session["sessionId"],)).fetchall()
        messages: Iterator[_Message] = (
            (parsed(data), (parsed(row[0]) for row in db.execute(_PARTS, (key,)).fetchall()))
            for key, data in rows
        )
        yield from exchanges("OpenCode", _turns(session, messages))


def _folder(storage: Path, file: Path, _: BinaryIO) -> Iterator[Piece]:
    about = parsed(file.read_bytes())
    session = {"sessionId": file.stem, "cwd": about.get("directory"), "title": about.get("title")}
    messages: Iterator[_Message] = (
        (
            parsed(each.read_bytes()),
            (parsed(part.read_bytes()) for part in _files(storage / "part" / each.stem)),
        )
        for each in _files(storage / "message" / file.stem)
    )
    yield from exchanges("OpenCode", _turns(session, messages))


def _turns(session: Mapping[str, Any], messages: Iterable[_Message]) -> Iterator[Turn]:
    for message, parts_ in messages:
        time = (message.get("time") or {}).get("created")
        role = "user" if message.get("role") == "user" else "assistant"
        blocks = [block for part in parts_ for block in _blocks(part)]
        yield 0, {**session, "timestamp": time}, role, blocks


def _blocks(part: Mapping[str, Any]) -> Iterator[object]:
    kind = part.get("type")
    if kind == "tool":
        state = part.get("state") or {}
        yield {"type": "tool_use", "name": part.get("tool"), "input": state.get("input", "")}
        if state.get("output"):
            yield {"type": "tool_result"}
    elif kind == "text" and (part.get("synthetic") or part.get("ignored")):
        yield {"type": "words of the client"}
    elif kind not in ("step-start", "step-finish"):
        yield part
