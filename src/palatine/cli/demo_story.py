"""What the demo's agents write: the story of `demo_story.toml`, and test orders."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LEAD = """\
A tea shop gets a new web shop. Four AI agents work on it: shipping, checkout, catalogue and
operations. Each has a `palatine mcp` server of its own, and all share one palace, which is new:"""

AGENTS = ("shipping", "checkout", "catalogue", "operations")
CARRIER = {"subject": "teashop", "predicate": "ships_with"}
OLD_CARRIER, NEW_CARRIER, SWITCHED = "Northpost", "Swiftbox", "2025-05-06"
KEY = "CHECKOUT_SIGNING_KEY_7F3A"
WHY = "why do we change the carrier"
MEANT = "trouble with rounding errors"  # no word of it stands in the text about prices
PRICES = "Prices are whole cents"
QUESTIONS = (
    "which carrier do we ship with",
    "complaints about friday parcels",
    KEY,
    "test order paid by invoice",
    "when may we deploy",
)
_FILE = Path(__file__).with_suffix(".toml")
_TEAS = ("Assam", "sencha", "oolong", "rooibos", "mint", "Darjeeling", "gunpowder")
_PAID = ("card", "invoice", "gift card")


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a tool."""

    tool: str
    arguments: Mapping[str, Any]


def part(name: str) -> list[Call]:
    """What an agent writes in the story, or the `reversal`."""
    return [_write(**said) for said in tomllib.loads(_FILE.read_text("utf-8")).get(name, ())]


def _write(**said: str) -> Call:
    return Call("add_drawer" if "text" in said else "kg_add", {"wing": "teashop", **said})


def names(agents: int) -> list[str]:
    """The agents: the four of the story, then testers."""
    return [*AGENTS, *(f"tester-{number:02}" for number in range(len(AGENTS) + 1, agents + 1))]


def writes(agent: str, number: int) -> Iterator[Call]:
    """What an agent writes: its part of the story, then test orders, `number` writes in all."""
    story = part(agent)
    yield from story[:number]
    for order in range(1, number - len(story) + 1):
        name = f"test order {agent}-{order:03}"
        paid = _PAID[order % len(_PAID)]
        if order % 2:
            tea = _TEAS[order % len(_TEAS)]
            text = f"{name}: {50 * (order % 5 + 1)} g of {tea}, paid by {paid}, confirmed."
            yield _write(text=text, room="test orders", said_at="2025-04-22")
        else:
            yield _write(subject=name, predicate="paid_by", object=paid, valid_from="2025-04-22")
