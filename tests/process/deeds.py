"""What workers do. Each is called with its line to the test first; see `workers.py`."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import apsw

from palatine import Palace
from palatine.errors import ConflictError, ForgetIncompleteError, PalatineError, StoreError
from palatine.store import sqlite
from tests.process.agent import learn_another_step, obey
from tests.process.embedders import add_and_embed, embed, embed_slowly, search_on
from tests.process.miners import change_and_mine, claim, mine, mine_and_die, mine_file_by_file
from tests.process.restores import backup, live_through_a_restore, restore
from tests.process.workers import Ledger, Line

__all__ = [
    "add_and_embed",
    "backup",
    "change_and_mine",
    "claim",
    "embed",
    "embed_slowly",
    "live_through_a_restore",
    "mine",
    "mine_and_die",
    "mine_file_by_file",
    "obey",
    "restore",
    "search_on",
]

# Writing side by side


def write_many(line: Line, place: str, me: int, times: int, ledger: str) -> None:
    """Adds facts and drawers by turns and notes each one that was acknowledged."""
    notes = Ledger(ledger)
    line.barrier()
    with Palace.open(place, agent=f"worker {me}") as palace:
        for n in range(times):
            if n % 2:
                added = palace.add(f"text {n} of worker {me}", wing="load", room=f"room {me}")
                assert added.created
                notes.note("drawer", added.drawer.id)
            else:
                fact = palace.knowledge.add(f"thing {me} {n}", "made by", f"worker {me}")
                assert fact.created
                notes.note("fact", fact.fact.id)


def write_until_killed(line: Line, place: str, me: int, ledger: str) -> None:
    """Like `write_many` without end; says each acknowledgement, too."""
    notes = Ledger(ledger)
    line.barrier()
    palace = Palace.open(place)
    for n in range(10**9):
        if line.addressed():
            assert line.hear() == "stop"
            break
        if n % 3 == 2:
            object_ = palace.add(f"text {n} of worker {me}", wing="load").drawer.id
            notes.note("drawer", object_)
        else:
            object_ = palace.knowledge.add(f"thing {me} {n}", "made by", f"worker {me}").fact.id
            notes.note("fact", object_)
        line.say(n)
    palace.close()


def read_until_told(line: Line, place: str) -> None:
    """Begins each snapshot before the one before has ended; says how many it was."""
    with Palace.open(place) as palace:
        line.barrier()
        store, reads = palace._store, 0
        block = store.read()
        tx = block.__enter__()
        while not line.addressed():
            following = store.read()
            block, tx, ended = following, following.__enter__(), block
            ended.__exit__(None, None, None)
            reads += 1
        assert line.hear() == "stop"
        line.say([reads, tx.state().seq])
        block.__exit__(None, None, None)


def race(line: Line, place: str, me: int, what: str) -> None:
    """Opens, waits for the others, and does one thing; says what came of it."""
    palace = Palace.open(place, agent=f"worker {me}")
    line.barrier()
    line.say(attempt(palace, me, what))
    palace.close()


def race_to_open(line: Line, place: str, me: int, what: str) -> None:
    """Like `race`, but opening is part of it."""
    line.barrier()
    with Palace.open(place, agent=f"worker {me}") as palace:
        line.say(attempt(palace, me, what))


def attempt(palace: Palace, me: int, what: str) -> Any:
    try:
        match what:
            case "same fact":
                return palace.knowledge.add("Max", "works at", "Acme").created
            case "same drawer":
                return palace.add("the very same text", wing="load", room="one").created
            case "supersede":
                won = palace.knowledge.supersede("Max", "works at", "Acme", f"Firm {me}")
                return won.fact.object
            case "undo":
                return palace.undo(1).seq
            case "open":
                return palace.status().palace_id
            case "mask":
                while True:
                    try:
                        palace.secrets("mask")
                    except ForgetIncompleteError:  # a neighbour looks at an old snapshot
                        continue
                    return "masked"
    except ConflictError as error:
        return {"lost": str(error)}
    raise AssertionError(what)


# What a palace holds

_DUMP = (
    "SELECT 'palace', schema FROM palace",
    "SELECT 'tables', count(*) FROM sqlite_schema",
    "SELECT 'drawer', wing, room, kind, pinned, source, position, hex(digest), hex(text), metadata"
    " FROM drawer",
    "SELECT 'chunk', hex(d.digest), d.room, c.start, c.end"
    " FROM chunk c JOIN drawer d ON d.row = c.drawer",
    "SELECT 'fact', wing, subject, predicate, object, version, valid_from, valid_to,"
    " ended_at IS NULL FROM fact WHERE wing <> 'neighbour'",
    "SELECT 'entity', key, name, type, properties FROM entity WHERE key NOT LIKE 'neighbour%'",
    "SELECT 'alias', * FROM alias",
    "SELECT 'predicate', * FROM predicate",
    "SELECT 'link', label FROM link",
    "SELECT 'change', kind, op, wing FROM change WHERE wing <> 'neighbour'",
    "SELECT 'revision', c.kind, c.op FROM revision JOIN change c USING (seq)",
    "SELECT 'word', 'secret', hex(d.digest) FROM words JOIN chunk c ON c.row = words.rowid"
    " JOIN drawer d ON d.row = c.drawer WHERE words MATCH 'secret'",
)


def dump_of(place: str) -> list[str]:
    """All rows but those of a neighbour, without times and ids, read without Palatine."""
    database = Path(place) / "palace.db"
    if not database.exists() or not database.stat().st_size:
        return []
    connection = apsw.Connection(str(database), apsw.SQLITE_OPEN_READWRITE)
    connection.set_busy_timeout(30_000)
    try:
        if not connection.execute("SELECT count(*) FROM sqlite_schema").get:
            return []
        with connection:
            return sorted(str(row) for query in _DUMP for row in connection.execute(query))
    finally:
        connection.close()


def inspect(line: Line, place: str, knows_another_step: bool) -> None:
    """What another process finds: the rows, what is wrong; and whether it can write."""
    if knows_another_step:
        learn_another_step()
    rows = dump_of(place)
    with Palace.open(place) as palace:
        problems = [f"{each.what}: {each.detail}" for each in palace.check()]
        assert palace.knowledge.add("neighbour", "looks", "neighbour 0", wing="neighbour").fact.id
        line.say([rows, problems, palace.status().palace_id])


def acknowledged(line: Line, place: str) -> None:
    """Ids of all facts and drawers, and what is wrong."""
    with Palace.open(place) as palace:
        problems = [f"{each.what}: {each.detail}" for each in palace.check()]
        line.say(len(problems))
        line.say(problems)
        for facts in _pages(lambda cursor: palace.knowledge.timeline(limit=1000, cursor=cursor)):
            line.say(["fact", [fact.id for fact in facts]])
        for drawers in _pages(lambda cursor: palace.list(limit=1000, cursor=cursor)):
            line.say(["drawer", [drawer.id for drawer in drawers]])
        line.say(["change", palace.status().seq])


def _pages(page: Callable[[str], Any]) -> Any:
    cursor = ""
    while True:
        found = page(cursor)
        yield found
        if not (cursor := found.cursor):
            return


def neighbour(line: Line) -> None:
    """Lives beside whoever is killed: writes and reads in each palace that it is told."""
    while (place := line.hear()) != "enough":
        with Palace.open(place, timeout_seconds=60) as palace:
            count = 0
            while not line.addressed():
                count += 1
                _write_and_read(palace, count)
                if count == 1:
                    line.say("going")
            assert line.hear() == "stop"
            _write_and_read(palace, count + 1)
            line.say(count + 1)
            assert line.hear() == "leave"
        line.say("left")


def _write_and_read(palace: Palace, count: int) -> None:
    added = palace.knowledge.add(f"neighbour {count}", "counts", "neighbour", wing="neighbour")
    assert added.created
    facts = palace.knowledge.find(predicate="counts", object="neighbour", limit=10_000)
    assert len(facts) == count


# Dying

KEY = "AKIAIOSFODNN7EXAMPLE"
LONG_TEXT = "\n\n".join(f"Paragraph {n}: a secret about the harbour. " * 12 for n in range(4))


def prepare(line: Line, place: str) -> None:
    """The palace that every case of dying begins with."""
    with Palace.open(place, session="prepare") as palace:
        kept = palace.add("what is kept: a secret", wing="w", room="kept").drawer
        palace.add("what is updated: old secret", wing="w", room="updated")
        gone = palace.add("what is deleted: gone secret", wing="w", room="deleted").drawer
        palace.link(kept.id, gone.id, "beside")
        palace.add(LONG_TEXT + " forgotten", wing="w", room="forgotten")
        palace.knowledge.add("Max", "lives in", "Berlin", valid_from="2020")
        palace.knowledge.add_entity("Max", type="person", properties={"a": 1})
        palace.add(f"what is masked: a secret, {KEY}", wing="w", room="masked")
        changed = palace.add("what is undone", wing="w", room="undone").drawer
        palace.update(changed.id, text="what will be undone: a secret")


def _update(palace: Palace) -> object:
    old = palace.list(room="updated").items[0]
    return palace.update(old.id, text=LONG_TEXT, pinned=True)


def _undo(palace: Palace) -> object:
    return palace.undo(palace.changes(session="prepare")[-1].seq)


def _forget(palace: Palace) -> object:
    return palace.forget(palace.changes(session="prepare")[4].ref)


CASES: dict[str, Callable[[Palace], object]] = {
    "fact": lambda palace: palace.knowledge.add("Max", "works at", "Acme", valid_from="2025"),
    "supersede": lambda palace: palace.knowledge.supersede(
        "Max", "lives in", "Berlin", "Paris", at="2024-03"
    ),
    "drawer": lambda palace: palace.add(LONG_TEXT, wing="w", room="added", metadata={"n": 1}),
    "update": _update,
    "delete": lambda palace: palace.delete(room="deleted"),
    "undo": _undo,
    "forget": _forget,
    "mask": lambda palace: palace.secrets("mask"),
}


def die(line: Line, place: str, case: str, event: int, where: str) -> None:
    """Does one thing to a palace and dies of SIGKILL at the n-th event; says what it has got."""
    # A signal is worse than an error: nothing runs afterwards, not even a `finally`.
    count = Countdown(event, lambda: os.kill(os.getpid(), signal.SIGKILL))
    watch = {"statement": at_statements, "file": at_file_operations}[where]
    if case in ("open", "migrate"):
        watch(count)
        if case == "migrate":
            learn_another_step()
        with Palace.open(place):
            line.say("acknowledged")
        return
    if case in ("backup", "restore"):
        watch(count)
        (backup if case == "backup" else restore)(line, place, f"{place}.{case}")
        line.say("acknowledged")
        return
    with Palace.open(place) as palace:
        if where == "file":
            watch(count)
            palace.reconnect()
        else:
            for connection in apsw.connections():
                _trace(connection, count)
            watch(count)
        CASES[case](palace)
        line.say("acknowledged")


class Countdown:
    """Calls `strike` at the n-th event, and at each later one."""

    def __init__(self, event: int, strike: Callable[[], Any]) -> None:
        self.left = event
        self.strike = strike

    def __call__(self) -> None:
        self.left -= 1
        if self.left <= 0:
            self.strike()


def at_statements(count: Countdown) -> None:
    """Each statement of connections made from now on is an event, and the end of each COMMIT."""
    apsw.connection_hooks.append(lambda connection: _trace(connection, count))


def _trace(connection: apsw.Connection, count: Countdown) -> None:
    def see(event: dict[str, Any]) -> None:
        begins = event["code"] == apsw.SQLITE_TRACE_STMT
        # Of most statements the end is as good as the beginning of the next one.
        if begins or event["sql"] == "COMMIT":
            count()

    # Also the statements that full text and triggers run inside.
    connection.trace_v2(apsw.SQLITE_TRACE_STMT | apsw.SQLITE_TRACE_PROFILE, see)


def at_file_operations(count: Countdown) -> None:
    """Each write, sync, cut and removal is an event, before, in the middle of and after it."""
    FailingDisk(count, count, count)


class FailingFile(apsw.VFSFile):
    """A file whose operations ask the disk first."""

    def __init__(self, disk: FailingDisk, name: Any, flags: list[int]) -> None:
        self._disk = disk
        path = name.filename() if isinstance(name, apsw.URIFilename) else str(name)
        self._spared = not path.endswith(disk.only)
        super().__init__("unix", name, flags)

    def xWrite(self, data: Any, offset: int) -> None:
        if not self._spared:
            self._disk.write()
        if self._disk.tear:
            self._disk.tear()
            half = len(data) // 2
            super().xWrite(data[:half], offset)
            self._disk.tear()
            super().xWrite(data[half:], offset + half)
            self._disk.tear()
        else:
            super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:
        self._disk.sync()
        super().xSync(flags)

    def xTruncate(self, size: int) -> None:
        self._disk.sync()
        super().xTruncate(size)


class FailingDisk(apsw.VFS):
    """The default VFS from now on; `write` and `sync` are called before each of them."""

    def __init__(
        self,
        write: Callable[[], None],
        sync: Callable[[], None],
        tear: Callable[[], None] | None = None,
        *,
        only: str = "",
    ) -> None:
        super().__init__("failing", "unix", makedefault=True)
        self.write, self.sync, self.tear, self.only = write, sync, tear, only
        keep_alive.append(self)

    def xOpen(self, name: Any, flags: list[int]) -> FailingFile:
        return FailingFile(self, name, flags)

    def xDelete(self, name: str, sync: bool) -> None:
        self.sync()
        super().xDelete(name, sync)


keep_alive: list[Any] = []


# Disks that are full or broken


class Fault:
    """What happens at the n-th operation of a disk, and at each later one if it is to last."""

    def __init__(self) -> None:
        self.clear()

    def clear(self) -> None:
        self.left, self.error, self.lasts, self.struck = 0, "", False, False

    def arm(self, event: int, error: str, *, lasts: bool) -> None:
        self.left, self.error, self.lasts, self.struck = event, error, lasts, False

    def __call__(self) -> None:
        self.left -= 1
        if self.error and (self.left == 0 or (self.lasts and self.left < 0)):
            self.struck = True
            raise getattr(apsw, self.error)("injected")


def endure(line: Line, template: str, case: str, operation: str, error: str) -> None:
    """Does one thing with a fault at each operation in turn; says how often, and what came of it.

    A full disk stays full until room is made, an error comes once. Afterwards it goes on in the
    same process, with the same open palace.
    """
    fault = Fault()
    quiet = Fault()
    FailingDisk(*((fault, quiet) if operation == "write" else (quiet, fault)))
    with Palace.open(template) as palace:
        before = dump_of(template)
    outcomes: list[str] = []
    for event in itertools.count(1):
        place = shutil.copytree(template, f"{template} {event}")
        with Palace.open(place) as palace:
            fault.arm(event, error, lasts=error == "FullError")
            outcome = outcome_of(lambda: CASES[case](palace))
            struck = fault.struck
            fault.clear()
            rows = dump_of(place)
            if outcome != "done" and rows == before:
                assert palace.check() == []
                CASES[case](palace)
            elif outcome != "done":
                outcome += ", but there"
            assert palace.check() == []
            outcomes.append(outcome)
            line.say([outcome, dump_of(place)])
        shutil.rmtree(place)
        if not struck:
            break


def endure_a_database_that_takes_nothing(line: Line, place: str, error: str) -> None:
    """The log takes what is written, but what is in the log cannot be moved to the database."""
    fault = Fault()
    FailingDisk(fault, Fault(), only="palace.db")
    sqlite._LARGE_WAL_BYTES = 0
    sqlite._TRUNCATE_EVERY_SECONDS = 0
    with Palace.open(place) as palace:
        fault.arm(1, error, lasts=True)
        assert palace.knowledge.add("Max", "works at", "Acme").created
        assert fault.struck
        assert Path(place, "palace.db-wal").stat().st_size > 0
        fault.clear()
        assert palace.knowledge.add("Max", "works at", "Initech").created
        assert Path(place, "palace.db-wal").stat().st_size == 0
        assert palace.check() == []
        line.say([fact.object for fact in palace.knowledge.about("Max")])


def endure_opening(line: Line, folder: str, operation: str, error: str) -> None:
    """The same for making a palace."""
    fault = Fault()
    quiet = Fault()
    FailingDisk(*((fault, quiet) if operation == "write" else (quiet, fault)))
    for event in itertools.count(1):
        place = f"{folder} {event}"
        fault.arm(event, error, lasts=error == "FullError")
        outcome = outcome_of(lambda: Palace.open(place).close())  # noqa: B023 (called at once)
        struck = fault.struck
        fault.clear()
        assert outcome == "done" or open_files(folder) == []
        with Palace.open(place) as palace:
            assert palace.knowledge.add("Max", "works at", "Acme").created
            assert palace.check() == []
        line.say(outcome)
        if not struck:
            break


def outcome_of(action: Callable[[], object]) -> str:
    try:
        action()
    except PalatineError as error:
        return type(error).__name__
    return "done"


def open_files(folder: str) -> list[str]:
    """Which files below it this process has open, each as often as it has."""
    targets = (os.path.realpath(each) for each in Path("/proc/self/fd").iterdir())
    return sorted(each for each in targets if each.startswith(folder))


def fail_to_open(line: Line, folder: str, stage: str, error: str) -> None:
    """Opens a palace with an error at each statement in turn; nothing may stay open or locked."""
    template = f"{folder}/template"
    if stage != "fresh":
        prepare(line, template)
    if stage == "old":
        learn_another_step()
    for event in itertools.count(0):
        place = f"{folder}/{event}"
        if stage != "fresh":
            shutil.copytree(template, place)
        count = Countdown(event, lambda: _raise(error))
        apsw.connection_hooks.append(lambda connection: _trip(connection, count))  # noqa: B023
        outcome = "done"
        try:
            Palace.open(place, read_only=stage == "read-only").close()
        except StoreError as caught:
            outcome = type(caught).__name__
        except (KeyboardInterrupt, MemoryError) as caught:
            outcome = type(caught).__name__
        apsw.connection_hooks.clear()
        assert open_files(place) == [], open_files(place)
        assert apsw.connections() == []
        line.say(outcome)
        with Palace.open(place, timeout_seconds=0) as palace:
            assert palace.knowledge.add("Max", "works at", "Acme").created
            assert palace.check() == []
        shutil.rmtree(place)
        if outcome == "done":
            return


def fail_to_connect(line: Line, place: str, error: str) -> None:
    """With a palace open: a further connection fails at each statement; the palace goes on."""
    with Palace.open(place) as palace, ExitStack() as reading:
        for event in itertools.count(0):
            reading.enter_context(palace._store.read())  # no connection is left over
            held, pool = len(open_files(place)), palace._store._pool
            count = Countdown(event, lambda: _raise(error))
            apsw.connection_hooks.append(lambda connection: _trip(connection, count))  # noqa: B023
            outcome = "done"
            try:
                with palace._store.read():
                    apsw.connection_hooks.clear()
            except (StoreError, KeyboardInterrupt, MemoryError) as caught:
                outcome = type(caught).__name__
            apsw.connection_hooks.clear()
            for connection in apsw.connections():
                connection.exec_trace = None
            line.say(outcome)
            if outcome == "done":
                break
            # SQLite keeps one number of a closed file as long as others in the process have locks.
            assert len(open_files(place)) <= held + 1 + 3 * len(pool._idle)
            assert len(apsw.connections()) == event + 1 + len(pool._idle)
            with Palace.open(place, timeout_seconds=0) as other:
                other.knowledge.add(f"thing {event}", "works at", "Acme")
                assert palace.knowledge.about(f"thing {event}")
        assert palace.check() == []


def _trip(connection: apsw.Connection, count: Countdown) -> None:
    def see(*_: object) -> bool:
        count()
        return True

    count()
    connection.exec_trace = see


def _raise(error: str) -> None:
    raise {"KeyboardInterrupt": KeyboardInterrupt, "MemoryError": MemoryError}.get(
        error, getattr(apsw, error, None)
    )("injected")


# Migrating


def migrate(line: Line, place: str) -> None:
    learn_another_step()
    line.barrier()
    with Palace.open(place) as palace:
        assert palace.check() == []
        line.say(palace.status().palace_id)
