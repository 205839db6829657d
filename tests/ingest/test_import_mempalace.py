"""Importing MemPalace palaces: real ones, whole and damaged as users' were; see palaces/make.py."""

import json
import os
import pickle
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest

from palatine import Palace
from palatine.embedding import meant
from palatine.errors import InputError, NotFoundError, ScopeError
from palatine.imports import chroma
from palatine.imports.base import Brought, Reading
from palatine.types import DrawerFilter
from tests.ingest.palaces.make import LONG

PALACES = Path(__file__).with_name("palaces")
DRAWERS, VECTORS = 30, 27  # the two of the diary are embedded with their author, one is in slices
SECONDS = 60


def unpacked(name: str, folder: Path) -> Path:
    with zipfile.ZipFile(PALACES / f"{name}.zip") as archive:
        archive.extractall(folder / name)
    return folder / name


@pytest.fixture
def queue(tmp_path: Path) -> Path:
    """All its vectors are in ChromaDB's queue; the graph beside it is in a write-ahead log."""
    return unpacked("queue", tmp_path)


@pytest.fixture
def synced(tmp_path: Path) -> Path:
    """Most of its vectors are in the index's files."""
    return unpacked("synced", tmp_path)


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace", agent="ann", embedder="minilm") as opened:
        yield opened
        assert opened.check() == []


def rows(home: Path) -> sqlite3.Connection:
    return sqlite3.connect(home / "palace" / "chroma.sqlite3", isolation_level=None)


def index(home: Path) -> Path:
    return next((home / "palace").glob("*/index_metadata.pickle")).parent


def brought(palace: Palace, path: Path) -> Brought:
    return palace.import_other("mempalace", path)


def texts(palace: Palace) -> list[str]:
    return sorted(drawer.text for drawer in palace.list(limit=1000).items)


@pytest.mark.parametrize("name", ["queue", "synced"])
def test_a_palace_comes_whole_with_its_vectors(palace: Palace, tmp_path: Path, name: str) -> None:
    home = unpacked(name, tmp_path)
    done = brought(palace, home)
    assert (done.problems, done.vectors) == ((), VECTORS)
    assert (done.imported.before["drawers"], done.imported.after["drawers"]) == (0, DRAWERS)
    assert palace.status().pending == DRAWERS - VECTORS + 2  # the one in slices has four passages
    (tea,) = palace.list(wing="home").items
    assert (tea.text, tea.room, tea.source) == (LONG, "tea", "/notes/tea.md")
    with closing(rows(home)) as there:
        for (old,) in there.execute(
            "SELECT embedding_id FROM embeddings WHERE embedding_id LIKE '%home_tea%'"
        ):
            assert palace.get(old).id == palace.get(old.partition("_chunk_")[0]).id == tea.id
    planning = {drawer.text for drawer in palace.list(wing="shop", limit=100).items}
    assert "Note 3 was changed: no release before June." in planning
    assert not any(text.startswith(("Note 3:", "Note 4:")) for text in planning)
    assert [e.text for e in palace.diary_read("ann").items] == ["Slept well; the kettle works."] * 2
    told = {str(f): (str(f.valid_from), str(f.valid_to)) for f in palace.knowledge.timeline().items}
    assert told == {
        "Max works_at Acme": ("2024-03-01", "2025-02-01T00:00:00Z"),
        "Max works_at Initech": ("2025-02-01T00:00:00Z", "None"),
        "Max lives_in Rome": ("2020-01-01", "2021-06-30"),
        "Shop API uses GraphQL": ("None", "None"),
    }
    (uses,) = palace.knowledge.find(predicate="uses")
    assert palace.get(uses.drawer).text == "We chose GraphQL over REST: one round trip."
    (link,) = palace.links()
    assert ({link.source.room, link.target.room}, link.label) == ({"api", "tea"}, "both boil")


def test_the_vectors_taken_over_are_those_of_our_own_model(palace: Palace, synced: Path) -> None:
    brought(palace, synced)
    embedder = palace._embedding.embedder()
    with palace._store.read() as tx:
        waiting = {pending.drawer for pending in tx.pending(DrawerFilter(), limit=100)}
        taken = [d for d in tx.drawers(DrawerFilter(), limit=100) if d.id not in waiting]
        assert len(taken) == VECTORS
        for drawer in taken:
            (vector,) = embedder.embed([meant(drawer, 0, len(drawer.text))])
            (best,) = tx.nearest(vector, DrawerFilter(), limit=1)
            assert best.score > 0.998
            assert tx.spans([best.chunk])[0].drawer == drawer.id


@pytest.mark.parametrize("odd", ["5", "null", '{"people": [5]}', '["tunnel"]'])
def test_what_lies_beside_a_palace_in_another_shape_costs_only_itself(
    palace: Palace, queue: Path, odd: str
) -> None:
    for name in ("tunnels.json", "entity_registry.json"):
        (queue / name).write_text(odd)
    done = brought(palace, queue)
    assert done.imported.after["drawers"] > 0
    assert 1 <= len(done.problems) <= 2


def test_again_nothing_is_filed_also_after_an_undo_of_nothing(palace: Palace, queue: Path) -> None:
    brought(palace, queue)
    seq = palace.status().seq
    again = brought(palace, queue)
    assert (again.imported.added, again.imported.last_seq, again.vectors) == ({}, 0, 0)
    assert again.imported.known["drawer"] == DRAWERS
    assert palace.status().seq == seq


def test_tunnels_that_were_computed_or_lead_nowhere_are_counted(
    palace: Palace, queue: Path
) -> None:
    file = queue / "tunnels.json"
    (tunnel,) = json.loads(file.read_text())
    nowhere = tunnel | {"id": "1", "target": {"wing": "gone", "room": "gone"}}
    file.write_text(json.dumps([tunnel, nowhere, tunnel | {"id": "2", "kind": "topic"}]))
    done = brought(palace, queue)
    assert (len(palace.links()), done.problems) == (1, ())
    assert done.counts["tunnels to rooms that are not here"] == 1
    assert done.counts["computed tunnels skipped"] == 1


def test_a_dry_run_counts_and_writes_nothing(palace: Palace, queue: Path) -> None:
    done = palace.import_other("mempalace", queue, dry_run=True)
    assert (done.imported.added["drawer"], done.imported.added["fact"]) == (DRAWERS, 4)
    assert palace.status().seq == 0


def test_a_graph_beside_the_palace_is_taken_only_when_asked_for(
    palace: Palace, queue: Path
) -> None:
    done = brought(palace, queue / "palace")
    assert done.imported.after["facts"] == 0
    assert any("graph left alone" in count for count in done.counts)
    assert brought(palace, queue / "knowledge_graph.sqlite3").imported.after["facts"] == 4


class Hostile:
    def __reduce__(self) -> tuple[object, ...]:
        return os.system, ("touch owned",)


def cut(name: str, share: float) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return damage


@pytest.mark.parametrize(
    ("damage", "taken", "reported"),
    [
        (cut("index_metadata.pickle", 0.5), 6, True),
        (lambda f: (f / "index_metadata.pickle").write_bytes(pickle.dumps(Hostile())), 6, True),
        (lambda f: (f / "index_metadata.pickle").write_bytes(b"\x80\x05garbage"), 6, True),
        (lambda f: (f / "index_metadata.pickle").write_bytes(pickle.dumps([1])), 6, True),
        (lambda f: (f / "header.bin").write_bytes(b"\xff" * 100), 6, True),
        (lambda f: (f / "header.bin").unlink(), 6, True),
        (lambda f: (f / "data_level0.bin").write_bytes(b""), 6, True),
        (cut("data_level0.bin", 0.05), 9, True),  # five of its records are left
        (lambda f: (f / "link_lists.bin").unlink(), VECTORS, False),  # they are not needed
        (lambda f: shutil.rmtree(f), 6, False),
    ],
    ids=[
        *("cut-off pickle", "hostile pickle", "no pickle", "other pickle", "bad header"),
        *("no header", "empty data", "cut-off data", "no link lists", "no index"),
    ],
)
def test_a_damaged_index_costs_vectors_and_no_text(
    palace: Palace,
    synced: Path,
    monkeypatch: pytest.MonkeyPatch,
    damage: Callable[[Path], None],
    taken: int,
    reported: bool,
) -> None:
    monkeypatch.chdir(synced)
    folder = index(synced)
    damage(folder)
    done = brought(palace, synced)
    assert done.imported.after["drawers"] == DRAWERS
    assert not (synced / "owned").exists()
    assert [folder.name in problem.path for problem in done.problems] == [True] * reported
    assert done.vectors == taken
    assert done.counts.get("rows without a vector there", 0) == VECTORS - taken
    assert palace.embed().pending == 0


def test_what_stands_in_the_queue_only_is_filed(palace: Palace, queue: Path) -> None:
    with closing(rows(queue)) as there:
        there.execute("UPDATE max_seq_id SET seq_id = 25")
        there.execute(
            "UPDATE embedding_metadata SET string_value = 'stale' WHERE key = 'chroma:document'"
            " AND string_value LIKE 'Note 3 %'"
        )
        lost = there.execute(
            "SELECT id FROM embeddings WHERE seq_id > 25 AND embedding_id NOT IN"
            " (SELECT id FROM embeddings_queue WHERE operation = 1)"
        ).fetchall()
        assert len(lost) == 9
        there.executemany("DELETE FROM embeddings WHERE id = ?", lost)
        there.executemany("DELETE FROM embedding_metadata WHERE id = ?", lost)
    brought(palace, queue)
    with Palace.open(palace._store.place + "-whole", embedder="minilm") as whole:
        brought(whole, unpacked("queue", queue / "again"))
        assert texts(whole) == texts(palace)


def test_bad_records_are_named_and_the_rest_is_filed(palace: Palace, queue: Path) -> None:
    with closing(rows(queue)) as there:
        there.execute(
            "DELETE FROM embeddings WHERE embedding_id LIKE 'drawer_home_tea%_chunk_000001'"
        )
        (bare,) = there.execute(
            "SELECT e.id FROM embeddings e JOIN embedding_metadata m ON m.id = e.id"
            " WHERE m.key = 'chroma:document' AND m.string_value LIKE 'Note 7:%'"
        ).fetchone()
        there.execute("DELETE FROM embedding_metadata WHERE id = ? AND key LIKE 'chroma%'", [bare])
    with closing(sqlite3.connect(queue / "knowledge_graph.sqlite3")) as graph, graph:
        graph.execute("UPDATE triples SET valid_to = '1999-01-01' WHERE predicate = 'lives_in'")
    (queue / "tunnels.json").write_text("[{")
    done = brought(palace, queue)
    assert done.imported.after["drawers"] == DRAWERS - 1
    assert done.imported.after["facts"] == 3
    told = " ".join(f"{problem.path}: {problem.reason}" for problem in done.problems)
    for words in ("drawer_home_tea", "only [0, 2]", "has no text", "Max lives_in Rome", "tunnels"):
        assert words in told
    assert len(done.problems) == 4
    (tea,) = palace.list(wing="home").items
    assert tea.metadata["mempalace"]["left_out"] == "all slices but [0, 2]"


def test_a_damaged_database_gives_what_can_be_read_and_says_so(palace: Palace, queue: Path) -> None:
    file = queue / "palace" / "chroma.sqlite3"
    file.write_bytes(file.read_bytes()[: 200 * 1024])
    done = brought(palace, queue)
    assert any("chroma.sqlite3" in problem.path for problem in done.problems)
    assert done.imported.after["facts"] == 4


def test_vectors_of_another_model_are_not_taken_over(palace: Palace, queue: Path) -> None:
    chance = random.Random(1)
    with closing(rows(queue)) as there:
        for (seq,) in there.execute("SELECT seq_id FROM embeddings_queue").fetchall():
            other = struct.pack("<384f", *(chance.uniform(-1, 1) for _ in range(384)))
            there.execute("UPDATE embeddings_queue SET vector = ? WHERE seq_id = ?", [other, seq])
    done = brought(palace, queue)
    assert done.vectors == 0
    assert "vectors not taken over: of another model" in done.counts


def test_an_old_index_is_read_though_its_pickle_names_a_class(tmp_path: Path) -> None:
    home = unpacked("old", tmp_path)
    (tmp_path / "copies").mkdir()
    reading = Reading(tmp_path / "copies")
    with closing(chroma.copied(home / "chroma.sqlite3", reading.scratch)) as db:
        (collection,) = db.execute("SELECT * FROM collections").fetchall()
        found = [
            row for rows in chroma.units(db, home, collection, ("", ""), reading) for row in rows
        ]
    assert reading.problems == []
    chance = random.Random(1)
    assert [row.text for row in found] == [f"old note {n}" for n in range(24)]
    for row in found:
        given = np.array([chance.uniform(-1, 1) for _ in range(16)], np.float32)
        vector = np.frombuffer(row.vector, "<f4")
        assert (
            float(vector @ given) / float(np.linalg.norm(vector) * np.linalg.norm(given)) > 0.9999
        )


def test_a_palace_limited_to_a_wing_takes_no_other(palace: Palace, queue: Path) -> None:
    with pytest.raises(ScopeError, match="limited to wing 'shop'"):
        palace.scoped("shop").import_other("mempalace", queue)
    assert palace.status().seq == 0


def test_a_folder_without_a_palace_is_refused(palace: Palace, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no chroma\.sqlite3"):
        brought(palace, tmp_path)
    with pytest.raises(InputError, match="one of mempalace"):
        palace.import_other("mem0", tmp_path)
    with pytest.raises(NotFoundError):
        palace.get("drawer_home_tea")


def command(home: Path, folder: Path) -> subprocess.Popen[bytes]:
    words = ["import", "mempalace", str(home), "--palace", str(folder), "--json"]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "palatine", *words], stdout=subprocess.PIPE
    )


def enlarged(home: Path, count: int) -> None:
    """Gives the palace so many rows more, without vectors."""
    with closing(rows(home)) as there:
        (segment,) = there.execute(
            "SELECT s.id FROM segments s JOIN collections c ON c.id = s.collection"
            " WHERE scope = 'METADATA' AND name = 'mempalace_drawers'"
        ).fetchone()
        there.execute("BEGIN")
        for n in range(1000, 1000 + count):
            there.execute(
                "INSERT INTO embeddings(id, segment_id, embedding_id, seq_id) VALUES (?, ?, ?, ?)",
                [n, segment, f"more_{n}", 20],
            )
            for key, value in (("chroma:document", f"more {n}"), ("wing", "w"), ("room", "r")):
                there.execute(
                    "INSERT INTO embedding_metadata(id, key, string_value) VALUES (?, ?, ?)",
                    [n, key, value],
                )
        there.execute("COMMIT")


def test_several_processes_at_once_import_it_once(queue: Path, tmp_path: Path) -> None:
    enlarged(queue, 700)
    running = [command(queue, tmp_path / "palace") for _ in range(3)]
    told = [json.loads(each.communicate(timeout=SECONDS)[0]) for each in running]
    assert [each.returncode for each in running] == [0] * 3
    added = [each["imported"]["added"] for each in told]
    assert sum(each.get("drawer", 0) for each in added) == DRAWERS + 700
    assert sum(each.get("fact", 0) for each in added) == 4
    with Palace.open(tmp_path / "palace") as palace:
        assert palace.status().drawers == DRAWERS + 700
        assert palace.check() == []


def test_an_import_that_was_killed_is_finished_by_the_next(queue: Path, tmp_path: Path) -> None:
    enlarged(queue, 3000)
    with Palace.open(tmp_path / "palace") as palace:
        first = command(queue, tmp_path / "palace")
        while palace.status().drawers < 500 and first.poll() is None:
            pass
        first.kill()
        first.communicate(timeout=SECONDS)
        held = palace.status().drawers
        assert held >= 500
        last = command(queue, tmp_path / "palace")
        told = json.loads(last.communicate(timeout=SECONDS)[0])
        assert last.returncode == 0
        assert told["imported"]["added"].get("drawer", 0) == DRAWERS + 3000 - held
        assert palace.status().drawers == DRAWERS + 3000
        assert palace.knowledge.stats().facts == 4
        assert palace.check() == []
