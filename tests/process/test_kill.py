"""kill -9: at each statement in turn, at each operation on a file, and at random under load."""

import random
import shutil
import signal
from collections import Counter
from itertools import count
from pathlib import Path

import pytest

from tests.process.deeds import CASES
from tests.process.workers import Crew, Ledger, Worker

NEVER = 10**9


class Victims:
    """One case, run again and again on copies of one palace and killed one event later each time.

    Afterwards another process must find all of what the victim did, or nothing of it; all, if it
    was acknowledged.
    """

    def __init__(self, crew: Crew, folder: Path, case: str, where: str) -> None:
        self.crew, self.folder, self.case, self.where = crew, folder, case, where
        self.template = folder / "template"
        if case != "open":
            crew.run("prepare", str(self.template))
        self.before = self.inspect(self.copy("before"))
        whole = self.copy("whole")
        assert crew.run("die", str(whole), case, NEVER, where) == "acknowledged"
        self.after = self.inspect(whole)
        assert self.after != self.before

    def copy(self, name: str) -> Path:
        place = self.folder / name
        if self.template.exists():
            shutil.copytree(self.template, place)
        return place

    def inspect(self, place: Path) -> list[str]:
        rows, problems, palace_id = self.crew.run("inspect", str(place), self.case == "migrate")
        assert problems == []
        assert place.joinpath("palace.lock").read_text() == f"{palace_id}\n"
        return list(rows)

    def killed_at_each_event(self, neighbour: Worker | None = None) -> Counter[str]:
        """How often what the victim did was absent, there as a whole, or even acknowledged."""
        seen: Counter[str] = Counter()
        for event in count(1):
            place = self.copy("copy")
            if neighbour:
                neighbour.tell(str(place))
                assert neighbour.hear() == "going"
            victim = self.crew.start("die", str(place), self.case, event, self.where)
            code = victim.wait()
            assert code in (0, -signal.SIGKILL)
            if neighbour:
                neighbour.tell("stop")
                assert neighbour.hear() >= 2
            seen[self.look(place, victim)] += 1
            if neighbour:
                neighbour.tell("leave")
                assert neighbour.hear() == "left"
            shutil.rmtree(place)
            if code == 0:
                break
        return seen

    def look(self, place: Path, victim: Worker) -> str:
        acknowledged = victim.last_words() == ["acknowledged"]
        victim.close()
        rows = self.inspect(place)
        if rows == self.after:
            return "acknowledged" if acknowledged else "whole"
        assert rows == self.before
        assert not acknowledged
        return "absent"


def assert_that_it_was_killed_before_and_after(seen: Counter[str]) -> None:
    assert seen["absent"] > 5
    assert seen["whole"] >= 1
    assert seen["acknowledged"] >= 1


@pytest.mark.parametrize("case", ["open", "migrate"])
def test_killed_at_any_statement_of_opening_it_leaves_a_palace_or_none(
    crew: Crew, memory: Path, case: str
) -> None:
    victims = Victims(crew, memory, case, "statement")
    assert_that_it_was_killed_before_and_after(victims.killed_at_each_event())


@pytest.mark.parametrize("case", CASES)
def test_killed_at_any_statement_of_a_write_it_leaves_all_or_nothing_and_nobody_notices(
    crew: Crew, memory: Path, case: str
) -> None:
    victims = Victims(crew, memory, case, "statement")
    neighbour = crew.start("neighbour")
    assert_that_it_was_killed_before_and_after(victims.killed_at_each_event(neighbour))
    neighbour.tell("enough")
    neighbour.ends()


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, marks=() if case == "fact" else pytest.mark.stress)
        for case in ("open", "migrate", *CASES)
    ],
)
def test_killed_at_or_within_any_write_to_a_file_it_leaves_all_or_nothing(
    crew: Crew, memory: Path, case: str
) -> None:
    victims = Victims(crew, memory, case, "file")
    assert_that_it_was_killed_before_and_after(victims.killed_at_each_event())


@pytest.mark.parametrize("kills", [12, pytest.param(150, marks=pytest.mark.stress)])
def test_eight_writers_of_whom_some_are_killed_lose_nothing_acknowledged(
    crew: Crew, tmp_path: Path, kills: int
) -> None:
    dice = random.Random(948)
    place, writers = tmp_path / "palace", 8

    def start(number: int) -> Worker:
        ledger = tmp_path / f"ledger {number}"
        return crew.start_all("write_until_killed", [[str(place), number, str(ledger)]])[0]

    running = {number: start(number) for number in range(writers)}
    for number in range(writers, writers + kills):
        chosen = dice.choice(list(running))
        for _ in range(dice.randrange(1, 12)):
            running[chosen].hear()
        running.pop(chosen).kill()
        running[number] = start(number)
    for each in running.values():
        each.hear()
        each.tell("stop")
        each.ends()

    found = palace_ids(crew, place)
    noted = [
        (kind, ref)
        for number in range(writers + kills)
        for kind, ref in Ledger.read(tmp_path / f"ledger {number}")
    ]
    assert len(set(noted)) == len(noted)
    assert set(noted) <= found
    assert len(found - set(noted)) <= kills  # each may have got one that it could not note


def palace_ids(crew: Crew, place: Path) -> set[tuple[str, str]]:
    problems, _, *pages = crew.start("acknowledged", str(place)).ends()
    assert problems == 0
    *pages, (_, seq) = pages
    found = [(kind, ref) for kind, refs in pages for ref in refs]
    assert seq == len(found) == len(set(found))
    return set(found)
