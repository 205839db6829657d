"""A power cut cannot be had in a test; that each write is synced before it is acknowledged can."""

import errno
import fcntl
import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palatine import Palace
from palatine.errors import StoreError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="syncs are seen in os.fdatasync")

WRITES: dict[str, Callable[[Palace], object]] = {
    "a drawer": lambda palace: palace.add("text"),
    "a fact": lambda palace: palace.knowledge.add("Max", "works_at", "Acme"),
    "an undo": lambda palace: palace.undo(1),
    "the same drawer again": lambda palace: palace.add("first"),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_a_write_returns_after_the_log_is_synced_and_without_the_writer_lock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Callable[[Palace], object]
) -> None:
    folder = tmp_path / "palace"
    synced: list[tuple[int, int, bool]] = []

    def watched(descriptor: int) -> None:
        lock = os.open(folder / "palace.lock", os.O_RDWR)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            free = True
        except BlockingIOError:
            free = False
        finally:
            os.close(lock)
        status = os.fstat(descriptor)
        synced.append((status.st_ino, status.st_size, free))

    with Palace.open(folder) as palace:
        palace.add("first")
        monkeypatch.setattr(os, "fdatasync", watched)
        write(palace)
        log = (folder / "palace.db-wal").stat()
        assert synced == [(log.st_ino, log.st_size, True)]


def test_what_the_disk_does_not_confirm_is_not_acknowledged_and_the_next_write_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    with Palace.open(tmp_path / "palace") as palace:
        with monkeypatch.context() as patched:
            patched.setattr(os, "fdatasync", refuse)
            with pytest.raises(StoreError, match="did not confirm"):
                palace.add("perhaps kept")
        assert palace.add("kept").created
        assert palace.check() == []
