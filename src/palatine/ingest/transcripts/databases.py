"""Databases of other programs, read while their owners go on writing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palatine.errors import InputError

_WAIT_SECONDS = 5.0
_MOST_MS = 2**43


@contextmanager
def reading(file: Path) -> Iterator[sqlite3.Connection]:
    """Opens a database to read, never to write, and never as if nobody wrote (`immutable`).

    Each statement is a transaction of its own, so that no lock is held between two of them. The
    standard library's SQLite does: nothing is written, and the truth is not ours.

    Raises:
        InputError: it cannot be read.
    """
    try:
        place = f"{file.resolve().as_uri()}?mode=ro"
        opened = sqlite3.connect(place, uri=True, timeout=_WAIT_SECONDS, isolation_level=None)
        try:
            yield opened
        finally:
            opened.close()
    except sqlite3.Error as error:
        raise InputError(f"the database cannot be read: {error}") from error


def nanoseconds(milliseconds: object) -> int:
    """A time of a file from one in a column, which may hold anything."""
    if isinstance(milliseconds, int) and 0 <= milliseconds < _MOST_MS:
        return milliseconds * 1_000_000
    return 0


def parsed(value: object) -> Mapping[str, Any]:
    """The JSON object in a column or a file; empty when there is none."""
    try:
        found = json.loads(value) if isinstance(value, str | bytes) else None
    except (ValueError, RecursionError):
        found = None
    return found if isinstance(found, dict) else {}
