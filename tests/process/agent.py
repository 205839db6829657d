"""A worker that does what it is told, one order at a time, and says what came of it."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apsw

from palatine import Palace
from palatine.errors import PalatineError
from palatine.store import migrations, sqlite
from palatine.store.lock import WriterLock
from palatine.store.retry import Deadline
from palatine.types import Author
from tests.process.workers import Crew, Line, Worker

NOBODY = 65534


class Failed(Exception):
    """What an agent was told to do raised an error.

    Attributes:
        kind: the name of its class.
    """

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


class Agent:
    """The test's side: each method call is an order to the process."""

    def __init__(self, crew: Crew) -> None:
        self.worker: Worker = crew.start("obey")

    def tell(self, verb: str, *arguments: Any, **options: Any) -> None:
        self.worker.tell([verb, [str(a) if isinstance(a, Path) else a for a in arguments], options])

    def hear(self) -> Any:
        kind, value = self.worker.hear()
        if kind == "done":
            return value
        raise Failed(kind, value)

    def __getattr__(self, verb: str) -> Callable[..., Any]:
        def do(*arguments: Any, **options: Any) -> Any:
            self.tell(verb, *arguments, **options)
            return self.hear()

        return do

    def ends(self) -> None:
        self.worker.tell("end")
        assert self.worker.ends() == []


def obey(line: Line) -> None:
    orders = Orders()
    with orders.blocks:
        while (order := line.hear()) != "end":
            verb, arguments, options = order
            try:
                value = getattr(orders, verb)(*arguments, **options)
            except (PalatineError, RuntimeError, KeyboardInterrupt) as error:
                line.say([type(error).__name__, str(error)])
            else:
                line.say(["done", value])


class Orders:
    """The agent's side: one palace, and blocks that stay open between orders."""

    def __init__(self) -> None:
        self.palace: Palace = None  # type: ignore[assignment]
        self.blocks = ExitStack()
        self.foreign: apsw.Connection | None = None

    def open(self, place: str, **options: Any) -> str:
        self.palace = Palace.open(place, **options)
        return self.palace.status().palace_id

    def close(self) -> None:
        self.palace.close()

    def reconnect(self) -> str:
        return self.palace.reconnect().after.palace_id

    def check(self) -> list[str]:
        return [f"{each.what}: {each.detail}" for each in self.palace.check()]

    def add(self, name: str) -> str:
        added = self.palace.knowledge.add(name, "was", "here")
        assert added.created
        return added.fact.id

    def names(self) -> list[str]:
        """Subjects of all facts, in the order in which they were added."""
        facts = self.palace.knowledge.timeline(limit=10_000).items
        return [fact.subject for fact in sorted(facts, key=lambda fact: fact.recorded_at.micros)]

    def text(self, drawer_id: str) -> str:
        return self.palace.get(drawer_id).text

    def begin_write(self, name: str) -> None:
        """A write block that stays open, with something written in it."""
        tx = self.blocks.enter_context(self.palace._store.write(Author()))
        tx.put_predicate(name, "many")

    def hold_lock(self, place: str) -> None:
        """The writer lock, and no transaction."""
        self.lock = WriterLock(Path(place) / "palace.lock")
        self.lock.acquire(Deadline(60))

    def let_go_of_lock(self) -> None:
        self.lock.release()

    def begin_read(self) -> int:
        return self.blocks.enter_context(self.palace._store.read()).state().seq

    def end_block(self, error: str = "") -> None:
        """Ends the blocks; by an exception, if one is named."""
        blocks, self.blocks = self.blocks, ExitStack()
        with blocks:
            if error:
                raise {"KeyboardInterrupt": KeyboardInterrupt, "RuntimeError": RuntimeError}[error]

    def predicates(self) -> list[str]:
        return list(self.palace.knowledge.predicates())

    def add_big(self, name: str, size: int) -> None:
        self.palace.add(name * (size // len(name)), room="big", source=name)

    def begin_big_write(self, size: int) -> None:
        """A write block with more in it than SQLite's cache holds: the log has part of it."""
        tx = self.blocks.enter_context(self.palace._store.write(Author()))
        tx.connection.execute("CREATE TABLE IF NOT EXISTS big(data)")
        for n in range(size // 4000):
            tx.connection.execute("INSERT INTO big VALUES (?)", (f"{n:8}" * 500,))

    def count_big(self) -> int:
        with self.palace._store.read() as tx:
            return tx.connection.execute("SELECT count(*) FROM big").get

    def umask(self, mask: int) -> None:
        os.umask(mask)

    def chdir(self, folder: str) -> None:
        os.chdir(folder)

    def become_nobody(self) -> None:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

    def limit_log(self, size: int, *, every_seconds: float) -> None:
        sqlite._LARGE_WAL_BYTES = size
        sqlite._TRUNCATE_EVERY_SECONDS = every_seconds

    def learn_another_step(self) -> None:
        learn_another_step()

    # As another program, which takes no writer lock

    def begin_foreign(self, place: str) -> None:
        self.foreign = apsw.Connection(f"{place}/palace.db")
        self.foreign.execute("BEGIN IMMEDIATE")

    def end_foreign(self) -> None:
        assert self.foreign is not None
        self.foreign.execute("COMMIT")
        self.foreign.close()

    # Forking

    def fork(self, what: str, *arguments: str) -> int:
        """Does it in a forked child, which then ends like any program; its exit code."""
        child = os.fork()
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        sys.exit(_code_of(lambda: getattr(self, what)(*arguments)))

    def fork_and_stay(self, place: str, name: str, ready: str, go: str) -> int:
        """A child that opens the palace anew, writes, waits for `go`, writes again and dies."""
        child = os.fork()
        if child:
            Path(ready).read_bytes()  # a FIFO: until the child has written
            return child
        self.open(place)
        self.add(f"{name} 1")
        Path(ready).write_bytes(b"ready")
        Path(go).read_bytes()
        self.add(f"{name} 2")
        os.kill(os.getpid(), 9)
        raise AssertionError

    def reap(self, child: int) -> int:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

    def fork_while_busy(self, place: str, times: int) -> list[int]:
        """Forks while threads read and write; each child opens the palace itself, or is told."""
        stop = threading.Event()

        def use(number: int) -> None:
            count = 0
            while not stop.is_set():
                count += 1
                self.add(f"busy {number} {count}")
                self.palace.knowledge.about(f"busy {number} {count}")

        threads = [threading.Thread(target=use, args=(n,)) for n in range(3)]
        for each in threads:
            each.start()
        codes = [self.fork("open", place) for _ in range(times)]
        stop.set()
        for each in threads:
            each.join()
        return sorted(codes)


def learn_another_step() -> None:
    """From now on this process is a newer Palatine, whose tables have one step more."""
    migrations.MIGRATIONS = sqlite.MIGRATIONS = (*migrations.MIGRATIONS, _another_step)


def _another_step(connection: apsw.Connection) -> None:
    connection.execute("CREATE TABLE step(count INTEGER); INSERT INTO step VALUES (1)")
    connection.execute("CREATE INDEX step_count ON step(count)")


CODES = {"done": 0, "StoreClosedError": 3, "StoreBusyError": 4}


def _code_of(action: Callable[[], object]) -> int:
    try:
        action()
    except PalatineError as error:
        return CODES.get(type(error).__name__, 1)
    return CODES["done"]
