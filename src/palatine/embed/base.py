"""The port: what turns texts into vectors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from palatine.errors import PalatineError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbedderError(PalatineError):
    """No vectors: the model, its files or its endpoint failed. Nothing was written."""


class Embedder(Protocol):
    """Turns texts into vectors whose dot product says how near they are in meaning.

    The same text gives the same vector (but for rounding) in every process and in any company.
    Several threads may use one embedder at once.
    """

    @property
    def name(self) -> str:
        """Which model it is. Vectors of two embedders compare if and only if their names do."""

    @property
    def dimension(self) -> int:
        """How many numbers a vector has."""

    @property
    def remark(self) -> str:
        """What a person should know about how it runs here; mostly empty."""

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of the texts, in their order.

        Args:
            texts: any texts, empty ones and lone surrogates included; what a model cannot read
                to its end counts with its beginning.

        Returns:
            float32 of shape (len(texts), dimension); each row has unit length.

        Raises:
            EmbedderError: the model or its endpoint failed.
        """

    def close(self) -> None:
        """Lets go of memory and connections. Closing twice does no harm."""
