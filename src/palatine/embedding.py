"""Vectors follow the commit: chunks wait until somebody embeds them, and nobody waits for that.

What is embedded is read, embedded and stored in three steps; the model runs outside of all
transactions. One process embeds at a time, but a search may do so for itself beside it: of a
vector that comes twice the second is left out.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from palatine import config, embed
from palatine import text as texts
from palatine.embed.base import Embedder, EmbedderError
from palatine.errors import (
    ConflictError,
    InputError,
    StoreBusyError,
    StoreClosedError,
    StoreFullError,
    StoreReadOnlyError,
)
from palatine.store.base import ReadTx, Store, WriteTx
from palatine.types import Author, Drawer, DrawerFilter, Embedded, Pending

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Vector = NDArray[np.float32]

MOST_FRESH, MOST_FRESH_CHARS = 32, 16_000
"""A search embeds so many waiting chunks for itself, if there are no more: about a second."""
MOST_PARTS = 16
"""Of a question longer than so many chunks the beginning counts."""
_BATCH = 64
_POLL_SECONDS = 2.0


class LoadEmbedder(Protocol):
    """Makes an embedder."""

    def __call__(self, *, bulk_threads: int) -> Embedder:
        """For bulk work, on how many cores; 0: for questions."""


Progress = Callable[[int, int], None]
"""Told after each batch: how many are stored, how many are left."""


def passage_of(drawer: Drawer, start: int, end: int) -> str:
    """What of a drawer's chunk is indexed: its origin, then its span."""
    return texts.passage(
        drawer.text,
        start,
        end,
        said="" if drawer.said_at is None else str(drawer.said_at),
        speaker=drawer.author,
        source=drawer.source.rstrip("/").rpartition("/")[2],
    )


def meant(drawer: Drawer, start: int, end: int) -> str:
    """What of a drawer's chunk is embedded: who says it, and the span.

    Its date and its source are for full text: in the vector of a short text they drown the rest.
    """
    span = drawer.text[start:end]
    return f"{drawer.author}: {span}" if drawer.author else span


@dataclass(frozen=True, slots=True)
class Question:
    """A question as a search by meaning needs it.

    Attributes:
        vector: of unit length; None: there is nothing to compare with, or no model.
        embedder: name and dimension of what made it.
        fresh: vectors of chunks that had none in the palace, by chunk and the drawer's seq.
        remark: why there is no vector, when a person should know.
        rows_read: how many rows this took.
    """

    vector: Vector | None = None
    embedder: tuple[str, int] | None = None
    fresh: dict[tuple[int, int], Vector] = field(default_factory=dict)
    remark: str = ""
    rows_read: int = 0


class Embedding:
    """Embeds the chunks and the questions of one store."""

    def __init__(self, store: Store, load: LoadEmbedder | None) -> None:
        """Takes what makes the embedder when it is first needed; None: search by words only."""
        self._store = store
        self._load = load
        self._embedder: Embedder | None = None
        self._wanted: tuple[str, int] | None = None
        self._mutex = threading.Lock()
        self._fresh: tuple[str, dict[tuple[int, int], Vector]] = "", {}  # of which palace, and what

    def embedder(self, recorded: tuple[str, int] | None = None) -> Embedder:
        """The embedder for questions, loaded by the first call.

        Args:
            recorded: what made the palace's vectors. If that is another one, the embedder is
                loaded anew, once: the user may have set another for this palace.

        Raises:
            EmbedderError: it cannot be loaded, or there is none.
        """
        with self._mutex:
            own = self._embedder
            if own and recorded not in (None, self._wanted, (own.name, own.dimension)):
                self._embedder, self._wanted = None, recorded  # not closed: others may be using it
            if self._embedder is None:
                self._embedder = self._loaded(bulk_threads=0)
            return self._embedder

    def _loaded(self, *, bulk_threads: int) -> Embedder:
        if self._load is None:
            raise EmbedderError(
                "this palace was opened without an embedder; give it one (PALATINE_EMBEDDER=minilm)"
            )
        try:
            return self._load(bulk_threads=bulk_threads)
        except (ImportError, InputError) as error:
            raise EmbedderError(f"the embedder cannot be loaded: {error}") from error

    def lent(self) -> LoadEmbedder | None:
        """What gives this embedder, loaded once for all who borrow it; None where there is none."""
        if self._load is None:
            return None
        return lambda *, bulk_threads: (
            self._loaded(bulk_threads=bulk_threads)
            if bulk_threads
            else self.embedder(self._recorded())
        )

    def close(self) -> None:
        """Lets go of the embedder."""
        with self._mutex:
            embedder, self._embedder = self._embedder, None
        if embedder is not None:
            embedder.close()

    # For a search

    def question(self, query: str) -> Question:
        """The question's vector, and those of a few chunks that are still waiting for theirs.

        Loads the model only where there is something to find with it. What fails is said in the
        remark: the search then goes by words.
        """
        if self._load is None:
            return Question()
        with self._store.read() as tx:
            palace_id, recorded = tx.state().palace_id, tx.embedder()
            waiting = tx.pending(DrawerFilter(), limit=MOST_FRESH + 1)
            few = waiting if len(waiting) <= MOST_FRESH else []
            passages = _within(_passages(tx, few), MOST_FRESH_CHARS)
            rows_read = tx.rows_read
        if recorded is None and not passages:
            remark = "no text has been embedded yet: run `palatine embed`" if waiting else ""
            return Question(remark=remark, rows_read=rows_read)
        try:
            embedder = self.embedder(recorded)
            own = (embedder.name, embedder.dimension)
            if recorded not in (None, own):
                return Question(remark=_other(recorded, own), rows_read=rows_read)
            few = few[: len(passages)]
            vector, fresh = self._embed(embedder, query, few, passages, palace_id)
        except EmbedderError as error:
            return Question(remark=str(error), rows_read=rows_read)
        return Question(vector, own, fresh, embedder.remark, rows_read)

    def _embed(
        self,
        embedder: Embedder,
        query: str,
        few: Sequence[Pending],
        passages: Sequence[str],
        palace_id: str,
    ) -> tuple[Vector, dict[tuple[int, int], Vector]]:
        whose, known = self._fresh
        known = known if whose == palace_id else {}
        new = [n for n, p in enumerate(few) if (p.chunk, p.seq) not in known]
        parts = [query[start:end] for start, end in texts.chunks(query)[:MOST_PARTS]] or [query]
        vectors = embedder.embed([*parts, *(passages[n] for n in new)])
        made = {
            (few[n].chunk, few[n].seq): vector
            for n, vector in zip(new, vectors[len(parts) :], strict=True)
        }
        waiting = {key: known[key] for p in few if (key := (p.chunk, p.seq)) in known} | made
        self._fresh = palace_id, self._store_now(embedder, waiting, palace_id)
        vector = vectors[: len(parts)].sum(axis=0)
        return vector / ((vector @ vector) ** 0.5 or 1.0), waiting

    def _store_now(
        self, embedder: Embedder, fresh: dict[tuple[int, int], Vector], palace_id: str
    ) -> dict[tuple[int, int], Vector]:
        """Stores vectors if nobody else is writing; returns those that must be kept in mind."""
        if not fresh:
            return fresh
        try:
            with self._store.write(Author(), timeout_seconds=0.0) as tx:
                put_vectors(
                    tx, embedder, [(*key, vector) for key, vector in fresh.items()], palace_id
                )
        except (StoreBusyError, StoreReadOnlyError, StoreFullError, ConflictError):
            return fresh
        return {}

    # For those who wait for nothing

    def drain(
        self,
        *,
        bulk: bool = False,
        progress: Progress | None = None,
        stopping: Callable[[], bool] = lambda: False,
    ) -> Embedded:
        """Embeds what is waiting, batch by batch, unless another process is at it.

        Args:
            bulk: use all cores, where the embedder can.
            progress: called after each batch.
            stopping: asked before each batch.

        Raises:
            EmbedderError: the model failed; what was stored before stays.
            ConflictError: the palace's vectors are another embedder's.
        """
        stored = 0
        embedder: Embedder | None = None
        with self._store.embedding() as alone:
            while alone and not stopping():
                with self._store.read() as tx:
                    palace_id = tx.state().palace_id
                    batch = tx.pending(DrawerFilter(), limit=_BATCH)
                    passages = _passages(tx, batch)
                if not batch:
                    break
                if embedder is None:
                    cores = (os.cpu_count() or 1) if bulk and len(batch) == _BATCH else 0
                    recorded = self._recorded()
                    embedder = (
                        self._loaded(bulk_threads=cores) if cores else self.embedder(recorded)
                    )
                    own = (embedder.name, embedder.dimension)
                    if recorded not in (None, own):
                        raise ConflictError(_other(recorded, own))
                vectors = embedder.embed(passages)
                found = [(p.chunk, p.seq, v) for p, v in zip(batch, vectors, strict=True)]
                with self._store.write(Author()) as tx:
                    stored += put_vectors(tx, embedder, found, palace_id)
                    left = tx.count_pending()
                if progress is not None:
                    progress(stored, left)
        return Embedded(stored, self.pending(), alone)

    def reembed(self, *, progress: Progress | None = None) -> Embedded:
        """Makes the palace's vectors this embedder's; once begun, goes on where it ended.

        Others may go on working: what has no new vector yet is found by its words.
        """
        embedder = self.embedder()
        own = (embedder.name, embedder.dimension)
        with self._store.write(Author()) as tx:
            if tx.embedder() != own:
                tx.set_embedder(*own)
        return self.drain(bulk=True, progress=progress)

    def pending(self) -> int:
        """How many chunks have no vector yet."""
        with self._store.read() as tx:
            return tx.count_pending()

    def _recorded(self) -> tuple[str, int] | None:
        with self._store.read() as tx:
            return tx.embedder()


class Background:
    """A daemon thread that embeds what is waiting, from the moment that it is started."""

    def __init__(self, embedding: Embedding) -> None:
        self._embedding = embedding
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()
        self._mutex = threading.Lock()

    def start(self) -> None:
        """Starts the thread; again does nothing."""
        with self._mutex:
            if self._thread is None and not self._stop.is_set():
                self._thread = threading.Thread(
                    target=self._run, name="palatine-embedder", daemon=True
                )
                self._thread.start()

    def stop(self) -> None:
        """Ends it after the batch that it is at; does not wait."""
        self._stop.set()

    def _run(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            wait = _POLL_SECONDS
            try:
                if self._embedding.pending():
                    self._embedding.drain(stopping=self._stop.is_set)
            except StoreClosedError:
                return
            except ConflictError:  # until the user has set the embedder that the palace has now
                wait = 30 * _POLL_SECONDS
            except Exception:  # an edge: nobody is there to be told
                logging.getLogger(__name__).exception("embedding in the background failed")
                wait = 30 * _POLL_SECONDS


def put_vectors(
    tx: WriteTx,
    embedder: Embedder,
    vectors: Sequence[tuple[int, int, Vector]],
    palace_id: str,
) -> int:
    """Stores vectors as this embedder's; the first ones make it the palace's embedder.

    Stores none in another palace than the one whose chunks they are of: that may have been
    restored meanwhile, and its chunks have the same numbers.
    """
    if tx.state().palace_id != palace_id:
        return 0
    own = (embedder.name, embedder.dimension)
    recorded = tx.embedder()
    if recorded is None:
        tx.set_embedder(*own)
    elif recorded != own:
        raise ConflictError(_other(recorded, own))
    return tx.put_vectors(vectors)


def _passages(tx: ReadTx, chunks: Sequence[Pending]) -> list[str]:
    ids = tuple(dict.fromkeys(chunk.drawer for chunk in chunks))
    if not ids:
        return []
    drawers = {drawer.id: drawer for drawer in tx.drawers(DrawerFilter(ids=ids), limit=len(ids))}
    return [meant(drawers[chunk.drawer], chunk.start, chunk.end) for chunk in chunks]


def _within(passages: list[str], most_chars: int) -> list[str]:
    """The first of them, up to so many characters in all."""
    for number, passage in enumerate(passages):
        most_chars -= len(passage)
        if most_chars < 0:
            return passages[:number]
    return passages


def _other(recorded: tuple[str, int] | None, own: tuple[str, int]) -> str:
    name, dimension = recorded or ("", 0)
    return (
        f"the palace's vectors were made by {name} ({dimension} numbers), not by {own[0]}"
        f" ({own[1]}), and cannot be compared: run `palatine reembed` to make them anew, or open"
        f" the palace with {name}"
    )


def loader(given: Embedder | str | None, palace: str) -> LoadEmbedder | None:
    """What loads the embedder; None where search goes by words."""
    if given is not None and not isinstance(given, str):
        own = given
        return lambda *, bulk_threads: own

    def name_of() -> str:
        name = config.setting("embedder", palace=palace)[0] if given is None else given
        return config.checked_embedder(name)

    def load(*, bulk_threads: int) -> Embedder:
        name = name_of()  # asked anew: the user may set another one while this process runs
        if name == "minilm":
            return embed.open_local(Path(config.cache_folder()), bulk_threads=bulk_threads)
        if name == "hashing":
            return embed.open_hashing()
        if name == "none":
            raise EmbedderError("search by meaning is switched off (the embedder is none)")
        model, key = (
            config.setting(k, palace=palace)[0] for k in ("embedder_model", "embedder_key")
        )
        return embed.open_remote(name, model, api_key=key)

    return None if name_of() == "none" else load
