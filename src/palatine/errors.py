"""What can go wrong, as one tree. Catch `PalatineError` to catch all of it.

PalatineError
├── InputError (ValueError)        what was given cannot be used; nothing was written
│   └── ScopeError                 it is outside the wing that the palace is limited to
├── NotFoundError (LookupError)    what was named does not exist; nothing was written
├── ConflictError                  another write stands against this one; nothing was written
└── StoreError                     the palace itself
    ├── StoreBusyError             no writer lock before the deadline; nothing was written
    ├── StoreFullError             the disk is full; nothing was written
    ├── StoreClosedError           used after close, or in a forked child
    ├── StoreReadOnlyError         the folder or the file cannot be written
    ├── StoreDamagedError          the file is damaged, or is no palace
    ├── SchemaNewerError           written by a newer Palatine
    ├── LibraryTooOldError         the SQLite library has the WAL-reset bug
    ├── LocationError              a network or cloud-synced folder
    ├── PalaceMissingError         there was a palace here and its database is gone
    ├── PalaceReplacedError        another palace lies where ours was
    └── ForgetIncompleteError      removed, but bytes are still in the files
"""

from __future__ import annotations


class PalatineError(Exception):
    """Base of every error that Palatine raises on purpose."""


class InputError(PalatineError, ValueError):
    """A value that was given cannot be used. Nothing was written."""


class ScopeError(InputError):
    """It is outside the wing that this palace is limited to. Nothing was written."""


class NotFoundError(PalatineError, LookupError):
    """What was named does not exist. Nothing was written.

    Attributes:
        candidates: names or ids that are near what was asked for, best first; may be empty.
    """

    def __init__(self, message: str, *, candidates: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.candidates = candidates


class ConflictError(PalatineError):
    """What the store holds now stands against the request. Nothing was written.

    Attributes:
        standing: descriptions of what stands against it, newest first.
    """

    def __init__(self, message: str, *, standing: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.standing = standing


class StoreError(PalatineError):
    """The palace could not be used."""


class StoreBusyError(StoreError):
    """The writer lock, or SQLite's own lock, was not free before the deadline. Nothing was written.

    Attributes:
        waited_seconds: how long was waited.
    """

    def __init__(self, waited_seconds: float) -> None:
        super().__init__(
            f"the palace is busy: no writer lock after {waited_seconds:.1f} s,"
            " nothing was written; try again"
        )
        self.waited_seconds = waited_seconds


class StoreFullError(StoreError):
    """The disk is full. Nothing was written."""


class StoreClosedError(StoreError):
    """The palace was closed, or was opened by the parent of this forked process."""


class StoreReadOnlyError(StoreError):
    """The palace cannot be written by this user, or cannot be read without writing."""


class StoreDamagedError(StoreError):
    """The database is damaged, or is a file of another kind."""


class SchemaNewerError(StoreError):
    """The palace was written by a newer Palatine than this one."""


class LibraryTooOldError(StoreError):
    """The SQLite library can corrupt a palace that several processes write (WAL-reset bug)."""


class LocationError(StoreError):
    """A palace cannot live in a network or cloud-synced folder."""


class PalaceMissingError(StoreError):
    """There was a palace in this folder, and its database is gone."""


class PalaceReplacedError(StoreError):
    """Another palace lies where the opened one was; `reconnect` accepts it."""


class ForgetIncompleteError(StoreError):
    """The rows are gone, but bytes of the text are still found in the palace's files."""
