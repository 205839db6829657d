"""Facts from texts: what a reader finds in drawers is filed, and follows them while they change.

What was read of which drawer is remembered, by the digest of its text, with the fact that each
statement stands for. So nothing is read twice, and what a person did with a fact is not undone
by reading its text again. A fact that its drawer does not state any more stands on another drawer
that does, else it is not believed any longer; it stays on record.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Protocol

from palatine import beliefs
from palatine import text as texts
from palatine.errors import InputError, PalatineError
from palatine.ingest import statements
from palatine.ingest.files import Problem
from palatine.ingest.statements import Statement
from palatine.instants import parse_end, parse_start
from palatine.store.base import Lookups, Store, WriteTx
from palatine.types import Author, Drawer, DrawerFilter, Fact, FactFilter, Kind, Op, Reading

NOTES = frozenset(("", ".md", ".markdown", ".mdx", ".txt", ".text", ".rst", ".org", ".adoc"))
"""How the sources of notes end."""
_PAGE = 200
_MOST = 10_000
_MOST_FAILURES = 3


class Reader(Protocol):
    """Finds statements in texts.

    Attributes:
        name: which reader it is; what another one has read counts for that one alone.
        batch: of how many drawers what it found is filed together.
    """

    name: str
    batch: int

    def read(self, drawer: Drawer) -> tuple[Iterable[Statement], Counter[str]]:
        """The statements of a drawer, and counts of what was `refused` and `masked`.

        Raises:
            PalatineError: it could not be read.
        """


class Rules:
    """Reads what is plainly stated; see `statements`."""

    name = "rules"
    batch = _PAGE

    def read(self, drawer: Drawer) -> tuple[Iterable[Statement], Counter[str]]:
        """The statements of a note."""
        return statements.find(drawer), Counter()


@dataclass(slots=True)
class Extracted:
    """What came of reading drawers for facts.

    Attributes:
        read: drawers that are new or changed.
        added, known: facts that they state and were not, or were, believed.
        withdrawn: facts that no drawer states any more; not believed any longer.
        refused: statements that can be no facts.
        masked: secrets that were not shown to the reader.
        problems: drawers that could not be read, and why.
    """

    read: int = 0
    added: int = 0
    known: int = 0
    withdrawn: int = 0
    refused: int = 0
    masked: int = 0
    problems: list[Problem] = field(default_factory=list)


Progress = Callable[[Extracted], None]
"""Called after each batch, with what came of it so far."""
_Read = tuple[Drawer, list[Fact]]


def extract(
    store: Store,
    reader: Reader,
    where: DrawerFilter,
    *,
    author: Author,
    conversations: bool = False,
    progress: Progress | None = None,
) -> Extracted:
    """Reads the notes that the reader has not read as they are now, and files what they state.

    Args:
        store: of the drawers and the facts.
        reader: what finds statements.
        where: which drawers.
        author: who files the facts.
        conversations: also texts of conversations.
        progress: called after each batch.

    Raises:
        PalatineError: the reader failed three times without a success between; what was read
            before is filed, and the next run goes on.
    """
    done = Extracted()
    where, before, failures = replace(where, unread_by=reader.name), None, 0
    while True:
        with store.read() as tx:
            page = tx.drawers(where, limit=_PAGE, before=before, texts=False)
            chosen = tuple(d.id for d in page if _is_note(d, conversations=conversations))
        if not page:
            break
        before = (page[-1].filed_at.micros, page[-1].id)
        for first in range(0, len(chosen), reader.batch):
            ids = chosen[first : first + reader.batch]
            with store.read() as tx:
                drawers = tx.drawers(replace(where, ids=ids), limit=len(ids))
            batch: list[_Read] = []
            for drawer in drawers:
                try:
                    batch.append((drawer, _facts(reader, drawer, done)))
                    failures = 0
                except PalatineError as error:
                    failures += 1
                    if failures == _MOST_FAILURES:
                        raise
                    done.problems.append(Problem(drawer.source or drawer.id, str(error)))
            _file(store, reader.name, batch, done, author)
            if progress:
                progress(done)
    _withdraw_gone(store, done, author)
    return done


def _is_note(drawer: Drawer, *, conversations: bool) -> bool:
    if "format" in drawer.metadata:
        return conversations
    return PurePosixPath(drawer.source).suffix.lower() in NOTES


def _facts(reader: Reader, drawer: Drawer, done: Extracted) -> list[Fact]:
    """What a drawer states, as facts of its wing that are not filed yet."""
    found, counts = reader.read(drawer)
    facts = []
    for stated in found:
        try:
            facts.append(_fact(stated, drawer))
        except InputError:
            counts["refused"] += 1
    done.refused += counts["refused"]
    done.masked += counts["masked"]
    return facts


def _fact(stated: Statement, drawer: Drawer) -> Fact:
    names = beliefs.names_of(stated.subject, stated.predicate, stated.object)
    start = parse_start(stated.valid_from or None, what="valid_from")
    end = parse_end(stated.valid_to or None, what="valid_to")
    return beliefs.wanted_fact(
        names,
        wing=drawer.wing,
        valid_from=start,
        valid_to=end,
        confidence=stated.confidence,
        source=f"{drawer.source or drawer.id}:{stated.line}",
        drawer=drawer.id,
    )


def _file(
    store: Store, reader: str, batch: Sequence[_Read], done: Extracted, author: Author
) -> None:
    if not batch:
        return
    counts: Counter[str] = Counter()
    with store.write(author) as tx:
        for drawer, facts in batch:
            now = tx.drawers(DrawerFilter(ids=(drawer.id,)), limit=1, texts=False)
            if now and now[0].digest == drawer.digest:  # else the next run reads it
                counts += _file_one(tx, reader, drawer, facts)
    done.read += len(batch)
    done.added += counts["added"]
    done.known += counts["known"]
    done.withdrawn += counts["withdrawn"]


def _file_one(tx: WriteTx, reader: str, drawer: Drawer, facts: Sequence[Fact]) -> Counter[str]:
    readings = tx.readings(drawer=drawer.id, limit=_MOST)
    old = next((r for r in readings if r.reader == reader), None)
    standing = dict(old.facts) if old else {}
    counts: Counter[str] = Counter()
    stated: dict[str, str] = {}
    for fact in facts:
        keys = (beliefs.entity_key(tx, fact.subject), beliefs.entity_key(tx, fact.object))
        wanted = replace(fact, subject_key=keys[0], object_key=keys[1])
        key = _key(wanted)
        if key in stated:
            continue
        # What has ended is not begun again because an old text says it: it is known.
        known = standing.get(key) or getattr(beliefs.overlapping(tx, wanted), "id", "")
        stated[key] = known or beliefs.add(tx, wanted, report=False).fact.id
        counts["known" if known else "added"] += 1
    tx.put_reading(Reading(drawer.id, reader, drawer.digest, stated))
    for key in standing.keys() - stated.keys():
        counts["withdrawn"] += _withdraw(tx, standing[key], key, drawer.id)
    return counts


def _key(fact: Fact) -> str:
    """What makes a statement the same one; not how sure it is, nor where it stands."""
    names = (fact.subject_key, fact.predicate, fact.object_key)
    said = (*names, str(fact.valid_from), str(fact.valid_to))
    return texts.digest("\0".join(said).encode()).hex()[:32]


def _withdraw(tx: WriteTx, fact_id: str, key: str, drawer: str) -> int:
    """Takes a drawer's word from a fact; one on which it stands, and that nobody has changed."""
    fact = next(iter(tx.facts(FactFilter(id=fact_id), limit=1)), None)
    if fact is None or fact.drawer != drawer or _key(fact) != key:
        return 0
    others = [tx.drawer(reading.drawer) for reading in tx.readings(fact=fact_id, limit=_MOST)]
    other = next(filter(None, others), None)
    if other is None:
        tx.end_fact(fact.id, fact.version)
    elif other.id != drawer:
        beliefs.succeed(tx, fact, drawer=other.id, source=other.source or other.id)
    else:  # another reader has found it there
        return 0
    tx.record(Kind.FACT, fact.id, Op.UPDATE if other else Op.DELETE, wing=fact.wing, before=None)
    return other is None


def _withdraw_gone(store: Store, done: Extracted, author: Author) -> None:
    while True:
        with store.read() as tx:
            gone = _gone(tx)
        if not gone:
            return
        with store.write(author) as write:
            for reading in _gone(write):
                write.delete_reading(reading.drawer, reading.reader)
                for key, fact_id in reading.facts.items():
                    done.withdrawn += _withdraw(write, fact_id, key, reading.drawer)


def _gone(tx: Lookups) -> list[Reading]:
    return tx.readings(limit=_PAGE)
