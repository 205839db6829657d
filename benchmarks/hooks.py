"""How long a client waits for each hook: whole processes, from their start to their end.

Beside them stands an interpreter that does nothing. The answers are those of a prompt that finds
something in the palace, which costs most. A hook that files starts another process and does not
wait for it; what that one files is none of this.
"""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from time import perf_counter

from corpus import Corpus, fill
from report import Report, median, milliseconds, parser, percentile, scratch

from palatine import Palace

EVENTS = ("UserPromptSubmit", "SessionStart", "Stop")
BARE = [sys.executable, "-c", "pass"]
MODULES = """
import os, sys
from palatine import hooks
hooks.main(sys.argv[1:])
os.write(2, str(len(sys.modules)).encode())
"""
LIMIT_PROMPT_MS = 300


def run(command: list[str], given: bytes) -> subprocess.CompletedProcess[bytes]:
    """Runs a hook as a client does."""
    return subprocess.run(command, input=given, capture_output=True, check=True)


def main() -> int:
    """Each hook on palaces of each size, in turns with the bare interpreter."""
    arguments = parser(__doc__)
    arguments.add_argument("--drawers", type=int, nargs="+", default=[1000, 100_000])
    arguments.add_argument("--rounds", type=int, default=40)
    given = arguments.parse_args()
    if given.quick:
        given.drawers, given.rounds = [1000, 10_000], 10
    report = Report("hooks", given)
    rows: list[list[object]] = []
    prompts: list[float] = []
    with scratch(given.folder) as folder:
        transcript = folder / "none.jsonl"
        transcript.write_text("")
        for drawers in given.drawers:
            place = str(folder / f"palace-{drawers}")
            with Palace.open(place, embedder="none") as palace:
                fill(palace, Corpus(), drawers)
                texts = [drawer.text.replace(".", "").split() for drawer in palace.list(limit=40)]
            bare = [milliseconds(partial(run, BARE, b"")) for _ in range(given.rounds)]
            rows.append([drawers, "nothing", median(bare), percentile(bare, 0.95), 1.0, "", ""])
            for event in EVENTS:
                took, answered = [], 0
                hook = ["hook", event, "--palace", place]
                for number in range(given.rounds):
                    rare = [word for word in texts[number % len(texts)] if len(word) > 5][:6]
                    prompt = f"what did we say about {' '.join(rare)}?"
                    told = {"session_id": "bench", "cwd": str(folder), "prompt": prompt}
                    payload = json.dumps({**told, "transcript_path": str(transcript)}).encode()
                    began = perf_counter()
                    done = run([sys.executable, "-m", "palatine", *hook], payload)
                    took.append((perf_counter() - began) * 1000)
                    answered += bool(done.stdout)
                modules = run([sys.executable, "-c", MODULES, *hook[1:]], payload).stderr.decode()
                ratio = median(took) / median(bare)
                p95 = percentile(took, 0.95)
                share = f"{answered}/{given.rounds}"
                rows.append([drawers, event, median(took), p95, ratio, modules, share])
                prompts += [p95] if event == "UserPromptSubmit" else []
    report.table(
        f"a hook from start to end, {given.rounds} processes each",
        ["drawers", "hook", "p50 ms", "p95 ms", "times nothing", "modules", "answered"],
        rows,
    )
    report.expect("a prompt's hook, p95 ms, largest palace", prompts[-1], most=LIMIT_PROMPT_MS)
    report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
