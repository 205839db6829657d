"""Texts with a natural distribution of words, the same for the same seed.

English function words come first, as in any English text; behind them stands a made-up vocabulary.
How often a word comes follows Zipf and Mandelbrot.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from itertools import accumulate, product

from palatine import Palace
from palatine.types import NewDrawer

_FUNCTION_WORDS = (
    "the of and to a in that is was he for it with as his on be at by i this had not are but from"
    " or have an they which one you were her all she there would their we him been has when who"
    " will more no if out so said what up its about into than them can only other new some could"
    " time these two may then do first any my now such like our over man me even most made after"
    " also did many before must through back years where much your way well down should because"
    " each"
)
FUNCTION_WORDS = _FUNCTION_WORDS.split()
WORDS_IN_TEXT = (40, 160)
WINGS = 10
BATCH = 1000


class Corpus:
    """Draws texts and questions."""

    def __init__(self, seed: int = 1, *, vocabulary: int = 50_000) -> None:
        self._draw = random.Random(seed)
        # One vocabulary whatever the seed: questions of one corpus are about texts of another.
        self._words = [*FUNCTION_WORDS, *_made_up(vocabulary, random.Random(0))]
        weights = [(rank + 2.7) ** -1.07 for rank in range(len(self._words))]
        self._cumulative = list(accumulate(weights))
        self._content = list(accumulate(weights[len(FUNCTION_WORDS) :]))

    def text(self) -> str:
        """40 to 160 words in sentences."""
        words = self._some(self._draw.randint(*WORDS_IN_TEXT))
        for at in range(11, len(words), 12):
            words[at] += "."
        return " ".join(words)

    def question(self) -> str:
        """What somebody asks: words that say nothing, and three to five that do."""
        telling = self._draw.choices(
            self._words[len(FUNCTION_WORDS) :],
            cum_weights=self._content,
            k=self._draw.randint(3, 5),
        )
        return f"what did {telling[0]} say about the {' '.join(telling[1:])}?"

    def identifier(self) -> str:
        """An exact name that stands nowhere else."""
        return f"KEY_{self._draw.getrandbits(40):010X}"

    def _some(self, count: int) -> list[str]:
        return self._draw.choices(self._words, cum_weights=self._cumulative, k=count)


def fill(palace: Palace, corpus: Corpus, drawers: int) -> None:
    """Files so many drawers of one chunk each, spread over ten wings."""
    for first in range(0, drawers, BATCH):
        palace.add_many(_drawers(corpus, first, min(first + BATCH, drawers)))


def _drawers(corpus: Corpus, first: int, last: int) -> Iterator[NewDrawer]:
    for number in range(first, last):
        yield NewDrawer(
            text=corpus.text(), wing=f"wing {number % WINGS}", room=f"room {number % 70}"
        )


def _made_up(count: int, draw: random.Random) -> list[str]:
    syllables = ["".join(pair) for pair in product("bcdfghklmnprstvw", "aeiou")]
    words: dict[str, None] = {}
    while len(words) < count:
        words["".join(draw.choices(syllables, k=draw.randint(2, 4)))] = None
    return list(words)
