"""Checks a tool's arguments against its input schema and says how to repair them.

It knows the part of JSON Schema that hand-written tool schemas use: `type` (one or a list),
`properties`, `required`, `additionalProperties`, `enum`, `items`, `minimum`, `maximum`,
`minLength`, `maxLength`, `minItems`, `maxItems`. Other keywords are left to the client.

Three kindnesses to models, and no others: a null for an optional argument counts as not given,
a plain decimal number in quotes ("5", "-2", "0.5") is taken as that number, and a "true" or
"false" in quotes as that truth value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Schema = Mapping[str, object]

_WORDS = {
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
    "array": "a list",
    "object": "an object",
    "null": "null",
}
_SHOWN_CHARS = 40
_NUMBER_CHARS = 15
_INFINITY = float("inf")


def check(schema: Schema, arguments: Mapping[str, object]) -> tuple[dict[str, object], list[str]]:
    """Returns the arguments as the handler gets them, and what is wrong with them, in words.

    The arguments may be used only if the list is empty.
    """
    problems: list[str] = []
    return _members(schema, arguments, "", problems), problems


def signature(schema: Schema) -> str:
    """Says in one line what a tool takes: `query (text, required), limit (a whole number)`."""
    required = _names(schema, "required")
    parts = [
        f"{name} ({_type_words(member)}{', required' if name in required else ''})"
        for name, member in _properties(schema).items()
    ]
    return ", ".join(parts) or "no arguments"


def nearest(name: str, names: Iterable[str]) -> str | None:
    """Returns the one of the names that a slip of the pen most likely meant, if any is close."""
    wanted = _folded(name)
    best, best_distance = None, max(1, (len(wanted) + 1) // 3) + 1
    for candidate in names:
        distance = _distance(wanted, _folded(candidate), best_distance)
        if distance < best_distance:
            best, best_distance = candidate, distance
    return best


def _members(
    schema: Schema, given: Mapping[str, object], path: str, problems: list[str]
) -> dict[str, object]:
    properties = _properties(schema)
    required = _names(schema, "required")
    checked: dict[str, object] = {}
    for name, value in given.items():
        place = f"{path}.{name}" if path else name
        if name in properties:
            member = properties[name]
            if value is None and "null" not in _types(member):
                continue
            checked[name] = _value(member, value, place, problems)
        elif schema.get("additionalProperties") is False:
            problems.append(f"unknown argument {_shown(place)}{_hint(name, properties)}")
        else:
            checked[name] = value
    for name in required:
        if name not in checked:
            place = f"{path}.{name}" if path else name
            problems.append(f"{place} is required ({_type_words(properties.get(name, {}))})")
    return checked


def _value(schema: Schema, value: object, path: str, problems: list[str]) -> object:
    types = _types(schema)
    if types and not any(_is(name, value) for name in types):
        value, said = _unquoted(types, value), value
        if value is None:
            problems.append(f"{path} must be {_type_words(schema)}, not {_shown(said)}")
            return None
    allowed = schema.get("enum")
    if isinstance(allowed, (list, tuple)) and not any(_same(value, each) for each in allowed):
        choices = ", ".join(_shown(each) for each in allowed)
        texts = [each for each in allowed if isinstance(each, str)]
        near = _hint(value, texts) if isinstance(value, str) else ""
        problems.append(f"{path} must be one of {choices}, not {_shown(value)}{near}")
        return None
    if isinstance(value, dict):
        return _members(schema, value, path, problems)
    if isinstance(value, list):
        _check_bounds(schema, len(value), "Items", " items", path, problems)
        items = schema.get("items")
        if isinstance(items, dict):
            return [_value(items, v, f"{path}[{i}]", problems) for i, v in enumerate(value)]
    elif isinstance(value, str):
        _check_bounds(schema, len(value), "Length", " characters", path, problems)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_bounds(schema, value, "imum", "", path, problems)
        if "integer" in types and "number" not in types:
            return int(value)
    return value


def _check_bounds(
    schema: Schema, value: float, suffix: str, unit: str, path: str, problems: list[str]
) -> None:
    least, most = schema.get(f"min{suffix}"), schema.get(f"max{suffix}")
    verb = "have" if unit else "be"
    if isinstance(least, (int, float)) and value < least:
        problems.append(f"{path} must {verb} at least {least}{unit}, not {_shown(value)}")
    if isinstance(most, (int, float)) and value > most:
        problems.append(f"{path} must {verb} at most {most}{unit}, not {_shown(value)}")


def _is(name: str, value: object) -> bool:
    if isinstance(value, bool):
        return name == "boolean"
    if isinstance(value, float):
        finite = abs(value) != _INFINITY
        return finite and (name == "number" or (name == "integer" and value.is_integer()))
    if isinstance(value, int):
        return name in ("integer", "number")
    kinds: dict[str, type] = {"string": str, "array": list, "object": dict, "null": type(None)}
    return name in kinds and isinstance(value, kinds[name])


def _same(value: object, other: object) -> bool:
    return value == other and isinstance(value, bool) == isinstance(other, bool)


def _unquoted(types: list[str], value: object) -> object | None:
    """Returns the number or truth value that stands in a text, if it is a plain one."""
    if not isinstance(value, str) or not value.isascii() or len(value) > _NUMBER_CHARS:
        return None
    if "boolean" in types and value in ("true", "false"):
        return value == "true"
    whole, dot, part = value.removeprefix("-").partition(".")
    if not whole.isdigit() or (dot and not part.isdigit()):
        return None
    number = float(value) if dot else int(value)
    return number if any(_is(name, number) for name in types) else None


def _properties(schema: Schema) -> dict[str, dict[str, object]]:
    properties = schema.get("properties")
    return properties if isinstance(properties, dict) else {}


def _names(schema: Schema, keyword: str) -> list[str]:
    names = schema.get(keyword)
    return [names] if isinstance(names, str) else list(names) if isinstance(names, list) else []


def _types(schema: Schema) -> list[str]:
    return _names(schema, "type")


def _type_words(schema: Schema) -> str:
    return " or ".join(_WORDS.get(name, name) for name in _types(schema)) or "any value"


def _hint(name: str, names: Iterable[str]) -> str:
    near = nearest(name, names)
    return f', did you mean "{near}"?' if near else ""


def _shown(value: object) -> str:
    """Shows a value that somebody else chose: short, and with nothing that a terminal obeys."""
    if isinstance(value, str):
        text = value[:_SHOWN_CHARS] + ("…" if len(value) > _SHOWN_CHARS else "")
        return (
            '"' + "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text) + '"'
        )
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)[:_SHOWN_CHARS]
    return "a list" if isinstance(value, list) else "an object" if value is not None else "null"


def _folded(name: str) -> str:
    return name[:_SHOWN_CHARS].casefold().replace("_", "").replace("-", "")


def _distance(one: str, other: str, limit: int) -> int:
    """Counts the letters to insert, drop or replace; gives up at the limit."""
    if abs(len(one) - len(other)) >= limit:
        return limit
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, theirs in enumerate(other, 1):
            step = min(row[j] + 1, row[j - 1] + 1, before + (letter != theirs))
            before, row[j] = row[j], step
    return row[-1]
