import pytest


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
