"""Mining: the standard library's own sources, a year of transcripts, and many files unchanged.

Whole processes of `palatine mine`, their start included: until all is findable by its words, then
until every vector is there. Beside them, on a part of both, MemPalace where `--mempalace` names it:
with its own model, and with vectors that cost nothing, from a server beside it. Its texts can only
be found when their vectors are there.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import perf_counter
from typing import Any

from chroma_model import lay_out
from corpus import Corpus
from report import Report, parser, scratch

from palatine import Palace

PART = ("json", "email", "logging", "http")
FIRST_DAY = datetime(2025, 1, 6, 8, tzinfo=UTC)
WORKDAYS, SESSIONS, EXCHANGES = 250, 4, 10
PART_SESSIONS = 10
TOOL_RESULT_TEXTS = 5
NOTES = 10_000
DIMENSION = 384
LEAST_TEXT, LEAST_VECTORS, MOST_RERUN_SECONDS = 20, 1, 1
WITHOUT_ONNXRUNTIME = """
import sys
sys.modules["onnxruntime"] = None
from palatine.__main__ import main
main()
"""
OWN = [sys.executable, "-m", "palatine"]
Row = list[object]


@dataclass(frozen=True, slots=True)
class Tree:
    """What is mined: its files, and their size."""

    name: str
    folder: Path

    def measures(self) -> tuple[int, float]:
        """How many files, and how many megabytes."""
        sizes = [path.stat().st_size for path in self.folder.rglob("*") if path.is_file()]
        return len(sizes), sum(sizes) / 1e6


def seconds(
    command: Sequence[str], *, folder: Path | None = None, env: Mapping[str, str] | None = None
) -> float:
    """How long a program takes that must succeed."""
    start = perf_counter()
    done = subprocess.run(
        command, cwd=folder, env=env, stdin=subprocess.DEVNULL, capture_output=True, check=False
    )
    took = perf_counter() - start
    if done.returncode:
        words = " ".join(command)
        raise RuntimeError(f"{words}: {done.returncode}\n{done.stderr.decode(errors='replace')}")
    return took


def mine(tree: Tree, place: Path, *options: str, own: Sequence[str] = OWN) -> float:
    """Seconds of `palatine mine`."""
    return seconds([*own, "mine", str(tree.folder), "--palace", str(place), *options])


def size(place: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in place.rglob("*") if path.is_file())


def sources(folder: Path, names: Sequence[str]) -> Tree:
    """The standard library's sources, or some packages of it."""
    library = Path(sysconfig.get_path("stdlib"))
    unwanted = shutil.ignore_patterns("__pycache__", "site-packages", "config-*", "*.so", "*.a")
    for name in names:
        shutil.copytree(library / name, folder / name, ignore=unwanted)
    if not names:
        shutil.copytree(library, folder, ignore=unwanted)
    return Tree("a part of the library" if names else "standard library", folder)


def transcripts(folder: Path, sessions: int) -> Tree:
    """Sessions of Claude Code, four on each day of work: questions, a tool's calls, answers."""
    folder.mkdir()
    corpus = Corpus()
    for number in range(sessions):
        day, turn = divmod(number, SESSIONS)
        at = FIRST_DAY + timedelta(days=day // 5 * 7 + day % 5, hours=2 * turn)
        name = f"session-{number:05}"
        with (folder / f"{name}.jsonl").open("w") as file:
            for record in _session(corpus, name, at):
                file.write(json.dumps(record) + "\n")
    return Tree("transcripts", folder)


def _session(corpus: Corpus, name: str, at: datetime) -> Iterator[dict[str, object]]:
    for number in range(EXCHANGES):
        call = f"toolu_{number}"
        result = " ".join(corpus.text() for _ in range(TOOL_RESULT_TEXTS))
        used = {"type": "tool_use", "id": call, "name": "Bash", "input": {"command": "make test"}}
        found = {"type": "tool_result", "tool_use_id": call, "content": result}
        said = [{"type": "text", "text": corpus.text()} for _ in range(3)]
        turns: list[tuple[str, object]] = [
            ("user", corpus.question()),
            ("assistant", [said[0], used]),
            ("user", [found]),
            ("assistant", said[1:]),
        ]
        for role, content in turns:
            at += timedelta(seconds=20)
            yield {
                "type": role,
                "sessionId": name,
                "cwd": "/srv/teashop",
                "timestamp": at.isoformat().replace("+00:00", "Z"),
                "message": {"role": role, "content": content},
            }


def notes(folder: Path, count: int) -> Tree:
    """So many files of one text each, a hundred in a folder."""
    corpus = Corpus(2)
    for number in range(count):
        path = folder / f"part{number // 100}" / f"note{number}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(corpus.text() + "\n")
    return Tree("notes", folder)


def until_found(report: Report, trees: Sequence[Tree], folder: Path) -> None:
    """The first table: text alone, and the same tree again."""
    rows: list[Row] = []
    again = 0.0
    for tree in trees:
        place = folder / f"palace of {tree.name}"
        files, megabytes = tree.measures()
        took = mine(tree, place, "--no-embed")
        again = mine(tree, place, "--no-embed")
        with Palace.open(place, embedder="none") as palace:
            drawers = palace.status().drawers
            passages = palace.status().pending
        disk = size(place) / 1e6
        rates = [files / took, megabytes / took, passages / took]
        rows.append([tree.name, files, megabytes, drawers, passages, took, *rates, again, disk])
        rows[-1].append(disk / drawers * 1e4)
    heads = "files|MB|drawers|passages|s|files/s|MB/s|passages/s|again s|disk MB|MB/10,000 drawers"
    report.table("until all is findable by its words", ["tree", *heads.split("|")], rows)
    if files >= NOTES:  # of fewer, the start of Python is most of it
        rerun = again * 10_000 / files
        report.expect("again, seconds per 10,000 files", rerun, most=MOST_RERUN_SECONDS)


@contextmanager
def free_vectors() -> Iterator[str]:
    """A server of an OpenAI-like endpoint whose vectors cost nothing; its address."""

    class Answers(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))["input"]
            texts = [asked] if isinstance(asked, str) else asked
            made = [
                {"index": number, "embedding": [0.0] * (hash(text) % DIMENSION) + [1.0]}
                for number, text in enumerate(texts)
            ]
            for each in made:
                vector: Any = each["embedding"]
                vector += [0.0] * (DIMENSION - len(vector))
            body = json.dumps({"data": made, "model": "free"}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class MemPalace:
    """The peer, as its user runs it, in a home of its own."""

    def __init__(self, program: str, home: Path) -> None:
        self._program = program
        self._home = home
        lay_out(home, home / "cache")

    def mine(self, tree: Tree, place: Path, *, endpoint: str = "") -> float:
        """Seconds of `mempalace mine`; `init`, which it asks for before, is not counted."""
        env = {**os.environ, "HOME": str(self._home), "ANONYMIZED_TELEMETRY": "False"}
        if endpoint:
            env["MEMPALACE_EMBEDDING_MODEL"] = "openai-compat"
            env["MEMPALACE_EMBEDDING_API_URL"] = endpoint
            env["MEMPALACE_EMBEDDING_API_MODEL"] = "free"
        folder = place.with_name(f"{place.name} tree")  # it writes into the folder
        shutil.copytree(tree.folder, folder)
        called = [self._program, "--palace", str(place)]
        seconds([*called, "init", ".", "--yes", "--no-llm"], folder=folder, env=env)
        mode = ["--mode", "convos"] if tree.name == "transcripts" else []
        return seconds([*called, "mine", ".", "--direct", *mode], folder=folder, env=env)


def until_vectors(
    report: Report, trees: Sequence[Tree], folder: Path, peer: MemPalace | None
) -> None:
    """The second table: parts of the trees, with their vectors, beside the peer."""
    rows: list[Row] = []
    text = vectors = float("inf")
    for tree in trees:
        place = folder / f"vectors of {tree.name}"
        numpy = [sys.executable, "-c", WITHOUT_ONNXRUNTIME]
        found = mine(tree, place / "words", "--no-embed")
        slow = mine(tree, place / "numpy", own=numpy)
        quick = mine(tree, place / "onnxruntime")
        rows.append([tree.name, "Palatine, by words", found, size(place / "words") / 1e6, ""])
        rows.append(["", "Palatine, vectors, numpy", slow, size(place / "numpy") / 1e6, ""])
        disk = size(place / "onnxruntime") / 1e6
        rows.append(["", "Palatine, vectors, onnxruntime", quick, disk, ""])
        if peer:
            theirs = peer.mine(tree, place / "peer")
            ratios = f"{theirs / found:.0f}, {theirs / slow:.1f}, {theirs / quick:.1f}"
            rows.append(["", "MemPalace, its model", theirs, size(place / "peer") / 1e6, ratios])
            with free_vectors() as endpoint:
                free = peer.mine(tree, place / "free", endpoint=endpoint)
            ratios = f"{free / found:.0f}"
            rows.append(["", "MemPalace, free vectors", free, size(place / "free") / 1e6, ratios])
            text, vectors = min(text, theirs / found), min(vectors, theirs / quick)
    heads = ["tree", "who", "s", "disk MB", "times words, numpy, onnxruntime"]
    report.table(
        "a part of each, until all is findable, and until all vectors are there", heads, rows
    )
    if peer:
        report.expect("MemPalace's time by ours, by words", text, least=LEAST_TEXT)
        report.expect("MemPalace's time by ours, vectors", vectors, least=LEAST_VECTORS)
    else:
        report.say("MemPalace is not measured: name its program with --mempalace")


def several(report: Report, tree: Tree, folder: Path) -> None:
    """Miners of one tree at once, against one alone."""
    rows: list[Row] = []
    for miners in (1, 2, 4):
        command = [*OWN, "mine", str(tree.folder), "--no-embed", "--json"]
        command += ["--palace", str(folder / f"palace of {miners}")]
        start = perf_counter()
        at_work = [subprocess.Popen(command, stdout=subprocess.PIPE) for _ in range(miners)]
        read = [json.loads(each.communicate()[0])["mined"][0]["files"] for each in at_work]
        took = perf_counter() - start
        if any(each.returncode for each in at_work):
            raise RuntimeError("a miner failed")
        rows.append([miners, took, sum(read), max(read)])
    report.table(
        "miners of the standard library at once", ["miners", "s", "files read", "by one"], rows
    )


def main() -> int:
    """All tables; the peer where it is named."""
    arguments: argparse.ArgumentParser = parser(__doc__)
    arguments.add_argument("--mempalace", help="the peer's program, in its own environment")
    given = arguments.parse_args()
    sessions, count, part = WORKDAYS * SESSIONS, NOTES, PART_SESSIONS
    if given.quick:
        sessions, count, part = 40, 1000, 2
    report = Report("mining", given)
    with scratch(given.folder) as folder:
        library = sources(folder / "library", PART if given.quick else ())
        year = transcripts(folder / "year", sessions)
        until_found(report, [library, year, notes(folder / "notes", count)], folder)
        several(report, library, folder)
        parts = [
            sources(folder / "part", PART[:1] if given.quick else PART),
            transcripts(folder / "days", part),
        ]
        peer = MemPalace(given.mempalace, folder / "home") if given.mempalace else None
        until_vectors(report, parts, folder, peer)
    report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
