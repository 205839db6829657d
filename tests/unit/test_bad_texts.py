"""Texts that no tokenizer likes: filed, embedded by the packaged model, found, and given back."""

from collections.abc import Iterator

import pytest

from palatine import Palace

TEXTS = {
    "lone surrogates": "\ud800 a lone one \udfff",
    "no character at all": "\x00\x00\x1b[2J",
    "emoji only": "\U0001f600" * 500,
    "families of emoji": "\U0001f469\u200d\U0001f469\u200d\U0001f467" * 300,
    "right to left": "\u05e9\u05dc\u05d5\u05dd \u05e2\u05d5\u05dc\u05dd \u202e \u0645\u0631\u062d",
    "a pile of marks": "z" + "\u0301" * 5_000,
    "one word of many chunks": "x" * 50_000,
    "special tokens": "[CLS] [SEP] [MASK] [PAD] [UNK]",
    "blanks only": " \t\u3000\n",
    "private use": "\ue000\U0010fffd",
}


@pytest.fixture(scope="module")
def palace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Palace]:
    """All of them, embedded."""
    with Palace.open(tmp_path_factory.mktemp("bad") / "palace", embedder="minilm") as opened:
        for name, text in TEXTS.items():
            opened.add(text, wing=name)
        opened.add("A plain text about tea.")
        embedded = opened.embed()
        assert (embedded.pending, embedded.alone) == (0, True)
        assert embedded.stored > len(TEXTS)
        yield opened
        assert opened.check() == []


@pytest.mark.parametrize("name", TEXTS)
def test_it_comes_back_and_takes_nobody_elses_place(palace: Palace, name: str) -> None:
    (drawer,) = palace.list(wing=name).items
    assert palace.get(drawer.id).text == TEXTS[name]
    assert palace.search("tea")[0].text == "A plain text about tea."


@pytest.mark.parametrize("name", sorted(TEXTS.keys() - {"blanks only"}))
def test_as_a_question_it_is_answered_and_finds_itself(palace: Palace, name: str) -> None:
    assert [hit.text for hit in palace.search(TEXTS[name], wing=name)] == [TEXTS[name]]
    assert palace.search(TEXTS[name]).meaning


def test_a_question_as_long_as_a_book_is_answered(palace: Palace) -> None:
    found = palace.search("tea " * 250_000 + "x" * 1_000_000)
    assert found[0].text == "A plain text about tea."
