"""What workers do about mining; see `deeds.py`."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import apsw

from palatine import Palace
from palatine.ingest import mine as mining
from palatine.ingest.claims import Claims
from palatine.ingest.mine import Mined
from tests.process.workers import Line


def mine(line: Line, place: str, tree: str) -> None:
    """Mines and embeds at the same moment as others; says what came of it."""
    with Palace.open(place, embedder="hashing") as palace:
        line.barrier()
        done = palace.mine(tree)
        problems = [problem.reason for problem in done.problems]
        stored = palace.embed().stored
        line.say([done.files, done.added, done.changed, done.removed, problems, stored])


def claim(line: Line, work: str, path: str) -> None:
    """Claims a file and is stuck with it until it is told to end."""
    claims = Claims(work)
    line.say(claims.take(path))
    assert line.hear() == "end"


def mine_file_by_file(line: Line, place: str, tree: str) -> None:
    """Files each file in a transaction of its own, and waits to be told to go on."""
    mining._BATCH_FILES = 1

    def told(done: Mined, total: int) -> None:
        line.say([done.added, total])
        assert line.hear() == "go on"

    with Palace.open(place) as palace:
        palace.mine(tree, progress=told)


def mine_and_die(line: Line, place: str, tree: str, event: int) -> None:
    """Dies of SIGKILL at the n-th statement of mining, a transaction for each file."""
    mining._BATCH_FILES = 1
    left = event

    def see(_: object) -> None:
        nonlocal left
        left -= 1
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)

    with Palace.open(place) as palace:
        for connection in apsw.connections():
            connection.trace_v2(apsw.SQLITE_TRACE_STMT, see)
        apsw.connection_hooks.append(lambda new: new.trace_v2(apsw.SQLITE_TRACE_STMT, see))
        palace.mine(tree)
        line.say("mined")


def change_and_mine(line: Line, place: str, file: str, versions: int) -> None:
    """Writes one version of a file after the other, and mines each."""
    with Palace.open(place) as palace:
        line.barrier()
        for version in range(versions):
            Path(file).write_text(f"version {version}\n" * 9000)
            assert palace.mine(file).problems == []
            line.say(version)
