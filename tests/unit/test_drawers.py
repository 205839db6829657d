"""The rules of drawers, links and diaries, at the palace's front door."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from palatine import Author, End, NewDrawer, Palace
from palatine.errors import ConflictError, InputError, NotFoundError
from palatine.instants import Precision
from palatine.types import KINDS, Drawer


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace", agent="tester", session="today") as opened:
        yield opened
        assert opened.check() == []


def contents(palace: Palace) -> dict[str, str]:
    """The text of each drawer by its id."""
    return {drawer.id: drawer.text for drawer in palace.list(limit=1000)}


def texts(palace: Palace, **where: Any) -> list[str]:
    """The texts of these drawers, sorted."""
    return sorted(drawer.text for drawer in palace.list(limit=1000, **where))


# What is filed


def test_a_drawer_is_filed_by_default_in_personal_notes_by_who_opened_the_palace(
    palace: Palace,
) -> None:
    added = palace.add("x")
    drawer = added.drawer
    assert (drawer.wing, drawer.room, drawer.kind, drawer.pinned) == (
        "personal",
        "notes",
        "note",
        False,
    )
    assert (drawer.source, drawer.position, drawer.said_at) == ("", -1, None)
    assert (drawer.author, drawer.session, drawer.metadata) == ("tester", "today", {})
    assert drawer.filed_at == drawer.changed_at
    assert added.seq == drawer.seq == 1
    assert palace.get(drawer.id) == drawer


def test_everything_that_was_given_is_kept(palace: Palace) -> None:
    drawer = palace.add(
        "x",
        wing="app",
        room="api",
        kind="decision",
        source="/talks/1.txt",
        position=3,
        said_at="2025-03",
        pinned=True,
        metadata={"tags": ["a", None], "n": 1.5},
        author=Author("ann", "monday"),
    ).drawer
    found = palace.get(drawer.id)
    assert found == drawer
    assert (found.wing, found.room, found.kind, found.pinned) == ("app", "api", "decision", True)
    assert (found.source, found.position) == ("/talks/1.txt", 3)
    assert (str(found.said_at), found.metadata) == ("2025-03", {"tags": ["a", None], "n": 1.5})
    assert (found.author, found.session) == ("ann", "monday")


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_is_kept(palace: Palace, kind: str) -> None:
    assert palace.add("x", kind=kind).drawer.kind == kind
    assert texts(palace, kind=kind) == ["x"]


def test_an_author_and_session_of_the_text_itself_come_before_the_writers(palace: Palace) -> None:
    new = NewDrawer("x", author="Ann", session="s9")
    drawer = palace.add_many([new], author=Author("bob", "s1"))[0].drawer
    assert (drawer.author, drawer.session) == ("Ann", "s9")
    (change,) = palace.changes()
    assert (change.agent, change.session) == ("bob", "s1")


def test_names_are_kept_trimmed_and_composed(palace: Palace) -> None:
    drawer = palace.add("x", wing="  my \t app\n", room="Cafe\u0301").drawer
    assert (drawer.wing, drawer.room) == ("my app", "Caf\u00e9")
    assert texts(palace, wing=" my app ", room="Cafe\u0301") == ["x"]


def test_said_at_takes_a_datetime_with_an_offset(palace: Palace) -> None:
    moment = datetime(2025, 3, 1, 9, 30, tzinfo=UTC)
    drawer = palace.add("x", said_at=moment).drawer
    assert drawer.said_at is not None
    assert (drawer.said_at.at, drawer.said_at.precision) == (moment, Precision.INSTANT)


@pytest.mark.parametrize("text", [" ", "\n", "\x00", "\ud800", "\U0001f469\u200d\U0001f4bb\x1b[1m"])
def test_any_text_comes_back_as_it_was(palace: Palace, text: str) -> None:
    assert palace.get(palace.add(text).drawer.id).text == text


def test_ten_megabytes_are_filed_whole_and_found_at_their_end(palace: Palace) -> None:
    text = "Nothing much was said in this line.\n" * 300_000 + "the password is xylophone"
    drawer = palace.add(text).drawer
    assert palace.get(drawer.id).text == text
    (hit,) = palace.search("xylophone")
    assert hit.drawer.id == drawer.id
    assert hit.span.endswith("the password is xylophone")


# Sameness


def test_the_same_text_in_the_same_place_is_one_drawer(palace: Palace) -> None:
    first = palace.add("x", wing="app", room="api", source="s", position=1)
    again = palace.add("x", wing=" app", room="api ", source="s", position=1, pinned=True)
    assert (first.created, again.created, again.seq) == (True, False, 0)
    assert again.drawer == first.drawer
    assert len(palace.changes()) == 1


@pytest.mark.parametrize(
    "other", [{"wing": "v"}, {"room": "q"}, {"source": "t"}, {"position": 2}, {"text": "x "}]
)
def test_the_same_text_elsewhere_is_another_drawer(palace: Palace, other: dict[str, Any]) -> None:
    place: dict[str, Any] = {"text": "x", "wing": "w", "room": "r", "source": "s", "position": 1}
    first = palace.add(**place)
    second = palace.add(**place | other)
    assert (first.created, second.created) == (True, True)
    assert first.drawer.id != second.drawer.id


def test_a_text_that_was_replaced_can_be_added_again(palace: Palace) -> None:
    first = palace.add("T1").drawer
    palace.update(first.id, text="T2")
    second = palace.add("T1")
    assert second.created
    assert contents(palace) == {first.id: "T2", second.drawer.id: "T1"}


def test_a_text_that_was_moved_can_be_added_to_its_old_room(palace: Palace) -> None:
    first = palace.add("x", room="old").drawer
    palace.update(first.id, room="new")
    second = palace.add("x", room="old")
    assert second.created
    assert palace.get(first.id).room == "new"
    assert palace.get(second.drawer.id).room == "old"


def test_a_text_that_was_deleted_can_be_added_again_under_a_new_id(palace: Palace) -> None:
    first = palace.add("x").drawer
    palace.delete(first.id)
    second = palace.add("x")
    assert second.created
    assert second.drawer.id != first.id


def test_the_same_text_of_two_files_is_two_drawers(palace: Palace) -> None:
    for source in ("a.txt", "b.txt"):
        assert palace.add("licence", source=source).created
    assert texts(palace) == ["licence", "licence"]
    assert len(palace.duplicates("licence").exact) == 2


def test_the_same_text_twice_in_one_call_is_one_drawer(palace: Palace) -> None:
    first, other, again = palace.add_many([NewDrawer("x"), NewDrawer("y"), NewDrawer("x")])
    assert (first.created, other.created, again.created) == (True, True, False)
    assert again.drawer.id == first.drawer.id
    assert len(contents(palace)) == 2


def test_two_palaces_give_the_same_first_addition_the_same_id(
    palace: Palace, tmp_path: Path
) -> None:
    with Palace.open(tmp_path / "other") as other:
        assert other.add("x", wing="w").drawer.id == palace.add("x", wing="w").drawer.id


def test_duplicates_are_found_by_the_exact_text_anywhere(palace: Palace) -> None:
    palace.add("x", wing="a")
    palace.add("x", wing="b")
    palace.add("x ", wing="c")
    assert {drawer.wing for drawer in palace.duplicates("x").exact} == {"a", "b"}
    assert palace.duplicates("X").exact == ()


# Many at once


def test_many_drawers_are_added_all_or_none(palace: Palace) -> None:
    with pytest.raises(InputError):
        palace.add_many([NewDrawer("x"), NewDrawer("y", kind="nonsense"), NewDrawer("z")])
    assert contents(palace) == {}
    assert palace.changes() == []
    assert palace.add_many([]) == []


def test_many_drawers_are_one_operation(palace: Palace) -> None:
    added = palace.add_many(NewDrawer(f"text {n}") for n in range(5))
    assert [each.seq for each in added] == [1, 2, 3, 4, 5]
    assert {change.operation for change in palace.changes()} == {1}


# Former ids


def test_an_id_from_elsewhere_leads_to_the_drawer(palace: Palace) -> None:
    drawer = palace.add_many([NewDrawer("x", former_id="drawer_app_api_0a1b")])[0].drawer
    assert palace.get("drawer_app_api_0a1b") == drawer
    palace.update("drawer_app_api_0a1b", text="y")
    assert palace.get(drawer.id).text == "y"
    palace.delete("drawer_app_api_0a1b")
    with pytest.raises(NotFoundError):
        palace.get("drawer_app_api_0a1b")


def test_a_second_former_id_leads_to_the_same_drawer(palace: Palace) -> None:
    first, again = palace.add_many([NewDrawer("x", former_id="a"), NewDrawer("x", former_id="b")])
    assert not again.created
    assert palace.get("a") == palace.get("b") == first.drawer


def test_an_id_from_elsewhere_never_hides_a_drawers_own(palace: Palace) -> None:
    mine = palace.add("mine").drawer
    palace.add_many([NewDrawer("other", former_id=mine.id)])
    assert palace.get(mine.id) == mine


# Changing


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("text", "new \x00\ud800"),
        ("wing", "other"),
        ("room", "other"),
        ("kind", "question"),
        ("pinned", True),
        ("source", "other.txt"),
        ("metadata", {"n": 2}),
    ],
)
def test_an_update_changes_what_is_given_and_nothing_else(
    palace: Palace, field: str, value: Any
) -> None:
    old = palace.add("x", said_at="2025", metadata={"n": 1}).drawer
    updated = palace.update(old.id, **{field: value})
    assert updated.changed
    assert getattr(updated.drawer, field) == value
    assert updated.drawer.changed_at.micros > old.filed_at.micros
    same = replace(
        updated.drawer,
        changed_at=old.changed_at,
        seq=old.seq,
        digest=old.digest,
        **{field: getattr(old, field)},
    )
    assert same == old
    assert palace.get(old.id) == updated.drawer


def test_said_at_can_be_changed_and_removed(palace: Palace) -> None:
    drawer = palace.add("x", said_at="2025").drawer
    assert str(palace.update(drawer.id, said_at="2025-03-01").drawer.said_at) == "2025-03-01"
    assert palace.update(drawer.id, said_at=None).drawer.said_at is None


def test_an_update_that_changes_nothing_writes_nothing(palace: Palace) -> None:
    drawer = palace.add("x", wing="w", said_at="2025", metadata={"a": (1, 2)}).drawer
    updated = palace.update(
        drawer.id, text="x", wing=" w ", said_at="2025", pinned=False, metadata={"a": [1, 2]}
    )
    assert (updated.changed, updated.seq, updated.drawer) == (False, 0, drawer)
    assert not palace.update(drawer.id).changed
    assert len(palace.changes()) == 1


@pytest.mark.parametrize("change", [{"text": "x"}, {"room": "a"}])
def test_an_update_onto_the_same_text_in_the_same_place_is_refused(
    palace: Palace, change: dict[str, str]
) -> None:
    there = palace.add("x", room="a").drawer
    other = palace.add("x" if "room" in change else "y", room="b" if "room" in change else "a")
    with pytest.raises(ConflictError, match=there.id) as caught:
        palace.update(other.drawer.id, **change)
    assert caught.value.standing == (there.id,)
    assert palace.get(other.drawer.id) == other.drawer


def test_a_pin_is_set_and_taken_away(palace: Palace) -> None:
    drawer = palace.add("x").drawer
    assert palace.pin(drawer.id).drawer.pinned
    assert texts(palace, pinned=True) == ["x"]
    assert not palace.pin(drawer.id).changed
    assert not palace.pin(drawer.id, pinned=False).drawer.pinned
    assert texts(palace, pinned=True) == []


# Deleting


def filled(palace: Palace) -> dict[str, Drawer]:
    places = {"a": ("app", "api", "1.txt"), "b": ("app", "web", "1.txt"), "c": ("home", "api", "")}
    return {
        text: palace.add(text, wing=wing, room=room, source=source).drawer
        for text, (wing, room, source) in places.items()
    }


@pytest.mark.parametrize(
    ("where", "left"),
    [
        ({"wing": "app"}, ["c"]),
        ({"wing": " app "}, ["c"]),
        ({"room": "api"}, ["b"]),
        ({"wing": "app", "room": "api"}, ["b", "c"]),
        ({"source": "1.txt"}, ["c"]),
        ({"wing": "nowhere"}, ["a", "b", "c"]),
        ({"wing": ""}, ["a", "b", "c"]),
        ({"wing": "app' OR 1=1 --"}, ["a", "b", "c"]),
    ],
)
def test_drawers_are_deleted_by_place_or_source(
    palace: Palace, where: dict[str, str], left: list[str]
) -> None:
    drawers = filled(palace)
    removed = palace.delete(**where)
    assert texts(palace) == left
    assert set(removed.refs) == {drawers[text].id for text in {"a", "b", "c"} - set(left)}
    assert bool(removed.seq) == bool(removed.refs)


def test_drawers_are_deleted_by_id_in_one_operation(palace: Palace) -> None:
    drawers = filled(palace)
    removed = palace.delete(drawers["a"].id, drawers["c"].id)
    assert set(removed.refs) == {drawers["a"].id, drawers["c"].id}
    assert texts(palace) == ["b"]
    assert {change.operation for change in palace.changes(after=3)} == {removed.seq}


def test_one_unknown_id_deletes_none(palace: Palace) -> None:
    drawers = filled(palace)
    with pytest.raises(NotFoundError, match="nobody"):
        palace.delete(drawers["a"].id, "nobody")
    assert texts(palace) == ["a", "b", "c"]


def test_more_drawers_than_a_batch_are_deleted_in_one_call(palace: Palace) -> None:
    palace.add_many(NewDrawer(f"text {n}", wing="big") for n in range(1_100))
    removed = palace.delete(wing="big")
    assert len(removed.refs) == 1_100
    assert contents(palace) == {}
    palace.undo(removed.seq)
    assert len(palace.search("text 1042", limit=1)) == 1
    assert palace.status().drawers == 1_100


# Lists


def test_pages_go_on_where_the_last_one_ended(palace: Palace) -> None:
    palace.add_many(NewDrawer(str(n), wing="w") for n in range(7))
    palace.add("elsewhere")
    seen: list[str] = []
    cursor = ""
    pages = 0
    while pages == 0 or cursor:
        page = palace.list(wing="w", limit=3, cursor=cursor)
        seen += [drawer.text for drawer in page]
        cursor = page.cursor
        pages += 1
        palace.add(f"new {pages}", wing="w")
    assert pages == 3
    assert sorted(seen) == [str(n) for n in range(7)]


def test_the_last_page_has_no_cursor(palace: Palace) -> None:
    palace.add_many(NewDrawer(str(n)) for n in range(4))
    assert palace.list(limit=4).cursor == ""
    assert palace.list(limit=3).cursor != ""
    assert len(palace.list(limit=3)) == 3
    assert len(Palace.list(palace, wing="nowhere")) == 0


def test_lists_are_bounded_by_the_time_of_filing(palace: Palace) -> None:
    first, second = palace.add("1").drawer, palace.add("2").drawer
    assert texts(palace, since=second.filed_at) == ["2"]
    assert texts(palace, before=second.filed_at) == ["1"]
    assert texts(palace, since=first.filed_at, before=first.filed_at) == []
    assert texts(palace, since="2020", before="9000-01-01") == ["1", "2"]


# Links


def test_a_link_has_no_direction(palace: Palace) -> None:
    one, two = palace.add("1").drawer.id, palace.add("2").drawer.id
    linked = palace.link(one, two, "because")
    again = palace.link(two, one, "because")
    assert (linked.created, again.created, again.differs, again.seq) == (True, False, "", 0)
    assert again.link == linked.link
    assert palace.links(one) == palace.links(two) == palace.links() == [linked.link]


def test_a_link_with_another_label_says_how_it_differs(palace: Palace) -> None:
    one, two = palace.add("1").drawer.id, palace.add("2").drawer.id
    palace.link(one, two, "because")
    again = palace.link(one, two, "although")
    assert not again.created
    assert again.link.label == "because"
    assert "although" in again.differs


def test_rooms_and_drawers_can_be_linked(palace: Palace) -> None:
    drawers = filled(palace)
    rooms = palace.link(("app", "api"), End("home", "api")).link
    mixed = palace.link(("app", " web "), drawers["c"].id).link
    assert {rooms.source, rooms.target} == {End("app", "api"), End("home", "api")}
    assert palace.links(drawers["c"].id) == [mixed]
    assert len(palace.links()) == 2


def test_a_link_is_removed(palace: Palace) -> None:
    one, two = palace.add("1").drawer.id, palace.add("2").drawer.id
    link = palace.link(one, two).link
    assert palace.unlink(link.id).refs == (link.id,)
    assert palace.links() == []
    for unknown in (link.id, one, "nothing"):
        with pytest.raises(NotFoundError):
            palace.unlink(unknown)


def test_deleting_a_drawer_removes_its_links_however_many(palace: Palace) -> None:
    hub = palace.add("hub").drawer.id
    others = palace.add_many(NewDrawer(f"spoke {n}") for n in range(510))
    for other in others:
        palace.link(hub, other.drawer.id)
    removed = palace.delete(hub)
    assert palace.links() == []
    palace.undo(removed.seq)
    assert len(palace.links(hub)) == 510


# Diaries


def test_a_diary_entry_is_always_a_new_one(palace: Palace) -> None:
    first, second = (palace.diary_write("claude", "a quiet day") for _ in range(2))
    assert first.created
    assert second.created
    assert [entry.id for entry in palace.diary_read("claude")] == [
        second.drawer.id,
        first.drawer.id,
    ]


def test_a_diary_belongs_to_its_agent(palace: Palace) -> None:
    entry = palace.diary_write("claude", "a quiet day", topic="work").drawer
    palace.diary_write("codex", "a busy day")
    palace.add("a note", wing="claude")
    assert (entry.wing, entry.room, entry.kind, entry.author) == (
        "claude",
        "diary",
        "diary",
        "claude",
    )
    assert entry.metadata == {"topic": "work"}
    assert [each.text for each in palace.diary_read("claude")] == ["a quiet day"]
    assert [each.text for each in palace.diary_read(" claude ")] == ["a quiet day"]
    assert palace.changes()[0].agent == "claude"


def test_diaries_are_read_in_pages_the_newest_first(palace: Palace) -> None:
    for n in range(5):
        palace.diary_write("claude", f"day {n}")
    page = palace.diary_read("claude", limit=2)
    rest = palace.diary_read("claude", limit=9, cursor=page.cursor)
    assert [entry.text for entry in (*page, *rest)] == [f"day {n}" for n in (4, 3, 2, 1, 0)]


# Bad input

NAUGHTY = ["a\x00b", "\ud800", "\x1b[31m", "\x7f", "x" * 201, 5, b"x", ["x"]]
HUGE = 2**63


def _bad_names() -> Iterator[tuple[str, Callable[[Palace, Any], object]]]:
    yield "add wing", lambda palace, bad: palace.add("t", wing=bad)
    yield "add room", lambda palace, bad: palace.add("t", room=bad)
    yield "add author", lambda palace, bad: palace.add_many([NewDrawer("t", author=bad)])
    yield "add session", lambda palace, bad: palace.add_many([NewDrawer("t", session=bad)])
    yield "add former id", lambda palace, bad: palace.add_many([NewDrawer("t", former_id=bad)])
    yield "writer's name", lambda palace, bad: palace.add("t", author=Author(bad))
    yield "writer's session", lambda palace, bad: palace.add("t", author=Author("a", bad))
    yield "update wing", lambda palace, bad: palace.update(known(palace), wing=bad)
    yield "update room", lambda palace, bad: palace.update(known(palace), room=bad)
    yield "get", lambda palace, bad: palace.get(bad)
    yield "list wing", lambda palace, bad: palace.list(wing=bad)
    yield "list author", lambda palace, bad: palace.list(author=bad)
    yield "delete id", lambda palace, bad: palace.delete(bad)
    yield "delete wing", lambda palace, bad: palace.delete(wing=bad)
    yield "search wing", lambda palace, bad: palace.search("t", wing=bad)
    yield "link label", lambda palace, bad: palace.link(known(palace), ("w", "r"), bad)
    yield "link drawer", lambda palace, bad: palace.link(bad, known(palace))
    yield "link room", lambda palace, bad: palace.link(known(palace), ("w", bad))
    yield "links", lambda palace, bad: palace.links(bad)
    yield "unlink", lambda palace, bad: palace.unlink(bad)
    yield "diary", lambda palace, bad: palace.diary_write(bad, "t")
    yield "read diary", lambda palace, bad: palace.diary_read(bad)
    yield "changes agent", lambda palace, bad: palace.changes(agent=bad)
    yield "changes session", lambda palace, bad: palace.changes(session=bad)
    yield "undo session", lambda palace, bad: palace.undo(session=bad)
    yield "forget", lambda palace, bad: palace.forget(bad)


def known(palace: Palace) -> str:
    return palace.list(limit=1).items[0].id


@pytest.mark.parametrize(
    ("call"), [call for _, call in _bad_names()], ids=[n for n, _ in _bad_names()]
)
def test_names_that_cannot_be_kept_are_refused_everywhere(
    palace: Palace, call: Callable[[Palace, Any], object]
) -> None:
    palace.add("x", wing="w", room="r")
    for bad in NAUGHTY:
        with pytest.raises(InputError):
            call(palace, bad)
    assert len(palace.changes()) == 1
    assert texts(palace) == ["x"]


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.add(""),
        lambda p: p.add(None),
        lambda p: p.add(b"bytes"),
        lambda p: p.add(7),
        lambda p: p.add("t", kind="essay"),
        lambda p: p.add("t", kind=""),
        lambda p: p.add("t", kind=["note"]),
        lambda p: p.add("t", position=-2),
        lambda p: p.add("t", position=HUGE),
        lambda p: p.add("t", position="1"),
        lambda p: p.add("t", position=1.5),
        lambda p: p.add("t", position=True),
        lambda p: p.add("t", pinned="yes"),
        lambda p: p.add("t", pinned=None),
        lambda p: p.add("t", source="a\x00b"),
        lambda p: p.add("t", source="x" * 4097),
        lambda p: p.add("t", source=5),
        lambda p: p.add("t", said_at="yesterday"),
        lambda p: p.add("t", said_at=""),
        lambda p: p.add("t", said_at=5),
        lambda p: p.add("t", metadata=5),
        lambda p: p.add("t", metadata={"a": object()}),
        lambda p: p.add("t", metadata={"a": float("nan")}),
        lambda p: p.update(known(p), text=""),
        lambda p: p.update(known(p), text=None),
        lambda p: p.update(known(p), text=b"x"),
        lambda p: p.update(known(p), wing=""),
        lambda p: p.update(known(p), room=" "),
        lambda p: p.update(known(p), kind="essay"),
        lambda p: p.update(known(p), pinned="yes"),
        lambda p: p.update(known(p), pinned=None),
        lambda p: p.update(known(p), said_at="soon"),
        lambda p: p.update(known(p), metadata=[1]),
        lambda p: p.delete(),
        lambda p: p.link(known(p), known(p)),
        lambda p: p.link(("w", "r"), ("w", "r")),
        lambda p: p.link(("w", ""), known(p)),
        lambda p: p.link(("a", "b", "c"), known(p)),
        lambda p: p.diary_write("", "t"),
        lambda p: p.diary_write("claude", ""),
        lambda p: p.list(limit=0),
        lambda p: p.list(limit=1001),
        lambda p: p.list(limit=-1),
        lambda p: p.list(limit="5"),
        lambda p: p.list(limit=True),
        lambda p: p.list(limit=2.0),
        lambda p: p.list(cursor="rubbish"),
        lambda p: p.list(cursor="12"),
        lambda p: p.list(cursor="12:"),
        lambda p: p.list(cursor="x:d1"),
        lambda p: p.list(cursor=f"{HUGE}:d1"),
        lambda p: p.list(cursor="12:\ud800"),
        lambda p: p.list(cursor=5),
        lambda p: p.list(since="now"),
        lambda p: p.duplicates(5),
        lambda p: p.changes(after=-1),
        lambda p: p.changes(after="1"),
        lambda p: p.changes(limit=0),
        lambda p: p.changes(limit=True),
        lambda p: p.changes(limit=100_001),
    ],
)
def test_what_cannot_be_used_is_refused_and_nothing_is_written(
    palace: Palace, call: Callable[[Any], object]
) -> None:
    palace.add("x", wing="w", room="r")
    with pytest.raises(InputError):
        call(palace)
    assert len(palace.changes()) == 1
    assert texts(palace) == ["x"]


@pytest.mark.parametrize(
    "call",
    [
        lambda p: p.get("nobody"),
        lambda p: p.get(""),
        lambda p: p.update("nobody", text="x"),
        lambda p: p.pin("nobody"),
        lambda p: p.delete("nobody"),
        lambda p: p.link(known(p), "nobody"),
        lambda p: p.link(known(p), ("w", "empty")),
        lambda p: p.unlink("nobody"),
        lambda p: p.forget("nobody"),
        lambda p: p.undo(99),
        lambda p: p.undo(HUGE),
    ],
)
def test_what_does_not_exist_is_named_and_nothing_is_written(
    palace: Palace, call: Callable[[Any], object]
) -> None:
    palace.add("x", wing="w", room="r")
    with pytest.raises(NotFoundError):
        call(palace)
    assert len(palace.changes()) == 1


def test_a_seq_beyond_all_has_no_changes_after_it(palace: Palace) -> None:
    palace.add("x")
    assert palace.changes(after=99) == palace.changes(after=HUGE) == []


SQL = "'; DROP TABLE drawer; --"


def test_sql_in_names_is_a_name(palace: Palace) -> None:
    drawer = palace.add(SQL, wing=SQL, room=SQL, source=SQL, author=Author(SQL, SQL)).drawer
    assert palace.get(drawer.id) == drawer
    assert texts(palace, wing=SQL, room=SQL, source=SQL, author=SQL, session=SQL) == [SQL]
    assert [place.wing for place in palace.status().places] == [SQL]
    assert len(palace.search(SQL, wing=SQL)) == 1
    assert len(palace.changes(agent=SQL)) == 1


@pytest.mark.parametrize("name", ["%", "_", "a*", '"', "\u202eabc", "\u0130\u0131", "\U0001f600"])
def test_unusual_names_are_names(palace: Palace, name: str) -> None:
    palace.add("x", wing=name)
    palace.add("y", wing="other")
    assert texts(palace, wing=name) == ["x"]
