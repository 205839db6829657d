"""The rules of search: what is found, in which order, and what a hit says."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from palatine import Author, NewDrawer, Palace, search
from palatine.errors import InputError
from palatine.types import Hit


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace") as opened:
        yield opened
        assert opened.check() == []


def file(palace: Palace, *texts: str) -> list[str]:
    """Files each text in its own room; returns the ids."""
    new = [NewDrawer(text, room=f"room {n}") for n, text in enumerate(texts)]
    return [added.drawer.id for added in palace.add_many(new)]


def found(palace: Palace, query: str, **where: object) -> list[str]:
    """The texts of the hits, the best first."""
    return [hit.text for hit in palace.search(query, **where)]  # type: ignore[arg-type]


FILLER = [f"The {n}th line speaks of weather and of bread." for n in range(40)]


# What is found


def test_a_question_in_plain_words_finds_its_answer(palace: Palace) -> None:
    answer = "We chose GraphQL because the mobile team needed fewer requests."
    file(palace, *FILLER, answer, "The database is PostgreSQL.")
    assert found(palace, "Why did we choose GraphQL?")[0] == answer
    assert found(palace, "why graphql") == [answer]
    assert found(palace, "choosing requests") == [answer]


def test_what_is_not_there_is_not_found(palace: Palace) -> None:
    file(palace, *FILLER)
    result = palace.search("xylophone")
    assert len(result) == 0
    assert result.seq == palace.status().seq
    assert list(result) == []


def test_nothing_is_found_in_an_empty_palace(palace: Palace) -> None:
    assert len(palace.search("anything")) == 0
    assert palace.search("anything").seq == 0


@pytest.mark.parametrize(
    "name",
    ["PAYMENT_KEY_7F3", "src/palace/store.py", "f0a1b2c3", "v1.22.333", "Max.Power@example.org"],
)
def test_an_identifier_is_found_by_its_exact_name(palace: Palace, name: str) -> None:
    near = ["PAYMENT KEY 7F4", "store src palace", "f0a1b2c4", "v1.22.334", "max power at example"]
    file(palace, *FILLER, *near, f"It stands in {name}, they said.")
    best = palace.search(name)[0]
    assert best.text == f"It stands in {name}, they said."
    assert best.confidence == pytest.approx(1.0)
    assert palace.search(f"where is {name}?")[0].text == best.text


@pytest.mark.parametrize(
    ("text", "query"),
    [
        ("\u6211\u4eec\u9009\u62e9\u4e86\u56fe\u6570\u636e\u5e93", "\u6570\u636e\u5e93"),
        ("\u9879\u76ee\u4f7f\u7528Python\u7f16\u5199", "python"),
        ("\u6771\u4eac\u30bf\u30ef\u30fc\u306b\u767b\u3063\u305f", "\u30bf\u30ef\u30fc"),
        ("\ub370\uc774\ud130\ubca0\uc774\uc2a4\ub97c \uc120\ud0dd", "\ub370\uc774\ud130"),
        (
            "\u0e40\u0e23\u0e32\u0e40\u0e25\u0e37\u0e2d\u0e01\u0e10\u0e32\u0e19\u0e02\u0e49\u0e2d\u0e21\u0e39\u0e25",
            "\u0e02\u0e49\u0e2d\u0e21\u0e39\u0e25",
        ),
        ("Die Gr\u00f6\u00dfe der \u00c4nderung", "gro\u00dfe anderung"),
        (
            "\u041c\u044b \u0432\u044b\u0431\u0440\u0430\u043b\u0438 \u0431\u0430\u0437\u0443",
            "\u0411\u0410\u0417\u0423",
        ),
        ("L'\u00e9t\u00e9 de l'ann\u00e9e derni\u00e8re", "ete derniere"),
        ("Le caf\u00e9 d'\u00e0 c\u00f4t\u00e9", "cafe\u0301"),
        ("\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd", "\u05e2\u05d5\u05dc\u05dd"),
    ],
)
def test_texts_of_other_languages_are_found(palace: Palace, text: str, query: str) -> None:
    file(palace, *FILLER, text)
    assert found(palace, query) == [text]


@pytest.mark.parametrize(
    "query",
    [
        "alpha AND gamma",
        "alpha OR gamma",
        "NOT alpha",
        "alpha NOT beta",
        "NEAR(alpha beta)",
        "NEAR(alpha beta, 5)",
        "alpha*",
        "^alpha",
        "text:alpha",
        "col: alpha",
        "{text} : alpha",
        "-alpha",
        "+ alpha",
        '"alpha',
        'alpha"',
        '""" alpha',
        "'alpha' --",
        "(alpha",
        "alpha)))",
        "alpha; DROP TABLE drawer",
        "alpha\x00beta",
        "alpha \ud800",
        "alpha\n\tbeta",
        "rank: alpha",
        "alpha \\",
        "alpha " * 3000,
    ],
)
def test_the_syntax_of_a_query_language_is_text(palace: Palace, query: str) -> None:
    file(palace, *FILLER, "alpha beta")
    assert found(palace, query) == ["alpha beta"]


@pytest.mark.parametrize("word", ["AND", "or", "NOT", "NEAR", "text", "rank", "words"])
def test_words_of_a_query_language_are_found_as_words(palace: Palace, word: str) -> None:
    text = f"alpha {word} beta"
    file(palace, *FILLER[:3], text)
    assert text in found(palace, f'"{word}"')


def test_what_punctuation_joins_is_one_name(palace: Palace) -> None:
    file(palace, *FILLER, "see text-alpha", "alpha text")
    assert found(palace, "text-alpha") == ["see text-alpha"]
    assert len(found(palace, "text:alpha")) == 2


@pytest.mark.parametrize("query", ["?!", "***", "\U0001f600", "--", '""', "(", "\x00", "\ud800"])
def test_a_query_without_words_finds_nothing(palace: Palace, query: str) -> None:
    file(palace, "alpha ?! \U0001f600")
    assert found(palace, query) == []


def test_quoted_words_are_a_phrase(palace: Palace) -> None:
    phrase, apart = "the green door stood open", "a door that is green"
    file(palace, *FILLER, apart, phrase)
    assert set(found(palace, "green door")) == {phrase, apart}
    assert found(palace, '"green door"') == [phrase]
    assert found(palace, "\u201cgreen door\u201d") == [phrase]
    assert found(palace, '"door green"') == []
    assert found(palace, '"the green door stood"') == [phrase]


def test_stop_words_are_left_out_of_a_question_but_a_question_of_them_is_asked(
    palace: Palace,
) -> None:
    file(palace, "to be or not to be", "alpha of the beta")
    assert found(palace, "what is the alpha") == ["alpha of the beta"]
    assert found(palace, "to be or not to be")[0] == "to be or not to be"
    assert found(palace, '"of the"') == ["alpha of the beta"]


def test_a_question_as_long_as_a_book_is_answered(palace: Palace) -> None:
    file(palace, *FILLER, "the xylophone stood in the hall")
    question = " ".join(f"word{n}" for n in range(20_000)) + " xylophone"
    result = palace.search(f"xylophone {question}")
    assert result[0].text == "the xylophone stood in the hall"
    assert 0 <= result[0].confidence <= 1


# Where it comes from


def test_date_author_and_source_are_found(palace: Palace) -> None:
    palace.add_many([NewDrawer(text, author="Bob") for text in FILLER])
    drawer = palace.add_many(
        [
            NewDrawer(
                "the plan was made",
                said_at="2025-03-14",
                author="Melanie",
                source="/talks/standup-notes.txt",
            )
        ]
    )[0].drawer
    for query in ("2025-03-14", "14 March 2025", "Melanie", "standup notes", "Melanie's plan"):
        assert palace.search(query)[0].drawer.id == drawer.id
    assert len(palace.search("talks")) == 0
    palace.update(drawer.id, source="/talks/retro.txt", said_at="2026")
    assert len(palace.search("standup")) == 0
    assert palace.search("retro 2026")[0].drawer.id == drawer.id


# Filters


def test_filters_apply_inside_the_question(palace: Palace) -> None:
    palace.add_many(NewDrawer(f"alpha {n}", wing="large") for n in range(1_500))
    dull = "A long text that has much else to say. " * 15
    palace.add_many(NewDrawer(f"{dull} {n} alpha", wing="small") for n in range(3))
    assert len(palace.search("alpha", wing="small")) == 3
    assert len(palace.search("alpha", wing=" small ", limit=2)) == 2
    assert len(palace.search("alpha", limit=100)) == 100
    assert {hit.drawer.wing for hit in palace.search("alpha", limit=100)} == {"large"}


def test_each_filter_restricts(palace: Palace) -> None:
    at = {"wing": "w", "room": "r", "kind": "decision", "source": "s.txt", "said_at": "2025-03"}
    drawer = palace.add("alpha one", **at, author=Author("ann")).drawer  # type: ignore[arg-type]
    palace.add("alpha two")
    assert len(palace.search("alpha")) == 2
    wanted: list[dict[str, str]] = [
        {"wing": "w"},
        {"room": "r"},
        {"kind": "decision"},
        {"source": "s.txt"},
        {"author": "ann"},
        {"said_since": "2025-03"},
        {"said_before": "2025-04"},
        {"said_since": "2025-02", "said_before": "2025-03-01T00:00:01Z", "wing": "w"},
    ]
    for where in wanted:
        assert [hit.drawer.id for hit in palace.search("alpha", **where)] == [drawer.id]  # type: ignore[arg-type]
    nothing: list[dict[str, str]] = [
        {"wing": "W"},
        {"wing": "w", "room": "notes"},
        {"said_before": "2025-03"},
        {"said_since": "2025-03-01T00:00:01Z"},
        {"filed_before": "2020"},
        {"filed_since": "9000"},
    ]
    for where in nothing:
        assert len(palace.search("alpha", **where)) == 0  # type: ignore[arg-type]
    assert len(palace.search("alpha", filed_since="2020", filed_before="9000")) == 2


# Hits


def test_a_hit_names_its_drawer_its_span_and_its_date(palace: Palace) -> None:
    before = "Nothing of note was said here. " * 40
    text = f"{before}\n\nThe xylophone is red.\n\n{before}"
    drawer = palace.add(text, said_at="2025-03").drawer
    (hit,) = palace.search("xylophone")
    assert (hit.drawer, hit.text) == (drawer, text)
    assert "The xylophone is red." in hit.span
    assert len(hit.span) <= 900
    assert text[hit.start : hit.end] == hit.span
    assert str(hit.said_at) == "2025-03"
    assert hit.text_rank == 1


def test_a_drawer_is_found_once_by_its_best_chunk(palace: Palace) -> None:
    weak = "alpha and many other words that dilute it, line after line of them. " * 13
    strong = "alpha beta gamma."
    drawer = palace.add(f"{weak}\n\n{strong}\n\n{weak}").drawer
    file(palace, *FILLER)
    result = palace.search("alpha beta gamma")
    assert [hit.drawer.id for hit in result] == [drawer.id]
    assert "beta gamma" in result[0].span


def test_spans_count_code_points(palace: Palace) -> None:
    text = "\U0001f600\ud800\u0301 " * 300 + "\n\nthe xylophone \U0001f3b6"
    palace.add(text)
    (hit,) = palace.search("xylophone")
    assert text[hit.start : hit.end] == hit.span
    assert hit.span.endswith("the xylophone \U0001f3b6")


def test_scores_fall_and_a_limit_takes_the_best(palace: Palace) -> None:
    file(palace, *FILLER, "alpha beta gamma", "alpha beta", "alpha and much else besides of it")
    all_hits = palace.search("alpha beta gamma", limit=100)
    scores = [hit.score for hit in all_hits]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert all_hits[0].text == "alpha beta gamma"
    assert list(palace.search("alpha beta gamma", limit=1)) == [all_hits[0]]
    assert [hit.text_rank for hit in all_hits] == [1, 2, 3]
    assert all_hits[:2] == all_hits.hits[:2]


def test_a_neighbour_in_the_source_lifts_a_chunk(palace: Palace) -> None:
    lines = ["We talked of the garden.", "The alpha question came up.", "The alpha beta was asked."]
    alone = "The alpha question came up!"
    palace.add_many(
        [NewDrawer(line, source="talk.txt", position=n) for n, line in enumerate(lines)]
        + [NewDrawer(alone, source="other.txt", position=0)]
        + [NewDrawer(line) for line in FILLER]
    )
    hits: dict[str, Hit] = {hit.text: hit for hit in palace.search("alpha beta")}
    assert set(hits) == {lines[1], lines[2], alone}
    assert hits[lines[2]].score > hits[lines[1]].score > hits[alone].score
    # The best chunk has 1 of its own and its neighbour a share; each gets a part of the other's.
    share = hits[lines[1]].score - search.NEIGHBOUR_BONUS
    assert hits[lines[2]].score == pytest.approx(1 + search.NEIGHBOUR_BONUS * share)


# Confidence


@pytest.mark.parametrize(
    ("query", "low", "high"),
    [
        ("alpha", 1.0, 1.0),
        ("alpha beta", 1.0, 1.0),
        ("alpha beta gamma", 1.0, 1.0),
        ('"alpha beta"', 1.0, 1.0),
        ('gamma "beta alpha"', 0.1, 0.6),
        ("alpha xylophone", 0.1, 0.6),
        ("alpha xylophone zymurgy quokka", 0.05, 0.4),
        ("what is the alpha", 1.0, 1.0),
    ],
)
def test_confidence_is_the_share_of_the_question_that_is_answered(
    palace: Palace, query: str, low: float, high: float
) -> None:
    file(palace, *FILLER, "alpha beta gamma", "a quokka")
    hit = next(hit for hit in palace.search(query) if hit.text == "alpha beta gamma")
    assert low - 1e-9 <= hit.confidence <= high + 1e-9


def test_confidence_does_not_depend_on_the_other_hits(palace: Palace) -> None:
    file(palace, *FILLER, "alpha beta")
    before = palace.search("alpha beta")[0].confidence
    palace.add("alpha beta alpha beta gamma")
    after = next(hit for hit in palace.search("alpha beta") if hit.text == "alpha beta")
    assert before == after.confidence == pytest.approx(1.0)


# Common words


def test_common_words_leave_the_question_at_scale_only(
    palace: Palace, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(palace, *FILLER, "the weather in Xanadu and the Xylophone", "weather for the Quokka")
    small = palace.search("weather bread xanadu xylophone", limit=100)
    assert small.dropped == ()
    assert len(small) == 42
    monkeypatch.setattr(search, "COMMON_FROM_CHUNKS", 40)
    large = palace.search("weather bread xanadu xylophone", limit=100)
    assert set(large.dropped) == {"weather", "bread"}
    assert [hit.text for hit in large] == ["the weather in Xanadu and the Xylophone"]
    assert large[0].confidence == pytest.approx(small[0].confidence)


def test_where_rare_words_find_enough_common_ones_only_count_beside_them(
    palace: Palace, monkeypatch: pytest.MonkeyPatch
) -> None:
    file(palace, *FILLER, "Xanadu and the Xylophone", "weather in Xanadu", "the Xylophone again")
    question = "weather xanadu xylophone"
    small = palace.search(question, limit=100)
    monkeypatch.setattr(search, "MOST_OCCURRENCES", 4)
    large = palace.search(question, limit=100)
    assert len(small) > len(large) == 3
    assert large.dropped == ()
    scores = {hit.drawer.id: hit.score for hit in small}
    assert all(hit.score == pytest.approx(scores[hit.drawer.id]) for hit in large)


def test_the_rarest_words_stay_however_common(
    palace: Palace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "COMMON_FROM_CHUNKS", 10)
    file(palace, *FILLER)
    result = palace.search("weather bread", limit=100)
    assert result.dropped == ()
    assert len(result) == 40


def test_a_quoted_phrase_of_common_words_stays(
    palace: Palace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search, "COMMON_FROM_CHUNKS", 10)
    file(palace, *FILLER, "bread and weather", "xanadu", "quokka")
    result = palace.search('xanadu quokka "bread and weather"', limit=100)
    assert result.dropped == ()
    assert {hit.text for hit in result} == {"bread and weather", "xanadu", "quokka"}


# Bad input


@pytest.mark.parametrize("query", ["", "  ", "\n\t", None, 5, b"alpha", ["alpha"]])
def test_an_empty_question_is_refused(palace: Palace, query: str) -> None:
    with pytest.raises(InputError):
        palace.search(query)


@pytest.mark.parametrize("limit", [0, -1, 101, "5", 2.0, True, None])
def test_a_limit_out_of_range_is_refused(palace: Palace, limit: int) -> None:
    with pytest.raises(InputError, match="limit"):
        palace.search("alpha", limit=limit)


@pytest.mark.parametrize("bound", ["said_since", "said_before", "filed_since", "filed_before"])
def test_a_bound_that_is_no_time_is_refused(palace: Palace, bound: str) -> None:
    with pytest.raises(InputError, match=bound):
        palace.search("alpha", **{bound: "yesterday"})  # type: ignore[arg-type]
