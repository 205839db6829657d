import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from palatine import cli

SECONDS = 60


@dataclass(frozen=True)
class Run:
    code: int
    out: str
    err: str
    bytes: bytes = b""

    @property
    def json(self) -> Any:
        return json.loads(self.out)

    @property
    def rows(self) -> list[list[str]]:
        return [line.split("\t") for line in self.out.splitlines()]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git project to work in, a home, and a palace of its own that nobody has made yet."""
    home = tmp_path / "home"
    project = home / "code" / "teashop"
    (project / ".git").mkdir(parents=True)
    folders = ("XDG_CONFIG_HOME", "XDG_STATE_HOME", "XDG_DATA_HOME", "CODEX_HOME")
    for name in ("PALATINE_SESSION", "CLAUDE_CODE_SESSION_ID", "CLAUDE_CONFIG_DIR", *folders):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PALATINE_PALACE", str(tmp_path / "palace"))
    monkeypatch.setenv("PALATINE_AGENT", "ann")
    monkeypatch.chdir(project)
    return project


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Run]:
    """Runs a command in this process."""

    def run(*words: str, stdin: bytes = b"", code: int = 0) -> Run:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        found = cli.main(words)
        captured = capsys.readouterr()
        assert found == code, captured
        return Run(found, captured.out, captured.err)

    return run


@pytest.fixture
def process() -> Callable[..., Run]:
    """Runs a command as a process of its own."""

    def process(*words: str, stdin: bytes = b"", code: int = 0, **options: Any) -> Run:
        done = subprocess.run(
            [sys.executable, "-P", "-m", "palatine", *map(os.fsencode, words)],
            input=stdin,
            capture_output=True,
            timeout=SECONDS,
            check=False,
            **options,
        )
        out, err = done.stdout.decode(errors="replace"), done.stderr.decode()
        assert done.returncode == code, err
        return Run(done.returncode, out, err, done.stdout)

    return process
