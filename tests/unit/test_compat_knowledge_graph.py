"""The class `KnowledgeGraph`: MemPalace's names, defaults and shapes over a palace."""

import inspect
import stat
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

import palatine
from palatine import KnowledgeGraph, Palace
from palatine.errors import (
    ConflictError,
    InputError,
    NotFoundError,
    StoreClosedError,
    StoreDamagedError,
)

KEYS = {
    "id",
    "subject",
    "predicate",
    "object",
    "valid_from",
    "valid_to",
    "confidence",
    "source_closet",
    "source_file",
    "source_drawer_id",
    "recorded_at",
    "current",
}


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[KnowledgeGraph]:
    with KnowledgeGraph(str(tmp_path / "test.sqlite3")) as opened:
        yield opened


def objects(found: list[dict[str, Any]]) -> list[str]:
    return [fact["object"] for fact in found]


# Where it lives


def test_a_new_file_is_made_with_its_folders_and_its_lock_beside_it(tmp_path: Path) -> None:
    database = tmp_path / "some" / "where" / "kg.sqlite3"
    with KnowledgeGraph(database) as graph:
        graph.add_triple("Alice", "knows", "Bob")
    assert {file.name for file in database.parent.iterdir()} == {
        "kg.sqlite3",
        "kg.sqlite3.lock",
    }
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (database, database.parent)]
    assert modes == [0o600, 0o700]


@pytest.mark.parametrize(
    ("name", "made", "file"),
    [
        ("kg.sqlite3", None, True),
        ("kg.db", None, True),
        ("palace", None, False),
        (".hidden", None, False),
        ("with.suffix", "folder", False),
        ("without", "file", True),
    ],
)
def test_a_folder_or_a_name_without_suffix_is_a_palace_and_else_it_is_a_file(
    tmp_path: Path, name: str, made: str | None, file: bool
) -> None:
    path = tmp_path / name
    if made == "folder":
        path.mkdir()
    elif made == "file":
        path.touch()
    with KnowledgeGraph(path) as graph:
        graph.add_triple("Alice", "knows", "Bob")
    assert path.is_file() is file
    assert (path / "palace.db").is_file() is not file
    with KnowledgeGraph(path) as graph:
        assert objects(graph.query_entity("Alice")) == ["Bob"]


@pytest.mark.parametrize("nothing", [None, ""])
def test_no_path_is_the_users_own_palace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing: str | None
) -> None:
    monkeypatch.setenv("PALATINE_PALACE", str(tmp_path / "own"))
    with KnowledgeGraph(nothing) as graph:
        graph.add_triple("Alice", "knows", "Bob")
    with Palace.open(tmp_path / "own") as palace:
        assert [str(fact) for fact in palace.knowledge.about("Alice")] == ["Alice knows Bob"]


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    KnowledgeGraph("~/kg.sqlite3").close()
    assert (tmp_path / "kg.sqlite3").is_file()


def test_a_file_of_another_kind_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "letter.txt"
    file.write_text("Dear reader, " * 100)
    with pytest.raises(StoreDamagedError):
        KnowledgeGraph(file)
    assert file.read_text() == "Dear reader, " * 100


def test_a_closed_graph_says_so_and_closes_again(tmp_path: Path) -> None:
    graph = KnowledgeGraph(tmp_path / "kg.db")
    graph.close()
    graph.close()
    with pytest.raises(StoreClosedError):
        graph.stats()


def test_it_is_the_packages_own_name() -> None:
    assert palatine.KnowledgeGraph is KnowledgeGraph
    assert "KnowledgeGraph" in palatine.__all__


# Names, defaults, shapes


@pytest.mark.parametrize(
    ("method", "arguments"),
    [
        ("add_entity", "name, entity_type='unknown', properties=None"),
        (
            "add_triple",
            "subject, predicate, obj, valid_from=None, valid_to=None, confidence=1.0,"
            " source_closet=None, source_file=None, source_drawer_id=None, adapter_name=None",
        ),
        ("invalidate", "subject, predicate, obj, ended=None"),
        (
            "supersede",
            "subject, predicate, old_obj, new_obj, at=None, confidence=1.0, source_closet=None,"
            " source_file=None, source_drawer_id=None, adapter_name=None",
        ),
        ("query_entity", "name, as_of=None, direction='outgoing'"),
        ("query_relationship", "predicate, as_of=None"),
        ("timeline", "entity_name=None"),
        ("stats", ""),
        ("close", ""),
    ],
)
def test_arguments_have_the_known_names_order_and_defaults(method: str, arguments: str) -> None:
    parameters = list(inspect.signature(getattr(KnowledgeGraph, method)).parameters.values())[1:]
    assert all(each.kind is each.POSITIONAL_OR_KEYWORD for each in parameters)
    shown = [
        each.name if each.default is each.empty else f"{each.name}={each.default!r}"
        for each in parameters
    ]
    assert ", ".join(shown) == arguments


@pytest.mark.parametrize(
    ("name", "entity_id"),
    [("Dr. Chen", "dr._chen"), ("Alice", "alice"), ("O'Brien", "obrien"), ("New York", "new_york")],
)
def test_an_entitys_id_is_its_name_in_the_known_spelling(
    graph: KnowledgeGraph, name: str, entity_id: str
) -> None:
    assert graph.add_entity(name, entity_type="person") == entity_id
    assert graph.add_entity(name.upper(), "person", {"age": 7}) == entity_id
    assert graph.stats()["entities"] == 1


def test_a_triples_id_names_what_it_is_about_and_stays(graph: KnowledgeGraph) -> None:
    triple = graph.add_triple("Alice", "knows", "Bob")
    assert triple.startswith("t_alice_knows_bob_")
    assert graph.add_triple("alice", "Knows", "BOB") == triple
    assert graph.add_triple("Dr. Chen", "works at", "O'Hare").startswith(
        "t_dr._chen_works_at_ohare_"
    )
    graph.invalidate("Alice", "knows", "Bob")
    assert [fact["id"] for fact in graph.query_entity("Alice")] == [triple]


@pytest.mark.parametrize("ended", [None, "2026-01-01"])
def test_what_is_added_again_after_its_end_has_another_id(
    graph: KnowledgeGraph, ended: str | None
) -> None:
    first = graph.add_triple("Alice", "works_at", "Acme")
    graph.invalidate("Alice", "works_at", "Acme", ended=ended)
    second = graph.add_triple("Alice", "works_at", "Acme")
    assert second != first
    assert second.startswith("t_alice_works_at_acme_")
    assert [fact["current"] for fact in graph.query_relationship("works_at")] == [True, False]


def test_an_ended_fact_has_the_given_date_and_is_not_current(graph: KnowledgeGraph) -> None:
    graph.add_triple("Max", "does", "swimming", valid_from="2025-01-01")
    assert graph.invalidate("Max", "does", "swimming", ended="2026-01-01") is None
    (fact,) = graph.query_entity("Max")
    assert (fact["valid_from"], fact["valid_to"]) == ("2025-01-01", "2026-01-01")
    assert fact["current"] is False


def test_what_is_ended_without_a_date_ends_now(graph: KnowledgeGraph) -> None:
    graph.add_triple("Max", "does", "swimming")
    before = datetime.now(UTC)
    graph.invalidate("Max", "does", "swimming")
    (fact,) = graph.query_entity("Max")
    ended = datetime.fromisoformat(fact["valid_to"])
    assert before - timedelta(seconds=1) < ended <= datetime.now(UTC) + timedelta(seconds=1)
    assert fact["current"] is False


@pytest.mark.parametrize(
    ("direction", "found"),
    [
        ("outgoing", [("outgoing", "Ann", "Bob"), ("outgoing", "Ann", "Ann")]),
        ("incoming", [("incoming", "Cem", "Ann"), ("incoming", "Ann", "Ann")]),
        (
            "both",
            [
                ("outgoing", "Ann", "Bob"),
                ("outgoing", "Ann", "Ann"),
                ("incoming", "Cem", "Ann"),
                ("incoming", "Ann", "Ann"),
            ],
        ),
    ],
)
def test_facts_of_an_entity_say_their_direction(
    graph: KnowledgeGraph, direction: str, found: list[tuple[str, str, str]]
) -> None:
    graph.add_triple("Ann", "knows", "Bob", "2001-01-01")
    graph.add_triple("Cem", "knows", "Ann", "2002-01-01")
    graph.add_triple("Ann", "knows", "Ann", "2003-01-01")
    facts = graph.query_entity("ann", direction=direction)
    assert [(fact["direction"], fact["subject"], fact["object"]) for fact in facts] == found
    assert all(set(fact) == KEYS | {"direction"} for fact in facts)


def test_a_direction_that_is_none_is_refused(graph: KnowledgeGraph) -> None:
    graph.add_entity("Ann")
    with pytest.raises(InputError, match="direction"):
        graph.query_entity("Ann", direction="sideways")


def test_all_facts_are_found_and_as_of_leaves_those_that_held(graph: KnowledgeGraph) -> None:
    graph.add_triple("Max", "lives_in", "Rome", "2001-01-01", "2010-06-30")
    graph.add_triple("Max", "lives_in", "Oslo", "2010-07-01")
    graph.add_triple("Max", "lives_in", "Crete", "2099-01-01")
    for ask in (lambda **at: graph.query_entity("Max", **at), relationships(graph)):
        assert objects(ask()) == ["Rome", "Oslo", "Crete"]
        assert objects(ask(as_of="2010-06-30")) == ["Rome"]
        assert objects(ask(as_of="2010-06-30T23:59:59Z")) == ["Rome"]
        assert objects(ask(as_of="2010-07-01")) == ["Oslo"]
        assert objects(ask(as_of="1999-01-01")) == []
    assert [fact["current"] for fact in graph.query_entity("Max")] == [False, True, False]
    with pytest.raises(ValueError, match="as_of"):
        graph.query_entity("Max", as_of="yesterday")


def relationships(graph: KnowledgeGraph) -> Any:
    return lambda **at: graph.query_relationship("Lives In", **at)


def test_facts_with_a_predicate_have_the_same_keys(graph: KnowledgeGraph) -> None:
    graph.add_triple("Max", "lives_in", "Rome", confidence=0.5)
    (fact,) = graph.query_relationship("lives_in")
    assert set(fact) == KEYS
    assert fact["confidence"] == 0.5
    assert graph.query_relationship("unheard_of") == []


def test_more_facts_than_a_page_holds_are_all_found(
    graph: KnowledgeGraph, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("palatine.compat.knowledge_graph._PAGE", 7)
    for number in range(30):
        graph.add_triple("hub", "has", f"leaf {number}")
    assert len(graph.query_entity("hub")) == len(graph.query_relationship("has")) == 30


def test_a_timeline_is_by_start_and_of_100_at_most(graph: KnowledgeGraph) -> None:
    graph.add_triple("Max", "is", "tall")
    graph.add_triple("Max", "is", "born", "1990-01-01")
    graph.add_triple("Ann", "knows", "Max", "2000-01-01")
    graph.add_triple("Bob", "is", "old", "1980-01-01")
    assert objects(graph.timeline("max")) == ["born", "Max", "tall"]
    assert objects(graph.timeline()) == ["old", "born", "Max", "tall"]
    assert all(set(fact) == KEYS for fact in graph.timeline())
    for number in range(110):
        graph.add_triple("Max", "counts", f"number {number}")
    assert len(graph.timeline()) == len(graph.timeline("Max")) == 100


def test_counts_have_the_known_names(graph: KnowledgeGraph) -> None:
    graph.add_triple("Max", "lives_in", "Rome", "2001-01-01", "2010-06-30")
    graph.add_triple("Max", "lives_in", "Oslo", "2010-07-01")
    graph.add_triple("Ann", "knows", "Max")
    graph.invalidate("Ann", "knows", "Max")
    assert graph.stats() == {
        "entities": 4,
        "triples": 3,
        "current_facts": 1,
        "expired_facts": 2,
        "future_facts": 0,
        "relationship_types": ["knows", "lives_in"],
    }


# Sources


@pytest.mark.parametrize(
    ("given", "returned"),
    [
        ({}, (None, None)),
        ({"source_file": "a.md"}, ("a.md", None)),
        ({"source_closet": "c7"}, (None, "c7")),
        ({"source_closet": "c7", "source_file": "a.md"}, ("a.md", None)),
    ],
)
def test_the_source_of_a_fact_is_returned(
    graph: KnowledgeGraph, given: dict[str, str], returned: tuple[str | None, str | None]
) -> None:
    graph.add_triple("Max", "is", "here", **given)
    graph.supersede("Max", "is", "here", "there", **given)
    for fact in graph.query_entity("Max"):
        assert (fact["source_file"], fact["source_closet"]) == returned


def test_the_drawer_of_a_fact_is_returned_and_the_adapter_stands_in_the_change_feed(
    tmp_path: Path,
) -> None:
    with Palace.open(tmp_path / "palace") as palace, KnowledgeGraph(tmp_path / "palace") as graph:
        drawer = palace.add("Max is here").drawer.id
        graph.add_triple("Max", "is", "here", source_drawer_id=drawer, adapter_name="mail-reader")
        graph.supersede("Max", "is", "here", "there", source_drawer_id=drawer)
        assert {fact["source_drawer_id"] for fact in graph.query_entity("Max")} == {drawer}
        assert [change.op for change in palace.changes(agent="mail-reader")] == ["add"]
        with pytest.raises(NotFoundError, match="no drawer"):
            graph.add_triple("Max", "is", "away", source_drawer_id="d0")


# What it refuses or answers otherwise


def test_an_inverted_interval_is_a_value_error_and_nothing_is_written(
    graph: KnowledgeGraph,
) -> None:
    with pytest.raises(ValueError, match="not after the start"):
        graph.add_triple("Max", "is", "here", valid_from="2026-01-02", valid_to="2026-01-01")
    assert graph.stats()["triples"] == graph.stats()["entities"] == 0


def test_superseding_returns_the_new_id_and_meets_at_the_day(graph: KnowledgeGraph) -> None:
    old = graph.add_triple("Max", "lives_in", "Rome", "2001-01-01")
    new = graph.supersede("Max", "lives_in", "Rome", "Oslo", at="2010-07-01")
    assert new.startswith("t_max_lives_in_oslo_")
    rome, oslo = graph.query_entity("Max")
    assert (rome["id"], rome["valid_to"]) == (old, "2010-06-30")
    assert (oslo["id"], oslo["valid_from"]) == (new, "2010-07-01")
    assert graph.supersede("Max", "lives_in", "Oslo", "Oslo") == new
    with pytest.raises(ConflictError, match="now: Max lives_in Oslo"):
        graph.supersede("Max", "lives_in", "Rome", "Bern")


def test_adding_an_entity_again_keeps_what_is_known_of_it(tmp_path: Path) -> None:
    with Palace.open(tmp_path / "palace") as palace, KnowledgeGraph(tmp_path / "palace") as graph:
        graph.add_entity("Max", "person", {"born": 1990})
        graph.add_entity("Max")
        graph.add_entity("Max", properties={"eyes": "blue"})
        entity = palace.knowledge.entity("Max")
        assert (entity.type, dict(entity.properties)) == ("person", {"born": 1990, "eyes": "blue"})
