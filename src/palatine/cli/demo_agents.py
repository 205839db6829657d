"""The demo's agents: each a real `palatine mcp` process, with an MCP client at its other end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from threading import Event, Timer
from time import monotonic
from typing import Any, Self

from palatine.cli.demo_story import QUESTIONS, Call
from palatine.config import environment
from palatine.errors import StoreError

_PATIENCE_SECONDS = 300
SERVER = ("-P", "-m", "palatine", "mcp")
"""Arguments of this interpreter. `-P`: files of the folder that an agent works in are not ours."""


class CallError(StoreError):
    """A tool answered with an error, or the server did not answer at all."""


class Server:
    """One server process and its only client. Belongs to one thread; `kill` to any."""

    def __init__(self, command: Sequence[str], client: str) -> None:
        self._client = client
        self._sent = 0
        self._process = subprocess.Popen(
            command,
            cwd=os.sep,  # above the working folder's palatine.toml, which may name a wing
            env={k: v for k, v in environment().items() if k != "PALATINE_WING"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process as a client does: by the end of its input."""
        with suppress(OSError), self._process:  # closes the pipes and waits
            pass

    def start(self) -> None:
        """Introduces the client and has the palace opened.

        Raises:
            CallError: the palace cannot be opened.
        """
        self.greet()
        self.call("status")

    def greet(self) -> dict[str, Any]:
        """Introduces the client; what the server says of itself."""
        client = {"name": self._client, "version": "0"}
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        return self.ask("initialize", hello)

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What the tool answers.

        Raises:
            CallError: it answered with an error, or not at all.
        """
        result = self.ask("tools/call", {"name": tool, "arguments": arguments})
        if result["isError"]:
            raise CallError(f"{tool}: {result['content'][0]['text']}")
        answer: dict[str, Any] = result["structuredContent"]
        return answer

    def send(self, call: Call) -> None:
        """Asks, and does not wait for the answer."""
        self._request("tools/call", {"name": call.tool, "arguments": call.arguments})

    def kill(self) -> int:
        """Ends the process where it stands; returns its exit code."""
        self._process.kill()
        return self._process.wait()

    def _request(self, method: str, params: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._sent += 1
        message = {"jsonrpc": "2.0", "id": self._sent, "method": method, "params": params}
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except OSError as error:
            raise CallError(f"the server of {self._client} is gone: {error}") from error

    def ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """The result of a request."""
        self._request(method, params)
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line.endswith(b"\n"):
            raise CallError(f"the server of {self._client} is gone")
        reply: dict[str, Any] = json.loads(line)
        if reply["id"] != self._sent or "result" not in reply:
            raise CallError(f"not an answer to request {self._sent}: {line[:200]!r}")
        result: dict[str, Any] = reply["result"]
        return result


@dataclass(frozen=True, slots=True)
class Answered:
    """A call that was answered: how, when, and after how long."""

    call: Call
    answer: dict[str, Any]
    at: float
    seconds: float

    @property
    def ref(self) -> str:
        """The id of what was written."""
        return str(self.answer["id"] if "id" in self.answer else self.answer["fact"]["id"])


@dataclass(slots=True)
class Agent:
    """An agent, its server, and the ledger of what was acknowledged to it.

    Attributes:
        killed_after: after so many acknowledged writes its server is killed; None: never.
        unanswered: the write that was under way then.
    """

    name: str
    server: Server
    writes: Sequence[Call] = ()
    killed_after: int | None = None
    ledger: list[Answered] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    unanswered: Call | None = None
    killed_at: float = 0.0

    @property
    def slowest_seconds(self) -> float:
        """The longest wait for what stands in the ledger."""
        return max((done.seconds for done in self.ledger), default=0.0)

    def work(self) -> None:
        """Writes all it has to write."""
        for write in self.writes:
            if len(self.ledger) == self.killed_after:
                self.server.send(write)
                self.server.kill()
                self.unanswered, self.killed_at = write, monotonic()
                return
            self.do(write)

    def search_until(self, done: Event) -> None:
        """Searches one question after the other until it is done, once at least."""
        last = False
        while not last and not self.errors:
            last = done.is_set()
            self.do(Call("search", {"query": QUESTIONS[len(self.ledger) % len(QUESTIONS)]}))

    def do(self, call: Call) -> None:
        """Makes a call and enters it in the ledger, unless it fails."""
        began = monotonic()
        if answer := self.ask(call.tool, **call.arguments):
            ended = monotonic()
            self.ledger.append(Answered(call, answer, ended, ended - began))

    def ask(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What the tool answers; an error is kept, the answer then empty."""
        try:
            return self.server.call(tool, **arguments)
        except CallError as error:
            self.errors.append(str(error))
            return {}


class Crew(ExitStack):
    """All processes of the demo. Leaving the block ends those that still run."""

    def __init__(self, palace: str) -> None:
        super().__init__()
        self._palace = palace
        self._servers: list[Server] = []
        # A server that never answers, or never ends, must not keep the demo for ever.
        watch = Timer(_PATIENCE_SECONDS, self._kill_all)
        watch.start()
        self.callback(watch.cancel)

    def server(self, client: str) -> Server:
        """A new server process for this client."""
        command = [sys.executable, *SERVER, "--palace", self._palace]
        server = self.enter_context(Server(command, client))
        self._servers.append(server)
        return server

    def work(self, agents: Sequence[Agent], searcher: Agent) -> None:
        """Lets all agents write at once, when all have started, while the searcher searches.

        Raises:
            CallError: a server could not open the palace.
        """
        done = Event()
        with ThreadPoolExecutor(len(agents) + 1) as threads:
            try:
                list(threads.map(lambda each: each.server.start(), (*agents, searcher)))
                searching = threads.submit(searcher.search_until, done)
                list(threads.map(Agent.work, agents))
            except BaseException:
                self._kill_all()
                raise
            finally:
                done.set()
        searching.result()

    def _kill_all(self) -> None:
        for server in self._servers:
            server.kill()
