"""What one call costs in a wing must grow neither with the wing nor with the others."""

from collections.abc import Callable
from functools import partial
from pathlib import Path

import apsw
import pytest

from palatine import NewDrawer, Palace
from palatine.embed.hashing import HashingEmbedder
from tests.unit.test_work import Steps

FEW, MANY = 60, 3000


def fill(palace: Palace, wing: str, numbers: range) -> None:
    palace.add_many(NewDrawer(f"drawer {n} of {wing}", wing, source=f"file {n}") for n in numbers)


# One call each; the number makes it a new one. What they ask for is rare.
CALLS: dict[str, Callable[[Palace, int], object]] = {
    "status": lambda p, n: p.changes(after=10**9, limit=1),  # the last change of the wing
    "get": lambda p, n: p.get(p.list(limit=1).items[0].id),
    "list": lambda p, n: p.list(limit=5),
    "add a drawer": lambda p, n: p.add(f"new {n}"),
    "update a drawer": lambda p, n: p.update(p.list(limit=1).items[0].id, text=f"better {n}"),
    "delete a drawer": lambda p, n: p.delete(p.list(limit=1).items[0].id),
    "undo": lambda p, n: p.undo(p.add(f"undone {n}").seq),
    "add a fact": lambda p, n: p.knowledge.add(f"new {n}", "is", "a thing", drawer=one(p)),
    "end a fact": lambda p, n: p.knowledge.end(f"new {n}", "is", "a thing"),
    "about": lambda p, n: p.knowledge.about(f"new {n}", state="all"),
    "changes": lambda p, n: p.changes(after=20, limit=5),
}


def one(palace: Palace) -> str:
    return palace.list(limit=1).items[0].id


@pytest.mark.parametrize("grows", ["app", "shop"])
def test_a_call_costs_the_same_however_large_a_wing_is(tmp_path: Path, grows: str) -> None:
    steps = Steps()
    apsw.connection_hooks.append(steps.watch)
    try:
        with Palace.open(tmp_path / "palace", embedder=HashingEmbedder()) as whole:
            app = whole.scoped("app")
            fill(whole, "app", range(FEW))
            fill(whole, "shop", range(FEW))
            app.add("A lonely zebra.")
            whole.embed()
            small = {name: steps.of(partial(call, app, 1)) for name, call in CALLS.items()}
            fill(whole, grows, range(FEW, MANY))
            whole.embed()
            filtered = steps.of(lambda: whole.search("lonely zebra", wing="app"))
            assert steps.of(lambda: app.search("lonely zebra")) < 1.2 * filtered + 500
            large = {name: steps.of(partial(call, app, 2)) for name, call in CALLS.items()}
    finally:
        apsw.connection_hooks.remove(steps.watch)
    grown = {name: (small[name], large[name]) for name in CALLS}
    assert {n: c for n, c in grown.items() if c[1] > 2 * c[0] + 200} == {}
