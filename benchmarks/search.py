"""Search by words in palaces of different sizes, beside a scan with LIKE."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
from corpus import Corpus, fill
from report import Report, milliseconds, parser, percentile, scratch

from palatine import Palace

# Said by a new process: how long it needs from its first line to an open palace, and to an answer.
FIRST_SEARCH = """
import sys, time
start = time.perf_counter()
from palatine import Palace
imported = time.perf_counter()
with Palace.open(sys.argv[1], create=False, embedder="none") as palace:
    opened = time.perf_counter()
    palace.search(sys.argv[2])
    first = time.perf_counter()
    palace.search(sys.argv[3])
    print([imported - start, opened - imported, first - opened, time.perf_counter() - first])
"""


def like(connection: apsw.Connection, question: str) -> list[str]:
    """The naive answer: which drawers hold the most of the words, by reading them all."""
    words = [word for word in question.strip("?").split() if len(word) > 3]
    score = " + ".join("(words LIKE ?)" for _ in words)
    found = connection.execute(
        f"SELECT id, {score} AS n FROM (SELECT id, CAST(text AS TEXT) AS words FROM drawer)"  # noqa: S608
        " WHERE n > 0 ORDER BY n DESC LIMIT 10",
        [f"%{word}%" for word in words],
    )
    return [drawer for drawer, _ in found]


def timed(search: Callable[[str], object], questions: Sequence[str]) -> list[float]:
    """Milliseconds of each question."""
    return [milliseconds(lambda each=each: search(each)) for each in questions]  # type: ignore[misc]


def first_search(folder: Path, questions: Sequence[str]) -> list[float]:
    """Milliseconds of a new process: import, open, first search, second search."""
    command = [sys.executable, "-c", FIRST_SEARCH, str(folder), *questions[:2]]
    seconds = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return [each * 1000 for each in seconds]


def measure(report: Report, drawers: int, given: argparse.Namespace) -> None:
    """One size of palace."""
    corpus = Corpus()
    questions = [corpus.question() for _ in range(given.questions)]
    key = corpus.identifier()
    with scratch(given.folder) as folder:
        place = folder / "palace"
        with Palace.open(place, embedder="none") as palace:
            start = time.perf_counter()
            fill(palace, corpus, drawers)
            built = time.perf_counter() - start
            for number in range(3):
                palace.add(f"{corpus.text()} {key} is number {number}", wing="small")
        news = [first_search(place, [corpus.question(), corpus.question()]) for _ in range(5)]
        connection = apsw.Connection(str(place / "palace.db"))
        with Palace.open(place, embedder="none") as palace:
            palace.search("warm up the cache")
            small = [f"{question} {key}" for question in questions]
            seen = {
                "no filter": timed(palace.search, questions),
                "wing, a tenth": timed(lambda q: palace.search(q, wing="wing 3"), questions),
                "wing of three drawers": timed(lambda q: palace.search(q, wing="small"), small),
                "an exact key": timed(lambda _: palace.search(key), questions),
                "LIKE over all drawers": timed(lambda q: like(connection, q), questions[:10]),
            }
            found = [len(palace.search(question, wing="small")) for question in small]
            rows = palace.search(questions[0]).rows_read
        connection.close()
    table = [
        [what, len(ms), percentile(ms, 0.5), percentile(ms, 0.9), max(ms)]
        for what, ms in seen.items()
    ]
    for what, ms in zip(
        ("import", "open", "first search", "second search"), zip(*news, strict=True), strict=True
    ):
        table.append(
            [f"new process: {what}", len(ms), percentile(ms, 0.5), percentile(ms, 0.9), max(ms)]
        )
    report.table(f"{drawers:,} chunks", ["search", "n", "p50 ms", "p90 ms", "max ms"], table)
    report.say(f"filed in {built:.0f} s; {rows:,} rows read by one search")
    report.expect("drawers found of the three that the filter leaves (fewest)", min(found), least=3)
    speed = percentile(seen["LIKE over all drawers"], 0.5) / percentile(seen["no filter"], 0.5)
    report.say(f"LIKE takes {speed:.1f} times as long")


def main() -> int:
    """Measures each size."""
    arguments = parser(__doc__)
    arguments.add_argument("--chunks", type=int, nargs="+", default=[10_000, 100_000])
    arguments.add_argument("--questions", type=int, default=100)
    given = arguments.parse_args()
    if given.quick:
        given.chunks, given.questions = [3_000], 50
    report = Report("search", given)
    for drawers in given.chunks:
        measure(report, drawers, given)
    report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
