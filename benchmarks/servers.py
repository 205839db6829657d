"""Sixteen stdio servers file texts into one palace at once: rate, waits, memory, when it is found.

The floor is bare SQLite: as many processes, each with the standard busy timeout, put the same rows
into the same tables with the same durability, one transaction for each text. It has no protocol, no
ids, no rules.

A further server has searched by meaning before. From the last acknowledged text it is asked of the
palace's file how long it takes until all have their vectors; that they are found by their words
is asked at once.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import apsw
from embedding import memory_of
from meaning import Prose, sentences
from report import Report, median, parser, percentile, scratch, sync_milliseconds
from startup import INITIALIZE, Server

from palatine import Palace
from palatine.config import cache_folder
from palatine.embed import open_local

LEAST_RATE = 0.5
MOST_P99_MS = 60
MOST_MB = 40
MOST_LAG_SECONDS = 20
_PRAGMAS = "journal_mode = WAL", "synchronous = FULL", "foreign_keys = ON", "secure_delete = ON"
_ROWS = (
    """INSERT INTO drawer(id, wing, room, kind, pinned, digest, source, position, author, session,
filed_at, changed_at, metadata, seq, text) SELECT :id, 'personal', 'notes', 'note', 0, :digest, '',
-1, 'bench', '', :now, :now, '{}', ifnull(max(seq), 0) + 1, :text FROM change""",
    """INSERT INTO change(seq, operation, kind, ref, op, wing, at, agent, session)
SELECT ifnull(max(seq), 0) + 1, ifnull(max(seq), 0) + 1, 'drawer', :id, 'add', 'personal', :now,
'bench', '' FROM change""",
    """INSERT INTO chunk(row, drawer, start, end) SELECT (SELECT ifnull(max(row), 0) + 1
FROM chunk), row, 0, :chars FROM drawer WHERE id = :id""",
    "INSERT INTO words(rowid, text) SELECT max(row), :text FROM chunk",
    "INSERT INTO pending(chunk) SELECT max(row) FROM chunk",
)


def texts_of(servers: int, each: int) -> list[list[str]]:
    """What each of them files; every text has a word of its own."""
    prose = Prose(sentences(), 4)
    return [
        [f"{prose.text()} mark{number}x{count}" for count in range(each)]
        for number in range(servers)
    ]


def bare(place: Path, texts: Sequence[str], barrier: Any, results: Any) -> None:
    """One process of the floor: its waits in milliseconds, when it began and when it ended."""
    connection = apsw.Connection(str(place / "palace.db"))
    connection.set_busy_timeout(60_000)
    for pragma in _PRAGMAS:
        connection.execute(f"PRAGMA {pragma}")
    barrier.wait()
    waits, began = [], time.perf_counter()
    for text in texts:
        start = time.perf_counter()
        digest = hashlib.sha256(text.encode()).digest()
        row = {"id": f"d{digest.hex()[:15]}", "digest": digest, "now": time.time_ns() // 1000}
        row |= {"text": text, "chars": len(text)}
        connection.execute("BEGIN IMMEDIATE")
        for sql in _ROWS:
            connection.execute(sql, row)
        connection.execute("COMMIT")
        waits.append((time.perf_counter() - start) * 1000)
    results.put((waits, began, time.perf_counter()))


def floor(place: Path, texts: Sequence[Sequence[str]]) -> tuple[list[float], float]:
    """All waits in milliseconds, and texts a second."""
    Palace.open(place, embedder="none").close()
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(len(texts)), spawn.SimpleQueue()
    workers = [
        spawn.Process(target=bare, args=(place, some, barrier, results), daemon=True)
        for some in texts
    ]
    for worker in workers:
        worker.start()
    outcomes = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    took = max(ended for *_, ended in outcomes) - min(began for _, began, _ in outcomes)
    waits = [wait for each, *_ in outcomes for wait in each]
    return waits, len(waits) / took


def started(place: Path) -> Server:
    """A server that has opened the palace."""
    server = Server([sys.executable, "-m", "palatine", "mcp", "--palace", str(place)])
    server.ask("initialize", INITIALIZE)
    server.call("status")
    return server


def filed(servers: Sequence[Server], texts: Sequence[Sequence[str]]) -> tuple[list[float], float]:
    """All waits in milliseconds, and texts a second."""
    barrier = Barrier(len(servers))

    def file(server: Server, some: Sequence[str]) -> tuple[list[float], float]:
        barrier.wait()
        began = time.perf_counter()
        return [server.call("add_drawer", text=text) for text in some], began

    with ThreadPoolExecutor(len(servers)) as threads:
        outcomes = list(threads.map(file, servers, texts))
    waits = [wait for each, _ in outcomes for wait in each]
    return waits, len(waits) / (time.perf_counter() - min(began for _, began in outcomes))


def found_by_words(place: Path, texts: Sequence[Sequence[str]]) -> int:
    """How many of them are, each asked for by its own word."""
    with Palace.open(place, embedder="none") as palace:
        return sum(
            text in [hit.text for hit in palace.search(text.split()[-1], limit=1)]
            for some in texts
            for text in some
        )


def seconds_until_embedded(place: Path, since: float) -> float:
    """From then until no chunk is without a vector."""
    with Palace.open(place, embedder="none") as palace:
        while palace.status().pending:
            time.sleep(0.02)
    return time.perf_counter() - since


def found_by_meaning(place: Path, texts: Sequence[Sequence[str]]) -> int:
    """How many of them are among the nearest to their first sentence."""
    model = open_local(Path(cache_folder()))
    with Palace.open(place, embedder=model) as palace:
        return sum(
            any(hit.text == text and hit.vector_rank for hit in palace.search(text[:200], limit=20))
            for some in texts
            for text in some
        )


def measure(place: Path, texts: Sequence[Sequence[str]]) -> dict[str, Any]:
    """What the servers do."""
    searching = started(place)
    searching.call("add_drawer", text="The first text, so that there is something to compare with.")
    searching.call("search", query="anything")
    servers = [started(place) for _ in texts]
    waits, rate = filed(servers, texts)
    last = time.perf_counter()
    by_words = found_by_words(place, texts)
    lag = seconds_until_embedded(place, last)
    seen = {
        "waits": waits,
        "rate": rate,
        "by words": by_words,
        "lag": lag,
        "megabytes": [memory_of(server.process.pid) for server in servers],
        "by meaning": found_by_meaning(place, texts),
    }
    for server in [searching, *servers]:
        server.end("EOF")
    return seen


def main() -> int:
    """Measures floor and servers in turns, so that a noisy minute meets both."""
    arguments = parser(__doc__)
    arguments.add_argument("--servers", type=int, default=16)
    arguments.add_argument("--texts", type=int, default=20, help="that each server files")
    arguments.add_argument("--rounds", type=int, default=3, help="the median of so many is shown")
    given = arguments.parse_args()
    if given.quick:
        given.servers, given.texts, given.rounds = 4, 5, 1
    report = Report("servers", given)
    texts = texts_of(given.servers, given.texts)
    floors, ours, syncs = [], [], []
    for _ in range(given.rounds):
        with scratch(given.folder) as folder:
            syncs.append(sync_milliseconds(folder))
            floors.append(floor(folder / "floor", texts))
            ours.append(measure(folder / "palace", texts))
    _show(report, given.servers * given.texts, floors, ours, median(syncs))
    report.save()
    return 0


def _show(
    report: Report, texts: int, floors: Sequence[Any], ours: Sequence[dict[str, Any]], sync: float
) -> None:
    rows = [
        ["bare SQLite", *_figures(floors)],
        ["servers", *_figures([(seen["waits"], seen["rate"]) for seen in ours])],
    ]
    heads = ["", "texts/s", "p50 ms", "p99 ms", "longest ms"]
    report.table(
        f"{texts} texts, median of {len(ours)} rounds; disk sync {sync:.2f} ms", heads, rows
    )
    resident, proportional, private = (
        median([each[n] for seen in ours for each in seen["megabytes"]]) for n in range(3)
    )
    report.table(
        "memory of a server that has only written",
        ["", "RSS MB", "proportional MB", "private MB"],
        [["median", resident, proportional, private]],
    )
    floor_row, our_row = rows
    report.expect("rate, times the floor's", our_row[1] / floor_row[1], least=LEAST_RATE)
    report.expect("p99 ms above the floor's", our_row[3] - floor_row[3], most=MOST_P99_MS)
    report.expect("proportional MB of a server", proportional, most=MOST_MB)
    report.expect("found by words at once (fewest)", min(s["by words"] for s in ours), least=texts)
    lag = max(seen["lag"] for seen in ours)
    report.expect("seconds until all have their vectors (longest)", lag, most=MOST_LAG_SECONDS)
    by_meaning = min(seen["by meaning"] for seen in ours)
    report.say(f"then found by meaning, by the beginning of each: {by_meaning} of {texts}")


def _figures(runs: Sequence[Any]) -> list[float]:
    rate = median([rate for _, rate in runs])
    shares = [[percentile(waits, share) for waits, _ in runs] for share in (0.5, 0.99, 1.0)]
    return [rate, *map(median, shares)]


if __name__ == "__main__":
    sys.exit(main())
