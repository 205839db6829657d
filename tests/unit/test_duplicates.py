"""Near duplicates: by meaning where there is a model, by the words in common in any case."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from palatine import Palace
from palatine.errors import InputError

TEXT = "We chose GraphQL over REST for the public API because phones fetch much in one round trip."


@pytest.fixture(params=["none", "hashing"])
def palace(tmp_path: Path, request: Any) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace", embedder=request.param) as opened:
        opened.add("The kitten slept on the carpet all afternoon.")
        opened.add("We ship on Fridays because the carrier rests at weekends.", wing="shop")
        yield opened


def near(palace: Palace, text: str, **options: Any) -> list[str]:
    return [alike.drawer.text for alike in palace.duplicates(text, **options).near]


def test_the_same_text_is_exact_wherever_it_lies_and_not_near(palace: Palace) -> None:
    ids = {palace.add(TEXT, wing=wing, source=f"{wing}.md").drawer.id for wing in ("a", "b")}
    found = palace.duplicates(TEXT)
    assert {drawer.id for drawer in found.exact} == ids
    assert found.near == ()


@pytest.mark.parametrize(
    "text",
    [f"{TEXT} Really.", TEXT.upper(), TEXT.replace(" ", "  "), TEXT.replace("much", "a lot")],
)
def test_a_text_with_hardly_a_difference_is_near(palace: Palace, text: str) -> None:
    palace.add(TEXT, wing="app", source="adr.md")
    found = palace.duplicates(text, threshold=0.8)
    assert found.exact == ()
    assert [alike.drawer.text for alike in found.near] == [TEXT]
    assert 0.8 <= found.near[0].similarity <= 1


def test_a_long_text_is_compared_as_a_whole(palace: Palace) -> None:
    long = "\n\n".join(f"Part {n} says number {n * 37} of {n}. {TEXT}" for n in range(40))
    palace.add(long)
    assert near(palace, long[:-10]) == [long]
    assert near(palace, "Part 3 of something else entirely, with other words in it.") == []


def test_the_most_alike_comes_first_and_the_threshold_decides(palace: Palace) -> None:
    palace.add(f"{TEXT} Zebra yak wolf vole urial tapir.")
    palace.add(f"{TEXT} Zebra.")
    assert near(palace, TEXT, threshold=0.5) == [
        f"{TEXT} Zebra.",
        f"{TEXT} Zebra yak wolf vole urial tapir.",
    ]
    assert near(palace, TEXT, threshold=1) == []
    assert len(near(palace, TEXT, threshold=0)) >= 2


def test_without_a_model_it_goes_by_words_and_says_so(tmp_path: Path) -> None:
    for embedder, by_meaning in (("none", False), ("hashing", True)):
        with Palace.open(tmp_path / embedder, embedder=embedder) as palace:
            palace.add(TEXT)
            assert palace.duplicates(f"{TEXT} Yes.").by_meaning is by_meaning


def test_the_model_finds_the_same_in_other_words(tmp_path: Path) -> None:
    with Palace.open(tmp_path / "palace", embedder="minilm") as palace:
        palace.add(TEXT)
        said = "For the public API we picked GraphQL, not REST: phones get much in one round trip."
        (alike,) = palace.duplicates(said).near
        assert alike.drawer.text == TEXT
        assert near(palace, "The public API returns JSON.") == []


def test_it_writes_nothing(palace: Palace) -> None:
    before = palace.status().seq
    palace.duplicates(TEXT)
    assert palace.status().seq == before


@pytest.mark.parametrize(
    ("text", "threshold"), [("", 0.9), (TEXT, -0.1), (TEXT, 1.1), (TEXT, True), (TEXT, "0.9")]
)
def test_what_cannot_be_compared_is_refused(palace: Palace, text: str, threshold: Any) -> None:
    with pytest.raises(InputError):
        palace.duplicates(text, threshold=threshold)
