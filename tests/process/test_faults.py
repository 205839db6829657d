"""Disks that are full or broken, and connections that fail while they are made."""

from collections import Counter
from pathlib import Path

import pytest

from tests.process.deeds import CASES
from tests.process.workers import Crew


@pytest.mark.parametrize("case", [case for case in CASES if case not in ("forget", "mask")])
def test_a_full_disk_writes_nothing_and_all_goes_on_when_there_is_room(
    crew: Crew, memory: Path, case: str
) -> None:
    seen, states = endured(crew, memory, case, "write", "FullError")
    assert seen.keys() == {"StoreFullError", "done"}
    assert len(states) == 1


@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("case", ["fact", "drawer", "supersede", "delete"])
def test_a_disk_error_leaves_all_or_nothing_and_the_process_goes_on(
    crew: Crew, memory: Path, case: str, operation: str
) -> None:
    seen, states = endured(crew, memory, case, operation, "IOError")
    assert seen.keys() == {"StoreError", "done"}
    assert len(states) == 1


def endured(
    crew: Crew, memory: Path, case: str, operation: str, error: str
) -> tuple[Counter[str], set[str]]:
    template = str(memory / "template")
    crew.run("prepare", template)
    said = crew.start("endure", template, case, operation, error).ends()
    return Counter(outcome for outcome, _ in said), {str(rows) for _, rows in said}


@pytest.mark.parametrize("error", ["FullError", "IOError"])
def test_a_log_that_cannot_be_moved_into_the_database_is_no_matter_of_the_writer(
    crew: Crew, memory: Path, error: str
) -> None:
    found = crew.run("endure_a_database_that_takes_nothing", str(memory / "palace"), error)
    assert sorted(found) == ["Acme", "Initech"]


@pytest.mark.parametrize(
    ("operation", "error", "outcome"),
    [
        ("write", "FullError", "StoreFullError"),
        pytest.param("write", "IOError", "StoreError", marks=pytest.mark.stress),
        ("sync", "IOError", "StoreError"),
    ],
)
def test_a_palace_that_could_not_be_made_is_made_later(
    crew: Crew, memory: Path, operation: str, error: str, outcome: str
) -> None:
    said = crew.start("endure_opening", str(memory / "palace"), operation, error).ends()
    assert set(said) == {outcome, "done"}


@pytest.mark.parametrize("error", ["IOError", "KeyboardInterrupt", "MemoryError"])
@pytest.mark.parametrize("stage", ["fresh", "there", "old", "read-only"])
def test_an_error_at_any_statement_of_opening_leaves_nothing_open_and_nothing_locked(
    crew: Crew, memory: Path, stage: str, error: str
) -> None:
    said = crew.start("fail_to_open", str(memory), stage, error).ends()
    expected = "StoreError" if error == "IOError" else error
    assert Counter(said).keys() == {expected, "done"}
    assert said.count(expected) > 5


@pytest.mark.parametrize("error", ["IOError", "KeyboardInterrupt", "MemoryError"])
def test_an_error_at_any_statement_of_a_further_connection_leaves_the_palace_as_it_was(
    crew: Crew, memory: Path, error: str
) -> None:
    said = crew.start("fail_to_connect", str(memory / "palace"), error).ends()
    expected = "StoreError" if error == "IOError" else error
    assert Counter(said).keys() == {expected, "done"}
    assert said.count(expected) > 5
