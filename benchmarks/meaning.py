"""Search by words and meaning in palaces of different sizes, alone and beside four writers.

The texts are sentences from the docstrings and the help pages of this Python, drawn anew for each;
a question is a part of such a sentence. The first 5,000 texts have their real vectors. Each further
one has the vector of one of these with noise: as far from it as the real ones are, measured, from
their nearest neighbours. The texts do not go with these vectors, so that what is found by words and
what is found by meaning seldom coincide: search has more to read than it would in life.

Beside it stand numpy over all vectors as float32, which is exact, and chromadb where it is
installed. All times are with the model's for the question.
"""

from __future__ import annotations

import argparse
import ast
import importlib.util
import multiprocessing
import random
import re
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import apsw
import numpy as np
from corpus import BATCH, WINGS
from embedding import memory_of
from report import Report, milliseconds, parser, percentile, scratch

from palatine import Palace
from palatine.config import cache_folder
from palatine.embed import Embedder, open_local
from palatine.types import NewDrawer

SAMPLE = 5_000
BLOCKS = 5
WRITERS = 4
CHROMA_MOST = 100_000
LIMIT_P50_MS = {100_000: 40, 1_000_000: 150}
LIMIT_FIRST_SECONDS = {100_000: 0.6, 1_000_000: 1.5}
LIMIT_BESIDE_WRITERS = 1.2

# A new process: asks one question, then the others, and says seconds and megabytes.
FIRST_SEARCH = """
import sys, time
start = time.perf_counter()
from palatine import Palace
imported = time.perf_counter()
with Palace.open(sys.argv[1], create=False, embedder="minilm") as palace:
    opened = time.perf_counter()
    assert palace.search(sys.argv[2]).meaning
    print(imported - start, opened - imported, time.perf_counter() - opened, flush=True)
    for question in sys.argv[3:]:
        palace.search(question)
    print(flush=True)
    sys.stdin.readline()
"""


class Prose:
    """Draws texts and questions out of sentences that people have written."""

    def __init__(self, sentences: Sequence[str], seed: int) -> None:
        self._sentences = sentences
        self._draw = random.Random(seed)

    def text(self) -> str:
        """40 to 120 words: pieces of two sentences that stand together."""
        wanted, words, pieces = self._draw.randint(40, 100), 0, []
        while words < wanted:
            at = self._draw.randrange(len(self._sentences) - 1)
            piece = " ".join(self._sentences[at : at + 2])
            words += len(piece.split())
            pieces.append(piece)
        return " ".join(pieces)

    def question(self) -> str:
        """Up to ten words of a sentence."""
        return " ".join(self._draw.choice(self._sentences).split()[:10])


def sentences() -> list[str]:
    """What stands in the docstrings of the standard library, and in its help."""
    texts = list(topics.values())
    for path in sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py")):
        if not {"site-packages", "test", "tests", "lib2to3"} & set(path.parts):
            nodes = ast.walk(ast.parse(path.read_bytes()))
            kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
            texts += [ast.get_docstring(node) or "" for node in nodes if isinstance(node, kinds)]
    found = (
        sentence
        for text in texts
        for paragraph in re.split(r"\n\s*\n", text)
        for sentence in re.split(r"(?<=[.!?]) (?=[A-Z])", " ".join(paragraph.split()))
    )
    return list(dict.fromkeys(sentence for sentence in found if _is_prose(sentence.split())))


def _is_prose(words: Sequence[str]) -> bool:
    return 5 <= len(words) <= 40 and sum(word.isalpha() for word in words) > 0.7 * len(words)


class Sampled:
    """Real vectors for the first texts that it gets, then noisy copies of these."""

    remark = ""

    def __init__(self, model: Embedder) -> None:
        self.name, self.dimension = model.name, model.dimension
        self._model = model
        self._real = np.empty((0, model.dimension), np.float32)
        self._cosines = np.empty(0, np.float32)
        self._draw = np.random.default_rng(1)
        self.close = model.close

    def embed(self, texts: Sequence[str]) -> Any:
        """A vector for each text."""
        real = self._model.embed(texts[: max(0, SAMPLE - len(self._real))])
        self._real = np.concatenate([self._real, real])
        if len(texts) == len(real):
            return real
        if not len(self._cosines):
            self._cosines = _nearest_cosines(self._real)
        count = len(texts) - len(real)
        near = self._real[self._draw.integers(len(self._real), size=count)]
        noise = self._draw.standard_normal(near.shape, np.float32)
        noise -= (noise * near).sum(1, keepdims=True) * near
        noise /= np.linalg.norm(noise, axis=1, keepdims=True)
        cosine = self._draw.choice(self._cosines, (count, 1))
        return np.concatenate([real, cosine * near + np.sqrt(1 - cosine**2) * noise])

    def about(self) -> str:
        """What was measured."""
        low, middle, high = np.percentile(self._cosines, [10, 50, 90])
        return (
            f"cosine to the nearest neighbour: {low:.2f}, {middle:.2f}, {high:.2f} (10, 50, 90 %)"
        )


def _nearest_cosines(vectors: Any) -> Any:
    """Of each vector the cosine to the nearest other one; copies aside."""
    best = np.empty(len(vectors), np.float32)
    for start in range(0, len(vectors), 1000):
        block = vectors[start : start + 1000] @ vectors.T
        block[block > 0.999] = -1
        best[start : start + 1000] = block.max(1)
    return np.clip(best, 0, 0.999)


def grow(palace: Palace, prose: Prose, first: int, last: int) -> None:
    """Files so many drawers of one chunk, with their vectors."""
    for start in range(first, last, BATCH):
        palace.add_many(
            NewDrawer(text=prose.text(), wing=f"wing {number % WINGS}", position=number)
            for number in range(start, min(start + BATCH, last))
        )
    palace.embed()


# What is measured


def exact(place: Path, model: Embedder) -> Callable[[str], object]:
    """A search over all vectors at once."""
    connection = apsw.Connection(str(place / "palace.db"), flags=apsw.SQLITE_OPEN_READONLY)
    count = connection.execute("SELECT count(*) FROM vector").get
    matrix = np.empty((count, model.dimension), np.float32)
    for row, (half,) in enumerate(connection.execute("SELECT f16 FROM vector")):
        matrix[row] = np.frombuffer(half, "<f2")
    connection.close()

    def search(question: str) -> object:
        scores = matrix @ model.embed([question])[0]
        best = np.argpartition(scores, -10)[-10:]
        return best[np.argsort(-scores[best])]

    search.matrix = matrix  # type: ignore[attr-defined]
    return search


def chroma(folder: Path, matrix: Any, model: Embedder) -> Callable[[str], object]:
    """The same vectors in chromadb, embedded."""
    import chromadb  # noqa: PLC0415 (an extra)

    client = chromadb.PersistentClient(
        str(folder), chromadb.config.Settings(anonymized_telemetry=False)
    )
    collection = client.create_collection("c", configuration={"hnsw": {"space": "cosine"}})
    for start in range(0, len(matrix), 1000):
        block = matrix[start : start + 1000]
        ids = [str(start + n) for n in range(len(block))]
        collection.add(ids=ids, embeddings=block)
    return lambda question: collection.query(query_embeddings=model.embed([question]), n_results=10)


def new_process(place: Path, questions: Sequence[str]) -> list[float]:
    """Seconds: from its start to its first answer, import, open, first search; and megabytes."""
    start = time.perf_counter()
    command = [sys.executable, "-c", FIRST_SEARCH, str(place), *questions]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        seconds = process.stdout.readline().split()
        took = time.perf_counter() - start
        process.stdout.readline()
        resident, _, private = memory_of(process.pid)
        process.communicate("\n", timeout=60)
    if process.returncode:
        raise RuntimeError(f"the new process ended with {process.returncode}")
    return [took, *map(float, seconds), resident, private]


def writes(place: str, pause: float, number: int, going: Any, ended: Any, counts: Any) -> None:
    """A writer: files one text after the other while it may."""
    prose = Prose(sentences(), 100 + number)
    count = 0
    with Palace.open(place, embedder="none", agent=f"writer {number}") as palace:
        palace.add(prose.text(), wing="written")
        counts.put(0)
        while not ended.is_set():
            if going.wait(0.1):
                palace.add(prose.text(), wing="written")
                count += 1
                time.sleep(pause)
    counts.put(count)


def beside_writers(
    place: Path, questions: Sequence[str], a_second: float
) -> tuple[list[float], list[float], float]:
    """Milliseconds of searches alone and beside writers, in turns; and writes a second."""
    spawn = multiprocessing.get_context("spawn")
    going, ended, counts = spawn.Event(), spawn.Event(), spawn.Queue()
    pause = 1 / a_second if a_second else 0.0
    writers = [
        spawn.Process(target=writes, args=(str(place), pause, n, going, ended, counts))
        for n in range(WRITERS)
    ]
    alone: list[float] = []
    beside: list[float] = []
    seconds = 0.0
    with Palace.open(place, embedder="minilm", background=True) as palace:
        for writer in writers:
            writer.start()
        for _ in writers:
            counts.get()
        palace.search("warm up the cache")
        for _ in range(BLOCKS):
            _settle(palace)
            alone += timed(palace.search, questions)
            going.set()
            start = time.perf_counter()
            beside += timed(palace.search, questions)
            seconds += time.perf_counter() - start
            going.clear()
        ended.set()
        written = sum(counts.get() for _ in writers)
    for writer in writers:
        writer.join()
        if writer.exitcode:
            raise RuntimeError(f"a writer ended with {writer.exitcode}")
    return alone, beside, written / seconds


def _settle(palace: Palace) -> None:
    """Until what was written has its vectors."""
    while palace.status().pending:
        time.sleep(0.1)


def timed(search: Callable[[str], object], questions: Sequence[str]) -> list[float]:
    """Milliseconds of each question."""
    return [milliseconds(lambda each=each: search(each)) for each in questions]  # type: ignore[misc]


def measure(report: Report, place: Path, chunks: int, given: argparse.Namespace) -> None:
    """One size of palace."""
    prose = Prose(sentences(), 2)
    questions = [prose.question() for _ in range(given.questions)]
    seen = {}
    model = open_local(Path(cache_folder()))
    news = [new_process(place, questions[:50]) for _ in range(5)]
    with Palace.open(place, embedder=model) as palace:
        palace.search("warm up the cache")
        seen["words and meaning"] = timed(palace.search, questions)
        seen["in a wing with a tenth"] = timed(
            lambda question: palace.search(question, wing="wing 3"), questions
        )
    with Palace.open(place, embedder="none") as palace:
        palace.search("warm up the cache")
        seen["words only"] = timed(palace.search, questions)
    seen["the model alone"] = timed(lambda question: model.embed([question]), questions)
    by_numpy = exact(place, model)
    seen["numpy, exact, by meaning only"] = timed(by_numpy, questions)
    if importlib.util.find_spec("chromadb") and chunks <= CHROMA_MOST:
        with scratch(given.folder) as folder:
            by_chroma = chroma(folder, by_numpy.matrix, model)  # type: ignore[attr-defined]
            seen["chromadb, by meaning only"] = timed(by_chroma, questions)
    del by_numpy
    table = [
        [what, len(ms), percentile(ms, 0.5), percentile(ms, 0.9), max(ms)]
        for what, ms in seen.items()
    ]
    heads = ["search", "n", "p50 ms", "p90 ms", "max ms"]
    report.table(f"{chunks:,} chunks", heads, table)
    firsts = [sorted(each)[len(each) // 2] for each in zip(*news, strict=True)]
    report.table(
        f"{chunks:,} chunks: a new process (median of {len(news)})",
        ["", "first answer s", "import s", "open s", "first search s", "RSS MB", "private MB"],
        [["minilm", *firsts]],
    )
    p50 = percentile(seen["words and meaning"], 0.5)
    if limit := LIMIT_P50_MS.get(chunks):
        report.expect(f"{chunks:,} chunks: p50 ms", p50, most=limit)
        report.expect(
            f"{chunks:,} chunks: first search of a new process, seconds from its start",
            firsts[0],
            most=LIMIT_FIRST_SECONDS[chunks],
        )


def beside(report: Report, place: Path, chunks: int, given: argparse.Namespace) -> None:
    """The same with writers."""
    prose = Prose(sentences(), 3)
    questions = [prose.question() for _ in range(given.questions)]
    table = []
    for a_second in given.writes:
        alone, busy, rate = beside_writers(place, questions, a_second)
        middle, while_writing = percentile(alone, 0.5), percentile(busy, 0.5)
        table.append([f"{rate:.0f} writes a second", middle, percentile(alone, 0.9), while_writing])
        table[-1] += [percentile(busy, 0.9), while_writing / middle]
    heads = ["four writers", "p50 ms alone", "p90", "p50 beside them", "p90", "ratio of p50"]
    report.table(f"{chunks:,} chunks, searched beside four writers", heads, table)
    report.expect(
        f"{chunks:,} chunks: p50 beside writers, times alone",
        float(table[0][-1]),
        most=LIMIT_BESIDE_WRITERS,
    )


def main() -> int:
    """Measures each size, in one palace that grows."""
    arguments = parser(__doc__)
    arguments.add_argument("--chunks", type=int, nargs="+", default=[10_000, 100_000])
    arguments.add_argument("--questions", type=int, default=100)
    arguments.add_argument(
        "--writes", type=float, nargs="+", default=[1, 10], help="a second, by each writer"
    )
    given = arguments.parse_args()
    if given.quick:
        given.chunks, given.questions = [2_000], 20
    report = Report("meaning", given)
    texts = Prose(sentences(), 1)
    with scratch(given.folder) as folder:
        place = folder / "palace"
        vectors = Sampled(open_local(Path(cache_folder()), bulk_threads=2))
        filed = 0
        for chunks in sorted(given.chunks):
            start = time.perf_counter()
            with Palace.open(place, embedder=vectors) as palace:
                grow(palace, texts, filed, chunks)
            filed = chunks
            size = (place / "palace.db").stat().st_size / 2**20
            took = time.perf_counter() - start
            report.say(f"\nfiled in {took:.0f} s, {size:,.0f} MiB; {vectors.about()}")
            measure(report, place, chunks, given)
            beside(report, place, chunks, given)
    report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
