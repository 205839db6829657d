"""The things that the official conformance suite asks for, mounted beside the real registry.

`Mounted` adds tools, resources and prompts to the SDK's server that the product made; everything
else is answered by the product. Run as a program it serves a palace with them, as `palatine serve`
would, but lets everybody in: the suite cannot send a token.
"""

import asyncio
import hashlib
import hmac
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from mcp.server.context import ServerRequestContext
from mcp.server.subscriptions import PromptsListChanged, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import (
    EmptyResult,
    RequestParams,
    SamplingMessage,
    SetLevelRequestParams,
    SubscribeRequestParams,
    TextContent,
    UnsubscribeRequestParams,
)

from palatine.mcp import http, tools
from palatine.mcp.tokens import FIRST, Tokens
from palatine.palace import Palace
from tests.server import toy

Context = ServerRequestContext[Any, Any]
Json = dict[str, Any]

PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9"
    "awAAAABJRU5ErkJggg=="
)
SILENCE = "UklGRiQAAABXQVZFZm10IBAAAAABAAEAQB8AAIA+AAACABAAZGF0YQAAAAA="
IMAGE = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
AUDIO = {"type": "audio", "data": SILENCE, "mimeType": "audio/wav"}
EMBEDDED = {
    "type": "resource",
    "resource": {"uri": "test://embedded", "mimeType": "text/plain", "text": "embedded"},
}
NAME_FORM = {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}
ENVELOPE_CAPABILITIES = "io.modelcontextprotocol/clientCapabilities"
KEY = b"only for this test"


def text(words: str) -> Json:
    return {"type": "text", "text": words}


def said(*blocks: str | Json, **more: Any) -> Json:
    content = [text(b) if isinstance(b, str) else b for b in blocks]
    return {"resultType": "complete", "content": content, **more}


def form(message: str, schema: Json = NAME_FORM) -> Json:
    params = {"mode": "form", "message": message, "requestedSchema": schema}
    return {"method": "elicitation/create", "params": params}


SAMPLE = {
    "method": "sampling/createMessage",
    "params": {
        "messages": [{"role": "user", "content": text("What is the capital of France?")}],
        "maxTokens": 100,
    },
}
ROOTS: Json = {"method": "roots/list", "params": {}}


def ask(state: str = "", **requests: Json) -> Json:
    """A result that asks the client for input; the state is signed."""
    asked: Json = {"resultType": "input_required", "inputRequests": requests}
    return asked | {"requestState": f"{state}.{signature(state)}"} if state else asked


def signature(state: str) -> str:
    return hmac.new(KEY, state.encode(), hashlib.sha256).hexdigest()


def state_of(ctx: Context) -> str:
    """The state that came back; refuses one that was changed."""
    given = (ctx.params or {}).get("requestState", "")
    state, _, signed = given.partition(".")
    if given and not hmac.compare_digest(signed, signature(state)):
        raise MCPError(-32602, "The request state was changed")
    return str(state)


def answer(ctx: Context, key: str) -> Json | None:
    """The client's response to a request; None if it is missing or malformed."""
    found = ((ctx.params or {}).get("inputResponses") or {}).get(key)
    return found if isinstance(found, dict) else None


def named(ctx: Context, key: str) -> str | None:
    """The name that a form was filled in with."""
    content = (answer(ctx, key) or {}).get("content")
    name = content.get("name") if isinstance(content, dict) else None
    return name if isinstance(name, str) else None


def capabilities(ctx: Context) -> Json:
    return dict(((ctx.params or {}).get("_meta") or {}).get(ENVELOPE_CAPABILITIES) or {})


async def with_progress(ctx: Context, _: Json) -> Json:
    for done in (0, 50, 100):
        await ctx.session.report_progress(done, 100)
        await asyncio.sleep(0.05)
    return said("done")


async def with_logging(ctx: Context, _: Json) -> Json:
    for number in range(3):
        await ctx.session.send_log_message(
            "info", f"step {number}", related_request_id=ctx.request_id
        )
        await asyncio.sleep(0.05)
    return said("done")


async def sampling(ctx: Context, given: Json) -> Json:
    message = SamplingMessage(role="user", content=TextContent(type="text", text=given["prompt"]))
    reply = await ctx.session.create_message(
        [message], max_tokens=100, related_request_id=ctx.request_id
    )
    return said(f"LLM response: {reply.content}")


def eliciting(schema: Json) -> Callable[[Context, Json], Awaitable[Json]]:
    async def elicit(ctx: Context, given: Json) -> Json:
        message = given.get("message", "Please fill this in")
        reply = await ctx.session.elicit_form(message, schema, related_request_id=ctx.request_id)
        return said(f"User response: {reply.action} {reply.content}")

    return elicit


async def missing_capability(ctx: Context, _: Json) -> Json:
    if "sampling" not in capabilities(ctx):
        required = {"requiredCapabilities": {"sampling": {}}}
        raise MCPError(-32021, "The client cannot sample", required)
    return said("it can")


async def elicitation(ctx: Context, _: Json) -> Json:
    name = named(ctx, "user_name")
    return ask(user_name=form("What is your name?")) if name is None else said(f"Hello, {name}!")


async def streaming(ctx: Context, given: Json) -> Json:
    await with_progress(ctx, given)
    return await elicitation(ctx, given)


async def sampled(ctx: Context, _: Json) -> Json:
    reply = answer(ctx, "capital_question")
    return ask(capital_question=SAMPLE) if reply is None else said(f"It said {reply}")


async def rooted(ctx: Context, _: Json) -> Json:
    reply = answer(ctx, "client_roots")
    return ask(client_roots=ROOTS) if reply is None else said(f"Roots: {reply}")


async def with_state(ctx: Context, _: Json) -> Json:
    if state_of(ctx) == "asked" and answer(ctx, "confirm") is not None:
        return said("state-ok")
    return ask("asked", confirm=form("Go on?"))


async def multiple(ctx: Context, _: Json) -> Json:
    keys = ("user_name", "greeting", "client_roots")
    if state_of(ctx) and all(answer(ctx, key) is not None for key in keys):
        return said("all there")
    return ask("asked", user_name=form("Your name?"), greeting=SAMPLE, client_roots=ROOTS)


async def rounds(ctx: Context, _: Json) -> Json:
    state = state_of(ctx)
    if state == "second" and answer(ctx, "step2") is not None:
        return said("both rounds done")
    if state == "first" and answer(ctx, "step1") is not None:
        return ask("second", step2=form("And the second?"))
    return ask("first", step1=form("The first?"))


async def capable(ctx: Context, _: Json) -> Json:
    able = capabilities(ctx)
    kinds = {"elicitation": ("user_name", form("Your name?")), "sampling": ("sample", SAMPLE)}
    kinds["roots"] = ("client_roots", ROOTS)
    wanted = dict(pair for kind, pair in kinds.items() if kind in able)
    if not wanted or all(answer(ctx, key) is not None for key in wanted):
        return said("nothing more to ask")
    return ask(**wanted)


def giving(*blocks: str | Json, **more: Any) -> Callable[[Context, Json], Awaitable[Json]]:
    async def give(_ctx: Context, _given: Json) -> Json:
        return said(*blocks, **more)

    return give


DEFAULTS = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "default": "John Doe"},
        "age": {"type": "integer", "default": 30},
        "score": {"type": "number", "default": 95.5},
        "status": {"type": "string", "enum": ["active", "inactive"], "default": "active"},
        "verified": {"type": "boolean", "default": True},
    },
}
TITLED = [{"const": "one", "title": "First"}, {"const": "two", "title": "Second"}]
ENUMS = {
    "type": "object",
    "properties": {
        "untitledSingle": {"type": "string", "enum": ["one", "two"]},
        "titledSingle": {"type": "string", "oneOf": TITLED},
        "legacyEnum": {"type": "string", "enum": ["one", "two"], "enumNames": ["First", "Second"]},
        "untitledMulti": {"type": "array", "items": {"type": "string", "enum": ["one", "two"]}},
        "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
    },
}
TOOLS: dict[str, Callable[[Context, Json], Awaitable[Json]]] = {
    "test_simple_text": giving("This is a simple text."),
    "test_error_handling": giving("This tool always fails.", isError=True),
    "test_image_content": giving(IMAGE),
    "test_audio_content": giving(AUDIO),
    "test_embedded_resource": giving(EMBEDDED),
    "test_multiple_content_types": giving("mixed", IMAGE, EMBEDDED),
    "test_tool_with_progress": with_progress,
    "test_tool_with_logging": with_logging,
    "test_logging_tool": with_logging,
    "test_sampling": sampling,
    "test_elicitation": eliciting(NAME_FORM),
    "test_elicitation_sep1034_defaults": eliciting(DEFAULTS),
    "test_elicitation_sep1330_enums": eliciting(ENUMS),
    "test_missing_capability": missing_capability,
    "test_input_required_result_elicitation": elicitation,
    "test_input_required_result_sampling": sampled,
    "test_input_required_result_list_roots": rooted,
    "test_input_required_result_request_state": with_state,
    "test_input_required_result_tampered_state": with_state,
    "test_input_required_result_multiple_inputs": multiple,
    "test_input_required_result_multi_round": rounds,
    "test_input_required_result_capabilities": capable,
    "test_streaming_elicitation": streaming,
    "json_schema_2020_12_tool": giving("done"),
    "test_custom_header": giving("done"),
}
ARGUMENTS = {"test_sampling": "prompt", "test_elicitation": "message"}
SCHEMA_2020 = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
HEADED = {
    "type": "object",
    "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
}
SCHEMAS: Json = {"json_schema_2020_12_tool": SCHEMA_2020, "test_custom_header": HEADED}

RESOURCES = {
    "test://static-text": {"mimeType": "text/plain", "text": "static text"},
    "test://static-binary": {"mimeType": "image/png", "blob": PIXEL},
    "test://watched-resource": {"mimeType": "text/plain", "text": "watched"},
}
TEMPLATE = "test://template/{id}/data"
PROMPTS: dict[str, tuple[str, ...]] = {
    "test_simple_prompt": (),
    "test_prompt_with_arguments": ("arg1", "arg2"),
    "test_prompt_with_embedded_resource": ("resourceUri",),
    "test_prompt_with_image": (),
    "test_input_required_result_prompt": (),
}


def tool_definitions() -> list[Json]:
    found = []
    for name in (*TOOLS, *EVENTS):
        taken = {ARGUMENTS[name]: {"type": "string"}} if name in ARGUMENTS else {}
        schema = SCHEMAS.get(name, {"type": "object", "properties": taken})
        about = "A fixture of the conformance suite."
        found.append({"name": name, "description": about, "inputSchema": schema})
    return found


def prompt_definitions() -> list[Json]:
    return [
        {
            "name": name,
            "description": "A fixture of the conformance suite.",
            "arguments": [{"name": argument, "required": True} for argument in arguments],
        }
        for name, arguments in PROMPTS.items()
    ]


def prompt(ctx: Context, name: str, given: Json) -> Json:
    if name == "test_input_required_result_prompt" and answer(ctx, "user_context") is None:
        return ask(user_context=form("What is it about?"))
    blocks = [text(" ".join([f"{name}:", *map(str, given.values())]))]
    if name == "test_prompt_with_image":
        blocks = [IMAGE, *blocks]
    if name == "test_prompt_with_embedded_resource":
        resource = {"uri": given["resourceUri"], "mimeType": "text/plain", "text": "embedded"}
        blocks = [{"type": "resource", "resource": resource}, *blocks]
    messages = [{"role": "user", "content": block} for block in blocks]
    return {"resultType": "complete", "messages": messages}


class Mounted:
    """The product's handlers with the fixtures before them: a name of theirs is theirs."""

    def __init__(self, service: http.Service) -> None:
        self._service = service
        server = service.server
        server.get_tool_input_schema = SCHEMAS.get
        self._product = {method: server.get_request_handler(method) for method in METHODS}
        for method, name in METHODS.items():
            server.add_request_handler(method, RequestParams, getattr(self, name))
        for method, kind in SILENT.items():
            server.add_request_handler(method, kind, nothing)

    async def real(self, ctx: Context) -> Any:
        entry = self._product[ctx.method]
        assert entry is not None
        return await entry.handler(ctx, entry.params_type())

    async def lists(self, ctx: Context, _: RequestParams) -> Json:
        key, fixtures = LISTS[ctx.method]
        real = await self.real(ctx)
        return {**real, key: [*real[key], *fixtures]}

    async def call(self, ctx: Context, _: RequestParams) -> Any:
        params = dict(ctx.params or {})
        name, given = params["name"], params.get("arguments") or {}
        if name in EVENTS:
            for _, bus in list(self._service.streams.values()):
                await bus.publish(EVENTS[name])
            return said("told")
        return await (TOOLS[name](ctx, given) if name in TOOLS else self.real(ctx))

    async def read(self, ctx: Context, _: RequestParams) -> Any:
        uri = (ctx.params or {})["uri"]
        if uri.startswith("test://template/"):
            found = {"mimeType": "application/json", "text": f'{{"uri": "{uri}"}}'}
        else:
            found = RESOURCES.get(uri, {})
        if not found:
            return await self.real(ctx)
        kept = {"resultType": "complete", "ttlMs": 0, "cacheScope": "private"}
        return {**kept, "contents": [{"uri": uri, **found}]}

    async def get(self, ctx: Context, _: RequestParams) -> Any:
        params = dict(ctx.params or {})
        if params["name"] in PROMPTS:
            return prompt(ctx, params["name"], params.get("arguments") or {})
        return await self.real(ctx)

    async def complete(self, ctx: Context, _: RequestParams) -> Any:
        if (ctx.params or {})["ref"].get("name") in PROMPTS:
            return {"resultType": "complete", "completion": {"values": [], "hasMore": False}}
        return await self.real(ctx)


async def nothing(_ctx: Context, _params: RequestParams) -> EmptyResult:
    return EmptyResult()


EVENTS: Json = {
    "test_trigger_tool_change": ToolsListChanged(),
    "test_trigger_prompt_change": PromptsListChanged(),
}
LISTS: dict[str, tuple[str, list[Json]]] = {
    "tools/list": ("tools", tool_definitions()),
    "prompts/list": ("prompts", prompt_definitions()),
    "resources/list": (
        "resources",
        [{"uri": uri, "name": uri, "mimeType": it["mimeType"]} for uri, it in RESOURCES.items()],
    ),
    "resources/templates/list": (
        "resourceTemplates",
        [{"uriTemplate": TEMPLATE, "name": "template", "mimeType": "application/json"}],
    ),
}
METHODS = dict.fromkeys(LISTS, "lists") | {
    "tools/call": "call",
    "resources/read": "read",
    "prompts/get": "get",
    "completion/complete": "complete",
}
SILENT: dict[str, type[RequestParams]] = {
    "logging/setLevel": SetLevelRequestParams,
    "resources/subscribe": SubscribeRequestParams,
    "resources/unsubscribe": UnsubscribeRequestParams,
}


class Open(http.Service):
    """Lets everybody in, by the first token: the suite cannot send one."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            bearer = b"authorization", f"Bearer {self._tokens.get(FIRST).secret}".encode()
            scope = {**scope, "headers": [bearer, *scope["headers"]]}
        await super().__call__(scope, receive, send)


def main() -> None:
    """Serves the palace in a folder: `with` the fixtures, `bare`, or with `toys` only."""
    folder, what = sys.argv[1:]
    with Palace.open(folder) as palace:
        tokens = Tokens(Path(folder))
        tokens.ensure()
        offered = toy.registry() if what == "toys" else tools.registry()
        service = Open(offered, offered, palace, tokens, {"127.0.0.1", "localhost"})
        if what == "with":
            Mounted(service)
        listener = http.listening("127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.getsockname()[1]}{http.PATH}"
        http.serve(service, listener, ready=lambda: print(url, flush=True))  # noqa: T201


if __name__ == "__main__":
    main()
