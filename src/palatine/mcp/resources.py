"""The resources of the server: what can be read of a palace by its address, as plain data.

Nothing heavy is imported here: a client is told the templates before any store is loaded.
"""

from __future__ import annotations

from palatine.errors import NotFoundError
from palatine.mcp.registry import JSON_TYPE, Resource

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from palatine.mcp.registry import Call, Json

_DRAWER_CHARS = 40_000
_LISTED_WINGS = 100
_NEWEST = 20
_BEGINNING_CHARS = 200


def _status(call: Call, _: str) -> Json:
    from palatine.mcp import answers

    return answers.status(call.palace().status())


def _drawer(call: Call, drawer_id: str) -> Json:
    from palatine.mcp import answers

    return answers.drawer_page(call.palace().get(drawer_id), offset=0, max_chars=_DRAWER_CHARS)


def _entity(call: Call, name: str) -> Json:
    from palatine.mcp import answers

    knowledge = call.palace().knowledge
    entity = knowledge.entity(name)
    about: Json = {
        "type": entity.type,
        "aliases": list(entity.aliases),
        "properties": dict(entity.properties),
    }
    said = {key: value for key, value in about.items() if value}
    return {**said, **answers.facts_about(knowledge, {"entity": name})}


def _wing(call: Call, wing: str) -> Json:
    from palatine.mcp import answers

    palace = call.palace()
    facts = palace.knowledge.stats(wing=wing)
    places = [place for place in palace.status().places if place.wing == wing]
    if not places and not facts.facts:
        raise NotFoundError(f"there is no wing {wing!r}; palatine://status names them")
    newest = palace.list(wing=wing, limit=_NEWEST)
    return {
        "wing": wing,
        "rooms": answers.rooms(places).get(wing, {}),
        "facts": answers.counts(facts, {}),
        "newest": [answers.beginning(drawer, _BEGINNING_CHARS) for drawer in newest],
        "note": answers.RECORD,
    }


def wings(call: Call, _: str, __: Mapping[str, object]) -> Iterable[str]:
    """Every wing that holds drawers."""
    return dict.fromkeys(place.wing for place in call.palace().status().places)


def rooms(call: Call, _: str, others: Mapping[str, object]) -> Iterable[str]:
    """Every room: of the wing, if one is given."""
    wing = others.get("wing")
    places = call.palace().status().places
    return dict.fromkeys(place.room for place in places if wing in (None, "", place.wing))


def entities(call: Call, value: str, _: Mapping[str, object]) -> Iterable[str]:
    """The names of entities in which the value stands."""
    return [entity.name for entity in call.palace().knowledge.entities(containing=value)]


def listed(call: Call) -> list[Json]:
    """The largest wings, as resources."""
    from urllib.parse import quote

    sizes: dict[str, int] = {}
    for place in call.palace().status().places:
        sizes[place.wing] = sizes.get(place.wing, 0) + place.drawers
    largest = sorted(sizes, key=lambda wing: (-sizes[wing], wing))[:_LISTED_WINGS]
    return [
        {
            "uri": f"palatine://wing/{quote(wing, safe='')}",
            "name": wing,
            "title": f"Wing {wing}",
            "description": f"What the memory holds about {wing}: rooms, counts, newest texts.",
            "mimeType": JSON_TYPE,
        }
        for wing in sorted(largest)
    ]


RESOURCES = (
    Resource(
        "palatine://status",
        _status,
        name="status",
        title="Memory status",
        description="The memory palace as a whole: wings, rooms, how many texts and facts.",
    ),
    Resource(
        "palatine://drawer/{id}",
        _drawer,
        name="drawer",
        title="One text",
        description="One remembered text, word for word, with its source, dates and author.",
    ),
    Resource(
        "palatine://entity/{name}",
        _entity,
        choices=entities,
        name="entity",
        title="What is known about somebody or something",
        description="The facts about a person, project or thing that are true now.",
    ),
    Resource(
        "palatine://wing/{wing}",
        _wing,
        choices=wings,
        listed=listed,
        name="wing",
        title="One wing",
        description="What the memory holds about a person or project: rooms, counts, newest texts.",
    ),
)
