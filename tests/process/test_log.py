"""SQLite's log stays small, also when there is always somebody who reads."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.process.agent import Agent
from tests.process.workers import Crew

Agents = Callable[[], Agent]
LIMIT = 1_000_000


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "palace"


def size_of_log(place: Path) -> int:
    return (place / "palace.db-wal").stat().st_size


def test_a_log_that_a_reader_let_grow_is_cut_by_the_first_write_after_it(
    place: Path, agent: Agents
) -> None:
    writer, reader = agent(), agent()
    writer.limit_log(LIMIT, every_seconds=0)
    writer.open(place)
    reader.open(place)
    writer.add("first")
    reader.begin_read()
    for number in range(12):
        writer.add_big(f"text {number} ", 200_000)
    assert size_of_log(place) > 2 * LIMIT  # and no write has failed for it
    reader.end_block()
    writer.add("last")
    assert size_of_log(place) == 0
    assert reader.names() == ["first", "last"]
    assert reader.check() == []


def test_a_log_below_the_limit_is_left_to_sqlite(place: Path, agent: Agents) -> None:
    writer = agent()
    writer.open(place)
    for number in range(12):
        writer.add_big(f"text {number} ", 200_000)
    assert size_of_log(place) > LIMIT


def test_readers_that_follow_each_other_closely_do_not_let_it_grow(
    crew: Crew, place: Path, agent: Agents
) -> None:
    writer = agent()
    writer.limit_log(LIMIT, every_seconds=0.05)
    writer.open(place)
    writer.add("first")
    readers = crew.start_all("read_until_told", [[str(place)]] * 3)
    largest = 0
    for number in range(120):
        writer.add_big(f"text {number} ", 100_000)
        largest = max(largest, size_of_log(place))
    for each in readers:
        each.tell("stop")
        reads, last_seq = each.ends()[0]
        assert reads > 1
        assert last_seq > 1
    assert largest < 8 * LIMIT  # of some 25 million bytes that were written
    assert writer.check() == []
