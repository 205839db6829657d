import pytest


def filed(run, text: str, *options: str) -> str:
    return run("add", text, *options).rows[0][0]


def test_an_update_changes_what_is_given_and_can_be_undone(run) -> None:
    key = filed(run, "We ship on Fridays", "--said-at", "2025-03")
    done = run("update", key, "We ship on Mondays", "--room", "ideas", "--kind", "decision").rows
    assert done == [[key, "changed"]]
    assert run("get", key).out == "We ship on Mondays"
    moved = run("update", key, "--wing", "shop", "--said-at", "", "--json").json
    assert (moved["id"], moved["changed"]) == (key, True)
    shown = run("get", key, "--json").json
    assert (shown["wing"], shown["room"], shown["kind"]) == ("shop", "ideas", "decision")
    assert "said_at" not in shown
    assert run("update", key, "--wing", "shop").rows == [[key, "unchanged"]]
    run("undo", str(moved["seq"]))
    assert run("get", key, "--json").json["said_at"] == "2025-03"


def test_an_update_reads_standard_input_byte_for_byte(run) -> None:
    key = filed(run, "x")
    run("update", key, "-", stdin=b"a\r\n\0b")
    assert run("get", key).out == "a\r\n\0b"


def test_an_update_onto_another_text_in_its_place_is_refused(run) -> None:
    key, other = filed(run, "one"), filed(run, "two")
    assert other in run("update", key, "two", code=3).err
    assert run("get", key).out == "one"


def test_a_pin_is_set_and_taken_away(run) -> None:
    key = filed(run, "x")
    assert run("pin", key).rows == [[key, "changed"]]
    assert run("pin", key).rows == [[key, "unchanged"]]
    assert [row[0] for row in run("list", "--pinned").rows] == [key]
    run("unpin", key)
    run("list", "--pinned", code=1)
    run("update", key, "--pin")
    run("update", key, "--unpin")
    run("list", "--pinned", code=1)


def test_a_delete_by_id_is_all_or_none_and_says_what_undoes_it(run) -> None:
    one, two = filed(run, "one"), filed(run, "two")
    assert "dunknown" in run("delete", one, "dunknown", code=1).err
    rows = run("delete", one, two).rows
    assert {row[0] for row in rows} == {one, two}
    run("list", code=1)
    run("undo", rows[0][1])
    assert len(run("list").rows) == 2


def test_a_whole_room_wing_or_source_needs_a_yes(run) -> None:
    filed(run, "one", "--room", "ideas")
    filed(run, "two", "--room", "ideas", "--source", "a.md")
    filed(run, "three", "--wing", "other", "--source", "a.md")
    assert "--yes" in run("delete", "--room", "ideas", code=2).err
    assert len(run("list").rows) == 3
    assert len(run("delete", "--source", "a.md", "--wing", "other", "--yes").rows) == 1
    assert len(run("delete", "--room", "ideas", "--yes", "--json").json["refs"]) == 2
    assert run("delete", "--wing", "other", "--yes", code=1).out == ""


def test_links_are_made_listed_and_removed(run) -> None:
    key = filed(run, "x", "--wing", "shop", "--room", "on/off")
    filed(run, "y", "--wing", "team", "--room", "notes")
    ((link, what),) = run("link", key, "team/notes", "--label", "decided here").rows
    assert what == "linked"
    again = run("link", "team/notes", key)
    assert again.rows == [[link, "known"]]
    assert "decided here" in again.err
    run("link", "shop/on/off", "team/notes")
    assert len(run("links").rows) == 2
    (row,) = run("links", key).rows
    assert row[:4] == [link, key, "team/notes", "decided here"]
    assert run("links", key, "--json").json["links"][0]["ends"] == [key, "team/notes"]
    assert run("unlink", link).rows[0][0] == link
    assert run("links", key, code=1).out == ""
    run("unlink", link, code=1)


def test_a_diary_keeps_every_entry(run) -> None:
    first = run("diary", "write", "ann", "slept", "--topic", "day", "--json").json
    run("diary", "write", "ann", "-", stdin=b"slept")
    rows = run("diary", "read", "ann").rows
    assert [row[1:2] + row[3:] for row in rows] == [["ann/diary", "ann", "diary", "slept"]] * 2
    page = run("diary", "read", "ann", "--limit", "1", "--json").json
    rest = run("diary", "read", "ann", "--cursor", page["cursor"], "--json").json["drawers"]
    assert [entry["id"] for entry in rest] == [first["id"]]
    assert run("diary", "read", "bob", code=1).out == ""


@pytest.mark.parametrize(
    "words",
    [
        ("update", "d1"),
        ("update", "d1", ""),
        ("update", "d1", "x", "--kind", "diary"),
        ("update", "d1", "--said-at", "soon"),
        ("update", "d1", "bad\udcff"),
        ("delete",),
        ("delete", "d1", "--wing", "a", "--yes"),
        ("link", "d1"),
        ("link", "a/", "b/c"),
        ("diary", "write", "", "x"),
        ("diary", "read", "ann", "--limit", "0"),
        ("log", "--limit", "0"),
        ("changes", "--follow", "--after", "-1"),
    ],
)
def test_what_cannot_be_used_is_exit_code_two_and_one_line(run, words) -> None:
    run("add", "something")
    refused = run(*words, code=2)
    assert refused.out == ""
    assert len(refused.err.splitlines()) == 1
    assert len(run("changes").rows) == 1


@pytest.mark.parametrize(
    "words",
    [("update", "d1", "x"), ("pin", "d1"), ("delete", "d1"), ("link", "d1", "d2"), ("links", "d1")],
)
def test_what_is_not_there_is_exit_code_one(run, words) -> None:
    run("add", "something")
    assert run(*words, code=1).out == ""
    assert len(run("changes").rows) == 1
