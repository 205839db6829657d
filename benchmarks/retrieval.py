"""How well search finds: the share of what is relevant among the first 5 and 10 drawers.

PATH is a BEIR folder (corpus.jsonl, queries.jsonl, qrels/*.tsv), a LongMemEval file (.json), or
JSON Lines with `{"id", "text"}` for each document and `{"query", "relevant": [ids]}` for each
question. Without one it is `oblique.jsonl`, beside this script: 60 questions that share no content
word with their answers.

Search runs through the public library on a real palace: by words (opened without a model) and by
words and meaning. *vectors* ranks all chunks by their exact cosine, read from the palace's file;
*random* is what any order would find on average.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import apsw
import numpy as np
from report import Report, milliseconds, parser, percentile, scratch

from palatine import Palace
from palatine.config import cache_folder
from palatine.embed import Embedder, open_local
from palatine.types import NewDrawer

OBLIQUE = Path(__file__).with_name("oblique.jsonl")
DEPTHS = (5, 10)
METHODS = ("random", "words", "vectors", "words and meaning")
HYBRID = METHODS[-1]
_VECTORS = """SELECT json_extract(d.metadata, '$.key'), v.f16 FROM vector v
JOIN chunk c ON c.row = v.chunk JOIN drawer d ON d.row = c.drawer ORDER BY v.chunk"""


@dataclass(frozen=True, slots=True)
class Query:
    """A question and the keys of the documents that answer it."""

    text: str
    relevant: frozenset[str]


@dataclass(frozen=True, slots=True)
class Collection:
    """Documents that share a palace, and questions about them.

    Attributes:
        documents: each with its key in the metadata.
        queries: what is asked.
    """

    documents: Sequence[NewDrawer]
    queries: Sequence[Query]


class Remembering:
    """The packaged model; what it has embedded once is not embedded again."""

    def __init__(self) -> None:
        self._model: Embedder = open_local(Path(cache_folder()), bulk_threads=2)
        self._known: dict[str, Any] = {}
        self.name, self.dimension = self._model.name, self._model.dimension
        self.remark = self._model.remark
        self.close = self._model.close

    def embed(self, texts: Sequence[str]) -> Any:
        """A vector for each text."""
        if new := [text for text in dict.fromkeys(texts) if text not in self._known]:
            self._known.update(zip(new, self._model.embed(new), strict=True))
        return np.array([self._known[text] for text in texts])


class Measure:
    """Recall of each method over any number of collections."""

    def __init__(self, folder: Path, embedder: Embedder) -> None:
        self._folder = folder
        self._embedder = embedder
        self._palaces = 0
        self.recalls: dict[str, dict[int, list[float]]] = {
            method: {depth: [] for depth in DEPTHS} for method in METHODS
        }
        self.milliseconds: list[float] = []

    def add(self, collection: Collection) -> None:
        """Files the documents in a palace of their own and asks each question in each way."""
        self._palaces += 1
        place = self._folder / str(self._palaces)
        with Palace.open(place, embedder=self._embedder) as palace:
            palace.add_many(collection.documents)
            palace.embed()
            by_vector = _Exact(place, self._embedder)
            documents = len(collection.documents)
            with Palace.open(place, embedder="none") as by_words:
                ways: Mapping[str, Callable[[str], list[str]]] = {
                    "words": lambda question: found(by_words, question),
                    "vectors": by_vector,
                    HYBRID: lambda question: found(palace, question),
                }
                for query in collection.queries:
                    self._ask(query, ways)
                    for depth in DEPTHS:
                        by_chance = min(1.0, depth / documents) if query.relevant else 1.0
                        self.recalls["random"][depth].append(by_chance)

    def _ask(self, query: Query, ways: Mapping[str, Callable[[str], list[str]]]) -> None:
        self._embedder.embed([query.text])  # its time is measured elsewhere
        for method, way in ways.items():
            ranked: list[str] = []
            took = milliseconds(lambda way=way, ranked=ranked: ranked.extend(way(query.text)))  # type: ignore[misc]
            if method == HYBRID:
                self.milliseconds.append(took)
            for depth in DEPTHS:
                self.recalls[method][depth].append(recall(query.relevant, ranked[:depth]))

    def of(self, method: str, depth: int) -> float:
        """Mean recall in percent."""
        seen = self.recalls[method][depth]
        return 100 * sum(seen) / len(seen)

    def table(self, report: Report, title: str) -> None:
        """What was measured."""
        rows = [[method, *(f"{self.of(method, k):.1f}" for k in DEPTHS)] for method in METHODS]
        report.table(title, ["", *(f"R@{k}" for k in DEPTHS)], rows)
        report.say(
            f"{len(self.milliseconds)} questions; {HYBRID}, without the model: p50"
            f" {percentile(self.milliseconds, 0.5):.1f} ms, p90"
            f" {percentile(self.milliseconds, 0.9):.1f} ms"
        )


class _Exact:
    """All vectors of a palace, compared one by one."""

    def __init__(self, place: Path, embedder: Embedder) -> None:
        self._embedder = embedder
        connection = apsw.Connection(str(place / "palace.db"), flags=apsw.SQLITE_OPEN_READONLY)
        rows = connection.execute(_VECTORS).fetchall()
        connection.close()
        self._keys = [key for key, _ in rows]
        halves = np.frombuffer(b"".join(half for _, half in rows), "<f2")
        self._matrix = halves.reshape(len(rows), -1).astype(np.float32)

    def __call__(self, question: str) -> list[str]:
        order = np.argsort(-(self._matrix @ self._embedder.embed([question])[0]), kind="stable")
        return list(dict.fromkeys(self._keys[n] for n in order))[: DEPTHS[-1]]


def found(palace: Palace, question: str) -> list[str]:
    """The keys of the first drawers; none where the question cannot be asked."""
    hits = palace.search(question, limit=DEPTHS[-1])
    return [str(hit.drawer.metadata["key"]) for hit in hits]


def recall(relevant: frozenset[str], ranked: Sequence[str]) -> float:
    """The share of what is relevant that was found; 1 where nothing is."""
    return len(relevant.intersection(ranked)) / len(relevant) if relevant else 1.0


def document(key: str, text: str, number: int, **known: Any) -> NewDrawer:
    """A drawer of a collection; its number keeps equal texts apart."""
    return NewDrawer(text=text, **{"position": number, "metadata": {"key": key}, **known})


# The formats


def read(path: Path, questions: int) -> Iterator[Collection]:
    """The collections of a file or folder; of LongMemEval at most so many, drawn at random."""
    if path.is_dir():
        yield beir(path)
    elif path.suffix == ".json":
        cases = json.loads(path.read_text("utf-8"))
        random.Random(1).shuffle(cases)
        yield from map(longmemeval, cases[:questions])
    else:
        yield json_lines(path)


def lines(path: Path) -> Iterator[dict[str, Any]]:
    """The objects of a JSON Lines file."""
    with path.open(encoding="utf-8") as file:
        yield from (json.loads(line) for line in file if line.strip())


def json_lines(path: Path) -> Collection:
    """Documents and questions in one file."""
    given = list(lines(path))
    documents = [each for each in given if "query" not in each]
    return Collection(
        [document(str(d["id"]), d["text"], n) for n, d in enumerate(documents)],
        [
            Query(each["query"], frozenset(map(str, each["relevant"])))
            for each in given
            if "query" in each
        ],
    )


def beir(folder: Path) -> Collection:
    """A folder as BEIR has them; a document's title stands before its text."""
    relevant: dict[str, set[str]] = {}
    for path in sorted(folder.glob("qrels/test.tsv")) or sorted(folder.glob("qrels/*.tsv")):
        with path.open(encoding="utf-8") as file:
            for query, key, score, *_ in list(csv.reader(file, delimiter="\t"))[1:]:
                if int(score) > 0:
                    relevant.setdefault(query, set()).add(key)
    documents = [
        document(str(d["_id"]), f"{d.get('title', '')}\n{d['text']}".strip() or "-", n)
        for n, d in enumerate(lines(folder / "corpus.jsonl"))
    ]
    queries = [
        Query(each["text"], frozenset(relevant[str(each["_id"])]))
        for each in lines(folder / "queries.jsonl")
        if str(each["_id"]) in relevant
    ]
    return Collection(documents, queries)


def longmemeval(case: Mapping[str, Any]) -> Collection:
    """One question with its own sessions, each of them a drawer."""
    sessions = zip(
        case["haystack_session_ids"], case["haystack_dates"], case["haystack_sessions"], strict=True
    )
    documents = [
        document(
            key,
            "\n".join(f"{turn['role']}: {turn['content']}" for turn in turns) or "-",
            number,
            said_at=datetime.strptime(re.sub(r"\(\w+\) ", "", date), "%Y/%m/%d %H:%M").isoformat(),  # noqa: DTZ007
        )
        for number, (key, date, turns) in enumerate(sessions)
    ]
    return Collection(documents, [Query(case["question"], frozenset(case["answer_session_ids"]))])


def main() -> int:
    """Measures one set."""
    arguments = parser(__doc__)
    arguments.formatter_class = argparse.RawDescriptionHelpFormatter
    arguments.description = __doc__
    arguments.add_argument("path", type=Path, nargs="?", default=OBLIQUE, metavar="PATH")
    arguments.add_argument(
        "--questions", type=int, default=500, help="of LongMemEval, each with its own sessions"
    )
    given = arguments.parse_args()
    report = Report(f"retrieval-{given.path.stem}", given)
    with scratch(given.folder) as folder:
        measure = Measure(folder, Remembering())
        for collection in read(given.path, min(given.questions, 20 if given.quick else 10**6)):
            measure.add(collection)
        measure.table(report, f"{given.path.name}: recall in percent")
    report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
