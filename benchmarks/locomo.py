"""LoCoMo: are the sessions, or the turns, that answer a question among the first five and ten?

FILE is LoCoMo's own `locomo10.json` (10 conversations, 1,986 questions in five categories; its
licence forbids commercial use, so it is not in this repository). Each conversation has a palace of
its own; a drawer is a session, with its date and its turns as lines, or a turn, with its date and
its speaker. A question's score is the share of its evidence that is found; the few without evidence
count as found. At last all sessions stand in one palace, and nothing filters.

To prove that the measure is the usual one, whole sessions (`Speaker said, "text"`) are ranked by
one vector each, cut at 256 tokens: others publish a R@10 of 60.3 for that.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from report import Report, parser, scratch
from retrieval import HYBRID, Collection, Measure, Query, Remembering, document, recall

PUBLISHED = 60.3
EXPECTED = {"sessions": {5: 89.5, 10: 94.5}, "turns": {10: 74.0}, "all in one": {10: 93.0}}


def sessions(conversation: Mapping[str, Any]) -> Iterator[tuple[int, str, Sequence[Any]]]:
    """Number, date and turns of each session that has any."""
    talk = conversation["conversation"]
    numbers = (re.fullmatch(r"session_(\d+)", key) for key in talk)
    for number in sorted(int(match[1]) for match in numbers if match):
        if turns := talk[f"session_{number}"]:
            at = datetime.strptime(talk[f"session_{number}_date_time"], "%I:%M %p on %d %B, %Y")  # noqa: DTZ007
            yield number, at.isoformat(), turns


def by_session(conversation: Mapping[str, Any], name: str) -> Collection:
    """A drawer for each session."""
    documents = [
        document(
            f"{name}D{number}",
            "\n".join(f"{turn['speaker']}: {turn['text']}" for turn in turns),
            number,
            wing=name,
            said_at=at,
        )
        for number, at, turns in sessions(conversation)
    ]
    return Collection(documents, _queries(conversation, name, r"D\d+(?=:)"))


def by_turn(conversation: Mapping[str, Any], name: str) -> Collection:
    """A drawer for each turn; the conversation is their source."""
    documents = [
        document(
            name + turn["dia_id"],
            turn["text"],
            1000 * number + at,
            wing=name,
            source=name,
            author=turn["speaker"],
            said_at=date,
        )
        for number, date, turns in sessions(conversation)
        for at, turn in enumerate(turns)
    ]
    return Collection(documents, _queries(conversation, name, r"D\d+:\d+"))


def _queries(conversation: Mapping[str, Any], name: str, evidence: str) -> list[Query]:
    return [
        Query(
            asked["question"],
            frozenset(
                name + each
                for given in asked.get("evidence", ())
                for each in re.findall(evidence, given)
            ),
        )
        for asked in conversation["qa"]
    ]


def proof(conversations: Sequence[Mapping[str, Any]], embedder: Remembering) -> float:
    """R@10 in percent of one vector for each whole session."""
    scores = []
    for conversation in conversations:
        found = list(sessions(conversation))
        vectors = embedder.embed(
            ["\n".join(f'{t["speaker"]} said, "{t["text"]}"' for t in turns) for *_, turns in found]
        )
        for query in _queries(conversation, "", r"D\d+(?=:)"):
            order = np.argsort(-(vectors @ embedder.embed([query.text])[0]))[:10]
            scores.append(recall(query.relevant, [f"D{found[n][0]}" for n in order]))
    return 100 * sum(scores) / len(scores)


def main() -> int:
    """Measures all of it with one set of constants."""
    arguments = parser(__doc__)
    arguments.add_argument("path", type=Path, metavar="FILE")
    given = arguments.parse_args()
    report = Report("locomo", given)
    conversations = json.loads(given.path.read_text("utf-8"))[: 2 if given.quick else None]
    embedder = Remembering()
    named = [(conversation, f"talk{n}") for n, conversation in enumerate(conversations)]
    levels = {
        "sessions": [by_session(*each) for each in named],
        "turns": [by_turn(*each) for each in named],
    }
    levels["all in one"] = [
        Collection(
            [d for each in levels["sessions"] for d in each.documents],
            [q for each in levels["sessions"] for q in each.queries],
        )
    ]
    report.say(
        f"one vector for each whole session: R@10 {proof(conversations, embedder):.1f}"
        f" (published: {PUBLISHED})"
    )
    for level, collections in levels.items():
        with scratch(given.folder) as folder:
            measure = Measure(folder, embedder)
            for collection in collections:
                measure.add(collection)
        measure.table(report, f"{level}: recall in percent")
        for depth, least in EXPECTED[level].items():
            report.expect(f"{level}: R@{depth}", measure.of(HYBRID, depth), least=least)
    report.save()
    return 0


if __name__ == "__main__":
    sys.exit(main())
