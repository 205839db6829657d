"""Forked children of a process that has a palace open."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from palatine import Palace
from tests.process.agent import CODES, Agent

Agents = Callable[[], Agent]
TOLD = CODES["StoreClosedError"]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "palace"


@pytest.mark.parametrize("verb", ["names", "check", "reconnect", "close"])
def test_a_child_is_told_and_ends_while_its_parent_goes_on(
    place: Path, agent: Agents, verb: str
) -> None:
    parent, other = agent(), agent()
    parent.open(place)
    parent.add("before")
    assert parent.fork(verb) == (0 if verb == "close" else TOLD)
    parent.add("after")
    other.open(place)
    other.add("other")
    assert parent.names() == other.names() == ["before", "after", "other"]
    assert parent.check() == []


def test_a_child_that_writes_is_told_and_writes_nothing(place: Path, agent: Agents) -> None:
    parent = agent()
    parent.open(place)
    assert parent.fork("add", "lost") == TOLD
    assert parent.names() == []


@pytest.mark.parametrize("verb", ["names", "close", "end_block"])
def test_a_child_forked_in_a_large_write_block_spoils_nothing(
    place: Path, agent: Agents, verb: str
) -> None:
    """The log then holds a part of what is not committed; the child must not roll it back."""
    parent, other = agent(), agent()
    parent.open(place)
    parent.add("before")
    parent.begin_big_write(8_000_000)
    assert (place / "palace.db-wal").stat().st_size > 1_000_000
    assert parent.fork(verb) == (0 if verb == "close" else TOLD)
    parent.end_block()
    other.open(place)
    other.add("other")
    assert other.names() == ["before", "other"]
    assert parent.check() == []
    assert other.count_big() == 2000


def test_a_child_that_opens_the_palace_itself_loses_nothing_when_its_parent_closes(
    place: Path, tmp_path: Path, agent: Agents
) -> None:
    ready, go = tmp_path / "ready", tmp_path / "go"
    os.mkfifo(ready)
    os.mkfifo(go)
    parent = agent()
    parent.open(place)
    parent.add("parent")
    child = parent.fork_and_stay(place, "child", ready, go)
    parent.close()
    go.write_bytes(b"go")
    assert parent.reap(child) == -9
    with Palace.open(place) as palace:
        found = {fact.subject for fact in palace.knowledge.timeline()}
        assert found == {"parent", "child 1", "child 2"}
        assert palace.check() == []


@pytest.mark.parametrize("block", ["begin_write", "begin_read"])
def test_a_child_forked_within_a_block_cannot_open_a_palace_and_is_told_why(
    place: Path, agent: Agents, block: str
) -> None:
    parent = agent()
    parent.open(place)
    parent.begin_read() if block == "begin_read" else parent.begin_write("held")
    assert parent.fork("open", place) == TOLD
    parent.end_block()
    assert parent.fork("open", place) == 0
    parent.add("after")
    assert parent.check() == []


def test_children_forked_at_any_moment_of_busy_threads_end_at_once(
    place: Path, agent: Agents
) -> None:
    parent = agent()
    parent.open(place)
    codes = parent.fork_while_busy(place, 30)
    assert set(codes) <= {0, TOLD}
    assert parent.check() == []
