"""What every reader of another product gives, and whom it tells what it could not use."""

from __future__ import annotations

from base64 import b32encode
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

from palatine import instants
from palatine import text as texts
from palatine.beliefs import wanted_fact
from palatine.errors import InputError
from palatine.ingest.files import Problem
from palatine.instants import Instant, parse_end, parse_start
from palatine.types import Drawer, Entity, Fact, FormerId, Imported, Link

_UNUSABLE = (InputError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


@dataclass(frozen=True, slots=True)
class Vector:
    """The vector that a text had there.

    Attributes:
        drawer: the id of the drawer here.
        text: what it was made from.
        numbers: float32, little-endian.
    """

    drawer: str
    text: str
    numbers: bytes


Noun: TypeAlias = Drawer | Entity | Fact | FormerId | Link | Vector


@dataclass(slots=True)
class Reading:
    """One reading of another product.

    Attributes:
        scratch: a folder for copies, removed at the end.
        wing: the only wing to fill; empty: any.
        problems: records that cannot be used, and damage.
        counts: what was read, skipped and lost, in words.
    """

    scratch: Path
    wing: str = ""
    problems: list[Problem] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def problem(self, where: object, reason: object) -> None:
        """Remembers what could not be used, and why."""
        self.problems.append(Problem(str(where), str(reason)))

    def attempt(self, where: object, make: Callable[..., Iterable[Noun]], *of: Any) -> list[Noun]:
        """What is made of one record; nothing, and a problem, when it cannot be used."""
        try:
            return list(make(*of))
        except _UNUSABLE as error:
            self.problem(where, f"{type(error).__name__}: {error}")
            return []


@dataclass(frozen=True, slots=True)
class Brought:
    """What came of an import from another product.

    Attributes:
        imported: what was merged.
        counts: what was read there, skipped there and lost there.
        vectors: vectors taken over; in a dry run those that are there.
        problems: what could not be used, with its place and the reason.
    """

    imported: Imported
    counts: dict[str, int]
    vectors: int
    problems: tuple[Problem, ...]


def new_id(product: str, old: str, *, letter: str = "d") -> str:
    """The id here of what has this one there; the same at every import."""
    seed = texts.digest(f"{product}\0{old}".encode("utf-8", "surrogatepass"))
    return letter + b32encode(seed).decode().lower()[:15]


def drawer(drawer_id: str, text: str, **known: Any) -> Drawer:
    """A drawer with what is known of it; filed now, where nothing says when."""
    filed = known.pop("filed_at", None) or instants.now()
    defaults: dict[str, Any] = {
        "room": "notes", "kind": "note", "pinned": False, "source": "", "position": -1,
        "author": "", "session": "", "said_at": None, "filed_at": filed, "changed_at": filed,
    }  # fmt: skip
    digest = texts.digest(texts.encode(text))
    return Drawer(id=drawer_id, text=text, digest=digest, **(defaults | known))


def fact(fact_id: str, names: tuple[str, str, str], **known: Any) -> Fact:
    """A belief; dates as text, recorded now where nothing says when."""
    now = instants.now()
    recorded = known.pop("recorded_at", None) or now
    start, stop = (known.pop(name, None) or None for name in ("valid_from", "valid_to"))
    defaults: dict[str, Any] = {"wing": "", "confidence": 1.0, "source": "", "drawer": ""}
    wanted = wanted_fact(
        names, valid_from=parse_start(start), valid_to=parse_end(stop), **(defaults | known)
    )
    recorded = min(recorded, now, key=lambda moment: moment.micros)
    return replace(wanted, id=fact_id, recorded_at=recorded)


def moment(value: object) -> Instant | None:
    """A time as it was written there; None for what is none."""
    try:
        return parse_start(value) if isinstance(value, str) and value else None
    except InputError:
        return None
