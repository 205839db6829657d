"""Keeps folders mined while they change, and the rules run while the palace changes.

Any number of watches may run: of each folder, and of the rules, one does the work at a time,
whoever has its claim; the others stand by. Events only say that it is worth while to look: what is
new is decided by `mine`, so that a lost event costs time, never a text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import watchfiles

from palatine.errors import InputError, PalaceReplacedError, PalatineError
from palatine.ingest import files
from palatine.ingest.files import Problem
from palatine.ingest.mine import Mined, Options
from palatine.palace import Palace
from palatine.rules import TICK_SECONDS, Claim, Runner, Tell

_QUIET_MS, _MOST_MS = 200, 2000
"""Mines when nothing has happened for so long, or something has for so long."""
_REST, _MOST_REST_SECONDS = 10, 60.0
"""Rests so many times as long as mining took: a large tree that always changes costs a tenth."""
_LOOK_SECONDS = 600.0
"""Looks so often without an event, too: the system drops some when too many come at once."""
_AGAIN_SECONDS = 5.0
_LAST = 2**62


@dataclass(slots=True)
class _Root:
    """One folder or file.

    Attributes:
        seen: the device and the inode that lay there; None: nothing did, or it is not ours.
        due: something may be new in it.
        rests, looks: until when it is not mined, and from when it is in any case; monotonic.
        told: what was said of it last.
        problems: what could not be read the last time.
    """

    path: Path
    claim: Claim
    seen: tuple[int, int] | None = None
    due: bool = True
    rests: float = 0.0
    looks: float = 0.0
    told: str = ""
    problems: Sequence[Problem] = ()


class Watch:
    """Mines folders again whenever something changes in them."""

    def __init__(
        self,
        palace: Palace,
        paths: Iterable[Path],
        rules: Runner,
        *,
        options: Options,
        embed: bool = True,
        report: Callable[[Mined], None],
        warn: Tell,
    ) -> None:
        """Takes what to watch.

        Args:
            palace: where all goes; opened with `background`.
            paths: folders and files.
            rules: what to run on changes of the palace.
            options: how to mine.
            embed: also embed what is new.
            report: told what mining has changed.
            warn: told what is wrong, each thing once.

        Raises:
            InputError: nothing is there.
        """
        self._roots = [
            _Root(path, Claim("mine", rules.place, str(path)))
            for path in dict.fromkeys(path.resolve() for path in paths)
        ]
        for root in self._roots:
            if not root.path.exists():
                raise InputError(f"{root.path}: there is no such file or folder")
        self._palace, self._rules = palace, rules
        self._options, self._embed = options, embed
        self._report, self._warn = report, warn
        self._stopping = Event()
        self._trouble = ""

    def run(self) -> None:
        """Works until an interrupt, which it raises when the rules have ended."""
        rules = Thread(target=self._rules.follow, args=(self._stopping,), daemon=True)
        try:
            rules.start()
            while True:
                self._follow()
        finally:
            self._stopping.set()
            rules.join(_AGAIN_SECONDS)

    def _follow(self) -> None:
        """Works for as long as the same files and folders are there and ours."""
        watched = [self._look(root) for root in self._roots]
        for changes in self._events([root.path for root in self._roots if root.seen]):
            for root in self._roots:
                root.due |= any(_matters(root.path, Path(path)) for _, path in changes)
            if watched != [self._look(root) for root in self._roots]:
                return
            self._work()

    def _events(self, paths: Sequence[Path]) -> Iterator[set[Any]]:
        """What happens below these paths; now and then nothing."""
        try:
            if paths:
                yield from watchfiles.watch(
                    *paths,
                    watch_filter=None,
                    debounce=_MOST_MS,
                    step=_QUIET_MS,
                    rust_timeout=int(TICK_SECONDS * 1000),
                    yield_on_timeout=True,
                    ignore_permission_denied=True,
                )
        except OSError as error:  # gone by now; or the system has no watches left
            self._once(f"no events ({error}); looking every {_LOOK_SECONDS / 60:g} minutes")
        for _ in range(int(_MOST_REST_SECONDS / TICK_SECONDS)):
            self._stopping.wait(TICK_SECONDS)
            yield set()

    def _look(self, root: _Root) -> tuple[int, int] | None:
        """Whether it is ours to mine, is still there, and is still the same."""
        seen, news = None, "another watch has it, standing by"
        if root.claim.take():
            try:
                state = root.path.stat()
                seen, news = (state.st_dev, state.st_ino), "watching"
            except OSError:
                news = "gone, waiting for it"
        if news != root.told:
            root.told = news
            self._warn(f"{root.path}: {news}")
        root.due |= seen != root.seen or time.monotonic() > root.looks
        root.seen = seen
        return seen

    def _work(self) -> None:
        """Mines what is due, and notices whether the palace is still the one that was opened."""
        try:
            self._palace.changes(after=_LAST, limit=1)
            for root in self._roots:
                if root.seen and root.due and time.monotonic() >= root.rests:
                    self._mine(root)
        except PalaceReplacedError:
            self._once("the palace was replaced; looking through everything again")
            self._rules.replaced.set()
            self._palace.reconnect()
            for root in self._roots:
                root.due, root.rests = True, 0.0
        except (PalatineError, OSError) as error:
            self._once(str(error))

    def _mine(self, root: _Root) -> None:
        began = time.monotonic()
        root.rests = began + _AGAIN_SECONDS  # if it fails
        done = self._palace.mine(root.path, options=self._options)
        took = time.monotonic() - began
        root.due, self._trouble = False, ""
        root.rests = began + took + min(_REST * took, _MOST_REST_SECONDS)
        root.looks = began + took + _LOOK_SECONDS
        if done.added or done.changed or done.removed or done.problems != root.problems:
            self._report(done)
        root.problems = done.problems
        if self._embed:
            self._palace.embed(wait=False)

    def _once(self, trouble: str) -> None:
        if trouble != self._trouble:
            self._warn(trouble)
            self._trouble = trouble


def _matters(root: Path, path: Path) -> bool:
    inside = path.is_relative_to(root)
    return inside and files.FOLDERS.isdisjoint(path.relative_to(root).parts)
