"""JSON-RPC and both eras of the Model Context Protocol, without any I/O.

A line goes in; out comes a reply, a `Job` for a thread, or nothing. The era is judged for each
message alone: *modern* (2026-07-28: every request brings its own envelope in `_meta`) or
*handshake* (2024-11-05 to 2025-11-25, opened by `initialize`). Both stay open for the life of
the process, because proxies let many clients share it, and nothing that one client said decides
what another is answered. The only thing remembered from `initialize` is the client's name, as the
provenance of last resort for calls that bring none.
"""

from __future__ import annotations

import json
import re

from palatine.mcp import registry as offers
from palatine.mcp import schema
from palatine.mcp.registry import (
    ENCODER,
    INTERNAL_ERROR,
    INVALID_PARAMS,
    NAME_CHARS,
    RESOURCE_NOT_FOUND,
    Call,
    CancelledError,
    RpcError,
    use,
)
from palatine.mcp.subscriptions import LIST, Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    from palatine.mcp.registry import Json, Registry
    from palatine.palace import Palace

    Id: TypeAlias = str | int

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
UNSUPPORTED_VERSION = -32022

MODERN_VERSION = "2026-07-28"
HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")

_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
_CLIENT_KEY = "io.modelcontextprotocol/clientInfo"
_SERVER_KEY = "io.modelcontextprotocol/serverInfo"
_SUBSCRIPTION_KEY = "io.modelcontextprotocol/subscriptionId"

LINE_BYTES = 64 * 1024 * 1024
_HEAD_BYTES = 4096
_TAIL_BYTES = 512
_CACHE_MS = 3_600_000


class Request:
    """One well-formed request and the era that it speaks."""

    __slots__ = ("id", "meta", "method", "modern", "params")

    def __init__(self, key: Id, method: str, params: Json) -> None:
        meta = params.get("_meta")
        self.id = key
        self.method = method
        self.params = params
        self.meta: Json = meta if isinstance(meta, dict) else {}
        self.modern = method != "initialize" and _VERSION_KEY in self.meta


class Job:
    """A request that a thread works out: give it to `Wire.run`."""

    __slots__ = ("call", "request", "work")

    def __init__(self, request: Request, call: Call, work: Callable[[Call], Json]) -> None:
        self.request = request
        self.call = call
        self.work = work


ANSWERED_LATER: Json = {}
"""The result of a job whose request stays open: nothing is replied now."""


class Overlong:
    """A line that was longer than the limit: only its two ends are left."""

    __slots__ = ("head", "tail")

    def __init__(self, head: bytes, tail: bytes) -> None:
        self.head = head
        self.tail = tail

    def id(self) -> Id | None:
        """Finds the id of the request that was too long, at its top level only."""
        text = self.head.decode("utf-8", "replace")
        try:
            at = _passed(text, 0, "{")
            while True:
                name, at = _DECODER.raw_decode(text, at)
                value, at = _DECODER.raw_decode(text, _passed(text, at, ":"))
                if name == "id":
                    return _usable(value)
                at = _passed(text, at, ",")
        except (ValueError, RecursionError):
            pass
        # Some clients put the id last. The brace that ends the line ends the top level.
        last = re.search(
            rb'"id"\s*:\s*(-?\d{1,18}|"[^"\\]*")\s*(?:,\s*"jsonrpc"\s*:\s*"2\.0"\s*)?\}\s*$',
            self.tail,
        )
        try:
            return _usable(_DECODER.decode(last[1].decode())) if last else None
        except ValueError:
            return None


class Lines:
    """Cuts a stream of bytes into lines, and lines that are too long down to their two ends."""

    __slots__ = ("_length", "_limit", "_over", "_parts")

    def __init__(self, limit: int = LINE_BYTES) -> None:
        self._limit = limit
        self._parts: list[bytes] = []
        self._length = 0
        self._over: Overlong | None = None

    def feed(self, data: bytes) -> list[bytes | Overlong]:
        """Returns the lines that end in these bytes, without their line feeds."""
        *ended, rest = data.split(b"\n")
        lines = []
        for part in ended:
            self._add(part)
            lines.append(self._over or b"".join(self._parts))
            self._parts, self._length, self._over = [], 0, None
        self._add(rest)
        return lines

    def _add(self, part: bytes) -> None:
        if self._over is not None:
            self._over.tail = (self._over.tail + part)[-_TAIL_BYTES:]
            return
        self._parts.append(part)
        self._length += len(part)
        if self._length > self._limit:
            line = b"".join(self._parts)
            self._over = Overlong(line[:_HEAD_BYTES], line[-_TAIL_BYTES:])
            self._parts = []


class Wire:
    """Answers messages. `receive` belongs to one thread, `run` to any number of others."""

    def __init__(
        self,
        registry: Registry,
        *,
        palace: Callable[[], Palace],
        send: Callable[[bytes], None],
        log: Callable[[BaseException], None],
        environment: Mapping[str, str],
    ) -> None:
        """Takes what it serves, and how to open the palace, send out of turn and log our faults."""
        self._registry = registry
        self._palace = palace
        self._send = send
        self._log = log
        self._session = _provenance(environment.get("CLAUDE_CODE_SESSION_ID"))
        self._client = ""
        self._live: dict[Id, Job | None] = {}
        self._watch = Watch(registry, palace, log)
        self._streams: dict[Id, Request] = {}

    def receive(self, line: bytes | Overlong) -> bytes | Job | None:
        """Takes one line: returns the reply, a job to run elsewhere, or nothing to say."""
        if isinstance(line, Overlong):
            return _refusal(line.id(), RpcError(PARSE_ERROR, "The line is too long: send less"))
        key = None
        try:
            message = _parsed(line)
            if message is None:
                return None
            key = _usable(message.get("id"))
            method = _judged(message, key)
            if method is None:
                return None
            if key is None:
                self._notice(method, message.get("params"))
                return None
            return self._answer(_request(key, method, message))
        except RpcError as error:
            return _refusal(key, error)
        except Exception as error:  # noqa: BLE001 - the edge: the process outlives our faults
            return self._failed(key, error)

    def run(self, job: Job) -> bytes | None:
        """Works a job out and returns its reply; none if the client cancelled it."""
        try:
            if job.call.cancelled:
                return None
            result = job.work(job.call)
            if result is ANSWERED_LATER:
                return None
            reply = self._reply(job.request, result)
        except CancelledError:
            return None
        except RpcError as error:
            reply = _refusal(job.request.id, error)
        except BaseException as error:  # noqa: BLE001 - the edge: sys.exit() in a handler too
            reply = self.fail(job, error)
        finally:
            if self._live.get(job.request.id) in (job, None):
                self._live.pop(job.request.id, None)
        return None if job.call.cancelled else reply

    def fail(self, job: Job, failure: BaseException) -> bytes:
        """Logs why a job failed by our fault and returns the reply, which does not tell."""
        return self._failed(job.request.id, failure)

    def farewell(self) -> list[bytes]:
        """Ends all streams, because the process ends: returns the replies that say so."""
        ended = list(self._streams.values())
        for request in ended:
            self._silence(request.id)
        return [self._reply(it, {"_meta": {_SUBSCRIPTION_KEY: it.id}}) for it in ended]

    def _failed(self, key: Id | None, failure: BaseException) -> bytes:
        self._log(failure)
        return _refusal(key, RpcError(INTERNAL_ERROR, "Internal error"))

    def _notice(self, method: str, params: object) -> None:
        if method != "notifications/cancelled" or not isinstance(params, dict):
            return
        key = _usable(params.get("requestId"))
        job = None if key is None else self._live.get(key)
        if job is not None:
            job.call.cancelled = True
        if key is not None:
            self._silence(key)

    def begin(self, request: Request) -> Json | Job:
        """Answers a request of any transport: with its result, or with a job that works it out.

        Raises:
            RpcError: the request is answered with an error; so does the job's work.
        """
        if request.modern:
            _check_envelope(request.meta)
        method = _METHODS.get(request.method)
        if method is None or not method.serves(request, self._registry):
            raise RpcError(METHOD_NOT_FOUND, "Method not found", request.method[:NAME_CHARS])
        request.params = offers.checked(method.takes, request.params)
        return method.answer(self, request)

    def _answer(self, request: Request) -> bytes | Job:
        outcome = self.begin(request)
        if isinstance(outcome, Job):
            # A careless proxy can have two live calls under one id: then a cancel is ambiguous,
            # and ignoring it leaves nobody without an answer.
            self._live[request.id] = None if request.id in self._live else outcome
            return outcome
        return self._reply(request, outcome)

    def _reply(self, request: Request, result: Json) -> bytes:
        if request.modern:
            cache = _METHODS[request.method].cache
            meta = result.get("_meta")
            stamp = {**(meta if isinstance(meta, dict) else {}), _SERVER_KEY: self._server_info()}
            result = {"resultType": "complete", **result, **(cache or {}), "_meta": stamp}
        return encoded({"jsonrpc": "2.0", "id": request.id, "result": result})

    def _server_info(self) -> Json:
        registry = self._registry
        return {"name": registry.name, "title": registry.title, "version": registry.version}

    def _initialize(self, request: Request) -> Json:
        if "protocolVersion" not in request.params:
            raise RpcError(INVALID_PARAMS, "Missing in params: protocolVersion")
        self._client = _client_name(request.params.get("clientInfo")) or self._client
        asked = request.params["protocolVersion"]
        return {
            "protocolVersion": asked if asked in HANDSHAKE_VERSIONS else HANDSHAKE_VERSIONS[-1],
            "capabilities": self._capabilities({"subscribe": True}),
            "serverInfo": self._server_info(),
            "instructions": self._registry.instructions,
        }

    def _ping(self, _request: Request) -> Json:
        return {}

    def _discover(self, _request: Request) -> Json:
        return {
            "supportedVersions": [MODERN_VERSION],
            "capabilities": self._capabilities({"subscribe": True, "listChanged": True}),
            "instructions": self._registry.instructions,
        }

    def _capabilities(self, resources: Json) -> Json:
        """What is offered; of the kinds of change that are told, only those that really are."""
        offered: Json = {"tools": {}}
        if self._registry.resources:
            offered["resources"] = resources
        if self._registry.prompts:
            offered |= {"prompts": {}, "completions": {}}
        return offered

    def _list_tools(self, _request: Request) -> Json:
        tools = self._registry.tools.values()
        return {"tools": [tool.definition for tool in tools if tool.listed]}

    def _list_prompts(self, _request: Request) -> Json:
        return {"prompts": [prompt.definition for prompt in self._registry.prompts.values()]}

    def _list_templates(self, _request: Request) -> Json:
        offered = self._registry.resources
        return {"resourceTemplates": [each.definition for each in offered if each.variable]}

    def _list_resources(self, request: Request) -> Job:
        return self._job(request, lambda call: offers.found(self._registry, call))

    def _read_resource(self, request: Request) -> Job:
        uri, missing = str(request.params["uri"]), _missing(request)
        return self._job(request, lambda call: offers.read(self._registry, call, uri, missing))

    def _get_prompt(self, request: Request) -> Job:
        name, given = str(request.params["name"]), _arguments(request)
        return self._job(request, lambda call: offers.prompted(self._registry, call, name, given))

    def _complete(self, request: Request) -> Job:
        asked: Any = [request.params.get(name) for name in ("ref", "argument", "context")]
        return self._job(request, lambda call: offers.completed(self._registry, call, *asked))

    def _subscribe(self, request: Request) -> Job:
        uri = str(request.params["uri"])
        if self._registry.resource(uri) is None:
            raise RpcError(_missing(request), "No resource has an address like this", {"uri": uri})

        def work(_: Call) -> Json:
            self._watch.add((uri,), self._watch.look([uri]), self._told({}))
            return {}

        return self._job(request, work)

    def _unsubscribe(self, request: Request) -> Json:
        self._watch.remove((request.params["uri"],))
        return {}

    def _listen(self, request: Request) -> Job:
        asked: Any = request.params["notifications"]
        uris = dict.fromkeys(asked.get("resourceSubscriptions", ()))
        wanted = [uri for uri in uris if self._registry.resource(uri)]
        honoured: Json = {"resourceSubscriptions": wanted} if wanted else {}
        if asked.get("resourcesListChanged") is True and self._registry.resources:
            honoured["resourcesListChanged"] = True
            wanted = [LIST, *wanted]
        meta: Json = {_SUBSCRIPTION_KEY: request.id}

        def work(call: Call) -> Json:
            seen = self._watch.look(wanted)
            if not call.cancelled:
                method = "notifications/subscriptions/acknowledged"
                self._notify(method, {"_meta": meta, "notifications": honoured})
                self._streams[request.id] = request
                self._watch.add(request.id, seen, self._told({"_meta": meta}))
            if call.cancelled:  # perhaps just now
                self._silence(request.id)
            return ANSWERED_LATER

        return self._job(request, work)

    def _told(self, meta: Json) -> Callable[[str], None]:
        """What tells a client of a change, by the address of what has changed."""

        def tell(address: str) -> None:
            if address == LIST:
                self._notify("notifications/resources/list_changed", meta)
            else:
                self._notify("notifications/resources/updated", {**meta, "uri": address})

        return tell

    def _silence(self, key: Id) -> None:
        """Ends a stream; other keys are nobody's."""
        self._streams.pop(key, None)
        self._watch.remove(key)

    def _call_tool(self, request: Request) -> Job:
        name, arguments = str(request.params["name"]), _arguments(request)
        tool = self._registry.tools.get(name)
        if tool is None:
            near = schema.nearest(name, self._registry.tools)
            raise RpcError(
                INVALID_PARAMS,
                f"Unknown tool: {name[:NAME_CHARS]}" + (f"; did you mean {near}?" if near else ""),
            )
        taken = tool.input_schema.get("properties")
        given = {name: arguments.get(name) for name in taken} if isinstance(taken, dict) else {}
        return self._job(request, lambda call: use(tool, call, arguments), given)

    def _job(
        self, request: Request, work: Callable[[Call], Json], given: Json | None = None
    ) -> Job:
        """A job, with who calls: what the arguments say, else the request, else the client."""
        agent, session = (given or {}).get("agent"), (given or {}).get("session")
        client = _client_name(request.meta.get(_CLIENT_KEY))
        call = Call(
            self._palace,
            agent=agent if isinstance(agent, str) else client or self._client,
            session=session
            if isinstance(session, str)
            else _session(request.meta) or self._session,
            emit=self._emitter(request.meta.get("progressToken")),
        )
        return Job(request, call, work)

    def _emitter(self, token: object) -> Callable[[Json], None] | None:
        if _usable(token) is None:
            return None
        return lambda told: self._notify("notifications/progress", {"progressToken": token, **told})

    def _notify(self, method: str, params: Json) -> None:
        self._send(encoded({"jsonrpc": "2.0", "method": method, "params": params}))


def _taking(required: str = "", /, **properties: Json) -> Json:
    """The schema of params; `required` names some of the properties, separated by blanks."""
    return {"properties": properties, "required": required.split()}


_TEXT: Json = {"type": "string"}
_OBJECT: Json = {"type": "object"}
_PAGE = _taking(cursor={"enum": [""]})  # every list has one page
_NAMED = _taking("name", name=_TEXT, arguments=_OBJECT)
_ADDRESS = _taking("uri", uri=_TEXT)
_COMPLETED = _taking(
    "ref argument",
    ref=_taking(type=_TEXT, name=_TEXT, uri=_TEXT) | _OBJECT,
    argument=_taking("name value", name=_TEXT, value=_TEXT) | _OBJECT,
    context=_taking(arguments=_OBJECT) | _OBJECT,
)
_LISTENED = _taking(
    "notifications",
    notifications=_taking(resourceSubscriptions={"type": "array", "items": _TEXT}) | _OBJECT,
)


class _Method:
    """How a method is answered, in which eras, and for how long a modern client may keep it.

    What it takes is a schema; where the registry has none of what it needs, it is not answered.
    """

    __slots__ = ("answer", "cache", "handshake", "modern", "needs", "takes")

    def __init__(
        self,
        answer: Callable[[Wire, Request], Json | Job],
        *,
        handshake: bool = True,
        modern: bool = True,
        cache: Json | None = None,
        needs: str = "",
        takes: Json = _PAGE,
    ) -> None:
        self.answer = answer
        self.takes = takes
        self.needs = needs
        self.handshake = handshake
        self.modern = modern
        self.cache = cache

    def serves(self, request: Request, registry: Registry) -> bool:
        """Whether it is of the request's era, and there is something to answer from."""
        of_the_era = self.modern if request.modern else self.handshake
        return of_the_era and (not self.needs or bool(getattr(registry, self.needs)))


_LIVE: Json = {"ttlMs": 0, "cacheScope": "private"}
_KEPT: Json = {"ttlMs": _CACHE_MS, "cacheScope": "public"}
_METHODS = {
    "initialize": _Method(Wire._initialize, modern=False),
    "ping": _Method(Wire._ping, modern=False),
    "server/discover": _Method(Wire._discover, handshake=False, cache=_KEPT),
    "tools/list": _Method(Wire._list_tools, cache=_KEPT),
    "tools/call": _Method(Wire._call_tool, takes=_NAMED),
    "prompts/list": _Method(Wire._list_prompts, cache=_KEPT, needs="prompts"),
    "prompts/get": _Method(Wire._get_prompt, needs="prompts", takes=_NAMED),
    "resources/list": _Method(Wire._list_resources, cache=_LIVE, needs="resources"),
    "resources/templates/list": _Method(Wire._list_templates, cache=_KEPT, needs="resources"),
    "resources/read": _Method(Wire._read_resource, cache=_LIVE, needs="resources", takes=_ADDRESS),
    "resources/subscribe": _Method(
        Wire._subscribe, modern=False, needs="resources", takes=_ADDRESS
    ),
    "resources/unsubscribe": _Method(
        Wire._unsubscribe, modern=False, needs="resources", takes=_ADDRESS
    ),
    "completion/complete": _Method(Wire._complete, needs="prompts", takes=_COMPLETED),
    "subscriptions/listen": _Method(Wire._listen, handshake=False, takes=_LISTENED),
}


def shared_methods() -> dict[str, Json | None]:
    """The methods that every transport answers by `Wire.begin`, and for how long each is kept."""
    return {name: it.cache for name, it in _METHODS.items() if it.handshake and it.modern}


def encoded(message: Json) -> bytes:
    """Returns the line for a message. Lone surrogates have no UTF-8 form: they are escaped."""
    try:
        return ENCODER.encode(message).encode() + b"\n"
    except UnicodeEncodeError:
        return _ASCII_ENCODER.encode(message).encode() + b"\n"


def _refusal(key: Id | None, error: RpcError) -> bytes:
    told: Json = {"code": error.code, "message": error.message}
    if error.data is not None:
        told["data"] = error.data
    return encoded({"jsonrpc": "2.0", "id": key, "error": told})


def _parsed(line: bytes) -> Json | None:
    """Returns the object on a line, or None for a blank one."""
    if not line or line.isspace():
        return None
    try:
        message = _DECODER.decode(line.decode("utf-8", "surrogatepass"))
    except (ValueError, RecursionError, MemoryError):
        raise RpcError(PARSE_ERROR, "Parse error") from None
    if isinstance(message, list):
        raise RpcError(INVALID_REQUEST, "Batches are not served: send one message on each line")
    if not isinstance(message, dict):
        raise RpcError(INVALID_REQUEST, "Invalid request: not an object")
    return message


def _judged(message: Json, key: Id | None) -> str | None:
    """Returns the method of a request or a notification, None for a message to ignore."""
    method = message.get("method")
    answers = "result" in message or "error" in message
    if message.get("jsonrpc") != "2.0":
        raise RpcError(INVALID_REQUEST, 'Invalid request: jsonrpc must be "2.0"')
    if answers and not isinstance(method, str):
        return None  # whatever its id: who answers answers could do so for ever
    if "id" in message and key is None:
        raise RpcError(INVALID_REQUEST, "Invalid request: id must be a string or an integer")
    if isinstance(method, str):
        return method
    raise RpcError(INVALID_REQUEST, "Invalid request: method must be a string")


def _request(key: Id, method: str, message: Json) -> Request:
    params = message.get("params", {})
    if not isinstance(params, dict):
        raise RpcError(INVALID_PARAMS, "params must be an object")
    return Request(key, method, params)


def _check_envelope(meta: Json) -> None:
    if _CAPABILITIES_KEY not in meta:
        raise RpcError(INVALID_PARAMS, f"Missing in _meta: {_CAPABILITIES_KEY}")
    version = meta[_VERSION_KEY]
    if not isinstance(version, str):
        raise RpcError(INVALID_PARAMS, f"Not a string in _meta: {_VERSION_KEY}")
    if version != MODERN_VERSION:
        raise RpcError(
            UNSUPPORTED_VERSION,
            "Unsupported protocol version",
            {"supported": [MODERN_VERSION], "requested": version[:NAME_CHARS]},
        )


def _missing(request: Request) -> int:
    """The code for an address at which nothing lies."""
    return INVALID_PARAMS if request.modern else RESOURCE_NOT_FOUND


def _arguments(request: Request) -> Json:
    arguments: Any = request.params.get("arguments")
    return {} if arguments is None else arguments


def _usable(key: object) -> Id | None:
    """Returns an id or a progress token that may be echoed, None for anything else."""
    return key if isinstance(key, (str, int)) and not isinstance(key, bool) else None


def _client_name(client: object) -> str:
    return _provenance(client.get("name")) if isinstance(client, dict) else ""


def _session(meta: Json) -> str:
    turn = meta.get("x-codex-turn-metadata")
    turn_session = turn.get("session_id") if isinstance(turn, dict) else None
    return _provenance(meta.get("sessionId")) or _provenance(turn_session)


def _provenance(value: object) -> str:
    """Returns a name that a client volunteered, or nothing if it is no plain short text."""
    plain = isinstance(value, str) and len(value) <= NAME_CHARS and value.isprintable()
    return str(value) if plain else ""


def _passed(text: str, at: int, mark: str) -> int:
    """Returns where the text goes on after a mark and the blanks around it."""
    rest = text[at:].lstrip()
    if not rest.startswith(mark):
        raise ValueError(f"no {mark}")
    return len(text) - len(rest[1:].lstrip())


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_no_constant)
_ASCII_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
