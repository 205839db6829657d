"""Cursor: `…/Cursor/User/globalStorage/state.vscdb`, a database of keys and JSON values.

It may have tens of gigabytes: it is read by key, and only the conversations that changed.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from palatine.ingest.base import Piece
from palatine.ingest.files import Found
from palatine.ingest.transcripts.agents import Turn, exchanges
from palatine.ingest.transcripts.databases import nanoseconds, parsed, reading

_HAS_TABLE = "SELECT 1 FROM sqlite_schema WHERE name = 'cursorDiskKV'"
_CONVERSATIONS = """
SELECT substr(key, 14), length(value), CASE WHEN json_valid(CAST(value AS TEXT))
    THEN CAST(json_extract(CAST(value AS TEXT), '$.lastUpdatedAt') AS INTEGER) END
FROM cursorDiskKV WHERE key >= 'composerData:' AND key < 'composerData;' AND value IS NOT NULL
"""


def parts(found: Found) -> list[Found] | None:
    """The conversations in a file; None when it is none of Cursor's."""
    if found.file.suffix != ".vscdb":
        return None
    with reading(found.file) as db:
        rows = db.execute(_CONVERSATIONS).fetchall() if db.execute(_HAS_TABLE).fetchone() else []
    return [
        Found(
            f"{found.path}/{key}",
            found.file,
            size,
            nanoseconds(at),
            partial(_read, found.file, key),
        )
        for key, size, at in rows
    ]


def _read(file: Path, key: str, _: BinaryIO) -> Iterator[Piece]:
    with reading(file) as db:
        yield from exchanges("Cursor", _turns(db, key))


def _turns(db: sqlite3.Connection, key: str) -> Iterator[Turn]:
    chat = _value(db, f"composerData:{key}")
    about = {"sessionId": key, "title": chat.get("name")}
    for head in chat.get("fullConversationHeadersOnly") or chat.get("conversation") or ():
        bubble = {**head, **_value(db, f"bubbleId:{key}:{head.get('bubbleId')}")}
        time = bubble.get("createdAt") or chat.get("createdAt")
        role = "user" if bubble.get("type") == 1 else "assistant"
        yield 0, {**about, "timestamp": time}, role, [*_blocks(bubble)]


def _value(db: sqlite3.Connection, key: str) -> Mapping[str, Any]:
    row = db.execute("SELECT value FROM cursorDiskKV WHERE key = ?", (key,)).fetchone()
    return parsed(row[0]) if row else {}


def _blocks(bubble: Mapping[str, Any]) -> Iterator[object]:
    if "text" not in bubble:
        yield {"type": "message that is gone"}
    if bubble.get("thinking"):
        yield {"type": "thinking"}
    yield str(bubble.get("text") or "")
    tool = bubble.get("toolFormerData")
    if isinstance(tool, dict) and tool.get("name"):
        asked = tool.get("rawArgs") or tool.get("params") or ""
        yield {"type": "tool_use", "name": tool["name"], "input": asked}
        if tool.get("result"):
            yield {"type": "tool_result"}
    yield from ({"type": "image"} for _ in bubble.get("images") or ())
