"""Hostile input: whatever comes on a line, the server answers what it can and the next request.

In this process against the real registry and a real palace, where Hypothesis shrinks what fails;
and at a server process, whose lines are cut out of any bytes.
"""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palatine import Palace
from palatine.mcp import tools
from palatine.mcp.wire import Job, Lines, Wire
from tests.server.client import ENVELOPE, PREFIX, Client

REGISTRY = tools.registry()
PING = {"jsonrpc": "2.0", "id": "next", "method": "ping"}
PONG = {"jsonrpc": "2.0", "id": "next", "result": {}}


class Core:
    """The core over a palace, without a process: every line is worked out at once."""

    def __init__(self, folder: Path) -> None:
        self.palace = Palace.open(folder)
        self.failures: list[BaseException] = []
        self.sent: list[Any] = []
        self.wire = Wire(
            REGISTRY,
            palace=lambda: self.palace,
            send=lambda line: self.sent.append(json.loads(line)),
            log=self.failures.append,
            environment={},
        )

    def take(self, line: Any) -> Any:
        """Returns the reply to a line, or None."""
        outcome = self.wire.receive(line)
        if isinstance(outcome, Job):
            outcome = self.wire.run(outcome)
        if outcome is None:
            return None
        assert outcome.count(b"\n") == 1
        assert outcome.endswith(b"\n")
        return json.loads(outcome)

    def survives(self, line: Any) -> Any:
        """Takes a line; the next request is answered and nothing was our fault."""
        reply = self.take(line)
        if reply is not None:
            assert reply["jsonrpc"] == "2.0"
            assert reply["id"] is None or type(reply["id"]) in (int, str)
            assert ("error" in reply) != ("result" in reply)
            assert reply.get("error", {}).get("code") != -32603, reply
        assert self.take(json.dumps(PING).encode()) == PONG
        assert self.failures == []
        return reply


@pytest.fixture(scope="module")
def core(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Core]:
    core = Core(tmp_path_factory.mktemp("fuzz") / "palace")
    core.palace.add("text", wing="app", room="api")
    core.palace.knowledge.add("Max", "works_at", "Acme")
    yield core
    core.wire.farewell()
    core.palace.close()


# Messages

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, -(2**63) - 1, 10**30]),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.text(st.characters(), max_size=3),
    st.sampled_from(["\0", "\ud800", "2025-13", "9999-12-31", "-1", "1e999", "app", "Max", "%00"]),
    st.sampled_from(["palatine://status", "palatine://wing/%", "palatine://drawer/\ud800", "x:"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
REFS = [
    {"type": "ref/prompt", "name": "recall"},
    {"type": "ref/resource", "uri": "palatine://entity/{name}"},
]
SEEDS: dict[str, list[Any]] = {
    "initialize": [{"protocolVersion": "2025-11-25", "capabilities": {}, "clientInfo": {}}],
    "ping": [{}],
    "server/discover": [{}],
    "tools/list": [{"cursor": ""}],
    "prompts/list": [{}],
    "resources/list": [{}],
    "resources/templates/list": [{}],
    "resources/read": [{"uri": resource.uri + "x"} for resource in REGISTRY.resources]
    + [{"uri": "palatine://status"}, {"uri": "palatine://entity/Max"}],
    "resources/subscribe": [{"uri": "palatine://status"}],
    "resources/unsubscribe": [{"uri": "palatine://status"}],
    "subscriptions/listen": [
        {"notifications": {"resourcesListChanged": True, "resourceSubscriptions": ["x", "y"]}}
    ],
    "prompts/get": [
        {"name": name, "arguments": dict.fromkeys(prompt.choices, "app")}
        for name, prompt in REGISTRY.prompts.items()
    ],
    "completion/complete": [
        {"ref": ref, "argument": {"name": "about", "value": ""}, "context": {"arguments": {"a": 1}}}
        for ref in REFS
    ],
    "notifications/cancelled": [{"requestId": 1, "reason": "x"}],
    "notifications/initialized": [{}],
    "no/such": [{}],
}
METHODS = st.sampled_from([(method, seed) for method, seeds in SEEDS.items() for seed in seeds])
KEYS = st.sampled_from(
    [
        *("jsonrpc", "id", "method", "params", "_meta", "name", "uri", "arguments", "wing"),
        *(PREFIX + "protocolVersion", PREFIX + "clientCapabilities", "progressToken"),
    ]
)


@st.composite
def damaged(draw: Any, value: Any, faults: int) -> Any:
    """The value with so many of its members replaced, dropped or added, at any depth."""
    copy = json.loads(json.dumps(value))
    for _ in range(faults):
        inside = [copy]
        for each in inside:
            members = each.values() if isinstance(each, dict) else each
            inside += [member for member in members if isinstance(member, dict | list) and member]
        place = draw(st.sampled_from(inside))
        names = list(place) if isinstance(place, dict) else list(range(len(place)))
        action = draw(st.sampled_from(["replace", "replace", "drop", "add"]))
        if action == "add" or not names:
            if isinstance(place, dict):
                place[draw(KEYS)] = draw(VALUES)
        elif action == "drop":
            del place[draw(st.sampled_from(names))]
        else:
            place[draw(st.sampled_from(names))] = draw(VALUES)
    return copy


@st.composite
def messages(draw: Any) -> Any:
    """A message that was valid in one of the eras, with up to four faults."""
    method, params = draw(METHODS)
    modern = {"_meta": ENVELOPE} if draw(st.booleans()) else {}
    message = {"jsonrpc": "2.0", "id": draw(st.integers(0, 3)), "method": method}
    return draw(damaged(message | {"params": params | modern}, draw(st.integers(0, 4))))


@given(messages())
@settings(max_examples=1000)
def test_a_message_with_faults_in_it_is_survived(core: Core, message: Any) -> None:
    core.survives(json.dumps(message).encode())


@given(st.data())
@settings(max_examples=400)
def test_arguments_of_any_kind_are_survived_by_every_tool(core: Core, data: Any) -> None:
    tool = data.draw(st.sampled_from([t for t in REGISTRY.tools.values() if t.name != "reconnect"]))
    properties: Any = tool.input_schema["properties"]
    typed = {"string": st.text(max_size=6) | SCALARS, "integer": st.integers(-2, 2000)}
    arguments = {
        name: data.draw(
            st.sampled_from(schema["enum"])
            if "enum" in schema and data.draw(st.booleans())
            else typed.get(schema.get("type"), VALUES)
        )
        for name, schema in properties.items()
        if name in tool.input_schema.get("required", ()) or data.draw(st.booleans())
    }
    params = {"name": tool.name, "arguments": arguments}
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    reply = core.survives(json.dumps(message).encode())
    assert reply["result"]["isError"] in (True, False)


@given(st.lists(messages(), max_size=6), st.lists(st.integers(0, 3), max_size=3))
@settings(max_examples=100)
def test_jobs_in_any_order_with_cancels_between_are_answered_once_at_most(
    core: Core, batch: Any, cancelled: Any
) -> None:
    jobs = []
    for message in batch:
        outcome = core.wire.receive(json.dumps(message).encode())
        jobs += [outcome] if isinstance(outcome, Job) else []
    for key in cancelled:
        params = {"requestId": key}
        notice = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": params}
        assert core.wire.receive(json.dumps(notice).encode()) is None
    for job in reversed(jobs):
        reply = core.wire.run(job)
        assert (reply is None) or json.loads(reply)["id"] == job.request.id
        assert not (job.call.cancelled and reply)
    assert core.wire._live == {}
    core.survives(b"")


# Bytes


@given(st.binary(max_size=300))
@settings(max_examples=300)
def test_any_bytes_are_survived(core: Core, line: bytes) -> None:
    core.survives(line.replace(b"\n", b" "))


@given(messages(), st.data())
@settings(max_examples=300)
def test_a_message_with_bent_bytes_is_survived(core: Core, message: Any, data: Any) -> None:
    line = bytearray(
        json.dumps(message, ensure_ascii=data.draw(st.booleans())).encode("utf-8", "surrogatepass")
    )
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(line)))
        line[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=4))
    core.survives(bytes(line).replace(b"\n", b" "))


@given(st.lists(st.binary(max_size=60), max_size=8), st.integers(1, 50))
def test_lines_are_the_same_however_the_bytes_are_cut(parts: list[bytes], limit: int) -> None:
    whole, cut = Lines(limit), Lines(limit)
    expected = whole.feed(b"".join(parts) + b"\n")
    seen = [line for part in [*parts, b"\n"] for line in cut.feed(part)]
    assert [getattr(line, "tail", line) for line in seen] == [
        getattr(line, "tail", line) for line in expected
    ]


@pytest.mark.parametrize(
    "line",
    [
        b"{" * 200_000,
        b"[" * 200_000,
        b'{"a":' * 100_000,
        b'"' + b"\\ud800" * 10_000,
        b"-" * 100_000,
        b"1" * 5000,
        b"1e" + b"9" * 5000,
        b'{"jsonrpc":"2.0","id":' + b"1" * 4400 + b',"method":"ping"}',
        b'{"jsonrpc":"2.0","id":1e400,"method":"ping"}',
        b'{"jsonrpc":"2.0","id":' + b'"x' * 50_000,
        b'{"jsonrpc":"2.0","id":1,"id":2,"method":"ping","method":"no/such"}',
        b"\xef\xbb\xbf" + json.dumps(PING).encode(),
        json.dumps(PING).encode("utf-16"),
        json.dumps(PING).encode("utf-32"),
        b"\0" * 100_000,
        b"Content-Length: 55\r",
        b"POST /mcp HTTP/1.1\r",
    ],
    ids=lambda line: repr(line[:24]),
)
def test_a_line_made_to_hurt_is_survived(core: Core, line: bytes) -> None:
    core.survives(line)


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": [value]}
    return value


@pytest.mark.parametrize("depth", [50, 150, 240, 330, 480, 900])
def test_nesting_of_any_depth_is_survived(core: Core, depth: int) -> None:
    params = {
        "name": "add_drawer",
        "arguments": {"text": "deep", "metadata": json.loads("{}")},
    }
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
    hole = json.dumps(message).replace("{}", '{"a":[' * depth + "1" + "]}" * depth)
    core.survives(hole.encode())
    core.survives(hole.replace("1.0", "x").encode())


# A process


def test_a_process_answers_the_next_request_after_any_bytes(tmp_path: Path) -> None:
    with Client(sys.executable, "-m", "palatine", "mcp", "--palace", tmp_path / "p") as client:

        @given(st.lists(st.one_of(st.binary(max_size=200), messages()), min_size=1, max_size=8))
        @settings(max_examples=100)
        def survive(lines: list[Any]) -> None:
            for line in lines:
                raw = line if isinstance(line, bytes) else json.dumps(line).encode()
                client.send_bytes(raw + b"\n")
            client.send({"jsonrpc": "2.0", "id": "fence", "method": "tools/list"})
            assert client.reply("fence")["result"]["tools"]
            client._kept.clear()

        survive()
        last = {"jsonrpc": "2.0", "id": "last", "method": "resources/read"}
        client.send(last | {"params": {"uri": "palatine://status"}})
        assert client.reply("last")["result"]["contents"]
        assert client.end() == 0
        assert "Traceback" not in client.errors()


def test_what_is_acknowledged_between_hostile_lines_is_there(tmp_path: Path) -> None:
    with Client(sys.executable, "-m", "palatine", "mcp", "--palace", tmp_path / "p") as client:
        ledger = {}
        for number in range(30):
            client.send_bytes(b'{"jsonrpc":"2.0","id":"x","method":"tools/call","params":{"na\n')
            client.send_bytes(bytes(range(number, number + 40)).replace(b"\n", b"") + b"\n[[[\n")
            added = client.call("add_drawer", text=f"text {number}")
            ledger[added["id"]] = f"text {number}"
    with Palace.open(tmp_path / "p") as palace:
        assert {drawer.id: drawer.text for drawer in palace.list(limit=100)} == ledger
