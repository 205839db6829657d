"""Transcripts that agents write, a JSON object a line: Claude Code, Codex, Gemini CLI, and others.

What is no turn of a person or an agent (prompts of the client, snapshots, hook output) is passed
over. A drawer is one exchange: what the user said, and all that was answered. Tools are named with
what they were asked; what they gave back is counted under `left_out`. A line that is not whole yet
ends the reading; one that cannot be parsed is counted.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, BinaryIO

from palatine.ingest.base import Piece
from palatine.instants import Instant, parse_start

TOOL_CHARS = 2000
LINE_BYTES = 64 * 2**20
"""A longer line is never held whole: the memory that reading takes does not grow with a file."""


class Exchange:
    """An exchange as it grows, turn by turn."""

    def __init__(self, at: int) -> None:
        """Begins at this byte of the file."""
        self.at = at
        self.turns: list[str] = []
        self.said_at: Instant | None = None
        self.session = ""
        self.folder = ""
        self.title = ""
        self.left_out: Counter[str] = Counter()
        self._speaker = ""

    def say(self, speaker: str, text: str) -> None:
        """Adds what somebody said, word for word; names the speaker where that changes."""
        if text.strip():
            self.turns.append(text if speaker == self._speaker else f"{speaker}: {text}")
            self._speaker = speaker

    def call(self, name: str, given: object) -> None:
        """Names a tool and what it was asked."""
        asked = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
        if len(asked) > TOOL_CHARS:
            self.left_out["characters of tool input"] += len(asked) - TOOL_CHARS
            asked = asked[:TOOL_CHARS] + "…"
        self.turns.append(f"[{name}] {asked}")

    def piece(self, kind: str) -> Piece | None:
        """What has been said so far; None when nothing was."""
        if not self._speaker:
            return None
        return Piece(
            "\n\n".join(self.turns),
            at=self.at,
            session=self.session,
            said_at=self.said_at,
            folder=self.folder,
            metadata={"format": kind}
            | ({"title": self.title} if self.title else {})
            | ({"left_out": dict(self.left_out)} if self.left_out else {}),
        )


def records(file: BinaryIO, broken: Counter[str]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    """The objects in the lines of a file, with the byte where each begins.

    What is no object, or longer than `LINE_BYTES`, is counted; an unfinished last line is not.
    """
    at = file.tell()
    while line := file.readline(LINE_BYTES):
        begin, at = at, at + len(line)
        whole = line.endswith(b"\n")
        if len(line) == LINE_BYTES and not whole:
            broken[f"lines of more than {LINE_BYTES} bytes"] += 1
            at += _skip_line(file)
            continue
        try:
            record = json.loads(line) if line.strip() else {}
        except (ValueError, RecursionError):
            if not whole:  # the last line of a file that is still written
                return
            record = None
        if isinstance(record, dict):
            yield begin, record
        else:
            broken["lines that are no record"] += 1


def _skip_line(file: BinaryIO) -> int:
    """Reads to the end of a line and keeps nothing; returns how many bytes that were."""
    skipped = 0
    while part := file.readline(LINE_BYTES):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def when(value: object) -> Instant | None:
    """A time as transcripts write it: ISO text, or seconds or milliseconds since 1970."""
    try:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return Instant(int(value * (1_000 if value > 1e11 else 1_000_000)))
        return parse_start(value) if isinstance(value, str) and value else None
    except (ValueError, OverflowError):
        return None


def texts(content: object) -> Iterator[tuple[str, Any]]:
    """The blocks of a message as (type, what is in it); plain text is one block."""
    if isinstance(content, str):
        yield "text", content
    for block in content if isinstance(content, list) else ():
        if isinstance(block, str):
            yield "text", block
        elif isinstance(block, dict):
            kind = str(block.get("type", "text"))
            text = block.get("text")
            plain = kind.endswith("text") and isinstance(text, str)
            yield ("text", text) if plain else (kind, block)


Turn = tuple[int, Mapping[str, Any], str, object]
"""At which byte; timestamp, sessionId, cwd and title, where there are; the role; the content."""


def exchanges(
    kind: str, turns: Iterable[Turn], broken: Counter[str] | None = None
) -> Iterator[Piece]:
    """Groups turns into exchanges; each turn of a user begins one.

    What is broken counts as left out of the exchange behind which it stands.
    """
    now: Exchange | None = None
    broken = Counter() if broken is None else broken
    for at, record, role, content in turns:
        blocks = list(texts(content))
        asks = role == "user" and any(name == "text" and text.strip() for name, text in blocks)
        if now:
            now.left_out.update(broken)
            broken.clear()
        if now is None or asks:
            if now and (piece := now.piece(kind)):
                yield piece
            now = Exchange(at)
            now.said_at = when(record.get("timestamp"))
        now.session = now.session or str(record.get("sessionId") or "")
        now.folder = now.folder or str(record.get("cwd") or "")
        now.title = now.title or str(record.get("title") or "")
        for name, block in blocks:
            _add(now, "User" if role == "user" else "Assistant", name, block)
    if now:
        now.left_out.update(broken)
    if now and (piece := now.piece(kind)):
        yield piece


def _add(now: Exchange, speaker: str, name: str, block: Any) -> None:
    if name == "text":
        now.say(speaker, block)
    elif name in ("tool_use", "function_call"):
        now.call(str(block.get("name")), block.get("input", block.get("arguments", "")))
    else:
        now.left_out[name] += 1


def claude_code(file: BinaryIO) -> Iterator[Piece]:
    """`~/.claude/projects/<folder>/<session>.jsonl`."""
    broken: Counter[str] = Counter()

    def turns() -> Iterator[tuple[int, Mapping[str, Any], str, object]]:
        for at, record in records(file, broken):
            message = record.get("message") if record else None
            if not record or record.get("type") not in ("user", "assistant") or not message:
                continue
            if record.get("isMeta") or not isinstance(message, dict):
                continue
            yield at, record, str(record["type"]), message.get("content")

    return exchanges("Claude Code", turns(), broken)


def codex(file: BinaryIO) -> Iterator[Piece]:
    """`~/.codex/sessions/…/rollout-….jsonl`."""
    broken: Counter[str] = Counter()

    def turns() -> Iterator[tuple[int, Mapping[str, Any], str, object]]:
        known: dict[str, object] = _codex_session(file)
        for at, record in records(file, broken):
            payload = record.get("payload") if record else None
            if not record or record.get("type") != "response_item" or not isinstance(payload, dict):
                continue
            stamped = {**known, "timestamp": record.get("timestamp")}
            kind, role = payload.get("type"), payload.get("role")
            if kind == "message" and role in ("user", "assistant") and not _of_codex(payload):
                yield at, stamped, str(role), payload.get("content")
            elif kind in ("function_call", "function_call_output"):
                yield at, stamped, "assistant", [payload]

    return exchanges("Codex", turns(), broken)


def _codex_session(file: BinaryIO) -> dict[str, object]:
    """Session and folder, which stand in the first line, wherever reading goes on."""
    at = file.tell()
    file.seek(0)
    _, first = next(records(file, Counter()), (0, {}))
    file.seek(at)
    meta = first.get("payload")
    if not isinstance(meta, dict):
        return {}
    return {"sessionId": meta.get("id"), "cwd": meta.get("cwd")}


def _of_codex(payload: Mapping[str, Any]) -> bool:
    """Whether a user's message was written by the client: it says so, or is one tagged block."""
    if payload.get("role") != "user":
        return False
    told = payload.get("internal_chat_message_metadata_passthrough")
    if isinstance(told, dict) and (kinds := told.get("content_item_kinds")):
        return bool(kinds != ["user.text"])
    said = "".join(str(text) for name, text in texts(payload.get("content")) if name == "text")
    return said.lstrip().startswith(("<environment_context>", "<user_instructions>"))


def gemini(file: BinaryIO) -> Iterator[Piece]:
    """`~/.gemini/tmp/<hash>/chats/session-….jsonl`."""
    broken: Counter[str] = Counter()

    def turns() -> Iterator[tuple[int, Mapping[str, Any], str, object]]:
        session = ""
        for at, record in records(file, broken):
            if not record:
                continue
            session = str(record.get("sessionId") or session)
            if record.get("type") in ("user", "gemini"):
                said = [*(_gemini_blocks(record))]
                role = "user" if record["type"] == "user" else "assistant"
                yield at, {**record, "sessionId": session}, role, said

    return exchanges("Gemini CLI", turns(), broken)


def _gemini_blocks(record: Mapping[str, Any]) -> Iterator[object]:
    for _, text in texts(record.get("content")):
        yield text
    for call in record.get("toolCalls") or ():
        if isinstance(call, dict):
            yield {"type": "tool_use", "name": call.get("name"), "input": call.get("args", "")}


def generic(file: BinaryIO) -> Iterator[Piece]:
    """Any lines of `{role, content}`, with `timestamp`, `sessionId` and `cwd` where there are."""
    broken: Counter[str] = Counter()

    def turns() -> Iterator[tuple[int, Mapping[str, Any], str, object]]:
        for at, record in records(file, broken):
            role = str(record.get("role")) if record else ""
            if record and role in ("user", "human", "assistant", "model", "ai"):
                who = "user" if role in ("user", "human") else "assistant"
                yield at, record, who, record.get("content")

    return exchanges("JSON Lines", turns(), broken)
