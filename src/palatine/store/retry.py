"""A deadline, and the bounded retry for those who write without the writer lock.

Palatine's own writers queue on the writer lock and never meet each other inside SQLite. Another
program that has the database open takes no such lock; SQLite then answers busy or locked, and that
alone is worth another try.
"""

from __future__ import annotations

import functools
import itertools
import random
import re
import sys
import time
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import apsw

P = ParamSpec("P")
R = TypeVar("R")

_BUSY, _LOCKED = 5, 6
_WORDS = re.compile(r"(?<![a-z])(locked|busy)(?![a-z])", re.IGNORECASE)


class Deadline:
    """A point in time, so that everything one write waits for shares one limit."""

    __slots__ = ("_clock", "_end", "_start")

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        """The time starts now."""
        self._clock = clock
        self._start = clock()
        self._end = self._start + seconds

    def remaining(self) -> float:
        """Seconds that are left, never less than 0."""
        return max(0.0, self._end - self._clock())

    def waited(self) -> float:
        """Seconds since the deadline was set."""
        return self._clock() - self._start

    @property
    def passed(self) -> bool:
        """Whether no time is left."""
        return self.remaining() <= 0.0


def retry_when_busy(
    *,
    max_retries: int = 5,
    base_delay: float = 0.01,
    deadline: Deadline | None = None,
    sleep: Callable[[float], None] = time.sleep,
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Makes a decorator that calls again when SQLite was busy or locked, and only then.

    The function must be safe to call again from its beginning: one statement, not half a block.
    When the retries are used up, or the deadline has passed, the last error itself comes out.

    Args:
        max_retries: calls after the first one.
        base_delay: seconds; before retry n a random time up to base_delay * 2**n is waited, for
            writers that wait equally long would meet again.
        deadline: no wait goes beyond it.
        sleep: what waits.
    """

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        # Of a wrapper's attributes only two: a decorated statement is made for each transaction.
        @functools.wraps(function, assigned=("__name__", "__doc__"), updated=())
        def retrying(*args: P.args, **kwargs: P.kwargs) -> R:
            for attempt in itertools.count():
                try:
                    return function(*args, **kwargs)
                except _candidates() as error:
                    late = deadline is not None and deadline.passed
                    if late or attempt >= max_retries or not is_busy(error):
                        raise
                delay = random.uniform(0.0, base_delay * 2**attempt)
                sleep(delay if deadline is None else min(delay, deadline.remaining()))
            raise AssertionError("unreachable: the loop has no end")

        return retrying

    return decorate


def is_busy(error: BaseException) -> bool:
    """Whether SQLite said busy or locked: by its code, by its words only where there is none."""
    if not isinstance(error, _candidates()):
        return False
    if isinstance(error, apsw.Error):
        return True
    code = getattr(error, "sqlite_errorcode", None)
    if code is not None:
        return code & 0xFF in (_BUSY, _LOCKED)
    return _WORDS.search(str(error)) is not None


def _candidates() -> tuple[type[BaseException], ...]:
    # Looked up, never imported: the standard library's module brings a second SQLite into the
    # process. Who raises its errors has imported it.
    foreign = getattr(sys.modules.get("sqlite3"), "OperationalError", None)
    ours = (apsw.BusyError, apsw.LockedError)
    return ours if foreign is None else (*ours, foreign)
