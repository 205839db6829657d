"""The embedded store: SQLite in WAL mode, written by any number of processes.

Writers queue on the writer lock and then BEGIN IMMEDIATE; readers never wait. See
docs/concurrency.md for the whole protocol and the experiments behind it.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import apsw

from palatine.errors import (
    InputError,
    LocationError,
    PalaceMissingError,
    PalaceReplacedError,
    StoreBusyError,
    StoreClosedError,
    StoreDamagedError,
    StoreError,
    StoreReadOnlyError,
)
from palatine.store import copies, inspection
from palatine.store.connections import (
    Files,
    Log,
    MovedError,
    Pool,
    create_database_file,
    identity_of,
    mapped,
    require_safe_library,
    unusable,
)
from palatine.store.location import location_check, refusal
from palatine.store.lock import WriterLock
from palatine.store.migrations import APPLICATION_ID, MIGRATIONS
from palatine.store.retry import Deadline, retry_when_busy
from palatine.store.transactions import SqliteReadTx, SqliteWriteTx
from palatine.types import Author, BackedUp, Chunk, Drawer, PalaceState, Problem, Restored

if TYPE_CHECKING:
    from palatine.store.codes import Codes

WRITE_TIMEOUT_SECONDS = 60.0
_LARGE_WAL_BYTES = 32 * 2**20
_TRUNCATE_BUSY_MS = 200
_TRUNCATE_EVERY_SECONDS = 1.0
_MERGE_PAGES = 500


class SqliteStore:
    """A palace in a folder (or in one file), open in this process.

    Serves any number of threads. Two stores may be open on one palace, also in one process.

    Attributes:
        place: the folder, as messages name it.
    """

    def __init__(
        self,
        path: Path,
        *,
        single: bool = False,
        create: bool = True,
        read_only: bool = False,
        timeout_seconds: float = WRITE_TIMEOUT_SECONDS,
        allow_any_location: bool = False,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """Opens the palace; creates or migrates it when that is due, under the writer lock.

        Args:
            path: the palace folder, or the file of a single-file palace.
            single: the palace is this one file.
            create: make a palace where there never was one.
            read_only: write nothing, take no lock.
            timeout_seconds: the deadline for everything that a write waits for.
            allow_any_location: also create in a network or synced folder.
            environment: where sync programs say which folders are theirs.

        Raises:
            PalaceMissingError: there was a palace and its database is gone, or there never was
                one and `create` is False.
            SchemaNewerError, StoreDamagedError, StoreReadOnlyError, LocationError,
            LibraryTooOldError, StoreBusyError: as their names say; nothing was written.
        """
        require_safe_library()
        self._files = Files.at(path, single=single)
        self.place = str(self._files.folder)
        self._create = create
        self._read_only = read_only
        self._timeout_seconds = timeout_seconds
        self._location = location_check(path, environment=environment)
        self._allow_any_location = allow_any_location
        self._pid = os.getpid()
        self._writing_thread: int | None = None
        self._last_truncate = float("-inf")
        self._palace_id = ""
        self._pool: Pool | None = None
        self._closed = False
        self._pool_mutex = threading.Lock()
        self._lock = WriterLock(self._files.lock)
        self._embed_lock = WriterLock(self._files.embed_lock)
        self._embedding = threading.Lock()
        self._codes: Codes | None = None
        try:
            self._open()
        except OSError as error:
            self.close()
            raise unusable(self._files.folder, error) from error
        except BaseException:
            self.close()
            raise

    # Opening

    def _open(self, *, again: bool = False) -> None:
        deadline = Deadline(self._timeout_seconds)
        if self._open_existing(deadline, accept_any=again):
            return
        if self._read_only or (again and identity_of(self._files.database) is None):
            raise self._missing()
        if not again:
            self._prepare_folder()
        self._under_lock(self._create_or_migrate, deadline)
        if not self._open_existing(deadline, accept_any=again):
            raise self._missing()

    def _open_existing(self, deadline: Deadline, *, accept_any: bool = False) -> bool:
        """Opens a palace that is there and up to date; False: that needs the writer lock."""
        try:
            pool = Pool(self._files, read_only=self._read_only)
        except MovedError:
            return False
        try:
            state, mode = self._look(pool, deadline)
        except MovedError:
            pool.close()
            return False
        except BaseException:
            pool.close()
            raise
        due = state is None or state.schema < len(MIGRATIONS)
        marked = mode == "wal" and state and inspection.id_in(self._files.lock) == state.palace_id
        if state is None or ((due or not marked) and not self._read_only):
            pool.close()
            return False
        if due:
            pool.close()
            raise StoreReadOnlyError(
                f"{self.place}: the palace was written by an older Palatine and must be brought up"
                " to date: open it once without read-only"
            )
        self._accept(pool, state.palace_id, accept_any=accept_any)
        return True

    def _look(self, pool: Pool, deadline: Deadline) -> tuple[PalaceState | None, str]:
        """The state and the journal mode, in one snapshot: the palace may just be being made."""
        lease = _Lease()
        with mapped(self.place, deadline.waited), lease:
            connection = lease.take(pool, deadline)
            connection.execute("BEGIN")
            state = inspection.state_of(connection, self.place)
            return state, connection.pragma("journal_mode")

    def _accept(self, pool: Pool, palace_id: str, *, accept_any: bool) -> None:
        with self._pool_mutex:
            if self._closed:
                pool.close()
                raise StoreClosedError(f"{self.place}: the palace is closed; open it again")
            if not accept_any and self._palace_id not in ("", palace_id):
                pool.close()
                raise PalaceReplacedError(
                    f"{self.place}: another palace lies here now (was {self._palace_id}, is"
                    f" {palace_id}); nothing was written; reconnect to use the new one"
                )
            old, self._pool = self._pool, pool
            self._palace_id = palace_id
        if old is not None:
            old.close()

    def _prepare_folder(self) -> None:
        """Makes the folder, unless there is a palace in it or was one."""
        files = self._files
        if identity_of(files.database) is not None or inspection.id_in(files.lock):
            return
        if not self._create:
            raise PalaceMissingError(
                f"{self.place}: there is no palace here yet; the first write makes one"
            )
        if self._location.kind in ("network", "synced") and not self._allow_any_location:
            raise LocationError(refusal(files.folder, self._location))
        home = files.database.parent
        try:
            fresh = not home.exists()
            home.mkdir(parents=True, exist_ok=True, mode=0o700)
            if fresh:
                home.chmod(0o700)
        except OSError as error:
            if isinstance(error, FileExistsError | NotADirectoryError):
                raise StoreDamagedError(
                    f"{self.place}: a file stands in the way of the palace's folder; choose"
                    " another folder"
                ) from error
            raise unusable(files.folder, error) from error

    def _missing(self) -> PalaceMissingError:
        if inspection.id_in(self._files.lock):  # the lock file outlives everything
            return PalaceMissingError(
                f"{self.place}: there was a palace here and its database is gone; nothing was"
                " written. Restore a backup; or, to start anew, remove the folder"
            )
        return PalaceMissingError(f"{self.place}: there is no palace here; nothing was written")

    def _under_lock(self, action: Callable[[Deadline], None], deadline: Deadline) -> None:
        try:
            self._lock.acquire(deadline)
            action(deadline)
        finally:
            self._lock.release()

    def _create_or_migrate(self, deadline: Deadline) -> None:
        """Brings the database to the newest schema; runs under the writer lock."""
        files = self._files
        known_id = self._lock.read_id()
        if identity_of(files.database) is None:
            if known_id:
                raise self._missing()
            create_database_file(files)
        try:
            pool = Pool(files, read_only=False)
            lease = _Lease()
            try:
                with mapped(self.place, deadline.waited), lease:
                    connection = lease.take(pool, deadline)
                    self._require_creatable(connection, known_id)
                    self._use_wal(connection, deadline)
                    palace_id = self._migrate(connection)
                    with Log(files) as log:
                        log.open()
                        log.sync()
            finally:
                pool.close()
        except MovedError:
            raise self._missing() from None
        if known_id != palace_id:
            self._lock.write_id(palace_id)

    def _require_creatable(self, connection: apsw.Connection, known_id: str) -> None:
        if inspection.state_of(connection, self.place) is not None:
            return
        if known_id:
            raise StoreDamagedError(
                f"{self.place}: the database is empty but palace {known_id} was in it;"
                " nothing was written; restore a backup"
            )
        if not self._create:
            raise self._missing()

    def _use_wal(self, connection: apsw.Connection, deadline: Deadline) -> None:
        switch = retry_when_busy(deadline=deadline)(connection.pragma)
        if (mode := switch("journal_mode", "wal")) != "wal":
            raise LocationError(
                f"{self.place}: the file system cannot hold memory that processes share (SQLite"
                f" stays in mode {mode!r}); choose a folder on a local disk"
            )

    def _migrate(self, connection: apsw.Connection) -> str:
        connection.execute("BEGIN IMMEDIATE")
        try:
            state = inspection.state_of(connection, self.place)
            for number, step in enumerate(MIGRATIONS, start=1):
                if state is None or number > state.schema:
                    step(connection)
            if state is None:
                palace_id = secrets.token_hex(8)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(
                    "INSERT INTO palace(one, id, schema) VALUES (1, ?, ?)",
                    (palace_id, len(MIGRATIONS)),
                )
            else:
                palace_id = state.palace_id
                connection.execute("UPDATE palace SET schema = ?", (len(MIGRATIONS),))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return palace_id

    # Transactions

    @contextmanager
    def read(self) -> Iterator[SqliteReadTx]:
        """One snapshot that contains every write acknowledged before it began."""
        self._require_own_process()
        deadline = Deadline(self._timeout_seconds)
        lease = _Lease()
        with mapped(self.place, deadline.waited), lease:
            yield self._begin_read(lease, deadline)
            self._require_unwritten(lease)

    def _begin_read(self, lease: _Lease, deadline: Deadline) -> SqliteReadTx:
        while True:
            pool = self._current_pool()
            try:
                connection = lease.take(pool, deadline)
                known = self._codes.last if self._codes else 0
                connection.execute("BEGIN")
                tx = SqliteReadTx(connection, codes=self._get_codes, codes_known=known)
                look = retry_when_busy(deadline=deadline)(inspection.state_in)
                self._require_palace(look(tx, self.place))
                pool.require_same_file()
            except MovedError:
                lease.end()
                self._follow(pool, deadline)
            else:
                return tx

    def _get_codes(self) -> Codes:
        """The sign codes of the vectors, in memory; empty at first."""
        with self._pool_mutex:
            if self._codes is None:
                from palatine.store.codes import Codes  # noqa: PLC0415 (numpy, for meaning only)

                self._codes = Codes()
            return self._codes

    def _require_unwritten(self, lease: _Lease) -> None:
        if lease.pool is None or not lease.pool.immutable:
            return
        try:
            lease.pool.require_same_file()
        except MovedError:
            raise StoreReadOnlyError(
                f"{self.place}: the palace was written while it was read without locks; read again"
            ) from None

    @contextmanager
    def write(
        self, author: Author, *, timeout_seconds: float | None = None
    ) -> Iterator[SqliteWriteTx]:
        """The right to write, alone among all processes; commits when the block ends.

        Rolls back on any BaseException. Everything that it waits for has one deadline.

        Args:
            author: who writes.
            timeout_seconds: that deadline; None: the store's.

        Raises:
            StoreBusyError: no writer lock before the deadline; nothing was written.
            PalaceMissingError, PalaceReplacedError: the palace went away; nothing was written.
            StoreError: see errors.py.
        """
        self._require_writable()
        deadline = Deadline(self._timeout_seconds if timeout_seconds is None else timeout_seconds)
        lease = _Lease()
        with Log(self._files) as log:
            try:
                with mapped(self.place, deadline.waited), lease:
                    tx = self._begin_write(lease, deadline, author)
                    self._writing_thread = threading.get_ident()
                    yield tx
                    self._commit(lease, log, deadline)
                    self._bound_wal(tx.connection)
            finally:
                self._lock.release()
                if self._writing_thread == threading.get_ident():
                    self._writing_thread = None
            # Committed, but not acknowledged before it is on the disk. Without the lock: the next
            # one writes meanwhile, and the disk takes what several wait for at once.
            log.sync()

    def _begin_write(self, lease: _Lease, deadline: Deadline, author: Author) -> SqliteWriteTx:
        """Takes the writer lock, then BEGIN IMMEDIATE on the database that lies in the folder."""
        while True:
            self._lock.acquire(deadline)
            pool = self._current_pool()
            try:
                return self._begin_immediate(lease.take(pool, deadline), pool, deadline, author)
            except MovedError:
                # Another folder lies here: its writer lock is another one too.
                lease.end()
                self._lock.release()
                self._follow(pool, deadline)

    def _begin_immediate(
        self, connection: apsw.Connection, pool: Pool, deadline: Deadline, author: Author
    ) -> SqliteWriteTx:
        # Whoever writes without the lock is waited for here, within the same deadline.
        retry_when_busy(deadline=deadline)(connection.execute)("BEGIN IMMEDIATE")
        pool.require_same_file()
        state = inspection.state_in(SqliteReadTx(connection), self.place)
        self._require_palace(state)
        if not inspection.size_of(self._files.lock):  # somebody removed it, and we made a new one
            self._lock.write_id(self._palace_id)
        return SqliteWriteTx(connection, state, author)

    def _commit(self, lease: _Lease, log: Log, deadline: Deadline) -> None:
        if lease.pool is None or lease.connection is None:
            raise AssertionError("there is a transaction to commit")
        try:
            lease.pool.require_same_file()
        except MovedError:
            raise PalaceReplacedError(
                f"{self.place}: the palace was removed or replaced during this write; nothing was"
                " written; do it again"
            ) from None
        log.open()  # if this fails, nothing was written
        retry_when_busy(deadline=deadline)(lease.connection.execute)("COMMIT")

    def _follow(self, old: Pool, deadline: Deadline) -> None:
        """Opens what lies in the folder now, if it is the same palace and nobody has done so."""
        with self._pool_mutex:
            if self._closed or self._pool is not old:
                return
        if not self._open_existing(deadline):
            raise self._missing()

    def _current_pool(self) -> Pool:
        with self._pool_mutex:
            if self._pool is None or self._closed:
                raise StoreClosedError(f"{self.place}: the palace is closed; open it again")
            return self._pool

    def _require_palace(self, state: PalaceState) -> None:
        if state.palace_id != self._palace_id:
            raise PalaceReplacedError(
                f"{self.place}: another palace was restored here (was {self._palace_id}, is"
                f" {state.palace_id}); nothing was written; reconnect to use the new one"
            )

    def _require_own_process(self) -> None:
        if os.getpid() != self._pid:
            raise StoreClosedError(
                f"{self.place}: opened by process {self._pid} before the fork; open the palace"
                " again in this process"
            )

    def _require_writable(self) -> None:
        self._require_own_process()
        if self._read_only:
            raise StoreReadOnlyError(
                f"{self.place}: opened read-only; nothing was written; open it without read-only"
            )
        if self._writing_thread == threading.get_ident():
            raise StoreError(
                f"{self.place}: this thread is already writing; a write block cannot hold another"
            )

    def _bound_wal(self, connection: apsw.Connection) -> None:
        """Cuts a log that readers let grow; by the holder of the lock, rarely and briefly.

        What goes wrong here is nothing to the writer: its transaction is committed.
        """
        now = time.monotonic()
        with contextlib.suppress(OSError):
            if (
                now - self._last_truncate > _TRUNCATE_EVERY_SECONDS
                and inspection.size_of(self._files.wal) > _LARGE_WAL_BYTES
            ):
                self._last_truncate = now
                self._truncate_wal(connection, _TRUNCATE_BUSY_MS)

    def _truncate_wal(self, connection: apsw.Connection, busy_ms: int) -> bool:
        """Moves the log into the database and empties it; False when a reader stood in the way."""
        connection.set_busy_timeout(busy_ms)
        try:
            connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
        except apsw.Error:  # the write before it is acknowledged all the same
            return False
        return True

    @contextmanager
    def embedding(self) -> Iterator[bool]:
        """The right to embed: True for one process at a time, for the others False at once.

        Nothing is written into the file: the kernel frees the lock when its holder dies.
        """
        self._require_own_process()
        if not self._embedding.acquire(blocking=False):  # a thread of this process is at it
            yield False
            return
        try:
            try:
                self._embed_lock.acquire(Deadline(0.0))
                alone = True
            except StoreBusyError:
                alone = False
            yield alone
        finally:
            self._embed_lock.release()
            self._embedding.release()

    # Care

    def check(self) -> list[Problem]:
        """Everything that is wrong with the rows and what is derived from them; reads it all."""
        with self.read() as tx:
            problems = inspection.check_rows(tx.connection)
        return [*problems, *inspection.check_files(self._files, self._palace_id)]

    def rebuild(self, chunks_of: Callable[[Drawer], Sequence[Chunk]]) -> int:
        """Makes all that is derived anew from the rows in one transaction, and tidies the files."""
        inspection.repair_files(self._files)
        with self.write(Author()) as tx:
            self._lock.write_id(self._palace_id)
            return tx.rebuild(chunks_of)

    def backup(self, target: Path | None, *, keep: int) -> BackedUp:
        """Copies one snapshot of the palace, whole and checked, into a new file; others go on.

        Raises:
            InputError: something lies there already, or the folder is missing.
            StoreDamagedError: SQLite finds the palace damaged; no copy was made.
        """
        if keep and target is not None and not target.is_dir():
            raise InputError(f"{target} is no folder: only in one are older backups removed")
        path = copies.place_for(target, self._files, self._palace_id, "backup")
        state = self._copy(path, sound=True)
        removed = copies.thin_out(path, state.palace_id, keep) if keep else []
        size = inspection.size_of(path)
        return BackedUp(str(path), state.palace_id, state.seq, size, tuple(removed))

    def _copy(self, path: Path, *, sound: bool) -> PalaceState:
        try:
            with copies.unfinished(path) as made:
                with self.read() as tx:
                    state = copies.copy(tx.connection, made)
                if sound:
                    copies.require_sound(made, self.place)
                made.rename(path)
                copies.sync(path.parent)
        except OSError as error:
            raise unusable(path, error) from error
        return state

    def replace_with(self, copy: SqliteStore, author: Author) -> Restored:
        """Puts a copy of a palace in the place of this one, in one commit.

        Through SQLite and never by moving files: whoever has the palace open meets another one
        at the next transaction, and a log that lies there cannot bring old rows back.

        Args:
            copy: a palace that is nobody else's and is used up by this.
            author: who restores.
        """
        with self.write(author) as tx:  # for the writer lock, and the sync at the end
            connection, old, replaced = tx.connection, tx.state(), ""
            connection.execute("ROLLBACK")  # the backup begins its own
            if old.seq:
                kept = copies.place_for(None, self._files, self._palace_id, "replaced")
                self._copy(kept, sound=False)
                replaced = str(kept)
            with copy.write(author) as renamed:
                new = renamed.become(old)
            copy._palace_id = self._palace_id = new.palace_id
            with (
                copy.read() as source,
                connection.backup("main", source.connection, "main") as backup,
            ):
                backup.step()
            self._lock.write_id(new.palace_id)
            connection.execute("BEGIN IMMEDIATE")
        return Restored(new.palace_id, new.seq, replaced)

    def scrub(self, needles: Sequence[bytes]) -> list[str]:
        """Makes removed rows unrecoverable from the palace's files, and looks whether they are.

        Removed rows are overwritten as they go (`secure_delete`); what is left is their words in
        the full-text index, which merging drops (in small transactions, so that others write in
        between), and the log, which is emptied.

        Args:
            needles: byte strings that must not be found, but in rows that hold them, too.

        Returns:
            The files that still contain one: with a reader that holds an old snapshot open.
        """
        pages = -_MERGE_PAGES
        working = True
        while working:
            with self.write(Author()) as tx:
                working = tx.merge_words(pages)
            pages = _MERGE_PAGES
        with self.write(Author()) as tx:
            tx.drop_dead_codes()
        deadline = Deadline(self._timeout_seconds)
        with self.write(Author()) as tx:
            connection = tx.connection
            connection.execute("ROLLBACK")
            self._truncate_wal(connection, int(deadline.remaining() * 1000))
            connection.execute("BEGIN IMMEDIATE")
        if not inspection.files_with(self._files, needles):
            return []
        with self.read() as tx:
            gone = inspection.in_no_row(tx.connection, needles)
        return inspection.files_with(self._files, gone)

    def details(self) -> Mapping[str, object]:
        """Facts about the store for `status`: where it lives, sizes in bytes, versions."""
        return {
            "place": self.place,
            "palace_id": self._palace_id,
            "location": self._location.kind,
            "location_detail": self._location.detail,
            "database_bytes": inspection.size_of(self._files.database),
            "wal_bytes": inspection.size_of(self._files.wal),
            "sqlite": apsw.sqlite_lib_version(),
            "schema": len(MIGRATIONS),
            "read_only": self._read_only,
        }

    def reopen(self) -> None:
        """Closes everything, forgets everything derived, and accepts what lies there now."""
        self._require_own_process()
        self._current_pool()
        with self._pool_mutex:
            self._codes = None
        self._open(again=True)

    def close(self) -> None:
        """Closes; again is no error. In a forked child it only lets go."""
        if os.getpid() != self._pid:
            return
        with self._pool_mutex:
            self._closed = True
            pool, self._pool = self._pool, None
        if pool is not None:
            pool.close()
        self._lock.close()
        self._embed_lock.close()

    def shutdown(self) -> None:
        """Ends within 100 ms: interrupts reads, waits 50 ms for an own commit, then closes.

        A long log is left as it is: whoever opens the palace next reads it.
        """
        if os.getpid() != self._pid:
            return
        with self._pool_mutex:
            self._closed = True
            pool = self._pool
        if pool is None:
            return
        until = time.monotonic() + 0.05
        while self._writing_thread is not None and time.monotonic() < until:
            time.sleep(0.001)
        pool.interrupt()
        if inspection.size_of(self._files.wal) < _LARGE_WAL_BYTES // 8:
            pool.close()


class _Lease:
    """A connection taken from a pool for one transaction; at its end rolled back and given back.

    Made before the connection is taken, so that an interrupt finds nothing half handed over.
    """

    __slots__ = ("connection", "pid", "pool")

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.pool: Pool | None = None
        self.connection: apsw.Connection | None = None

    def take(self, pool: Pool, deadline: Deadline) -> apsw.Connection:
        self.pool = pool
        self.connection = pool.take(deadline)
        return self.connection

    def end(self) -> None:
        """Ends the transaction, if there still is one: some errors have ended it already.

        Not in a child that was forked within it: the transaction is the parent's.
        """
        if self.pool is None or self.connection is None or self.pid != os.getpid():
            return
        try:
            if self.connection.in_transaction:
                with contextlib.suppress(apsw.Error):  # the pool closes it then
                    self.connection.execute("ROLLBACK")
        finally:
            self.pool.give(self.connection)
            self.connection = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
