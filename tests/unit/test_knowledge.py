"""The rules of facts: what is kept, what is refused, and what can be asked."""

import random
from collections.abc import Callable, Iterator
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace
from palatine.beliefs import describe
from palatine.errors import ConflictError, InputError, NotFoundError
from palatine.instants import Instant
from palatine.knowledge import Knowledge
from palatine.types import Author, Fact

PROCESS_SECONDS = 60


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace") as opened:
        yield opened


@pytest.fixture
def knowledge(palace: Palace) -> Knowledge:
    return palace.knowledge


class Clock:
    """The palace's clock, which only a test moves."""

    def __init__(self) -> None:
        self.micros = 0

    def stands_at(self, day: str) -> None:
        year, month, date = (int(part) for part in day.split("-"))
        start = Instant(0).at.replace(year=year, month=month, day=date, hour=12)
        self.micros = int(start.timestamp()) * 1_000_000

    def now(self) -> Instant:
        self.micros += 1
        return Instant(self.micros)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    made.stands_at("2026-01-01")
    monkeypatch.setattr("palatine.instants.now", made.now)
    return made


def words(facts: list[Fact] | tuple[Fact, ...]) -> list[str]:
    return [str(fact) for fact in facts]


def objects(facts: list[Fact]) -> list[str]:
    return [fact.object for fact in facts]


# Dates


@pytest.mark.parametrize(
    ("given", "printed"),
    [
        ("2025", "2025"),
        ("2025-03", "2025-03"),
        ("2025-03-14", "2025-03-14"),
        ("2025-03-14T09:26:53Z", "2025-03-14T09:26:53Z"),
        ("2025-03-14T09:26:53.5+01:00", "2025-03-14T08:26:53.500000Z"),
    ],
)
def test_dates_are_printed_back_with_the_precision_they_were_given(
    knowledge: Knowledge, given: str, printed: str
) -> None:
    knowledge.add("Max", "moved_to", "Rome", valid_from=given)
    knowledge.add("Max", "left", "Rome", valid_from="1999", valid_to=given)
    moved, left = (knowledge.find(predicate=p, state="all")[0] for p in ("moved_to", "left"))
    assert (str(moved.valid_from), moved.valid_to) == (printed, None)
    assert (str(left.valid_from), str(left.valid_to)) == ("1999", printed)


@pytest.mark.parametrize(
    ("as_of", "found"),
    [
        ("2024-02", []),
        ("2024-03-01", ["through March", "from March"]),
        ("2024-03-31T23:59:59.999999Z", ["through March", "from March"]),
        ("2024-04-01T00:00:00Z", ["from March", "from April"]),
        ("2024-03", ["through March", "from March"]),
        ("2024", ["through March", "from March", "from April"]),
        ("2031", ["from March", "from April"]),
    ],
)
def test_as_of_a_period_finds_what_holds_at_some_moment_of_it(
    knowledge: Knowledge, as_of: str, found: list[str]
) -> None:
    knowledge.add("plan", "is", "through March", valid_from="2024-03", valid_to="2024-03")
    knowledge.add("plan", "is", "from March", valid_from="2024-03-01T00:00:00Z")
    knowledge.add("plan", "is", "from April", valid_from="2024-04")
    assert sorted(objects(knowledge.about("plan", as_of=as_of))) == sorted(found)


@pytest.mark.parametrize(
    ("start", "end", "usable"),
    [
        ("2025-03-14", "2025-03-14", True),
        ("2025-03-14", "2025-03", True),
        ("2025-03-14T09:00:00Z", "2025-03-14T09:00:00Z", False),
        ("2025-03-14T09:00:00Z", "2025-03-14T10:00:00+02:00", False),
        ("2025-03-14", "2025-03-13", False),
        ("2025", "2024", False),
    ],
)
def test_an_interval_without_length_is_refused_and_one_day_is_a_day(
    knowledge: Knowledge, start: str, end: str, usable: bool
) -> None:
    if usable:
        assert knowledge.add("Max", "is", "away", valid_from=start, valid_to=end).created
    else:
        with pytest.raises(InputError, match="not after the start"):
            knowledge.add("Max", "is", "away", valid_from=start, valid_to=end)
        assert knowledge.stats().entities == 0


def test_an_end_before_the_start_is_refused_when_ending_and_superseding_too(
    knowledge: Knowledge,
) -> None:
    knowledge.add("Max", "works_at", "Acme", valid_from="2024-03")
    with pytest.raises(InputError, match="not after the start 2024-03"):
        knowledge.end("Max", "works_at", "Acme", ended="2024-02")
    with pytest.raises(InputError, match="not after the start 2024-03"):
        knowledge.supersede("Max", "works_at", "Acme", "Beta", at="2024-03")
    assert words(knowledge.about("Max")) == ["Max works_at Acme"]


# What was believed


@pytest.fixture
def year(knowledge: Knowledge, clock: Clock) -> Knowledge:
    """Told in January that the office is in Rome; in April that it had moved in February."""
    clock.stands_at("2026-01-10")
    knowledge.add("office", "in", "Rome", valid_from="2025")
    clock.stands_at("2026-04-10")
    knowledge.supersede("office", "in", "Rome", "Oslo", at="2026-02-15")
    clock.stands_at("2026-06-10")
    return knowledge


@pytest.mark.parametrize(
    ("as_of", "known_at", "found"),
    [
        ("2026-01", None, ["Rome"]),
        ("2026-02", None, ["Rome", "Oslo"]),
        ("2026-02-14", None, ["Rome"]),
        ("2026-02-15", None, ["Oslo"]),
        ("2026-03", None, ["Oslo"]),
        (None, None, ["Oslo"]),
        ("2026-03", "2026-03", ["Rome"]),
        ("2026-09", "2026-03", ["Rome"]),
        (None, "2026-03", ["Rome"]),
        (None, "2026-04-10", ["Oslo"]),
        (None, "2026-04-09", ["Rome"]),
        ("2026-03", "2026-04", ["Oslo"]),
        (None, "2026", ["Oslo"]),
        (None, "2025-12", []),
        ("2025-06", "2026-01-10T11:59:59Z", []),
        ("2025-06", "2026-01-10T12:00:01Z", ["Rome"]),
    ],
)
def test_what_was_true_and_what_was_believed_are_two_questions(
    year: Knowledge, as_of: str | None, known_at: str | None, found: list[str]
) -> None:
    assert objects(year.about("office", as_of=as_of, known_at=known_at)) == found
    assert objects(year.find(predicate="in", as_of=as_of, known_at=known_at)) == found


def test_what_was_believed_in_march_is_asked_with_its_past_and_future(year: Knowledge) -> None:
    assert objects(year.about("office", state="past")) == ["Rome"]
    assert objects(year.about("office", state="past", known_at="2026-03")) == []
    assert objects(year.about("office", state="all", known_at="2026-03")) == ["Rome"]
    (then,) = year.about("office", known_at="2026-03")
    assert (then.version, then.valid_to) == (1, None)
    assert str(then.ended_at) == str(year.find(object="Oslo")[0].recorded_at)


def test_of_a_period_that_is_not_over_what_is_current_is_judged_now(
    year: Knowledge, clock: Clock
) -> None:
    year.add("office", "closes_on", "weekends", valid_from="2026-06-01", valid_to="2026-06-20")
    assert objects(year.about("office", known_at="2026-06")) == ["Oslo", "weekends"]
    clock.stands_at("2026-07-01")
    assert objects(year.about("office", known_at="2026-06")) == ["Oslo"]


@pytest.mark.parametrize(
    ("state", "found"),
    [
        ("current", ["now", "ever"]),
        ("past", ["before"]),
        ("future", ["later"]),
        ("all", ["before", "now", "later", "ever"]),
    ],
)
def test_a_state_is_asked_for_and_current_is_the_usual_one(
    knowledge: Knowledge, state: Any, found: list[str]
) -> None:
    knowledge.add("it", "is", "later", valid_from="2090")
    knowledge.add("it", "is", "ever")
    knowledge.add("it", "is", "before", valid_from="2001", valid_to="2002")
    knowledge.add("it", "is", "now", valid_from="2020", valid_to="2090")
    assert objects(knowledge.about("it", state=state)) == found
    counts = knowledge.stats()
    assert (counts.facts, counts.current, counts.past, counts.future) == (4, 2, 1, 1)
    if state == "current":
        assert objects(knowledge.about("it")) == found


def test_what_was_acknowledged_is_current_also_when_the_clock_steps_back(
    knowledge: Knowledge, clock: Clock
) -> None:
    clock.stands_at("2026-06-10")
    knowledge.add("light", "is", "red")
    clock.stands_at("2026-06-09")
    knowledge.supersede("light", "is", "red", "green")
    assert words(knowledge.about("light")) == ["light is green"]
    assert (knowledge.stats().current, knowledge.stats().future) == (1, 0)


# Patterns, directions, wings


@pytest.fixture
def people(knowledge: Knowledge) -> Knowledge:
    knowledge.add("Ann", "knows", "Bob", valid_from="2001")
    knowledge.add("Bob", "knows", "Cem", valid_from="2002")
    knowledge.add("Ann", "likes", "Cem", valid_from="2003")
    knowledge.add("Cem", "likes", "Cem", valid_from="2004")
    return knowledge


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ({}, ["Ann knows Bob", "Bob knows Cem", "Ann likes Cem", "Cem likes Cem"]),
        ({"subject": "ann"}, ["Ann knows Bob", "Ann likes Cem"]),
        ({"predicate": "Likes"}, ["Ann likes Cem", "Cem likes Cem"]),
        ({"object": "Cem"}, ["Bob knows Cem", "Ann likes Cem", "Cem likes Cem"]),
        ({"subject": "Ann", "predicate": "knows"}, ["Ann knows Bob"]),
        ({"predicate": "likes", "object": "CEM"}, ["Ann likes Cem", "Cem likes Cem"]),
        ({"subject": "Ann", "object": "Cem"}, ["Ann likes Cem"]),
        ({"subject": "Bob", "predicate": "likes", "object": "Ann"}, []),
        ({"predicate": "unheard of"}, []),
    ],
)
def test_a_part_of_a_pattern_that_is_left_out_matches_anything(
    people: Knowledge, pattern: dict[str, str], found: list[str]
) -> None:
    assert words(people.find(**pattern)) == found


@pytest.mark.parametrize(
    ("direction", "found"),
    [
        ("outgoing", ["Cem likes Cem"]),
        ("incoming", ["Bob knows Cem", "Ann likes Cem", "Cem likes Cem"]),
        ("both", ["Bob knows Cem", "Ann likes Cem", "Cem likes Cem"]),
    ],
)
def test_a_direction_is_where_the_entity_stands(
    people: Knowledge, direction: Any, found: list[str]
) -> None:
    assert words(people.about("Cem", direction=direction)) == found


def test_predicates_are_folded(people: Knowledge) -> None:
    for spelling in ("Works At", "works-at", "WORKS_AT", "  works   at "):
        people.add("Ann", spelling, "Acme")
    assert words(people.find(object="Acme")) == ["Ann works_at Acme"]


def test_a_wing_holds_its_own_facts_and_no_wing_asks_them_all(knowledge: Knowledge) -> None:
    for wing in ("", "app", "web"):
        assert knowledge.add("server", "runs_on", "Linux", wing=wing).created
    assert [fact.wing for fact in knowledge.about("server", wing="app")] == ["app"]
    assert sorted(fact.wing for fact in knowledge.about("server")) == ["", "app", "web"]
    assert knowledge.stats(wing="web").facts == 1
    assert knowledge.stats(wing="web").entities == 2
    with pytest.raises(ConflictError, match="name the wing"):
        knowledge.end("server", "runs_on", "Linux")
    knowledge.end("server", "runs_on", "Linux", wing="web")
    assert sorted(fact.wing for fact in knowledge.about("server")) == ["", "app"]


def test_a_limit_is_kept(people: Knowledge) -> None:
    assert words(people.find(limit=2)) == ["Ann knows Bob", "Bob knows Cem"]


# Timeline


def pages(knowledge: Knowledge, limit: int, between: Callable[[], object]) -> list[Fact]:
    page = knowledge.timeline(limit=limit)
    found = list(page)
    while page.cursor:
        between()
        page = knowledge.timeline(limit=limit, cursor=page.cursor)
        found += page
    return found


def test_a_timeline_is_by_start_undated_last(people: Knowledge) -> None:
    people.add("Ann", "is", "tall")
    people.add("Ann", "was", "small", valid_from="1990", valid_to="2000")
    assert words(people.timeline("Ann").items) == [
        "Ann was small",
        "Ann knows Bob",
        "Ann likes Cem",
        "Ann is tall",
    ]
    assert words(people.timeline("Ann", predicate="KNOWS").items) == ["Ann knows Bob"]
    assert people.timeline(wing="elsewhere").items == ()


@pytest.mark.parametrize("limit", [1, 3, 10, 100])
def test_pages_lose_and_double_nothing_while_others_write(knowledge: Knowledge, limit: int) -> None:
    chance = random.Random(limit)
    starts = [None, "2001", "2001-01-01", "2001-05", "2010-10-10", "2050"]
    for number in range(40):
        knowledge.add(f"thing {number}", "is", "there", valid_from=chance.choice(starts))
    expected = [fact.id for fact in knowledge.timeline(limit=100)]
    written: list[Fact] = []

    def others_write() -> None:
        number = len(written)
        start = chance.choice(starts)
        written.append(knowledge.add(f"new {number}", "is", "there", valid_from=start).fact)
        open_ = [fact for fact in knowledge.timeline(limit=100) if fact.valid_to is None]
        knowledge.correct(chance.choice(open_).id, valid_to="2090")

    found = [fact.id for fact in pages(knowledge, limit, others_write)]
    assert len(found) == len(set(found))
    new = {fact.id for fact in written}
    assert [fact_id for fact_id in found if fact_id not in new] == expected


def test_a_fact_that_is_ended_between_two_pages_does_not_come_again(people: Knowledge) -> None:
    first = people.timeline(limit=1)
    people.end("Ann", "knows", "Bob")
    rest = people.timeline(cursor=first.cursor)
    assert words([*first, *rest]) == words(people.timeline().items)


@pytest.mark.parametrize(
    "cursor", ["x", "5", "5:", "a:b", "1:2:3:\udc80", f"{10**30}:f1", "1:\x00"]
)
def test_a_cursor_from_elsewhere_is_refused(people: Knowledge, cursor: str) -> None:
    with pytest.raises(InputError, match="cursor"):
        people.timeline(cursor=cursor)


# Counts


def test_counts_are_of_what_is_believed(people: Knowledge) -> None:
    people.end("Ann", "knows", "Bob")
    people.delete(people.find(subject="Bob", predicate="knows")[0].id)
    counts = people.stats()
    assert (counts.facts, counts.current, counts.past, counts.future) == (3, 2, 1, 0)
    assert dict(counts.predicates) == {"likes": 2, "knows": 1}
    assert counts.entities == 3


# Neighbours and paths


@pytest.fixture
def chain(knowledge: Knowledge) -> Knowledge:
    """a - b - c - d - e in changing directions, and a short way a - d that ended in 2020."""
    for subject, object_ in ("ab", "cb", "cd", "ed"):
        knowledge.add(subject, "touches", object_, valid_from="2010")
    knowledge.add("a", "touched", "d", valid_from="2010", valid_to="2020")
    return knowledge


def test_neighbours_are_within_so_many_steps_the_nearest_first(chain: Knowledge) -> None:
    near = [(found.name, found.steps) for found in chain.neighbours("b", depth=2)]
    assert near == [("a", 1), ("c", 1), ("d", 2)]
    assert [found.name for found in chain.neighbours("a", as_of="2015")] == ["b", "d"]
    assert [found.name for found in chain.neighbours("a")] == ["b"]
    assert len(chain.neighbours("a", depth=10)) == 4


@pytest.mark.parametrize(
    ("question", "steps"),
    [
        ({}, 4),
        ({"max_depth": 3}, 0),
        ({"max_depth": 10}, 4),
        ({"as_of": "2015"}, 2),
        ({"as_of": "2015", "max_depth": 1}, 0),
        ({"as_of": "2005"}, 0),
        ({"wing": "elsewhere"}, 0),
    ],
)
def test_a_path_is_a_shortest_one_over_facts_that_hold(
    chain: Knowledge, question: dict[str, Any], steps: int
) -> None:
    path = chain.path("a", "e", **question)
    assert len(path) == steps
    assert_connected(path, "a", "e")
    assert len(chain.path("e", "a", **question)) == steps


def assert_connected(path: list[Fact], start: str, goal: str) -> None:
    here = start
    for fact in path:
        assert here in (fact.subject, fact.object)
        here = fact.object if here == fact.subject else fact.subject
    assert here == goal or not path


def test_a_path_to_itself_is_empty_and_to_a_stranger_an_error(chain: Knowledge) -> None:
    assert chain.path("a", "A") == []
    with pytest.raises(NotFoundError):
        chain.path("a", "nobody")


def test_paths_are_as_short_as_a_plain_search_finds_them(knowledge: Knowledge) -> None:
    chance = random.Random(948)
    names = [f"n{number}" for number in range(24)]
    edges = {tuple(chance.sample(names, 2)) for _ in range(26)}
    for subject, object_ in edges:
        knowledge.add(subject, "touches", object_)
    known = {name for edge in edges for name in edge}
    for start in sorted(known)[:6]:
        steps = {start: 0}
        for step in range(1, 11):
            for here, there in [*edges, *(edge[::-1] for edge in edges)]:
                if steps.get(here) == step - 1:
                    steps.setdefault(there, step)
        for goal in known:
            path = knowledge.path(start, goal, max_depth=10)
            assert len(path) == steps.get(goal, 0)
            assert_connected(path, start, goal)


def test_a_hub_lies_on_the_path_and_a_tie_is_any_of_the_shortest(knowledge: Knowledge) -> None:
    for number in range(300):
        knowledge.add(f"leaf {number}", "of", "hub")
    for middle in ("one", "two"):
        knowledge.add("left", "to", middle)
        knowledge.add(middle, "to", "right")
    path = knowledge.path("leaf 7", "leaf 299")
    assert words(path) == ["leaf 7 of hub", "leaf 299 of hub"]
    tie = knowledge.path("left", "right")
    assert len(tie) == 2
    assert_connected(tie, "left", "right")


@pytest.mark.parametrize("depth", [0, 11, -1, True, 2.0, "3"])
def test_a_depth_that_cannot_be_used_is_refused(chain: Knowledge, depth: Any) -> None:
    with pytest.raises(InputError, match="depth"):
        chain.path("a", "e", max_depth=depth)
    with pytest.raises(InputError, match="depth"):
        chain.neighbours("a", depth=depth)


# Entities and aliases


def test_adding_an_entity_again_adds_to_it_and_erases_nothing(knowledge: Knowledge) -> None:
    knowledge.add_entity("Max", type="person", properties={"born": 1990, "tags": ["a", {"b": 1}]})
    knowledge.add_entity("MAX")
    assert knowledge.entity("max").properties == {"born": 1990, "tags": ["a", {"b": 1}]}
    entity = knowledge.add_entity("max", properties={"born": None, "eyes": "blue"})
    assert (entity.name, entity.type) == ("Max", "person")
    assert knowledge.entity("Max") == entity
    assert entity.properties == {"tags": ["a", {"b": 1}], "eyes": "blue"}
    assert knowledge.add_entity("Max", type="cat").type == "cat"


@pytest.mark.parametrize(
    "properties",
    [{"a": object()}, {"a": [object()]}, {"a": float("nan")}, {"": 1}, {"a\x00": 1}, ["no", "map"]],
)
def test_properties_that_json_cannot_hold_are_refused(
    knowledge: Knowledge, properties: Any
) -> None:
    with pytest.raises(InputError, match="propert"):
        knowledge.add_entity("Max", properties=properties)
    assert knowledge.stats().entities == 0


def test_an_alias_leads_to_the_entity_in_every_question_and_every_write(
    knowledge: Knowledge,
) -> None:
    knowledge.add("Maximilian", "works_at", "Acme")
    entity = knowledge.add_alias("maximilian", "Max")
    assert (entity.name, entity.aliases) == ("Maximilian", ("Max",))
    assert knowledge.add_alias("Max", "MAX") == entity
    assert not knowledge.add("max", "works_at", "ACME").created
    knowledge.add("Ann", "knows", "Max")
    assert words(knowledge.about("MAX")) == words(knowledge.about("Maximilian"))
    assert words(knowledge.find(object="max")) == ["Ann knows Maximilian"]
    assert len(knowledge.path("Ann", "Acme")) == 2
    knowledge.supersede("Max", "works_at", "Acme", "Beta")
    knowledge.end("max", "works_at", "beta")
    assert words(knowledge.about("Max")) == ["Ann knows Maximilian"]


def test_an_alias_is_never_taken_from_somebody_else(knowledge: Knowledge) -> None:
    for name in ("Ann", "Bob"):
        knowledge.add_entity(name)
    knowledge.add_alias("Ann", "Annie")
    with pytest.raises(ConflictError, match="alias of Ann"):
        knowledge.add_alias("Bob", "annie")
    with pytest.raises(ConflictError, match="entity of its own"):
        knowledge.add_alias("Bob", "Ann")
    with pytest.raises(NotFoundError):
        knowledge.add_alias("Cem", "C")
    assert knowledge.entity("ANNIE").name == "Ann"


def test_an_alias_is_undone_and_the_undoing_is_undone(palace: Palace) -> None:
    palace.knowledge.add_entity("Ann")
    palace.knowledge.add_alias("Ann", "Annie")
    undone = palace.undo(palace.status().seq)
    with pytest.raises(NotFoundError):
        palace.knowledge.entity("Annie")
    palace.undo(undone.seq)
    assert palace.knowledge.entity("Annie").aliases == ("Annie",)


def test_undoing_an_alias_twice_is_refused_where_its_name_is_an_entity_by_now(
    palace: Palace,
) -> None:
    palace.knowledge.add_entity("Ann")
    palace.knowledge.add_alias("Ann", "Annie")
    undone = palace.undo(palace.status().seq)
    palace.knowledge.add("Annie", "is", "somebody else")
    with pytest.raises(ConflictError, match="nothing was undone"):
        palace.undo(undone.seq)
    assert palace.knowledge.entity("Annie").name == "Annie"


def test_undoing_an_entity_leaves_what_has_an_alias_by_now(palace: Palace) -> None:
    palace.knowledge.add_entity("Ann", type="person")
    added = palace.status().seq
    palace.knowledge.add_alias("Ann", "Annie")
    palace.undo(added)
    assert (palace.knowledge.entity("Annie").name, palace.knowledge.entity("Ann").type) == (
        "Ann",
        "",
    )


# Predicates


def test_an_unknown_predicate_is_reported_once_and_then_takes_many(knowledge: Knowledge) -> None:
    knowledge.add("Max", "speaks", "Greek")
    assert words(knowledge.add("Max", "speaks", "Latin").conflicts) == ["Max speaks Greek"]
    assert knowledge.predicates() == {"speaks": "many"}
    assert knowledge.add("Max", "speaks", "Norse").conflicts == ()


def test_a_single_predicate_is_reported_every_time(knowledge: Knowledge) -> None:
    knowledge.set_predicate("Born In", "single")
    knowledge.add("Max", "born_in", "Rome")
    assert words(knowledge.add("Max", "born_in", "Oslo").conflicts) == ["Max born_in Rome"]
    assert sorted(words(knowledge.add("Max", "born_in", "Bern").conflicts)) == [
        "Max born_in Oslo",
        "Max born_in Rome",
    ]
    assert knowledge.predicates() == {"born_in": "single"}


def test_superseding_teaches_that_a_predicate_takes_one_unless_it_is_known_to_take_many(
    knowledge: Knowledge,
) -> None:
    knowledge.set_predicate("likes", "many")
    for predicate in ("lives_in", "likes"):
        knowledge.add("Max", predicate, "Rome")
        knowledge.supersede("Max", predicate, "Rome", "Oslo")
    assert knowledge.predicates() == {"lives_in": "single", "likes": "many"}
    knowledge.set_predicate("likes", "single")
    assert knowledge.predicates()["likes"] == "single"


def test_values_that_follow_each_other_are_no_conflict(knowledge: Knowledge) -> None:
    knowledge.set_predicate("works_at", "single")
    knowledge.add("Max", "works_at", "Acme", valid_from="2001", valid_to="2002")
    assert knowledge.add("Max", "works_at", "Beta", valid_from="2003").conflicts == ()
    assert knowledge.add("Max", "works_at", "Acme", valid_from="1999", valid_to="2000").created
    assert knowledge.add("Ann", "works_at", "Acme").conflicts == ()
    assert knowledge.add("Max", "works_at", "Gamma", wing="rumours").conflicts == ()


def test_a_cardinality_that_is_not_known_is_refused(knowledge: Knowledge) -> None:
    with pytest.raises(InputError, match="'single' or 'many'"):
        knowledge.set_predicate("likes", "some")  # type: ignore[arg-type]


# Ending, superseding, correcting, deleting


def test_an_end_is_now_unless_it_is_given(knowledge: Knowledge, clock: Clock) -> None:
    knowledge.add("Max", "works_at", "Acme")
    clock.stands_at("2026-03-03")
    ended = knowledge.end("Max", "works_at", "Acme")
    assert str(ended.fact.valid_to).startswith("2026-03-03T12:00:00.0000")
    assert knowledge.about("Max") == []


def test_a_fact_with_an_end_to_come_can_be_ended_earlier_but_only_once(
    knowledge: Knowledge,
) -> None:
    knowledge.add("Max", "holds", "lease", valid_from="2020", valid_to="2099")
    assert knowledge.end("Max", "holds", "lease", ended="2090").changed
    with pytest.raises(ConflictError, match="to 2090"):
        knowledge.end("Max", "holds", "lease", ended="2080")
    assert not knowledge.end("Max", "holds", "lease", ended="2090").changed


@pytest.mark.parametrize("at", [None, "2024", "2095", "2099-12-31"])
def test_of_two_who_supersede_the_second_is_told_what_it_lost_to(
    knowledge: Knowledge, at: str | None
) -> None:
    knowledge.add("Max", "works_at", "Acme", valid_from="2020")
    won = knowledge.supersede("Max", "works_at", "Acme", "Beta", at=at, author=Author("clio"))
    with pytest.raises(ConflictError, match="by clio") as caught:
        knowledge.supersede("Max", "works_at", "Acme", "Gamma", at=at)
    assert caught.value.standing == (describe(won.fact),)
    assert f"now: {describe(won.fact)}" in str(caught.value)


def test_superseding_meets_without_gap_or_overlap(knowledge: Knowledge) -> None:
    knowledge.add("Max", "works_at", "Acme", valid_from="2020")
    done = knowledge.supersede("Max", "works_at", "Acme", "Beta", at="2025-03-15", source="mail")
    assert (str(done.ended.valid_to), str(done.fact.valid_from)) == ("2025-03-14", "2025-03-15")
    assert done.fact.source == "mail"
    for moment, place in (("2025-03-14", "Acme"), ("2025-03-15", "Beta")):
        assert objects(knowledge.about("Max", as_of=moment)) == [place]


def test_superseding_by_what_is_known_from_then_on_only_ends_the_old(knowledge: Knowledge) -> None:
    knowledge.add("Max", "works_at", "Acme", valid_from="2020")
    known = knowledge.add("Max", "works_at", "Beta", valid_from="2024").fact
    done = knowledge.supersede("Max", "works_at", "Acme", "Beta", at="2025")
    assert (done.created, done.fact) == (False, known)
    assert objects(knowledge.about("Max")) == ["Beta"]


@pytest.mark.parametrize(
    "dates", [{"valid_from": "2024", "valid_to": "2098"}, {"valid_from": "2095"}]
)
def test_superseding_by_what_is_known_for_another_time_is_refused(
    palace: Palace, dates: dict[str, str]
) -> None:
    palace.knowledge.add("Max", "works_at", "Acme", valid_from="2020")
    palace.knowledge.add("Max", "works_at", "Beta", **dates)
    before = palace.status().seq
    with pytest.raises(ConflictError, match="known already"):
        palace.knowledge.supersede("Max", "works_at", "Acme", "Beta", at="2025")
    assert palace.status().seq == before
    assert "Acme" in objects(palace.knowledge.about("Max"))


def test_a_correction_replaces_the_belief_and_keeps_the_one_before(knowledge: Knowledge) -> None:
    fact = knowledge.add("Max", "works_at", "Acme", valid_from="2020", source="cv").fact
    done = knowledge.correct(
        fact.id, valid_from="2021-05", valid_to="2024", confidence=0.5, source="mail"
    )
    assert done.changed
    assert (str(done.fact.valid_from), str(done.fact.valid_to)) == ("2021-05", "2024")
    assert knowledge.get(fact.id) == done.fact
    reopened = knowledge.correct(fact.id, valid_from=None, valid_to=None).fact
    assert (reopened.valid_from, reopened.valid_to, reopened.source) == (None, None, "mail")
    versions = knowledge.history(fact.id)
    assert [belief.version for belief in versions] == [1, 2, 3]
    assert [belief.ended_at for belief in versions] == [
        *(belief.recorded_at for belief in versions[1:]),
        None,
    ]
    assert not knowledge.correct(fact.id, source="mail").changed


def test_a_correction_that_meets_the_same_fact_at_another_time_is_refused(
    knowledge: Knowledge,
) -> None:
    knowledge.add("Max", "works_at", "Acme", valid_from="2001", valid_to="2002")
    later = knowledge.add("Max", "works_at", "Acme", valid_from="2010").fact
    with pytest.raises(ConflictError, match="from 2001 to 2002"):
        knowledge.correct(later.id, valid_from="2002")
    with pytest.raises(InputError, match="not after the start"):
        knowledge.correct(later.id, valid_to="2009")
    with pytest.raises(InputError, match="say what"):
        knowledge.correct(later.id)
    assert knowledge.get(later.id) == later


def test_a_deleted_fact_is_not_believed_but_was(knowledge: Knowledge, clock: Clock) -> None:
    fact = knowledge.add("Max", "works_at", "Acme").fact
    clock.stands_at("2026-02-02")
    knowledge.delete(fact.id)
    assert knowledge.about("Max", state="all") == []
    assert words(knowledge.about("Max", known_at="2026-01")) == ["Max works_at Acme"]
    assert len(knowledge.history(fact.id)) == 1
    for lost in (knowledge.get, knowledge.delete):
        with pytest.raises(NotFoundError):
            lost(fact.id)
    again = knowledge.add("Max", "works_at", "Acme")
    assert again.created
    assert again.fact.id != fact.id


@pytest.mark.parametrize("known", ["f0", "d0", "' OR 1=1 --"])
def test_an_unknown_fact_is_an_error(knowledge: Knowledge, known: str) -> None:
    for ask in (knowledge.get, knowledge.history, knowledge.delete):
        with pytest.raises(NotFoundError):
            ask(known)


def test_a_fact_that_ended_and_is_said_again_is_true_from_now_on(
    knowledge: Knowledge, clock: Clock
) -> None:
    knowledge.add("alarm", "is", "on", valid_from="2020", valid_to="2021")
    clock.stands_at("2026-05-05")
    again = knowledge.add("alarm", "is", "on", valid_to="2030")
    assert again.created
    assert str(again.fact.valid_from).startswith("2026-05-05T12")
    assert knowledge.add("alarm", "is", "on", valid_to="2020-06").differs
    assert knowledge.add("alarm", "is", "on", valid_from="2021").differs


def test_a_fact_that_changed_very_often_is_still_found_open(knowledge: Knowledge) -> None:
    for _ in range(60):
        assert knowledge.add("door", "is", "open").created
        assert not knowledge.add("door", "is", "open").created
        assert knowledge.end("door", "is", "open").changed
    assert knowledge.stats().past == 60
    assert knowledge.about("door") == []


# Provenance


def test_everything_given_with_a_fact_is_returned(palace: Palace) -> None:
    drawer = palace.add("the mail").drawer.id
    added = palace.knowledge.add(
        "Max",
        "works_at",
        "Acme",
        wing="people",
        confidence=0.75,
        source="mail/42.txt",
        drawer=drawer,
        author=Author("clio", "s1"),
    )
    (fact,) = palace.knowledge.about("Max")
    assert fact == added.fact
    assert (fact.wing, fact.confidence, fact.source, fact.drawer) == (
        "people",
        0.75,
        "mail/42.txt",
        drawer,
    )
    (change,) = palace.changes(agent="clio")
    assert (change.ref, change.session, change.at) == (fact.id, "s1", fact.recorded_at)


def test_a_superseding_fact_has_its_own_provenance(palace: Palace) -> None:
    drawer = palace.add("the mail").drawer.id
    palace.knowledge.add("Max", "works_at", "Acme", source="cv", drawer=drawer, confidence=0.5)
    plain = palace.knowledge.supersede("Max", "works_at", "Acme", "Beta").fact
    assert (plain.source, plain.drawer, plain.confidence) == ("", "", 1.0)
    told = palace.knowledge.supersede(
        "Max", "works_at", "Beta", "Gamma", source="mail", drawer=drawer, confidence=0.9
    ).fact
    assert (told.source, told.drawer, told.confidence) == ("mail", drawer, 0.9)
    with pytest.raises(NotFoundError, match="no drawer"):
        palace.knowledge.supersede("Max", "works_at", "Gamma", "Delta", drawer="d0")
    assert objects(palace.knowledge.about("Max")) == ["Gamma"]


# Bad input


@pytest.mark.parametrize("confidence", [-0.1, 1.1, float("nan"), float("inf"), "1", None, True])
def test_a_confidence_is_a_number_from_0_to_1(knowledge: Knowledge, confidence: Any) -> None:
    with pytest.raises(InputError, match="confidence"):
        knowledge.add("Max", "is", "here", confidence=confidence)
    for usable in (0, 1, 0.5):
        knowledge.add("Max", "counts", str(usable), confidence=usable)


@pytest.mark.parametrize(
    "bad",
    ["", "   ", "a\x00b", "a\x1bb", "\udc80", "x" * 2001, "x" * 10_000_000, None, 7, b"Max"],
    ids=lambda bad: f"{bad!r:.12}",
)
def test_a_name_that_cannot_be_one_is_refused_everywhere(knowledge: Knowledge, bad: Any) -> None:
    knowledge.add("Max", "works_at", "Acme")
    before = knowledge.stats()
    calls: list[Callable[[], object]] = [
        lambda: knowledge.add(bad, "is", "b"),
        lambda: knowledge.add("a", bad, "b"),
        lambda: knowledge.add("a", "is", bad),
        lambda: knowledge.end(bad, "works_at", "Acme"),
        lambda: knowledge.supersede("Max", "works_at", "Acme", bad),
        lambda: knowledge.add_entity(bad),
        lambda: knowledge.add_alias("Max", bad),
        lambda: knowledge.set_predicate(bad, "single"),
        lambda: knowledge.about(bad),
        lambda: knowledge.path("Max", bad),
        lambda: knowledge.entity(bad),
        lambda: knowledge.get(bad),
        lambda: knowledge.history(bad),
    ]
    for call in calls:
        with pytest.raises(InputError) as caught:
            call()
        assert len(str(caught.value)) < 500
    assert knowledge.stats() == before


@pytest.mark.parametrize(
    "name", ["'; DROP TABLE fact; --", "%", "_", 'a"b', "f:1", "İstanbul", "😀", "漢字", "a" * 2000]
)
def test_a_name_may_look_like_anything_and_comes_back(knowledge: Knowledge, name: str) -> None:
    knowledge.add(name, "is", "here")
    assert [fact.subject for fact in knowledge.about(name)] == [name]
    assert objects(knowledge.find(subject=name)) == ["here"]
    assert knowledge.stats().facts == 1


@pytest.mark.parametrize(
    "question",
    [
        {"as_of": "soon"},
        {"known_at": "2025-13"},
        {"state": "sometimes"},
        {"state": "sometimes", "as_of": "2025"},
        {"direction": "up"},
        {"limit": 0},
        {"limit": True},
        {"wing": "a\x00"},
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(
    people: Knowledge, question: dict[str, Any]
) -> None:
    with pytest.raises(InputError):
        people.about("Ann", **question)


# Many processes


def add_the_same(folder: str, name: str, start: Barrier) -> None:
    with Palace.open(folder, agent=name) as palace:
        start.wait(PROCESS_SECONDS)
        added = palace.knowledge.add("Max", "works_at", "Acme", valid_from="2024-03")
        note(folder, name, f"{added.created} {added.fact.id}")


def supersede_the_same(folder: str, name: str, start: Barrier) -> None:
    with Palace.open(folder, agent=name) as palace:
        start.wait(PROCESS_SECONDS)
        try:
            palace.knowledge.supersede("Max", "works_at", "Acme", name)
        except ConflictError as error:
            note(folder, name, str(error))
        else:
            note(folder, name, "won")


def note(folder: str, name: str, told: str) -> None:
    Path(folder).with_name(f"told-{name}").write_text(told)


def at_once(
    target: Callable[[str, str, Barrier], None], folder: Path, processes: int
) -> dict[str, str]:
    """Runs the same in so many processes, from one barrier; returns what each was told."""
    context = get_context("spawn")
    start = context.Barrier(processes)
    crowd = {
        name: context.Process(target=target, args=(str(folder), name, start))
        for name in [f"agent-{number}" for number in range(processes)]
    }
    for process in crowd.values():
        process.start()
    for process in crowd.values():
        process.join(PROCESS_SECONDS)
    assert [process.exitcode for process in crowd.values()] == [0] * processes
    return {name: folder.with_name(f"told-{name}").read_text() for name in crowd}


@pytest.mark.parametrize("processes", [2, 8])
def test_processes_that_add_the_same_fact_make_one(
    palace: Palace, tmp_path: Path, processes: int
) -> None:
    told = at_once(add_the_same, tmp_path / "palace", processes)
    (fact,) = palace.knowledge.about("Max", state="all")
    assert sorted(told.values()) == sorted(
        [f"True {fact.id}", *[f"False {fact.id}"] * (processes - 1)]
    )
    assert palace.status().seq == 1


@pytest.mark.parametrize("processes", [2, 8])
def test_of_processes_that_supersede_the_same_fact_one_wins_and_the_others_are_told(
    palace: Palace, tmp_path: Path, processes: int
) -> None:
    palace.knowledge.add("Max", "works_at", "Acme")
    told = at_once(supersede_the_same, tmp_path / "palace", processes)
    (winner,) = [name for name, answer in told.items() if answer == "won"]
    assert objects(palace.knowledge.about("Max")) == [winner]
    for name, answer in told.items():
        if name != winner:
            assert f"ended already by {winner} " in answer
            assert f"now: Max works_at {winner} from" in answer
    assert palace.knowledge.stats().facts == 2
