"""What every store finds by words, and what it knows of its chunks."""

import pytest

from palatine.store.base import Store
from palatine.types import Chunk, Drawer, DrawerFilter, Match, Span
from tests.contract import nouns
from tests.contract.nouns import ANY, NOBODY, a_drawer, holders, put


def put_lines(store: Store, *drawers: Drawer) -> None:
    """Puts drawers with one chunk for each line."""
    with store.write(NOBODY) as tx:
        for drawer in drawers:
            tx.put_drawer(drawer, nouns.chunk_by_line(drawer))


def fill(store: Store, count: int, text: str = "filler number", **fields: object) -> None:
    put(store, *(a_drawer(f"fill{n}", text=f"{text} {n}", **fields) for n in range(count)))


# Matching


def test_chunks_that_contain_any_of_the_phrases_are_found(store: Store) -> None:
    texts = {"d1": "alpha beta", "d2": "beta gamma", "d3": "delta", "d4": "Alpha, BETA!"}
    put(store, *(a_drawer(ref, text=text) for ref, text in texts.items()))
    with store.read() as tx:
        assert holders(tx, "alpha") == ["d1", "d4"]
        assert holders(tx, "alpha", "gamma") == ["d1", "d2", "d4"]
        assert holders(tx, "beta", "delta") == ["d1", "d2", "d3", "d4"]
        assert holders(tx, "omega") == []
        assert tx.matching([], ANY, limit=10) == []


def test_a_phrase_is_words_in_their_order(store: Store) -> None:
    texts = {"d1": "alpha beta gamma", "d2": "beta alpha gamma", "d3": "alpha_beta-gamma"}
    put(store, *(a_drawer(ref, text=text) for ref, text in texts.items()))
    with store.read() as tx:
        assert holders(tx, "alpha beta") == ["d1", "d3"]
        assert holders(tx, "alpha beta gamma") == ["d1", "d3"]
        assert holders(tx, "alpha gamma") == ["d2"]
        assert holders(tx, "gamma alpha", "beta alpha") == ["d2"]


@pytest.mark.parametrize("phrase", ["and", "or", "not", "near", "AND", "NEAR", "text", "rank"])
def test_words_of_a_query_language_are_words(store: Store, phrase: str) -> None:
    put(store, a_drawer("d1", text=f"alpha {phrase} beta"), a_drawer("d2", text="alpha beta"))
    with store.read() as tx:
        assert holders(tx, phrase) == ["d1"]
        assert holders(tx, "alpha", phrase) == ["d1", "d2"]


def test_a_match_names_its_chunk_and_its_drawer(store: Store) -> None:
    put_lines(store, a_drawer("d1", text="alpha\nbeta\nalpha"), a_drawer("d2", text="gamma\nalpha"))
    with store.read() as tx:
        matches = tx.matching(["alpha"], ANY, limit=10)
        spans = {span.chunk: span for span in tx.spans([match.chunk for match in matches])}
    assert sorted((span.drawer, span.start, span.end) for span in spans.values()) == [
        ("d1", 0, 5),
        ("d1", 11, 16),
        ("d2", 6, 11),
    ]
    owners = {(match.drawer, spans[match.chunk].drawer) for match in matches}
    assert len(owners) == 2
    assert all(isinstance(match, Match) for match in matches)


def test_what_contains_more_of_the_phrases_comes_first_and_scores_more(store: Store) -> None:
    fill(store, 30)
    texts = {"d1": "alpha gamma zeta", "d2": "alpha beta delta", "d3": "beta delta zeta"}
    put(store, *(a_drawer(ref, text=text) for ref, text in texts.items()))
    with store.read() as tx:
        best, *others = tx.matching(["alpha", "beta"], ANY, limit=10)
        assert tx.spans([best.chunk])[0].drawer == "d2"
        assert len(others) == 2
        scores = [match.score for match in (best, *others)]
        assert scores == sorted(scores, reverse=True)
        assert best.score > others[0].score
        assert tx.matching(["alpha", "beta"], ANY, limit=1) == [best]


def test_what_is_asked_beside_finds_nothing_and_counts_in_the_score(store: Store) -> None:
    fill(store, 30)
    texts = {"d1": "alpha gamma zeta", "d2": "alpha beta delta", "d3": "beta delta zeta"}
    put(store, *(a_drawer(ref, text=text) for ref, text in texts.items()))
    with store.read() as tx:
        whole = {match.chunk: match.score for match in tx.matching(["alpha", "beta"], ANY, limit=9)}
        for where in (ANY, DrawerFilter(wing=a_drawer("d1").wing)):
            found = tx.matching(["alpha"], where, limit=9, beside=["beta"])
            assert [tx.spans([match.chunk])[0].drawer for match in found] == ["d2", "d1"]
            assert [match.score for match in found] == pytest.approx(
                [whole[match.chunk] for match in found]
            )


def test_a_filter_that_leaves_three_drawers_of_many_finds_all_three(store: Store) -> None:
    fill(store, 400, "alpha", wing="large")
    hidden = "long words that say nothing of it " * 8
    put(store, *(a_drawer(f"d{n}", wing="small", text=f"{hidden} {n} alpha") for n in range(3)))
    with store.read() as tx:
        assert holders(tx, "alpha", where=DrawerFilter(wing="small"), limit=3) == ["d0", "d1", "d2"]
        assert len(tx.matching(["alpha"], DrawerFilter(wing="small"), limit=10)) == 3
        assert len(tx.matching(["alpha"], DrawerFilter(wing="large"), limit=1000)) == 400
        assert len(tx.matching(["alpha"], ANY, limit=10)) == 10
        assert tx.matching(["alpha"], DrawerFilter(wing="none"), limit=10) == []


def test_scripts_without_blanks_are_found_by_pairs(store: Store) -> None:
    put(store, a_drawer("d1", text="\u6211\u4eec\u9009\u62e9"), a_drawer("d2", text="\u6211\u9009"))
    with store.read() as tx:
        assert holders(tx, "\u6211\u4eec") == ["d1"]
        assert holders(tx, "\u6211\u9009", "\u9009\u62e9") == ["d1", "d2"]


def test_rows_that_were_read_are_counted(store: Store) -> None:
    put(store, *(a_drawer(f"d{n}", text=f"alpha {n}") for n in range(5)))
    with store.read() as tx:
        before = tx.rows_read
        tx.matching(["alpha"], ANY, limit=100)
        assert tx.rows_read - before == 5


# Words and frequencies


def test_words_are_folded_and_in_order(store: Store) -> None:
    with store.read() as tx:
        assert tx.words(["Alpha, BETA! alpha_gamma", "", "--", "7F3"]) == [
            ["alpha", "beta", "alpha", "gamma"],
            [],
            [],
            ["7f3"],
        ]
        assert tx.words([]) == []


def test_frequencies_count_chunks(store: Store) -> None:
    put_lines(
        store,
        a_drawer("d1", text="alpha alpha\nalpha beta\ngamma"),
        a_drawer("d2", text="Beta"),
    )
    with store.read() as tx:
        total, counts = tx.frequencies(["alpha", "beta", "omega"])
        assert total == 4
        assert counts == {"alpha": 2, "beta": 2, "omega": 0}
        assert tx.frequencies([])[1] == {}


def test_an_empty_palace_has_no_words(store: Store) -> None:
    with store.read() as tx:
        assert tx.frequencies(["alpha"]) == (0, {"alpha": 0})
        assert tx.matching(["alpha"], ANY, limit=10) == []


def test_frequencies_follow_updates_and_deletes(store: Store) -> None:
    put(store, *(a_drawer(f"d{n}", text=f"alpha {n}") for n in range(6)))
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d0")
        nouns.put_drawer(tx, a_drawer("d1", text="beta"))
    with store.read() as tx:
        assert tx.frequencies(["alpha", "beta"])[1] == {"alpha": 4, "beta": 1}


# Neighbours

Names = dict[str, tuple[str, ...]]


def neighbours(store: Store) -> Names:
    """For each chunk the texts of its neighbours, by its own text."""
    with store.read() as tx:
        drawers = {drawer.id: drawer for drawer in tx.drawers(ANY, limit=100)}
        words = sorted({word for drawer in drawers.values() for word in drawer.text.split()})
        found = tx.matching(words, ANY, limit=100)
        names = {
            span.chunk: drawers[span.drawer].text[span.start : span.end]
            for span in tx.spans([match.chunk for match in found])
        }
        beside = tx.neighbours(list(names))
    return {names[chunk]: tuple(names[n] for n in near) for chunk, near in beside.items()}


def test_neighbours_are_the_chunks_before_and_after_in_the_drawer(store: Store) -> None:
    put_lines(store, a_drawer("d1", text="a1\na2\na3"), a_drawer("d2", text="b1"))
    assert neighbours(store) == {"a1": ("a2",), "a2": ("a1", "a3"), "a3": ("a2",), "b1": ()}


def test_neighbours_reach_into_the_drawers_beside_it_in_the_source(store: Store) -> None:
    at = {"source": "talk.txt"}
    put_lines(
        store,
        a_drawer("d3", text="c1\nc2", position=9, **at),
        a_drawer("d1", text="a1\na2", position=0, **at),
        a_drawer("d2", text="b1", position=4, **at),
    )
    assert neighbours(store) == {
        "a1": ("a2",),
        "a2": ("a1", "b1"),
        "b1": ("a2", "c1"),
        "c1": ("b1", "c2"),
        "c2": ("c1",),
    }


@pytest.mark.parametrize(
    "other",
    [
        {"wing": "other"},
        {"room": "other"},
        {"source": "other"},
        {"source": ""},
        {"position": -1},
    ],
)
def test_drawers_elsewhere_or_at_no_known_position_are_no_neighbours(
    store: Store, other: dict[str, object]
) -> None:
    at: dict[str, object] = {"source": "talk.txt", "position": 1}
    put(
        store,
        a_drawer("d1", text="a1", **at | {"position": 0}),
        a_drawer("d2", text="b1", **at | other),
    )
    assert neighbours(store) == {"a1": (), "b1": ()}


def test_drawers_without_a_source_are_no_neighbours(store: Store) -> None:
    put(store, *(a_drawer(f"d{n}", text=f"a{n}", position=n) for n in range(2)))
    assert neighbours(store) == {"a0": (), "a1": ()}


def test_a_neighbouring_drawer_without_chunks_gives_none(store: Store) -> None:
    with store.write(NOBODY) as tx:
        for n, text in enumerate(["a1", "  ", "b1"]):
            drawer = a_drawer(f"d{n}", text=text, source="talk.txt", position=n)
            tx.put_drawer(drawer, nouns.one_chunk(drawer) if text.strip() else [])
    assert neighbours(store) == {"a1": (), "b1": ()}


def test_neighbours_follow_updates_and_deletes(store: Store) -> None:
    drawers = [a_drawer(f"d{n}", text=f"a{n}", source="talk.txt", position=n) for n in range(4)]
    put(store, *drawers)
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d1")
        nouns.put_drawer(tx, a_drawer("d3", text="new", source="talk.txt", position=3))
    assert neighbours(store) == {"a0": ("a2",), "a2": ("a0", "new"), "new": ("a2",)}


# Spans


def test_a_chunk_that_is_gone_has_no_span_and_no_neighbours(store: Store) -> None:
    put(store, a_drawer("d1", text="alpha"))
    with store.read() as tx:
        (match,) = tx.matching(["alpha"], ANY, limit=10)
        assert tx.spans([match.chunk, 999_999]) == [Span(match.chunk, "d1", 0, 5)]
        assert tx.neighbours([999_999]) == {}
    with store.write(NOBODY) as tx:
        tx.delete_drawer("d1")
    with store.read() as tx:
        assert tx.spans([match.chunk]) == []
        assert tx.spans([]) == []


def test_spans_count_code_points(store: Store) -> None:
    drawer = a_drawer("d1", text="\U0001f600\ud800\x00 alpha \u4e2d")
    with store.write(NOBODY) as tx:
        tx.put_drawer(drawer, [Chunk(4, 9, "alpha")])
    with store.read() as tx:
        (match,) = tx.matching(["alpha"], ANY, limit=10)
        (span,) = tx.spans([match.chunk])
    assert drawer.text[span.start : span.end] == "alpha"
