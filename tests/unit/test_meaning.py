"""Search by meaning through the public library: who embeds, what is found, what it costs."""

import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from palatine import NewDrawer, Palace
from palatine import embedding as embedding_module
from palatine.embed import EmbedderError
from palatine.embed.hashing import HashingEmbedder
from palatine.embedding import MOST_FRESH
from palatine.errors import ConflictError, InputError
from palatine.store.vectors import PACKED
from palatine.types import Author

SECONDS = 5


class Topics:
    """An embedder that knows a few topics, so that texts can be near without a common word."""

    name = "topics"
    dimension = 64
    remark = ""
    WORDS = (
        ("cat", "kitten", "purred"),
        ("revenue", "money", "profit"),
        ("ship", "boat", "sail"),
        ("code", "program", "bug"),
    )

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.fails = False
        self.during: Callable[[], object] = lambda: None

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        if self.fails:
            raise EmbedderError("the model is out of order")
        self.texts += texts
        self.during()
        vectors = np.full((len(texts), self.dimension), -0.01, np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for topic, words in enumerate(self.WORDS):
                vector[topic] += sum(text.lower().count(word) for word in words)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)

    def close(self) -> None:
        pass


@pytest.fixture
def topics() -> Topics:
    return Topics()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "palace"


Open = Callable[..., Palace]


@pytest.fixture
def open_palace(folder: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def opened(**options: object) -> Palace:
            return stack.enter_context(Palace.open(folder, **options))  # type: ignore[arg-type]

        yield opened


@pytest.fixture
def palace(open_palace: Open, topics: Topics) -> Palace:
    return open_palace(embedder=topics)


def texts(found: Sequence[object]) -> list[str]:
    return [hit.text for hit in found]  # type: ignore[attr-defined]


def fill(palace: Palace, count: int, word: str = "ship", *, wing: str = "") -> None:
    palace.add_many(NewDrawer(f"{word} {n}", wing=wing) for n in range(count))


# What is found


def test_a_text_that_shares_no_word_with_the_question_is_found(palace: Palace) -> None:
    palace.add("The kitten slept")
    palace.add("Profit fell")
    result = palace.search("cat")
    assert texts(result) == ["The kitten slept"]
    (hit,) = result
    assert result.meaning
    assert hit.text_rank is None
    assert hit.vector_rank == 1
    assert hit.cosine == pytest.approx(1, abs=0.01)
    assert hit.confidence == 0


def test_a_hit_by_both_has_both_ranks_and_comes_first(palace: Palace) -> None:
    for text in ("kitten", "the cat sat", "Catherine"):
        palace.add(text)
    palace.embed()
    best, *others = palace.search("cat")
    assert best.text == "the cat sat"
    assert (best.text_rank, best.vector_rank is None) == (1, False)
    assert set(texts(others)) == {"kitten", "Catherine"}


def test_an_identifier_that_only_the_words_know_is_found(palace: Palace) -> None:
    palace.add("PAYMENT_KEY_7F3 is set in code")
    fill(palace, 300)
    palace.embed()
    assert texts(palace.search("PAYMENT_KEY_7F3", limit=1)) == ["PAYMENT_KEY_7F3 is set in code"]


@pytest.mark.parametrize("embedded", [True, False], ids=["all vectors", "its vector waits"])
def test_the_text_that_holds_a_rare_identifier_comes_before_what_is_near_its_words(
    palace: Palace, *, embedded: bool
) -> None:
    palace.add("ship boat sail")
    palace.embed()
    fill(palace, MOST_FRESH + 1, "code")
    palace.add("revenue and money: SHIP_LOG_42A is due")
    if embedded:
        palace.embed()
    assert texts(palace.search("SHIP_LOG_42A", limit=1)) == [
        "revenue and money: SHIP_LOG_42A is due"
    ]


def test_what_is_far_and_shares_no_word_is_not_found(palace: Palace) -> None:
    palace.add("Profit fell")
    assert len(palace.search("cat")) == 0


def test_a_filter_holds_for_what_is_near_in_the_palace_and_in_memory(
    palace: Palace, open_palace: Open, topics: Topics
) -> None:
    palace.add("kitten", wing="home")
    palace.add("purred", wing="app")
    palace.embed()
    palace.add("kittens purred", wing="app")
    reader = open_palace(embedder=topics, read_only=True)
    for each in (reader, palace):  # the reader stores no vector, the other one does
        assert set(texts(each.search("cat", wing="home"))) == {"kitten"}
        assert set(texts(each.search("cat", wing="app"))) == {"purred", "kittens purred"}


def test_a_long_question_counts_with_all_of_its_parts(palace: Palace) -> None:
    palace.add("kitten")
    palace.embed()
    question = "xyz " * 500 + "\n\n" + "cat " * 50
    assert texts(palace.search(question)) == ["kitten"]


def test_the_neighbour_of_a_near_chunk_gains(palace: Palace) -> None:
    at = {"source": "talk.txt"}
    palace.add("alpha one", **at, position=0)
    palace.add("kitten", **at, position=1)
    palace.add("alpha two")
    palace.embed()
    found = palace.search("cat alpha")
    assert texts(found)[0] == "kitten"
    scores = {hit.text: hit.score for hit in found}
    assert scores["alpha one"] > scores["alpha two"]


def test_what_is_embedded_bears_its_author_and_neither_date_nor_source(
    palace: Palace, topics: Topics
) -> None:
    palace.add(
        "hello \u4f60\u597d",
        said_at="2023-05-08",
        source="logs/talk.txt",
        author=Author("ann"),
    )
    palace.embed()
    (passage,) = topics.texts
    assert passage == "ann: hello \u4f60\u597d"


# Freshness


def test_what_another_wrote_a_moment_ago_is_found_by_meaning(
    palace: Palace, open_palace: Open
) -> None:
    palace.add("kitten 0")
    palace.embed()
    writer = open_palace(embedder="none")
    for n in range(1, 6):
        writer.add(f"kitten {n}")
        result = palace.search("cat")
        assert (len(result), result.pending) == (n + 1, 0)


def test_the_vectors_of_few_waiting_chunks_are_stored_by_the_search_that_made_them(
    palace: Palace, topics: Topics
) -> None:
    palace.add("kitten")
    palace.search("cat")
    assert palace.status().pending == 0
    palace.search("cat")
    assert topics.texts.count("kitten") == 1


def test_while_somebody_writes_fresh_vectors_stay_in_mind_and_are_stored_later(
    palace: Palace, topics: Topics, open_palace: Open
) -> None:
    palace.add("kitten")
    writer = open_palace(embedder="none")
    with writer._store.write(Author()):
        for _ in range(3):
            assert texts(palace.search("cat")) == ["kitten"]
    assert palace.status().pending == 1
    palace.search("cat")
    assert palace.status().pending == 0
    assert topics.texts.count("kitten") == 1


def test_a_reader_ranks_what_waits_and_stores_nothing(
    palace: Palace, open_palace: Open, topics: Topics
) -> None:
    palace.add("kitten")
    reader = open_palace(embedder=topics, read_only=True)
    assert texts(reader.search("cat")) == ["kitten"]
    assert palace.status().pending == 1


def test_more_waiting_chunks_than_a_search_can_embed_are_reported(palace: Palace) -> None:
    palace.add("kitten")
    palace.embed()
    fill(palace, MOST_FRESH + 1)
    result = palace.search("cat")
    assert (result.meaning, result.pending) == (True, MOST_FRESH + 1)
    assert texts(result) == ["kitten"]
    assert len(palace.search("boat")) == 0
    assert len(palace.search("ship 7", limit=1)) == 1
    palace.embed()
    assert len(palace.search("boat", limit=100)) == MOST_FRESH + 1


def test_a_text_that_changes_while_it_is_embedded_waits_again(
    palace: Palace, topics: Topics, open_palace: Open
) -> None:
    drawer = palace.add("kitten").drawer
    writer = open_palace(embedder="none")
    changes = iter(["profit"])
    topics.during = lambda: [writer.update(drawer.id, text=text) for text in changes]
    assert palace.embed().stored == 1
    assert topics.texts == ["kitten", "profit"]
    assert texts(palace.search("money")) == ["profit"]
    assert palace.check() == []


def test_a_deleted_text_is_not_found_and_an_undone_delete_is(palace: Palace) -> None:
    drawer = palace.add("kitten").drawer
    palace.embed()
    assert len(palace.search("cat")) == 1
    seq = palace.delete(drawer.id).seq
    assert len(palace.search("cat")) == 0
    palace.undo(seq)
    assert len(palace.search("cat")) == 1


# What it costs in rows


def test_a_search_reads_the_new_vectors_and_no_other_codes(
    palace: Palace, open_palace: Open, topics: Topics
) -> None:
    fill(palace, PACKED + 300, "kitten", wing="a")
    palace.embed()
    writer = open_palace(embedder=topics)

    def rows() -> int:
        return palace.search("boat").rows_read  # no word in common: rows of the codes, no matches

    rows()
    usual = rows()
    assert usual == rows()
    for new in (1, 5, 100, PACKED):  # the last one fills a pack
        fill(writer, new, f"profit{new}")
        writer.embed()
        assert rows() == usual + new
        assert rows() == usual


def test_a_new_process_reads_packs(palace: Palace, open_palace: Open, topics: Topics) -> None:
    fill(palace, 2 * PACKED + 10, "kitten")
    palace.embed()
    fresh = open_palace(embedder=topics)
    first, again = (fresh.search("boat").rows_read for _ in range(2))
    assert first - again == 2 + 10


def test_when_most_texts_are_gone_what_is_left_is_found_and_their_codes_go(
    palace: Palace, open_palace: Open, topics: Topics
) -> None:
    fill(palace, PACKED, "kitten", wing="gone")
    fill(palace, 20, "kitten cat", wing="stays")
    palace.embed()
    assert len(palace.search("purred", limit=100)) == 100
    palace.delete(wing="gone")
    assert len(palace.search("purred", limit=100)) == 20
    assert len(palace._store._get_codes().view()) == 20  # type: ignore[attr-defined]
    fresh = open_palace(embedder=topics)
    assert len(fresh.search("purred", limit=100)) == 20


# Without meaning


def test_without_an_embedder_search_goes_by_words(open_palace: Open) -> None:
    palace = open_palace(embedder="none")
    palace.add("the cat sat")
    result = palace.search("cat")
    assert (result.meaning, result.pending, result.remark) == (False, 0, "")
    assert texts(result) == ["the cat sat"]
    assert (result[0].cosine, result[0].vector_rank) == (None, None)


def test_a_palace_with_many_texts_and_no_vectors_says_what_to_run(
    palace: Palace, topics: Topics
) -> None:
    fill(palace, MOST_FRESH + 1)
    result = palace.search("ship")
    assert (result.meaning, len(result)) == (False, 10)
    assert "palatine embed" in result.remark
    assert topics.texts == []


def test_an_embedder_that_fails_leaves_the_words_and_says_so(
    palace: Palace, topics: Topics
) -> None:
    palace.add("the cat sat")
    topics.fails = True
    result = palace.search("cat")
    assert (result.meaning, texts(result)) == (False, ["the cat sat"])
    assert result.remark == "the model is out of order"
    with pytest.raises(EmbedderError):
        palace.embed()
    topics.fails = False
    assert palace.search("cat").meaning


def test_an_unknown_embedder_is_refused(open_palace: Open) -> None:
    with pytest.raises(InputError, match="minilm"):
        open_palace(embedder="nonsense")
    palace = open_palace(embedder="http://127.0.0.1:9/v1")  # needs a model's name
    palace.add("the cat sat")
    assert "model" in palace.search("cat").remark


def test_an_empty_palace_loads_no_model(palace: Palace, topics: Topics) -> None:
    result = palace.search("cat")
    assert (len(result), result.remark, topics.texts) == (0, "", [])


# Another embedder


def test_another_embedder_is_refused_and_reembed_changes_it(
    palace: Palace, open_palace: Open
) -> None:
    palace.add("kitten cat")
    fill(palace, 200)
    palace.embed()
    other = open_palace(embedder=HashingEmbedder())
    result = other.search("cat")
    assert (result.meaning, texts(result)) == (False, ["kitten cat"])
    assert "palatine reembed" in result.remark
    palace.add("purred")
    with pytest.raises(ConflictError, match="palatine reembed"):
        other.embed()
    left: list[int] = []
    assert other.reembed(progress=lambda _, pending: left.append(pending)).stored == 202
    assert left == sorted(left, reverse=True)
    assert len(left) > 1
    assert other.status().embedder == "hashing-384"
    assert other.search("cat").meaning
    assert "palatine reembed" in palace.search("cat").remark
    assert palace.check() == []


def test_a_reembedding_that_was_interrupted_goes_on(palace: Palace, open_palace: Open) -> None:
    fill(palace, 200)
    palace.embed()
    other = open_palace(embedder=HashingEmbedder())

    def interrupt(stored: int, left: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        other.reembed(progress=interrupt)
    done = 200 - other.status().pending
    assert 0 < done < 200
    result = other.search("ship 7")
    assert (result.meaning, result[0].text) == (True, "ship 7")
    assert other.reembed().stored == 200 - done


def test_an_embedder_that_is_overtaken_by_a_reembedding_stores_nothing(
    palace: Palace, open_palace: Open, topics: Topics
) -> None:
    palace.add("kitten")
    palace.embed()
    palace.add("cat")
    other = open_palace(embedder=HashingEmbedder(dimension=topics.dimension))
    topics.during = other.reembed
    with pytest.raises(ConflictError, match="palatine reembed"):
        palace.embed()
    assert (palace.status().embedder, palace.status().pending) == ("hashing-64", 2)


# Forgetting and care


def test_forgetting_a_text_removes_its_vector_and_its_code(palace: Palace, folder: Path) -> None:
    fill(palace, PACKED - 1, "ship")
    drawer = palace.add("the cat purred at profit and code").drawer
    palace.embed()
    with palace._store.read() as tx:
        ((vector,),) = tx.all_rows(  # type: ignore[attr-defined]
            "SELECT f16 FROM vector ORDER BY number DESC LIMIT 1"
        )
        ((codes,),) = tx.all_rows("SELECT codes FROM pack")  # type: ignore[attr-defined]
    assert len(codes) == 8 * PACKED
    palace.forget(drawer.id)
    held = b"".join(file.read_bytes() for file in folder.iterdir() if file.is_file())
    assert vector not in held
    with palace._store.read() as tx:
        ((left,),) = tx.all_rows("SELECT codes FROM pack")  # type: ignore[attr-defined]
    assert left == codes[:-8]
    assert palace.check() == []


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM vector WHERE number = 7",
        "DELETE FROM pending",
        "INSERT INTO pending SELECT chunk FROM vector LIMIT 3",
        "UPDATE vector SET f16 = x'00' WHERE number = 7",
        "UPDATE pack SET codes = zeroblob(8000)",
        "UPDATE pack SET codes = x'00'",
        "UPDATE embedder SET last = 5",
    ],
)
def test_what_is_wrong_with_vectors_is_found_and_repaired(palace: Palace, damage: str) -> None:
    fill(palace, PACKED + 5)
    palace.embed()
    palace.add("kitten")
    assert palace.check() == []
    with palace._store.write(Author()) as tx:
        tx.connection.execute(damage)  # type: ignore[attr-defined]
    problems = palace.check()
    assert problems
    assert all(problem.repairable for problem in problems)
    palace.repair()
    assert palace.check() == []
    palace.embed()
    assert texts(palace.search("cat", limit=1)) == ["kitten"]
    assert len(palace.search("boat", limit=100)) == 100


def test_reconnect_forgets_the_codes(palace: Palace) -> None:
    fill(palace, 50, "kitten")
    palace.embed()
    usual = [palace.search("boat").rows_read for _ in range(2)][1]
    palace.reconnect()
    assert palace.search("boat").rows_read == usual + 50


# Who embeds


def test_one_embeds_and_the_others_do_not_wait(palace: Palace, open_palace: Open) -> None:
    palace.add("kitten")
    with palace._store.embedding():
        other = open_palace(embedder=Topics())
        embedded = other.embed()
        assert (embedded.stored, embedded.pending, embedded.alone) == (0, 1, False)
    assert other.embed().stored == 1


def test_a_server_that_has_searched_embeds_what_others_write(
    open_palace: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedding_module, "_POLL_SECONDS", 0.01)
    embedder = Topics()
    seen = threading.Event()
    server = open_palace(embedder=embedder, background=True)
    writer = open_palace(embedder="none")
    writer.add("kitten")
    server.status()
    assert embedder.texts == []
    server.search("cat")
    embedder.during = lambda: seen.set() if any("99" in text for text in embedder.texts) else None
    fill(writer, 100)
    assert seen.wait(SECONDS)
    server.close()
    assert [thread for thread in threading.enumerate() if "embedder" in thread.name][1:] == []


SILENT = """
import sys
from palatine import Palace
with Palace.open(sys.argv[1], embedder="minilm") as palace:
    palace.search("nothing is there")
    drawer = palace.add("some text").drawer
    palace.get(drawer.id), palace.list(), palace.status(), palace.changes()
    palace.knowledge.add("Max", "likes", "tea")
    palace.undo(1), palace.repair(), palace.forget(drawer.id)
    assert palace.check() == []
assert "numpy" not in sys.modules
"""


def test_a_process_that_never_searches_by_meaning_never_loads_numpy(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SILENT, folder], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


# The real model


def test_the_packaged_model_finds_what_shares_no_word(open_palace: Open) -> None:
    palace = open_palace(embedder="minilm")
    for text in (
        "The kitten slept on the carpet all afternoon.",
        "Quarterly earnings dropped by a tenth.",
        "We picked GraphQL since the phones needed fewer round trips.",
    ):
        palace.add(text)
    assert palace.search("Where did our cat nap?")[0].text.startswith("The kitten")
    assert palace.search("Did the company make less money?")[0].text.startswith("Quarterly")
    assert palace.status().embedder == "all-MiniLM-L6-v2"
