"""The HTTP server: who gets in, what is answered, how it ends, and many clients at once."""

import asyncio
import json
import re
import signal
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from mcp import Client as SdkClient
from mcp.client.streamable_http import streamable_http_client

from palatine import Palace
from palatine.cli import main
from palatine.mcp import tools
from palatine.mcp.tokens import Tokens
from tests.server.client import WAIT_SECONDS, Client
from tests.server.http_client import Served, Session, eventually, messages

pytestmark = pytest.mark.network
LOCKS = Path("/proc/locks")
MCP = [sys.executable, "-m", "palatine", "mcp", "--palace"]
TOYS = ("-m", "tests.server.fixtures")
ERAS = pytest.mark.parametrize("modern", [False, True], ids=["handshake", "modern"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server for all tests that can live with what others left in the palace."""
    with Served(tmp_path_factory.mktemp("shared") / "palace") as server:
        yield server


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    with Served(tmp_path / "palace") as server:
        yield server


@pytest.fixture(scope="module", params=[False, True], ids=["handshake", "modern"])
def toy_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Served, bool]]:
    """A server that offers the toys, and whether clients speak the modern era."""
    palace = tmp_path_factory.mktemp("toys") / "palace"
    with Served(palace, palace, "toys", command=TOYS) as server:
        yield server, request.param


@pytest.fixture(scope="module")
def toys(toy_server: tuple[Served, bool]) -> Callable[[], Session]:
    """Makes clients, all of one era, of a server that offers the toys."""
    server, modern = toy_server
    return lambda: server.session(token="", modern=modern)


# Who gets in


def test_every_route_asks_for_the_right_host_and_origin(shared: Served) -> None:
    key = {"Authorization": f"Bearer {shared.token()}"}
    for path in ("/mcp", "/health", "/", "/nothing"):
        for host in (
            "evil.example",
            "evil.example:8765",
            "localhost.evil.example",
            "",
            "[::1",
            "@",
        ):
            assert shared.get(path, Host=host, **key)[0] == 421, (path, host)
        for origin in ("http://evil.example", "null", "https://127.0.0.1.evil.example", ""):
            assert shared.get(path, Origin=origin, **key)[0] == 403, (path, origin)
    for host in ("localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:8765"):
        assert shared.get("/health", Host=host) == (200, '{"status":"ok"}')
    assert shared.get("/health", Origin="http://localhost:6274")[0] == 200


def test_every_route_but_health_asks_for_a_token(shared: Served) -> None:
    secret = shared.token()
    wrong = [
        "",
        "Bearer",
        "Bearer ",
        f"Bearer {secret}x",
        f"Bearer {secret[:-1]}",
        f"Basic {secret}",
    ]
    for path in ("/mcp", "/", "/nothing", "/health/", "//health"):
        for given in [*wrong, secret, "Bearer \xff\xfe"]:
            status, body = shared.get(path, Authorization=given)
            assert (status, secret in body) == (401, False), (path, given)
        assert shared.get(path)[0] == 401
    for method in ("POST", "DELETE", "OPTIONS", "PUT"):
        assert shared.send(method, "/mcp", b"{}", {})[0] == 401
    assert shared.get("/nothing", Authorization=f"bearer  {secret}")[0] == 404


def test_the_files_of_tokens_are_for_their_owner_only(shared: Served) -> None:
    folder = shared.palace / "tokens"
    assert folder.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in folder.iterdir()] == [0o600]
    assert shared.token() not in shared.errors()


def test_a_running_server_heeds_new_rotated_and_removed_tokens(shared: Served) -> None:
    def opens(secret: str) -> bool:
        return shared.get("/nothing", Authorization=f"Bearer {secret}")[0] == 404

    tokens = Tokens(shared.palace)
    added = tokens.add("other")
    assert opens(added.secret)
    rotated = tokens.rotate("other")
    assert opens(rotated.secret)
    assert not opens(added.secret)
    assert opens(shared.token())
    tokens.remove("other")
    assert not opens(rotated.secret)


def test_a_palace_that_is_away_is_not_a_wrong_token_and_is_waited_for(server: Served) -> None:
    key, away = f"Bearer {server.token()}", server.palace.with_name("away")
    stream = listen(server, "palatine://status")
    server.palace.rename(away)
    assert server.get("/nothing", Authorization=key) == (503, "The palace cannot be reached")
    assert server.get("/health")[0] == 503
    away.rename(server.palace)
    assert server.get("/nothing", Authorization=key)[0] == 404
    with Client(*MCP, server.palace) as client:
        client.call("add_drawer", text="afterwards")
    assert next(stream)["params"]["uri"] == "palatine://status"


def test_a_second_start_makes_no_token_and_one_to_read_only_offers_no_writer(
    tmp_path: Path,
) -> None:
    with Served(tmp_path / "palace") as server:
        first = server.token()
        assert "made the first token" in server.errors()
    with Served(tmp_path / "palace", "--read-only") as server:
        assert (server.token(), server.errors()) == (first, "")
        offered = server.session().ask("tools/list")["result"]["tools"]
        assert all(tool["annotations"]["readOnlyHint"] for tool in offered)
        assert server.session(modern=True).call("status")["drawers"] == 0


def test_a_session_belongs_to_the_token_that_opened_it(shared: Served) -> None:
    other = Tokens(shared.palace).add("stranger")
    mine = shared.session()
    assert mine.ask("ping")["result"] == {}
    mine.headers["Authorization"] = f"Bearer {other.secret}"
    response = mine.begin("ping")
    assert response.status == 404
    assert "Session not found" in response.read().decode()


@ERAS
def test_a_read_only_token_is_offered_no_writer_and_refused_one(
    shared: Served, modern: bool
) -> None:
    key = Tokens(shared.palace).add(f"reader-{modern}", read_only=True).secret
    reading = shared.session(token=key, modern=modern)
    offered = {tool["name"]: tool for tool in reading.ask("tools/list")["result"]["tools"]}
    every = tools.registry().tools
    hint = {name: tool.definition["annotations"]["readOnlyHint"] for name, tool in every.items()}
    assert set(offered) == {name for name in every if hint[name]}
    for name in set(every) - set(offered):
        error = reading.ask("tools/call", {"name": name, "arguments": {}})["error"]
        assert (error["code"], error["message"][:12]) == (-32602, "Unknown tool")
    writing = shared.session(modern=modern)
    for asked, names in ((reading, set(offered)), (writing, set(every))):
        greeting = asked.ask("server/discover")["result"] if modern else asked.initialized["result"]
        told = greeting["instructions"]
        assert {name for name in every if re.search(rf"\\b{name}\\b", told)} <= names
        assert ("add_drawer" in told) == (asked is writing)
    assert len(writing.ask("tools/list")["result"]["tools"]) == len(every)
    id_ = writing.call("add_drawer", text=f"kept {modern}")["id"]
    assert reading.call("get_drawer", id=id_)["text"] == f"kept {modern}"
    asking = {prompt["name"] for prompt in reading.ask("prompts/list")["result"]["prompts"]}
    assert asking < {prompt["name"] for prompt in writing.ask("prompts/list")["result"]["prompts"]}


@ERAS
def test_a_token_of_a_wing_sees_and_writes_nothing_else(shared: Served, modern: bool) -> None:
    wing, other = f"app-{modern}", f"other-{modern}"
    whole = shared.session(modern=modern)
    hidden = whole.call("add_drawer", text="the secret fox", wing=other)["id"]
    whole.call("kg_add", subject=f"Fox {modern}", predicate="lives_in", object="Den", wing=other)
    key = Tokens(shared.palace).add(wing, wing=wing).secret
    scoped = shared.session(token=key, modern=modern)
    added = scoped.call("add_drawer", text="our own fox")
    assert added["wing"] == wing
    scoped.call("kg_add", subject="Hen", predicate="lives_in", object="Coop")
    assert [hit["id"] for hit in scoped.call("search", query="fox")["hits"]] == [added["id"]]
    assert [fact["subject"] for fact in scoped.call("kg_timeline")["facts"]] == ["Hen"]
    assert scoped.call("kg_query", entity=f"Fox {modern}")["facts"] == []
    assert list(scoped.call("status")["wings"]) == [wing]
    place = str(shared.palace)[:30]  # a briefing cuts it
    for tool in ("status", "wake_up"):
        assert place in json.dumps(whole.call(tool))
        assert place not in json.dumps(scoped.call(tool))
    for refused in (
        scoped.try_call("get_drawer", id=hidden),
        scoped.try_call("add_drawer", text="x", wing=other),
        scoped.try_call("delete_drawer", ids=[hidden]),
    ):
        assert refused["isError"]
        assert "secret" not in str(refused)
    read = scoped.ask("resources/read", {"uri": f"palatine://drawer/{hidden}"})
    assert "secret" not in str(read)
    assert read["error"]["code"] in (-32602, -32002)
    assert whole.call("get_drawer", id=hidden)["text"] == "the secret fox"


REFUSED = [
    (["--host", "0.0.0.0"], "tokens would travel unencrypted"),
    (["--host", "192.0.2.1"], "tokens would travel unencrypted"),
    (["--host", "::"], "tokens would travel unencrypted"),
    (["--host", "0.0.0.0", "--behind-proxy"], "name it with --allow-host"),
    (["--host", "example.org"], "is no address"),
    (["--host", "192.0.2.1", "--behind-proxy"], "cannot be listened on"),
    (["--certfile", "missing.pem"], "does not exist"),
]


@pytest.mark.parametrize(("options", "why"), REFUSED)
def test_it_does_not_begin_where_tokens_would_not_be_safe(
    options: list[str], why: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve", "--palace", str(tmp_path / "p"), "--port", "0", *options]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert why in told.err
    assert not (tmp_path / "p").exists()


@pytest.mark.parametrize(
    ("option", "said"),
    [("--certfile", "cannot be used for TLS"), ("--keyfile", "--keyfile needs the --certfile")],
)
def test_what_is_no_certificate_is_refused_in_words(
    option: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "x.pem").write_text("no certificate")
    place = str(tmp_path / "palace")
    given = ["--palace", place, "--port", "0", option, str(tmp_path / "x.pem")]
    assert main(["serve", *given]) == 2
    assert said in capsys.readouterr().err


def test_with_a_certificate_it_speaks_https_and_goes_by_its_names_only(tmp_path: Path) -> None:
    certificate, key = self_signed(tmp_path)
    secured = ("--certfile", certificate, "--keyfile", key)
    names = ("--host", "0.0.0.0", "--allow-host", "Memory.Example.org")
    with Served(tmp_path / "palace", *secured, *names) as server:
        assert server.url.startswith("https://")
        tls = ssl.create_default_context(cafile=certificate)
        tls.check_hostname = False
        for host, status in (("memory.example.org", 200), ("localhost", 421), ("evil.org", 421)):
            connection = server.connect(tls)
            forwarded = {"Host": host, "X-Forwarded-Host": "memory.example.org"}
            connection.request("GET", "/health", headers=forwarded)
            assert connection.getresponse().status == status


def self_signed(folder: Path) -> tuple[str, str]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    names = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(names, critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    files = folder / "cert.pem", folder / "key.pem"
    files[0].write_bytes(certificate.public_bytes(pem))
    plain = serialization.NoEncryption()
    files[1].write_bytes(key.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return str(files[0]), str(files[1])


# What is answered


def script(ids: dict[str, str]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Calls of every tool, good and bad; what an earlier one answered stands in `ids`."""
    fact = {"subject": "Max", "predicate": "works_at"}
    yield "status", {}
    yield "add_drawer", {"text": "We ship on Fridays.", "wing": "app", "room": "plans"}
    yield "add_drawer", {"text": "We ship on Fridays.", "wing": "app", "room": "plans"}
    yield "add_drawer", {"text": "The carrier rests. ☂\u2028", "said_at": "2025-03", "agent": "ann"}
    yield "add_drawer", {"text": ""}
    yield "search", {"query": "fridays carrier"}
    yield "search", {"query": "fridays", "limit": "x", "wnig": "app"}
    yield "get_drawer", {"id": ids.get("add_drawer", "none")}
    yield "get_drawer", {"id": "nothing-here"}
    yield "list_drawers", {"wing": "app"}
    yield "update_drawer", {"id": ids.get("add_drawer", "none"), "room": "weather"}
    yield "check_duplicate", {"text": "We ship on Fridays."}
    yield "get_taxonomy", {}
    yield "kg_add", {**fact, "object": "Acme", "valid_from": "2024-03"}
    yield "kg_add", {**fact, "object": "Acme", "valid_from": "not a time"}
    yield "kg_supersede", {**fact, "old": "Acme", "new": "Initech", "at": "2025-01"}
    yield "kg_query", {"entity": "Max", "as_of": "2024-06"}
    yield "kg_timeline", {}
    yield "kg_stats", {}
    yield "kg_invalidate", {**fact, "object": "Initech", "ended": "2025-06"}
    yield "kg_invalidate", {**fact, "object": "Nobody"}
    yield "diary_write", {"text": "Learned a lot.", "agent": "ann"}
    yield "diary_read", {"agent": "ann"}
    yield "link", {"source": "app/plans", "target": "personal/weather"}
    yield "link", {"action": "list"}
    yield "wake_up", {}
    yield "delete_drawer", {"ids": [ids.get("add_drawer", "none")]}
    yield "undo", {"seq": 1}
    yield "undo", {"seq": 10_000}
    yield "changes", {"limit": 1000}
    yield "reconnect", {}
    yield "status", {"nonsense": 1}


def bodies(asking: Any) -> list[tuple[str, dict[str, Any], Any]]:
    """What the script is answered, without what differs from one run to the next."""
    ids: dict[str, str] = {}
    told = []
    for step in range(len(list(script({})))):
        name, given = list(script(ids))[step]
        result = asking("tools/call", {"name": name, "arguments": given})["result"]
        if name == "add_drawer" and not result.get("isError"):
            ids[name] = result["structuredContent"]["id"]
        told.append((name, given, masked(result)))
    return told


def masked(result: dict[str, Any]) -> Any:
    kept = {key: value for key, value in result.items() if key not in ("_meta", "resultType")}
    text = json.dumps(kept, sort_keys=True)
    text = re.sub(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?Z)?", "TIME", text)
    text = re.sub(r"\b[0-9a-f]{16,}\b", "ID", text)
    return re.sub(r'(bytes\\?": ?)\d+', r"\1N", text)


@ERAS
def test_each_tool_answers_as_it_does_on_standard_input(modern: bool, tmp_path: Path) -> None:
    assert {name for name, _ in script({})} == set(tools.registry().tools)
    palace = tmp_path / "palace"
    with Client(*MCP, palace) as local:
        local.initialize()
        expected = bodies(local.ask_modern if modern else local.ask)
    palace.rename(tmp_path / "before")
    with Served(palace) as server:
        seen = bodies(server.session(modern=modern).ask)
    for ours, theirs in zip(expected, seen, strict=True):
        assert ours == theirs


LISTS = ("tools/list", "prompts/list", "resources/list", "resources/templates/list")
ASKED: list[tuple[str, dict[str, Any]]] = [
    *((method, {}) for method in LISTS),
    ("tools/list", {"cursor": "beyond"}),
    ("resources/read", {"uri": "palatine://wing/app"}),
    ("resources/read", {"uri": "palatine://entity/Nobody"}),
    ("resources/read", {"uri": "nothing://here"}),
    ("prompts/get", {"name": "recall", "arguments": {"about": "ships"}}),
    ("prompts/get", {"name": "recall", "arguments": {}}),
    ("prompts/get", {"name": "no such", "arguments": {}}),
    ("tools/call", {"name": "serach", "arguments": {}}),
    ("no/such", {}),
]


@ERAS
def test_everything_else_is_answered_as_on_standard_input(shared: Served, modern: bool) -> None:
    shared.session().call("add_drawer", text="We ship on Fridays.", wing="app")
    with Client(*MCP, shared.palace) as local:
        local.initialize()
        remote = shared.session(modern=modern)
        for method, params in ASKED:
            expected = (local.ask_modern if modern else local.ask)(method, params)
            seen = remote.ask(method, params)
            for key in ("jsonrpc", "result", "error"):
                assert seen.get(key) == expected.get(key), (method, params)


@pytest.mark.parametrize("mode", ["auto", "legacy", "2026-07-28"])
def test_the_official_client_works_in_every_mode(mode: str, shared: Served) -> None:
    async def talk() -> None:
        headers = {"Authorization": f"Bearer {shared.token()}"}
        async with httpx2.AsyncClient(headers=headers, timeout=WAIT_SECONDS) as connection:
            remote = streamable_http_client(shared.url, http_client=connection)
            async with SdkClient(remote, mode=mode) as client:
                assert len((await client.list_tools()).tools) == len(tools.registry().tools)
                added = await client.call_tool("add_drawer", {"text": f"told {mode}"})
                assert added.structured_content is not None
                id_ = added.structured_content["id"]
                found = await client.call_tool("get_drawer", {"id": id_})
                assert found.structured_content is not None
                assert found.structured_content["text"] == f"told {mode}"
                read = await client.read_resource(f"palatine://drawer/{id_}")
                assert f"told {mode}" in read.contents[0].text  # type: ignore[union-attr]
                assert (await client.get_prompt("recall", {"about": "x"})).messages

    asyncio.run(asyncio.wait_for(talk(), WAIT_SECONDS))


@ERAS
def test_the_clients_name_and_session_are_the_provenance(shared: Served, modern: bool) -> None:
    session = shared.session(modern=modern)
    before = session.call("status")["seq"]
    session.call("add_drawer", text=f"by the client {modern}")
    given = {"name": "add_drawer", "arguments": {"text": f"in a session {modern}"}}
    session.ask("tools/call", given | {"_meta": {"sessionId": "s1"}})
    session.call("add_drawer", text=f"by somebody {modern}", agent="ann", session="s2")
    client = "test-client" if modern else "test"
    with Palace.open(shared.palace) as palace:
        told = [(change.agent, change.session) for change in palace.changes(after=before)]
    assert told == [(client, ""), (client, "s1"), ("ann", "s2")]


def test_a_text_of_ten_megabytes_passes_and_a_longer_body_is_refused(shared: Served) -> None:
    text = "ü\x01" * 5_000_000
    ids = {shared.session(modern=modern).call("add_drawer", text=text)["id"] for modern in (0, 1)}
    with Palace.open(shared.palace) as palace:
        assert [palace.get(id_).text for id_ in ids] == [text]
    key = {"Authorization": f"Bearer {shared.token()}", "Content-Length": str(64 * 2**20 + 1)}
    assert shared.send("POST", "/mcp", None, key)[0] == 413
    assert shared.session().call("status")["drawers"] > 0


def test_lone_surrogates_arrive_where_the_era_can_say_them(shared: Served) -> None:
    modern = shared.session(modern=True)
    id_ = modern.call("add_drawer", text="a \ud800 b")["id"]
    assert modern.call("get_drawer", id=id_)["text"] == "a \ud800 b"
    assert shared.session().call("get_drawer", id=id_)["text"] == "a ? b"


def test_errors_tell_neither_paths_nor_code(server: Served) -> None:
    sessions = [server.session(modern=modern) for modern in (False, True)]
    for path in server.palace.glob("palace.db*"):
        path.unlink()
    told = [server.get("/health")[1]]
    for session in sessions:
        refused = session.try_call("add_drawer", text="x")
        assert refused["isError"]
        read = session.ask("resources/read", {"uri": "palatine://wing/app"})
        assert read["error"]["code"] == -32603
        told += [json.dumps(refused), json.dumps(read)]
    for text in told:
        assert str(server.palace.parent) not in text
        assert not re.search(r"SELECT|Traceback|\.py", text)
    assert server.get("/health")[0] == 503


def test_a_fault_of_ours_is_an_error_without_its_reason(
    toys: Callable[[], Session], toy_server: tuple[Served, bool]
) -> None:
    session = toys()
    for tool in ("fail", "leave", "not_an_object", "not_a_number"):
        error = session.ask("tools/call", {"name": tool})["error"]
        assert (error["code"], error["message"]) == (-32603, "Internal error")
    assert session.call("echo", a=1) == {"a": 1}
    assert "the secret reason" in toy_server[0].errors()  # the log has what clients are not told


def test_progress_comes_in_order_and_before_the_reply(toys: Callable[[], Session]) -> None:
    asked = {"name": "count", "_meta": {"progressToken": "p"}}
    told = list(messages(toys().begin("tools/call", asked)))
    assert [each.get("params", {}).get("progress") for each in told] == [0, 50, 100, None]
    assert told[-1]["result"]["isError"] is False


def test_a_call_that_its_client_leaves_or_cancels_stops(toys: Callable[[], Session]) -> None:
    leaving = toys()
    asked = {"name": "until_cancelled", "_meta": {"progressToken": 1}}
    assert next(messages(leaving.begin("tools/call", asked)))["params"]["progress"] == 1
    if leaving.modern:
        leaving.close()  # in that era this is the way
    else:
        same = toys()
        same.headers = leaving.headers
        told = {"method": "notifications/cancelled", "params": {"requestId": 1}}
        assert same.post({"jsonrpc": "2.0", **told}).status == 202
    assert toys().call("notices") == {"noticed": True}


def test_a_slow_call_delays_neither_a_quick_one_nor_a_list(toys: Callable[[], Session]) -> None:
    slow, quick, kept = toys(), toys(), []
    waiting = threading.Thread(target=lambda: kept.append(slow.call("wait")))
    waiting.start()
    assert quick.call("echo", a=1) == {"a": 1}
    assert quick.ask("tools/list")["result"]["tools"]
    quick.call("release")
    waiting.join(WAIT_SECONDS)
    assert kept == [{"released": True}]


# Streams


def listen(server: Served, *uris: str, token: str | None = None) -> Any:
    """A stream of what changes; the acknowledgement has been read."""
    wanted = {"resourceSubscriptions": list(uris), "resourcesListChanged": not uris}
    session = server.session(token=token, modern=True)
    stream = messages(session.begin("subscriptions/listen", {"notifications": wanted}))
    assert next(stream)["method"] == "notifications/subscriptions/acknowledged"
    return stream


def test_listeners_hear_of_what_is_theirs_and_of_the_end(server: Served) -> None:
    key = Tokens(server.palace).add("app", wing="app").secret
    scoped = listen(server, "palatine://status", token=key)
    whole = listen(server, "palatine://status")
    with Client(*MCP, server.palace) as other:
        other.call("add_drawer", text="elsewhere", wing="other")
        told = next(whole)
        assert told["method"] == "notifications/resources/updated"
        assert told["params"]["uri"] == "palatine://status"
        other.call("add_drawer", text="here", wing="app")
    assert next(scoped)["params"]["uri"] == "palatine://status"
    server.process.send_signal(signal.SIGTERM)
    [last] = list(scoped)
    assert last["result"]["resultType"] == "complete"


@pytest.mark.parametrize("end", [Tokens.remove, Tokens.rotate])
def test_a_stream_ends_with_its_token_and_others_go_on(
    server: Served, end: Callable[[Tokens, str], object]
) -> None:
    tokens = Tokens(server.palace)
    ended = listen(server, "palatine://status", token=tokens.add("one").secret)
    other = listen(server, "palatine://status", token=tokens.add("other").secret)
    end(tokens, "one")
    [last] = list(ended)
    assert last["result"]["resultType"] == "complete"
    (server.palace / "tokens" / "damaged").write_text("[]")  # shuts nobody out
    with Client(*MCP, server.palace) as client:
        client.call("add_drawer", text="afterwards")
    assert next(other)["params"]["uri"] == "palatine://status"


# The end


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_with_streams_open(how: signal.Signals, tmp_path: Path) -> None:
    with Served(tmp_path / "palace") as server:
        held = [listen(server), standing(server), server.session(), server.session(modern=True)]
        assert server.end(how) == 0
        del held


def standing(server: Served) -> Any:
    """The stream of a session, which stays open for ever."""
    session = server.session()
    connection = server.connect()
    connection.request("GET", "/mcp", headers=session.headers)
    response = connection.getresponse()
    server.held.append(response)
    assert response.status == 200
    return response


HOLD = """
import sys
from palatine import Palace
from palatine.types import Author
with Palace.open(sys.argv[1]) as palace, palace._store.write(Author("holder")):
    print("held", flush=True)
    sys.stdin.readline()
"""


class holding:
    """A process that has the writer lock until it is told to let go."""

    def __init__(self, palace: Path) -> None:
        command = [sys.executable, "-c", HOLD, str(palace)]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "held\n"

    def __enter__(self) -> "holding":
        return self

    def let_go(self) -> None:
        self.process.communicate("\n", timeout=WAIT_SECONDS)
        assert self.process.returncode == 0

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.communicate()


WRITE = {"name": "add_drawer", "arguments": {"text": "in flight"}}


def writing(server: Served) -> Any:
    """A write that a session has begun and that waits: what it will be told."""
    response = server.session().begin("tools/call", WRITE)
    assert response.status == 200
    return messages(response)


def writing_too(server: Served) -> tuple[threading.Thread, list[Any]]:
    """A thread with such a write in the modern era, and what it is told."""
    session, told = server.session(modern=True), []

    def write() -> None:
        try:
            told.append(session.ask("tools/call", WRITE))
        except (OSError, AssertionError, ValueError) as error:
            told.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    eventually(lambda: waits_for_the_lock(server.process.pid))
    return thread, told


def waits_for_the_lock(pid: int) -> bool:
    lines = LOCKS.read_text("ascii").splitlines()
    return any("->" in line.split() and str(pid) in line.split() for line in lines)


def is_leaving(server: Served) -> bool:
    try:
        return server.get("/health")[0] == 503
    except OSError:
        return True


@pytest.mark.skipif(not LOCKS.exists(), reason="the list of locks is Linux's")
def test_calls_in_flight_are_answered_before_the_end(server: Served) -> None:
    with holding(server.palace) as holder:
        thread, told = writing_too(server)
        first = writing(server)
        server.process.send_signal(signal.SIGTERM)
        eventually(lambda: is_leaving(server))
        holder.let_go()
        told += list(first)
        thread.join(WAIT_SECONDS)
    created = [reply["result"]["structuredContent"]["created"] for reply in told]
    assert sorted(created) == [False, True]
    assert server.process.wait(WAIT_SECONDS) == 0
    with Palace.open(server.palace) as palace:
        assert [drawer.text for drawer in palace.list()] == ["in flight"]


@pytest.mark.skipif(not LOCKS.exists(), reason="the list of locks is Linux's")
def test_it_ends_though_calls_in_flight_never_do(server: Served) -> None:
    with holding(server.palace) as holder:
        thread, told = writing_too(server)
        first = writing(server)
        assert server.end() == 0
        thread.join(WAIT_SECONDS)
        holder.let_go()
        told += list(first)
    assert "structuredContent" not in str(told)
    with Palace.open(server.palace) as palace:
        assert len(palace.list()) == 0


# Many at once

CLIENTS, CALLS = 12, 10


def test_many_clients_and_servers_write_to_one_palace_and_nothing_is_lost(server: Served) -> None:
    """Half of them speak HTTP, in either era, half run a server of their own."""
    gate = threading.Barrier(CLIENTS)
    ledger: list[str] = []
    faults: list[BaseException] = []

    def work(number: int) -> None:
        try:
            if number % 2:
                with Client(*MCP, server.palace) as local:
                    local.initialize()
                    deeds(number, local)
            else:
                deeds(number, server.session(modern=number % 4 == 0))
        except BaseException as fault:
            gate.abort()
            faults.append(fault)
            raise

    def deeds(number: int, client: Session | Client) -> None:
        gate.wait(WAIT_SECONDS)
        for step in range(CALLS):
            name = f"deed {number} {step}"
            added = client.call("add_drawer", text=name, wing="app")
            assert added["created"]
            fact = client.call("kg_add", subject=name, predicate="was_done_by", object=str(number))
            assert fact["created"]
            hits = client.call("search", query=f'"{name}"', limit=1)["hits"]
            assert hits[0]["id"] == added["id"]  # what was acknowledged is seen
            ledger.append(name)

    threads = [threading.Thread(target=work, args=[number]) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert not faults
    assert len(ledger) == CLIENTS * CALLS
    with Palace.open(server.palace) as palace:
        assert sorted(palace.get(drawer.id).text for drawer in every(palace)) == sorted(ledger)
        facts = palace.knowledge.timeline(limit=1000)
        assert sorted(fact.subject for fact in facts) == sorted(ledger)
        assert palace.check() == []


def every(palace: Palace) -> Iterator[Any]:
    cursor = ""
    while page := palace.list(limit=1000, cursor=cursor):
        yield from page
        cursor = page.cursor
        if not cursor:
            return


@pytest.mark.skipif(not LOCKS.exists(), reason="the list of locks is Linux's")
def test_readers_do_not_wait_while_every_writer_waits(server: Served) -> None:
    server.session().call("add_drawer", text="the fox")
    with holding(server.palace) as holder:
        thread, told = writing_too(server)
        waiting = [writing(server) for _ in range(11)]  # more than there are threads that write
        reader = server.session(modern=True)
        assert len(reader.call("search", query="fox")["hits"]) == 1
        assert reader.call("status")["drawers"] == 1
        assert server.get("/health")[0] == 200
        holder.let_go()
        told += [reply for stream in waiting for reply in stream]
        thread.join(WAIT_SECONDS)
    created = [reply["result"]["structuredContent"]["created"] for reply in told]
    assert (len(created), sum(created)) == (12, 1)
