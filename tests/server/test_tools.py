"""The tools over a real stdio server, and the promises that their list itself must keep."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palatine import Author, NewDrawer, Palace
from palatine.mcp import tools
from tests.server.client import Client

NAMES = [
    *("status", "search", "add_drawer", "get_drawer", "list_drawers", "update_drawer"),
    *("delete_drawer", "undo", "check_duplicate", "get_taxonomy", "kg_add", "kg_query"),
    *("kg_invalidate", "kg_supersede", "kg_timeline", "kg_stats", "diary_write", "diary_read"),
    *("wake_up", "changes", "link", "reconnect"),
]
WRITING = {
    *("add_drawer", "update_drawer", "delete_drawer", "undo", "kg_add", "kg_invalidate"),
    *("kg_supersede", "diary_write", "link"),
}
TOOLS = tools.registry().tools


def server(palace: Path, *options: str) -> Client:
    return Client(sys.executable, "-m", "palatine", "mcp", "--palace", palace, *options)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with server(tmp_path / "palace") as connected:
        connected.initialize(name="claude-code")
        yield connected


def compact(value: object) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def test_the_tools_are_exactly_those() -> None:
    assert list(TOOLS) == NAMES


def test_the_list_of_tools_is_small() -> None:
    definitions = [tool.definition for tool in TOOLS.values()]
    seen = [{k: d[k] for k in ("name", "description", "inputSchema")} for d in definitions]
    assert len(compact({"tools": definitions}).encode()) <= 24_000
    assert len(compact(seen).encode()) <= 14_000


@pytest.mark.parametrize("tool", TOOLS.values(), ids=list(TOOLS))
def test_a_definition_is_complete(tool: Any) -> None:
    definition = tool.definition
    assert re.fullmatch(r"[a-z_]{1,64}", tool.name)
    assert definition["title"]
    assert 0 < len(re.split(r"(?<=[.:])\s", definition["description"])[0]) <= 200
    assert sorted(definition["annotations"]) == [
        "destructiveHint",
        "idempotentHint",
        "openWorldHint",
        "readOnlyHint",
    ]
    assert definition["inputSchema"]["additionalProperties"] is False
    assert definition["outputSchema"]["properties"]


def test_what_defaults_and_limits_are_is_said_in_words() -> None:
    for tool in TOOLS.values():
        for name, schema in tool.input_schema["properties"].items():
            if "maximum" in schema:
                assert "left out" in schema["description"], (tool.name, name)


def test_the_instructions_are_short_and_name_registered_tools_only() -> None:
    for read_only in (False, True):
        offered = tools.registry(read_only=read_only, wing="w" * 200)
        assert len(offered.instructions.encode()) <= 2048
        named = set(re.findall(r"`([a-z_]+)`", offered.instructions)) - {"wing", "room"}
        assert "search" in named
        assert named <= set(offered.tools)


def test_a_read_only_server_offers_no_tool_that_writes(tmp_path: Path) -> None:
    Palace.open(tmp_path / "palace").close()
    with server(tmp_path / "palace", "--read-only") as client:
        client.initialize()
        listed = [tool["name"] for tool in client.ask("tools/list")["result"]["tools"]]
        assert set(NAMES) - set(listed) == WRITING
        refused = client.ask("tools/call", {"name": "kg_add", "arguments": {}})
        assert refused["error"]["code"] == -32602
        assert client.call("status")["store"]["read_only"] is True


def test_every_answer_keeps_to_its_output_schema(client: Client) -> None:
    def call(tool: str, **arguments: Any) -> dict[str, Any]:
        answer = client.call(tool, **arguments)
        kinds = {"string": str, "integer": int, "boolean": bool, "object": dict, "array": list}
        for key, schema in TOOLS[tool].definition["outputSchema"]["properties"].items():
            if key in answer:
                assert isinstance(answer[key], kinds[schema["type"]]), (tool, key)
        assert set(answer) <= set(TOOLS[tool].definition["outputSchema"]["properties"]) | LOOSE
        return answer

    # Provenance, and what is there only sometimes, needs no place in a schema.
    LOOSE = {"wing", "room", "kind", "author", "filed_at", "note", "rooms_not_shown", "metadata"}
    LOOSE |= {"single_predicates"}
    drawer = call("add_drawer", text="We chose GraphQL.", kind="decision", metadata={"a": 1})
    call("get_drawer", id=drawer["id"])
    call("search", query="graphql")
    call("search", query="zebra")
    fact = call("kg_add", subject="Max", predicate="works at", object="Acme", valid_from="2024-03")
    assert fact["fact"]["valid_from"] == "2024-03"
    call("kg_query", entity="max", as_of="2024-06")
    call("kg_query", predicate="works_at")
    call("kg_query", entity="nobody")
    call("kg_supersede", subject="Max", predicate="works at", old="Acme", new="Globex")
    call("kg_invalidate", subject="Max", predicate="works at", object="Globex")
    call("update_drawer", id=drawer["id"], room="api", pinned=True)
    other = call("diary_write", text="Talked of GraphQL.", topic="work")
    link = call("link", source=drawer["id"], target=other["id"], label="told in")
    call("link", source=drawer["id"], target=other["id"], label="otherwise")
    call("link", action="list")
    call("link", action="remove", id=link["id"])
    call("check_duplicate", text="We chose GraphQL.")
    call("check_duplicate", text="We chose GraphQL!", threshold=0.5)
    call("undo", seq=call("delete_drawer", ids=[drawer["id"]])["seq"])
    for tool in ("list_drawers", "get_taxonomy", "diary_read", "wake_up", "kg_timeline"):
        call(tool)
    for tool in ("kg_stats", "changes", "status", "reconnect"):
        call(tool)


def test_the_text_block_is_the_structured_answer(client: Client) -> None:
    result = client.try_call("add_drawer", text="byte for byte \ud800 \x00 💾")
    assert json.loads(result["content"][0]["text"]) == result["structuredContent"]
    page = client.call("get_drawer", id=result["structuredContent"]["id"])
    assert page["text"] == "byte for byte \ud800 \x00 💾"


def test_a_long_text_comes_in_pages_and_around_the_match(client: Client) -> None:
    text = "\n\n".join(f"Paragraph {n} speaks of nothing much." for n in range(2000))
    text = text[:40_000] + "\n\nThe key is ZEBRA_7F3.\n\n" + text[40_000:]
    drawer = client.call("add_drawer", text=text)["id"]
    hit = client.call("search", query="ZEBRA_7F3")["hits"][0]
    assert "ZEBRA_7F3" in hit["text"]
    assert hit["total_chars"] == len(text)
    assert text[slice(*hit["part"])] == hit["text"]
    parts, offset = [], 0
    while offset is not None:
        page = client.call("get_drawer", id=drawer, offset=offset)
        parts.append(page["text"])
        offset = page.get("next_offset")
    assert "".join(parts) == text
    beyond = client.try_call("get_drawer", id=drawer, offset=len(text) + 1)
    assert beyond["isError"]


LONG = "n" * 200


@pytest.fixture(scope="module")
def crowded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A palace in which everything is many and long."""
    folder = tmp_path_factory.mktemp("crowded") / "palace"
    author = Author(LONG, LONG)
    with Palace.open(folder, agent=LONG, session=LONG) as palace:
        added = palace.add_many(
            [
                NewDrawer(
                    f'apple {n} "\x01\n" ' * (2000 if n == 4 else 150),
                    wing=f"{n:03}{LONG[3:]}",
                    room=LONG,
                    source="s" * 4000 if n < 3 else LONG,
                    kind=("note", "decision", "question", "identity")[n % 4],
                    pinned=n % 5 == 0,
                    metadata={"long": LONG * 60} if n == 0 else {},
                )
                for n in range(120)
            ]
        )
        for each in added[1:]:
            palace.link(added[0].drawer.id, each.drawer.id, LONG)
        for n in range(130):
            palace.knowledge.add("hub", f"{n:03}{LONG[3:]}", f"{n:03}{LONG[3:]}", source=LONG)
            palace.diary_write("ann", f"apple {n} " * 100, author=author)
        palace.knowledge.add("hub", "lives_in", "first", valid_from="2020")
        palace.knowledge.set_predicate("lives_in", "single")
        palace.delete(source=LONG)
        palace.undo(palace.status().seq)
    return folder


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        *((tool, {}) for tool in ("status", "list_drawers", "get_taxonomy", "kg_timeline")),
        *((tool, {}) for tool in ("kg_stats", "changes", "wake_up")),
        ("search", {"query": "apple", "limit": 50}),
        ("search", {"query": "nothing"}),
        ("list_drawers", {"limit": 100}),
        ("check_duplicate", {"text": "apple 7", "threshold": 0}),
        ("kg_query", {"entity": "hub", "limit": 1000}),
        ("kg_query", {"predicate": "no such"}),
        ("diary_read", {"agent": "ann", "limit": 100}),
        ("wake_up", {"budget_tokens": 2000}),
        ("changes", {"limit": 1000}),
        ("link", {"action": "list"}),
        (
            "kg_add",
            {"subject": "hub", "predicate": "lives_in", "object": "x", "valid_from": "2021"},
        ),
        ("undo", {}),
    ],
)
def test_an_answer_has_at_most_ten_thousand_characters(
    crowded: Path, tool: str, arguments: dict[str, Any]
) -> None:
    with server(crowded) as client:
        client.initialize()
        if tool == "undo":  # of the last change, which put back a hundred drawers
            arguments = {"seq": client.call("status")["seq"]}
        result = client.try_call(tool, **arguments)
        assert 0 < len(result["content"][0]["text"]) <= 10_000
        if tool in WRITING and "seq" in result["structuredContent"]:  # leave it as it was
            client.call("undo", seq=result["structuredContent"]["seq"])


def test_each_text_of_a_crowded_palace_fits_with_all_its_provenance(crowded: Path) -> None:
    with Palace.open(crowded) as palace, server(crowded) as client:
        client.initialize()
        for drawer in palace.list(kind="note", limit=30):
            result = client.try_call("get_drawer", id=drawer.id)
            page = result["structuredContent"]
            assert len(result["content"][0]["text"]) <= 10_000
            assert page["text"] == drawer.text[: page.get("next_offset")]
            if drawer.metadata:
                assert "left_out" in page["metadata"]
                whole = client.call("get_drawer", id=drawer.id, max_chars=40_000)
                assert whole["metadata"] == drawer.metadata


@pytest.mark.parametrize(
    ("tool", "arguments", "member", "key", "count"),
    [
        ("search", {"query": "apple", "limit": 100}, "hits", "id", 100),
        ("list_drawers", {"limit": 100}, "drawers", "id", 250),
        ("diary_read", {"agent": "ann", "limit": 7}, "entries", "id", 130),
        ("kg_timeline", {}, "facts", "id", 131),
        ("kg_query", {"entity": "hub"}, "facts", "id", 131),
        ("kg_query", {"subject": "hub", "limit": 9}, "facts", "id", 131),
        ("link", {"action": "list"}, "links", "id", 119),
        ("get_taxonomy", {}, "wings", None, 121),
    ],
)
def test_a_cursor_leads_through_all_of_a_list_once(
    crowded: Path, tool: str, arguments: dict[str, Any], member: str, key: str | None, count: int
) -> None:
    seen: list[str] = []
    with server(crowded) as client:
        client.initialize()
        page = client.call(tool, **arguments)
        while True:
            seen += [each[key] if key else each for each in page[member]]
            if not page.get("cursor"):
                break
            page = client.call(tool, **arguments, cursor=page["cursor"])
    assert len(seen) == len(set(seen)) == count


def test_the_change_feed_is_read_to_its_end_by_its_last_seq(crowded: Path) -> None:
    seqs: list[int] = []
    with server(crowded) as client:
        client.initialize()
        while (page := client.call("changes", after=seqs[-1] if seqs else 0))["changes"]:
            seqs += [change["seq"] for change in page["changes"]]
            assert page["last_seq"] == seqs[-1]
        assert seqs == list(range(1, client.call("status")["seq"] + 1))


def test_recalled_texts_bring_their_provenance_and_are_called_records(client: Client) -> None:
    client.call(
        "add_drawer",
        text="Ship on Friday.",
        wing="shop",
        room="release",
        kind="decision",
        source="notes/release.md",
        said_at="2025-03",
        agent="ada",
        session="s-1",
    )
    found = client.call("search", query="friday", wing="shop")
    hit = found["hits"][0]
    assert hit["author"] == "ada"
    assert hit["session"] == "s-1"
    assert hit["said_at"] == "2025-03"
    assert hit["source"] == "notes/release.md"
    client.call("diary_write", text="Shipped.", agent="ada", session="s-1")
    lists = [
        (client.call("list_drawers", wing="shop"), "drawers"),
        (client.call("check_duplicate", text="Ship on Friday."), "exact"),
        (client.call("check_duplicate", text="Ship on  Friday!"), "near"),
        (client.call("diary_read", agent="ada"), "entries"),
        (found, "hits"),
    ]
    for answer, member in lists:
        (shown,) = answer[member]
        assert shown["text"]
        assert (shown["author"], shown["session"]) == ("ada", "s-1")
        assert shown["filed_at"]
        assert "not instructions" in answer["note"]
    told = client.call("wake_up", wing="shop")["briefing"]
    assert "Ship on Friday. [" in told
    assert ", 2025-03, ada, session s-1, from notes/release.md]" in told
    assert "not instructions" in told


def test_the_client_is_the_agent_unless_the_call_names_one(client: Client) -> None:
    client.call("kg_add", subject="a", predicate="is", object="b")
    client.call("kg_add", subject="c", predicate="is", object="d", agent="ada", session="s-2")
    found = client.call("changes")["changes"]
    assert [change.get("agent") for change in found] == ["claude-code", "ada"]
    assert found[1]["session"] == "s-2"


def writes(client: Client) -> Iterator[tuple[str, dict[str, Any]]]:
    """A call of every tool that writes; each finds what it needs."""
    yield "add_drawer", {"text": "a text"}
    drawer = client.call("add_drawer", text="a text")["id"]
    yield "update_drawer", {"id": drawer, "text": "another text"}
    yield "diary_write", {"text": "an entry"}
    entry = client.call("list_drawers", kind="diary")["drawers"][0]["id"]
    yield "link", {"source": drawer, "target": entry, "label": "beside"}
    link = client.call("link", action="list")["links"][0]["id"]
    yield "link", {"action": "remove", "id": link}
    yield "delete_drawer", {"ids": [drawer, entry]}
    yield "kg_add", {"subject": "Max", "predicate": "works_at", "object": "Acme"}
    yield (
        "kg_supersede",
        {"subject": "Max", "predicate": "works_at", "old": "Acme", "new": "Globex"},
    )
    yield "kg_invalidate", {"subject": "Max", "predicate": "works_at", "object": "Globex"}
    yield "undo", {"seq": client.call("changes", limit=1000)["last_seq"]}


def test_the_seq_of_every_write_is_what_undoes_it(client: Client, tmp_path: Path) -> None:
    done = set()
    with Palace.open(tmp_path / "palace") as palace:

        def held() -> tuple[Any, ...]:
            drawers = {(d.id, d.text, d.wing) for d in palace.list(limit=1000)}
            facts = {str(fact) for fact in palace.knowledge.find()}
            return drawers, facts, {link.id for link in palace.links()}

        for tool, arguments in writes(client):
            before = held()
            seq = client.call(tool, **arguments)["seq"]
            after = held()
            assert before != after, tool
            back = client.call("undo", seq=seq)
            assert held() == before, tool
            client.call("undo", seq=back["seq"])
            assert held() == after, tool
            done.add(tool)
    assert done == WRITING


@pytest.mark.parametrize("name", ["a\x00b\x1b[31m\n\ud800c", "n" * 5000, " ", "\u0344" * 200])
def test_a_name_that_a_client_gives_itself_fails_no_write(client: Client, name: str) -> None:
    for tool, arguments in writes(client):
        if name != " " or tool != "diary_write":  # a diary without a name is nobody's
            result = client.try_call(tool, **arguments, agent=name, session=name)
            assert not result["isError"], (tool, result)
        else:
            client.call(tool, **arguments)
    for change in client.call("changes", limit=1000)["changes"]:
        agent = change.get("agent", "")
        assert len(agent) <= 200
        assert agent.isprintable()


@pytest.mark.parametrize(
    ("tool", "arguments", "says"),
    [
        ("search", {}, "query is required"),
        ("search", {"query": " "}, "empty"),
        ("search", {"query": "x", "limit": 101}, "at most 100"),
        ("search", {"query": "x", "wimg": "a"}, 'did you mean "wing"'),
        ("get_drawer", {"id": "dnone"}, "dnone"),
        ("kg_query", {}, "give entity"),
        ("kg_query", {"entity": "a", "subject": "b"}, "give entity"),
        ("kg_add", {"subject": "a", "predicate": "b"}, "object is required"),
        (
            "kg_add",
            {"subject": "a", "predicate": "b", "object": "c", "valid_from": "03/2025"},
            "03/2025",
        ),
        (
            "kg_add",
            {"subject": "a", "predicate": "b", "object": "c", "confidence": 2},
            "confidence",
        ),
        ("kg_invalidate", {"subject": "a", "predicate": "b", "object": "c"}, "no fact"),
        ("add_drawer", {"text": "x", "wing": "a\u0000b"}, "U+0000"),
        ("changes", {"after": -1}, "at least 0"),
        ("kg_timeline", {"cursor": "nonsense"}, "cursor"),
    ],
)
def test_a_mistake_is_answered_with_how_to_repair_it(
    client: Client, tool: str, arguments: dict[str, Any], says: str
) -> None:
    result = client.try_call(tool, **arguments)
    assert result["isError"]
    assert says in result["content"][0]["text"]


def test_reconnect_reports_what_was_before_and_after(client: Client, tmp_path: Path) -> None:
    client.call("kg_add", subject="a", predicate="is", object="b")
    before = client.call("status")
    (tmp_path / "palace").rename(tmp_path / "away")
    gone = client.try_call("status")
    assert gone["isError"]
    Palace.open(tmp_path / "palace").close()
    replaced = client.try_call("status")
    assert replaced["isError"]
    assert "another palace" in replaced["content"][0]["text"]
    report = client.call("reconnect")
    assert report["problem"]
    assert report["after"]["palace_id"] != before["palace"]["id"]
    assert client.call("status")["drawers"] == 0


def test_two_servers_see_each_others_writes_at_the_next_call(tmp_path: Path) -> None:
    with server(tmp_path / "palace") as one, server(tmp_path / "palace") as two:
        one.initialize()
        for n in range(20):
            writer, reader = (one, two) if n % 2 else (two, one)
            writer.call("add_drawer", text=f"The word of round {n} is marker{n}x.")
            writer.call("kg_add", subject=f"round {n}", predicate="has", object="a fact")
            found = reader.call("search", query=f"marker{n}x")["hits"]
            assert len(found) == 1
            assert reader.call("kg_query", entity=f"round {n}")["known"]
            assert reader.call("kg_stats")["facts"] == n + 1


PAGE = Path(__file__).parents[2] / "docs" / "tools.md"


def section(tool: Any) -> str:
    """What docs/tools.md says of a tool before its examples: to be copied there."""
    takes, required = tool.input_schema["properties"], tool.input_schema.get("required", [])
    rows = ["| takes | | |", "| --- | --- | --- |"]
    for name, schema in takes.items():
        said = schema.get("description", "")
        choices = ", ".join(schema.get("enum", []))
        needed = "required" if name in required else ""
        about = " ".join(filter(None, (said, f"One of {choices}." if choices else "")))
        rows.append(f"| `{name}` | {schema['type']}{needed and ', ' + needed} | {about} |")
    keys = tool.definition["outputSchema"]["properties"]
    gives = "Answers with " + ", ".join(f"`{key}`" for key in keys) + "."
    return "\n".join([tool.definition["description"], "", *(rows if takes else ()), "", gives, ""])


def test_the_page_of_the_tools_says_what_the_registry_says() -> None:
    sections = dict(re.findall(r"^## `(\w+)`\n\n(.*?)(?=^## |\Z)", PAGE.read_text(), re.M | re.S))
    assert sections.keys() == TOOLS.keys()
    for name, text in sections.items():
        assert text.startswith(section(TOOLS[name])), name


def test_the_examples_of_the_page_are_what_happens(client: Client) -> None:
    calls = re.findall(
        r"^## `(\w+)`|^```json\n(.*?)^```\n\nanswers\n\n```json\n(.*?)^```",
        PAGE.read_text("utf-8"),
        re.M | re.S,
    )
    ran: list[str] = []
    name = ""
    for heading, arguments, wanted in calls:
        name = heading or name
        if not heading:
            answer = client.call(name, **json.loads(arguments))
            assert like(answer, json.loads(wanted)), (name, answer)
            ran.append(name)
    assert set(ran) == set(TOOLS)


def like(value: object, wanted: object) -> bool:
    """Whether they are the same, but for what is written as `…`."""
    if isinstance(wanted, str) and "\u2026" in wanted:
        pattern = ".*".join(map(re.escape, wanted.split("\u2026")))
        return wanted == "\u2026" or re.fullmatch(pattern, str(value), re.DOTALL) is not None
    if isinstance(value, dict) and isinstance(wanted, dict):
        return value.keys() == wanted.keys() and all(like(value[k], wanted[k]) for k in wanted)
    if isinstance(value, list) and isinstance(wanted, list):
        return len(value) == len(wanted) and all(map(like, value, wanted))
    return value == wanted
