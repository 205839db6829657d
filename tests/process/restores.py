"""What workers do about backups and restores; see `deeds.py`."""

from __future__ import annotations

from palatine import Palace
from palatine.errors import ConflictError, PalaceReplacedError
from tests.process.workers import Ledger, Line


def live_through_a_restore(line: Line, place: str, me: int, ledger: str) -> None:
    """Adds and searches by meaning and by words; when the palace is replaced, reconnects.

    Notes each acknowledged write with how often it had reconnected; says `noticed` after each
    error that told it, and what the new palace answers to the searches of the old one.
    """
    notes, times, n = Ledger(ledger), 0, 0
    with Palace.open(place, agent=f"worker {me}", embedder="hashing") as palace:
        line.barrier()
        while not line.addressed():
            n += 1
            try:
                text = f"worker{me} writes number{n} times{times}"
                drawer = palace.add(text, wing="load").drawer
                notes.note(times, drawer.id, drawer.seq)
                assert any(hit.text == text for hit in palace.search(text, limit=50))
                line.say("going")
            except PalaceReplacedError:
                told = []
                for verb in (palace.status, lambda: palace.search("kept"), lambda: palace.add("x")):
                    try:
                        verb()
                    except PalaceReplacedError:
                        told.append("replaced")
                report = palace.reconnect()
                times += 1
                found = [hit.text for hit in palace.search(f"worker{me} times0 kept", limit=100)]
                line.say(["noticed", told, report.after.palace_id, found])
        assert line.hear() == "stop"
        problems = palace.check()
        assert not problems, problems


def backup(line: Line, place: str, target: str) -> None:
    with Palace.open(place) as palace:
        line.say(palace.backup(target).seq)


def restore(line: Line, place: str, source: str) -> None:
    try:
        done = Palace.restore(source, place)
        line.say([done.palace_id, done.seq, done.replaced])
    except ConflictError:
        line.say("too late")
