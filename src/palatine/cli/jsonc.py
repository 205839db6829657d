"""JSON with comments, read with the place of each member, so that one is changed where it stands.

The syntax is that of JSON, with `//` and `/* */` comments and commas after the last member, as the
settings of editors have it (https://code.visualstudio.com/docs/languages/json#_json-with-comments).
What is not changed keeps its bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

_STRINGS = json.JSONDecoder()
_GAP = re.compile(r"(?:[ \t\r\n\ufeff]+|//[^\n]*|/\*.*?\*/)*", re.DOTALL)
_SCALAR = re.compile(r"(?:true|false|null|-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?)(?![\w.+-])")
_REMARK = re.compile(r"[ \t]*(?://[^\r\n]*|/\*[^\r\n]*?\*/)?")
_REST_OF_LINE = re.compile(r"[ \t]*(?://[^\r\n]*)?(?=\r?\n)")
_BLANKS = re.compile(r"[ \t]*")
_INDENT = re.compile(r'^([ \t]+)["}\]]', re.MULTILINE)

_Edit = tuple[int, int, str]
"""Start, end, and what comes there."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A value and its place; of an object also the members, in order, doubled ones too."""

    value: Any
    start: int
    end: int
    members: list[_Member] = field(default_factory=list)

    def member(self, name: str) -> _Member | None:
        found = [member for member in self.members if member.name == name]
        if len(found) > 1:
            raise ValueError(f"it has {name!r} twice")
        return found[0] if found else None


@dataclass(frozen=True, slots=True)
class _Member:
    """A name and its value; `comma` is the place after the comma behind them, 0 without one."""

    name: str
    start: int
    node: _Node
    comma: int


def parse(text: str) -> Any:
    """The value, as `json.loads` gives it; of nothing at all an empty object.

    Raises:
        ValueError: this is no JSON with comments; says where.
    """
    return _parse(_filled(text)).value


def put(text: str, path: Sequence[str], value: object) -> str:
    """The text with a member's value in place of the old one, or with the member, put last.

    Args:
        text: its root is an object, and so is what the path leads through.
        path: the names from the root on; objects that are missing are made.
        value: what JSON can say.

    Raises:
        ValueError: the text cannot be parsed, or holds one of the names twice.
    """
    text = _filled(text)
    node = _parse(text)
    for depth, name in enumerate(path):
        member = node.member(name)
        if member is None:
            for outer in reversed(path[depth + 1 :]):
                value = {outer: value}
            return _edited(text, _insertion(text, node, name, value))
        node = member.node
    if node.value == value:
        return text
    return _edited(text, [(node.start, node.end, _dumped(text, node.start, value))])


def drop(text: str, path: Sequence[str]) -> str:
    """The text without a member, and without the objects around it that hold nothing else.

    Raises:
        ValueError: the text cannot be parsed, or holds one of the names twice.
        KeyError: there is no such member.
    """
    node = _parse(_filled(text))
    way: list[tuple[_Node, _Member]] = []
    for name in path:
        member = node.member(name)
        if member is None:
            raise KeyError(name)
        way.append((node, member))
        node = member.node
    while len(way) > 1 and _is_all(text, *way[-1]):
        way.pop()
    return _edited(text, _removal(text, *way[-1]))


def _edited(text: str, edits: Sequence[_Edit]) -> str:
    for start, end, new in sorted(edits, reverse=True):
        text = text[:start] + new + text[end:]
    return text


def _insertion(text: str, holder: _Node, name: str, value: object) -> list[_Edit]:
    newline = "\r\n" if "\r\n" in text else "\n"
    if not holder.members:
        outer = _indent(text, holder.start)
        inner = newline + outer + _unit(text)
        first = f"{inner}{json.dumps(name)}: {_dumped(text, holder.start, value, deeper=True)}"
        closed = "\n" in text[holder.start : holder.end]
        return [(holder.start + 1, holder.start + 1, first if closed else first + newline + outer)]
    last = holder.members[-1]
    alone = _lead(text, last.start)
    before = " " if alone is None else newline + alone
    made = f"{before}{json.dumps(name)}: {_dumped(text, last.start, value)}"
    end = last.comma or last.node.end
    place = end if alone is None else _end(_REMARK, text, end)
    if last.comma:
        return [(place, place, f"{made},")]
    return [(end, place, f",{text[end:place]}{made}")]


def _removal(text: str, holder: _Node, member: _Member) -> list[_Edit]:
    start, end = member.start, member.comma or member.node.end
    if _is_all(text, holder, member):
        return [(holder.start, holder.end, "{}")]
    index = holder.members.index(member)
    rest = _REST_OF_LINE.match(text, end)
    if rest and _lead(text, start) is not None:  # whole lines
        start, end = _line(text, start), rest.end()
    else:
        end = _end(_BLANKS, text, end)
    edits = [(start, end, "")]
    if index and not member.comma:
        comma = holder.members[index - 1].comma
        edits.append((comma - 1, comma, ""))
    return edits


def _is_all(text: str, holder: _Node, member: _Member) -> bool:
    """Whether an object holds this member alone, and no comment."""
    before = text[holder.start + 1 : member.start]
    return not (before + text[member.comma or member.node.end : holder.end - 1]).strip()


def _unit(text: str) -> str:
    """One step of indentation, as the text has it."""
    found = _INDENT.search(text)
    return found[1] if found else "  "


def _line(text: str, at: int) -> int:
    """Where the line break before a place begins; -1: it is in the first line."""
    start = text.rfind("\n", 0, at)
    return start - (text[start - 1 : start] == "\r") if start > 0 else start


def _indent(text: str, at: int) -> str:
    """The blanks at the start of the line in which a place is."""
    start = text.rfind("\n", 0, at) + 1
    return text[start : _end(_BLANKS, text, start)]


def _lead(text: str, at: int) -> str | None:
    """The same where nothing else stands before the place in its line; None: something does."""
    start = text.rfind("\n", 0, at) + 1
    return text[start:at] if start and _end(_BLANKS, text, start) == at else None


def _dumped(text: str, at: int, value: object, *, deeper: bool = False) -> str:
    """The value as it is written at a place of this text, or one step deeper."""
    unit = _unit(text)
    newline = "\r\n" if "\r\n" in text else "\n"
    indent = newline + _indent(text, at) + (unit if deeper else "")
    return json.dumps(value, indent=unit, ensure_ascii=False).replace("\n", indent)


def _end(pattern: re.Pattern[str], text: str, at: int) -> int:
    found = pattern.match(text, at)
    return found.end() if found else at


def _filled(text: str) -> str:
    return text if _end(_GAP, text, 0) < len(text) else text + "{}\n"


def _parse(text: str) -> _Node:
    try:
        node = _value(text, _end(_GAP, text, 0))
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    if (end := _end(_GAP, text, node.end)) < len(text):
        raise json.JSONDecodeError("Extra data", text, end)
    return node


def _value(text: str, at: int) -> _Node:
    opened = text[at : at + 1]
    if opened == '"':
        return _Node(*_string(text, at))
    if opened in ("{", "["):
        return _object(text, at) if opened == "{" else _array(text, at)
    found = _SCALAR.match(text, at)
    if found is None:
        raise json.JSONDecodeError("Expecting a value", text, at)
    return _Node(json.loads(found[0]), at, found.end())


def _string(text: str, at: int) -> tuple[str, int, int]:
    if text[at : at + 1] != '"':
        raise json.JSONDecodeError("Expecting a name in double quotes", text, at)
    value, end = _STRINGS.raw_decode(text, at)
    return value, at, end


def _object(text: str, start: int) -> _Node:
    members: list[_Member] = []
    at = _end(_GAP, text, start + 1)
    while text[at : at + 1] != "}":
        name, begun, end = _string(text, at)
        colon = _end(_GAP, text, end)
        if text[colon : colon + 1] != ":":
            raise json.JSONDecodeError("Expecting ':'", text, colon)
        node = _value(text, _end(_GAP, text, colon + 1))
        at, comma = _next(text, node.end, "}")
        members.append(_Member(name, begun, node, comma))
    return _Node({each.name: each.node.value for each in members}, start, at + 1, members)


def _array(text: str, start: int) -> _Node:
    values = []
    at = _end(_GAP, text, start + 1)
    while text[at : at + 1] != "]":
        node = _value(text, at)
        at, _ = _next(text, node.end, "]")
        values.append(node.value)
    return _Node(values, start, at + 1)


def _next(text: str, at: int, closing: str) -> tuple[int, int]:
    """Where the next one begins, or the end is; and the place after the comma between, if any."""
    at = _end(_GAP, text, at)
    comma = at + 1 if text[at : at + 1] == "," else 0
    if not comma and text[at : at + 1] != closing:
        raise json.JSONDecodeError(f"Expecting ',' or {closing!r}", text, at)
    return _end(_GAP, text, comma or at), comma
