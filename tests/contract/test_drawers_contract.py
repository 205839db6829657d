"""What every store does with drawers, links and former ids."""

from dataclasses import replace
from typing import Any

import pytest

from palatine import text as texts
from palatine.errors import StoreError
from palatine.instants import Instant, parse_start
from palatine.store.base import Store, WriteTx
from palatine.types import DrawerFilter, End, FormerId, Kind, Link, Op, Place
from tests.contract import nouns
from tests.contract.nouns import NOBODY, a_drawer, a_link, drawer_ids, ids, put, refused

FULL = a_drawer(
    "full",
    wing="wing \u00e9",
    room="room'; DROP TABLE drawer; --",
    kind="decision",
    pinned=True,
    source="/talks/2025 \u4e2d.txt",
    position=3,
    author="Ann",
    session="s-1",
    said_at=parse_start("2025-03"),
    filed_at=Instant(1_700_000_000_000_001),
    changed_at=Instant(1_700_000_000_000_002),
    metadata={"a": [1, 2.5, None, True, {"b": "\u202e\x00\ud800"}]},
    seq=12,
)


def test_a_drawer_comes_back_as_it_was_put(store: Store) -> None:
    with store.write(NOBODY) as tx:
        for n in range(12):
            tx.record(Kind.DRAWER, str(n), Op.ADD, wing="", before=None)
        nouns.put_drawer(tx, FULL)
    with store.read() as tx:
        assert tx.drawer("full") == FULL
        assert tx.drawers(DrawerFilter(), limit=1) == [FULL]


@pytest.mark.parametrize(
    "text",
    [
        " ",
        "\x00",
        "a\x00b\x00",
        "\ud800 lone \udfff",
        "\ud83d\ude00",  # two surrogates that were never joined
        "\U0001f469\u200d\U0001f4bb \U0001f1e9\U0001f1ea",
        "\u202eright\u202c \u2066isolate\u2069 \u05e9\u05dc\u05d5\u05dd",
        "\ufeffmark \r\n\r \x0b\x1b[31m\x7f\x85\u2028",
        "e\u0301 is not \u00e9",
        "'; DROP TABLE drawer; --",
    ],
)
def test_any_text_comes_back_byte_for_byte(store: Store, text: str) -> None:
    drawer = a_drawer(text=text)
    with store.write(NOBODY) as tx:
        nouns.put_drawer(tx, drawer)
        seq = tx.record(Kind.DRAWER, "d1", Op.UPDATE, wing="app", before=drawer)
    with store.read() as tx:
        for found in (tx.drawer("d1"), tx.before(seq)):
            assert found == drawer
            assert texts.encode(found.text) == texts.encode(text)


def test_ten_megabytes_come_back_byte_for_byte(store: Store) -> None:
    text = "x\x00\ud800\u4e2d\U0001f600 word\n" * 600_000
    assert len(texts.encode(text)) > 10_000_000
    drawer = a_drawer(text=text)
    with store.write(NOBODY) as tx:
        tx.put_drawer(drawer, nouns.one_chunk(a_drawer(text="word")))
    with store.read() as tx:
        assert tx.drawer("d1") == drawer


def test_a_drawer_that_is_not_there_is_none(store: Store) -> None:
    put(store, a_drawer("d1"))
    with store.read() as tx:
        assert tx.drawer("d2") is None
        assert tx.drawer("") is None
        assert tx.drawer("D1") is None


def test_putting_a_drawer_again_replaces_it_with_its_words(store: Store) -> None:
    put(store, a_drawer("d1", text="alpha beta"), a_drawer("d2", text="alpha"))
    new = a_drawer("d1", text="gamma", wing="other", room="hall", pinned=True, metadata={"n": 1})
    put(store, new)
    with store.read() as tx:
        assert tx.drawer("d1") == new
        found = {word: nouns.holders(tx, word) for word in ("alpha", "beta", "gamma")}
    assert found == {"alpha": ["d2"], "beta": [], "gamma": ["d1"]}


def test_putting_a_drawer_again_replaces_every_field(store: Store) -> None:
    full = replace(FULL, seq=0)
    said_at = parse_start("2025-03-01")  # the same moment, given more precisely
    put(store, a_drawer("full", filed_at=full.filed_at, said_at=said_at))
    put(store, full)
    with store.read() as tx:
        assert tx.drawer("full") == full


def test_a_deleted_drawer_is_gone_with_its_words(store: Store) -> None:
    put(store, a_drawer("d1", text="alpha"), a_drawer("d2", text="beta"))
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d1")
    with store.read() as tx:
        assert tx.drawer("d1") is None
        assert tx.matching(["alpha"], DrawerFilter(), limit=10) == []
        assert ids(tx.drawers(DrawerFilter(), limit=10)) == ["d2"]
        assert tx.places(DrawerFilter()) == [Place("app", "api", 1)]


def test_a_deleted_drawer_can_be_put_again(store: Store) -> None:
    put(store, a_drawer("d1", text="alpha"))
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d1")
        nouns.put_drawer(tx, a_drawer("d1", text="alpha"))
    with store.read() as tx:
        assert tx.drawer("d1") == a_drawer("d1", text="alpha")
        assert len(tx.matching(["alpha"], DrawerFilter(), limit=10)) == 1


# Sameness

SAME_PLACE: dict[str, Any] = {
    "text": "same",
    "wing": "w",
    "room": "r",
    "source": "s",
    "position": 1,
}


def test_two_drawers_with_one_text_in_one_place_are_refused(store: Store) -> None:
    put(store, a_drawer("d1", **SAME_PLACE))

    def put_two(tx: WriteTx) -> None:
        nouns.put_drawer(tx, a_drawer("d2", text="innocent"))
        nouns.put_drawer(tx, a_drawer("d3", **SAME_PLACE))

    refused(store, StoreError, put_two)


def test_moving_a_drawer_onto_another_is_refused(store: Store) -> None:
    put(store, a_drawer("d1", **SAME_PLACE), a_drawer("d2", **SAME_PLACE | {"room": "q"}))
    refused(store, StoreError, lambda tx: nouns.put_drawer(tx, a_drawer("d2", **SAME_PLACE)))


@pytest.mark.parametrize(
    "other", [{"text": "Same"}, {"wing": "v"}, {"room": "q"}, {"source": ""}, {"position": 2}]
)
def test_one_difference_makes_another_drawer(store: Store, other: dict[str, Any]) -> None:
    put(store, a_drawer("d1", **SAME_PLACE), a_drawer("d2", **SAME_PLACE | other))
    assert drawer_ids(store, DrawerFilter()) == ["d2", "d1"]


def test_a_drawer_may_replace_itself_in_its_place(store: Store) -> None:
    put(store, a_drawer("d1", **SAME_PLACE))
    put(store, a_drawer("d1", **SAME_PLACE, pinned=True))
    assert drawer_ids(store, DrawerFilter(pinned=True)) == ["d1"]


# Lists


def test_the_newest_filing_comes_first_then_ids_downwards(store: Store) -> None:
    filed = {"d1": 5, "d2": 9, "d3": 5, "d4": -3, "d5": 5}
    put(store, *(a_drawer(ref, filed_at=Instant(at)) for ref, at in filed.items()))
    assert drawer_ids(store, DrawerFilter()) == ["d2", "d5", "d3", "d1", "d4"]


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_pages_join_to_the_whole_list_while_others_file(store: Store, size: int) -> None:
    drawers = [a_drawer(f"d{n:02}", filed_at=Instant(n // 3)) for n in range(10)]
    put(store, *drawers)
    whole = drawer_ids(store, DrawerFilter())
    seen: list[str] = []
    before = None
    for _ in range(11):
        with store.read() as tx:
            page = tx.drawers(DrawerFilter(), limit=size, before=before)
        if not page:
            break
        seen += ids(page)
        before = (page[-1].filed_at.micros, page[-1].id)
        put(store, a_drawer(f"new{len(seen)}", filed_at=Instant(100)))
    assert seen == whole


def test_going_on_after_a_drawer_that_was_deleted_loses_nothing(store: Store) -> None:
    put(store, *(a_drawer(f"d{n}") for n in range(4)))
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d2")
    assert drawer_ids(store, DrawerFilter(), before=(1_000, "d2")) == ["d1", "d0"]


def test_a_list_can_leave_the_texts_out(store: Store) -> None:
    put(store, a_drawer("d1"))
    with store.read() as tx:
        (found,) = tx.drawers(DrawerFilter(), limit=1, texts=False)
    assert found == replace(a_drawer("d1"), text="")


FILTERED = [
    a_drawer("d1", wing="app", room="api", filed_at=Instant(10)),
    a_drawer("d2", wing="app", room="web", kind="decision", pinned=True, filed_at=Instant(20)),
    a_drawer("d3", wing="home", room="api", source="a.txt", position=0, author="ann"),
    a_drawer("d4", wing="home", source="a.txt", position=1, session="s1", said_at=Instant(100)),
    a_drawer("d5", wing="App", said_at=parse_start("1970-01-02"), text="text of d1"),
]


@pytest.mark.parametrize(
    ("where", "found"),
    [
        (DrawerFilter(), "d1 d2 d3 d4 d5"),
        (DrawerFilter(wing="app"), "d1 d2"),
        (DrawerFilter(wing="ap"), ""),
        (DrawerFilter(wing=""), ""),
        (DrawerFilter(wing="app' OR '1'='1"), ""),
        (DrawerFilter(room="api"), "d1 d3 d4 d5"),
        (DrawerFilter(wing="app", room="api"), "d1"),
        (DrawerFilter(kind="decision"), "d2"),
        (DrawerFilter(kind="note", wing="app"), "d1"),
        (DrawerFilter(source="a.txt"), "d3 d4"),
        (DrawerFilter(source=""), "d1 d2 d5"),
        (DrawerFilter(source="a.txt", position=0), "d3"),
        (DrawerFilter(position=-1), "d1 d2 d5"),
        (DrawerFilter(author="ann"), "d3"),
        (DrawerFilter(session="s1"), "d4"),
        (DrawerFilter(pinned=True), "d2"),
        (DrawerFilter(pinned=False, wing="app"), "d1"),
        (DrawerFilter(said_since=Instant(100)), "d4 d5"),
        (DrawerFilter(said_since=Instant(101)), "d5"),
        (DrawerFilter(said_before=Instant(100)), ""),
        (DrawerFilter(said_before=Instant(101)), "d4"),
        (DrawerFilter(said_since=parse_start("1970-01-02")), "d5"),
        (DrawerFilter(said_before=parse_start("1970-01-02")), "d4"),
        (DrawerFilter(filed_since=Instant(20), filed_before=Instant(1_000)), "d2"),
        (DrawerFilter(filed_since=Instant(10), filed_before=Instant(20)), "d1"),
        (DrawerFilter(filed_since=Instant(20), filed_before=Instant(20)), ""),
        (DrawerFilter(ids=("d3", "d1", "unknown", "d3")), "d1 d3"),
        (DrawerFilter(ids=("d3", "d1"), wing="app"), "d1"),
        (DrawerFilter(ids=()), ""),
        (DrawerFilter(digest=FILTERED[0].digest), "d1 d5"),
        (DrawerFilter(digest=bytes(32)), ""),
    ],
)
def test_each_field_of_a_drawer_filter_restricts(
    store: Store, where: DrawerFilter, found: str
) -> None:
    put(store, *FILTERED)
    assert sorted(drawer_ids(store, where)) == found.split()
    with store.read() as tx:
        assert sum(place.drawers for place in tx.places(where)) == len(found.split())
        assert nouns.holders(tx, "text", where=where) == found.split()


def test_places_are_counted_and_sorted_by_code_points(store: Store) -> None:
    names = ["z", "Z", "a b", "\u00e9", "\uffee", "\U0001f600", "a", "\u4e2d"]
    put(store, *(a_drawer(f"d{n}", wing=name, room="r") for n, name in enumerate(names)))
    put(store, a_drawer("e1", wing="a", room="b"), a_drawer("e2", wing="a", room="r", text="2"))
    with store.read() as tx:
        places = tx.places(DrawerFilter())
    assert places == [
        Place("Z", "r", 1),
        Place("a", "b", 1),
        Place("a", "r", 2),
        *(Place(name, "r", 1) for name in sorted(set(names) - {"Z", "a"})),
    ]


# Former ids


def test_a_former_id_leads_to_its_drawer_and_an_own_id_comes_first(store: Store) -> None:
    put(store, a_drawer("d1"), a_drawer("d2"))
    with store.write(NOBODY) as tx:
        tx.put_former_id("drawer_old_77", "d1")
        tx.put_former_id("d2", "d1")
        assert tx.drawer("drawer_old_77") == a_drawer("d1")
    with store.read() as tx:
        assert tx.drawer("drawer_old_77") == a_drawer("d1")
        assert tx.drawer("d2") == a_drawer("d2")
        assert tx.drawer("drawer_old") is None


def test_a_former_id_can_be_led_elsewhere_and_may_lead_nowhere(store: Store) -> None:
    put(store, a_drawer("d1"), a_drawer("d2"))
    for target in ("d1", "d2"):
        with store.write(NOBODY) as tx:
            tx.put_former_id("old", target)
        with store.read() as tx:
            assert tx.drawer("old") == a_drawer(target)
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d2")
    with store.read() as tx:
        assert tx.drawer("old") is None


@pytest.mark.parametrize("size", [1, 2, 10])
def test_former_ids_that_lead_to_a_drawer_come_in_pages_by_id(store: Store, size: int) -> None:
    put(store, a_drawer("d1"), a_drawer("d2"), a_drawer("d3"))
    former = {"b": "d1", "a": "d2", "Z": "d1", "\u00e9": "d3", "gone": "d2", "nowhere": "d9"}
    with store.write(NOBODY) as tx:
        for old, drawer in former.items():
            tx.put_former_id(old, drawer)
        tx.put_former_id("gone", "d9")
    seen: list[FormerId] = []
    for _ in range(5):
        with store.read() as tx:
            seen += tx.former_ids(after=seen[-1].id if seen else "", limit=size)
    assert seen == [FormerId(old, former[old]) for old in ("Z", "a", "b", "\u00e9")]


# Links

LINKS = [
    a_link("l1", End(drawer="d1"), End(drawer="d2"), label="because"),
    a_link("l2", End("app", "api"), End(drawer="d1")),
    a_link("l3", End("app", "api"), End("home", "api"), label="\u202e"),
    a_link("l0", End(drawer="d3"), End(drawer="d1")),
]


def linked(store: Store, **which: Any) -> list[Link]:
    with store.read() as tx:
        return tx.links(**{"limit": 100} | which)


def test_links_are_found_by_their_id_and_by_a_drawer_at_either_end(store: Store) -> None:
    with store.write(NOBODY) as tx:
        for link in LINKS:
            tx.put_link(link)
    l1, l2, l3, l0 = LINKS
    assert linked(store) == [l0, l1, l2, l3]
    assert linked(store, limit=2) == [l0, l1]
    assert linked(store, ref="d1") == [l0, l1, l2]
    assert linked(store, ref="d1", limit=1) == [l0]
    assert linked(store, ref="d2") == [l1]
    assert linked(store, ref="l3") == [l3]
    for nothing in ("", "d9", "app", "api"):
        assert linked(store, ref=nothing) == []


def test_a_link_is_replaced_by_its_id_and_deleted(store: Store) -> None:
    with store.write(NOBODY) as tx:
        tx.put_link(LINKS[0])
        tx.put_link(replace(LINKS[0], label="therefore"))
    assert linked(store) == [replace(LINKS[0], label="therefore")]
    with store.write(NOBODY) as tx:
        tx.delete_link("l1")
        tx.delete_link("never there")
    assert linked(store) == []
