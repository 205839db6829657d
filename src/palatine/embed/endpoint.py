"""One address that answers a JSON question with JSON, as OpenAI's do; its faults are told apart."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from palatine.errors import InputError, PalatineError

_PASSING = {408, 425, 429, 500, 502, 503, 504}
_MAX_REPLY_BYTES = 1 << 27
_MAX_WAIT_SECONDS = 10.0


class Endpoint:
    """Questions to one model over HTTP."""

    def __init__(
        self,
        url: str,
        path: str,
        model: str,
        *,
        what: str,
        error: type[PalatineError],
        api_key: str = "",
        timeout_seconds: float = 30.0,
        attempts: int = 3,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Takes the endpoint; asks it nothing.

        Args:
            url: up to `/v1`, say; the path is added when it does not end so.
            path: what is asked there.
            model: the model's name there.
            what: what the endpoint is for, for messages.
            error: what is raised when it fails.
            api_key: sent as a bearer token, to this URL only.
            timeout_seconds: for one request with its whole reply.
            attempts: how often a request is made that fails for a passing reason.
            sleep: waits so many seconds between them.

        Raises:
            InputError: the URL, the model's name or the key cannot be used.
        """
        _check_url(url, what)
        if not model:
            raise InputError(f"the name of the {what} model is empty")
        if not (api_key.isascii() and api_key.isprintable()):
            raise InputError(f"the {what} endpoint's key has characters that no header can have")
        self._url = url.rstrip("/").removesuffix(path) + path
        self._model = model
        self._what = what
        self._error = error
        self._key = api_key
        self._timeout_seconds = timeout_seconds
        self._attempts = attempts
        self._sleep = sleep
        self._opener = build_opener(_NoRedirect)

    def ask(self, asked: Mapping[str, object]) -> bytes:
        """The reply's body to this question, to which the model's name is added."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        question = json.dumps({"model": self._model, **asked}).encode()
        return self._exchange(Request(self._url, question, headers))

    def fault(self, what: str) -> PalatineError:
        """The error that says what is wrong with the endpoint."""
        return self._error(f"the {self._what} endpoint {self._url} (model {self._model}) {what}")

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
                    raise self.fault(
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
                    raise self.fault(f"sent more than {_MAX_REPLY_BYTES} bytes")
            if reply.length:
                raise ConnectionError(f"the reply breaks off, {reply.length} bytes are missing")
        return bytes(body)

    def _refused(self, error: HTTPError) -> PalatineError:
        said = ""
        with contextlib.suppress(OSError, HTTPException):
            said = error.read(2_000).decode("utf-8", "replace").strip()[:200]
        if self._key:
            said = said.replace(self._key, "***")
        what = "it redirects; give its final URL" if 300 <= error.code < 400 else said
        return self.fault(f"refused with HTTP {error.code} {error.reason}: {what}")


def _check_url(url: str, what: str) -> None:
    try:
        parts = urlsplit(url)
        known = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        known = False
    if not known:
        raise InputError(f"the {what} endpoint {url!r} is no http:// or https:// URL")
    if parts.username is not None:
        raise InputError(f"the {what} endpoint's URL has a name before an @; give a key instead")


class _NoRedirect(HTTPRedirectHandler):
    """A redirected POST would lose its body, and the key would go to another host."""

    def redirect_request(self, *args: Any, **keywords: Any) -> None:
        """Follows nothing."""


def _retry_after(error: HTTPError, wait_seconds: float) -> float:
    said = error.headers.get("Retry-After", "")
    return min(float(said), _MAX_WAIT_SECONDS) if said.isdecimal() else wait_seconds
