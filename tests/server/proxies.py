"""mcp-proxy in front of `palatine mcp`, and the official client over SSE and HTTP against it."""

import asyncio
import re
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamable_http_client

WAIT_SECONDS = 60.0
# It needs an older SDK than the one that is tested here; `make .venv/judges` installs it.
PROXY = Path(__file__).parents[2] / ".venv" / "proxy" / "bin" / "python"


@asynccontextmanager
async def proxy(palace: Path) -> AsyncIterator[str]:
    """A proxy with one server behind it; yields its address."""
    async with proxied(palace) as (address, _):
        yield address


@asynccontextmanager
async def proxied(palace: Path) -> AsyncIterator[tuple[str, int]]:
    """A proxy with one server behind it; yields its address and its process id."""
    command: list[str | Path] = [
        PROXY,
        "-m",
        "mcp_proxy",
        "--host",
        "127.0.0.1",
        "--port",
        "0",
        "--",
    ]
    command += [sys.executable, "-m", "palatine", "mcp", "--palace", str(palace)]
    process = await asyncio.create_subprocess_exec(
        *command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(WAIT_SECONDS):
            address = await _address(process.stderr)
        rest = asyncio.create_task(process.stderr.read())  # a full pipe would stall the proxy
        yield address, process.pid
        process.terminate()
        await rest
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def _address(output: asyncio.StreamReader) -> str:
    seen = b""
    while line := await output.readline():
        seen += line
        if found := re.search(rb"running on (http://127\.0\.0\.1:\d+)", line):
            return found[1].decode()
    raise AssertionError(seen.decode())


@asynccontextmanager
async def session(address: str, *, over: str) -> AsyncIterator[ClientSession]:
    """A client of the proxy, over `sse` or `http`."""
    connection: Any = (
        sse_client(f"{address}/sse") if over == "sse" else streamable_http_client(f"{address}/mcp")
    )
    async with connection as streams, ClientSession(streams[0], streams[1]) as client:
        await client.initialize()
        yield client
