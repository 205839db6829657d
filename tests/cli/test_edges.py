import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import SECONDS

PROGRAM = (sys.executable, "-P", "-m", "palatine")


@pytest.mark.parametrize(
    "words",
    [
        ("nonsense",),
        ("kg", "nonsense"),
        ("add",),
        ("add", "a", "b"),
        ("add", ""),
        ("add", "x", "--kind", "diary"),
        ("add", "x", "--said-at", "soon"),
        ("add", "x", "--wing", "a\x1bb"),
        ("add", "bad\udcff"),
        ("add", "-"),
        ("add", "--nonsense", "x"),
        ("search",),
        ("search", " "),
        ("search", "x", "--limit", "0"),
        ("search", "x", "--limit", "many"),
        ("list", "--cursor", "nonsense"),
        ("changes", "--after", "-1"),
        ("undo", "x"),
        ("demo", "--agents", "3"),
        ("--palace", "x", "mcp"),
    ],
)
def test_bad_usage_is_exit_code_two_and_one_line(run, words) -> None:
    run("add", "something")
    refused = run(*words, code=2)
    assert refused.out == ""
    assert len(refused.err.splitlines()) == 1
    assert refused.err.startswith("palatine")
    assert not set(refused.err) & set("\x1b\udcff")


def test_bytes_that_are_no_text_are_refused(process) -> None:
    assert "UTF-8" in process("add", "-", stdin=b"caf\xe9", code=2).err
    assert "UTF-8" in process("add", "caf\udce9", code=2).err


def test_no_command_shows_the_help(run) -> None:
    assert "Exit codes" in " ".join(run(code=2).err.split())
    assert "palatine add" in run("--help").out
    assert run("--version").out.startswith("palatine ")
    assert "supersede" in run("kg", code=2).err


def test_ctrl_c_is_exit_code_130_without_a_traceback(process) -> None:
    waiting = subprocess.Popen(
        [*PROGRAM, "add", "-"], stdin=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert waiting.stdin is not None
    # It reads all of its input first: a pipe that is full shows that it has begun to.
    waiting.stdin.write(b"x" * 1_000_000)
    waiting.send_signal(signal.SIGINT)
    _, complaint = waiting.communicate(timeout=SECONDS)
    assert (waiting.returncode, complaint) == (130, b"interrupted\n")


def test_output_that_nobody_reads_is_no_traceback(process, run) -> None:
    run("add", "x")
    reading, writing = os.pipe()
    os.close(reading)
    buffered = {name: v for name, v in os.environ.items() if name != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        [*PROGRAM, "list"],
        stdout=writing,
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
        env=buffered,
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, b"")


def test_output_that_is_closed_does_not_keep_a_text_from_being_filed(run) -> None:
    command = 'exec "$0" -P -m palatine add x >&-'
    done = subprocess.run(
        ["/bin/sh", "-c", command, sys.executable],
        stderr=subprocess.PIPE,
        timeout=SECONDS,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert run("list").rows[0][5] == "x"


def test_a_terminal_that_is_not_utf8_gets_escapes(process, run) -> None:
    run("add", "Tee \u2615")
    environment = dict(os.environ) | {"PYTHONIOENCODING": "latin-1"}
    assert process("list", env=environment).rows[0][5] == "Tee \\u2615"


def test_help_and_usage_errors_load_neither_sqlite_nor_rich() -> None:
    check = (
        "import sys; from palatine.cli import main; main(['--help']);"
        "assert main(['search']) == main(['kg', 'nonsense']) == 2;"
        "sys.exit(bool({'apsw', 'rich', 'palatine.palace'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_pipe_loads_no_rich(run) -> None:
    run("add", "x")
    check = (
        "import sys; from palatine.cli import main; assert main(['list']) == 0;"
        "sys.exit('rich' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr


def test_the_palace_may_be_named_from_the_home_folder(run, project: Path) -> None:
    run("add", "x", "--palace", "~/mine")
    assert (project.parents[1] / "mine" / "palace.db").exists()
