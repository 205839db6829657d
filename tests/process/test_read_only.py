"""Palaces that may be read and not written: by mode, by owner, by wish."""

import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from palatine import Palace
from palatine.errors import PalaceMissingError
from palatine.store import connections
from tests.process.agent import Agent, Failed

Agents = Callable[[], Agent]

two_users = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can be two users: who writes, and who may only read"
)
pytestmark = two_users


@pytest.fixture
def place() -> Iterator[Path]:
    """In a folder that every user can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder) / "palace"


@pytest.fixture
def reader(agent: Agents) -> Agent:
    """Another user, who may not write."""
    reader = agent()
    reader.become_nobody()
    return reader


def allow_reading(place: Path) -> None:
    for each in place.iterdir():
        each.chmod(0o644)
    place.chmod(0o555)


def contents(place: Path) -> dict[str, tuple[bytes, int, int]]:
    return {
        each.name: (each.read_bytes(), each.stat().st_mtime_ns, each.stat().st_mode)
        for each in place.iterdir()
    }


def made(place: Path, *names: str) -> None:
    with Palace.open(place) as palace:
        for name in names:
            palace.knowledge.add(name, "was", "here")
    allow_reading(place)


def fails(agent: Agent, verb: str, *arguments: object, **options: object) -> tuple[str, str]:
    with pytest.raises(Failed) as caught:
        getattr(agent, verb)(*arguments, **options)
    return caught.value.kind, str(caught.value)


def test_a_cleanly_closed_palace_is_read_and_nothing_is_written(place: Path, reader: Agent) -> None:
    made(place, "one", "two")
    before = contents(place)
    reader.open(place, read_only=True)
    assert reader.names() == ["one", "two"]
    kind, words = fails(reader, "add", "lost")
    assert kind == "StoreReadOnlyError"
    assert "open it without read-only" in words
    assert reader.reconnect()
    assert reader.names() == ["one", "two"]
    assert contents(place) == before


def test_opening_for_writing_what_cannot_be_written_says_how_to_read_it(
    place: Path, reader: Agent
) -> None:
    made(place, "one")
    before = contents(place)
    kind, words = fails(reader, "open", place)
    assert kind == "StoreReadOnlyError"
    assert "read-only" in words
    assert contents(place) == before


def test_a_palace_with_a_leftover_log_is_read_with_what_is_in_the_log(
    place: Path, reader: Agent, agent: Agents
) -> None:
    writer = agent()
    writer.open(place)
    writer.add("in the log")
    writer.worker.kill()
    allow_reading(place)
    before = contents(place)
    reader.open(place, read_only=True)
    assert reader.names() == ["in the log"]
    assert contents(place) == before


def test_a_leftover_log_without_its_index_is_refused_with_the_way_out(
    place: Path, reader: Agent, agent: Agents
) -> None:
    writer = agent()
    writer.open(place)
    writer.add("in the log")
    writer.worker.kill()
    (place / "palace.db-shm").unlink()
    allow_reading(place)
    kind, words = fails(reader, "open", place, read_only=True)
    assert kind == "StoreReadOnlyError"
    assert "open it once as a user who can write it" in words
    with Palace.open(place):
        pass
    allow_reading(place)
    reader.open(place, read_only=True)
    assert reader.names() == ["in the log"]


@pytest.mark.parametrize("closes", [True, False])
def test_a_writer_that_comes_later_is_noticed(
    place: Path, reader: Agent, agent: Agents, closes: bool
) -> None:
    made(place, "one")
    reader.open(place, read_only=True)
    assert reader.names() == ["one"]
    writer = agent()
    for name in ("two", "three"):
        writer.open(place)
        writer.add(name)
        if closes:
            writer.close()
        allow_reading(place)
        assert reader.names()[-1] == name
    if not closes:
        writer.add_big("text ", 5_000_000)  # more than fits the log: the database itself is written
        assert reader.begin_read() > 0
        writer.add_big("again ", 5_000_000)
        reader.end_block()  # with SQLite's locks a reader is no trouble to anybody
        writer.close()
        assert reader.names() == ["one", "two", "three"]


def test_a_writer_that_comes_within_a_read_makes_it_fail_and_the_next_one_right(
    place: Path, reader: Agent, agent: Agents
) -> None:
    made(place, "one")
    reader.open(place, read_only=True)
    reader.begin_read()
    writer = agent()
    writer.open(place)
    writer.add("two")
    writer.close()
    kind, words = fails(reader, "end_block")
    assert kind == "StoreReadOnlyError"
    assert "read again" in words
    assert reader.names() == ["one", "two"]


def test_a_writer_within_the_same_tick_of_the_clock_is_noticed(
    place: Path, reader: Agent, agent: Agents
) -> None:
    """Two writes within a tick may leave the same time, so who reads begins after the tick."""
    writer = agent()
    made(place)
    reader.open(place, read_only=True)
    assert time.time() - place.joinpath("palace.db").stat().st_ctime > 0.02
    reader.close()
    for number in range(20):
        writer.open(place)
        writer.add(f"thing {number}")
        writer.close()
        reader.open(place, read_only=True)
        writer.open(place)
        writer.add(f"more {number}")
        writer.close()
        assert reader.names()[-1] == f"more {number}"
        reader.close()


def test_no_look_at_a_palace_is_taken_in_the_same_tick_of_the_clock_as_a_write(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made(place)
    written = place.joinpath("palace.db").stat().st_ctime
    now = [written + 0.001]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        now[0] += seconds

    clock = SimpleNamespace(time=lambda: now[0], sleep=sleep)
    monkeypatch.setattr(connections, "time", clock)
    pool = connections.Pool(connections.Files.at(place), read_only=True)
    assert pool._settled_stamp() == pool._stamp()
    assert len(slept) == 1
    assert now[0] - written > 0.02


def test_a_palace_whose_log_was_closed_cleanly_meanwhile_is_followed(
    place: Path, reader: Agent, agent: Agents
) -> None:
    writer = agent()
    writer.open(place)
    writer.add("one")
    allow_reading(place)
    reader.open(place, read_only=True)
    assert reader.names() == ["one"]
    writer.close()
    assert reader.names() == ["one"]
    writer.open(place)
    writer.add("two")
    assert reader.names() == ["one", "two"]


def test_a_folder_that_cannot_be_written_is_no_place_for_a_new_palace(
    place: Path, reader: Agent
) -> None:
    kind, words = fails(reader, "open", place)
    assert kind == "StoreReadOnlyError"
    assert "choose another folder" in words
    assert not place.exists()
    place.mkdir(mode=0o755)
    kind, words = fails(reader, "open", place)
    assert kind == "StoreReadOnlyError"
    assert list(place.iterdir()) == []


@pytest.mark.parametrize("read_only", [True, False])
def test_a_folder_that_cannot_even_be_entered_is_told_from_one_that_is_not_there(
    place: Path, reader: Agent, read_only: bool
) -> None:
    with Palace.open(place):
        pass
    kind, words = fails(reader, "open", place, read_only=read_only)
    assert kind == "StoreReadOnlyError"
    assert "check its owner and mode" in words
    kind, words = fails(reader, "open", place / "deeper" / "still", read_only=read_only)
    assert kind == "StoreReadOnlyError"


def test_a_right_that_is_taken_away_while_open_is_a_clear_error(place: Path, reader: Agent) -> None:
    made(place, "one")
    reader.open(place, read_only=True)
    place.chmod(0o700)
    assert fails(reader, "names")[0] == "StoreReadOnlyError"
    place.chmod(0o555)
    assert reader.names() == ["one"]


def test_read_only_by_wish_writes_nothing_and_sees_what_others_write(
    place: Path, agent: Agents
) -> None:
    reader, writer = agent(), agent()
    assert fails(reader, "open", place, read_only=True)[0] == "PalaceMissingError"
    assert not place.exists()
    writer.open(place)
    reader.open(place, read_only=True)
    writer.add("one")
    assert reader.names() == ["one"]
    assert fails(reader, "add", "lost")[0] == "StoreReadOnlyError"
    assert reader.check() == []
    with pytest.raises(PalaceMissingError):
        Palace.open(place.with_name("nothing"), read_only=True)


def test_an_old_palace_is_not_migrated_by_one_who_only_reads(place: Path, agent: Agents) -> None:
    made(place, "one")
    reader, newer = agent(), agent()
    reader.learn_another_step()
    kind, words = fails(reader, "open", place, read_only=True)
    assert kind == "StoreReadOnlyError"
    assert "open it once without read-only" in words
    newer.learn_another_step()
    newer.open(place)
    reader.open(place, read_only=True)
    assert reader.names() == ["one"]


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o022])
def test_the_folder_and_its_files_are_the_owners_alone_whatever_the_umask(
    place: Path, agent: Agents, mask: int
) -> None:
    writer = agent()
    writer.umask(mask)
    writer.open(place)
    writer.add("one")
    modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in place.iterdir()}
    assert modes == dict.fromkeys(
        ("palace.db", "palace.db-wal", "palace.db-shm", "palace.lock"), 0o600
    )
    assert stat.S_IMODE(place.stat().st_mode) == 0o700
    assert writer.check() == []
