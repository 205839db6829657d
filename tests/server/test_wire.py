"""The ladder of one line's meaning, both eras on the wire, and arguments checked by schema."""

import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from palatine.mcp import schema
from palatine.mcp.registry import Registry, Tool
from palatine.mcp.wire import Job, Lines, Overlong, Wire
from tests.server import toy
from tests.server.client import ENVELOPE, PREFIX

TOYS = toy.registry()
INFO = {"name": "toy", "title": "Toy box", "version": "0.0"}
STAMP = {PREFIX + "serverInfo": INFO}
VERSION, CAPABILITIES = PREFIX + "protocolVersion", PREFIX + "clientCapabilities"
INITIALIZE = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "x"}}
ANY = "any result"


class Bench:
    """A wire without a process: what it sends and logs is kept."""

    def __init__(self, environment: dict[str, str] | None = None) -> None:
        self.sent: list[Any] = []
        self.failures: list[BaseException] = []
        self.wire = Wire(
            TOYS,
            palace=lambda: pytest.fail("nothing asked for a palace"),
            send=lambda line: self.sent.append(json.loads(line)),
            log=self.failures.append,
            environment=environment or {},
        )

    def take(self, message: Any) -> Any:
        """Returns the reply to one message, worked out at once, or None."""
        line = message if isinstance(message, bytes | Overlong) else json.dumps(message).encode()
        outcome = self.wire.receive(line)
        if isinstance(outcome, Job):
            outcome = self.wire.run(outcome)
        return None if outcome is None else json.loads(outcome)

    def ask(self, method: str, /, key: Any = 1, **params: Any) -> Any:
        return self.take(request(method, key, **params))

    def call(self, name: str, /, meta: Any = None, **arguments: Any) -> Any:
        more = {} if meta is None else {"_meta": meta}
        return self.ask("tools/call", name=name, arguments=arguments, **more)["result"]


@pytest.fixture
def bench() -> Bench:
    return Bench()


def request(method: Any, key: Any = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": key, "method": method, "params": params}


def enveloped(**changed: Any) -> dict[str, Any]:
    meta = ENVELOPE | {PREFIX + name: value for name, value in changed.items()}
    return {name: value for name, value in meta.items() if value is not ...}


def refused(code: int, key: Any = None) -> tuple[int, Any]:
    return code, key


MESSAGE = {"jsonrpc": "2.0", "id": 7, "method": "ping"}
LADDER = [
    (b"", None),
    (b" \t\r", None),
    (b"{", refused(-32700)),
    (b"nonsense", refused(-32700)),
    (b'{"jsonrpc":"2.0","id":7,"method":"ping"', refused(-32700)),
    (b'{"jsonrpc":"2.0","id":7,"method":"\xff"}', refused(-32700)),
    (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', refused(-32700)),
    (b'{"jsonrpc":"2.0","id":' + b"9" * 5000 + b"}", refused(-32700)),
    (b"[" * 100_000, refused(-32700)),
    (b"\xff\xfe{\x00}\x00", refused(-32700)),
    ([], refused(-32600)),
    ([MESSAGE, MESSAGE], refused(-32600)),
    (b"7", refused(-32600)),
    (b"null", refused(-32600)),
    (b'"ping"', refused(-32600)),
    ({}, refused(-32600)),
    ({"id": 7, "method": "ping"}, refused(-32600, 7)),
    (MESSAGE | {"jsonrpc": "1.0"}, refused(-32600, 7)),
    (MESSAGE | {"jsonrpc": 2.0}, refused(-32600, 7)),
    ({"jsonrpc": "1.0", "method": "notifications/initialized"}, refused(-32600)),
    *[(MESSAGE | {"id": key}, refused(-32600)) for key in (None, True, 1.0, 1.5, [], {})],
    (MESSAGE | {"method": 5}, refused(-32600, 7)),
    (MESSAGE | {"method": None}, refused(-32600, 7)),
    ({"jsonrpc": "2.0", "id": 7}, refused(-32600, 7)),
    ({"jsonrpc": "2.0"}, refused(-32600)),
    ({"jsonrpc": "2.0", "method": "notifications/initialized"}, None),
    ({"jsonrpc": "2.0", "method": "tools/list"}, None),
    ({"jsonrpc": "2.0", "method": "no/such", "params": 5}, None),
    ({"jsonrpc": "2.0", "method": "notifications/cancelled"}, None),
    ({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": []}, None),
    *[
        (
            {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": key}},
            None,
        )
        for key in (7, "7", None, [], {}, True, 1.5)
    ],
    ({"jsonrpc": "2.0", "result": {}}, None),
    ({"jsonrpc": "2.0", "id": 7, "result": {}}, None),
    *[({"jsonrpc": "2.0", "id": key, "error": {"code": -32700}}, None) for key in (None, 1.5)],
    ({"jsonrpc": "2.0", "id": 7, "error": {"code": 1}, "params": 5}, None),
    *[(MESSAGE | {"params": params}, refused(-32602, 7)) for params in (None, [], "x", 5)],
    (MESSAGE, {}),
    (MESSAGE | {"params": {"_meta": 5}}, {}),
    (MESSAGE | {"more": 1}, {}),
    (request("initialize", **INITIALIZE), ANY),
    (request("initialize", **INITIALIZE, _meta=ENVELOPE), ANY),
    (request("initialize"), refused(-32602, 1)),
    ({"jsonrpc": "2.0", "id": 1, "method": "initialize"}, refused(-32602, 1)),
    (request("server/discover", _meta=ENVELOPE), ANY),
    (request("server/discover", _meta=enveloped(clientCapabilities=...)), refused(-32602, 1)),
    (request("server/discover", _meta=enveloped(protocolVersion=5)), refused(-32602, 1)),
    (request("server/discover", _meta=enveloped(protocolVersion="2099-01-01")), refused(-32022, 1)),
    (request("server/discover", _meta=enveloped(protocolVersion="2025-06-18")), refused(-32022, 1)),
    (request("no/such", _meta=enveloped(protocolVersion="2099-01-01")), refused(-32022, 1)),
    (request("tools/list", _meta=enveloped(clientInfo="malformed")), ANY),
    (request("tools/list", _meta=enveloped(clientInfo=...)), ANY),
    (request("ping", _meta=ENVELOPE), refused(-32601, 1)),
    (request("server/discover"), refused(-32601, 1)),
    (request("no/such"), refused(-32601, 1)),
    (request("no/such", _meta=ENVELOPE), refused(-32601, 1)),
    (request("logging/setLevel"), refused(-32601, 1)),
    (request("resources/list"), refused(-32601, 1)),
    (request("prompts/list"), refused(-32601, 1)),
    (request("completion/complete", _meta=ENVELOPE), refused(-32601, 1)),
    (request("resources/subscribe", _meta=ENVELOPE), refused(-32601, 1)),
    (request("subscriptions/listen"), refused(-32601, 1)),
    (request("subscriptions/listen", _meta=ENVELOPE), refused(-32602, 1)),
    (request("subscriptions/listen", _meta=ENVELOPE, notifications=[]), refused(-32602, 1)),
    (
        request("subscriptions/listen", _meta=ENVELOPE, notifications={"resourceSubscriptions": 5}),
        refused(-32602, 1),
    ),
    (
        request(
            "subscriptions/listen", _meta=ENVELOPE, notifications={"resourceSubscriptions": [5]}
        ),
        refused(-32602, 1),
    ),
    (request("subscriptions/listen", _meta=ENVELOPE, notifications={}), None),
    (request("tools/list"), ANY),
    (request("tools/list", cursor=""), ANY),
    (request("tools/list", cursor="beyond"), refused(-32602, 1)),
    (request("tools/call"), refused(-32602, 1)),
    (request("tools/call", name=5), refused(-32602, 1)),
    (request("tools/call", name="no_such"), refused(-32602, 1)),
    (request("tools/call", name="echo", arguments=[1]), refused(-32602, 1)),
    (request("tools/call", name="echo"), ANY),
    (request("tools/call", name="echo", arguments=None), ANY),
]


@pytest.mark.parametrize(
    ("message", "expected"), LADDER, ids=lambda part: repr(part)[:60].replace("\\", "/")
)
def test_a_line_means_what_the_ladder_says(bench: Bench, message: Any, expected: Any) -> None:
    reply = bench.take(message)
    if isinstance(expected, tuple):
        code, key = expected
        assert (reply["error"]["code"], reply["id"]) == (code, key)
        assert set(reply) == {"jsonrpc", "id", "error"}
    elif expected == ANY:
        assert set(reply) == {"jsonrpc", "id", "result"}
    else:
        assert (reply and reply["result"]) == expected
    assert not bench.failures


@pytest.mark.parametrize(
    "key", [0, -1, 2**70, "", "0", "server-discover-probe-1", "ünï\u2028\ud800"]
)
def test_an_id_is_echoed_unchanged(bench: Bench, key: Any) -> None:
    assert bench.ask("ping", key) == {"jsonrpc": "2.0", "id": key, "result": {}}
    assert bench.ask("no/such", key)["id"] == key
    assert bench.ask("tools/call", key, name="echo")["id"] == key


def test_errors_say_what_is_wrong_as_the_protocol_wants_it(bench: Bench) -> None:
    def error(method: str, **params: Any) -> Any:
        return bench.ask(method, **params)["error"]

    unknown = enveloped(protocolVersion="2099-01-01")
    assert error("server/discover", _meta=unknown) == {
        "code": -32022,
        "message": "Unsupported protocol version",
        "data": {"supported": ["2026-07-28"], "requested": "2099-01-01"},
    }
    assert CAPABILITIES in error("ping", _meta={VERSION: "2026-07-28"})["message"]
    assert error("no/such")["data"] == "no/such"
    assert len(error("long" * 1000)["data"]) == 200
    assert "ech" in error("tools/call", name="ech")["message"]
    assert "did you mean echo" in error("tools/call", name="ech")["message"]


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        *[(version, version) for version in ("2024-11-05", "2025-03-26", "2025-06-18")],
        *[(other, "2025-11-25") for other in ("2025-11-25", "2026-07-28", "nonsense", 5, None, [])],
    ],
)
def test_a_handshake_agrees_on_a_version(bench: Bench, asked: Any, answered: str) -> None:
    assert bench.ask("initialize", **INITIALIZE | {"protocolVersion": asked})["result"] == {
        "protocolVersion": answered,
        "capabilities": {"tools": {}},
        "serverInfo": INFO,
        "instructions": "Toys to test with.",
    }


def test_a_modern_client_discovers_the_server(bench: Bench) -> None:
    assert bench.ask("server/discover", "server-discover-probe-1", _meta=ENVELOPE) == {
        "jsonrpc": "2.0",
        "id": "server-discover-probe-1",
        "result": {
            "resultType": "complete",
            "supportedVersions": ["2026-07-28"],
            "capabilities": {"tools": {}},
            "instructions": "Toys to test with.",
            "ttlMs": 3_600_000,
            "cacheScope": "public",
            "_meta": STAMP,
        },
    }


def test_the_list_of_tools_carries_its_era_and_nothing_of_the_other(bench: Bench) -> None:
    handshake = bench.take({"method": "tools/list", "jsonrpc": "2.0", "id": 1})["result"]
    modern = bench.ask("tools/list", _meta=ENVELOPE)["result"]
    assert set(handshake) == {"tools"}
    added = {"resultType": "complete", "ttlMs": 3_600_000, "cacheScope": "public", "_meta": STAMP}
    assert modern == handshake | added
    assert [tool["name"] for tool in handshake["tools"]] == list(TOYS.tools)
    assert handshake["tools"][0] == {
        "name": "echo",
        "title": "Echo",
        "description": "The toy echo.",
        "inputSchema": {"type": "object"},
        "outputSchema": {"type": "object"},
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
        "_meta": {"shown": "verbatim"},
    }


def test_a_call_carries_its_era_and_nothing_of_the_other(bench: Bench) -> None:
    handshake = bench.call("echo", a=["ü", 1])
    assert handshake == {
        "content": [{"type": "text", "text": '{"a":["ü",1]}'}],
        "structuredContent": {"a": ["ü", 1]},
        "isError": False,
    }
    modern = bench.call("echo", ENVELOPE | {"claudecode/toolUseId": "toolu_1"}, a=["ü", 1])
    assert modern == handshake | {"resultType": "complete", "_meta": STAMP}


def test_what_a_tool_refuses_is_a_result_in_words_only(bench: Bench) -> None:
    expected = {
        "content": [{"type": "text", "text": "the wing is empty: name one"}],
        "isError": True,
    }
    assert bench.call("refuse") == expected
    assert bench.call("refuse", ENVELOPE) == expected | {"resultType": "complete", "_meta": STAMP}
    assert bench.call("limited", limit="x")["isError"] is True
    assert not bench.failures


@pytest.mark.parametrize("name", ["fail", "leave", "not_a_number", "not_an_object"])
def test_a_fault_of_ours_is_logged_and_not_told(bench: Bench, name: str) -> None:
    reply = bench.ask("tools/call", name=name)
    assert reply["error"] == {"code": -32603, "message": "Internal error"}
    assert len(bench.failures) == 1
    assert bench.ask("ping")["result"] == {}


def test_a_fault_before_the_call_is_answered_too(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schema, "nearest", lambda *given: 1 / 0)
    assert bench.ask("tools/call", 5, name="no_such")["error"]["code"] == -32603
    assert isinstance(bench.failures[0], ZeroDivisionError)


def test_both_eras_stay_open_whoever_speaks_first(bench: Bench) -> None:
    assert "tools" in bench.ask("tools/list")["result"]
    assert "ttlMs" in bench.ask("tools/list", _meta=ENVELOPE)["result"]
    for _ in range(2):
        assert "protocolVersion" in bench.ask("initialize", **INITIALIZE)["result"]
        assert "ttlMs" not in bench.ask("tools/list")["result"]


def test_a_lone_surrogate_travels_escaped(bench: Bench) -> None:
    outcome = bench.wire.receive(json.dumps(request("tools/call", name="surrogate")).encode())
    assert isinstance(outcome, Job)
    line = bench.wire.run(outcome)
    assert line is not None
    assert line.isascii()
    assert json.loads(line)["result"]["structuredContent"] == {"text": "\ud800 ünï"}
    sent = (
        '{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"echo","arguments":{"a":"'
    )
    raw = sent.encode() + b"\xed\xa0\x80" + b'"}}}'
    assert bench.take(raw)["result"]["structuredContent"] == {"a": "\ud800"}


def test_a_reply_is_one_line_of_compact_utf_8(bench: Bench) -> None:
    message = request("tools/call", name="echo", arguments={"a": "ü\n\r\u2028"})
    outcome = bench.wire.receive(json.dumps(message).encode() + b"\r")
    assert isinstance(outcome, Job)
    line = bench.wire.run(outcome)
    assert line is not None
    assert line.count(b"\n") == 1
    assert line.endswith(b"\n")
    assert '"structuredContent":{"a":"ü\\n\\r\u2028"}'.encode() in line


# Progress and cancelling


@pytest.mark.parametrize("token", [0, 4, "", "tok"])
def test_progress_is_told_to_who_asked_and_only_grows(bench: Bench, token: Any) -> None:
    bench.call("count", {"progressToken": token})
    assert [message["method"] for message in bench.sent] == ["notifications/progress"] * 3
    assert [message["params"] for message in bench.sent] == [
        {"progressToken": token, "progress": 0, "total": 100},
        {"progressToken": token, "progress": 50, "total": 100, "message": "half"},
        {"progressToken": token, "progress": 100, "total": 100},
    ]
    assert all("id" not in message for message in bench.sent)


@pytest.mark.parametrize("meta", [None, {}, {"progressToken": None}, {"progressToken": []}])
def test_progress_is_not_told_to_who_did_not_ask(bench: Bench, meta: Any) -> None:
    bench.call("count", meta)
    assert bench.sent == []


def cancelled(key: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": key}}


def posted(bench: Bench, name: str, key: Any) -> Job:
    job = bench.wire.receive(json.dumps(request("tools/call", key, name=name)).encode())
    assert isinstance(job, Job)
    return job


def test_a_call_cancelled_before_it_runs_is_neither_run_nor_answered(bench: Bench) -> None:
    job = posted(bench, "fail", 1)
    assert bench.take(cancelled(1)) is None
    assert bench.wire.run(job) is None
    assert not bench.failures


def test_a_call_cancelled_while_it_runs_ends_at_its_next_progress(bench: Bench) -> None:
    seen: list[str] = []

    def handler(call: Any, arguments: Any) -> Any:
        seen.append("begun")
        bench.take(cancelled("a"))
        call.progress(1)
        seen.append("never")

    job = posted(bench, "echo", "a")
    job.work = lambda call: handler(call, {})
    assert bench.wire.run(job) is None
    assert seen == ["begun"]
    assert not bench.failures


def test_a_call_that_ends_after_it_was_cancelled_is_not_answered(bench: Bench) -> None:
    for outcome in ({}, RuntimeError("too late")):
        job = posted(bench, "echo", 1)

        def work(call: Any, outcome: Any = outcome) -> Any:
            bench.take(cancelled(1))
            if isinstance(outcome, Exception):
                raise outcome
            return outcome

        job.work = work
        assert bench.wire.run(job) is None


def test_a_cancel_of_another_or_a_finished_call_changes_nothing(bench: Bench) -> None:
    for key in (1, "2", 2.0, True, None):
        job = posted(bench, "echo", 2)
        bench.take(cancelled(key))
        assert bench.wire.run(job) is not None
        bench.take(cancelled(2))


def test_a_cancel_that_could_mean_either_of_two_calls_means_neither(bench: Bench) -> None:
    one, other = posted(bench, "echo", 1), posted(bench, "echo", 1)
    bench.take(cancelled(1))
    assert bench.wire.run(one) is not None
    assert bench.wire.run(other) is not None
    third = posted(bench, "echo", 1)
    bench.take(cancelled(1))
    assert bench.wire.run(third) is None


# Provenance


def test_a_call_tells_who_calls_and_in_which_session() -> None:
    bench = Bench(environment={"CLAUDE_CODE_SESSION_ID": "of-environment"})
    assert Bench().call("who")["structuredContent"] == {"agent": "", "session": ""}
    assert bench.call("who")["structuredContent"] == {"agent": "", "session": "of-environment"}
    bench.ask("initialize", **INITIALIZE | {"clientInfo": {"name": "codex-mcp-client"}})
    codex = {"x-codex-turn-metadata": {"session_id": "of-turn"}}
    for meta, agent, session in (
        ({}, "codex-mcp-client", "of-environment"),
        (ENVELOPE, "test-client", "of-environment"),
        (enveloped(clientInfo=...), "codex-mcp-client", "of-environment"),
        (codex, "codex-mcp-client", "of-turn"),
        (codex | {"sessionId": "of-call"}, "codex-mcp-client", "of-call"),
    ):
        expected = {"agent": agent, "session": session}
        assert bench.call("who", meta)["structuredContent"] == expected
    said = bench.call("who_says", codex, agent="me", session="now")["structuredContent"]
    assert said == {"agent": "me", "session": "now"}


@pytest.mark.parametrize("name", ["a\0b", "\ud800", "x" * 201, 5, None, [], {}, "a\u202eb"])
def test_a_name_that_is_no_plain_short_text_is_no_provenance(bench: Bench, name: Any) -> None:
    bench.ask("initialize", **INITIALIZE | {"clientInfo": {"name": name}})
    meta = enveloped(clientInfo={"name": name}) | {"sessionId": name}
    assert bench.call("who", meta)["structuredContent"] == {"agent": "", "session": ""}
    assert bench.call("who", {"x-codex-turn-metadata": name})["isError"] is False


# Lines


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_lines_are_the_same_however_the_bytes_arrive(step: int) -> None:
    data = b"one\n\ntwo\r\nthree thirty\n" + b"x" * 20 + b"\nfour\nrest"
    lines, seen = Lines(limit=12), []
    for at in range(0, len(data), step):
        seen += lines.feed(data[at : at + step])
    told = [line if isinstance(line, bytes) else (line.head[:3], line.tail) for line in seen]
    assert told == [b"one", b"", b"two\r", b"three thirty", (b"xxx", b"x" * 20), b"four"]


PAD = "x" * 9000
OVERLONG = [
    ({"jsonrpc": "2.0", "id": 5, "method": "m", "params": {"a": PAD}}, 5),
    ({"jsonrpc": "2.0", "method": "m", "id": "five", "params": {"a": PAD}}, "five"),
    ({"method": "m", "params": {"id": 6, "a": PAD}, "jsonrpc": "2.0", "id": 5}, 5),
    ({"method": "m", "params": {"id": 6, "a": PAD}, "id": "", "jsonrpc": "2.0"}, ""),
    ({"method": "m", "params": {"id": 6, "a": PAD, "z": {"id": 7}}}, None),
    ({"method": "m", "params": {"a": PAD, "id": 6}}, None),
    ({"method": "m", "params": {"a": PAD + '"id":6}'}}, None),
    ({"id": None, "params": {"a": PAD}}, None),
    ({"id": 1.5, "params": {"a": PAD}}, None),
    ([{"id": 1}, {"a": PAD}], None),
    (PAD, None),
    ({PAD: 1, "id": 5}, 5),
]


@pytest.mark.parametrize(("message", "key"), OVERLONG, ids=range(len(OVERLONG)))
@pytest.mark.parametrize("separators", [(",", ":"), (", ", " : ")])
def test_a_line_that_is_too_long_is_answered_under_its_own_id(
    bench: Bench, message: Any, key: Any, separators: Any
) -> None:
    data = json.dumps(message, separators=separators).encode() + b"\n"
    for step in (1000, 8100, 9000, len(data)):
        lines, seen = Lines(limit=8000), []
        for at in range(0, len(data), step):
            seen += lines.feed(data[at : at + step])
        (line,) = seen
        assert isinstance(line, Overlong)
        reply = bench.take(line)
        assert (reply["error"]["code"], reply["id"]) == (-32700, key)


# Hostile lines


def hostile_lines(count: int, seed: int) -> list[bytes]:
    """Messages damaged in every way that a seeded dice thinks of; none has a line feed in it."""
    dice = random.Random(seed)
    scraps: list[Any] = [
        None,
        True,
        0,
        -1,
        1.5,
        2**80,
        "",
        "ping",
        [],
        {},
        [[]],
        {"a": 1},
        "\ud800",
    ]
    words = ["jsonrpc", "id", "method", "params", "_meta", VERSION, CAPABILITIES, "name", "result"]
    seeds = [request("tools/call", name="echo", arguments={"a": 1}, _meta=ENVELOPE), MESSAGE]
    seeds += [request("initialize", **INITIALIZE), cancelled(1), request("tools/list", cursor="")]

    def damaged(value: Any) -> Any:
        if dice.random() < 0.15:
            return dice.choice(scraps)
        if isinstance(value, dict):
            kept = {k: damaged(v) for k, v in value.items() if dice.random() > 0.1}
            return kept | ({dice.choice(words): dice.choice(scraps)} if dice.random() < 0.2 else {})
        return value

    def bent(data: bytes) -> bytes:
        out = bytearray(data)
        for _ in range(dice.randrange(1, 6)):
            at = dice.randrange(len(out) + 1)
            out[at : at + dice.randrange(4)] = dice.randbytes(dice.randrange(4))
        return bytes(out)

    makers: list[Callable[[], bytes]] = [
        lambda: json.dumps(damaged(dice.choice(seeds))).encode(),
        lambda: bent(json.dumps(dice.choice(seeds)).encode()),
        lambda: dice.randbytes(dice.randrange(200)),
        lambda: dice.choice([b"[", b'{"a":', b'"', b"-", b"1e", b"{"]) * dice.randrange(1, 5000),
    ]
    return [dice.choice(makers)().replace(b"\n", b" ") for _ in range(count)]


def test_a_thousand_hostile_lines_never_lose_the_next_request(bench: Bench) -> None:
    answered = 0
    for line in hostile_lines(1000, seed=948):
        reply = bench.take(line)
        if reply is not None:
            answered += 1
            assert ("error" in reply) != ("result" in reply)
            assert reply["id"] is None or type(reply["id"]) in (int, str)
        assert bench.ask("ping", "next") == {"jsonrpc": "2.0", "id": "next", "result": {}}
    assert not bench.failures
    assert answered > 500


# Arguments


def member(**about: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"it": about}, "additionalProperties": False}


ARGUMENTS = [
    (member(type="string"), {}, {}),
    (member(type="string"), {"it": None}, {}),
    (member(type=["string", "null"]), {"it": None}, {"it": None}),
    (member(type="integer"), {"it": 5}, {"it": 5}),
    (member(type="integer"), {"it": 5.0}, {"it": 5}),
    (member(type="integer"), {"it": "5"}, {"it": 5}),
    (member(type="integer"), {"it": "-5"}, {"it": -5}),
    (member(type="number"), {"it": "0.5"}, {"it": 0.5}),
    (member(type="boolean"), {"it": "true"}, {"it": True}),
    (member(type="string"), {"it": "5"}, {"it": "5"}),
    (member(type=["integer", "string"]), {"it": "5"}, {"it": "5"}),
    (member(type="array", items={"type": "integer"}), {"it": [1, "2"]}, {"it": [1, 2]}),
    (member(enum=["a", 1]), {"it": 1}, {"it": 1}),
    ({"type": "object"}, {"anything": [1]}, {"anything": [1]}),
]


@pytest.mark.parametrize(("wanted", "given_", "expected"), ARGUMENTS)
def test_arguments_that_fit_reach_the_handler(wanted: Any, given_: Any, expected: Any) -> None:
    checked, problems = schema.check(wanted, given_)
    assert problems == []
    assert json.dumps(checked) == json.dumps(expected)


DEEP = member(type="array", items=member(type="integer", minimum=1))
MISFITS = [
    (member(type="string"), {"it": 5}, "it must be text, not 5"),
    (member(type="integer"), {"it": "x"}, 'it must be a whole number, not "x"'),
    (member(type="integer"), {"it": "5.5"}, 'it must be a whole number, not "5.5"'),
    (member(type="integer"), {"it": " 5"}, 'it must be a whole number, not " 5"'),
    (member(type="integer"), {"it": "1e3"}, 'it must be a whole number, not "1e3"'),
    (member(type="integer"), {"it": "\u0665"}, 'it must be a whole number, not "\u0665"'),
    (member(type="integer"), {"it": 5.5}, "it must be a whole number, not 5.5"),
    (member(type="integer"), {"it": True}, "it must be a whole number, not true"),
    (member(type="number"), {"it": float("inf")}, "it must be a number, not inf"),
    (member(type="boolean"), {"it": 1}, "it must be true or false, not 1"),
    (member(type="array"), {"it": "[]"}, 'it must be a list, not "[]"'),
    (member(type=["string", "array"]), {"it": {}}, "it must be text or a list, not an object"),
    (member(type="integer", maximum=9), {"it": 10}, "it must be at most 9, not 10"),
    (member(type="integer", minimum=1), {"it": "0"}, "it must be at least 1, not 0"),
    (member(type="string", minLength=1), {"it": ""}, "it must have at least 1 characters, not 0"),
    (member(type="string", maxLength=2), {"it": "abc"}, "it must have at most 2 characters, not 3"),
    (member(type="array", maxItems=1), {"it": [1, 2]}, "it must have at most 1 items, not 2"),
    (
        member(type="string", enum=["note", "decision"]),
        {"it": "notes"},
        'it must be one of "note", "decision", not "notes", did you mean "note"?',
    ),
    (member(enum=[1]), {"it": True}, "it must be one of 1, not true"),
    (member(), {"its": 1}, 'unknown argument "its", did you mean "it"?'),
    (member(), {"other": 1}, 'unknown argument "other"'),
    (toy.taking("a", a={"type": "string"}), {}, "a is required (text)"),
    (toy.taking("a", a={"type": "string"}), {"a": None}, "a is required (text)"),
    (DEEP, {"it": [{"it": 1}, {"it": 0}]}, "it[1].it must be at least 1, not 0"),
    (DEEP, {"it": [{"if": 1}]}, 'unknown argument "it[0].if", did you mean "it"?'),
    (member(type="integer"), {"it": "a\x1b[2Jb"}, 'it must be a whole number, not "a\ufffd[2Jb"'),
    (member(type="integer"), {"it": "x" * 99}, f'it must be a whole number, not "{"x" * 40}…"'),
]


@pytest.mark.parametrize(("wanted", "given_", "problem"), MISFITS)
def test_arguments_that_do_not_fit_are_told_the_repair(
    wanted: Any, given_: Any, problem: str
) -> None:
    assert schema.check(wanted, given_)[1] == [problem]


def test_a_misfit_names_the_tool_and_what_it_takes_and_stays_short(bench: Bench) -> None:
    (block,) = bench.call("limited", limt=5)["content"]
    assert block["text"] == (
        'limited was not run: unknown argument "limt", did you mean "limit"?;'
        " limit is required (a whole number)."
        " It takes: limit (a whole number, required)."
    )
    many = {f"unknown{number}" * 20: "x" for number in range(10_000)}
    (block,) = bench.call("limited", limit=1, **many)["content"]
    assert "and 9995 more" in block["text"]
    assert len(block["text"]) < 1000


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-9, 9), st.floats(-9, 9), st.text("ab\0é", max_size=4)
)
TYPES = ["string", "integer", "number", "boolean", "array", "null"]
MEMBERS = st.fixed_dictionaries(
    {},
    optional={
        "type": st.one_of(
            st.sampled_from(TYPES), st.lists(st.sampled_from(TYPES), min_size=1, unique=True)
        ),
        "enum": st.lists(SCALARS, min_size=1, max_size=3),
        "minimum": st.integers(-9, 9),
        "maximum": st.integers(-9, 9),
        "minLength": st.integers(0, 4),
        "maxLength": st.integers(0, 4),
        "items": st.fixed_dictionaries({"type": st.sampled_from(TYPES)}),
        "minItems": st.integers(0, 3),
        "maxItems": st.integers(0, 3),
    },
)
SCHEMAS = st.builds(
    lambda properties, required, closed: {
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": not closed,
    },
    st.dictionaries(st.sampled_from("abc"), MEMBERS),
    st.lists(st.sampled_from("abc"), unique=True),
    st.booleans(),
)
GIVEN = st.dictionaries(st.sampled_from("abcd"), st.one_of(SCALARS, st.lists(SCALARS, max_size=3)))


@given(SCHEMAS, GIVEN)
def test_the_check_agrees_with_the_reference_validator(wanted: Any, arguments: Any) -> None:
    # A null for an optional argument counts as not given, so it is not given here.
    arguments = {name: value for name, value in arguments.items() if value is not None}
    valid = Draft202012Validator(wanted).is_valid(arguments)
    checked, problems = schema.check(wanted, arguments)
    assert (problems == []) == valid
    if valid:
        assert checked == arguments


def test_near_misses_are_near() -> None:
    names = ["content", "wing", "room", "valid_from", "limit"]
    for slip, meant in {
        "contnet": "content",
        "Content": "content",
        "validFrom": "valid_from",
        "valid-from": "valid_from",
        "rooms": "room",
        "limti": "limit",
        "subject": None,
        "": None,
        "x" * 10_000: None,
    }.items():
        assert schema.nearest(slip, names) == meant


def test_a_registry_refuses_two_tools_of_one_name_and_roots_that_are_no_objects() -> None:
    one = TOYS.tools["echo"]
    with pytest.raises(ValueError, match="two tools"):
        Registry("n", "t", "v", "i", [one, one])
    with pytest.raises(ValueError, match="root"):
        Tool({"name": "n", "inputSchema": {"type": "string"}}, one.handler)
