"""Mining among many processes: once between them, killed without a trace, seen whole or not."""

import shutil
import signal
from collections import Counter
from contextlib import closing
from itertools import count
from pathlib import Path

import pytest

from palatine import NewDrawer, Palace
from palatine.ingest import claims
from tests.process.workers import Crew, Ledger

FILES = 40


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "palace"


def make_tree(folder: Path, files: int) -> Path:
    (folder / "shop" / ".git").mkdir(parents=True)
    for number in range(files):
        path = folder / "shop" / ("src" if number % 2 else "docs") / f"n{number}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"Note {number}.\n\n" * (1700 if number % 10 == 0 else 1))
    return folder / "shop"


def filed(palace: Palace, tree: Path) -> None:
    """Asserts that each file of the tree is in the palace once and whole, and nothing else is."""
    found: dict[str, dict[int, str]] = {}
    cursor = ""
    while True:
        page = palace.list(limit=100, cursor=cursor)
        for drawer in page:
            if drawer.source:
                parts = found.setdefault(drawer.source.removeprefix("shop/"), {})
                assert drawer.position not in parts
                parts[drawer.position] = drawer.text
        if not (cursor := page.cursor):
            break
    there = {str(path.relative_to(tree)): path.read_text() for path in tree.rglob("*.md")}
    whole = {name: "".join(parts[n] for n in range(len(parts))) for name, parts in found.items()}
    assert whole == there
    assert palace.check() == []


@pytest.mark.parametrize("miners", [2, 8])
def test_miners_of_one_tree_and_of_parts_of_it_read_and_file_each_file_once_beside_writers(
    crew: Crew, place: Path, tmp_path: Path, miners: int
) -> None:
    tree = make_tree(tmp_path, FILES)
    places = [tree, tree / "src", tree / "docs", tree / "src" / "n1.md"]
    at_work = [crew.start("mine", str(place), str(places[n % 4])) for n in range(miners)]
    ledgers = [tmp_path / f"ledger {n}" for n in range(3)]
    writers = [
        crew.start("write_many", str(place), n, 20, str(ledger)) for n, ledger in enumerate(ledgers)
    ]
    for each in (*at_work, *writers):
        assert each.hear() == "ready"
    for each in (*at_work, *writers):
        each.tell("go")
    seen = [each.ends()[-1] for each in at_work]
    for each in writers:
        each.ends()
    with Palace.open(place, embedder="hashing") as palace:
        stored = palace.embed().stored
        assert [problems for *_, problems, _ in seen] == [[]] * miners
        assert sum(files for files, *_ in seen) == FILES
        assert [changed + removed for _, _, changed, removed, *_ in seen] == [0] * miners
        mined = palace.list(wing="shop", limit=1000).items
        assert sum(added for _, added, *_ in seen) == len(mined)
        # Each drawer was recorded once, and each chunk embedded once.
        adds = Counter(change.ref for change in palace.changes(wing="shop", limit=1000))
        assert adds == Counter(drawer.id for drawer in mined)
        with palace._store.read() as tx:
            chunks = tx.all_rows("SELECT count(*) FROM chunk")[0][0]  # type: ignore[attr-defined]
        assert stored + sum(embedded for *_, embedded in seen) == chunks
        filed(palace, tree)
        noted = [ref for ledger in ledgers for kind, ref in Ledger.read(ledger) if kind == "drawer"]
        assert len(noted) == 30
        for ref in noted:
            assert palace.get(ref)
        seq = palace.status().seq
        again = palace.mine(tree)
        assert (again.files, again.unchanged, palace.status().seq) == (0, FILES, seq)


def test_a_miner_that_is_stuck_is_waited_for_and_then_not(
    crew: Crew, place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tree = make_tree(tmp_path, 3)
    with Palace.open(place) as palace:
        work = f"{palace.status().palace_id}\0shop"
        stuck = crew.start("claim", work, "docs/n0.md")
        assert stuck.hear() is True
        monkeypatch.setattr(claims, "_WAIT_SECONDS", claims._POLL_SECONDS * 2)
        tried: list[str] = []
        take = claims.Claims.take

        def see(self: claims.Claims, path: str) -> bool:
            tried.append(path)
            return take(self, path)

        monkeypatch.setattr(claims.Claims, "take", see)
        assert palace.mine(tree).files == 3
        assert Counter(tried) == {"docs/n0.md": 5, "docs/n2.md": 1, "src/n1.md": 1}
        filed(palace, tree)
        stuck.tell("end")
        stuck.ends()


def test_a_claim_is_free_again_when_it_is_dropped_and_when_its_miner_is_killed(
    crew: Crew, tmp_path: Path
) -> None:
    with closing(claims.Claims("work")) as mine:
        killed = crew.start("claim", "work", "a.md")
        assert killed.hear() is True
        assert not mine.take("a.md")
        assert mine.take("b.md")
        killed.signal(signal.SIGKILL)
        assert killed.wait() == -signal.SIGKILL
        killed.close()
        assert mine.take("a.md")
        for path, free in (("a.md", False), ("c.md", True)):
            other = crew.start("claim", "work", path)
            assert other.hear() is free
            other.tell("end")
            other.ends()
        mine.drop()
        other = crew.start("claim", "work", "a.md")
        assert other.hear() is True
        other.tell("end")
        other.ends()


def test_a_miner_killed_at_any_statement_is_followed_by_one_that_completes_its_work(
    crew: Crew, memory: Path
) -> None:
    tree = make_tree(memory, 3)
    template, place = memory / "template", memory / "palace"
    with Palace.open(template) as palace:
        palace.add_many([NewDrawer("kept", wing="else")])
    left: Counter[int] = Counter()
    for event in count(1):
        shutil.copytree(template, place)
        victim = crew.start("mine_and_die", str(place), str(tree), event)
        code = victim.wait()
        assert code in (0, -signal.SIGKILL)
        assert victim.last_words() == (["mined"] if code == 0 else [])
        victim.close()
        with Palace.open(place) as palace:
            assert palace.check() == []
            done = palace.mine(tree)
            left[done.files] += 1
            filed(palace, tree)
        shutil.rmtree(place)
        if code == 0:
            break
    assert set(left) == {0, 1, 2, 3}  # files that the next run had to read


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
@pytest.mark.parametrize("files", [0, 3, 7])
def test_what_an_interrupted_miner_has_filed_stays_and_the_next_run_reads_only_the_rest(
    crew: Crew, place: Path, tmp_path: Path, how: signal.Signals, files: int
) -> None:
    tree = make_tree(tmp_path, 9)
    miner = crew.start("mine_file_by_file", str(place), str(tree))
    for _ in range(files):
        miner.hear()
        miner.tell("go on")
    miner.hear()
    miner.signal(how)
    assert miner.wait() == -how
    miner.close()
    with Palace.open(place) as palace:
        done = palace.mine(tree)
        assert (done.files, done.unchanged) == (9 - files - 1, files + 1)
        filed(palace, tree)


def test_a_reader_sees_all_drawers_of_a_changed_file_as_they_were_or_as_they_are(
    crew: Crew, place: Path, tmp_path: Path
) -> None:
    file = tmp_path / "long.md"
    miner = crew.start("change_and_mine", str(place), str(file), 25)
    assert miner.hear() == "ready"
    miner.tell("go")
    assert miner.hear() == 0
    known, seen = 0, set()
    with Palace.open(place) as palace:
        while known < 24:
            drawers = palace.list(limit=100).items
            text = "".join(d.text for d in sorted(drawers, key=lambda d: d.position))
            lines = set(text.splitlines())
            assert len(lines) == 1
            assert text.count("\n") == 9000
            version = int(lines.pop().split()[1])
            assert version >= known
            seen.add(version)
            if miner._line.addressed():
                known = miner.hear()
        assert len({d.id for d in palace.list(limit=100)}) == len(drawers)
    miner.ends()
    assert len(seen) > 1
