import itertools
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from palatine.store.retry import Deadline, is_busy, retry_when_busy


class FakeTime:
    """A clock that only sleeping moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


class Failing:
    """A function that raises each of the errors in turn, then returns its argument."""

    def __init__(self, *errors: BaseException) -> None:
        self.calls = 0
        self.errors = iter(errors)

    def __call__(self, answer: str = "done", *, mark: str = "") -> str:
        self.calls += 1
        for error in self.errors:
            raise error
        return answer + mark


def with_code(code: int, words: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError(words)
    error.sqlite_errorcode = code
    return error


LOCKED = "database is locked"
BUSY_SNAPSHOT = sqlite3.SQLITE_BUSY | 2 << 8
LOCKED_SHAREDCACHE = sqlite3.SQLITE_LOCKED | 1 << 8


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError(LOCKED),
        sqlite3.OperationalError("database table is locked: fact"),
        sqlite3.OperationalError("SQLITE_BUSY"),
        with_code(sqlite3.SQLITE_BUSY, "words that say nothing"),
        with_code(BUSY_SNAPSHOT, "words that say nothing"),
        with_code(LOCKED_SHAREDCACHE, "words that say nothing"),
        apsw.BusyError("anything"),
        apsw.LockedError("anything"),
    ],
)
def test_busy_or_locked_once_means_two_calls(error: BaseException) -> None:
    function, time = Failing(error), FakeTime()
    assert retry_when_busy(sleep=time.sleep)(function)("answer", mark="!") == "answer!"
    assert function.calls == 2
    assert len(time.slept) == 1


@pytest.mark.parametrize(
    "error",
    [
        sqlite3.OperationalError("disk I/O error"),
        sqlite3.OperationalError("near 'blocked': syntax error"),
        with_code(sqlite3.SQLITE_IOERR, LOCKED),
        sqlite3.DatabaseError(LOCKED),
        apsw.IOError(LOCKED),
        apsw.ReadOnlyError("busy"),
        ValueError(LOCKED),
        KeyboardInterrupt(LOCKED),
    ],
)
def test_anything_else_comes_out_at_the_first_call(error: BaseException) -> None:
    function, time = Failing(error), FakeTime()
    with pytest.raises(type(error)) as caught:
        retry_when_busy(sleep=time.sleep)(function)()
    assert caught.value is error
    assert (function.calls, time.slept) == (1, [])


def test_an_error_of_another_kind_ends_the_retries() -> None:
    last = ValueError("other")
    function = Failing(sqlite3.OperationalError(LOCKED), last)
    with pytest.raises(ValueError, match="other"):
        retry_when_busy(sleep=FakeTime().sleep)(function)()
    assert function.calls == 2


@pytest.mark.parametrize("max_retries", [0, 1, 5])
def test_always_locked_brings_out_the_last_error_itself(max_retries: int) -> None:
    errors = [sqlite3.OperationalError(LOCKED) for _ in range(max_retries + 1)]
    function, time = Failing(*errors), FakeTime()
    with pytest.raises(sqlite3.OperationalError) as caught:
        retry_when_busy(max_retries=max_retries, sleep=time.sleep)(function)()
    assert caught.value is errors[-1]
    assert function.calls == max_retries + 1
    assert len(time.slept) == max_retries


def test_the_waits_are_random_and_their_bound_doubles(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []

    def largest(low: float, high: float) -> float:
        asked.append((low, high))
        return high

    monkeypatch.setattr("random.uniform", largest)
    time = FakeTime()
    function = Failing(*(apsw.BusyError() for _ in range(4)))
    retry_when_busy(base_delay=1.0, sleep=time.sleep)(function)()
    assert asked == [(0.0, 1.0), (0.0, 2.0), (0.0, 4.0), (0.0, 8.0)]
    assert time.slept == [1.0, 2.0, 4.0, 8.0]


def always_busy() -> Iterator[apsw.BusyError]:
    return (apsw.BusyError(str(number)) for number in itertools.count())


def test_no_wait_goes_beyond_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda low, high: high)
    time = FakeTime()
    deadline = Deadline(6.0, clock=time.clock)
    function = Failing(*itertools.islice(always_busy(), 10))
    with pytest.raises(apsw.BusyError, match="3"):
        retry_when_busy(base_delay=1.0, deadline=deadline, sleep=time.sleep)(function)()
    assert time.slept == [1.0, 2.0, 3.0]
    assert function.calls == 4


def test_a_deadline_that_has_passed_leaves_one_call() -> None:
    time = FakeTime()
    function = Failing(*itertools.islice(always_busy(), 10))
    with pytest.raises(apsw.BusyError, match="0"):
        retry_when_busy(deadline=Deadline(0.0, clock=time.clock), sleep=time.sleep)(function)()
    assert (function.calls, time.slept) == (1, [])


def test_a_deadline_counts_down_to_zero_and_not_below() -> None:
    time = FakeTime()
    deadline = Deadline(2.0, clock=time.clock)
    assert (deadline.remaining(), deadline.waited(), deadline.passed) == (2.0, 0.0, False)
    time.sleep(1.5)
    assert (deadline.remaining(), deadline.waited(), deadline.passed) == (0.5, 1.5, False)
    time.sleep(1.5)
    assert (deadline.remaining(), deadline.waited(), deadline.passed) == (0.0, 3.0, True)


def test_the_decorated_function_keeps_its_name() -> None:
    def begin() -> None:
        """Begins."""

    decorated: Callable[[], None] = retry_when_busy()(begin)
    assert (decorated.__name__, decorated.__doc__) == ("begin", "Begins.")


def test_what_a_real_database_says_is_recognised(tmp_path: Path) -> None:
    # Each library its own file: POSIX locks do not hold two libraries in one process apart.
    ours = [apsw.Connection(str(tmp_path / "ours.db")) for _ in range(2)]
    theirs = [sqlite3.connect(tmp_path / "theirs.db", timeout=0) for _ in range(2)]
    for holder, other in (ours, theirs):
        holder.execute("BEGIN EXCLUSIVE")
        with pytest.raises((apsw.BusyError, sqlite3.OperationalError)) as caught:
            other.execute("BEGIN IMMEDIATE")
        assert is_busy(caught.value)
        other.close()
        holder.close()


def test_the_standard_librarys_sqlite_is_not_loaded() -> None:
    program = (
        "import sys, palatine.store.retry as retry;"
        "assert not retry.is_busy(ValueError('locked'));"
        "assert 'sqlite3' not in sys.modules and '_sqlite3' not in sys.modules"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False, timeout=60).returncode == 0
