"""Who has the right to write, who waits for it, and how waiting ends."""

import linecache
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from palatine import Palace
from palatine.errors import StoreBusyError, StoreError
from palatine.store import connections, sqlite
from palatine.types import Author
from tests.process.agent import Agent, Failed

Agents = Callable[[], Agent]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "palace"


def test_a_stopped_writer_makes_others_fail_at_their_deadline_and_go_on_afterwards(
    place: Path, agent: Agents
) -> None:
    stopped, other = agent(), agent()
    stopped.open(place)
    other.open(place, timeout_seconds=0.2)
    stopped.begin_write("held")
    stopped.worker.signal(signal.SIGSTOP)
    for _ in range(2):
        with pytest.raises(Failed, match="nothing was written; try again") as caught:
            other.add("too early")
        assert caught.value.kind == "StoreBusyError"
        assert other.names() == []  # readers never wait
    stopped.worker.signal(signal.SIGCONT)
    stopped.end_block()
    other.add("in time")
    assert other.names() == ["in time"]
    assert other.predicates() == ["held"]
    assert other.check() == []


def test_a_killed_writer_is_followed_at_once(place: Path, agent: Agents) -> None:
    killed, other = agent(), agent()
    killed.open(place)
    killed.begin_write("lost")
    other.open(place)
    killed.worker.kill()
    other.add("next")
    assert other.predicates() == []
    assert other.check() == []


def test_who_holds_the_writer_lock_keeps_others_from_writing_before_it_has_begun(
    place: Path, agent: Agents
) -> None:
    holder, other = agent(), agent()
    other.open(place, timeout_seconds=0.2)
    holder.hold_lock(place)
    with pytest.raises(Failed) as caught:
        other.add("too early")
    assert caught.value.kind == "StoreBusyError"
    holder.let_go_of_lock()
    other.add("in time")
    assert other.names() == ["in time"]


def test_another_program_that_writes_is_waited_for_until_the_deadline(
    place: Path, agent: Agents
) -> None:
    foreign, hasty, patient = agent(), agent(), agent()
    hasty.open(place, timeout_seconds=0.2)
    patient.open(place)
    foreign.begin_foreign(place)
    with pytest.raises(Failed, match=r"after 0\.[2-9] s, nothing was written; try again") as caught:
        hasty.add("too early")
    assert caught.value.kind == "StoreBusyError"
    assert hasty.names() == []
    patient.tell("add", "patient")
    foreign.end_foreign()
    assert patient.hear()
    hasty.add("in time")
    assert hasty.names() == ["patient", "in time"]
    assert hasty.check() == []


def test_a_deadline_of_no_time_and_one_without_end_are_both_kept(
    place: Path, agent: Agents
) -> None:
    holder = agent()
    with Palace.open(place, timeout_seconds=0) as hasty:
        assert hasty.knowledge.add("Max", "was", "here").created
        holder.open(place, timeout_seconds=float("inf"))
        holder.add("without end")
        holder.begin_write("held")
        with pytest.raises(StoreBusyError) as caught:
            hasty.knowledge.add("Max", "was", "there")
        assert caught.value.waited_seconds >= 0
        holder.end_block()
        assert hasty.knowledge.add("Max", "was", "there").created


def test_a_write_within_a_write_of_the_same_thread_is_refused(place: Path) -> None:
    with Palace.open(place) as palace:
        with palace._store.write(Author()) as tx:
            tx.put_predicate("held", "many")
            with pytest.raises(StoreError, match="cannot hold another"):
                palace.knowledge.add("Max", "was", "here")
        assert palace.knowledge.predicates() == {"held": "many"}
        assert palace.knowledge.add("Max", "was", "here").created


@pytest.mark.parametrize("error", ["KeyboardInterrupt", "RuntimeError"])
def test_a_block_that_raises_leaves_no_trace(place: Path, agent: Agents, error: str) -> None:
    one, other = agent(), agent()
    one.open(place)
    other.open(place, timeout_seconds=0)
    one.begin_write("lost")
    with pytest.raises(Failed) as caught:
        one.end_block(error)
    assert caught.value.kind == error
    other.add("at once")
    assert one.predicates() == []
    assert one.check() == []


class Interrupt:
    """Raises KeyboardInterrupt at the n-th line of the store, but not of its clean-up."""

    def __init__(self, line: int) -> None:
        self.lines_left = line

    def __enter__(self) -> None:
        sys.settrace(self.trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def trace(self, frame: FrameType, event: str, _: object) -> Any:
        code = frame.f_code
        if code.co_filename not in (sqlite.__file__, connections.__file__):
            return None
        if code.co_name in ("end", "give", "close", "_close", "__exit__"):
            return None
        line = linecache.getline(code.co_filename, frame.f_lineno)
        # The line of a `with` is seen again between its body and its end: no signal comes there.
        spared = ("release()", "_writing_thread", "with ")
        if event == "line" and not any(each in line for each in spared):
            self.lines_left -= 1
            if self.lines_left == 0:
                raise KeyboardInterrupt
        return self.trace


@pytest.mark.parametrize("block", ["read", "write"])
def test_an_interrupt_at_any_line_leaves_no_lock_and_no_transaction(
    place: Path, block: str
) -> None:
    def use(palace: Palace, number: int) -> None:
        if block == "read":
            assert palace.knowledge.predicates() == {}
        else:
            palace.knowledge.add(f"thing {number}", "was", "here")

    number, interrupted = 0, True
    with Palace.open(place) as palace, Palace.open(place, timeout_seconds=0) as other:
        while interrupted:
            number += 1
            interrupted = False
            try:
                with Interrupt(number):
                    use(palace, number)
            except KeyboardInterrupt:
                interrupted = True
            assert other.knowledge.add(f"other {number}", "was", "here").created
            with other._store.write(Author()) as tx:
                tx.connection.execute("ROLLBACK")
                assert other._store._truncate_wal(tx.connection, 0)
                tx.connection.execute("BEGIN IMMEDIATE")
        assert number > 15
        assert other.check() == []
