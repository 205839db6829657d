"""Statements of fact in notes, found by shape: front matter, fields, links, plain short sentences.

A line counts only when all of it is understood: a name, a known verb, a name, and perhaps when.
What hedges, asks, denies or goes on has words left over, and states nothing.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import PurePosixPath

from palatine.types import Drawer

_LINE_CHARS = 1000
"""A longer line states nothing: what is known of a sentence says so in few words."""
EXPLICIT, LISTED, SAID = 0.95, 0.9, 0.8
"""How sure a statement is: written as a field, as an item of a list, or as a sentence."""

_DATE = r"\d{4}(?:-\d\d(?:-\d\d)?)?"
_TO = r"(?:to|until|till|through|-|\u2013)"
_WHEN = re.compile(
    rf"(?P<rest>.*?)[,;]?\s+(?P<open>\()?(?:(?:since|from)\s+(?P<start>{_DATE})"
    rf"(?:\s*{_TO}\s*(?P<to>{_DATE}))?|(?:until|till|through)\s+(?P<end>{_DATE})"
    rf"|(?P<first>{_DATE})\s*{_TO}\s*(?P<last>{_DATE}))(?(open)\))"
)
_ITEM = re.compile(r"(?:[-*+\u2022]|\d+[.)])\s+(?!\[.\]\s)")
_FIELD = re.compile(r"\[?(?P<key>[A-Za-z][\w -]{1,40})::\s*(?P<value>[^\]\[]+|\[\[[^\]]+\]\])\]?")
_RELATION = re.compile(r"(?P<key>[a-z]+(?:_[a-z]+)+)\s+(?P<value>\[\[[^\]]+\]\])")
_LINK = re.compile(r"\[\[(?P<name>[^\]|#]+)(?:[|#][^\]]*)?\]\]")
_WORD = re.compile(r"[\w][\w.&'\u2019/+#-]*|&")
_FRONT = re.compile(r"---[ \t]*\r?\n(?P<body>.*?\r?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_ENTRY = re.compile(r"(?P<key>[A-Za-z][\w -]{0,40}):\s*(?P<value>.*)")


@dataclass(frozen=True, slots=True)
class _Words:
    """What is known of the language.

    Attributes:
        sentence: name, verb, role or own predicate, name.
        verbs: for each phrase its predicate, and whether it is of the past.
    """

    sentence: re.Pattern[str]
    verbs: Mapping[str, tuple[str, bool]]
    joining: frozenset[str]
    no_names: frozenset[str]
    of_page: frozenset[str]


@cache
def _words() -> _Words:
    known = tomllib.loads((files(__package__) / "phrases.toml").read_text("utf-8"))
    verbs = {
        phrase.removeprefix("~"): (predicate, phrase[0] == "~")
        for predicate, phrases in known["verbs"].items()
        for phrase in phrases
    }
    verb = "|".join(sorted(verbs, key=len, reverse=True))
    role = "|".join(known["roles"])
    sentence = re.compile(
        rf"(?P<subject>\S.*?)\s+(?:(?P<verb>{verb})|is (?:the |an? )?(?P<role>{role}) (?:of|at)"
        r"|(?P<own>[a-z]+(?:_[a-z]+)+))\s+(?P<object>.+)"
    )
    no_names, of_page = (frozenset(known[name].split()) for name in ("no_names", "of_page"))
    return _Words(sentence, verbs, frozenset(known["joining"]), no_names, of_page)


@dataclass(frozen=True, slots=True)
class Statement:
    """What a text says, not checked yet.

    Attributes:
        valid_from, valid_to: as written; empty when not said.
        line: where in the text, counted from 1.
    """

    subject: str
    predicate: str
    object: str
    valid_from: str
    valid_to: str
    confidence: float
    line: int


def find(drawer: Drawer) -> Iterator[Statement]:
    """The statements of a note, in their order."""
    text, skipped = drawer.text, 0
    front = _FRONT.match(text) if drawer.position < 1 else None
    fields = _fields(front["body"]) if front else {}
    about = _about(drawer, fields)
    if front:
        yield from _front_matter(fields, about)
        skipped = front.end()
    first = text.count("\n", 0, skipped) + 1
    fenced = ""
    for number, line in enumerate(text[skipped:].splitlines(), first):
        mark = line.strip()[:3]
        if mark in ("```", "~~~", "<!-", "-->") and fenced in ("", mark, "<!-"):
            fenced = "" if fenced or "-->" in line else mark
        elif len(line) > _LINE_CHARS:
            continue
        elif not fenced and not line.startswith(("    - ", "\t- ", "    ", "\t", ">", "|", "#")):
            yield from _line(line.strip(), about, number)


def _about(drawer: Drawer, fields: dict[str, tuple[list[str], int]]) -> str:
    """The name of what a note is about: what it says, its heading, else its file's name."""
    for key in ("entity", "name", "title"):
        if key in fields:
            return fields[key][0][0]
    heading = re.search(r"^# +(.+?)[ #]*$", drawer.text, re.MULTILINE)
    return heading[1] if heading else PurePosixPath(drawer.source).stem


def _fields(body: str) -> dict[str, tuple[list[str], int]]:
    """Values and line of each key of front matter: scalars, lists in brackets and in lines."""
    found: dict[str, tuple[list[str], int]] = {}
    values: list[str] = []
    for number, line in enumerate(body.splitlines(), 2):
        if entry := _ENTRY.fullmatch(line.rstrip()):
            value = entry["value"]
            many = value[1:-1].split(",") if re.fullmatch(r"\[(?!\[).*\]", value) else [value]
            values = [bare for each in many if (bare := each.strip().strip("\"'"))]
            found[entry["key"].lower().replace(" ", "_")] = (values, number)
        elif line.lstrip().startswith("- "):
            values.append(line.lstrip()[2:].strip().strip("\"'"))
        else:
            values = []
    return {key: each for key, each in found.items() if each[0]}


def _front_matter(fields: dict[str, tuple[list[str], int]], about: str) -> Iterator[Statement]:
    """Links always; plain values only in a note that says of what kind its subject is."""
    plain = fields.keys() & {"type", "kind", "entity"}
    for key, (values, number) in fields.items():
        for value in values if about else ():
            link = _LINK.fullmatch(value)
            name = link["name"] if link else value
            short = len(name) <= 80 and name.lower() not in ("true", "false", "null", "none", "~")
            if short and key not in _words().of_page and (link or (plain and "[" not in name)):
                yield Statement(about, key, name, "", "", EXPLICIT, number)


def _line(line: str, about: str, number: int) -> Iterator[Statement]:
    item = _ITEM.match(line)
    text = re.sub(r"\*\*|__(?=\S)|(?<=\S)__", "", line[item.end() :] if item else line).strip()
    when, text = _when(text.removesuffix("."))
    field = _FIELD.fullmatch(text) or (item and _RELATION.fullmatch(text))
    if field and about:
        value = field["value"].strip()
        link = _LINK.fullmatch(value)
        yield Statement(
            about, field["key"], link["name"] if link else value, *when, EXPLICIT, number
        )
    elif not field and (said := _words().sentence.fullmatch(text)):
        predicate, past = _words().verbs.get(said["verb"] or "", (said["own"], False))
        predicate = predicate or f"{said['role'].lower()}_of"
        subject, object_ = _name(said["subject"]), _name(said["object"])
        dated = predicate.endswith("_on") == bool(re.fullmatch(_DATE, object_))
        if subject and object_ and (dated or not object_[:4].isdigit()) and (when[1] or not past):
            yield Statement(subject, predicate, object_, *when, LISTED if item else SAID, number)


def _when(text: str) -> tuple[tuple[str, str], str]:
    """The start and the end that stand behind a statement, and the statement without them."""
    if found := _WHEN.fullmatch(text):
        start = found["start"] or found["first"] or ""
        end = found["to"] or found["end"] or found["last"] or ""
        return (start, end), found["rest"].removesuffix(".")
    return ("", ""), text


def _name(text: str) -> str:
    """What can be a name alone: a link, code, or capitalised words; else empty."""
    if link := _LINK.fullmatch(text):
        return link["name"].strip()
    if code := re.fullmatch(r"`([^`]+)`", text):
        return code[1]
    words, known = text.split(), _words()
    folded = {word.lower() for word in words if word not in known.joining}
    if len(words) > 5 or folded & known.no_names or {words[0], words[-1]} & known.joining:
        return ""
    if len(words) > 1 and words[0].endswith("ly"):  # it hedges
        return ""
    named = (not word[0].islower() or word in known.joining for word in words)
    return text if all(named) and all(map(_WORD.fullmatch, words)) else ""
