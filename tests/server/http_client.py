"""`palatine serve` as a process, and a small client that shows what really goes over the wire."""

import http.client
import itertools
import json
import re
import signal
import ssl
import subprocess
import sys
import tempfile
import threading
from base64 import b64encode
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.server.client import ENVELOPE, WAIT_SECONDS

NAMED = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}


class Served:
    """One HTTP server and its palace. Leaving the block asserts that SIGTERM ends it with 0."""

    def __init__(self, palace: Path, *options: object, command: tuple[str, ...] = ()) -> None:
        self.palace = palace
        self.held: list[Any] = []
        serve = ("-m", "palatine", "serve", "--port", "0", "--palace", str(palace))
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in __exit__)
        self.process = subprocess.Popen(
            [sys.executable, *(command or serve), *map(str, options)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
        )
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        found = re.fullmatch(r"(https?)://(.*):(\d+)/mcp", self.url)
        assert found, f"{self.url}\n{self.errors()}"
        self.host, self.port = found[2], int(found[3])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                code = self.end()
                assert code == 0, f"exit code {code}; standard error:\n{self.errors()}"
        finally:
            self.process.kill()
            self.process.wait()
            assert self.process.stdout is not None
            for held in (*self.held, self.process.stdout, self._errors):
                held.close()

    def token(self, name: str = "default") -> str:
        """The secret of a token."""
        found = json.loads((self.palace / "tokens" / name).read_text("utf-8"))
        return str(found["secret"])

    def errors(self) -> str:
        """What the server has written to standard error."""
        self._errors.seek(0)
        return self._errors.read()

    def end(self, how: signal.Signals = signal.SIGTERM) -> int:
        """Ends the server; returns the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(how)
        return self.process.wait(WAIT_SECONDS)

    def connect(self, tls: ssl.SSLContext | None = None) -> http.client.HTTPConnection:
        """A new connection, which is closed at the end."""
        connection: http.client.HTTPConnection
        if tls is None:
            connection = http.client.HTTPConnection(self.host, self.port, timeout=WAIT_SECONDS)
        else:
            connection = http.client.HTTPSConnection(
                self.host, self.port, timeout=WAIT_SECONDS, context=tls
            )
        self.held.append(connection)
        return connection

    def get(self, path: str, **headers: str) -> tuple[int, str]:
        """The status and the body of a page."""
        return self.send("GET", path, None, headers)

    def send(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[int, str]:
        """The status and the body of one request's answer."""
        connection = self.connect()
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    def session(self, *, token: str | None = None, modern: bool = False) -> "Session":
        """A client; in the handshake era it has initialized."""
        return Session(self, self.token() if token is None else token, modern)


class Session:
    """One client, for one thread; one connection, which the next request uses again."""

    def __init__(self, server: Served, token: str, modern: bool) -> None:
        self._server = server
        self._connection = server.connect()
        self._ids = itertools.count(1)
        self.modern = modern
        self.headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
        }
        if modern:
            self.headers["MCP-Protocol-Version"] = "2026-07-28"
            return
        client = {"name": "test", "version": "1"}
        params = {"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": client}
        response, self.initialized = self._initialize(params)
        self.headers["MCP-Protocol-Version"] = "2025-11-25"
        self.headers["Mcp-Session-Id"] = response.headers["mcp-session-id"] or ""
        told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        assert self.post(told).status == 202

    def _initialize(self, params: dict[str, Any]) -> tuple[http.client.HTTPResponse, Any]:
        request = {"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": params}
        response = self.post(request)
        [message] = messages(response)
        return response, message

    def post(self, message: dict[str, Any]) -> http.client.HTTPResponse:
        """Sends a message; returns the response, its body not read yet but when it has none."""
        headers = dict(self.headers)
        if self.modern:
            params = message.get("params", {})
            headers["Mcp-Method"] = message["method"]
            if name := params.get(NAMED.get(message["method"], "")):
                coded = f"=?base64?{b64encode(name.encode()).decode()}?="
                headers["Mcp-Name"] = name if name.isascii() else coded
        body = json.dumps(message).encode()
        self._connection.request("POST", "/mcp", body, headers)
        response = self._connection.getresponse()
        self._server.held.append(response)
        if response.status == 202:
            response.read()
        return response

    def begin(self, method: str, params: dict[str, Any] | None = None) -> http.client.HTTPResponse:
        """Sends a request; returns the response, its body not read yet."""
        params = dict(params or {})
        if self.modern:
            params["_meta"] = {**ENVELOPE, **params.get("_meta", {})}
        key = next(self._ids)
        return self.post({"jsonrpc": "2.0", "id": key, "method": method, "params": params})

    def ask(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        """Sends a request and returns the whole reply."""
        return list(messages(self.begin(method, params)))[-1]

    def try_call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Calls a tool; returns its result, which may be an error that the tool reports."""
        reply = self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert "result" in reply, reply
        result: dict[str, Any] = reply["result"]
        return result

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Calls a tool that must succeed; returns what it answers."""
        result = self.try_call(tool, **arguments)
        assert not result.get("isError"), result
        structured: dict[str, Any] = result["structuredContent"]
        return structured

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


def messages(response: http.client.HTTPResponse) -> Any:
    """The messages in a response as they come, from JSON or from a stream of events."""
    if "event-stream" not in (response.headers["content-type"] or ""):
        body = response.read()
        assert body, response.status
        yield json.loads(body)
        return
    for line in response:
        if line.startswith(b"data:") and line[5:].strip():
            yield json.loads(line[5:])


def eventually(true: Callable[[], bool]) -> None:
    """Waits until it is true; for a minute at most."""
    pause = threading.Event()
    for _ in range(6000):
        if true():
            return
        pause.wait(0.01)
    raise AssertionError("it did not become true")
