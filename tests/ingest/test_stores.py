"""Conversations in the stores of other programs: Cursor, OpenCode, Slack."""

import json
import shutil
import sqlite3
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palatine import Palace
from palatine.ingest.mine import Mined, Options
from palatine.ingest.transcripts import slack as slack_export
from palatine.types import Drawer

MS = 1_773_480_413_000
WHEN = "2026-03-14T09:26:53Z"
Mine = Callable[[Path], Mined]


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace", agent="ann", embedder="none") as opened:
        yield opened


@pytest.fixture
def mine(palace: Palace) -> Mine:
    return lambda path: palace.mine(path, options=Options())


def drawers(palace: Palace) -> list[Drawer]:
    return sorted(palace.list(limit=1000), key=lambda drawer: (drawer.source, drawer.position))


def cursor(path: Path) -> sqlite3.Connection:
    """As Cursor keeps it; open, as when it is running."""
    path.parent.mkdir(parents=True)
    db = sqlite3.connect(path, isolation_level=None)
    db.execute("PRAGMA journal_mode=WAL")
    db.execute("CREATE TABLE ItemTable (key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB)")
    db.execute("CREATE TABLE cursorDiskKV (key TEXT UNIQUE ON CONFLICT REPLACE, value BLOB)")
    bubbles = {
        "b1": {"type": 1, "text": "Which tea do we sell most?", "createdAt": WHEN},
        "b2": {"type": 2, "text": "", "thinking": {"text": "hm"}},
        "b3": {
            "type": 2,
            "text": "Oolong.",
            "toolFormerData": {"name": "run_terminal", "rawArgs": '{"c":"sort"}', "result": "{}"},
        },
        "b4": {"type": 1, "text": "Order more.", "images": [{}]},
    }
    for key, bubble in bubbles.items():
        db.execute("INSERT INTO cursorDiskKV VALUES (?, ?)", (f"bubbleId:c1:{key}", dump(bubble)))
    heads = [{"bubbleId": key, "type": bubble["type"]} for key, bubble in bubbles.items()]
    chat = {"composerId": "c1", "name": "Tea", "createdAt": MS, "lastUpdatedAt": MS}
    chat["fullConversationHeadersOnly"] = [*heads, {"bubbleId": "lost", "type": 2}]
    old = {"conversation": [{"type": 1, "text": "Older?"}], "createdAt": MS}
    for key, value in (("c1", dump(chat)), ("c2", dump(old)), ("c3", None), ("c4", b"{broken")):
        db.execute("INSERT INTO cursorDiskKV VALUES (?, ?)", (f"composerData:{key}", value))
    return db


def dump(value: object) -> bytes:
    return json.dumps(value).encode()


def test_cursors_conversations_are_read_while_it_runs_and_again_only_those_that_changed(
    palace: Palace, mine: Mine, tmp_path: Path
) -> None:
    path = tmp_path / "Cursor" / "User" / "globalStorage" / "state.vscdb"
    db = cursor(path)
    done = mine(path)
    assert (done.root, done.problems, done.files) == ("cursor", [], 3)
    first, second, older = drawers(palace)
    assert first.text == (
        'User: Which tea do we sell most?\n\nAssistant: Oolong.\n\n[run_terminal] {"c":"sort"}'
    )
    assert first.metadata["left_out"] == {"thinking": 1, "tool_result": 1}
    assert (first.session, str(first.said_at), first.metadata["title"]) == ("c1", WHEN, "Tea")
    assert first.source == "cursor/globalStorage/state.vscdb/c1"
    assert second.metadata["left_out"] == {"image": 1, "message that is gone": 1}
    assert older.text == "User: Older?"
    db.execute(
        "UPDATE cursorDiskKV SET value = ? WHERE key = 'composerData:c2'",
        (dump({"conversation": [{"type": 1, "text": "Newer?"}], "lastUpdatedAt": MS + 1}),),
    )
    again = mine(path)
    assert (again.files, again.unchanged, again.changed) == (1, 2, 1)
    assert drawers(palace)[2].text == "User: Newer?"
    db.close()


def test_a_database_that_cannot_be_read_is_reported_and_its_drawers_are_not_gone(
    palace: Palace, mine: Mine, tmp_path: Path
) -> None:
    path = tmp_path / "Cursor" / "User" / "globalStorage" / "state.vscdb"
    cursor(path).close()
    mine(path.parent)
    path.write_bytes(b"no database " * 1000)
    for beside in path.parent.glob("state.vscdb-*"):
        beside.unlink()
    done = mine(path.parent)
    assert [problem.path for problem in done.problems] == ["globalStorage/state.vscdb"]
    assert done.gone == []
    assert len(drawers(palace)) == 3


PARTS = [
    ("m1", "user", [{"type": "text", "text": "Which tea?"}]),
    ("m1b", "user", [{"type": "text", "text": "file list", "synthetic": True}]),
    (
        "m2",
        "assistant",
        [
            {"type": "step-start"},
            {"type": "reasoning", "text": "hm"},
            {"type": "tool", "tool": "bash", "state": {"input": {"c": "sort"}, "output": "x"}},
            {"type": "text", "text": "Oolong."},
        ],
    ),
]


def opencode_database(home: Path) -> Path:
    path = home / "opencode.db"
    db = sqlite3.connect(path)
    db.execute("CREATE TABLE session (id TEXT PRIMARY KEY, directory TEXT, title TEXT)")
    columns = "id TEXT PRIMARY KEY, {} TEXT, time_created INTEGER, time_updated INTEGER, data TEXT"
    db.execute(f"CREATE TABLE message ({columns.format('session_id')})")
    db.execute(f"CREATE TABLE part ({columns.format('message_id')})")
    db.execute("INSERT INTO session VALUES ('ses_1', '/elsewhere/code/teashop', 'Tea')")
    for number, (key, role, parts) in enumerate(PARTS):
        message = json.dumps({"role": role, "time": {"created": MS}})
        db.execute("INSERT INTO message VALUES (?, 'ses_1', ?, ?, ?)", (key, number, MS, message))
        for n, part in enumerate(parts):
            row = (f"{key}-{n}", key, n, n, json.dumps(part))
            db.execute("INSERT INTO part VALUES (?, ?, ?, ?, ?)", row)
    db.commit()
    db.close()
    return path


def opencode_folder(home: Path) -> Path:
    files: dict[str, object] = {
        "session/p/ses_1.json": {"id": "ses_1", "directory": "/elsewhere/teashop", "title": "Tea"},
        "project/p.json": {"id": "p", "worktree": "/elsewhere/teashop"},
    }
    for key, role, parts in PARTS:
        message = {"id": key, "role": role, "time": {"created": MS}}
        files[f"message/ses_1/{key}.json"] = message
        files |= {f"part/{key}/{key}-{n}.json": part for n, part in enumerate(parts)}
    for name, value in files.items():
        path = home / "storage" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(dump(value))
    return home / "storage"


@pytest.mark.parametrize("make", [opencode_database, opencode_folder])
def test_opencodes_sessions_are_read_from_its_database_and_from_its_older_files(
    palace: Palace, mine: Mine, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    home = tmp_path / "share" / "opencode"
    home.mkdir(parents=True)
    assert mine(make(home)).problems == []
    (only,) = drawers(palace)
    assert only.text == 'User: Which tea?\n\n[bash] {"c": "sort"}\n\nAssistant: Oolong.'
    left_out = {"words of the client": 1, "reasoning": 1, "tool_result": 1}
    assert only.metadata == {"format": "OpenCode", "title": "Tea", "left_out": left_out}
    assert (only.session, str(only.said_at), only.wing) == ("ses_1", WHEN, "teashop")
    assert mine(home).files == 0


def test_files_that_opencode_has_put_into_its_database_are_not_read_twice(
    palace: Palace, mine: Mine, tmp_path: Path
) -> None:
    home = tmp_path / "share" / "opencode"
    home.mkdir(parents=True)
    opencode_folder(home)
    opencode_database(home)
    mine(home)
    assert [drawer.source for drawer in drawers(palace)] == ["opencode/opencode.db/ses_1"]


def test_odd_times_and_names_in_a_database_keep_no_other_conversation_from_being_filed(
    palace: Palace, mine: Mine, tmp_path: Path
) -> None:
    home = tmp_path / "share" / "opencode"
    home.mkdir(parents=True)
    opencode_database(home)
    with sqlite3.connect(home / "opencode.db") as db:
        db.execute("UPDATE message SET time_updated = NULL")
    with cursor(home / "User" / "state.vscdb") as db:
        chat = '{"lastUpdatedAt": 1e300, "conversation": [{"type": 1, "text": "Which?"}]}'
        for key in ("odd", "\x1b[31m"):
            db.execute("INSERT INTO cursorDiskKV VALUES (?, ?)", (f"composerData:{key}", chat))
    (problem,) = mine(home).problems
    assert "U+001B" in problem.reason
    assert {"ses_1", "odd"} <= {drawer.session for drawer in drawers(palace)}


def slack(root: Path) -> Path:
    ts = MS // 1000
    profile = {"real_name": "Ann Other", "display_name": "ann"}
    days: dict[str, object] = {
        "users.json": [
            {"id": "U1", "name": "ann", "profile": profile},
            {"id": "U2", "name": "bob", "profile": {"real_name": "Bob", "display_name": ""}},
        ],
        "channels.json": [{"id": "C1", "name": "tea", "members": ["U1", "U2"]}],
        "tea/2026-03-14.json": [
            {"type": "message", "subtype": "channel_join", "user": "U2", "ts": f"{ts}.1"},
            {"type": "message", "user": "U1", "text": "Which tea?", "ts": f"{ts}.2"},
            {"type": "message", "user": "U2", "text": "Oolong.", "ts": f"{ts + 60}.0"},
            {
                "type": "message",
                "user": "U1",
                "text": "Order?",
                "ts": f"{ts + 61}.0",
                "thread_ts": f"{ts + 61}.0",
            },
            {
                "type": "message",
                "subtype": "bot_message",
                "username": "till",
                "text": "Sold out",
                "ts": f"{ts + 9000}.0",
                "files": [{"id": "F1"}],
            },
            {
                "type": "message",
                "user": "U2",
                "user_profile": {"real_name": "Bob"},
                "text": "Ordered.",
                "ts": f"{ts + 9001}.0",
                "thread_ts": f"{ts + 61}.0",
            },
        ],
        "tea/2026-03-15.json": [
            {
                "type": "message",
                "user": "U1",
                "text": "It came.",
                "ts": f"{ts + 90000}.0",
                "thread_ts": f"{ts + 61}.0",
            }
        ],
    }
    for name, value in days.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(dump(value))
    return root


@pytest.mark.parametrize("zipped", [False, True])
def test_a_slack_export_becomes_threads_and_talks_by_channel(
    palace: Palace, mine: Mine, tmp_path: Path, zipped: bool
) -> None:
    path = slack(tmp_path / "chats" / "export")
    if zipped:
        with zipfile.ZipFile(tmp_path / "chats" / "export.zip", "w") as archive:
            for file in path.rglob("*.json"):
                archive.write(file, file.relative_to(path).as_posix())
        shutil.rmtree(path)
        path = tmp_path / "chats" / "export.zip"
    assert mine(path).problems == []
    talk, thread, later, next_day = drawers(palace)
    assert talk.text == "ann: Which tea?\n\nBob: Oolong."
    assert talk.metadata["left_out"] == {"channel_join": 1}
    assert thread.text == "ann: Order?\n\nBob: Ordered."
    assert later.text == "till: Sold out"
    assert later.metadata["left_out"] == {"files": 1}
    assert next_day.text == "ann: It came."
    assert next_day.session == thread.session != talk.session
    assert {drawer.room for drawer in drawers(palace)} == {"tea"}
    assert str(talk.said_at)[:19] == WHEN[:19]
    assert mine(path).files == 0


@pytest.mark.parametrize("damage", ["its bytes", "a password", "a size that is too large"])
def test_a_day_that_cannot_be_unpacked_is_reported_and_the_others_filed(
    palace: Palace, mine: Mine, tmp_path: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "chats"
    folder.mkdir()
    path = folder / "export.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("users.json", "[]")
        archive.writestr("channels.json", "[]")
        for day, text in ((13, "bad"), (14, "good")):
            said = [{"ts": "1700000000.1", "user_profile": {"name": "ann"}, "text": text}]
            archive.writestr(f"tea/2026-03-{day}.json", json.dumps(said) + " " * (14 - day) * 100)
    data = path.read_bytes()
    if damage == "its bytes":
        data = data.replace(b'"bad"', b'"BAD"')
    elif damage == "a password":
        at = data.index(b"tea/2026-03-13.json", data.index(b"PK\x01\x02"))
        data = data[: at - 38] + b"\1" + data[at - 37 :]
    else:
        monkeypatch.setattr(slack_export, "_MOST_BYTES", 100)
    path.write_bytes(data)
    (folder / "note.md").write_text("A note.")
    (problem,) = mine(folder).problems
    assert problem.path == "export.zip/tea/2026-03-13.json"
    assert {drawer.text for drawer in drawers(palace)} == {"A note.", "ann: good"}


def test_a_zip_that_is_no_export_is_a_binary_file(
    palace: Palace, mine: Mine, tmp_path: Path
) -> None:
    folder = tmp_path / "chats"
    folder.mkdir()
    with zipfile.ZipFile(folder / "a.zip", "w") as archive:
        archive.writestr("users.json", "[]")
    (folder / "b.zip").write_bytes(b"PK\x03\x04 cut off\0")
    assert mine(folder).added == 0
