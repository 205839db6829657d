"""Conversations in plain text or Markdown: lines that begin with a speaker, or with `>`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import BinaryIO

from palatine.ingest.base import Piece
from palatine.ingest.files import in_one_byte

_ASKS = re.compile(rb"(?:> |(?:User|Human|You)\s*:)")


def dialogue(file: BinaryIO) -> Iterator[Piece]:
    """One exchange begins where the user speaks; what stands before the first is one, too."""
    at = start = file.tell()
    lines: list[bytes] = []
    quoted = False
    for line in file:
        asks = _ASKS.match(line)
        if asks and lines and not (quoted and line.startswith(b"> ")):
            yield from _piece(lines, start)
            lines, start = [], at
        quoted = line.startswith(b"> ")
        lines.append(line)
        at += len(line)
    yield from _piece(lines, start)


def _piece(lines: list[bytes], at: int) -> Iterator[Piece]:
    data = b"".join(lines)
    metadata = {"format": "dialogue"}
    try:
        text = data.decode()
    except UnicodeDecodeError:
        text, metadata["encoding"] = in_one_byte(data)
    if text.strip():
        yield Piece(text, at=at, metadata=metadata)
