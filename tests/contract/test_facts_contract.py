"""What every store does with facts, entities, aliases and predicates."""

from typing import Any

import pytest

from palatine.errors import StoreError
from palatine.instants import Instant, parse_end, parse_start
from palatine.store.base import Store, WriteTx
from palatine.types import (
    DrawerFilter,
    Edge,
    Entity,
    Fact,
    FactCounts,
    FactFilter,
    Predicate,
    Reading,
)
from tests.contract.nouns import (
    NOBODY,
    a_drawer,
    a_fact,
    believed,
    drawer_ids,
    put,
    put_fact,
    put_facts,
    refused,
)

ALL = FactFilter(every_belief=True)


def stored(store: Store, where: FactFilter = ALL) -> list[Fact]:
    with store.read() as tx:
        return tx.facts(where, limit=1000)


# Beliefs


def test_a_fact_comes_back_as_it_was_put(store: Store) -> None:
    fact = a_fact(
        wing="wing \u00e9",
        subject="Max",
        object="T-e'a; --",
        valid_from=parse_start("2024-03"),
        valid_to=parse_end("2025"),
        confidence=0.25,
        source="/mail/1.txt",
        drawer="d1",
    )
    with store.write(NOBODY) as tx:
        put = put_fact(tx, fact)
        assert tx.facts(ALL, limit=10) == [put]
        assert put.recorded_at == tx.recorded_at
    assert stored(store) == [put]
    assert str(put.valid_from) == "2024-03"
    assert str(stored(store)[0].valid_to) == "2025"


@pytest.mark.parametrize(
    "time", ["2024", "2024-02", "2024-02-29", "2024-02-29T23:59:59.999999Z", "0001-01-01"]
)
def test_times_keep_their_precision(store: Store, time: str) -> None:
    (put,) = put_facts(store, a_fact(valid_from=parse_start(time), valid_to=parse_end("9000")))
    assert stored(store)[0].valid_from == put.valid_from == parse_start(time)
    (put,) = put_facts(store, a_fact("f2", valid_to=parse_end(time)))
    assert {fact.id: fact.valid_to for fact in stored(store)}["f2"] == parse_end(time)


def test_a_fact_shows_its_entities_by_their_present_names(store: Store) -> None:
    put_facts(store, a_fact(names="max likes tea"))
    with store.write(NOBODY) as tx:
        tx.put_entity(Entity("max", "Max Power"))
    assert str(stored(store)[0]) == "Max Power likes tea"


def test_a_belief_that_ended_is_known_for_the_time_it_was_held(store: Store) -> None:
    (first,) = put_facts(store, a_fact())
    with store.write(NOBODY) as tx:
        tx.end_fact("f1", 1)
        second = put_fact(tx, a_fact(version=2, confidence=0.5))
    with store.write(NOBODY) as tx:
        tx.end_fact("f1", 2)
        third = tx.recorded_at
    began, changed, ended = (t.micros for t in (first.recorded_at, second.recorded_at, third))

    assert believed(store, ALL) == ["f1.1", "f1.2"]
    assert believed(store, FactFilter()) == []
    for moment, expected in (
        (began - 1, []),
        (began, ["f1.1"]),
        (changed - 1, ["f1.1"]),
        (changed, ["f1.2"]),
        (ended - 1, ["f1.2"]),
        (ended, []),
    ):
        assert believed(store, FactFilter(known_at=moment)) == expected
        assert believed(store, FactFilter(known_at=moment, every_belief=True)) == ["f1.1", "f1.2"]
    assert [fact.ended_at for fact in stored(store)] == [second.recorded_at, third]


def test_a_believed_fact_has_no_end_of_belief(store: Store) -> None:
    put_facts(store, a_fact())
    assert stored(store)[0].ended_at is None
    assert believed(store, FactFilter()) == ["f1.1"]


def test_a_fact_from_elsewhere_keeps_the_times_at_which_it_was_believed(store: Store) -> None:
    past = a_fact("f1", recorded_at=Instant(10), ended_at=Instant(20), valid_to=parse_end("2024"))
    later = a_fact("f1", version=2, recorded_at=Instant(20))
    with store.write(NOBODY) as tx:
        for name in ("max", "tea"):
            tx.put_entity(Entity(name, name))
        tx.put_fact(past)
        tx.put_fact(later)
    assert sorted(stored(store), key=lambda fact: fact.version) == [past, later]
    assert stored(store, FactFilter(known_at=19)) == [past]
    assert stored(store, FactFilter(known_at=20)) == [later]
    assert stored(store, FactFilter(known_at=9)) == []


# One open fact


OPEN: dict[str, Any] = {"names": "max likes tea", "wing": "app"}


def test_a_second_open_fact_with_the_same_names_is_refused(store: Store) -> None:
    put_facts(store, a_fact("f1", **OPEN))

    def put_two(tx: WriteTx) -> None:
        put_fact(tx, a_fact("f2", "max likes milk"))
        put_fact(tx, a_fact("f3", **OPEN, valid_from=parse_start("2024")))

    refused(store, StoreError, put_two)


@pytest.mark.parametrize(
    "other",
    [
        {"wing": ""},
        {"names": "ann likes tea"},
        {"names": "max hates tea"},
        {"names": "max likes milk"},
        {"valid_to": parse_end("2024")},
    ],
)
def test_one_difference_makes_another_fact(store: Store, other: dict[str, Any]) -> None:
    put_facts(store, a_fact("f1", **OPEN), a_fact("f2", **OPEN | other))
    assert believed(store, FactFilter()) == ["f1.1", "f2.1"]


def test_an_open_fact_can_follow_one_that_is_not_believed_any_more(store: Store) -> None:
    put_facts(store, a_fact("f1", **OPEN))
    with store.write(NOBODY) as tx:
        tx.end_fact("f1", 1)
        put_fact(tx, a_fact("f2", **OPEN))
    assert believed(store, FactFilter()) == ["f2.1"]


def test_a_version_is_put_once(store: Store) -> None:
    put_facts(store, a_fact("f1"))
    refused(store, StoreError, lambda tx: tx.put_fact(a_fact("f1", valid_to=parse_end("2024"))))


def test_a_fact_needs_its_entities(store: Store) -> None:
    refused(store, StoreError, lambda tx: tx.put_fact(a_fact("f1")))


# Order and pages

DATED = [
    a_fact("f4", "a p b", valid_from=Instant(10)),
    a_fact("f1", "a p c", valid_from=Instant(10)),
    a_fact("f2", "a p d"),
    a_fact("f3", "a p e", valid_from=Instant(-5)),
    a_fact("f0", "a p f"),
    a_fact("f5", "a p g", valid_from=parse_start("1970")),
]
IN_ORDER = ["f3.1", "f5.1", "f1.1", "f4.1", "f0.1", "f2.1", "f2.2"]


def put_dated(store: Store) -> None:
    put_facts(store, *DATED)
    with store.write(NOBODY) as tx:
        tx.end_fact("f2", 1)
        put_fact(tx, a_fact("f2", "a p d", version=2))


def test_beliefs_come_by_start_of_validity_undated_last(store: Store) -> None:
    put_dated(store)
    assert believed(store, ALL) == IN_ORDER
    assert believed(store, ALL, limit=3) == IN_ORDER[:3]
    assert believed(store, FactFilter()) == [each for each in IN_ORDER if each != "f2.1"]


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_pages_of_beliefs_join_to_the_whole(store: Store, size: int) -> None:
    put_dated(store)
    seen: list[str] = []
    after = None
    for _ in range(len(IN_ORDER) + 1):
        with store.read() as tx:
            page = tx.facts(ALL, limit=size, after=after)
        if not page:
            break
        seen += [f"{fact.id}.{fact.version}" for fact in page]
        last = page[-1]
        start = None if last.valid_from is None else last.valid_from.micros
        after = (start, last.id, last.version)
    assert seen == IN_ORDER


@pytest.mark.parametrize("size", [1, 2, 3, 10])
def test_all_beliefs_come_in_pages_by_fact_and_version(store: Store, size: int) -> None:
    put_dated(store)
    seen: list[Fact] = []
    for _ in range(8):
        after = (seen[-1].id, seen[-1].version) if seen else ("", 0)
        with store.read() as tx:
            seen += tx.beliefs(after=after, limit=size)
    expected = sorted(stored(store), key=lambda fact: (fact.id, fact.version))
    assert seen == expected
    assert len(seen) == 7


# Filters

FILTERED = [
    a_fact("f1", "max likes tea", wing="app", valid_from=Instant(100), drawer="d1"),
    a_fact("f2", "max likes milk", valid_from=Instant(100), valid_to=Instant(200)),
    a_fact("f3", "tea is drink", valid_to=Instant(200)),
    a_fact("f4", "ann likes max", valid_from=Instant(200), drawer="d2"),
    a_fact("f5", "max knows max"),
]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (FactFilter(), "f1 f2 f3 f4 f5"),
        (FactFilter(id="f3"), "f3"),
        (FactFilter(id="f9"), ""),
        (FactFilter(wing="app"), "f1"),
        (FactFilter(wing=""), "f2 f3 f4 f5"),
        (FactFilter(subject="max"), "f1 f2 f5"),
        (FactFilter(subject="Max"), ""),
        (FactFilter(predicate="likes"), "f1 f2 f4"),
        (FactFilter(object="max"), "f4 f5"),
        (FactFilter(subject="max", predicate="likes", object="milk"), "f2"),
        (FactFilter(entities=("max",)), "f1 f2 f4 f5"),
        (FactFilter(entities=("max",), direction="outgoing"), "f1 f2 f5"),
        (FactFilter(entities=("max",), direction="incoming"), "f4 f5"),
        (FactFilter(entities=("tea", "ann", "nobody")), "f1 f3 f4"),
        (FactFilter(entities=("tea", "drink"), direction="outgoing"), "f3"),
        (FactFilter(entities=("tea", "drink"), direction="incoming"), "f1 f3"),
        (FactFilter(entities=()), ""),
        (FactFilter(entities=("max",), predicate="likes", wing=""), "f2 f4"),
        (FactFilter(source_drawer="d1"), "f1"),
        (FactFilter(source_drawer="d"), ""),
        (FactFilter(during=(100, 101)), "f1 f2 f3 f5"),
        (FactFilter(during=(99, 100)), "f3 f5"),
        (FactFilter(during=(199, 200)), "f1 f2 f3 f5"),
        (FactFilter(during=(200, 201)), "f1 f4 f5"),
        (FactFilter(during=(199, 201)), "f1 f2 f3 f4 f5"),
        (FactFilter(during=(0, 10_000), wing="app"), "f1"),
        (FactFilter(starts_after=100), "f1 f2 f4"),
        (FactFilter(starts_after=101), "f4"),
        (FactFilter(starts_after=201), ""),
        (FactFilter(ends_by=200), "f2 f3"),
        (FactFilter(ends_by=199), ""),
        (FactFilter(ends_by=200, starts_after=100), "f2"),
        (FactFilter(known_at=0), ""),
        (FactFilter(known_at=2**62), "f1 f2 f3 f4 f5"),
        (FactFilter(known_at=2**62, during=(200, 201), entities=("ann",)), "f4"),
    ],
)
def test_each_field_of_a_fact_filter_restricts(store: Store, where: FactFilter, found: str) -> None:
    put_facts(store, *FILTERED)
    assert sorted(fact.id for fact in stored(store, where)) == found.split()
    with store.read() as tx:
        edges = tx.edges(where)
    by_id = {fact.id: fact for fact in FILTERED}
    expected = [(i, by_id[i].subject_key, by_id[i].object_key) for i in found.split()]
    assert sorted((e.fact, e.subject_key, e.object_key) for e in edges) == expected
    assert all(isinstance(edge, Edge) for edge in edges)


# Counts


def test_facts_are_counted_by_what_they_are_at_a_moment(store: Store) -> None:
    put_facts(store, *FILTERED)
    with store.write(NOBODY) as tx:
        tx.put_entity(Entity("lonely", "Lonely"))
        tx.end_fact("f5", 1)
    with store.read() as tx:
        assert tx.fact_counts(wing=None, now=150) == FactCounts(
            entities=6, facts=4, current=3, past=0, future=1, predicates={"likes": 3, "is": 1}
        )
        assert tx.fact_counts(wing=None, now=199).past == 0
        at_end = tx.fact_counts(wing=None, now=200)
        assert (at_end.past, at_end.future, at_end.current) == (2, 0, 2)
        assert tx.fact_counts(wing=None, now=99).future == 3
        assert tx.fact_counts(wing="app", now=150) == FactCounts(2, 1, 1, 0, 0, {"likes": 1})
        assert tx.fact_counts(wing="nowhere", now=150) == FactCounts(0, 0, 0, 0, 0, {})


def test_predicates_are_counted_most_first_then_by_name(store: Store) -> None:
    names = ["a q b", "a p b", "a r b", "a r c"]
    put_facts(store, *(a_fact(f"f{n}", each) for n, each in enumerate(names)))
    with store.read() as tx:
        counts = tx.fact_counts(wing=None, now=0).predicates
    assert list(counts.items()) == [("r", 2), ("p", 1), ("q", 1)]


# Erasing


def test_erasing_a_fact_removes_its_beliefs_and_the_names_that_nothing_else_holds(
    store: Store,
) -> None:
    put_facts(store, a_fact("f1", "secret likes tea"), a_fact("f2", "ann likes tea"))
    with store.write(NOBODY) as tx:
        tx.end_fact("f1", 1)
        put_fact(tx, a_fact("f1", "secret likes tea", version=2))
    with store.write(NOBODY) as tx:
        tx.erase_fact("f1")
    assert believed(store, ALL) == ["f2.1"]
    with store.read() as tx:
        assert tx.entity("secret") is None
        assert tx.entity("tea") == Entity("tea", "tea")


@pytest.mark.parametrize(
    "held",
    [
        lambda tx: tx.put_entity(Entity("max", "Max", "person")),
        lambda tx: tx.put_entity(Entity("max", "Max", properties={"age": 1})),
        lambda tx: tx.put_alias("Maxi", "maxi", "max"),
        lambda tx: put_fact(tx, a_fact("f2", "ann knows max")),
    ],
)
def test_an_entity_that_something_holds_outlives_its_facts(store: Store, held: Any) -> None:
    put_facts(store, a_fact("f1", "max likes tea"))
    with store.write(NOBODY) as tx:
        held(tx)
    with store.write(NOBODY) as tx:
        tx.erase_fact("f1")
    with store.read() as tx:
        assert tx.entity("max") is not None
        assert tx.entity("tea") is None


# Entities and aliases


def test_an_entity_is_replaced_by_its_key_and_keeps_its_aliases(store: Store) -> None:
    with store.write(NOBODY) as tx:
        tx.put_entity(Entity("max", "Max"))
        tx.put_alias("Maxi", "maxi", "max")
        tx.put_entity(Entity("max", "MAX", "person", {"tags": ["x", None], "n": 1.5}))
    with store.read() as tx:
        expected = Entity("max", "MAX", "person", {"tags": ["x", None], "n": 1.5}, ("Maxi",))
        assert tx.entity("max") == expected


def test_an_entity_is_found_by_its_key_and_by_its_aliases(store: Store) -> None:
    with store.write(NOBODY) as tx:
        tx.put_entity(Entity("max", "Max"))
        tx.put_entity(Entity("ann", "Ann"))
        for alias in ("Z", "a", "M."):
            tx.put_alias(alias, alias.lower(), "max")
    with store.read() as tx:
        expected = Entity("max", "Max", aliases=("M.", "Z", "a"))
        for key in ("max", "z", "a", "m."):
            assert tx.entity(key) == expected
        assert tx.entity("Max") is None
        assert tx.entity("") is None
    with store.write(NOBODY) as tx:
        tx.put_alias("a", "a", "ann")
        tx.delete_alias("z")
        tx.delete_alias("never there")
    with store.read() as tx:
        assert tx.entity("max") == Entity("max", "Max", aliases=("M.",))
        assert tx.entity("a") == Entity("ann", "Ann", aliases=("a",))
        assert tx.entity("z") is None


def test_entities_are_found_by_parts_of_their_keys_the_shortest_first(store: Store) -> None:
    names = ["max", "max power", "climax", "ann", "ma%x", "\u00e9max", "zmax"]
    with store.write(NOBODY) as tx:
        for name in names:
            tx.put_entity(Entity(name, name.title()))
        tx.put_alias("Anna", "anna", "ann")

    def keys(*words: str, limit: int = 100) -> list[str]:
        with store.read() as tx:
            return [entity.key for entity in tx.entities(words=words, limit=limit)]

    assert keys("max") == ["max", "zmax", "\u00e9max", "climax", "max power"]
    assert keys("max", limit=2) == ["max", "zmax"]
    assert keys("power", "ann") == ["ann", "max power"]
    assert keys("%") == ["ma%x"]
    assert keys("_", "'") == []
    assert sorted(keys()) == sorted(names)
    with store.read() as tx:
        assert tx.entities(words=["ann"], limit=1) == [Entity("ann", "Ann", aliases=("Anna",))]


def test_an_entity_is_deleted(store: Store) -> None:
    with store.write(NOBODY) as tx:
        tx.put_entity(Entity("max", "Max"))
        tx.delete_entity("max")
        tx.delete_entity("never there")
        assert tx.entity("max") is None


def test_an_entity_that_a_fact_or_an_alias_names_cannot_be_deleted(store: Store) -> None:
    put_facts(store, a_fact("f1", "max likes tea"))
    with store.write(NOBODY) as tx:
        tx.end_fact("f1", 1)
        tx.put_entity(Entity("ann", "Ann"))
        tx.put_alias("Anna", "anna", "ann")
    for key in ("max", "tea", "ann"):
        refused(store, StoreError, lambda tx, key=key: tx.delete_entity(key))


def test_an_alias_needs_its_entity(store: Store) -> None:
    refused(store, StoreError, lambda tx: tx.put_alias("Maxi", "maxi", "max"))


# Predicates


def test_a_predicate_takes_as_many_as_was_said_last(store: Store) -> None:
    with store.write(NOBODY) as tx:
        assert tx.predicate("likes") is None
        tx.put_predicate("likes", "many")
        tx.put_predicate("lives_in", "many")
        tx.put_predicate("lives_in", "single")
        tx.put_predicate("gone", "single")
        tx.put_predicate("gone", None)
        tx.put_predicate("never there", None)
        assert tx.predicate("lives_in") == "single"
    with store.read() as tx:
        assert tx.predicate("likes") == "many"
        assert tx.predicate("gone") is None
        assert list(tx.predicates().items()) == [("likes", "many"), ("lives_in", "single")]
    assert Predicate("likes", "many") != Predicate("likes", "single")


# Readings


def test_a_reading_comes_back_by_its_drawer_by_a_fact_and_when_its_drawer_is_gone(
    store: Store,
) -> None:
    put(store, a_drawer("d1"), a_drawer("d2"))
    one = Reading("d1", "rules", b"one", {"k": "f1", "l": "f2"})
    two = Reading("d2", "model", b"two", {"k": "f1"})
    none = Reading("d2", "rules", b"two")
    with store.write(NOBODY) as tx:
        tx.put_reading(Reading("d1", "rules", b"old", {"m": "f3"}))
        for reading in (none, two, one):
            tx.put_reading(reading)
        assert tx.readings(drawer="d1", limit=9) == [one]
    with store.read() as tx:
        assert tx.readings(drawer="d2", limit=9) == [two, none]
        assert tx.readings(drawer="d2", limit=1) == [two]
        assert tx.readings(fact="f1", limit=9) == [one, two]
        assert tx.readings(fact="f3", limit=9) == tx.readings(drawer="x", limit=9) == []
        assert tx.readings(limit=9) == []
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d2")
        tx.delete_reading("d1", "rules")
        assert tx.readings(limit=9) == [two, none]
        assert tx.readings(drawer="d1", limit=9) == []
        assert tx.readings(fact="f2", limit=9) == []


def test_drawers_are_chosen_by_who_has_read_them_and_by_where_their_source_begins(
    store: Store,
) -> None:
    read, changed = a_drawer("d1", source="app/a.md"), a_drawer("d2", source="app/b.md")
    put(store, read, changed, a_drawer("d3", source="app2/a.md"), a_drawer("d4"))
    with store.write(NOBODY) as tx:
        tx.put_reading(Reading("d1", "rules", read.digest))
        tx.put_reading(Reading("d2", "rules", b"as it was"))
        tx.put_reading(Reading("d3", "model", b""))
    assert drawer_ids(store, DrawerFilter(below="app/")) == ["d2", "d1"]
    assert drawer_ids(store, DrawerFilter(below="")) == ["d3", "d2", "d1"]
    assert drawer_ids(store, DrawerFilter(read_by="rules")) == ["d2", "d1"]
    assert drawer_ids(store, DrawerFilter(unread_by="rules")) == ["d4", "d3", "d2"]
    assert drawer_ids(store, DrawerFilter(unread_by="rules", read_by="rules")) == ["d2"]
    assert drawer_ids(store, DrawerFilter(unread_by="rules", ids=("d1", "d4"))) == ["d4"]


# Contradictions


def test_several_objects_at_the_same_time_are_contradictory(store: Store) -> None:
    put_facts(
        store,
        a_fact("f1", "max is_at acme", valid_to=parse_end("2024")),
        a_fact("f2", "max is_at globex", valid_from=parse_start("2025")),
        a_fact("f3", "ann is_at acme", valid_from=parse_start("2020")),
        a_fact(
            "f4", "ann is_at globex", valid_from=parse_start("2021"), valid_to=parse_end("2022")
        ),
        a_fact("f5", "ann is_at initech", valid_from=parse_start("2023")),
        a_fact("f6", "bob is_at acme"),
        a_fact("f7", "bob is_at globex", wing="shop"),
        a_fact("f8", "bob likes tea"),
        a_fact("f9", "bob likes milk"),
        a_fact("fa", "eve is_at acme", wing="shop"),
        a_fact("fb", "eve is_at globex", wing="shop", valid_to=parse_end("1990")),
        a_fact("fc", "joe is_at acme"),
    )
    with store.write(NOBODY) as tx:
        put_fact(tx, a_fact("fd", "joe is_at globex"))
        tx.end_fact("fd", 1)
    with store.read() as tx:
        assert tx.contradictory(["is_at"], wing=None, now=0, limit=9) == [
            ("", "ann", "is_at"),
            ("shop", "eve", "is_at"),
        ]
        assert tx.contradictory(["is_at"], wing=None, now=0, limit=1) == [("", "ann", "is_at")]
        assert tx.contradictory(["is_at", "likes"], wing="", now=0, limit=9) == [
            ("", "ann", "is_at"),
            ("", "bob", "likes"),
        ]
        assert tx.contradictory([], wing=None, now=0, limit=9) == []
        later = parse_start("2022")
        assert later
        assert tx.contradictory(["is_at"], wing="shop", now=later.micros, limit=9) == []
        assert len(tx.contradictory(["is_at"], wing="", now=later.micros, limit=9)) == 1
