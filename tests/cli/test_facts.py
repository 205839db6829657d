import shlex
from pathlib import Path

import pytest


def test_a_fact_is_shown_now_then_and_over_time(run) -> None:
    run("kg", "add", "Max", "works at", "Acme", "--from", "2024-03", "--source", "a.md")
    run("kg", "supersede", "Max", "works_at", "Acme", "Initech", "--at", "2025-02")
    assert [row[3] for row in run("kg", "show", "max").rows] == ["Initech"]
    ((key, *then),) = run("kg", "show", "Max", "--as-of", "2024-06").rows
    assert then == ["Max", "works_at", "Acme", "2024-03", "2025-01", "", ""]
    everything = run("kg", "show", "Max", "--all", "--json").json
    assert [fact["object"] for fact in everything["facts"]] == ["Acme", "Initech"]
    assert everything["facts"][0]["id"] == key
    assert run("kg", "timeline").rows == run("kg", "timeline", "Max").rows
    assert len(run("kg", "timeline").rows) == 2
    assert run("kg", "timeline", "--json").json["cursor"] == ""
    assert ["past", "1"] in run("kg", "stats").rows
    assert ["predicate", "works_at", "2"] in run("kg", "stats").rows
    assert run("kg", "stats", "--json").json["single_predicates"] == ["works_at"]


def test_what_was_believed_can_be_asked_after_it_was_deleted(run) -> None:
    added = run("kg", "add", "Max", "likes", "tea", "--json").json
    deleted = run("kg", "delete", added["fact"]["id"], "--json").json["fact"]
    assert run("kg", "show", "Max", "--all", code=1).out == ""
    before = added["fact"]["recorded_at"]
    assert run("kg", "show", "Max", "--known-at", before).rows[0][3] == "tea"
    run("kg", "show", "Max", "--known-at", deleted["believed_until"], code=1)


def test_the_same_fact_again_is_one_and_a_contradiction_is_told(run) -> None:
    ((key, what, _),) = run("kg", "add", "Max", "works_at", "Acme", "--from", "2024").rows
    assert what == "added"
    again = run("kg", "add", "max", "works at", "ACME", "--from", "2023")
    assert again.rows[0][:2] == [key, "known already"]
    assert "valid_from is 2024, not 2023" in again.err
    beside = run("kg", "add", "Max", "works_at", "Initech")
    assert "beside it stands: Max works_at Acme" in beside.err


def test_a_fact_is_ended_once(run) -> None:
    run("kg", "add", "Max", "works_at", "Acme", "--from", "2024")
    assert run("kg", "end", "Max", "works_at", "Acme", "--at", "2025-03").rows[0][1] == "ended"
    again = run("kg", "end", "Max", "works_at", "Acme", "--at", "2025-03")
    assert again.rows[0][1] == "ended already"
    assert "by ann" in run("kg", "end", "Max", "works_at", "Acme", "--at", "2025", code=3).err
    assert "Max works_at Acme" in run("kg", "end", "Max", "works_at", "Globex", code=1).err


def test_who_supersedes_second_is_told_what_holds_now(run) -> None:
    run("kg", "add", "shop", "ships_with", "Northpost")
    won = run("kg", "supersede", "shop", "ships_with", "Northpost", "Swiftbox", "--json").json
    assert (won["fact"]["object"], won["ended"]["object"]) == ("Swiftbox", "Northpost")
    lost = run("kg", "supersede", "shop", "ships_with", "Northpost", "Fastpost", code=3)
    assert "shop ships_with Swiftbox" in lost.err
    assert lost.out == ""


def test_a_path_is_printed_in_order_and_its_absence_is_exit_code_one(run) -> None:
    for names in (("a", "knows", "b"), ("c", "knows", "b"), ("c", "knows", "d"), ("x", "is", "y")):
        run("kg", "add", *names)
    assert [(row[1], row[3]) for row in run("kg", "path", "a", "d").rows] == [
        ("a", "b"),
        ("c", "b"),
        ("c", "d"),
    ]
    assert "no path" in run("kg", "path", "a", "d", "--depth", "2", code=1).err
    assert run("kg", "path", "a", "x", "--json", code=1).json == {"facts": []}


def test_an_unknown_name_names_near_ones(run) -> None:
    run("kg", "add", "Dr. Chen", "leads", "research")
    assert "Dr. Chen" in run("kg", "show", "Chen", code=1).err


@pytest.mark.parametrize(
    "words",
    [
        ("kg", "add", "a", "b"),
        ("kg", "add", "a", "b", ""),
        ("kg", "add", "a", "b", "c", "--from", "yesterday"),
        ("kg", "add", "a", "b", "c", "--from", "2025", "--to", "2024"),
        ("kg", "add", "a", "b", "c", "--confidence", "2"),
        ("kg", "add", "a\x00", "b", "c"),
        ("kg", "show", "a", "--all", "--as-of", "2025"),
        ("kg", "timeline", "--cursor", "x"),
        ("kg", "path", "a", "b", "--depth", "99"),
    ],
)
def test_a_value_that_cannot_be_used_is_exit_code_two_and_one_line(run, words) -> None:
    run("kg", "add", "a", "b", "d")
    refused = run(*words, code=2)
    assert refused.out == ""
    assert len(refused.err.splitlines()) == 1
    assert len(run("changes").rows) == 1


def test_a_graph_is_a_tree_of_the_neighbourhood(run) -> None:
    run("kg", "add", "Max", "works_at", "Acme", "--from", "2024")
    run("kg", "add", "Acme", "in", "Berlin")
    run("kg", "add", "Max", "was_at", "Globex", "--from", "2020", "--to", "2021")
    assert run("kg", "show", "max", "--graph").out == (
        "Max\n  works_at → Acme (since 2024)\n    in → Berlin\n"
    )
    assert "Berlin" not in run("kg", "show", "Max", "--graph", "--depth", "1").out
    assert "Globex" in run("kg", "show", "Max", "--graph", "--all").out
    assert "Globex" in run("kg", "show", "Max", "--graph", "--as-of", "2020").out
    shown = run("kg", "show", "Berlin", "--graph", "--json").json
    assert [fact["subject"] for fact in shown["facts"]] == ["Max", "Acme"]
    assert run("kg", "show", "Globex", "--graph", code=1).out == ""


@pytest.mark.parametrize(
    ("format_", "name"), [("html", "a.html"), ("graphml", "a.graphml"), ("mermaid", "a.mmd")]
)
def test_a_picture_goes_to_a_file_or_to_standard_output(run, project, format_, name) -> None:
    run("kg", "add", "Max", "works_at", "Acme", "--from", "2020", "--to", "2021")
    run("kg", "add", "Bob", "works_at", "Globex")
    assert run("kg", "export", name).out == f"2 facts drawn to {name}\n"
    first = (project / name).read_text()
    assert ((project / name).stat().st_mode & 0o777, "Max" in first, "Bob" in first) == (
        0o600,
        True,
        True,
    )
    run("kg", "export", name, "--about", "Max", "--as-of", "2021")
    assert "Bob" not in (project / name).read_text()
    written = run("kg", "export", "--format", format_, "--wing", "shop", code=1)
    assert (written.out, "kg stats" in written.err) == ("", True)
    assert "Acme" in run("kg", "export", "--format", format_).out


def test_a_picture_replaces_nothing_but_a_picture(run, project) -> None:
    run("kg", "add", "Max", "works_at", "Acme")
    (project / "a.html").write_text("<!doctype html><p>mine")
    assert "is no html picture" in run("kg", "export", "a.html", code=2).err
    assert (project / "a.html").read_text() == "<!doctype html><p>mine"
    assert "--format" in run("kg", "export", "a.txt", code=2).err
    assert "--format" in run("kg", "export", code=2).err
    run("kg", "export", "a.txt", "--format", "mermaid")
    assert "nobody" in run("kg", "export", "b.html", "--about", "nobody", code=1).err
    assert sorted(path.name for path in project.iterdir()) == [".git", "a.html", "a.txt"]


@pytest.mark.parametrize(
    "words", [("--depth", "3"), ("--graph", "--direction", "incoming"), ("--graph", "--depth", "0")]
)
def test_a_tree_that_cannot_be_drawn_is_refused(run, words) -> None:
    run("kg", "add", "Max", "works_at", "Acme")
    assert run("kg", "show", "Max", *words, code=2).out == ""


def test_notes_are_read_for_facts_by_a_command_and_by_mining(run, project: Path) -> None:
    run("add", "Max works at Acme (since 2024-03)", "--source", "a.md")
    done = run("kg", "extract", "--json").json
    assert (done["read"], done["added"], done["withdrawn"], done["problems"]) == (1, 1, 0, [])
    assert "0 notes read" in run("kg", "extract").out
    (project / "notes.md").write_text("- Max works at Globex, since 2025\n")
    assert run("mine", ".", "--no-embed", "--json").json["mined"][0]["facts"]["read"] == 0
    assert "1 facts added" in run("mine", ".", "--no-embed", "--facts").out
    shown = run("kg", "show", "Max").rows
    assert {row[3] for row in shown} == {"Acme", "Globex"}


def test_contradictions_come_with_the_command_that_ends_each(run) -> None:
    run("kg", "add", "Max Power", "works_at", "Acme", "--source", "a.md")
    run("kg", "add", "--wing", "shop", "--", "Max Power", "works_at", "-x")
    run("kg", "add", "--wing", "shop", "--", "Max Power", "works_at", "-y")
    assert "--unsaid" in run("kg", "conflicts").err
    run("kg", "predicate", "works at", "single")
    assert run("kg", "predicate", "works at", "single", "--json").json["predicates"] == {
        "works_at": "single"
    }
    rows = run("kg", "conflicts").rows
    assert {row[1] for row in rows} == {"Max Power works_at -x", "Max Power works_at -y"}
    (found,) = run("kg", "conflicts", "--json").json["contradictions"]
    assert found["single"]
    for command in (rows[0][-1], found["facts"][0]["end"]):
        program, *words = shlex.split(command)
        assert program == "palatine"
    run(*words)
    assert run("kg", "conflicts", "--unsaid").rows == []


@pytest.mark.parametrize(
    "words",
    [("--endpoint", "http://127.0.0.1:1"), ("--model", "m"), ("--endpoint", "x", "--model", "m")],
)
def test_an_endpoint_that_is_not_named_whole_is_sent_nothing(run, words: tuple[str, ...]) -> None:
    run("add", "Max works at Acme")
    run("kg", "extract", *words, code=2)
