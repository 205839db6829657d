"""The library's front door: opens a palace, hands out what it can do, closes it."""

from __future__ import annotations

import atexit
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Self

from palatine import config, doctor, instants, markdown, transfer, wakeup
from palatine.drawers import DEFAULT_WING, DIARY_ROOM, Drawers, chunks_of, end_of
from palatine.embed import Embedder
from palatine.embedding import Background, Embedding, LoadEmbedder, Progress, loader
from palatine.errors import InputError, PalatineError
from palatine.history import History
from palatine.instants import Time, parse_start
from palatine.knowledge import Knowledge
from palatine.scope import ScopedStore, outside
from palatine.search import Duplicates, Search
from palatine.store.base import Store
from palatine.store.restore import restore
from palatine.store.sqlite import WRITE_TIMEOUT_SECONDS, SqliteStore
from palatine.text import clean_name, clean_share
from palatine.types import (
    Added,
    Author,
    BackedUp,
    Change,
    ChangeFilter,
    Drawer,
    DrawerFilter,
    Embedded,
    End,
    Examined,
    Imported,
    Kept,
    Link,
    Linked,
    Logged,
    NewDrawer,
    Page,
    Place,
    Problem,
    Reconnected,
    Removed,
    Restored,
    SearchResult,
    Status,
    Updated,
    Written,
)

if TYPE_CHECKING:
    from palatine.imports.base import Brought
    from palatine.ingest.facts import Extracted, Reader
    from palatine.ingest.facts import Progress as ExtractProgress
    from palatine.ingest.mine import Mined, Options
    from palatine.ingest.mine import Progress as MineProgress
    from palatine.secrets import Cure, Done, Secrets

_KEEP: Any = object()
_COMPARED = 20


class Palace:
    """A memory palace, open in this process.

    Every thread may use it at once; from asyncio through `asyncio.to_thread`. Any number of
    processes may have the same palace open and write to it. Closes at exit, at the latest.

    Attributes:
        knowledge: its facts.
        wing: the only wing that is seen and written; empty: all of them.
    """

    def __init__(
        self,
        store: Store,
        *,
        author: Author,
        load_embedder: LoadEmbedder | None = None,
        background: bool = False,
        wing: str = "",
        shared: bool = False,
    ) -> None:
        """Takes a store that is open; `Palace.open` is what you want.

        Args:
            store: of all wings.
            author: who writes.
            load_embedder: what search by meaning needs.
            background: embed in the background.
            wing: the only one to see.
            shared: somebody else closes the store.
        """
        scope = ScopedStore(store, wing) if wing else None
        self.wing = scope.wing if scope else ""
        self._shared = shared
        store = scope or store
        self._store = store
        self._author = author
        self._drawers = Drawers(store, wing=self.wing or DEFAULT_WING)
        self._embedding = Embedding(store, load_embedder)
        self._background = Background(self._embedding) if background else None
        self._search = Search(store, self._embedding)
        self._history = History(store)
        self.knowledge = Knowledge(store, author, wing=self.wing)
        if not shared:
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
        wing: str = "",
    ) -> Self:
        """Opens the palace in a folder; makes one where there never was one.

        Args:
            path: the folder; None: `PALATINE_PALACE`, else what a `palatine.toml` from the working
                folder upward says, else what the user has set, else the user's own.
            single: the path is a file, which becomes the whole palace, its lock beside it.
            create: False: only open what is there.
            read_only: write nothing and take no lock.
            agent: who writes, for the change feed.
            session: the agent's session.
            timeout_seconds: the deadline for everything that a write waits for.
            allow_any_location: also create in a network or synced folder.
            embedder: what search by meaning needs: `minilm`, `none` (then search goes by words),
                the URL of an OpenAI-compatible endpoint, or one of your own; None:
                `PALATINE_EMBEDDER`, else what the user has set, for this palace or for all, else
                `minilm`. Loaded by the first search that finds something to compare with.
            background: once that has happened, a thread embeds what anybody writes.
            wing: the only one to see and to write, see `scoped`; empty: all.

        Raises:
            InputError: no embedder, or no wing, has this name; or a file of settings is broken.
            PalaceMissingError: there was a palace here and its database is gone.
            StoreError: it cannot be used, see `palatine.errors`; nothing was written.
        """
        folder = Path(config.default_palace(None if path is None else str(path)))
        load = loader(embedder, str(folder))
        store = SqliteStore(
            folder,
            single=single,
            create=create,
            read_only=read_only,
            timeout_seconds=timeout_seconds,
            allow_any_location=allow_any_location,
            environment=config.environment(),
        )
        if not (read_only or single):
            config.remember(str(folder))
        author = Author(agent, session)
        try:
            return cls(store, author=author, load_embedder=load, background=background, wing=wing)
        except InputError:
            store.close()
            raise

    def scoped(self, wing: str) -> Self:
        """One wing of this palace as a palace: the rest is neither seen nor touched, nor its facts.

        Cheap enough for each call: it shares the open store and the embedder, and its `close` and
        `shutdown` do nothing. Drawers and facts go to the wing by default. Names and what is known
        of them belong to all wings: it sees those that its facts use. `check` and `repair` are for
        the whole palace, and so is its folder, which `status` and `wake_up` do not tell.

        Raises:
            InputError: no wing can be called so; or this is limited to another one.
        """
        if self.wing not in ("", wing):
            raise outside(self.wing, f"wing {wing!r}")
        lent = self._embedding.lent()
        view = type(self)(
            self._store, author=self._author, load_embedder=lent, wing=wing, shared=True
        )
        view._background = self._background
        return view

    @staticmethod
    def restore(
        source: str | Path,
        path: str | Path | None = None,
        *,
        agent: str = "",
        session: str = "",
        timeout_seconds: float = WRITE_TIMEOUT_SECONDS,
        allow_any_location: bool = False,
    ) -> Restored:
        """Makes what a backup holds the palace in a folder, whoever has that open, in one step.

        They all meet `PalaceReplacedError` at their next read or write, until `reconnect`: what
        is restored is another palace, with an id of its own, whose changes are numbered on after
        the last one of the palace that it replaces. A copy of that one is kept.

        Args:
            source: a backup, also by an older Palatine, or another palace.
            path, agent, session, timeout_seconds, allow_any_location: as for `open`.

        Raises:
            NotFoundError: there is no such file.
            InputError: it is the palace itself.
            StoreDamagedError: it is no palace, or a damaged one. Nothing was replaced.
            SchemaNewerError: it is a newer Palatine's. Nothing was replaced.
            StoreError: the palace cannot be replaced, see `palatine.errors`; it is as it was.
        """
        folder = Path(config.default_palace(None if path is None else str(path)))
        return restore(
            folder,
            Path(source).expanduser(),
            author=Author(agent, session),
            timeout_seconds=timeout_seconds,
            open_palace=lambda: SqliteStore(
                folder,
                timeout_seconds=timeout_seconds,
                allow_any_location=allow_any_location,
                environment=config.environment(),
            ),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the palace; again is no error."""
        if self._shared:
            return
        atexit.unregister(self.close)
        if self._background is not None:
            self._background.stop()
        self._store.close()
        self._embedding.close()

    def shutdown(self) -> None:
        """Closes within 100 ms, for a process that is told to end."""
        if not self._shared:
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
            wing: a person, project or agent; when empty the wing that this palace is limited to,
                else `personal`.
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
        return [_warned(done) for done in self._drawers.add(drawers, author=author or self._author)]

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
        done = self._drawers.update(drawer_id, changes, author=author or self._author)
        return _warned(done) if "text" in changes else done

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

    def duplicates(self, text: str, *, threshold: float = 0.9) -> Duplicates:
        """Drawers, anywhere in the palace, that hold this text, or nearly.

        Args:
            text: what somebody is about to add.
            threshold: how alike others must be, 0 to 1: by meaning, where there is a model and
                the text is one passage, and by the share of words that they have in common.

        Raises:
            InputError: the text is empty, or the threshold out of range.
        """
        threshold = clean_share(threshold, "threshold")
        exact = self._drawers.same_text(text)
        alike, looked = self._search.alike(text, threshold=threshold, limit=_COMPARED)
        known = {drawer.id for drawer in exact}
        near = tuple(each for each in alike if each.drawer.id not in known)
        return Duplicates(tuple(exact), near, looked.meaning, looked.remark)

    def places(self, *, wing: str | None = None) -> Sequence[Place]:
        """The rooms that hold drawers, by wing, then room, with their number."""
        with self._store.read() as tx:
            return tx.places(DrawerFilter(wing=wing))

    def wake_up(
        self, *, wing: str | None = None, agent: str = "", budget_tokens: int = 1500
    ) -> wakeup.Briefing:
        """What an agent should know at the start of a session, as Markdown.

        Identity and pinned texts, current facts, open questions, recent decisions, what others
        did since the agent's own last change, and what was filed last. Secrets are masked.

        Args:
            wing: the wing that it is about, with what belongs to none: facts without a wing,
                identity and pinned texts in `personal`. None: the whole palace.
            agent: who wakes up; empty: who opened the palace.
            budget_tokens: how long it may be, 100 to 100,000, counted by `wakeup.tokens_of`.

        Raises:
            InputError: the budget is out of range, or a name cannot be one.
        """
        from palatine.ingest.redact import mask_line  # noqa: PLC0415 (what wakes up alone needs it)

        return wakeup.briefing(
            self._store,
            wing=self.wing if self.wing and wing is None else wing,
            shared=not self.wing,
            place="" if self._shared else self._store.place,
            agent=agent or self._author.agent,
            budget=budget_tokens,
            mask=mask_line,
            name=config.palace_name(self._store.place),
        )

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
        ends = end_of(source), end_of(target)
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
        where = DrawerFilter(
            wing=wing,
            room=room,
            kind=kind,
            source=source,
            author=author,
            said_since=parse_start(said_since, what="said_since"),
            said_before=parse_start(said_before, what="said_before"),
            filed_since=parse_start(filed_since, what="filed_since"),
            filed_before=parse_start(filed_before, what="filed_before"),
        )
        found = self._search(query, where, limit=limit)
        if self._background is not None and (found.meaning or found.remark):
            self._background.start()
        return found

    def embed(self, *, progress: Progress | None = None, wait: bool = True) -> Embedded:
        """Embeds every text that waits for it, so that search finds it by meaning, too.

        One process does so at a time; in the others this returns at once, with `alone` False.

        Args:
            progress: called after each batch with how many are stored and how many are left.
            wait: False: a thread does it from now on, if this was opened with `background`.

        Raises:
            EmbedderError: the model failed; what was stored before stays.
            ConflictError: the palace's vectors are another embedder's, see `reembed`.
        """
        if wait:
            return self._embedding.drain(bulk=True, progress=progress)
        if self._background is not None and self._embedding.lent() is not None:
            self._background.start()
        return Embedded(0, self._embedding.pending(), False)

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
        after: int | None = None,
    ) -> Sequence[Logged]:
        """The last changes in words, or the first ones after a seq; the newest last."""
        where = ChangeFilter(agent=agent, session=session, wing=wing)
        return self._history.log(where, limit=limit, after=after)

    def status(self) -> Status:
        """What the palace holds and where it lives."""
        hidden = {"place"} if self._shared else set()
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
            store={key: told for key, told in self._store.details().items() if key not in hidden},
            embedder=embedder[0] if embedder else "",
            pending=pending,
            name=config.palace_name(self._store.place),
            wing=self.wing,
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

    def trash(self, *, limit: int = 1000) -> Sequence[Kept]:
        """What was deleted or replaced and can be put back by `undo`, the newest first."""
        return self._history.trash(limit=limit)

    def empty_trash(self, *, before: Time | None = None, author: Author | None = None) -> int:
        """Removes what is in the trash for good, and looks whether its bytes are gone.

        Args:
            before: only what was replaced before this time; None: all of it.
            author: who empties it.

        Returns:
            How much it was.

        Raises:
            ForgetIncompleteError: a reader still holds the old bytes; empty it again later.
        """
        return self._history.empty_trash(before=before, author=author or self._author)

    def secrets(
        self, cure: Cure = "", *, progress: Progress | None = None, author: Author | None = None
    ) -> Secrets:
        """Where keys, tokens and passwords stand; masks or forgets them for good, if told to.

        Raises:
            ForgetIncompleteError: a reader still holds the old bytes; do it again later.
        """
        from palatine.secrets import look  # noqa: PLC0415 (the rules, for this alone)

        author = author or self._author
        return look(self._store, wing=self.wing, cure=cure, author=author, progress=progress)

    # Leaving and coming

    def backup(self, path: str | Path | None = None, *, keep: int = 0) -> BackedUp:
        """Copies the palace, whole and checked, into one file; others go on working meanwhile.

        Args:
            path: a new file; or a folder, in which the copy gets a name with the time; None: the
                folder `backups` in the palace's folder.
            keep: in a folder: remove this palace's oldest backups but so many; 0: none.

        Raises:
            InputError: something lies there already, or there is no such folder.
            StoreDamagedError: the palace is damaged; no copy was made.
        """
        return self._store.backup(None if path is None else Path(path).expanduser(), keep=keep)

    def export(self, target: BinaryIO, *, progress: Progress | None = None) -> Mapping[str, int]:
        """Writes all that stands in the palace as JSON Lines; returns the lines of each kind.

        What is deleted, and the change feed, are not in it.

        Args:
            target: opened for bytes.
            progress: called now and then with how many lines are written and about how many are
                left.
        """
        return transfer.export(self._store, target, progress=progress)

    def export_markdown(self, folder: str | Path) -> Written:
        """Writes a folder of Markdown to read; replaces only what an earlier one wrote there."""
        return markdown.export(self._store, Path(folder))

    def import_from(
        self,
        source: BinaryIO,
        *,
        dry_run: bool = False,
        author: Author | None = None,
        progress: Progress | None = None,
    ) -> Imported:
        """Adds from an export what the palace does not hold; what it holds stays. Again is nothing.

        Args:
            source: opened for bytes, seekable.
            dry_run: only say what would come of it.
            progress: called before each batch with how many lines are merged and left.

        Raises:
            InputError: it is no whole export; nothing was written.
        """
        author = author or self._author
        return transfer.import_from(
            self._store,
            source,
            author=author,
            dry_run=dry_run,
            wing=self.wing,
            progress=progress,
        )

    def import_other(
        self,
        product: str,
        path: str | Path,
        *,
        dry_run: bool = False,
        author: Author | None = None,
        progress: Progress | None = None,
    ) -> Brought:
        """Adds what another product keeps and this palace does not. Again is nothing.

        Args:
            product: `mempalace`, `server-memory` or `basic-memory`.
            path: its folder or its file, which stays as it is.
            dry_run: only say what would come of it.
            author: who imports; drawers keep their authors.
            progress: called before each batch with how many records are merged and left.

        Raises:
            InputError: nothing of the product is there; nothing was written.
            ScopeError: there is something of another wing than this one; nothing was written.
        """
        from palatine.imports import bring  # noqa: PLC0415 (sqlite3 and pickle, for this alone)

        return bring(
            self._store,
            product,
            Path(path).expanduser(),
            author=author or self._author,
            embedding=self._embedding,
            wing=self.wing,
            dry_run=dry_run,
            progress=progress,
        )

    def mine(
        self,
        path: str | Path,
        *,
        options: Options | None = None,
        progress: MineProgress | None = None,
        author: Author | None = None,
    ) -> Mined:
        """Files a folder or a file, code, documents or transcripts, and what changed in it since.

        Args:
            path: what to read. Files that the folder's ignore files name are left out, and those
                that are secrets as a whole.
            options: where texts go, and what happens to secrets and to files that are gone.
            progress: called for each file.
            author: who files it; None: who opened the palace.

        Raises:
            InputError: nothing is there, or the root's name belongs to another folder.
        """
        from palatine.ingest import facts  # noqa: PLC0415 (only those who read need it)
        from palatine.ingest.mine import Miner, Options  # noqa: PLC0415 (the rules take 0.2 s)

        options = options or Options()
        options = replace(options, wing=options.wing or self.wing)
        miner = Miner(self._store, Path(path), options, author=author or self._author)
        done = miner.run(progress=progress)
        if options.facts:
            where = DrawerFilter(below=f"{done.root}/")
        else:  # what was read before follows its text
            where = DrawerFilter(read_by=facts.Rules.name)
        done.facts = facts.extract(self._store, facts.Rules(), where, author=author or self._author)
        return done

    def extract(
        self,
        *,
        reader: Reader | None = None,
        wing: str | None = None,
        room: str | None = None,
        conversations: bool = False,
        progress: ExtractProgress | None = None,
        author: Author | None = None,
    ) -> Extracted:
        """Reads notes for facts, those that are new or changed since, and files what they state.

        A fact that its note does not state any more is not believed any longer, unless another
        note states it; `known_at` still shows it. Nothing is ended.

        Args:
            reader: what finds statements; None: plain rules, in English. Any other one sees the
                texts.
            wing: None: all wings; a fact belongs to the wing of its drawer.
            room: None: all rooms.
            conversations: also texts of conversations.
            progress: called after each batch.
            author: who files the facts; None: who opened the palace.

        Raises:
            PalatineError: the reader failed three times in a row; what was read before is filed,
                and the next call goes on.
        """
        from palatine.ingest import facts  # noqa: PLC0415 (only those who read need it)

        return facts.extract(
            self._store,
            reader or facts.Rules(),
            DrawerFilter(wing=wing, room=room),
            author=author or self._author,
            conversations=conversations,
            progress=progress,
        )

    # Care

    def examine(self) -> Sequence[Examined]:
        """Everything that can be wrong with the palace and its place. Reads it all."""
        return doctor.examine(self._store)

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


def _warned(done: Done) -> Done:
    from palatine.secrets import warned  # noqa: PLC0415 (the rules, for those who write)

    return warned(done)
