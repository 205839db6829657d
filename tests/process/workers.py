"""Real processes for the tests, hundreds of them: forked from one small server, told what to do.

The server has one thread, everything imported and no palace open, so that a worker costs some
milliseconds and is as good as a fresh process. What a worker does is a function in `deeds.py`;
it is called with a `Line` to the test, and its arguments come as JSON.
"""

from __future__ import annotations

import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Self

ROOT = Path(__file__).parents[2]
DEEDS = "tests.process.deeds"
PATIENCE_SECONDS = 120.0


class Line:
    """Both ends of the talk between a test and its worker: one JSON value per message."""

    def __init__(self, end: socket.socket) -> None:
        self.socket = end
        self.socket.settimeout(PATIENCE_SECONDS)

    def say(self, value: Any) -> None:
        self.socket.sendall(json.dumps(value).encode())

    def hear(self) -> Any:
        """The next message; EOFError when the other side is gone."""
        try:
            message = self.socket.recv(2**20)
        except ConnectionResetError:  # gone without having heard all
            message = b""
        if not message:
            raise EOFError("the other side is gone")
        return json.loads(message)

    def barrier(self) -> None:
        """Waits until the test lets all workers go."""
        self.say("ready")
        assert self.hear() == "go"

    def addressed(self) -> bool:
        """Whether a message is there, without waiting."""
        return bool(select.select([self.socket], [], [], 0)[0])


def talk() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)


class Worker:
    """A process that does one deed."""

    def __init__(self, crew: Crew, line: Line, pid: int) -> None:
        self.pid = pid
        self._crew = crew
        self._line = line
        self._code: int | None = None

    def tell(self, value: Any) -> None:
        self._line.say(value)

    def hear(self) -> Any:
        """What it says next; its exception, if it has ended by one, fails the test."""
        message = self._line.hear()
        assert "said" in message, f"the worker failed:\n{message['failed']}"
        return message["said"]

    def last_words(self) -> list[Any]:
        """All that it has said before it ended."""
        said = []
        try:
            while True:
                said.append(self.hear())
        except EOFError:
            return said

    def signal(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        if number == signal.SIGSTOP:
            self._crew.ask("stopped", self.pid)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        assert self.wait() == -signal.SIGKILL

    def wait(self) -> int:
        """Its exit code, negative for the signal that killed it."""
        if self._code is None:
            self._code = self._crew.ask("wait", self.pid)
        return self._code

    @property
    def lives(self) -> bool:
        return self._code is None

    def ends(self) -> list[Any]:
        """Asserts that it ends well; returns all that it said and nobody heard."""
        said = self.last_words()
        assert self.wait() == 0
        self.close()
        return said

    def close(self) -> None:
        if self._code is None:
            os.kill(self.pid, signal.SIGCONT)
            os.kill(self.pid, signal.SIGKILL)
            self.wait()
        self._line.socket.close()


class Crew:
    """The server, and the workers that it has started for one test."""

    def __init__(self) -> None:
        mine, its = talk()
        with its:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "tests.process.workers", str(its.fileno())],
                cwd=ROOT,
                pass_fds=[its.fileno()],
                stdin=subprocess.DEVNULL,
            )
        self._line = Line(mine)
        self._workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._line.socket.close()
        assert self._process.wait(PATIENCE_SECONDS) == 0

    def ask(self, verb: str, argument: Any) -> Any:
        self._line.say([verb, argument])
        return self._line.hear()

    def start(self, deed: str, *arguments: Any) -> Worker:
        mine, its = talk()
        with its:
            order = json.dumps(["start", [deed, list(arguments)]]).encode()
            socket.send_fds(self._line.socket, [order], [its.fileno()])
        worker = Worker(self, Line(mine), self._line.hear())
        self._workers.append(worker)
        return worker

    def start_all(self, deed: str, arguments: Iterable[list[Any]]) -> list[Worker]:
        """Starts one worker for each list of arguments and lets them go at the same moment."""
        workers = [self.start(deed, *each) for each in arguments]
        for each in workers:
            assert each.hear() == "ready"
        for each in workers:
            each.tell("go")
        return workers

    def run(self, deed: str, *arguments: Any) -> Any:
        """What the deed says last; it must end well."""
        said = self.start(deed, *arguments).ends()
        return said[-1] if said else None

    def dismiss(self) -> None:
        """Ends whoever is still there; only after a test has failed is that anybody."""
        for each in self._workers:
            each.close()
        self._workers.clear()


class Ledger:
    """What a worker was acknowledged: one line each, appended after the acknowledgement."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)

    def note(self, *what: Any) -> None:
        os.write(self._file, (json.dumps(what) + "\n").encode())

    @staticmethod
    def read(path: Path) -> list[tuple[Any, ...]]:
        if not path.exists():
            return []
        return [tuple(json.loads(line)) for line in path.read_text().splitlines()]


class _Speaker(Line):
    """The worker's end: what it says is marked, so that a failure can be told from it."""

    def say(self, value: Any) -> None:
        super().say({"said": value})

    def fail(self, text: str) -> None:
        super().say({"failed": text[-60_000:]})


def serve(control: socket.socket) -> None:
    """Forks a worker for each order; a worker returns from here and ends like any program."""
    deeds = importlib.import_module(DEEDS)
    line = Line(control)
    control.settimeout(None)
    while True:
        order, files, _, _ = socket.recv_fds(control, 2**20, 1)
        if not order:
            return
        verb, argument = json.loads(order)
        if verb == "start":
            pid = os.fork()
            if not pid:
                control.close()
                _work(deeds, _Speaker(socket.socket(fileno=files[0])), *argument)
                return
            os.close(files[0])
            line.say(pid)
        else:
            _, status = os.waitpid(argument, os.WUNTRACED if verb == "stopped" else 0)
            line.say(None if verb == "stopped" else os.waitstatus_to_exitcode(status))


def _work(deeds: Any, line: _Speaker, deed: str, arguments: list[Any]) -> None:
    try:
        getattr(deeds, deed)(line, *arguments)
    except Exception:  # noqa: BLE001 (the edge: the test shall see it)
        line.fail(traceback.format_exc())
        sys.exit(1)


if __name__ == "__main__":
    serve(socket.socket(fileno=int(sys.argv[1])))
