"""The library's front door: opens a palace, hands out what it can do, closes it."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from palatine import embed, instants, markdown, transfer
from palatine.config import cache_folder, default_palace, embedder_name, endpoint, environment
from palatine.drawers import DIARY_ROOM, Drawers, chunks_of, time_filter
from palatine.embed import Embedder
from palatine.embedding import Background, Embedding, LoadEmbedder, Progress
from palatine.errors import InputError, PalatineError
from palatine.history import History
from palatine.instants import Time, parse_start
from palatine.knowledge import Knowledge
from palatine.search import Search
from palatine.store.base import Store
from palatine.store.sqlite import WRITE_TIMEOUT_SECONDS, SqliteStore
from palatine.text import clean_name
from palatine.types import (
    Added,
    Author,
    Change,
    ChangeFilter,
    Drawer,
    DrawerFilter,
    Embedded,
    End,
    Imported,
    Link,
    Linked,
    Logged,
    NewDrawer,
    Page,
    Problem,
    Reconnected,
    Removed,
    SearchResult,
    Status,
    Updated,
    Written,
)

_KEEP: Any = object()


class Palace:
    """A memory palace, open in this process.

    Every thread may use it at once; from asyncio through `asyncio.to_thread`. Any number of
    processes may have the same palace open and write to it. Closes at exit, at the latest.

    Attributes:
        knowledge: its facts.
    """

    def __init__(
        self,
        store: Store,
        *,
        author: Author,
        load_embedder: LoadEmbedder | None = None,
        background: bool = False,
    ) -> None:
        """Takes a store that is open; `Palace.open` is what you want."""
        self._store = store
        self._author = author
        self._drawers = Drawers(store)
        self._embedding = Embedding(store, load_embedder)
        self._background = Background(self._embedding) if background else None
        self._search = Search(store, self._embedding)
        self._history = History(store)
        self.knowledge = Knowledge(store, author)
        atexit.register(self.close)

    @classmethod
    def open(
        cls,
        path: str | Path | None = None,
        *,
        single: bool = False,
        create: bool = True,
        read_only: bool = False,
        agent: str = "",
        session: str = "",
        timeout_seconds: float = WRITE_TIMEOUT_SECONDS,
        allow_any_location: bool = False,
        embedder: Embedder | str | None = None,
        background: bool = False,
    ) -> Self:
        """Opens the palace in a folder; makes one where there never was one.

        Args:
            path: the folder; None: `PALATINE_PALACE`, else the user's own.
            single: the path is a file, which becomes the whole palace, its lock beside it.
            create: False: only open what is there.
            read_only: write nothing and take no lock.
            agent: who writes, for the change feed.
            session: the agent's session.
            timeout_seconds: the deadline for everything that a write waits for.
            allow_any_location: also create in a network or synced folder.
            embedder: what search by meaning needs: `minilm`, `none` (then search goes by words),
                the URL of an OpenAI-compatible endpoint, or one of your own; None:
                `PALATINE_EMBEDDER`, else `minilm`. Loaded by the first search that finds
                something to compare with.
            background: once that has happened, a thread embeds what anybody writes.

        Raises:
            InputError: no embedder has this name.
            PalaceMissingError: there was a palace here and its database is gone.
            StoreError: it cannot be used, see `palatine.errors`; nothing was written.
        """
        load = _embedder(embedder)
        folder = Path(default_palace(None if path is None else str(path)))
        store = SqliteStore(
            folder,
            single=single,
            create=create,
            read_only=read_only,
            timeout_seconds=timeout_seconds,
            allow_any_location=allow_any_location,
            environment=environment(),
        )
        return cls(store, author=Author(agent, session), load_embedder=load, background=background)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the palace; again is no error."""
        atexit.unregister(self.close)
        if self._background is not None:
            self._background.stop()
        self._store.close()
        self._embedding.close()

    def shutdown(self) -> None:
        """Closes within 100 ms, for a process that is told to end."""
        self._store.shutdown()

    # Drawers

    def add(
        self,
        text: str,
        *,
        wing: str = "",
        room: str = "",
        kind: str = "note",
        source: str = "",
        position: int = -1,
        said_at: Time | None = None,
        pinned: bool = False,
        metadata: Mapping[str, Any] | None = None,
        author: Author | None = None,
    ) -> Added:
        """Files a text, verbatim. The same text in the same place is not filed again.

        Args:
            text: anything; comes back byte for byte.
            wing: a person, project or agent; `personal` when empty.
            room: a topic; `notes` when empty.
            kind: note, decision, question or identity.
            source: the file or transcript it came from.
            position: where in the source, counted from 0.
            said_at: when it was said: 2025, 2025-03, 2025-03-14 or a datetime.
            pinned: shown first when an agent wakes up.
            metadata: anything that JSON holds.
            author: who files it; None: who opened the palace.

        Raises:
            InputError: a value cannot be used; nothing was written.
        """
        new = NewDrawer(
            text=text,
            wing=wing,
            room=room,
            kind=kind,
            source=source,
            position=position,
            said_at=said_at,
            pinned=pinned,
            metadata=metadata or {},
        )
        return self.add_many([new], author=author)[0]

    def add_many(
        self, drawers: Iterable[NewDrawer], *, author: Author | None = None
    ) -> Sequence[Added]:
        """Files many texts in one transaction: all or none; `undo` of any seq undoes them all."""
        return self._drawers.add(drawers, author=author or self._author)

    def get(self, drawer_id: str) -> Drawer:
        """The drawer with this id, or with this former id.

        Raises:
            NotFoundError: there is none.
        """
        return self._drawers.get(drawer_id)

    def list(
        self,
        *,
        wing: str | None = None,
        room: str | None = None,
        kind: str | None = None,
        source: str | None = None,
        author: str | None = None,
        session: str | None = None,
        pinned: bool | None = None,
        since: Time | None = None,
        before: Time | None = None,
        limit: int = 20,
        cursor: str = "",
    ) -> Page[Drawer]:
        """Drawers, the newest filing first; a cursor goes on where a page ended.

        Args:
            wing, room, kind, source, author, session, pinned: None does not restrict.
            since: filed at or after.
            before: filed before.
            limit: drawers on a page, 1 to 1,000.
            cursor: from the page before.
        """
        where = DrawerFilter(
            wing=wing,
            room=room,
            kind=kind,
            source=source,
            author=author,
            session=session,
            pinned=pinned,
            filed_since=parse_start(since, what="since"),
            filed_before=parse_start(before, what="before"),
        )
        return self._drawers.page(where, limit=limit, cursor=cursor)

    def update(
        self,
        drawer_id: str,
        *,
        text: str = _KEEP,
        wing: str = _KEEP,
        room: str = _KEEP,
        kind: str = _KEEP,
        pinned: bool = _KEEP,
        source: str = _KEEP,
        said_at: Time | None = _KEEP,
        metadata: Mapping[str, Any] = _KEEP,
        author: Author | None = None,
    ) -> Updated:
        """Changes what is given; the id stays, and what stood before can be put back by `undo`.

        Raises:
            NotFoundError: there is no such drawer.
            ConflictError: another drawer holds that text in that place.
        """
        given = {
            "text": text,
            "wing": wing,
            "room": room,
            "kind": kind,
            "pinned": pinned,
            "source": source,
            "said_at": said_at,
            "metadata": metadata,
        }
        changes = {name: value for name, value in given.items() if value is not _KEEP}
        return self._drawers.update(drawer_id, changes, author=author or self._author)

    def delete(
        self,
        *drawer_ids: str,
        wing: str | None = None,
        room: str | None = None,
        source: str | None = None,
        author: Author | None = None,
    ) -> Removed:
        """Deletes drawers by id, or all of a wing, room or source; `undo` puts them back.

        Raises:
            InputError: nothing says which.
            NotFoundError: an id is unknown; none was deleted.
        """
        where = DrawerFilter(ids=drawer_ids or None, wing=wing, room=room, source=source)
        return self._drawers.delete(where, author=author or self._author)

    def duplicates(self, text: str) -> Sequence[Drawer]:
        """Drawers, anywhere in the palace, that hold exactly this text."""
        return self._drawers.same_text(text)

    def pin(self, drawer_id: str, *, pinned: bool = True) -> Updated:
        """Pins a drawer, or takes the pin away."""
        return self.update(drawer_id, pinned=pinned)

    def link(
        self,
        source: End | str | tuple[str, str],
        target: End | str | tuple[str, str],
        label: str = "",
        *,
        author: Author | None = None,
    ) -> Linked:
        """Links two rooms (wing, room) or drawers (id); a link has no direction.

        Raises:
            NotFoundError: a drawer is unknown, or a room holds no drawer.
        """
        ends = _end(source), _end(target)
        return self._drawers.link(*ends, label, author=author or self._author)

    def unlink(self, link_id: str, *, author: Author | None = None) -> Removed:
        """Removes a link."""
        return self._drawers.unlink(link_id, author=author or self._author)

    def links(self, drawer_id: str | None = None) -> Sequence[Link]:
        """All links, or those of one drawer."""
        return self._drawers.links(drawer_id)

    def diary_write(
        self, agent: str, text: str, *, topic: str = "general", author: Author | None = None
    ) -> Added:
        """Adds an entry to an agent's diary; the same text twice is two entries."""
        agent = clean_name(agent, "the agent")
        entry = NewDrawer(
            text=text,
            wing=agent,
            room=DIARY_ROOM,
            kind="diary",
            author=agent,
            metadata={"topic": topic},
        )
        return self.add_many([entry], author=author or Author(agent, self._author.session))[0]

    def diary_read(self, agent: str, *, limit: int = 10, cursor: str = "") -> Page[Drawer]:
        """An agent's diary, the newest entry first."""
        return self.list(wing=agent, kind="diary", limit=limit, cursor=cursor)

    # Finding

    def search(
        self,
        query: str,
        *,
        wing: str | None = None,
        room: str | None = None,
        kind: str | None = None,
        source: str | None = None,
        author: str | None = None,
        said_since: Time | None = None,
        said_before: Time | None = None,
        filed_since: Time | None = None,
        filed_before: Time | None = None,
        limit: int = 10,
    ) -> SearchResult:
        """The best drawers for a question; sees every write acknowledged before it.

        Args:
            query: any text; quoted words are a phrase, operators have no meaning.
            wing, room, kind, source, author: None does not restrict.
            said_since, said_before, filed_since, filed_before: half-open bounds.
            limit: 1 to 100.

        Raises:
            InputError: the query is empty, or a value cannot be used.
        """
        where = DrawerFilter(wing=wing, room=room, kind=kind, source=source, author=author)
        where = time_filter(
            where,
            said_since=said_since,
            said_before=said_before,
            filed_since=filed_since,
            filed_before=filed_before,
        )
        found = self._search(query, where, limit=limit)
        if self._background is not None and (found.meaning or found.remark):
            self._background.start()
        return found

    def embed(self, *, progress: Progress | None = None) -> Embedded:
        """Embeds every text that waits for it, so that search finds it by meaning, too.

        One process does so at a time; in the others this returns at once, with `alone` False.

        Args:
            progress: called after each batch with how many are stored and how many are left.

        Raises:
            EmbedderError: the model failed; what was stored before stays.
            ConflictError: the palace's vectors are another embedder's, see `reembed`.
        """
        return self._embedding.drain(bulk=True, progress=progress)

    def reembed(self, *, progress: Progress | None = None) -> Embedded:
        """Makes all vectors anew with this embedder; interrupted, the next call goes on.

        Others may go on working; what has no new vector yet is found by its words.

        Raises:
            EmbedderError: the model failed; what was stored before stays.
        """
        return self._embedding.reembed(progress=progress)

    def changes(
        self,
        *,
        after: int = 0,
        agent: str | None = None,
        session: str | None = None,
        wing: str | None = None,
        limit: int = 1000,
    ) -> Sequence[Change]:
        """Who changed what, the oldest first; `after` the last seq that you have."""
        where = ChangeFilter(agent=agent, session=session, wing=wing)
        return self._history.changes(where, after=after, limit=limit)

    def log(
        self,
        *,
        agent: str | None = None,
        session: str | None = None,
        wing: str | None = None,
        limit: int = 50,
    ) -> Sequence[Logged]:
        """The last changes in words, the newest last."""
        where = ChangeFilter(agent=agent, session=session, wing=wing)
        return self._history.log(where, limit=limit)

    def status(self) -> Status:
        """What the palace holds and where it lives."""
        with self._store.read() as tx:
            state = tx.state()
            places = tuple(tx.places(DrawerFilter()))
            facts = tx.fact_counts(wing=None, now=instants.now().micros)
            embedder = tx.embedder()
            pending = tx.count_pending()
        return Status(
            palace_id=state.palace_id,
            seq=state.seq,
            drawers=sum(place.drawers for place in places),
            places=places,
            facts=facts,
            store=self._store.details(),
            embedder=embedder[0] if embedder else "",
            pending=pending,
        )

    # Ways back

    def undo(
        self,
        seq: int | None = None,
        *,
        session: str | None = None,
        since: Time | None = None,
        author: Author | None = None,
    ) -> Removed:
        """Puts back what stood before one call, one session's calls, or all since a time.

        Raises:
            ConflictError: somebody has built on it since; says what. Nothing was undone.
        """
        author = author or self._author
        return self._history.undo(seq=seq, session=session, since=since, author=author)

    def forget(self, ref: str, *, author: Author | None = None) -> Removed:
        """Removes a drawer or a fact for good, and looks whether its bytes are gone.

        Raises:
            ForgetIncompleteError: a reader still holds the old bytes; forget again later.
        """
        return self._history.forget(ref, author=author or self._author)

    # Leaving and coming

    def export(self, target: BinaryIO) -> Mapping[str, int]:
        """Writes all that stands in the palace as JSON Lines; returns the lines of each kind.

        What is deleted, and the change feed, are not in it.
        """
        return transfer.export(self._store, target)

    def export_markdown(self, folder: str | Path) -> Written:
        """Writes a folder of Markdown to read; replaces only what an earlier one wrote there."""
        return markdown.export(self._store, Path(folder))

    def import_from(
        self, source: BinaryIO, *, dry_run: bool = False, author: Author | None = None
    ) -> Imported:
        """Adds from an export what the palace does not hold; what it holds stays. Again is nothing.

        Args:
            source: opened for bytes, seekable.
            dry_run: only say what would come of it.

        Raises:
            InputError: it is no whole export; nothing was written.
        """
        author = author or self._author
        return transfer.import_from(self._store, source, author=author, dry_run=dry_run)

    # Care

    def check(self) -> Sequence[Problem]:
        """Everything that is wrong with the palace; empty when it is well. Reads it all."""
        return self._store.check()

    def repair(self) -> int:
        """Makes everything derived anew from the rows; returns the number of chunks."""
        return self._store.rebuild(chunks_of)

    def reconnect(self) -> Reconnected:
        """Closes, forgets everything derived, and opens what lies in the folder now.

        Raises:
            PalaceMissingError: nothing does.
        """
        before, problem = None, ""
        try:
            with self._store.read() as tx:
                before = tx.state()
        except PalatineError as error:
            problem = str(error)
        self._store.reopen()
        with self._store.read() as tx:
            return Reconnected(before, tx.state(), problem)


def _embedder(given: Embedder | str | None) -> LoadEmbedder | None:
    """What loads the embedder; None where search goes by words."""
    if given is not None and not isinstance(given, str):
        own = given
        return lambda *, bulk_threads: own
    name = embedder_name() if given is None else given
    if name == "none":
        return None
    if name == "minilm":
        return lambda *, bulk_threads: embed.open_local(
            Path(cache_folder()), bulk_threads=bulk_threads
        )
    if name == "hashing":
        return lambda *, bulk_threads: embed.open_hashing()
    if name.startswith(("http://", "https://")):
        model, key = endpoint()
        return lambda *, bulk_threads: embed.open_remote(name, model, api_key=key)
    raise InputError(f"there is no embedder {name!r}; give minilm, none, or the URL of an endpoint")


def _end(given: End | str | tuple[str, str]) -> End:
    if isinstance(given, End):
        return given
    if isinstance(given, str):
        return End(drawer=given)
    if not isinstance(given, tuple) or len(given) != 2:
        raise InputError(f"{given!r} is no end of a link; give a drawer's id or (wing, room)")
    return End(*given)
