import os
from pathlib import Path

import apsw
import pytest

from palatine import Palace
from palatine.types import AREAS


def test_status_tells_what_the_palace_holds(run, tmp_path: Path) -> None:
    run("add", "x", "--room", "ideas")
    run("kg", "add", "a", "b", "c")
    rows = run("status").rows
    assert ["palace", str(tmp_path / "palace")] in rows
    assert ["facts", "1", "1 now, 0 past, 0 to come"] in rows
    assert ["room", "teashop/ideas", "1"] in rows
    state = run("status", "--json").json
    assert (state["drawers"], state["seq"], state["wings"]) == (1, 2, {"teashop": {"ideas": 1}})


def test_changes_tell_who_did_what(run) -> None:
    key = run("add", "x", "--session", "s1").rows[0][0]
    run("kg", "add", "a", "b", "c", "--agent", "bob")
    rows = run("changes").rows
    assert [row[0] for row in rows] == ["1", "2"]
    assert rows[0][2:] == ["ann", "add", "drawer", key, "teashop", "s1"]
    assert run("changes", "--after", "1", "--json").json["last_seq"] == 2
    assert [row[2] for row in run("changes", "--agent", "bob").rows] == ["bob"]
    assert run("changes", "--after", "2", code=1).out == ""


def test_undo_takes_back_one_change_a_session_or_all_since(run) -> None:
    first = run("add", "one", "--json").json
    run("add", "two", "--session", "s1")
    assert run("undo", str(first["seq"])).rows == [[first["id"]]]
    assert [row[5] for row in run("list").rows] == ["two"]
    run("undo", "--session", "s1", "--json")
    run("list", code=1)
    run("undo", "3")  # the undo of the first one
    assert [row[5] for row in run("list").rows] == ["one"]
    run("undo", "--since", "2020")
    run("list", code=1)


def test_undo_refuses_where_somebody_has_built_on_it(run) -> None:
    seq = run("kg", "add", "a", "b", "c", "--json").json["seq"]
    run("kg", "end", "a", "b", "c", "--agent", "bob")
    assert "by bob" in run("undo", str(seq), code=3).err
    assert run("undo", "99", code=1).out == ""
    assert "seq, session or since" in run("undo", code=2).err
    run("undo", "1", "--session", "s", code=2)


def test_forget_asks_a_person_and_needs_yes_from_a_program(run, tmp_path: Path) -> None:
    secret = "The spare key lies under the third flowerpot"
    key = run("add", secret).rows[0][0]
    assert "--yes" in run("forget", key, code=2).err
    assert run("get", key).out == secret
    assert run("forget", key, "--yes", "--json").json["refs"] == [key]
    run("get", key, code=1)
    run("undo", "1", code=3)
    assert "no" in run("forget", "dunknown", "--yes", code=1).err
    held = b"".join(path.read_bytes() for path in (tmp_path / "palace").iterdir())
    assert secret.encode()[4:30] not in held


# Backup and restore


def test_a_backup_is_restored_under_another_name_or_in_the_same_place(run, tmp_path: Path) -> None:
    run("add", "kept")
    ((path, seq, size),) = run("backup").rows
    assert Path(path).parent == tmp_path / "palace" / "backups"
    assert (seq, int(size)) == ("1", Path(path).stat().st_size)
    run("add", "dropped")
    assert "--yes" in run("restore", path, code=2).err
    assert [row[5] for row in run("list").rows] == ["dropped", "kept"]
    done = run("restore", path, "--yes", "--json").json
    assert [row[5] for row in run("list").rows] == ["kept"]
    assert ["id", done["palace_id"]] in run("status").rows
    assert run("log").rows[-1][0::3] == ["3", "restore", ""]
    back = run("restore", done["replaced"], "--yes")
    assert "is kept in" in back.err
    assert [row[5] for row in run("list").rows] == ["dropped", "kept"]
    run("restore", path, "--yes", "--palace", str(tmp_path / "elsewhere"))
    assert [row[5] for row in run("list", "--palace", str(tmp_path / "elsewhere")).rows] == ["kept"]


def test_a_backup_in_a_folder_is_one_of_so_many(run, tmp_path: Path) -> None:
    run("add", "x")
    made = [run("backup", str(tmp_path), "--keep", "2") for _ in range(3)]
    assert made[2].err == f"removed {made[0].rows[0][0]}\n"
    assert len(list(tmp_path.glob("backup-*.db"))) == 2
    told = run("backup", str(tmp_path / "named.db"), "--json").json
    assert (told["path"], told["seq"], told["removed"]) == (str(tmp_path / "named.db"), 1, [])
    assert "there already" in run("backup", str(tmp_path / "named.db"), code=2).err
    assert "the palace's own" in run("backup", str(tmp_path / "palace" / "palace.db"), code=2).err
    run("backup", str(tmp_path / "named.db"), "--keep", "1", code=2)
    run("backup", str(tmp_path), "--keep", "0", code=2)


def test_what_is_no_backup_is_not_restored(run, tmp_path: Path) -> None:
    run("add", "x")
    (tmp_path / "notes").write_text("mine " * 200)
    assert "not a palace" in run("restore", str(tmp_path / "notes"), "--yes", code=4).err
    assert "no file" in run("restore", str(tmp_path / "nothing"), "--yes", code=1).err
    itself = run("restore", str(tmp_path / "palace"), "--yes", code=2).err
    assert "the palace itself" in itself
    run("get", run("list").rows[0][0])


# Trash


def test_the_trash_shows_what_undo_puts_back_until_it_is_emptied(run, tmp_path: Path) -> None:
    first = run("add", "the first wording of the riddle").rows[0][0]
    second = run("add", "a walrus in the pantry of the house").rows[0][0]
    run("update", first, "the second wording of the riddle")
    run("delete", second)
    rows = run("trash").rows
    assert [(row[0], *row[3:6]) for row in rows] == [
        ("4", "delete", "drawer", "35"),
        ("3", "update", "drawer", "31"),
    ]
    assert [row[6] for row in run("trash", "--limit", "1").rows] == [
        "a walrus in the pantry of the house"
    ]
    told = run("trash", "--json").json["trash"][1]
    assert (told["seq"], told["words"]) == (3, "the first wording of the riddle")
    run("undo", "4")
    assert run("get", second).out == "a walrus in the pantry of the house"
    run("delete", second)
    assert "--yes" in run("trash", "empty", code=2).err
    assert run("trash", "empty", "--older-than", "30d", "--yes", "--json").json == {"removed": 0}
    assert run("trash", "empty", "--yes").out == "removed for good: 3\n"
    assert "is empty" in run("trash", code=1).err
    assert "not kept any more" in run("undo", "3", code=3).err
    held = b"".join(path.read_bytes() for path in (tmp_path / "palace").glob("palace.*"))
    assert b"walrus in the pantry" not in held
    assert b"first wording of" not in held
    assert run("get", first).out == "the second wording of the riddle"
    run("doctor")


def test_an_age_is_hours_days_or_weeks(run) -> None:
    run("delete", run("add", "x").rows[0][0])
    for age in ("30", "d", "30m", "-1d", "1e3d"):
        assert "no age" in run("trash", "empty", "--older-than", age, "--yes", code=2).err
    for age in ("36h", "1d", "8w", "99999w"):
        told = run("trash", "empty", "--older-than", age, "--yes", "--json").json
        assert told == {"removed": 0}
    assert run("trash", "empty", "--older-than", "0h", "--yes", "--json").json == {"removed": 1}
    run("trash", "--older-than", "1d", code=2)


def test_what_an_undo_replaced_is_not_taken_away_when_the_trash_was_emptied(run) -> None:
    """Undone is then a change before which something may have stood, though nothing is kept."""
    key = run("add", "one").rows[0][0]
    run("update", key, "two")
    run("undo", "2")
    run("trash", "empty", "--yes")
    assert "not kept any more" in run("undo", "3", code=3).err
    assert run("get", key).out == "one"


# Doctor


def change(tmp_path: Path, sql: str) -> None:
    connection = apsw.Connection(str(tmp_path / "palace" / "palace.db"))
    connection.execute(sql)
    connection.close()


def areas(run_: object) -> dict[str, str]:
    return {row[0]: row[1] for row in run_.rows}  # type: ignore[attr-defined]


def test_a_doctor_says_of_everything_whether_it_is_well(run) -> None:
    run("add", "We ship on Fridays")
    rows = run("doctor").rows
    assert [row[0] for row in rows] == list(AREAS)
    assert {row[1] for row in rows} == {"ok"}
    remarks = {row[0]: row[2] for row in rows}
    assert remarks["SQLite"].startswith("version 3.")
    assert remarks["vectors"] == "1 passages not embedded yet"
    told = run("doctor", "--json").json
    assert [check["area"] for check in told["checks"]] == list(AREAS)
    assert (all(check["ok"] for check in told["checks"]), told["problems"]) == (True, [])


def young(tmp_path: Path) -> None:
    (tmp_path / "palace" / "palace.db.0.unfinished").touch()


def old(tmp_path: Path) -> None:
    for path in (tmp_path / "palace", tmp_path / "palace" / "backups"):
        path.mkdir(exist_ok=True, mode=0o700)
        (path / "palace.db.0.unfinished-wal").touch()
        os.utime(path / "palace.db.0.unfinished-wal", (0, 0))


def tokens(tmp_path: Path) -> None:
    (tmp_path / "palace" / "tokens").mkdir(mode=0o700)
    (tmp_path / "palace" / "tokens" / "mine").write_text("secret")
    (tmp_path / "palace" / "tokens" / "mine").chmod(0o644)


DERIVED = {
    "full text, missing": ("full text", "DELETE FROM words"),
    "full text, too much": ("full text", "INSERT INTO words(rowid, text) VALUES (99, 'x')"),
    "full text, damaged": ("SQLite", "DELETE FROM words_data WHERE id > 10"),
    "chunks": ("texts", "UPDATE chunk SET end = end + 1"),
    "vectors": ("vectors", "DELETE FROM pending"),
    "modes": ("files", lambda tmp_path: (tmp_path / "palace" / "palace.db").chmod(0o644)),
    "mode of the folder": ("files", lambda tmp_path: (tmp_path / "palace").chmod(0o755)),
    "keys": ("files", tokens),
    "leftovers": ("leftovers", old),
}


@pytest.mark.parametrize("case", DERIVED)
def test_a_doctor_finds_what_is_derived_and_wrong_and_repairs_it(
    run, tmp_path: Path, case: str
) -> None:
    run("add", "We ship on Fridays")
    area, harm = DERIVED[case]
    if callable(harm):
        harm(tmp_path)
    else:
        change(tmp_path, harm)
    sick = run("doctor", code=5)
    assert {row[0] for row in sick.rows if row[1] != "ok"} == {area}
    assert {row[3] for row in sick.rows if row[1] != "ok"} == {"--repair"}
    cured = run("doctor", "--repair")
    assert "made anew: 1 chunks" in cured.err
    assert set(areas(cured).values()) == {"ok"}
    run("search", "fridays")
    assert run("doctor", "--repair", "--json").json["rebuilt_chunks"] == 1


def test_a_doctor_makes_a_damaged_index_anew(run, tmp_path: Path) -> None:
    for n in range(3):
        run("add", f"text {n}")
    connection = apsw.Connection(str(tmp_path / "palace" / "palace.db"))
    page = connection.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'drawer_filed'").get
    connection.close()
    with (tmp_path / "palace" / "palace.db").open("r+b") as data:
        data.seek((page - 1) * 4096)
        data.write(b"\x0a" + bytes(4) + b"\x10\x00\x00")  # an index page without entries
    sick = run("doctor", code=5)
    assert {(row[0], row[3]) for row in sick.rows if row[1] != "ok"} == {("SQLite", "--repair")}
    run("doctor", "--repair")
    assert len(run("list").rows) == 3


def test_a_doctor_leaves_alone_what_somebody_may_be_making(run, tmp_path: Path) -> None:
    run("add", "x")
    young(tmp_path)
    run("doctor", "--repair")
    assert (tmp_path / "palace" / "palace.db.0.unfinished").exists()


@pytest.mark.parametrize(
    ("area", "harm"),
    [
        ("texts", "UPDATE drawer SET text = CAST('another' AS BLOB)"),
        ("rows", "UPDATE drawer SET metadata = '{'"),
        ("change feed", "UPDATE change SET seq = 7 WHERE seq = 1"),
        ("tables", "DROP INDEX drawer_pinned"),
    ],
)
def test_a_doctor_tells_what_it_cannot_repair(run, tmp_path: Path, area: str, harm: str) -> None:
    run("add", "x")
    change(tmp_path, harm)
    sick = run("doctor", code=5)
    assert (area, "") in {(row[0], row[3]) for row in sick.rows if row[1] != "ok"}
    assert "does not help" in sick.err


def test_a_doctor_warns_of_a_synced_folder_and_of_another_palaces_lock(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", "x")
    (tmp_path / "palace").rename(tmp_path / "Dropbox")
    monkeypatch.setenv("PALATINE_PALACE", str(tmp_path / "Dropbox"))
    assert areas(run("doctor", code=5))["folder"] == "synced folder"
    (tmp_path / "Dropbox" / "palace.lock").write_text("another\n")
    with Palace.open(tmp_path / "Dropbox", read_only=True) as palace:
        assert [each.area for each in palace.check()] == ["lock file"]
    assert areas(run("doctor", code=5))["lock file"] == "ok"  # whoever opens it writes its own id


def test_a_palace_that_is_no_palace_is_exit_code_four_and_one_line(run, tmp_path: Path) -> None:
    folder = tmp_path / "palace"
    folder.mkdir()
    (folder / "palace.db").write_bytes(b"not a database, " * 100)
    for words in (["add", "x"], ["status"], ["doctor"]):
        refused = run(*words, code=4)
        assert len(refused.err.splitlines()) == 1
    run("status", "--palace", str(folder / "palace.db"), code=4)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no such files here")
def test_a_palace_whose_database_is_gone_is_not_made_anew(run, tmp_path: Path) -> None:
    run("add", "x")
    for path in (tmp_path / "palace").glob("palace.db*"):
        path.unlink()
    assert "is gone" in run("add", "y", code=4).err
    assert "is gone" in run("list", code=4).err
