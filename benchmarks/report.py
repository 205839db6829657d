"""What all benchmarks share: options, plain tables, percentiles, and the JSON beside them."""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import statistics
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from time import perf_counter
from typing import Any

import apsw

RESULTS = Path(__file__).parent / "results"


def parser(about: str | None) -> argparse.ArgumentParser:
    """A parser with the options that every benchmark takes."""
    made = argparse.ArgumentParser(description=(about or "").split("\n", maxsplit=1)[0])
    made.add_argument("--quick", action="store_true", help="small sizes, a few seconds")
    made.add_argument("--folder", type=Path, help="where palaces are made; else a temporary one")
    return made


@contextmanager
def scratch(folder: Path | None) -> Iterator[Path]:
    """A folder on the disk that is measured, removed afterwards."""
    with tempfile.TemporaryDirectory(prefix="palatine-bench-", dir=folder) as made:
        yield Path(made)


def versions() -> dict[str, object]:
    """What was measured with."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "palatine": metadata.version("palatine"),
        "python": platform.python_version(),
        "sqlite of palatine (apsw)": apsw.sqlite_lib_version(),
        "sqlite of the standard library": sqlite3.sqlite_version,
        "system": f"{platform.system()} {platform.release()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None,
        "load": [round(load, 2) for load in os.getloadavg()],
    }


class Report:
    """Tables on stdout as they come, and everything in one JSON file at the end."""

    def __init__(self, name: str, options: argparse.Namespace) -> None:
        self._name = name
        self._tables: list[dict[str, Any]] = []
        self._expectations: list[dict[str, Any]] = []
        self._versions = versions()
        self._options = {key: str(value) for key, value in vars(options).items()}
        print(f"== {name}", flush=True)
        print("; ".join(f"{key} {value}" for key, value in self._versions.items()), flush=True)

    def table(self, title: str, heads: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """Prints a table with aligned columns, and keeps it."""
        self._tables.append({"title": title, "heads": list(heads), "rows": [list(r) for r in rows]})
        cells = [[_cell(value) for value in row] for row in [list(heads), *rows]]
        widths = [max(len(row[n]) for row in cells) for n in range(len(heads))]
        print(f"\n{title}")
        for row in cells:
            first, *rest = (cell for cell in row)
            aligned = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
            print("  ".join([first.ljust(widths[0]), *aligned]).rstrip())
        print(end="", flush=True)

    def say(self, line: str) -> None:
        """Prints one line under the tables."""
        print(line, flush=True)

    def expect(
        self, what: str, seen: float, *, least: float | None = None, most: float | None = None
    ) -> None:
        """Says whether a figure is what was expected."""
        met = (least is None or seen >= least) and (most is None or seen <= most)
        bound = f"at least {least:g}" if least is not None else f"at most {most:g}"
        self._expectations.append({"what": what, "seen": seen, "bound": bound, "met": met})
        print(
            f"{'met   ' if met else 'MISSED'}  {what}: {_cell(seen)} (expected {bound})", flush=True
        )

    def save(self) -> None:
        """Writes benchmarks/results/<name>.json."""
        RESULTS.mkdir(exist_ok=True)
        kept = {
            "benchmark": self._name,
            "versions": self._versions,
            "options": self._options,
            "tables": self._tables,
            "expectations": self._expectations,
        }
        path = RESULTS / f"{self._name}.json"
        path.write_text(json.dumps(kept, indent=1) + "\n", "utf-8")
        print(f"\nwritten: {path}", flush=True)


def _cell(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
    return str(value)


def percentile(values: Sequence[float], share: float) -> float:
    """The value below which so large a share lies; NaN when there are none."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def median(values: Sequence[float]) -> float:
    """The middle value; NaN when there are none."""
    return statistics.median(values) if values else float("nan")


def sync_milliseconds(folder: Path) -> float:
    """What the disk takes to confirm 4 kB: the floor under every write that is acknowledged."""
    block = bytes(4096)
    path = folder / "sync"
    path.write_bytes(block)
    file = os.open(path, os.O_RDWR)
    try:
        took = []
        for _ in range(50):
            start = perf_counter()
            os.pwrite(file, block, 0)
            (os.fsync if platform.system() == "Darwin" else os.fdatasync)(file)
            took.append((perf_counter() - start) * 1000)
    finally:
        os.close(file)
        path.unlink()
    return median(took)


def milliseconds(action: Callable[[], object]) -> float:
    """How long one call takes."""
    start = perf_counter()
    action()
    return (perf_counter() - start) * 1000
