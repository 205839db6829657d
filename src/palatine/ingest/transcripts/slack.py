"""A Slack export, as a zip or unpacked: a folder for each channel, a file for each day.

A drawer is a thread, or what was said without one, until nobody wrote for an hour; a thread that
goes on another day is another drawer of the same session.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from palatine.errors import InputError
from palatine.ingest.base import Piece
from palatine.ingest.files import Found
from palatine.ingest.transcripts.agents import Exchange, when
from palatine.ingest.transcripts.exports import items

_DAY = re.compile(r"([^/]+)/\d{4}-\d\d-\d\d\.json")
_USERS = "users.json"
_LISTS = {"channels.json", "groups.json", "dms.json", "mpims.json"}
_SAID = {None, "bot_message", "me_message", "file_share", "thread_broadcast", "file_comment"}
_PAUSE_SECONDS = 3600
_MOST_BYTES = 256 * 2**20

_Open = Callable[[str], BinaryIO]


def parts(found: Found) -> list[Found] | None:
    """The days in an export; none for its lists of people and channels; None when it is none."""
    file = found.file
    if file.suffix == ".zip" and zipfile.is_zipfile(file):
        days: list[zipfile.ZipInfo] = []
        with suppress(InputError), _archive(file) as archive:  # broken: a binary file
            days = archive.infolist()
        names = {day.filename for day in days}
        if _USERS not in names or not names & _LISTS:
            return None
        return [
            Found(f"{found.path}/{day.filename}", file, day.file_size, day.CRC, read)
            for day in days
            if _DAY.fullmatch(day.filename)
            for read in [partial(_day, partial(_unpacked, file), day.filename)]
        ]
    if file.suffix != ".json":
        return None
    for root in (file.parent, file.parent.parent):
        if (root / _USERS).is_file() and any((root / name).is_file() for name in _LISTS):
            name = file.relative_to(root).as_posix()
            if _DAY.fullmatch(name):
                return [replace(found, read=partial(_day, partial(_opened, root), name))]
            return [] if name in {_USERS, "integration_logs.json", *_LISTS} else None
    return None


def _opened(root: Path, name: str) -> BinaryIO:
    return (root / name).open("rb")


@contextmanager
def _archive(file: Path) -> Iterator[zipfile.ZipFile]:
    """Opens a zip.

    Raises:
        InputError: it is broken, has a password, or is packed in a way that is not known.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            yield archive
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        raise InputError(f"the zip cannot be read: {error}") from error


def _unpacked(file: Path, name: str) -> BinaryIO:
    with _archive(file) as archive:
        size = archive.getinfo(name).file_size
        if size > _MOST_BYTES:
            raise InputError(f"{name} has {size} bytes unpacked; at most {_MOST_BYTES} are read")
        return io.BytesIO(archive.read(name))


def _day(open_: _Open, name: str, _: BinaryIO) -> Iterator[Piece]:
    channel = name.partition("/")[0]
    with open_(name) as file:
        messages = sorted(items(file), key=lambda message: float(message.get("ts") or 0))
    unnamed = any("user" in message and not message.get("user_profile") for message in messages)
    people = _people(open_) if unnamed else {}
    for key, exchange in _talks(messages, people).items():
        exchange.session = f"{channel}/{key}"
        if piece := exchange.piece("Slack"):
            yield replace(piece, room=channel)


def _people(open_: _Open) -> Mapping[object, str]:
    with open_(_USERS) as file:
        return {user.get("id"): _name(user.get("profile") or user) for user in items(file)}


def _name(person: Mapping[str, Any]) -> str:
    keys = ("display_name", "real_name", "name")
    return next((str(person[key]) for key in keys if person.get(key)), "")


def _talks(
    messages: Iterable[Mapping[str, Any]], people: Mapping[object, str]
) -> Mapping[str, Exchange]:
    """The threads and the talks between them, each by the ts that it began with."""
    talks: dict[str, Exchange] = {}
    running, last = "", 0.0
    for message in messages:
        ts = str(message.get("ts") or "0")
        key = str(message.get("thread_ts") or "")
        if not key:
            running = ts if float(ts) - last > _PAUSE_SECONDS else running
            key, last = running, float(ts)
        talk = talks.setdefault(key, Exchange(0))
        talk.said_at = talk.said_at or when(float(ts))
        if message.get("subtype") in _SAID:
            person = message.get("user_profile") or {"name": message.get("username")}
            name = _name(person) or people.get(message.get("user")) or message.get("user")
            talk.say(str(name or "somebody"), str(message.get("text") or ""))
        else:
            talk.left_out[str(message["subtype"])] += 1
        for what in ("files", "attachments"):
            talk.left_out[what] += len(message.get(what) or ())
        talk.left_out = +talk.left_out
    return talks
