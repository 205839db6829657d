"""A palace as a folder of Markdown that a person reads and Obsidian opens.

A folder for each wing, in it one for each room with a file for each drawer; beside that the room's
own file, which leads to them, and `Facts.md`. Only files that bear our mark are ever replaced.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from palatine.beliefs import describe
from palatine.store.base import Lookups, Store
from palatine.types import Drawer, DrawerFilter, End, FactFilter, Written

_MARK = b"---\npalatine: "
_PAGE = 100
_ALL = 2**40
_UNSAFE = re.compile(r"[^\w .,()+@'-]|^[. ]+|[. ]+$")
_NAME_CHARS = 60


def export(store: Store, folder: Path) -> Written:
    """Writes what stands in the palace, from one snapshot.

    Args:
        folder: made if it is not there. A file in it that is not ours stays as it is.
    """
    written = 0
    foreign: list[str] = []
    with store.read() as tx:
        links = _links(tx)
        for path, text in _pages(tx, links):
            if _put(folder / path, text):
                written += 1
            else:
                foreign.append(str(path))
    return Written(written, tuple(foreign))


def _pages(tx: Lookups, links: dict[End, list[str]]) -> Iterable[tuple[Path, str]]:
    rooms: dict[Path, list[str]] = defaultdict(list)
    ends: dict[Path, End] = {}
    before: tuple[int, str] | None = None
    while drawers := tx.drawers(DrawerFilter(), limit=_PAGE, before=before):
        for drawer in drawers:
            room = _room(drawer.wing, drawer.room)
            path = room / f"{_title(drawer)}.md"
            ends[room] = End(drawer.wing, drawer.room)
            rooms[room].append(_link(path))
            yield path, _page(drawer, links.get(End(drawer=drawer.id), []))
        before = drawers[-1].filed_at.micros, drawers[-1].id
    for room, titles in rooms.items():
        head = _front({"palatine": "room", "wing": ends[room].wing, "room": ends[room].room})
        yield room.with_name(f"{room.name}.md"), head + _list(titles + links.get(ends[room], []))
    facts = [describe(fact) for fact in tx.facts(FactFilter(), limit=_ALL)]
    if facts:
        yield Path("Facts.md"), _front({"palatine": "facts"}) + _list(sorted(facts))


def _links(tx: Lookups) -> dict[End, list[str]]:
    """What each end of a link shows of the other."""
    shown: dict[End, list[str]] = defaultdict(list)
    for link in tx.links(limit=_ALL):
        for end, other in ((link.source, link.target), (link.target, link.source)):
            label = f" ({link.label})" if link.label else ""
            shown[end].append(_link(_path_of(tx, other)) + label)
    return shown


def _path_of(tx: Lookups, end: End) -> Path:
    if end.drawer and (drawer := tx.drawer(end.drawer)):
        return _room(drawer.wing, drawer.room) / f"{_title(drawer)}.md"
    room = _room(end.wing, end.room)
    return room.with_name(f"{room.name}.md")


def _link(path: Path) -> str:
    return f"[[{path.with_suffix('').as_posix()}]]"


def _room(wing: str, room: str) -> Path:
    return Path(_safe(wing)) / _safe(room)


def _safe(name: str) -> str:
    return _UNSAFE.sub(" ", name)[:_NAME_CHARS].strip(" .") or "_"


def _title(drawer: Drawer) -> str:
    words = " ".join(drawer.text[: 4 * _NAME_CHARS].split())
    return f"{_safe(words)} {_safe(drawer.id)}"


def _page(drawer: Drawer, links: list[str]) -> str:
    members: dict[str, object] = {
        "palatine": "drawer",
        "id": drawer.id,
        "wing": drawer.wing,
        "room": drawer.room,
        "kind": drawer.kind,
        "pinned": drawer.pinned or "",
        "said_at": "" if drawer.said_at is None else str(drawer.said_at),
        "filed_at": str(drawer.filed_at),
        "author": drawer.author,
        "source": drawer.source,
        **({"metadata": dict(drawer.metadata)} if drawer.metadata else {}),
    }
    also = f"\n\n## Links\n\n{_list(links)}" if links else "\n"
    return _front(members) + drawer.text + also


def _front(members: dict[str, object]) -> str:
    """Front matter: JSON values are YAML values."""
    first = f"---\npalatine: {members.pop('palatine')}\n"
    lines = [f"{name}: {json.dumps(value)}\n" for name, value in members.items() if value != ""]
    return "".join([first, *lines, "---\n\n"])


def _list(entries: Iterable[str]) -> str:
    return "".join(f"- {entry}\n" for entry in entries)


def _put(path: Path, text: str) -> bool:
    """Writes a file, 0600; False where one lies that is not ours."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    if path.is_symlink() or path.exists():
        if path.is_symlink() or not path.is_file():
            return False
        with path.open("rb") as old:
            if old.read(len(_MARK)) != _MARK:
                return False
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".palatine.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(text.encode("utf-8", "backslashreplace"))
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink()
        raise
    return True
