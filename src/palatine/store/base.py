"""The port: what the rules of the domain ask of a store.

A store keeps rows and finds them; it knows no rule of the domain. Whoever reads does so in one
snapshot, whoever writes is alone: `write()` waits for the writer lock, and what it wrote is
acknowledged when the block has ended without an error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from palatine.instants import Instant
from palatine.types import (
    Author,
    BackedUp,
    Cardinality,
    Change,
    ChangeFilter,
    Chunk,
    Drawer,
    DrawerFilter,
    Edge,
    Entity,
    Fact,
    FactCounts,
    FactFilter,
    FormerId,
    Kind,
    Link,
    Match,
    Op,
    PalaceState,
    Pending,
    Place,
    Predicate,
    Problem,
    Reading,
    Source,
    Span,
)

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Noun = Drawer | Entity | Link | Predicate
"""What a revision can hold: the row as it stood before a change."""


class Lookups(Protocol):
    """What both transactions can ask. Every list is complete up to its `limit`."""

    def state(self) -> PalaceState:
        """The palace's id, schema version and last change, as this transaction sees them."""

    def drawer(self, drawer_id: str) -> Drawer | None:
        """The drawer with this id, else with this former id."""

    def drawers(
        self,
        where: DrawerFilter,
        *,
        limit: int,
        before: tuple[int, str] | None = None,
        texts: bool = True,
    ) -> list[Drawer]:
        """Drawers, the newest filing first, then by id downwards.

        Args:
            limit: at most so many.
            before: (filed_at in microseconds, id) of the last one seen: go on after it.
            texts: False leaves `text` empty and does not read it.
        """

    def former_ids(self, *, after: str, limit: int) -> list[FormerId]:
        """Former ids that lead to a drawer, by id; `after` the last one seen."""

    def places(self, where: DrawerFilter) -> list[Place]:
        """The rooms that hold drawers, by wing, then room."""

    def facts(
        self, where: FactFilter, *, limit: int, after: tuple[int | None, str, int] | None = None
    ) -> list[Fact]:
        """Beliefs by start of validity, undated last, then by id and version.

        Args:
            after: (valid_from in microseconds or None, id, version) of the last one seen.
        """

    def beliefs(self, *, after: tuple[str, int], limit: int) -> list[Fact]:
        """All beliefs, also past ones, by the fact's id and version.

        Args:
            after: (id, version) of the last one seen; ("", 0) to begin.
        """

    def edges(self, where: FactFilter) -> list[Edge]:
        """All beliefs that match, as steps between entities, in no order."""

    def fact_counts(self, *, wing: str | None, now: int) -> FactCounts:
        """Counts of what is believed; `now` in microseconds decides what is current."""

    def entity(self, key: str) -> Entity | None:
        """The entity with this key, or with this key as an alias."""

    def entities(self, *, words: Sequence[str], limit: int) -> list[Entity]:
        """Entities whose key contains any of the words, the shortest key first; no words: all."""

    def predicate(self, name: str) -> Cardinality | None:
        """How many objects the predicate takes at a time; None when nobody has said."""

    def predicates(self) -> dict[str, Cardinality]:
        """All predicates of which it is known."""

    def links(self, *, ref: str | None = None, limit: int) -> list[Link]:
        """Links by id; `ref` is a link's id, or the id of a drawer at one of the ends."""

    def changes(
        self, where: ChangeFilter, *, limit: int, after: int = 0, newest_first: bool = False
    ) -> list[Change]:
        """Entries of the change feed with a seq greater than `after`."""

    def before(self, seq: int) -> Noun | None:
        """The row as it stood before this change; None when it did not stand, or is forgotten."""

    def labels(self) -> list[str]:
        """What the change feed calls wings, agents and sessions, each name once."""

    def roots(self) -> dict[str, str]:
        """The folder of each named root of mined files, as it was last seen."""

    def sources(self, root: str) -> dict[str, Source]:
        """All mined files of a root, by path."""

    def source(self, root: str, path: str) -> Source | None:
        """One mined file."""

    def readings(
        self, *, drawer: str | None = None, fact: str | None = None, limit: int
    ) -> list[Reading]:
        """What was read of a drawer, or stated a fact; neither given: of drawers that are gone.

        By drawer, then reader.
        """

    def contradictory(
        self, predicates: Sequence[str], *, wing: str | None, now: int, limit: int
    ) -> list[tuple[str, str, str]]:
        """Where several believed facts of one subject hold at the same time, with several objects.

        Args:
            predicates: of these.
            wing: None: each wing for itself.
            now: in microseconds; what has ended by then is not looked at.
            limit: at most so many.

        Returns:
            (wing, subject's key, predicate), in this order.
        """

    def embedder(self) -> tuple[str, int] | None:
        """The name and the dimension of what made the palace's vectors; None before the first."""

    def pending(self, where: DrawerFilter, *, limit: int) -> list[Pending]:
        """Chunks that have no vector yet, the oldest first."""

    def count_pending(self) -> int:
        """How many chunks have no vector yet."""


class ReadTx(Lookups, Protocol):
    """One snapshot: a REPEATABLE READ transaction. Search is offered here only."""

    @property
    def rows_read(self) -> int:
        """How many rows it has read so far, for those who measure."""

    def matching(
        self,
        phrases: Sequence[str],
        where: DrawerFilter,
        *,
        limit: int,
        beside: Sequence[str] = (),
    ) -> list[Match]:
        """The best chunks by BM25 that contain any of the phrases; the filter applies inside.

        Args:
            phrases: what finds.
            where: which drawers.
            limit: at most so many.
            beside: phrases that count in the score of what is found, and find nothing themselves.
        """

    def nearest(
        self, vector: NDArray[np.float32], where: DrawerFilter, *, limit: int
    ) -> list[Match]:
        """The chunks nearest to the vector, the best first; the filter applies inside.

        May miss a few of them: those that a rough first look (by sign codes, by a graph) misses.

        Args:
            vector: of unit length, with the embedder's dimension.
            where: which drawers.
            limit: at most so many.

        Returns:
            Matches whose score is the cosine.
        """

    def cosines(self, vector: NDArray[np.float32], chunks: Sequence[int]) -> dict[int, float]:
        """The cosine of each of these chunks that has a vector."""

    def words(self, texts: Sequence[str]) -> list[list[str]]:
        """The words of each text as the index keeps them: folded, stemmed, in order."""

    def frequencies(self, words: Sequence[str]) -> tuple[int, dict[str, int]]:
        """About how many chunks there are, and in how many each of these index words stands."""

    def neighbours(self, chunks: Sequence[int]) -> dict[int, tuple[int, ...]]:
        """For each chunk the one before and the one after it.

        In the same drawer; at its ends the nearest chunk of the neighbouring drawer, by position,
        of the same source, wing and room.
        """

    def spans(self, chunks: Sequence[int]) -> list[Span]:
        """Where these chunks stand; a chunk that is gone is left out."""


class WriteTx(Lookups, Protocol):
    """The one writer's transaction. All of it is committed, or nothing.

    Attributes:
        recorded_at: the time of everything in it: after that of every earlier change.
    """

    recorded_at: Instant

    def record(self, kind: Kind, ref: str, op: Op, *, wing: str, before: Noun | None) -> int:
        """Appends to the change feed and returns the seq; keeps `before` as a revision."""

    def put_drawer(self, drawer: Drawer, chunks: Sequence[Chunk]) -> None:
        """Inserts the drawer, or replaces the one with its id, chunks and full text included."""

    def delete_drawer(self, drawer_id: str) -> None:
        """Removes the drawer with its chunks and full-text rows."""

    def put_former_id(self, former: str, drawer_id: str) -> None:
        """Makes an id from elsewhere lead to this drawer."""

    def put_fact(self, fact: Fact) -> None:
        """Inserts a belief.

        Its `recorded_at` must be this transaction's, or, of a fact that was not here, an earlier
        one, and so must its `ended_at`.
        """

    def end_fact(self, fact_id: str, version: int) -> None:
        """Stops believing this belief, at this transaction's time."""

    def erase_fact(self, fact_id: str) -> None:
        """Removes all beliefs about the fact, and its entities when nothing else holds them."""

    def put_entity(self, entity: Entity) -> None:
        """Inserts the entity, or replaces name, type and properties of the one with its key."""

    def delete_entity(self, key: str) -> None:
        """Removes an entity; no fact may name it."""

    def put_alias(self, name: str, alias_key: str, entity_key: str) -> None:
        """Makes a name lead to an entity."""

    def delete_alias(self, alias_key: str) -> None:
        """Removes an alias."""

    def put_predicate(self, name: str, cardinality: Cardinality | None) -> None:
        """Says how many objects the predicate takes at a time; None: not known."""

    def put_link(self, link: Link) -> None:
        """Inserts the link, or replaces the one with its id."""

    def delete_link(self, link_id: str) -> None:
        """Removes the link."""

    def put_root(self, name: str, folder: str) -> None:
        """Says where the files of a root lie now."""

    def put_source(self, source: Source) -> None:
        """Keeps what was read of a file, in place of what was known."""

    def delete_source(self, root: str, path: str) -> None:
        """Forgets that a file was read; its drawers stay."""

    def put_reading(self, reading: Reading) -> None:
        """Keeps what was read of a drawer, in place of what the reader had found there."""

    def delete_reading(self, drawer: str, reader: str) -> None:
        """Forgets that a drawer was read; the facts stay."""

    def relabel(self, old: str, new: str) -> None:
        """Gives what the change feed calls so, a wing, an agent or a session, another name."""

    def forget_revisions(self, kind: Kind, ref: str) -> int:
        """Removes what stood before any change of this object; returns how many."""

    def empty_trash(self, before: Instant) -> int:
        """Removes what stood before any change that was recorded before then; returns how many."""

    def set_embedder(self, name: str, dimension: int) -> None:
        """Records which embedder the vectors are of; those there are go, and all is pending."""

    def put_vectors(self, vectors: Sequence[tuple[int, int, NDArray[np.float32]]]) -> int:
        """Stores vectors; writes nothing to the change feed.

        Args:
            vectors: (chunk, seq of its drawer, vector of unit length). One whose chunk is gone,
                is another drawer's by now or has a vector already is left out.

        Returns:
            How many were stored.

        Raises:
            StoreError: no embedder is set, or a vector has another dimension.
        """


class Store(Protocol):
    """A palace's rows. One object serves all threads of a process.

    Attributes:
        place: what the store is called in messages: a folder, or a database's name.
    """

    place: str

    def read(self) -> AbstractContextManager[ReadTx]:
        """One snapshot that contains every write acknowledged before it began."""

    def write(
        self, author: Author, *, timeout_seconds: float | None = None
    ) -> AbstractContextManager[WriteTx]:
        """The right to write, alone among all processes; commits when the block ends.

        Args:
            author: who writes.
            timeout_seconds: how long it may wait; None: as long as the store always does.

        Raises:
            StoreBusyError: no writer lock before the deadline; nothing was written.
        """

    def embedding(self) -> AbstractContextManager[bool]:
        """The right to embed: True for one process at a time, for the others False at once."""

    def check(self) -> list[Problem]:
        """Everything that is wrong with the rows and what is derived from them."""

    def rebuild(self, chunks_of: Callable[[Drawer], Sequence[Chunk]]) -> int:
        """Makes all that is derived anew from the rows; returns how many chunks."""

    def backup(self, target: Path | None, *, keep: int) -> BackedUp:
        """Copies one snapshot of the palace, whole and checked, into a new file.

        Args:
            target: the file; or a folder, in which it gets a name with the time; None: the
                store's own place for backups.
            keep: in a folder: remove the oldest ones of this palace but so many; 0: none.

        Raises:
            InputError: something lies there already, or the folder is missing.
        """

    def scrub(self, needles: Sequence[bytes]) -> list[str]:
        """Makes removed rows unrecoverable; returns the files in which a needle is still found.

        A needle that some row rightly holds is not looked for.
        """

    def details(self) -> Mapping[str, object]:
        """Facts about the store for `status`: sizes in bytes, versions, where it lives."""

    def reopen(self) -> None:
        """Closes everything, forgets everything derived, and accepts what lies there now."""

    def close(self) -> None:
        """Closes; again is no error."""

    def shutdown(self) -> None:
        """Closes within 100 ms: interrupts reads, waits a moment for an own commit."""
