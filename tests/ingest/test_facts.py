"""Facts from notes: what is understood, what becomes of it while notes change, and endpoints."""

import json
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace
from palatine.errors import InputError, PalatineError
from palatine.ingest import statements
from palatine.ingest.ask import Asking
from palatine.ingest.facts import Rules
from palatine.ingest.mine import Options
from palatine.types import Drawer
from tests.contract.nouns import a_drawer

LINES = Path(__file__).with_name("note_lines.txt").read_text("utf-8").splitlines()
LEAST_RECALL = 0.75
# A key that a rule knows; put together here, so that no scanner of this file is alarmed.
SECRET = "sk-" + "proj-" + "a1B2c3D4e5F6g7H8i9J0"

Row = tuple[str, ...]


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace", agent="ann", embedder="none") as opened:
        yield opened


def found(text: str, source: str = "notes/Atlas.md") -> list[Row]:
    return [
        (s.subject, s.predicate, s.object, s.valid_from, s.valid_to)
        for s in statements.find(a_drawer(text=text, source=source))
    ]


def facts(palace: Palace) -> list[str]:
    return sorted(str(fact) for fact in palace.knowledge.find(state="all"))


def test_what_notes_state_is_found_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    right = wrong = missed = silent = 0
    faults = []
    for given in (line for line in LINES if not line.startswith("# ") and line):
        stated, line = given.split(":: ", 1)
        wanted = {tuple(map(str.strip, stated.split("|")))} if stated.strip() else set()
        got = set(found(line))
        right += len(got & wanted)
        wrong += len(got - wanted)
        missed += len(wanted - got)
        silent += not wanted
        faults += [(line, fact) for fact in got - wanted]
    precision, recall = right / (right + wrong), right / (right + missed)
    with capsys.disabled():
        told = f"\nfacts of notes: precision {precision:.3f}, recall {recall:.3f}"
        sys.stdout.write(f"{told} of {right + missed}; {silent} lines state nothing\n")
    assert right + missed >= 70
    assert silent >= 75
    assert not faults  # 0.95 is what we promise
    assert recall >= LEAST_RECALL


def test_front_matter_says_what_its_note_is_about() -> None:
    text = (
        '---\ntitle: Max Planck\ntype: person\nemployer: "[[Acme|the firm]]"\nrole: physicist\n'
        "langs: [German, French]\nknows:\n  - '[[Ann]]'\n  - \"[[Bob]]\"\ntags: [a, b]\n"
        "date: 2024-01-01\ndraft: true\nnothing:\n---\nText.\n"
    )
    assert [fact[:3] for fact in found(text)] == [
        ("Max Planck", "employer", "Acme"),
        ("Max Planck", "role", "physicist"),
        ("Max Planck", "langs", "German"),
        ("Max Planck", "langs", "French"),
        ("Max Planck", "knows", "Ann"),
        ("Max Planck", "knows", "Bob"),
    ]
    page = "---\nlead: '[[Ann]]'\nmood: good\n---\n# The Atlas\n"
    assert found(page) == [("The Atlas", "lead", "Ann", "", "")]
    assert found("---\nlead: '[[Ann]]'\n---\n", source="") == []
    assert found("Text\n---\nlead: '[[Ann]]'\n---\n") == []


def test_a_line_made_to_hurt_states_nothing_and_costs_nothing() -> None:
    """Its shapes would take minutes for it; the time limit of a test is what this one fails by."""
    assert found(f"Max{' ' * 100_000}x\n- Max works at Acme") == [
        ("Max", "works_at", "Acme", "", "")
    ]


def test_code_and_what_is_commented_out_states_nothing() -> None:
    kept = "- Max works at Acme"
    for mark, end in (("```", "```"), ("~~~", "~~~"), ("<!--", "-->")):
        assert found(f"{mark}\n- Bob works at Acme\n{end}\n{kept}") == found(kept)
    assert found(f"    Bob works at Acme\n{kept}") == found(kept)
    assert len(found(kept)) == 1


def test_a_fact_names_its_drawer_and_its_line(palace: Palace) -> None:
    added = palace.add("Notes.\n\n- Max works at Acme (since 2024-03)\n", source="a.md", wing="app")
    done = palace.extract()
    assert (done.read, done.added, done.known) == (1, 1, 0)
    (fact,) = palace.knowledge.find()
    assert (str(fact), str(fact.valid_from), fact.wing) == ("Max works_at Acme", "2024-03", "app")
    assert (fact.drawer, fact.source, fact.confidence) == (added.drawer.id, "a.md:3", 0.9)


def test_a_second_run_reads_nothing_and_adds_nothing(palace: Palace) -> None:
    palace.add("- Max works at Acme")
    palace.extract()
    seq = palace.status().seq
    done = palace.extract()
    assert (done.read, done.added, palace.status().seq) == (0, 0, seq)


def test_a_fact_goes_when_its_note_states_it_no_more_and_stays_on_record(palace: Palace) -> None:
    drawer = palace.add("- Max works at Acme\n- Bob lives in Oslo").drawer
    palace.extract()
    (gone,) = palace.knowledge.find(subject="Max")
    palace.update(drawer.id, text="- Max works at Globex\n\n- Bob lives in Oslo")
    done = palace.extract()
    assert (done.added, done.known, done.withdrawn) == (1, 1, 1)
    assert facts(palace) == ["Bob lives_in Oslo", "Max works_at Globex"]
    assert [f.object for f in palace.knowledge.about("Max", known_at=gone.recorded_at)] == ["Acme"]
    assert palace.changes()[-1].op == "delete"
    palace.delete(drawer.id)
    assert palace.extract().withdrawn == 2
    assert facts(palace) == []
    palace.undo(palace.log(limit=100)[-1].change.seq)
    assert "Bob lives_in Oslo" in facts(palace)


def test_a_fact_of_two_notes_survives_the_loss_of_one(palace: Palace) -> None:
    one, two = (palace.add("- Max works at Acme", source=f"{n}.md").drawer for n in (1, 2))
    done = palace.extract()
    assert (done.added, done.known) == (1, 1)
    (fact,) = palace.knowledge.find()
    last, rest = (two, one) if fact.drawer == two.id else (one, two)
    palace.delete(last.id)
    assert palace.extract().withdrawn == 0
    (standing,) = palace.knowledge.find()
    assert (standing.id, standing.drawer, standing.source) == (fact.id, rest.id, rest.source)
    palace.update(rest.id, text="Nothing.")
    assert palace.extract().withdrawn == 1
    assert facts(palace) == []


def test_what_a_person_did_with_a_fact_stays(palace: Palace) -> None:
    palace.knowledge.add("Bob", "lives_in", "Oslo", wing="personal")
    drawer = palace.add("- Bob lives in Oslo\n- Max works at Acme\n- Ann knows Max").drawer
    assert palace.extract().known == 1
    palace.knowledge.end("Max", "works_at", "Acme")
    (known,) = palace.knowledge.find(subject="Ann")
    palace.knowledge.delete(known.id)
    palace.update(drawer.id, text="More.\n\n" + palace.get(drawer.id).text)
    assert palace.extract().added == 0
    assert palace.knowledge.find(object="Acme") == []
    palace.add("- Max works at Acme", source="old.md")
    assert palace.extract().known == 1
    assert palace.knowledge.find(object="Acme") == []
    palace.update(drawer.id, text="Nothing.")
    assert palace.extract().withdrawn == 0
    assert facts(palace) == ["Bob lives_in Oslo", "Max works_at Acme"]


def test_a_fact_that_a_person_has_corrected_stays(palace: Palace) -> None:
    drawer = palace.add("- Max works at Acme").drawer
    palace.extract()
    (fact,) = palace.knowledge.find()
    palace.knowledge.correct(fact.id, valid_from="2024")
    palace.update(drawer.id, text="Nothing.")
    assert palace.extract().withdrawn == 0
    assert [str(f.valid_from) for f in palace.knowledge.find()] == ["2024"]


def test_a_note_that_changes_while_it_is_read_is_read_again(palace: Palace) -> None:
    drawer = palace.add("- Max works at Acme").drawer

    class Slow(Rules):
        def read(self, drawer: Drawer) -> Any:
            palace.update(drawer.id, text="- Max works at Globex")
            return super().read(drawer)

    assert palace.extract(reader=Slow()).added == 0
    assert palace.extract().added == 1
    assert facts(palace) == ["Max works_at Globex"]
    assert palace.get(drawer.id).text == "- Max works at Globex"


def test_names_that_are_aliases_and_dates_that_are_wrong(palace: Palace) -> None:
    palace.knowledge.add_entity("Max")
    palace.knowledge.add_alias("Max", "Maxi")
    drawer = palace.add("- Maxi works at Acme\n- Ann knows Bob (from 2024-13)").drawer
    done = palace.extract()
    assert (done.added, done.refused) == (1, 1)
    assert facts(palace) == ["Max works_at Acme"]
    palace.update(drawer.id, text="Nothing.")
    assert palace.extract().withdrawn == 1


def test_code_and_conversations_are_not_notes(palace: Palace) -> None:
    palace.add("- Max works at Acme", source="a.py")
    palace.add("- Bob lives in Oslo", metadata={"format": "Codex"})
    assert palace.extract().read == 0
    assert palace.extract(conversations=True).added == 1
    assert facts(palace) == ["Bob lives_in Oslo"]


def test_what_is_forgotten_leaves_no_reading(palace: Palace) -> None:
    drawer = palace.add("- Max works at Acme").drawer
    palace.extract()
    palace.forget(drawer.id)
    assert palace.extract().withdrawn == 0
    with palace._store.read() as tx:
        assert tx.readings(limit=10) == tx.readings(drawer=drawer.id, limit=10) == []
    assert facts(palace) == ["Max works_at Acme"]  # as `forget` says


def test_mining_reads_facts_where_asked_and_keeps_them_up(palace: Palace, tmp_path: Path) -> None:
    folder = tmp_path / "notes"
    folder.mkdir()
    (folder / "a.md").write_text("- Max works at Acme\n")
    (folder / "b.py").write_text("# - Bob works at Acme\nBob knows Ann\n")
    palace.add("- Zoe knows Ann")
    mined = palace.mine(folder)
    assert mined.facts
    assert mined.facts.read == 0
    mined = palace.mine(folder, options=Options(facts=True))
    assert mined.facts
    assert (mined.facts.read, mined.facts.added) == (1, 1)
    (folder / "a.md").write_text("- Max works at Globex, since 2025\n")
    mined = palace.mine(folder)
    assert mined.facts
    assert (mined.facts.added, mined.facts.withdrawn) == (1, 1)
    assert facts(palace) == ["Max works_at Globex"]
    (folder / "a.md").unlink()
    palace.mine(folder, options=Options(prune=True))
    assert facts(palace) == []


# Contradictions


def test_a_contradiction_is_listed_with_both_sides_and_nothing_is_resolved(palace: Palace) -> None:
    know = palace.knowledge
    palace.add("- Max works at Acme (since 2024-03)", source="a.md")
    palace.add("- Max works at Globex (since 2025)", source="b.md")
    know.add("Max", "works_at", "Initech", valid_to="2020", wing="personal")
    know.add("Max", "works_at", "Elsewhere", wing="other")
    palace.extract()
    assert know.contradictions() == []
    (unsaid,) = know.contradictions(unsaid=True)
    assert unsaid.cardinality is None
    know.set_predicate("works_at", "single")
    (found,) = know.contradictions()
    assert [(f.object, f.source) for f in found.facts] == [("Acme", "a.md:1"), ("Globex", "b.md:1")]
    assert know.contradictions(wing="other") == []
    assert len(know.find(subject="Max", wing="personal")) == 2
    know.end("Max", "works_at", "Acme", ended="2024-12")
    assert know.contradictions() == []
    know.set_predicate("works_at", "many")
    assert know.contradictions(unsaid=True) == []


def test_only_what_holds_at_the_same_time_now_or_later_contradicts(palace: Palace) -> None:
    know = palace.knowledge
    know.set_predicate("chairs", "single")
    for name, start, end in (
        ("Past", None, "2020"),
        ("First", None, "2090"),
        ("Within", "2080", "2085"),
        ("Later", "2095", None),
    ):
        know.add("Ann", "chairs", name, valid_from=start, valid_to=end)
    (found,) = know.contradictions()
    assert [fact.object for fact in found.facts] == ["First", "Within"]


# Endpoints


class Model(ThreadingHTTPServer):
    """Answers each note with what a function makes of it; keeps what it was sent."""

    daemon_threads = True

    def __init__(self, answer: Callable[[str], Any]) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answer = answer
        self.sent: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/v1"


class Answering(BaseHTTPRequestHandler):
    server: Model

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        key = self.headers.get("Authorization")
        self.server.sent.append(asked | {"path": self.path, "key": key})
        answer = self.server.answer(asked["messages"][-1]["content"])
        status, headers = 200, {}
        if isinstance(answer, int):
            status, headers, body = answer, {"Retry-After": "7"}, b"no"
        elif isinstance(answer, bytes):
            body = answer
        else:
            content = json.dumps({"facts": answer})
            body = json.dumps({"choices": [{"message": {"content": content}}]}).encode()
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def model() -> Iterator[Callable[[Callable[[str], Any]], Model]]:
    running: list[Model] = []

    def run(answer: Callable[[str], Any]) -> Model:
        running.append(server := Model(answer))
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield run
    for server in running:
        server.shutdown()
        server.server_close()


def a_claim(quote: str, **given: Any) -> dict[str, Any]:
    plain = {"subject": "Max", "predicate": "works_at", "object": "Acme", "confidence": 1}
    return plain | {"valid_from": None, "valid_to": None, "quote": quote} | given


def asking(server: Model, **given: Any) -> Asking:
    return Asking(server.url, "m", **{"sleep": lambda _: None} | given)


@pytest.mark.network
def test_a_model_reads_what_it_was_asked_for_and_no_secret(palace: Palace, model: Any) -> None:
    server = model(lambda text: [a_claim("Max, who works at Acme since 2024", valid_from="2024")])
    drawer = palace.add(f"Dear diary:\nMax, who works at Acme since 2024, has {SECRET}.").drawer
    done = palace.extract(reader=asking(server, api_key="mine"))
    assert (done.read, done.added, done.refused, done.masked) == (1, 1, 0, 1)
    (fact,) = palace.knowledge.find()
    assert (fact.drawer, fact.source) == (drawer.id, f"{drawer.id}:2")
    assert (str(fact.valid_from), fact.confidence) == ("2024", 0.8)
    (sent,) = server.sent
    assert (sent["path"], sent["key"], sent["model"]) == (
        "/v1/chat/completions",
        "Bearer mine",
        "m",
    )
    assert SECRET not in json.dumps(sent)
    assert sent["response_format"]["json_schema"]["strict"] is True
    assert palace.extract(reader=asking(server)).read == 0
    palace.extract()
    assert facts(palace) == ["Max works_at Acme"]


NONSENSE: dict[str, Any] = {
    "no quotation": a_claim("Max runs Acme"),
    "names that are not there": a_claim("Max works at Acme", object="Globex"),
    "no name": a_claim("Max works at Acme", subject=""),
    "no text": a_claim("Max works at Acme", subject=3),
    "a sentence for a predicate": a_claim("Max works at Acme", predicate="Works at, I'd say!"),
    "a year that is not there": a_claim("Max works at Acme", valid_from="2019"),
    "a date that is none": a_claim("Max works at Acme", valid_from="2024-99"),
    "an end before its start": a_claim("Max works at Acme", valid_from="2025", valid_to="2024"),
    "no confidence": a_claim("Max works at Acme", confidence="high"),
    "too much of it": a_claim("Max works at Acme", confidence=2),
    "no object": "Max works at Acme",
}


@pytest.mark.network
@pytest.mark.parametrize("name", NONSENSE)
def test_nonsense_is_refused_and_counted(palace: Palace, model: Any, name: str) -> None:
    server = model(lambda text: [NONSENSE[name], a_claim("Max works at Acme", object="Max")])
    palace.add("In 2024 and 2025 Max works at Acme.")
    done = palace.extract(reader=asking(server))
    assert (done.added, done.refused) == (1, 1)


@pytest.mark.network
@pytest.mark.parametrize("answer", [400, b"<html>", b'{"choices": []}', [a_claim("x")] * 101])
def test_one_text_that_fails_is_told_and_tried_again(
    palace: Palace, model: Any, answer: Any
) -> None:
    server = model(lambda text: answer if "bad" in text else [])
    for text in ("one", "bad", "two"):
        palace.add(text, source=f"{text}.md")
    done = palace.extract(reader=asking(server))
    assert (done.read, [problem.path for problem in done.problems]) == (2, ["bad.md"])
    server.answer = lambda text: []
    assert palace.extract(reader=asking(server)).read == 1


@pytest.mark.network
def test_an_endpoint_that_is_busy_is_waited_for_as_it_says(palace: Palace, model: Any) -> None:
    waited: list[float] = []
    server = model(lambda text: 429 if len(server.sent) < 3 else [])
    palace.add("text")
    assert palace.extract(reader=asking(server, sleep=waited.append)).read == 1
    assert waited == [7, 7]


@pytest.mark.network
def test_an_endpoint_that_fails_on_and_on_ends_the_run_and_the_next_goes_on(
    palace: Palace, model: Any
) -> None:
    for n in range(6):
        palace.add(f"text {n}")
    server = model(lambda text: [] if len(server.sent) < 3 else 500)
    with pytest.raises(PalatineError, match=r"fact endpoint .* HTTP 500"):
        palace.extract(reader=asking(server, attempts=1))
    server.answer = lambda text: []
    assert palace.extract(reader=asking(server)).read == 4


def test_an_endpoint_needs_a_url_and_a_model() -> None:
    for url, name in (("localhost", "m"), ("http://a@b", "m"), ("http://b", "")):
        with pytest.raises(InputError, match="fact"):
            Asking(url, name)
