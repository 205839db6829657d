"""Export and import: what goes out comes in, once, and nothing half."""

import io
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palatine import Palace
from palatine.errors import InputError
from palatine.instants import Instant
from palatine.types import DrawerFilter, FactFilter, NewDrawer

ALL = 1_000_000
TEXTS = ["plain", "a\r\nb\0c\u2028d", "lone \udcff", "two halves \ud83d\ude00", "天気", " "]


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "from", agent="ann", session="s1") as opened:
        yield opened


@pytest.fixture
def other(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "to", agent="bob") as opened:
        yield opened
        assert opened.check() == []


def fill(palace: Palace) -> None:
    """Everything that a palace can hold."""
    drawers = [NewDrawer(text=text, source="a.md", position=n) for n, text in enumerate(TEXTS)]
    first = palace.add_many(drawers)[0].drawer
    room = palace.add(
        "x", wing="shop", room="a/b", kind="decision", said_at="2025-03", pinned=True,
        metadata={"n": [1, None, "\udcff"]},
    ).drawer  # fmt: skip
    palace.add_many([NewDrawer(text="from elsewhere", former_id="old/id 1")])
    palace.update(room.id, text="x, changed")
    palace.delete(palace.add("deleted").drawer.id)
    palace.link(first.id, room.id, "why")
    palace.link(first.id, ("shop", "a/b"))
    for _ in range(2):
        palace.diary_write("ann", "slept")
    know = palace.knowledge
    know.add("Max", "works_at", "Acme", valid_from="2024-03", confidence=0.5, source="a.md")
    know.supersede("Max", "works_at", "Acme", "Initech", at="2025-02")
    know.add("Max", "likes", "tea", wing="shop", drawer=room.id, valid_to="2024")
    know.delete(know.add("Max", "likes", "coffee").fact.id)
    know.add("Max", "saw", "comet", valid_from="2025-03-14T09:26:53.5Z")
    know.add_entity("Max", type="person", properties={"n": 1})
    know.add_entity("Lonely")
    know.add_alias("Max", "Maximilian")
    know.set_predicate("likes", "many")


def held(palace: Palace, *, seqs: bool = False) -> dict[str, Any]:
    """All that stands in a palace; without the numbers of its own changes."""
    with palace._store.read() as tx:
        drawers = tx.drawers(DrawerFilter(), limit=ALL)
        return {
            "drawers": [d if seqs else {**_members(d), "seq": 0} for d in drawers],
            "former": tx.former_ids(after="", limit=ALL),
            "beliefs": tx.beliefs(after=("", 0), limit=ALL),
            "timeline": tx.facts(FactFilter(every_belief=True), limit=ALL),
            "entities": tx.entities(words=(), limit=ALL),
            "predicates": tx.predicates(),
            "links": tx.links(limit=ALL),
        }


def _members(drawer: Any) -> dict[str, Any]:
    return {name: getattr(drawer, name) for name in drawer.__slots__}


def exported(palace: Palace) -> bytes:
    target = io.BytesIO()
    palace.export(target)
    return target.getvalue()


def seq(palace: Palace) -> int:
    return palace.status().seq


def test_a_new_palace_becomes_equal(palace: Palace, other: Palace) -> None:
    fill(palace)
    done = other.import_from(io.BytesIO(exported(palace)))
    assert held(other) == held(palace)
    assert done.before == {"drawers": 0, "facts": 0, "entities": 0, "links": 0}
    assert done.after == {"drawers": 10, "facts": 4, "entities": 7, "links": 2}
    assert (done.known, done.differing) == ({}, {})
    assert (done.first_seq, done.last_seq) == (1, seq(other))
    assert {change.agent for change in other.changes()} == {"bob"}
    assert [hit.text for hit in other.search("天気")] == ["天気"]
    for belief in held(palace)["beliefs"]:
        then = [one.knowledge.about("Max", known_at=belief.recorded_at) for one in (palace, other)]
        assert then[0] == then[1]


def test_the_same_again_changes_nothing(palace: Palace, other: Palace) -> None:
    fill(palace)
    data = exported(palace)
    for one in (palace, other):
        one.import_from(io.BytesIO(data))
        before, last = held(one, seqs=True), seq(one)
        again = one.import_from(io.BytesIO(data))
        assert (again.added, again.differing, again.last_seq) == ({}, {}, 0)
        assert again.before == again.after
        assert (held(one, seqs=True), seq(one)) == (before, last)


def test_an_export_of_an_import_is_the_same_but_for_its_first_line(
    palace: Palace, other: Palace
) -> None:
    fill(palace)
    data = exported(palace)
    other.import_from(io.BytesIO(data))
    assert exported(other).split(b"\n")[1:] == data.split(b"\n")[1:]


def test_a_dry_run_says_the_same_and_writes_nothing(palace: Palace, other: Palace) -> None:
    fill(palace)
    data = exported(palace)
    other.add("x", wing="shop", room="a/b")
    dry = other.import_from(io.BytesIO(data), dry_run=True)
    assert (seq(other), dry.last_seq, dry.after) == (1, 0, dry.before)
    real = other.import_from(io.BytesIO(data))
    assert (dry.added, dry.known, dry.differing) == (real.added, real.known, real.differing)


def test_what_is_here_stays_and_what_differs_is_told(palace: Palace, other: Palace) -> None:
    fill(palace)
    data = exported(palace)
    other.import_from(io.BytesIO(data))
    (room,) = other.list(room="a/b")
    other.update(room.id, text="mine")
    other.knowledge.end("Max", "works_at", "Initech", ended="2026")
    other.knowledge.set_predicate("likes", "single")
    other.knowledge.add_entity("Max", type="cat")
    before = held(other, seqs=True)
    done = other.import_from(io.BytesIO(data))
    assert held(other, seqs=True) == before
    assert done.differing == {"drawer": 1, "fact": 1, "predicate": 1, "entity": 1}
    assert f"drawer {room.id}" in done.kept


def test_the_same_text_in_the_same_place_is_one_and_is_found_by_both_ids(
    palace: Palace, other: Palace
) -> None:
    for one in (palace, other):
        one.add("other words" if one is other else "words")
    key = palace.list().items[0].id
    mine = other.list().items[0].id
    other.update(mine, text="words")
    palace.link(key, palace.add("end").drawer.id)
    done = other.import_from(io.BytesIO(exported(palace)))
    assert (done.added, done.known) == ({"drawer": 1, "link": 1}, {"drawer": 1})
    assert other.get(key).id == mine
    assert len(other.links(mine)) == 1


def test_entries_of_two_diaries_with_the_same_words_both_stay(
    palace: Palace, other: Palace
) -> None:
    for one in (palace, other):
        one.diary_write("ann", "slept")
    for _ in range(2):
        other.import_from(io.BytesIO(exported(palace)))
        assert [entry.text for entry in other.diary_read("ann")] == ["slept"] * 2


def test_names_and_facts_join_those_that_are_here(palace: Palace, other: Palace) -> None:
    palace.knowledge.add("Max", "works_at", "Acme")
    palace.knowledge.add_entity("Max", type="person")
    other.knowledge.add("Maximilian", "works_at", "ACME")
    other.knowledge.add_alias("Maximilian", "max")
    done = other.import_from(io.BytesIO(exported(palace)))
    assert (done.added, done.known) == ({"entity": 1}, {"entity": 1, "fact": 1})
    assert other.knowledge.entity("Maximilian").type == "person"
    assert len(other.knowledge.about("max")) == 1


def test_an_import_can_be_undone(palace: Palace, other: Palace) -> None:
    fill(palace)
    done = other.import_from(io.BytesIO(exported(palace)))
    other.undo(done.first_seq)
    assert other.status().drawers == 0
    assert other.knowledge.about("Max", state="all") == []
    assert other.links() == []
    other.undo(done.last_seq + 1)
    assert len(other.knowledge.about("Max", state="all")) == 4


def test_an_imported_fact_can_be_ended_and_that_be_undone(palace: Palace, other: Palace) -> None:
    palace.knowledge.add("Max", "works_at", "Acme", valid_from="2024")
    other.import_from(io.BytesIO(exported(palace)))
    ended = other.knowledge.end("Max", "works_at", "Acme", ended="2025")
    other.undo(ended.seq)
    (fact,) = other.knowledge.about("Max")
    assert fact.valid_to is None


def test_many_batches_leave_nothing_out(palace: Palace, other: Palace) -> None:
    palace.add_many([NewDrawer(text=f"text {n}") for n in range(1300)])
    fact = palace.knowledge.add("a", "b", "c").fact
    for confidence in range(1, 600):
        palace.knowledge.correct(fact.id, confidence=confidence / 1000)
    other.import_from(io.BytesIO(exported(palace)))
    assert held(other) == held(palace)


def lines_of(palace: Palace) -> list[bytes]:
    fill(palace)
    return exported(palace).splitlines(keepends=True)


Damage = Callable[[list[bytes]], list[bytes]]
DAMAGES: dict[str, Damage] = {
    "nothing": lambda _: [],
    "no first line": lambda lines: lines[1:],
    "no last line": lambda lines: lines[:-1],
    "half of the last line": lambda lines: [*lines[:-1], lines[-1][:9]],
    "half of a line": lambda lines: [*lines[:4], lines[4][:30]],
    "a line less": lambda lines: lines[:5] + lines[6:],
    "a line twice": lambda lines: [*lines[:6], *lines[5:]],
    "two exports": lambda lines: lines + lines,
    "a newer format": lambda lines: [lines[0].replace(b'"format": 1', b'"format": 2'), *lines[1:]],
    "another program's": lambda lines: [b'{"a": 1}\n', *lines],
    "an unknown line": lambda lines: [line.replace(b'"link"', b'"lunk"') for line in lines],
    "no JSON": lambda lines: [lines[0], b"\xff\n", *lines[1:]],
    "another time": lambda lines: [line.replace(b'"2025-03"', b'"soon"') for line in lines],
    "a time beyond all": lambda lines: [
        line.replace(b'"filed_at": "', b'"filed_at": [99999999999999999999, 0], "x": "')
        for line in lines
    ],
    "another kind": lambda lines: [line.replace(b'"decision"', b'"idea"') for line in lines],
    "a name that is none": lambda lines: [
        line.replace(b'"tea"', b'"te\\u0000a"') for line in lines
    ],
    "no text": lambda lines: [line.replace(b'"text": "', b'"test": "') for line in lines],
    "a text of bytes that are none": lambda lines: [
        line.replace(b'"text_base64": "', b'"text_base64": "_') for line in lines
    ],
    "a link to nothing": lambda lines: [
        line.replace(b'"source": {', b'"source": {"x": 1, ') for line in lines
    ],
    "a confidence of two": lambda lines: [
        line.replace(b'"confidence": 0.5', b'"confidence": 2') for line in lines
    ],
    "beliefs out of order": lambda lines: [*lines[:-3], lines[-2], lines[-3], lines[-1]],
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_file_that_is_not_whole_is_refused_before_anything_is_written(
    palace: Palace, other: Palace, damage: str
) -> None:
    lines = lines_of(palace)
    damaged = DAMAGES[damage](lines)
    assert damaged != lines
    with pytest.raises(InputError, match="nothing was imported"):
        other.import_from(io.BytesIO(b"".join(damaged)))
    assert seq(other) == 0
    assert held(other)["entities"] == []


def test_a_file_that_was_cut_off_is_called_so(palace: Palace, other: Palace) -> None:
    data = b"".join(lines_of(palace)[:-1])
    with pytest.raises(InputError, match="cut off"):
        other.import_from(io.BytesIO(data))


def test_beliefs_from_the_future_are_refused(palace: Palace, other: Palace) -> None:
    palace.add("first")
    fact = palace.knowledge.add("a", "b", "c").fact
    late = str(Instant(fact.recorded_at.micros + 3_600_000_000)).encode()
    data = exported(palace).replace(str(fact.recorded_at).encode(), late)
    with pytest.raises(InputError, match="clock"):
        other.import_from(io.BytesIO(data))
    assert seq(other) == 0


def test_a_change_made_while_it_is_exported_is_not_in_it(palace: Palace) -> None:
    fill(palace)

    class Slow(io.BytesIO):
        def write(self, data: Any) -> int:
            palace.add("meanwhile " + str(len(self.getvalue())))
            return super().write(data)

    target = Slow()
    palace.export(target)
    assert b"meanwhile" not in target.getvalue()
    assert json.loads(target.getvalue().splitlines()[-1])["counts"]["drawer"] == 10


@given(text=st.text(st.characters(codec=None), min_size=1), name=st.text())
def test_any_text_comes_through(
    tmp_path_factory: pytest.TempPathFactory, text: str, name: str
) -> None:
    folder = tmp_path_factory.mktemp("palaces")
    with Palace.open(folder / "a") as palace, Palace.open(folder / "b") as other:
        palace.add(text, metadata={"n": name})
        other.import_from(io.BytesIO(exported(palace)))
        assert held(other) == held(palace)
