"""What a person sees: the same commands with a terminal at both ends."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from threading import Timer

from palatine import Palace
from tests.cli.conftest import SECONDS

_STYLE = re.compile(r"\x1b\[[0-9;]*m")


def seen(*words: str, typed: bytes = b"", code: int = 0) -> str:
    """What the terminal shows, without colours."""
    ours, theirs = pty.openpty()
    environment = dict(os.environ) | {"COLUMNS": "120", "TERM": "xterm"}
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "palatine", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    ) as process:
        os.close(theirs)
        watch = Timer(SECONDS, process.kill)
        watch.start()
        os.write(ours, typed)
        shown = b""
        try:
            while data := os.read(ours, 65536):
                shown += data
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
        process.wait()
        watch.cancel()
    assert process.returncode == code, shown
    return _STYLE.sub("", shown.decode()).replace("\r\n", "\n")


def test_nothing_in_a_text_acts_on_the_terminal(tmp_path: Path) -> None:
    with Palace.open(tmp_path / "palace", agent="ann\u202e") as palace:
        key = palace.add("tea \x1b[2J\x1b]0;title\x07 [bold]oolong[/bold] \u202e\x9b31m").drawer.id
        palace.knowledge.add("tea", "is", "[red]hot[/red] \u202e")
    for words in (["list"], ["search", "oolong"], ["get", key], ["kg", "show", "tea"], ["status"]):
        shown = seen(*words)
        assert not set(shown) & set("\x1b\x07\u202e\x9b"), words
    assert "[bold]oolong[/bold]" in seen("list")
    assert "[red]hot[/red]" in seen("kg", "show", "tea")


def test_a_person_gets_tables_with_heads_and_replies_with_the_way_back() -> None:
    reply = seen("add", "We ship on Fridays")
    assert re.fullmatch(r"filed in teashop/notes as \w+; palatine undo 1 takes it back\n", reply)
    assert seen("add", "We ship on Fridays").startswith("known already: ")
    table = seen("list")
    assert "drawer" in table
    assert "session" not in table
    assert "We ship on Fridays" in table
    assert seen("undo", "1").startswith("undone: ")
    assert "palatine undo 3" in seen("kg", "add", "a", "b", "c")


def test_a_long_text_is_cut_in_a_search_and_whole_when_asked_for(tmp_path: Path) -> None:
    with Palace.open(tmp_path / "palace") as palace:
        key = palace.add("oolong\n\n" + "word " * 2000 + "end").drawer.id
    assert f"… palatine get {key}" in seen("search", "oolong")
    assert seen("get", key).rstrip().endswith("word end")


def test_forget_asks_and_takes_no_for_an_answer() -> None:
    key = seen("add", "We ship on Fridays").split(" as ")[1].split(";")[0]
    shown = seen("forget", key, typed=b"n\n", code=1)
    assert f"Forget {key} (We ship on Fridays) for good?" in shown
    assert "nothing was done" in shown
    seen("get", key)
    assert "forgotten: " in seen("forget", key, typed=b"y\n")
    seen("get", key, code=1)
    seen("forget", key, typed=b"\x04", code=130)  # the end of the input


def test_deleting_a_whole_room_asks_and_says_the_way_back() -> None:
    for text in ("one", "two"):
        seen("add", text, "--room", "ideas")
    asked = seen("delete", "--room", "ideas", typed=b"n\n", code=1)
    assert "Delete 2 drawers of room ideas?" in asked
    assert "nothing was deleted" in asked
    done = seen("delete", "--room", "ideas", typed=b"y\n")
    assert "palatine undo 3 takes it back" in done
    seen("undo", "3")
    assert "one" in seen("log")
