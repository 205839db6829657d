"""What a server offers: tools, resources and prompts as plain data, and how each is used.

Every transport asks here, so that all of them answer alike. Nothing here knows of a wire.
"""

from __future__ import annotations

import json

from palatine.errors import InputError, NotFoundError, PalatineError
from palatine.mcp import schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any, TypeAlias, TypeVar

    from palatine.palace import Palace

    Handler: TypeAlias = "Callable[[Call, Json], Any]"
    Reader: TypeAlias = "Callable[[Call, str], Json]"
    Lister: TypeAlias = "Callable[[Call], list[Json]] | None"
    Writer: TypeAlias = "Callable[[Call, dict[str, Any]], str]"
    Choices: TypeAlias = "Callable[[Call, str, Mapping[str, object]], Iterable[str]] | None"
    Answer = TypeVar("Answer")

Json = dict[str, object]

INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
RESOURCE_NOT_FOUND = -32002

JSON_TYPE = "application/json"
NAME_CHARS = 200
_PROBLEMS = 5
_CHOICES = 100


class Tool:
    """One tool: plain data, as `tools/list` shows it, and its handler.

    Attributes:
        listed: False: answers, and is not shown.

    Raises:
        ValueError: the root of a schema is not an object.
    """

    __slots__ = ("definition", "handler", "input_schema", "listed", "name")

    def __init__(
        self, definition: dict[str, Any], handler: Handler, *, listed: bool = True
    ) -> None:
        """Takes a handler that returns a dict; without an output schema it may be a list."""
        self.name: str = definition["name"]
        self.input_schema: Json = definition["inputSchema"]
        schemas = self.input_schema, definition.get("outputSchema", self.input_schema)
        if any(schema.get("type") != "object" for schema in schemas):
            raise ValueError(
                f"{self.name}: the root of an input or output schema must be an object"
            )
        self.definition: Json = definition
        self.handler = handler
        self.listed = listed


class Resource:
    """One resource, or with a `{variable}` at the end of its address a template for many.

    Attributes:
        variable: the template's; empty for a plain resource.
        read: returns what is there, as JSON; takes the variable's value.
        choices: values for the variable, or None.
        listed: those of a template's addresses that are worth a list, as definitions; or None.
    """

    __slots__ = ("choices", "definition", "listed", "read", "uri", "variable")

    def __init__(
        self,
        uri: str,
        read: Reader,
        *,
        choices: Choices = None,
        listed: Lister = None,
        **about: str,
    ) -> None:
        """Takes also what is shown of it: its name, title and description."""
        self.uri, _, variable = uri.partition("{")
        self.variable = variable.rstrip("}")
        self.read = read
        self.choices = choices
        self.listed = listed
        kind = "uriTemplate" if variable else "uri"
        self.definition: Json = {kind: uri, **about, "mimeType": JSON_TYPE}


class Prompt:
    """One prompt: plain data, and what writes the message that the user sends with it.

    Attributes:
        write: returns the message; takes the arguments that are given, all of them texts.
        schema: of the arguments.
        choices: values for some of the arguments.
        writes: its message asks for tools that write.
    """

    __slots__ = ("choices", "definition", "name", "schema", "write", "writes")

    def __init__(
        self,
        name: str,
        write: Writer,
        arguments: Mapping[str, str],
        *,
        required: str = "",
        choices: Mapping[str, Choices],
        writes: bool = False,
        **about: str,
    ) -> None:
        """Takes also what is shown of it: its title and description, and that of its arguments."""
        self.name = name
        self.write = write
        self.choices = {argument: choices.get(argument) for argument in arguments}
        self.writes = writes
        text: Json = {"type": "string"}
        properties = dict.fromkeys(arguments, text)
        self.schema: Json = {"properties": properties, "required": required.split()}
        shown = [
            {"name": argument, "description": said, "required": argument == required}
            for argument, said in arguments.items()
        ]
        self.definition: Json = {"name": name, **about, "arguments": shown}


class Registry:
    """What a server offers: its name, its instructions, and all else in a fixed order."""

    __slots__ = ("instructions", "name", "prompts", "resources", "title", "tools", "version")

    def __init__(
        self,
        name: str,
        title: str,
        version: str,
        instructions: str,
        tools: Iterable[Tool],
        *,
        resources: Iterable[Resource] = (),
        prompts: Iterable[Prompt] = (),
    ) -> None:
        self.name = name
        self.title = title
        self.version = version
        self.instructions = instructions
        self.resources = tuple(resources)
        self.prompts = {prompt.name: prompt for prompt in prompts}
        self.tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self.tools:
                raise ValueError(f"{tool.name}: two tools have this name")
            self.tools[tool.name] = tool

    def resource(self, uri: str) -> tuple[Resource, str] | None:
        """What an address means: the resource, and the value of its variable."""
        for resource in self.resources:
            rest = uri.removeprefix(resource.uri)
            if (rest != "") if resource.variable and rest != uri else uri == resource.uri:
                return resource, rest
        return None


class RpcError(Exception):
    """A request that is answered with a JSON-RPC error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.data = data


class CancelledError(Exception):
    """The client no longer wants this call; raised in the handler, out of `Call.progress`."""


class Call:
    """What a handler may ask for while it runs. One object for each call, used by one thread.

    Attributes:
        agent: who calls: the tool's `agent` argument, else the client's name, else empty.
        session: the client's session: the tool's `session` argument, else what `_meta` says,
            else the environment's, else empty. Both are provenance and decide nothing.
        cancelled: the client has cancelled the call; set by another thread.
    """

    __slots__ = ("_done", "_emit", "_palace", "agent", "cancelled", "session")

    def __init__(
        self,
        palace: Callable[[], Palace],
        *,
        agent: str = "",
        session: str = "",
        emit: Callable[[Json], None] | None = None,
    ) -> None:
        self._palace = palace
        self._emit = emit
        self._done: float | None = None
        self.agent = agent
        self.session = session
        self.cancelled = False

    def palace(self) -> Palace:
        """Returns the palace, opened by the first call that asks for it."""
        return self._palace()

    def progress(self, done: float, total: float | None = None, message: str | None = None) -> None:
        """Tells the client how far the call is, if it asked to be told and `done` has grown.

        Raises:
            CancelledError: the client has cancelled; let it pass, so that transactions roll back.
        """
        if self.cancelled:
            raise CancelledError
        if self._emit is None or (self._done is not None and done <= self._done):
            return
        self._done = done
        told: Json = {"progress": done}
        if total is not None:
            told["total"] = total
        if message is not None:
            told["message"] = message
        self._emit(told)


def use(tool: Tool, call: Call, arguments: Json) -> Json:
    """Checks the arguments, runs the handler and shapes what a client is shown.

    Both transports answer `tools/call` with it. Arguments that do not fit, and every
    `PalatineError`, become a result marked `isError` that says how to repair the call; anything
    else that the handler raises passes through.
    """
    checked, problems = schema.check(tool.input_schema, arguments)
    if problems:
        more = f"; and {len(problems) - _PROBLEMS} more" if len(problems) > _PROBLEMS else ""
        text = f"{tool.name} was not run: {'; '.join(problems[:_PROBLEMS])}{more}."
        return _told(f"{text} It takes: {schema.signature(tool.input_schema)}.")
    try:
        structured = tool.handler(call, checked)
    except PalatineError as error:
        return _told(str(error))
    shown: Json = {"content": [{"type": "text", "text": ENCODER.encode(structured)}]}
    if isinstance(structured, dict):
        shown["structuredContent"] = structured
    elif "outputSchema" in tool.definition:
        raise TypeError(f"{tool.name}: a handler must return a dict")
    return shown | {"isError": False}


def found(registry: Registry, call: Call) -> Json:
    """Answers `resources/list`: the plain resources, and those that only the palace knows."""
    listed = [resource.definition for resource in registry.resources if not resource.variable]
    for resource in registry.resources:
        if resource.listed is not None:
            listed += _asked(resource.listed, call)
    return {"resources": listed}


def read(registry: Registry, call: Call, uri: str, missing: int = INVALID_PARAMS) -> Json:
    """Answers `resources/read`.

    Raises:
        RpcError: with the code `missing` when nothing lies at this address.
    """
    known = registry.resource(uri)
    if known is None:
        raise RpcError(missing, "No resource has an address like this", {"uri": uri})
    resource, rest = known
    seen = _asked(resource.read, call, _decoded(rest), missing=missing, data={"uri": uri})
    return {"contents": [{"uri": uri, "mimeType": JSON_TYPE, "text": ENCODER.encode(seen)}]}


def prompted(registry: Registry, call: Call, name: str, given: Json) -> Json:
    """Answers `prompts/get`. An empty argument counts as not given.

    Raises:
        RpcError: there is no such prompt, or an argument is missing or no text.
    """
    prompt = registry.prompts.get(name)
    if prompt is None:
        raise RpcError(INVALID_PARAMS, f"Unknown prompt: {name[:NAME_CHARS]}")
    told = {key: value for key, value in given.items() if value != "" and key in prompt.choices}
    text = _asked(prompt.write, call, checked(prompt.schema, told))
    message = {"role": "user", "content": {"type": "text", "text": text}}
    return {"description": prompt.definition["description"], "messages": [message]}


def completed(
    registry: Registry, call: Call, ref: Json, argument: Json, context: Json | None = None
) -> Json:
    """Answers `completion/complete`: the choices that begin with the value, then others with it.

    Raises:
        RpcError: there is no such prompt or template, or it has no such argument.
    """
    key = str(ref.get("type")), str(ref.get("name", ref.get("uri")))
    takers = {("ref/prompt", name): prompt.choices for name, prompt in registry.prompts.items()}
    for template in registry.resources:
        address = template.definition.get("uriTemplate")
        takers["ref/resource", str(address)] = {template.variable: template.choices}
    name, value = str(argument["name"]), str(argument["value"]).casefold()
    if name not in takers.get(key, ()):
        raise RpcError(INVALID_PARAMS, f"There is nothing to complete {name[:NAME_CHARS]!r} for")
    others, choices = (context or {}).get("arguments", {}), takers[key][name]
    listed = _asked(choices, call, value, others) if choices else ()
    near = [choice for choice in set(listed) if value in choice.casefold()]
    near.sort(key=lambda choice: (not choice.casefold().startswith(value), choice))
    more = len(near) > _CHOICES
    return {"completion": {"values": near[:_CHOICES], "total": len(near), "hasMore": more}}


def checked(wanted: Json, given: Json) -> Json:
    """Returns what is given, as a schema wants it.

    Raises:
        RpcError: it does not fit; says how.
    """
    taken, problems = schema.check(wanted, given)
    if problems:
        raise RpcError(INVALID_PARAMS, f"Invalid params: {'; '.join(problems[:_PROBLEMS])}")
    return taken


def _asked(
    work: Callable[..., Answer], *given: object, missing: int = INVALID_PARAMS, data: object = None
) -> Answer:
    """What the palace answers; its refusals are the request's."""
    try:
        return work(*given)
    except (NotFoundError, InputError) as error:
        raise RpcError(missing, str(error), data) from None
    except PalatineError as error:
        raise RpcError(INTERNAL_ERROR, str(error)) from None


def _decoded(rest: str) -> str:
    """The value in an address. What is not encoded may be, and names are often not."""
    from urllib.parse import unquote  # noqa: PLC0415 - not before the first reply

    return unquote(rest, errors="replace")


def _told(text: str) -> Json:
    return {"content": [{"type": "text", "text": text}], "isError": True}


ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
