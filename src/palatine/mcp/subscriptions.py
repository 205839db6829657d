"""Who wants to hear which resources change, and the thread that looks, whoever changes them."""

from __future__ import annotations

from threading import Condition, Thread
from time import thread_time

from palatine.errors import PalatineError
from palatine.mcp.registry import INVALID_PARAMS, Call, RpcError, found, read

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from palatine.mcp.registry import Registry
    from palatine.palace import Palace

    Tell: TypeAlias = Callable[[str], None]
    Prints: TypeAlias = dict[str, int | None]

LIST = ""
"""Stands for the list of resources among their addresses."""
PAUSE_SECONDS = 0.5
_SLOWER, _SLOWEST_SECONDS = 1.05, 2.0
_SHARE = 20
_MOST_ADDRESSES = 1000


class Watch:
    """Tells listeners when what they would read has changed.

    While somebody listens, a thread asks twice a second for the palace's newest change, which is
    one short read; while none comes more and more seldom, down to every two seconds. Only if it is
    another one does it read what is listened to, and tell of what differs: many changes in between
    are told once, and a palace that was put back is noticed. It works for at most a twentieth of
    the time, ends with the last listener, and outlives a palace that is away.
    """

    def __init__(
        self,
        registry: Registry,
        palace: Callable[[], Palace],
        log: Callable[[BaseException], None],
        *,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        """Takes what is offered, how to open the palace, and what logs our faults."""
        self._pause_seconds = pause_seconds
        self._registry = registry
        self._palace = palace
        self._log = log
        self._changed = Condition()
        self._listeners: dict[object, tuple[Prints, Tell]] = {}
        self._running = False
        self._stale = True
        self._mark: tuple[int, object] = 0, None
        self._logged = ""

    def look(self, addresses: Iterable[str]) -> Prints:
        """What a listener to these addresses is taken to know: call it before it is answered.

        Raises:
            RpcError: too many addresses are listened to.
        """
        wanted = dict.fromkeys(addresses)
        with self._changed:
            held = sum(len(seen) for seen, _ in self._listeners.values())
        if held + len(wanted) > _MOST_ADDRESSES:
            raise RpcError(
                INVALID_PARAMS, f"More than {_MOST_ADDRESSES} addresses are listened to: end some"
            )
        prints: Prints = {}
        for address in wanted:
            try:
                prints[address] = self._print(address)
            except (PalatineError, RpcError):
                prints[address] = None
        return prints

    def add(self, key: object, seen: Prints, tell: Tell) -> None:
        """Has `tell` called, in a thread, with each address whose resource is no longer as seen.

        A second call with the same key adds to the first.
        """
        if not seen:
            return
        with self._changed:
            held = self._listeners.get(key)
            if not self._running:
                Thread(target=self._run, name="watch", daemon=True).start()
                self._running = True
            self._listeners[key] = ({**held[0], **seen} if held else seen, tell)
            self._stale = True

    def remove(self, key: object) -> None:
        """Ends what was added under this key, if anything was."""
        with self._changed:
            self._listeners.pop(key, None)
            self._changed.notify_all()

    def _run(self) -> None:
        pause = self._pause_seconds
        while True:
            with self._changed:
                if self._changed.wait_for(lambda: not self._listeners, pause):
                    self._running = False
                    return
            began = thread_time()
            quiet = False
            try:
                quiet = self._compare()
            except (PalatineError, RpcError):
                self._stale = True  # the palace is away: it is looked for again
            except Exception as failure:  # noqa: BLE001 - the edge: listeners outlive our faults
                self._stale = True
                self._log_once(failure)
            least = max(self._pause_seconds, _SHARE * (thread_time() - began))
            pause = max(least, min(pause * _SLOWER, _SLOWEST_SECONDS)) if quiet else least

    def _compare(self) -> bool:
        """Tells of what differs; returns whether nothing can."""
        palace = self._palace()
        after, newest = self._mark
        if not self._stale and palace.changes(after=after, limit=2) == newest:
            return True
        after = max(0, palace.status().seq - 1)
        newest = palace.changes(after=after, limit=1)
        with self._changed:
            self._stale = False
            listeners = list(self._listeners.values())
        wanted = dict.fromkeys(address for seen, _ in listeners for address in seen)
        prints = {address: self._print(address) for address in wanted}
        self._mark = after, newest  # what came since is news, and so is what failed
        for seen, tell in listeners:
            for address in [each for each in seen if seen[each] != prints[each]]:
                seen[address] = prints[address]
                tell(address)
        return False

    def _print(self, address: str) -> int | None:
        """Stands for what would be read; None: nothing lies there."""
        call = Call(self._palace)
        try:
            if address == LIST:
                return hash(str(found(self._registry, call)))
            return hash(str(read(self._registry, call, address)))
        except RpcError as error:
            if error.code == INVALID_PARAMS:
                return None
            raise

    def _log_once(self, failure: Exception) -> None:
        if repr(failure) != self._logged:
            self._logged = repr(failure)
            self._log(failure)
