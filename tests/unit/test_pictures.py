"""Pictures of facts: what is drawn, when it holds, and that no name can break out of its place."""

import json
import re
import xml.etree.ElementTree as ElementTree
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from pathlib import Path

import pytest

from palatine import Palace, pictures
from palatine.errors import InputError, NotFoundError
from palatine.knowledge import Knowledge
from palatine.types import Fact

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<!--<script>",
    "\"'><img src=x onerror=alert(1)>",
    "]]> --> &lt; &amp;",
    '"] --> n1["x',
    "%%{init: {}}%% #quot; `code` |x| 1. y",
    "\ufffe \uffff \u2028 \u202e reversed",
    "SCRIPT_SHA256 FACTS_AS_JSON $& \\1",
    "京都 🏯 شركة",
]


@pytest.fixture
def knowledge(tmp_path: Path) -> Iterator[Knowledge]:
    with Palace.open(tmp_path / "palace") as palace:
        yield palace.knowledge


def drawn(knowledge: Knowledge, name: str, *, depth: int = 2) -> list[str]:
    root = knowledge.entity(name).key
    facts = knowledge.graph(name, depth=depth)
    return ["  " * line.depth + line.text for line in pictures.tree(facts, root, depth=depth)]


# What a picture is of


def test_the_facts_within_so_many_steps_are_in_a_picture(knowledge: Knowledge) -> None:
    for names in (("a", "p", "b"), ("c", "p", "b"), ("c", "p", "d"), ("d", "p", "e")):
        knowledge.add(*names)
    found = {depth: sorted(map(str, knowledge.graph("a", depth=depth))) for depth in (1, 2, 3, 10)}
    assert found[1] == ["a p b"]
    assert found[2] == ["a p b", "c p b"]
    assert found[3] == ["a p b", "c p b", "c p d"]
    assert found[10] == sorted(map(str, knowledge.graph())) == [*found[3], "d p e"]
    assert len(knowledge.graph(limit=2)) == 2


def test_a_picture_may_be_of_a_time_a_wing_or_all_time(knowledge: Knowledge) -> None:
    knowledge.add("a", "p", "b", valid_from="2020", valid_to="2021")
    knowledge.add("b", "p", "c", valid_from="2022", wing="shop")
    assert [str(fact) for fact in knowledge.graph()] == ["b p c"]
    assert [str(fact) for fact in knowledge.graph(as_of="2021")] == ["a p b"]
    assert [str(fact) for fact in knowledge.graph(state="all", wing="shop")] == ["b p c"]
    assert len(knowledge.graph("a", depth=2, state="all")) == 2
    # The way to what held at another time is cut there.
    assert knowledge.graph("a", depth=2) == []


def test_a_picture_of_what_cannot_be_drawn_is_an_error(knowledge: Knowledge) -> None:
    with pytest.raises(NotFoundError):
        knowledge.graph("nobody")
    with pytest.raises(InputError, match="depth 0"):
        knowledge.graph(depth=0)


# Trees


def test_a_tree_says_who_is_what_to_whom_and_since_when(knowledge: Knowledge) -> None:
    knowledge.add("Max", "works_at", "Acme", valid_from="2024-03")
    knowledge.add("Acme", "in", "Berlin")
    knowledge.add("Ada", "knows", "Max", valid_to="9000")
    assert drawn(knowledge, "max") == [
        "  works_at → Acme  (since 2024-03)",
        "    in → Berlin",
        "  ← knows Ada  (until 9000)",
    ]
    assert drawn(knowledge, "Max", depth=1) == [
        "  works_at → Acme  (since 2024-03)",
        "  ← knows Ada  (until 9000)",
    ]


def test_a_circle_is_marked_and_each_fact_is_drawn_once(knowledge: Knowledge) -> None:
    edges = ("a", "p", "b"), ("b", "p", "c"), ("c", "p", "a"), ("a", "q", "b")
    for n, names in enumerate(edges):
        knowledge.add(*names, valid_from=f"200{n}")
    assert [line.replace("  (since 200", " ") for line in drawn(knowledge, "a", depth=10)] == [
        "  p → b 0)",
        "    p → c 1)  ↺",
        "  ← p c 2)",
        "  q → b 3)  ↺",
    ]


def test_what_is_about_itself_is_a_circle(knowledge: Knowledge) -> None:
    knowledge.add("a", "likes", "a")
    assert drawn(knowledge, "a") == ["  likes → a  ↺"]


def test_a_neighbour_is_spread_out_where_it_is_nearest(knowledge: Knowledge) -> None:
    for n, names in enumerate((("a", "p", "b"), ("b", "p", "c"), ("a", "p", "c"), ("c", "p", "d"))):
        knowledge.add(*names, valid_from=f"200{n}")
    assert [line.split("  (")[0] for line in drawn(knowledge, "a")] == [
        "  p → b",
        "    p → c",
        "  p → c",
        "    p → d",
    ]
    assert drawn(knowledge, "a")[1].endswith("↺")


def test_the_tree_of_a_hub_is_drawn_in_one_pass(knowledge: Knowledge) -> None:
    facts = knowledge.add("hub", "p", "x0").fact
    many = [copy_of(facts, f"x{n}") for n in range(20_000)]
    assert len(list(pictures.tree(many, "hub", depth=10))) == 20_000


def copy_of(fact: Fact, other: str) -> Fact:
    values = {name: getattr(fact, name) for name in fact.__dataclass_fields__}
    return Fact(**values | {"id": f"f{other}", "object": other, "object_key": other})


# Files

Picture = Callable[[Sequence[Fact], str], str]


@pytest.fixture
def hostile(knowledge: Knowledge) -> list[Fact]:
    """Facts with every hostile name in every place."""
    for name, other in zip(HOSTILE, HOSTILE[1:] + HOSTILE[:1], strict=True):
        knowledge.add(name, other[:200], "x", source=other, valid_from="2020", confidence=0.5)
        knowledge.add("x", "is", other, valid_from="2020", valid_to="2021-03")
    return knowledge.graph(state="all")


def test_a_flowchart_holds_names_that_mean_nothing_to_it(hostile: list[Fact]) -> None:
    mark, _, kind, *lines = pictures.mermaid(hostile, HOSTILE[0]).splitlines()
    assert (mark, kind) == ("%% a picture by palatine", "flowchart LR")
    label = r'"(?:[\w .,()/+-]|#\d+;|<br/>)+"'
    for line in lines:
        assert re.fullmatch(rf"  n\d+\[{label}\]|  n\d+ (?:-->|-\.->)\|{label}\| n\d+", line), line
    assert sum("-.->" in line for line in lines) == len(HOSTILE)
    assert sum("is<br/>2020 to 2021-03" in line for line in lines) == len(HOSTILE)


def test_graphml_is_xml_that_gives_names_and_times_back(hostile: list[Fact]) -> None:
    name = "{http://graphml.graphdrawing.org/xmlns}"
    root = ElementTree.fromstring(pictures.graphml(hostile, HOSTILE[0]))
    keys = {key.get("id"): key.get("attr.name") for key in root.iter(f"{name}key")}

    def values(element: ElementTree.Element) -> dict[str | None, str | None]:
        return {keys[data.get("key")]: data.text for data in element.iter(f"{name}data")}

    nodes = {node.get("id"): values(node)["label"] for node in root.iter(f"{name}node")}
    clean = [re.sub("[\ufffe\uffff]", "\ufffd", " ".join(each.split())) for each in HOSTILE]
    assert sorted(map(str, nodes.values())) == sorted([*clean, "x"])
    edges = list(root.iter(f"{name}edge"))
    assert len({edge.get("id") for edge in edges}) == len(hostile)
    for edge, fact in zip(edges, hostile, strict=True):
        told = values(edge)
        assert nodes[edge.get("source")] == re.sub("[\ufffe\uffff]", "\ufffd", fact.subject)
        assert told["valid_from"] == "2020"
        assert told["start"] == "2020-01-01T00:00:00+00:00"
        if fact.subject == "x":
            assert (told["valid_to"], told["confidence"]) == ("2021-03", "1.0")
            assert told["end"] == "2021-04-01T00:00:00+00:00"
        else:
            assert "valid_to" not in told


def facts_of(page: str) -> tuple[str, str]:
    """The JSON in a page, and the page around it."""
    opening = '<script type="application/json" id="facts">'
    before, _, rest = page.partition(opening)
    inside, _, after = rest.partition("</script>")
    return inside, before + after


def test_a_page_holds_facts_as_json_and_is_the_same_around_it(
    hostile: list[Fact], knowledge: Knowledge
) -> None:
    inside, around = facts_of(pictures.html(hostile, HOSTILE[0]))
    assert "<" not in inside
    told = json.loads(inside)
    assert told["title"] == HOSTILE[0]
    assert set(HOSTILE[:5]) <= set(told["names"])
    assert "\u202e" not in "".join(told["names"])  # shown as what it is, it turns no direction
    assert [told["names"][fact["s"]] for fact in told["facts"]].count("x") == len(HOSTILE)
    assert {(fact["from"], fact["to"]) for fact in told["facts"]} == {
        (1577836800000, None),
        (1577836800000, 1617235200000),
    }
    assert around == facts_of(pictures.html([knowledge.add("a", "p", "b").fact], "other"))[1]


def test_a_page_asks_for_nothing_and_runs_only_its_own_script(hostile: list[Fact]) -> None:
    _, around = facts_of(pictures.html(hostile, "title"))
    scripts = re.findall(r"<script[^>]*>(.*?)</script>", around, re.DOTALL)
    assert len(scripts) == 1
    digest = b64encode(sha256(scripts[0].encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', around)
    assert policy.startswith("default-src 'none'; ")
    assert f"script-src 'sha256-{digest}';" in policy
    assert re.findall(r"https?:[^\"']*", around) == ["http://www.w3.org/2000/svg"]
    assert not re.findall(r"\b(?:src|href|on\w+)\s*=\s*[\"']|url\((?!#)|@import|fetch\(", around)
    # What the facts hold is never read as markup.
    assert not re.findall(
        r"innerHTML|outerHTML|insertAdjacent|document\.write|\beval\b|Function\(", around
    )


@pytest.mark.parametrize("draw", pictures.FORMATS.values(), ids=pictures.FORMATS)
def test_the_same_facts_give_the_same_picture_with_the_same_first_line(
    draw: Picture, hostile: list[Fact], monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = pictures.now()
    monkeypatch.setattr(pictures, "now", lambda: moment)
    assert draw(hostile, "a") == draw(hostile, "a")
    assert draw(hostile, "a").split("\n")[0] == draw(hostile[:1], "b").split("\n")[0]
