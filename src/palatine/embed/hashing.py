"""An embedder without a model, for tests: texts are near when they share words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import blake2b

import numpy as np
from numpy.typing import NDArray

_WORD = re.compile(r"\w+")


class HashingEmbedder:
    """Each word adds or takes 1 at a place that its hash names. The same on every machine."""

    remark = "vectors are hashes of words, for tests; they know nothing of meaning"

    def __init__(self, *, dimension: int = 384) -> None:
        self.name = f"hashing-{dimension}"
        self.dimension = dimension

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of the texts; see `Embedder.embed`. Texts without words are all one."""
        vectors = np.zeros((len(texts), self.dimension), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for word in _WORD.findall(text.casefold()):
                digest = int.from_bytes(blake2b(word.encode(), digest_size=8).digest())
                vector[(digest >> 1) % self.dimension] += 1 if digest & 1 else -1
            if not vector.any():
                vector[0] = 1
            vector /= np.linalg.norm(vector)
        return vectors

    def close(self) -> None:
        """Does nothing."""
