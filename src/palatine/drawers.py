"""The rules of drawers: sameness, ids, defaults, what may be changed; links between them."""

from __future__ import annotations

import json
import re
from base64 import b32encode
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from palatine import text as texts
from palatine.embedding import passage_of
from palatine.errors import ConflictError, InputError, NotFoundError
from palatine.instants import parse_start
from palatine.store.base import Lookups, Store, WriteTx
from palatine.types import (
    KINDS,
    Added,
    Author,
    ChangeFilter,
    Chunk,
    Drawer,
    DrawerFilter,
    End,
    Kind,
    Link,
    Linked,
    NewDrawer,
    Op,
    Page,
    Removed,
    Updated,
)

DEFAULT_WING = "personal"
DEFAULT_ROOM = "notes"
DIARY_ROOM = "diary"
_BATCH = 500
_ID_CHARS = 16


def chunks_of(drawer: Drawer) -> list[Chunk]:
    """What is indexed of a drawer; the only place that makes chunks."""
    return [
        Chunk(start, end, texts.indexed(passage_of(drawer, start, end)))
        for start, end in texts.chunks(drawer.text)
    ]


class Drawers:
    """Adds, finds, changes and removes drawers of one store."""

    def __init__(self, store: Store, *, wing: str = DEFAULT_WING) -> None:
        """Takes the store, and the wing of drawers that are added without one."""
        self._store = store
        self._wing = wing

    def add(self, new: Iterable[NewDrawer], *, author: Author) -> list[Added]:
        """Adds all of them in one transaction; the same text in the same place is not added again.

        Raises:
            InputError: one of them cannot be used; none was written.
        """
        wanted = [_clean(drawer, author, self._wing) for drawer in new]
        if not wanted:
            return []
        with self._store.write(author) as tx:
            return [_add(tx, drawer) for drawer in wanted]

    def get(self, drawer_id: str) -> Drawer:
        """The drawer with this id.

        Raises:
            NotFoundError: there is none.
        """
        with self._store.read() as tx:
            return _require(tx, drawer_id)

    def page(self, where: DrawerFilter, *, limit: int, cursor: str) -> Page[Drawer]:
        """Drawers, the newest filing first."""
        texts.clean_count(limit, "limit", most=1000)
        before = _parse_cursor(cursor)
        with self._store.read() as tx:
            found = tx.drawers(where, limit=limit + 1, before=before)
        more = len(found) > limit
        return Page(tuple(found[:limit]), cursor_after(found[limit - 1]) if more else "")

    def same_text(self, text: str) -> list[Drawer]:
        """All drawers, anywhere, that hold exactly this text."""
        digest = texts.digest(texts.encode(text))
        with self._store.read() as tx:
            return tx.drawers(DrawerFilter(digest=digest), limit=_BATCH)

    def update(self, drawer_id: str, changes: Mapping[str, Any], *, author: Author) -> Updated:
        """Changes fields of a drawer; what stood before is kept as a revision.

        Raises:
            NotFoundError: there is no such drawer.
            ConflictError: another drawer holds that text in that place.
            InputError: a value cannot be used.
        """
        cleaned = _clean_changes(changes)
        with self._store.write(author) as tx:
            old = _require(tx, drawer_id)
            new = replace(old, **cleaned)
            if new == old:
                return Updated(old, changed=False, seq=0)
            new = replace(new, changed_at=tx.recorded_at)
            if (twin := find_twin(tx, new)) and twin.id != old.id:
                raise ConflictError(
                    f"drawer {twin.id} holds the same text in wing {new.wing!r}, room"
                    f" {new.room!r} already; nothing was written",
                    standing=(twin.id,),
                )
            new = _put(tx, old, new)
        return Updated(new, changed=True, seq=new.seq)

    def delete(self, where: DrawerFilter, *, author: Author) -> Removed:
        """Deletes all drawers that match, and the links to them, in one call that `undo` takes.

        Raises:
            InputError: nothing restricts what would be deleted.
            NotFoundError: an id is unknown.
        """
        if where == DrawerFilter():
            raise InputError("say which drawers to delete: ids, a wing, a room or a source")
        removed: list[str] = []
        first = 0
        with self._store.write(author) as tx:
            if where.ids is not None:
                where = replace(where, ids=tuple(_require(tx, ref).id for ref in where.ids))
            while batch := tx.drawers(where, limit=_BATCH):
                for drawer in batch:
                    seq = remove(tx, drawer, Op.DELETE)
                    first = first or seq
                    removed.append(drawer.id)
        return Removed(tuple(removed), first)

    def link(self, source: End, target: End, label: str, *, author: Author) -> Linked:
        """Links two rooms or drawers; a link has no direction.

        Raises:
            NotFoundError: a drawer is unknown, or a room holds no drawer.
            InputError: both ends are the same.
        """
        label = texts.clean_label(label, "the link's label")
        with self._store.write(author) as tx:
            ends = [_require_end(tx, end) for end in (source, target)]
            if ends[0] == ends[1]:
                raise InputError("a link needs two different ends")
            ref = link_id(ends)
            if known := tx.links(ref=ref, limit=1):
                differs = (
                    f"label {known[0].label!r}, not {label!r}" if known[0].label != label else ""
                )
                return Linked(known[0], created=False, differs=differs, seq=0)
            link = Link(ref, ends[0], ends[1], label, tx.recorded_at)
            seq = tx.record(Kind.LINK, ref, Op.ADD, wing=wing_of(tx, link), before=None)
            tx.put_link(link)
        return Linked(link, created=True, differs="", seq=seq)

    def unlink(self, link_id: str, *, author: Author) -> Removed:
        """Removes a link.

        Raises:
            NotFoundError: there is none with this id.
        """
        link_id = texts.clean_label(link_id, "the link's id")
        with self._store.write(author) as tx:
            found = [link for link in tx.links(ref=link_id, limit=_BATCH) if link.id == link_id]
            if not found:
                raise NotFoundError(f"no link {link_id!r}; nothing was written")
            seq = _remove_link(tx, found[0])
        return Removed((link_id,), seq)

    def links(self, ref: str | None) -> list[Link]:
        """All links, or those of one drawer."""
        ref = None if ref is None else texts.clean_label(ref, "the drawer's id")
        with self._store.read() as tx:
            return tx.links(ref=ref, limit=10_000)


def _put(tx: WriteTx, old: Drawer, new: Drawer) -> Drawer:
    """Puts a drawer in the place of another, which is kept as a revision."""
    new = replace(new, seq=tx.record(Kind.DRAWER, old.id, Op.UPDATE, wing=new.wing, before=old))
    tx.put_drawer(new, chunks_of(new))
    return new


def remove(tx: WriteTx, drawer: Drawer, op: Op) -> int:
    """Removes a drawer and the links to it; returns the first seq."""
    before = drawer if op is Op.DELETE else None
    seq = tx.record(Kind.DRAWER, drawer.id, op, wing=drawer.wing, before=before)
    while links := tx.links(ref=drawer.id, limit=_BATCH):
        for link in links:
            _remove_link(tx, link)
    tx.delete_drawer(drawer.id)
    return seq


def replace_source(
    tx: WriteTx,
    source: str,
    new: Iterable[NewDrawer],
    *,
    author: Author,
    first: int = 0,
    to_end: bool = True,
) -> Counter[str]:
    """Makes these the drawers of a source; those that stay in their position keep their ids.

    Args:
        tx: the one writer's transaction.
        source: what they came from.
        new: in the order of their positions.
        author: who files them.
        first: only positions from here on are looked at.
        to_end: delete what stands at other positions.

    Returns:
        How many were `added`, `changed`, `removed`.
    """
    counts: Counter[str] = Counter()
    standing: dict[int, Drawer] = {}
    before = None
    where = DrawerFilter(source=source)
    while batch := tx.drawers(where, limit=_BATCH, before=before, texts=False):
        standing |= {drawer.position: drawer for drawer in batch if drawer.position >= first}
        before = (batch[-1].filed_at.micros, batch[-1].id)
    for wanted in new:
        cleaned = _clean(wanted, author, DEFAULT_WING)
        old = standing.pop(cleaned.position, None)
        digest = texts.digest(texts.encode(cleaned.text))
        if old is None:
            counts["added"] += _add(tx, cleaned).created
        elif old.digest != digest:
            old = _require(tx, old.id)
            fresh = replace(old, text=cleaned.text, digest=digest, metadata=cleaned.metadata)
            _put(tx, old, replace(fresh, changed_at=tx.recorded_at))
            counts["changed"] += 1
    for old in standing.values() if to_end else ():
        remove(tx, _require(tx, old.id), Op.DELETE)
        counts["removed"] += 1
    return counts


def wing_of(tx: Lookups, link: Link) -> str:
    """The wing in which a link's changes are recorded; none for a link between two wings."""
    drawers = (tx.drawer(end.drawer) for end in (link.source, link.target) if end.drawer)
    wings = {drawer.wing for drawer in drawers if drawer}
    wings |= {end.wing for end in (link.source, link.target) if not end.drawer}
    return wings.pop() if len(wings) == 1 else ""


def _remove_link(tx: WriteTx, link: Link) -> int:
    seq = tx.record(Kind.LINK, link.id, Op.DELETE, wing=wing_of(tx, link), before=link)
    tx.delete_link(link.id)
    return seq


def _clean(new: NewDrawer, author: Author, default_wing: str) -> NewDrawer:
    if not isinstance(new.text, str):
        raise InputError(f"the text must be a string, not {type(new.text).__name__}")
    if not new.text:
        raise InputError("the text is empty; there is nothing to remember")
    _clean_kind(new.kind)
    whole = isinstance(new.position, int) and not isinstance(new.position, bool)
    if not whole or not -1 <= new.position < 2**31:
        raise InputError(f"position {new.position!r} cannot be used; count from 0")
    _clean_pinned(new.pinned)
    said_at = parse_start(new.said_at, what="said_at")
    return replace(
        new,
        wing=texts.clean_label(new.wing, "the wing") or default_wing,
        room=texts.clean_label(new.room, "the room") or DEFAULT_ROOM,
        source=texts.clean_label(new.source, "the source", max_chars=4096),
        author=texts.clean_label(new.author or author.agent, "the author"),
        session=texts.clean_label(new.session or author.session, "the session"),
        said_at=said_at,
        metadata=_clean_metadata(new.metadata),
        former_id=texts.clean_label(new.former_id, "the former id"),
    )


def _clean_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    try:
        cleaned = json.loads(json.dumps(dict(metadata), allow_nan=False))
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"the metadata cannot be kept as JSON: {error}") from None
    if not isinstance(cleaned, dict):
        raise InputError("the metadata must be a mapping of names to JSON values")
    return cleaned


def _clean_text(text: Any) -> str:
    if text == "" or text is None:
        raise InputError("the text is empty; delete the drawer instead")
    texts.encode(text)
    return str(text)


def _clean_kind(kind: Any) -> str:
    if kind not in KINDS:
        raise InputError(f"kind {kind!r} is unknown; use one of {', '.join(KINDS)}")
    return str(kind)


def _clean_pinned(pinned: Any) -> bool:
    if not isinstance(pinned, bool):
        raise InputError(f"pinned {pinned!r} cannot be used; give true or false")
    return pinned


_CHANGEABLE: Mapping[str, Callable[[Any], Any]] = {
    "text": _clean_text,
    "wing": lambda wing: texts.clean_name(wing, "the wing"),
    "room": lambda room: texts.clean_name(room, "the room"),
    "kind": _clean_kind,
    "pinned": _clean_pinned,
    "source": lambda source: texts.clean_label(source, "the source", max_chars=4096),
    "said_at": lambda time: parse_start(time, what="said_at"),
    "metadata": _clean_metadata,
}


def _clean_changes(changes: Mapping[str, Any]) -> dict[str, Any]:
    if unknown := changes.keys() - _CHANGEABLE.keys():
        raise InputError(f"{min(unknown)!r} cannot be changed; only {', '.join(_CHANGEABLE)}")
    cleaned = {name: _CHANGEABLE[name](value) for name, value in changes.items()}
    if "text" in cleaned:
        cleaned["digest"] = texts.digest(texts.encode(cleaned["text"]))
    return cleaned


def _add(tx: WriteTx, new: NewDrawer) -> Added:
    digest = texts.digest(texts.encode(new.text))
    said_at = parse_start(new.said_at)
    drawer = Drawer(
        id="",
        wing=new.wing,
        room=new.room,
        kind=new.kind,
        pinned=new.pinned,
        text=new.text,
        digest=digest,
        source=new.source,
        position=new.position,
        author=new.author,
        session=new.session,
        said_at=said_at,
        filed_at=tx.recorded_at,
        changed_at=tx.recorded_at,
        metadata=new.metadata,
    )
    if new.kind != "diary" and (twin := find_twin(tx, drawer)):
        if new.former_id and tx.drawer(new.former_id) is None:
            tx.put_former_id(new.former_id, twin.id)
        return Added(replace(twin, text=new.text), created=False, seq=0)
    drawer = replace(drawer, id=mint_id(tx, drawer))
    seq = tx.record(Kind.DRAWER, drawer.id, Op.ADD, wing=drawer.wing, before=None)
    # An entry of a diary is always a new one: its own change numbers it.
    position = seq if new.kind == "diary" else new.position
    drawer = replace(drawer, seq=seq, position=position)
    tx.put_drawer(drawer, chunks_of(drawer))
    if new.former_id:
        tx.put_former_id(new.former_id, drawer.id)
    return Added(drawer, created=True, seq=seq)


def find_twin(tx: Lookups, drawer: Drawer) -> Drawer | None:
    """The drawer that holds the same text in the same place."""
    same = DrawerFilter(
        digest=drawer.digest,
        wing=drawer.wing,
        room=drawer.room,
        source=drawer.source,
        position=drawer.position,
    )
    found = tx.drawers(same, limit=1, texts=False)
    return found[0] if found else None


def mint_id(tx: Lookups, drawer: Drawer) -> str:
    """An id that no drawer has, had, or is known by; the same for the same first addition."""
    place = "\0".join((drawer.wing, drawer.room, drawer.source, str(drawer.position)))
    counter = 0
    while True:
        seed = place.encode() + drawer.digest + (str(counter).encode() if counter else b"")
        drawer_id = "d" + b32encode(texts.digest(seed)).decode().lower()[: _ID_CHARS - 1]
        had = ChangeFilter(kind=Kind.DRAWER, ref=drawer_id)
        if tx.drawer(drawer_id) is None and not tx.changes(had, limit=1):
            return drawer_id
        counter += 1


def _require(tx: Lookups, drawer_id: str) -> Drawer:
    drawer = tx.drawer(texts.clean_label(drawer_id, "the drawer's id"))
    if drawer is None:
        raise NotFoundError(f"there is no drawer {drawer_id!r}")
    return drawer


def _require_end(tx: Lookups, end: End) -> End:
    if end.drawer:
        return End(drawer=_require(tx, end.drawer).id)
    wing = texts.clean_name(end.wing, "the link's wing")
    room = texts.clean_name(end.room, "the link's room")
    if not tx.drawers(DrawerFilter(wing=wing, room=room), limit=1, texts=False):
        raise NotFoundError(f"room {room!r} of wing {wing!r} holds no drawer; nothing was written")
    return End(wing, room)


def link_id(ends: Sequence[End]) -> str:
    """The id of the link between two ends; the same for both orders."""
    names = sorted("\0".join((end.wing, end.room, end.drawer)) for end in ends)
    return "l" + texts.digest("\1".join(names).encode()).hex()[: _ID_CHARS - 1]


def cursor_after(drawer: Drawer) -> str:
    """What goes on in a list after this drawer."""
    return f"{drawer.filed_at.micros}:{drawer.id}"


def _parse_cursor(cursor: str) -> tuple[int, str] | None:
    if not cursor:
        return None
    match = re.fullmatch(r"(-?[0-9]{1,18}):([ -~]{1,200})", str(cursor))
    if match is None:
        raise InputError(f"cursor {cursor!r:.80} was not made by this list; leave it out")
    return int(match[1]), match[2]


def end_of(given: End | str | tuple[str, str]) -> End:
    """One end of a link, as callers may give it."""
    if isinstance(given, End):
        return given
    if isinstance(given, str):
        return End(drawer=given)
    if not isinstance(given, tuple) or len(given) != 2:
        raise InputError(f"{given!r} is no end of a link; give a drawer's id or (wing, room)")
    return End(*given)
