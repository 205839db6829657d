"""Three ways to share a Chroma collection between processes, for `thrash.py`.

Imports chromadb only when it is used, so that the benchmark runs without it.
"""

from __future__ import annotations

import contextlib
import os
import random
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module, metadata
from pathlib import Path
from typing import Any

DIMENSIONS = 384
NAME = "drawers"
LOOK_EVERY_SECONDS = 5.0
BATCH = 1000


def version() -> str:
    """The peer's version."""
    return metadata.version("chromadb")


def vector(seed: str) -> list[float]:
    """A unit vector that belongs to this seed."""
    draw = random.Random(seed)
    made = [draw.gauss(0, 1) for _ in range(DIMENSIONS)]
    length = sum(x * x for x in made) ** 0.5
    return [x / length for x in made]


def _settings() -> Any:
    return import_module("chromadb.config").Settings(anonymized_telemetry=False)


class Embedded:
    """A collection on disk, opened by each process for itself."""

    def __init__(self, place: str) -> None:
        self._place = place
        self.collection: Any = None
        self._open()

    def _open(self) -> None:
        shared = import_module("chromadb.api.shared_system_client")
        shared.SharedSystemClient.clear_system_cache()
        client = import_module("chromadb").PersistentClient(self._place, settings=_settings())
        self.collection = client.get_or_create_collection(NAME, embedding_function=None)

    def add(self, number: int) -> None:
        """One vector of its own."""
        self.collection.add(ids=[f"new {number}"], embeddings=[vector(f"new {number}")])

    def ask(self, number: int) -> int:
        """The ten nearest to some vector."""
        self._nearest(vector(f"question {number}"))
        return 0

    def finds(self, number: int) -> bool:
        """Whether the nearest to a vector is that vector."""
        return f"new {number}" in self._nearest(vector(f"new {number}"))

    def _nearest(self, to: list[float]) -> list[str]:
        found = self.collection.query(query_embeddings=[to], n_results=10, include=[])
        return list(found["ids"][0])

    def close(self) -> None:
        """Nothing that has to be done."""


class Ruled(Embedded):
    """Embedded, under the rule to look at the database's time."""

    def _open(self) -> None:
        super()._open()
        self._seen, self._looked = self._time(), time.monotonic()

    def _time(self) -> float:
        return (Path(self._place) / "chroma.sqlite3").stat().st_mtime

    def _follow(self) -> None:
        if time.monotonic() - self._looked >= LOOK_EVERY_SECONDS:
            self._looked = time.monotonic()
            if self._time() != self._seen:
                self._open()

    def add(self, number: int) -> None:
        """Looks, adds, and takes the new time as seen."""
        self._follow()
        super().add(number)
        self._seen = self._time()

    def _nearest(self, to: list[float]) -> list[str]:
        self._follow()
        return super()._nearest(to)


class Served(Embedded):
    """A client of Chroma's server; the place is its port."""

    def _open(self) -> None:
        chromadb = import_module("chromadb")
        client = chromadb.HttpClient("127.0.0.1", port=int(self._place), settings=_settings())
        self.collection = client.get_or_create_collection(NAME, embedding_function=None)


def fill(opening: Callable[[str], Any], place: str, count: int) -> None:
    """Adds so many vectors in batches, before anything is measured."""
    collection = opening(place).collection
    for first in range(0, count, BATCH):
        ids = [f"old {number}" for number in range(first, min(first + BATCH, count))]
        collection.add(ids=ids, embeddings=[vector(each) for each in ids])


@contextmanager
def _folder(folder: Path) -> Iterator[str]:
    yield str(folder)


@contextmanager
def _server(folder: Path) -> Iterator[str]:
    with contextlib.closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    program = Path(sys.executable).with_name("chroma")
    process = subprocess.Popen(
        [program, "run", "--path", folder, "--port", str(port)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "ANONYMIZED_TELEMETRY": "False"},
    )
    try:
        until = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if time.monotonic() > until or process.poll() is not None:
                raise RuntimeError("`chroma run` does not answer")
            time.sleep(0.1)
        yield str(port)
    finally:
        process.terminate()
        process.wait()


Server = Callable[[Path], AbstractContextManager[str]]
WAYS: tuple[tuple[str, type[Embedded], Server], ...] = (
    ("embedded, no rule", Embedded, _folder),
    ("embedded, looking every 5 s", Ruled, _folder),
    ("behind chroma run", Served, _server),
)
