"""The ten promises of the pull request that hardened `KnowledgeGraph` for many processes.

The first three classes have its own names and cases, made stricter: exit codes are asserted, and
what the workers were told is compared with what is there. The others keep what it promised by
hand, or by file times, as one rule: a call sees every write acknowledged before it began.
"""

import asyncio
import os
import shutil
import sqlite3  # for its exception class only: no database is opened with it
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import apsw
import pytest
from mcp import ClientSession

from palatine import KnowledgeGraph, Palace
from palatine.errors import NotFoundError, PalaceMissingError, PalaceReplacedError
from palatine.store.retry import retry_when_busy
from palatine.store.sqlite import SqliteStore
from palatine.types import Author
from tests.server.proxies import proxy, session

PROCESS_SECONDS = 60


class TestSQLiteRetryDecorator:
    """Promise 2: locked and busy are tried again, a bounded number of times; nothing else is."""

    def test_retry_succeeds_on_second_attempt(self) -> None:
        calls = []

        @retry_when_busy(max_retries=3, base_delay=0.001)
        def locked_once() -> str:
            calls.append(1)
            if len(calls) < 2:
                raise sqlite3.OperationalError("database is locked")
            return "done"

        assert locked_once() == "done"
        assert len(calls) == 2

    def test_retry_raises_after_max_retries(self) -> None:
        raised = []

        @retry_when_busy(max_retries=2, base_delay=0.001)
        def always_locked() -> None:
            raised.append(sqlite3.OperationalError("database is locked"))
            raise raised[-1]

        with pytest.raises(sqlite3.OperationalError, match="database is locked") as caught:
            always_locked()
        assert len(raised) == 3
        assert caught.value is raised[-1]

    def test_no_retry_on_non_lock_error(self) -> None:
        calls = []

        @retry_when_busy(max_retries=3, base_delay=0.001)
        def broken_disk() -> None:
            calls.append(1)
            raise sqlite3.OperationalError("disk I/O error")

        with pytest.raises(sqlite3.OperationalError, match="disk I/O error"):
            broken_disk()
        assert len(calls) == 1

    def test_no_retry_on_other_exception_types(self) -> None:
        calls = []

        @retry_when_busy(max_retries=3, base_delay=0.001)
        def wrong_value() -> None:
            calls.append(1)
            raise ValueError("database is locked")

        with pytest.raises(ValueError, match="database is locked"):
            wrong_value()
        assert len(calls) == 1

    def test_retry_on_busy_error(self) -> None:
        calls = []

        @retry_when_busy(max_retries=3, base_delay=0.001)
        def busy_twice() -> str:
            calls.append(1)
            if len(calls) < 3:
                raise sqlite3.OperationalError("database is busy")
            return "done"

        assert busy_twice() == "done"
        assert len(calls) == 3


class TestConnectionPragmas:
    """Promises 1 and 4, asked of two connections that are in use at once."""

    @pytest.fixture
    def connections(self, tmp_path: Path) -> Iterator[list[Any]]:
        store = SqliteStore(tmp_path / "graph.sqlite3", single=True)
        with store.read() as one, store.read() as other:
            assert one.connection is not other.connection
            yield [one.connection, other.connection]
        store.close()

    def test_wal_autocheckpoint(self, connections: list[Any]) -> None:
        assert [each.pragma("wal_autocheckpoint") for each in connections] == [1000, 1000]

    def test_journal_size_limit(self, connections: list[Any]) -> None:
        assert [each.pragma("journal_size_limit") for each in connections] == [67_108_864] * 2

    def test_journal_mode_is_wal(self, connections: list[Any]) -> None:
        assert [each.pragma("journal_mode") for each in connections] == ["wal", "wal"]

    def test_busy_timeout(self, connections: list[Any]) -> None:
        assert [each.pragma("busy_timeout") for each in connections] == [60_000, 60_000]

    def test_a_write_has_one_deadline_that_is_as_long(self, tmp_path: Path) -> None:
        store = SqliteStore(tmp_path / "graph.sqlite3", single=True)
        with store.write(Author()) as tx:
            # What the writer lock took is gone from it: both waits share the 60 seconds.
            assert 0 < tx.connection.pragma("busy_timeout") <= 60_000
        store.close()


WORKERS, TRIPLES = 4, 20


def write_triples(database: str, ledger: str, worker: int, start: Barrier) -> None:
    """One process: opens the graph when all are there, and notes each fact it was told of."""
    start.wait(PROCESS_SECONDS)
    with KnowledgeGraph(database) as graph, Path(ledger).open("w") as acknowledged:
        for number in range(TRIPLES):
            subject = f"worker {worker}"
            triple = graph.add_triple(subject, "wrote", f"fact {worker}-{number}")
            acknowledged.write(f"{triple}\n")


class TestMultiProcessLocking:
    """Promises 3 and 10: processes that write at once all succeed, and nothing is lost."""

    def test_concurrent_process_writes(self, tmp_path: Path) -> None:
        database = tmp_path / "graph.sqlite3"
        ledgers = [tmp_path / f"ledger-{worker}" for worker in range(WORKERS)]
        context = get_context("spawn")
        start = context.Barrier(WORKERS)
        processes = [
            context.Process(target=write_triples, args=(str(database), str(ledger), worker, start))
            for worker, ledger in enumerate(ledgers)
        ]
        for process in processes:
            process.start()
        for process in processes:
            process.join(PROCESS_SECONDS)
        assert [process.exitcode for process in processes] == [0] * WORKERS
        acknowledged = [line for each in ledgers for line in each.read_text().split()]
        with KnowledgeGraph(database) as graph:
            there = [fact["id"] for fact in graph.query_relationship("wrote")]
            assert graph.stats()["triples"] == WORKERS * TRIPLES
        assert len(acknowledged) == WORKERS * TRIPLES
        assert sorted(there) == sorted(acknowledged)


NEIGHBOUR = """
import sys
from palatine import KnowledgeGraph

with KnowledgeGraph(sys.argv[1]) as graph:
    for line in sys.stdin:
        verb, *names = line.split()
        if verb == "add":
            print(graph.add_triple(*names), flush=True)
        else:
            print(len(graph.query_relationship(*names)), flush=True)
"""


class Neighbour:
    """Another process that has the graph open; does one thing for each line, and answers."""

    def __init__(self, database: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", NEIGHBOUR, str(database)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def does(self, order: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline().strip()

    def ends(self) -> None:
        self.process.communicate(timeout=PROCESS_SECONDS)
        assert self.process.returncode == 0


@pytest.fixture
def neighbour(tmp_path: Path) -> Iterator[Neighbour]:
    started = Neighbour(tmp_path / "graph.sqlite3")
    yield started
    started.ends()


class TestFreshness:
    """Promises 6 and 7, superseded: no file times, each read sees what is committed."""

    def test_each_write_of_a_neighbour_is_seen_by_the_next_call(
        self, tmp_path: Path, neighbour: Neighbour
    ) -> None:
        with KnowledgeGraph(tmp_path / "graph.sqlite3") as graph:
            for number in range(30):
                told = neighbour.does(f"add neighbour knows friend-{number}")
                seen = graph.query_relationship("knows")
                assert len(seen) == number + 1
                assert told in {fact["id"] for fact in seen}

    def test_an_own_write_does_not_hide_what_a_neighbour_wrote_just_before(
        self, tmp_path: Path, neighbour: Neighbour
    ) -> None:
        with KnowledgeGraph(tmp_path / "graph.sqlite3") as graph:
            for number in range(10):
                neighbour.does(f"add neighbour knows theirs-{number}")
                graph.add_triple("me", "knows", f"mine-{number}")
                assert len(graph.query_relationship("knows")) == 2 * (number + 1)
                assert neighbour.does("count knows") == str(2 * (number + 1))

    def test_the_file_times_do_not_matter(self, tmp_path: Path, neighbour: Neighbour) -> None:
        database = tmp_path / "graph.sqlite3"
        with KnowledgeGraph(database) as graph:
            graph.add_triple("me", "knows", "you")
            before = database.stat()
            neighbour.does("add neighbour knows you")
            for file in tmp_path.iterdir():
                os.utime(file, (before.st_mtime, before.st_mtime))
            assert len(graph.query_relationship("knows")) == 2


class TestDisappearance:
    """Promise 8: a palace that vanished or was replaced is noticed by the next call."""

    def test_a_file_that_vanished_is_an_error_at_once_and_is_not_made_again(
        self, tmp_path: Path
    ) -> None:
        database = tmp_path / "graph.sqlite3"
        with KnowledgeGraph(database) as graph:
            graph.add_triple("Alice", "knows", "Bob")
            database.unlink()
            with pytest.raises(PalaceMissingError, match="gone"):
                graph.query_entity("Alice")
            with pytest.raises(PalaceMissingError, match="nothing was"):
                graph.add_triple("Alice", "knows", "Carol")
        with pytest.raises(PalaceMissingError):
            KnowledgeGraph(database)
        assert not database.exists()

    def test_a_folder_that_vanished_is_an_error_at_once(self, tmp_path: Path) -> None:
        folder = tmp_path / "palace"
        with Palace.open(folder) as palace:
            palace.knowledge.add("Alice", "knows", "Bob")
            shutil.rmtree(folder)
            with pytest.raises(PalaceMissingError):
                palace.status()
            with pytest.raises(PalaceMissingError):
                palace.add("a text")
        assert not folder.exists()

    def test_the_same_palace_back_in_its_place_is_simply_used_again(self, tmp_path: Path) -> None:
        folder, away = tmp_path / "palace", tmp_path / "away"
        with Palace.open(folder) as palace:
            palace.knowledge.add("Alice", "knows", "Bob")
            folder.rename(away)
            with pytest.raises(PalaceMissingError):
                palace.knowledge.about("Alice")
            away.rename(folder)
            assert [str(fact) for fact in palace.knowledge.about("Alice")] == ["Alice knows Bob"]
            assert palace.knowledge.add("Alice", "knows", "Carol").created

    def test_another_palace_in_its_place_is_refused_until_reconnect(self, tmp_path: Path) -> None:
        folder = tmp_path / "palace"
        with Palace.open(folder) as palace:
            palace.knowledge.add("Alice", "knows", "Bob")
            put_another_palace(folder)
            with pytest.raises(PalaceReplacedError, match="reconnect"):
                palace.knowledge.about("Alice")
            with pytest.raises(PalaceReplacedError, match="nothing was written"):
                palace.knowledge.add("Alice", "knows", "Carol")
            palace.reconnect()
            with pytest.raises(NotFoundError):
                palace.knowledge.about("Alice")
            assert palace.knowledge.about("Zoe")

    def test_another_palace_restored_into_the_very_file_is_refused_until_reconnect(
        self, tmp_path: Path
    ) -> None:
        for name in ("here", "there"):
            with Palace.open(tmp_path / name) as palace:
                palace.knowledge.add("Alice", "lives", name)
        with Palace.open(tmp_path / "here") as palace:
            copy_database(tmp_path / "there", tmp_path / "here")
            with pytest.raises(PalaceReplacedError, match="reconnect"):
                palace.knowledge.about("Alice")
            with pytest.raises(PalaceReplacedError, match="nothing was written"):
                palace.knowledge.add("Alice", "knows", "Carol")
            palace.reconnect()
            assert [fact.object for fact in palace.knowledge.about("Alice")] == ["there"]


def copy_database(source: Path, target: Path) -> None:
    """Writes one palace's pages into another's database file, as SQLite's backup does."""
    pages, into = (apsw.Connection(str(folder / "palace.db")) for folder in (source, target))
    with into.backup("main", pages, "main") as backup:
        backup.step()
    pages.close()
    into.close()


def put_another_palace(folder: Path) -> str:
    """Replaces a palace by one in which only Zoe is known; returns its id."""
    other = folder.with_name("other")
    with Palace.open(other) as palace:
        palace.knowledge.add("Zoe", "knows", "nobody")
        palace_id = palace.status().palace_id
    shutil.rmtree(folder)
    other.rename(folder)
    return palace_id


class TestReconnect:
    """Promise 9: closes, forgets, opens what is there, and reports before and after."""

    def test_what_was_before_and_after_is_reported(
        self, tmp_path: Path, neighbour: Neighbour
    ) -> None:
        with Palace.open(tmp_path / "graph.sqlite3", single=True) as palace:
            neighbour.does("add Alice knows Bob")
            report = palace.reconnect()
            assert report.before == report.after
            assert report.after.seq == 1
            assert report.problem == ""
            assert palace.knowledge.about("Alice")

    def test_what_stood_in_the_way_before_is_named(self, tmp_path: Path) -> None:
        folder = tmp_path / "palace"
        with Palace.open(folder) as palace:
            old_id = palace.status().palace_id
            new_id = put_another_palace(folder)
            report = palace.reconnect()
            assert report.before is None
            assert old_id in report.problem
            assert report.after.palace_id == new_id
            assert palace.status().palace_id == new_id

    def test_nothing_to_connect_to_is_an_error_and_can_be_tried_again(self, tmp_path: Path) -> None:
        folder, away = tmp_path / "palace", tmp_path / "away"
        with Palace.open(folder) as palace:
            palace.knowledge.add("Alice", "knows", "Bob")
            folder.rename(away)
            with pytest.raises(PalaceMissingError):
                palace.reconnect()
            away.rename(folder)
            assert palace.reconnect().after.seq == 1
            assert palace.knowledge.about("Alice")


@pytest.mark.network
class TestManyClients:
    """Two and more clients through one proxied server, and through two proxies, on one palace."""

    CALLS = 15

    async def _write(self, client: ClientSession, name: str) -> list[str]:
        """Writes facts and drawers by turns; returns the ids that were acknowledged."""
        acknowledged = []
        for n in range(self.CALLS):
            fact = await client.call_tool(
                "kg_add", {"subject": f"{name} {n}", "predicate": "wrote", "object": "a fact"}
            )
            drawer = await client.call_tool("add_drawer", {"text": f"{name} wrote drawer {n}."})
            assert not fact.is_error, fact.content
            assert not drawer.is_error, drawer.content
            acknowledged += [fact.structured_content["fact"]["id"], drawer.structured_content["id"]]
            found = await client.call_tool("search", {"query": f"{name} drawer"})
            assert not found.is_error, found.content
        return acknowledged

    async def _together(self, address_and_transport: list[tuple[str, str]]) -> list[str]:
        async with AsyncExitStack() as stack:
            clients = [
                await stack.enter_async_context(session(address, over=over))
                for address, over in address_and_transport
            ]
            written = await asyncio.gather(
                *(self._write(client, f"client{n}") for n, client in enumerate(clients))
            )
        return [ref for ids in written for ref in ids]

    def _assert_nothing_lost(self, folder: Path, acknowledged: list[str], clients: int) -> None:
        assert len(acknowledged) == len(set(acknowledged)) == clients * self.CALLS * 2
        with Palace.open(folder) as palace:
            facts = {fact.id for fact in palace.knowledge.timeline(limit=1000)}
            drawers = {drawer.id for drawer in palace.list(limit=1000)}
            assert facts | drawers == set(acknowledged)
            assert palace.check() == []

    def test_sse_and_http_clients_of_one_proxied_server_lose_nothing(self, tmp_path: Path) -> None:
        async def run() -> list[str]:
            async with proxy(tmp_path / "palace") as address:
                return await self._together([(address, over) for over in ("sse", "http") * 2])

        self._assert_nothing_lost(tmp_path / "palace", asyncio.run(run()), clients=4)

    def test_clients_of_three_proxies_on_one_palace_lose_nothing(self, tmp_path: Path) -> None:
        async def run() -> list[str]:
            async with AsyncExitStack() as stack:
                proxies = [
                    await stack.enter_async_context(proxy(tmp_path / "palace")) for _ in range(3)
                ]
                return await self._together(
                    [(address, over) for address in proxies for over in ("sse", "http")]
                )

        self._assert_nothing_lost(tmp_path / "palace", asyncio.run(run()), clients=6)
