"""What is no palace, is damaged, comes from a newer Palatine, or lies where none may be."""

import os
import random
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import apsw
import pytest

from palatine import Palace
from palatine.errors import (
    LocationError,
    PalaceMissingError,
    PalatineError,
    SchemaNewerError,
    StoreDamagedError,
    StoreError,
)
from tests.process.agent import Agent

Agents = Callable[[], Agent]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "palace"


def fill(place: Path) -> None:
    with Palace.open(place) as palace:
        for number in range(30):
            palace.add(f"text of number {number} " * 40, room=f"room {number % 3}")
            palace.knowledge.add(f"thing {number}", "made by", "somebody", source="a book")
        palace.update(palace.list(limit=1).items[0].id, text="another text")


def contents(place: Path) -> dict[str, bytes]:
    files = [place] if place.is_file() else sorted(place.iterdir())
    return {each.name: each.read_bytes() for each in files}


def text_file(place: Path) -> None:
    place.write_text("dear diary, today")


def text_in_the_database(place: Path) -> None:
    place.mkdir()
    (place / "palace.db").write_text("dear diary, today " * 100)


def another_programs_database(place: Path) -> None:
    place.mkdir()
    connection = apsw.Connection(str(place / "palace.db"))
    connection.execute("CREATE TABLE bookmarks(url)")
    connection.close()


def another_programs_empty_database(place: Path) -> None:
    place.mkdir()
    connection = apsw.Connection(str(place / "palace.db"))
    connection.execute("PRAGMA application_id = 99")
    connection.close()


def a_database_cut_off(place: Path) -> None:
    fill(place)
    os.truncate(place / "palace.db", 3 * 4096)


def a_database_emptied(place: Path) -> None:
    fill(place)
    os.truncate(place / "palace.db", 0)


def a_palace_without_its_own_row(place: Path) -> None:
    fill(place)
    connection = apsw.Connection(str(place / "palace.db"))
    connection.execute("DELETE FROM palace")
    connection.close()


def a_palace_without_its_own_table(place: Path) -> None:
    fill(place)
    connection = apsw.Connection(str(place / "palace.db"))
    connection.execute("DROP TABLE palace")
    connection.close()


def a_schema_that_is_no_number(place: Path) -> None:
    fill(place)
    change(place, "UPDATE palace SET schema = 'two'")


def a_last_time_that_is_no_number(place: Path) -> None:
    fill(place)
    change(place, "UPDATE change SET at = 'noon' WHERE seq = (SELECT max(seq) FROM change)")


def change(place: Path, sql: str) -> None:
    connection = apsw.Connection(str(place / "palace.db"))
    connection.execute(sql)
    connection.close()


def a_lock_file_that_is_a_folder(place: Path) -> None:
    (place / "palace.lock").mkdir(parents=True)


@pytest.mark.parametrize(
    "make",
    [
        text_file,
        text_in_the_database,
        another_programs_database,
        another_programs_empty_database,
        a_database_cut_off,
        a_database_emptied,
        a_palace_without_its_own_row,
        a_palace_without_its_own_table,
        a_schema_that_is_no_number,
        a_last_time_that_is_no_number,
        a_lock_file_that_is_a_folder,
    ],
)
def test_what_is_no_palace_is_refused_and_left_as_it_is(
    place: Path, make: Callable[[Path], None]
) -> None:
    make(place)
    before = contents(place) if place.is_file() or (place / "palace.db").exists() else {}
    for _ in range(2):
        with pytest.raises(StoreDamagedError) as caught:
            Palace.open(place)
        assert str(place) in str(caught.value)
    if before:
        assert contents(place) == before
    assert not place.with_name("palace.lock").exists()


def test_a_folder_in_the_place_of_the_database_is_refused(place: Path) -> None:
    (place / "palace.db").mkdir(parents=True)
    with pytest.raises(StoreError):
        Palace.open(place)


def test_a_file_in_the_way_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StoreError):
        Palace.open(tmp_path / "file" / "palace")
    assert [each.name for each in tmp_path.iterdir()] == ["file"]


def test_a_palace_that_must_be_there_is_not_made(place: Path) -> None:
    with pytest.raises(PalaceMissingError):
        Palace.open(place, create=False)
    assert not place.exists()
    place.mkdir(0o700)
    (place / "palace.db").touch(0o600)  # as one that was killed while it made the palace leaves it
    with pytest.raises(PalaceMissingError):
        Palace.open(place, create=False)
    assert (place / "palace.db").stat().st_size == 0
    with Palace.open(place) as palace:
        assert palace.check() == []


def test_what_others_write_is_not_taken_for_damage(place: Path) -> None:
    with Palace.open(place) as palace, Palace.open(place) as other:
        for number in range(6):
            palace.search("anything")
            for position in range(17):
                other.add(f"text {number}", source="a source", position=position)
            assert palace.check() == []


def redefine(place: Path, name: str, old: str, new: str) -> None:
    change(
        place,
        "PRAGMA writable_schema = ON;"
        f" UPDATE sqlite_schema SET sql = replace(sql, '{old}', '{new}') WHERE name = '{name}'",
    )


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("drawer_filed", "filed_at, id", "filed_at, wing"),
        ("fact_open", "valid_to IS NULL", "valid_to IS NOT NULL"),
        ("alias", "entity(key)", "entity(name)"),
    ],
)
def test_a_table_or_index_whose_definition_is_damaged_is_found(
    place: Path, name: str, old: str, new: str
) -> None:
    fill(place)
    redefine(place, name, old, new)
    with Palace.open(place) as palace:
        found = {(each.what, each.detail) for each in palace.check()}
    assert ("tables that are not as they were made", name) in found


def test_the_row_of_a_palace_that_is_open_is_read_each_time(place: Path) -> None:
    fill(place)
    with Palace.open(place) as palace:
        change(place, "UPDATE palace SET schema = 'two'")
        for verb in (palace.status, lambda: palace.add("lost")):
            with pytest.raises(StoreDamagedError, match="own row is damaged"):
                verb()


def flips(place: Path, seed: int) -> Iterator[int]:
    """Turns over some bytes of the database, each time others of a copy."""
    dice = random.Random(seed)
    whole = (place / "palace.db").read_bytes()
    while True:
        data = bytearray(whole)
        for _ in range(dice.choice((1, 1, 8))):
            data[dice.randrange(len(data))] ^= 1 << dice.randrange(8)
        (place / "palace.db").write_bytes(data)
        yield sum(a != b for a, b in zip(data, whole, strict=True))


@pytest.mark.parametrize("times", [120, pytest.param(3000, marks=pytest.mark.stress)])
def test_flipped_bits_are_found_by_check_or_met_with_a_clear_error(
    place: Path, tmp_path: Path, times: int
) -> None:
    fill(place)
    with Palace.open(place) as palace:
        whole = [(each.id, each.text) for each in palace.list(limit=100)]
    found = 0
    for number, _ in zip(range(times), flips(place, seed=17), strict=False):
        copy = shutil.copytree(place, tmp_path / f"copy {number}")
        problems: object = ()
        try:
            with Palace.open(copy) as palace:
                problems = palace.check()
                if not problems:
                    assert [(each.id, each.text) for each in palace.list(limit=100)] == whole
                    assert palace.search("number")
                    assert len(palace.knowledge.timeline()) == 30
                    assert palace.add("more", room="after").created
        except PalatineError:
            problems = "an error"
        found += bool(problems)
        shutil.rmtree(copy)
    assert found > times // 3


def newer(place: Path) -> None:
    connection = apsw.Connection(str(place / "palace.db"))
    connection.execute("UPDATE palace SET schema = 99")
    connection.close()


def test_a_palace_from_a_newer_version_is_refused_also_by_who_has_it_open(place: Path) -> None:
    fill(place)
    with Palace.open(place) as palace:
        newer(place)
        seq = seq_of(place)
        with pytest.raises(SchemaNewerError, match=r"schema 99.*use the newer Palatine"):
            palace.knowledge.timeline()
        with pytest.raises(SchemaNewerError):
            palace.knowledge.add("Max", "was", "here")
        for read_only in (False, True):
            with pytest.raises(SchemaNewerError):
                Palace.open(place, read_only=read_only)
        assert seq_of(place) == seq


def seq_of(place: Path) -> int:
    connection = apsw.Connection(str(place / "palace.db"))
    try:
        return connection.execute("SELECT max(seq) FROM change").get
    finally:
        connection.close()


def test_an_older_process_learns_of_a_migration_by_its_next_transaction(
    place: Path, agent: Agents
) -> None:
    older, newer_ = agent(), agent()
    older.open(place)
    older.add("before")
    newer_.learn_another_step()
    newer_.open(place)
    newer_.add("after")
    for verb in (older.names, lambda: older.add("lost")):
        with pytest.raises(Exception, match="use the newer Palatine"):
            verb()
    assert newer_.names() == ["before", "after"]
    assert newer_.check() == []


def test_a_synced_folder_is_no_place_for_a_new_palace_but_an_old_one_opens(
    tmp_path: Path,
) -> None:
    place = tmp_path / "Dropbox" / "palace"
    with pytest.raises(LocationError, match="is synced by Dropbox"):
        Palace.open(place)
    assert not place.exists()
    with Palace.open(place, allow_any_location=True) as palace:
        palace.knowledge.add("Max", "was", "here")
    with Palace.open(place) as palace:
        assert palace.status().store["location"] == "synced"
        assert palace.knowledge.add("Max", "was", "there").created
