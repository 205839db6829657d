"""Which files a miner has begun, so that several on one tree share the work.

A claim is a lock on one byte of a file beside the logs, and the kernel frees it when the miner
ends, however that is. It only saves work: what is filed is decided under the writer lock.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

from palatine import config
from palatine.text import digest

try:
    import fcntl
except ImportError:  # Windows: nobody is kept apart
    fcntl = None  # type: ignore[assignment]

_WAIT_SECONDS, _POLL_SECONDS = 30.0, 0.02
"""So long others are waited for, all files together: one of them may be stopped."""
_OFFSET_BYTES = 7


class Claims:
    """The claims of one miner.

    A claim is by process: two miners in one process are not kept apart, nor are those of different
    users, nor any where the file cannot be made.
    """

    def __init__(self, work: str) -> None:
        """Takes what distinguishes these files from others of the same path."""
        self._work = work
        self._fd = -1
        self._patience = _WAIT_SECONDS
        self._open()

    def take(self, path: str) -> bool:
        """Takes a file; False when another miner has it."""
        if fcntl is None or self._fd < 0:
            return True
        offset = int.from_bytes(digest(f"{self._work}\0{path}".encode())[:_OFFSET_BYTES], "big")
        try:
            fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, offset)
        except (BlockingIOError, PermissionError):
            return False
        except OSError:  # a disk without such locks
            self.close()
        return True

    def wait(self, path: str) -> None:
        """Returns when the file is ours, or when others were waited for long enough."""
        while not self.take(path) and self._patience > 0:
            time.sleep(_POLL_SECONDS)
            self._patience -= _POLL_SECONDS

    def drop(self) -> None:
        """Gives all back, which others may then take."""
        if self._fd >= 0:
            self.close()
            self._open()

    def close(self) -> None:
        """Gives all back for good."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def _open(self) -> None:
        path = Path(config.state_folder()) / "mining.lock"
        with suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
