"""The writer lock between real threads and processes.

The other process is an `Agent`: it does one thing for each line that it is sent, and answers with
one line. So the tests know who holds the lock at each step, without waiting by the clock.
"""

import itertools
import os
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from palatine.errors import (
    PalaceMissingError,
    StoreBusyError,
    StoreClosedError,
    StoreDamagedError,
    StoreReadOnlyError,
)
from palatine.store import lock as lock_module
from palatine.store import retry as retry_module
from palatine.store.lock import WriterLock
from palatine.store.retry import Deadline

LONG, SHORT = 20.0, 0.02
LOCKS = Path("/proc/locks")
INTERRUPTED = {lock_module.__file__, retry_module.__file__}

AGENT = """
import os, random, signal, sys, threading
from pathlib import Path
from palatine.errors import StoreBusyError, StoreClosedError
from palatine.store.lock import WriterLock
from palatine.store.retry import Deadline

path = Path(sys.argv[1])
lock = WriterLock(path)

def say(text):
    os.write(1, f"{text}\\n".encode())

def increment(times, shortest, longest, done):
    for _ in range(times):
        try:
            lock.acquire(Deadline(random.uniform(shortest, longest)))
        except StoreBusyError:
            continue
        counter = path.with_name("counter")
        value = int(counter.read_text())
        counter.write_text(str(value + 1))
        lock.release()
        done.append(1)

def count(threads, times, shortest, longest):
    done = []
    arguments = (int(times), float(shortest), float(longest), done)
    crowd = [threading.Thread(target=increment, args=arguments) for _ in range(int(threads))]
    for each in crowd:
        each.start()
    for each in crowd:
        each.join()
    return len(done)

def in_child():
    signal.alarm(60)
    try:
        lock.acquire(Deadline(60))
    except StoreClosedError:
        lock.release()
        lock.close()
        return 0
    return 1

def fork(lives_until_eof_of):
    if not os.fork():
        say(f"child {in_child()}")
        os.read(int(lives_until_eof_of), 1)
        say("child ends")
        os._exit(0)

def fork_often(times):
    stop = threading.Event()
    def use():
        while not stop.is_set():
            lock.acquire(Deadline(60))
            lock.release()
    crowd = [threading.Thread(target=use) for _ in range(4)]
    for each in crowd:
        each.start()
    codes = set()
    for _ in range(int(times)):
        pid = os.fork() or os._exit(in_child())
        codes.add(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
    stop.set()
    for each in crowd:
        each.join()
    return codes

verbs = {
    "acquire": lambda seconds: lock.acquire(Deadline(float(seconds))),
    "release": lock.release,
    "count": count,
    "fork": fork,
    "fork_often": fork_often,
    "become": lambda uid: os.setuid(int(uid)),
}
say("ready")
for line in iter(sys.stdin.readline, ""):
    verb, *arguments = line.split()
    try:
        answer = verbs[verb](*arguments)
    except BaseException as error:
        answer = type(error).__name__
    say("ok" if answer is None else answer)
"""


class Agent:
    """Another process with a writer lock, which does what it is told."""

    def __init__(self, path: Path, *, inherits: tuple[int, ...] = ()) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", AGENT, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            pass_fds=inherits,
        )
        assert self.hear() == "ready"

    def tell(self, order: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{order}\n")
        self.process.stdin.flush()

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def does(self, order: str) -> str:
        self.tell(order)
        return self.hear()

    def signal(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait(60) == -signal.SIGKILL

    def end(self) -> None:
        """Lets it end by itself and asserts that it could."""
        if self.process.returncode is None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            assert self.process.wait(60) == 0
        for stream in (self.process.stdin, self.process.stdout):
            assert stream is not None
            stream.close()


@pytest.fixture(autouse=True)
def no_helper_stays() -> Iterator[None]:
    yield
    for helper in helpers():
        helper.join(LONG)
        assert not helper.is_alive()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "palace.lock"


@pytest.fixture
def agent(path: Path) -> Iterator[Callable[..., Agent]]:
    agents: list[Agent] = []

    def start(**options: Any) -> Agent:
        agents.append(Agent(path, **options))
        return agents[-1]

    try:
        yield start
        for each in agents:
            each.end()
    finally:
        for each in agents:
            each.process.kill()
            each.process.wait(60)
            each.process.__exit__(None, None, None)


@pytest.fixture
def lock(path: Path) -> Iterator[WriterLock]:
    lock = WriterLock(path)
    yield lock
    lock.release()
    lock.close()


@pytest.fixture
def beside() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor() as pool:
        yield pool


def until(condition: Callable[[], bool]) -> None:
    """Waits for something that another process or the kernel does, 60 s at most."""
    deadline, tick = Deadline(60), threading.Event()
    while not condition():
        assert not deadline.passed, "it never happened"
        tick.wait(0.002)


def waiting(inode: int) -> int:
    """How many wait in the kernel for the lock on this file."""
    lines = LOCKS.read_text().splitlines()
    return sum("->" in line and f":{inode} " in line for line in lines)


def helpers() -> list[threading.Thread]:
    return [each for each in threading.enumerate() if each.name == "palatine-writer-lock"]


def open_files(path: Path) -> int:
    return sum(
        os.path.realpath(each).removesuffix(" (deleted)") == str(path)
        for each in Path("/proc/self/fd").iterdir()
    )


def hold(lock: WriterLock) -> None:
    lock.acquire(Deadline(3 * LONG))
    lock.release()


def hold_and_check(lock: WriterLock, other: Agent) -> None:
    """Takes the lock, sees that nobody else can have it, and that others can afterwards."""
    lock.acquire(Deadline(LONG))
    assert other.does("acquire 0") == "StoreBusyError"
    lock.release()
    assert other.does(f"acquire {LONG}") == "ok"
    assert other.does("release") == "ok"


# Excluding each other


@pytest.mark.parametrize(
    ("times", "shortest", "longest"),
    [pytest.param(25, 60, 60, id="patient"), pytest.param(150, 0, 0.01, id="impatient")],
)
def test_what_is_done_under_the_lock_is_never_lost(
    path: Path, agent: Callable[..., Agent], times: int, shortest: float, longest: float
) -> None:
    path.with_name("counter").write_text("0")
    agents = [agent() for _ in range(6)]
    for each in agents:
        each.tell(f"count 3 {times} {shortest} {longest}")
    acknowledged = [int(each.hear()) for each in agents]
    assert path.with_name("counter").read_text() == str(sum(acknowledged))
    if shortest:
        assert acknowledged == [3 * times] * len(agents)


def test_a_free_lock_is_had_without_any_time(lock: WriterLock, agent: Callable[..., Agent]) -> None:
    other = agent()
    for _ in range(3):
        lock.acquire(Deadline(0))
        lock.release()
    lock.acquire(Deadline(0))
    assert other.does("acquire 0") == "StoreBusyError"
    lock.release()
    assert other.does("acquire 0") == "ok"
    with pytest.raises(StoreBusyError):
        lock.acquire(Deadline(0))
    assert not helpers()  # nobody waits for nothing


def test_a_thread_that_holds_it_is_told_so(lock: WriterLock) -> None:
    lock.acquire(Deadline(0))
    with pytest.raises(RuntimeError, match="already"):
        lock.acquire(Deadline(LONG))
    lock.release()
    lock.acquire(Deadline(0))


def test_only_the_thread_that_holds_it_can_release_it(
    lock: WriterLock, beside: ThreadPoolExecutor, agent: Callable[..., Agent]
) -> None:
    other = agent()
    lock.acquire(Deadline(0))
    beside.submit(lock.release).result(LONG)
    assert other.does("acquire 0") == "StoreBusyError"
    with pytest.raises(StoreBusyError):
        beside.submit(lock.acquire, Deadline(SHORT)).result(LONG)
    assert other.does("acquire 0") == "StoreBusyError"
    lock.release()
    lock.release()
    assert other.does("acquire 0") == "ok"


def test_a_thread_gets_it_from_the_thread_before(
    lock: WriterLock, beside: ThreadPoolExecutor
) -> None:
    lock.acquire(Deadline(0))
    threads = [beside.submit(hold, lock) for _ in range(4)]
    lock.release()
    for each in threads:
        each.result(LONG)


# Death and stopping


def test_a_killed_holder_frees_it_at_once(lock: WriterLock, agent: Callable[..., Agent]) -> None:
    holder = agent()
    assert holder.does("acquire 0") == "ok"
    holder.kill()
    lock.acquire(Deadline(0))


def test_a_waiter_gets_it_from_a_killed_holder(path: Path, agent: Callable[..., Agent]) -> None:
    holder, waiter = agent(), agent()
    assert holder.does("acquire 0") == "ok"
    waiter.tell(f"acquire {LONG}")
    until(lambda: waiting(path.stat().st_ino) == 1)
    holder.kill()
    assert waiter.hear() == "ok"


def test_a_killed_holders_child_does_not_keep_it(
    path: Path, lock: WriterLock, agent: Callable[..., Agent]
) -> None:
    life, end_of_life = os.pipe()
    holder = agent(inherits=(life,))
    os.close(life)
    lock.acquire(Deadline(0))
    holder.tell(f"acquire {LONG}")  # through its helper, which has a number of its own
    until(lambda: waiting(path.stat().st_ino) == 1)
    lock.release()
    assert holder.hear() == "ok"
    assert sorted((holder.does(f"fork {life}"), holder.hear())) == ["child 0", "ok"]
    with pytest.raises(StoreBusyError):  # what the child did has not unlocked it
        lock.acquire(Deadline(SHORT))
    holder.kill()
    lock.acquire(Deadline(LONG))  # the child lives
    os.close(end_of_life)
    assert holder.hear() == "child ends"


def test_a_child_forked_in_the_middle_of_things_is_told_and_never_waits(
    agent: Callable[..., Agent],
) -> None:
    assert agent().does("fork_often 40") == "{0}"


def test_a_stopped_holder_makes_others_fail_and_go_on_afterwards(
    lock: WriterLock, agent: Callable[..., Agent]
) -> None:
    holder = agent()
    assert holder.does("acquire 0") == "ok"
    holder.signal(signal.SIGSTOP)
    assert os.WIFSTOPPED(os.waitpid(holder.process.pid, os.WUNTRACED)[1])
    with pytest.raises(StoreBusyError) as caught:
        lock.acquire(Deadline(SHORT))
    assert caught.value.waited_seconds >= SHORT
    holder.signal(signal.SIGCONT)
    assert holder.does("release") == "ok"
    lock.acquire(Deadline(LONG))


# Giving up


def test_a_waiter_that_gives_up_leaves_nothing(
    path: Path, lock: WriterLock, agent: Callable[..., Agent]
) -> None:
    holder, other = agent(), agent()
    assert holder.does("acquire 0") == "ok"
    with pytest.raises(StoreBusyError):
        lock.acquire(Deadline(SHORT))
    until(lambda: waiting(path.stat().st_ino) == 1)
    assert holder.does("release") == "ok"
    until(lambda: waiting(path.stat().st_ino) == 0)
    assert other.does(f"acquire {LONG}") == "ok"
    assert other.does("release") == "ok"
    hold_and_check(lock, other)
    assert len(helpers()) == 1


def test_a_later_waiter_takes_over_what_another_gave_up(
    path: Path, lock: WriterLock, beside: ThreadPoolExecutor, agent: Callable[..., Agent]
) -> None:
    holder, other = agent(), agent()
    assert holder.does("acquire 0") == "ok"
    for _ in range(3):
        with pytest.raises(StoreBusyError):
            lock.acquire(Deadline(SHORT))
    later = beside.submit(hold_and_check, lock, other)
    until(lambda: waiting(path.stat().st_ino) == 1)
    assert holder.does("release") == "ok"
    later.result(LONG)
    hold_and_check(lock, other)
    assert len(helpers()) == 1


def test_what_another_gave_up_is_not_granted_twice(path: Path, lock: WriterLock) -> None:
    other = WriterLock(path)
    for _ in range(50):
        for one, two in ((lock, other), (other, lock)):
            one.acquire(Deadline(LONG))
            with pytest.raises(StoreBusyError):
                two.acquire(Deadline(SHORT / 10))
            one.release()
    other.close()


def test_an_interrupt_ends_the_waiting(path: Path, agent: Callable[..., Agent]) -> None:
    holder, waiter, other = agent(), agent(), agent()
    assert holder.does("acquire 0") == "ok"
    waiter.tell(f"acquire {LONG}")
    until(lambda: waiting(path.stat().st_ino) == 1)
    waiter.signal(signal.SIGINT)
    assert waiter.hear() == "KeyboardInterrupt"
    assert holder.does("release") == "ok"
    for each in (other, waiter, holder):
        assert each.does(f"acquire {LONG}") == "ok"
        assert each.does("release") == "ok"


class Interrupt:
    """Raises KeyboardInterrupt at the n-th point where a signal could.

    The interpreter looks for signals when a function begins and when a call to C has returned.
    """

    def __init__(self, point: int) -> None:
        self.points_left = point

    def __enter__(self) -> None:
        sys.setprofile(self.profile)

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    def profile(self, frame: FrameType, event: str, _: object) -> None:
        if frame.f_code.co_filename in INTERRUPTED and event in ("call", "c_return"):
            self.points_left -= 1
            if self.points_left == 0:
                raise KeyboardInterrupt


def interrupted_everywhere(
    action: Callable[[], None], *, after: Callable[[], None] = lambda: None
) -> int:
    """Runs `action` again and again, interrupted one point later each time, to its end."""
    for point in itertools.count(1):
        try:
            with Interrupt(point):
                action()
        except KeyboardInterrupt:
            after()
        else:
            return point
    raise AssertionError


def others_can_have_it(lock: WriterLock) -> None:
    other = WriterLock(lock.path)
    for each in (other, lock, other):
        each.acquire(Deadline(LONG))
        each.release()
    other.close()


def test_an_interrupt_anywhere_in_acquire_leaves_it_free(lock: WriterLock) -> None:
    points = interrupted_everywhere(
        lambda: lock.acquire(Deadline(LONG)), after=lambda: others_can_have_it(lock)
    )
    assert points > 20
    lock.release()
    others_can_have_it(lock)


def test_an_interrupt_anywhere_in_a_vain_wait_leaves_it_free(path: Path) -> None:
    def wait_in_vain() -> None:
        with pytest.raises(StoreBusyError):
            locks[-1].acquire(Deadline(SHORT))

    def change_locks() -> None:
        locks[0].release()
        others_can_have_it(locks[-1])
        for each in locks:
            each.close()
        locks[:] = [WriterLock(path), WriterLock(path)]
        locks[0].acquire(Deadline(LONG))

    locks = [WriterLock(path)]
    change_locks()
    assert interrupted_everywhere(wait_in_vain, after=change_locks) > 40
    change_locks()
    for each in locks:
        each.release()
        each.close()


def test_an_interrupt_anywhere_in_release_lets_it_be_released(
    lock: WriterLock, beside: ThreadPoolExecutor
) -> None:
    threads: list[Future[None]] = []

    def take_and_release() -> None:
        profiling, _ = sys.getprofile(), sys.setprofile(None)
        lock.acquire(Deadline(LONG))
        threads.append(beside.submit(hold, lock))
        until(lambda: len(lock._queue) == 2)
        sys.setprofile(profiling)
        lock.release()

    def after() -> None:
        lock.release()
        threads.pop().result(LONG)
        others_can_have_it(lock)

    assert interrupted_everywhere(take_and_release, after=after) > 10


# Closing


def test_closing_ends_all_waiting(
    path: Path, lock: WriterLock, beside: ThreadPoolExecutor, agent: Callable[..., Agent]
) -> None:
    holder, other = agent(), agent()
    assert holder.does("acquire 0") == "ok"
    waiters: list[Future[None]] = []
    for _ in range(3):
        waiters.append(beside.submit(lock.acquire, Deadline(3 * LONG)))
        until(lambda: waiting(path.stat().st_ino) == 1)
    lock.close()
    lock.close()
    for each in waiters:
        with pytest.raises(StoreClosedError):
            each.result(LONG)
    with pytest.raises(StoreClosedError):
        lock.acquire(Deadline(LONG))
    assert holder.does("release") == "ok"
    assert other.does(f"acquire {LONG}") == "ok"
    assert other.does("release") == "ok"
    for helper in helpers():
        helper.join(LONG)
    assert not helpers()
    assert open_files(path) == 0


def test_closing_takes_it_from_nobody(
    path: Path, lock: WriterLock, beside: ThreadPoolExecutor, agent: Callable[..., Agent]
) -> None:
    other = agent()
    lock.acquire(Deadline(0))
    beside.submit(lock.close).result(LONG)
    assert other.does("acquire 0") == "StoreBusyError"
    lock.release()
    assert other.does("acquire 0") == "ok"
    assert open_files(path) == 0


def test_closing_an_unused_lock_makes_no_file(path: Path) -> None:
    WriterLock(path).close()
    assert not path.exists()


# The file in the folder


def test_a_file_replaced_while_it_is_held_is_noticed_at_the_next_turn(
    path: Path, lock: WriterLock, agent: Callable[..., Agent]
) -> None:
    other = agent()
    lock.acquire(Deadline(0))
    path.unlink()
    assert other.does("acquire 0") == "ok"
    lock.release()
    with pytest.raises(StoreBusyError):
        lock.acquire(Deadline(SHORT))
    assert other.does("release") == "ok"
    hold_and_check(lock, other)


def test_a_file_replaced_while_waiting_is_noticed_when_the_old_one_is_had(
    path: Path, lock: WriterLock, beside: ThreadPoolExecutor, agent: Callable[..., Agent]
) -> None:
    old_holder, new_holder = agent(), agent()
    assert old_holder.does("acquire 0") == "ok"
    waiter = beside.submit(hold, lock)
    until(lambda: waiting(path.stat().st_ino) == 1)
    path.unlink()
    assert new_holder.does("acquire 0") == "ok"
    assert old_holder.does("release") == "ok"
    until(lambda: waiting(path.stat().st_ino) == 1)
    assert not waiter.done()
    assert new_holder.does("release") == "ok"
    waiter.result(LONG)
    hold_and_check(lock, old_holder)


def test_nobody_waits_for_a_file_that_is_gone(
    path: Path, lock: WriterLock, agent: Callable[..., Agent]
) -> None:
    holder, other = agent(), agent()
    assert holder.does("acquire 0") == "ok"
    with pytest.raises(StoreBusyError):
        lock.acquire(Deadline(SHORT))
    path.unlink()
    hold_and_check(lock, other)
    old, *others = helpers()
    assert not others
    assert holder.does("release") == "ok"
    old.join(LONG)
    assert not old.is_alive()
    hold_and_check(lock, other)


def test_a_folder_that_is_gone_is_said_to_be(path: Path) -> None:
    folder = path.parent / "folder"
    folder.mkdir()
    lock = WriterLock(folder / path.name)
    lock.acquire(Deadline(0))
    lock.release()
    (folder / path.name).unlink()
    folder.rmdir()
    with pytest.raises(PalaceMissingError, match=str(folder)):
        lock.acquire(Deadline(LONG))
    assert not folder.exists()
    folder.mkdir()
    lock.acquire(Deadline(0))
    lock.release()
    lock.close()


def test_the_file_is_private_whatever_the_umask(path: Path, lock: WriterLock) -> None:
    before = os.umask(0)
    try:
        lock.acquire(Deadline(0))
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o666)
    fresh = WriterLock(path)
    with pytest.raises(StoreBusyError):
        fresh.acquire(Deadline(0))
    fresh.close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def make_link(path: Path) -> None:
    path.symlink_to(path.parent / "elsewhere")


def make_parent_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.touch()


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo, make_link, make_parent_a_file])
def test_what_is_no_file_is_refused_and_left_alone(
    tmp_path: Path, make: Callable[[Path], None]
) -> None:
    path = tmp_path / "folder" / "palace.lock"
    path.parent.mkdir()
    make(path)
    lock = WriterLock(path)
    for _ in range(2):
        with pytest.raises(StoreDamagedError, match=str(path)):
            lock.acquire(Deadline(LONG))
    assert not (path.parent / "elsewhere").exists()
    lock.close()


def test_a_folder_that_cannot_be_written_is_said_to_be() -> None:
    with tempfile.TemporaryDirectory() as name:  # the test's own folder is closed to other users
        folder = Path(name)
        folder.chmod(0o555)
        other = Agent(folder / "palace.lock")
        if os.geteuid() == 0:
            assert other.does("become 65534") == "ok"
        assert other.does(f"acquire {LONG}") == StoreReadOnlyError.__name__
        other.end()


# The palace's id


def test_the_id_is_written_by_the_holder_and_read_by_all(path: Path, lock: WriterLock) -> None:
    reader = WriterLock(path)
    assert reader.read_id() == ""
    assert not path.exists()
    lock.acquire(Deadline(0))
    assert reader.read_id() == ""
    lock.write_id("a-long-identity")
    lock.write_id("short")
    assert (lock.read_id(), reader.read_id()) == ("short", "short")
    assert path.read_bytes() == b"short\n"
    lock.release()
    assert reader.read_id() == "short"
    with pytest.raises(RuntimeError, match="holder"):
        lock.write_id("other")
    lock.acquire(Deadline(0))
    assert lock.read_id() == "short"
    reader.close()
    with pytest.raises(StoreClosedError):
        reader.read_id()
