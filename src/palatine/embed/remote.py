"""A model behind an OpenAI-compatible endpoint: `POST URL/embeddings`."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Sequence
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

import numpy as np
from numpy.typing import NDArray

from palatine.embed.base import EmbedderError
from palatine.errors import InputError

__all__ = ["RemoteEmbedder"]

_PASSING = {408, 425, 429, 500, 502, 503, 504}
_MAX_REPLY_BYTES = 1 << 27
_MAX_WAIT_SECONDS = 10.0


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
        _check_url(url)
        if not model:
            raise InputError("the name of the embedding model is empty")
        if not (api_key.isascii() and api_key.isprintable()):
            raise InputError("the embedding endpoint's key has characters that no header can have")
        self.name = f"remote:{model}"
        self._url = url.rstrip("/").removesuffix("/embeddings") + "/embeddings"
        self._model = model
        self._key = api_key
        self._timeout_seconds = timeout_seconds
        self._batch_texts = batch_texts
        self._attempts = attempts
        self._sleep = sleep
        self._opener = build_opener(_NoRedirect)
        self.dimension = dimension or len(self._ask(["dimension"])[0])

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The vectors of the texts; see `Embedder.embed`."""
        vectors = np.empty((len(texts), self.dimension), np.float32)
        for first in range(0, len(texts), self._batch_texts):
            got = self._ask(texts[first : first + self._batch_texts])
            if got.shape[1] != self.dimension:
                raise self._error(
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
        asked = {"model": self._model, "input": inputs, "encoding_format": "float"}
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        request = Request(self._url, json.dumps(asked).encode(), headers)
        return self._read_vectors(self._exchange(request), len(inputs))

    def _exchange(self, request: Request) -> bytes:
        """The reply's body, after as many attempts as are allowed."""
        attempt = 1
        while True:
            wait = min(2.0 ** (attempt - 2), _MAX_WAIT_SECONDS)
            try:
                return self._exchange_once(request)
            except HTTPError as error:
                with error:
                    if error.code not in _PASSING or attempt >= self._attempts:
                        raise self._refused(error) from error
                    wait = _retry_after(error, wait)
            except (OSError, HTTPException) as error:
                if attempt >= self._attempts:
                    raise self._error(
                        f"does not answer (attempts: {attempt}): {error}; is it running?"
                    ) from error
            self._sleep(wait)
            attempt += 1

    def _exchange_once(self, request: Request) -> bytes:
        """One request under one deadline, also when its reply comes byte by byte."""
        end = time.monotonic() + self._timeout_seconds
        reply: HTTPResponse
        body = bytearray()
        with self._opener.open(request, timeout=self._timeout_seconds) as reply:
            while part := reply.read1(65_536):
                body += part
                if time.monotonic() > end:
                    raise TimeoutError(f"no whole reply within {self._timeout_seconds:g} s")
                if len(body) > _MAX_REPLY_BYTES:
                    raise self._error(f"sent more than {_MAX_REPLY_BYTES} bytes")
            if reply.length:
                raise ConnectionError(f"the reply breaks off, {reply.length} bytes are missing")
        return bytes(body)

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
            raise self._error(f"answered no list of vectors: {start!r}") from error
        if len(entries) != count:
            raise self._error(f"gave {len(entries)} vectors for {count} texts")
        with np.errstate(over="ignore"):
            lengths = np.linalg.norm(read, axis=-1, keepdims=True)
        if read.ndim != 2 or not (np.isfinite(lengths).all() and lengths.all()):
            raise self._error("gave a vector that has no direction: zeros, or no finite numbers")
        vectors: NDArray[np.float32] = (read / lengths).astype(np.float32)
        return vectors

    def _refused(self, error: HTTPError) -> EmbedderError:
        said = ""
        with contextlib.suppress(OSError, HTTPException):
            said = error.read(2_000).decode("utf-8", "replace").strip()[:200]
        if self._key:
            said = said.replace(self._key, "***")
        what = "it redirects; give its final URL" if 300 <= error.code < 400 else said
        return self._error(f"refused with HTTP {error.code} {error.reason}: {what}")

    def _error(self, what: str) -> EmbedderError:
        return EmbedderError(f"the embedding endpoint {self._url} (model {self._model}) {what}")


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise InputError(f"the embedding endpoint {url!r} is no http:// or https:// URL")
    if parts.username is not None:
        raise InputError("the embedding endpoint's URL has a name before an @; give a key instead")


class _NoRedirect(HTTPRedirectHandler):
    """A redirected POST would lose its body, and the key would go to another host."""

    def redirect_request(self, *args: Any, **keywords: Any) -> None:
        """Follows nothing."""


def _retry_after(error: HTTPError, wait_seconds: float) -> float:
    said = error.headers.get("Retry-After", "")
    return min(float(said), _MAX_WAIT_SECONDS) if said.isdecimal() else wait_seconds
