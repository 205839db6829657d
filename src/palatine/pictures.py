"""Facts as pictures: a tree for a terminal, a Mermaid flowchart, GraphML, and one HTML page.

Names come from anywhere. In no format can one of them end the text that it stands in.
"""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from hashlib import sha256
from html import escape
from pathlib import Path
from typing import NamedTuple

from palatine.instants import Instant, now
from palatine.text import plain
from palatine.types import Fact

_TEMPLATE = Path(__file__).with_name("picture.html")
_AGAIN = "↺"


class Line(NamedTuple):
    """One line of a tree: how deep it stands, from 0, and what it says."""

    depth: int
    text: str


def tree(facts: Sequence[Fact], root: str, *, depth: int) -> Iterator[Line]:
    """The facts around an entity: each entity spread out once, where it is nearest to the root.

    A line ends in `↺` when its entity is spread out elsewhere: the facts go in a circle.

    Args:
        facts: in the order in which they shall stand.
        root: the entity's key.
        depth: how many facts away from the root the last lines are.
    """
    around: dict[str, list[Fact]] = {}
    for fact in facts:
        for key in {fact.subject_key, fact.object_key}:
            around.setdefault(key, []).append(fact)
    steps, frontier = {root: 0}, {root}
    for step in range(1, depth + 1):
        near = [fact for key in frontier for fact in around.get(key, ())]
        frontier = {key for f in near for key in (f.subject_key, f.object_key)} - steps.keys()
        steps |= dict.fromkeys(frontier, step)
    shown: set[str] = set()
    spread: set[str] = set()

    def below(key: str, level: int) -> Iterator[Line]:
        mine = [fact for fact in around.get(key, ()) if fact.id not in shown]
        shown.update(fact.id for fact in mine)
        spread.add(key)
        for fact in mine:
            if fact.subject_key == key:
                other, words = fact.object_key, f"{fact.predicate} → {fact.object}"
            else:
                other, words = fact.subject_key, f"← {fact.predicate} {fact.subject}"
            again = other in spread or steps.get(other) != level
            time = f"  ({interval(fact)})" if interval(fact) else ""
            yield Line(level, f"{words}{time}{f'  {_AGAIN}' if again else ''}")
            if not again and level < depth:
                yield from below(other, level + 1)

    return below(root, 1)


def interval(fact: Fact) -> str:
    """When the fact holds, in words: `2024-03 to 2025-01`, `since 2024`, `until 2025`; or empty."""
    if fact.valid_from and fact.valid_to:
        return f"{fact.valid_from} to {fact.valid_to}"
    if fact.valid_from:
        return f"since {fact.valid_from}"
    return f"until {fact.valid_to}" if fact.valid_to else ""


def mermaid(facts: Sequence[Fact], title: str) -> str:
    """A Mermaid flowchart; what does not hold now is dotted."""
    moment = now().micros
    lines = ["%% a picture by palatine", f"%% {_mermaid(title)}", "flowchart LR"]
    names = _names(facts)
    numbers = {key: number for number, key in enumerate(names)}
    lines += [f'  n{numbers[key]}["{_mermaid(name)}"]' for key, name in names.items()]
    for fact in facts:
        arrow = "-->" if fact.true_during(moment, moment + 1) else "-.->"
        label = "<br/>".join(map(_mermaid, filter(None, (fact.predicate, interval(fact)))))
        ends = numbers[fact.subject_key], numbers[fact.object_key]
        lines.append(f'  n{ends[0]} {arrow}|"{label}"| n{ends[1]}')
    return "\n".join(lines) + "\n"


def _names(facts: Sequence[Fact]) -> dict[str, str]:
    """The entities' names by key, in the order in which the facts name them."""
    names: dict[str, str] = {}
    for fact in facts:
        names.setdefault(fact.subject_key, fact.subject)
        names.setdefault(fact.object_key, fact.object)
    return names


def _mermaid(name: str) -> str:
    """Mermaid's own way to write a character that could mean something: its number."""
    return re.sub(r"[^\w .,()/+-]", lambda found: f"#{ord(found[0])};", name)


_ATTRIBUTES: dict[str, Callable[[Fact], object]] = {
    "label": lambda fact: fact.predicate,
    "valid_from": lambda fact: fact.valid_from,
    "valid_to": lambda fact: fact.valid_to,
    "start": lambda fact: _exact(fact.valid_from),
    "end": lambda fact: _exact(fact.valid_to),
    "wing": lambda fact: fact.wing,
    "source": lambda fact: fact.source,
    "drawer": lambda fact: fact.drawer,
    "recorded_at": lambda fact: fact.recorded_at,
}
_HEAD = """<?xml version="1.0" encoding="UTF-8"?><!-- a picture by palatine -->
<graphml xmlns="http://graphml.graphdrawing.org/xmlns">"""


def graphml(facts: Sequence[Fact], title: str) -> str:
    """GraphML: entities as nodes, facts as directed edges.

    `valid_from` and `valid_to` stand as they were given (through 2025-03), `start` and `end` are
    the exact half-open interval; what is not known is left out.
    """
    lines = [_HEAD, '<key id="name" for="node" attr.name="label" attr.type="string"/>']
    lines += [
        f'<key id="{name}" for="edge" attr.name="{name}" attr.type="string"/>'
        for name in _ATTRIBUTES
    ]
    lines.append('<key id="confidence" for="edge" attr.name="confidence" attr.type="double"/>')
    lines.append('<key id="title" for="graph" attr.name="title" attr.type="string"/>')
    lines.append(f'<graph edgedefault="directed">{_xml("title", title)}')
    names = _names(facts)
    numbers = {key: number for number, key in enumerate(names)}
    for key, name in names.items():
        lines.append(f'<node id="n{numbers[key]}">{_xml("name", name)}</node>')
    for fact in facts:
        ends = f'source="n{numbers[fact.subject_key]}" target="n{numbers[fact.object_key]}"'
        inner = "".join(_xml(name, value(fact)) for name, value in _ATTRIBUTES.items())
        inner += _xml("confidence", fact.confidence)
        lines.append(f'<edge id="{escape(fact.id)}" {ends}>{inner}</edge>')
    return "\n".join([*lines, "</graph>", "</graphml>", ""])


def _exact(instant: Instant | None) -> str:
    return instant.at.isoformat() if instant else ""


def _xml(key: str, value: object) -> str:
    """A datum; of what XML cannot hold a replacement character stays."""
    text = "" if value is None else re.sub("[\ufffe\uffff]", "\ufffd", str(value))
    return f'<data key="{key}">{escape(text)}</data>' if text else ""


def html(facts: Sequence[Fact], title: str) -> str:
    """One HTML page that asks for nothing else: a graph, its time on a slider, and a search.

    The facts stand in it as JSON without any `<`; its policy lets its own script run and no other.
    """
    names = _names(facts)
    numbers = {key: number for number, key in enumerate(names)}
    told = [
        {
            "id": fact.id,
            "s": numbers[fact.subject_key],
            "p": plain(fact.predicate),
            "o": numbers[fact.object_key],
            "from": fact.valid_from and fact.valid_from.micros / 1000,
            "to": fact.valid_to and fact.valid_to.micros / 1000,
            "when": interval(fact),
            "more": _more(fact),
        }
        for fact in facts
    ]
    data = {
        "title": title,
        "now": now().micros / 1000,
        "names": [*map(plain, names.values())],
        "facts": told,
    }
    page = _TEMPLATE.read_text("utf-8")
    script = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)[0]
    policy = b64encode(sha256(script.encode()).digest()).decode()
    page = page.replace("SCRIPT_SHA256", policy)
    return page.replace("FACTS_AS_JSON", json.dumps(data).replace("<", "\\u003c"))


def _more(fact: Fact) -> list[str]:
    """What else is known of a fact, a line each."""
    sure = "" if fact.confidence == 1 else f"{fact.confidence:g}"
    told = {"confidence": sure, "wing": fact.wing, "source": fact.source, "drawer": fact.drawer}
    return [plain(f"{name}: {value}") for name, value in told.items() if value]


FORMATS: dict[str, Callable[[Sequence[Fact], str], str]] = {
    "mermaid": mermaid,
    "graphml": graphml,
    "html": html,
}
"""Each takes facts and a title, and gives the picture's whole text, which its first line marks."""
