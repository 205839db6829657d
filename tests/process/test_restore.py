"""Backups while others write, restores under running processes, and both of them killed."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import apsw
import numpy as np
import pytest
from numpy.typing import NDArray

from palatine import Palace
from palatine.embed.hashing import HashingEmbedder
from palatine.errors import (
    ConflictError,
    InputError,
    LocationError,
    NotFoundError,
    PalaceMissingError,
    PalaceReplacedError,
    SchemaNewerError,
    StoreDamagedError,
    StoreError,
)
from palatine.store import migrations, sqlite
from palatine.types import Change
from tests.process.deeds import dump_of
from tests.process.workers import Crew, Ledger, Worker

NEVER = 10**9


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "palace"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.db"


def fill(place: Path, *texts: str) -> None:
    with Palace.open(place) as palace:
        for text in texts:
            palace.add(text)


def texts_in(place: Path) -> set[str]:
    with Palace.open(place) as palace:
        assert palace.check() == []
        return {drawer.text for drawer in palace.list(limit=1000)}


def ids_in(place: Path) -> set[str]:
    with Palace.open(place) as palace:
        assert palace.check() == []
        return {change.ref for change in palace.changes() if change.kind != "palace"}


def names_below(folder: Path) -> set[str]:
    return {str(each.relative_to(folder)) for each in folder.rglob("*")}


# Backup


def test_a_backup_is_one_private_file_that_opens_elsewhere(
    place: Path, file: Path, tmp_path: Path
) -> None:
    fill(place, "one")
    old = os.umask(0)
    try:
        with Palace.open(place) as palace:
            done = palace.backup(file)
            palace.add("two")
            own = palace.backup()
    finally:
        os.umask(old)
    assert (done.path, done.seq, done.size_bytes) == (str(file), 1, file.stat().st_size)
    assert file.stat().st_mode & 0o777 == 0o600
    assert Path(own.path).parent == place / "backups"
    assert (place / "backups").stat().st_mode & 0o777 == 0o700
    assert {each.name for each in tmp_path.iterdir()} == {"palace", "backup.db"}
    restored = Palace.restore(file, tmp_path / "another machine" / "palace")
    assert restored.replaced == ""
    assert texts_in(tmp_path / "another machine" / "palace") == {"one"}
    assert (tmp_path / "another machine" / "palace").stat().st_mode & 0o777 == 0o700


def test_a_backup_needs_nothing_beside_it_and_can_be_read_from_where_nobody_writes(
    place: Path, file: Path, tmp_path: Path
) -> None:
    fill(place, "one")
    with Palace.open(place) as palace:
        palace.backup(file)
    data = file.read_bytes()
    assert data[18:20] == b"\1\1"  # no write-ahead log: SQLite's file format, bytes 18 and 19
    stick = tmp_path / "stick"
    stick.mkdir()
    file.rename(stick / "backup.db")
    stick.chmod(0o555)
    Palace.restore(stick / "backup.db", tmp_path / "new")
    assert texts_in(tmp_path / "new") == {"one"}
    assert [each.name for each in stick.iterdir()] == ["backup.db"]
    assert (stick / "backup.db").read_bytes() == data


def test_keep_removes_the_oldest_backups_of_this_palace_and_nothing_else(
    place: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "backups"
    folder.mkdir()
    fill(tmp_path / "other", "x")
    fill(place, "x")
    with Palace.open(tmp_path / "other") as other:
        strange = Path(other.backup(folder).path)
    (folder / "notes.db").write_text("mine")
    with Palace.open(place) as palace:
        made = [palace.backup(folder).path for _ in range(4)]
        last = palace.backup(folder, keep=2)
        assert last.removed == tuple(made[:3])
        assert {each.name for each in folder.iterdir()} == {
            strange.name,
            "notes.db",
            Path(made[3]).name,
            Path(last.path).name,
        }
        with pytest.raises(InputError, match="no folder"):
            palace.backup(folder / "notes.db", keep=1)


def test_a_backup_replaces_nothing_least_of_all_the_palace(place: Path, tmp_path: Path) -> None:
    fill(place, "one")
    (tmp_path / "notes").write_text("mine")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with Palace.open(place) as palace:
        before = names_below(tmp_path)
        own = [place / f"palace.{name}" for name in ("db", "db-wal", "db-shm", "lock")]
        own += [place / "embed.lock", place / ".." / "palace" / "palace.db"]
        for target in (*own, tmp_path / "notes", tmp_path / "link", tmp_path / "no" / "such.db"):
            with pytest.raises(InputError, match="nothing was written"):
                palace.backup(target)
        assert names_below(tmp_path) == before
        assert (tmp_path / "notes").read_text() == "mine"
    assert texts_in(place) == {"one"}


def test_a_damaged_palace_is_not_backed_up_as_if_it_were_whole(place: Path, file: Path) -> None:
    fill(place, "one")
    connection = apsw.Connection(str(place / "palace.db"))
    connection.execute("PRAGMA writable_schema = ON")
    connection.execute("UPDATE sqlite_schema SET rootpage = rootpage + 1 WHERE name = 'drawer'")
    connection.close()
    with Palace.open(place) as palace, pytest.raises(StoreDamagedError):
        palace.backup(file, keep=0)
    assert not file.exists()
    assert not list(file.parent.glob("*.unfinished*"))


def test_a_backup_while_four_processes_write_is_all_that_was_acknowledged_up_to_a_change(
    crew: Crew, place: Path, file: Path, tmp_path: Path
) -> None:
    ledgers = [tmp_path / f"ledger {n}" for n in range(4)]
    fill(place, *(f"much to copy {n} " * 500 for n in range(50)))
    writers = crew.start_all(
        "write_until_killed", [[str(place), n, str(ledgers[n])] for n in range(4)]
    )
    for each in writers:
        for _ in range(5):
            each.hear()
    with Palace.open(place) as palace:
        acknowledged = {ref for ledger in ledgers for _, ref in Ledger.read(ledger)}
        done = palace.backup(file)
    for each in writers:
        each.hear()
        each.tell("stop")
        each.ends()
    with Palace.open(place) as palace:
        live = palace.changes(limit=100_000)
    Palace.restore(file, tmp_path / "restored")
    with Palace.open(tmp_path / "restored") as palace:
        held = palace.changes(limit=100_000)
        assert palace.check() == []
    assert [*held[:-1]] == [change for change in live if change.seq <= done.seq]
    assert (held[-1].kind, held[-1].op) == ("palace", "restore")
    assert len(acknowledged) >= 20
    assert acknowledged <= {change.ref for change in held}
    assert done.seq < live[-1].seq


# Restore


def test_a_restore_under_four_running_processes_is_noticed_by_all_and_loses_nothing(
    crew: Crew, place: Path, file: Path, tmp_path: Path
) -> None:
    with Palace.open(place, embedder="hashing") as palace:
        for n in range(60):
            palace.add(f"kept number{n}", wing="load")
        palace.embed()
        palace.backup(file)
        for n in range(60):
            palace.add(f"worker{n % 4} times0 dropped number{n}", wing="load")
        palace.embed()
    ledgers = [tmp_path / f"ledger {n}" for n in range(4)]
    workers = crew.start_all(
        "live_through_a_restore", [[str(place), n, str(ledgers[n])] for n in range(4)]
    )
    for each in workers:
        for _ in range(3):
            assert each.hear() == "going"
    palace_id, seq, replaced = crew.run("restore", str(place), str(file))
    for each in workers:
        _, told, met, found = until_noticed(each)
        assert told == ["replaced"] * 3
        assert met == palace_id
        assert sum(text.startswith("kept") for text in found) == 60
        # What others have written into the new palace meanwhile may be there already.
        assert not [text for text in found if "dropped" in text or "times0" in text]
    for each in workers:
        for _ in range(3):
            assert each.hear() == "going"
        each.tell("stop")
        assert all(said == "going" for said in each.ends())
    noted = [note for ledger in ledgers for note in Ledger.read(ledger)]
    before = {ref for times, ref, _ in noted if times == 0}
    after = {ref for times, ref, _ in noted if times == 1}
    assert len(before) >= 12
    assert len(after) >= 12
    assert all((change > seq) == bool(times) for times, _, change in noted)
    assert before <= ids_in(Path(replaced))
    here = ids_in(place)
    assert after <= here
    assert not before & here
    with Palace.open(place, embedder="hashing") as palace:
        palace.embed()
        assert palace.check() == []


def until_noticed(worker: Worker) -> Sequence[object]:
    while (said := worker.hear()) == "going":
        pass
    assert said[0] == "noticed"
    return list(said)


def test_what_comes_after_a_restore_is_numbered_after_all_that_was_before(
    place: Path, file: Path
) -> None:
    fill(place, "one")
    with Palace.open(place) as palace:
        palace.backup(file)
        before = palace.status().palace_id
        for n in range(5):
            palace.add(f"later {n}")
        last = palace.changes()[-1]
        done = Palace.restore(file, place, agent="ann", session="s")
        with pytest.raises(PalaceReplacedError, match="reconnect"):
            palace.changes()
        report = palace.reconnect()
        assert (report.before, report.after.palace_id) == (None, done.palace_id)
        assert done.palace_id != before
        assert done.seq == last.seq + 1
        (change,) = palace.changes(after=last.seq)
        assert (change.kind, change.op, change.ref) == ("palace", "restore", before)
        assert (change.agent, change.session) == ("ann", "s")
        assert change.at.micros > last.at.micros
        assert palace.add("new").drawer.seq == done.seq + 1
        assert palace.check() == []
        with pytest.raises(ConflictError, match="restore what it replaced"):
            palace.undo(done.seq)
    Palace.restore(done.replaced, place)
    assert texts_in(place) == {"one", *(f"later {n}" for n in range(5))}


def test_a_gap_in_the_feed_is_a_restores_only(place: Path) -> None:
    fill(place, "one", "two", "three")
    connection = apsw.Connection(str(place / "palace.db"))
    connection.execute("PRAGMA foreign_keys = OFF; DELETE FROM change WHERE seq = 2")
    connection.close()
    with Palace.open(place) as palace:
        assert [each.detail for each in palace.check()] == ["before seq 3"]


class Slow(HashingEmbedder):
    """Lets something happen while it embeds."""

    def __init__(self, meanwhile: Callable[[], object]) -> None:
        super().__init__()
        self.meanwhile = meanwhile

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = super().embed(texts)
        self.meanwhile()
        return vectors


@pytest.mark.parametrize("verb", ["embed", "search"])
def test_vectors_of_the_old_palace_never_become_those_of_the_new_one(
    place: Path, file: Path, tmp_path: Path, verb: str
) -> None:
    fill(tmp_path / "other", "a wholly different text")
    with Palace.open(tmp_path / "other") as other:
        other.backup(file)
    fill(place, "tea and biscuits")
    restores: list[str] = []

    def meanwhile() -> None:
        if not restores:
            restores.append(Palace.restore(file, place).palace_id)
            palace.reconnect()

    with Palace.open(place, embedder=Slow(meanwhile)) as palace:
        if verb == "embed":
            assert palace.embed().stored == 1  # the new palace's own, in the second round
        else:
            palace.search("tea and biscuits")
        assert restores == [palace.status().palace_id]
        palace.embed()
        (hit,) = palace.search("a wholly different text")
        assert hit.vector_rank == 1
        assert hit.confidence > 0.99
        with palace._store.read() as tx:
            vector = HashingEmbedder().embed(["a wholly different text"])[0]
            assert tx.nearest(vector, nothing(), limit=1)[0].score > 0.99


def nothing() -> object:
    from palatine.types import DrawerFilter  # noqa: PLC0415

    return DrawerFilter()


# What is refused


def text_file(place: Path, file: Path) -> None:
    file.write_text("dear diary " * 500)


def empty_file(place: Path, file: Path) -> None:
    file.touch()


def foreign_database(place: Path, file: Path) -> None:
    connection = apsw.Connection(str(file))
    connection.execute("CREATE TABLE bookmarks(url)")
    connection.close()


def backup_and(place: Path, file: Path, sql: str) -> None:
    with Palace.open(place) as palace:
        palace.backup(file)
    connection = apsw.Connection(str(file))
    connection.execute(sql)
    connection.close()


def half_a_backup(place: Path, file: Path) -> None:
    backup_and(place, file, "SELECT 1")
    os.truncate(file, file.stat().st_size // 2)


def a_damaged_text(place: Path, file: Path) -> None:
    backup_and(place, file, "UPDATE drawer SET text = CAST('another' AS BLOB)")


def a_damaged_index(place: Path, file: Path) -> None:
    backup_and(
        place,
        file,
        "PRAGMA writable_schema = ON; UPDATE sqlite_schema SET sql ="
        " replace(sql, 'filed_at, id)', 'id, filed_at)') WHERE name = 'drawer_filed'",
    )


def no_row_of_its_own(place: Path, file: Path) -> None:
    backup_and(place, file, "DELETE FROM palace")


def a_newer_one(place: Path, file: Path) -> None:
    backup_and(place, file, "UPDATE palace SET schema = 99")


def the_palace_itself(place: Path, file: Path) -> None:
    file.hardlink_to(place / "palace.db")


def a_folder_without_a_palace(place: Path, file: Path) -> None:
    file.mkdir()


def nothing_at_all(place: Path, file: Path) -> None:
    pass


REFUSED = {
    text_file: StoreDamagedError,
    empty_file: StoreDamagedError,
    foreign_database: StoreDamagedError,
    half_a_backup: StoreDamagedError,
    a_damaged_text: StoreDamagedError,
    a_damaged_index: StoreDamagedError,
    no_row_of_its_own: StoreDamagedError,
    a_newer_one: SchemaNewerError,
    the_palace_itself: InputError,
    a_folder_without_a_palace: NotFoundError,
    nothing_at_all: NotFoundError,
}


@pytest.mark.parametrize("make", REFUSED, ids=lambda make: make.__name__)
def test_what_cannot_be_restored_is_refused_and_nothing_is_replaced(
    place: Path, file: Path, tmp_path: Path, make: Callable[[Path, Path], None]
) -> None:
    fill(place, "one")
    make(place, file)
    with Palace.open(place) as palace:
        before, names = dump_of(str(place)), names_below(tmp_path)
        for target in (place, tmp_path / "never made"):
            if make is the_palace_itself and target != place:
                continue
            with pytest.raises(REFUSED[make], match=re.escape(str(file))):
                Palace.restore(file, target)
        assert palace.status().drawers == 1
        assert dump_of(str(place)) == before
        assert names_below(tmp_path) == names
        assert palace.add("two").created


def test_a_new_palace_is_not_restored_into_a_synced_folder(place: Path, tmp_path: Path) -> None:
    fill(place, "one")
    target = tmp_path / "Dropbox" / "palace"
    with pytest.raises(LocationError):
        Palace.restore(place, target)
    with pytest.raises(StoreError, match="cannot be used"):
        Palace.restore(place, place / "palace.lock" / "palace")
    assert not target.exists()
    Palace.restore(place, target, allow_any_location=True)
    assert texts_in(target) == {"one"}


def test_a_backup_of_an_older_version_is_brought_up_to_date(
    place: Path, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(place, "one")
    with Palace.open(place) as palace:
        palace.backup(file)
    old = file.read_bytes()

    def step(connection: apsw.Connection) -> None:
        connection.execute("CREATE TABLE step(count)")

    newer = (*migrations.MIGRATIONS, step)
    monkeypatch.setattr(migrations, "MIGRATIONS", newer)
    monkeypatch.setattr(sqlite, "MIGRATIONS", newer)
    fill(place, "two")
    Palace.restore(file, place)
    assert texts_in(place) == {"one"}
    assert file.read_bytes() == old


def test_a_file_with_other_pages_is_restored_into_a_live_palace(place: Path, file: Path) -> None:
    fill(place, "one")
    backup_and(place, file, "PRAGMA page_size = 8192; VACUUM")
    fill(place, "two")
    Palace.restore(file, place)
    assert texts_in(place) == {"one"}


def test_a_palace_in_a_folder_is_restored_with_what_is_only_in_its_log(
    place: Path, tmp_path: Path
) -> None:
    with Palace.open(place) as palace:
        palace.add("in the log")
        copy = shutil.copytree(place, tmp_path / "copy")
    Palace.restore(copy, tmp_path / "new")
    assert texts_in(tmp_path / "new") == {"in the log"}


# Damaged and missing palaces


def cut_off(place: Path) -> None:
    os.truncate(place / "palace.db", 1000)


def overwritten(place: Path) -> None:
    (place / "palace.db").write_bytes(b"not a database, " * 500)


def without_its_row(place: Path) -> None:
    connection = apsw.Connection(str(place / "palace.db"))
    connection.execute("DELETE FROM palace")
    connection.close()


def full_of_holes(place: Path) -> None:
    with (place / "palace.db").open("r+b") as data:
        for page in range(1, 20, 2):
            data.seek(-page * 4096, os.SEEK_END)
            data.write(b"\xff" * 4096)


def gone(place: Path) -> None:
    (place / "palace.db").unlink()


def gone_but_for_its_log(place: Path) -> None:
    (place / "palace.db").unlink()
    shutil.copy(place / "log", place / "palace.db-wal")
    (place / "palace.db-journal").write_bytes(b"\xd9\xd5\x05\xf9\x20\xa1\x63\xd7" + b"\0" * 4088)


@pytest.mark.parametrize(
    "harm", [cut_off, overwritten, without_its_row, full_of_holes, gone, gone_but_for_its_log]
)
def test_a_palace_that_cannot_be_opened_is_restored_and_what_lay_there_is_kept(
    crew: Crew, place: Path, file: Path, harm: Callable[[Path], None]
) -> None:
    fill(place, *(f"text {n} " * 300 for n in range(20)))
    with Palace.open(place) as palace:
        palace.backup(file)
        last = palace.add("dropped").drawer.seq
        shutil.copy(place / "palace.db-wal", place / "log")
    harm(place)
    lying = {each.name: each.read_bytes() for each in place.glob("palace.db*")}
    done = Palace.restore(file, place)
    assert done.seq > last
    assert texts_in(place) == {f"text {n} " * 300 for n in range(20)}
    assert (place / "palace.lock").read_text().strip() == done.palace_id
    if harm is full_of_holes:
        assert Path(done.replaced).is_file()
    elif lying:
        kept = Path(done.replaced).iterdir()
        assert {each.name: each.read_bytes() for each in kept} == lying
    else:
        assert done.replaced == ""
    assert not list(place.glob("*.unfinished*"))


def test_who_has_a_damaged_palace_open_meets_the_restored_one(place: Path, file: Path) -> None:
    fill(place, "one")
    with Palace.open(place) as palace:
        palace.backup(file)
        palace.add("in the log")
        without_its_row(place)
        with pytest.raises(StoreDamagedError):
            palace.status()
        done = Palace.restore(file, place)
        for _ in range(2):
            with pytest.raises(PalaceReplacedError):
                palace.add("lost")
        palace.reconnect()
        assert palace.status().palace_id == done.palace_id
        palace.add("two")
    assert texts_in(place) == {"one", "two"}


def test_a_damaged_file_that_never_was_a_palace_is_not_put_aside(place: Path, file: Path) -> None:
    fill(place, "one")
    with Palace.open(place) as palace:
        palace.backup(file)
    other = place.with_name("other")
    foreign_database(place, place.with_name("bookmarks"))
    other.mkdir()
    place.with_name("bookmarks").rename(other / "palace.db")
    before = (other / "palace.db").read_bytes()
    with pytest.raises(StoreDamagedError, match="another program"):
        Palace.restore(file, other)
    assert (other / "palace.db").read_bytes() == before
    assert [each.name for each in other.iterdir()] == ["palace.db"]


def test_of_restores_at_once_each_replaces_what_it_kept_or_nothing(
    crew: Crew, place: Path, file: Path
) -> None:
    fill(place, "one")
    with Palace.open(place) as palace:
        palace.backup(file)
    fill(place, "two")
    workers = [crew.start("restore", str(place), str(file)) for _ in range(3)]
    said = [each.ends()[0] for each in workers]
    done = sorted((each for each in said if each != "too late"), key=lambda each: each[1])
    assert [seq for _, seq, _ in done] == list(range(3, 3 + len(done)))
    assert texts_in(Path(done[0][2])) == {"one", "two"}
    assert all(texts_in(Path(kept)) == {"one"} for _, _, kept in done[1:])
    with Palace.open(place) as palace:
        assert palace.status().palace_id == done[-1][0]
    assert texts_in(place) == {"one"}


# Killed


def killed(
    crew: Crew, template: Path, case: str, where: str, stride: int, look: Callable[[Path], str]
) -> list[str]:
    """What is found after a kill at each event, the later ones in their order."""
    seen, event = [], 1
    while True:
        folder = shutil.copytree(template, template.with_name("copy"))
        victim = crew.start("die", str(folder / "palace"), case, event, where)
        code = victim.wait()
        assert code in (0, -signal.SIGKILL)
        acknowledged = "acknowledged" in victim.last_words()
        victim.close()
        seen.append(look(folder))
        assert seen[-1] == "new" or not acknowledged
        shutil.rmtree(folder)
        if code == 0:
            assert acknowledged
            return seen
        event += stride


STRIDES = [
    pytest.param("statement", 5),
    pytest.param("file", 47),
    pytest.param("statement", 1, marks=pytest.mark.stress),
    pytest.param("file", 1, marks=pytest.mark.stress),
]


@pytest.mark.parametrize(("where", "stride"), STRIDES)
@pytest.mark.parametrize("state", ["well", "missing"])
def test_killed_at_any_moment_of_a_restore_the_palace_is_the_old_or_the_new_one(
    crew: Crew, memory: Path, where: str, stride: int, state: str
) -> None:
    template = memory / "template"
    place = template / "palace"
    crew.run("prepare", str(place))
    crew.run("backup", str(place), str(template / "palace.restore"))
    fill(place, "later")
    with Palace.open(place) as palace:
        known = palace.changes(limit=1000)
    if state == "missing":
        (place / "palace.db").unlink()
    seen = killed(
        crew, template, "restore", where, stride, lambda folder: old_or_new(crew, folder, known)
    )
    assert seen == sorted(seen, reverse=True)  # "old", and from some moment on "new"
    assert set(seen) == {"old", "new"}


def old_or_new(crew: Crew, folder: Path, known: Sequence[Change]) -> str:
    place = folder / "palace"
    try:
        with Palace.open(place) as palace:
            last = palace.changes(limit=1000)[-1]
    except PalaceMissingError:
        last = known[-1]
        Palace.restore(folder / "palace.restore", place)
    rows, problems, palace_id = crew.run("inspect", str(place), False)
    assert problems == []
    assert (place / "palace.lock").read_text() == f"{palace_id}\n"
    if last == known[-1]:
        return "old"
    assert (last.kind, last.op) == ("palace", "restore")
    assert not any("later" in row for row in rows)
    return "new"


@pytest.mark.parametrize(("where", "stride"), STRIDES)
def test_killed_at_any_moment_of_a_backup_there_is_a_whole_one_or_none(
    crew: Crew, memory: Path, where: str, stride: int
) -> None:
    template = memory / "template"
    crew.run("prepare", str(template / "palace"))
    before = dump_of(str(template / "palace"))

    def look(folder: Path) -> str:
        assert dump_of(str(folder / "palace")) == before
        file = folder / "palace.backup"
        if not file.exists():
            return "old"
        Palace.restore(file, folder / "new")
        rows = [row for row in dump_of(str(folder / "new")) if "'palace', 'restore'" not in row]
        assert rows == before
        return "new"

    seen = killed(crew, template, "backup", where, stride, look)
    assert seen == sorted(seen, reverse=True)
    assert set(seen) == {"old", "new"}


def test_a_restore_that_cannot_get_the_lock_replaces_nothing(place: Path, file: Path) -> None:
    fill(place, "one")
    with Palace.open(place) as palace:
        palace.backup(file)
        palace.add("two")
        names = names_below(place)
        with (
            palace._store.write(palace._author),
            pytest.raises(StoreError, match="nothing was written"),
        ):
            Palace.restore(file, place, timeout_seconds=0.05)
        assert names_below(place) == names
    assert texts_in(place) == {"one", "two"}
