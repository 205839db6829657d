"""Importing the reference memory server's file, and the notes of Basic Memory."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from palatine import Palace, cli
from palatine.errors import InputError

NOTE = """---
title: Coffee Brewing Methods
type: note
created: 2025-03-14
tags:
- coffee
---

# Coffee Brewing Methods

## Observations
- [method] Pour over highlights subtle flavors #brewing (from a book)
- [tip] Grind just before brewing
- [ ] buy filters
- [site](https://example.org) has more

```
- [code] is not an observation
```

## Relations
- pairs well with [[Desserts]]
- [[Tea]]
"""


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace", agent="ann") as opened:
        yield opened
        assert opened.check() == []


@pytest.fixture
def memory(tmp_path: Path) -> Path:
    lines = [
        {"type": "entity", "name": "John_Smith", "entityType": "person",
         "observations": ["Speaks fluent Spanish", "Graduated in 2019"]},
        {"type": "entity", "name": "Anthropic", "entityType": "organization", "observations": []},
        {"type": "relation", "from": "John_Smith", "to": "Anthropic", "relationType": "works_at"},
    ]  # fmt: skip
    file = tmp_path / "memory.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)) + "\n")
    return file


@pytest.fixture
def notes(tmp_path: Path) -> Path:
    folder = tmp_path / "notes"
    (folder / "kitchen").mkdir(parents=True)
    (folder / "kitchen" / "coffee.md").write_text(NOTE)
    return folder


def told(palace: Palace) -> set[str]:
    return {str(fact) for fact in palace.knowledge.timeline().items}


def test_entities_relations_and_observations_come_and_are_found(
    palace: Palace, memory: Path
) -> None:
    done = palace.import_other("server-memory", memory)
    assert (done.problems, done.imported.added["drawer"]) == ((), 2)
    assert told(palace) == {
        "John_Smith observation Speaks fluent Spanish",
        "John_Smith observation Graduated in 2019",
        "John_Smith works_at Anthropic",
    }
    assert palace.knowledge.entity("john_smith").type == "person"
    (hit, *_) = palace.search("john smith spanish").hits
    assert (hit.text, hit.drawer.room) == ("Speaks fluent Spanish", "John_Smith")
    again = palace.import_other("server-memory", memory)
    assert (again.imported.added, again.imported.differing) == ({}, {})
    assert again.imported.last_seq == 0


def test_lines_that_cannot_be_used_are_named_and_the_rest_comes(
    palace: Palace, memory: Path
) -> None:
    whole = memory.read_text()
    memory.write_text('{"type": "entity", "na\n[]\n{"type": "relation", "from": ""}\n' + whole)
    with memory.open("a") as file:
        file.write('{"type":"relation","from":"","to":"x","relationType":"y"}\n{"type":"other"}')
    done = palace.import_other("server-memory", memory)
    assert done.imported.added["fact"] == 3
    places = [problem.path.rpartition(" ")[2] for problem in done.problems]
    assert places[:3] == ["1", "2", "3"]
    assert places[3].startswith("f")
    assert places[4] == "8"


def test_an_observation_that_is_no_text_costs_only_itself(palace: Palace, memory: Path) -> None:
    records = [{"type": "entity", "name": "Max", "observations": ["likes tea", 5, None, "runs"]}]
    records += [{"type": "entity", "name": "Ada", "observations": "sings"}]
    memory.write_text("\n".join(map(json.dumps, records)))
    done = palace.import_other("server-memory", memory)
    assert [problem.path for problem in done.problems] == ["entity Max"] * 2
    assert {drawer.text for drawer in palace.list()} == {"likes tea", "runs", "sings"}


def test_a_note_comes_verbatim_and_its_observations_and_relations_as_facts(
    palace: Palace, notes: Path
) -> None:
    done = palace.import_other("basic-memory", notes)
    assert done.problems == ()
    (note,) = palace.list().items
    assert (note.text, note.room, note.source) == (NOTE, "kitchen", "notes/kitchen/coffee.md")
    assert str(note.said_at) == "2025-03-14"
    name = "Coffee Brewing Methods"
    assert told(palace) == {
        f"{name} method Pour over highlights subtle flavors",
        f"{name} tip Grind just before brewing",
        f"{name} pairs_well_with Desserts",
        f"{name} relates_to Tea",
    }
    assert {fact.drawer for fact in palace.knowledge.about(name)} == {note.id}
    again = palace.import_other("basic-memory", notes)
    assert (again.imported.added, again.imported.last_seq) == ({}, 0)


def test_within_a_wing_all_goes_to_the_wing(palace: Palace, notes: Path, memory: Path) -> None:
    shop = palace.scoped("shop")
    shop.import_other("basic-memory", notes)
    shop.import_other("server-memory", memory)
    assert {place.wing for place in palace.places()} == {"shop"}
    assert {fact.wing for fact in palace.knowledge.timeline().items} == {"shop"}
    assert palace.knowledge.entity("John_Smith").type == ""


def test_what_is_not_there_is_refused(palace: Palace, tmp_path: Path) -> None:
    for product in ("server-memory", "basic-memory"):
        with pytest.raises(InputError, match="there is no such"):
            palace.import_other(product, tmp_path / "nowhere")
    assert palace.status().seq == 0


def test_the_command_says_by_its_code_whether_all_could_be_used(
    memory: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*words: str) -> int:
        return cli.main(["import", *words, "--palace", str(tmp_path / "other")])

    assert run("server-memory", str(memory)) == 0
    assert "drawers: 0 before, 2 after" in capsys.readouterr().err
    memory.write_text(memory.read_text() + "{")
    assert run("server-memory", str(memory)) == 6
    assert f"{memory}, line 4" in capsys.readouterr().out
    assert run("server-memory", str(memory), "more") == 2
    assert run("unknown", str(memory)) == 2
