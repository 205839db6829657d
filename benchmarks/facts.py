"""A knowledge graph of a million facts: what a question costs.

The graph grows by preferential attachment: each new entity gets a few facts about entities that
are already often spoken of, so that a few hubs have thousands of facts and most entities a handful.
Names to ask for are drawn from the facts, not from the entities: hubs are asked for more often.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from report import Report, milliseconds, parser, percentile, scratch

from palatine import Palace
from palatine.instants import Instant
from palatine.store.base import WriteTx
from palatine.store.sqlite import SqliteStore
from palatine.text import digest
from palatine.types import Author, Entity, Fact, Kind, Op

FACTS_PER_ENTITY = 5
BATCH_FACTS = 50_000
DAY = 86_400_000_000
FIRST = int(datetime(2015, 1, 1, tzinfo=UTC).timestamp()) * 1_000_000
DAYS = 3650
PREDICATES = ("knows", "works_on", "uses", "part_of", "depends_on", "decided", "lives_in", "owns")


def name(number: int) -> str:
    """The n-th entity's name; its key is the same."""
    return f"entity {number}"


def facts(count: int, draw: random.Random, recorded: Callable[[], Instant]) -> Iterator[Fact]:
    """Facts in the order in which the graph grows."""
    ends = [0]
    for number in range(count):
        subject = number // FACTS_PER_ENTITY + 1
        thing = draw.choice(ends)
        while thing == subject:
            thing = draw.choice(ends)
        ends += (subject, thing)
        dated = draw.random() < 0.9
        start = FIRST + draw.randrange(DAYS) * DAY if dated else None
        ended = dated and draw.random() < 0.4
        yield Fact(
            id="f" + digest(str(number).encode()).hex()[:15],
            version=1,
            wing="",
            subject_key=name(subject),
            subject=name(subject),
            predicate=draw.choice(PREDICATES) + str(number % FACTS_PER_ENTITY),
            object_key=name(thing),
            object=name(thing),
            valid_from=None if start is None else Instant(start),
            valid_to=Instant((start or 0) + draw.randrange(1, 1000) * DAY) if ended else None,
            confidence=1.0,
            source="",
            drawer="",
            recorded_at=recorded(),
        )


def build(folder: Path, count: int, draw: random.Random) -> Counter[str]:
    """Fills a palace; returns how many facts each entity has."""
    degrees: Counter[str] = Counter()
    store = SqliteStore(folder)
    clock = Instant(0)
    growing = facts(count, draw, lambda: clock)
    left = count
    while left > 0:
        with store.write(Author()) as tx:
            tx.connection.execute(
                "PRAGMA cache_size = -1000000"
            )  # the build is not what is measured
            clock = tx.recorded_at
            for _ in range(min(left, BATCH_FACTS)):
                _put(tx, next(growing), degrees)
        left -= BATCH_FACTS
    store.close()
    return degrees


def _put(tx: WriteTx, fact: Fact, degrees: Counter[str]) -> None:
    for key in (fact.subject_key, fact.object_key):
        if key not in degrees:
            tx.put_entity(Entity(key, key))
        degrees[key] += 1
    tx.put_fact(fact)
    tx.record(Kind.FACT, fact.id, Op.ADD, wing="", before=None)


def timed(question: Callable[[str], object], names: Sequence[str]) -> list[float]:
    """Milliseconds of the question for each name, after one that is not counted."""
    question(names[0])
    return [milliseconds(lambda each=each: question(each)) for each in names]  # type: ignore[misc]


def measure(
    palace: Palace, degrees: Counter[str], given: argparse.Namespace, draw: random.Random
) -> dict[str, list[float]]:
    """Milliseconds of each kind of question."""
    ask = palace.knowledge
    pool = list(degrees.elements())
    names = draw.sample(pool, given.questions)
    hubs = [key for key, _ in degrees.most_common(20)]
    days = [f"{draw.randrange(2015, 2025)}-{draw.randrange(1, 13):02}" for _ in range(97)]
    partner = dict(zip(names, draw.sample(pool, len(names)), strict=True))
    hub_partner = dict(zip(hubs, reversed(hubs), strict=True))
    cursors = _cursors(palace, 20)
    adding = iter(range(10**9))
    return {
        "about, as of a month": timed(lambda n: ask.about(n, as_of=days[len(n) * 7 % 97]), names),
        "about, now": timed(ask.about, names),
        "about one of the 20 hubs, as of a month": timed(
            lambda n: ask.about(n, as_of="2020-06"), hubs
        ),
        "find by subject and predicate": timed(
            lambda n: ask.find(subject=n, predicate="uses1"), names
        ),
        "timeline, page of 100": timed(lambda cursor: ask.timeline(cursor=cursor), cursors),
        "timeline of an entity": timed(ask.timeline, names),
        "timeline of a hub": timed(ask.timeline, hubs),
        "path up to depth 4": timed(
            lambda n: ask.path(n, partner[n]), names[: given.questions // 4]
        ),
        "path between two hubs": timed(lambda n: ask.path(n, hub_partner[n]), hubs),
        "neighbours, depth 1": timed(ask.neighbours, names),
        "add": timed(lambda n: ask.add(n, "noted", f"new {next(adding)}"), names),
        "stats": [milliseconds(ask.stats) for _ in range(3)],
        "status": [milliseconds(palace.status) for _ in range(3)],
    }


def _cursors(palace: Palace, pages: int) -> list[str]:
    """Cursors far apart, and the first pages."""
    cursors = [""]
    for _ in range(pages // 2):
        cursors.append(palace.knowledge.timeline(cursor=cursors[-1]).cursor)
    deep = [f"{FIRST + DAY * DAYS * n // pages}:f:1" for n in range(pages)]
    return [cursor for cursor in [*cursors, *deep] if cursor or cursor == cursors[0]]


def main() -> int:
    """Builds the graph, then asks."""
    arguments = parser(__doc__)
    arguments.add_argument("--facts", type=int, default=1_000_000)
    arguments.add_argument("--questions", type=int, default=1000)
    arguments.add_argument("--seed", type=int, default=1)
    given = arguments.parse_args()
    if given.quick:
        given.facts, given.questions = 50_000, 200
    report = Report("facts", given)
    draw = random.Random(given.seed)
    with scratch(given.folder) as folder:
        start = time.perf_counter()
        degrees = build(folder / "palace", given.facts, draw)
        report.say(
            f"built in {time.perf_counter() - start:.0f} s: {given.facts:,} facts,"
            f" {len(degrees):,} entities, the largest hub has {degrees.most_common(1)[0][1]:,}"
        )
        first = milliseconds(lambda: _first_question(folder / "palace", name(7)))
        with Palace.open(folder / "palace") as palace:
            seen = measure(palace, degrees, given, draw)
            size = palace.status().store["database_bytes"]
    rows = [
        [what, len(ms), percentile(ms, 0.5), percentile(ms, 0.99), max(ms)]
        for what, ms in seen.items()
    ]
    rows.append(["open, ask once, close (same process)", 1, first, first, first])
    report.table(
        f"{given.facts:,} facts, {int(str(size)) / 2**20:.0f} MiB",
        ["question", "n", "p50 ms", "p99 ms", "max ms"],
        rows,
    )
    report.expect(
        "about, as of a month: p99 ms", percentile(seen["about, as of a month"], 0.99), most=10
    )
    report.expect("timeline page: p99 ms", percentile(seen["timeline, page of 100"], 0.99), most=20)
    report.expect(
        "path up to depth 4: p99 ms", percentile(seen["path up to depth 4"], 0.99), most=100
    )
    report.save()
    return 0


def _first_question(folder: Path, entity: str) -> None:
    with Palace.open(folder) as palace:
        palace.knowledge.about(entity)


if __name__ == "__main__":
    sys.exit(main())
