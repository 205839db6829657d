"""Vectors among many processes: found at once, made by one at a time, killed without a trace."""

from pathlib import Path

import pytest

from palatine import NewDrawer, Palace
from tests.process.workers import Crew, Worker


@pytest.fixture
def place(tmp_path: Path) -> str:
    return str(tmp_path / "palace")


def fill(place: str, count: int) -> None:
    with Palace.open(place) as palace:
        palace.add_many(NewDrawer(f"old number{n}") for n in range(count))


def ask(searcher: Worker, question: str) -> tuple[dict[str, int], int, int]:
    searcher.tell(question)
    hits, rows, pending = searcher.hear()
    return {text: rank for text, rank in hits if rank}, rows, pending


def test_vectors_of_one_process_are_found_by_the_next_search_of_another_that_reads_only_them(
    crew: Crew, place: str
) -> None:
    fill(place, 300)
    crew.start_all("embed", [[place]])[0].ends()
    searcher = crew.start("search_on", place)
    assert searcher.hear() == "ready"
    ask(searcher, "kitten")
    assert ask(searcher, "kitten")[0] == {}
    usual = ask(searcher, "puppy")[1]
    for n in range(1, 6):
        with Palace.open(place, embedder="hashing") as palace:
            palace.add_many(NewDrawer(f"new{n} kitten{m}") for m in range(n))
            palace.embed()
        assert ask(searcher, "puppy")[1] == usual + n
        assert ask(searcher, "puppy")[1] == usual
        assert {f"new{n} kitten{m}" for m in range(n)} <= set(ask(searcher, f"new{n}")[0])
    searcher.tell("")
    searcher.ends()


def test_of_all_who_embed_at_once_each_chunk_is_embedded_by_one(crew: Crew, place: str) -> None:
    fill(place, 500)
    said = [each.ends() for each in crew.start_all("embed", [[place]] * 6)]
    assert sum(stored for (stored,) in said) <= 500
    with Palace.open(place, embedder="hashing") as palace:
        palace.embed()
        assert palace.status().pending == 0
        assert palace.check() == []
        with palace._store.read() as tx:
            numbers = tx.all_rows("SELECT number FROM vector")  # type: ignore[attr-defined]
        assert sorted(n for (n,) in numbers) == list(range(1, 501))


@pytest.mark.parametrize("batches", [0, 1, 3])
def test_a_killed_embedder_leaves_nothing_behind(crew: Crew, place: str, batches: int) -> None:
    fill(place, 400)
    victim = crew.start("embed_slowly", place)
    stored = 0
    for _ in range(batches):
        assert victim.hear() == "embedding"
        victim.tell("go on")
        stored, _ = victim.hear()
    assert victim.hear() == "embedding"
    with Palace.open(place, embedder="hashing") as palace:
        assert not palace.embed().alone  # the victim has the right to embed
        assert palace.status().pending == 400 - stored
        assert palace.search("number7")  # and holds nobody up
        victim.kill()
        assert palace.check() == []
        embedded = palace.embed()
        assert (embedded.stored, embedded.pending, embedded.alone) == (400 - stored, 0, True)
        assert palace.check() == []


@pytest.mark.parametrize("writers", [4, 16])
def test_what_many_processes_write_and_embed_is_all_found_by_meaning(
    crew: Crew, place: str, writers: int
) -> None:
    crowd = crew.start_all("add_and_embed", [[place, me, 20] for me in range(writers)])
    for each in crowd:
        each.ends()
    with Palace.open(place, embedder="hashing") as palace:
        palace.embed()
        assert palace.status().pending == 0
        assert palace.check() == []
        for me in range(writers):
            for n in range(20):
                found = palace.search(f"worker{me} number{n} says so", limit=1)[0]
                assert found.text == f"worker{me} number{n} says so"
                assert found.vector_rank is not None  # its place depends on how hashes collide
                assert found.cosine == pytest.approx(1, abs=0.01)
