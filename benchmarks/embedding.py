"""What a vector costs: the first one of a process, one for a query, many of them, and the memory.

Beside the packaged model on numpy and on onnxruntime stands ChromaDB's way of running the same
model: on onnxruntime, on all cores, every text padded to 256 tokens.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from report import Report, median, parser, percentile, scratch

from palatine.embed.base import Embedder
from palatine.embed.minilm.model import MiniLM, text_vectors, token_vectors, tokenizer
from palatine.embed.onnx import OnnxMiniLM

QUERY_TOKENS = 10
BULK_TOKENS = (20, 100, 250)
COMMON_WORDS = range(1996, 12_000)
LIMIT_PRIVATE_MB = 60
LEAST_TIMES_PADDED = 10
CORES = os.cpu_count() or 1

CHILD = """
import sys, time
start = time.perf_counter()
from pathlib import Path
from palatine.embed import open_local
embedder = open_local(Path(sys.argv[1]), bulk_threads=int(sys.argv[2]))
embedder.embed([sys.argv[3]])
print(time.perf_counter() - start, time.process_time(), embedder.remark, sep="\\t", flush=True)
sys.stdin.readline()
"""


class Padded(OnnxMiniLM):
    """Every text as long as the longest possible."""

    def _forward(self, texts: Sequence[Sequence[int]]) -> Any:
        lengths = np.array([len(text) for text in texts], np.int32)
        real = np.arange(256) < lengths[:, np.newaxis]
        padded = np.zeros((*real.shape, self.dimension), np.float32)
        padded[real] = token_vectors(self._weights.arrays, texts)
        (read,) = self._session.run(None, {"x": padded, "lengths": lengths})
        return text_vectors(read[real], lengths.tolist())


def texts_of(tokens: int, count: int) -> list[str]:
    """Texts of common English words, each a token."""
    words = [word for word, at in tokenizer()._ids.items() if at in COMMON_WORDS and word.isalpha()]
    choose = random.Random(tokens)
    return [" ".join(choose.choices(words, k=tokens - 2)) for _ in range(count)]


def timed(action: Callable[[], object]) -> tuple[float, float]:
    """Milliseconds by the clock and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    action()
    return (time.perf_counter() - wall) * 1000, (time.process_time() - cpu) * 1000


def first_vectors(report: Report, cache: Path, runtimes: dict[str, int], times: int) -> None:
    """A new process, from its first import to its first vector."""
    rows = []
    (query,) = texts_of(QUERY_TOKENS, 1)
    for name, threads in runtimes.items():
        seen = [first_vector(cache, threads, query) for _ in range(times)]
        rows.append([name, *(median(values) for values in zip(*seen, strict=True))])
    heads = ["first vector of a new process", "wall s", "CPU s with Python's start"]
    report.table("cold start, weights already expanded (median)", heads, rows)


def first_vector(cache: Path, threads: int, query: str) -> tuple[float, float]:
    """Seconds by the clock and of the processor."""
    with started(cache, threads, query) as process:
        wall, cpu, remark = said(process)
        process.communicate("\n", timeout=60)
    if process.returncode or remark:
        raise RuntimeError(remark or f"the child ended with {process.returncode}")
    return wall, cpu


def started(cache: Path, threads: int, query: str) -> subprocess.Popen[str]:
    """A process that embeds the query, says what it took, and waits for a line."""
    command = [sys.executable, "-c", CHILD, str(cache), str(threads), query]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def said(process: subprocess.Popen[str]) -> tuple[float, float, str]:
    """What a started process says: seconds by the clock, of the processor, and a remark."""
    assert process.stdout
    wall, cpu, remark = process.stdout.readline().rstrip("\n").split("\t")
    return float(wall), float(cpu), remark


def queries(report: Report, embedders: dict[str, Embedder], count: int) -> None:
    """One query after the other, the embedders taking turns."""
    walls: dict[str, list[float]] = {name: [] for name in embedders}
    cpus: dict[str, list[float]] = {name: [] for name in embedders}
    for text in texts_of(QUERY_TOKENS, count):
        for name, embedder in embedders.items():
            wall, cpu = timed(lambda embedder=embedder, text=text: embedder.embed([text]))
            walls[name].append(wall)
            cpus[name].append(cpu)
    rows = [
        [name, percentile(seen, 0.5), percentile(seen, 0.9), median(cpus[name])]
        for name, seen in walls.items()
    ]
    report.table(
        f"one query of {QUERY_TOKENS} tokens", ["runtime", "p50 ms", "p90 ms", "CPU ms"], rows
    )
    if "padded" in embedders:
        times = median(cpus["padded"]) / median(cpus["numpy"])
        report.expect("CPU of a query: padded / numpy, times", times, least=LEAST_TIMES_PADDED)


def bulk(report: Report, embedders: dict[str, Embedder], tokens_in_all: int) -> None:
    """Many texts in one call."""
    rows = []
    for name, embedder in embedders.items():
        row: list[object] = [name]
        for tokens in BULK_TOKENS:
            texts = texts_of(tokens, max(2, tokens_in_all // tokens))
            wall, cpu = timed(lambda embedder=embedder, texts=texts: embedder.embed(texts))
            row += len(texts) / wall * 1000, cpu / len(texts)
        rows.append(row)
    heads = ["runtime"]
    for tokens in BULK_TOKENS:
        heads += f"{tokens} tokens: texts/s", "CPU ms each"
    report.table("many texts", heads, rows)


def memory(report: Report, cache: Path, runtimes: dict[str, int], count: int) -> None:
    """Processes that have answered a query and wait for the next."""
    rows = []
    for name, threads in runtimes.items():
        processes = [started(cache, threads, "why graphql") for _ in range(count)]
        for process in processes:
            said(process)
        seen = [memory_of(process.pid) for process in processes]
        for process in processes:
            process.communicate("\n", timeout=60)
        rows.append([name, *(median(values) for values in zip(*seen, strict=True))])
        if name == "numpy":
            report.expect("private MB of each process", rows[-1][3], most=LIMIT_PRIVATE_MB)
    heads = ["runtime", "RSS MB", "proportional MB", "private MB"]
    report.table(f"memory of each of {count} processes after a query", heads, rows)


def memory_of(pid: int) -> tuple[float, float, float]:
    """Resident, proportional and private megabytes, as Linux counts them."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]
    kb = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    return kb["Rss"] / 1024, kb["Pss"] / 1024, (kb["Private_Clean"] + kb["Private_Dirty"]) / 1024


def main() -> None:
    """Measures everything."""
    given = parser(__doc__).parse_args()
    report = Report("embedding", given)
    runtimes = {"numpy": 0}
    with scratch(given.folder) as folder:
        cache = folder / "cache"
        took, _ = timed(lambda: MiniLM(cache))
        report.say(f"expanding the weights the first time, once for a machine: {took:.0f} ms")
        embedders: dict[str, Embedder] = {"numpy": MiniLM(cache)}
        if find_spec("onnxruntime"):
            runtimes["onnxruntime, 1 core"] = 1
            embedders["onnxruntime, 1 core"] = OnnxMiniLM(cache, threads=1)
            embedders["padded"] = Padded(cache, threads=CORES)
        else:
            report.say("onnxruntime is not installed (palatine[fast]): its rows are left out")
        first_vectors(report, cache, runtimes, 3 if given.quick else 9)
        queries(report, embedders, 20 if given.quick else 200)
        bulk(report, embedders, 2_000 if given.quick else 20_000)
        if Path("/proc/self/smaps_rollup").exists():
            memory(report, cache, runtimes, 3)
    report.save()


if __name__ == "__main__":
    main()
