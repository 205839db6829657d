"""The writer lock: the right to write, one holder at a time across threads and processes.

Writers wait in the kernel, not in SQLite's busy handler: that one polls, and with 64 writers it
made the unluckiest wait 3.6 seconds where a blocking `flock` made it wait 0.14. But a blocking
`flock` knows no timeout, does not return on a signal and is inherited by forked children. So a
helper thread blocks in it and hands the lock over, while the waiter waits where it can give up.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import NoReturn

from palatine.errors import (
    PalaceMissingError,
    StoreBusyError,
    StoreClosedError,
    StoreDamagedError,
    StoreError,
    StoreFullError,
    StoreReadOnlyError,
)
from palatine.store.retry import Deadline

if sys.platform == "win32":  # Experimental: written, never run.
    import msvcrt
    import time

    _LOCKED_BYTE = 1 << 30  # far behind the id, which others read while we hold the lock

    def _try_lock(fd: int) -> bool:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        try:
            msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _wait_for_lock(fd: int) -> None:
        while not _try_lock(fd):
            time.sleep(0.005)

    def _unlock(fd: int) -> None:
        os.lseek(fd, _LOCKED_BYTE, os.SEEK_SET)
        with contextlib.suppress(OSError):
            msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)

else:
    import fcntl

    def _try_lock(fd: int) -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _wait_for_lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX)

    def _unlock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_UN)


_Ticket = SimpleQueue[None]
"""Where one waiter sleeps; whoever puts something in wakes it, and it looks for what has changed.

A queue, not a condition: putting never blocks, once too often does no harm, and an interrupt in the
middle of waiting leaves no lock behind that others need.
"""


class WriterLock:
    """The writer lock on one file; one object serves all threads of a process.

    Threads queue in order of arrival, then the first one waits for the other processes. The lock
    belongs to the thread that acquired it. The file is created when it is missing and is never
    deleted; the folder is never created.

    Attributes:
        path: the lock file, absolute.
    """

    def __init__(self, path: Path) -> None:
        """Nothing is opened before it is needed."""
        self.path = path.absolute()
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._queue: deque[_Ticket] = deque()  # the first one has the lock, or is getting it
        self._file: _LockFile | None = None
        self._held: tuple[int, _Ticket] | None = None  # by which thread, with which ticket
        self._closed = False

    def acquire(self, deadline: Deadline) -> None:
        """Takes the lock on the file that is in the folder now.

        Whatever comes out instead (an interrupt, too), the lock is then not held.

        Raises:
            StoreBusyError: it was not free before the deadline.
            StoreClosedError: closed, also while waiting; or this is a forked child.
            PalaceMissingError: the folder is gone.
            StoreReadOnlyError: the file cannot be opened for writing.
            StoreDamagedError: something else than a file is in its place.
        """
        self._require_open()
        if self._ticket_held() is not None:
            raise RuntimeError("this thread holds the writer lock already")
        ticket = _Ticket()
        try:
            try:
                self._queue_up(ticket, deadline)
                self._lock_file(ticket, deadline)
                self._held = (threading.get_ident(), ticket)
            except BaseException:
                self._leave(ticket)
                raise
        except BaseException:
            # An interrupt may come in the middle of leaving, too; every step of it can be repeated.
            self._leave(ticket)
            raise

    def release(self) -> None:
        """Gives the lock back; nothing happens in a thread or a forked child that has it not."""
        ticket = self._ticket_held()
        if ticket is None:
            return
        try:
            self._leave(ticket)
        except BaseException:
            self._leave(ticket)
            raise

    def read_id(self) -> str:
        """What the lock file says, with or without holding the lock; empty when it is missing."""
        self._require_open()
        try:
            fd = os.open(self.path, os.O_RDONLY | _FLAGS)
        except FileNotFoundError:
            return ""
        except OSError as error:
            _raise_for(self.path, error)
        try:
            return os.read(fd, 4096).decode(errors="replace").strip()
        finally:
            os.close(fd)

    def write_id(self, palace_id: str) -> None:
        """Writes the palace's id into the lock file, durably; only the holder may."""
        self._require_open()
        if self._file is None or self._ticket_held() is None:
            raise RuntimeError("only the holder of the writer lock may write the palace's id")
        line = f"{palace_id}\n".encode()
        # In place: a renamed file would be another file, and others wait on this one.
        os.lseek(self._file.fd, 0, os.SEEK_SET)
        try:
            os.write(self._file.fd, line)
            os.truncate(self._file.fd, len(line))
            os.fsync(self._file.fd)
        except OSError as error:
            _raise_for(self.path, error)

    def close(self) -> None:
        """Ends all waiting with StoreClosedError; whoever holds the lock keeps it to `release`."""
        if self._pid != os.getpid():
            return
        with self._mutex:
            self._closed = True
            if self._file is not None:
                self._file.cancelled = True
            for ticket in self._queue:
                ticket.put(None)
            if not self._queue:
                self._retire_file()

    def _queue_up(self, ticket: _Ticket, deadline: Deadline) -> None:
        with self._mutex:
            self._queue.append(ticket)
        if not _wait(ticket, deadline, lambda: self._closed or self._queue[0] is ticket):
            self._give_up(deadline)

    def _lock_file(self, ticket: _Ticket, deadline: Deadline) -> None:
        # Looked at before, so as not to wait for somebody who holds a file that is gone; and
        # after, for it may have been replaced while we waited.
        try:
            while True:
                file = self._file_in_folder()
                if not file.take(ticket, deadline):
                    self._give_up(deadline)
                if file.is_at(self.path):
                    return
                if deadline.passed:
                    self._give_up(deadline)
        except OSError as error:
            _raise_for(self.path, error)

    def _file_in_folder(self) -> _LockFile:
        with self._mutex:
            self._require_open()
            if self._file is not None and not self._file.is_at(self.path):
                self._retire_file()
            if self._file is None:
                self._file = _LockFile(self.path)
            return self._file

    def _give_up(self, deadline: Deadline) -> NoReturn:
        self._require_open()
        raise StoreBusyError(deadline.waited())

    def _leave(self, ticket: _Ticket) -> None:
        with self._mutex:
            if self._queue and self._queue[0] is ticket:
                if self._file is not None:
                    self._file.drop()
                self._held = None
            if ticket in self._queue:
                self._queue.remove(ticket)
            if self._queue:
                self._queue[0].put(None)
            elif self._closed:
                self._retire_file()

    def _ticket_held(self) -> _Ticket | None:
        thread, ticket = self._held or (0, None)
        return ticket if thread == threading.get_ident() and self._pid == os.getpid() else None

    def _retire_file(self) -> None:
        if self._file is not None:
            self._file.retire()
            self._file = None

    def _require_open(self) -> None:
        if self._pid != os.getpid():
            # Asked before anything else: another thread of the parent may have held `_mutex` at
            # the fork, and nobody would ever release it here.
            raise StoreClosedError(
                f"{self.path.parent} was opened by the parent of this process; open it again here"
            )
        if self._closed:
            raise StoreClosedError(f"{self.path.parent} is closed; open it again")


class _LockFile:
    """One open file description of the lock file, and the thread that waits for it.

    One thread at a time uses it: the first in the queue of the `WriterLock`. While a request is
    pending in the kernel nobody else may try: both would share one description, and both would be
    told that they hold the lock. A waiter that comes later takes the pending request over; when
    nobody wants it any more, the helper unlocks as soon as it is granted.

    Attributes:
        fd: the open file; -1 when closed.
        cancelled: whoever waits is to give up.
    """

    def __init__(self, path: Path) -> None:
        self.cancelled = False
        self.fd = _open(path)
        # The helper's own number for the same description: `retire` closes `fd` while the helper
        # may still wait, and the next file opened in this process would get that number.
        self._helper_fd = os.dup(self.fd)
        self._mutex = threading.Lock()
        self._requests: SimpleQueue[bool] = SimpleQueue()
        self._pending = False
        self._waiter: _Ticket | None = None
        self._error: OSError | None = None
        self._helper = threading.Thread(
            target=self._serve, name="palatine-writer-lock", daemon=True
        )
        _close_in_children(self)

    def is_at(self, path: Path) -> bool:
        """Whether this is the file that the path names now."""
        try:
            there = path.lstat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        return os.path.samestat(os.fstat(self.fd), there)

    def take(self, ticket: _Ticket, deadline: Deadline) -> bool:
        """Takes the lock; False when it was cancelled or not free before the deadline."""
        with self._mutex:
            if not self._pending:
                if _try_lock(self.fd):
                    return True
                if deadline.passed:
                    return False
                if self._helper.ident is None:
                    self._helper.start()
                self._error = None
                self._pending = True
            self._waiter = ticket
            # Also when one is pending: once too often does no harm, and it mends a request that
            # an interrupt cut off just before this line.
            self._requests.put(True)
        granted = _wait(ticket, deadline, lambda: self.cancelled or not self._pending)
        if self._error is not None:
            raise self._error
        return granted and not self.cancelled

    def drop(self) -> None:
        """Stops holding the lock, and stops wanting it; again is no error."""
        with self._mutex:
            self._waiter = None
            if not self._pending and self.fd >= 0:
                _unlock(self.fd)

    def retire(self) -> None:
        """Drops the lock and closes; the helper ends by itself, even if it still waits."""
        self.drop()
        with self._mutex:
            self._close_fd()
            if self._helper.ident is None:
                self._close_helper_fd()
            self._requests.put(False)

    def close_all(self) -> None:
        """Closes without unlocking: in a forked child the lock is the parent's."""
        self._close_fd()
        self._close_helper_fd()

    def _serve(self) -> None:
        while self._requests.get():
            with self._mutex:
                if not self._pending:
                    continue
            failed: OSError | None = None
            try:
                _wait_for_lock(self._helper_fd)
            except OSError as error:
                failed = error
            with self._mutex:
                self._error = failed
                self._pending = False
                if self._waiter is not None:
                    self._waiter.put(None)
                elif failed is None:
                    _unlock(self._helper_fd)
        self._close_helper_fd()

    def _close_fd(self) -> None:
        fd, self.fd = self.fd, -1
        if fd >= 0:
            os.close(fd)

    def _close_helper_fd(self) -> None:
        fd, self._helper_fd = self._helper_fd, -1
        if fd >= 0:
            os.close(fd)


_FLAGS = sum(  # those that this system has
    getattr(os, name, 0)
    for name in ("O_CLOEXEC", "O_NOFOLLOW", "O_NONBLOCK", "O_NOINHERIT", "O_BINARY")
)


def _open(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o600)
    except OSError as error:
        _raise_for(path, error)
    try:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            raise StoreDamagedError(_not_a_file(path))
        if sys.platform != "win32" and status.st_uid == os.geteuid():
            os.fchmod(fd, 0o600)
    except BaseException:
        os.close(fd)
        raise
    return fd


def _raise_for(path: Path, error: OSError) -> NoReturn:
    match error.errno:
        case errno.ENOENT:
            message = f"{path.parent} is gone: there is no such folder; nothing was written"
            raise PalaceMissingError(message) from error
        case errno.EACCES | errno.EPERM | errno.EROFS:
            message = (
                f"{path} cannot be opened ({error.strerror}): make the folder"
                f" {path.parent} and the files in it writable for this user, or choose another"
                " folder; nothing was written"
            )
            raise StoreReadOnlyError(message) from error
        case errno.ENOSPC | errno.EDQUOT:
            message = f"no space left for {path}: free some; nothing was written"
            raise StoreFullError(message) from error
        case errno.EISDIR | errno.ENOTDIR | errno.ELOOP | errno.ENXIO:
            raise StoreDamagedError(_not_a_file(path)) from error
    message = f"{path} cannot be used as writer lock: {error.strerror or error}"
    raise StoreError(message) from error


def _not_a_file(path: Path) -> str:
    return (
        f"{path} must be a plain file in a folder, and is not (a folder, a link, a device, or"
        f" {path.parent} is no folder): move away what is there, or choose another folder"
    )


def _wait(ticket: _Ticket, deadline: Deadline, ready: Callable[[], bool]) -> bool:
    while not ready():
        try:
            ticket.get(timeout=min(deadline.remaining(), threading.TIMEOUT_MAX))
        except Empty:
            return ready()
    return True


def _close_in_children(file: _LockFile) -> None:
    # A child shares the open file description: as long as it has a number for it, the lock of a
    # killed parent stays taken (three seconds for a child that lived three seconds).
    if not hasattr(os, "register_at_fork"):
        return
    reference = weakref.ref(file)

    def forget() -> None:
        inherited = reference()
        if inherited is not None:
            inherited.close_all()

    os.register_at_fork(after_in_child=forget)
