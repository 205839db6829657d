"""Palaces that disappear, are replaced, moved, copied, or opened twice."""

import shutil
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from palatine import Palace
from palatine.errors import (
    PalaceMissingError,
    PalaceReplacedError,
    StoreBusyError,
    StoreError,
)
from palatine.types import Author
from tests.process.agent import Agent, Failed

Agents = Callable[[], Agent]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "palace"


def note(palace: Palace, name: str) -> None:
    assert palace.knowledge.add(name, "was", "here").created


def names(palace: Palace) -> set[str]:
    return {fact.subject for fact in palace.knowledge.timeline(limit=10_000)}


def fails(agent: Agent, verb: str, *arguments: object) -> str:
    with pytest.raises(Failed) as caught:
        getattr(agent, verb)(*arguments)
    return caught.value.kind


def test_a_removed_palace_is_missed_by_the_next_read_and_the_next_write(place: Path) -> None:
    with Palace.open(place) as palace:
        note(palace, "before")
        shutil.rmtree(place)
        for _ in range(2):
            with pytest.raises(PalaceMissingError):
                names(palace)
            with pytest.raises(PalaceMissingError):
                note(palace, "lost")
        assert not place.exists()


def test_a_palace_whose_database_is_gone_is_never_begun_anew_silently(
    place: Path, agent: Agents
) -> None:
    other = agent()
    with Palace.open(place) as palace:
        for each in place.glob("palace.db*"):
            each.unlink()
        with pytest.raises(PalaceMissingError, match="Restore a backup"):
            names(palace)
        with pytest.raises(PalaceMissingError):
            note(palace, "lost")
        assert fails(other, "open", place) == "PalaceMissingError"
        with pytest.raises(PalaceMissingError):
            palace.reconnect()
        assert [each.name for each in place.iterdir()] == ["palace.lock"]


def test_a_palace_made_anew_is_met_with_an_error_until_reconnect(
    place: Path, agent: Agents
) -> None:
    other = agent()
    with Palace.open(place) as palace:
        note(palace, "before")
        old = [each.open("rb") for each in (place / "palace.db", place / "palace.db-wal")]
        held = [each.read() for each in old]
        shutil.rmtree(place)
        made = other.open(place)
        other.add("other")
        for _ in range(2):
            with pytest.raises(PalaceReplacedError, match="reconnect"):
                names(palace)
            with pytest.raises(PalaceReplacedError):
                note(palace, "lost")
        for file, before in zip(old, held, strict=True):
            file.seek(0)
            assert file.read() == before
            file.close()
        report = palace.reconnect()
        assert report.before is None
        assert report.problem
        assert report.after.palace_id == made
        note(palace, "after")
        assert names(palace) == {"other", "after"}
        assert other.names() == ["other", "after"]
        assert palace.check() == []


def test_closing_the_old_palace_does_not_take_the_new_ones_log_away(
    place: Path, agent: Agents
) -> None:
    other = agent()
    with Palace.open(place) as palace:
        note(palace, "before")
        shutil.rmtree(place)
        other.open(place)
        other.add("one")
        with pytest.raises(PalaceReplacedError):
            names(palace)
        other.add("two")
    other.add("three")
    other.worker.kill()  # its log is all that holds what it was acknowledged
    with Palace.open(place) as palace:
        assert names(palace) == {"one", "two", "three"}
        assert palace.check() == []


@pytest.mark.parametrize("made_anew", [False, True])
def test_a_palace_that_goes_away_during_a_write_is_not_written(
    place: Path, agent: Agents, made_anew: bool
) -> None:
    other = agent()
    with Palace.open(place) as palace:

        def write() -> None:
            with palace._store.write(Author()) as tx:
                tx.put_predicate("lost", "many")
                shutil.rmtree(place)
                if made_anew:
                    other.open(place)

        with pytest.raises(PalaceReplacedError, match="nothing was written"):
            write()
        assert place.exists() == made_anew
        if made_anew:
            assert other.predicates() == []
            other.add("goes on")


def test_a_palace_that_is_moved_away_and_back_goes_on(place: Path, tmp_path: Path) -> None:
    with Palace.open(place) as palace:
        note(palace, "before")
        place.rename(tmp_path / "away")
        with pytest.raises(PalaceMissingError):
            names(palace)
        with pytest.raises(PalaceMissingError):
            note(palace, "lost")
        (tmp_path / "away").rename(place)
        note(palace, "after")
        assert names(palace) == {"before", "after"}
        assert palace.check() == []


def test_a_copy_of_the_same_palace_in_its_place_goes_on(
    place: Path, tmp_path: Path, agent: Agents
) -> None:
    other = agent()
    with Palace.open(place) as palace:
        note(palace, "before")
    copy = shutil.copytree(place, tmp_path / "copy")
    with Palace.open(place) as palace:
        other.open(place)
        shutil.rmtree(place)
        copy.rename(place)
        note(palace, "after")
        other.add("other")
        assert names(palace) == {"before", "after", "other"}
        assert palace.check() == []


def test_another_palace_restored_into_the_same_file_is_met_with_an_error(
    place: Path, tmp_path: Path
) -> None:
    with Palace.open(tmp_path / "other") as other:
        note(other, "other")
    with Palace.open(place) as palace:
        note(palace, "before")
        source = apsw.Connection(str(tmp_path / "other" / "palace.db"))
        target = apsw.Connection(str(place / "palace.db"))
        with target.backup("main", source, "main") as backup:
            backup.step()
        source.close()
        target.close()
        with pytest.raises(PalaceReplacedError):
            names(palace)
        with pytest.raises(PalaceReplacedError):
            note(palace, "lost")
        palace.reconnect()
        assert names(palace) == {"other"}


def test_a_removed_lock_file_comes_back_with_the_palaces_id(place: Path, agent: Agents) -> None:
    other = agent()
    with Palace.open(place) as palace:
        lock = place / "palace.lock"
        marked = lock.read_text()
        lock.unlink()
        note(palace, "after")
        assert lock.read_text() == marked
        lock.unlink()
        other.open(place)
        assert lock.read_text() == marked
        other.add("other")
        note(palace, "last")
        assert palace.check() == []
        lock.write_text("")  # as one that was killed while it made the palace leaves it
        assert palace.check() != []
        other.close()
        other.open(place)
        assert palace.check() == []


def test_two_who_hold_different_lock_files_still_exclude_each_other(
    place: Path, agent: Agents
) -> None:
    other = agent()
    with Palace.open(place) as palace:
        other.open(place, timeout_seconds=0.2)
        with palace._store.write(Author()) as tx:
            tx.put_predicate("held", "many")
            (place / "palace.lock").unlink()
            assert fails(other, "add", "too early") == "StoreBusyError"
        other.add("in time")
        assert names(palace) == {"in time"}
        assert list(palace.knowledge.predicates()) == ["held"]
        assert palace.check() == []


def test_the_same_palace_opened_twice_in_one_process_is_one_palace(place: Path) -> None:
    with Palace.open(place) as one, Palace.open(place, timeout_seconds=0.1) as two:
        note(one, "one")
        note(two, "two")
        assert names(one) == names(two) == {"one", "two"}
        with one._store.write(Author()) as tx:
            tx.put_predicate("held", "many")
            with pytest.raises(StoreBusyError):
                note(two, "too early")
            assert names(two) == {"one", "two"}
        two.close()
        note(one, "three")
        assert one.check() == []


def test_two_palaces_in_one_process_do_not_touch_each_other(tmp_path: Path) -> None:
    with Palace.open(tmp_path / "a") as one, Palace.open(tmp_path / "b") as two:
        with one._store.write(Author()) as tx:
            tx.put_predicate("held", "many")
            note(two, "two")
        assert names(one) == set()
        shutil.rmtree(tmp_path / "a")
        note(two, "more")
        assert names(two) == {"two", "more"}


def test_a_palace_is_found_again_after_the_process_has_changed_its_folder(
    tmp_path: Path, agent: Agents
) -> None:
    other = agent()
    other.chdir(tmp_path)
    other.open("palace")
    other.chdir("/")
    other.add("after")
    assert other.names() == ["after"]
    assert other.check() == []


def test_a_folder_may_be_reached_by_a_link_but_the_database_may_not_be_one(
    place: Path, tmp_path: Path
) -> None:
    link = tmp_path / "link"
    with Palace.open(place) as palace:
        link.symlink_to(place)
        with Palace.open(link) as same:
            note(same, "by link")
            assert names(palace) == {"by link"}
    false = tmp_path / "false"
    false.mkdir()
    (false / "palace.db").symlink_to(place / "palace.db")
    with pytest.raises(StoreError):
        Palace.open(false)
    assert [each.name for each in false.iterdir()] == ["palace.db"]


def test_what_lies_there_while_a_palace_is_just_being_made_is_no_strangers(
    place: Path, agent: Agents, crew: object
) -> None:
    """Between two looks at the empty database another process may have made the palace."""
    place.mkdir()
    connection = apsw.Connection(str(place / "palace.db"))
    connection.pragma("journal_mode", "wal")
    connection.close()
    maker = agent()
    made: list[str] = []

    def meanwhile(_: apsw.Cursor, sql: str, __: object) -> bool:
        if "sqlite_schema" in sql and not made:
            made.append(maker.open(place))
        return True

    def trace(connection: apsw.Connection) -> None:
        connection.exec_trace = meanwhile

    apsw.connection_hooks.append(trace)
    try:
        with Palace.open(place) as palace:
            assert made == [palace.status().palace_id]
    finally:
        apsw.connection_hooks.remove(trace)
