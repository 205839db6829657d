"""What every store keeps of vectors, and what it finds with them."""

import numpy as np
import pytest

from palatine.errors import StoreBusyError, StoreError
from palatine.store.base import ReadTx, Store
from palatine.types import Chunk, Drawer, DrawerFilter
from tests.contract import nouns
from tests.contract.nouns import ANY, DIMENSION, NOBODY, a_drawer, a_vector, put, put_vectors


@pytest.fixture(autouse=True)
def _changes(store: Store) -> None:
    """Nine changes, so that drawers may bear their seqs."""
    nouns.record(store, *(f"change {n}" for n in range(9)))


def near(tx: ReadTx, *places: float, where: DrawerFilter = ANY, limit: int = 10) -> list[str]:
    """The drawers of the nearest chunks, the best first."""
    found = tx.nearest(a_vector(*places), where, limit=limit)
    names = {span.chunk: span.drawer for span in tx.spans([match.chunk for match in found])}
    return [names[match.chunk] for match in found]


def waiting(store: Store, where: DrawerFilter = ANY) -> list[str]:
    with store.read() as tx:
        return [chunk.drawer for chunk in tx.pending(where, limit=1000)]


def test_a_new_palace_has_no_embedder_and_nothing_is_near(store: Store) -> None:
    put(store, a_drawer("d1"))
    with store.read() as tx:
        assert tx.embedder() is None
        assert tx.nearest(a_vector(1), ANY, limit=10) == []
        assert tx.cosines(a_vector(1), [1]) == {}


def test_a_chunk_waits_for_its_vector_from_the_moment_that_it_is_put(store: Store) -> None:
    with store.write(NOBODY) as tx:
        drawer = a_drawer("d1", text="one\ntwo", seq=7)
        tx.put_drawer(drawer, nouns.chunk_by_line(drawer))
    put(store, a_drawer("d2", wing="other", seq=8))
    with store.read() as tx:
        found = tx.pending(ANY, limit=10)
        assert [(p.drawer, p.seq, p.start, p.end) for p in found] == [
            ("d1", 7, 0, 3),
            ("d1", 7, 4, 7),
            ("d2", 8, 0, 10),
        ]
        assert found[0].number == found[1].number != found[2].number
        assert tx.pending(ANY, limit=2) == found[:2]
        assert tx.pending(DrawerFilter(wing="other"), limit=10) == found[2:]
        assert tx.count_pending() == 3


def test_vectors_of_pending_chunks_are_stored_and_found_by_cosine(store: Store) -> None:
    put(store, *(a_drawer(f"d{n}") for n in range(4)))
    assert put_vectors(store, a_vector(1), a_vector(1, 1), a_vector(0, 1)) == 3
    assert waiting(store) == ["d3"]
    with store.read() as tx:
        assert tx.embedder() == ("model", DIMENSION)
        found = tx.nearest(a_vector(3, 1), ANY, limit=10)
        assert near(tx, 3, 1) == ["d0", "d1", "d2"]
        assert near(tx, 3, 1, limit=1) == ["d0"]
        assert [match.score for match in found] == pytest.approx(
            [3 / 10**0.5, 4 / 20**0.5, 1 / 10**0.5], abs=1e-3
        )
        exact = tx.cosines(a_vector(3, 1), [match.chunk for match in found] + [99_999])
        assert exact == {match.chunk: match.score for match in found}
        assert tx.cosines(a_vector(-1), [found[0].chunk]) == pytest.approx(
            {found[0].chunk: -1}, abs=1e-3
        )


def test_embedding_leaves_no_trace_in_the_change_feed(store: Store) -> None:
    put(store, a_drawer("d1"))
    before = nouns.changes(store)
    put_vectors(store, a_vector(1))
    assert nouns.changes(store) == before


def test_a_filter_that_leaves_three_of_many_finds_all_three(store: Store) -> None:
    put(store, *(a_drawer(f"big{n}", wing="big") for n in range(2500)))
    put(store, *(a_drawer(f"small{n}", wing="small") for n in range(3)))
    generator = np.random.default_rng(5)
    # The crowd has the very sign code of what is looked for, the three have another one.
    crowd = [a_vector(1, *-abs(generator.normal(0, 0.02, DIMENSION - 1))) for _ in range(2500)]
    others = [a_vector(first, *[0.1] * (DIMENSION - 1)) for first in (-2, -1, 0)]
    put_vectors(store, *crowd, *others)
    with store.read() as tx:
        small = DrawerFilter(wing="small")
        assert near(tx, 1, where=small) == ["small2", "small1", "small0"]
        assert near(tx, 1, where=DrawerFilter(wing="none")) == []
        assert len(tx.nearest(a_vector(1), DrawerFilter(wing="big"), limit=300)) == 300


def test_a_vector_goes_with_its_chunk(store: Store) -> None:
    put(store, *(a_drawer(f"d{n}") for n in range(3)))
    put_vectors(store, a_vector(1), a_vector(1, 1), a_vector(0, 1))
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d2")
        nouns.put_drawer(tx, a_drawer("d0", text="new", seq=9))
    assert waiting(store) == ["d0"]
    with store.read() as tx:
        assert near(tx, 1) == ["d1"]
    put_vectors(store, a_vector(0, 0, 1))
    with store.read() as tx:
        assert near(tx, 0, 0, 1) == ["d0", "d1"]


def test_a_chunks_number_that_is_used_again_brings_no_old_vector(store: Store) -> None:
    put(store, a_drawer("d1", seq=1))
    put_vectors(store, a_vector(1))
    with store.read() as tx:
        assert near(tx, 1) == ["d1"]  # it is in the index now
        old = tx.nearest(a_vector(1), ANY, limit=1)[0].chunk
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d1")
        nouns.put_drawer(tx, a_drawer("d2", seq=2))
        (new,) = tx.pending(ANY, limit=10)
        assert new.chunk == old
        assert tx.put_vectors([(new.chunk, 1, a_vector(1))]) == 0  # made from what d1 held
    with store.read() as tx:
        assert near(tx, 1) == []
    put_vectors(store, a_vector(0, 1))
    with store.read() as tx:
        assert near(tx, 0, 1) == ["d2"]
        assert tx.cosines(a_vector(0, 1), [old]) == pytest.approx({old: 1}, abs=1e-3)


def test_a_vector_that_comes_twice_or_too_late_is_left_out(store: Store) -> None:
    put(store, a_drawer("d1", seq=1))
    put_vectors(store, a_vector(1))
    with store.read() as tx:
        chunk = tx.nearest(a_vector(1), ANY, limit=1)[0].chunk
    with store.write(NOBODY) as tx:
        assert tx.put_vectors([(chunk, 1, a_vector(0, 1)), (99_999, 1, a_vector(1))]) == 0
    with store.read() as tx:
        assert tx.cosines(a_vector(1), [chunk]) == pytest.approx({chunk: 1}, abs=1e-3)


def test_another_embedder_begins_anew(store: Store) -> None:
    put(store, a_drawer("d1"), a_drawer("d2"))
    put_vectors(store, a_vector(1), a_vector(0, 1))
    with store.read() as tx:
        assert near(tx, 1) == ["d1", "d2"]
    with store.write(NOBODY) as tx:
        tx.set_embedder("another", DIMENSION)
    assert waiting(store) == ["d1", "d2"]
    with store.read() as tx:
        assert tx.embedder() == ("another", DIMENSION)
        assert near(tx, 1) == []
    put_vectors(store, a_vector(0, 1), a_vector(1))
    with store.read() as tx:
        assert near(tx, 1) == ["d2", "d1"]


def test_vectors_without_an_embedder_or_of_another_dimension_are_refused(store: Store) -> None:
    put(store, a_drawer("d1", seq=1))
    nouns.refused(store, StoreError, lambda tx: tx.put_vectors([(1, 1, a_vector(1))]))
    with store.write(NOBODY) as tx:
        tx.set_embedder("model", DIMENSION)
    short = np.ones(3, np.float32)
    nouns.refused(store, StoreError, lambda tx: tx.put_vectors([(1, 1, short)]))


def test_a_rebuild_keeps_the_vectors_of_what_stays_as_it_is(store: Store) -> None:
    drawers = [a_drawer(f"d{n}", text=f"alpha {n}\nbeta") for n in range(3)]
    put(store, *drawers)
    put_vectors(store, a_vector(1), a_vector(0, 1), a_vector(1, 1))

    def chunks_of(drawer: Drawer) -> list[Chunk]:
        return (nouns.chunk_by_line if drawer.id == "d1" else nouns.one_chunk)(drawer)

    assert store.rebuild(chunks_of) == 4
    assert waiting(store) == ["d1", "d1"]
    with store.read() as tx:
        assert near(tx, 1) == ["d0", "d2"]


def test_one_at_a_time_may_embed_and_nobody_waits(store: Store) -> None:
    with store.embedding() as first:
        with store.embedding() as second:
            assert (first, second) == (True, False)
        with store.embedding() as third:
            assert not third
    with store.embedding() as again:
        assert again


def test_who_will_not_wait_for_the_writer_lock_is_told_at_once(store: Store) -> None:
    with store.write(NOBODY, timeout_seconds=0) as tx:
        nouns.put_drawer(tx, a_drawer("d1"))
    assert waiting(store) == ["d1"]
    with store.write(NOBODY), pytest.raises((StoreBusyError, StoreError)):  # noqa: SIM117
        with store.write(NOBODY, timeout_seconds=0):
            pass
