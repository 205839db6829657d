import stat
from pathlib import Path

import pytest


@pytest.fixture
def filled(run) -> None:
    run("add", "We ship on Fridays")
    run("kg", "add", "Max", "works_at", "Acme")


@pytest.mark.usefixtures("filled")
def test_a_palace_goes_out_and_comes_in(run, tmp_path: Path) -> None:
    file = tmp_path / "memory.jsonl"
    assert ["drawer", "1"] in run("export", str(file)).rows
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    there = ("--palace", str(tmp_path / "there"))
    done = run("import", str(file), *there)
    assert done.rows == [
        ["drawer", "1", "0", "0"],
        ["entity", "2", "0", "0"],
        ["fact", "1", "0", "0"],
    ]
    assert "drawers: 0 before, 1 after" in done.err
    again = run("import", str(file), "--json", *there).json
    assert (again["added"], again["known"]["drawer"], again["last_seq"]) == ({}, 1, 0)
    assert run("search", "fridays", *there).rows[0][4] == "We ship on Fridays"


@pytest.mark.usefixtures("filled")
def test_an_export_goes_through_a_pipe(process, run, tmp_path: Path) -> None:
    out = process("export", "-").bytes
    there = ("--palace", str(tmp_path / "there"))
    run("import", "-", *there, stdin=out)
    assert run("list", *there).rows[0][5] == "We ship on Fridays"


@pytest.mark.usefixtures("filled")
def test_a_dry_run_makes_nothing(run, tmp_path: Path) -> None:
    file = tmp_path / "memory.jsonl"
    run("export", str(file))
    run("import", str(file), "--dry-run", "--palace", str(tmp_path / "there"), code=4)
    assert not (tmp_path / "there").exists()
    assert run("import", str(file), "--dry-run").rows[0] == ["drawer", "0", "1", "0"]
    assert len(run("changes").rows) == 2


@pytest.mark.usefixtures("filled")
def test_an_export_replaces_an_export_and_nothing_else(run, tmp_path: Path) -> None:
    file = tmp_path / "memory.jsonl"
    file.write_text("mine")
    assert "left alone" in run("export", str(file), code=2).err
    assert file.read_text() == "mine"
    run("export", str(tmp_path / "palace" / "palace.db"), code=2)
    run("export", str(tmp_path), code=2)
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    run("export", str(tmp_path / "link"), code=2)
    file.unlink()
    run("export", str(file))
    run("add", "more")
    run("export", str(file), "--json")
    assert "more" in file.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "home",
        "link",
        "memory.jsonl",
        "palace",
    ]


@pytest.mark.usefixtures("filled")
def test_half_an_export_is_exit_code_two_and_one_line(run, tmp_path: Path) -> None:
    file = tmp_path / "memory.jsonl"
    run("export", str(file))
    file.write_bytes(file.read_bytes()[:-20])
    refused = run("import", str(file), "--palace", str(tmp_path / "there"), code=2)
    assert len(refused.err.splitlines()) == 1
    assert "nothing was imported" in refused.err
    run("import", str(tmp_path / "nowhere"), code=4)


@pytest.mark.usefixtures("filled")
def test_what_differs_is_named(run, tmp_path: Path) -> None:
    key = run("list").rows[0][0]
    file = tmp_path / "memory.jsonl"
    run("export", str(file))
    run("update", key, "We ship on Mondays")
    done = run("import", str(file))
    assert done.rows[0] == ["drawer", "0", "0", "1"]
    assert f"left so: drawer {key}" in done.err
    assert run("get", key).out == "We ship on Mondays"


def test_a_folder_of_markdown_is_for_reading_and_leaves_foreign_files_alone(
    run, tmp_path: Path
) -> None:
    one = run("add", "We ship on: Fridays/..\nsince ever", "--wing", "../shop", "--room", "a").rows
    two = run("add", "Why?", "--wing", "team", "--room", "b", "--said-at", "2025-03").rows
    run("add", "-", "--wing", "team", "--room", "b", stdin=b"\xed\xb3\xbf\x00")
    run("link", one[0][0], two[0][0], "--label", "see")
    run("link", one[0][0], "team/b")
    run("kg", "add", "Max", "works_at", "Acme", "--from", "2024")
    notes = tmp_path / "notes"
    assert run("export", "--markdown", str(notes), "--json").json == {"files": 6, "foreign": []}
    (page,) = (notes / "shop" / "a").iterdir()
    assert page.name == f"We ship on  Fridays .. since ever {one[0][0]}.md"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    text = page.read_text()
    assert text.startswith(f'---\npalatine: drawer\nid: "{one[0][0]}"\nwing: "../shop"\n')
    assert "We ship on: Fridays/..\nsince ever" in text
    other = f"team/b/Why {two[0][0]}"
    assert f"- [[{other}]] (see)\n" in text
    assert (notes / f"{other}.md").is_file()
    assert "- [[team/b]]\n" in text
    assert f"[[{other}]]" in (notes / "team" / "b.md").read_text()
    assert "- Max works_at Acme from 2024\n" in (notes / "Facts.md").read_text()
    (notes / "Facts.md").write_text("mine")
    page.unlink()
    page.symlink_to(tmp_path / "nowhere")
    again = run("export", "--markdown", str(notes))
    assert again.out.startswith("4 files")
    assert len(again.err.splitlines()) == 2
    assert (notes / "Facts.md").read_text() == "mine"
    assert not (tmp_path / "nowhere").exists()
