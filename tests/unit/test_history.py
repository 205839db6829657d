"""The change feed and the two ways back: undo, which puts back, and forget, which removes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import apsw
import pytest

from palatine import Author, NewDrawer, Palace
from palatine.errors import ConflictError, ForgetIncompleteError, InputError, NotFoundError
from palatine.instants import Instant
from palatine.types import Fact, Kind, Op

ANN = Author("ann", "s1")
BOB = Author("bob", "s2")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "palace"


@pytest.fixture
def palace(folder: Path) -> Iterator[Palace]:
    with Palace.open(folder, agent="tester") as opened:
        yield opened
        assert opened.check() == []


def rows(palace: Palace) -> dict[str, Any]:
    """What the palace holds, but for the feed and the times and numbers that come from it."""
    knowledge = palace.knowledge
    return {
        "drawers": [replace(d, changed_at=d.filed_at, seq=0) for d in palace.list(limit=1000)],
        "links": palace.links(),
        "facts": [
            replace(fact, version=1, recorded_at=Instant(0))
            for fact in knowledge.timeline(limit=1000)
        ],
        "predicates": knowledge.predicates(),
    }


def last(palace: Palace) -> int:
    return palace.status().seq


# The feed


def test_every_change_stands_in_the_feed_with_who_made_it(palace: Palace) -> None:
    drawer = palace.add("x", wing="w", author=ANN).drawer
    palace.update(drawer.id, text="y", author=BOB)
    fact = palace.knowledge.add("Max", "likes", "tea", author=ANN).fact
    palace.delete(drawer.id)
    feed = [(c.seq, c.kind, c.ref, c.op, c.agent, c.session) for c in palace.changes()]
    assert feed == [
        (1, Kind.DRAWER, drawer.id, Op.ADD, "ann", "s1"),
        (2, Kind.DRAWER, drawer.id, Op.UPDATE, "bob", "s2"),
        (3, Kind.FACT, fact.id, Op.ADD, "ann", "s1"),
        (4, Kind.DRAWER, drawer.id, Op.DELETE, "tester", ""),
    ]
    assert [c.seq for c in palace.changes(after=2)] == [3, 4]
    assert [c.seq for c in palace.changes(agent="ann")] == [1, 3]
    assert [c.seq for c in palace.changes(session="s2")] == [2]
    assert [c.seq for c in palace.changes(wing="w")] == [1, 2, 4]
    assert [c.seq for c in palace.changes(after=1, limit=2)] == [2, 3]


def test_the_feed_holds_no_text(palace: Palace) -> None:
    palace.add("a secret text", metadata={"also": "secret"})
    palace.knowledge.add("Secret Max", "likes", "secret tea")
    assert "secret" not in repr(palace.changes()).lower()


# Undo: each call


def _drawer(palace: Palace) -> str:
    return palace.list(limit=1).items[0].id


def _fact(palace: Palace) -> Fact:
    return palace.knowledge.find(subject="Max")[0]


def fill(palace: Palace) -> None:
    one, two = palace.add_many(
        [NewDrawer("one", wing="app", pinned=True, metadata={"n": 1}), NewDrawer("two", wing="app")]
    )
    palace.link(one.drawer.id, two.drawer.id, "because")
    palace.knowledge.add("Max", "likes", "tea", valid_from="2024", drawer=one.drawer.id)
    palace.knowledge.add_entity("Max", type="person", properties={"age": 7})
    palace.knowledge.set_predicate("likes", "many")


CALLS: dict[str, Callable[[Palace], Any]] = {
    "add": lambda p: p.add("new"),
    "add many": lambda p: p.add_many([NewDrawer("new"), NewDrawer("newer"), NewDrawer("one")]),
    "diary": lambda p: p.diary_write("claude", "a quiet day"),
    "update text": lambda p: p.update(_drawer(p), text="changed \x00\ud800"),
    "update place": lambda p: p.update(_drawer(p), wing="w", room="r", pinned=False, metadata={}),
    "pin": lambda p: p.pin(_drawer(p), pinned=not p.get(_drawer(p)).pinned),
    "delete": lambda p: p.delete(_drawer(p)),
    "delete a wing": lambda p: p.delete(wing="app"),
    "link": lambda p: p.link(_drawer(p), ("app", "notes")),
    "unlink": lambda p: p.unlink(p.links()[0].id),
    "add fact": lambda p: p.knowledge.add("Zoe", "likes", "milk"),
    "end fact": lambda p: p.knowledge.end("Max", "likes", "tea"),
    "supersede fact": lambda p: p.knowledge.supersede("Max", "likes", "tea", "milk"),
    "correct fact": lambda p: p.knowledge.correct(_fact(p).id, valid_from="2023", confidence=0.5),
    "delete fact": lambda p: p.knowledge.delete(_fact(p).id),
    "say a predicate": lambda p: p.knowledge.set_predicate("likes", "single"),
    "say a new predicate": lambda p: p.knowledge.set_predicate("new", "single"),
}


@pytest.mark.parametrize("name", CALLS)
def test_a_call_can_be_undone_and_its_undo_be_undone(palace: Palace, name: str) -> None:
    fill(palace)
    before = rows(palace)
    CALLS[name](palace)
    after = rows(palace)
    assert after != before
    undone = palace.undo(last(palace))
    assert undone.seq == palace.changes(after=undone.seq - 1)[0].seq
    assert rows(palace) == before
    palace.undo(undone.seq)
    assert rows(palace) == after
    palace.undo(last(palace))
    assert rows(palace) == before


def test_entities_and_aliases_can_be_undone(palace: Palace) -> None:
    knowledge = palace.knowledge
    knowledge.add_entity("Max", type="person", properties={"age": 7})
    made = knowledge.entity("Max")
    knowledge.add_entity("Max", type="robot", properties={"age": None})
    palace.undo(last(palace))
    assert knowledge.entity("Max") == made
    knowledge.add_alias("Max", "Maxi")
    aliased = last(palace)
    palace.undo(aliased)
    assert knowledge.entity("Max") == made
    with pytest.raises(NotFoundError):
        knowledge.entity("Maxi")
    palace.undo(last(palace))
    assert knowledge.entity("Maxi").aliases == ("Maxi",)
    knowledge.add_entity("Ann")
    palace.undo(last(palace))
    with pytest.raises(NotFoundError):
        knowledge.entity("Ann")


def test_an_undone_entity_stays_as_long_as_something_names_it(palace: Palace) -> None:
    knowledge = palace.knowledge
    knowledge.add_entity("Max", type="person")
    knowledge.add_entity("Ann", type="person")
    knowledge.add_alias("Max", "Maxi")
    knowledge.add("Ann", "likes", "tea")
    for seq in (1, 2):
        palace.undo(seq)
    assert [knowledge.entity(name).type for name in ("Maxi", "Ann")] == ["", ""]


def test_one_call_of_many_rows_is_undone_as_a_whole_by_any_of_its_seqs(palace: Palace) -> None:
    palace.add("before")
    before = rows(palace)
    added = palace.add_many(NewDrawer(f"text {n}") for n in range(6))
    removed = palace.undo(added[3].seq)
    assert set(removed.refs) == {each.drawer.id for each in added}
    assert rows(palace) == before


def test_what_was_put_back_is_found_and_what_was_taken_away_is_not(palace: Palace) -> None:
    drawer = palace.add("alpha").drawer
    palace.update(drawer.id, text="beta")
    assert [len(palace.search(word)) for word in ("alpha", "beta")] == [0, 1]
    palace.undo(last(palace))
    assert [len(palace.search(word)) for word in ("alpha", "beta")] == [1, 0]
    removed = palace.delete(drawer.id)
    assert len(palace.search("alpha")) == 0
    palace.undo(removed.seq)
    assert len(palace.search("alpha")) == 1
    palace.undo(palace.add("gamma").seq)
    assert len(palace.search("gamma")) == 0


def test_the_id_and_the_time_of_filing_survive_a_delete_and_its_undo(palace: Palace) -> None:
    drawer = palace.add("x", said_at="2025-03").drawer
    palace.undo(palace.delete(drawer.id).seq)
    found = palace.get(drawer.id)
    assert (found.filed_at, found.said_at, found.text) == (drawer.filed_at, drawer.said_at, "x")
    assert found.changed_at.micros > drawer.changed_at.micros


def test_an_undone_delete_brings_the_links_back(palace: Palace) -> None:
    one, two = palace.add("1").drawer.id, palace.add("2").drawer.id
    link = palace.link(one, two, "because").link
    removed = palace.delete(one)
    assert palace.links() == []
    palace.undo(removed.seq)
    assert palace.links(two) == [link]


def test_an_undone_supersede_believes_the_old_fact_again(palace: Palace) -> None:
    knowledge = palace.knowledge
    old = knowledge.add("Max", "lives in", "Rome", valid_from="2020").fact
    superseded = knowledge.supersede("Max", "lives in", "Rome", "Bern", at="2024")
    then = palace.changes()[-1].at
    palace.undo(superseded.seq)
    (now,) = knowledge.find(subject="Max")
    assert (now.id, now.object, now.valid_to, now.version) == (old.id, "Rome", None, 3)
    assert [f.object for f in knowledge.find(subject="Max", known_at=then)] == ["Bern"]
    assert knowledge.predicates() == {}


# Undo: sessions and times


def test_a_session_is_undone_as_a_whole(palace: Palace) -> None:
    fill(palace)
    before = rows(palace)
    palace.update(_drawer(palace), text="changed", author=ANN)
    palace.add("new", author=ANN)
    palace.update(palace.add("newer", author=ANN).drawer.id, text="newest", author=ANN)
    palace.link(_drawer(palace), ("app", "notes"), author=ANN)
    palace.knowledge.end("Max", "likes", "tea", author=ANN)
    palace.knowledge.add("Max", "likes", "tea", author=ANN, valid_from="8000")
    palace.undo(session="s1", author=BOB)
    assert rows(palace) == before
    assert palace.changes()[-1].agent == "bob"


def test_another_session_in_between_stands_unless_it_built_on_it(palace: Palace) -> None:
    mine = palace.add("mine", author=ANN).drawer
    theirs = palace.add("theirs", author=BOB).drawer
    palace.update(mine.id, text="mine again", author=ANN)
    palace.undo(session="s1")
    assert [drawer.id for drawer in palace.list()] == [theirs.id]


def test_everything_since_a_moment_is_undone(palace: Palace) -> None:
    fill(palace)
    before, moment = rows(palace), palace.changes()[-1].at
    palace.delete(wing="app", author=BOB)
    palace.add("new", author=ANN)
    palace.knowledge.supersede("Max", "likes", "tea", "milk")
    palace.undo(since=Instant(moment.micros + 1))
    assert rows(palace) == before


def test_undo_wants_exactly_one_way_to_say_what(palace: Palace) -> None:
    palace.add("x", author=ANN)
    calls: list[dict[str, Any]] = [
        {},
        {"seq": 1, "session": "s1"},
        {"seq": 1, "since": "2020"},
        {"session": ""},
        {"since": "later"},
        {"seq": "1"},
        {"seq": True},
        {"seq": 0},
        {"seq": -1},
    ]
    for given in calls:
        with pytest.raises(InputError):
            palace.undo(**given)
    for given in ({"seq": 2}, {"session": "nobody"}, {"since": "8000"}):
        with pytest.raises(NotFoundError):
            palace.undo(**given)
    assert last(palace) == 1


# Undo: refused


def refuse(palace: Palace, *named: str, **what: Any) -> ConflictError:
    """Sees that this cannot be undone, that nothing was, and that the message says why."""
    before, seq = rows(palace), last(palace)
    with pytest.raises(ConflictError) as caught:
        palace.undo(**what)
    assert (rows(palace), last(palace)) == (before, seq)
    for name in named:
        assert name in str(caught.value)
    return caught.value


def test_what_somebody_built_on_is_not_undone_and_they_are_named(palace: Palace) -> None:
    drawer = palace.add("x", author=ANN).drawer
    palace.update(drawer.id, text="y", author=BOB)
    error = refuse(palace, "change 2", "bob", drawer.id, seq=1)
    assert error.standing == (f"change 2 by bob (update drawer {drawer.id})",)
    refuse(palace, "bob", session="s1")


def test_an_added_drawer_that_was_linked_since_is_not_undone(palace: Palace) -> None:
    one = palace.add("1", author=ANN)
    two = palace.add("2", author=ANN)
    link = palace.link(one.drawer.id, two.drawer.id, author=BOB).link
    refuse(palace, link.id, seq=one.seq)
    refuse(palace, link.id, session="s1")
    palace.unlink(link.id)
    palace.undo(one.seq)
    assert [drawer.text for drawer in palace.list()] == ["2"]


def test_a_link_does_not_come_back_without_its_drawer(palace: Palace) -> None:
    one, two = palace.add("1").drawer.id, palace.add("2").drawer.id
    removed = palace.unlink(palace.link(one, two).link.id)
    palace.delete(one)
    refuse(palace, one, seq=removed.seq)


def test_a_deleted_text_that_was_added_again_does_not_come_back(palace: Palace) -> None:
    removed = palace.delete(palace.add("x").drawer.id)
    again = palace.add("x").drawer
    refuse(palace, again.id, seq=removed.seq)
    palace.update(again.id, room="elsewhere")
    palace.undo(removed.seq)
    assert len(palace.duplicates("x").exact) == 2


def test_a_replaced_text_that_was_added_again_does_not_come_back(palace: Palace) -> None:
    drawer = palace.add("T1").drawer
    updated = palace.update(drawer.id, text="T2")
    again = palace.add("T1").drawer
    refuse(palace, again.id, seq=updated.seq)


def test_an_ended_fact_that_was_added_again_does_not_come_back(palace: Palace) -> None:
    knowledge = palace.knowledge
    knowledge.add("Max", "likes", "tea", valid_from="2020")
    ended = knowledge.end("Max", "likes", "tea", ended="2022")
    again = knowledge.add("Max", "likes", "tea", valid_from="2024").fact
    refuse(palace, again.id, seq=ended.seq)


def test_an_undo_that_was_built_on_is_not_undone(palace: Palace) -> None:
    drawer = palace.add("x").drawer
    palace.update(drawer.id, text="y")
    undone = palace.undo(2)
    palace.update(drawer.id, text="z", author=BOB)
    refuse(palace, "bob", seq=undone.seq)


def test_what_was_forgotten_cannot_be_undone(palace: Palace) -> None:
    drawer = palace.add("x").drawer
    palace.update(drawer.id, text="y")
    palace.forget(drawer.id)
    for seq in (1, 2, 3):
        refuse(palace, seq=seq)


def test_a_batch_is_refused_whole_when_one_of_it_was_built_on(palace: Palace) -> None:
    added = palace.add_many(NewDrawer(f"text {n}") for n in range(3))
    palace.update(added[1].drawer.id, text="changed", author=BOB)
    refuse(palace, added[1].drawer.id, seq=added[0].seq)


# Forget

SHORT = "xylophone-7F3 is it"
LONG = "".join(f"Line {n} of a text that nobody may see.\n" for n in range(26_000))


def bytes_of(folder: Path) -> bytes:
    """Everything in the palace's files."""
    return b"".join(path.read_bytes() for path in sorted(folder.iterdir()))


def vocabulary(folder: Path) -> set[str]:
    """Every word of the full-text index."""
    connection = apsw.Connection(str(folder / "palace.db"), apsw.SQLITE_OPEN_READONLY)
    try:
        return {term for (term,) in connection.execute("SELECT term FROM word_count")}
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("text", "needles"),
    [
        (SHORT, [SHORT, "xylophone"]),
        (LONG, ["Line 7 of", "Line 25999 of", "nobody may see"]),
        ("\u4f60\u597d\u4e16\u754c\u6c34\u706b" * 5, ["\u4f60\u597d\u4e16\u754c"]),
    ],
)
def test_a_forgotten_text_is_nowhere_in_the_files(
    palace: Palace, folder: Path, text: str, needles: list[str]
) -> None:
    kept = palace.add("what is kept").drawer
    drawer = palace.add(text).drawer
    assert all(needle.encode() in bytes_of(folder) for needle in needles)
    removed = palace.forget(drawer.id)
    assert removed.refs == (drawer.id,)
    for needle in needles:
        assert needle.encode() not in bytes_of(folder)
    with pytest.raises(NotFoundError):
        palace.get(drawer.id)
    assert [each.id for each in palace.list()] == [kept.id]
    assert palace.changes()[-1].op is Op.FORGET


def test_the_words_of_a_forgotten_text_leave_the_vocabulary(palace: Palace, folder: Path) -> None:
    palace.add("kept words")
    drawer = palace.add("xylograph words zymurgy").drawer
    palace.update(drawer.id, text="quokka words")
    assert {"quokka", "xylograph"} & vocabulary(folder)
    palace.forget(drawer.id)
    assert vocabulary(folder) == {"kept", "word", "tester"}
    for word in (b"quokka", b"xylograph", b"zymurg"):
        assert word not in bytes_of(folder)


@pytest.mark.parametrize("deleted", [False, True])
def test_every_revision_of_a_forgotten_drawer_is_forgotten(
    palace: Palace, folder: Path, deleted: bool
) -> None:
    texts = [f"{word} was the password then" for word in ("walrus", "quokka", "axolotl")]
    drawer = palace.add(texts[0]).drawer
    palace.update(drawer.id, text=texts[1])
    palace.update(drawer.id, text=texts[2])
    if deleted:
        palace.delete(drawer.id)
    assert all(text.encode() in bytes_of(folder) for text in texts)
    palace.forget(drawer.id)
    for word in (b"walrus", b"quokka", b"axolotl"):
        assert word not in bytes_of(folder)


def test_a_forgotten_drawer_can_be_forgotten_again_and_its_text_be_added_again(
    palace: Palace,
) -> None:
    drawer = palace.add("x" * 50).drawer
    palace.forget(drawer.id)
    palace.forget(drawer.id)
    again = palace.add("x" * 50).drawer
    assert again.id != drawer.id


def test_a_text_that_stands_elsewhere_too_stays_there(palace: Palace) -> None:
    text = "The licence is printed at the head of every file in this folder."
    first, second = (palace.add(text, source=source).drawer for source in ("a.txt", "b.txt"))
    longer = palace.add(f"{text} And more of it follows.").drawer
    palace.update(longer.id, text="gone")
    palace.forget(first.id)
    assert palace.get(second.id).text == text
    palace.undo(last(palace) - 1)
    assert palace.get(longer.id).text.startswith(text)


def test_the_links_of_a_forgotten_drawer_go_with_it(palace: Palace) -> None:
    one, two = palace.add("1").drawer.id, palace.add("2").drawer.id
    palace.link(one, two)
    palace.forget(one)
    assert palace.links() == []


def test_a_forgotten_fact_is_nowhere_in_the_files(palace: Palace, folder: Path) -> None:
    knowledge = palace.knowledge
    kept = knowledge.add("Max", "likes", "tea").fact
    fact = knowledge.add("Max", "meets", "Xylophonia Quokka", source="walrus.txt").fact
    knowledge.correct(fact.id, confidence=0.5)
    knowledge.delete(fact.id)
    assert b"Xylophonia" in bytes_of(folder)
    palace.forget(fact.id)
    for needle in (b"Xylophonia", b"xylophonia", b"walrus.txt"):
        assert needle not in bytes_of(folder)
    assert knowledge.find(subject="Max") == [kept]
    for ask in (knowledge.get, knowledge.history):
        with pytest.raises(NotFoundError):
            ask(fact.id)
    assert palace.changes()[-1].op is Op.FORGET


def test_a_forgotten_fact_leaves_the_names_that_stand_elsewhere(palace: Palace) -> None:
    knowledge = palace.knowledge
    palace.add("We met Xylophonia Quokka in the walrus house.")
    fact = knowledge.add("Max", "meets", "Xylophonia Quokka").fact
    knowledge.add("Xylophonia Quokka", "likes", "tea")
    palace.forget(fact.id)
    assert [str(each) for each in knowledge.about("Xylophonia Quokka")] == [
        "Xylophonia Quokka likes tea"
    ]
    last_of_it = knowledge.find(subject="Xylophonia Quokka")[0]
    palace.forget(last_of_it.id)
    with pytest.raises(NotFoundError):
        knowledge.entity("Xylophonia Quokka")


def test_what_rightly_stands_elsewhere_too_does_not_make_forgetting_incomplete(
    palace: Palace, tmp_path: Path
) -> None:
    (tmp_path / "sources").mkdir()
    (tmp_path / "sources" / "marzipan.md").write_text("a note of some length\n" * 9)
    palace.mine(tmp_path / "sources")
    for room in ("nougat", "plans"):
        palace.add("a", wing="shop", room=room)
    palace.link(("shop", "nougat"), ("shop", "plans"))
    palace.knowledge.set_predicate("praline", "single")
    palace.add("CARAMELS")  # the index folds and stems it
    for drawer in palace.list().items:  # so that only the link and the list of files are left
        if drawer.text != "CARAMELS":
            palace.forget(drawer.id)
    for word in ("marzipan", "nougat", "praline", "caramels", "caramel1"):
        palace.forget(palace.add(word).drawer.id)


def test_a_reader_that_holds_an_old_snapshot_makes_forgetting_incomplete(folder: Path) -> None:
    with Palace.open(folder, timeout_seconds=0.2) as palace:
        drawer = palace.add("the walrus password of the house").drawer
        reader = apsw.Connection(str(folder / "palace.db"), apsw.SQLITE_OPEN_READONLY)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM drawer").fetchall()
        with pytest.raises(ForgetIncompleteError, match="forget it again"):
            palace.forget(drawer.id)
        assert palace.list().items == ()
        reader.close()
        palace.forget(drawer.id)
        assert b"walrus" not in bytes_of(folder)


def test_what_was_never_there_cannot_be_forgotten(palace: Palace) -> None:
    palace.add("x")
    for ref in ("nobody", "f0123", "personal", "notes"):
        with pytest.raises(NotFoundError):
            palace.forget(ref)
    assert last(palace) == 1


def test_forgetting_keeps_the_locks_that_hold_the_log_in_place(tmp_path: Path) -> None:
    """Closing any descriptor of the database would drop them, and a neighbour delete the log."""
    folder = tmp_path / "palace"
    neighbour = (
        "import sys; from palatine import Palace\n"
        "with Palace.open(sys.argv[1]) as palace: palace.add(sys.argv[2])\n"
    )

    def another_adds(text: str) -> None:
        subprocess.run([sys.executable, "-c", neighbour, str(folder), text], check=True)

    with Palace.open(folder) as palace:
        palace.forget(palace.add("The key SEKRET_TOKEN_1234 leaked.").drawer.id)
        another_adds("one")
        assert (folder / "palace.db-wal").exists()
        palace.add("two")
        another_adds("three")
        assert {drawer.text for drawer in palace.list()} == {"one", "two", "three"}


def test_who_has_undone_the_last_call_can_undo_the_one_before(palace: Palace) -> None:
    drawer = palace.add("first")
    second = palace.update(drawer.drawer.id, text="second")
    third = palace.update(drawer.drawer.id, text="third")
    palace.undo(third.seq)
    assert palace.get(drawer.drawer.id).text == "second"
    palace.undo(second.seq)
    assert palace.get(drawer.drawer.id).text == "first"
    with pytest.raises(ConflictError):
        palace.undo(second.seq)
    palace.undo(drawer.seq)
    assert not palace.list().items

    fact = palace.knowledge.add("Max", "works_at", "Acme", valid_from="2024")
    ended = palace.knowledge.end("Max", "works_at", "Acme", ended="2025")
    palace.undo(ended.seq)
    assert palace.knowledge.about("Max")
    palace.undo(fact.seq)
    assert not palace.knowledge.about("Max", state="all")
    assert palace.check() == []


def test_a_reader_that_holds_an_old_snapshot_makes_emptying_the_trash_incomplete(
    folder: Path,
) -> None:
    with Palace.open(folder, timeout_seconds=0.2) as palace:
        palace.delete(palace.add("the walrus password of the house").drawer.id)
        reader = apsw.Connection(str(folder / "palace.db"), apsw.SQLITE_OPEN_READONLY)
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM drawer").fetchall()
        with pytest.raises(ForgetIncompleteError, match="empty it again"):
            palace.empty_trash()
        assert palace.trash() == []
        reader.close()
        assert palace.empty_trash() == 0
        held = b"".join(path.read_bytes() for path in folder.glob("palace.*"))
        assert b"walrus password" not in held
