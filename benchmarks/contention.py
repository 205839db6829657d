"""Many processes add facts to one palace at once: Palatine against the usual recipe.

The recipe is what one does with the standard library: `sqlite3` with a busy timeout of 60 seconds,
a decorator that retries with exponential backoff and jitter, and BEGIN IMMEDIATE. It runs the same
rules with the same statements on the same tables, with the same durability, so that the way of
waiting is all that differs. `lean` is the recipe with as few statements as can be: it looks whether
the fact is there, and inserts. All start from a palace that Palatine has made.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import random
import secrets
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
from report import Report, median, parser, percentile, scratch, sync_milliseconds

from palatine import Palace
from palatine.errors import PalatineError
from palatine.knowledge import Knowledge
from palatine.store.transactions import SqliteLookups, SqliteWriteTx
from palatine.types import Author, Entity

RETRIES = 5
BASE_DELAY_SECONDS = 0.1
BUSY_TIMEOUT_SECONDS = 60.0
PREDICATE = "noted"


class Outcome(NamedTuple):
    """What one process did."""

    acknowledged: list[str]
    seconds: list[float]
    errors: int
    began: float
    ended: float


def retry_when_locked(function: Callable[..., Any]) -> Callable[..., Any]:
    """The recipe's decorator: tries again when the database is locked or busy."""

    @functools.wraps(function)
    def retrying(*args: Any) -> Any:
        for attempt in range(RETRIES + 1):
            try:
                return function(*args)
            except sqlite3.OperationalError as error:
                if attempt == RETRIES or not any(w in str(error) for w in ("locked", "busy")):
                    raise
            delay = BASE_DELAY_SECONDS * 2**attempt
            time.sleep(delay + random.uniform(0, delay / 2))
        raise AssertionError

    return retrying


class _Tx(SqliteWriteTx):
    """Palatine's statements, but for the one that needs a newer SQLite than Python may have."""

    def entity(self, key: str) -> Entity | None:
        row = self._one(
            "SELECT key, name, type FROM entity"
            " WHERE key = ifnull((SELECT entity FROM alias WHERE key = ?1), ?1)",
            [key],
        )
        return None if row is None else Entity(*row)


class Recipe:
    """The usual recipe under Palatine's rules: a store that only knows how to write."""

    errors = sqlite3.Error

    def __init__(self, folder: Path) -> None:
        self.connection = sqlite3.connect(
            folder / "palace.db", timeout=BUSY_TIMEOUT_SECONDS, isolation_level=None
        )
        for pragma in (
            "journal_mode = WAL",
            "synchronous = FULL",
            "wal_autocheckpoint = 1000",
            "journal_size_limit = 67108864",
            "foreign_keys = ON",
        ):
            self.connection.execute(f"PRAGMA {pragma}")
        self.close = self.connection.close
        self._knowledge = Knowledge(self, Author())

    @retry_when_locked
    def add(self, subject: str, thing: str) -> None:
        """Adds one open fact, unless it is there."""
        self._knowledge.add(subject, PREDICATE, thing)

    @contextmanager
    def write(self, author: Author) -> Iterator[SqliteWriteTx]:
        """One transaction; the decorator around `add` begins it again."""
        with self.immediate() as connection:
            yield _Tx(connection, SqliteLookups(connection).state(), author)

    @contextmanager
    def immediate(self) -> Iterator[sqlite3.Connection]:
        """BEGIN IMMEDIATE to COMMIT."""
        self.connection.execute("BEGIN IMMEDIATE")
        try:
            yield self.connection
            self.connection.execute("COMMIT")
        except BaseException:
            if self.connection.in_transaction:
                self.connection.execute("ROLLBACK")
            raise


class Lean(Recipe):
    """The usual recipe with as few statements as can be."""

    @retry_when_locked
    def add(self, subject: str, thing: str) -> None:
        """Adds one open fact, unless it is there."""
        names = [(subject.casefold(), subject), (thing.casefold(), thing)]
        keys = [key for key, _ in names]
        with self.immediate() as connection:
            connection.executemany(
                "INSERT OR IGNORE INTO entity(key, name, type, properties) VALUES (?, ?, '', '{}')",
                names,
            )
            known = connection.execute(
                "SELECT 1 FROM fact WHERE subject = ? AND predicate = ? AND object = ?"
                " AND wing = '' AND valid_to IS NULL AND ended_at IS NULL",
                (keys[0], PREDICATE, keys[1]),
            )
            if known.fetchone() is None:
                self._insert(*keys)

    def _insert(self, subject: str, thing: str) -> None:
        fact, now = "f" + secrets.token_hex(8)[:15], time.time_ns() // 1000
        self.connection.execute(
            "INSERT INTO fact(id, version, wing, subject, predicate, object, confidence, source,"
            " drawer, recorded_at) VALUES (?, 1, '', ?, ?, ?, 1.0, '', '', ?)",
            (fact, subject, PREDICATE, thing, now),
        )
        self.connection.execute(
            "INSERT INTO change(seq, operation, kind, ref, op, wing, at, agent, session)"
            " SELECT ifnull(max(seq), 0) + 1, ifnull(max(seq), 0) + 1, 'fact', ?, 'add', '', ?,"
            " '', '' FROM change",
            (fact, now),
        )


class Palatine:
    """Palatine, through its public library."""

    errors = PalatineError

    def __init__(self, folder: Path) -> None:
        self._palace = Palace.open(folder)
        self.close = self._palace.close

    def add(self, subject: str, thing: str) -> None:
        """Adds one open fact, unless it is there."""
        self._palace.knowledge.add(subject, PREDICATE, thing)


SYSTEMS: dict[str, type[Recipe] | type[Palatine]] = {
    "lean": Lean,
    "recipe": Recipe,
    "palatine": Palatine,
}


def work(system: str, folder: Path, number: int, facts: int, barrier: Any, results: Any) -> None:
    """One process; its outcome, or what went wrong."""
    try:
        results.put(_work(system, folder, number, facts, barrier))
    except BaseException as error:
        barrier.abort()  # nobody shall wait for us
        results.put(repr(error))
        raise


def _work(system: str, folder: Path, number: int, facts: int, barrier: Any) -> Outcome:
    """Opens, waits for the others, adds its facts one after the other."""
    with closing(SYSTEMS[system](folder)) as opened:
        subject = f"Agent {number}"
        opened.add(subject, f"Item {number} first")
        acknowledged, waits, errors = [], [], 0
        barrier.wait()
        began = time.perf_counter()
        for count in range(facts):
            thing = f"Item {number} {count}"
            start = time.perf_counter()
            try:
                opened.add(subject, thing)
            except SYSTEMS[system].errors:
                errors += 1
            else:
                acknowledged.append(thing.casefold())
            waits.append(time.perf_counter() - start)
        return Outcome(acknowledged, waits, errors, began, time.perf_counter())


def measure(system: str, processes: int, facts: int, folder: Path) -> dict[str, float]:
    """One run: figures in seconds and counts."""
    Palace.open(folder).close()
    spawn = multiprocessing.get_context("spawn")
    barrier, results = spawn.Barrier(processes), spawn.SimpleQueue()
    workers = [
        spawn.Process(target=work, args=(system, folder, number, facts, barrier, results))
        for number in range(processes)
    ]
    for worker in workers:
        worker.start()
    outcomes = [results.get() for _ in workers]
    for worker in workers:
        worker.join()
    if failures := [outcome for outcome in outcomes if isinstance(outcome, str)]:
        raise RuntimeError(f"{system}: {failures[0]}")
    acknowledged = [thing for outcome in outcomes for thing in outcome.acknowledged]
    elapsed = max(o.ended for o in outcomes) - min(o.began for o in outcomes)
    waits = [wait for outcome in outcomes for wait in outcome.seconds]
    reader = apsw.Connection(str(folder / "palace.db"))
    stored = reader.execute("SELECT object FROM fact").fetchall()
    return {
        "rate": len(acknowledged) / elapsed,
        "p50": percentile(waits, 0.5),
        "p99": percentile(waits, 0.99),
        "max": max(waits),
        "errors": sum(outcome.errors for outcome in outcomes),
        "lost": len(set(acknowledged) - {thing for (thing,) in stored}),
    }


def main() -> int:
    """Measures both systems in turns, so that a noisy minute meets both."""
    arguments = parser(__doc__)
    arguments.add_argument("--processes", type=int, nargs="+", default=[1, 4, 16, 64])
    arguments.add_argument("--facts", type=int, default=100, help="that each process adds")
    arguments.add_argument("--rounds", type=int, default=3, help="the median of so many is shown")
    given = arguments.parse_args()
    if given.quick:
        given.processes, given.facts, given.rounds = [1, 4, 16], 50, 1
    report = Report("contention", given)
    rows, ratios = [], []
    for processes in given.processes:
        middle = _middle(processes, given)
        for system, seen in middle.items():
            in_ms = [seen["sync"], *(seen[key] * 1000 for key in ("p50", "p99", "max"))]
            counts = [int(seen[key]) for key in ("errors", "lost")]
            rows.append([f"{processes} x {system}", seen["rate"], *in_ms, *counts])
        ours, theirs = middle["palatine"], middle["recipe"]
        ratios.append(
            [
                processes,
                ours["rate"] / theirs["rate"],
                ours["p99"] / theirs["p99"],
                ours["max"] / theirs["max"],
            ]
        )
    report.table(
        f"N processes add {given.facts} facts each, median of {given.rounds} rounds",
        ["processes", "facts/s", "disk sync ms", "p50 ms", "p99 ms", "max ms", "errors", "lost"],
        rows,
    )
    report.table("palatine / recipe", ["processes", "facts/s", "p99", "max"], ratios)
    for processes, rate, _, longest in ratios:
        if processes >= 16:
            report.expect(f"{processes} processes: throughput, times the recipe's", rate, least=3)
            report.expect(
                f"{processes} processes: longest wait, times the recipe's", longest, most=0.1
            )
    report.save()
    return 0


def _middle(processes: int, given: argparse.Namespace) -> dict[str, dict[str, float]]:
    seen: dict[str, list[dict[str, float]]] = {system: [] for system in SYSTEMS}
    for _ in range(given.rounds):
        for system, runs in seen.items():
            with scratch(given.folder) as folder:
                sync = sync_milliseconds(folder)
                runs.append(
                    {**measure(system, processes, given.facts, folder / "palace"), "sync": sync}
                )
    return {
        system: {
            # Losses and errors are never averaged away.
            key: sum(r[key] for r in runs)
            if key in ("errors", "lost")
            else median([r[key] for r in runs])
            for key in runs[0]
        }
        for system, runs in seen.items()
    }


if __name__ == "__main__":
    sys.exit(main())
