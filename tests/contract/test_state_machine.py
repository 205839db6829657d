"""The rules of the domain over both stores at once: the same calls, answers and rows.

Both stores live on one clock and have one palace id, so that what they mint is the same, too.
"""

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from palatine import instants
from palatine.embed.hashing import HashingEmbedder
from palatine.embedding import Embedding
from palatine.errors import PalatineError
from palatine.instants import Instant
from palatine.palace import Palace
from palatine.store.base import Store
from palatine.store.sqlite import SqliteStore
from palatine.types import Author, End, Entity, Fact, NewDrawer, Place
from tests.contract import nouns
from tests.contract.model import ModelStore

WORDS = ("alpha", "beta", "gamma", "kappa")  # their stems are themselves
DAY = 86_400_000_000
BEGINNING = Instant(20_000 * DAY)

authors = st.sampled_from([Author(), Author("ann", "s1"), Author("bob", "s2")])
few_words = st.lists(st.sampled_from(WORDS), min_size=1, max_size=3).map(" ".join)
texts = few_words | few_words.map(lambda words: f"{words}. " * 80)
wings = st.sampled_from(["", "app", "home"])
rooms = st.sampled_from(["", "api"])
names = st.sampled_from(["Max", " MAX ", "Ann", "Tea", "Maxi"])
predicates = st.sampled_from(["likes", "lives in"])
times = st.sampled_from(
    [None, "2024", "2024-06", "2024-10-04", "2024-10-04T00:00:00+02:00", "2025", "2026-01"]
)
picks = st.integers(0, 30)
metadata = st.sampled_from([{}, {"n": 1}, {"deep": [None, {"x": "\u202e"}]}])
new_drawers = st.builds(
    NewDrawer,
    text=texts,
    wing=wings,
    room=rooms,
    kind=st.sampled_from(["note", "decision"]),
    source=st.sampled_from(["", "talk.txt"]),
    position=st.sampled_from([-1, 0, 1]),
    said_at=times,
    pinned=st.booleans(),
    metadata=metadata,
    former_id=st.sampled_from(["", "", "old1", "old2"]),
)
changes = st.one_of(
    st.fixed_dictionaries({"text": texts}),
    st.fixed_dictionaries({"wing": st.sampled_from(["app", "home"])}),
    st.fixed_dictionaries({"room": st.sampled_from(["api", "notes"]), "pinned": st.booleans()}),
    st.fixed_dictionaries({"kind": st.sampled_from(["note", "question"]), "said_at": times}),
    st.fixed_dictionaries({"source": st.sampled_from(["", "talk.txt"]), "metadata": metadata}),
)

Act = Callable[[Palace], Any]
Content = dict[str, object]


def hashing(*, bulk_threads: int) -> HashingEmbedder:
    return HashingEmbedder(dimension=nouns.DIMENSION)


class TwoPalaces(RuleBasedStateMachine):
    """One palace in SQLite and its model."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(instants, "now", lambda: self.now)
        self.now = BEGINNING
        self.folder = Path(tempfile.mkdtemp())
        self.real = SqliteStore(self.folder / "palace")
        with self.real.read() as tx:
            self.model = ModelStore(palace_id=tx.state().palace_id)
        self.stores: tuple[Store, Store] = (self.real, self.model)
        self.palaces = [Palace(store, author=Author()) for store in self.stores]
        self.drawers: list[str] = ["unknown"]
        self.facts: list[str] = ["unknown"]
        self.links: list[str] = ["unknown"]
        self.remembered: list[tuple[Instant, set[tuple[str, int]]]] = []
        self.forgotten: set[str] = set()
        self.dumped: dict[str, Any] = nouns.dump(self.model)
        self.before_last: Content = {}

    def teardown(self) -> None:
        try:
            assert self.real.check() == []
        finally:
            for palace in self.palaces:
                palace.close()
            self.patch.undo()
            shutil.rmtree(self.folder)

    # How both are driven

    def ask(self, act: Act) -> Any:
        """Asks both palaces; they must answer, or refuse, alike."""
        real, model = (_outcome(act, palace) for palace in self.palaces)
        assert real == model
        return real

    def do(self, act: Act) -> Any:
        """Changes both palaces alike; undoes and redoes every third change at once."""
        before = self.dumped
        outcome = self._change(act)
        seq = self.dumped["state"].seq
        if seq != before["state"].seq and seq % 3 == 0:
            self._undo_and_redo(seq, _content(before), _content(self.dumped))
        return outcome

    def _change(self, act: Act) -> Any:
        """Changes both palaces alike, and compares all that they hold then."""
        before = self.dumped
        outcome = self.ask(act)
        self.dumped, model = (nouns.dump(store) for store in self.stores)
        assert self.dumped == model
        if self.dumped["state"] != before["state"]:
            self.before_last = _content(before)
        return outcome

    def _undo_and_redo(self, seq: int, before: Content, after: Content) -> None:
        undone = self._change(lambda palace: palace.undo(seq))
        if _refused(undone):
            return
        assert _content(self.dumped) == before
        self._change(lambda palace: palace.undo(undone.seq))
        assert _content(self.dumped) == after

    def drawer(self, pick: int) -> str:
        """A drawer's id: mostly of one that is there, else of any that ever was, or of none."""
        return self._one(pick, [drawer.id for drawer in self.dumped["drawers"]], self.drawers)

    def fact(self, pick: int) -> str:
        return self._one(pick, [fact.id for fact in self.believed()], self.facts)

    def link(self, pick: int) -> str:
        return self._one(pick, [link.id for link in self.dumped["links"]], self.links)

    def names_of_a_fact(self, pick: int) -> tuple[str, str, str]:
        found = self.believed() or self.dumped["facts"]
        if not found:
            return "Max", "likes", "Tea"
        fact = found[pick % len(found)]
        return fact.subject, fact.predicate, fact.object

    def believed(self) -> list[Fact]:
        return [fact for fact in self.dumped["facts"] if fact.ended_at is None]

    def _one(self, pick: int, there: list[str], ever: list[str]) -> str:
        ids = there if there and pick % 7 != 3 else ever
        return ids[pick % len(ids)]

    # The clock

    @rule(step=st.sampled_from([1, 1_000_000, DAY, 100 * DAY, -5_000_000]))
    def time_passes_or_steps_back(self, step: int) -> None:
        self.now = Instant(self.now.micros + step)

    # Drawers

    @initialize(new=st.lists(new_drawers, min_size=1, max_size=3), author=authors)
    def begin(self, new: list[NewDrawer], author: Author) -> None:
        self.add_drawers(new, author)

    @rule(new=st.lists(new_drawers, min_size=1, max_size=3), author=authors)
    def add_drawers(self, new: list[NewDrawer], author: Author) -> None:
        added = self.do(lambda palace: palace.add_many(new, author=author))
        self.drawers += [each.drawer.id for each in added]

    @rule(agent=st.sampled_from(["ann", "bob"]), text=texts)
    def write_diary(self, agent: str, text: str) -> None:
        added = self.do(lambda palace: palace.diary_write(agent, text))
        assert added.created
        self.drawers.append(added.drawer.id)

    @rule(pick=picks, given=changes, author=authors)
    def update_drawer(self, pick: int, given: dict[str, Any], author: Author) -> None:
        self.do(lambda palace: palace.update(self.drawer(pick), **given, author=author))

    @rule(pick=picks, pinned=st.booleans())
    def pin(self, pick: int, pinned: bool) -> None:
        self.do(lambda palace: palace.pin(self.drawer(pick), pinned=pinned))

    @rule(pick=picks, author=authors)
    def delete_drawer(self, pick: int, author: Author) -> None:
        self.do(lambda palace: palace.delete(self.drawer(pick), author=author))

    @rule(where=st.sampled_from([{"wing": "home"}, {"wing": "app", "room": "api"}]))
    def delete_place(self, where: dict[str, str]) -> None:
        self.do(lambda palace: palace.delete(**where))

    @rule(one=picks, other=picks, author=authors)
    def link_drawers(self, one: int, other: int, author: Author) -> None:
        ends = self.drawer(one), self.drawer(other)
        self._link(lambda palace: palace.link(*ends, f"label {one % 2}", author=author))

    @rule(pick=picks, author=authors)
    def link_place(self, pick: int, author: Author) -> None:
        place = self.dumped["places"][pick % 2 :] or [Place("no", "where", 0)]
        ends = End(place[0].wing, place[0].room), self.drawer(pick)
        self._link(lambda palace: palace.link(*ends, author=author))

    def _link(self, act: Act) -> None:
        linked = self.do(act)
        if not _refused(linked):
            self.links.append(linked.link.id)

    @rule(pick=picks, author=authors)
    def unlink(self, pick: int, author: Author) -> None:
        self.do(lambda palace: palace.unlink(self.link(pick), author=author))

    # Facts

    @rule(subject=names, predicate=predicates, object_=names, start=times, end=times, wing=wings)
    def add_fact(self, **given: Any) -> None:
        self._add_fact(**given)

    @rule(subject=names, predicate=predicates, object_=names, author=authors, pick=picks)
    def add_open_fact(self, pick: int, **given: Any) -> None:
        drawer = self.drawer(pick) if pick % 3 == 0 else ""
        self._add_fact(**given, drawer=drawer)

    def _add_fact(
        self,
        subject: str,
        predicate: str,
        object_: str,
        start: str | None = None,
        end: str | None = None,
        **given: Any,
    ) -> None:
        added = self.do(
            lambda palace: palace.knowledge.add(
                subject, predicate, object_, valid_from=start, valid_to=end, **given
            )
        )
        if not _refused(added):
            self.facts.append(added.fact.id)

    @rule(pick=picks, ended=times, author=authors)
    def end_fact(self, pick: int, ended: str | None, author: Author) -> None:
        names = self.names_of_a_fact(pick)
        self.do(lambda palace: palace.knowledge.end(*names, ended=ended, author=author))

    @rule(pick=picks, new=names, at=times, author=authors)
    def supersede_fact(self, pick: int, new: str, at: str | None, author: Author) -> None:
        names = self.names_of_a_fact(pick)
        outcome = self.do(
            lambda palace: palace.knowledge.supersede(*names, new, at=at, author=author)
        )
        if not _refused(outcome):
            self.facts.append(outcome.fact.id)

    @rule(pick=picks, start=times, end=times, author=authors)
    def correct_fact(self, pick: int, start: str | None, end: str | None, author: Author) -> None:
        self.do(
            lambda palace: palace.knowledge.correct(
                self.fact(pick), valid_from=start, valid_to=end, author=author
            )
        )

    @rule(pick=picks, author=authors)
    def delete_fact(self, pick: int, author: Author) -> None:
        self.do(lambda palace: palace.knowledge.delete(self.fact(pick), author=author))

    @rule(name=names, type_=st.sampled_from(["", "person"]), age=st.sampled_from([None, 7]))
    def add_entity(self, name: str, type_: str, age: int | None) -> None:
        self.do(
            lambda palace: palace.knowledge.add_entity(name, type=type_, properties={"age": age})
        )

    @rule(name=names, alias=st.sampled_from(["Maxi", "M.", "Ann"]), author=authors)
    def add_alias(self, name: str, alias: str, author: Author) -> None:
        self.do(lambda palace: palace.knowledge.add_alias(name, alias, author=author))

    @rule(name=predicates, cardinality=st.sampled_from(["single", "many"]), author=authors)
    def set_predicate(self, name: str, cardinality: Any, author: Author) -> None:
        self.do(lambda palace: palace.knowledge.set_predicate(name, cardinality, author=author))

    # Meaning

    @rule()
    def embed(self) -> None:
        embedded = self.do(lambda palace: Embedding(palace._store, hashing).drain())
        assert (embedded.pending, embedded.alone) == (0, True)
        assert self.dumped["pending"] == []

    # Ways back

    @precondition(lambda self: self.before_last)
    @rule(author=authors)
    def undo_the_last_call(self, author: Author) -> None:
        expected = self.before_last
        last = self.dumped["state"].seq
        undone = self._change(lambda palace: palace.undo(last, author=author))
        assert _refused(undone) or _content(self.dumped) == expected

    @rule(back=st.integers(-1, 15), author=authors)
    def undo_a_call(self, back: int, author: Author) -> None:
        seq = self.dumped["state"].seq - back
        self.do(lambda palace: palace.undo(seq, author=author))

    @rule(session=st.sampled_from(["s1", "s2"]), author=authors)
    def undo_a_session(self, session: str, author: Author) -> None:
        self.do(lambda palace: palace.undo(session=session, author=author))

    @precondition(lambda self: self.remembered)
    @rule(pick=picks)
    def undo_since(self, pick: int) -> None:
        since = self.remembered[pick % len(self.remembered)][0]
        self.do(lambda palace: palace.undo(since=Instant(since.micros + 1)))

    @rule(pick=picks, author=authors)
    def forget_drawer(self, pick: int, author: Author) -> None:
        self.do(lambda palace: palace.forget(self.drawer(pick), author=author))

    @rule(pick=picks, author=authors)
    def forget_fact(self, pick: int, author: Author) -> None:
        fact = self.fact(pick)
        self.do(lambda palace: palace.forget(fact, author=author))
        self.forgotten.add(fact)

    # Questions

    @rule()
    def remember_what_is_believed(self) -> None:
        moment = Instant(self.dumped["state"].last_at)
        self.remembered.append((moment, self._believed(None)))

    @precondition(lambda self: self.remembered)
    @rule(pick=picks)
    def what_was_believed_then_is_still_known(self, pick: int) -> None:
        moment, then = self.remembered[pick % len(self.remembered)]
        expected = {belief for belief in then if belief[0] not in self.forgotten}
        assert self._believed(moment) == expected

    def _believed(self, known_at: Instant | None) -> set[tuple[str, int]]:
        facts = self.ask(lambda palace: palace.knowledge.find(known_at=known_at, state="all"))
        return {(fact.id, fact.version) for fact in facts}

    @rule(
        name=names,
        direction=st.sampled_from(["both", "outgoing", "incoming"]),
        state=st.sampled_from(["current", "past", "future", "all"]),
        as_of=times,
    )
    def ask_about(self, name: str, direction: Any, state: Any, as_of: str | None) -> None:
        def about(palace: Palace) -> list[Fact]:
            return palace.knowledge.about(name, direction=direction, state=state, as_of=as_of)

        self.ask(about)
        self.ask(lambda palace: palace.knowledge.timeline(name, limit=2))
        self.ask(lambda palace: palace.knowledge.neighbours(name, depth=2))
        self.ask(lambda palace: palace.knowledge.stats())

    @rule(words=few_words, wing=st.sampled_from([None, "app", "personal"]))
    def search(self, words: str, wing: str | None) -> None:
        def found(palace: Palace) -> tuple[set[str], int]:
            result = palace.search(words, wing=wing, limit=100)
            assert all(0 <= hit.confidence <= 1 for hit in result)
            return {hit.drawer.id for hit in result}, result.seq

        self.ask(found)
        self.ask(lambda palace: palace.list(wing=wing, limit=3))
        self.ask(lambda palace: palace.duplicates(words).exact)

    # The store as a whole

    @rule(repairs=st.booleans())
    def reconnect_or_repair(self, repairs: bool) -> None:
        before = self.dumped
        self.do(lambda palace: palace.repair() if repairs else palace.reconnect())
        assert self.dumped == before

    @invariant()
    def links_lead_to_drawers_that_are_there(self) -> None:
        with self.model.read() as tx:
            ends = [end for link in tx.links(limit=1000) for end in (link.source, link.target)]
            for end in ends:
                assert not end.drawer or tx.drawer(end.drawer) is not None


def _outcome(act: Act, palace: Palace) -> Any:
    try:
        return act(palace)
    except PalatineError as error:
        return type(error), str(error), vars(error)


def _refused(outcome: object) -> bool:
    return isinstance(outcome, tuple)


def _content(dumped: dict[str, Any]) -> Content:
    """What undo shall put back: all but the feed, its numbers and times, and bare names."""
    start = Instant(0)
    named = [e for e in dumped["entities"] if e != Entity(e.key, e.name)]
    believed = [fact for fact in dumped["facts"] if fact.ended_at is None]
    return {
        "drawers": [replace(each, seq=0, changed_at=start) for each in dumped["drawers"]],
        "facts": [replace(each, version=0, recorded_at=start) for each in believed],
        "entities": named,
        "links": dumped["links"],
        "predicates": dumped["predicates"],
        "spans": dumped["spans"],
    }


# The stress profile has many more examples, and longer ones.
_EXAMPLES = settings.default.max_examples if settings.default else 100
TwoPalaces.TestCase.settings = settings(
    max_examples=_EXAMPLES * 4 // 5, stateful_step_count=35 if _EXAMPLES <= 100 else 80
)
TestTwoPalaces = TwoPalaces.TestCase
