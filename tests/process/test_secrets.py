"""Secrets are masked by several at once, and while others write."""

from pathlib import Path

from palatine import Palace
from tests.process.deeds import KEY
from tests.process.workers import Crew, Ledger


def test_all_who_mask_at_once_beside_writers_leave_no_secret_and_lose_nothing(
    crew: Crew, tmp_path: Path
) -> None:
    place = tmp_path / "palace"
    with Palace.open(place, embedder="none") as palace:
        texts = {palace.add(f"text {n} with {KEY} in it").drawer.id: n for n in range(20)}
    ledgers = [tmp_path / f"ledger {n}" for n in range(3)]
    crowd = [crew.start("race", str(place), me, "mask") for me in range(4)]
    writers = [
        crew.start("write_many", str(place), me, 20, str(ledger))
        for me, ledger in enumerate(ledgers)
    ]
    for each in (*crowd, *writers):
        assert each.hear() == "ready"
    for each in (*crowd, *writers):
        each.tell("go")
    assert [each.ends() for each in crowd] == [["masked"]] * 4
    for each in writers:
        each.ends()
    noted = [note for ledger in ledgers for note in Ledger.read(ledger)]
    assert len(noted) == 60
    with Palace.open(place, embedder="none") as palace:
        facts = palace.knowledge.find(state="all", limit=1000)
        drawers = palace.list(limit=1000).items
        there = {("fact", fact.id) for fact in facts} | {("drawer", each.id) for each in drawers}
        assert set(noted) == there - {("drawer", drawer) for drawer in texts}
        for drawer, n in texts.items():
            assert palace.get(drawer).text == f"text {n} with [AWS Access Key masked] in it"
        assert [change.op for change in palace.changes(limit=1000)].count("update") == 20
        assert palace.secrets().found == ()
        assert palace.check() == []
    assert KEY.encode() not in b"".join(path.read_bytes() for path in place.glob("palace.db*"))
