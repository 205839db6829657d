"""A registry of toys, and a server for it: everything a handler can do, nothing a palace does."""

import os
import sys
import threading
from collections.abc import Callable
from typing import Any

from palatine import config
from palatine.errors import InputError
from palatine.mcp import stdio
from palatine.mcp.registry import Call, Registry, Tool

OBJECT = {"type": "object"}
NOTHING = {"type": "object", "additionalProperties": False}


class ToyPalace:
    """Says on standard error that it was opened and shut down, and can refuse to end."""

    def __init__(self, *, hangs: bool) -> None:
        self._hangs = hangs
        os.write(2, b"opened\n")

    def shutdown(self) -> None:
        os.write(2, b"shut down\n")
        if self._hangs:
            threading.Event().wait()


def taking(*required: str, **properties: object) -> dict[str, object]:
    return NOTHING | {"properties": properties, "required": list(required)}


def toy(
    name: str, handler: Callable[[Call, dict[str, Any]], Any], schema: Any = NOTHING, **meta: object
) -> Tool:
    definition = {
        "name": name,
        "title": name.title(),
        "description": f"The toy {name}.",
        "inputSchema": schema,
        "annotations": {"readOnlyHint": True, "openWorldHint": False},
        "outputSchema": OBJECT,
    }
    return Tool(definition | ({"_meta": meta} if meta else {}), handler)


class Toys:
    """The handlers: two of them wait for others."""

    def __init__(self) -> None:
        self.released = threading.Event()
        self.noticed = threading.Event()

    def wait(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"released": self.released.wait(60)}

    def release(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        self.released.set()
        return {}

    def until_cancelled(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        done = 0
        try:
            while not self.released.wait(0.01):
                call.progress(done := done + 1)
        finally:
            self.noticed.set()
        return {}

    def notices(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"noticed": self.noticed.wait(60)}

    def count(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        for done, message in ((0, None), (50, "half"), (50, "again"), (20, "back"), (100, None)):
            call.progress(done, 100, message)
        return {}

    def say(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        print("stray print")  # noqa: T201 (that is what this toy is for)
        os.write(1, b"stray write\n")
        return {"input": len(os.read(0, 100))}

    def fail(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        raise RuntimeError("the secret reason")

    def refuse(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        raise InputError("the wing is empty: name one")

    def who(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"agent": call.agent, "session": call.session}

    def open_it(self, call: Call, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"palace": id(call.palace())}


def registry() -> Registry:
    toys = Toys()
    text = {"type": "string"}
    tools = [
        toy("echo", lambda call, arguments: arguments, OBJECT, shown="verbatim"),
        toy("size", lambda call, arguments: {"chars": len(arguments["text"])}, taking(text=text)),
        toy("wait", toys.wait),
        toy("release", toys.release),
        toy("until_cancelled", toys.until_cancelled),
        toy("notices", toys.notices),
        toy("count", toys.count),
        toy("say", toys.say),
        toy("fail", toys.fail),
        toy("leave", lambda call, arguments: sys.exit(3)),
        toy("refuse", toys.refuse),
        toy("who", toys.who),
        toy("who_says", toys.who, taking(agent=text, session=text)),
        toy("open", toys.open_it),
        toy("surrogate", lambda call, arguments: {"text": "\ud800 ünï"}),
        toy("not_a_number", lambda call, arguments: {"x": float("nan")}),
        toy("not_an_object", lambda call, arguments: []),
        toy("limited", lambda call, a: a, taking("limit", limit={"type": "integer", "maximum": 9})),
    ]
    return Registry("toy", "Toy box", "0.0", "Toys to test with.", tools)


def main() -> None:
    tries = iter(range(1_000_000))

    def open_palace() -> Any:
        if "fails-once" in sys.argv and next(tries) == 0:
            raise InputError("the palace is not there yet")
        return ToyPalace(hangs="hangs" in sys.argv)

    stdio.serve(registry(), open_palace=open_palace, environment=config.environment())


if __name__ == "__main__":
    main()
