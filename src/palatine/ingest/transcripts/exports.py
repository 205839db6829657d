"""Exports of whole accounts, one JSON array of conversations, read one conversation at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, BinaryIO

import ijson  # type: ignore[import-untyped]

from palatine.errors import InputError
from palatine.ingest.base import Piece
from palatine.ingest.transcripts.agents import Turn, exchanges


def items(file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    """The objects of a JSON array, one at a time.

    Raises:
        InputError: it is broken; what was whole before has been given.
    """
    try:
        yield from (each for each in ijson.items(file, "item", use_float=True) if each)
    except ijson.JSONError as error:
        raise InputError(f"broken JSON: {' '.join(str(error).split()[:8])}") from error


def _chats(
    kind: str, file: BinaryIO, turns: Callable[[Mapping[str, Any]], Iterator[Turn]]
) -> Iterator[Piece]:
    """The exchanges of all conversations.

    Raises:
        InputError: some cannot be read, or what follows cannot; all others have been given.
    """
    odd: list[str] = []
    for number, chat in enumerate(items(file), 1):
        try:
            yield from list(exchanges(kind, turns(chat)))
        except (AttributeError, LookupError, TypeError, ValueError) as error:
            odd.append(f"number {number} ({error})")
    if odd:
        raise InputError(f"{len(odd)} conversations cannot be read, the first is {odd[0]}")


def claude(file: BinaryIO) -> Iterator[Piece]:
    """claude.ai: `conversations.json`."""
    return _chats("claude.ai", file, _claude)


def _claude(chat: Mapping[str, Any]) -> Iterator[Turn]:
    about = {"sessionId": chat.get("uuid"), "title": chat.get("name")}
    for message in chat.get("chat_messages") or ():
        blocks: list[object] = [*(message.get("content") or [message.get("text") or ""])]
        for attached in message.get("attachments") or ():
            said = attached.get("extracted_content")
            blocks.append(f"[{attached.get('file_name')}]\n{said}" if said else {"type": "file"})
        role = "user" if message.get("sender") == "human" else "assistant"
        yield 0, {**about, "timestamp": message.get("created_at")}, role, blocks


def chatgpt(file: BinaryIO) -> Iterator[Piece]:
    """ChatGPT: `conversations.json`; of a conversation the branch that was last looked at."""
    return _chats("ChatGPT", file, _chatgpt)


def _chatgpt(chat: Mapping[str, Any]) -> Iterator[Turn]:
    about = {"sessionId": chat.get("id") or chat.get("conversation_id"), "title": chat.get("title")}
    mapping = chat.get("mapping") or {}
    node = mapping.get(chat.get("current_node")) or next(reversed(mapping.values()), None)
    messages = []
    for _ in mapping:  # and no more: a branch may bite its own tail
        if node and node.get("message"):
            messages.append(node["message"])
        node = mapping.get(node.get("parent")) if node else None
    for message in reversed(messages):
        role = (message.get("author") or {}).get("role")
        content = message.get("content") or {}
        if role in ("user", "assistant"):
            parts = content.get("parts") or ([content["text"]] if "text" in content else [])
            yield 0, {**about, "timestamp": message.get("create_time")}, role, parts
