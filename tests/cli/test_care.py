import os
from pathlib import Path

import apsw
import pytest


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


def test_a_doctor_finds_what_is_wrong_and_repairs_what_is_derived(run, tmp_path: Path) -> None:
    run("add", "We ship on Fridays")
    assert run("doctor").out == "no problems found\n"
    assert run("doctor", "--json").json == {"problems": []}
    connection = apsw.Connection(str(tmp_path / "palace" / "palace.db"))
    connection.execute("DELETE FROM words")
    connection.close()
    ((what, _, cure),) = run("doctor", code=5).rows
    assert (what, cure) == ("chunks without full text", "--repair")
    run("search", "fridays", code=1)
    assert run("doctor", "--repair", "--json").json == {"problems": [], "rebuilt_chunks": 1}
    run("search", "fridays")


def test_a_doctor_tells_what_it_cannot_repair(run, tmp_path: Path) -> None:
    run("add", "x")
    (tmp_path / "palace" / "palace.db").chmod(0o644)
    sick = run("doctor", "--repair", code=5)
    assert "mode 044" in sick.out
    assert "does not help" in sick.err


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
