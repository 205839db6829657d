"""The files of ChromaDB: rows from its SQLite database, vectors from its queue and its index.

Everything is read from copies, so that no running program is held up, and what a killed one left
is rolled back in the copy only. Nothing in the files is trusted.
"""

from __future__ import annotations

import io
import json
import pickle
import shutil
import sqlite3
import struct
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from palatine.imports.base import Reading

DOCUMENT = "chroma:document"
_ADD, _UPDATE, _DELETE = 0, 1, 3
_VALUES = "coalesce(string_value, int_value, float_value, bool_value)"
# What reading a damaged or a hostile index can raise: its pickle is anybody's bytes.
_BROKEN = (
    pickle.UnpicklingError, EOFError, ValueError, LookupError, AttributeError, TypeError,
    struct.error, ArithmeticError, ImportError, OSError, MemoryError,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a collection; `text` is None where it has none."""

    id: str
    text: str | None
    metadata: Mapping[str, Any]
    created_at: str
    vector: bytes


def copied(file: Path, scratch: Path) -> sqlite3.Connection:
    """A copy of a SQLite database, open; with what its journal holds."""
    target = scratch / f"{len(list(scratch.iterdir()))}.db"
    try:
        with closing(
            sqlite3.connect(f"file:{quote(str(file.absolute()))}?mode=ro", uri=True)
        ) as source:
            copy = sqlite3.connect(target, isolation_level=None)
            source.backup(copy)
    except sqlite3.Error:  # a journal that only a writer may roll back: so a copy's writer does
        target = target.with_suffix(".copy.db")
        for suffix in ("", "-wal", "-journal"):
            if (part := file.with_name(file.name + suffix)).exists():
                shutil.copyfile(part, f"{target}{suffix}")
        copy = sqlite3.connect(target, isolation_level=None)
    copy.row_factory = sqlite3.Row
    copy.text_factory = lambda data: data.decode("utf-8", "surrogateescape")
    return copy


def units(
    db: sqlite3.Connection,
    palace: Path,
    collection: sqlite3.Row,
    parents: tuple[str, str],
    reading: Reading,
) -> Iterator[list[Row]]:
    """The rows of a collection, those with the same parent together and in their order."""
    scopes = dict(
        db.execute("SELECT scope, id FROM segments WHERE collection = ?", [collection["id"]])
    )
    segment = scopes.get("METADATA", "")
    vectors = _Vectors(db, palace / scopes.get("VECTOR", "-"), collection["id"], reading)
    _absorb_queue(db, collection["id"], segment)
    ordered = db.execute(
        "SELECT e.id, e.embedding_id, e.created_at,"
        " coalesce(p.string_value, e.embedding_id) AS unit"
        " FROM embeddings e"
        " LEFT JOIN embedding_metadata p ON p.id = e.id AND p.key IN (?, ?)"
        " LEFT JOIN embedding_metadata n ON n.id = e.id AND n.key = 'chunk_index'"
        " WHERE e.segment_id = ? ORDER BY unit, n.int_value, e.id",
        [*parents, segment],
    )
    for _, group in groupby(ordered, lambda row: row["unit"]):
        yield [_row(db, row, vectors) for row in group]


def _row(db: sqlite3.Connection, row: sqlite3.Row, vectors: _Vectors) -> Row:
    members = dict(
        db.execute(
            f"SELECT key, {_VALUES} FROM embedding_metadata WHERE id = ?",  # noqa: S608 (a constant)
            [row["id"]],
        )
    )
    text = members.pop(DOCUMENT, None)
    vector = vectors.get(row["embedding_id"])
    return Row(row["embedding_id"], text, members, row["created_at"], vector)


def _absorb_queue(db: sqlite3.Connection, collection: str, segment: str) -> None:
    """Applies to the copy what its program had still to take from the queue."""
    (seen,) = db.execute(
        "SELECT max(seq_id) FROM max_seq_id WHERE segment_id = ?", [segment]
    ).fetchone()
    seen = int.from_bytes(seen, "big") if isinstance(seen, bytes) else seen
    queue = db.execute(
        "SELECT * FROM embeddings_queue WHERE topic LIKE '%/' || ? AND seq_id > ? ORDER BY seq_id",
        [collection, seen or 0],
    ).fetchall()
    for entry in queue:
        known = [segment, entry["id"]]
        found = db.execute(
            "SELECT id FROM embeddings WHERE segment_id = ? AND embedding_id = ?", known
        ).fetchone()
        if entry["operation"] == _DELETE:
            db.execute("DELETE FROM embeddings WHERE segment_id = ? AND embedding_id = ?", known)
        elif entry["operation"] != (_ADD if found else _UPDATE):
            number = found["id"] if found else _insert(db, known, entry)
            for key, value in json.loads(entry["metadata"] or "{}").items():
                amount = value if isinstance(value, int | float) else None
                db.execute(
                    "INSERT OR REPLACE INTO embedding_metadata(id, key, string_value, int_value)"
                    " VALUES (?, ?, ?, ?)",
                    [number, key, value if isinstance(value, str) else None, amount],
                )


def _insert(db: sqlite3.Connection, known: list[str], entry: sqlite3.Row) -> int | None:
    return db.execute(
        "INSERT INTO embeddings(segment_id, embedding_id, seq_id, created_at) VALUES (?, ?, ?, ?)",
        [*known, entry["seq_id"], entry["created_at"]],
    ).lastrowid


class _Vectors:
    """The vectors of a collection: the queue's last word, else what the index has."""

    def __init__(
        self, db: sqlite3.Connection, folder: Path, collection: str, reading: Reading
    ) -> None:
        self._db, self._collection = db, collection
        db.execute("CREATE INDEX IF NOT EXISTS by_id ON embeddings_queue(id, seq_id)")
        self._places: dict[str, int] = {}
        self._records: Any = None
        if not (folder / "index_metadata.pickle").exists():  # all vectors are still in the queue
            return
        try:
            self._open(Path(shutil.copytree(folder, reading.scratch / folder.name)), reading)
        except _BROKEN as error:
            self._places = {}
            reason = f"the index cannot be read ({type(error).__name__}: {error})"
            reading.problem(folder, f"{reason}; its texts are embedded anew")

    def _open(self, folder: Path, reading: Reading) -> None:
        labels = _labels((folder / "index_metadata.pickle").read_bytes())
        head = struct.unpack("<iQQQQQQ", (folder / "header.bin").read_bytes()[:52])
        _, _, _, count, size, label_at, vector_at = head
        data = np.memmap(folder / "data_level0.bin", np.uint8, "r")
        if not 0 < vector_at < label_at <= size - 8:
            raise ValueError("header.bin says what cannot be")
        if len(data) < count * size:
            reading.problem(folder, "data_level0.bin is cut off; what is behind is embedded anew")
        count = min(count, len(data) // size)
        self._records = data[: count * size].reshape(count, size)[:, vector_at:label_at]
        found = data[: count * size].reshape(count, size)[:, label_at : label_at + 8]
        at = {label: n for n, label in enumerate(found.copy().view("<u8")[:, 0].tolist())}
        self._places = {ref: at[label] for ref, label in labels.items() if label in at}

    def get(self, ref: str) -> bytes:
        """The vector of a row; empty where there is none."""
        entries = self._db.execute(
            "SELECT vector FROM embeddings_queue WHERE topic LIKE '%/' || ? AND id = ?"
            " ORDER BY seq_id DESC",
            [self._collection, ref],
        )
        for (vector,) in entries:
            if vector:
                return bytes(vector)
        place = self._places.get(ref)
        return b"" if place is None else self._records[place].tobytes()


@dataclass(slots=True)
class _PersistentData:
    """What the index's pickle holds in older palaces, in place of a dictionary."""

    id_to_label: dict[str, int] = field(default_factory=dict)

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        self.id_to_label = state["id_to_label"]


class _Plain(pickle.Unpickler):
    """Reads plain data; knows no class but that one, whatever the pickle asks for."""

    def find_class(self, module: str, name: str) -> Any:
        """Refuses."""
        if name == "PersistentData" and module.startswith("chromadb."):
            return _PersistentData
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def _labels(data: bytes) -> dict[str, int]:
    state = _Plain(io.BytesIO(data)).load()
    labels = state.id_to_label if isinstance(state, _PersistentData) else state["id_to_label"]
    return {str(ref): int(label) for ref, label in labels.items()}
