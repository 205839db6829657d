"""What every store keeps: transactions, the change feed, revisions, opening and closing."""

import threading
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

import pytest

from palatine import instants
from palatine.errors import StoreClosedError, StoreError
from palatine.instants import Instant
from palatine.store.base import Noun, Store, WriteTx
from palatine.types import (
    Author,
    ChangeFilter,
    DrawerFilter,
    End,
    Entity,
    Kind,
    Op,
    PalaceState,
    Predicate,
    Source,
)
from tests.contract import nouns
from tests.contract.nouns import NOBODY, a_drawer, a_fact, a_link, drawer_ids, put, record, refused

ANN = Author("ann", "morning")
BOB = Author("bob", "evening")


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The clock says what its one element says."""
    micros = [1_000_000]
    monkeypatch.setattr(instants, "now", lambda: Instant(micros[0]))
    return micros


# Transactions


def test_a_new_palace_holds_nothing(store: Store) -> None:
    empty = nouns.dump(store)
    state = empty.pop("state")
    assert isinstance(state, PalaceState)
    assert (state.seq, state.last_at) == (0, 0)
    assert state.palace_id
    counts = empty.pop("counts")
    assert counts == type(counts)(0, 0, 0, 0, 0, {})  # type: ignore[call-arg]
    assert not any(empty.values())


def test_a_block_that_ends_is_seen_by_the_next_read(store: Store) -> None:
    put(store, a_drawer("d1"))
    assert drawer_ids(store, DrawerFilter()) == ["d1"]


def test_a_write_sees_what_it_wrote_itself(store: Store) -> None:
    with store.write(NOBODY) as tx:
        nouns.put_drawer(tx, a_drawer("d1"))
        nouns.put_fact(tx, a_fact("f1"))
        seq = tx.record(Kind.DRAWER, "d1", Op.ADD, wing="app", before=None)
        assert nouns.ids(tx.drawers(DrawerFilter(), limit=10)) == ["d1"]
        assert tx.drawer("d1") == a_drawer("d1")
        assert tx.entity("max") is not None
        assert tx.state().seq == seq == 1
        assert [change.seq for change in tx.changes(ChangeFilter(), limit=10)] == [1]


def test_a_read_is_one_snapshot(store: Store) -> None:
    put(store, a_drawer("d1"))
    with store.read() as earlier:
        put(store, a_drawer("d2"))
        with store.read() as later:
            assert nouns.ids(later.drawers(DrawerFilter(), limit=10)) == ["d2", "d1"]
        assert nouns.ids(earlier.drawers(DrawerFilter(), limit=10)) == ["d1"]


def test_a_read_beside_a_write_sees_nothing_of_it_before_it_ends(store: Store) -> None:
    with store.write(NOBODY) as tx:
        nouns.put_drawer(tx, a_drawer("d1"))
        assert drawer_ids(store, DrawerFilter()) == []
    assert drawer_ids(store, DrawerFilter()) == ["d1"]


def test_a_write_inside_a_write_is_refused_and_the_outer_one_goes_on(store: Store) -> None:
    with store.write(NOBODY) as tx:
        nouns.put_drawer(tx, a_drawer("d1"))
        with pytest.raises(StoreError), store.write(NOBODY):
            pytest.fail("the inner block ran")
    assert drawer_ids(store, DrawerFilter()) == ["d1"]


def test_threads_write_one_after_the_other(store: Store) -> None:
    threads, writes = 4, 15
    start = threading.Barrier(threads)
    ledger: list[tuple[int, int]] = []

    def work(number: int) -> None:
        start.wait(5)
        for n in range(writes):
            with store.write(Author(f"thread {number}")) as tx:
                seen = tx.state().seq
                seq = tx.record(Kind.DRAWER, f"{number}.{n}", Op.ADD, wing="", before=None)
            ledger.append((seen, seq))

    workers = [threading.Thread(target=work, args=(n,), daemon=True) for n in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
        assert not worker.is_alive()
    assert sorted(ledger) == [(n, n + 1) for n in range(threads * writes)]
    assert sorted(change.ref for change in nouns.changes(store)) == sorted(
        f"{number}.{n}" for number in range(threads) for n in range(writes)
    )


# The time of a write


def test_everything_in_one_write_has_one_time(store: Store, clock: list[int]) -> None:
    with store.write(NOBODY) as tx:
        clock[0] += 500
        for ref in ("a", "b"):
            tx.record(Kind.DRAWER, ref, Op.ADD, wing="", before=None)
        assert tx.recorded_at == Instant(1_000_000)
    assert [change.at.micros for change in nouns.changes(store)] == [1_000_000, 1_000_000]


def test_recorded_times_grow_strictly_also_when_the_clock_stands_or_steps_back(
    store: Store, clock: list[int]
) -> None:
    for micros in (5_000_000, 5_000_000, 5_000_001, 12, 4_999_999, 9_000_000, 8_999_999):
        clock[0] = micros
        record(store, "x")
    times = [change.at.micros for change in nouns.changes(store)]
    assert all(earlier < later for earlier, later in pairwise(times))
    assert times[0] == 5_000_000
    assert times[5] == 9_000_000


def test_the_state_names_the_last_change_and_its_time(store: Store, clock: list[int]) -> None:
    clock[0] = 77_000_000
    record(store, "a", "b")
    with store.read() as tx:
        state = tx.state()
    assert (state.seq, state.last_at) == (2, 77_000_000)


# The change feed


def test_changes_are_numbered_from_one_without_gaps_across_rollbacks(store: Store) -> None:
    assert record(store, "a", "b") == [1, 2]

    def lose(tx: WriteTx) -> None:
        tx.record(Kind.DRAWER, "lost", Op.ADD, wing="", before=None)
        raise KeyError

    refused(store, KeyError, lose)
    assert record(store, "c") == [3]
    assert [change.seq for change in nouns.changes(store)] == [1, 2, 3]


def test_a_change_says_who_did_what_to_what(store: Store, clock: list[int]) -> None:
    with store.write(ANN) as tx:
        tx.record(Kind.LINK, "l1", Op.DELETE, wing="app", before=None)
    (change,) = nouns.changes(store)
    assert (change.seq, change.operation) == (1, 1)
    assert (change.kind, change.ref, change.op) == (Kind.LINK, "l1", Op.DELETE)
    assert (change.wing, change.at) == ("app", Instant(clock[0]))
    assert (change.agent, change.session) == ("ann", "morning")


def test_the_changes_of_one_write_are_one_operation_named_by_its_first(store: Store) -> None:
    record(store, "a")
    record(store, "b", "c", "d")
    record(store, "e")
    assert [change.operation for change in nouns.changes(store)] == [1, 2, 2, 2, 5]
    for operation, refs in ((1, ["a"]), (2, ["b", "c", "d"]), (5, ["e"]), (3, []), (9, [])):
        found = nouns.changes(store, ChangeFilter(operation=operation))
        assert [change.ref for change in found] == refs


def test_changes_come_in_order_after_a_seq_and_up_to_a_limit(store: Store) -> None:
    record(store, *"abcde")

    def seqs(**page: object) -> list[int]:
        return [change.seq for change in nouns.changes(store, **page)]

    assert seqs() == [1, 2, 3, 4, 5]
    assert seqs(after=3) == [4, 5]
    assert seqs(after=5) == seqs(after=99) == []
    assert seqs(limit=2) == [1, 2]
    assert seqs(after=1, limit=2) == [2, 3]
    assert seqs(newest_first=True) == [5, 4, 3, 2, 1]
    assert seqs(newest_first=True, limit=2) == [5, 4]
    assert seqs(newest_first=True, after=3) == [5, 4]


@pytest.mark.parametrize(
    ("where", "refs"),
    [
        (ChangeFilter(), ["d1", "max", "d1", "d2"]),
        (ChangeFilter(kind=Kind.DRAWER), ["d1", "d1", "d2"]),
        (ChangeFilter(kind=Kind.ENTITY), ["max"]),
        (ChangeFilter(kind=Kind.FACT), []),
        (ChangeFilter(ref="d1"), ["d1", "d1"]),
        (ChangeFilter(ref="max", kind=Kind.DRAWER), []),
        (ChangeFilter(wing="app"), ["d1", "d2"]),
        (ChangeFilter(wing=""), ["max"]),
        (ChangeFilter(agent="ann"), ["d1", "max"]),
        (ChangeFilter(session="evening"), ["d1", "d2"]),
        (ChangeFilter(agent="ann", session="evening"), []),
        (ChangeFilter(since=Instant(200)), ["d1", "d2"]),
        (ChangeFilter(since=Instant(201)), ["d2"]),
        (ChangeFilter(since=Instant(301)), []),
        (ChangeFilter(operation=1, kind=Kind.ENTITY, agent="ann"), ["max"]),
        (ChangeFilter(operation=1, session="evening"), []),
    ],
)
def test_each_field_of_a_change_filter_restricts(
    store: Store, clock: list[int], where: ChangeFilter, refs: list[str]
) -> None:
    clock[0] = 100
    with store.write(ANN) as tx:
        tx.record(Kind.DRAWER, "d1", Op.ADD, wing="app", before=None)
        tx.record(Kind.ENTITY, "max", Op.ADD, wing="", before=None)
    clock[0] = 200
    with store.write(BOB) as tx:
        tx.record(Kind.DRAWER, "d1", Op.UPDATE, wing="web", before=None)
    clock[0] = 300
    with store.write(BOB) as tx:
        tx.record(Kind.DRAWER, "d2", Op.ADD, wing="app", before=None)
    assert [change.ref for change in nouns.changes(store, where)] == refs
    assert [c.ref for c in nouns.changes(store, where, newest_first=True)] == refs[::-1]


# Revisions

BEFORE: dict[str, Noun] = {
    "drawer": a_drawer(
        text="\x00 was \ud800 here \U0001f600",
        said_at=Instant.from_code(86_400_000_000, 1),
        pinned=True,
        metadata={"deep": [1, None, {"x": "\u202e"}]},
        source="talk.txt",
        position=7,
        seq=3,
    ),
    "entity": Entity("max", "Max", "person", {"age": 7, "tags": ["a"]}, ("M.", "Maxi")),
    "link": a_link("l1", End(drawer="d1"), End("app", "api"), label="see also"),
    "predicate": Predicate("works_at", "single"),
}


@pytest.mark.parametrize("name", BEFORE)
def test_what_stood_before_a_change_is_kept_with_it(store: Store, name: str) -> None:
    with store.write(NOBODY) as tx:
        plain = tx.record(Kind.DRAWER, "x", Op.ADD, wing="", before=None)
        seq = tx.record(Kind.DRAWER, "x", Op.UPDATE, wing="", before=BEFORE[name])
        assert tx.before(seq) == BEFORE[name]
    with store.read() as tx:
        assert tx.before(seq) == BEFORE[name]
        assert tx.before(plain) is None
        assert tx.before(99) is None


def test_names_in_the_change_feed_are_told_once_each_and_replaced(store: Store) -> None:
    for agent, wing in (("ann", "shop"), ("ben", "app"), ("ann", "ann")):
        with store.write(Author(agent, "s1")) as tx:
            tx.record(Kind.DRAWER, "d1", Op.ADD, wing=wing, before=None)
    with store.write(NOBODY) as tx:
        assert sorted(tx.labels()) == ["ann", "app", "ben", "s1", "shop"]
        tx.relabel("ann", "eve")
        tx.relabel("nobody", "x")
        assert sorted(tx.labels()) == ["app", "ben", "eve", "s1", "shop"]
    with store.read() as tx:
        found = [(c.agent, c.wing, c.session) for c in tx.changes(ChangeFilter(), limit=9)]
    assert found == [("eve", "shop", "s1"), ("ben", "app", "s1"), ("eve", "eve", "s1")]


def test_emptying_the_trash_removes_what_was_replaced_before_a_time(store: Store) -> None:
    for ref in ("d1", "d2"):
        with store.write(NOBODY) as tx:
            tx.record(Kind.DRAWER, ref, Op.UPDATE, wing="", before=a_drawer(ref))
            tx.record(Kind.DRAWER, ref, Op.ADD, wing="", before=None)
    with store.read() as tx:
        kept = tx.changes(ChangeFilter(kept=True), limit=9, newest_first=True)
        assert [change.ref for change in kept] == ["d2", "d1"]
        assert len(tx.changes(ChangeFilter(kept=False), limit=9)) == 2
    with store.write(NOBODY) as tx:
        assert tx.empty_trash(kept[0].at) == 1
        assert tx.empty_trash(kept[0].at) == 0
    with store.read() as tx:
        assert [tx.before(seq) is not None for seq in (1, 3)] == [False, True]
        assert [change.seq for change in tx.changes(ChangeFilter(kept=True), limit=9)] == [3]


def test_forgetting_revisions_removes_those_of_one_object_only(store: Store) -> None:
    with store.write(NOBODY) as tx:
        for ref in ("d1", "d2", "d1"):
            tx.record(Kind.DRAWER, ref, Op.UPDATE, wing="", before=a_drawer(ref))
        tx.record(Kind.ENTITY, "d1", Op.UPDATE, wing="", before=Entity("d1", "D1"))
        tx.record(Kind.DRAWER, "d1", Op.ADD, wing="", before=None)
    with store.write(NOBODY) as tx:
        assert tx.forget_revisions(Kind.DRAWER, "d1") == 2
        assert tx.forget_revisions(Kind.DRAWER, "d1") == 0
        assert tx.forget_revisions(Kind.DRAWER, "nobody") == 0
    with store.read() as tx:
        assert [tx.before(seq) is not None for seq in range(1, 6)] == [
            False,
            True,
            False,
            True,
            False,
        ]
    assert len(nouns.changes(store)) == 5


# The store as a whole


def test_a_closed_store_refuses_and_may_be_closed_again(store: Store) -> None:
    store.close()
    store.close()
    with pytest.raises(StoreClosedError), store.read():
        pytest.fail("the block ran")
    with pytest.raises(StoreClosedError), store.write(NOBODY):
        pytest.fail("the block ran")


def test_a_store_that_was_shut_down_refuses(store: Store) -> None:
    put(store, a_drawer("d1"))
    store.shutdown()
    with pytest.raises(StoreClosedError), store.read():
        pytest.fail("the block ran")


def test_reopening_keeps_the_rows(store: Store) -> None:
    put(store, a_drawer("d1"))
    record(store, "d1")
    before = nouns.dump(store)
    store.reopen()
    assert nouns.dump(store) == before


def test_the_details_say_where_the_palace_lives(store: Store) -> None:
    assert store.details()["place"] == store.place


def test_a_sound_palace_has_no_problems(store: Store) -> None:
    put(store, a_drawer("d1"), a_drawer("d2"))
    record(store, "d1", "d2")
    nouns.put_facts(store, a_fact())
    assert store.check() == []


def test_rebuilding_cuts_the_texts_anew_and_changes_nothing_else(store: Store) -> None:
    put(store, a_drawer("d1", text="alpha\nbeta\ngamma"), a_drawer("d2", text="delta"))
    before = nouns.dump(store)
    assert store.rebuild(nouns.chunk_by_line) == 4
    after = nouns.dump(store)
    assert before.pop("spans") == [("d1", 0, 16), ("d2", 0, 5)]
    assert after.pop("spans") == [("d1", 0, 5), ("d1", 6, 10), ("d1", 11, 16), ("d2", 0, 5)]
    for derived in ("neighbours", "pending"):
        before.pop(derived)
        after.pop(derived)
    assert after == before


def test_what_was_removed_is_nowhere_after_scrubbing(store: Store) -> None:
    drawer = a_drawer("d1", text="the xylographic password")
    put(store, drawer, a_drawer("d2"))
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d1")
    assert store.scrub([b"the xylographic password", b"xylograph"]) == []
    assert drawer_ids(store, DrawerFilter()) == ["d2"]


def test_what_was_read_of_a_file_is_kept_replaced_and_forgotten(store: Store) -> None:
    first = Source("app", "src/é.py", 12, 1_700_000_000_000_000_001, b"\x00d", at=3, position=1)
    other = Source("app", "a", 1, 2, b"x")
    with store.write(ANN) as tx:
        tx.put_root("app", "/old")
        tx.put_root("app", "/elsewhere/app")
        tx.put_source(replace(first, size=1))
        tx.put_source(first)
        tx.put_source(other)
        tx.put_source(replace(other, root="else"))
        assert tx.source("app", "src/é.py") == first
    with store.read() as tx:
        assert tx.roots() == {"app": "/elsewhere/app"}
        assert tx.sources("app") == {"src/é.py": first, "a": other}
        assert tx.sources("nobody") == {}
        assert tx.source("nobody", "a") is None
    with store.write(ANN) as tx:
        tx.delete_source("app", "a")
        tx.delete_source("app", "never")
    with store.read() as tx:
        assert tx.sources("app") == {"src/é.py": first}
