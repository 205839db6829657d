"""How soon a server answers, what it weighs, and how soon it is gone.

Beside `palatine mcp` stand the smallest honest server in Python (`floor_server.py`) and a bare
interpreter that answers any line: what is above them is Palatine's own.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from corpus import Corpus, fill
from report import Report, median, parser, scratch

from palatine import Palace

BARE = "import sys; sys.stdin.buffer.readline(); print('{}', flush=True); sys.stdin.buffer.read()"
SDK = """
import asyncio
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
async def main():
    server = Server("empty", version="1")
    async with stdio_server() as streams:
        await server.run(*streams, server.create_initialization_options())
asyncio.run(main())
"""
INITIALIZE = {
    "protocolVersion": "2025-06-18",
    "capabilities": {},
    "clientInfo": {"name": "bench", "version": "1"},
}
DRAWERS = 1000
LIMIT_TIMES_FLOOR = 3
LIMIT_RSS_MB = 20
LIMIT_EXIT_MS = 100


class Server:
    """One server process and the time since it was started."""

    def __init__(self, command: list[str]) -> None:
        self._last_id = 0
        self.started = time.perf_counter()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def ask(self, method: str, params: dict[str, Any]) -> float:
        """Milliseconds until the reply."""
        self._last_id += 1
        start = time.perf_counter()
        message = {"jsonrpc": "2.0", "id": self._last_id, "method": method, "params": params}
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()
        reply = json.loads(self.process.stdout.readline())
        if "error" in reply or reply.get("result", {}).get("isError"):
            raise RuntimeError(f"{method}: {reply}")
        return (time.perf_counter() - start) * 1000

    def call(self, tool: str, **arguments: object) -> float:
        """Milliseconds of a tool's call."""
        return self.ask("tools/call", {"name": tool, "arguments": arguments})

    def rss_mb(self) -> float:
        """Resident memory; NaN where there is no /proc."""
        try:
            status = Path(f"/proc/{self.process.pid}/status").read_text("ascii")
        except OSError:
            return float("nan")
        return int(status.partition("VmRSS:")[2].split()[0]) / 1024

    def end(self, how: str) -> float:
        """Ends the process; milliseconds until it is gone."""
        assert self.process.stdin
        assert self.process.stdout
        start = time.perf_counter()
        if how == "EOF":
            self.process.stdin.close()
        else:
            self.process.send_signal(signal.Signals[how])
        self.process.wait(timeout=30)
        took = (time.perf_counter() - start) * 1000
        for pipe in (self.process.stdin, self.process.stdout):
            pipe.close()
        return took


def start(command: list[str], seen: dict[str, list[float]]) -> Server:
    """A server that has given its first reply."""
    server = Server(command)
    server.ask("initialize", INITIALIZE)
    seen["first reply"].append((time.perf_counter() - server.started) * 1000)
    seen["RSS MB"].append(server.rss_mb())
    return server


def starts(commands: dict[str, list[str]], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Each system in turns, so that a noisy moment meets all of them."""
    seen: dict[str, dict[str, list[float]]] = {
        name: {"first reply": [], "RSS MB": [], "EOF": []} for name in commands
    }
    for _ in range(rounds):
        for name, command in commands.items():
            server = start(command, seen[name])
            seen[name]["EOF"].append(server.end("EOF"))
    return seen


def calls(command: list[str], rounds: int) -> dict[str, list[float]]:
    """What the first calls cost, and the end with a palace open."""
    corpus = Corpus(3)
    firsts: dict[str, Callable[[Server], float]] = {
        "status": lambda server: server.call("status"),
        "search": lambda server: server.call("search", query=corpus.question()),
        "kg_add": lambda server: server.call(
            "kg_add", subject="Max", predicate="met", object=corpus.identifier()
        ),
    }
    seen: dict[str, list[float]] = {}
    idle: dict[str, list[float]] = {"first reply": [], "RSS MB": []}
    for _ in range(rounds):
        for name, call in firsts.items():
            server = start(command, idle)
            seen.setdefault(f"{name}, first call", []).append(call(server))
            seen.setdefault(f"{name}, second call", []).append(call(server))
            seen.setdefault(f"RSS MB after {name}", []).append(server.rss_mb())
            how = {"status": "EOF", "search": "SIGTERM", "kg_add": "SIGINT"}[name]
            seen.setdefault(f"exit at {how}, palace open", []).append(server.end(how))
        for how in ("SIGTERM", "SIGINT"):
            server = start(command, idle)
            seen.setdefault(f"exit at {how}, no palace open", []).append(server.end(how))
    return seen


def main() -> int:
    """Starts, first calls, ends."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=15)
    given = arguments.parse_args()
    if given.quick:
        given.rounds = 5
    report = Report("startup", given)
    with scratch(given.folder) as folder:
        place = folder / "palace"
        with Palace.open(place) as palace:
            fill(palace, Corpus(), DRAWERS)
        mcp = [str(Path(sys.executable).with_name("palatine")), "mcp", "--palace", str(place)]
        commands = {
            "bare interpreter": [sys.executable, "-c", BARE],
            "floor server": [sys.executable, str(Path(__file__).with_name("floor_server.py"))],
            "the official SDK's server": [sys.executable, "-c", SDK],
            "palatine mcp": mcp,
        }
        seen = starts(commands, given.rounds)
        later = calls(mcp, max(3, given.rounds // 2))
    middle = {name: {key: median(each) for key, each in s.items()} for name, s in seen.items()}
    floor = middle["floor server"]["first reply"]
    report.table(
        f"from the start of the process to its first reply, median of {given.rounds}",
        ["server", "first reply ms", "times the floor", "RSS MB", "exit at EOF ms"],
        [
            [name, m["first reply"], m["first reply"] / floor, m["RSS MB"], m["EOF"]]
            for name, m in middle.items()
        ],
    )
    report.table(
        f"calls over MCP in a palace of {DRAWERS} drawers",
        ["what", "median", "max"],
        [[what, median(each), max(each)] for what, each in later.items()],
    )
    ours = middle["palatine mcp"]
    report.expect(
        "first reply, times the floor", ours["first reply"] / floor, most=LIMIT_TIMES_FLOOR
    )
    report.expect("RSS before the first call, MB", ours["RSS MB"], most=LIMIT_RSS_MB)
    ends = [ours["EOF"], *(median(each) for what, each in later.items() if "exit" in what)]
    report.expect("slowest kind of exit, ms", max(ends), most=LIMIT_EXIT_MS)
    report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
