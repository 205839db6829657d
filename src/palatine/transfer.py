"""A palace as JSON Lines: complete, lossless, and merged by id and sameness where it is read.

The first line says what it is, the last one how many lines there are of each kind: a file that was
cut off is refused before anything is written. What is deleted is not in it, nor the change feed.
"""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, BinaryIO, Literal, get_args

from palatine import instants
from palatine import text as texts
from palatine.beliefs import MOST, NAME_CHARS, entity_key, overlapping
from palatine.drawers import chunks_of, find_twin, link_id, mint_id, wing_of
from palatine.embedding import Progress
from palatine.errors import InputError, ScopeError
from palatine.instants import Instant, check_interval, parse_end, parse_start
from palatine.store.base import Lookups, Store, WriteTx
from palatine.types import (
    KINDS,
    Author,
    Drawer,
    DrawerFilter,
    End,
    Entity,
    Fact,
    FactFilter,
    FormerId,
    Imported,
    Kind,
    Link,
    Op,
    Predicate,
)

FORMAT = 1
_PAGE = 1000
_ALL = 2**40
_BATCH = 500
_BATCH_CHARS = 4000  # a text so long counts as one line more
_LABEL_CHARS = 4096
_SHOWN = 20
_TOLD_EVERY = 200
_OF_ITS_FILING = ("seq", "filed_at", "changed_at", "author", "session")
"""What may differ between two palaces that hold the same drawer."""

Exported = Predicate | Entity | Drawer | FormerId | Link | Fact
Outcome = Literal["added", "known", "differs"]


# Writing


def export(store: Store, target: BinaryIO, *, progress: Progress | None = None) -> dict[str, int]:
    """Writes everything that stands in the palace, from one snapshot.

    Args:
        store: what to write.
        target: opened for bytes.
        progress: told now and then how many lines are written, and about how many are left.

    Returns:
        How many lines there are of each kind.
    """
    counts = dict.fromkeys(_NAMES.values(), 0)
    with store.read() as tx:
        state = tx.state()
        head = {"palatine": "export", "format": FORMAT, "palace": state.palace_id}
        _put_line(target, {**head, "seq": state.seq, "exported_at": str(instants.now())})
        about = sum(_counts(tx).values()) if progress else 0
        for done, noun in enumerate(_nouns(tx)):
            if progress and done % _TOLD_EVERY == 0:
                progress(done, max(0, about - done))
            name = _NAMES[type(noun)]
            counts[name] += 1
            _put_line(target, {"line": name, **_members(noun)})
    _put_line(target, {"line": "end", "counts": counts})
    return counts


def _nouns(tx: Lookups) -> Iterator[Exported]:
    for name, cardinality in tx.predicates().items():
        yield Predicate(name, cardinality)
    yield from tx.entities(words=(), limit=_ALL)
    before: tuple[int, str] | None = None
    while drawers := tx.drawers(DrawerFilter(), limit=_PAGE // 10, before=before):
        yield from drawers
        before = drawers[-1].filed_at.micros, drawers[-1].id
    former = ""
    while pairs := tx.former_ids(after=former, limit=_PAGE):
        yield from pairs
        former = pairs[-1].id
    yield from tx.links(limit=_ALL)
    last = "", 0
    while facts := tx.beliefs(after=last, limit=_PAGE):
        yield from facts
        last = facts[-1].id, facts[-1].version


def _put_line(target: BinaryIO, members: Mapping[str, object]) -> None:
    # In ASCII: no reader can take a character in a text for the end of a line.
    target.write(json.dumps(members).encode("ascii") + b"\n")


_LEFT_OUT = {
    Drawer: ("digest", "seq", "text"),  # computed; another in each palace; written below
    Fact: ("subject_key", "object_key"),
    Entity: ("key",),
    Link: ("id",),
}


def _members(noun: Exported) -> dict[str, object]:
    left_out = _LEFT_OUT.get(type(noun), ())
    members = {
        field.name: _as_json(getattr(noun, field.name))
        for field in fields(noun)
        if field.name not in left_out
    }
    if isinstance(noun, Drawer):
        try:
            noun.text.encode()
            members["text"] = noun.text
        except UnicodeEncodeError:  # JSON would join lone surrogates that stand side by side
            members["text_base64"] = b64encode(texts.encode(noun.text)).decode("ascii")
    return members


def _as_json(value: object) -> object:
    if isinstance(value, Instant):
        read = parse_end if value.is_end else parse_start
        return str(value) if read(str(value)) == value else [value.micros, value.code]
    if isinstance(value, End):
        return (
            {"drawer": value.drawer} if value.drawer else {"wing": value.wing, "room": value.room}
        )
    return dict(value) if isinstance(value, Mapping) else value


def line_of(noun: Exported) -> tuple[str, bytes]:
    """A noun from elsewhere as a line of an export, and what that is called.

    Raises:
        InputError: it is nothing that a palace keeps; says why.
    """
    name = _NAMES[type(noun)]
    line = json.dumps({"line": name, **_members(noun)}).encode("ascii") + b"\n"
    try:
        _parsed(line, 0)
    except InputError as error:
        reason = str(error).removeprefix("line 0 cannot be used: ")
        raise InputError(reason.removesuffix("; nothing was imported")) from None
    return name, line


def write_lines(target: BinaryIO, origin: str, lines: Iterable[tuple[str, bytes]]) -> None:
    """Makes lines from elsewhere, in the order of an export, one for `import_from`."""
    counts = dict.fromkeys(_NAMES.values(), 0)
    _put_line(target, {"palatine": "export", "format": FORMAT, "palace": origin})
    for name, line in lines:
        counts[name] += 1
        target.write(line)
    _put_line(target, {"line": "end", "counts": counts})


# Reading


def _label(value: object) -> str:
    if texts.clean_label(value, "the name", max_chars=max(_LABEL_CHARS, NAME_CHARS)) != value:
        raise InputError(f"{value!r:.80} is no name as a palace keeps it")
    return str(value)


def _name(value: object) -> str:
    if not (name := _label(value)):
        raise InputError("a name is empty")
    return name


def _one_of(*possible: object) -> Callable[[object], Any]:
    def read(value: object) -> object:
        if type(value) is not type(possible[0]) or value not in possible:
            raise InputError(f"{value!r:.80} is none of {', '.join(map(str, possible))}")
        return value

    return read


def _whole(value: object) -> int:
    if type(value) is not int or not -(2**31) <= value < 2**62:
        raise InputError(f"{value!r:.80} is no number that can stand here")
    return value


def _share(value: object) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:  # type: ignore[operator]  # a number
        raise InputError(f"{value!r:.80} is no confidence")
    return float(value)  # type: ignore[arg-type]  # a number


def _members_of(value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{value!r:.80} is no JSON object")
    return value


def _moment(read: Callable[[Any], Instant | None]) -> Callable[[object], Instant]:
    def parse(value: object) -> Instant:
        if isinstance(value, list):
            micros, code = map(_whole_time, value)
            return Instant.from_code(micros, code)
        moment = read(value) if isinstance(value, str) else None
        if moment is None:
            raise InputError(f"{value!r:.80} is no time")
        return moment

    return parse


def _whole_time(value: object) -> int:
    if type(value) is not int:
        raise InputError(f"{value!r:.80} is no time")
    return value


_start, _stop = _moment(parse_start), _moment(parse_end)


def _or_none(read: Callable[[object], Any]) -> Callable[[object], Any]:
    return lambda value: None if value is None else read(value)


def _end(value: object) -> End:
    members = {name: _name(each) for name, each in _members_of(value).items()}
    if members.keys() not in ({"drawer"}, {"wing", "room"}):
        raise InputError(f"{value!r:.80} is no end of a link")
    return End(**members)


def _names(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InputError(f"{value!r:.80} is no list of names")
    return tuple(map(_name, value))


Shape = Mapping[str, Callable[[object], Any]]
_PREDICATE: Shape = {"name": _name, "cardinality": _one_of("single", "many")}
_ENTITY: Shape = {"name": _name, "type": _label, "properties": _members_of, "aliases": _names}
_FORMER: Shape = {"id": _name, "drawer": _name}
_LINK: Shape = {"source": _end, "target": _end, "label": _label, "linked_at": _start}
_DRAWER: Shape = {
    "id": _name,
    "wing": _name,
    "room": _name,
    "kind": _one_of(*KINDS),
    "pinned": _one_of(False, True),
    "source": _label,
    "position": _whole,
    "author": _label,
    "session": _label,
    "said_at": _or_none(_start),
    "filed_at": _start,
    "changed_at": _start,
    "metadata": _members_of,
}
_FACT: Shape = {
    "id": _name,
    "version": _whole,
    "wing": _label,
    "subject": _name,
    "predicate": _name,
    "object": _name,
    "valid_from": _or_none(_start),
    "valid_to": _or_none(_stop),
    "confidence": _share,
    "source": _label,
    "drawer": _label,
    "recorded_at": _start,
    "ended_at": _or_none(_start),
}


def _drawer(line: Mapping[str, Any], values: dict[str, Any]) -> Drawer:
    if "text_base64" in line:
        text = texts.decode(b64decode(line["text_base64"], validate=True))
    else:
        text = line["text"]
    digest = texts.digest(texts.encode(text))
    if not text:
        raise InputError("the text is empty")
    return Drawer(**values, text=text, digest=digest)


def _fact(_: Mapping[str, Any], values: dict[str, Any]) -> Fact:
    subject, object_ = texts.fold(values["subject"]), texts.fold(values["object"])
    fact = Fact(subject_key=subject, object_key=object_, **values)
    check_interval(fact.valid_from, fact.valid_to, what=str(fact))
    if fact.ended_at and fact.ended_at.micros < fact.recorded_at.micros:
        raise InputError(f"the belief {fact.id} ended before it was recorded")
    return fact


def _link(_: Mapping[str, Any], values: dict[str, Any]) -> Link:
    return Link(id=link_id([values["source"], values["target"]]), **values)


_NAMES: Mapping[type, str] = {
    Predicate: "predicate",
    Entity: "entity",
    Drawer: "drawer",
    FormerId: "former_id",
    Link: "link",
    Fact: "fact",
}
_READERS: Mapping[str, tuple[Shape, Callable[[Mapping[str, Any], dict[str, Any]], Exported]]] = {
    "predicate": (_PREDICATE, lambda _, values: Predicate(**values)),
    "entity": (_ENTITY, lambda _, values: Entity(key=texts.fold(values["name"]), **values)),
    "drawer": (_DRAWER, _drawer),
    "former_id": (_FORMER, lambda _, values: FormerId(**values)),
    "link": (_LINK, _link),
    "fact": (_FACT, _fact),
}


def _parsed(line: bytes, number: int) -> tuple[str, Any]:
    """What a line is called, and what it holds: a noun, or the counts of the last line.

    Raises:
        InputError: the line cannot be used; says which and why.
    """
    try:
        members = json.loads(line)
        name = members["line"]
        if name == "end":
            return name, members["counts"]
        shape, make = _READERS[name]
        return name, make(members, {key: read(members[key]) for key, read in shape.items()})
    except (InputError, ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"{error} is missing or unknown" if isinstance(error, KeyError) else error
        raise InputError(f"line {number} cannot be used: {what}; nothing was imported") from None


@dataclass(frozen=True, slots=True)
class _File:
    palace_id: str
    latest: int
    lines: int


def _checked(source: BinaryIO, wing: str) -> _File:
    """Reads the whole file once.

    Raises:
        InputError: it is no export, is newer, was cut off, or a line cannot be used.
        ScopeError: a line is of another wing than the one that is given.
    """
    head = _header(source.readline())
    counts: Counter[str] = Counter()
    latest, last, ended = 0, ("", 0), None
    for number, line in enumerate(source, 2):
        if ended is not None:
            raise InputError(f"line {number} stands after the last one; nothing was imported")
        name, noun = _parsed(line, number)
        if name == "end":
            ended = noun
            continue
        counts[name] += 1
        if wing and (others := _wings(noun) - {wing}):
            raise ScopeError(
                f"line {number} is of wing {min(others)!r}, and this palace is limited to wing"
                f" {wing!r}; nothing was imported; open the palace without a wing for it"
            )
        if isinstance(noun, Fact):
            if (noun.id, noun.version) <= last:
                raise InputError(f"line {number}: beliefs are not in order; nothing was imported")
            last = noun.id, noun.version
            latest = max(latest, (noun.ended_at or noun.recorded_at).micros)
    if ended is None:
        raise InputError("the export is cut off: its last line is missing; nothing was imported")
    if ended != {name: counts[name] for name in _READERS}:
        raise InputError("the export's last line counts other lines; nothing was imported")
    return _File(str(head["palace"]), latest, counts.total())


def _wings(noun: Exported) -> set[str]:
    if isinstance(noun, Link):
        return {end.wing for end in (noun.source, noun.target) if not end.drawer}
    return {noun.wing} if isinstance(noun, Drawer | Fact) else set()


def _header(line: bytes) -> Mapping[str, Any]:
    try:
        head = json.loads(line)
        ours = head["palatine"] == "export" and type(head["format"]) is int and head["palace"]
    except (ValueError, KeyError, TypeError, RecursionError):
        ours = False
    if not ours:
        raise InputError("this is no export of a palace; nothing was imported")
    if head["format"] > FORMAT:
        raise InputError(
            f"the export has format {head['format']}, this Palatine knows up to {FORMAT}; nothing"
            " was imported; use the newer Palatine"
        )
    return _members_of(head)


# Merging


def import_from(
    store: Store,
    source: BinaryIO,
    *,
    author: Author,
    dry_run: bool = False,
    wing: str = "",
    progress: Progress | None = None,
) -> Imported:
    """Adds what the palace does not hold; what it holds stays as it is.

    One transaction for some hundred lines, so that others can go on writing. Again changes nothing.

    Args:
        source: an export, from its beginning; must be seekable, it is read twice.
        author: who imports; drawers keep their authors.
        dry_run: write nothing and say what would be done.
        wing: refuse a file that holds another one; empty: take all.
        progress: told before each batch how many lines are merged and how many are left.

    Raises:
        InputError: the file cannot be used; nothing was written.
    """
    start = source.tell()
    file = _checked(source, wing)
    source.seek(start)
    source.readline()
    tally: dict[Outcome, Counter[str]] = {outcome: Counter() for outcome in get_args(Outcome)}
    differing: list[str] = []
    with store.read() as tx:
        before = _counts(tx)
    first = last = done = 0
    for batch in _batches(source):
        if progress:
            progress(done, file.lines - done)
        done += sum(map(len, batch))
        if dry_run:
            with store.read() as tx:
                _count(tally, differing, _merge_all(tx, None, batch))
            continue
        with store.write(author) as door:
            _require_past(door, file.latest)
            began = door.state().seq
            _count(tally, differing, _merge_all(door, door, batch))
            if (now := door.state().seq) > began:
                first, last = (first if last else began + 1), now
    with store.read() as tx:
        after = _counts(tx)
    return Imported(
        palace_id=file.palace_id,
        before=before,
        after=after,
        added=dict(tally["added"]),
        known=dict(tally["known"]),
        differing=dict(tally["differs"]),
        kept=tuple(differing),
        first_seq=first if last else 0,
        last_seq=last,
    )


def _merge_all(tx: Lookups, door: WriteTx | None, batch: Iterable[list[Exported]]) -> Merged:
    for unit in batch:
        yield from _merge(tx, door, unit)


def _count(tally: dict[Outcome, Counter[str]], differing: list[str], merged: Merged) -> None:
    for name, ref, outcome in merged:
        tally[outcome][name] += 1
        if outcome == "differs" and len(differing) < _SHOWN:
            differing.append(f"{name} {ref}")


def _require_past(tx: WriteTx, latest: int) -> None:
    """Refuses beliefs from the future: what is believed next must come after all of them."""
    if latest >= tx.recorded_at.micros:
        raise InputError(
            f"the export holds what was recorded at {Instant(latest)}, and here it is"
            f" {tx.recorded_at}: set this computer's clock, or import it later; nothing was"
            " imported"
        )


def _counts(tx: Lookups) -> dict[str, int]:
    facts = tx.fact_counts(wing=None, now=0)
    return {
        "drawers": sum(place.drawers for place in tx.places(DrawerFilter())),
        "facts": facts.facts,
        "entities": facts.entities,
        "links": len(tx.links(limit=_ALL)),
    }


def _batches(source: Iterable[bytes]) -> Iterator[list[list[Exported]]]:
    """Units, each to be merged as one: the beliefs about a fact together, all else by itself."""
    batch: list[list[Any]] = []
    size = 0
    for number, line in enumerate(source, 2):
        name, noun = _parsed(line, number)
        if name == "end":
            break
        if isinstance(noun, Fact) and batch and getattr(batch[-1][0], "id", None) == noun.id:
            batch[-1].append(noun)
            continue
        if size >= _BATCH:
            yield batch
            batch, size = [], 0
        batch.append([noun])
        size += 1 + (len(noun.text) // _BATCH_CHARS if isinstance(noun, Drawer) else 0)
    if batch:
        yield batch


Merged = Iterator[tuple[str, str, Outcome]]


def _merge(tx: Lookups, door: WriteTx | None, unit: list[Any]) -> Merged:
    """Merges one unit; yields what was merged (with aliases of their own), and what came of it.

    Args:
        door: None decides only, and writes nothing.
    """
    noun = unit[0]
    if isinstance(noun, Entity):
        yield from _merge_entity(tx, door, noun)
    elif isinstance(noun, Predicate):
        yield "predicate", noun.name, _merge_predicate(tx, door, noun)
    elif isinstance(noun, Drawer):
        yield "drawer", noun.id, _merge_drawer(tx, door, noun)
    elif isinstance(noun, FormerId):
        yield "former_id", noun.id, _merge_former_id(tx, door, noun)
    elif isinstance(noun, Link):
        yield "link", noun.id, _merge_link(tx, door, noun)
    else:
        outcome = _merge_fact(tx, door, unit)
        for _ in unit:
            yield "fact", noun.id, outcome


def _merge_predicate(tx: Lookups, door: WriteTx | None, new: Predicate) -> Outcome:
    known = tx.predicate(new.name)
    if known is not None:
        return "known" if known == new.cardinality else "differs"
    if door is not None:
        door.record(Kind.PREDICATE, new.name, Op.ADD, wing="", before=None)
        door.put_predicate(new.name, new.cardinality)
    return "added"


def _merge_entity(tx: Lookups, door: WriteTx | None, new: Entity) -> Merged:
    key, known = new.key, tx.entity(new.key)
    told = bool(new.type or new.properties)
    if known is not None and (not told or known.type or known.properties):
        key = known.key
        same = (known.type, known.properties) == (new.type, new.properties)
        yield "entity", key, "known" if same or not told else "differs"
    else:
        key = known.key if known else key
        if door is not None:
            if told:
                op = Op.UPDATE if known else Op.ADD
                door.record(Kind.ENTITY, key, op, wing="", before=known)
            door.put_entity(replace(new, key=key, name=known.name if known else new.name))
        yield "entity", key, "added"
    for alias in new.aliases:
        alias_key = texts.fold(alias)
        taken = tx.entity(alias_key)
        if taken is None and door is not None:
            door.record(Kind.ALIAS, alias_key, Op.ADD, wing="", before=None)
            door.put_alias(alias, alias_key, key)
        same = taken is not None and taken.key == key
        yield "alias", alias_key, "added" if taken is None else "known" if same else "differs"


def _merge_drawer(tx: Lookups, door: WriteTx | None, new: Drawer) -> Outcome:
    known = tx.drawer(new.id)
    if known is not None and (new.kind != "diary" or known.filed_at == new.filed_at):
        told = replace(new, **{name: getattr(known, name) for name in _OF_ITS_FILING})
        return "known" if known.id != new.id or known == told else "differs"
    twin = find_twin(tx, new)
    if new.kind == "diary":
        if _has_entry(tx, new):
            return "known"
    elif twin is not None:
        if door is not None:
            door.put_former_id(new.id, twin.id)
        return "known"
    if door is not None:
        new = replace(new, id=new.id if known is None else mint_id(tx, new))
        seq = door.record(Kind.DRAWER, new.id, Op.ADD, wing=new.wing, before=None)
        # Two entries of a diary may have had one number, each in its own palace.
        new = replace(new, seq=seq, position=seq if twin else new.position)
        door.put_drawer(new, chunks_of(new))
    return "added"


def _has_entry(tx: Lookups, new: Drawer) -> bool:
    """Whether this very entry of a diary is here, under whichever id."""
    same = DrawerFilter(
        kind="diary",
        wing=new.wing,
        room=new.room,
        digest=new.digest,
        filed_since=new.filed_at,
        filed_before=Instant(new.filed_at.micros + 1),
    )
    return bool(tx.drawers(same, limit=1, texts=False))


def _merge_former_id(tx: Lookups, door: WriteTx | None, new: FormerId) -> Outcome:
    if tx.drawer(new.id) is not None:
        return "known"
    if door is not None:
        if (drawer := tx.drawer(new.drawer)) is None:
            return "differs"
        door.put_former_id(new.id, drawer.id)
    return "added"


def _merge_link(tx: Lookups, door: WriteTx | None, new: Link) -> Outcome:
    ends = []
    for end in (new.source, new.target):
        drawer = tx.drawer(end.drawer) if end.drawer else None
        if door is not None and end.drawer and drawer is None:
            return "differs"
        ends.append(End(drawer=drawer.id) if drawer else end)
    new = replace(new, id=link_id(ends), source=ends[0], target=ends[1])
    if ends[0] == ends[1]:  # two drawers there, one here
        return "known"
    if known := tx.links(ref=new.id, limit=1):
        return "known" if known[0].label == new.label else "differs"
    if door is not None:
        door.record(Kind.LINK, new.id, Op.ADD, wing=wing_of(tx, new), before=None)
        door.put_link(new)
    return "added"


def _merge_fact(tx: Lookups, door: WriteTx | None, beliefs: list[Fact]) -> Outcome:
    new = [
        replace(
            belief,
            subject_key=entity_key(tx, belief.subject),
            object_key=entity_key(tx, belief.object),
        )
        for belief in beliefs
    ]
    if held := tx.facts(FactFilter(id=new[0].id, every_belief=True), limit=MOST):
        held.sort(key=lambda belief: belief.version)
        return "known" if list(map(_unnamed, held)) == list(map(_unnamed, new)) else "differs"
    last = new[-1]
    if last.ended_at is None and (twin := overlapping(tx, last)):
        same = (twin.valid_from, twin.valid_to) == (last.valid_from, last.valid_to)
        return "known" if same else "differs"
    if door is not None:
        for belief in new:
            names = ((belief.subject_key, belief.subject), (belief.object_key, belief.object))
            for key, name in names:
                if tx.entity(key) is None:
                    door.put_entity(Entity(key, name))
            door.put_fact(belief)
        door.record(Kind.FACT, last.id, Op.ADD, wing=last.wing, before=None)
    return "added"


def _unnamed(belief: Fact) -> Fact:
    return replace(belief, subject="", object="")
