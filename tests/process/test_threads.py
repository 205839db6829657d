"""Many threads and tasks on one palace; what one process wrote, read by others."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from palatine import Palace
from palatine.errors import StoreClosedError
from tests.process.agent import Agent

Agents = Callable[[], Agent]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "palace"


def write_and_read(palace: Palace, number: int) -> str:
    drawer = palace.add(f"text of number {number}", room="load").drawer
    fact = palace.knowledge.add(f"thing {number}", "made by", "somebody").fact
    assert palace.get(drawer.id).text == f"text of number {number}"
    assert [each.id for each in palace.knowledge.about(f"thing {number}")] == [fact.id]
    assert any(hit.drawer.id == drawer.id for hit in palace.search(f"number {number}", limit=100))
    return drawer.id


def test_two_hundred_threads_on_one_palace(place: Path) -> None:
    start = threading.Barrier(200)

    def work(number: int) -> str:
        start.wait(60)
        return write_and_read(palace, number)

    with Palace.open(place) as palace:
        with ThreadPoolExecutor(200) as pool:
            ids = list(pool.map(work, range(200)))
        assert len(set(ids)) == 200
        assert {each.id for each in palace.list(limit=1000)} == set(ids)
        assert palace.check() == []


def test_two_hundred_snapshots_at_the_same_moment(place: Path) -> None:
    together = threading.Barrier(201)

    def look(_: int) -> int:
        with palace._store.read() as tx:
            together.wait(60)  # all have begun
            together.wait(60)  # somebody has written
            return tx.state().seq

    with Palace.open(place) as palace, ThreadPoolExecutor(200) as pool:
        seen = [pool.submit(look, number) for number in range(200)]
        together.wait(60)
        palace.knowledge.add("Max", "was", "here")
        together.wait(60)
        assert {each.result(60) for each in seen} == {0}
        assert palace.status().seq == 1


def test_fifty_tasks_of_an_event_loop_on_one_palace(place: Path) -> None:
    async def all_of_them() -> list[str]:
        tasks = (asyncio.to_thread(write_and_read, palace, number) for number in range(50))
        return await asyncio.gather(*tasks)

    with Palace.open(place) as palace:
        assert len(set(asyncio.run(all_of_them()))) == 50
        assert palace.status().drawers == 50
        assert palace.check() == []


def test_closing_while_threads_work_ends_them_with_a_clear_error_and_loses_nothing(
    place: Path,
) -> None:
    palace = Palace.open(place)
    first = threading.Barrier(9)
    acknowledged: list[str] = []

    def work(number: int) -> None:
        acknowledged.append(write_and_read(palace, number))
        first.wait(60)
        acknowledged.extend(
            palace.add(f"more {number} {count}").drawer.id for count in range(10**6)
        )

    with ThreadPoolExecutor(8) as pool:
        working = [pool.submit(work, number) for number in range(8)]
        first.wait(60)
        palace.close()
        for each in working:
            with pytest.raises(StoreClosedError):
                each.result(60)
    with Palace.open(place) as palace:
        assert {each.id for each in palace.list(limit=1000)} == set(acknowledged)
        assert palace.check() == []


def test_a_read_sees_every_write_that_was_acknowledged_before_it_began(
    place: Path, agent: Agents
) -> None:
    crowd = [agent() for _ in range(4)]
    for each in crowd:
        each.open(place)
    for turn in range(40):
        crowd[turn % 4].add(f"thing {turn}")
        for each in crowd:
            assert each.names()[-1] == f"thing {turn}"


@pytest.mark.parametrize(
    "text",
    [
        "plain",
        "  blanks and lines \r\n\t kept \n\n",
        "nul \0 and \x01 control \x1b[0m",
        "lone surrogates \ud800 and \udfff",
        "emoji 👩‍👩‍👧 and bidi ‮ abc",
        "e\u0301 is not \u00e9, ﬁ is not fi",
        "\ufeff a mark, \u2028 a line, \U0010ffff the end",
    ],
)
def test_a_text_comes_back_byte_for_byte_in_another_process(
    place: Path, agent: Agents, text: str
) -> None:
    other = agent()
    with Palace.open(place) as palace:
        added = palace.add(text)
        assert not palace.add(text).created
        other.open(place)
        assert other.text(added.drawer.id) == text
        assert palace.check() == []


def test_a_text_of_ten_megabytes_comes_back_byte_for_byte(place: Path) -> None:
    text = "".join(f"line {n} \ud83d — ☃ \0\n" for n in range(550_000))
    with Palace.open(place) as palace:
        drawer_id = palace.add(text).drawer.id
    with Palace.open(place) as palace:
        assert len(text.encode("utf-8", "surrogatepass")) > 10_000_000
        assert palace.get(drawer_id).text == text
