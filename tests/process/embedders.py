"""What workers do about vectors; see `deeds.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from palatine import Palace
from palatine.embed.hashing import HashingEmbedder
from tests.process.workers import Line


def search_on(line: Line, place: str) -> None:
    """Answers questions; says of each hit its text and its rank by meaning, and what it cost."""
    with Palace.open(place, embedder="hashing") as palace:
        line.say("ready")
        while question := line.hear():
            found = palace.search(question, limit=20)
            hits = [[hit.text, hit.vector_rank] for hit in found]
            line.say([hits, found.rows_read, found.pending])


def embed(line: Line, place: str) -> None:
    """Embeds what waits, at the same moment as others; says how much that was."""
    with Palace.open(place, embedder="hashing") as palace:
        line.barrier()
        line.say(palace.embed().stored)


def add_and_embed(line: Line, place: str, me: int, times: int) -> None:
    """Adds drawers, and embeds what waits after every fifth, if nobody else is at it."""
    with Palace.open(place, embedder="hashing") as palace:
        line.barrier()
        for n in range(times):
            palace.add(f"worker{me} number{n} says so", wing="load")
            if n % 5 == 4:
                palace.embed()


class _Slow(HashingEmbedder):
    """Says that it has begun, and waits to be told to go on."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self._line.say("embedding")
        assert self._line.hear() == "go on"
        return super().embed(texts)


def embed_slowly(line: Line, place: str) -> None:
    with Palace.open(place, embedder=_Slow(line)) as palace:
        palace.embed(progress=lambda stored, left: line.say([stored, left]))
