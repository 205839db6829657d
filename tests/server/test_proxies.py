"""What a person sees whose server died behind mcp-proxy, which does not start another."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from mcp import MCPError

from palatine import Palace
from tests.server.proxies import proxied, session

pytestmark = [
    pytest.mark.network,
    pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds children as Linux does"),
]


def children(pid: int) -> list[int]:
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


@pytest.mark.parametrize("over", ["sse", "http"])
def test_a_dead_server_is_an_error_and_what_it_had_acknowledged_is_kept(
    over: str, tmp_path: Path
) -> None:
    async def run() -> bool:
        place = tmp_path / "palace"
        async with proxied(place) as (address, pid), session(address, over=over) as client:
            added = await client.call_tool("add_drawer", {"text": "kept"})
            assert not added.is_error
            [server] = children(pid)
            os.kill(server, signal.SIGKILL)
            # The proxy tells it as the call's result, or as the request's when it saw it die.
            try:
                return (await client.call_tool("add_drawer", {"text": "too late"})).is_error
            except MCPError:
                return True

    assert asyncio.run(asyncio.wait_for(run(), 60))
    with Palace.open(tmp_path / "palace") as palace:
        assert [drawer.text for drawer in palace.list()] == ["kept"]
