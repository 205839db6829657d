"""What the demo's agents write: one spring at a tea shop that gets a new web shop."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

WING = "teashop"
LEAD = """\
A tea shop gets a new web shop. Four AI agents work on it: shipping, checkout, catalogue and
operations. Each has a `palatine mcp` server of its own, and all share one palace, which is new:"""

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


@dataclass(frozen=True, slots=True)
class Write:
    """One call of a tool that writes."""

    tool: str
    arguments: dict[str, Any]


def _text(room: str, said_at: str, text: str, kind: str = "note") -> Write:
    place = {"wing": WING, "room": room, "kind": kind, "said_at": said_at}
    return Write("add_drawer", {"text": text, **place})


def _fact(subject: str, predicate: str, object_: str, valid_from: str) -> Write:
    names = {"subject": subject, "predicate": predicate, "object": object_}
    return Write("kg_add", {**names, "valid_from": valid_from, "wing": WING})


STORY: dict[str, tuple[Write, ...]] = {
    "shipping": (
        _text(
            "delivery",
            "2025-02-11",
            "We ship with Northpost. At 4.10 a parcel it is the cheapest carrier for tea and takes"
            " parcels until 17:00; Swiftbox asks 60 cents more. We look at it again in May.",
            "decision",
        ),
        _fact("teashop", "ships_with", "Northpost", "2025-02-11"),
        _text(
            "delivery",
            "2025-03-03",
            "Northpost's label service answers 503 every night from 02:00 to 02:20, when it is"
            " maintained. Try again later; nobody needs to be woken for it.",
        ),
        _fact("Northpost", "collects_until", "17:00", "2025-02"),
        _text(
            "delivery",
            "2025-04-30",
            "41 of April's 47 complaints are about parcels handed over on a Friday: Northpost does"
            " not sort at weekends, so they arrive on Tuesday.",
        ),
        _fact("Nadia", "leads", "shipping", "2025-01"),
    ),
    "checkout": (
        _text(
            "checkout",
            "2025-01-20",
            "Customers can buy without an account. In the test 31 of 100 people left when they were"
            " asked to choose a password.",
            "decision",
        ),
        _fact("teashop", "allows", "guest checkout", "2025-01-20"),
        _text(
            "checkout",
            "2025-03-17",
            f"The key that signs the card service's callbacks is called {KEY}. It lies in the vault"
            " under teashop/checkout; the repository has only its name. Changed today.",
        ),
        _fact(KEY, "stored_in", "vault teashop/checkout", "2025-03-17"),
        _text(
            "checkout",
            "2025-02-24",
            "Prices are whole cents, never floats: 4.35 * 3 gave 13.049999999999999, and a basket"
            " showed 13.04.",
        ),
        _fact("Nadia", "decides_on", "guest checkout", "2025-01"),
    ),
    "catalogue": (
        _text(
            "catalogue",
            "2025-02-03",
            "The supplier's list calls oolong 'blue tea'. The import renames it; do not open a"
            " second category for it.",
        ),
        _fact("catalogue import", "reads", "supplier list", "2025-02-03"),
        _text(
            "catalogue",
            "2025-03-12",
            "Photos are 1600 pixels wide and WebP. The first page went from 3.9 MB to 620 kB.",
            "decision",
        ),
        _fact("product photos", "stored_as", "WebP", "2025-03-12"),
        _text(
            "catalogue",
            "2025-04-08",
            "May a customer mix two teas in one 100 g bag? The label printer knows one name only.",
            "question",
        ),
    ),
    "operations": (
        _text(
            "servers",
            "2025-01-15",
            "We deploy from Tuesday to Thursday, before 15:00: then somebody is there for the rest"
            " of the day.",
            "decision",
        ),
        _fact("teashop", "deploys_until", "15:00", "2025-01-15"),
        _text(
            "servers",
            "2025-03-09",
            "Restored yesterday's backup on the spare machine, as an exercise: 14 minutes, nothing"
            " missing. The slow part was the photos.",
        ),
        _fact("web-2", "runs", "Debian 12", "2025-02"),
    ),
}

REVERSAL = _text(
    "delivery",
    SWITCHED,
    "From 6 May we ship with Swiftbox and no longer with Northpost: we change the carrier because"
    " Northpost does not sort at weekends, which caused 41 of April's 47 complaints. Swiftbox costs"
    " 60 cents more and delivers on Saturdays. This reverses the decision of 11 February.",
    "decision",
)
_TEAS = ("Assam", "sencha", "oolong", "rooibos", "mint", "Darjeeling", "gunpowder")
_PAID = ("card", "invoice", "gift card")


def names(agents: int) -> list[str]:
    """The agents: the four of the story, then testers."""
    return [*STORY, *(f"tester-{number:02}" for number in range(len(STORY) + 1, agents + 1))]


def writes(agent: str, number: int) -> Iterator[Write]:
    """What an agent writes: its part of the story, then test orders, `number` writes in all."""
    story = STORY.get(agent, ())
    yield from story[:number]
    for order in range(1, number - len(story) + 1):
        name = f"test order {agent}-{order:03}"
        paid = _PAID[order % len(_PAID)]
        if order % 2:
            tea = _TEAS[order % len(_TEAS)]
            text = f"{name}: {50 * (order % 5 + 1)} g of {tea}, paid by {paid}, confirmed."
            yield _text("test orders", "2025-04-22", text)
        else:
            yield _fact(name, "paid_by", paid, "2025-04-22")
