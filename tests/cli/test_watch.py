"""`palatine watch`: real processes over real folders, and the commands of rules."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace, rules
from palatine.errors import InputError
from tests.cli.conftest import SECONDS

Start = Callable[..., subprocess.Popen[str]]


def until(true: Callable[[], Any]) -> Any:
    """Waits, bounded, for what another process does."""
    end = time.monotonic() + SECONDS
    pause = threading.Event()
    while not (found := true()):
        assert time.monotonic() < end, "it never came"
        pause.wait(0.05)
    return found


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts watches whose words stand in files, `.out` and `.err`; ends those that still run."""
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        number = len(started)
        with (
            (tmp_path / f"{number}.out").open("w") as out,
            (tmp_path / f"{number}.err").open("w") as err,
        ):
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", "palatine", "watch", "--no-embed", *words],
                stdout=out,
                stderr=err,
                text=True,
            )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait(SECONDS)


def told(tmp_path: Path, number: int = 0) -> str:
    return (tmp_path / f"{number}.out").read_text() + (tmp_path / f"{number}.err").read_text()


def texts(tmp_path: Path) -> set[str]:
    if not (tmp_path / "palace" / "palace.db").exists():
        return set()
    with Palace.open(tmp_path / "palace", embedder="none") as palace:
        return {drawer.text for drawer in palace.list(limit=1000)}


def own_rules(project: Path, text: str) -> Path:
    path = project.parents[1] / ".config" / "palatine" / "palatine.toml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o600)
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_watch_catches_up_files_what_comes_and_ends_well(
    project: Path, tmp_path: Path, start: Start, end: signal.Signals
) -> None:
    (project / "old.md").write_text("old")
    process = start(str(project))
    until(lambda: "old" in texts(tmp_path))
    (project / "new.md").write_text("new")
    until(lambda: "new" in texts(tmp_path))
    (project / "new.md").unlink()
    (project / "two\nlines.pdf").write_bytes(b"%PDF-1.4 broken")
    (project / "last.md").write_text("last")
    until(lambda: "not read: two lines.pdf: " in told(tmp_path))
    until(lambda: "last" in texts(tmp_path))
    assert "new" in texts(tmp_path), "a watch deletes nothing"
    process.send_signal(end)
    assert process.wait(SECONDS) == 0
    assert "watching" in told(tmp_path)
    assert "1 added" in told(tmp_path)
    assert "Traceback" not in told(tmp_path)


def test_a_folder_that_vanishes_and_comes_back_is_watched_again(
    project: Path, tmp_path: Path, start: Start
) -> None:
    (project / "old.md").write_text("old")
    process = start(str(project))
    until(lambda: "old" in texts(tmp_path))
    away = project.with_name("away")
    project.rename(away)
    until(lambda: "gone, waiting" in told(tmp_path))
    away.rename(project)
    (project / "new.md").write_text("new")
    until(lambda: "new" in texts(tmp_path))
    process.send_signal(signal.SIGTERM)
    assert process.wait(SECONDS) == 0


def test_of_two_watches_one_works_and_the_other_takes_over_when_it_is_killed(
    project: Path, tmp_path: Path, start: Start
) -> None:
    (project / "old.md").write_text("old")
    first = start(str(project))
    until(lambda: "old" in texts(tmp_path))
    second = start(str(project))
    until(lambda: "standing by" in told(tmp_path, 1))
    first.kill()
    assert first.wait(SECONDS) == -signal.SIGKILL
    (project / "new.md").write_text("new")
    until(lambda: "new" in texts(tmp_path))
    until(lambda: "1 added" in told(tmp_path, 1))
    second.send_signal(signal.SIGINT)
    assert second.wait(SECONDS) == 0


def test_a_watch_goes_on_in_the_palace_that_was_restored(
    project: Path, tmp_path: Path, start: Start, process
) -> None:
    process("add", "first of all")
    backup = tmp_path / "backup.db"
    process("backup", str(backup))
    (project / "old.md").write_text("old")
    watch = start(str(project))
    until(lambda: "old" in texts(tmp_path))
    process("restore", str(backup), "--yes")
    until(lambda: "the palace was replaced" in told(tmp_path))
    until(lambda: "old" in texts(tmp_path))
    assert "first of all" in texts(tmp_path)
    watch.send_signal(signal.SIGTERM)
    assert watch.wait(SECONDS) == 0


RULES = """
[[on]]
name = "teas"
kind = "drawer"
op = "add"
wing = "tea*"
text = "OOLONG"
run = ["sh", "-c", "cat >> teas.jsonl"]

[[on]]
name = "jobs"
predicate = "works_at"
shell = "cat >> jobs.jsonl; echo no such luck >&2; exit 3"

[[on]]
name = "slow"
op = "delete"
run = ["sleep", "1000"]
timeout_seconds = 0.2

[[on]]
name = "echo"
agent = "rule:*"
shell = "cat >> echo.jsonl"
"""


def test_rules_run_for_the_changes_that_they_mean_and_faults_are_told(
    project: Path, tmp_path: Path, start: Start, process, run
) -> None:
    folder = own_rules(project, RULES).parent
    run("add", "before the watch: oolong")
    first = start()
    until(lambda: list((project.parents[1] / ".local/state/palatine/watch").glob("*.json")))
    key = process("add", "We sell Oolong", "--wing", "teashop").rows[0][0]
    process("add", "We sell Oolong", "--wing", "other")
    process("add", "Oolong again", "--agent", "rule:echo")
    process("kg", "add", "Max", "works_at", "Acme")
    process("delete", key)
    until(lambda: "slow on change" in told(tmp_path))
    first.send_signal(signal.SIGTERM)
    assert first.wait(SECONDS) == 0
    (seen,) = lines(folder / "teas.jsonl")
    assert (seen["rule"], seen["words"], seen["change"]["op"]) == ("teas", "We sell Oolong", "add")
    assert seen["drawer"]["id"] == key
    (seen,) = lines(folder / "jobs.jsonl")
    assert seen["fact"]["object"] == "Acme"
    assert "jobs on change 5: it ended with 3 no such luck" in told(tmp_path)
    assert "slow on change 6: killed after 0.2 s" in told(tmp_path)
    assert lines(folder / "echo.jsonl") == []
    # What happens while no watch runs is handled by the next one, once.
    process("add", "Green Oolong", "--wing", "teashop")
    second, third = start(), start()
    until(lambda: len(lines(folder / "teas.jsonl")) == 2)
    process("add", "Last Oolong", "--wing", "teashop")
    until(lambda: len(lines(folder / "teas.jsonl")) == 3)
    for each in (second, third):
        each.send_signal(signal.SIGTERM)
        assert each.wait(SECONDS) == 0
    words = [each["words"] for each in lines(folder / "teas.jsonl")]
    assert words == ["We sell Oolong", "Green Oolong", "Last Oolong"]


@pytest.mark.parametrize(("end", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 0)])
def test_a_command_that_the_end_of_the_watch_cut_off_runs_again(
    project: Path, tmp_path: Path, start: Start, process, end: signal.Signals, code: int
) -> None:
    command = "cat >> got.jsonl; test -e go || sleep 30"
    folder = own_rules(project, f'[[on]]\nop = "add"\nshell = "{command}"\n').parent
    first = start()
    until(lambda: list((project.parents[1] / ".local/state/palatine/watch").glob("*.json")))
    process("add", "one")
    until(lambda: lines(folder / "got.jsonl"))
    first.send_signal(end)
    assert first.wait(SECONDS) == code
    (folder / "go").touch()
    second = start()
    until(lambda: len(lines(folder / "got.jsonl")) == 2)
    second.send_signal(signal.SIGTERM)
    assert second.wait(SECONDS) == 0


def test_rules_that_came_with_a_project_never_run(
    project: Path, tmp_path: Path, start: Start, process, run
) -> None:
    (project / "palatine.toml").write_text('wing = "shop"\n[[on]]\nshell = "touch owned"\n')
    assert run("add", "x").rows[0][1] == "shop/notes"
    assert "nothing to do" in process("watch", code=2).err
    (project / "a.md").write_text("a")
    watch = start(str(project))
    until(lambda: "a" in texts(tmp_path))
    watch.send_signal(signal.SIGTERM)
    assert watch.wait(SECONDS) == 0
    assert not (project / "owned").exists()


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('[[on]]\nkind = "drawer"\n', "give one of run"),
        ('[[on]]\nrun = ["a"]\nshell = "a"\n', "give one of run"),
        ('[[on]]\nrun = "a b"\n', "give one of run"),
        ("[[on]]\nrun = []\n", "are texts"),
        ('[[on]]\nshell = "a"\nroom = 3\n', "are texts"),
        ('[[on]]\nshell = "a"\ncolour = "red"\n', "there is no 'colour' here"),
        ('[[on]]\nshell = "a"\ntimeout_seconds = 0\n', "above 0"),
        ('on = "x"\n', "rules are tables"),
        ("[[on", "palatine.toml"),
    ],
)
def test_a_rule_that_cannot_be_used_is_refused(project: Path, text: str, fault: str) -> None:
    with pytest.raises(InputError, match=fault):
        rules.read(str(own_rules(project, text)))


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="there are no such permissions")
def test_rules_that_others_could_have_written_are_refused(project: Path) -> None:
    path = own_rules(project, '[[on]]\nshell = "a"\n')
    assert [rule.name for rule in rules.read(str(path))] == ["rule 1"]
    path.chmod(0o666)
    with pytest.raises(InputError, match="others can write it"):
        rules.read(str(path))


def test_a_path_or_a_file_of_rules_that_is_not_there_is_refused(project: Path, process) -> None:
    assert "no such file or folder" in process("watch", str(project / "none"), code=2).err
    assert "no such file" in process("watch", ".", "--rules", "none.toml", code=2).err
    shutil.rmtree(project)
