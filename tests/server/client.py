"""A small client that drives a server process over its pipes, with bounded waits."""

import contextlib
import json
import os
import queue
import signal
import subprocess
import tempfile
import threading
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

WAIT_SECONDS = 60.0
PREFIX = "io.modelcontextprotocol/"
ENVELOPE = {
    PREFIX + "protocolVersion": "2026-07-28",
    PREFIX + "clientCapabilities": {},
    PREFIX + "clientInfo": {"name": "test-client", "version": "1"},
}


class Client:
    """One server process and the client's end of its pipes; for one thread.

    Leaving the block closes the server's input and asserts that it ends with exit code 0.
    """

    def __init__(self, *command: object, env: Mapping[str, str] | None = None) -> None:
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed in __exit__)
        self.process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=env,
        )
        self._received: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self._kept: list[dict[str, Any]] = []
        self._ids = iter(range(1, 1_000_000_000))
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

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
            self._reader.join()
            self.close_input()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self._errors.close()

    def send(self, *messages: Mapping[str, Any]) -> None:
        """Sends messages, each on its line."""
        self.send_bytes(b"".join(json.dumps(each).encode() + b"\n" for each in messages))

    def send_bytes(self, data: bytes) -> None:
        """Sends bytes as they are."""
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def receive(self) -> dict[str, Any]:
        """Returns the next message, whatever it answers."""
        if self._kept:
            return self._kept.pop(0)
        return self._next()

    def reply(self, key: object) -> dict[str, Any]:
        """Returns the reply to a request; messages that come before it are kept for `receive`."""
        for at, message in enumerate(self._kept):
            if "method" not in message and message.get("id") == key:
                return self._kept.pop(at)
        while "method" in (message := self._next()) or message.get("id") != key:
            self._kept.append(message)
        return message

    def ask(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Sends a request and returns the whole reply."""
        return self.reply(self.post(method, params))

    def post(self, method: str, params: Mapping[str, Any] | None = None) -> int:
        """Sends a request and returns its id."""
        key = next(self._ids)
        message = {"jsonrpc": "2.0", "id": key, "method": method}
        self.send(message if params is None else message | {"params": params})
        return key

    def ask_modern(self, method: str, params: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Sends a request in the modern era's envelope and returns the whole reply."""
        return self.ask(method, {"_meta": ENVELOPE, **(params or {})})

    def initialize(self, *, version: str = "2025-11-25", name: str = "test") -> dict[str, Any]:
        """Opens the handshake era; returns the result."""
        client = {"name": name, "version": "1"}
        params = {"protocolVersion": version, "capabilities": {}, "clientInfo": client}
        result: dict[str, Any] = self.ask("initialize", params)["result"]
        self.send({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return result

    def try_call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Calls a tool; returns its result, which may be an error that the tool reports."""
        reply = self.ask("tools/call", {"name": tool, "arguments": arguments})
        assert "result" in reply, reply
        result: dict[str, Any] = reply["result"]
        return result

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Calls a tool that must succeed; returns what it answers, as JSON."""
        result = self.try_call(tool, **arguments)
        assert not result["isError"], result
        structured: dict[str, Any] = result["structuredContent"]
        return structured

    def close_input(self) -> None:
        """Ends the server's input."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()

    def end(self, how: signal.Signals | None = None) -> int:
        """Ends the server, by a signal or by the end of its input; returns the exit code."""
        if how is None:
            self.close_input()
        else:
            self.process.send_signal(how)
        return self.process.wait(WAIT_SECONDS)

    def errors(self) -> str:
        """Returns what the server has written to standard error."""
        # Not seek and read: the server writes through the same file offset.
        number = self._errors.fileno()
        return os.pread(number, os.fstat(number).st_size, 0).decode()

    def _next(self) -> dict[str, Any]:
        message = self._received.get(timeout=WAIT_SECONDS)
        assert message is not None, f"the server is gone; standard error:\n{self.errors()}"
        return message

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self._received.put(json.loads(line))
        self._received.put(None)
