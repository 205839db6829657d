from pathlib import Path

import pytest

from palatine import Author, NewDrawer, Palace


def test_a_text_needs_no_option_and_the_reply_says_where_it_went(run) -> None:
    (row,) = run("add", "We ship on Fridays").rows
    assert row[1:] == ["teashop/notes", "filed"]
    added = run("add", "We ship on Fridays", "--json").json
    assert added == {
        "id": row[0],
        "wing": "teashop",
        "room": "notes",
        "created": False,
        "seq": 0,
    }


@pytest.mark.parametrize(
    ("folder", "wing"),
    [
        ("code/teashop/src/deep", "teashop"),
        ("code", "code"),
        ("code/worktree/src", "worktree"),
        ("", "personal"),
        ("..", "personal"),
    ],
)
def test_the_wing_is_the_project_that_one_works_in(
    run, project: Path, monkeypatch: pytest.MonkeyPatch, folder: str, wing: str
) -> None:
    home = project.parents[1]
    (home / ".git").mkdir()  # dotfiles: no project
    (home / "code/worktree/src").mkdir(parents=True)
    (home / "code/worktree/.git").write_text("gitdir: elsewhere")
    (project / "src/deep").mkdir(parents=True)
    monkeypatch.chdir(home / folder)
    assert run("add", "x", "--json").json["wing"] == wing


def test_a_working_folder_that_is_gone_is_no_project(
    run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = project / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert run("add", "x", "--json").json["wing"] == "personal"


def test_standard_input_comes_back_byte_for_byte(process) -> None:
    data = "one\r\ntwo\x00\x1b[31m \u202e \U0001f375 \n\n".encode() + b"\xed\xb2\x80"
    (row,) = process("add", "-", "--room", "raw", stdin=data).rows
    assert row[1] == "teashop/raw"
    assert process("get", row[0]).bytes == data


def test_what_is_said_of_a_text_is_kept(run) -> None:
    words = ("--wing", "w", "--room", "r", "--kind", "decision", "--source", "a.md", "--pin")
    key = run("add", "Tea", *words, "--said-at", "2025-03", "--session", "s1", "--json").json["id"]
    shown = run("get", key, "--json").json
    del shown["filed_at"]
    assert shown == {
        "id": key,
        "text": "Tea",
        "wing": "w",
        "room": "r",
        "kind": "decision",
        "pinned": True,
        "source": "a.md",
        "author": "ann",
        "session": "s1",
        "said_at": "2025-03",
        "total_chars": 3,
    }


@pytest.mark.parametrize(
    ("variables", "agent", "session"),
    [
        ({"USER": "max"}, "max", ""),
        ({}, "cli", ""),
        ({"CLAUDE_CODE_SESSION_ID": "c1", "USER": "max"}, "claude-code", "c1"),
        ({"PALATINE_AGENT": "bot", "PALATINE_SESSION": "p1", "USER": "max"}, "bot", "p1"),
    ],
)
def test_the_environment_says_who_writes(
    run, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], agent: str, session: str
) -> None:
    for name in ("PALATINE_AGENT", "USER", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    run("add", "x")
    (change,) = run("changes", "--json").json["changes"]
    assert (change.get("agent", ""), change.get("session", "")) == (agent, session)


def test_a_search_prints_lines_in_a_pipe_and_the_tools_shape_as_json(run) -> None:
    run("add", "We ship on\nFridays\tonly", "--said-at", "2025-02-11")
    run("add", "Oolong is called blue tea")
    ((key, place, date, confidence, text),) = run("search", "when", "fridays").rows
    assert (place, date, text) == ("teashop/notes", "2025-02-11", "We ship on Fridays only")
    assert 0 < float(confidence) <= 1
    (hit,) = run("search", "fridays", "--json").json["hits"]
    assert (hit["id"], hit["text"]) == (key, "We ship on\nFridays\tonly")


def test_a_search_without_a_hit_says_what_is_there_and_what_to_try(run) -> None:
    run("add", "x", "--wing", "shop")
    nothing = run("search", "zebra", code=1)
    assert nothing.out == ""
    assert "1 drawers in shop" in nothing.err
    assert "palatine kg show" in nothing.err
    assert run("search", "zebra", "--json", code=1).json["hits"] == []
    assert run("search", "x", "--wing", "elsewhere", code=1).out == ""


def test_operators_and_quotes_in_a_search_are_text(run) -> None:
    run("add", "alpha beta")
    for query in ('alpha" AND (', "NOT alpha", "alpha*", '"alpha beta"'):
        assert run("search", "--", query).rows


def test_a_list_has_pages_and_says_how_to_go_on(run) -> None:
    for number in range(5):
        run("add", f"text {number}")
    first = run("list", "--limit", "3")
    assert [row[5] for row in first.rows] == ["text 4", "text 3", "text 2"]
    cursor = first.err.split("--cursor ")[1].strip()
    last = run("list", "--limit", "3", "--cursor", cursor, "--json").json
    assert [drawer["text"] for drawer in last["drawers"]] == ["text 1", "text 0"]
    assert last["cursor"] == ""


def test_an_empty_list_says_so(run) -> None:
    run("kg", "add", "a", "b", "c")
    nothing = run("list", code=1)
    assert (nothing.out, "no drawer yet" in nothing.err) == ("", True)
    assert run("list", "--pinned", "--json", code=1).json == {"drawers": [], "cursor": ""}


def test_a_command_takes_the_palace_before_and_after_its_name(run, tmp_path: Path) -> None:
    here, there = str(tmp_path / "here"), str(tmp_path / "there")
    run("--palace", here, "add", "x")
    run("add", "y", "--palace", there)
    assert run("list", "--palace", here).rows[0][5] == "x"
    assert run("--palace", here, "list", "--palace", there).rows[0][5] == "y"
    assert not (tmp_path / "palace").exists()


def test_reading_makes_no_palace(run, tmp_path: Path) -> None:
    for words in (["search", "x"], ["list"], ["status"], ["kg", "stats"], ["undo", "1"]):
        assert "no palace" in run(*words, code=4).err
    assert not (tmp_path / "palace").exists()


def test_many_texts_of_any_kind_are_listed_on_one_line_each(run, tmp_path: Path) -> None:
    with Palace.open(tmp_path / "palace") as palace:
        texts = ["a\tb\nc", "\x1b[2J", "\udc80", "x" * 5000, "\u202eabc", " "]
        palace.add_many([NewDrawer(text) for text in texts], author=Author("a\u202eb"))
    out = run("list").out
    assert len(out.splitlines()) == len(texts)
    assert not set(out) & set("\x1b\u202e\udc80")
    listed = [drawer["text"] for drawer in run("list", "--json").json["drawers"]]
    assert sorted(listed) == sorted(texts)


def test_an_empty_wing_is_told_from_an_empty_palace(run) -> None:
    run("add", "We ship on Fridays")
    assert "wing nowhere holds no drawer" in run("list", "--wing", "nowhere", code=1).err
    assert "wing nowhere" in run("search", "fridays", "--wing", "nowhere", code=1).err
    assert "the palace holds 1 drawers in teashop" in run("list", "--kind", "diary", code=1).err


def test_a_mistyped_command_is_told_the_near_one(run) -> None:
    assert "did you mean search?" in run("serach", "fridays", code=2).err
    assert "did you mean" not in run("xyzzy", code=2).err


def test_changes_after_the_last_one_name_it(run) -> None:
    run("add", "We ship on Fridays")
    assert "the last one of all is 1" in run("changes", "--after", "7", code=1).err
