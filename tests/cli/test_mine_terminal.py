"""`palatine mine` at a terminal: a bar, and Ctrl-C at any moment."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from palatine import Palace
from tests.cli.conftest import SECONDS


def mined(path: Path, *, stop_when: str = "", code: int) -> str:
    """What the terminal shows; types Ctrl-C when this is seen."""
    ours, theirs = pty.openpty()
    environment = dict(os.environ) | {"COLUMNS": "120", "TERM": "xterm"}
    shown = b""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "palatine", "mine", str(path), "--no-embed"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
        start_new_session=True,
        preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # its terminal from now on
    ) as process:
        os.close(theirs)
        watch = Timer(SECONDS, process.kill)
        watch.start()
        try:
            while data := os.read(ours, 65536):
                shown += data
                if stop_when and re.search(stop_when.encode(), shown):
                    os.write(ours, b"\x03")
                    stop_when = ""
        except OSError:  # how Linux says that the other end is closed
            pass
        os.close(ours)
        process.wait()
        watch.cancel()
    assert process.returncode == code, shown
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode()).replace("\r", "\n")


@pytest.mark.parametrize("stop_when", ["mining", r"[1-9]\d\d+/2000", r"1[0-9]\d\d/2000"])
def test_ctrl_c_says_what_was_filed_and_the_next_run_goes_on(
    project: Path, tmp_path: Path, stop_when: str
) -> None:
    for number in range(2000):
        (project / f"{number}.md").write_text(f"tea number {number}\n" * 20)
    shown = mined(project, stop_when=stop_when, code=130)
    told = re.search(r"interrupted: (\d+) drawers were filed and stay; the next run goes", shown)
    assert told, shown
    assert "Traceback" not in shown
    with Palace.open(tmp_path / "palace", embedder="none") as palace:
        filed = palace.status().drawers
    assert int(told[1]) <= filed < 2000
    shown = mined(project, code=0)
    assert f"{2000 - filed} files read, {filed} unchanged" in shown
    assert re.search(r"\d+/2000 \d+/s", shown), "the bar has a rate"
    assert re.search(r"\d:\d\d:\d\d", shown), "and the time left"


def test_what_was_masked_and_what_could_not_be_read_are_told_to_a_program(
    run, tmp_path: Path
) -> None:
    project = tmp_path / "shop"
    project.mkdir()
    (project / "notes.md").write_text("password = hunter2-and-more\n\nurl: http://a:b4r9x@c.test\n")
    (project / "away.md").symlink_to("/etc/hostname")
    (done,) = run("mine", str(project), "--no-embed", "--json", code=6).json["mined"]
    assert done["masked"] == {"Secret in a setting": 1, "Password in a URL": 1}
    assert [each["path"] for each in done["problems"]] == ["away.md"]
    assert (done["files"], done["added"], done["facts"]) == (1, 1, {"read": 0} | done["facts"])


def test_nothing_is_mined_when_one_of_the_paths_is_not_there(run, tmp_path: Path) -> None:
    (tmp_path / "notes.md").write_text("Oolong")
    told = run("mine", str(tmp_path / "notes.md"), str(tmp_path / "nope"), code=2).err
    assert "nope: there is no such file or folder" in told
    assert run("mine", str(tmp_path / "notes.md"), "--no-embed", "--json").json["mined"][0]["files"]


@pytest.mark.stress
def test_a_transcript_of_200_mb_is_read_in_bounded_memory(project: Path) -> None:
    path = project / "s.jsonl"
    answer = '{"type":"assistant","sessionId":"s","message":{"role":"assistant","content":"%s"}}\n'
    with path.open("w") as file:
        for number in range(25_000):
            asked = f'"role":"user","content":"Question {number}?"'
            file.write(f'{{"type":"user","sessionId":"s","message":{{{asked}}}}}\n')
            file.write(answer % (f"answer {number} " * 700))
    assert path.stat().st_size > 200_000_000
    words = [sys.executable, "-P", "-m", "palatine", "mine", str(path), "--no-embed", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE) as miner:
        assert miner.stdout is not None
        told = miner.stdout.read()
        _, status, usage = os.wait4(miner.pid, 0)  # of this child alone
        miner.returncode = os.waitstatus_to_exitcode(status)
    assert miner.returncode == 0
    assert json.loads(told)["mined"][0]["added"] == 25_000
    peak = usage.ru_maxrss / 1024
    sys.stdout.write(f"{peak:.0f} MB\n")
    assert peak < 300, f"{peak:.0f} MB"
