"""The smallest honest MCP server: the floor under every start-up and latency figure.

It answers `initialize`, `ping`, `tools/list` and one tool that does nothing, and ends with its
input. Run it like `palatine mcp`, with the same interpreter.
"""

import json
import sys

TOOL = {
    "name": "nothing",
    "description": "Does nothing.",
    "inputSchema": {"type": "object", "additionalProperties": False},
}


def answer(message: dict) -> dict:
    """Answers one request."""
    match message["method"]:
        case "initialize":
            result = {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "floor", "version": "1"},
            }
        case "tools/list":
            result = {"tools": [TOOL]}
        case "tools/call":
            result = {"content": [], "isError": False}
        case "ping":
            result = {}
        case method:
            error = {"code": -32601, "message": "Method not found", "data": method}
            return {"jsonrpc": "2.0", "id": message["id"], "error": error}
    return {"jsonrpc": "2.0", "id": message["id"], "result": result}


for line in sys.stdin.buffer:
    if "id" in (request := json.loads(line)):
        sys.stdout.buffer.write(json.dumps(answer(request)).encode() + b"\n")
        sys.stdout.buffer.flush()
