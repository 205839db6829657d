"""Search: candidates by words and by meaning, neighbours' bonus, the best chunk of each drawer.

The constants are the measured ones of docs/decisions/0003-ranking.md; do not tune them on the set
they were found on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from math import log
from typing import TYPE_CHECKING

from palatine import text as texts
from palatine.embedding import Embedding, Question
from palatine.errors import InputError
from palatine.store.base import ReadTx, Store
from palatine.types import Drawer, DrawerFilter, Hit, Match, SearchResult, Span

if TYPE_CHECKING:
    from palatine.embedding import Vector

CANDIDATES = 500
"""The best chunks by BM25 that are looked at; fewer loses quality on many-session questions."""
NEAREST = 200
"""The nearest chunks by meaning that are looked at."""
MEANING_SHARE = 0.6
"""What the cosine counts in a chunk's score; the rest is its words'."""
LEAST_COSINE = 0.2
"""What is farther away and has no word of the question in it is not found."""
NEIGHBOUR_POOL = 200
NEIGHBOUR_BONUS = 0.35
"""The share of its better neighbour's score that a chunk gets."""
MOST_OCCURRENCES = 20_000
"""Words find chunks, the rarest first, while they stand in no more chunks than that in all; the
others only count in the score of what these find."""
COMMON_FROM_CHUNKS = 50_000
COMMON_SHARE = 0.2
"""From so many chunks on, words that stand in more than this share of them leave the question."""
KEPT_WORDS = 2
"""The rarest ones stay in any case."""
MOST_PHRASES = 100
"""Of a longer question the rarest ones are looked for."""
MOST_READ = 10_000
"""Of a question as long as a book so many are weighed at all."""


@dataclass(frozen=True, slots=True)
class Alike:
    """A drawer that says nearly the same as a text.

    Attributes:
        similarity: 0 to 1: the share of words that they have in common, or the cosine, if that
            is known and greater.
    """

    drawer: Drawer
    similarity: float


@dataclass(frozen=True, slots=True)
class Duplicates:
    """What in the palace says the same as a text.

    Attributes:
        exact: drawers that hold exactly this text.
        near: others that say nearly the same, the most alike first.
        by_meaning: whether it was compared by meaning, too, and not by words alone.
        remark: what a person should know about how it was compared; mostly empty.
    """

    exact: tuple[Drawer, ...]
    near: tuple[Alike, ...]
    by_meaning: bool
    remark: str


class Search:
    """Finds drawers of one store by their words and, with an embedder, by their meaning."""

    def __init__(self, store: Store, embedding: Embedding) -> None:
        self._store = store
        self._embedding = embedding

    def __call__(self, query: str, where: DrawerFilter, *, limit: int) -> SearchResult:
        """The best drawers for a question, in one snapshot.

        Args:
            query: any text, of any length; operators have no meaning. Quoted words are a phrase.
            where: applies inside the query: a filter that leaves three drawers finds all three.
            limit: 1 to 100.

        Raises:
            InputError: the query is empty, or the limit is out of range.
        """
        if not isinstance(query, str) or not query.strip():
            raise InputError("the query is empty; say what to look for")
        texts.clean_count(limit, "limit", most=100)
        phrases = texts.phrases(query)
        question = self._embedding.question(query)  # before any transaction of the search
        with self._store.read() as tx:
            seq = tx.state().seq
            weights, asked, beside, dropped = _weigh(tx, phrases[:MOST_READ])
            matches = tx.matching(asked, where, limit=CANDIDATES, beside=beside)
            found = _found(tx, question, where, matches, _full_marks(tx, matches, weights))
            hits = _hits(tx, found, _best_chunks(tx, found)[:limit], weights)
            rows_read = question.rows_read + tx.rows_read
        return SearchResult(
            hits,
            seq,
            (*dropped, *phrases[MOST_READ:]),
            rows_read,
            meaning=found.vector is not None,
            pending=found.pending,
            remark=question.remark,
        )

    def alike(self, text: str, *, threshold: float, limit: int) -> tuple[list[Alike], SearchResult]:
        """Drawers that say nearly what the text says, the most alike first, and how it looked.

        A text is compared with a passage by meaning, where there is a model, and with a whole
        drawer by the share of words that they have in common.
        """
        found = self(text, DrawerFilter(), limit=limit)
        with self._store.read() as tx:
            words = tx.words([texts.searchable(t) for t in (text, *(h.text for h in found))])
        asked, *held = map(set, words)
        alike = []
        for hit, its in zip(found, held, strict=True):
            shared = len(asked & its) / max(1, len(asked | its))
            similarity = max(shared, hit.cosine or 0.0)
            if similarity >= threshold:
                alike.append(Alike(hit.drawer, min(1.0, similarity)))
        return sorted(alike, key=lambda each: (-each.similarity, each.drawer.id)), found


Weights = Mapping[str, tuple[tuple[str, ...], float]]
"""For each phrase its words as the index keeps them, and its weight (the sum of their idf)."""


def _weigh(
    tx: ReadTx, phrases: Sequence[str]
) -> tuple[Weights, Sequence[str], Sequence[str], Sequence[str]]:
    """All weights, what to look for, what only counts beside that, and what is left out.

    What stands in no chunk is not looked for; it counts in the confidence all the same.
    """
    words = [tuple(found) for found in tx.words(phrases)]
    total, counts = tx.frequencies(sorted({word for group in words for word in group}))
    weights = {
        phrase: (group, sum(_idf(total, counts[word]) for word in group))
        for phrase, group in zip(phrases, words, strict=True)
        if group
    }
    possible = [p for p, (group, _) in weights.items() if all(counts[word] for word in group)]
    rarest = sorted(possible, key=lambda phrase: -weights[phrase][1])
    most = COMMON_SHARE * total if total >= COMMON_FROM_CHUNKS else total
    asked: list[str] = []
    beside: list[str] = []
    dropped = set(rarest[MOST_PHRASES:])
    occurrences = 0
    for number, phrase in enumerate(rarest[:MOST_PHRASES]):
        count = min(counts[word] for word in weights[phrase][0])
        occurrences += count
        if number < KEPT_WORDS or len(weights[phrase][0]) > 1:
            asked.append(phrase)
        elif count > most:
            dropped.add(phrase)
        else:
            (asked if occurrences <= MOST_OCCURRENCES else beside).append(phrase)
    return weights, asked, beside, [phrase for phrase in possible if phrase in dropped]


def _idf(total: int, count: int) -> float:
    """BM25's inverse document frequency, never below zero (Robertson and Zaragoza 2009)."""
    return log((max(total - count, 0) + 0.5) / (count + 0.5) + 1)


@dataclass(frozen=True, slots=True)
class _Found:
    """What was found, before neighbours count.

    Attributes:
        drawers: for each chunk its drawer's number.
        scores: for each chunk its score.
        text_ranks, vector_ranks: for each chunk its rank, from 1, if it has one.
        cosines: for each chunk how near it is, if it was compared.
        vector: the question's; None: only words count.
        pending: so many chunks could be found by words only.
    """

    drawers: dict[int, int]
    scores: dict[int, float]
    text_ranks: dict[int, int]
    vector_ranks: dict[int, int] = field(default_factory=dict)
    cosines: dict[int, float] = field(default_factory=dict)
    vector: Vector | None = None
    pending: int = 0


def _found(
    tx: ReadTx,
    question: Question,
    where: DrawerFilter,
    matches: Sequence[Match],
    full: float,
) -> _Found:
    """The candidates with their scores; full marks for its words has a chunk with BM25 `full`."""
    words = _Found(
        {match.chunk: match.drawer for match in matches},
        {match.chunk: match.score / full if full > 0 else 1.0 for match in matches},
        {match.chunk: rank for rank, match in enumerate(matches, start=1)},
    )
    # The palace may have got another embedder since the question was embedded.
    if question.vector is None or tx.embedder() not in (None, question.embedder):
        return words
    fresh = _fresh(tx, question, where)
    near = tx.nearest(question.vector, where, limit=NEAREST) + fresh
    near.sort(key=lambda match: -match.score)
    cosines = {match.chunk: match.score for match in near}
    others = [chunk for chunk in words.drawers if chunk not in cosines]
    cosines |= tx.cosines(question.vector, others)
    near = [m for m in near if m.score >= LEAST_COSINE or m.chunk in words.drawers]
    drawers = words.drawers | {match.chunk: match.drawer for match in near}
    nearest = max(cosines.values(), default=1.0)
    scores = {}
    for chunk in drawers:
        by_words = words.scores.get(chunk, 0.0)
        # A chunk that has no vector yet is taken to be as near as its words say.
        by_meaning = max(0.0, cosines.get(chunk, by_words * nearest))
        scores[chunk] = MEANING_SHARE * by_meaning + (1 - MEANING_SHARE) * by_words
    return _Found(
        drawers,
        scores,
        words.text_ranks,
        {match.chunk: rank for rank, match in enumerate(near, start=1)},
        cosines,
        question.vector,
        tx.count_pending() - len(fresh),
    )


def _full_marks(tx: ReadTx, matches: Sequence[Match], weights: Weights) -> float:
    """What the best chunk by words, the first, would get if it held all of the question.

    Where it holds but one word of many, words say little, and meaning decides.
    """
    if not matches:
        return 0.0
    best = matches[0]
    (span,) = tx.spans([best.chunk])
    (drawer,) = tx.drawers(DrawerFilter(ids=(span.drawer,)), limit=1)
    seen = texts.indexed_text(
        drawer.text,
        span.start,
        span.end,
        said=str(drawer.said_at or ""),
        speaker=drawer.author,
        source=drawer.source,
    )
    heaviest = dict(sorted(weights.items(), key=lambda each: -each[1][1])[:MOST_PHRASES])
    return best.score / (_confidence(tx, seen, heaviest) or 1.0)


def _fresh(tx: ReadTx, question: Question, where: DrawerFilter) -> list[Match]:
    """Chunks without a vector in the palace whose vectors came with the question."""
    if not question.fresh or question.vector is None:
        return []
    return [
        Match(chunk.chunk, chunk.number, float(question.vector @ vector))
        for chunk in tx.pending(where, limit=len(question.fresh))
        if (vector := question.fresh.get((chunk.chunk, chunk.seq))) is not None
    ]


def _best_chunks(tx: ReadTx, found: _Found) -> list[tuple[float, int]]:
    """Each drawer's best chunk with its score, the best first."""
    if not found.scores:
        return []
    pool = sorted(found.scores, key=lambda chunk: -found.scores[chunk])[:NEIGHBOUR_POOL]
    neighbours = tx.neighbours(pool)
    scores = found.scores
    if found.vector is not None:
        unscored = {n for near in neighbours.values() for n in near} - scores.keys()
        nearness = tx.cosines(found.vector, sorted(unscored))
        scores = scores | {n: MEANING_SHARE * max(0.0, near) for n, near in nearness.items()}
    best: dict[int, tuple[float, int]] = {}
    for chunk, drawer in found.drawers.items():
        score = scores[chunk]
        if beside := neighbours.get(chunk):
            score += NEIGHBOUR_BONUS * max(scores.get(n, 0.0) for n in beside)
        if drawer not in best or score > best[drawer][0]:
            best[drawer] = (score, chunk)
    return sorted(best.values(), key=lambda each: -each[0])


def _hits(
    tx: ReadTx, found: _Found, best: Sequence[tuple[float, int]], weights: Weights
) -> tuple[Hit, ...]:
    spans = {span.chunk: span for span in tx.spans([chunk for _, chunk in best])}
    ids = tuple(span.drawer for span in spans.values())
    drawers = {drawer.id: drawer for drawer in tx.drawers(DrawerFilter(ids=ids), limit=len(ids))}
    hits = []
    for score, chunk in best:
        span = spans[chunk]
        drawer = drawers[span.drawer]
        confidence = _confidence(tx, _seen(drawer.text, span, drawer.author), weights)
        hits.append(
            Hit(
                drawer,
                span.start,
                span.end,
                score,
                confidence,
                text_rank=found.text_ranks.get(chunk),
                vector_rank=found.vector_ranks.get(chunk),
                cosine=found.cosines.get(chunk),
            )
        )
    return tuple(hits)


def _seen(text: str, span: Span, author: str) -> str:
    return texts.indexed_text(text, span.start, span.end, said="", speaker=author, source="")


def _confidence(tx: ReadTx, seen: str, weights: Weights) -> float:
    """The share of the question's weight that stands in the text, 0 to 1."""
    words = tx.words([seen])[0]
    single = set(words)
    pairs = set(pairwise(words))
    found = total = 0.0
    for group, weight in weights.values():
        total += weight
        # Adjacent pairs stand for the whole phrase: three words in a row have both pairs.
        if group[0] in single and all(pair in pairs for pair in pairwise(group)):
            found += weight
    return found / total if total else 0.0
