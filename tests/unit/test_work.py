"""What one call costs must not grow with the palace: counted in steps of SQLite's machine."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import apsw
import pytest

from palatine import Author, NewDrawer, Palace, beliefs
from palatine.ingest import facts
from palatine.instants import parse_end, parse_start
from palatine.types import DrawerFilter, Fact

FEW, MANY = 60, 3000


class Steps:
    """Counts the instructions that SQLite runs, on every connection opened from now on."""

    def __init__(self) -> None:
        self.count = 0

    def watch(self, connection: apsw.Connection) -> None:
        connection.set_progress_handler(self._step, 10)

    def _step(self) -> bool:
        self.count += 10
        return False

    def of(self, call: Callable[[], object]) -> int:
        before = self.count
        call()
        return self.count - before


def fill(palace: Palace, facts: range) -> None:
    """Many facts of one predicate, about many entities, that share one object in ten."""
    start = parse_start("2024")
    with palace._store.write(Author()) as tx:
        for n in facts:
            names = (f"person {n}", f"company {n // 10}")
            values = ("", 1, "", names[0], names[0], "works_at", names[1], names[1], start, None)
            beliefs.add(tx, Fact(*values, 1.0, "", "", tx.recorded_at), report=False)


# One call each; the number makes it a new one. Every subject has few facts, the predicate has all.
CALLS: dict[str, Callable[[Palace, int], object]] = {
    "add a fact": lambda p, n: p.knowledge.add(f"new {n}", "works_at", "company 1"),
    "add it again": lambda p, n: p.knowledge.add("person 7", "works_at", "company 0"),
    "add a second object": lambda p, n: p.knowledge.add("person 8", "works_at", f"other {n}"),
    "end a fact": lambda p, n: p.knowledge.end(f"person {n % 50 + 9}", "works_at", company(n)),
    "about": lambda p, n: p.knowledge.about("person 3"),
    "about as of": lambda p, n: p.knowledge.about("person 3", as_of="2024-06"),
    "about known at": lambda p, n: p.knowledge.about("person 3", known_at="2099"),
    "find subject and predicate": lambda p, n: p.knowledge.find(
        subject="person 4", predicate="works_at"
    ),
    "find object and predicate": lambda p, n: p.knowledge.find(
        object="company 0", predicate="works_at"
    ),
    "find all three": lambda p, n: p.knowledge.find(
        subject="person 4", predicate="works_at", object="company 0"
    ),
    "timeline of one": lambda p, n: p.knowledge.timeline("person 5"),
    "a page of the timeline": lambda p, n: p.knowledge.timeline(limit=10),
    "path": lambda p, n: p.knowledge.path("person 1", "person 2"),
    "changes": lambda p, n: p.changes(after=20, limit=5),
    "add a drawer": lambda p, n: p.add(f"drawer {n}"),
    "list": lambda p, n: p.list(limit=5),
}


def company(n: int) -> str:
    return f"company {(n % 50 + 9) // 10}"


def test_contradictions_are_found_in_one_pass_however_many_objects_a_subject_has(
    tmp_path: Path,
) -> None:
    steps = Steps()
    apsw.connection_hooks.append(steps.watch)
    try:
        with Palace.open(tmp_path / "palace") as palace:
            costs = []
            palace.knowledge.set_predicate("works_at", "single")
            for facts, turns in ((range(1000), range(20)), (range(1000, 4000), range(20, 80))):
                fill(palace, facts)
                with palace._store.write(Author()) as tx:
                    for n in turns:  # one after the other: many objects, no contradiction
                        names = ("", 1, "", "hub", "hub", "works_at", f"job {n}", f"job {n}")
                        times = parse_start(f"{1900 + n}"), parse_end(f"{1900 + n}")
                        fact = Fact(*names, *times, 1.0, "", "", tx.recorded_at)
                        beliefs.add(tx, fact, report=False)
                assert palace.knowledge.contradictions() == []
                costs.append(steps.of(palace.knowledge.contradictions))
            for n in range(2):
                palace.knowledge.add("torn", "works_at", f"side {n}")
            assert len(palace.knowledge.contradictions()) == 1
    finally:
        apsw.connection_hooks.remove(steps.watch)
    assert costs[1] <= 4 * costs[0] + 1000
    assert costs[1] <= 50 * 4080  # steps for each fact


def test_a_run_over_notes_that_are_read_costs_what_was_read(tmp_path: Path) -> None:
    steps = Steps()
    apsw.connection_hooks.append(steps.watch)
    try:
        with Palace.open(tmp_path / "palace", embedder="none") as palace:
            palace.add("- Max works at Acme", source="notes/a.md")
            palace.extract()
            where = (DrawerFilter(read_by="rules"), DrawerFilter(below="notes/"))
            rules, nobody = facts.Rules(), Author()
            calls = [partial(facts.extract, palace._store, rules, w, author=nobody) for w in where]
            small = [steps.of(call) for call in calls]
            palace.add_many(NewDrawer(f"text {n}", source=f"other/{n}.md") for n in range(MANY))
            assert [steps.of(call) for call in calls] == pytest.approx(small, abs=500)
    finally:
        apsw.connection_hooks.remove(steps.watch)


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, tuple[int, int]]]:
    """For each call its steps in a small palace, and in the same when it has become large."""
    steps = Steps()
    apsw.connection_hooks.append(steps.watch)
    with Palace.open(tmp_path_factory.mktemp("work") / "palace") as palace:
        fill(palace, range(FEW))
        small = {name: steps.of(partial(call, palace, 1)) for name, call in CALLS.items()}
        fill(palace, range(FEW, MANY))
        yield {name: (small[name], steps.of(partial(CALLS[name], palace, 2))) for name in CALLS}
    apsw.connection_hooks.remove(steps.watch)


@pytest.mark.parametrize("call", CALLS)
def test_a_call_costs_the_same_in_a_palace_fifty_times_as_large(
    costs: dict[str, tuple[int, int]], call: str
) -> None:
    small, large = costs[call]
    assert large <= 2 * small + 200
