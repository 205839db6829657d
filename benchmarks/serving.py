"""Calls over HTTP: how many a second with 1, 8 and 64 clients, and a reader beside writers.

Clients keep their connection and ask the next thing when the last is answered. Writers that run
beside the reader are processes of their own, so that only the server is shared: once at a steady
pace, where a reader waits only if writers hold it up, and once flat out, where all of them also
share the one server's processor time.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpus import Corpus, fill
from report import Report, median, parser, scratch

from palatine import Palace

VERSION = "2026-07-28"
ENVELOPE = {
    "io.modelcontextprotocol/protocolVersion": VERSION,
    "io.modelcontextprotocol/clientCapabilities": {},
}
DRAWERS = 10_000
CLIENTS = (1, 8, 64)
WRITERS = 3
PACE_SECONDS = 0.1
LIMIT_TIMES_ALONE = 1.3


class Caller:
    """One client of the modern era."""

    def __init__(self, port: int, token: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._headers = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": VERSION,
            "Mcp-Method": "tools/call",
        }

    def call(self, tool: str, **arguments: object) -> float:
        """Milliseconds of a tool's call."""
        start = time.perf_counter()
        params = {"name": tool, "arguments": arguments, "_meta": ENVELOPE}
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
        self._connection.request("POST", "/mcp", body, {**self._headers, "Mcp-Name": tool})
        reply = json.loads(self._connection.getresponse().read())
        if "error" in reply or reply["result"].get("isError"):
            raise RuntimeError(f"{tool}: {reply}")
        return (time.perf_counter() - start) * 1000


def write_for_ever(port: int, token: str, number: int, pause_seconds: float) -> None:
    """What a writer beside the reader does until it is killed."""
    caller, corpus = Caller(port, token), Corpus(100 + number)
    while True:
        took = caller.call("add_drawer", text=f"{corpus.identifier()} {corpus.question()}")
        print("written", flush=True)
        time.sleep(max(0.0, pause_seconds - took / 1000))


class Server:
    """`palatine serve` on a palace."""

    def __init__(self, place: Path) -> None:
        palatine = str(Path(sys.executable).with_name("palatine"))
        command = [palatine, "serve", "--palace", str(place), "--port", "0"]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.port = int(self.process.stdout.readline().rsplit(":", 1)[1].split("/")[0])
        shown = [palatine, "token", "show", "--palace", str(place)]
        self.token = subprocess.run(
            shown, stdout=subprocess.PIPE, text=True, check=True
        ).stdout.strip()

    def end(self) -> float:
        """Ends it; milliseconds until it is gone."""
        start = time.perf_counter()
        self.process.terminate()
        self.process.wait(timeout=30)
        assert self.process.stdout
        self.process.stdout.close()
        return (time.perf_counter() - start) * 1000


def together(
    server: Server, clients: int, calls: int, work: Callable[[Caller, Corpus], float]
) -> tuple[float, list[float]]:
    """Calls a second of many clients, and the milliseconds of each call."""
    took: list[float] = []
    gate = threading.Barrier(clients + 1)

    def run(number: int) -> None:
        caller, corpus = Caller(server.port, server.token), Corpus(number)
        gate.wait()
        took.extend([work(caller, corpus) for _ in range(calls)])

    threads = [threading.Thread(target=run, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    gate.wait()
    start = time.perf_counter()
    for thread in threads:
        thread.join()
    return len(took) / (time.perf_counter() - start), took


WORK: dict[str, Callable[[Caller, Corpus], float]] = {
    "status": lambda caller, _: caller.call("status"),
    "search": lambda caller, corpus: caller.call("search", query=corpus.question(), limit=5),
    "add_drawer": lambda caller, corpus: caller.call(
        "add_drawer", text=f"{corpus.identifier()} {corpus.question()}"
    ),
}


def searches(server: Server, calls: int) -> list[float]:
    """Milliseconds of one reader's calls."""
    caller, corpus = Caller(server.port, server.token), Corpus(7)
    return [WORK["search"](caller, corpus) for _ in range(calls)]


def beside_writers(server: Server, calls: int, pause_seconds: float) -> tuple[list[float], float]:
    """One reader's calls beside the writers, and what they write a second meanwhile."""
    command = [sys.executable, __file__, "--writer", str(server.port), server.token]
    writers = [
        subprocess.Popen(
            [*command, str(number), str(pause_seconds)], stdout=subprocess.PIPE, text=True
        )
        for number in range(WRITERS)
    ]
    for writer in writers:
        assert writer.stdout
        writer.stdout.readline()
    start = time.perf_counter()
    took = searches(server, calls)
    seconds = time.perf_counter() - start
    written = 0
    for writer in writers:
        writer.kill()
        written += len(writer.communicate()[0].splitlines())
    return took, written / seconds


def percentile(values: list[float], share: float) -> float:
    """The value that this share of them does not exceed."""
    return sorted(values)[int(share * (len(values) - 1))]


def main() -> int:
    """Throughput, then a reader beside writers."""
    if sys.argv[1:2] == ["--writer"]:
        write_for_ever(int(sys.argv[2]), sys.argv[3], int(sys.argv[4]), float(sys.argv[5]))
    given = parser(__doc__).parse_args()
    drawers, calls = (1000, 200) if given.quick else (DRAWERS, 1000)
    report = Report("serving", given)
    rows: list[list[Any]] = []
    with scratch(given.folder) as folder:
        with Palace.open(folder / "palace") as palace:
            fill(palace, Corpus(), drawers)
        server = Server(folder / "palace")
        for what, work in WORK.items():
            for clients in CLIENTS:
                rate, took = together(server, clients, max(1, calls // clients), work)
                rows.append([what, clients, rate, median(took), percentile(took, 0.99)])
        alone = searches(server, calls)
        paced, rate = beside_writers(server, calls, PACE_SECONDS)
        flat_out, most = beside_writers(server, calls, 0)
        ended = server.end()
    report.table(
        f"calls over HTTP in a palace of {drawers} drawers, all clients in one process",
        ["tool", "clients", "calls/s", "median ms", "99 % ms"],
        rows,
    )
    report.table(
        f"one reader (search) alone and beside {WRITERS} writers",
        ["reader", "median ms", "99 % ms", "max ms"],
        [
            [who, median(took), percentile(took, 0.99), max(took)]
            for who, took in (
                ("alone", alone),
                (f"beside {rate:.0f} writes/s, a steady pace", paced),
                (f"beside {most:.0f} writes/s, flat out", flat_out),
            )
        ],
    )
    report.say(f"exit at SIGTERM: {ended:.0f} ms")
    report.expect(
        "reader's median beside steady writers, times alone",
        median(paced) / median(alone),
        most=LIMIT_TIMES_ALONE,
    )
    report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
