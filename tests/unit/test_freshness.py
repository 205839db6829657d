"""A read sees every write that was acknowledged before it began, and pays for its own rows only."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palatine import NewDrawer, Palace
from palatine.search import CANDIDATES, NEIGHBOUR_POOL

LIMIT = 10
SECONDS = 60


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "palace"


@pytest.fixture
def mine(folder: Path) -> Iterator[Palace]:
    with Palace.open(folder) as palace:
        yield palace


@pytest.fixture
def theirs(folder: Path, mine: Palace) -> Iterator[Palace]:
    with Palace.open(folder) as palace:
        yield palace


def fill(palace: Palace, word: str, count: int, *, start: int = 0) -> None:
    palace.add_many(NewDrawer(f"{word} {n}") for n in range(start, start + count))


def rows_read(palace: Palace, query: str) -> int:
    return palace.search(query, limit=LIMIT).rows_read


# What is seen


def test_a_write_is_seen_by_the_very_next_question_of_another(mine: Palace, theirs: Palace) -> None:
    assert len(mine.search("alpha")) == 0
    for n in range(20):
        drawer = theirs.add(f"alpha {n}").drawer
        fact = theirs.knowledge.add("Max", f"did {n}", "it").fact
        result = mine.search(f'"alpha {n}"')
        assert [hit.drawer for hit in result] == [drawer]
        assert mine.get(drawer.id) == drawer
        assert fact in mine.knowledge.about("Max")
        status = mine.status()
        assert (status.drawers, status.facts.facts, status.seq) == (n + 1, n + 1, fact_seq(theirs))
        assert result.seq == status.seq
        assert mine.changes(after=status.seq - 1)[0].ref == fact.id


def fact_seq(palace: Palace) -> int:
    return palace.changes()[-1].seq


def test_an_update_and_a_delete_are_seen_by_the_very_next_question(
    mine: Palace, theirs: Palace
) -> None:
    drawer = theirs.add("alpha").drawer
    assert len(mine.search("alpha")) == 1
    theirs.update(drawer.id, text="beta")
    assert [len(mine.search(word)) for word in ("alpha", "beta")] == [0, 1]
    theirs.delete(drawer.id)
    assert len(mine.search("beta")) == 0
    theirs.undo(theirs.status().seq)
    assert len(mine.search("beta")) == 1
    mine.update(drawer.id, text="gamma")
    assert len(theirs.search("gamma")) == 1
    theirs.forget(drawer.id)
    assert len(mine.search("gamma")) == 0


# What it costs in rows


@pytest.mark.parametrize("foreign", [0, 1, 7, 50])
def test_a_search_after_k_matching_writes_of_another_reads_k_more_rows(
    mine: Palace, theirs: Palace, foreign: int
) -> None:
    fill(mine, "alpha", NEIGHBOUR_POOL)
    before = rows_read(mine, "alpha")
    fill(theirs, "alpha", foreign, start=NEIGHBOUR_POOL)
    assert rows_read(mine, "alpha") == before + foreign


def test_the_rows_of_a_search_are_its_matches_and_what_it_shows_of_them(mine: Palace) -> None:
    fill(mine, "beta", 50)
    for count in (1, 2, LIMIT, 3 * LIMIT):
        fill(mine, "alpha", count - len(mine.search("alpha", limit=100)), start=count)
        words, total = 1, 1
        matches, neighbours = count, min(count, NEIGHBOUR_POOL)
        spans = drawers = min(count, LIMIT)
        full_marks = 2  # where the best match stands, and in which drawer
        expected = words + total + matches + full_marks + neighbours + spans + drawers
        assert rows_read(mine, "alpha") == expected


@pytest.mark.parametrize("foreign", [1, 50])
def test_writes_that_do_not_match_cost_a_search_nothing(
    mine: Palace, theirs: Palace, foreign: int
) -> None:
    fill(mine, "alpha", 30)
    before = rows_read(mine, "alpha")
    fill(theirs, "beta", foreign)
    for n in range(foreign):
        theirs.knowledge.add("Max", "did", f"it {n}")
    theirs.link(*(hit.drawer.id for hit in theirs.search("beta 0", limit=1)), ("personal", "notes"))
    assert rows_read(mine, "alpha") == before


def test_a_search_again_reads_the_same_rows_again(mine: Palace, theirs: Palace) -> None:
    fill(theirs, "alpha", 40)
    assert len({rows_read(mine, "alpha") for _ in range(3)}) == 1


def test_a_search_reads_at_most_its_candidates(mine: Palace, theirs: Palace) -> None:
    fill(mine, "alpha", CANDIDATES)
    before = rows_read(mine, "alpha")
    fill(theirs, "alpha", 200, start=CANDIDATES)
    assert rows_read(mine, "alpha") == before


# What it costs in bytes, in another process

SEARCHER = """
import sys
from pathlib import Path
from palatine import Palace

def bytes_read():
    return int(Path("/proc/self/io").read_text().split()[1])

with Palace.open(sys.argv[1], create=False) as palace:
    for line in sys.stdin:
        before = bytes_read()
        result = palace.search(line.strip(), limit=10)
        after = bytes_read()
        about = len(palace.knowledge.find(state="all"))
        print(after - before, len(result), result.rows_read, palace.status().drawers, about)
        sys.stdout.flush()
"""


class Searcher:
    """Another process that searches when it is told to."""

    def __init__(self, folder: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SEARCHER, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def search(self, query: str) -> dict[str, int]:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{query}\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        assert answer, "the other process ended"
        names = ("bytes", "hits", "rows", "drawers", "facts")
        return dict(zip(names, map(int, answer), strict=True))

    def end(self) -> None:
        _, errors = self.process.communicate(timeout=SECONDS)
        assert (self.process.returncode, errors) == (0, None)


@pytest.fixture
def searchers() -> Iterator[list[Searcher]]:
    started: list[Searcher] = []
    yield started
    for each in started:
        each.end()


def test_another_process_sees_each_write_and_reads_as_many_rows_more(
    folder: Path, mine: Palace, searchers: list[Searcher]
) -> None:
    fill(mine, "alpha", NEIGHBOUR_POOL)
    searchers.append(Searcher(folder))
    first = searchers[0].search("alpha")
    assert (first["drawers"], first["facts"]) == (NEIGHBOUR_POOL, 0)
    for n in range(1, 6):
        fill(mine, "alpha", 1, start=NEIGHBOUR_POOL + n)
        mine.knowledge.add("Max", "did", f"it {n}")
        now = searchers[0].search("alpha")
        assert now["rows"] == first["rows"] + n
        assert (now["drawers"], now["facts"]) == (NEIGHBOUR_POOL + n, n)


@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes as Linux does")
def test_the_bytes_of_a_search_do_not_grow_with_the_palace(
    tmp_path: Path, searchers: list[Searcher]
) -> None:
    read: dict[int, list[int]] = {}
    sizes: dict[int, int] = {}
    for size in (200, 4_000):
        folder = tmp_path / f"palace {size}"
        with Palace.open(folder) as palace:
            fill(palace, "alpha", 20)
            long = "words of no interest to anybody here, " * 20
            palace.add_many(NewDrawer(f"{long} {n}") for n in range(size - 20))
            sizes[size] = int(str(palace.status().store["database_bytes"])) + int(
                str(palace.status().store["wal_bytes"])
            )
            searcher = Searcher(folder)
            searchers.append(searcher)
            read[size] = [searcher.search("alpha")["bytes"]]
            for n in range(5):
                palace.add(f"{long} again {n}")
                answer = searcher.search("alpha")
                assert (answer["hits"], answer["drawers"]) == (10, size + n + 1)
                read[size].append(answer["bytes"])
    assert sizes[4_000] > 10 * sizes[200]
    assert max(read[4_000]) < sizes[4_000] / 10
    assert max(read[4_000]) <= 3 * max(read[200])  # deeper trees, but 20 times the palace
