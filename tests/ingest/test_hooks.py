"""Hooks: JSON in, JSON out; they never fail their client, and what they save is filed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace
from tests.ingest.test_transcripts import CLAUDE, claude, lines

Hook = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    (home / "code" / "teashop" / ".git").mkdir(parents=True)
    return home


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "palace"


@pytest.fixture
def hook(home: Path, place: Path) -> Hook:
    """Runs a hook as a client does: in its project, with a payload on standard input."""

    def run(event: str, *, raw: str | None = None, **payload: Any) -> Any:
        shared = {"session_id": "s9", "cwd": str(home / "code" / "teashop")}
        given = (
            raw if raw is not None else json.dumps({**shared, "hook_event_name": event, **payload})
        )
        return subprocess.run(
            [sys.executable, "-m", "palatine", "hook", event, "--palace", str(place)],
            input=given,
            env={**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")},
            cwd=home,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    return run


def context(done: subprocess.CompletedProcess[str], event: str) -> str:
    assert (done.returncode, done.stderr) == (0, "")
    if not done.stdout:
        return ""
    answer = json.loads(done.stdout)["hookSpecificOutput"]
    assert answer["hookEventName"] == event
    return str(answer["additionalContext"])


def log(home: Path) -> str:
    found = [path.read_text() for path in home.rglob("hooks.log")]
    return "".join(found)


def test_a_session_begins_with_a_briefing_that_names_the_palace(hook: Hook, place: Path) -> None:
    with Palace.open(place) as palace:
        palace.add("We ship on Fridays.", wing="teashop", kind="decision")
        palace.knowledge.add("Max", "works_at", "Teashop")
    told = context(hook("SessionStart", source="startup"), "SessionStart")
    assert "We ship on Fridays." in told
    assert "Memory palace" in told
    assert str(place)[:20] in told


def test_a_prompt_recalls_what_holds_its_rare_words_and_nothing_else(
    hook: Hook, place: Path
) -> None:
    with Palace.open(place) as palace:
        for number in range(50):
            palace.add(f"Note {number} about the weather and the garden.", wing="misc")
        kept = palace.add("The invoice exporter breaks on umlauts; fixed by NFC.", wing="teashop")
    told = context(
        hook("UserPromptSubmit", prompt="Why do umlauts break the invoice exporter?"),
        "UserPromptSubmit",
    )
    assert "fixed by NFC" in told
    assert kept.drawer.id in told
    assert "not instructions" in told
    assert "weather" not in told
    asked = "Please write a poem about quantum llamas for me"
    assert context(hook("UserPromptSubmit", prompt=asked), "UserPromptSubmit") == ""
    assert (
        context(hook("UserPromptSubmit", prompt="/clear invoice exporter"), "UserPromptSubmit")
        == ""
    )


def test_a_text_with_a_secret_is_never_recalled_or_told(hook: Hook, place: Path) -> None:
    key = "ghp_" + "a1B2" * 9
    with Palace.open(place) as palace:
        palace.add(f"The deploy token of the zebra server is {key}", pinned=True, wing="teashop")
    asked = "What is the deploy token of the zebra server?"
    assert context(hook("UserPromptSubmit", prompt=asked), "UserPromptSubmit") == ""
    told = context(hook("SessionStart"), "SessionStart")
    assert "zebra" in told
    assert key not in told


def test_the_end_of_a_turn_files_the_transcript_once(hook: Hook, home: Path, place: Path) -> None:
    transcript = home / ".claude" / "projects" / "-code-teashop" / "s1.jsonl"
    transcript.parent.mkdir(parents=True)
    transcript.write_text(CLAUDE)
    with Palace.open(place) as palace:
        for _ in range(3):
            assert context(hook("Stop", transcript_path=str(transcript)), "Stop") == ""
        wait_until_filed(palace, 2)
        with transcript.open("a") as file:
            file.write(lines(claude("user", "Thanks.")))
        hook("SessionEnd", transcript_path=str(transcript), reason="exit")
        wait_until_filed(palace, 3)
        found = palace.list()
        assert {drawer.session for drawer in found} == {"s1"}
        assert {change.agent for change in palace.changes()} == {"claude-code"}
    assert log(home) == ""


def wait_until_filed(palace: Palace, drawers: int) -> None:
    """Follows the change feed, which a write of any process moves, until so many are there."""
    for _ in range(100_000):
        if palace.status().drawers >= drawers:
            break
    assert palace.status().drawers == drawers


@pytest.mark.parametrize(
    ("event", "given"),
    [
        ("SessionStart", {"raw": "no JSON"}),
        ("SessionStart", {"raw": ""}),
        ("SessionStart", {"raw": "[]"}),
        ("Stop", {"transcript_path": "/nowhere/t.jsonl"}),
        ("Stop", {}),
        ("UserPromptSubmit", {"prompt": None}),
        ("UserPromptSubmit", {"prompt": "\ud800 what about the lone surrogate here?"}),
        ("SomethingNew", {}),
        ("UserPromptSubmit", {"prompt": "no palace is here at all, is there?"}),
    ],
)
def test_whatever_goes_wrong_the_client_does_not_feel_it(
    hook: Hook, home: Path, place: Path, event: str, given: dict[str, Any]
) -> None:
    done = hook(event, **given)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not place.exists()


def test_a_damaged_palace_is_a_line_in_the_log(hook: Hook, home: Path, place: Path) -> None:
    place.mkdir()
    (place / "palace.db").write_bytes(b"no database" * 1000)
    done = hook("SessionStart")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert "SessionStart" in log(home)
    assert "Error" in log(home)
