"""The nouns of a palace: frozen values that pass between the modules.

Every time in here is an `Instant` (UTC, in whole microseconds, with the precision it was given).
Every interval is half-open: `[start, end)`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Generic, Literal, TypeVar, overload

from palatine.instants import Instant, Time, now
from palatine.text import clean_label

KINDS = ("note", "decision", "question", "identity", "diary")
"""The kinds of a drawer; `diary` is set by diary entries only."""
MOST_NAME_CHARS = {"source": 4096}
"""Of other names than these at most 200 characters are kept."""

Direction = Literal["both", "outgoing", "incoming"]
State = Literal["current", "past", "future", "all"]
Cardinality = Literal["single", "many"]


class Kind(StrEnum):
    """What a change was about."""

    DRAWER = "drawer"
    FACT = "fact"
    ENTITY = "entity"
    ALIAS = "alias"
    PREDICATE = "predicate"
    LINK = "link"
    PALACE = "palace"


class Op(StrEnum):
    """What a change did to it."""

    ADD = "add"
    UPDATE = "update"
    DELETE = "delete"
    END = "end"
    RESTORE = "restore"
    FORGET = "forget"


def _clean(noun: object, *names: str) -> None:
    """Makes these fields of a new noun what names are kept as; refuses what cannot be one."""
    for name in names:
        given = getattr(noun, name)
        if given is not None:
            cleaned = clean_label(given, f"the {name}", max_chars=MOST_NAME_CHARS.get(name, 200))
            object.__setattr__(noun, name, cleaned)


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: stands in every change entry.

    Attributes:
        agent: a name such as `claude-code`; empty when not known.
        session: the agent's session; empty when not known.

    Raises:
        InputError: one of them cannot be a name.
    """

    agent: str = ""
    session: str = ""

    def __post_init__(self) -> None:
        """Keeps names as they are kept everywhere."""
        _clean(self, "agent", "session")


@dataclass(frozen=True, slots=True)
class Drawer:
    """One piece of verbatim text with its provenance.

    Attributes:
        id: opaque, minted once, the same for ever, also when the text changes.
        text: any Python text, lone surrogates included; comes back byte for byte.
        digest: SHA-256 of the text's UTF-8 bytes (surrogates passed), 32 bytes.
        source: the file or transcript it came from; empty when none.
        position: where in the source, counted from 0; -1 when not known; of a diary entry its seq.
        said_at: when it was said or written, as far as known.
        filed_at: when the palace first acknowledged it.
        changed_at: when it was last changed; equals `filed_at` when never.
        seq: the change that wrote this row.
    """

    id: str
    wing: str
    room: str
    kind: str
    pinned: bool
    text: str = field(repr=False)
    digest: bytes = field(repr=False)
    source: str
    position: int
    author: str
    session: str
    said_at: Instant | None
    filed_at: Instant
    changed_at: Instant
    metadata: Mapping[str, Any] = field(default_factory=dict)
    seq: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A span of a drawer that is indexed.

    Attributes:
        start: first code point of the drawer's text.
        end: one past the last.
        indexed: what the full-text index sees; made by `text.indexed_text`.
    """

    start: int
    end: int
    indexed: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Place:
    """A room of a wing and how many drawers it holds."""

    wing: str
    room: str
    drawers: int


@dataclass(frozen=True, slots=True)
class DrawerFilter:
    """Which drawers; a field left at None does not restrict. Time bounds are half-open.

    Attributes:
        below: only those whose source begins so.
        ids: only these; unknown ones are no error.
        digest: only those with exactly this text.
        unread_by: only those whose text this reader has not read.
        read_by: only those that this reader has read, whatever their text was then.
    """

    wing: str | None = None
    room: str | None = None
    kind: str | None = None
    source: str | None = None
    position: int | None = None
    author: str | None = None
    session: str | None = None
    pinned: bool | None = None
    said_since: Instant | None = None
    said_before: Instant | None = None
    filed_since: Instant | None = None
    filed_before: Instant | None = None
    ids: tuple[str, ...] | None = None
    digest: bytes | None = field(default=None, repr=False)
    below: str | None = None
    unread_by: str | None = None
    read_by: str | None = None

    def __post_init__(self) -> None:
        """Asks for names as they are kept."""
        _clean(self, "wing", "room", "kind", "source", "author", "session")


@dataclass(frozen=True, slots=True)
class Entity:
    """What facts are about.

    Attributes:
        key: the folded name; what two spellings of one name share.
        name: as first given.
        type: person, project, …; empty when not known.
        aliases: other names, as given, sorted.
    """

    key: str
    name: str
    type: str = ""
    properties: Mapping[str, Any] = field(default_factory=dict)
    aliases: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Fact:
    """One belief about a fact: subject, predicate, object and when it is true.

    Attributes:
        id: shared by all beliefs about this fact.
        version: counts the beliefs of one fact from 1.
        wing: empty when the fact belongs to no wing.
        subject: the entity's name; `subject_key` its key. The same for the object.
        predicate: folded: lower case, `_` for blanks and `-`.
        valid_from: start of validity; None when open.
        valid_to: end of validity, exclusive; None when open.
        confidence: 0 to 1.
        source: where it was read; empty when not known.
        drawer: the id of the drawer that says so; empty when none.
        recorded_at: since when the palace believes this.
        ended_at: until when it did; None for what is believed now.
    """

    id: str
    version: int
    wing: str
    subject_key: str
    subject: str
    predicate: str
    object_key: str
    object: str
    valid_from: Instant | None
    valid_to: Instant | None
    confidence: float
    source: str
    drawer: str
    recorded_at: Instant
    ended_at: Instant | None = None

    def true_during(self, start: int, end: int) -> bool:
        """Tells whether the fact holds at some moment of `[start, end)`, in microseconds."""
        return (self.valid_from is None or self.valid_from.micros < end) and (
            self.valid_to is None or self.valid_to.micros > start
        )

    @property
    def current(self) -> bool:
        """Whether it is believed and true now, even where the clock has stepped back since."""
        moment = max(now().micros, self.recorded_at.micros)
        return self.ended_at is None and self.true_during(moment, moment + 1)

    def __str__(self) -> str:
        return f"{self.subject} {self.predicate} {self.object}"


@dataclass(frozen=True, slots=True)
class FactFilter:
    """Which beliefs; a field left at None does not restrict. Names are keys.

    Attributes:
        entities: facts that have one of these keys as `direction` says.
        direction: `outgoing`: as subject; `incoming`: as object; `both`: as either.
        during: true at some moment of this half-open interval, in microseconds.
        starts_after: validity starts at or after this, in microseconds.
        ends_by: validity ends at or before this, in microseconds.
        known_at: believed at this moment, in microseconds; None: believed now.
        every_belief: also what is no longer believed; `known_at` is then ignored.
        source_drawer: facts that name this drawer as where they were read.
    """

    id: str | None = None
    wing: str | None = None
    subject: str | None = None
    predicate: str | None = None
    object: str | None = None
    entities: tuple[str, ...] | None = None
    direction: Direction = "both"
    during: tuple[int, int] | None = None
    starts_after: int | None = None
    ends_by: int | None = None
    known_at: int | None = None
    every_belief: bool = False
    source_drawer: str | None = None


@dataclass(frozen=True, slots=True)
class Edge:
    """A believed fact as a step of a path, with as little as a search of paths needs."""

    fact: str
    subject_key: str
    object_key: str


@dataclass(frozen=True, slots=True)
class FactCounts:
    """How many facts there are, at one moment, of those believed now.

    Attributes:
        entities: names that facts or somebody's `add_entity` brought in.
        facts: `current + past + future`.
        predicates: each with the number of its facts, most first.
    """

    entities: int
    facts: int
    current: int
    past: int
    future: int
    predicates: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class End:
    """One end of a link: a room, or a drawer (then `wing` and `room` are empty)."""

    wing: str = ""
    room: str = ""
    drawer: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A labelled connection between two rooms or drawers; it has no direction.

    Attributes:
        id: the same for both orders of its ends.
    """

    id: str
    source: End
    target: End
    label: str
    linked_at: Instant


@dataclass(frozen=True, slots=True)
class Source:
    """A mined file as it was when it was last read, so that the next reading knows what is new.

    Attributes:
        root: the name of the folder that was mined.
        path: below that folder, with slashes.
        size: in bytes.
        modified: the file's time in nanoseconds since 1970.
        digest: over all that was read of a file that is read whole; of a transcript over the
            bytes just before `at`.
        at: the byte where the next reading begins; 0 for a file that is read whole.
        position: the position that a drawer from there gets.
    """

    root: str
    path: str
    size: int
    modified: int
    digest: bytes
    at: int = 0
    position: int = 0

    @property
    def name(self) -> str:
        """What its drawers have for a source."""
        return f"{self.root}/{self.path}"


@dataclass(frozen=True, slots=True)
class Reading:
    """What a reader of facts found in a drawer, so that it is not read again.

    Attributes:
        drawer: its id; it may be gone meanwhile.
        reader: who read it: a set of rules, or a model.
        digest: of the text that was read.
        facts: the ids of the facts that it states, by a digest of each statement.
    """

    drawer: str
    reader: str
    digest: bytes = field(repr=False)
    facts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class FormerId:
    """An id from elsewhere, and the drawer to which it leads."""

    id: str
    drawer: str


@dataclass(frozen=True, slots=True)
class Predicate:
    """What is known of a predicate: whether it takes one object at a time, or many."""

    name: str
    cardinality: Cardinality


@dataclass(frozen=True, slots=True)
class Change:
    """One entry of the change feed. Holds no text.

    Attributes:
        seq: numbers the changes of a palace from 1, without gaps but for one before a restore.
        operation: the first seq of the call that made it; one call is undone as a whole.
        ref: the drawer's, fact's or link's id, the entity's or alias's key, the predicate's name;
            of the palace: what was restored (the id of the palace in the file), or `trash`.
    """

    seq: int
    operation: int
    kind: Kind
    ref: str
    op: Op
    wing: str
    at: Instant
    agent: str
    session: str


@dataclass(frozen=True, slots=True)
class ChangeFilter:
    """Which changes; None does not restrict. `kept`: whether what stood before it is kept."""

    operation: int | None = None
    kind: Kind | None = None
    ref: str | None = None
    wing: str | None = None
    agent: str | None = None
    session: str | None = None
    since: Instant | None = None
    kept: bool | None = None

    def __post_init__(self) -> None:
        """Asks for names as they are kept."""
        _clean(self, "wing", "agent", "session")


@dataclass(frozen=True, slots=True)
class Logged:
    """A change in words.

    Attributes:
        words: the text, the fact as it was believed then, the link's ends, or the name; of a
            text its last wording; empty when it is forgotten.
        subject: that drawer, link or fact itself; None for a name, and when it is forgotten.
    """

    change: Change
    words: str
    subject: object = None


@dataclass(frozen=True, slots=True)
class Match:
    """A chunk that full text or a search by meaning found.

    Attributes:
        chunk: the store's number for it, valid in this read transaction.
        drawer: the drawer's number, valid in this read transaction.
        score: BM25 or cosine, greater is better; BM25 is comparable within one answer only.
    """

    chunk: int
    drawer: int
    score: float


@dataclass(frozen=True, slots=True)
class Span:
    """Where a chunk stands.

    Attributes:
        drawer: the drawer's public id.
        start: first code point of the drawer's text.
        end: one past the last.
    """

    chunk: int
    drawer: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Pending:
    """A chunk that has no vector yet.

    Attributes:
        chunk, number: the chunk's and the drawer's numbers, as in `Match`.
        drawer: the drawer's public id.
        seq: the change that wrote the drawer; with another one the chunk is another.
    """

    chunk: int
    number: int
    drawer: str
    seq: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class PalaceState:
    """What a transaction sees of the palace as a whole.

    Attributes:
        palace_id: minted when the palace was created.
        schema: the version of its tables.
        seq: the last change; 0 in a new palace.
        last_at: when that change was recorded, in microseconds; 0 in a new palace.
    """

    palace_id: str
    schema: int
    seq: int
    last_at: int


AREAS = (
    "SQLite",
    "tables",
    "rows",
    "texts",
    "facts",
    "change feed",
    "full text",
    "vectors",
    "files",
    "lock file",
    "leftovers",
    "folder",
)
"""What is looked at, in the order in which it is told."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that `check()` found.

    Attributes:
        what: which check found it, a short name.
        detail: what it saw.
        repairable: whether it can be made right from rows that are well.
        area: one of AREAS.
    """

    what: str
    detail: str
    repairable: bool = False
    area: str = ""


@dataclass(frozen=True, slots=True)
class Examined:
    """What a doctor has looked at.

    Attributes:
        area: one of AREAS.
        remark: what is worth knowing of it, also when it is well.
        problems: what is wrong with it.
    """

    area: str
    remark: str
    problems: tuple[Problem, ...]


# What the palace answers


@dataclass(frozen=True, slots=True)
class NewDrawer:
    """A drawer to be added; what is left empty gets the palace's defaults.

    Attributes:
        former_id: an id from elsewhere that shall lead to the drawer.
    """

    text: str = field(repr=False)
    wing: str = ""
    room: str = ""
    kind: str = "note"
    source: str = ""
    position: int = -1
    author: str = ""
    session: str = ""
    said_at: Time | None = None
    pinned: bool = False
    metadata: Mapping[str, Any] = field(default_factory=dict)
    former_id: str = ""


@dataclass(frozen=True, slots=True)
class Added:
    """What came of adding a drawer.

    Attributes:
        created: False when the same text already lay in the same place: `drawer` is that one.
        seq: the change that `undo` takes; 0 when nothing was written.
        warnings: what the caller may want to know of the text, in words.
    """

    drawer: Drawer
    created: bool
    seq: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Updated:
    """What came of changing a drawer; `seq` is 0 when nothing differed."""

    drawer: Drawer
    changed: bool
    seq: int
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Removed:
    """What came of a delete, an undo or a forget.

    Attributes:
        refs: ids of what was removed or put back.
        seq: the change that `undo` takes; 0 when nothing was written.
    """

    refs: tuple[str, ...]
    seq: int


@dataclass(frozen=True, slots=True)
class Kept:
    """Something in the trash: what stood before a change, which `undo` puts back.

    Attributes:
        change: the one that replaced or deleted it.
        words: the text, the link's ends, or the name.
        size_bytes: of the text as UTF-8, else of the words.
    """

    change: Change
    words: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class BackedUp:
    """What came of a backup.

    Attributes:
        path: the new file.
        palace_id: whose it is.
        seq: the last change that is in it.
        size_bytes: of the file.
        removed: older backups that were one too many.
    """

    path: str
    palace_id: str
    seq: int
    size_bytes: int
    removed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a restore.

    Attributes:
        palace_id: the palace's new id.
        seq: the change that says so; greater than every seq before it.
        replaced: where a copy of what was replaced lies; empty when there was nothing.
    """

    palace_id: str
    seq: int
    replaced: str


@dataclass(frozen=True, slots=True)
class Linked:
    """What came of linking.

    Attributes:
        created: False when the two were linked already: `link` is that link.
        differs: what the existing link has otherwise, in words; empty when nothing.
    """

    link: Link
    created: bool
    differs: str
    seq: int


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """A part of a list; `cursor` asks for the next one and is empty on the last."""

    items: tuple[T, ...]
    cursor: str

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    def __len__(self) -> int:
        return len(self.items)


@dataclass(frozen=True, slots=True)
class Hit:
    """A drawer that a search found.

    Attributes:
        start, end: the span of the best chunk, in code points of the text.
        score: greater is better; relative to this answer.
        confidence: 0 to 1, absolute: the share of the question's rare words that stand here.
        text_rank: the best chunk's place in the full-text ranking, from 1; None: not in it.
        vector_rank: its place in the ranking by meaning; None: not in it.
        cosine: how near it is to the question in meaning, -1 to 1; None: not compared.
    """

    drawer: Drawer
    start: int
    end: int
    score: float
    confidence: float
    text_rank: int | None = None
    vector_rank: int | None = None
    cosine: float | None = None

    @property
    def text(self) -> str:
        """The whole drawer, verbatim."""
        return self.drawer.text

    @property
    def span(self) -> str:
        """The part that matched."""
        return self.drawer.text[self.start : self.end]

    @property
    def said_at(self) -> Instant | None:
        """When it was said, as far as known."""
        return self.drawer.said_at


@dataclass(frozen=True, slots=True)
class SearchResult(Sequence[Hit]):
    """Hits, the best first.

    Attributes:
        seq: the palace's last change that the search saw.
        dropped: words of the question that were left out: they stand nearly everywhere, or the
            question has more than a hundred rarer ones.
        rows_read: how many rows the search read, for those who measure.
        meaning: whether it looked by meaning, too, and not by words alone.
        pending: chunks that it could find by words alone, because they have no vector yet.
        remark: what a person should know about how it looked; mostly empty.
    """

    hits: tuple[Hit, ...]
    seq: int
    dropped: tuple[str, ...] = ()
    rows_read: int = 0
    meaning: bool = False
    pending: int = 0
    remark: str = ""

    @overload
    def __getitem__(self, index: int) -> Hit: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, index: int | slice) -> Hit | tuple[Hit, ...]:
        return self.hits[index]

    def __len__(self) -> int:
        return len(self.hits)


@dataclass(frozen=True, slots=True)
class FactAdded:
    """What came of adding a fact.

    Attributes:
        created: False when it is known already: `fact` is what is known.
        conflicts: facts that stand beside it and perhaps should not: another object of the same
            predicate at the same time. Nothing is ended by itself.
        differs: what the known fact has otherwise, in words; empty when nothing. Use `correct`.
        seq: the change that `undo` takes; 0 when nothing was written.
    """

    fact: Fact
    created: bool
    conflicts: tuple[Fact, ...]
    differs: str
    seq: int


@dataclass(frozen=True, slots=True)
class FactChanged:
    """What came of ending, correcting or deleting a fact; `fact` is the belief as it is now."""

    fact: Fact
    changed: bool
    seq: int


@dataclass(frozen=True, slots=True)
class Superseded:
    """What came of superseding: `fact` holds from now on, `ended` until then.

    Attributes:
        created: False when old and new are the same, or the new one was known already.
    """

    fact: Fact
    ended: Fact
    created: bool
    seq: int


@dataclass(frozen=True, slots=True)
class Near:
    """An entity that is reached from another in so many steps."""

    name: str
    steps: int


@dataclass(frozen=True, slots=True)
class Status:
    """What a palace holds and where it lives.

    Attributes:
        places: every room with its number of drawers.
        store: the store's own facts: sizes in bytes, versions, location.
        embedder: what made the palace's vectors; empty before the first.
        pending: chunks that have no vector yet.
        name: what the user calls the palace; mostly nothing.
        wing: the only wing that all of this is about; empty: the whole palace.
    """

    palace_id: str
    seq: int
    drawers: int
    places: tuple[Place, ...]
    facts: FactCounts
    store: Mapping[str, object]
    embedder: str = ""
    pending: int = 0
    name: str = ""
    wing: str = ""


@dataclass(frozen=True, slots=True)
class Embedded:
    """What came of embedding.

    Attributes:
        stored: how many chunks have got their vectors.
        pending: how many have none yet.
        alone: False when another process is at it: nothing was done here.
    """

    stored: int
    pending: int
    alone: bool


@dataclass(frozen=True, slots=True)
class Reconnected:
    """What `reconnect` found before and after; `before` is None when it could not be read."""

    before: PalaceState | None
    after: PalaceState
    problem: str


@dataclass(frozen=True, slots=True)
class Imported:
    """What came of an import; each mapping counts by kind.

    Attributes:
        palace_id: the palace from which the export is.
        before, after: what the palace held.
        added: what was new here, or, in a dry run, would be.
        known: what is here already.
        differing: what is here otherwise, and was left so; `kept` names the first of it.
        first_seq, last_seq: the changes that it made; 0 when none.
    """

    palace_id: str
    before: Mapping[str, int]
    after: Mapping[str, int]
    added: Mapping[str, int]
    known: Mapping[str, int]
    differing: Mapping[str, int]
    kept: tuple[str, ...]
    first_seq: int
    last_seq: int


@dataclass(frozen=True, slots=True)
class Written:
    """What came of writing a folder; `foreign` names files in it that were left as they are."""

    files: int
    foreign: tuple[str, ...]
