"""Transcripts and exports: one drawer an exchange, word for word, with where it came from."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace
from palatine.ingest import transcripts
from palatine.ingest.mine import Mined, Options
from palatine.ingest.transcripts import agents
from palatine.types import Drawer

Mine = Callable[..., Mined]
WHEN = "2026-03-14T09:26:53Z"


def lines(*records: object) -> str:
    return "".join(json.dumps(record) + "\n" for record in records)


def claude(role: str, content: object, **more: object) -> dict[str, object]:
    shared = {"sessionId": "s1", "timestamp": WHEN, "cwd": "/elsewhere/code/teashop", "uuid": "u"}
    return {**shared, "type": role, "message": {"role": role, "content": content}, **more}


CLAUDE = lines(
    {"type": "queue-operation", "operation": "enqueue", "sessionId": "s1"},
    {"type": "attachment", "sessionId": "s1", "attachment": {"text": "hook output"}},
    claude("user", "Which tea do we sell most?"),
    claude(
        "assistant",
        [
            {"type": "thinking", "thinking": "hm"},
            {"type": "text", "text": "I look it up."},
            {"type": "tool_use", "id": "t", "name": "Bash", "input": {"command": "sort sales"}},
        ],
    ),
    claude("user", [{"type": "tool_result", "tool_use_id": "t", "content": "oolong 5"}]),
    claude("assistant", [{"type": "text", "text": "Oolong."}]),
    claude("user", "<system-reminder>", isMeta=True),
    claude("user", [{"type": "text", "text": "Order more of it."}]),
    claude("assistant", [{"type": "text", "text": "Ordered."}]),
)
CODEX = lines(
    {"timestamp": WHEN, "type": "session_meta", "payload": {"id": "s2", "cwd": "/elsewhere/shop"}},
    {"timestamp": WHEN, "type": "turn_context", "payload": {"model": "x"}},
    *(
        {"timestamp": WHEN, "type": "response_item", "payload": payload}
        for payload in (
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "<environment_context>x"}],
            },
            {
                "type": "message",
                "role": "developer",
                "content": [{"type": "input_text", "text": "rules"}],
            },
            {
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": "Which tea do we sell most?"}],
                "internal_chat_message_metadata_passthrough": {"content_item_kinds": ["user.text"]},
            },
            {"type": "function_call", "name": "shell", "arguments": '{"command":"sort sales"}'},
            {"type": "function_call_output", "call_id": "c", "output": "oolong 5"},
            {
                "type": "message",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Oolong."}],
            },
        )
    ),
)
GEMINI = lines(
    {"sessionId": "s3", "projectHash": "h", "startTime": WHEN},
    {"id": "1", "timestamp": WHEN, "type": "user", "content": "Which tea do we sell most?"},
    {
        "id": "2",
        "timestamp": WHEN,
        "type": "gemini",
        "content": "Oolong.",
        "toolCalls": [{"name": "run_shell_command", "args": {"command": "sort sales"}}],
    },
    {"id": "3", "timestamp": WHEN, "type": "info", "content": "quota"},
)
GENERIC = lines(
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "Which tea do we sell most?", "timestamp": WHEN},
    {"role": "assistant", "content": "Oolong."},
)
CLAUDE_AI = json.dumps(
    [
        {
            "uuid": "s4",
            "name": "Tea",
            "created_at": WHEN,
            "chat_messages": [
                {
                    "sender": "human",
                    "created_at": WHEN,
                    "text": "",
                    "content": [{"type": "text", "text": "Which tea do we sell most?"}],
                    "attachments": [{"file_name": "sales.csv", "extracted_content": "oolong,5"}],
                },
                {"sender": "assistant", "created_at": WHEN, "text": "Oolong."},
            ],
        }
    ]
)


def chatgpt_node(role: str, text: str, parent: str | None) -> dict[str, Any]:
    content = {"content_type": "text", "parts": [text]}
    message = {"author": {"role": role}, "create_time": 1773480413.0, "content": content}
    return {"message": message, "parent": parent}


CHATGPT = json.dumps(
    [
        {
            "title": "Tea",
            "id": "s5",
            "create_time": 1773480413.0,
            "current_node": "c",
            "mapping": {
                "root": {"message": None, "parent": None},
                "a": chatgpt_node("system", "be brief", "root"),
                "b": chatgpt_node("user", "Which tea do we sell most?", "a"),
                "old": chatgpt_node("assistant", "Green.", "b"),
                "c": chatgpt_node("assistant", "Oolong.", "b"),
            },
        }
    ]
)
DIALOGUE = """# A talk

> Which tea do we sell most?
> This year, I mean.

Oolong.

> Order more of it.

Ordered.
"""

FORMATS = {
    "Claude Code": ("s.jsonl", CLAUDE, "s1"),
    "Codex": ("rollout.jsonl", CODEX, "s2"),
    "Gemini CLI": ("session.jsonl", GEMINI, "s3"),
    "JSON Lines": ("chat.jsonl", GENERIC, ""),
    "claude.ai": ("conversations.json", CLAUDE_AI, "s4"),
    "ChatGPT": ("conversations.json", CHATGPT, "s5"),
    "dialogue": ("talk.md", DIALOGUE, ""),
}


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace", agent="ann") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "chats"
    folder.mkdir()
    return folder


@pytest.fixture
def mine(palace: Palace, folder: Path) -> Mine:
    return lambda path=folder, **options: palace.mine(path, options=Options(**options))


def drawers(palace: Palace) -> list[Drawer]:
    return sorted(palace.list(limit=1000), key=lambda drawer: (drawer.source, drawer.position))


@pytest.mark.parametrize("name", FORMATS)
def test_each_format_becomes_exchanges_with_their_provenance(
    palace: Palace, mine: Mine, folder: Path, name: str
) -> None:
    file, text, session = FORMATS[name]
    (folder / file).write_text(text)
    assert mine().problems == []
    first = next(drawer for drawer in drawers(palace) if "sell most" in drawer.text)
    assert "Oolong." in first.text
    assert "Green" not in first.text
    assert first.room == "conversations"
    assert first.session == session
    assert first.metadata["format"] == name
    if name not in ("dialogue",):
        assert str(first.said_at) == WHEN
    for not_said in ("hook output", "be brief", "rules", "environment_context", "quota"):
        assert not any(not_said in drawer.text for drawer in drawers(palace))


def test_an_exchange_names_tools_and_counts_what_it_leaves_out(
    palace: Palace, mine: Mine, folder: Path
) -> None:
    (folder / "s.jsonl").write_text(CLAUDE)
    mine()
    first, second = drawers(palace)
    assert first.text == (
        "User: Which tea do we sell most?\n\nAssistant: I look it up.\n\n"
        '[Bash] {"command": "sort sales"}\n\nOolong.'
    )
    assert first.metadata["left_out"] == {"thinking": 1, "tool_result": 1}
    assert second.text == "User: Order more of it.\n\nAssistant: Ordered."
    assert first.wing == second.wing == "teashop"


def test_a_transcript_that_grew_goes_on_where_it_stopped(
    palace: Palace, mine: Mine, folder: Path
) -> None:
    records = CLAUDE.splitlines(keepends=True)
    path = folder / "s.jsonl"
    path.write_text("".join(records[:-1]))
    mine()
    before = drawers(palace)
    assert before[1].text == "User: Order more of it."
    with path.open("a") as file:
        file.write(records[-1])
    done = mine()
    assert (done.added, done.changed, done.removed) == (0, 1, 0)
    with path.open("a") as file:
        file.write(lines(claude("user", "Thanks."), claude("assistant", "Gladly.")))
    done = mine()
    assert (done.added, done.changed, done.removed) == (1, 0, 0)
    after = drawers(palace)
    assert [drawer.position for drawer in after] == [0, 1, 2]
    assert [drawer.id for drawer in after[:2]] == [drawer.id for drawer in before]
    assert after[1].text.endswith("Ordered.")


def test_what_was_read_before_is_not_read_again(
    palace: Palace, mine: Mine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = folder / "s.jsonl"
    path.write_text(lines(*(claude("user", f"Question {n}?") for n in range(500))))
    mine()
    with path.open("a") as file:
        file.write(lines(claude("user", "One more?")))
    read: list[int] = []
    reader = transcripts._LINES["Claude Code"][1]

    def counting(file: Any) -> Any:
        read.append(file.tell())
        return reader(file)

    monkeypatch.setitem(
        transcripts._LINES, "Claude Code", (transcripts._LINES["Claude Code"][0], counting)
    )
    assert mine().added == 1
    assert read[0] > path.stat().st_size * 0.99
    assert len(drawers(palace)) == 501


def test_a_transcript_that_was_rewritten_is_read_anew(
    palace: Palace, mine: Mine, folder: Path
) -> None:
    path = folder / "s.jsonl"
    path.write_text(lines(*(claude("user", f"Question {n}?") for n in range(5))))
    mine()
    path.write_text(lines(*(claude("user", f"Other question {n}?") for n in range(3))))
    done = mine()
    assert (done.changed, done.removed) == (3, 2)
    assert [drawer.text for drawer in drawers(palace)] == [
        f"User: Other question {n}?" for n in range(3)
    ]


def test_a_line_that_is_not_whole_yet_is_left_for_the_next_time(
    palace: Palace, mine: Mine, folder: Path
) -> None:
    whole = lines(claude("user", "First?"), claude("user", "Second?"))
    path = folder / "s.jsonl"
    path.write_text(whole[:-20])
    mine()
    assert [drawer.text for drawer in drawers(palace)] == ["User: First?"]
    path.write_text(whole)
    mine()
    assert [drawer.text for drawer in drawers(palace)] == ["User: First?", "User: Second?"]


def test_broken_and_unknown_records_are_passed_over(
    palace: Palace, mine: Mine, folder: Path
) -> None:
    broken = (
        '{"type": "user", "sessionId": \n[1, 2]\n"text"\nnull\n{"type": "user", "message": 5}\n'
    )
    (folder / "s.jsonl").write_text(
        lines(claude("user", "First?")) + broken + lines(claude("user", "Second?"))
    )
    assert mine().problems == []
    first, second = drawers(palace)
    assert (first.text, second.text) == ("User: First?", "User: Second?")
    assert first.metadata["left_out"] == {"lines that are no record": 4}
    assert "left_out" not in second.metadata


def test_a_line_that_is_too_long_is_never_held_and_is_named(
    palace: Palace, mine: Mine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agents, "LINE_BYTES", 1000)
    asked = []
    loads = json.loads
    monkeypatch.setattr(agents.json, "loads", lambda line: asked.append(len(line)) or loads(line))
    long, last = claude("user", "long " * 5000), claude("user", "end " * 5000)
    path = folder / "s.jsonl"
    path.write_text(
        lines(claude("user", "First?"), long, claude("user", "Second?"), last).rstrip("\n")
    )
    mine()
    named = {"lines of more than 1000 bytes": 1}
    found = [(drawer.text, drawer.metadata.get("left_out")) for drawer in drawers(palace)]
    assert found == [("User: First?", named), ("User: Second?", named)]
    assert max(asked) < 1000
    with path.open("a") as file:
        file.write("\n" + lines(claude("user", "Third?")))
    mine()
    assert [drawer.text for drawer in drawers(palace)][2:] == ["User: Third?"]
    assert [drawer.metadata.get("left_out") for drawer in drawers(palace)] == [named, named, None]


def test_an_export_that_was_cut_off_is_reported_and_what_is_whole_is_filed(
    palace: Palace, mine: Mine, folder: Path
) -> None:
    chat = json.loads(CLAUDE_AI)[0]
    text = json.dumps([{**chat, "uuid": f"c{n}"} for n in range(300)])
    path = folder / "conversations.json"
    path.write_text(text[:-100])
    done = mine()
    assert [problem.path for problem in done.problems] == ["conversations.json"]
    assert len(drawers(palace)) >= 200
    assert mine().problems, "an unfinished file is read again"
    path.write_text(text)
    assert mine().problems == []
    assert len(drawers(palace)) == 300


@pytest.mark.parametrize("odd", [[None], [{"sender": "human", "attachments": 5}], 5])
def test_a_conversation_of_another_shape_keeps_no_other_from_being_filed(
    palace: Palace, mine: Mine, folder: Path, odd: object
) -> None:
    chat = json.loads(CLAUDE_AI)[0]
    chats = [{**chat, "uuid": f"c{n}"} for n in range(3)]
    chats[1]["chat_messages"] = odd
    (folder / "conversations.json").write_text(json.dumps(chats))
    (problem,) = mine().problems
    assert problem.reason.startswith("1 conversations cannot be read, the first is number 2")
    assert {drawer.session for drawer in drawers(palace)} == {"c0", "c2"}
    assert len(mine().problems) == 1


@pytest.mark.parametrize("change", ["circle", "nothing was looked at last"])
def test_a_chatgpt_conversation_without_a_good_end_is_filed(
    palace: Palace, mine: Mine, folder: Path, change: str
) -> None:
    (chat,) = json.loads(CHATGPT)
    if change == "circle":
        chat["mapping"]["a"]["parent"] = "c"
    else:
        del chat["current_node"]
    (folder / "conversations.json").write_text(json.dumps([chat]))
    assert mine().problems == []
    assert "User: Which tea do we sell most?\n\nAssistant: Oolong." in drawers(palace)[-1].text


def test_a_line_end_of_other_alphabets_is_none_of_a_transcript(
    palace: Palace, mine: Mine, folder: Path
) -> None:
    record = json.dumps(claude("user", "One\u2028two\x85three"), ensure_ascii=False)
    (folder / "s.jsonl").write_text(record + "\n")
    mine()
    assert [drawer.text for drawer in drawers(palace)] == ["User: One\u2028two\x85three"]


@pytest.mark.parametrize("before", [[], [{"type": "mode"}]])
def test_a_transcript_is_known_by_a_record_longer_than_what_is_read_of_other_files(
    palace: Palace, mine: Mine, folder: Path, before: list[object]
) -> None:
    asked = "Which of these? " + "oolong " * 20_000
    (folder / "s.jsonl").write_text(lines(*before, claude("user", asked), claude("user", "Hm?")))
    mine()
    assert sorted(drawer.text for drawer in drawers(palace)) == ["User: Hm?", f"User: {asked}"]


def test_the_root_of_a_clients_transcripts_is_one_whatever_part_is_mined(
    palace: Palace, mine: Mine, folder: Path
) -> None:
    project = folder / ".claude" / "projects" / "-elsewhere-code-teashop"
    project.mkdir(parents=True)
    (project / "s.jsonl").write_text(CLAUDE)
    assert mine(project / "s.jsonl").added == 2
    done = mine(folder / ".claude" / "projects")
    assert (done.root, done.unchanged, done.added) == ("claude-code", 1, 0)
