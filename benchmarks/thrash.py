"""One process searches while another one adds: what a neighbour's write costs the reader.

Process A adds one drawer at a time. Process B waits until A says that a drawer is in, tells it to
add the next one, and at the same moment asks a question (timed: it pays for the write before, and
runs beside the next) and then asks for the one word of the drawer that was acknowledged: if it does
not come, that read was stale. Every tenth round B adds a drawer of its own. At the end a new
process looks for every drawer that was acknowledged; what is missing is lost.

Where chromadb is installed, its collections get the same treatment, with vectors made beforehand so
that no model is measured: embedded in both processes under no rule; embedded under the rule to look
at the database's time at most every five seconds, to open it again when that changed and to take an
own write's time as seen; and behind its own server.
"""

from __future__ import annotations

import argparse
import importlib.util
import multiprocessing
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Protocol

import chroma_peers
from corpus import Corpus, fill
from report import Report, median, parser, percentile, scratch

from palatine import Palace

BLOCKS = 5
OWN_EVERY = 10
CHROMA_CHUNKS = 10_000
CHROMA_SECONDS_BETWEEN = 0.2


class System(Protocol):
    """One process's view of what is measured."""

    def add(self, number: int) -> None:
        """Adds the drawer with this number; returns when it is acknowledged."""

    def ask(self, number: int) -> int:
        """Answers the question with this number; says how many rows it read, if it knows."""

    def finds(self, number: int) -> bool:
        """Searches for the drawer with this number."""

    def close(self) -> None:
        """Lets go."""


class Palatine:
    """A palace, through the public library."""

    def __init__(self, place: str) -> None:
        self._palace = Palace.open(place, embedder="none")
        self.close = self._palace.close
        corpus = Corpus(2)
        self._questions = [corpus.question() for _ in range(200)]
        self._texts = [corpus.text() for _ in range(200)]

    def add(self, number: int) -> None:
        """The word stands in no other drawer."""
        self._palace.add(f"{self._texts[number % 200]} unique{number}word", wing="thrash")

    def ask(self, number: int) -> int:
        """Full text, ten drawers."""
        return self._palace.search(self._questions[number % 200]).rows_read

    def finds(self, number: int) -> bool:
        """By its one word."""
        hits = self._palace.search(f"unique{number}word", limit=1)
        return bool(hits) and f" unique{number}word" in hits[0].text


Open = Callable[[str], System]


def adds(opening: Open, place: str, orders: Connection) -> None:
    """Process A: adds what it is told to, one at a time."""
    system = opening(place)
    orders.send("ready")
    while (number := orders.recv()) is not None:
        system.add(number)
        orders.send(number)
    system.close()


def looks(opening: Open, place: str, numbers: list[int], answers: Connection) -> None:
    """A new process: how many of the drawers it does not find."""
    system = opening(place)
    answers.send(sum(not system.finds(number) for number in numbers))
    system.close()


def measure(opening: Open, place: str, rounds: int, pause: float) -> dict[str, float]:
    """Process B: times in milliseconds, and counts."""
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    writer = spawn.Process(target=adds, args=(opening, place, theirs), daemon=True)
    writer.start()
    ours.recv()
    reader = opening(place)
    quiet, busy, rows_quiet, rows_busy, stale = [], [], [], [], 0
    added = [0]
    ours.send(0)
    ours.recv()
    for block in range(BLOCKS):
        asked = range(block * rounds, (block + 1) * rounds)
        rows_quiet += [_timed(reader, number, quiet) for number in asked]
        for number in asked:
            ours.send(added[-1] + 2)
            rows_busy.append(_timed(reader, number, busy))
            stale += not reader.finds(added[-1])
            if number % OWN_EVERY == 0:
                reader.add(added[-1] + 1)
                added.insert(0, added[-1] + 1)
            added.append(ours.recv())
            time.sleep(pause)
    ours.send(None)
    writer.join()
    reader.close()
    checker = spawn.Process(target=looks, args=(opening, place, added, theirs), daemon=True)
    checker.start()
    lost = ours.recv()
    checker.join()
    return {
        "quiet": median(quiet),
        "busy": median(busy),
        "busy p90": percentile(busy, 0.9),
        "rows quiet": median(rows_quiet),
        "rows busy": median(rows_busy),
        "adds": len(added),
        "stale": stale,
        "lost": lost,
    }


def _timed(reader: System, number: int, seen: list[float]) -> int:
    start = time.perf_counter()
    rows = reader.ask(number)
    seen.append((time.perf_counter() - start) * 1000)
    return rows


def palatine(report: Report, given: argparse.Namespace) -> None:
    """Each size of palace."""
    table = []
    for chunks in given.chunks:
        with scratch(given.folder) as folder:
            place = folder / "palace"
            with Palace.open(place, embedder="none") as palace:
                fill(palace, Corpus(), chunks)
            seen = measure(Palatine, str(place), given.rounds, 0.0)
        table.append(
            [f"{chunks:,}", *(seen[key] for key in ("quiet", "busy")), seen["busy"] / seen["quiet"]]
        )
        table[-1] += [
            int(seen[key]) for key in ("rows quiet", "rows busy", "adds", "stale", "lost")
        ]
    heads = [
        "chunks",
        "p50 ms",
        "while A adds",
        "ratio",
        "rows",
        "while A adds",
        "adds",
        "stale",
        "lost",
    ]
    report.table("Palatine: B's search, alone and while A adds", heads, table)
    for row in table:
        report.expect(
            f"{row[0]} chunks: B's p50 while A adds, times alone", float(row[3]), most=1.2
        )
        report.expect(f"{row[0]} chunks: writes not seen by B's next search", int(row[7]), most=0)
        report.expect(f"{row[0]} chunks: acknowledged writes lost", int(row[8]), most=0)


def chroma(report: Report, given: argparse.Namespace) -> None:
    """The three ways to share a collection."""
    if importlib.util.find_spec("chromadb") is None:
        report.say(
            "\nchromadb is not installed, so it is left out: .venv/bin/pip install -e '.[bench]'"
        )
        return
    table = []
    chunks = min(CHROMA_CHUNKS, *given.chunks)
    for title, opening, server in chroma_peers.WAYS:
        with scratch(given.folder) as folder, server(folder) as place:
            chroma_peers.fill(opening, place, chunks)
            seen = measure(opening, place, given.chroma_rounds, CHROMA_SECONDS_BETWEEN)
        table.append([title, seen["quiet"], seen["busy"], seen["busy"] / seen["quiet"]])
        table[-1] += [int(seen[key]) for key in ("adds", "stale", "lost")]
    report.table(
        f"chromadb {chroma_peers.version()}, {chunks:,} vectors,"
        f" {1 / CHROMA_SECONDS_BETWEEN:.0f} adds a second",
        ["collection", "p50 ms", "while A adds", "ratio", "adds", "stale", "lost"],
        table,
    )


def main() -> int:
    """Palatine, then what else is there."""
    arguments = parser(__doc__)
    arguments.add_argument("--chunks", type=int, nargs="+", default=[10_000, 100_000])
    arguments.add_argument("--rounds", type=int, default=60, help=f"of each of {BLOCKS} blocks")
    arguments.add_argument("--chroma-rounds", type=int, default=20, help="the same for chromadb")
    given = arguments.parse_args()
    if given.quick:
        given.chunks, given.rounds, given.chroma_rounds = [2_000], 20, 4
    report = Report("thrash", given)
    palatine(report, given)
    chroma(report, given)
    report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
