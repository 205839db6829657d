"""What each tool does: the function of its name, one call of the library and its answer.

The arguments have passed the tool's schema; what was left out is not among them. A function that
takes an `author` is told who calls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import astuple
from typing import TYPE_CHECKING, Any

from palatine import drawers, knowledge
from palatine.errors import InputError
from palatine.mcp import answers
from palatine.mcp.answers import paged
from palatine.mcp.registry import Json
from palatine.text import safe_label
from palatine.types import Author, Drawer, Page

if TYPE_CHECKING:
    from palatine.mcp.registry import Call
    from palatine.palace import Palace


def author(call: Call) -> Author:
    """Who calls. What a client says of itself never makes a write fail: it is made usable."""
    return Author(safe_label(call.agent), safe_label(call.session))


def status(palace: Palace) -> Json:
    """The palace as a whole."""
    return answers.status(palace.status())


def search(
    palace: Palace,
    *,
    query: str,
    limit: int = 10,
    max_chars: int = answers.MOST_CHARS,
    cursor: str = "0",
    **where: Any,
) -> Json:
    """Hits; the cursor is the number of those seen."""
    seen = int(cursor) if cursor.isdecimal() and len(cursor) < 3 else 100
    if seen >= 100:
        raise InputError(f"cursor {cursor!r:.80} was not made by this search; leave it out")
    found = palace.search(query, limit=min(100, seen + limit), **where)
    return answers.found(found, palace, max_chars=max_chars, seen=seen)


def add_drawer(palace: Palace, *, text: str, **given: Any) -> Json:
    """Files a text."""
    return answers.added(palace.add(text, **given))


def get_drawer(
    palace: Palace, *, id: str, offset: int = 0, max_chars: int = answers.MOST_CHARS
) -> Json:
    """One text, or a page of it."""
    return answers.drawer_page(palace.get(id), offset=offset, max_chars=max_chars)


def list_drawers(palace: Palace, **where: Any) -> Json:
    """Drawers and how they begin."""
    return _drawers("drawers", palace.list(**where), most_chars=300)


def _drawers(name: str, page: Page[Drawer], *, most_chars: int) -> Json:
    shown = paged(
        name,
        page.items,
        lambda drawer: answers.beginning(drawer, most_chars=most_chars),
        drawers.cursor_after,
        cursor=page.cursor,
    )
    return shown | {"note": answers.RECORD}


def update_drawer(palace: Palace, *, id: str, **given: Any) -> Json:
    """Changes what is given of a drawer."""
    return answers.updated(palace.update(id, **given))


def delete_drawer(palace: Palace, *, ids: Sequence[str], author: Author) -> Json:
    """Deletes drawers."""
    return answers.removed(palace.delete(*ids, author=author))


def undo(palace: Palace, *, seq: int, author: Author) -> Json:
    """Takes one call back."""
    return answers.removed(palace.undo(seq, author=author))


def check_duplicate(palace: Palace, **given: Any) -> Json:
    """Drawers that say the same."""
    return answers.duplicates(palace.duplicates(**given))


def get_taxonomy(palace: Palace, *, wing: str | None = None, cursor: str = "") -> Json:
    """The rooms of all wings; the cursor is the last one seen."""
    after = tuple(cursor.split("\t"))
    places = [place for place in palace.places(wing=wing) if (place.wing, place.room) > after]
    shown = places[: len(answers.fitting(map(astuple, places)))]
    more: Json = {}
    if len(shown) < len(places):
        more = {"cursor": f"{shown[-1].wing}\t{shown[-1].room}"}
    return {"wings": answers.rooms(shown), **more}


def kg_add(palace: Palace, **given: Any) -> Json:
    """Adds a fact."""
    return answers.fact_added(palace.knowledge.add(**given))


def kg_query(palace: Palace, **asked: Any) -> Json:
    """Facts about an entity, or that match a pattern."""
    return answers.facts_about(palace.knowledge, asked)


def kg_invalidate(palace: Palace, **given: Any) -> Json:
    """Ends a fact."""
    return answers.fact_changed(palace.knowledge.end(**given))


def kg_supersede(palace: Palace, **given: Any) -> Json:
    """Replaces a fact."""
    return answers.superseded(palace.knowledge.supersede(**given))


def kg_timeline(
    palace: Palace, *, entity: str | None = None, limit: int = 50, **where: Any
) -> Json:
    """Facts by the date they began."""
    page = palace.knowledge.timeline(entity, limit=limit, **where)
    shown = paged("facts", page.items, answers.fact, knowledge.cursor_after, cursor=page.cursor)
    return shown | {"note": answers.RECORD}


def kg_stats(palace: Palace, **where: Any) -> Json:
    """Counts of facts."""
    return answers.counts(palace.knowledge.stats(**where), palace.knowledge.predicates())


def diary_write(palace: Palace, *, author: Author, **entry: Any) -> Json:
    """Adds an entry to the caller's diary."""
    return answers.added(palace.diary_write(author.agent, author=author, **entry))


def diary_read(palace: Palace, *, author: Author, **where: Any) -> Json:
    """A diary, the caller's own or the named agent's."""
    page = palace.diary_read(author.agent, **where)
    entries = _drawers("entries", page, most_chars=2000)
    return {"agent": author.agent} | entries


def wake_up(palace: Palace, *, author: Author, **asked: Any) -> Json:
    """What is to be known at the start of a session."""
    return answers.briefing(palace.wake_up(agent=author.agent, **asked))


def changes(palace: Palace, *, limit: int = 50, after: int = 0, **where: Any) -> Json:
    """The change feed after a change."""
    found = palace.changes(limit=limit, after=after, **where)
    shown = answers.fitting(map(answers.change, found))
    return answers.changes(found[: len(shown)], after=after)


def link(
    palace: Palace,
    *,
    author: Author,
    action: str = "add",
    source: str = "",
    target: str = "",
    label: str = "",
    id: str = "",
    cursor: str = "",
) -> Json:
    """Makes a link, lists those there are, or removes one."""
    if action == "remove":
        return answers.removed(palace.unlink(id, author=author))
    if action == "list":
        found = palace.links(palace.get(source).id if source else None)
        rest = [link for link in found if link.id > cursor]
        return paged("links", rest, answers.link, lambda link: link.id)
    if not source or not target:
        raise InputError("give both ends to link, source and target: a drawer's id, or wing/room")
    return answers.linked(
        palace.link(answers.end(source), answers.end(target), label, author=author)
    )


def reconnect(palace: Palace) -> Json:
    """Closes and opens the palace."""
    return answers.reconnected(palace.reconnect())
