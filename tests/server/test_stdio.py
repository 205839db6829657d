"""The server process: its streams, its threads, its end from any state, and its start."""

import contextlib
import json
import os
import re
import select
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from palatine.mcp.stdio import _WORKERS
from tests.server.client import WAIT_SECONDS, Client
from tests.server.test_wire import hostile_lines

ROOT = Path(__file__).parents[2]
TOY = [sys.executable, "-m", "tests.server.toy"]
ENDS = [None, signal.SIGINT, signal.SIGTERM]
PING = b'{"jsonrpc":"2.0","id":"ping","method":"ping"}\n'
PONG = {"jsonrpc": "2.0", "id": "ping", "result": {}}


@pytest.fixture(autouse=True)
def in_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@pytest.fixture
def client() -> Iterator[Client]:
    with Client(*TOY) as connected:
        yield connected


def start_call(client: Client, name: str, **arguments: Any) -> int:
    return client.post("tools/call", {"name": name, "arguments": arguments})


def cancel(key: int) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": key}}


# Streams


def test_both_eras_are_served_by_one_process(client: Client) -> None:
    assert client.ask_modern("server/discover")["result"]["supportedVersions"] == ["2026-07-28"]
    assert client.initialize()["protocolVersion"] == "2025-11-25"
    assert client.ask_modern("tools/list")["result"]["cacheScope"] == "public"
    assert set(client.ask("tools/list")["result"]) == {"tools"}
    assert client.call("who")["agent"] == "test"


def test_ids_come_back_unchanged(client: Client) -> None:
    for key in (0, "", "0", "server-discover-probe-1", 2**70):
        client.send({"jsonrpc": "2.0", "id": key, "method": "tools/list"})
        assert client.reply(key)["id"] == key
        client.send(
            {"jsonrpc": "2.0", "id": key, "method": "tools/call", "params": {"name": "who"}}
        )
        assert client.reply(key)["id"] == key


def test_a_stray_print_lands_on_standard_error_and_the_input_stays_ours(client: Client) -> None:
    assert client.call("say") == {"input": 0}
    client.send_bytes(PING)
    assert client.receive() == PONG
    assert client.end() == 0
    assert client.errors() == "stray print\nstray write\n"


def test_a_fault_is_told_on_standard_error_only(client: Client) -> None:
    reply = client.ask("tools/call", {"name": "fail"})
    assert reply["error"] == {"code": -32603, "message": "Internal error"}
    assert client.ask("tools/call", {"name": "leave"})["error"]["code"] == -32603
    assert client.ask("ping")["result"] == {}
    assert client.end() == 0
    assert "RuntimeError: the secret reason" in client.errors()


def test_a_closed_standard_error_harms_nobody() -> None:
    closing = [
        sys.executable,
        "-c",
        "import os, sys; os.close(2); os.execv(sys.argv[1], sys.argv[1:])",
    ]
    with Client(*closing, *TOY) as client:
        assert client.call("say") == {"input": 0}
        assert client.ask("tools/call", {"name": "fail"})["error"]["code"] == -32603
        client.send_bytes(PING)
        assert client.receive() == PONG


def test_ten_megabytes_pass_both_ways(client: Client) -> None:
    text = "ünï\n\0" * 2_000_000
    assert client.call("size", text=text) == {"chars": len(text)}
    assert client.call("echo", text=text) == {"text": text}


def test_a_line_beyond_the_limit_is_skipped_and_answered(client: Client) -> None:
    client.send_bytes(b'{"jsonrpc":"2.0","id":70,"method":"tools/call","params":{"name":"')
    for _ in range(70):
        client.send_bytes(b"x" * 1024 * 1024)
    client.send_bytes(b'"}}\n' + PING)
    reply = client.receive()
    assert (reply["id"], reply["error"]["code"]) == (70, -32700)
    assert client.receive() == PONG


def test_hostile_lines_never_lose_the_next_request(client: Client) -> None:
    for number, line in enumerate(hostile_lines(1000, seed=12)):
        client.send_bytes(line + b"\n")
        key = f"after {number}"
        client.send({"jsonrpc": "2.0", "id": key, "method": "ping"})
        assert client.reply(key)["result"] == {}


# Threads


def test_a_slow_call_delays_neither_a_quick_one_nor_a_list(client: Client) -> None:
    slow = start_call(client, "wait")
    assert client.call("echo", a=1) == {"a": 1}
    assert "tools" in client.ask("tools/list")["result"]
    client.call("release")
    assert client.reply(slow)["result"]["structuredContent"] == {"released": True}


def test_calls_beyond_the_number_of_threads_wait_and_lists_do_not(client: Client) -> None:
    slow = [
        client.post("tools/call", {"name": "until_cancelled", "_meta": {"progressToken": number}})
        for number in range(_WORKERS)
    ]
    begun: set[int] = set()
    while len(begun) < _WORKERS:
        begun.add(client.receive()["params"]["progressToken"])
    queued = start_call(client, "echo")
    assert client.ask("ping")["result"] == {}
    assert all(message.get("id") != queued for message in client._kept)
    client.send(cancel(slow[7]))
    assert client.reply(queued)["result"]["isError"] is False


def test_many_calls_at_once_are_each_answered_once_and_whole(client: Client) -> None:
    text = "x" * 100_000  # more than a pipe holds
    keys = [start_call(client, "echo", number=number, text=text) for number in range(100)]
    replies = [client.receive() for _ in keys]
    assert sorted(reply["id"] for reply in replies) == keys
    echoes = [reply["result"]["structuredContent"] for reply in replies]
    assert sorted(echo["number"] for echo in echoes) == list(range(100))
    assert {echo["text"] for echo in echoes} == {text}


FEW_THREADS = """
import sys, threading
start = threading.Thread.start
def start_or_not(thread):
    if threading.active_count() >= int(sys.argv[1]):
        raise RuntimeError("can't start new thread")
    start(thread)
threading.Thread.start = start_or_not
from tests.server import toy
toy.main()
"""


def test_calls_that_get_no_thread_of_their_own_wait_for_another_or_are_told() -> None:
    with Client(sys.executable, "-c", FEW_THREADS, 3) as client:
        keys = [start_call(client, "echo", number=number) for number in range(50)]
        assert all("result" in client.reply(key) for key in keys)
    with Client(sys.executable, "-c", FEW_THREADS, 2) as client:
        assert client.ask("ping")["result"] == {}
        for _ in range(2):
            assert client.ask("tools/call", {"name": "echo"})["error"]["code"] == -32603
        assert client.ask("ping")["result"] == {}


def test_a_cancelled_call_stops_and_is_never_answered(client: Client) -> None:
    token = {"progressToken": 0}
    key = client.post("tools/call", {"name": "until_cancelled", "_meta": token})
    assert client.receive()["params"] == {"progressToken": 0, "progress": 1}
    client.send(cancel(key))
    assert client.call("notices") == {"noticed": True}
    assert client.ask("ping")["result"] == {}
    assert client.end() == 0
    assert all(message.get("id") != key for message in client._kept)


def test_progress_precedes_the_reply(client: Client) -> None:
    key = client.post("tools/call", {"name": "count", "_meta": {"progressToken": "p"}})
    told = [client.receive() for _ in range(4)]
    assert [message.get("params", {}).get("progress") for message in told] == [0, 50, 100, None]
    assert told[-1]["id"] == key


# The palace


def test_the_palace_is_opened_once_by_the_first_call_that_needs_it(client: Client) -> None:
    client.initialize()
    client.call("echo")
    assert client.errors() == ""
    keys = [start_call(client, "open") for _ in range(32)]
    palaces = {client.reply(key)["result"]["structuredContent"]["palace"] for key in keys}
    assert len(palaces) == 1
    assert client.end() == 0
    assert client.errors() == "opened\nshut down\n"


def test_a_palace_that_does_not_open_is_told_and_tried_again() -> None:
    with Client(*TOY, "fails-once") as client:
        refused = client.try_call("open")
        assert refused["content"][0]["text"] == "the palace is not there yet"
        assert refused["isError"] is True
        assert "palace" in client.call("open")


# The end


@pytest.mark.parametrize("how", ENDS)
@pytest.mark.parametrize("state", ["fresh", "idle", "mid-call", "mid-line", "open", "hanging"])
def test_it_ends_well_from_any_state(how: signal.Signals | None, state: str) -> None:
    with Client(*TOY, *(["hangs"] if state == "hanging" else [])) as client:
        client.initialize()
        if state == "mid-call":
            for _ in range(20):
                start_call(client, "wait")
            client.ask("ping")
        if state == "mid-line":
            client.send_bytes(PING[:20])
        if state in ("open", "hanging"):
            client.call("open")
        if state == "idle":
            client.call("echo")
        assert client.end(how) == 0
        assert ("shut down" in client.errors()) == (state in ("open", "hanging"))


@pytest.mark.parametrize("how", ENDS)
def test_it_ends_though_nobody_reads_its_replies(how: signal.Signals | None) -> None:
    with raw_server() as server:
        assert server.stdin is not None
        server.stdin.write(b'{"jsonrpc":"2.0","id":1,"method":"tools/list"}\n' * 200)
        server.stdin.write(b'{"jsonrpc":"2.0","id":2,"method":"tools/call","params":')
        server.stdin.write(b'{"name":"echo","arguments":{"text":"%s"}}}\n' % (b"x" * 1_000_000))
        server.stdin.flush()
        assert server.stdout is not None
        assert server.stdout.read(1) == b"{"
        if how is None:
            server.stdin.close()
        else:
            server.send_signal(how)
        assert server.wait(WAIT_SECONDS) == 0


@pytest.mark.parametrize("talking", [False, True])
def test_it_ends_when_its_output_is_closed(talking: bool) -> None:
    with raw_server() as server:
        assert server.stdin is not None
        assert server.stdout is not None
        server.stdin.write(PING)
        server.stdin.flush()
        assert json.loads(server.stdout.readline()) == PONG
        server.stdout.close()
        if talking:
            with contextlib.suppress(BrokenPipeError):  # it may be quicker
                os.write(server.stdin.fileno(), PING)
        assert server.wait(WAIT_SECONDS) == 0


def test_it_ends_when_its_output_is_full() -> None:
    with Path("/dev/full").open("wb") as full:
        server = subprocess.Popen(TOY, stdin=subprocess.PIPE, stdout=full)
        assert server.stdin is not None
        server.stdin.write(PING)
        server.stdin.flush()
        assert server.wait(WAIT_SECONDS) == 0
        server.stdin.close()


@pytest.mark.parametrize("before", ["", "del os.pidfd_open; "], ids=["told", "asking"])
def test_it_ends_when_its_parent_dies_though_its_input_stays_open(before: str) -> None:
    server = f"import os; {before}from tests.server import toy; toy.main()"
    start = "import subprocess, sys; sys.exit(subprocess.call([sys.executable, '-c', sys.argv[1]]))"
    with raw_server([sys.executable, "-c", start, server]) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        parent.stdin.write(PING)
        parent.stdin.flush()
        assert json.loads(parent.stdout.readline()) == PONG
        parent.kill()
        parent.wait(WAIT_SECONDS)
        readable, _, _ = select.select([parent.stdout], [], [], WAIT_SECONDS)
        assert readable
        assert parent.stdout.read() == b""


def test_lines_piped_in_are_answered_before_the_end() -> None:
    ended = subprocess.run(TOY, input=PING * 100, capture_output=True, timeout=WAIT_SECONDS)
    assert [json.loads(line) for line in ended.stdout.splitlines()] == [PONG] * 100
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_no_input_at_all_is_the_end() -> None:
    with tempfile.TemporaryFile() as empty:
        for stdin in (empty, subprocess.DEVNULL):
            ended = subprocess.run(TOY, stdin=stdin, capture_output=True, timeout=WAIT_SECONDS)
            assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")
    closing = "import os, sys; os.close(0); os.execv(sys.argv[1], sys.argv[1:])"
    ended = subprocess.run(
        [sys.executable, "-c", closing, *TOY], capture_output=True, timeout=WAIT_SECONDS
    )
    assert (ended.returncode, ended.stdout) == (0, b"")


def test_a_terminal_is_a_pipe_too() -> None:
    ours, theirs = os.openpty()
    server = subprocess.Popen(TOY, stdin=theirs, stdout=theirs)
    os.close(theirs)
    os.write(ours, PING)
    received = b""
    while b'"result":{}}' not in received:
        received += os.read(ours, 1000)
    os.close(ours)
    assert server.wait(WAIT_SECONDS) == 0


def test_a_socket_that_does_not_block_is_a_pipe_too() -> None:
    ours, theirs = socket.socketpair()
    theirs.setblocking(False)
    with ours, theirs, ours.makefile("rb") as replies:
        server = subprocess.Popen(TOY, stdin=theirs, stdout=theirs)
        theirs.close()
        ours.settimeout(WAIT_SECONDS)
        params = {"name": "echo", "arguments": {"text": "x" * 1_000_000}}
        message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
        ours.sendall(json.dumps(message).encode() + b"\n")
        assert json.loads(replies.readline())["result"]["isError"] is False
        ours.shutdown(socket.SHUT_WR)
        assert server.wait(WAIT_SECONDS) == 0


class raw_server:
    """A server process without a thread that reads its replies."""

    def __init__(self, command: Sequence[str] = TOY) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(command, stdin=pipe, stdout=pipe)

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self._process

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdout, self._process.stdin):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


# The start


PALATINE_MODULES = {
    "palatine",
    "palatine.config",
    "palatine.errors",
    "palatine.mcp",
    "palatine.mcp.prompts",
    "palatine.mcp.registry",
    "palatine.mcp.resources",
    "palatine.mcp.schema",
    "palatine.mcp.stdio",
    "palatine.mcp.subscriptions",
    "palatine.mcp.tools",
    "palatine.mcp.wire",
}
HEAVY = {
    "apsw", "click", "ctypes", "dataclasses", "inspect", "logging", "numpy", "pathlib",
    "platformdirs", "queue", "rich", "socket", "sqlite3", "subprocess", "tempfile", "tomllib",
    "traceback", "typing", "urllib", "uuid", "concurrent.futures", "concurrent", "asyncio",
    "datetime",
}  # fmt: skip


def test_the_first_reply_waits_for_no_heavy_module(tmp_path: Path) -> None:
    environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    palace = tmp_path / "palace"
    command = [sys.executable, "-X", "importtime", "-m", "palatine", "mcp", "--palace", palace]
    with Client(*command, env=environment) as client:
        client.initialize()
        client.ask_modern("server/discover")
        assert client.ask("tools/list")["result"]["tools"]
        assert client.ask("prompts/list")["result"]["prompts"]
        assert client.ask("resources/templates/list")["result"]["resourceTemplates"]
        assert client.end() == 0
        loaded = set(re.findall(r"^import time:.*\| +([\w.]+)$", client.errors(), re.MULTILINE))
    assert "json" in loaded
    assert {name for name in loaded if name.split(".")[0] == "palatine"} == PALATINE_MODULES
    assert loaded & HEAVY == set()
    assert not palace.exists()


# The command


def palatine(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "palatine", "mcp", *arguments]
    return subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=WAIT_SECONDS
    )


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--palce", "x"], "there is no option or argument '--palce'"),
        (["somewhere"], "there is no option or argument 'somewhere'"),
        (["--palace"], "--palace needs a folder"),
        (["--palace="], "--palace needs a folder"),
        (["--palace", ""], "--palace needs a folder"),
        (["--palace", "--read-only"], "--palace needs a folder"),
        (["--read-only=yes"], "there is no option or argument '--read-only'"),
    ],
)
def test_a_misused_command_says_how_it_is_used(arguments: list[str], complaint: str) -> None:
    ended = palatine(*arguments)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith(f"palatine mcp: {complaint}\n\nUsage: palatine mcp ")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_is_shown(option: str) -> None:
    ended = palatine("--read-only", option)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.startswith("Usage: palatine mcp ")


@pytest.mark.parametrize("given", [["--palace=here"], ["--palace", "here", "--read-only"]])
def test_options_are_taken_either_way(given: list[str]) -> None:
    ended = palatine(*given)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
