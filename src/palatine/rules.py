"""Rules: commands that the user wants run when something changes in the palace.

They are `[[on]]` tables in a file of the user's own, never in one that came with a project. Which
change was handled last is noted when its commands have ended: each is handled at least once, and
twice only if the watch was killed meanwhile. What a rule's command writes triggers no rule.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from tempfile import TemporaryFile
from threading import Event
from typing import Any

from palatine import config
from palatine.errors import InputError, PalatineError, StoreBusyError, StoreClosedError
from palatine.mcp import answers
from palatine.palace import Palace
from palatine.store.lock import WriterLock
from palatine.store.retry import Deadline
from palatine.types import Drawer, Fact, Kind, Link, Logged, Op

TICK_SECONDS = 0.5
TIMEOUT_SECONDS = 30.0
AGENT = "rule:"
"""What the agent of a rule's command begins with."""
_OF_CHANGE = ("kind", "op", "wing", "agent", "session")
_WHERE = (*_OF_CHANGE, "room", "source", "author", "subject", "predicate", "object", "text")
_HOW = ("name", "run", "shell", "timeout_seconds")
_TELLS: Mapping[type, tuple[str, Callable[[Any], object]]] = {
    Drawer: ("drawer", answers.whole),
    Fact: ("fact", answers.fact),
    Link: ("link", answers.link),
}
_BATCH = 100
_SAID_BYTES = 2000

Tell = Callable[[str], None]


class Claim:
    """The right to do a work alone among this user's processes.

    The kernel frees it when its holder dies, however that was.

    Attributes:
        note: a file that belongs to the work.
    """

    def __init__(self, *work: str) -> None:
        folder = Path(config.state_folder()) / "watch"
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        digest = hashlib.sha256(os.fsencode("\0".join(work))).hexdigest()
        self.note = folder / f"{digest}.json"
        self._held = False
        self._lock = WriterLock(folder / f"{digest}.lock")

    def take(self) -> bool:
        """Takes it if it is free; tells whether it is held now. Always the same thread asks."""
        if not self._held:
            with suppress(StoreBusyError):
                self._lock.acquire(Deadline(0.0))
                self._held = True
        return self._held


@dataclass(frozen=True, slots=True)
class Rule:
    """One `[[on]]`.

    Attributes:
        name: what messages call it.
        command: words, or one line for the shell.
        timeout_seconds: how long it may run.
        where: what each of these fields must match; none: every change.
    """

    name: str
    command: list[str] | str
    timeout_seconds: float
    where: Mapping[str, str]

    def matches(self, entry: Logged) -> bool:
        """Tells whether the change is meant; capitals do not matter."""
        return all(_matches(entry, key, wanted.casefold()) for key, wanted in self.where.items())


def _matches(entry: Logged, key: str, wanted: str) -> bool:
    if key == "text":
        return wanted in entry.words.casefold()
    found = str(getattr(entry.change if key in _OF_CHANGE else entry.subject, key, ""))
    return fnmatchcase(found.casefold(), wanted)


def read(path: str) -> list[Rule]:
    """The rules in a file, none when there is no such file.

    Raises:
        InputError: a rule cannot be used, or others than the user can write the file.
    """
    found = []
    for number, table in enumerate(config.rules(path), 1):
        rule = Rule(
            str(table.get("name", f"rule {number}")),
            table.get("run", table.get("shell", "")),
            table.get("timeout_seconds", TIMEOUT_SECONDS),
            {key: value for key, value in table.items() if key not in _HOW},
        )
        if fault := _fault(rule, table):
            raise InputError(f"{path}: {rule.name}: {fault}")
        found.append(rule)
    return found


def _fault(rule: Rule, table: Mapping[str, Any]) -> str:
    if unknown := rule.where.keys() - set(_WHERE):
        return f"there is no {min(unknown)!r} here; there is {', '.join((*_HOW, *_WHERE))}"
    words = rule.command if isinstance(rule.command, list) else [rule.command]
    if ("run" in table) == ("shell" in table) or isinstance(rule.command, list) != ("run" in table):
        return 'give one of run = ["command", "word"] and shell = "one line for the shell"'
    if not words or not all(isinstance(each, str) for each in (*words, *rule.where.values())):
        return "a command and what is to match are texts"
    seconds = rule.timeout_seconds
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or seconds <= 0:
        return "timeout_seconds must be a number above 0"
    return ""


class Runner:
    """Runs the rules of one file on the changes of one palace, if no other process does.

    Attributes:
        path: the file.
        place: the palace's folder.
        rules: what stands in the file.
        replaced: to be set when another palace lies in the folder.
    """

    def __init__(self, palace: Palace, place: str, path: str, *, warn: Tell) -> None:
        """Takes the palace, its folder, and the file of rules, which is read now.

        Raises:
            InputError: a rule cannot be used.
        """
        self.path, self.place, self.rules = path, os.path.realpath(place), read(path)
        self.replaced = Event()
        self._palace, self._warn = palace, warn
        self._claim = Claim("rules", self.place, os.path.realpath(path))
        self._seen: tuple[str, int] | None = None  # the palace's id, and the change handled last

    def follow(self, stopping: Event) -> None:
        """Handles what comes, until it is told to stop."""
        trouble, wait = "", 0.0
        while self.rules and not stopping.wait(wait):
            wait = TICK_SECONDS
            try:
                if self._claim.take() and self._step(stopping):
                    wait = 0.0
                trouble = ""
            except StoreClosedError:
                return
            except (PalatineError, OSError) as error:  # the watch reopens what was replaced
                if str(error) != trouble:
                    self._warn(trouble := str(error))

    def _step(self, stopping: Event) -> bool:
        """Handles the next changes; tells whether there may be more."""
        if self._seen is None or self.replaced.is_set():
            self.replaced.clear()
            self._note(*self._begin())
        palace, seen = self._seen or ("", 0)
        found = self._palace.log(after=seen, limit=_BATCH)
        for entry in found:
            meant = [rule for rule in self.rules if rule.matches(entry)]
            for rule in [] if entry.change.agent.startswith(AGENT) else meant:
                problem = self._run(rule, entry, stopping)
                if problem is None:
                    return False
                if problem:
                    self._warn(f"{rule.name} on change {entry.change.seq}: {problem}")
            if meant or entry is found[-1]:
                self._note(palace, entry.change.seq)
        return len(found) == _BATCH

    def _begin(self) -> tuple[str, int]:
        """After which change to go on: what is noted, unless another palace lies here since.

        A restored palace numbers its changes on after those of the palace that it replaces.
        """
        status = self._palace.status()
        try:
            noted = json.loads(self._claim.note.read_text())
            palace, seen = noted["palace"], int(noted["seq"])
        except (OSError, ValueError, KeyError):
            palace, seen = "", status.seq
        if palace != status.palace_id:
            next_ = self._palace.changes(after=seen, limit=1) if seen < status.seq else ()
            restored = next_ and (next_[0].kind, next_[0].op) == (Kind.PALACE, Op.RESTORE)
            seen = seen if restored else status.seq
        return status.palace_id, seen

    def _note(self, palace: str, seq: int) -> None:
        new = self._claim.note.with_suffix(".new")
        new.write_text(json.dumps({"palace": palace, "seq": seq}))
        new.replace(self._claim.note)
        self._seen = palace, seq

    def _run(self, rule: Rule, entry: Logged, stopping: Event) -> str | None:
        """Runs a command to its end; says what went wrong, if anything did; None: cut off."""
        told: dict[str, object] = {"rule": rule.name, "palace": self.place, "words": entry.words}
        told["change"] = answers.change(entry.change)
        if (what := type(entry.subject)) in _TELLS:
            name, tell = _TELLS[what]
            told[name] = tell(entry.subject)
        own = {"PALATINE_PALACE": self.place, "PALATINE_AGENT": AGENT + rule.name}
        with TemporaryFile() as given, TemporaryFile() as said:
            given.write(json.dumps(told).encode() + b"\n")
            given.seek(0)
            try:
                process = subprocess.Popen(
                    rule.command,
                    shell=isinstance(rule.command, str),
                    stdin=given,
                    stdout=subprocess.DEVNULL,
                    stderr=said,
                    cwd=Path(self.path).resolve().parent,
                    env={**config.environment(), **own},
                    start_new_session=True,
                )
            except (OSError, ValueError) as error:
                return f"it cannot be run: {error}"
            if not _ended(process, rule.timeout_seconds, stopping):
                return None if stopping.is_set() else f"killed after {rule.timeout_seconds:g} s"
            said.seek(max(0, said.seek(0, os.SEEK_END) - _SAID_BYTES))
            last = said.read().decode("utf-8", "replace").strip().rpartition("\n")[2]
            return f"it ended with {process.returncode} {last}" if process.returncode else ""


def _ended(process: subprocess.Popen[bytes], timeout_seconds: float, stopping: Event) -> bool:
    """Waits for the end; kills the command and all that it started when that takes too long."""
    until = time.monotonic() + timeout_seconds
    try:
        while time.monotonic() < until and not stopping.is_set():
            with suppress(subprocess.TimeoutExpired):
                process.wait(0.1)
                return True
        return False
    finally:
        if process.returncode is None:
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.wait()
