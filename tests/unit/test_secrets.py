"""What seems a secret is warned of, found wherever it stands, masked and forgotten."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from palatine import Palace
from palatine.errors import ForgetIncompleteError, InputError, NotFoundError
from palatine.types import Author, Kind

KEY = "AKIAIOSFODNN7EXAMPLE"
PASSWORD = "pa55word7Q"
MARK = "[AWS Access Key masked]"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "palace"


@pytest.fixture
def palace(folder: Path) -> Iterator[Palace]:
    with Palace.open(folder, embedder="hashing") as opened:
        yield opened


def bytes_of(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def assert_gone(palace: Palace, folder: Path, secret: str = KEY) -> None:
    assert secret.encode() not in bytes_of(folder)
    assert secret.lower().encode() not in bytes_of(folder)
    assert palace.check() == []
    assert palace.secrets().found == ()


def _link(palace: Palace) -> None:
    ends = palace.add("a").drawer.id, palace.add("b").drawer.id
    palace.link(*ends, label=f"with {KEY}")


def _link_rooms(palace: Palace) -> None:
    for room in ("plans", KEY):
        palace.add("a", wing="shop", room=room)
    palace.link(("shop", "plans"), ("shop", KEY))


def _end_fact(palace: Palace) -> None:
    palace.knowledge.add("server", "opens with", KEY)
    palace.knowledge.end("server", "opens with", KEY)


KEEP: dict[str, Callable[[Palace], object]] = {
    "text": lambda palace: palace.add(f"one\ntwo {KEY} three"),
    "metadata": lambda palace: palace.add("a", metadata={"key": KEY, "ours": 1}),
    "source": lambda palace: palace.add("a", source=f"https://ann:{KEY}@example.org/"),
    "diary": lambda palace: palace.diary_write("ann", f"used {KEY}"),
    "earlier": lambda palace: palace.update(palace.add(f"was {KEY}").drawer.id, text="was a key"),
    "deleted": lambda palace: palace.delete(palace.add(f"it was {KEY}").drawer.id),
    "link": _link,
    "properties": lambda palace: palace.knowledge.add_entity(
        "server", properties={"key": KEY, "port": 1}
    ),
    "wing": lambda palace: palace.add("a", wing=f"at {KEY}"),
    "room": lambda palace: palace.add("a", room=KEY),
    "author": lambda palace: palace.add("a", author=Author(agent=KEY)),
    "session": lambda palace: palace.add("a", author=Author(session=f"s {KEY}")),
    "deleted, in a wing": lambda palace: palace.delete(palace.add("a", wing=KEY).drawer.id),
    "session of a fact": lambda palace: palace.knowledge.add("a", "b", "c", author=Author("", KEY)),
    "ends of a link": _link_rooms,
    "wing of a fact": lambda palace: palace.knowledge.add("a", "b", "c", wing=KEY),
    "fact": lambda palace: palace.knowledge.add("server", "opens with", KEY),
    "ended fact": _end_fact,
}


NOT_MASKABLE = {"fact", "ended fact", "wing of a fact", "ends of a link"}


@pytest.mark.parametrize("place", KEEP)
@pytest.mark.parametrize("cure", ["mask", "forget"])
def test_a_secret_is_found_wherever_it_stands_and_gone_afterwards(
    palace: Palace, folder: Path, place: str, cure: str
) -> None:
    KEEP[place](palace)
    found = palace.secrets().found
    assert found
    assert KEY not in repr(found)
    done = palace.secrets("mask" if cure == "mask" else "forget")
    assert done.found == found
    if cure == "mask" and place in NOT_MASKABLE:
        assert done.left
        assert set(done.left) <= set(palace.secrets().found)
    else:
        assert_gone(palace, folder)


def test_it_says_where_a_secret_stands(palace: Palace) -> None:
    drawer = palace.add(f"one\ntwo {KEY}", wing="shop", room="ops", source="a.md").drawer
    (found,) = palace.secrets().found
    assert (found.kind, found.ref, found.field, found.seq) == (Kind.DRAWER, drawer.id, "text", 0)
    assert (found.line, found.column) == (2, 5)
    assert (found.wing, found.room, found.source) == ("shop", "ops", "a.md")


def test_a_masked_session_is_one_session_still(palace: Palace) -> None:
    ours = Author("ann", f"s {KEY}")
    first, second = (palace.add(text, author=ours).drawer.id for text in ("a", "b"))
    other = palace.add("c", author=Author("ann", "s")).drawer
    palace.secrets("mask")
    (session,) = {c.session for c in palace.changes() if c.op == "add" and c.ref != other.id}
    assert session == f"s {MARK}"
    assert {palace.get(each).session for each in (first, second)} == {session}
    assert palace.get(other.id) == other


def test_a_wing_whose_own_name_is_one_is_not_masked_from_within(palace: Palace) -> None:
    palace.add("a", wing=KEY)
    with pytest.raises(InputError, match="look into all wings at once") as refused:
        palace.scoped(KEY).secrets("mask")
    assert KEY not in str(refused.value)


def test_masking_leaves_the_rest_byte_for_byte_and_found_by_other_words(palace: Palace) -> None:
    palace.embed()
    other = palace.add("nothing here\r\n").drawer
    drawer = palace.add(f"the staging \r\n server {KEY}\t\ud800 opens ").drawer
    palace.embed()
    assert palace.secrets("mask").left == ()
    assert palace.get(drawer.id).text == f"the staging \r\n server {MARK}\t\ud800 opens "
    assert palace.get(other.id) == other
    assert palace.status().pending == 1
    assert palace.search("staging server").hits[0].drawer.id == drawer.id
    palace.embed()
    assert palace.check() == []


def test_a_masked_text_that_stands_already_is_kept_once_and_found_by_both_ids(
    palace: Palace, folder: Path
) -> None:
    twin = palace.add(f"use {MARK}").drawer
    drawer = palace.add(f"use {KEY}").drawer
    palace.secrets("mask")
    assert palace.get(drawer.id).id == twin.id
    assert len(palace.list()) == 1
    assert_gone(palace, folder)


def test_members_of_metadata_that_hold_none_stay(palace: Palace) -> None:
    drawer = palace.add("a", metadata={"key": KEY, "ours": [1]}).drawer
    palace.secrets("mask")
    assert palace.get(drawer.id).metadata == {"ours": [1]}


def test_forgetting_takes_what_holds_one_and_nothing_else(palace: Palace, folder: Path) -> None:
    kept = palace.add("kept").drawer
    drawer = palace.add(f"use {KEY}").drawer
    fact = palace.knowledge.add("server", "opens with", KEY).fact
    other = palace.knowledge.add("server", "runs", "linux").fact
    palace.secrets("forget")
    for get in (lambda: palace.get(drawer.id), lambda: palace.knowledge.get(fact.id)):
        with pytest.raises(NotFoundError):
            get()
    assert palace.list().items == (kept,)
    assert palace.knowledge.get(other.id) == other
    assert_gone(palace, folder)


def test_a_wing_is_looked_at_and_masked_alone(palace: Palace) -> None:
    ours = palace.add(f"use {KEY}", wing="ours").drawer
    theirs = palace.add(f"use {KEY}", wing="theirs").drawer
    found = palace.scoped("ours").secrets("mask").found
    assert [each.ref for each in found] == [ours.id]
    assert palace.get(theirs.id) == theirs
    assert [each.ref for each in palace.secrets().found] == [theirs.id]


@contextmanager
def meanwhile(
    palace: Palace, monkeypatch: pytest.MonkeyPatch, act: Callable[[], object]
) -> Iterator[None]:
    """Has something done once, just before the next write begins."""
    write, todo = palace._store.write, [act]

    def writing(*given, **named):
        if todo:
            todo.pop()()
        return write(*given, **named)

    with monkeypatch.context() as patch:
        patch.setattr(palace._store, "write", writing)
        yield
    assert todo == []


def test_what_somebody_writes_between_the_look_and_the_mask_is_not_lost(
    palace: Palace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawer = palace.add(f"use {KEY}").drawer
    with (
        Palace.open(folder, embedder="none") as other,
        meanwhile(
            palace, monkeypatch, lambda: other.update(drawer.id, text=f"no more {KEY}, use that")
        ),
    ):
        palace.secrets("mask")
    assert palace.get(drawer.id).text == f"no more {MARK}, use that"
    assert_gone(palace, folder)


def test_two_that_mask_at_once_do_it_once(
    palace: Palace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawer = palace.add(f"use {KEY}").drawer
    with (
        Palace.open(folder, embedder="none") as other,
        meanwhile(palace, monkeypatch, lambda: other.secrets("mask")),
    ):
        palace.secrets("mask")
    assert palace.get(drawer.id).text == f"use {MARK}"
    assert [change.op for change in palace.changes()] == ["add", "update"]
    assert_gone(palace, folder)


def test_a_call_that_died_before_the_bytes_were_gone_is_finished_by_the_next(
    palace: Palace, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    palace.add(f"use {KEY}")

    def die(_needles):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(palace._store, "scrub", die)
        with pytest.raises(KeyboardInterrupt):
            palace.secrets("mask")
    assert palace.secrets("mask").found == ()
    assert_gone(palace, folder)


def test_a_reader_that_holds_an_old_snapshot_makes_masking_incomplete(folder: Path) -> None:
    with Palace.open(folder, embedder="none", timeout_seconds=0.5) as palace:
        palace.add(f"use {KEY}")
        with palace._store.read() as tx:
            tx.state()
            with pytest.raises(ForgetIncompleteError):
                palace.secrets("mask")
        palace.secrets("mask")
        assert_gone(palace, folder)


def test_a_text_with_a_secret_is_kept_as_it_is_and_warned_of(palace: Palace) -> None:
    added = palace.add(f"use {KEY} and {KEY}")
    assert added.drawer.text == palace.get(added.drawer.id).text == f"use {KEY} and {KEY}"
    (warning,) = added.warnings
    assert "AWS Access Key" in warning
    assert KEY not in warning
    assert palace.diary_write("ann", f"used {KEY}").warnings == (warning,)
    assert palace.update(added.drawer.id, text=f"now {KEY}").warnings == (warning,)
    assert palace.update(added.drawer.id, text="none").warnings == ()
    assert palace.add("harmless").warnings == ()
    (warning,) = palace.add("harmless", room=KEY).warnings
    assert warning.startswith("the room holds what looks like a secret (AWS Access Key);")
