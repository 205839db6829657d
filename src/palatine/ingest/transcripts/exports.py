"""Exports of whole accounts, one JSON array of conversations, read one conversation at a time."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO

import ijson  # type: ignore[import-untyped]

from palatine.errors import InputError
from palatine.ingest.base import Piece
from palatine.ingest.transcripts.agents import Exchange, texts, when


def _chats(file: BinaryIO) -> Iterator[Mapping[str, Any]]:
    try:
        yield from ijson.items(file, "item", use_float=True)
    except ijson.JSONError as error:
        raise InputError(f"broken JSON: {' '.join(str(error).split()[:8])}") from error


def claude(file: BinaryIO) -> Iterator[Piece]:
    """claude.ai: `conversations.json`."""
    for chat in _chats(file):
        turns = [
            (message.get("sender") == "human", message.get("created_at"), _claude_text(message))
            for message in chat.get("chat_messages") or ()
        ]
        yield from _exchanges(
            "claude.ai", str(chat.get("uuid")), str(chat.get("name") or ""), turns
        )


def _claude_text(message: Mapping[str, Any]) -> list[tuple[str, Any]]:
    blocks = list(texts(message.get("content"))) or [("text", str(message.get("text") or ""))]
    for attached in message.get("attachments") or ():
        said = attached.get("extracted_content")
        blocks.append(("text", f"[{attached.get('file_name')}]\n{said}") if said else ("file", {}))
    return blocks


def chatgpt(file: BinaryIO) -> Iterator[Piece]:
    """ChatGPT: `conversations.json`; of a conversation the branch that was last looked at."""
    for chat in _chats(file):
        mapping = chat.get("mapping") or {}
        node = mapping.get(chat.get("current_node"))
        messages = []
        while node:
            if node.get("message"):
                messages.append(node["message"])
            node = mapping.get(node.get("parent"))
        turns = []
        for message in reversed(messages):
            role = (message.get("author") or {}).get("role")
            content = message.get("content") or {}
            if role in ("user", "assistant"):
                parts = content.get("parts") or ([content["text"]] if "text" in content else [])
                said = list(texts(parts))
                turns.append((role == "user", message.get("create_time"), said))
        key = str(chat.get("id") or chat.get("conversation_id") or "")
        yield from _exchanges("ChatGPT", key, str(chat.get("title") or ""), turns)


def _exchanges(
    kind: str, session: str, title: str, turns: list[tuple[bool, Any, list[tuple[str, Any]]]]
) -> Iterator[Piece]:
    now: Exchange | None = None
    for asks, time, blocks in turns:
        if now is None or asks:
            if now and (piece := now.piece(kind)):
                yield _titled(piece, title)
            now = Exchange(0)
            now.session, now.said_at = session, when(time)
        for name, text in blocks:
            if name == "text":
                now.say("User" if asks else "Assistant", text)
            else:
                now.left_out[name] += 1
    if now and (piece := now.piece(kind)):
        yield _titled(piece, title)


def _titled(piece: Piece, title: str) -> Piece:
    metadata = {**piece.metadata, "title": title} if title else piece.metadata
    return Piece(piece.text, 0, "", "", piece.session, piece.said_at, "", metadata)
