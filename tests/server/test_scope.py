"""A server that is limited to one wing: every tool, resource and prompt, over its real pipes."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace
from palatine.embed.hashing import HashingEmbedder
from palatine.mcp import tools
from tests.contract.nouns import DIMENSION, dump
from tests.contract.test_scope import fill, hidden_ids, strings
from tests.server.client import Client

TOOLS = tools.registry().tools
OWN, THEIRS, SEQ = "<own>", "<theirs>", "<seq>"
# For each tool: what it is asked in its own wing, and what it is asked for things outside. A tool
# that is new must be thought about here.
CALLS: dict[str, tuple[list[dict[str, Any]], list[dict[str, Any]]]] = {
    "status": ([{}], []),
    "search": ([{"query": "ships"}, {"query": "hush"}], [{"query": "ships", "wing": "shop"}]),
    "add_drawer": ([{"text": "New."}], [{"text": "New.", "wing": "shop"}]),
    "get_drawer": ([{"id": OWN}], [{"id": THEIRS}, {"id": "hushformer"}]),
    "list_drawers": ([{}, {"pinned": True}], [{"wing": "shop"}]),
    "update_drawer": (
        [{"id": OWN, "text": "Ships sail off."}],
        [{"id": THEIRS, "text": "Mine."}, {"id": OWN, "wing": "shop"}],
    ),
    "check_duplicate": ([{"text": "Ships sail on."}, {"text": "hush hush ships"}], []),
    "get_taxonomy": ([{}], [{"wing": "shop"}]),
    "kg_add": (
        [{"subject": "Max", "predicate": "likes", "object": "Milk"}],
        [
            {"subject": "Max", "predicate": "likes", "object": "Milk", "wing": "shop"},
            {"subject": "Max", "predicate": "likes", "object": "Milk", "drawer": THEIRS},
        ],
    ),
    "kg_query": (
        [{"entity": "Max"}, {"entity": "Hushman"}, {"predicate": "drinks"}],
        [{"entity": "Max", "wing": "shop"}],
    ),
    "kg_invalidate": (
        [{"subject": "Max", "predicate": "drinks", "object": "Water"}],
        [{"subject": "Hushman", "predicate": "knows", "object": "Max"}],
    ),
    "kg_supersede": (
        [{"subject": "Max", "predicate": "likes", "old": "Tea", "new": "Coffee"}],
        [{"subject": "Max", "predicate": "hush_likes", "old": "Hushtea", "new": "Coffee"}],
    ),
    "kg_timeline": ([{}, {"entity": "Max"}], [{"wing": "shop"}, {"entity": "Hushman"}]),
    "kg_stats": ([{}], [{"wing": "shop"}]),
    "diary_write": ([{"text": "Dear diary.", "agent": "app"}], [{"text": "x", "agent": "ann"}]),
    "diary_read": ([{"agent": "app"}], [{"agent": "hushagent"}]),
    "wake_up": ([{}], [{"wing": "shop"}]),
    "changes": ([{}, {"after": 3}], [{"wing": "shop"}]),
    "link": (
        [{"action": "list"}],
        [{"source": OWN, "target": THEIRS}, {"source": OWN, "target": "shop/hushroom"}],
    ),
    "delete_drawer": ([{"ids": [OWN]}], [{"ids": [THEIRS]}, {"ids": [OWN, THEIRS]}]),
    "undo": ([], [{"seq": SEQ}]),
    "reconnect": ([{}], []),
}


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    """All wings, as the test sees them beside the server."""
    embedder = HashingEmbedder(dimension=DIMENSION)
    with Palace.open(tmp_path / "palace", embedder=embedder) as opened:
        fill(opened)
        yield opened


def server(palace: Palace, *options: str, **environment: str) -> Client:
    place = palace.status().store["place"]
    command = (sys.executable, "-m", "palatine", "mcp", "--palace", place, *options)
    return Client(*command, env={**os.environ, **environment})


@pytest.fixture
def client(palace: Palace) -> Iterator[Client]:
    with server(palace, "--wing", "app") as connected:
        connected.initialize()
        yield connected


def filled(given: Any, palace: Palace) -> Any:
    if isinstance(given, dict):
        return {key: filled(value, palace) for key, value in given.items()}
    if isinstance(given, list):
        return [filled(value, palace) for value in given]
    (own,) = [d.id for d in palace.list(wing="app") if d.text.startswith("Ships")]
    (theirs,) = [d.id for d in palace.list(wing="shop") if d.text == "hush hush ships"]
    return {OWN: own, THEIRS: theirs, SEQ: palace.changes(wing="shop")[0].seq}.get(given, given)


def told(reply: Any, ids: set[str], given: Any = None) -> list[str]:
    """What a reply tells of the other wing, beyond the words that it was given."""
    said = json.dumps(reply).casefold()
    for word in strings(given):
        said = re.sub(rf"\b{re.escape(word.casefold())}\b", "", said)
    return [secret for secret in (*ids, "hush") if secret in said]


def test_every_tool_is_asked_here() -> None:
    assert set(TOOLS) == set(CALLS)


@pytest.mark.parametrize("tool", CALLS)
def test_a_tool_tells_and_does_nothing_outside_the_wing(
    client: Client, palace: Palace, tool: str
) -> None:
    theirs = hidden_ids(palace)
    own, outside = CALLS[tool]
    before = dump(palace._store)
    for arguments in outside:
        given = filled(arguments, palace)
        result = client.try_call(tool, **given)
        assert result["isError"], given
        assert told(result, theirs, given) == []
    assert dump(palace._store) == before
    for arguments in own:
        given = filled(arguments, palace)
        result = client.try_call(tool, **given)
        assert not result["isError"], result
        assert told(result, theirs, given) == []
    mine = [change.wing for change in palace.changes(after=len(before["changes"]))]  # type: ignore[arg-type]
    assert set(mine) <= {"app"}


def test_resources_and_prompts_tell_nothing_outside_the_wing(
    client: Client, palace: Palace
) -> None:
    theirs = hidden_ids(palace)
    (drawer,) = [d.id for d in palace.list(wing="shop") if d.text == "hush hush ships"]
    listed = client.ask("resources/list")["result"]
    assert [r["uri"] for r in listed["resources"] if "wing/" in r["uri"]] == ["palatine://wing/app"]
    for name in ("status", "wing/app", "entity/Max"):
        reply = client.ask("resources/read", {"uri": f"palatine://{name}"})
        assert "result" in reply
        assert told(reply, theirs) == []
    for name in ("wing/shop", f"drawer/{drawer}", "entity/Hushman"):
        asked = {"uri": f"palatine://{name}"}
        reply = client.ask("resources/read", asked)
        assert "error" in reply
        assert told(reply, theirs, [asked, name.rpartition("/")[2]]) == []
    for prompt, arguments in (("recall", {"about": "ships"}), ("wake-up", {}), ("review", {})):
        reply = client.ask("prompts/get", {"name": prompt, "arguments": arguments})
        assert "result" in reply
        assert told(reply, theirs) == []


def test_the_server_says_that_it_is_limited(client: Client, palace: Palace) -> None:
    assert "wing 'app'" in client.initialize()["instructions"]
    status = client.call("status")
    assert status["palace"]["limited_to_wing"] == "app"
    assert list(status["wings"]) == ["app"]
    assert status["drawers"] == len(palace.list(wing="app"))
    with server(palace) as whole:
        assert "limited" not in whole.initialize()["instructions"]
        assert "limited_to_wing" not in whole.call("status")["palace"]


def test_the_environment_limits_a_server_and_an_option_overrules_it(palace: Palace) -> None:
    with server(palace, PALATINE_WING="app") as client:
        assert "wing 'app'" in client.initialize()["instructions"]
        assert list(client.call("status")["wings"]) == ["app"]
        assert client.call("add_drawer", text="x")["wing"] == "app"
    with server(palace, "--wing=shop", "--read-only", PALATINE_WING="app") as client:
        assert list(client.call("status")["wings"]) == ["shop"]


def test_what_a_server_files_and_undoes_is_the_wings(client: Client, palace: Palace) -> None:
    added = client.call("add_drawer", text="Filed here.")
    fact = client.call("kg_add", subject="Max", predicate="rows", object="Boats")
    assert added["wing"] == fact["fact"]["wing"] == "app"
    client.call("undo", seq=added["seq"])
    client.call("undo", seq=fact["seq"])
    assert "Filed here." not in [drawer.text for drawer in palace.list()]


def test_a_wing_without_a_name_is_a_mistake() -> None:
    command = [sys.executable, "-m", "palatine", "mcp", "--wing"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "--wing needs a name" in done.stderr
