"""The official SDK's client, in each of its modes, against our server: the judge from outside.

It checks every message against its own models, so what it returns was well formed.
"""

import asyncio
import os
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, MCPError
from mcp.client.stdio import StdioServerParameters
from mcp.client.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp.shared.exceptions import MCPDeprecationWarning
from mcp_types import PromptReference, ResourceTemplateReference, ResourceUpdatedNotification

from palatine import Palace
from tests.server.client import WAIT_SECONDS

ROOT = Path(__file__).parents[2]
MODES = ("legacy", "auto", "2026-07-28")
ERAS = {"legacy": "2025-11-25", "auto": "2026-07-28", "2026-07-28": "2026-07-28"}
STATUS, MAX = "palatine://status", "palatine://entity/Max"
in_every_mode = pytest.mark.parametrize("mode", MODES)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "palace"
    with Palace.open(folder) as palace:
        palace.add("We chose GraphQL.", wing="app", room="api")
        palace.knowledge.add("Max", "works_at", "Acme")
    return folder


def converse(
    folder: Path | None,
    mode: str,
    talk: Callable[[Client], Awaitable[None]],
    **options: Any,
) -> None:
    """Starts a server as the SDK does, of a palace or of toys, and talks with it."""
    environment = {name: os.environ[name] for name in ("PYTHONPATH", "PALATINE_EMBEDDER")}
    arguments = ["palatine", "mcp", "--palace", str(folder)] if folder else ["tests.server.toy"]
    server = StdioServerParameters(
        command=sys.executable, args=["-m", *arguments], env=environment, cwd=ROOT
    )

    async def run() -> None:
        async with asyncio.timeout(WAIT_SECONDS), Client(server, mode=mode, **options) as client:
            await talk(client)

    asyncio.run(run())


@in_every_mode
def test_the_client_agrees_on_an_era_and_learns_what_is_offered(folder: Path, mode: str) -> None:
    async def talk(client: Client) -> None:
        assert client.protocol_version == ERAS[mode]
        await client.list_tools()
        if mode != "2026-07-28":  # a client that is told the version asks nothing first
            assert client.server_info is not None
            assert client.server_info.name == "palatine"
            assert client.instructions
            assert client.server_capabilities.resources is not None
            assert client.server_capabilities.prompts is not None
            assert client.server_capabilities.completions is not None

    converse(folder, mode, talk)


@in_every_mode
def test_tools_are_listed_and_called(folder: Path, mode: str) -> None:
    async def talk(client: Client) -> None:
        listed = {tool.name: tool for tool in (await client.list_tools()).tools}
        assert listed["search"].output_schema is not None
        found = await client.call_tool("search", {"query": "GraphQL"})
        assert found.structured_content is not None
        assert found.structured_content["hits"][0]["text"] == "We chose GraphQL."
        refused = await client.call_tool("search", {"limit": 1})
        assert refused.is_error
        with pytest.raises(MCPError) as unknown:
            await client.call_tool("no_such", {})
        assert unknown.value.error.code == -32602

    converse(folder, mode, talk)


@in_every_mode
def test_progress_is_told_and_a_call_is_cancelled(mode: str) -> None:
    steps: list[tuple[float, float | None, str | None]] = []

    async def step(done: float, total: float | None, message: str | None) -> None:
        steps.append((done, total, message))

    async def talk(client: Client) -> None:
        await client.call_tool("count", {}, progress_callback=step)
        assert steps == [(0, 100, None), (50, 100, "half"), (100, 100, None)]
        begun = asyncio.Event()

        async def begin(*_: Any) -> None:
            begun.set()

        call = asyncio.create_task(client.call_tool("until_cancelled", {}, progress_callback=begin))
        await begun.wait()
        call.cancel()
        noticed = await client.call_tool("notices", {})
        assert noticed.structured_content == {"noticed": True}

    converse(None, mode, talk)


@in_every_mode
def test_resources_are_listed_and_read(folder: Path, mode: str) -> None:
    async def talk(client: Client) -> None:
        listed = await client.list_resources()
        assert [each.uri for each in listed.resources] == [STATUS, "palatine://wing/app"]
        templates = await client.list_resource_templates()
        assert len(templates.resource_templates) == 3
        for each in listed.resources:
            (content,) = (await client.read_resource(each.uri)).contents
            assert (content.uri, content.mime_type) == (each.uri, "application/json")
        with pytest.raises(MCPError) as absent:
            await client.read_resource("palatine://drawer/none")
        assert absent.value.error.code == (-32002 if mode == "legacy" else -32602)
        assert absent.value.error.data == {"uri": "palatine://drawer/none"}

    converse(folder, mode, talk)


@in_every_mode
def test_prompts_are_listed_filled_in_and_completed(folder: Path, mode: str) -> None:
    least = {"recall": {"about": "GraphQL"}, "remember": {"text": "tea"}}

    async def talk(client: Client) -> None:
        for prompt in (await client.list_prompts()).prompts:
            filled = await client.get_prompt(prompt.name, least.get(prompt.name, {}))
            assert filled.messages[0].role == "user"
        with pytest.raises(MCPError) as missing:
            await client.get_prompt("recall", {})
        assert missing.value.error.code == -32602
        recall = PromptReference(type="ref/prompt", name="recall")
        told = await client.complete(recall, {"name": "wing", "value": "a"})
        assert told.completion.values == ["app"]
        entity = ResourceTemplateReference(type="ref/resource", uri="palatine://entity/{name}")
        told = await client.complete(entity, {"name": "name", "value": ""}, {"wing": "x"})
        assert told.completion.values == ["Acme", "Max"]

    converse(folder, mode, talk)


def write(folder: Path) -> None:
    with Palace.open(folder) as palace:
        palace.add("new", wing="new")
        palace.knowledge.add("Max", "likes", "tea")


@pytest.mark.parametrize("mode", ["auto", "2026-07-28"])
def test_a_modern_client_listens(folder: Path, mode: str) -> None:
    async def talk(client: Client) -> None:
        async with client.listen(
            tools_list_changed=True, resources_list_changed=True, resource_subscriptions=[MAX]
        ) as stream:
            assert stream.honored.resources_list_changed
            assert stream.honored.resource_subscriptions == [MAX]
            assert not stream.honored.tools_list_changed
            await asyncio.to_thread(write, folder)
            told = {await anext(stream), await anext(stream)}
            assert told == {ResourcesListChanged(), ResourceUpdated(MAX)}
        await client.list_tools()

    converse(folder, mode, talk)


def test_a_client_of_the_handshake_era_subscribes(folder: Path) -> None:
    told: asyncio.Queue[str] = asyncio.Queue()

    async def hear(message: Any) -> None:
        if isinstance(message, ResourceUpdatedNotification):
            told.put_nowait(message.params.uri)

    async def talk(client: Client) -> None:
        with pytest.warns(MCPDeprecationWarning, match="resources/subscribe"):
            await client.subscribe_resource(STATUS)
        await asyncio.to_thread(write, folder)
        assert await told.get() == STATUS
        with pytest.warns(MCPDeprecationWarning, match="resources/unsubscribe"):
            await client.unsubscribe_resource(STATUS)

    converse(folder, "legacy", talk, message_handler=hear)
