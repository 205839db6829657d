"""SQLite connections: opened, configured completely, pooled, and tied to the file in the folder."""

from __future__ import annotations

import ctypes
import errno
import functools
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Self

import apsw

from palatine.errors import (
    LibraryTooOldError,
    PalaceMissingError,
    PalatineError,
    StoreBusyError,
    StoreClosedError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
)
from palatine.store.retry import Deadline

WAL_AUTOCHECKPOINT_PAGES = 1000
JOURNAL_SIZE_LIMIT_BYTES = 64 * 2**20
_IDLE_CONNECTIONS = 8
"""More than so many idle ones are closed when they come back."""
_LONGEST_WAIT_SECONDS = 2_000_000.0  # in milliseconds it still fits SQLite's 32 bits
_CLOCK_TICK_SECONDS = 0.02  # longer than the steps in which file systems count time

# The WAL-reset bug: two connections that checkpoint and commit at once can lose pages.
# Fixed in 3.51.3 and in two older branches; https://sqlite.org/wal.html, section 11.
_FIXED = (3_051_003, ((3_050_007, 3_051_000), (3_044_006, 3_045_000)))

# The most specific first: each of apsw's classes is met by one of these, see test_errors.
ERRORS: tuple[tuple[type[Exception], type[StoreError], str], ...] = (
    (apsw.FullError, StoreFullError, "the disk is full: this write was not kept; make room"),
    (
        apsw.ReadOnlyError,
        StoreReadOnlyError,
        "the palace cannot be written by this user: check the owner and mode of its folder, or open"
        " it read-only",
    ),
    (apsw.NotADBError, StoreDamagedError, "this file is not a palace"),
    (
        apsw.CorruptError,
        StoreDamagedError,
        "the database is damaged: run `palatine doctor`, and restore a backup if it says so",
    ),
    (apsw.InterruptError, StoreClosedError, "the palace was closed while this was under way"),
    (apsw.ConnectionClosedError, StoreClosedError, "the palace is closed"),
    (
        apsw.CantOpenError,
        StoreError,
        "the database cannot be opened: check that its folder exists and is readable",
    ),
    (
        apsw.IOError,
        StoreError,
        "the disk reported an error: nothing was acknowledged; check the disk and its space",
    ),
    (apsw.Error, StoreError, "SQLite refused"),
)


def library_is_safe(version: int) -> bool:
    """Tells whether this SQLite (as a number such as 3051003) is free of the WAL-reset bug."""
    newest, branches = _FIXED
    return version >= newest or any(low <= version < high for low, high in branches)


def require_safe_library() -> None:
    """Refuses to work with a SQLite that can corrupt the palace.

    Raises:
        LibraryTooOldError: names the version found and the ones that are good.
    """
    version = apsw.sqlite_lib_version()
    major, minor, patch = (int(part) for part in version.split(".")[:3])
    if not library_is_safe(major * 1_000_000 + minor * 1000 + patch):
        raise LibraryTooOldError(
            f"SQLite {version} can corrupt a database that several processes write (its WAL-reset"
            " bug): Palatine needs 3.51.3 or newer, 3.50.7+ or 3.44.6+; install a newer apsw"
        )


@contextmanager
def mapped(place: str, waited: Callable[[], float] = lambda: 0.0) -> Iterator[None]:
    """Turns apsw's exceptions into Palatine's, naming the place.

    Args:
        place: the palace, as messages name it.
        waited: how many seconds were waited, for StoreBusyError.
    """
    try:
        yield
    except (apsw.BusyError, apsw.LockedError) as error:
        raise StoreBusyError(waited()) from error
    except apsw.Error as error:
        for foreign, own, message in ERRORS:
            if isinstance(error, foreign):
                raise own(f"{place}: {message} ({error})") from error
        raise


@dataclass(frozen=True, slots=True)
class Files:
    """The files of one palace.

    Attributes:
        folder: what a caller names; in messages.
        database: `palace.db`, or the single file.
        lock: the writer lock's file, never deleted.
        wal: SQLite's write-ahead log.
        shm: SQLite's index of the log, shared between processes.
    """

    folder: Path
    database: Path
    lock: Path
    wal: Path
    shm: Path

    @property
    def embed_lock(self) -> Path:
        """The file whose lock is the right to embed."""
        return self.lock.with_name(
            "embed.lock" if self.folder != self.database else self.database.name + ".embed-lock"
        )

    @property
    def backups(self) -> Path:
        """The folder of backups, where nobody has named another."""
        return self.lock.with_name(
            "backups" if self.folder != self.database else self.database.name + ".backups"
        )

    @classmethod
    def at(cls, path: Path, *, single: bool = False) -> Files:
        """The files of a palace folder; of a single-file palace if `single`, or if it is one."""
        path = path.absolute()  # the process may change its directory
        if single or os.path.isfile(path):  # noqa: PTH113 (no error where nothing can be seen)
            database, lock = path, path.with_name(path.name + ".lock")
        else:
            database, lock = path / "palace.db", path / "palace.lock"
        wal, shm = (database.with_name(database.name + end) for end in ("-wal", "-shm"))
        return cls(path, database, lock, wal, shm)

    def opened(self) -> Path:
        """The database as SQLite is told: the folder may be reached by links, the file is none.

        A file reached by a link would have its log beside the real one, and two writer locks.
        """
        return self.database.parent.resolve() / self.database.name


Identity = tuple[int, int]
"""Device and inode of a file."""


def identity_of(path: Path) -> Identity | None:
    """Which file lies there; None when there is none.

    Raises:
        StoreError: this user cannot look.
    """
    try:
        status = os.stat(path)  # noqa: PTH116 (twice as fast as Path.stat, and in every transaction)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise unusable(path.parent, error) from error
    return status.st_dev, status.st_ino


if sys.platform == "darwin":
    import fcntl


class MovedError(Exception):
    """The open database is not the one in the folder any more. Never leaves the store."""


class Pool:
    """The connections of one store to one database file.

    A connection serves one transaction at a time and any thread. All are to the same file: the
    one that lay in the folder when the pool was made.

    Attributes:
        identity: that file.
        immutable: read without locks, see docs/decisions/0004; whoever reads asks before and
            after (`require_same_file`) whether anybody has written.
    """

    def __init__(self, files: Files, *, read_only: bool) -> None:
        """Remembers which file lies there.

        Raises:
            MovedError: there is none.
            StoreClosedError: this forked child cannot use SQLite.
        """
        _watch_forks()
        if _pools_in_use_at_fork:
            raise StoreClosedError(
                f"{files.folder}: process {os.getpid()} was forked while a palace was being read or"
                " written, and SQLite cannot be used in such a child: fork when nothing is under"
                " way, or start the process anew (spawn)"
            )
        found = identity_of(files.database)
        if found is None:
            raise MovedError
        self.identity = found
        self._files = files
        self._read_only = read_only
        self._foreign = read_only and not os.access(files.database.parent, os.W_OK)
        self._still = self._settled_stamp() if self._foreign else None
        self.immutable = self._still is not None
        self._idle: list[apsw.Connection] = []
        self._all: set[apsw.Connection] = set()
        self._taken = 0
        self._closed = False
        self._mutex = threading.Lock()
        _pools.add(self)

    def take(self, deadline: Deadline) -> apsw.Connection:
        """An idle connection, or a new one, completely configured; it waits for locks so long.

        Raises:
            MovedError: another file lies there now, or the pool is closed.
        """
        with self._mutex:
            if self._closed:
                raise MovedError
            self._taken += 1
            connection = self._idle.pop() if self._idle else None
        try:
            if connection is None:
                connection = self._open(deadline)
            wait_until(connection, deadline)
        except BaseException:
            with self._mutex:
                self._taken -= 1
            raise
        return connection

    def give(self, connection: apsw.Connection) -> None:
        """Takes a connection back; closes it when it is still in a transaction, or superfluous."""
        with self._mutex:
            self._taken -= 1
            keep = (
                not self._closed
                and not connection.in_transaction
                and len(self._idle) < _IDLE_CONNECTIONS
            )
            if keep:
                self._idle.append(connection)
            else:
                self._all.discard(connection)
        if not keep:
            _close(connection)

    def require_same_file(self) -> None:
        """Compares the file in the folder with the one that is open.

        Raises:
            MovedError: it is another one, or gone; or it was read without locks and is written.
        """
        if identity_of(self._files.database) != self.identity:
            raise MovedError
        if self.immutable and self._stamp() != self._still:
            raise MovedError

    def interrupt(self) -> None:
        """Ends what the connections are doing, from any thread."""
        with self._mutex:
            self._closed = True
            for connection in self._all:
                connection.interrupt()

    def close(self) -> None:
        """Closes the idle connections now, and the others when they come back."""
        with self._mutex:
            self._closed = True
            idle, self._idle = self._idle, []
            self._all.difference_update(idle)
        for connection in idle:
            _close(connection)

    @property
    def in_use(self) -> bool:
        """Whether some thread has a connection, or is opening one."""
        return self._taken > 0

    def let_go(self, *, close: bool) -> None:
        """In a forked child: closes the inherited connections, or sees that they never are."""
        for connection in self._all:
            if close:
                connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
                connection.close()
            else:
                connection.exec_trace = _refuse
                ctypes.pythonapi.Py_IncRef(ctypes.py_object(connection))

    def _stamp(self) -> tuple[int, ...] | None:
        """What changes when somebody writes; None when there is a log."""
        try:
            status = self._files.database.stat()
        except OSError:
            raise MovedError from None
        if self._files.wal.exists():
            return None
        return status.st_mtime_ns, status.st_ctime_ns, status.st_size

    def _settled_stamp(self) -> tuple[int, ...] | None:
        """A stamp that the next write is sure to change: none within a tick of the last one."""
        while (stamp := self._stamp()) is not None:
            age = time.time() - stamp[1] / 1e9
            if not 0 <= age < _CLOCK_TICK_SECONDS:
                break
            time.sleep(_CLOCK_TICK_SECONDS)
        return stamp

    def _open(self, deadline: Deadline) -> apsw.Connection:
        connection = apsw.Connection(*self._target())
        try:
            configure(connection, deadline, read_only=self._read_only)
            # Of two equal looks, one before and one after opening, SQLite opened what
            # both saw: while it is open its inode number cannot be given to another.
            self.require_same_file()
            with self._mutex:
                self._all.add(connection)
        except BaseException:
            _close(connection)
            raise
        return connection

    def _target(self) -> tuple[str, int]:
        files = self._files
        if not self._foreign:
            return str(files.opened()), apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_NOFOLLOW
        # In a folder that we cannot write, SQLite can read a database in WAL mode only if the
        # log and its index are there; of a cleanly closed one it can only be told that nobody
        # writes, and each read transaction looks whether that was true (docs/decisions/0004).
        if self.immutable:
            how = "immutable=1"
        elif not files.wal.exists():
            raise MovedError  # closed cleanly since
        elif files.shm.exists():
            how = "mode=ro"
        else:
            raise StoreReadOnlyError(
                f"{files.folder}: the folder cannot be written and the palace was not closed"
                " cleanly: open it once as a user who can write it, then read it again"
            )
        flags = apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI | apsw.SQLITE_OPEN_NOFOLLOW
        return f"{files.opened().as_uri()}?{how}", flags


# Forks. SQLite keeps the locks of a process in memory, and a child inherits that memory but not the
# locks: a palace opened anew in the child would lean on locks that only the parent has, and when
# the parent closes, the log is deleted under the child (its next acknowledged write was lost). So
# the child closes what it inherits, which forgets those locks. That is safe only when no thread was
# inside SQLite; otherwise (mutexes held by threads that do not exist here; a transaction, whose
# rollback in the child once damaged the database, for it reached into the shared index) nothing is
# touched or ever destroyed, and SQLite is not used in that child.
# This mirrors state that SQLite keeps per process: hence in the module.
_pools: weakref.WeakSet[Pool] = weakref.WeakSet()
_pools_in_use_at_fork: list[Pool] = []


@functools.cache
def _watch_forks() -> None:
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_let_go_in_child)


def _let_go_in_child() -> None:
    pools = list(_pools)
    _pools.clear()
    _pools_in_use_at_fork.extend(pool for pool in pools if pool.in_use)
    for pool in pools:
        pool.let_go(close=not _pools_in_use_at_fork)


def _refuse(*_: object) -> bool:
    raise StoreClosedError(
        f"process {os.getpid()} was forked within a block that reads or writes a palace; nothing of"
        " it can be used here: open the palace in a process that was forked before, or anew"
    )


def _close(connection: apsw.Connection) -> None:
    # What can go wrong is the checkpoint of the last one to close: the log then simply stays.
    with suppress(apsw.Error):
        connection.close()


def wait_until(connection: apsw.Connection, deadline: Deadline) -> None:
    """Lets SQLite itself wait for the locks of other programs, until the deadline."""
    seconds = min(deadline.remaining(), _LONGEST_WAIT_SECONDS)
    connection.set_busy_timeout(max(1, ceil(seconds * 1000)))


def configure(connection: apsw.Connection, deadline: Deadline, *, read_only: bool) -> None:
    """Sets everything that a connection must have before it is used."""
    wait_until(connection, deadline)
    connection.execute("PRAGMA foreign_keys = ON")
    if read_only:
        connection.execute("PRAGMA query_only = ON")
        return
    # Who commits syncs the log itself before it acknowledges, see Log; checkpoints sync as ever.
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA secure_delete = ON")
    connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_AUTOCHECKPOINT_PAGES}")
    connection.execute(f"PRAGMA journal_size_limit = {JOURNAL_SIZE_LIMIT_BYTES}")
    if sys.platform == "darwin":
        connection.execute("PRAGMA fullfsync = ON")
        connection.execute("PRAGMA checkpoint_fullfsync = ON")


class Log:
    """The write-ahead log, to be synced after a commit and after the writer lock is given back.

    That is as durable as `synchronous=FULL`, which syncs within the commit: the log is one file,
    so whoever syncs it syncs every commit before his own, too (docs/decisions/0007).
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._descriptor = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def open(self) -> None:
        """Opens it while a connection holds it in its place. It has no locks that closing drops."""
        try:
            self._descriptor = os.open(self._files.wal, os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            raise unusable(self._files.folder, error) from error

    def sync(self) -> None:
        """Waits until what is in it now is on the disk.

        Raises:
            StoreError: the disk refused; what was committed is not acknowledged.
        """
        try:
            if sys.platform == "darwin":
                fcntl.fcntl(self._descriptor, fcntl.F_FULLFSYNC)
            else:
                os.fdatasync(self._descriptor)
        except OSError as error:
            raise StoreError(
                f"{self._files.folder}: the disk did not confirm what was just written"
                f" ({error.strerror}): it is there, but a power cut may take it; check the disk"
            ) from error


def create_database_file(files: Files) -> None:
    """Makes the empty database file, 0600 whatever the umask; SQLite gives its log the same mode.

    Raises:
        StoreError: it cannot be made; says why.
    """
    try:
        descriptor = os.open(
            files.database, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
    except OSError as error:
        raise unusable(files.folder, error) from error
    try:
        os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def unusable(folder: Path, error: OSError) -> PalatineError:
    """The error for a folder or file that the system refuses."""
    reason = error.strerror or str(error)
    match error.errno:
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return StoreReadOnlyError(
                f"{folder}: {reason}: this user cannot write (or not even see) what is in it:"
                " check its owner and mode, choose another folder, or open it read-only"
            )
        case errno.ENOSPC | errno.EDQUOT:
            return StoreFullError(f"{folder}: {reason}: this write was not kept; make room")
        case errno.ENOENT:
            return PalaceMissingError(f"{folder}: {reason}")
    return StoreError(f"{folder}: {reason}: the palace's folder cannot be used")
