"""What every reader of files gives: pieces of text, and what was left out of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias

from palatine.instants import Instant


@dataclass(frozen=True, slots=True)
class Piece:
    """What becomes one drawer.

    Attributes:
        text: verbatim.
        at: the byte of the file where it begins.
        room: the topic; empty: the miner decides.
        author: who said it.
        session: the conversation it belongs to.
        said_at: when it was said.
        folder: where the conversation worked; it names the wing.
        metadata: the rest, and under `left_out` what of the file is not in the text.
    """

    text: str
    at: int = 0
    room: str = ""
    author: str = ""
    session: str = ""
    said_at: Instant | None = None
    folder: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)


Reader: TypeAlias = Callable[[BinaryIO], Iterator[Piece]]
"""Reads from where the file stands; in memory that does not grow with it."""
