"""The sign codes of a store's vectors, in this process's memory, and how they lie in packs.

A code has one bit for each number of a vector: whether it is positive. The share of equal bits
tells so well how near two vectors are that the best 200 by code hold 99.7 % of the best 10 by
cosine (44,185 vectors of 384 numbers). Imports numpy: loaded by the first search by meaning.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Numbers = NDArray[np.int64]
Words = NDArray[np.uint64]
_BLOCK = 65_536  # the work on so many codes stays in the processor's cache
_NO_NUMBERS: Numbers = np.empty(0, np.int64)


def from_halves(blobs: bytes, dimension: int) -> NDArray[np.float16]:
    """Stored vectors, one after the other, as rows."""
    return np.frombuffer(blobs, "<f2").reshape(-1, dimension)


def sign_codes(vectors: ArrayLike) -> Words:
    """The codes of the vectors in rows: (count, words), the last word filled up with zeros."""
    bits = np.packbits(np.asarray(vectors) > 0, axis=1, bitorder="little")
    words = np.zeros((len(bits), -(-bits.shape[1] // 8) * 8), np.uint8)
    words[:, : bits.shape[1]] = bits
    return words.view("<u8")


@dataclass(frozen=True, slots=True)
class View:
    """Codes as they were at one moment; never changes.

    Attributes:
        chunks: the chunk's number of each code, shape (count,). A number may stand twice, and may
            be of a chunk that is gone: whoever uses it asks the snapshot.
        columns: shape (words, count).
    """

    chunks: Numbers
    columns: Words

    def __len__(self) -> int:
        return len(self.chunks)

    def best(
        self, vector: NDArray[np.float32], limit: int, *, among: Numbers | None = None
    ) -> list[int]:
        """The chunks whose codes differ least from the vector's, the best first, each once.

        Args:
            vector: what is looked for.
            limit: at most so many codes.
            among: only these chunks.
        """
        if not len(self):
            return []
        distances = self._distances(sign_codes(vector[np.newaxis])[0])
        chunks = self.chunks
        if among is not None:
            allowed = np.zeros(int(max(chunks.max(), among.max(initial=0))) + 1, np.bool_)
            allowed[among] = True
            kept = allowed[chunks]
            chunks, distances = chunks[kept], distances[kept]
        if len(chunks) > limit:
            nearest = np.argpartition(distances, limit)[:limit]
            chunks, distances = chunks[nearest], distances[nearest]
        order = np.argsort(distances, kind="stable")
        return list(dict.fromkeys(chunks[order].tolist()))

    def _distances(self, code: Words) -> NDArray[np.uint16]:
        """In how many bits each code differs."""
        distances = np.zeros(len(self), np.uint16)
        for start in range(0, len(self), _BLOCK):
            block = slice(start, start + _BLOCK)
            for column, word in zip(self.columns, code, strict=True):
                distances[block] += np.bitwise_count(column[block] ^ word)
        return distances


class Codes:
    """All codes of one store, shared by the threads of a process; only ever appended to.

    Use it under its `mutex`; a view may be used after that.

    Attributes:
        generation: which set of vectors they are of.
        last: the number of the last vector that they hold.
    """

    def __init__(self) -> None:
        self.mutex = threading.Lock()
        self.generation = 0
        self.last = 0
        self._count = 0
        self._chunks = _NO_NUMBERS
        self._columns: Words = np.empty((0, 0), np.uint64)

    def reset(self, *, generation: int, dimension: int) -> None:
        """Forgets all of them."""
        self.generation, self.last, self._count = generation, 0, 0
        self._chunks = _NO_NUMBERS
        self._columns = np.empty((-(-dimension // 64), 0), np.uint64)

    def append(self, parts: list[tuple[Numbers, Words]]) -> None:
        """Adds chunks with their codes, the latter of shape (count, words)."""
        added = sum(len(chunks) for chunks, _ in parts)
        if not added:
            return
        if self._count + added > len(self._chunks):
            # Views keep the old arrays. A little room, so that not each append copies them all.
            self._move_to(self._count + added + max(1024, self._count // 8))
        for chunks, codes in parts:
            end = self._count + len(chunks)
            self._chunks[self._count : end] = chunks
            self._columns[:, self._count : end] = codes.T
            self._count = end

    def _move_to(self, capacity: int) -> None:
        old = self.view()
        self._chunks = np.empty(capacity, np.int64)
        self._columns = np.empty((len(old.columns), capacity), np.uint64)
        self._chunks[: self._count] = old.chunks
        self._columns[:, : self._count] = old.columns

    def keep(self, alive: Numbers) -> None:
        """Drops the codes of all chunks but these; of a chunk's several codes the last stays."""
        view = self.view()
        _, newest = np.unique(view.chunks[::-1], return_index=True)
        kept = np.zeros(len(view), np.bool_)
        kept[len(view) - 1 - newest] = True
        kept &= np.isin(view.chunks, alive)
        self._chunks = view.chunks[kept]
        self._columns = np.ascontiguousarray(view.columns[:, kept])
        self._count = len(self._chunks)

    def view(self) -> View:
        """What is held now."""
        return View(self._chunks[: self._count], self._columns[:, : self._count])


def pack(chunks: list[int], vectors: NDArray[np.float16]) -> tuple[bytes, bytes]:
    """The chunks' numbers and their codes as they lie in a pack."""
    return np.array(chunks, "<i8").tobytes(), sign_codes(vectors).tobytes()


def unpack(chunks: bytes, codes: bytes, dimension: int) -> tuple[Numbers, Words]:
    """What `pack` made, back."""
    words = -(-dimension // 64)
    return np.frombuffer(chunks, "<i8"), np.frombuffer(codes, "<u8").reshape(-1, words)
