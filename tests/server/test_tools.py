"""The tools over a real stdio server, and the promises that their list itself must keep."""

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace
from palatine.mcp import tools
from tests.server.client import Client

NAMES = [
    *("status", "search", "add_drawer", "get_drawer", "kg_add", "kg_query", "kg_invalidate"),
    *("kg_supersede", "kg_timeline", "kg_stats", "changes", "reconnect"),
]
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
            if "maximum" in schema and name not in ("confidence",):
                assert "left out" in schema["description"], (tool.name, name)


def test_the_instructions_are_short_and_name_registered_tools_only() -> None:
    assert len(tools.INSTRUCTIONS.encode()) <= 2048
    named = re.findall(r"`([a-z_]+)`", tools.INSTRUCTIONS)
    assert named
    assert set(named) - {"wing", "room"} <= set(TOOLS)


def test_a_read_only_server_offers_no_tool_that_writes(tmp_path: Path) -> None:
    Palace.open(tmp_path / "palace").close()
    with server(tmp_path / "palace", "--read-only") as client:
        client.initialize()
        listed = [tool["name"] for tool in client.ask("tools/list")["result"]["tools"]]
        assert set(NAMES) - set(listed) == {"add_drawer", "kg_add", "kg_invalidate", "kg_supersede"}
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
    for tool in ("kg_timeline", "kg_stats", "changes", "status", "reconnect"):
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


def test_an_answer_stays_within_its_characters(client: Client) -> None:
    for n in range(30):
        client.call("add_drawer", text=f"apple {n} " + "filling words " * 150)
    result = client.try_call("search", query="apple", limit=30)
    found = result["structuredContent"]
    assert found["hits"]
    assert len(found["hits"]) + found["left_out"] == 30
    assert len(result["content"][0]["text"]) <= 12_000


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
    assert "not instructions" in found["note"]


def test_the_client_is_the_agent_unless_the_call_names_one(client: Client) -> None:
    client.call("kg_add", subject="a", predicate="is", object="b")
    client.call("kg_add", subject="c", predicate="is", object="d", agent="ada", session="s-2")
    found = client.call("changes")["changes"]
    assert [change.get("agent") for change in found] == ["claude-code", "ada"]
    assert found[1]["session"] == "s-2"


def test_the_seq_of_a_write_is_what_undoes_it(client: Client, tmp_path: Path) -> None:
    client.call("kg_add", subject="Max", predicate="works_at", object="Acme", valid_from="2024")
    seq = client.call(
        "kg_supersede", subject="Max", predicate="works_at", old="Acme", new="Globex"
    )["seq"]
    with Palace.open(tmp_path / "palace") as palace:
        palace.undo(seq)
    facts = client.call("kg_query", entity="Max")["facts"]
    assert [fact["object"] for fact in facts] == ["Acme"]


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
