"""Many short-lived servers, ended in every way: nothing acknowledged is lost, nothing is left."""

import os
import signal
import sys
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from palatine import Palace
from tests.server.client import ENVELOPE, Client

ENDS = (None, signal.SIGTERM, signal.SIGINT, signal.SIGKILL)
MARK = "SOAK_TEST"


class Over(Exception):
    """The server has ended as it was told to: there is nothing more to end."""


def live(number: int, palace: Path, environment: Mapping[str, str]) -> str:
    """One server's life; returns the id of the drawer that it acknowledged."""
    how = ENDS[number % len(ENDS)]
    command = (sys.executable, "-m", "palatine", "mcp", "--palace", palace)
    with suppress(Over), Client(*command, env=environment) as client:
        if number % 2:
            client.initialize()
            assert client.ask("resources/subscribe", {"uri": "palatine://status"})["result"] == {}
        else:
            wanted = {"_meta": ENVELOPE, "notifications": {"resourcesListChanged": True}}
            client.post("subscriptions/listen", wanted)
        added: str = client.call("add_drawer", text=f"text {number}", wing=f"w{number % 7}")["id"]
        client.call("kg_add", subject="Server", predicate="lived_as", object=f"no. {number}")
        client.post("tools/call", {"name": "search", "arguments": {"query": "text"}})
        client.post("tools/call", {"name": "add_drawer", "arguments": {"text": f"late {number}"}})
        if number % 3 == 0:
            client.send_bytes(b'{"jsonrpc":"2.0","id":"half')
        assert client.end(how) == (-signal.SIGKILL if how is signal.SIGKILL else 0)
        raise Over
    return added


def left_running(value: str) -> list[str]:
    """The command lines of the processes in whose environment this value stands."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if f"{MARK}={value}".encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes().decode())
    return found


@pytest.mark.parametrize("servers", [16, pytest.param(400, marks=pytest.mark.stress)])
def test_servers_leave_no_process_lock_or_file_behind(tmp_path: Path, servers: int) -> None:
    palace, temporary = tmp_path / "palace", tmp_path / "temporary"
    temporary.mkdir()
    environment = os.environ | {MARK: str(tmp_path), "TMPDIR": str(temporary)}
    with ThreadPoolExecutor(6) as pool:
        ledger = list(pool.map(lambda number: live(number, palace, environment), range(servers)))
    assert left_running(str(tmp_path)) == []
    assert list(temporary.iterdir()) == []
    with Palace.open(palace, timeout_seconds=1) as opened:
        assert opened.check() == []
        texts = {drawer.id: drawer.text for drawer in opened.list(limit=1000)}
        assert [texts[added] for added in ledger] == [f"text {n}" for n in range(servers)]
        about = opened.knowledge.about("Server")
        assert {fact.object for fact in about} == {f"no. {n}" for n in range(servers)}
        opened.add("the lock is free")
    assert {path.name for path in palace.iterdir()} <= {"palace.db", "palace.lock", "embed.lock"}
