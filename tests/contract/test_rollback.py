"""The rollback table: every verb that writes, in a block that then raises, leaves no trace.

A new verb gets a row here; `test_every_verb_that_writes_has_a_row` sees that it does.
"""

import inspect
from collections.abc import Callable

import pytest

from palatine.instants import Instant
from palatine.store.base import Lookups, Store, WriteTx
from palatine.types import End, Entity, Kind, Op, Reading, Source
from tests.contract import nouns
from tests.contract.nouns import NOBODY, a_drawer, a_fact, a_link, put_fact

Verb = Callable[[WriteTx], object]

DRAWER = a_drawer("d1", text="alpha\nbeta", source="talk.txt", position=1, said_at=Instant(9))
TABLE: dict[str, Verb] = {
    "record": lambda tx: tx.record(Kind.DRAWER, "d1", Op.UPDATE, wing="app", before=DRAWER),
    "record, nothing before": lambda tx: tx.record(Kind.FACT, "f", Op.ADD, wing="", before=None),
    "put_drawer, new": lambda tx: nouns.put_drawer(tx, a_drawer("new", text="gamma")),
    "put_drawer, again": lambda tx: nouns.put_drawer(tx, a_drawer("d1", text="delta")),
    "delete_drawer": lambda tx: tx.delete_drawer("d1"),
    "put_former_id": lambda tx: tx.put_former_id("elsewhere", "d2"),
    "put_former_id, again": lambda tx: tx.put_former_id("old", "d2"),
    "put_fact": lambda tx: put_fact(tx, a_fact("new", "zoe likes milk")),
    "end_fact": lambda tx: tx.end_fact("f1", 1),
    "erase_fact": lambda tx: tx.erase_fact("f1"),
    "put_entity, new": lambda tx: tx.put_entity(Entity("zoe", "Zoe")),
    "put_entity, again": lambda tx: tx.put_entity(Entity("max", "MAX", "person", {"n": 1})),
    "delete_entity": lambda tx: tx.delete_entity("lonely"),
    "put_alias": lambda tx: tx.put_alias("Maxl", "maxl", "max"),
    "put_alias, again": lambda tx: tx.put_alias("M", "maxi", "ann"),
    "delete_alias": lambda tx: tx.delete_alias("maxi"),
    "put_predicate": lambda tx: tx.put_predicate("new", "single"),
    "put_predicate, again": lambda tx: tx.put_predicate("likes", "single"),
    "put_predicate, none": lambda tx: tx.put_predicate("likes", None),
    "put_link": lambda tx: tx.put_link(a_link("new", End(drawer="d1"), End("app", "api"))),
    "put_link, again": lambda tx: tx.put_link(a_link("l1", End("a", "b"), End("c", "d"))),
    "delete_link": lambda tx: tx.delete_link("l1"),
    "put_root": lambda tx: tx.put_root("new", "/new"),
    "put_root, again": lambda tx: tx.put_root("app", "/moved"),
    "put_source": lambda tx: tx.put_source(Source("app", "new", 1, 2, b"d")),
    "put_source, again": lambda tx: tx.put_source(Source("app", "a.md", 1, 2, b"d")),
    "delete_source": lambda tx: tx.delete_source("app", "a.md"),
    "put_reading": lambda tx: tx.put_reading(Reading("d2", "rules", b"d", {"k": "f1"})),
    "put_reading, again": lambda tx: tx.put_reading(Reading("d1", "rules", b"new", {"l": "f1"})),
    "delete_reading": lambda tx: tx.delete_reading("d1", "rules"),
    "set_embedder": lambda tx: tx.set_embedder("another", nouns.DIMENSION),
    "put_vectors": lambda tx: tx.put_vectors(
        [(p.chunk, p.seq, nouns.a_vector(1)) for p in tx.pending(nouns.ANY, limit=1)]
    ),
    "relabel": lambda tx: tx.relabel("app", "shop"),
    "empty_trash": lambda tx: tx.empty_trash(tx.recorded_at),
    "forget_revisions": lambda tx: tx.forget_revisions(Kind.DRAWER, "d1"),
}


def everything(tx: WriteTx) -> None:
    for verb in TABLE.values():
        verb(tx)


def fill(store: Store) -> None:
    with store.write(NOBODY) as tx:
        tx.put_drawer(DRAWER, nouns.chunk_by_line(DRAWER))
        nouns.put_drawer(tx, a_drawer("d2", text="beta", source="talk.txt", position=2))
        tx.put_former_id("old", "d1")
        tx.set_embedder("model", nouns.DIMENSION)
        first = tx.pending(nouns.ANY, limit=1)[0]
        tx.put_vectors([(first.chunk, first.seq, nouns.a_vector(1, 1))])
        put_fact(tx, a_fact("f1", "max likes tea"))
        tx.put_entity(Entity("lonely", "Lonely"))
        tx.put_entity(Entity("ann", "Ann"))
        tx.put_alias("Maxi", "maxi", "max")
        tx.put_predicate("likes", "many")
        tx.put_root("app", "/elsewhere")
        tx.put_source(Source("app", "a.md", 10, 20, b"digest", at=3, position=1))
        tx.put_reading(Reading("d1", "rules", DRAWER.digest, {"k": "f1"}))
        tx.put_link(a_link("l1", End(drawer="d1"), End(drawer="d2")))
        tx.record(Kind.DRAWER, "d1", Op.ADD, wing="app", before=a_drawer("d1", text="was"))


def all_that_can_be_seen(store: Store) -> dict[str, object]:
    with store.read() as tx:
        former = {ref: tx.drawer(ref) for ref in ("old", "elsewhere")}
    return nouns.dump(store) | {"former": former}


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, GeneratorExit])
@pytest.mark.parametrize("verb", [*TABLE, "everything"])
def test_a_block_that_raises_leaves_no_trace(
    store: Store, verb: str, error: type[BaseException]
) -> None:
    fill(store)
    before = all_that_can_be_seen(store)
    act = everything if verb == "everything" else TABLE[verb]

    def do_and_raise(tx: WriteTx) -> None:
        act(tx)
        raise error

    nouns.refused(store, error, do_and_raise)
    assert all_that_can_be_seen(store) == before


@pytest.mark.parametrize("verb", TABLE)
def test_a_block_that_ends_leaves_its_trace(store: Store, verb: str) -> None:
    fill(store)
    before = all_that_can_be_seen(store)
    with store.write(NOBODY) as tx:
        TABLE[verb](tx)
    assert all_that_can_be_seen(store) != before


@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt, GeneratorExit])
def test_after_a_block_that_raised_the_next_one_writes(
    store: Store, error: type[BaseException]
) -> None:
    fill(store)

    def do_and_raise(tx: WriteTx) -> None:
        everything(tx)
        raise error

    nouns.refused(store, error, do_and_raise)
    with store.write(NOBODY) as tx:
        everything(tx)
    with store.read() as tx:
        assert tx.drawer("new") is not None


def test_a_read_that_raises_lets_the_next_one_read(store: Store) -> None:
    fill(store)
    with pytest.raises(ZeroDivisionError), store.read() as tx:
        tx.drawer(str(1 // 0))
    with store.read() as tx:
        assert tx.drawer("d1") == DRAWER


def test_every_verb_that_writes_has_a_row() -> None:
    verbs = {
        name
        for name, _ in inspect.getmembers(WriteTx, inspect.isfunction)
        if not name.startswith("_") and not hasattr(Lookups, name)
    }
    assert {name.partition(",")[0] for name in TABLE} == verbs
