"""The demo's agents: each a real `palatine mcp` process, with an MCP client at its other end."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from threading import Barrier, BrokenBarrierError, Event, Timer
from time import monotonic
from types import TracebackType
from typing import Any, Self

from palatine.cli.demo_story import QUESTIONS, Write
from palatine.config import environment
from palatine.errors import StoreError

_PATIENCE_SECONDS = 300
_EXIT_SECONDS = 10
SERVER = ("-P", "-m", "palatine", "mcp")
"""Arguments of this interpreter. `-P`: files of the folder that an agent works in are not ours."""


class CallError(StoreError):
    """A tool answered with an error, or the server did not answer at all."""


class Server:
    """One server process and its only client. Belongs to one thread; `kill` to any."""

    def __init__(self, palace: str, client: str) -> None:
        self._client = client
        self._sent = 0
        whole = {k: v for k, v in environment().items() if k != "PALATINE_WING"}
        self._process = subprocess.Popen(
            [sys.executable, *SERVER, "--palace", palace],
            cwd=os.sep,  # above the working folder's palatine.toml, which may name a wing
            env=whole,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Ends the process as a client does: by the end of its input."""
        for pipe in (self._process.stdin, self._process.stdout):
            try:
                if pipe is not None:
                    pipe.close()
            except OSError:
                pass
        try:
            self._process.wait(_EXIT_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill()

    def start(self) -> None:
        """Introduces the client and has the palace opened.

        Raises:
            CallError: the palace cannot be opened.
        """
        client = {"name": self._client, "version": "0"}
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}
        self._request("initialize", hello)
        self._receive()
        self.call("status")

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """What the tool answers.

        Raises:
            CallError: it answered with an error, or not at all.
        """
        self.send(tool, arguments)
        result = self._receive()
        if result["isError"]:
            raise CallError(f"{tool}: {result['content'][0]['text']}")
        answer: dict[str, Any] = result["structuredContent"]
        return answer

    def send(self, tool: str, arguments: dict[str, Any]) -> None:
        """Asks, and does not wait for the answer."""
        self._request("tools/call", {"name": tool, "arguments": arguments})

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

    def _receive(self) -> dict[str, Any]:
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
class Acknowledged:
    """A write that was answered: the id of what was written, and when the answer came."""

    write: Write
    ref: str
    at: float


@dataclass(slots=True)
class Agent:
    """An agent, its server, and the ledger of what was acknowledged to it.

    Attributes:
        killed_after: after so many acknowledged writes its server is killed; None: never.
        unanswered: the write that was under way then.
    """

    name: str
    server: Server
    writes: Sequence[Write] = ()
    killed_after: int | None = None
    ledger: list[Acknowledged] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    slowest_seconds: float = 0.0
    unanswered: Write | None = None
    killed_at: float = 0.0
    exit_code: int | None = None

    def work(self) -> None:
        """Writes all it has to write."""
        for write in self.writes:
            if len(self.ledger) == self.killed_after:
                self.server.send(write.tool, write.arguments)
                self.exit_code = self.server.kill()
                self.unanswered, self.killed_at = write, monotonic()
                return
            self.write(write)

    def write(self, write: Write) -> dict[str, Any]:
        """Makes one write and enters it in the ledger; an error is kept, the answer then empty."""
        began = monotonic()
        try:
            answer = self.server.call(write.tool, **write.arguments)
        except CallError as error:
            self.errors.append(str(error))
            return {}
        ended = monotonic()
        self.slowest_seconds = max(self.slowest_seconds, ended - began)
        ref = answer["id"] if "id" in answer else answer["fact"]["id"]
        self.ledger.append(Acknowledged(write, ref, ended))
        return answer


@dataclass(slots=True)
class Searcher:
    """The process that searches while the others write.

    Attributes:
        seqs: the palace's last change, as the first and the last answer saw it.
    """

    server: Server
    answers: int = 0
    seqs: tuple[int, int] = (0, 0)
    slowest_seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    def search_until(self, done: Event) -> None:
        """Searches one question after the other until it is done, once at least."""
        while True:
            last = done.is_set()
            began = monotonic()
            try:
                seq = self.server.call("search", query=QUESTIONS[self.answers % len(QUESTIONS)])[
                    "seq"
                ]
            except CallError as error:
                self.errors.append(str(error))
                return
            self.slowest_seconds = max(self.slowest_seconds, monotonic() - began)
            self.seqs = (self.seqs[0] if self.answers else seq, seq)
            self.answers += 1
            if last:
                return


class Crew:
    """All processes of the demo. Leaving the block ends those that still run."""

    def __init__(self, palace: str) -> None:
        self._palace = palace
        self._servers: list[Server] = []
        self._stack = ExitStack()
        # A server that never answers must not keep the demo for ever.
        self._watch = Timer(_PATIENCE_SECONDS, self._kill_all)

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._watch.cancel()
        self._stack.close()

    def server(self, client: str) -> Server:
        """A new server process for this client."""
        server = self._stack.enter_context(Server(self._palace, client))
        self._servers.append(server)
        return server

    def work(self, agents: Sequence[Agent], searcher: Searcher) -> None:
        """Lets all agents write at once, beginning together, while the searcher searches.

        Raises:
            CallError: a server could not open the palace.
        """
        together = Barrier(len(agents) + 1)
        done = Event()

        def begin(server: Server) -> None:
            try:
                server.start()
            except BaseException:
                together.abort()
                raise
            together.wait()

        def write(agent: Agent) -> None:
            begin(agent.server)
            agent.work()

        def search() -> None:
            begin(searcher.server)
            searcher.search_until(done)

        with ThreadPoolExecutor(len(agents) + 1) as threads:
            try:
                searching = threads.submit(search)
                _check([threads.submit(write, agent) for agent in agents])
                done.set()
                _check([searching])
            except BaseException:
                self._kill_all()
                done.set()
                raise

    def _kill_all(self) -> None:
        for server in self._servers:
            server.kill()


def _check(futures: Sequence[Future[None]]) -> None:
    """Waits for all; raises why one could not begin, rather than that others waited for it."""
    errors = filter(None, [future.exception() for future in futures])
    for error in sorted(errors, key=lambda error: isinstance(error, BrokenBarrierError)):
        raise error
