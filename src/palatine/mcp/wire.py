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

from palatine.errors import PalatineError
from palatine.mcp import schema

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeAlias

    from palatine.palace import Palace

    Json: TypeAlias = dict[str, object]
    Id: TypeAlias = str | int
    Handler: TypeAlias = "Callable[[Call, Json], Json]"

PARSE_ERROR = -32700
INVALID_REQUEST = -32600
METHOD_NOT_FOUND = -32601
INVALID_PARAMS = -32602
INTERNAL_ERROR = -32603
UNSUPPORTED_VERSION = -32022

MODERN_VERSION = "2026-07-28"
HANDSHAKE_VERSIONS = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25")

_VERSION_KEY = "io.modelcontextprotocol/protocolVersion"
_CAPABILITIES_KEY = "io.modelcontextprotocol/clientCapabilities"
_CLIENT_KEY = "io.modelcontextprotocol/clientInfo"
_SERVER_KEY = "io.modelcontextprotocol/serverInfo"

LINE_BYTES = 64 * 1024 * 1024
_HEAD_BYTES = 4096
_TAIL_BYTES = 512
_NAME_CHARS = 200
_PROBLEMS = 5
_CACHE_MS = 3_600_000


class Tool:
    """One tool: plain data, as `tools/list` shows it, and its handler.

    Raises:
        ValueError: the root of a schema is not an object.
    """

    __slots__ = ("definition", "handler", "input_schema", "name")

    def __init__(
        self,
        name: str,
        title: str,
        description: str,
        input_schema: Json,
        output_schema: Json,
        annotations: Json,
        handler: Handler,
        *,
        meta: Json | None = None,
    ) -> None:
        if input_schema.get("type") != "object" or output_schema.get("type") != "object":
            raise ValueError(f"{name}: the root of an input or output schema must be an object")
        self.name = name
        self.input_schema = input_schema
        self.handler = handler
        self.definition: Json = {
            "name": name,
            "title": title,
            "description": description,
            "inputSchema": input_schema,
            "outputSchema": output_schema,
            "annotations": annotations,
        }
        if meta:
            self.definition["_meta"] = meta


class Registry:
    """What a server offers: its name, its instructions, and its tools in a fixed order."""

    __slots__ = ("instructions", "name", "title", "tools", "version")

    def __init__(
        self, name: str, title: str, version: str, instructions: str, tools: Iterable[Tool]
    ) -> None:
        self.name = name
        self.title = title
        self.version = version
        self.instructions = instructions
        self.tools: dict[str, Tool] = {}
        for tool in tools:
            if tool.name in self.tools:
                raise ValueError(f"{tool.name}: two tools have this name")
            self.tools[tool.name] = tool


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
            reply = self._reply(job.request, job.work(job.call))
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

    def _answer(self, request: Request) -> bytes | Job:
        if request.modern:
            _check_envelope(request.meta)
        method = _METHODS.get(request.method)
        if method is None or not (method.modern if request.modern else method.handshake):
            raise RpcError(METHOD_NOT_FOUND, "Method not found", request.method)
        outcome = method.answer(self, request)
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
            "capabilities": {"tools": {}},
            "serverInfo": self._server_info(),
            "instructions": self._registry.instructions,
        }

    def _ping(self, _request: Request) -> Json:
        return {}

    def _discover(self, _request: Request) -> Json:
        return {
            "supportedVersions": [MODERN_VERSION],
            "capabilities": {"tools": {}},
            "instructions": self._registry.instructions,
        }

    def _list_tools(self, request: Request) -> Json:
        if request.params.get("cursor") not in (None, ""):
            raise RpcError(INVALID_PARAMS, "Invalid cursor: the list has one page")
        return {"tools": [tool.definition for tool in self._registry.tools.values()]}

    def _call_tool(self, request: Request) -> Job:
        name, arguments = request.params.get("name"), request.params.get("arguments")
        if not isinstance(name, str):
            raise RpcError(INVALID_PARAMS, "Missing in params: name, a string")
        if arguments is None:
            arguments = {}
        if not isinstance(arguments, dict):
            raise RpcError(INVALID_PARAMS, "arguments must be an object")
        tool = self._registry.tools.get(name)
        if tool is None:
            near = schema.nearest(name, self._registry.tools)
            raise RpcError(
                INVALID_PARAMS,
                f"Unknown tool: {name[:_NAME_CHARS]}" + (f"; did you mean {near}?" if near else ""),
            )
        call = self._call(request, tool, arguments)
        return Job(request, call, lambda call: use(tool, call, arguments))

    def _call(self, request: Request, tool: Tool, arguments: Json) -> Call:
        taken = tool.input_schema.get("properties")
        given = {name: arguments.get(name) for name in taken} if isinstance(taken, dict) else {}
        agent, session = given.get("agent"), given.get("session")
        client = _client_name(request.meta.get(_CLIENT_KEY)) if request.modern else ""
        return Call(
            self._palace,
            agent=agent if isinstance(agent, str) else client or self._client,
            session=session
            if isinstance(session, str)
            else _session(request.meta) or self._session,
            emit=self._emitter(request.meta.get("progressToken")),
        )

    def _emitter(self, token: object) -> Callable[[Json], None] | None:
        if _usable(token) is None:
            return None
        return lambda told: self._send(
            encoded(
                {
                    "jsonrpc": "2.0",
                    "method": "notifications/progress",
                    "params": {"progressToken": token, **told},
                }
            )
        )


class _Method:
    """How one method is answered, in which eras, and for how long a modern client may keep it."""

    __slots__ = ("answer", "cache", "handshake", "modern")

    def __init__(
        self,
        answer: Callable[[Wire, Request], Json | Job],
        *,
        handshake: bool = True,
        modern: bool = True,
        cache: Json | None = None,
    ) -> None:
        self.answer = answer
        self.handshake = handshake
        self.modern = modern
        self.cache = cache


_KEPT: Json = {"ttlMs": _CACHE_MS, "cacheScope": "public"}
_METHODS = {
    "initialize": _Method(Wire._initialize, modern=False),
    "ping": _Method(Wire._ping, modern=False),
    "server/discover": _Method(Wire._discover, handshake=False, cache=_KEPT),
    "tools/list": _Method(Wire._list_tools, cache=_KEPT),
    "tools/call": _Method(Wire._call_tool),
}


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
    if not isinstance(structured, dict):
        raise TypeError(f"{tool.name}: a handler must return a dict")
    return {
        "content": [{"type": "text", "text": _ENCODER.encode(structured)}],
        "structuredContent": structured,
        "isError": False,
    }


def encoded(message: Json) -> bytes:
    """Returns the line for a message. Lone surrogates have no UTF-8 form: they are escaped."""
    try:
        return _ENCODER.encode(message).encode() + b"\n"
    except UnicodeEncodeError:
        return _ASCII_ENCODER.encode(message).encode() + b"\n"


def _told(text: str) -> Json:
    return {"content": [{"type": "text", "text": text}], "isError": True}


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
    if "id" in message and key is None:
        raise RpcError(INVALID_REQUEST, "Invalid request: id must be a string or an integer")
    if isinstance(method, str):
        return method
    if answers:
        return None
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
            {"supported": [MODERN_VERSION], "requested": version},
        )


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
    plain = isinstance(value, str) and len(value) <= _NAME_CHARS and value.isprintable()
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
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_ASCII_ENCODER = json.JSONEncoder(separators=(",", ":"), allow_nan=False)
