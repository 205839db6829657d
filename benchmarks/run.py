"""Runs the benchmarks one after the other: `python benchmarks/run.py [name ...] [--quick]`."""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

NAMES = (
    "startup",
    "contention",
    "search",
    "thrash",
    "facts",
    "hooks",
    "serving",
    "servers",
    "embedding",
    "retrieval",
    "meaning",
    "mining",
)


def main() -> int:
    """Runs what was named, each in its own process; fails when one of them fails."""
    parser = argparse.ArgumentParser(description="Runs Palatine's benchmarks.")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(NAMES)}; else all")
    parser.add_argument("--quick", action="store_true", help="small sizes, a few seconds each")
    given = parser.parse_args()
    if unknown := set(given.names) - set(NAMES):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(NAMES)}")
    failed = []
    for name in given.names or NAMES:
        script = Path(__file__).with_name(f"{name}.py")
        command = [sys.executable, str(script), *(["--quick"] if given.quick else [])]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
        print()
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
