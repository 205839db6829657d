"""Exports of whole accounts, one JSON array of conversations, read one conversation at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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


def claude(file: BinaryIO) -> Iterator[Piece]:
    """claude.ai: `conversations.json`."""
    for chat in items(file):
        yield from exchanges("claude.ai", _claude(chat))


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
    for chat in items(file):
        yield from exchanges("ChatGPT", _chatgpt(chat))


def _chatgpt(chat: Mapping[str, Any]) -> Iterator[Turn]:
    about = {"sessionId": chat.get("id") or chat.get("conversation_id"), "title": chat.get("title")}
    mapping = chat.get("mapping") or {}
    node = mapping.get(chat.get("current_node"))
    messages = []
    while node:
        if node.get("message"):
            messages.append(node["message"])
        node = mapping.get(node.get("parent"))
    for message in reversed(messages):
        role = (message.get("author") or {}).get("role")
        content = message.get("content") or {}
        if role in ("user", "assistant"):
            parts = content.get("parts") or ([content["text"]] if "text" in content else [])
            yield 0, {**about, "timestamp": message.get("create_time")}, role, parts
