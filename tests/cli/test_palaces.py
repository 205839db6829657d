"""Several palaces: which are known, their names, and the shell's completion of them."""

import os
import pty
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from palatine import Palace
from tests.cli.conftest import SECONDS
from tests.server.client import Client


def test_what_was_written_to_is_known_and_gone_when_it_is_gone(run, tmp_path: Path) -> None:
    assert "no palace is known yet" in run("palaces").err
    run("add", "one")
    run("kg", "add", "a", "b", "c")
    run("add", "x", "--palace", str(tmp_path / "other"))
    changed = run("changes", "--json").json["changes"][-1]["at"]
    (tmp_path / "other").rename(tmp_path / "moved")
    assert run("palaces").rows == [
        ["", str(tmp_path / "other"), "gone", "", ""],
        ["", str(tmp_path / "palace"), "there", "1", changed],
    ]
    run("palaces", "forget", str(tmp_path / "other"))
    assert [each["place"] for each in run("palaces", "--json").json] == [str(tmp_path / "palace")]
    assert run("palaces", "list", "--json").json[0]["drawers"] == 1
    run("palaces", "forget", str(tmp_path / "other"), code=1)


def test_a_palace_that_cannot_be_read_is_listed_with_the_reason(run, tmp_path: Path) -> None:
    run("add", "one")
    for path in (tmp_path / "palace").glob("palace.db*"):
        path.write_bytes(b"no database" * 1000)
    state = run("palaces").rows[0][2]
    assert str(tmp_path / "palace") in state
    assert state != "there"


def test_listing_touches_no_palace_and_sees_what_a_server_just_wrote(run, tmp_path: Path) -> None:
    with Client(sys.executable, "-m", "palatine", "mcp") as client:
        client.initialize()
        client.call("add_drawer", text="one")
        client.call("add_drawer", text="two")
        assert run("palaces").rows[0][2:4] == ["there", "2"]


def test_only_the_first_opening_to_write_is_noted_and_reading_is_not(
    run, tmp_path: Path, project: Path
) -> None:
    notes = project.parents[1] / ".local" / "state" / "palatine" / "palaces"
    run("add", "one")
    (note,) = notes.iterdir()
    before = note.stat()
    assert before.st_mode & 0o777 == 0o600
    run("add", "two")
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "palace")
    run("add", "three", "--palace", str(link))
    assert [path.stat() for path in notes.iterdir()] == [before]
    note.unlink()
    with Palace.open(tmp_path / "palace", read_only=True) as palace:
        assert palace.status().drawers == 3
    assert list(notes.iterdir()) == []


@pytest.mark.parametrize("state", ["file/below", "/proc/nonexistent", "relative"])
def test_where_nothing_can_be_noted_the_palace_opens_all_the_same(
    run, tmp_path: Path, project: Path, state: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    folder = state if state == "relative" else str(tmp_path / state)
    monkeypatch.setenv("XDG_STATE_HOME", folder)
    run("add", "one")
    assert run("list").rows
    assert not (project / "relative").exists()


def test_a_name_finds_the_palace_unless_a_folder_is_called_so(
    run, tmp_path: Path, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", "one")
    named = run("palaces", "name", "work")
    assert named.out == f"{tmp_path / 'palace'} is called work\n"
    monkeypatch.setenv("PALATINE_PALACE", str(tmp_path / "other"))
    run("list", code=4)
    assert run("list", "--palace", "work").rows[0][5] == "one"
    assert run("status", "--palace", "work").rows[1] == ["name", "work"]
    assert run("status", "--palace", "work", "--json").json["palace"]["name"] == "work"
    assert run("palaces").rows[0][:3] == ["work", str(tmp_path / "palace"), "there"]
    run("list", "--palace", "./work", code=4)
    (project / "work").mkdir()
    assert f"{project / 'work'}: there is no palace" in run("list", "--palace", "work", code=4).err
    (project / "work").rmdir()
    run("palaces", "forget", "work")
    run("add", "x", "--palace", "work")
    assert (project / "work" / "palace.db").exists()
    assert (tmp_path / "palace" / "palace.db").exists()


def test_a_name_that_is_nearly_one_makes_no_new_palace(run, project: Path) -> None:
    run("add", "one")
    run("palaces", "name", "work")
    told = run("add", "x", "--palace", "wrok", code=1).err
    assert "there is work" in told
    assert not (project / "wrok").exists()
    run("add", "x", "--palace", "./wrok")


def test_a_server_takes_a_name_and_tells_it(run, tmp_path: Path) -> None:
    run("add", "one")
    run("palaces", "name", "work")
    with Client(sys.executable, "-m", "palatine", "mcp", "--palace", "work") as client:
        client.initialize()
        palace = client.call("status")["palace"]
    assert (palace["name"], palace["place"]) == ("work", str(tmp_path / "palace"))


def test_names_are_plain_and_belong_to_one_palace_each(run, tmp_path: Path) -> None:
    run("add", "one")
    run("add", "x", "--palace", "other")
    for name in ("", " ", "a/b", "-x", "~", "..", "a b", "a\nb", "x" * 65):
        assert "no palace can be called" in run("palaces", "name", "--", name, code=2).err
    run("palaces", "name", "work")
    run("palaces", "name", "work", str(tmp_path / "palace"))
    assert "is called work" in run("palaces", "name", "work", "other", code=3).err
    assert "no palace here" in run("palaces", "name", "x", str(tmp_path / "none"), code=1).err
    run("palaces", "name", "büro")
    run("palaces", "name", "work", "other")
    assert sorted(row[0] for row in run("palaces").rows) == ["büro", "work"]


# Completion


def bash(script: str) -> str:
    """What an interactive bash shows that is typed a script."""
    ours, theirs = pty.openpty()
    surroundings = os.environ | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}",
        "INPUTRC": os.devnull,
        "TERM": "dumb",
        "PS1": "$ ",
    }
    with subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=surroundings,
        start_new_session=True,
    ) as process:
        os.close(theirs)
        watch = Timer(SECONDS, process.kill)
        watch.start()
        os.write(ours, f"{script}\nexit\n".encode())
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
        process.wait()
        watch.cancel()
    return shown.decode()


def test_bash_completes_commands_options_and_names_of_palaces(
    run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", "one")
    run("palaces", "name", "work")
    monkeypatch.setenv("PALATINE_PALACE", str(tmp_path / "other"))
    shown = bash('eval "$(palatine completion bash)"\npalatine sta\t --pal\t wo\t | cat')
    assert "palatine status  --palace  work" in shown
    assert str(tmp_path / "palace") in shown


@pytest.mark.parametrize(
    ("words", "place", "wanted"),
    [
        ("palatine ree", 1, ["plain,reembed"]),
        ("palatine config set em", 3, ["plain,embedder", "plain,embedder_model"]),
        ("palatine add --palace w", 3, ["dir,w", "plain,work"]),
        ("palatine add --palace x", 3, ["dir,x"]),
        ("palatine completion ", 2, ["plain,bash", "plain,zsh", "plain,fish"]),
    ],
)
def test_what_a_shell_is_offered(
    run, words: str, place: int, wanted: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", "one")
    run("palaces", "name", "work")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(place))
    monkeypatch.setenv("_PALATINE_COMPLETE", "bash_complete")
    assert run().out.splitlines() == wanted


def test_completion_is_silent_about_broken_settings(run, project: Path, monkeypatch) -> None:
    settings = project.parents[1] / ".config" / "palatine" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("broken")
    monkeypatch.setenv("COMP_WORDS", "palatine add --palace w")
    monkeypatch.setenv("COMP_CWORD", "3")
    monkeypatch.setenv("_PALATINE_COMPLETE", "bash_complete")
    told = run()
    assert (told.out.strip(), told.err) == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_has_its_script(run, shell: str) -> None:
    assert f"_PALATINE_COMPLETE={shell}_complete" in run("completion", shell).out
    assert f"palatine completion {shell}" in run("completion", "--help").out
