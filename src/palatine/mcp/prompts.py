"""The prompts of the server: messages that a person sends, with what the palace knows in them.

Nothing heavy is imported here: a client is told the prompts before any store is loaded.
"""

from __future__ import annotations

from palatine.mcp.registry import ENCODER, Prompt
from palatine.mcp.resources import entities, rooms, wings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from palatine.mcp.registry import Call, Json
    from palatine.types import Logged

_LOGGED = 40
_WORDS_CHARS = 150
_RECALLED_CHARS = 6000

_RECALL = """\
Tell me what our shared memory holds about: {about}

Answer from the records below, and name the source and the date of what you use. Where they do not \
suffice, look further with `search` (other words, no filters) and `kg_query`. Say so if nothing is \
recorded; do not guess."""
_REMEMBER = """\
Keep this in our shared memory:

{text}

File it word for word with `add_drawer`{place}. Then keep each lasting fact in it with `kg_add` \
(subject, predicate, object, and since when); look with `kg_query` first, and where a fact has \
changed use `kg_supersede`, so that the old one is ended. Tell me the ids of what you have kept."""
_WAKE_UP = """\
This is what our shared memory shows at the start of a session{place}. Keep it in mind, and tell \
me in a few lines where we stand and what is open. Look closer with `search` and `kg_query`."""
_REVIEW = """\
Review what our shared memory holds{place}. The records below are its counts and what changed \
last. Look with `kg_query` and `search` for facts that contradict each other, are out of date or \
stand twice, and for decisions without a reason. List what you find, with ids and dates, and for \
each what you propose: to replace it, to end it, or to leave it. Change nothing before I agree."""


def _recall(call: Call, given: dict[str, str]) -> str:
    from palatine.mcp import answers

    palace, about = call.palace(), given["about"]
    result = palace.search(about, wing=given.get("wing"))
    records = answers.found(result, palace, max_chars=_RECALLED_CHARS)
    return _with_records(_RECALL.format(about=about), records)


def _remember(call: Call, given: dict[str, str]) -> str:
    place = [f"{name} {ENCODER.encode(given[name])}" for name in ("wing", "room") if name in given]
    return _REMEMBER.format(text=given["text"], place=", ".join(["", *place]))


def _wake_up(call: Call, given: dict[str, str]) -> str:
    told = call.palace().wake_up(wing=given.get("wing"), agent=call.agent)
    return f"{_WAKE_UP.format(place=_place(given))}\n\n{told.text}"


def _review(call: Call, given: dict[str, str]) -> str:
    from palatine.mcp import answers

    palace, wing = call.palace(), given.get("wing")
    records: Json = {
        "facts": answers.counts(palace.knowledge.stats(wing=wing), palace.knowledge.predicates()),
        "changes": [_line(entry) for entry in palace.log(wing=wing, limit=_LOGGED)],
        "note": answers.RECORD,
    }
    return _with_records(_REVIEW.format(place=_place(given)), records)


def _line(entry: Logged) -> str:
    change = entry.change
    who = f"{change.seq} {change.at} {change.agent} {change.op} {change.kind} {change.ref}"
    return f"{who}: {entry.words[:_WORDS_CHARS]}"


def _place(given: dict[str, str]) -> str:
    return f" about {given['wing']}" if "wing" in given else ""


def _with_records(text: str, records: Json) -> str:
    return f"{text}\n\n{ENCODER.encode(records)}"


_WING = "Person or project; everything when left out."

PROMPTS = (
    Prompt(
        "recall",
        _recall,
        {"about": "What to recall: a question or a name.", "wing": _WING},
        required="about",
        choices={"about": entities, "wing": wings},
        title="Recall from memory",
        description="What does the shared memory hold about something? By words and by meaning.",
    ),
    Prompt(
        "remember",
        _remember,
        {"text": "What to remember.", "wing": "Person or project it is about.", "room": "Topic."},
        required="text",
        choices={"wing": wings, "room": rooms},
        writes=True,
        title="Remember this",
        description="Keeps a text word for word in the shared memory, and the facts in it.",
    ),
    Prompt(
        "wake-up",
        _wake_up,
        {"wing": _WING},
        choices={"wing": wings},
        title="Wake up",
        description="Starts a session with what the shared memory holds to be known first.",
    ),
    Prompt(
        "review",
        _review,
        {"wing": _WING},
        choices={"wing": wings},
        title="Review memory",
        description="Looks the memory over: contradictions, what is out of date or stands twice.",
    ),
)
