"""A model behind an OpenAI-compatible endpoint: `POST URL/embeddings`."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from palatine.embed.base import EmbedderError
from palatine.embed.endpoint import Endpoint


class RemoteEmbedder:
    """Vectors over HTTP. What the endpoint says is checked before it counts.

    Attributes:
        name: `remote:` and the model's name; the same model at another URL has the same name.
        dimension: as given, else as the endpoint's first vector has it.
    """

    remark = ""

    def __init__(
        self,
        url: str,
        model: str,
        *,
        dimension: int | None = None,
        api_key: str = "",
        timeout_seconds: float = 30.0,
        batch_texts: int = 64,
        attempts: int = 3,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Takes the endpoint; asks it for one vector when no dimension is given.

        Args:
            url: up to `/v1`, say; `/embeddings` is added when it does not end so.
            model: the model's name there.
            dimension: what its vectors must have.
            api_key: sent as a bearer token, to this URL only.
            timeout_seconds: for one request with its whole reply.
            batch_texts: the most texts in one request.
            attempts: how often a request is made that fails for a passing reason.
            sleep: waits so many seconds between them.

        Raises:
            InputError: the URL, the model's name or the key cannot be used.
            EmbedderError: the endpoint was asked for the dimension, and failed.
        """
        self._endpoint = Endpoint(
            url,
            "/embeddings",
            model,
            what="embedding",
            error=EmbedderError,
            api_key=api_key,
            timeout_seconds=timeout_seconds,
            attempts=attempts,
            sleep=sleep,
        )
        self.name = f"remote:{model}"
        self._batch_texts = batch_texts
        self.dimension = dimension or len(self._ask(["dimension"])[0])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of the texts; see `Embedder.embed`."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for first in range(0, len(texts), self._batch_texts):
            got = self._ask(texts[first : first + self._batch_texts])
            if got.shape[1] != self.dimension:
                raise self._endpoint.fault(
                    f"gave vectors of {got.shape[1]} numbers, not {self.dimension};"
                    " name the model that the palace was embedded with, or re-embed"
                )
            vectors[first : first + len(got)] = got
        return vectors

    def close(self) -> None:
        """Does nothing: no connection is kept."""

    def _ask(self, texts: Sequence[str]) -> NDArray[np.float32]:
        # JSON from elsewhere seldom takes lone surrogates, and OpenAI takes no empty text.
        inputs = [text.encode("utf-8", "replace").decode() or " " for text in texts]
        asked = {"input": inputs, "encoding_format": "float"}
        return self._read_vectors(self._endpoint.ask(asked), len(inputs))

    def _read_vectors(self, body: bytes, count: int) -> NDArray[np.float32]:
        try:
            entries = json.loads(body)["data"]
            by_place = {
                entry.get("index", at): entry["embedding"] for at, entry in enumerate(entries)
            }
            rows = [by_place[at] for at in range(len(entries))]
            read = np.array(rows, np.float64, ndmin=2)
        except (
            ValueError,
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            RecursionError,
        ) as error:
            start = body[:200].decode("utf-8", "replace")
            raise self._endpoint.fault(f"answered no list of vectors: {start!r}") from error
        if len(entries) != count:
            raise self._endpoint.fault(f"gave {len(entries)} vectors for {count} texts")
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(read, axis=-1, keepdims=True)
        if read.ndim != 2 or not (np.isfinite(lengths).all() and lengths.all()):
            raise self._endpoint.fault(
                "gave a vector that has no direction: zeros, or no finite numbers"
            )
        vectors: NDArray[np.float32] = (read / lengths).astype(np.float32)
        return vectors
