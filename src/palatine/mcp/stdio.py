"""The server process: JSON-RPC lines on standard input and output.

Three kinds of threads. The main thread only reads, so that it hears at once that the input ended,
a signal came, the output broke or the parent died. Daemon threads, started on demand up to a
limit, run the calls. One daemon thread writes, so that a client that does not read its replies
holds up nothing but them.

The process ends for these reasons only, and from any state: the palace's `shutdown` gets a moment,
then `os._exit(0)` ends every thread where it stands. What was acknowledged is committed.
"""

from __future__ import annotations

import os
import select
import signal
import sys
from collections import deque
from threading import Condition, Lock, Thread
from time import monotonic

from palatine.mcp.wire import Job, Lines, Wire

if sys.platform == "win32":
    import msvcrt

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from types import FrameType
    from typing import Any, Never

    from palatine.mcp.registry import Registry
    from palatine.mcp.wire import Overlong
    from palatine.palace import Palace

_WORKERS = 64
_CHUNK_BYTES = 65_536
_DRAIN_SECONDS = 0.03
_SHUTDOWN_SECONDS = 0.06
_ORPHAN_MILLISECONDS = 500


def serve(
    registry: Registry, *, open_palace: Callable[[], Palace], environment: Mapping[str, str]
) -> Never:
    """Serves the registry on standard input and output until the process ends. Never returns.

    Call it in the main thread. From then on file descriptor 1 points to standard error and 0 to
    the null device, so that neither a stray print nor a child process can reach the wire.
    """
    _Server(registry, open_palace, environment).run()


class _Server:
    def __init__(
        self, registry: Registry, open_palace: Callable[[], Palace], environment: Mapping[str, str]
    ) -> None:
        self._input, self._output = _taken_over()
        self._ending = Lock()
        self._palace = _Lazy(open_palace)
        self._replies = _Threads(self._write, limit=1)
        self._replies.start()  # now, while there is a thread to be had
        self._jobs = _Threads(self._work, limit=_WORKERS)
        self._wire = Wire(
            registry,
            palace=self._palace.get,
            send=self._replies.put,
            log=_log,
            environment=environment,
        )

    def run(self) -> Never:
        asked = False
        try:
            # Without poll (Windows) only the end of the input and Ctrl-C are heard.
            events = _Events(self._input, self._output) if hasattr(select, "poll") else None
            lines = Lines()
            while events is None or events.input_ready():
                data = self._read()
                if data == b"":
                    asked = True
                    break
                for line in lines.feed(data or b""):
                    self._take(line)
        except KeyboardInterrupt:
            pass
        self._drain(calls=asked)
        self._end()

    def _read(self) -> bytes | None:
        try:
            return os.read(self._input, _CHUNK_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            return b""

    def _take(self, line: bytes | Overlong) -> None:
        outcome = self._wire.receive(line)
        if isinstance(outcome, Job):
            try:
                self._jobs.put(outcome)
            except RuntimeError as no_thread:
                outcome = self._wire.fail(outcome, no_thread)
        if isinstance(outcome, bytes):
            self._replies.put(outcome)

    def _work(self, job: Job) -> None:
        reply = self._wire.run(job)
        if reply is not None:
            self._replies.put(reply)

    def _write(self, message: bytes) -> None:
        rest = memoryview(message)
        try:
            while rest:
                try:
                    rest = rest[os.write(self._output, rest) :]
                except BlockingIOError:
                    select.select([], [self._output], [])
        except OSError:
            self._end()

    def _drain(self, *, calls: bool) -> None:
        """Says goodbye to who listens, and sends what is ready, as far as a moment suffices.

        Calls get that moment at the end of the input: somebody may have piped a few lines to us.
        """
        deadline = monotonic() + _DRAIN_SECONDS
        if calls:
            self._jobs.settled(deadline)
        for reply in self._wire.farewell():
            self._replies.put(reply)
        self._replies.settled(deadline)

    def _end(self) -> Never:
        self._ending.acquire()  # a second thread that comes here waits for its end
        try:
            palace = self._palace.opened
            if palace is not None:
                closing = Thread(target=palace.shutdown, daemon=True)
                closing.start()
                closing.join(_SHUTDOWN_SECONDS)
        finally:
            os._exit(0)


class _Events:
    """Waits for input, and for all that ends the process."""

    def __init__(self, reading: int, writing: int) -> None:
        self._poll = select.poll()
        self._input = reading
        self._poll.register(reading, select.POLLIN)
        self._poll.register(writing, 0)  # heard all the same: that nobody reads any more
        self._woken, waker = os.pipe()
        self._poll.register(self._woken, select.POLLIN)
        os.set_blocking(waker, False)
        signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, _heard)
        self._parent = os.getppid()
        self._timeout: int | None = None
        # Not PR_SET_PDEATHSIG: that fires at the death of the parent's *thread* that started us.
        try:
            self._poll.register(os.pidfd_open(self._parent), select.POLLIN)
        except (AttributeError, OSError):
            self._timeout = _ORPHAN_MILLISECONDS

    def input_ready(self) -> bool:
        """Returns True when there is input or its end to read, False when it is time to go."""
        ready: dict[int, int] = {}
        while not ready:
            ready = dict(self._poll.poll(self._timeout))
            if os.getppid() != self._parent:
                return False
        return ready.keys() == {self._input}


class _Lazy:
    """The palace, opened by the first call that needs it; a failure is tried again."""

    def __init__(self, open_palace: Callable[[], Palace]) -> None:
        self._open = open_palace
        self._lock = Lock()
        self.opened: Palace | None = None

    def get(self) -> Palace:
        if self.opened is None:
            with self._lock:
                if self.opened is None:
                    self.opened = self._open()
        return self.opened


class _Threads:
    """Daemon threads that work on what is put, started on demand, at most `limit`."""

    def __init__(self, work: Callable[[Any], None], *, limit: int) -> None:
        self._work = work
        self._limit = limit
        self._items: deque[Any] = deque()
        self._threads = 0
        self._idle = 0
        lock = Lock()
        self._filled = Condition(lock)
        self._quiet = Condition(lock)

    def put(self, item: Any) -> None:
        """Has the item worked on. Raises `RuntimeError` if not even one thread can start."""
        with self._filled:
            if len(self._items) >= self._idle and self._threads < self._limit:
                self.start()
            self._items.append(item)
            self._filled.notify()

    def settled(self, deadline: float) -> bool:
        """Waits until nothing is left to do, or for the deadline; returns whether all is done."""
        with self._quiet:
            return self._quiet.wait_for(self._all_idle, max(0.0, deadline - monotonic()))

    def start(self) -> None:
        """Starts a thread. Raises `RuntimeError` if not even one can start."""
        try:
            Thread(target=self._run, daemon=True).start()
            self._threads += 1
        except RuntimeError:
            if not self._threads:
                raise

    def _run(self) -> None:
        while True:
            with self._filled:
                self._idle += 1
                if self._all_idle():
                    self._quiet.notify_all()
                while not self._items:
                    self._filled.wait()
                self._idle -= 1
                item = self._items.popleft()
            self._work(item)

    def _all_idle(self) -> bool:
        return not self._items and self._idle == self._threads


def _taken_over() -> tuple[int, int]:
    """Moves the wire to new descriptors; returns the ones to read from and to write to."""
    null = os.open(os.devnull, os.O_RDWR)  # also fills the gap, if one of 0, 1, 2 came closed
    reading, writing = os.dup(0), os.dup(1)
    if sys.platform == "win32":
        msvcrt.setmode(reading, os.O_BINARY)
        msvcrt.setmode(writing, os.O_BINARY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return reading, writing


def _heard(_number: int, _frame: FrameType | None) -> None:
    """Lets a signal write to the wake-up descriptor and do nothing else."""


def _log(failure: BaseException) -> None:
    """Writes a traceback to standard error, unless nobody reads that and it would block."""
    blocked = hasattr(select, "poll") and not select.select([], [2], [], 0)[1]
    if sys.stderr is not None and not blocked:
        sys.excepthook(type(failure), failure, failure.__traceback__)
