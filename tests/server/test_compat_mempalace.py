"""MemPalace's tools over real stdio servers: their shapes, and the answers that must be true."""

import json
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace
from palatine.mcp import tools
from tests.server.client import Client

WRITERS, EACH = 12, 80
_OFFERED = """
    status list_wings list_rooms get_taxonomy add_drawer get_drawer get_drawers list_drawers
    update_drawer delete_drawer check_duplicate search checkpoint diary_write diary_read kg_add
    kg_query kg_invalidate kg_supersede kg_timeline kg_stats create_tunnel list_tunnels
    follow_tunnels find_tunnels traverse graph_stats reconnect delete_tunnel delete_drawers
    delete_by_source get_aaak_spec hook_settings memories_filed_away
"""
_REFUSED = """
    mine sync list_hallways delete_hallway event_append event_list event_wait event_ack task_create
    patch_submit artifact_put artifact_get mesh_peers
"""
OFFERED, REFUSED = _OFFERED.split(), _REFUSED.split()


def server(palace: Path, *options: str) -> Client:
    command = (sys.executable, "-m", "palatine", "mcp", "--compat", "mempalace")
    client = Client(*command, "--palace", palace, *options)
    client.initialize()
    return client


class Peer:
    """A client that knows MemPalace's tools by their short names."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def result(self, tool: str, **arguments: Any) -> dict[str, Any]:
        return self._client.try_call(f"mempalace_{tool}", **arguments)

    def __call__(self, tool: str, **arguments: Any) -> Any:
        result = self.result(tool, **arguments)
        assert not result["isError"], result
        answer = json.loads(result["content"][0]["text"])
        assert result.get("structuredContent", answer) == answer
        assert ("structuredContent" in result) is isinstance(answer, dict)
        return answer

    def refused(self, tool: str, **arguments: Any) -> str:
        result = self.result(tool, **arguments)
        assert result["isError"], result
        return str(result["content"][0]["text"])

    def add(self, content: str, room: str = "api", wing: str = "shop") -> str:
        return str(self("add_drawer", wing=wing, room=room, content=content)["drawer_id"])

    def fact(self, subject: str, predicate: str, value: str, **dates: str) -> dict[str, Any]:
        given = {"subject": subject, "predicate": predicate, "object": value, **dates}
        added: dict[str, Any] = self("kg_add", **given)
        return added

    def facts(self, entity: str, **how: str) -> list[str]:
        return [fact["object"] for fact in self("kg_query", entity=entity, **how)["active_facts"]]


@pytest.fixture
def ask(tmp_path: Path) -> Iterator[Peer]:
    with server(tmp_path / "palace") as client:
        yield Peer(client)


def test_the_tools_that_answer_are_listed_and_the_others_say_what_to_use(tmp_path: Path) -> None:
    with server(tmp_path / "never-opened") as client:
        listed = client.ask("tools/list")["result"]["tools"]
        assert sorted(tool["name"] for tool in listed) == sorted(f"mempalace_{n}" for n in OFFERED)
        assert len(OFFERED) + len(REFUSED) == 47
        assert len(json.dumps(listed).encode()) <= 20_000
        for name in REFUSED:
            said = Peer(client).refused(name, anything=1)
            assert "does not exist here" in said
            assert len(said) > 60
    assert not (tmp_path / "never-opened").exists()


def test_the_instructions_name_only_tools_that_are_offered() -> None:
    registry = tools.mempalace()
    named = {word.strip("`.,;") for word in registry.instructions.split() if "mempalace_" in word}
    assert named
    assert named <= set(registry.tools)


def test_a_page_lists_all_the_names() -> None:
    page = (Path(__file__).parents[2] / "docs" / "mempalace.md").read_text("utf-8")
    assert all(f"`{name}`" in page for name in OFFERED + REFUSED)


def test_a_read_only_server_offers_what_reads(tmp_path: Path) -> None:
    Palace.open(tmp_path / "palace").close()
    with server(tmp_path / "palace", "--read-only") as client:
        names = {tool["name"] for tool in client.ask("tools/list")["result"]["tools"]}
        assert {"mempalace_search", "mempalace_kg_query"} <= names
        assert not names & {"mempalace_add_drawer", "mempalace_kg_add", "mempalace_delete_tunnel"}


def test_a_server_of_one_wing_sees_and_writes_nothing_else(tmp_path: Path) -> None:
    with Palace.open(tmp_path / "palace") as palace:
        palace.add("secret", wing="lab")
    with server(tmp_path / "palace", "--wing", "shop") as client:
        ask = Peer(client)
        assert "outside" in ask.refused("add_drawer", wing="lab", room="r", content="x")
        ask("diary_write", agent_name="ada", entry="Shipped.")
        assert ask("diary_read", agent_name="ada")["total"] == 1
        assert ask("status")["wings"] == {"shop": 1}


@pytest.mark.parametrize("given", [("--compat",), ("--compat", "other"), ("--compat=",)])
def test_another_kind_of_compat_is_refused(given: tuple[str, ...]) -> None:
    with Client(sys.executable, "-m", "palatine", "mcp", *given) as client:
        assert client.process.wait(30) == 2
        assert "--compat" in client.errors()
        client.end = lambda how=None: 0  # type: ignore[method-assign]


def test_every_answer_has_the_keys_that_mempalace_gives(ask: Peer) -> None:
    def keys(tool: str, wanted: str, **arguments: Any) -> Any:
        answer = ask(tool, **arguments)
        one = answer[0] if isinstance(answer, list) else answer
        assert set(wanted.split()) <= set(one), (tool, one)
        return answer

    place = {"wing": "shop", "room": "api"}
    metadata = "added_by chunk_index filed_at id_recipe last_modified room source_file wing"
    text = {"content": "We chose GraphQL.", "source_file": "/notes/api.md"}
    drawer = keys("add_drawer", "success drawer_id wing room chunks", **place, **text)
    ref = drawer["drawer_id"]
    keys("add_drawer", "success reason drawer_id", **place, **text)
    whole = keys("get_drawer", "drawer_id content wing room metadata", drawer_id=ref)
    assert set(metadata.split()) <= set(whole["metadata"])
    assert whole["metadata"]["source_file"] == "api.md"
    assert whole["metadata"]["added_by"] == "mcp"
    many = keys("get_drawers", "results count errors", drawer_ids=[ref, "none"])
    assert many["results"][0] == whole
    assert (many["count"], many["errors"]) == (2, 1)
    listed = keys("list_drawers", "drawers total count offset limit", **place, limit="5")
    assert {"drawer_id", "wing", "room", "content_preview", "metadata"} <= set(listed["drawers"][0])
    duplicate = keys("check_duplicate", "is_duplicate matches", content=text["content"])
    assert set(duplicate["matches"][0]) == {"id", "wing", "room", "similarity", "content"}
    found = keys("search", "query filters total_before_filter results", query="graphql", **place)
    assert set(found["filters"]) == {"wing", "room", "source_file", "since", "before"}
    hit = """drawer_id text wing room source_file source_path created_at filed_at authored_at
        authored_at_source content_date content_date_source similarity distance effective_distance
        closet_boost matched_via bm25_score"""
    assert set(hit.split()) <= set(found["results"][0])
    entry = {"agent_name": "Ada L", "entry": "Shipped."}
    items = [{**place, "content": text["content"]}, {"wing": "shop"}, {**place, "content": "New."}]
    kept = keys("checkpoint", "added duplicates errors diary", items=items, diary=entry)
    assert [len(kept[name]) for name in ("added", "duplicates", "errors")] == [1, 1, 1]
    assert kept["diary"]["topic"] == "session-checkpoint"
    keys("diary_write", "success entry_id agent topic timestamp chunks", **entry)
    diary = keys("diary_read", "agent entries total showing", agent_name="ADA L", last_n=1)
    assert set(diary["entries"][0]) == {"date", "timestamp", "topic", "content"}
    assert (diary["agent"], diary["total"], diary["showing"]) == ("ada l", 2, 1)
    assert "wing_ada_l" in ask("list_wings")["wings"]
    keys("diary_read", "agent entries message", agent_name="nobody")
    max_works = {"subject": "Max", "predicate": "Works At"}
    added = keys("kg_add", "success triple_id fact created conflicts", **max_works, object="Acme")
    assert added["fact"] == "Max → works_at → Acme"
    seen = keys(
        "kg_query",
        "entity as_of active_facts historical_facts future_facts facts count",
        entity="Max",
    )
    fact = "direction subject predicate object valid_from valid_to confidence source_closet current"
    assert set(fact.split()) <= set(seen["facts"][0])
    after = {"old_object": "Acme", "new_object": "Globex", "at": "2025-06"}
    keys("kg_supersede", "success triple_id fact superseded", **max_works, **after)
    ended = keys(
        "kg_invalidate", "success fact ended", **max_works, object="Globex", ended="2025-07-01"
    )
    assert ended["ended"] == "2025-07-01"
    line = keys("kg_timeline", "entity timeline count total offset limit", limit=1, offset=1)
    assert (line["entity"], line["count"], line["total"]) == ("all", 1, 2)
    keys("kg_stats", "entities triples current_facts expired_facts relationship_types")
    ask.add("Another.", wing="lab")
    ends = {"source_wing": "shop", "source_room": "api", "target_wing": "lab", "target_room": "api"}
    tunnel = """id source target label kind created_at strength stability last_activated
        access_count"""
    link = keys("create_tunnel", tunnel, **ends, label="both", source_drawer_id=ref)
    assert link["source"] == {"wing": "shop", "room": "api", "drawer_id": ref}
    assert link["kind"] == "explicit"
    assert len(link["id"]) == 16
    assert keys("list_tunnels", tunnel, wing="lab")[0]["id"] == link["id"]
    assert ask("list_tunnels", wing="other") == []
    way = "direction connected_wing connected_room label drawer_id tunnel_id drawer_preview"
    assert keys("follow_tunnels", way, wing="lab", room="api")[0]["direction"] == "incoming"
    keys("find_tunnels", "room wings halls count recent", wing_a="shop", wing_b="lab")
    walked = keys("traverse", "room wings halls count hop", start_room="api")
    assert walked[0]["hop"] == 0
    keys(
        "graph_stats",
        """total_rooms total_room_instances tunnel_rooms passive_tunnel_rooms explicit_tunnels
        total_edges total_connections rooms_per_wing top_tunnels""",
    )
    keys("delete_tunnel", "success deleted tunnel_id", tunnel_id=link["id"])
    overview = keys(
        "status",
        """total_drawers wings rooms protocol aaak_dialect backend embedding_device
        sqlite_integrity library_versions updates palace_id seq pending wal_bytes""",
    )
    integrity = "checked ok sqlite_version palace sqlite_path error_count errors"
    assert set(overview["sqlite_integrity"]) == set(integrity.split())
    assert ask("list_rooms")["wing"] == "all"
    assert ask("list_rooms", wing="unknown") == {"wing": "unknown", "rooms": {}}
    assert ask("get_taxonomy")["taxonomy"]["lab"] == {"api": 1}
    connected = "success message drawers vector_disabled vector_disabled_reason before after"
    assert keys("reconnect", connected)["vector_disabled"] is False
    keys("get_aaak_spec", "aaak_spec")
    assert ask("hook_settings")["settings"] == {"silent_save": True, "desktop_toast": False}
    keys("memories_filed_away", "status message count timestamp")
    moved = keys("update_drawer", "success drawer_id wing room", drawer_id=ref, room="old")
    assert (moved["drawer_id"], moved["room"], moved["closets_deleted"]) == (ref, "old", 0)
    assert ask("update_drawer", drawer_id=ref) == {
        "success": True,
        "drawer_id": ref,
        "noop": True,
    }
    dry = keys("delete_by_source", "match_count sample hint", source_file="/notes/api.md")
    assert (dry["dry_run"], dry["match_count"]) == (True, 1)
    gone = keys("delete_by_source", "deleted", source_file="/notes/api.md", dry_run=False)
    assert gone["deleted"] == 1
    one = ask.add("One more.")
    names = "success drawer_id deleted_ids chunks_deleted closets_deleted"
    assert keys("delete_drawer", names, drawer_id=one)["deleted_ids"] == [one]
    two = ask.add("Two more.")
    rest = keys("delete_drawers", "results count deleted errors", drawer_ids=[two, "none"])
    assert (rest["deleted"], rest["errors"]) == (1, 1)


@pytest.mark.parametrize(
    ("tool", "arguments", "success"),
    [
        ("get_drawer", {"drawer_id": "none"}, None),
        ("get_drawers", {"drawer_ids": []}, None),
        ("get_drawers", {"drawer_ids": ["x"] * 501}, None),
        ("delete_drawers", {"drawer_ids": []}, None),
        ("update_drawer", {"drawer_id": "none", "room": "x"}, False),
        ("delete_drawer", {"drawer_id": "none"}, False),
        ("search", {"query": "x", "since": "yesterday"}, None),
        ("diary_write", {"agent_name": "ada"}, False),
        ("hook_settings", {"silent_save": False}, False),
        ("traverse", {"start_room": "none"}, None),
    ],
)
def test_a_failure_is_the_body_that_mempalace_gives_and_marked(
    ask: Peer, tool: str, arguments: dict[str, Any], success: bool | None
) -> None:
    body = json.loads(ask.refused(tool, **arguments))
    assert body["error"]
    assert body.get("success") is success
    assert ("suggestions" in body) or tool != "traverse"


def test_a_call_that_does_not_fit_says_how_to_repair_it(ask: Peer) -> None:
    assert "room is required" in ask.refused("add_drawer", wing="w", content="c")
    assert "unknown argument" in ask.refused("search", query="x", limits=3)
    assert "vector" in ask.refused("search", query="x", candidate_strategy="other")
    assert ask("list_rooms", wing=None)["wing"] == "all"


class TestHonesty:
    """What MemPalace answers otherwise."""

    def test_ending_what_is_not_there_is_an_error_that_names_what_is_near(self, ask: Peer) -> None:
        ask.fact("Max", "works_at", "Acme")
        said = ask.refused("kg_invalidate", subject="Max", predicate="works_at", object="Acne")
        assert "Max works_at Acme" in said

    def test_ending_an_ended_fact_at_another_date_tells_the_date_that_stays(
        self, ask: Peer
    ) -> None:
        ask.fact("Max", "works_at", "Acme", valid_from="2020-01-01", valid_to="2021-01-01")
        names = {"subject": "Max", "predicate": "works_at", "object": "Acme"}
        assert "2021-01-01" in ask.refused("kg_invalidate", **names, ended="2022-02-02")
        (fact,) = ask("kg_query", entity="Max")["historical_facts"]
        assert fact["valid_to"] == "2021-01-01"

    def test_a_known_fact_with_other_dates_is_not_said_to_be_new(self, ask: Peer) -> None:
        ask.fact("Max", "works_at", "Acme", valid_from="2020-01-01")
        for dates in ({"valid_from": "2021-01-01"}, {"valid_to": "2029-01-01"}):
            again = ask.fact("Max", "works_at", "Acme", **dates)
            assert again["created"] is False
            assert again["valid_from"] == "2020-01-01"
            assert again["valid_to"] is None
            assert next(iter(dates.values())) in again["differs"] or "2020" in again["differs"]

    def test_the_same_closed_fact_twice_is_one(self, ask: Peer) -> None:
        dates = {"valid_from": "2020-01-01", "valid_to": "2021-01-01"}
        ids = {ask.fact("Max", "works_at", "Acme", **dates)["triple_id"] for _ in range(2)}
        assert len(ids) == 1
        assert ask("kg_stats")["triples"] == 1

    def test_a_second_value_and_one_that_overlaps_on_a_day_are_conflicts(self, ask: Peer) -> None:
        ask.fact("Max", "lives_in", "Rome", valid_from="2020-01-01", valid_to="2021-01-01")
        overlap = ask.fact("Max", "lives_in", "Oslo", valid_from="2021-01-01")
        assert [each["object"] for each in overlap["conflicts"]] == ["Rome"]
        assert sorted(ask.facts("Max", as_of="2021-01-01")) == ["Oslo", "Rome"]
        ask.fact("Ada", "works_at", "Acme")
        second = ask.fact("Ada", "works_at", "Globex")
        assert [each["object"] for each in second["conflicts"]] == ["Acme"]

    def test_superseding_what_is_not_there_is_an_error_and_by_itself_nothing(
        self, ask: Peer
    ) -> None:
        ask.fact("Max", "works_at", "Acme")
        names = {"subject": "Max", "predicate": "works_at"}
        assert "success" in ask.refused(
            "kg_supersede", **names, old_object="Nope", new_object="Globex"
        )
        same = ask("kg_supersede", **names, old_object="Acme", new_object="Acme")
        assert same["created"] is False
        assert ask("kg_stats")["triples"] == 1

    def test_current_means_true_now(self, ask: Peer) -> None:
        ask.fact("Max", "retires", "then", valid_from="2099-01-01")
        ask.fact("Max", "has", "licence", valid_to="2099-01-01")
        seen = ask("kg_query", entity="Max")
        assert [fact["object"] for fact in seen["active_facts"]] == ["licence"]
        assert [fact["object"] for fact in seen["future_facts"]] == ["then"]
        assert {fact["object"]: fact["current"] for fact in seen["facts"]} == {
            "then": False,
            "licence": True,
        }
        stats = ask("kg_stats")
        assert (stats["current_facts"], stats["expired_facts"]) == (1, 0)

    def test_an_unknown_entity_is_said_to_be_unknown(self, ask: Peer) -> None:
        ask("kg_add", subject="Maximilian Roth", predicate="is", object="known")
        unknown = ask("kg_query", entity="Roth")
        assert (unknown["known"], unknown["count"]) == (False, 0)
        assert unknown["candidates"][0]["name"] == "Maximilian Roth"
        assert ask("kg_query", entity="known")["known"] is True

    def test_names_are_the_stored_ones_and_entities_stay_apart(self, ask: Peer) -> None:
        ask.fact("Max", "works_at", "Acme")
        (fact,) = ask("kg_query", entity="max")["facts"]
        assert fact["subject"] == "Max"
        for one, other in (("O'Brien", "OBrien"), ("new york", "new_york")):
            ask.fact(one, "is", "first")
            ask.fact(other, "is", "second")
            assert ask.facts(one) == ["first"]
            assert ask.facts(other) == ["second"]

    def test_sources_that_were_given_are_returned(self, ask: Peer) -> None:
        drawer = ask.add("It says so.")
        ask.fact("Max", "works_at", "Acme", source_file="a.md", source_drawer_id=drawer)
        (fact,) = ask("kg_query", entity="Max")["facts"]
        assert (fact["source_file"], fact["source_drawer_id"]) == ("a.md", drawer)

    def test_of_two_processes_that_supersede_the_same_fact_one_wins(self, tmp_path: Path) -> None:
        rounds, palace = 20, tmp_path / "palace"
        with server(palace) as one, server(palace) as other:
            peers = [Peer(one), Peer(other)]
            for number in range(rounds):
                peers[0].fact(f"s{number}", "has", "old")
            barrier = threading.Barrier(2)

            def rewrite(who: int) -> list[bool]:
                won = []
                for number in range(rounds):
                    names = {"subject": f"s{number}", "predicate": "has", "old_object": "old"}
                    barrier.wait(30)
                    done = peers[who].result("kg_supersede", **names, new_object=f"new{who}")
                    won.append(not done["isError"])
                return won

            with ThreadPoolExecutor() as pool:
                first, second = pool.map(rewrite, range(2))
            assert all(a != b for a, b in zip(first, second, strict=True))
            for number in range(rounds):
                assert peers[1].facts(f"s{number}") == [f"new{0 if first[number] else 1}"]

    def test_a_text_that_another_drawer_once_held_is_stored(self, ask: Peer) -> None:
        first = ask.add("T1")
        ask("update_drawer", drawer_id=first, content="T2")
        again = ask("add_drawer", wing="shop", room="api", content="T1")
        assert "reason" not in again
        assert ask("get_drawer", drawer_id=again["drawer_id"])["content"] == "T1"
        assert ask("get_drawer", drawer_id=first)["content"] == "T2"

    def test_the_text_of_a_moved_drawer_can_be_put_in_its_old_room(self, ask: Peer) -> None:
        first = ask.add("T1")
        ask("update_drawer", drawer_id=first, room="elsewhere")
        assert ask.add("T1") != first
        assert ask("list_rooms")["rooms"] == {"api": 1, "elsewhere": 1}

    def test_a_link_the_other_way_round_shows_the_one_there_is(self, ask: Peer) -> None:
        drawer, _ = ask.add("a", "r1"), ask.add("b", "r2")
        one = {"source_wing": "shop", "source_room": "r1", "target_wing": "shop"}
        link = ask("create_tunnel", **one, target_room="r2", label="x", source_drawer_id=drawer)
        back = {"source_wing": "shop", "source_room": "r2", "target_wing": "shop"}
        again = ask("create_tunnel", **back, target_room="r1", label="y")
        assert (again["created"], again["label"], again["id"]) == (False, "x", link["id"])
        assert again["source"] == link["source"]
        assert "'x', not 'y'" in again["differs"]
        assert drawer in again["differs"]
        assert len(ask("list_tunnels")) == 1
        assert "error" in ask.refused("create_tunnel", **one, target_room="nowhere")

    def test_a_limit_that_is_cut_is_said_to_be(self, tmp_path: Path) -> None:
        with Palace.open(tmp_path / "palace") as palace:
            for number in range(102):
                palace.add(f"text {number}")
        with server(tmp_path / "palace") as client:
            ask = Peer(client)
            page = ask("list_drawers", limit=500)
            assert (page["limit"], page["count"], page["total"]) == (100, 100, 102)
            assert "500" in page["note"]
            rest = ask("list_drawers", limit=100, offset=100, since="2000-01-01")
            assert (rest["count"], rest["total"]) == (2, 102)
            assert "note" not in rest
            ids = {each["drawer_id"] for each in page["drawers"] + rest["drawers"]}
            assert len(ids) == 102

    def test_no_question_is_an_error_and_no_match_has_no_hits(self, ask: Peer) -> None:
        ask.add("The staging key is PAYMENT_KEY_7F3.")
        assert "query" in ask.refused("search", query="")
        assert "query" in ask.refused("search", query="   ")
        assert all(hit["bm25_score"] == 0 for hit in ask("search", query="zzyzx")["results"])
        (hit,) = ask("search", query="PAYMENT_KEY_7F3")["results"]
        assert hit["bm25_score"] == 1
        assert hit["distance"] == pytest.approx(1 - hit["similarity"])


def test_a_second_writer_writes_and_each_sees_the_others_writes_at_once(tmp_path: Path) -> None:
    palace = tmp_path / "palace"
    with server(palace) as one, server(palace) as other:
        a, b = Peer(one), Peer(other)
        first = a.add("From A.", "r1")
        assert b("get_drawer", drawer_id=first)["content"] == "From A."
        second = b.add("From B.", "r2")
        assert a("get_drawer", drawer_id=second)["content"] == "From B."
        b("diary_write", agent_name="bob", entry="Hello.")
        assert a("diary_read", agent_name="bob")["entries"][0]["content"] == "Hello."
        ends = {"source_wing": "shop", "source_room": "r1", "target_wing": "shop"}
        link = b("create_tunnel", **ends, target_room="r2", label="l")
        assert [each["id"] for each in a("list_tunnels")] == [link["id"]]
        kept = b("checkpoint", items=[{"wing": "shop", "room": "r3", "content": "Checked."}])
        (added,) = kept["added"]
        assert a("get_drawer", drawer_id=added["drawer_id"])["metadata"]["added_by"] == "checkpoint"
        b.fact("Max", "works_at", "Acme")
        assert a.facts("Max") == ["Acme"]
        b("update_drawer", drawer_id=first, content="From A, changed by B.")
        assert a("get_drawer", drawer_id=first)["content"] == "From A, changed by B."
        b("delete_drawer", drawer_id=first)
        assert "error" in a.refused("get_drawer", drawer_id=first)


def test_twelve_servers_on_a_fresh_folder_lose_no_acknowledged_fact(tmp_path: Path) -> None:
    palace = tmp_path / "palace"
    clients = [server(palace) for _ in range(WRITERS)]
    barrier = threading.Barrier(WRITERS)

    def write(who: int) -> tuple[set[str], int]:
        with clients[who] as client:
            ask, acknowledged, won = Peer(client), set(), 0
            barrier.wait(60)
            for number in range(EACH):
                acknowledged.add(ask.fact(f"s{who}", "wrote", f"o{number}")["triple_id"])
            barrier.wait(300)
            if who == 0:
                ask.fact("shared", "is", "v")
            barrier.wait(60)
            names = {"subject": "shared", "predicate": "is", "old_object": "v"}
            won = not ask.result("kg_supersede", **names, new_object=f"v{who}")["isError"]
            return acknowledged, won

    with ThreadPoolExecutor(WRITERS) as pool:
        ledgers = list(pool.map(write, range(WRITERS)))
    acknowledged = set().union(*(ledger for ledger, _ in ledgers))
    assert len(acknowledged) == WRITERS * EACH
    assert sum(won for _, won in ledgers) == 1
    with server(palace) as client:
        ask = Peer(client)
        stored, offset = set(), 0
        while page := ask("kg_timeline", offset=offset)["timeline"]:
            stored |= {fact["id"] for fact in page}
            offset += len(page)
        assert acknowledged <= stored
        assert len(stored) == offset == WRITERS * EACH + 2
        assert len(ask.facts("shared")) == 1
