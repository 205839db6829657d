"""Answers that would not be true, and the true ones that the palace gives instead."""

from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from palatine import KnowledgeGraph, Palace
from palatine.errors import ConflictError, InputError, NotFoundError
from palatine.types import Author, Fact

PROCESS_SECONDS = 60


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace") as opened:
        yield opened


@contextmanager
def nothing_is_written(palace: Palace) -> Iterator[None]:
    before = palace.status()
    yield
    after = palace.status()
    assert (after.seq, after.facts, after.drawers) == (before.seq, before.facts, before.drawers)


def words(facts: list[Fact] | tuple[Fact, ...]) -> list[str]:
    return [str(fact) for fact in facts]


# Ending


@pytest.mark.parametrize(
    ("names", "near"),
    [
        (("Max", "works_at", "Beta"), "Max works_at Acme from 2024-03"),
        (("Max", "lives_at", "Acme"), "Max works_at Acme from 2024-03"),
        (("Mex", "works_at", "Acme"), "Max works_at Acme from 2024-03"),
        (("Maxx", "likes", "tea"), "Max"),
    ],
)
def test_ending_a_fact_that_does_not_exist_is_an_error_that_names_near_ones(
    palace: Palace, names: tuple[str, str, str], near: str
) -> None:
    palace.knowledge.add("Max", "works_at", "Acme", valid_from="2024-03")
    with nothing_is_written(palace), pytest.raises(NotFoundError, match="no fact") as caught:
        palace.knowledge.end(*names)
    assert near in caught.value.candidates
    assert near in str(caught.value)


@pytest.mark.parametrize("stored", ["2021-06-30", "2098-06-30"])
@pytest.mark.parametrize("again", ["2021-05", "2099", None])
def test_ending_an_ended_fact_at_another_time_is_an_error_with_the_stored_date(
    palace: Palace, stored: str, again: str | None
) -> None:
    palace.knowledge.add("Max", "works_at", "Acme", valid_from="2020")
    palace.knowledge.end("Max", "works_at", "Acme", ended=stored, author=Author("clio"))
    with nothing_is_written(palace), pytest.raises(ConflictError, match=stored) as caught:
        palace.knowledge.end("Max", "works_at", "Acme", ended=again)
    assert "by clio" in str(caught.value)
    (fact,) = palace.knowledge.about("Max", state="all")
    assert str(fact.valid_to) == stored


def test_ending_an_ended_fact_at_the_same_time_changes_nothing_and_says_so(palace: Palace) -> None:
    palace.knowledge.add("Max", "works_at", "Acme")
    palace.knowledge.end("Max", "works_at", "Acme", ended="2021")
    with nothing_is_written(palace):
        again = palace.knowledge.end("Max", "works_at", "Acme", ended="2021")
    assert (again.changed, again.seq, str(again.fact.valid_to)) == (False, 0, "2021")


# Adding


@pytest.mark.parametrize(
    ("dates", "differs"),
    [
        ({"valid_from": "2023"}, "valid_from is 2024-03, not 2023"),
        ({"valid_to": "2098"}, "valid_to is open, not 2098"),
        (
            {"valid_from": "2025", "valid_to": "2098"},
            "valid_from is 2024-03, not 2025; valid_to is open, not 2098",
        ),
        ({}, ""),
        ({"valid_from": "2024-03"}, ""),
    ],
)
def test_an_open_fact_added_again_with_other_dates_is_not_created_and_says_both(
    palace: Palace, dates: dict[str, str], differs: str
) -> None:
    known = palace.knowledge.add("Max", "works_at", "Acme", valid_from="2024-03").fact
    with nothing_is_written(palace):
        again = palace.knowledge.add("Max", "works_at", "Acme", **dates)
    assert (again.created, again.fact, again.differs, again.seq) == (False, known, differs, 0)


def test_another_date_is_a_correction_which_is_its_own_act(palace: Palace) -> None:
    known = palace.knowledge.add("Max", "works_at", "Acme", valid_from="2024-03").fact
    corrected = palace.knowledge.correct(known.id, valid_from="2023").fact
    assert (corrected.id, str(corrected.valid_from)) == (known.id, "2023")
    assert [str(belief.valid_from) for belief in palace.knowledge.history(known.id)] == [
        "2024-03",
        "2023",
    ]


def test_the_same_closed_fact_added_twice_is_one_fact(palace: Palace) -> None:
    dates = {"valid_from": "2019", "valid_to": "2020-06"}
    first = palace.knowledge.add("Max", "works_at", "Acme", **dates)
    with nothing_is_written(palace):
        second = palace.knowledge.add("Max", "works_at", "Acme", **dates)
    assert (first.created, second.created) == (True, False)
    assert (second.fact, second.differs) == (first.fact, "")


def test_another_source_of_a_known_fact_is_not_dropped_without_a_word(palace: Palace) -> None:
    palace.knowledge.add("Max", "works_at", "Acme", source="cv.pdf", confidence=0.9)
    again = palace.knowledge.add("Max", "works_at", "Acme", source="mail.txt", confidence=0.4)
    assert again.differs == "confidence is 0.9, not 0.4; source is cv.pdf, not mail.txt"


def test_a_second_open_value_is_named_as_a_conflict_and_ends_nothing(palace: Palace) -> None:
    palace.knowledge.add("Max", "works_at", "Acme")
    added = palace.knowledge.add("Max", "works_at", "Beta")
    assert added.created
    assert words(added.conflicts) == ["Max works_at Acme"]
    assert sorted(words(palace.knowledge.about("Max"))) == [
        "Max works_at Acme",
        "Max works_at Beta",
    ]


def test_a_value_that_begins_on_the_day_the_other_ends_is_named_as_an_overlap(
    palace: Palace,
) -> None:
    palace.knowledge.add("Max", "works_at", "Acme", valid_from="2020")
    palace.knowledge.end("Max", "works_at", "Acme", ended="2021-03-01")
    added = palace.knowledge.add("Max", "works_at", "Beta", valid_from="2021-03-01")
    assert words(added.conflicts) == ["Max works_at Acme"]
    on_that_day = words(palace.knowledge.about("Max", as_of="2021-03-01"))
    assert on_that_day == ["Max works_at Acme", "Max works_at Beta"]


def test_what_is_said_again_after_its_end_is_a_new_fact_and_not_the_ended_one(
    palace: Palace,
) -> None:
    first = palace.knowledge.add("alarm", "is", "on")
    ended = palace.knowledge.end("alarm", "is", "on")
    again = palace.knowledge.add("alarm", "is", "on")
    assert again.created
    assert again.fact.id != first.fact.id
    assert again.fact.valid_from is not None
    assert ended.fact.valid_to is not None
    assert again.fact.valid_from.micros > ended.fact.valid_to.micros
    assert palace.knowledge.about("alarm") == [again.fact]
    with nothing_is_written(palace):
        assert palace.knowledge.add("alarm", "is", "on").fact == again.fact


# Superseding


def test_superseding_a_value_that_is_not_there_is_an_error_and_writes_nothing(
    palace: Palace,
) -> None:
    palace.knowledge.add("Max", "works_at", "Acme")
    with nothing_is_written(palace), pytest.raises(NotFoundError, match="Max works_at Acme"):
        palace.knowledge.supersede("Max", "works_at", "Beta", "Gamma")
    assert words(palace.knowledge.about("Max")) == ["Max works_at Acme"]
    assert palace.knowledge.predicates() == {}


@pytest.mark.parametrize("same", ["Acme", "ACME", "Acme Inc"])
def test_superseding_a_value_by_itself_changes_nothing(palace: Palace, same: str) -> None:
    known = palace.knowledge.add("Max", "works_at", "Acme").fact
    palace.knowledge.add_alias("Acme", "Acme Inc")
    with nothing_is_written(palace):
        done = palace.knowledge.supersede("Max", "works_at", "Acme", same)
    assert (done.created, done.fact, done.ended, done.seq) == (False, known, known, 0)


def rewrite(folder: str, name: str, facts: int, start: Barrier) -> None:
    """Supersedes each shared fact by an own value; notes what it was told of each."""
    with Palace.open(folder, agent=name) as palace:
        start.wait(PROCESS_SECONDS)
        told = []
        for number in range(facts):
            try:
                palace.knowledge.supersede(f"setting {number}", "is", "old", name)
                told.append("won")
            except ConflictError as error:
                told.append(str(error))
    Path(folder).with_name(f"told-{name}").write_text("\n".join(told))


def test_of_two_processes_that_rewrite_the_same_facts_exactly_one_wins_each(
    palace: Palace, tmp_path: Path
) -> None:
    facts, names = 40, ("one", "other")
    for number in range(facts):
        palace.knowledge.add(f"setting {number}", "is", "old")
    context = get_context("spawn")
    start = context.Barrier(len(names))
    processes = [
        context.Process(target=rewrite, args=(str(tmp_path / "palace"), name, facts, start))
        for name in names
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(PROCESS_SECONDS)
    assert [process.exitcode for process in processes] == [0, 0]
    told = [(tmp_path / f"told-{name}").read_text().split("\n") for name in names]
    for number, answers in enumerate(zip(*told, strict=True)):
        assert answers.count("won") == 1
        winner, loser = answers.index("won"), 1 - answers.index("won")
        (standing,) = palace.knowledge.about(f"setting {number}")
        assert standing.object == names[winner]
        assert f"by {names[winner]} " in answers[loser]
        assert str(standing) in answers[loser]


# Asking


def test_what_starts_in_2099_is_not_current(palace: Palace) -> None:
    palace.knowledge.add("Max", "retires_to", "Crete", valid_from="2099")
    assert palace.knowledge.about("Max") == []
    assert words(palace.knowledge.about("Max", state="future")) == ["Max retires_to Crete"]
    counts = palace.status().facts
    assert (counts.current, counts.past, counts.future) == (0, 0, 1)


def test_what_ends_in_2099_is_current(palace: Palace) -> None:
    palace.knowledge.add("Max", "holds", "a lease", valid_from="2020", valid_to="2099")
    assert words(palace.knowledge.about("Max")) == ["Max holds a lease"]
    counts = palace.status().facts
    assert (counts.current, counts.past, counts.future) == (1, 0, 0)


def test_an_unknown_entity_is_said_to_be_unknown_and_a_known_one_has_no_facts(
    palace: Palace,
) -> None:
    palace.knowledge.add_entity("Maximilian")
    assert palace.knowledge.about("Maximilian") == []
    with pytest.raises(NotFoundError, match="did you mean Maximilian") as caught:
        palace.knowledge.about("Maximilan")
    assert caught.value.candidates == ("Maximilian",)
    with pytest.raises(NotFoundError, match="nothing is known") as caught:
        palace.knowledge.about("Qwertz")
    assert caught.value.candidates == ()


def test_the_stored_name_is_answered_and_not_the_one_asked_with(palace: Palace) -> None:
    palace.knowledge.add("Max", "works_at", "Acme")
    assert words(palace.knowledge.about("max")) == ["Max works_at Acme"]
    assert words(palace.knowledge.find(object="ACME")) == ["Max works_at Acme"]


@pytest.mark.parametrize(
    ("one", "other"), [("O'Brien", "OBrien"), ("new york", "new_york"), ("résumé", "resume")]
)
def test_two_spellings_are_one_entity_only_by_an_alias_that_one_can_see(
    palace: Palace, one: str, other: str
) -> None:
    palace.knowledge.add(one, "is", "first")
    with pytest.raises(NotFoundError):
        palace.knowledge.about(other)
    entity = palace.knowledge.add_alias(one, other)
    assert entity.aliases == (other,)
    assert words(palace.knowledge.about(other)) == [f"{one} is first"]


def test_two_spellings_with_facts_of_their_own_stay_two_entities(palace: Palace) -> None:
    palace.knowledge.add("O'Brien", "is", "first")
    palace.knowledge.add("OBrien", "is", "second")
    assert words(palace.knowledge.about("OBrien")) == ["OBrien is second"]
    with nothing_is_written(palace), pytest.raises(ConflictError, match="entity of its own"):
        palace.knowledge.add_alias("O'Brien", "OBrien")


def test_where_a_fact_was_read_is_returned(palace: Palace) -> None:
    drawer = palace.add("Max works at Acme now").drawer.id
    palace.knowledge.add("Max", "works_at", "Acme", source="mail.txt", drawer=drawer)
    (fact,) = palace.knowledge.about("Max")
    assert (fact.source, fact.drawer) == ("mail.txt", drawer)


def test_a_drawer_that_does_not_exist_is_not_taken_for_where_a_fact_was_read(
    palace: Palace,
) -> None:
    with nothing_is_written(palace), pytest.raises(NotFoundError, match="no drawer"):
        palace.knowledge.add("Max", "works_at", "Acme", drawer="d0")


# Drawers, links and search


def test_a_text_whose_drawer_was_changed_since_is_stored_when_it_is_added_again(
    palace: Palace,
) -> None:
    first = palace.add("tea at five")
    palace.update(first.drawer.id, text="tea at six")
    again = palace.add("tea at five")
    assert again.created
    assert again.drawer.id != first.drawer.id
    assert palace.get(again.drawer.id).text == "tea at five"
    assert palace.get(first.drawer.id).text == "tea at six"


def test_a_text_whose_drawer_was_moved_is_stored_when_it_is_added_to_the_old_room(
    palace: Palace,
) -> None:
    first = palace.add("tea at five", wing="home", room="kitchen")
    palace.update(first.drawer.id, room="hall")
    again = palace.add("tea at five", wing="home", room="kitchen")
    assert again.created
    assert [d.id for d in palace.list(wing="home", room="kitchen")] == [again.drawer.id]
    assert [d.id for d in palace.list(wing="home", room="hall")] == [first.drawer.id]


def test_a_link_the_other_way_round_is_the_existing_link_and_what_differs(palace: Palace) -> None:
    one, other = palace.add("one").drawer.id, palace.add("other").drawer.id
    first = palace.link(one, other, "explains")
    with nothing_is_written(palace):
        again = palace.link(other, one, "contradicts")
    assert (again.created, again.link) == (False, first.link)
    assert again.differs == "label 'explains', not 'contradicts'"
    assert palace.links() == [first.link]


def test_a_limit_that_is_too_large_is_an_error_and_not_a_shorter_list(palace: Palace) -> None:
    palace.add("one")
    for ask in (palace.list, palace.knowledge.timeline):
        with pytest.raises(InputError, match="limit 10001"):
            ask(limit=10_001)
    with pytest.raises(InputError, match="limit 500"):
        palace.search("one", limit=500)


@pytest.mark.parametrize("query", ["", "   ", "\n\t"])
def test_an_empty_query_is_an_error(palace: Palace, query: str) -> None:
    palace.add("one")
    with pytest.raises(InputError, match="empty"):
        palace.search(query)


def test_words_that_match_nothing_find_nothing(palace: Palace) -> None:
    palace.add("tea at five")
    assert list(palace.search("quixotic zephyr")) == []


# The same over the class that MemPalace's users know


@pytest.fixture
def graph(tmp_path: Path) -> Iterator[KnowledgeGraph]:
    with KnowledgeGraph(tmp_path / "graph.sqlite3") as opened:
        yield opened


def test_the_graph_calls_current_what_is_true_now(graph: KnowledgeGraph) -> None:
    graph.add_triple("Max", "retires_to", "Crete", valid_from="2099-01-01")
    graph.add_triple("Max", "holds", "a lease", valid_from="2020-01-01", valid_to="2099-01-01")
    current = {fact["predicate"]: fact["current"] for fact in graph.query_entity("Max")}
    assert current == {"retires_to": False, "holds": True}
    counts = graph.stats()
    assert (counts["current_facts"], counts["expired_facts"], counts["future_facts"]) == (1, 0, 1)


def test_the_graph_refuses_dates_that_it_would_have_to_drop(graph: KnowledgeGraph) -> None:
    known = graph.add_triple("Max", "works_at", "Acme", valid_from="2024-03-01")
    assert graph.add_triple("Max", "works_at", "Acme") == known
    for dates in ({"valid_from": "2023-01-01"}, {"valid_to": "2026-01-01"}):
        with pytest.raises(ConflictError, match="known already, but valid_"):
            graph.add_triple("Max", "works_at", "Acme", **dates)


def test_the_graph_says_what_it_does_not_know(graph: KnowledgeGraph) -> None:
    graph.add_triple("Max", "works_at", "Acme")
    for ask in (graph.query_entity, graph.timeline):
        with pytest.raises(NotFoundError, match="did you mean Max"):
            ask("Maxx")
    with pytest.raises(NotFoundError, match="no fact"):
        graph.invalidate("Max", "works_at", "Beta")
    with pytest.raises(NotFoundError, match="no fact"):
        graph.supersede("Max", "works_at", "Beta", "Gamma")
    assert graph.stats()["triples"] == 1
