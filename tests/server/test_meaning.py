"""Search by meaning through the server: what it answers, and that it embeds what others write."""

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from palatine import NewDrawer, Palace
from tests.server.client import WAIT_SECONDS, Client


@pytest.fixture
def palace(tmp_path: Path) -> Path:
    return tmp_path / "palace"


def server(palace: Path, embedder: str) -> Client:
    environment = os.environ | {"PALATINE_EMBEDDER": embedder}
    command = (sys.executable, "-m", "palatine", "mcp", "--palace", palace)
    return Client(*command, env=environment)


@pytest.fixture
def client(palace: Path) -> Iterator[Client]:
    with server(palace, "hashing") as connected:
        connected.initialize(name="claude-code")
        yield connected


def pending(client: Client) -> int:
    return client.call("status")["embedding"]["pending"]


def test_a_hit_says_how_near_it_is(client: Client) -> None:
    client.call("add_drawer", text="we ship on fridays")
    found = client.call("search", query="ship on fridays")
    assert found["by_meaning"]
    assert found["hits"][0]["cosine"] > 0.5
    assert client.call("status")["embedding"] == {"embedder": "hashing-384", "pending": 0}


def test_a_search_says_what_it_could_not_look_at_and_the_server_then_embeds_it(
    client: Client, palace: Path
) -> None:
    with Palace.open(palace) as writer:
        writer.add_many(NewDrawer(f"number{n}") for n in range(200))
    assert pending(client) == 200
    found = client.call("search", query="number7")
    assert not found["by_meaning"]
    assert "palatine embed" in found["note"]
    deadline = time.monotonic() + WAIT_SECONDS
    while pending(client):
        assert time.monotonic() < deadline
    assert client.call("search", query="number7")["by_meaning"]


def test_without_an_embedder_a_search_says_that_it_went_by_words(palace: Path) -> None:
    with server(palace, "none") as client:
        client.initialize(name="claude-code")
        client.call("add_drawer", text="we ship on fridays")
        found = client.call("search", query="fridays")
        assert not found["by_meaning"]
        assert "cosine" not in found["hits"][0]
        assert pending(client) == 1


def test_the_server_finds_by_meaning_with_the_packaged_model(palace: Path) -> None:
    with server(palace, "minilm") as client:
        client.initialize(name="claude-code")
        client.call("add_drawer", text="The kitten slept on the carpet all afternoon.")
        client.call("add_drawer", text="Quarterly earnings dropped by a tenth.")
        found = client.call("search", query="Where did our cat nap?")
        assert found["hits"][0]["text"].startswith("The kitten")
