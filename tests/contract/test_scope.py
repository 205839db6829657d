"""A palace that is limited to one wing sees nothing else and writes nothing else.

Everything of the other wing bears the marker `hush`, or has an id that the whole palace tells us.
"""

import contextlib
import dataclasses
import io
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from enum import Enum
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palatine.embed.hashing import HashingEmbedder
from palatine.errors import InputError, NotFoundError, PalatineError, ScopeError
from palatine.ingest.mine import Options
from palatine.instants import Instant
from palatine.knowledge import Knowledge
from palatine.palace import Palace
from palatine.scope import ScopedStore
from palatine.store.base import Store, WriteTx
from palatine.types import (
    Author,
    ChangeFilter,
    DrawerFilter,
    End,
    Entity,
    FactFilter,
    Kind,
    NewDrawer,
    Op,
    Reading,
)
from tests.contract.model import ModelStore
from tests.contract.nouns import (
    DIMENSION,
    EVERYTHING,
    NOBODY,
    a_drawer,
    a_fact,
    a_link,
    a_vector,
    dump,
    put_drawer,
)

ANN = Author("ann", "s1")
HUSH = Author("hushagent", "hushsession")
MARKERS = ("hush", "shop")


def whole_palace(store: Store) -> Palace:
    """The palace of all wings; the store is the caller's."""
    return Palace(
        store,
        author=ANN,
        load_embedder=lambda **_: HashingEmbedder(dimension=DIMENSION),
        shared=True,
    )


@pytest.fixture
def whole(store: Store) -> Palace:
    palace = whole_palace(store)
    fill(palace)
    return palace


@pytest.fixture
def app(whole: Palace) -> Palace:
    return whole.scoped("app")


def fill(palace: Palace) -> None:
    """Two wings that are as entangled as the whole palace allows."""
    facts = palace.knowledge
    news = [
        NewDrawer("The same words.", "app", "api", source="talk", position=0, former_id="old-app"),
        NewDrawer("Ships sail on.", "app", "api", source="talk", position=1, pinned=True),
        NewDrawer("Nobody needs this.", "app", "ops", said_at="2025"),
    ]
    one, two, three = (added.drawer.id for added in palace.add_many(news))
    palace.update(one, text="The same words, said better.")
    palace.diary_write("app", "Dear diary.")
    palace.link(one, two, "near")
    facts.add("Max", "works_at", "Acme", wing="app", drawer=one, valid_from="2024")
    facts.add("Max", "likes", "Tea", wing="app", drawer=three)
    palace.delete(three)
    secrets = [
        NewDrawer("The same words.", "shop", "hushroom", source="hush.txt", position=0),
        NewDrawer(
            "hush hush ships",
            "shop",
            "hushroom",
            kind="decision",
            pinned=True,
            metadata={"hush": 1},
            former_id="hushformer",
        ),
    ]
    three, four = (added.drawer.id for added in palace.add_many(secrets, author=HUSH))
    palace.diary_write("hushagent", "hush diary")
    palace.link(three, four, "hush", author=HUSH)
    palace.link(one, four, "hush between", author=HUSH)
    palace.link(("app", "api"), ("shop", "hushroom"), "hush rooms", author=HUSH)
    palace.knowledge.add("Max", "hush_likes", "Hushtea", wing="shop", author=HUSH)
    palace.knowledge.add("Hushman", "knows", "Max", wing="shop", source="hush.txt", author=HUSH)
    palace.knowledge.add("Hushman", "hush_leads", "Hushteam", author=HUSH)  # of no wing
    palace.knowledge.add_entity("Hushman", type="hushtype", properties={"hush": 1}, author=HUSH)
    palace.knowledge.add_alias("Hushman", "Hushalias", author=HUSH)
    palace.knowledge.set_predicate("hush_likes", "single", author=HUSH)
    palace.knowledge.set_predicate("likes", "many")
    facts.add("Max", "rents", "A boat", wing="app")
    facts.add("Max", "hush_likes", "Hushmilk", wing="shop", author=HUSH)
    with palace._store.write(HUSH) as tx:
        for drawer in (one, three, four):
            tx.put_reading(Reading(drawer, "rules", b"", {"hush": "hushfact"}))
    # Facts of this wing that were read in the other one; drawers that have moved.
    facts.add("Max", "drinks", "Water", wing="app", drawer=four)
    moved = palace.add("hush, it moves", wing="shop").drawer.id
    palace.update(moved, wing="app", text="It has moved.")
    gone = palace.add("It goes.", wing="app").drawer.id
    palace.update(gone, wing="shop", text="hush, it is gone", author=HUSH)
    palace.embed()
    palace.add("Waiting ships.", wing="app")
    palace.add("hush, waiting", wing="shop", author=HUSH)


def hidden_ids(whole: Palace) -> set[str]:
    """Ids of drawers, facts and links outside wing app that are in its history neither."""
    drawers = {d.id: d.wing for d in whole.list(limit=1000)}

    def inside(end: End) -> bool:
        return (drawers[end.drawer] if end.drawer else end.wing) == "app"

    links = {k.id for k in whole.links() if not (inside(k.source) and inside(k.target))}
    facts = {f.id for f in whole.knowledge.timeline(limit=10_000) if f.wing != "app"}
    theirs = {ref for ref, wing in drawers.items() if wing != "app"} | facts | links
    return theirs - {change.ref for change in whole.changes(wing="app")}


def strings(value: Any) -> Iterator[str]:
    """Every string in an answer, however deep; also in what `repr` leaves out."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, bytes):
        yield value.decode("utf-8", "replace")
    elif dataclasses.is_dataclass(value):
        for field in dataclasses.fields(value):
            yield from strings(getattr(value, field.name))
    elif isinstance(value, Mapping):
        yield from strings(list(value.items()))
    elif isinstance(value, Sequence | Set):
        for each in value:
            yield from strings(each)
    else:
        assert value is None or isinstance(value, int | float | Instant | Enum), type(value)


def leaks(answer: Any, ids: set[str]) -> list[str]:
    secrets = (*MARKERS, *ids)
    return [said for said in strings(answer) if any(each in said.casefold() for each in secrets)]


def exported(palace: Palace) -> bytes:
    target = io.BytesIO()
    palace.export(target)
    return target.getvalue()


def markdown(palace: Palace, folder: Path) -> list[str]:
    palace.export_markdown(folder)
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [f"{path.relative_to(folder)}\n{path.read_text()}" for path in files]


# Every public name stands here once: with what is asked of it, or as one that writes or cares.
QUESTIONS = ("words", "ships", "hush", "hushroom shop", "Max works at Acme")
READS: dict[str, Callable[[Palace, Path], Any]] = {
    "changes": lambda p, _: [p.changes(), p.changes(after=3, limit=2), p.changes(agent="ann")],
    "diary_read": lambda p, _: p.diary_read("app"),
    "duplicates": lambda p, _: [p.duplicates("Ships sail on."), p.duplicates("hush hush ships")],
    "export": lambda p, _: exported(p),
    "export_markdown": lambda p, folder: markdown(p, folder / "vault"),
    "get": lambda p, _: [p.get(d.id) for d in p.list()] + [p.get("old-app")],
    "links": lambda p, _: [p.links(), *(p.links(d.id) for d in p.list())],
    "list": lambda p, _: [p.list(), p.list(pinned=True), p.list(room="api"), p.list(limit=1)],
    "log": lambda p, _: [p.log(), p.log(agent="hushagent"), p.log(session="hushsession")],
    "places": lambda p, _: p.places(),
    "trash": lambda p, _: p.trash(),
    "wake_up": lambda p, _: [p.wake_up(), p.wake_up(agent="zoe", budget_tokens=10_000)],
    "search": lambda p, _: [p.search(q, limit=n) for q in QUESTIONS for n in (1, 100)],
    "status": lambda p, _: replace(p.status(), store={}),
    "wing": lambda p, _: p.wing,
    "reconnect": lambda p, _: p.status().palace_id,  # its answer is two states
}
FACT_READS: dict[str, Callable[[Knowledge], Any]] = {
    "about": lambda k: [k.about("Max", state="all"), k.about("Max", as_of="2025"), k.about("Acme")],
    "candidates": lambda k: [k.candidates("Hushm"), k.candidates("Ma")],
    "contradictions": lambda k: k.contradictions(unsaid=True),
    "entity": lambda k: k.entity("max"),
    "entities": lambda k: [k.entities(), k.entities(containing="hush")],
    "graph": lambda k: [k.graph(), k.graph("Max", depth=3)],
    "find": lambda k: [k.find(), k.find(predicate="hush_likes"), k.find(object="Tea")],
    "get": lambda k: [k.get(fact.id) for fact in k.find()],
    "history": lambda k: [k.history(fact.id) for fact in k.find()],
    "neighbours": lambda k: k.neighbours("Max", depth=3),
    "path": lambda k: k.path("Tea", "Water"),
    "predicates": lambda k: k.predicates(),
    "stats": lambda k: k.stats(),
    "timeline": lambda k: [k.timeline(), k.timeline("Max"), k.timeline(limit=1)],
}
WRITES = {"add", "add_many", "delete", "diary_write", "forget", "import_from", "link", "pin"}
WRITES |= {"undo", "unlink", "update", "embed", "reembed", "mine", "empty_trash", "extract"}
WRITES |= {"secrets"}  # tests/unit/test_secrets.py
WRITES |= {"import_other"}  # tests/ingest/test_import_mempalace.py
FACT_WRITES = {"add", "add_alias", "add_entity", "correct", "delete", "end", "set_predicate"}
FACT_WRITES |= {"supersede"}
CARE = {"check", "repair", "close", "knowledge", "open", "scoped", "shutdown"}
CARE |= {"backup", "examine", "restore"}


def test_every_public_name_is_read_or_written_in_these_tests(whole: Palace) -> None:
    def public(thing: object) -> set[str]:
        return {name for name in dir(thing) if not name.startswith("_")}

    assert public(whole) == READS.keys() | WRITES | CARE
    assert public(whole.knowledge) == FACT_READS.keys() | FACT_WRITES


@pytest.mark.parametrize("name", READS)
def test_nothing_of_another_wing_is_read(
    whole: Palace, app: Palace, name: str, tmp_path: Path
) -> None:
    answer = READS[name](app, tmp_path)
    assert list(strings(answer))
    assert leaks(answer, hidden_ids(whole)) == []
    assert leaks(READS["export"](whole, tmp_path), set())  # and there is something to find


@pytest.mark.parametrize("name", FACT_READS)
def test_no_fact_of_another_wing_is_read(whole: Palace, app: Palace, name: str) -> None:
    assert leaks(FACT_READS[name](app.knowledge), hidden_ids(whole)) == []


def test_what_is_the_wings_is_read_whole(whole: Palace, app: Palace) -> None:
    def own(found: Any) -> list[Any]:
        return [each for each in found if each.wing == "app"]

    assert list(app.list(limit=1000)) == own(whole.list(limit=1000))
    assert app.changes() == own(whole.changes())
    theirs = hidden_ids(whole)
    facts = own(whole.knowledge.timeline(limit=1000))
    assert any(fact.drawer in theirs for fact in facts)
    shown = [replace(f, drawer="") if f.drawer in theirs else f for f in facts]
    assert list(app.knowledge.timeline(limit=1000)) == shown
    assert [link.label for link in app.links()] == ["near"]
    assert app.knowledge.predicates() == {"likes": "many"}


def test_what_is_counted_is_the_wings(whole: Palace, app: Palace) -> None:
    seen, everything = app.status(), whole.status()
    assert seen.wing == "app"
    assert seen.drawers == len(app.list()) < everything.drawers
    assert seen.places == tuple(place for place in everything.places if place.wing == "app")
    assert seen.facts == app.knowledge.stats() == whole.knowledge.stats(wing="app")
    assert seen.seq == app.changes()[-1].seq < everything.seq
    assert (seen.pending, everything.pending) == (1, 2)
    assert not {"database_bytes", "wal_bytes"} & seen.store.keys()
    found = app.search("ships", limit=100)
    assert found.seq == seen.seq
    assert found.meaning
    assert {hit.drawer.wing for hit in found} == {"app"}
    assert sorted(hit.text for hit in found if hit.text_rank) == [
        "Ships sail on.",
        "Waiting ships.",
    ]


def test_a_wing_that_has_nothing_is_empty(whole: Palace, tmp_path: Path) -> None:
    nothing = whole.scoped("nothing")
    assert nothing.status().drawers == nothing.status().seq == nothing.status().facts.entities == 0
    assert leaks([nothing.search("hush"), nothing.changes()], set()) == []
    nothing.export_markdown(tmp_path / "vault")
    assert not (tmp_path / "vault").exists()


# What is outside cannot be told from what never was.

UNKNOWN: dict[str, Callable[[Palace, str], Any]] = {
    "get": lambda p, ref: p.get(ref),
    "links": lambda p, ref: p.links(ref),
    "fact": lambda p, ref: p.knowledge.get(ref),
    "history": lambda p, ref: p.knowledge.history(ref),
    "about": lambda p, ref: p.knowledge.about(ref),
    "find": lambda p, ref: p.knowledge.find(object=ref),
    "timeline": lambda p, ref: p.knowledge.timeline(ref),
    "graph": lambda p, ref: p.knowledge.graph(ref),
    "entity": lambda p, ref: p.knowledge.entity(ref),
    "candidates": lambda p, ref: p.knowledge.candidates(ref),
    "update": lambda p, ref: p.update(ref, text="mine now"),
    "delete": lambda p, ref: p.delete(ref),
    "delete with an own one": lambda p, ref: p.delete(p.list().items[0].id, ref),
    "pin": lambda p, ref: p.pin(ref),
    "link": lambda p, ref: p.link(p.list().items[0].id, ref),
    "unlink": lambda p, ref: p.unlink(ref),
    "forget": lambda p, ref: p.forget(ref),
    "undo a session": lambda p, ref: p.undo(session=ref),
    "add a fact that it says": lambda p, ref: p.knowledge.add("a", "b", "c", drawer=ref),
    "correct": lambda p, ref: p.knowledge.correct(ref, confidence=0.5),
    "delete a fact": lambda p, ref: p.knowledge.delete(ref),
    "end": lambda p, ref: p.knowledge.end(ref, "hush_leads", "Hushteam"),
    "supersede": lambda p, ref: p.knowledge.supersede("Max", "hush_likes", ref, "Coffee"),
}
NAMES = ("hushformer", "Hushman", "Hushalias", "Hushtea", "hushsession", "hushagent")


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_is_outside_is_unknown(whole: Palace, app: Palace, store: Store, name: str) -> None:
    def outcome(ref: str) -> Any:
        try:
            return UNKNOWN[name](app, ref)
        except PalatineError as error:
            parts = (str(error), *getattr(error, "candidates", ()))
            return type(error), [re.sub(rf"\b{re.escape(ref)}\b", "it", part) for part in parts]

    before = dump(store)
    for ref in sorted(hidden_ids(whole)) + list(NAMES):
        nobody = ref[0] + "xq" * 7  # of a like beginning, and known to nobody
        assert outcome(ref) == outcome(nobody), ref
    assert dump(store) == before


OUTSIDE: dict[str, Callable[[Palace], object]] = {
    "add": lambda p: p.add("x", wing="shop"),
    "add many": lambda p: p.add_many([NewDrawer("mine"), NewDrawer("x", "shop")]),
    "move": lambda p: p.update(p.list().items[0].id, wing="shop"),
    "delete": lambda p: p.delete(wing="shop"),
    "delete a room": lambda p: p.delete(wing="shop", room="hushroom"),
    "link a room": lambda p: p.link(p.list().items[0].id, ("shop", "hushroom")),
    "diary": lambda p: p.diary_write("hushagent", "x"),
    "read a diary": lambda p: p.diary_read("hushagent"),
    "list": lambda p: p.list(wing="shop"),
    "search": lambda p: p.search("x", wing="shop"),
    "changes": lambda p: p.changes(wing="shop"),
    "log": lambda p: p.log(wing="shop"),
    "fact": lambda p: p.knowledge.add("a", "b", "c", wing="shop"),
    "end": lambda p: p.knowledge.end("Max", "hush_likes", "Hushtea", wing="shop"),
    "supersede": lambda p: p.knowledge.supersede("Max", "hush_likes", "Hushtea", "x", wing="shop"),
    "about": lambda p: p.knowledge.about("Max", wing="shop"),
    "places": lambda p: p.places(wing="shop"),
    "wake up": lambda p: p.wake_up(wing="shop"),
    "facts of no wing": lambda p: p.knowledge.find(wing=""),
    "timeline": lambda p: p.knowledge.timeline(wing="shop"),
    "path": lambda p: p.knowledge.path("Max", "Acme", wing="shop"),
    "stats": lambda p: p.knowledge.stats(wing="shop"),
    "contradictions": lambda p: p.knowledge.contradictions(wing="shop"),
    "extract": lambda p: p.extract(wing="shop"),
    "type": lambda p: p.knowledge.add_entity("Max", type="person"),
    "type of a new one": lambda p: p.knowledge.add_entity("New", type="person"),
    "alias": lambda p: p.knowledge.add_alias("Max", "Maxi"),
    "predicate": lambda p: p.knowledge.set_predicate("likes", "single"),
    "check": lambda p: p.check(),
    "repair": lambda p: p.repair(),
    "backup": lambda p: p.backup(),
    "empty the trash": lambda p: p.empty_trash(),
    "another scope": lambda p: p.scoped("shop"),
}


@pytest.mark.parametrize("name", OUTSIDE)
def test_what_names_another_wing_is_refused_and_nothing_is_written(
    app: Palace, store: Store, name: str
) -> None:
    app.embed()  # else the search does
    before = dump(store)
    with pytest.raises(ScopeError, match="wing 'app'"):
        OUTSIDE[name](app)
    assert dump(store) == before


def test_no_change_outside_is_undone(whole: Palace, app: Palace, store: Store) -> None:
    before = dump(store)
    for change in whole.changes():
        if change.wing != "app":
            with pytest.raises(NotFoundError, match="no change"):
                app.undo(change.seq)
    with pytest.raises(InputError):  # came from outside; what it was there is not the wing's
        app.undo(session="")
    assert dump(store) == before


def test_undo_of_a_time_takes_the_wings_changes_only(whole: Palace, app: Palace) -> None:
    since = whole.changes()[-1].at
    mine = app.add("x").drawer
    whole.add("hush x", wing="shop")
    app.knowledge.add("Max", "likes", "Milk")
    assert set(app.undo(since=since).refs) >= {mine.id}
    assert whole.search("hush x")[0].text == "hush x"
    assert [f.object for f in app.knowledge.find(predicate="likes")] == ["Tea"]


def test_a_drawer_that_came_or_went_is_not_fetched_back(
    whole: Palace, app: Palace, store: Store
) -> None:
    (came,) = [d for d in app.list() if d.text == "It has moved."]
    (gone,) = [d for d in whole.list(wing="shop") if d.text == "hush, it is gone"]
    added = [c.seq for c in app.changes() if c.ref == gone.id]
    before = dump(store)
    with pytest.raises(PalatineError):
        app.undo(app.changes(limit=1000)[[c.ref for c in app.changes()].index(came.id)].seq)
    with pytest.raises(PalatineError):
        app.forget(gone.id)
    with pytest.raises(PalatineError):
        app.forget(came.id)
    assert dump(store) == before
    app.undo(added[0])
    assert whole.get(gone.id) == gone


def test_an_export_with_another_wing_is_refused_whole(
    whole: Palace, app: Palace, store: Store
) -> None:
    before = dump(store)
    with pytest.raises(ScopeError, match="of wing 'shop'"):
        app.import_from(io.BytesIO(exported(whole)))
    assert app.import_from(io.BytesIO(exported(app))).last_seq == 0
    assert dump(store) == before


def test_a_wing_moves_to_another_palace(app: Palace) -> None:
    other = whole_palace(ModelStore(place="other"))
    other.add("hush", wing="shop")
    target = other.scoped("app")
    done = target.import_from(io.BytesIO(exported(app)))
    assert not any(done.differing.values())
    assert [d.text for d in target.list()] == [d.text for d in app.list()]
    assert list(map(str, target.knowledge.timeline())) == list(map(str, app.knowledge.timeline()))
    assert done.after["drawers"] == len(app.list())


# What a scope may do


def test_what_is_filed_goes_to_the_wing(app: Palace, whole: Palace) -> None:
    added = app.add("New words.").drawer
    fact = app.knowledge.add("Max", "works at", "Globex").fact
    assert (added.wing, fact.wing) == ("app", "app")
    assert app.search("new words")[0].drawer.id == added.id
    assert whole.scoped("app").get(added.id) == whole.get(added.id)
    assert app.diary_write("app", "mine").drawer.wing == "app"
    linked = app.link(added.id, ("app", "api"), "new")
    assert {link.id for link in app.links()} >= {linked.link.id}
    app.undo(linked.seq)
    ended = app.knowledge.supersede("Max", "works_at", "Globex", "Initech", at="2030")
    app.undo(ended.seq)
    assert "Globex" in [f.object for f in app.knowledge.about("Max")]


def test_mining_goes_to_the_wing_and_each_scope_has_its_own_list(
    app: Palace, whole: Palace, store: Store, tmp_path: Path
) -> None:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "notes.md").write_text("Mined words.")
    done = app.mine(tmp_path / "code")
    assert (done.added, done.wing) == (1, "app")
    assert app.mine(tmp_path / "code").unchanged == 1
    assert [d.wing for d in whole.list() if d.text == "Mined words."] == ["app"]
    with store.read() as tx, ScopedStore(store, "shop").read() as theirs:
        assert tx.sources(done.root) == theirs.sources(done.root) == theirs.roots() == {}
    (tmp_path / "code" / "notes.md").unlink()
    assert app.mine(tmp_path / "code", options=Options(prune=True)).removed == 1
    with ScopedStore(store, "app").read() as tx:
        assert tx.roots().keys() == {done.root}
        assert tx.source(done.root, "notes.md") is None


def test_notes_are_read_for_facts_within_the_wing(whole: Palace, app: Palace, store: Store) -> None:
    whole.add("- Hush knows Max\n", wing="shop", source="hush.md")
    app.add("- Max knows Ann\n", source="a.md")
    app.add("- Max knows Eve\n", source="b.md")
    with ScopedStore(store, "app").read() as tx:
        (own,) = tx.readings(fact="hushfact", limit=EVERYTHING)
        assert not any(tx.readings(drawer=d, limit=9) for d in hidden_ids(whole))
    assert whole.get(own.drawer).wing == "app"
    assert app.extract().added == 2
    assert {f.wing for f in whole.knowledge.find(predicate="knows", subject="Max")} == {"app"}
    (found,) = app.knowledge.contradictions(unsaid=True)
    assert {f.object for f in found.facts} == {"Ann", "Eve"}
    gone = [d.id for d in whole.list(wing="shop") if d.source != "hush.md"]
    whole.delete(gone[0])
    before = store_readings(store)
    app.delete(app.list(source="b.md").items[0].id)
    assert app.extract().withdrawn == 1
    assert store_readings(store) == before
    assert whole.extract().added == 1


def store_readings(store: Store) -> int:
    """How many readings of drawers that are gone are kept."""
    with store.read() as tx:
        return len(tx.readings(limit=EVERYTHING))


def test_what_was_read_outside_is_not_lost_when_a_fact_ends(app: Palace, whole: Palace) -> None:
    (known,) = whole.knowledge.find(object="Water")
    assert app.knowledge.end("Max", "drinks", "Water").fact.drawer == ""
    assert {f.drawer for f in whole.knowledge.history(known.id)} == {known.drawer}


def test_a_drawer_goes_with_its_links_and_comes_back_with_them(app: Palace, whole: Palace) -> None:
    two, one = app.list(source="talk")
    linked = whole.links()
    removed = app.delete(two.id)
    assert app.links() == []
    assert whole.check() == []
    app.undo(removed.seq)
    with pytest.raises(ScopeError, match="linked with"):  # a link between two wings is of neither
        app.delete(one.id)
    assert whole.links() == linked
    assert app.get(one.id) == one


def test_a_name_of_the_palace_means_the_same_in_a_wing(app: Palace, whole: Palace) -> None:
    with pytest.raises(NotFoundError):
        app.knowledge.entity("Hushalias")
    known = whole.knowledge.entity("Hushman")
    assert app.knowledge.add_entity("hushman") == Entity("hushman", "Hushman")
    assert app.knowledge.add("Hushalias", "likes", "Tea").fact.subject == "Hushman"
    assert whole.knowledge.entity("Hushman") == app.knowledge.entity("Hushalias") == known
    assert [f.wing for f in app.knowledge.about("Hushman", state="all")] == ["app"]


def test_the_views_of_a_palace_share_it(whole: Palace, app: Palace) -> None:
    model = whole._embedding.embedder()
    assert app._embedding.embedder() is model
    app.close()
    app.shutdown()
    with app:
        pass
    assert whole.scoped("app").search("ships").meaning
    assert whole.scoped("app").scoped("app").status().drawers == len(app.list())
    app.embed()
    assert (app.status().pending, whole.status().pending) == (0, 1)
    with pytest.raises(InputError):
        whole.scoped(" ")


# The port: what the domain would have to do wrong


def refused_by(store: Store, act: Callable[[WriteTx], object]) -> None:
    def deed() -> None:
        with ScopedStore(store, "app").write(NOBODY) as tx:
            tx.record(Kind.DRAWER, "d1", Op.UPDATE, wing="app", before=None)
            act(tx)

    before = dump(store)
    with pytest.raises(ScopeError):
        deed()
    assert dump(store) == before


DEEDS: dict[str, Callable[[WriteTx], object]] = {
    "record": lambda tx: tx.record(Kind.DRAWER, "s1", Op.ADD, wing="shop", before=None),
    "record a name": lambda tx: tx.record(Kind.ENTITY, "x", Op.ADD, wing="", before=None),
    "put a drawer": lambda tx: put_drawer(tx, a_drawer("s2", wing="shop")),
    "put over one": lambda tx: put_drawer(tx, a_drawer("s1", text="mine")),
    "put over a former id": lambda tx: put_drawer(tx, a_drawer("olds", text="mine")),
    "delete a drawer": lambda tx: tx.delete_drawer("s1"),
    "lead to a drawer": lambda tx: tx.put_former_id("new", "s1"),
    "lead away": lambda tx: tx.put_former_id("olds", "d1"),
    "put a fact": lambda tx: tx.put_fact(a_fact("f3", wing="shop")),
    "put a fact of none": lambda tx: tx.put_fact(a_fact("f3")),
    "put a belief": lambda tx: tx.put_fact(a_fact("fs", wing="app", version=2)),
    "end a fact": lambda tx: tx.end_fact("fs", 1),
    "erase a fact": lambda tx: tx.erase_fact("fs"),
    "put an entity": lambda tx: tx.put_entity(Entity("tea", "Tea", "drink")),
    "put properties": lambda tx: tx.put_entity(Entity("new", "New", "", {"a": 1})),
    "delete an entity": lambda tx: tx.delete_entity("lone"),
    "put an alias": lambda tx: tx.put_alias("M", "m", "max"),
    "delete an alias": lambda tx: tx.delete_alias("maxi"),
    "put a predicate": lambda tx: tx.put_predicate("likes", "many"),
    "drop a predicate": lambda tx: tx.put_predicate("likes", None),
    "keep a reading": lambda tx: tx.put_reading(Reading("s1", "rules", b"")),
    "drop a reading": lambda tx: tx.delete_reading("s1", "rules"),
    "put a link": lambda tx: tx.put_link(a_link("l2", End(drawer="s1"), End("shop", "x"))),
    "delete a link": lambda tx: tx.delete_link("ls"),
    "relabel": lambda tx: tx.relabel("app", "shop"),
    "empty the trash": lambda tx: tx.empty_trash(tx.recorded_at),
    "forget": lambda tx: tx.forget_revisions(Kind.DRAWER, "s1"),
    "forget what was outside once": lambda tx: tx.forget_revisions(Kind.DRAWER, "d2"),
    "set an embedder": lambda tx: tx.set_embedder("other", 3),
    "look outside": lambda tx: tx.drawers(DrawerFilter(wing="shop"), limit=1),
}


@pytest.mark.parametrize("name", DEEDS)
def test_the_port_itself_refuses_what_is_outside(store: Store, name: str) -> None:
    with store.write(NOBODY) as tx:
        for drawer in ("d1", "d2", "s1"):
            wing = "shop" if drawer == "s1" else "app"
            put_drawer(tx, a_drawer(drawer, wing=wing, seq=tx.state().seq + 1))
            tx.record(Kind.DRAWER, drawer, Op.ADD, wing=wing, before=None)
        tx.record(Kind.DRAWER, "d2", Op.UPDATE, wing="shop", before=a_drawer("d2", wing="shop"))
        for entity in ("max", "tea", "lone"):
            tx.put_entity(Entity(entity, entity.title()))
        tx.put_alias("Maxi", "maxi", "max")
        tx.put_former_id("olds", "s1")
        tx.put_predicate("likes", "single")
        tx.put_fact(replace(a_fact("fs", wing="shop"), recorded_at=tx.recorded_at))
        tx.put_link(a_link("ls", End(drawer="s1"), End("shop", "api")))
        tx.set_embedder("model", 70)
    refused_by(store, DEEDS[name])
    with ScopedStore(store, "app").read() as tx:
        found = tx.pending(DrawerFilter(), limit=10)
        assert {each.drawer for each in found} == {"d1", "d2"}
        assert tx.nearest(a_vector(1), DrawerFilter(), limit=9) == []
        everywhere = tuple(range(1, 10))
        assert {span.drawer for span in tx.spans(everywhere)} == {"d1", "d2"}


# Any order of things


class Chance:
    """Two hands on one palace, one of all wings and one of wing app; each step is one of theirs."""

    def __init__(self) -> None:
        self.store = ModelStore(place="chance")
        self.whole = whole_palace(self.store)
        self.app = self.whole.scoped("app")

    def step(self, number: int, pick: int, *, mine: bool) -> None:
        palace = self.app if mine else self.whole
        deeds = [
            lambda: palace.add(f"text {pick % 4}", wing="" if mine else "app", room="api"),
            lambda: palace.knowledge.add(*self.names(pick, mine), wing="" if mine else "app"),
            lambda: palace.undo(1 + pick % (len(self.whole.changes()) or 1)),
            lambda: palace.delete(self.ref(pick)),
            lambda: palace.update(self.ref(pick), text=f"text {pick % 5}"),
            lambda: palace.forget(self.ref(pick)),
            lambda: palace.link(self.ref(pick), self.ref(pick // 3), f"label {pick}"),
            lambda: palace.unlink(self.ref(pick)),
            lambda: palace.knowledge.end(*self.names(pick, mine)),
            lambda: palace.knowledge.delete(self.ref(pick)),
            lambda: palace.knowledge.supersede(*self.names(pick, mine), f"Object {pick % 4}"),
            lambda: palace.add_many([NewDrawer(f"hush text {pick % 4}", "shop", former_id="old")]),
            lambda: palace.update(self.ref(pick), wing="shop", text=f"hush moved {pick}"),
            lambda: palace.update(self.ref(pick), wing="app", text=f"came back {pick}"),
            lambda: palace.knowledge.add(*self.names(pick, mine), wing="shop"),
            lambda: palace.knowledge.add_alias("Name 0", f"Alias {pick % 3}"),
        ]
        with contextlib.suppress(PalatineError):
            deeds[number % len(deeds)]()

    def ref(self, pick: int) -> str:
        """Any id, of anything that ever was."""
        refs = sorted({change.ref for change in self.whole.changes()}) or ["nothing"]
        return refs[pick % len(refs)]

    @staticmethod
    def names(pick: int, mine: bool) -> tuple[str, str, str]:
        subject = ("Name 0", "Name 1", "Alias 0", "Alias 1")[pick % 4]
        return subject, "likes", f"Object {pick // 4 % 4}"

    def outside(self) -> dict[str, object]:
        """All rows that wing app may not touch."""
        with self.store.read() as tx:
            drawers = {d.id: d for d in tx.drawers(DrawerFilter(), limit=EVERYTHING)}
            hidden = {ref for ref, drawer in drawers.items() if drawer.wing != "app"}
            facts = tx.facts(FactFilter(every_belief=True), limit=EVERYTHING)
            entries = tx.changes(ChangeFilter(), limit=EVERYTHING)
            entries = [c for c in entries if c.wing != "app" and c.kind is not Kind.PREDICATE]
            links = tx.links(limit=EVERYTHING)
            former = tx.former_ids(after="", limit=EVERYTHING)
            entities = {e.key: e for e in tx.entities(words=(), limit=EVERYTHING)}
            return {
                "drawers": [drawers[ref] for ref in sorted(hidden)],
                "facts": [f for f in facts if f.wing != "app"],
                "changes": [(c, tx.before(c.seq)) for c in entries if c.wing],
                "links": [k for k in links if {k.source.drawer, k.target.drawer} <= hidden],
                "former": [pair for pair in former if pair.drawer in hidden],
                "told": [e for e in entities.values() if e.aliases or e.type],
            }


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(st.integers(0, 15), st.integers(0, 200), st.booleans()), min_size=5, max_size=40
    )
)
def test_whatever_happens_a_wing_neither_sees_nor_touches_another(
    steps: list[tuple[int, int, bool]],
) -> None:
    chance = Chance()
    for number, pick, mine in steps:
        before = chance.outside()
        chance.step(number, pick, mine=mine)
        assert not mine or chance.outside() == before
    chance.whole.add("hush", wing="shop")
    assert chance.whole.check() == []
    seen = [
        chance.app.list(limit=1000),
        chance.app.log(limit=1000),
        chance.app.links(),
        chance.app.search("hush text moved label", limit=100),
        chance.app.knowledge.timeline(limit=1000),
        exported(chance.app),
    ]
    assert leaks(seen, set()) == []
    assert not hidden_ids(chance.whole) & set(strings(seen))
