"""What MemPalace's tools answer over a palace: its keys in its nesting, and only what is true.

Each public function but `answer` is a tool: its arguments have passed the tool's schema, and what
was left out is not among them. More keys than MemPalace's are welcome, none is left out; what
Palatine does not have gets a neutral value.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import PurePath
from typing import Any

from palatine import instants, text
from palatine.compat import shapes
from palatine.compat.mempalace_tools import PROTOCOL
from palatine.errors import InputError, NotFoundError, PalatineError
from palatine.palace import Palace
from palatine.types import Added, Author, Drawer, End, Fact, Link, NewDrawer

Json = dict[str, Any]

_MOST = 100
_MANY = 500
_ROOMS = 50
_PAGE = 10_000
# Tools that say of their answer whether it is a success, so that a failure says so, too.
_SUCCESS = {
    *("add_drawer", "update_drawer", "delete_drawer", "delete_by_source", "diary_write"),
    *("kg_add", "kg_invalidate", "kg_supersede", "reconnect", "hook_settings", "delete_tunnel"),
}


def answer(name: str, palace: Palace, given: Mapping[str, Any]) -> Any:
    """What the tool of this name answers, without the prefix: an object, or for some a list.

    Args:
        name: one of those in `mempalace.json`.
        palace: where.
        given: the tool's arguments; for one that writes also the `author`.

    Raises:
        PalatineError: it failed; the message is MemPalace's body of an error, as JSON.
    """
    try:
        return globals()[name](palace, **given)
    except PalatineError as error:
        body: Json = {"success": False} if name in _SUCCESS else {}
        body["error"] = str(error)
        if isinstance(error, NotFoundError):
            body["suggestions"] = list(error.candidates)
        raise PalatineError(json.dumps(body, ensure_ascii=False)) from error


def _keyed(names: str, *values: Any) -> Json:
    return dict(zip(names.split(), values, strict=True))


# Overview


def status(palace: Palace) -> Json:
    """The palace as a whole."""
    seen = palace.status()
    names = "checked ok sqlite_version palace sqlite_path error_count errors"
    place, library = seen.store.get("place"), seen.store.get("sqlite")
    return {
        **list_wings(palace),
        "rooms": list_rooms(palace)["rooms"],
        **_keyed("total_drawers protocol aaak_dialect", seen.drawers, PROTOCOL, ""),
        **_keyed("backend embedding_device updates", "sqlite", "cpu", {}),
        # Not checked: that reads it all; `palatine doctor` does.
        "sqlite_integrity": _keyed(names, False, None, library, place, place, 0, []),
        "library_versions": _keyed("stale serving packages", False, {}, {}),
        **_keyed("palace_id seq pending", seen.palace_id, seen.seq, seen.pending),
        "wal_bytes": seen.store.get("wal_bytes"),
    }


def list_wings(palace: Palace) -> Json:
    """Drawers in each wing."""
    return {"wings": _sums((place.wing, place.drawers) for place in palace.places())}


def list_rooms(palace: Palace, *, wing: str = "") -> Json:
    """Drawers in each room."""
    places = palace.places(wing=wing or None)
    return {"wing": wing or "all", "rooms": _sums((place.room, place.drawers) for place in places)}


def get_taxonomy(palace: Palace) -> Json:
    """Drawers in each room of each wing."""
    tree: dict[str, dict[str, int]] = {}
    for place in palace.places():
        tree.setdefault(place.wing, {})[place.room] = place.drawers
    return {"taxonomy": tree}


def _sums(pairs: Iterator[tuple[str, int]]) -> dict[str, int]:
    sums: Counter[str] = Counter()
    for name, drawers in pairs:
        sums[name] += drawers
    return dict(sums)


# Drawers


def add_drawer(
    palace: Palace,
    *,
    wing: str,
    room: str,
    content: str,
    author: Author,
    source_file: str = "",
    added_by: str = "mcp",
) -> Json:
    """Files a text; sameness is that of the stored text in its place, not of an id."""
    for name in (wing, room):
        text.clean_name(name, "a wing or a room")
    new = NewDrawer(content, wing=wing, room=room, source=source_file, author=added_by)
    return _added(palace.add_many([new], author=author)[0])


def _added(done: Added) -> Json:
    known = {} if done.created else {"reason": "already_exists"}
    more = _keyed("chunks created seq", 1, done.created, done.seq)
    more |= {"warnings": list(done.warnings)} if done.warnings else {}
    return {"success": True, **known, **_place(done.drawer), **more}


def _place(drawer: Drawer) -> Json:
    return _keyed("drawer_id wing room", drawer.id, drawer.wing, drawer.room)


def get_drawer(palace: Palace, *, drawer_id: str) -> Json:
    """A drawer, whole."""
    drawer = palace.get(drawer_id)
    return {**_place(drawer), "content": drawer.text, "metadata": _metadata(drawer)}


def _metadata(drawer: Drawer) -> Json:
    filed, changed = str(drawer.filed_at), str(drawer.changed_at)
    return {
        **drawer.metadata,
        **_keyed("wing room added_by", drawer.wing, drawer.room, drawer.author),
        **_keyed("filed_at last_modified chunk_index id_recipe", filed, changed, 0, ""),
        **_keyed("source_file source_path", PurePath(drawer.source).name, drawer.source),
    }


def get_drawers(palace: Palace, *, drawer_ids: Sequence[Any]) -> Json:
    """Drawers, each whole or with why not."""
    return _each(drawer_ids, lambda drawer_id: get_drawer(palace, drawer_id=drawer_id))


def _each(ids: Sequence[Any], work: Callable[[str], Json]) -> Json:
    """What comes of each id; one that fails does not stop the others."""
    if not 1 <= len(ids) <= _MANY:
        raise InputError(f"drawer_ids has {len(ids)} entries; give 1 to {_MANY}")
    results: list[Json] = []
    for given in ids:
        try:
            results.append(work(text.clean_name(given, "a drawer's id")))
        except (InputError, NotFoundError) as error:
            results.append({"drawer_id": given, "error": str(error)})
    errors = sum("error" in result for result in results)
    return {"results": results, "count": len(results), "errors": errors}


def list_drawers(
    palace: Palace,
    *,
    limit: int = 20,
    offset: int = 0,
    wing: str = "",
    room: str = "",
    **times: Any,
) -> Json:
    """A page of drawers; a limit over 100 is cut, and the answer says so."""
    most, first = _cut(limit), max(0, offset)
    where = {"wing": wing, "room": room, **times}
    shown = [
        _place(it) | {"content_preview": _preview(it.text), "metadata": _metadata(it)}
        for it in islice(_drawers(palace, **where), first, first + most)
    ]
    if times:
        total = sum(1 for _ in _drawers(palace, **where))
    else:
        places = palace.places(wing=wing or None)
        total = sum(place.drawers for place in places if room in ("", place.room))
    note = {} if most == limit else {"note": f"limit {limit} is not 1 to {_MOST}; took {most}"}
    return {"drawers": shown, **_page(shown, total, first, most), **note}


def _page(shown: Sequence[Json], total: int, offset: int, limit: int) -> Json:
    return _keyed("total count offset limit", total, len(shown), offset, limit)


def _drawers(palace: Palace, **where: Any) -> Iterator[Drawer]:
    """All drawers that match, the newest first; an empty value does not restrict."""
    where = {name: value or None for name, value in where.items()}
    page = palace.list(**where, limit=_MOST)
    yield from page
    while page.cursor:
        page = palace.list(**where, limit=1000, cursor=page.cursor)
        yield from page


def update_drawer(palace: Palace, *, drawer_id: str, author: Author, **given: Any) -> Json:
    """Changes a drawer's text or place."""
    if not given:
        return {"success": True, "drawer_id": palace.get(drawer_id).id, "noop": True}
    new = {"text" if name == "content" else name: value for name, value in given.items()}
    done = palace.update(drawer_id, author=author, **new)
    return {"success": True, **_place(done.drawer), "closets_deleted": 0, "seq": done.seq}


def delete_drawer(palace: Palace, *, drawer_id: str, author: Author) -> Json:
    """Deletes a drawer."""
    done = palace.delete(drawer_id, author=author)
    names = "success drawer_id deleted_ids chunks_deleted closets_deleted seq"
    return _keyed(names, True, drawer_id, list(done.refs), len(done.refs), 0, done.seq)


def delete_drawers(palace: Palace, *, drawer_ids: Sequence[Any], author: Author) -> Json:
    """Deletes each of these drawers that is there."""
    done = _each(drawer_ids, lambda ref: delete_drawer(palace, drawer_id=ref, author=author))
    return done | {"deleted": done["count"] - done["errors"]}


def delete_by_source(
    palace: Palace, *, source_file: str, author: Author, dry_run: bool = True
) -> Json:
    """Counts, or deletes, the drawers of a source."""
    said = _keyed("success dry_run source_file", True, dry_run, source_file)
    if not dry_run:
        done = palace.delete(source=source_file, author=author)
        return said | {"deleted": len(done.refs), "seq": done.seq}
    ids = [drawer.id for drawer in _drawers(palace, source=source_file)]
    hint = "nothing was deleted; give dry_run false to delete them"
    return said | {"match_count": len(ids), "sample": ids[:5], "hint": hint}


def check_duplicate(palace: Palace, *, content: str, threshold: float = 0.9) -> Json:
    """Drawers that say the same, or nearly."""
    found = palace.duplicates(content, threshold=threshold)
    alike = [(drawer, 1.0) for drawer in found.exact]
    alike += [(near.drawer, round(near.similarity, 3)) for near in found.near]
    names = "id wing room similarity content"
    matches = [_keyed(names, d.id, d.wing, d.room, near, _preview(d.text)) for d, near in alike]
    return {"is_duplicate": bool(matches), "matches": matches}


def search(
    palace: Palace, *, query: str, limit: int = 5, max_distance: float = 1.5, **more: Any
) -> Json:
    """Texts for a question, by words and by meaning under either strategy."""
    names = {"wing": "wing", "room": "room", "source_file": "source"}
    names |= {"since": "filed_since", "before": "filed_before"}
    filters = {name: more.get(name) or None for name in names}
    where: Json = {ours: filters[name] for name, ours in names.items()}
    found = palace.search(query, limit=_cut(limit), **where)
    results = []
    for hit in found:
        drawer, said = hit.drawer, None if hit.said_at is None else str(hit.said_at)
        near = round(hit.confidence if hit.cosine is None else max(0.0, hit.cosine), 3)
        if 0 < max_distance < 1 - near:
            continue
        shown = _place(drawer) | {"text": hit.text, "similarity": near, "matched_via": "drawer"}
        shown |= _keyed(
            "source_file source_path", PurePath(drawer.source).name or "?", drawer.source
        )
        shown |= dict.fromkeys(("created_at", "filed_at"), str(drawer.filed_at))
        shown |= dict.fromkeys(("authored_at", "content_date"), said)
        shown |= dict.fromkeys(("authored_at_source", "content_date_source"), said and "said_at")
        shown |= dict.fromkeys(("distance", "effective_distance"), round(1 - near, 3))
        # The share of the question's rare words that stand in it, 0 to 1.
        results.append(shown | {"closet_boost": 0.0, "bm25_score": round(hit.confidence, 3)})
    names_of = "query filters total_before_filter results remark"
    return _keyed(names_of, query, filters, len(found), results, found.remark)


def checkpoint(
    palace: Palace,
    *,
    items: Sequence[Any],
    author: Author,
    diary: Mapping[str, Any] | None = None,
    dedup_threshold: float = 0.9,
    added_by: str = "",
) -> Json:
    """Files what is not there yet, item by item, then the diary's entry."""
    done: Json = {"added": [], "duplicates": [], "errors": []}
    added_by = added_by or str((diary or {}).get("agent_name") or "checkpoint")
    for item in items:
        try:
            new = _texts_of(item, "wing", "room", "content")
            seen = check_duplicate(palace, content=new["content"], threshold=dedup_threshold)
            if seen["is_duplicate"]:
                done["duplicates"].append({"room": new["room"], "matches": seen["matches"]})
            else:
                done["added"].append(add_drawer(palace, author=author, added_by=added_by, **new))
        except PalatineError as error:
            done["errors"].append({"item": item, "error": str(error)})
    if diary is not None:
        try:
            given = {"topic": "session-checkpoint"} | {k: v for k, v in diary.items() if v}
            entry = _texts_of(given, "agent_name", "entry", "topic", *{"wing"} & given.keys())
            done["diary"] = diary_write(palace, author=author, **entry)
        except PalatineError as error:
            done["diary"] = {"success": False, "error": str(error)}
    return done


def _texts_of(item: Any, *names: str) -> Json:
    given = item if isinstance(item, dict) else {}
    for name in names:
        if not isinstance(given.get(name), str) or not given[name]:
            raise InputError(f"{name} is missing, empty or no text; give it")
    return {name: given[name] for name in names}


# Diary


def diary_write(
    palace: Palace,
    *,
    agent_name: str,
    author: Author,
    entry: str = "",
    topic: str = "general",
    wing: str = "",
    content: str = "",
) -> Json:
    """Adds an entry to a diary; the same text twice is two entries."""
    agent = _agent(agent_name)
    wing = wing or palace.wing or f"wing_{agent.replace(' ', '_')}"
    new = NewDrawer(entry or content, wing=wing, room="diary", kind="diary", author=agent)
    new = replace(new, metadata={"topic": topic})
    done = palace.add_many([new], author=Author(agent, author.session))[0]
    names, filed = "success entry_id agent topic timestamp chunks seq", str(done.drawer.filed_at)
    return _keyed(names, True, done.drawer.id, agent, topic, filed, 1, done.seq)


def diary_read(palace: Palace, *, agent_name: str, last_n: int = 10, wing: str = "") -> Json:
    """An agent's diary, the newest entry first."""
    agent = _agent(agent_name)
    written = list(_drawers(palace, author=agent, kind="diary", wing=wing))
    entries = []
    for drawer in written[: _cut(last_n)]:
        filed, topic = str(drawer.filed_at), drawer.metadata.get("topic", "")
        entries.append(
            _keyed("date timestamp topic content", filed[:10], filed, topic, drawer.text)
        )
    said = {} if entries else {"message": "no diary entries yet"}
    shown = _keyed("agent entries total showing", agent, entries, len(written), len(entries))
    return shown | said


def _agent(name: str) -> str:
    return text.clean_name(name, "agent_name").lower()


# Facts


def kg_add(
    palace: Palace,
    *,
    source_closet: str = "",
    source_file: str = "",
    source_drawer_id: str = "",
    **given: Any,
) -> Json:
    """Adds a fact; of a known one it says how that differs, of others what they contradict."""
    done = palace.knowledge.add(
        **{name: value for name, value in given.items() if value != ""},
        source=shapes.source(file=source_file, closet=source_closet),
        drawer=source_drawer_id,
    )
    stands = shapes.relation(done.fact)
    said = _keyed(
        "success triple_id fact created", True, stands["id"], _said(done.fact), done.created
    )
    dates = {name: stands[name] for name in ("valid_from", "valid_to")}
    against = [shapes.relation(fact) for fact in done.conflicts]
    return said | dates | _keyed("differs conflicts seq", done.differs, against, done.seq)


def kg_query(palace: Palace, *, entity: str, as_of: str = "", direction: str = "both") -> Json:
    """Facts about an entity; of an unknown one it says so, and which are near."""
    names = ("active_facts", "historical_facts", "future_facts", "facts")
    parts: dict[str, list[Json]] = {name: [] for name in names}
    try:
        known = palace.knowledge.entity(entity)
        facts = palace.knowledge.about(entity, as_of=as_of or None, state="all", limit=_PAGE)
    except NotFoundError as error:
        near = [{"id": shapes.entity_id(name), "name": name} for name in error.candidates]
        unknown = _keyed("count known candidates message", 0, False, near, str(error))
        return {"entity": entity, "as_of": as_of or None, **parts, **unknown}
    now = instants.now().micros
    for fact in facts:
        for way, key in (("outgoing", fact.subject_key), ("incoming", fact.object_key)):
            if key != known.key or direction not in ("both", way):
                continue
            shown = shapes.directed(fact, way)
            later = fact.valid_from is not None and fact.valid_from.micros > now
            when = "active" if as_of or shown["current"] else "future" if later else "historical"
            parts[f"{when}_facts"].append(shown)
            parts["facts"].append(shown)
    said = {} if text.fold(entity) == known.key else {"resolved_from": entity}
    counts = {"count": len(parts["facts"]), "known": True}
    return {"entity": known.name, "as_of": as_of or None, **parts, **counts, **said}


def kg_invalidate(palace: Palace, *, author: Author, ended: str = "", **names: str) -> Json:
    """Ends a fact that is true: now, or through the day given."""
    done = palace.knowledge.end(**names, ended=ended or None, author=author)
    said = _keyed("success fact ended", True, _said(done.fact), str(done.fact.valid_to))
    return said | {"changed": done.changed, "seq": done.seq}


def kg_supersede(
    palace: Palace, *, old_object: str, new_object: str, at: str = "", **given: Any
) -> Json:
    """Replaces a fact; by itself it stays as it is."""
    done = palace.knowledge.supersede(old=old_object, new=new_object, at=at or None, **given)
    ids = {"triple_id": shapes.triple_id(done.fact), "created": done.created, "seq": done.seq}
    return {"success": True, "fact": _said(done.fact), "superseded": _said(done.ended), **ids}


def kg_timeline(palace: Palace, *, entity: str = "", limit: int = 100, offset: int = 0) -> Json:
    """Facts by their start, undated last."""
    page = palace.knowledge.timeline(entity or None, limit=_PAGE)
    facts = list(page)
    while page.cursor:
        page = palace.knowledge.timeline(entity or None, limit=_PAGE, cursor=page.cursor)
        facts += page
    first, most = max(0, offset), _cut(limit)
    shown = [shapes.relation(fact) for fact in facts[first : first + most]]
    return {"entity": entity or "all", "timeline": shown, **_page(shown, len(facts), first, most)}


def kg_stats(palace: Palace) -> Json:
    """Counts of facts."""
    return shapes.stats(palace.knowledge.stats())


def _said(fact: Fact) -> str:
    return f"{fact.subject} → {fact.predicate} → {fact.object}"


# Links


def create_tunnel(palace: Palace, *, author: Author, label: str = "", **given: str) -> Json:
    """Links two rooms; where they are linked already, that link stays and is answered."""
    ends = source, target = [_given_end(palace, given, side) for side in ("source", "target")]
    rooms = {(given[f"{side}_wing"], given[f"{side}_room"]) for side in ("source", "target")}
    for known in list_tunnels(palace):
        places = known["source"], known["target"]
        if {(place["wing"], place["room"]) for place in places} == rooms:
            stands = known["label"], sorted(filter(None, (p.get("drawer_id") for p in places)))
            wanted = label, sorted(filter(None, (end.drawer for end in ends)))
            what = zip(("label", "drawers"), stands, wanted, strict=True)
            differs = "; ".join(
                f"{name} {old!r}, not {new!r}" for name, old, new in what if old != new
            )
            return {**known, "created": False, "differs": differs}
    done = palace.link(source, target, label, author=author)
    return {**_tunnel(palace, done.link), "created": done.created, "differs": done.differs}


def _given_end(palace: Palace, given: Mapping[str, str], side: str) -> End:
    wing, room = given[f"{side}_wing"], given[f"{side}_room"]
    if not given.get(f"{side}_drawer_id"):
        return End(wing, room)
    drawer = palace.get(given[f"{side}_drawer_id"])
    if (drawer.wing, drawer.room) != (wing, room):
        raise InputError(f"drawer {drawer.id} lies in {drawer.wing}/{drawer.room}; say so")
    return End(drawer=drawer.id)


def _tunnel(palace: Palace, link: Link) -> Json:
    source, target = (
        _place(palace.get(end.drawer)) if end.drawer else {"wing": end.wing, "room": end.room}
        for end in (link.source, link.target)
    )
    shown = _keyed("id source target label kind", link.id, source, target, link.label, "explicit")
    unused = _keyed("strength stability last_activated access_count", 1.0, 1.0, None, 0)
    return {**shown, "created_at": str(link.linked_at), **unused}


def list_tunnels(palace: Palace, *, wing: str = "") -> list[Json]:
    """The links, of a wing or of all."""
    found = [_tunnel(palace, link) for link in palace.links()]
    return [it for it in found if wing in ("", it["source"]["wing"], it["target"]["wing"])]


def delete_tunnel(palace: Palace, *, tunnel_id: str, author: Author) -> Json:
    """Removes a link."""
    done = palace.unlink(tunnel_id, author=author)
    return _keyed("success deleted tunnel_id seq", True, True, tunnel_id, done.seq)


def follow_tunnels(palace: Palace, *, wing: str, room: str) -> list[Json]:
    """What a room is linked with."""
    found = []
    names = "direction connected_wing connected_room label drawer_id tunnel_id"
    for link in list_tunnels(palace):
        for way, near, far in (("outgoing", "source", "target"), ("incoming", "target", "source")):
            if (link[near]["wing"], link[near]["room"]) != (wing, room):
                continue
            there, ref = link[far], link[far].get("drawer_id")
            seen = {"drawer_preview": _preview(palace.get(ref).text)} if ref else {}
            values = way, there["wing"], there["room"], link["label"], ref, link["id"]
            found.append(_keyed(names, *values) | seen)
    return found


def find_tunnels(palace: Palace, *, wing_a: str = "", wing_b: str = "") -> list[Json]:
    """Rooms whose name stands in several wings, those with most drawers first."""
    wanted = {wing_a, wing_b} - {""}
    shared = [it for it in _shared(_rooms(palace)) if wanted <= set(it["wings"])][:_ROOMS]
    newest = (palace.list(room=it["room"], limit=1).items for it in shared)
    return [
        it | {"recent": str(drawers[0].filed_at) if drawers else ""}
        for it, drawers in zip(shared, newest, strict=True)
    ]


def traverse(palace: Palace, *, start_room: str, max_hops: int = 2) -> list[Json]:
    """Rooms within so many steps; two are neighbours when they share a wing."""
    rooms = _rooms(palace)
    if start_room not in rooms:
        near = text.near_names(start_room, rooms)
        raise NotFoundError(f"no room {start_room!r} holds a drawer", candidates=near)
    found = {start_room: rooms[start_room] | {"hop": 0}}
    edge = [start_room]
    for hop in range(1, min(10, max(1, max_hops)) + 1):
        wings = {wing for room in edge for wing in rooms[room]["wings"]}
        edge = [name for name in rooms.keys() - found.keys() if wings & {*rooms[name]["wings"]}]
        for name in sorted(edge):
            via = sorted(wings & {*rooms[name]["wings"]})
            found[name] = rooms[name] | {"hop": hop, "connected_via": via}
    return list(found.values())[:_ROOMS]


def graph_stats(palace: Palace) -> Json:
    """Counts of rooms and of what connects them."""
    places, links, rooms = palace.places(), len(palace.links()), _rooms(palace)
    shared = _shared(rooms)
    edges = sum(len(it["wings"]) * (len(it["wings"]) - 1) // 2 for it in shared)
    top = [{name: it[name] for name in ("room", "wings", "count")} for it in shared[:10]]
    return {
        **_keyed("total_rooms total_room_instances", len(rooms), len(places)),
        **dict.fromkeys(("tunnel_rooms", "passive_tunnel_rooms"), len(shared)),
        **_keyed("explicit_tunnels total_edges total_connections", links, edges, edges + links),
        "rooms_per_wing": dict(Counter(place.wing for place in places)),
        "top_tunnels": top,
    }


def _rooms(palace: Palace) -> dict[str, Json]:
    """The rooms by name, each with all wings that have it."""
    rooms: dict[str, Json] = {}
    for place in palace.places():
        empty = _keyed("room wings halls count", place.room, [], [], 0)
        room = rooms.setdefault(place.room, empty)
        room["wings"].append(place.wing)
        room["count"] += place.drawers
    return rooms


def _shared(rooms: Mapping[str, Json]) -> list[Json]:
    shared = (it for it in rooms.values() if len(it["wings"]) > 1)
    return sorted(shared, key=lambda it: (-it["count"], it["room"]))


# Care


def reconnect(palace: Palace) -> Json:
    """Closes and opens the palace."""
    done = palace.reconnect()
    states = [s and {"palace_id": s.palace_id, "seq": s.seq} for s in (done.before, done.after)]
    said, drawers = done.problem or "closed and opened again", palace.status().drawers
    vectors = {"vector_disabled": False, "vector_disabled_reason": ""}
    return _keyed("success message drawers before after", True, said, drawers, *states) | vectors


def get_aaak_spec(_palace: Palace) -> Json:
    """There is none."""
    return {"aaak_spec": "", "note": "texts are kept as they are given; write plainly"}


def hook_settings(_palace: Palace, **wanted: bool) -> Json:
    """How hooks save; it cannot be changed, and a call that tries is an error."""
    settings = {"silent_save": True, "desktop_toast": False}
    if settings | wanted != settings:
        raise InputError("hooks always save silently, without a toast; nothing was changed")
    return {"success": True, "settings": settings}


def memories_filed_away(palace: Palace) -> Json:
    """When something was filed last, and how much on that day."""
    names = "status message count timestamp"
    newest = palace.list(limit=1).items
    if not newest:
        return _keyed(names, "quiet", "nothing is filed", 0, None)
    last = str(newest[0].filed_at)
    count = sum(1 for _ in _drawers(palace, since=last[:10]))
    return _keyed(names, "ok", f"texts filed on {last[:10]} (UTC): {count}", count, last)


def _cut(limit: int) -> int:
    return min(_MOST, max(1, limit))


def _preview(whole: str) -> str:
    return whole if len(whole) <= 200 else f"{whole[:200]}..."
