"""Hooks: JSON in, JSON out; they never fail their client, and what they save is filed."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace
from palatine.hooks import RECALL_TOKENS, main
from palatine.types import NewDrawer
from tests.ingest.test_transcripts import CLAUDE, claude, lines

Hook = Callable[..., subprocess.CompletedProcess[str]]
BASE_EMBED = {"palatine.embed.base"}
MOST_MODULES = 190


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


def exchange(number: int, *, more: str = "") -> str:
    asked = claude("user", f"Question {number}? {more}")
    return lines(asked, claude("assistant", [{"type": "text", "text": f"Answer {number}."}]))


def exchanges(palace: Palace) -> list[str]:
    """The numbers of the exchanges that are filed, in their order; twice filed is there twice."""
    found = sorted(palace.list(limit=100), key=lambda drawer: drawer.position or 0)
    assert all(drawer.text.count("Answer") == 1 for drawer in found)
    return [drawer.text.split("Answer ")[1] for drawer in found]


def test_ten_hooks_at_once_on_a_growing_transcript_file_each_exchange_once(
    home: Path, place: Path
) -> None:
    transcript = home / "s1.jsonl"
    given = {"transcript_path": str(transcript), "session_id": "s1", "palatine_waits": True}
    command = [sys.executable, "-m", "palatine", "hook", "Stop", "--palace", str(place)]
    environment = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
    hooks = []
    for number in range(10):
        with transcript.open("a") as file:
            file.write(exchange(number))
        one = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, cwd=home
        )
        assert one.stdin
        one.stdin.write(json.dumps(given).encode())
        one.stdin.close()
        hooks.append(one)
    for one in hooks:
        assert one.stdout
        assert (one.stdout.read(), one.wait(60)) == (b"", 0)
        one.stdout.close()
    with Palace.open(place, embedder="none") as palace:
        assert exchanges(palace) == [f"{number}." for number in range(10)]
    assert log(home) == ""


def test_what_a_killed_one_has_not_filed_the_next_hook_files(
    hook: Hook, home: Path, place: Path
) -> None:
    transcript = home / "s1.jsonl"
    count, much = 1000, "Many words. " * 400
    transcript.write_text("".join(exchange(number, more=much) for number in range(count)))
    given = json.dumps({"transcript_path": str(transcript), "session_id": "s1"})
    command = [sys.executable, "-m", "palatine", "hook", "file", given, "--palace", str(place)]
    with Palace.open(place, embedder="none") as palace:
        filing = subprocess.Popen(command, env={**os.environ, "HOME": str(home)}, cwd=home)
        while not palace.status().drawers:
            assert filing.poll() is None
        filing.send_signal(signal.SIGKILL)
        assert filing.wait(60) == -signal.SIGKILL
        assert palace.status().drawers < count
        assert context(hook("Stop", transcript_path=str(transcript), palatine_waits=True), "") == ""
        assert palace.status().drawers == count
        assert {change.op for change in palace.changes(limit=100)} == {"add"}


def test_a_secret_is_not_told_though_its_line_is_joined_with_others_or_cut(
    hook: Hook, place: Path
) -> None:
    password = "horse" + "battery9staple"
    with Palace.open(place) as palace:
        text = f"Settings of the zebra server:\nDB_PASSWORD={password}\nThat is all."
        palace.add(text, pinned=True, wing="teashop")
        long = "walrus " * 83 + "ghp_" + "a1B2" * 9
        palace.add(long, kind="identity", wing="teashop")
    asked = "What are the settings of the zebra server?"
    assert context(hook("UserPromptSubmit", prompt=asked), "UserPromptSubmit") == ""
    told = context(hook("SessionStart"), "SessionStart")
    assert "zebra" in told
    assert "walrus" in told
    assert password[:8] not in told
    assert "a1B2a1B2" not in told


def test_what_is_recalled_cannot_act_on_a_terminal_and_shows_where_the_words_are(
    hook: Hook, place: Path
) -> None:
    with Palace.open(place) as palace:
        before = "Nothing of interest stands here at all. " * 15
        palace.add(f"{before}The zebra\u202e invoice exporter\x1b[2J breaks.", wing="teashop")
    asked = "Does the zebra invoice exporter break?"
    told = context(hook("UserPromptSubmit", prompt=asked), "UserPromptSubmit")
    assert "exporter" in told
    assert not {"\u202e", "\x1b"} & set(told)
    assert str(place) in told


def test_recall_fits_its_budget_and_leaves_out_the_session_that_asks(
    hook: Hook, place: Path
) -> None:
    with Palace.open(place) as palace:
        for number in range(8):
            palace.add(f"The zebra exporter, part {number}. " + "\u6f22" * 500, wing="teashop")
        palace.add_many([NewDrawer(text="The zebra exporter just now.", wing="x", session="s9")])
    told = context(
        hook("UserPromptSubmit", prompt="What about the zebra exporter?"), "UserPromptSubmit"
    )
    assert "zebra" in told
    assert "just now" not in told
    assert len(told.encode()) <= 4 * RECALL_TOKENS + 4


def test_a_hook_sees_only_the_wing_that_the_project_is_limited_to(
    hook: Hook, home: Path, place: Path
) -> None:
    (home / "palatine.toml").write_text('wing = "shop"\n')
    with Palace.open(place) as palace:
        palace.add("The zebra exporter is secret.", wing="lab", pinned=True)
        palace.add("The walrus importer is known.", wing="shop", pinned=True)
    asked = {"prompt": "What about the zebra exporter?"}
    assert context(hook("UserPromptSubmit", **asked), "UserPromptSubmit") == ""
    told = context(hook("SessionStart"), "SessionStart")
    assert "walrus" in told
    assert "zebra" not in told


def test_code_in_the_project_is_not_run_by_what_files_in_the_background(
    hook: Hook, home: Path, place: Path
) -> None:
    transcript = home / "s1.jsonl"
    transcript.write_text(exchange(1))
    script = Path(sys.executable).with_name("palatine")
    (home / "json.py").write_text("raise SystemExit(3)")
    (home / "palatine").mkdir()
    (home / "palatine" / "__main__.py").write_text("raise SystemExit(3)")
    given = {"transcript_path": str(transcript), "palatine_waits": True}
    done = subprocess.run(
        [script, "hook", "Stop", f"--palace={place}"],
        input=json.dumps(given).encode(),
        cwd=home,
        env={**os.environ, "HOME": str(home)},
        capture_output=True,
        check=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == (b"", b"")
    with Palace.open(place, create=False, embedder="none") as palace:
        assert exchanges(palace) == ["1."]


def test_a_prompt_loads_no_model_and_nothing_that_is_slow_to_load(home: Path, place: Path) -> None:
    with Palace.open(place) as palace:
        palace.add("The zebra exporter breaks on umlauts.", wing="teashop")
    code = f"""
import json, os, sys
from palatine import hooks
assert hooks.main(["UserPromptSubmit", "--palace", {str(place)!r}]) == 0
os.write(2, json.dumps(sorted(sys.modules)).encode())
"""
    given = {"hook_event_name": "UserPromptSubmit", "prompt": "Why does the zebra exporter break?"}
    for _ in range(2):  # the first one keeps the rules for secrets, the second one finds them
        done = subprocess.run(
            [sys.executable, "-c", code],
            input=json.dumps(given).encode(),
            env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home / "cache")},
            cwd=home,
            capture_output=True,
            check=True,
            timeout=60,
        )
    assert b"umlauts" in done.stdout
    loaded = set(json.loads(done.stderr))
    slow = "click rich mcp requests detect_secrets onnxruntime tokenizers tomlkit numpy asyncio"
    assert not loaded & {*slow.split(), "logging.handlers"}
    assert not {name for name in loaded if name.startswith("palatine.embed.")} - BASE_EMBED
    assert len(loaded) < MOST_MODULES


def test_the_log_is_kept_short_by_ten_that_write_it_at_once(
    hook: Hook, home: Path, place: Path
) -> None:
    folder = home / "state" / "palatine"
    folder.mkdir(parents=True)
    (folder / "hooks.log").write_text("x" * 512 * 1024)
    with ThreadPoolExecutor(10) as threads:
        for done in threads.map(lambda _: hook("SessionStart", raw="no JSON"), range(10)):
            assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    files = list(folder.iterdir())
    assert len(files) <= 3
    assert (folder / "hooks.log").stat().st_size < 100_000
    assert (folder / "hooks.log").stat().st_mode & 0o077 == 0


def test_a_client_that_does_not_close_its_end_waits_only_so_long(home: Path, place: Path) -> None:
    code = "from palatine import hooks; hooks.PATIENCE_SECONDS = 0.1; hooks.main(['Stop'])"
    environment = {**os.environ, "HOME": str(home), "XDG_STATE_HOME": str(home / "state")}
    waiting = subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, env=environment, cwd=home
    )
    assert waiting.wait(60) == 0
    assert waiting.stdin
    waiting.stdin.close()
    assert "gave up" in log(home)


def test_an_answer_that_nobody_reads_is_no_failure(home: Path, place: Path) -> None:
    with Palace.open(place) as palace:
        palace.add("We ship on Fridays.", pinned=True)
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", "palatine", "hook", "SessionStart", "--palace", str(place)],
        input=b"{}",
        stdout=write,
        stderr=subprocess.PIPE,
        env={
            **{name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            "HOME": str(home),
            "XDG_STATE_HOME": str(home / "state"),
        },
        cwd=home,
        check=False,
        timeout=60,
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, b"")
    assert "BrokenPipe" in log(home)


def test_a_log_that_cannot_be_written_is_nothing_to_the_client(hook: Hook, home: Path) -> None:
    (home / "state" / "palatine" / "hooks.log").mkdir(parents=True)
    done = hook("SessionStart", raw="no JSON")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_said_while_it_is_filed_is_filed_too(
    home: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(home))
    transcript = home / "s1.jsonl"
    transcript.write_text(exchange(1))
    mine = Palace.mine
    later = [exchange(2), exchange(3)]

    def while_said(palace: Palace, path: str) -> Any:
        done = mine(palace, path)
        with transcript.open("a") as file:
            file.write(later.pop() if later else "")
        return done

    monkeypatch.setattr(Palace, "mine", while_said)
    mask = os.umask(0o077)
    try:
        given = json.dumps({"transcript_path": str(transcript)})
        assert main(["file", given, "--palace", str(place)]) == 0
    finally:
        os.umask(mask)
    with Palace.open(place, embedder="none") as palace:
        assert sorted(exchanges(palace)) == ["1.", "2.", "3."]


def test_what_files_outlives_a_client_that_kills_its_hooks(home: Path, place: Path) -> None:
    transcript = home / "s1.jsonl"
    transcript.write_text(exchange(1))
    with Palace.open(place, embedder="none") as palace:
        hook = subprocess.Popen(
            [sys.executable, "-m", "palatine", "hook", "Stop", "--palace", str(place)],
            stdin=subprocess.PIPE,
            env={**os.environ, "HOME": str(home)},
            cwd=home,
            start_new_session=True,
        )
        hook.communicate(json.dumps({"transcript_path": str(transcript)}).encode(), timeout=60)
        with suppress(ProcessLookupError):
            os.killpg(hook.pid, signal.SIGKILL)
        assert hook.returncode == 0
        wait_until_filed(palace, 1)
