"""Errors: one tree, every foreign exception mapped, and which SQLite is refused."""

import errno
import inspect
from pathlib import Path

import apsw
import pytest

from palatine import errors
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
from palatine.store.connections import (
    ERRORS,
    library_is_safe,
    mapped,
    require_safe_library,
    unusable,
)
from palatine.store.sqlite import SqliteStore

FOREIGN = sorted(
    (
        each
        for each in vars(apsw).values()
        if inspect.isclass(each) and issubclass(each, apsw.Error)
    ),
    key=lambda each: each.__name__,
)
SPECIAL = {
    "BusyError": StoreBusyError,
    "LockedError": StoreBusyError,
    "FullError": StoreFullError,
    "ReadOnlyError": StoreReadOnlyError,
    "NotADBError": StoreDamagedError,
    "CorruptError": StoreDamagedError,
    "InterruptError": StoreClosedError,
    "ConnectionClosedError": StoreClosedError,
}
# Each was looked at: it is an error of the program, of the disk, or cannot happen here. A new
# class of apsw must be looked at, too, and be added here or to ERRORS.
GENERAL = {
    "AbortError",
    "AuthError",
    "BindingsError",
    "CantOpenError",
    "ConnectionNotClosedError",
    "ConstraintError",
    "CursorClosedError",
    "EmptyError",
    "Error",
    "ExecTraceAbort",
    "ExecutionCompleteError",
    "ExtensionLoadingError",
    "ForkingViolationError",
    "FormatError",
    "IOError",
    "IncompleteExecutionError",
    "InternalError",
    "InvalidContextError",
    "MismatchError",
    "MisuseError",
    "NoFTS5Error",
    "NoLFSError",
    "NoMemError",
    "NotFoundError",
    "PermissionsError",
    "ProtocolError",
    "RangeError",
    "SQLError",
    "SchemaChangeError",
    "ThreadingViolationError",
    "TooBigError",
    "VFSFileClosedError",
    "VFSNotImplementedError",
}


@pytest.mark.parametrize("foreign", FOREIGN, ids=lambda each: each.__name__)
def test_every_exception_of_apsw_becomes_an_error_of_ours_that_names_the_palace(
    foreign: type[apsw.Error],
) -> None:
    with pytest.raises(StoreError) as caught, mapped("/some/palace", lambda: 1.5):
        raise foreign("what SQLite said")
    error = caught.value
    assert type(error) is SPECIAL.get(foreign.__name__, StoreError)
    assert isinstance(error.__cause__, foreign)
    if isinstance(error, StoreBusyError):
        assert error.waited_seconds == 1.5
    else:
        assert "/some/palace" in str(error)
        assert "what SQLite said" in str(error)


def test_a_new_exception_of_apsw_must_be_looked_at() -> None:
    assert {each.__name__ for each in FOREIGN} == GENERAL | SPECIAL.keys()


def test_no_row_of_the_table_hides_a_later_one() -> None:
    for number, (foreign, _, _) in enumerate(ERRORS):
        assert not any(issubclass(foreign, above) for above, _, _ in ERRORS[:number])


def test_other_exceptions_pass_unchanged() -> None:
    for error in (ValueError("x"), KeyboardInterrupt(), PalatineError("x")):
        with pytest.raises(type(error)) as caught, mapped("/some/palace"):
            raise error
        assert caught.value is error


def test_all_errors_stand_under_one_and_in_the_tree_at_the_head_of_the_module() -> None:
    for name, each in vars(errors).items():
        if inspect.isclass(each):
            assert issubclass(each, PalatineError)
            assert name in (errors.__doc__ or "")


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EACCES, StoreReadOnlyError),
        (errno.EPERM, StoreReadOnlyError),
        (errno.EROFS, StoreReadOnlyError),
        (errno.ENOSPC, StoreFullError),
        (errno.EDQUOT, StoreFullError),
        (errno.ENOENT, PalaceMissingError),
        (errno.EIO, StoreError),
    ],
)
def test_what_the_system_refuses_becomes_an_error_that_names_folder_and_reason(
    number: int, error: type[StoreError]
) -> None:
    made = unusable(Path("/some/palace"), OSError(number, "the reason"))
    assert type(made) is error
    assert "/some/palace" in str(made)
    assert "the reason" in str(made)


@pytest.mark.parametrize(
    ("version", "safe"),
    [
        (3_054_001, True),
        (3_051_003, True),
        (3_051_002, False),
        (3_051_000, False),
        (3_050_007, True),
        (3_050_006, False),
        (3_045_000, False),
        (3_044_006, True),
        (3_044_005, False),
        (3_040_001, False),
    ],
)
def test_which_versions_of_sqlite_are_free_of_the_wal_reset_bug(version: int, safe: bool) -> None:
    assert library_is_safe(version) is safe


def test_a_sqlite_that_can_damage_a_palace_is_refused_before_anything_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    require_safe_library()
    monkeypatch.setattr(apsw, "sqlite_lib_version", lambda: "3.51.2")
    with pytest.raises(LibraryTooOldError, match=r"SQLite 3\.51\.2 .* install a newer apsw"):
        SqliteStore(tmp_path / "palace")
    assert list(tmp_path.iterdir()) == []
