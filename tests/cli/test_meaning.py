import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace
from palatine.embed.remote import RemoteEmbedder
from tests.cli.test_terminal import seen
from tests.unit.test_embed import Answer, Endpoint, data


@pytest.fixture(autouse=True)
def _hashing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALATINE_EMBEDDER", "hashing")


def test_embed_makes_what_is_pending_findable_by_meaning(run) -> None:
    run("add", "one text")
    run("add", "another text")
    assert ["embedder", "", "2 passages not embedded yet"] in run("status").rows
    answer = {"stored": 2, "pending": 0, "another_process_is_at_it": False}
    assert run("embed", "--json").json == answer
    assert run("embed").out == "embedded: 0 passages; 0 not embedded yet\n"
    assert ["embedder", "hashing-384", "0 passages not embedded yet"] in run("status").rows
    found = run("search", "one text", "--json").json
    assert found["by_meaning"]
    assert found["hits"][0]["cosine"] > 0.7


def test_another_embedder_is_refused_and_reembed_changes_it(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("add", "the cat slept")
    run("embed")
    monkeypatch.setenv("PALATINE_EMBEDDER", "minilm")
    run("add", "another text")
    assert "palatine reembed" in run("embed", code=3).err
    assert "palatine reembed" in run("search", "cat").err
    assert run("reembed", "--json").json["stored"] == 2
    assert run("search", "cat").err == ""
    assert run("status", "--json").json["embedding"]["embedder"] == "all-MiniLM-L6-v2"


def test_an_unknown_embedder_is_named(run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("add", "x")
    monkeypatch.setenv("PALATINE_EMBEDDER", "nonsense")
    assert "'nonsense'" in run("search", "x", code=2).err


def test_embed_without_an_embedder_says_what_to_set(run, monkeypatch: pytest.MonkeyPatch) -> None:
    run("add", "x")
    monkeypatch.setenv("PALATINE_EMBEDDER", "none")
    assert "PALATINE_EMBEDDER=minilm" in run("embed", code=4).err


# Another embedder, with one command

MEANINGS = (("cat", "katze", "кошка", "猫"), ("ship", "schiff", "корабль", "船"), ("tea", "чай"))


def multilingual(texts: list[str]) -> dict[str, Any]:
    """Vectors that say which of the meanings a text has, in whichever language."""

    def vector(text: str) -> list[float]:
        return [0.01, *(float(any(w in text.lower() for w in words)) for words in MEANINGS)]

    return {"data": [{"index": n, "embedding": vector(text)} for n, text in enumerate(texts)]}


@pytest.fixture
def endpoint() -> Iterator[Callable[..., Endpoint]]:
    running: list[Endpoint] = []

    def run(*answers: Answer | Callable[[list[str]], object]) -> Endpoint:
        server = Endpoint(answers)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        return server

    yield run
    for server in running:
        server.shutdown()
        server.server_close()


@pytest.fixture
def filled(run, monkeypatch: pytest.MonkeyPatch) -> None:
    """A palace in three languages, embedded by a model that knows no language."""
    monkeypatch.delenv("PALATINE_EMBEDDER")
    run("config", "set", "embedder", "hashing")
    for text in ("Die Katze schläft.", "The ship sails at noon.", "Вечером мы пьём чай."):
        run("add", text)
    run("embed")


def first(found: Any) -> tuple[str, bool]:
    return found["hits"][0]["text"], found["by_meaning"]


@pytest.mark.network
@pytest.mark.usefixtures("filled")
def test_one_command_changes_to_a_multilingual_endpoint_and_one_changes_back(
    run, endpoint, tmp_path: Path
) -> None:
    server = endpoint(multilingual)
    with Palace.open(tmp_path / "palace") as running:
        assert running.search("猫").meaning  # by what was the embedder then
        words = ("reembed", "--embedder", server.url, "--model", "multi", "--json")
        assert run(*words).json["stored"] == 3
        assert next(hit.text for hit in running.search("猫")) == "Die Katze schläft."
    assert first(run("search", "корабль", "--json").json) == ("The ship sails at noon.", True)
    assert first(run("search", "tea", "--json").json) == ("Вечером мы пьём чай.", True)
    assert run("status", "--json").json["embedding"]["embedder"] == "remote:multi"
    assert ["embedder", server.url] in [row[:2] for row in run("config").rows]
    run("add", "Der Tee ist kalt.", "--palace", "other")
    run("search", "Tee", "--palace", "other")
    assert run("status", "--palace", "other", "--json").json["embedding"] == {
        "embedder": "hashing-384",
        "pending": 0,
    }
    asked = len(server.asked)
    assert run("reembed", "--embedder", "minilm", "--json").json["stored"] == 3
    assert run("status", "--json").json["embedding"]["embedder"] == "all-MiniLM-L6-v2"
    assert first(run("search", "ship", "--json").json) == ("The ship sails at noon.", True)
    assert len(server.asked) == asked


@pytest.mark.network
@pytest.mark.usefixtures("filled")
def test_a_palace_from_elsewhere_makes_nobody_call_its_endpoint(
    run, endpoint, tmp_path: Path
) -> None:
    server = endpoint(multilingual)
    run("reembed", "--embedder", server.url, "--model", "multi")
    shutil.copytree(tmp_path / "palace", tmp_path / "copy")
    asked = len(server.asked)
    told = run("search", "ship", "--palace", str(tmp_path / "copy"))
    assert "remote:multi" in told.err
    assert told.rows[0][4] == "The ship sails at noon."
    run("embed", "--palace", str(tmp_path / "copy"))
    assert len(server.asked) == asked


@pytest.mark.network
@pytest.mark.usefixtures("filled")
@pytest.mark.parametrize(
    ("answers", "complaint"),
    [
        ([(404, b"no such model", {})], "no such model"),
        ([(200, data([0, 0, 0]), {})], "no direction"),
        ([(200, data([1, 2], [1, 2]), {})], "2 vectors for 1 texts"),
        ([(200, b"<html>", {})], "no list of vectors"),
        ([None], "timed out"),
    ],
)
def test_an_endpoint_that_fails_at_once_changes_nothing(
    run, endpoint, answers: list[Any], complaint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answering = threading.Event()
    defaults = RemoteEmbedder.__init__.__kwdefaults__
    monkeypatch.setitem(defaults, "timeout_seconds", 0.2)
    monkeypatch.setitem(defaults, "attempts", 1)
    server = endpoint(*(each or (lambda _: answering.wait(60)) for each in answers))
    told = run("reembed", "--embedder", server.url, "--model", "m", code=4).err
    answering.set()
    assert complaint in told
    assert server.url in told
    assert run("config", "--json").json["embedder"]["value"] == "hashing"
    assert run("status", "--json").json["embedding"] == {"embedder": "hashing-384", "pending": 0}
    assert run("search", "ship", "--json").json["by_meaning"]


@pytest.mark.network
@pytest.mark.usefixtures("filled")
def test_an_endpoint_that_changes_its_dimension_loses_nothing(run, endpoint) -> None:
    server = endpoint((200, data([1, 2, 3, 4]), {}), (200, data([1, 2], [1, 2], [1, 2]), {}))
    words = ("reembed", "--embedder", server.url, "--model", "m")
    assert "vectors of 2 numbers, not 4" in run(*words, code=4).err
    assert run("status", "--json").json["embedding"] == {"embedder": "remote:m", "pending": 3}
    assert run("search", "ship").rows[0][4] == "The ship sails at noon."
    server.answers = [multilingual]
    run(*words)
    assert first(run("search", "кошка", "--json").json) == ("Die Katze schläft.", True)
    server.answers = [(200, data([1, 2]), {})]
    told = run("search", "ship")
    assert "remote:m (4 numbers), not by remote:m (2)" in told.err
    assert told.rows[0][4] == "The ship sails at noon."


@pytest.mark.network
@pytest.mark.usefixtures("filled")
def test_the_key_of_an_endpoint_goes_there_and_into_no_file(
    run, endpoint, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALATINE_EMBEDDER_KEY", "sesame")
    server = endpoint(multilingual)
    run("reembed", "--embedder", server.url, "--model", "multi")
    assert {each["Authorization"] for each in server.headers} == {"Bearer sesame"}
    files = [path for path in project.parents[2].rglob("*") if path.is_file()]
    assert files
    assert not [path for path in files if b"sesame" in path.read_bytes()]


@pytest.mark.network
@pytest.mark.usefixtures("filled")
def test_a_variable_that_counts_before_what_was_chosen_is_named(
    run, endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALATINE_EMBEDDER", "hashing")
    server = endpoint(multilingual)
    words = ("reembed", "--embedder", server.url, "--model", "multi")
    assert "PALATINE_EMBEDDER names another" in run(*words).err


@pytest.mark.parametrize(
    "words",
    [
        ("--embedder", "http://127.0.0.1:1/v1"),
        ("--model", "m"),
        ("--embedder", "minilm", "--model", "m"),
        ("--embedder", "none"),
        ("--embedder", "nonsense"),
        ("--embedder", "http://", "--model", "m"),
        ("--embedder", "https://me:sesame@host/v1", "--model", "m"),
    ],
)
def test_an_embedder_that_cannot_be_is_refused_and_not_kept(run, filled, words) -> None:
    told = run("reembed", *words, code=2).err
    assert "sesame" not in told
    assert run("config", "--json").json["embedder"]["value"] == "hashing"


def test_a_palace_that_is_not_there_gets_no_embedder(run, project: Path) -> None:
    run("reembed", "--embedder", "minilm", code=4)
    assert not (project.parents[1] / ".config").exists()


def test_a_person_sees_a_bar_and_a_pipe_does_not(run, tmp_path: Path) -> None:
    for number in range(3):
        run("add", f"text {number}")
    exported = str(tmp_path / "x.jsonl")
    for words in (("export", exported), ("import", exported), ("embed",), ("reembed",)):
        assert "━" in seen(*words), words
        assert run(*words).err.count("━") == 0
