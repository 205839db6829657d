"""Texts to vectors: the model that Palatine brings along, an endpoint, or hashes for tests.

numpy and the embedders are imported when one is made: a process that never searches by meaning
does not pay for them.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from palatine.embed.base import Embedder, EmbedderError

if TYPE_CHECKING:
    from palatine.embed.hashing import HashingEmbedder
    from palatine.embed.remote import RemoteEmbedder

__all__ = ["Embedder", "EmbedderError", "open_hashing", "open_local", "open_remote"]


def open_local(cache: Path, *, bulk_threads: int = 0) -> Embedder:
    """The packaged model, all-MiniLM-L6-v2.

    Args:
        cache: the folder for the file that holds the weights for all processes.
        bulk_threads: for bulk work, how many cores it may use where onnxruntime is installed;
            0 is for queries. The vectors are the same.

    Raises:
        EmbedderError: the packaged files are missing or damaged.
    """
    if bulk_threads and find_spec("onnxruntime"):
        from palatine.embed.onnx import OnnxMiniLM  # noqa: PLC0415 (imports onnxruntime)

        return OnnxMiniLM(cache, threads=bulk_threads)
    from palatine.embed.minilm.model import MiniLM  # noqa: PLC0415 (imports numpy)

    return MiniLM(cache)


def open_remote(
    url: str, model: str, *, dimension: int | None = None, api_key: str = ""
) -> RemoteEmbedder:
    """A model behind an OpenAI-compatible endpoint; see `RemoteEmbedder`."""
    from palatine.embed.remote import RemoteEmbedder  # noqa: PLC0415 (imports numpy and urllib)

    return RemoteEmbedder(url, model, dimension=dimension, api_key=api_key)


def open_hashing(*, dimension: int = 384) -> HashingEmbedder:
    """An embedder for tests; see `HashingEmbedder`."""
    from palatine.embed.hashing import HashingEmbedder  # noqa: PLC0415 (imports numpy)

    return HashingEmbedder(dimension=dimension)
