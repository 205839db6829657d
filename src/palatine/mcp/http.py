"""The HTTP server: the registry behind the official SDK's Streamable HTTP, with a guard before it.

The SDK speaks: sessions, streams, both eras. What is answered comes from `Wire`, as on standard
input. Calls run in threads: those that read and those that write have their own, so that readers
never queue behind writers.
"""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar
from time import monotonic
from types import FrameType
from typing import Any
from urllib.parse import urlsplit

import uvicorn
from mcp.server import lowlevel
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.caching import CacheHint
from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import InMemorySubscriptionBus, ListenHandler
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated
from mcp_types import RequestParams, SubscriptionsListenRequestParams, SubscriptionsListenResult
from starlette.datastructures import Headers
from starlette.requests import Request as HttpRequest
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from palatine.errors import InputError, PalatineError
from palatine.mcp import wire
from palatine.mcp.registry import ENCODER, INTERNAL_ERROR, Json, Registry, RpcError
from palatine.mcp.subscriptions import LIST, Watch
from palatine.mcp.tokens import Token, Tokens
from palatine.palace import Palace

Context = ServerRequestContext[Any, Any]

PATH = "/mcp"
_HEALTH = "/health"
_READERS, _WRITERS = 16, 8
_GRACE_SECONDS = 5.0
_KEEP_ALIVE_SECONDS = 60
_TICKS = 10
"""So many of uvicorn's ticks, of 0.1 s, between two looks at whose token still stands."""
_CLIENT_KEY = "io.modelcontextprotocol/clientInfo"
_TOKEN = "palatine.token"
_logger = logging.getLogger(__name__)


def listening(host: str, port: int) -> socket.socket:
    """A socket that clients can connect to; port 0 takes a free one.

    Raises:
        InputError: the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
        # asyncio would, but does not take this for a TCP socket; answers would wait 40 ms.
        listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return listener
    except OSError as error:
        raise InputError(
            f"{host} port {port} cannot be listened on ({error.strerror}); choose another --port"
        ) from error


def serve(
    service: Service,
    listener: socket.socket,
    *,
    ready: Callable[[], None],
    certfile: str | None = None,
    keyfile: str | None = None,
) -> None:
    """Serves until SIGINT or SIGTERM. Calls in flight get some seconds to end, streams end at once.

    Args:
        service: what is served; of no use afterwards.
        listener: from `listening`.
        ready: called when requests are taken, and signals heard.
        certfile: a certificate chain; None: no TLS.
        keyfile: its key; None: it is in the same file.

    Raises:
        InputError: there is no TLS with these.
    """
    config = uvicorn.Config(
        service,
        log_config=None,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        ws="none",
        ssl_certfile=certfile,
        ssl_keyfile=keyfile,
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    try:
        config.load()
    except OSError as error:
        raise InputError(
            f"{certfile} cannot be used for TLS ({error}); give a certificate and its key as PEM"
        ) from error
    _HttpServer(config, service, ready).run(sockets=[listener])
    service.stop()


class Service:
    """A registry over one open palace, as an ASGI app that looks at every request first.

    Host and Origin on each route, and a bearer token on all but `/health`.

    Attributes:
        server: the SDK's server.
        streams: what clients listen to: by which token, and where to publish for each.
        busy: how many requests are being answered, the standing streams of sessions left out.
        leaving: no new request is taken.
    """

    def __init__(
        self,
        registry: Registry,
        reading: Registry,
        palace: Palace,
        tokens: Tokens,
        hosts: Iterable[str],
    ) -> None:
        """Takes what is offered, to tokens that may only read, too, and the server's host names."""
        self.streams: dict[ListenHandler, tuple[Token, InMemorySubscriptionBus]] = {}
        self.busy = 0
        self.leaving = False
        self._registry = registry
        self._reading = reading
        self._palace = palace
        self._place = str(palace.status().store["place"])
        self._tokens = tokens
        self._hosts = frozenset(hosts)
        self._watches: dict[str, Watch] = {}
        self._readers = ThreadPoolExecutor(_READERS, "reader")
        self._writers = ThreadPoolExecutor(_WRITERS, "writer")
        self._told = ContextVar("instructions", default=registry.instructions)
        self.server = self._server()
        self._app = self.server.streamable_http_app(
            streamable_http_path=PATH,
            max_request_body_size=wire.LINE_BYTES,
            host="",  # not the SDK's own check of hosts, which is for one route only
            custom_starlette_routes=[Route(_HEALTH, self._health)],
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, or refuses it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope, Headers(scope=scope))
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        if _TOKEN in scope and scope[_TOKEN].read_only:
            self._told.set(self._reading.instructions)
        counts = scope["method"] != "GET"
        self.busy += counts
        try:
            await self._app(scope, receive, send)
        finally:
            self.busy -= counts

    def end_streams(self) -> None:
        """Ends the streams of tokens that were removed or rotated since they began."""
        if not self.streams or not self._tokens.reachable():
            return
        with suppress(OSError):
            standing = list(self._tokens.usable())
            for stream, (token, _) in self.streams.items():
                if token not in standing:
                    stream.close()

    def stop(self) -> None:
        """Ends what runs in threads: nothing new begins, and the palace interrupts the rest."""
        for pool in (self._readers, self._writers):
            pool.shutdown(wait=False, cancel_futures=True)
        self._palace.shutdown()

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        origin = headers.get("origin")
        if _host(f"//{headers.get('host', '')}") not in self._hosts:
            return PlainTextResponse("This server does not go by that name", 421)
        if origin is not None and _host(origin) not in self._hosts:
            return PlainTextResponse("Requests from that origin are not taken", 403)
        if self.leaving:
            return PlainTextResponse("The server is shutting down", 503)
        if scope["path"] == _HEALTH:
            return None
        if not self._tokens.reachable():  # or everybody would be told that the token is wrong
            return PlainTextResponse("The palace cannot be reached", 503)
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        token = self._tokens.holder(secret.strip()) if scheme.lower() == "bearer" else None
        if token is None:
            told = "A bearer token is needed; `palatine token show` tells it to the palace's owner"
            return PlainTextResponse(told, 401, {"WWW-Authenticate": "Bearer"})
        scope[_TOKEN] = token
        # A session of the SDK belongs to the user who opened it.
        scope["user"] = AuthenticatedUser(AccessToken(token="", client_id=token.name, scopes=[]))
        return None

    def _server(self) -> lowlevel.Server[Any]:
        registry = self._registry
        methods: dict[Any, Any] = wire.shared_methods()
        server = _Speaker(
            registry.name,
            version=registry.version,
            title=registry.title,
            instructions=self._told,
            get_tool_input_schema=lambda _: None,  # no argument of ours stands in a header
            on_subscriptions_listen=self._listen,
            cache_hints={name: CacheHint(*kept.values()) for name, kept in methods.items() if kept},
        )
        server.middleware.clear()  # no telemetry
        for method in methods:
            server.add_request_handler(method, RequestParams, self._answer)
        return server

    async def _answer(self, context: Context, _: RequestParams) -> Json:
        """Answers what the registry answers on every transport."""
        assert context.request_id is not None
        token, loop = _token(context), asyncio.get_running_loop()
        request = wire.Request(context.request_id, context.method, dict(context.params or {}))
        if context.session.client_params is not None:
            client = context.session.client_params.client_info
            request.meta = {_CLIENT_KEY: {"name": client.name}, **request.meta}
        told: asyncio.Queue[bytes | None] = asyncio.Queue()

        def send(line: bytes) -> None:
            loop.call_soon_threadsafe(told.put_nowait, line)

        core = wire.Wire(
            self._reading if token.read_only else self._registry,
            palace=lambda: self._view(token),
            send=send,
            log=_log,
            environment={},
        )
        try:
            outcome = core.begin(request)
            if isinstance(outcome, wire.Job):
                outcome = self._discreet(await self._worked_out(outcome, told, context))
        except RpcError as error:
            raise MCPError(error.code, self._hidden(error.message), error.data) from None
        except (Exception, SystemExit) as error:  # noqa: BLE001 (the edge: it outlives our faults)
            _log(error)
            raise MCPError(INTERNAL_ERROR, "Internal error") from None
        if not request.modern:
            outcome = _sendable(outcome)
        return {"resultType": "complete", **outcome}  # the SDK drops what an era does not know

    async def _worked_out(
        self, job: wire.Job, told: asyncio.Queue[bytes | None], context: Context
    ) -> Json:
        """Runs a job in a thread and passes its progress on, all of it before the result."""
        writes = context.method == "tools/call" and job.request.params["name"] not in (
            self._reading.tools
        )
        pool = self._writers if writes else self._readers
        future = asyncio.get_running_loop().run_in_executor(pool, job.work, job.call)
        future.add_done_callback(lambda _: told.put_nowait(None))
        try:
            while (line := await told.get()) is not None:
                step = json.loads(line)["params"]
                await context.session.report_progress(
                    step["progress"], step.get("total"), step.get("message")
                )
        except asyncio.CancelledError:
            job.call.cancelled = True
            future.cancel()
            raise
        return future.result()

    async def _listen(
        self, context: Context, params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Serves one stream of what changes, as the token sees it."""
        token, loop = _token(context), asyncio.get_running_loop()
        wanted = list(params.notifications.resource_subscriptions or ())
        if params.notifications.resources_list_changed:
            wanted.append(LIST)
        watch = self._watches.get(token.wing)
        if watch is None:
            watch = Watch(self._registry, lambda: self._view(token), _log)
            self._watches[token.wing] = watch
        bus = InMemorySubscriptionBus()
        stream = ListenHandler(bus)

        def tell(address: str) -> None:
            event = ResourceUpdated(uri=address) if address else ResourcesListChanged()
            asyncio.run_coroutine_threadsafe(bus.publish(event), loop)

        try:
            seen = await loop.run_in_executor(self._readers, watch.look, wanted)
            self.streams[stream] = token, bus
            watch.add(stream, seen, tell)
            return await stream(context, params)
        except RpcError as error:
            raise MCPError(error.code, error.message, error.data) from None
        finally:
            watch.remove(stream)
            self.streams.pop(stream, None)

    def _view(self, token: Token) -> Palace:
        return self._palace.scoped(token.wing) if token.wing else self._palace

    def _discreet(self, result: Json) -> Json:
        """Takes the palace's folder out of a refusal: whoever calls may be on another machine."""
        if not result.get("isError"):
            return result
        content: Any = result["content"]
        told = [{**block, "text": self._hidden(block["text"])} for block in content]
        return {**result, "content": told}

    def _hidden(self, text: str) -> str:
        return text.replace(self._place, "the palace's folder")

    async def _health(self, _: HttpRequest) -> Response:
        """Tells whether the palace can be read; nothing about what is in it."""
        loop = asyncio.get_running_loop()
        try:
            await loop.run_in_executor(self._readers, lambda: self._palace.changes(limit=1))
        except PalatineError:
            return JSONResponse({"status": "the palace cannot be read"}, 503)
        return JSONResponse({"status": "ok"})


class _Speaker(lowlevel.Server[Any]):
    """The SDK's server, which tells those who may only read of no tool that writes."""

    def __init__(self, name: str, *, instructions: ContextVar[str], **said: Any) -> None:
        self._told = instructions
        super().__init__(name, **said)

    @property
    def instructions(self) -> str | None:
        """Those for whoever asks; the SDK reads them for each client."""
        return self._told.get()

    @instructions.setter
    def instructions(self, _: str | None) -> None:
        """The SDK sets its own, which are nobody's."""


class _HttpServer(uvicorn.Server):
    """Ends in order: no new requests, the answers in flight, then every stream."""

    def __init__(self, config: uvicorn.Config, service: Service, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._service = service
        self._ready = ready
        self._until = 0.0

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Neither uvicorn nor sse-starlette hears of it before the answers in flight are given.
        if self._service.leaving:
            self.should_exit = self.force_exit = True
        self._service.leaving = True

    async def on_tick(self, counter: int) -> bool:
        if self._service.leaving:
            self._until = self._until or monotonic() + _GRACE_SECONDS
            for stream in self._service.streams:
                stream.close()
            if not self._service.busy or monotonic() > self._until:
                self.should_exit = True
        elif counter % _TICKS == 0:
            self._service.end_streams()
        return await super().on_tick(counter)


def _token(context: Context) -> Token:
    assert context.request is not None
    token: Token = context.request.scope[_TOKEN]
    return token


def _sendable(result: Json) -> Json:
    """The result with a mark for each lone surrogate, which the SDK cannot send in this era."""
    line = ENCODER.encode(result)
    try:
        line.encode()
    except UnicodeEncodeError:
        result = json.loads(line.encode(errors="replace"))
    return result


def _host(url: str) -> str | None:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _log(failure: BaseException) -> None:
    _logger.error("a request failed by our fault", exc_info=failure)
