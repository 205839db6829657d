"""Transcripts of agents and exports of chats: which reader takes which file.

A file is known by what it begins with, never by its name alone. `lines` readers go on where a
transcript stood when it was last read; `whole` ones read an export from its beginning. What other
programs keep in a database, a zip or many files is taken apart into one part a conversation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from palatine.errors import InputError
from palatine.ingest.base import Reader
from palatine.ingest.files import Found, Problem, source_path
from palatine.ingest.transcripts import agents, cursor, exports, opencode, plain, slack

_HEAD_LINES = 50


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of transcript.

    Attributes:
        name: what `mine` calls it.
        read: its reader.
        grows: a line at a time, so that reading can go on where it ended.
    """

    name: str
    read: Reader
    grows: bool = True


_CHAT_EXPORT = re.compile(
    r'\s*\[\s*\{[^\[{]*"(?:chat_messages|mapping|uuid|title|name)"', re.DOTALL
)
_TURNS = re.compile(r"^(?:> |(?:User|Human|Assistant|You|AI|ChatGPT|Claude)\s*:)", re.MULTILINE)


def parts(found: Found) -> Iterator[Found | Problem]:
    """The conversations in a file of many; a file that is none, as it is."""
    try:
        for within in (cursor.parts, opencode.parts, slack.parts):
            if (inside := within(found)) is not None:
                yield from map(_named, inside)
                return
    except (OSError, ValueError) as error:
        yield Problem(found.path, str(error))
        return
    yield found


def _named(part: Found) -> Found | Problem:
    try:
        return replace(part, path=source_path(part.path))
    except InputError as error:
        return Problem(part.path, str(error))


def detect(head: bytes, suffix: str) -> Format | None:
    """The format of a transcript that begins so; None when it is no transcript.

    Args:
        head: its first bytes, some tens of kB.
        suffix: of its name, with the dot.
    """
    text = head.decode("utf-8", "replace")
    if suffix in (".json", ".jsonl") or text[:1] in "{[":
        return _json_format(text)
    if suffix in (".txt", ".md") and len(_TURNS.findall(text)) > 2:
        return Format("dialogue", plain.dialogue)
    return None


def _json_format(text: str) -> Format | None:
    for line in text.split("\n", _HEAD_LINES)[:_HEAD_LINES]:
        try:
            record = json.loads(line)
        except (ValueError, RecursionError):
            break
        if not isinstance(record, dict):
            break
        for name, (is_one, read) in _LINES.items():
            if is_one(record):
                return Format(name, read)
    if _CHAT_EXPORT.match(text):
        if '"chat_messages"' in text:
            return Format("claude.ai export", exports.claude, grows=False)
        if '"mapping"' in text:
            return Format("ChatGPT export", exports.chatgpt, grows=False)
    return None


_LINES: Mapping[str, tuple[Callable[[Mapping[str, Any]], bool], Reader]] = {
    "Claude Code": (lambda r: "sessionId" in r and "type" in r, agents.claude_code),
    "Codex": (lambda r: r.get("type") == "session_meta" and "payload" in r, agents.codex),
    "Gemini CLI": (lambda r: "sessionId" in r and "projectHash" in r, agents.gemini),
    "JSON Lines": (lambda r: "role" in r and "content" in r, agents.generic),
}
