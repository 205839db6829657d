"""Outside judges: the official conformance suite, and the Inspector.

Their packages lie below `.venv/node`, where `make test` puts them; Node.js comes from a wheel. The
suite runs against the product's HTTP server with the suite's fixtures beside the real registry,
against the bare product, and against the stdio server through a gateway. What the bare product
cannot show stands in a baseline, and a line of it that is no longer true fails, too.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from palatine.mcp import tools
from tests.server.http_client import Served, eventually

pytestmark = pytest.mark.network
HERE = Path(__file__).parent
NODE = HERE.parents[1] / ".venv" / "node"
MODULES = NODE / "node_modules"
SUITE = MODULES / "@modelcontextprotocol" / "conformance" / "dist" / "index.js"
INSPECTOR = MODULES / ".bin" / "mcp-inspector"
GATEWAY = MODULES / ".bin" / "supergateway"
REVISIONS = ("2025-11-25", "2026-07-28")
MCP = [sys.executable, "-m", "palatine", "mcp", "--palace"]
JUDGE_SECONDS = 300


def surroundings(home: Path) -> dict[str, str]:
    """The judges' environment: our Node.js, and a home of their own to write to."""
    assert (NODE / "bin" / "node").exists(), "the judges are missing: make .venv/judges"
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    path = os.pathsep.join((str(NODE / "bin"), os.environ["PATH"]))
    return kept | {"PATH": path, "HOME": str(home), "PALATINE_EMBEDDER": "none"}


def gateway(palace: Path, stack: ExitStack) -> str:
    """The address of a gateway with one stdio server for each session behind it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = ["node", GATEWAY, "--stdio", " ".join([*MCP, str(palace)]), "--port", str(port)]
    options = ["--outputTransport", "streamableHttp", "--stateful", "--logLevel", "none"]
    process = subprocess.Popen(
        [*command, *options],
        env=surroundings(palace.parent),
        stdout=subprocess.DEVNULL,
        start_new_session=True,  # its servers are in its group
    )
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, signal.SIGKILL)
    eventually(lambda: process.poll() is not None or answers(port))
    assert process.returncode is None, "the gateway has not started"
    return f"http://127.0.0.1:{port}/mcp"


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_the_conformance_suite_is_content(tmp_path: Path) -> None:
    """With each server for each revision, all at once: mostly the suite waits."""
    home = tmp_path
    bare = home / "bare.yml", (HERE / "conformance-bare.yml").read_text("utf-8")
    own = (HERE / "conformance-gateway.yml").read_text("utf-8")
    through = home / "through.yml", bare[1] + own
    for path, text in (bare, through):
        path.write_text(text, "utf-8")
    fixtures = ("-m", "tests.server.fixtures")
    with ExitStack() as stack:
        urls: dict[str, tuple[str, list[object]]] = {}
        for kind, baseline in (("with", []), ("bare", ["--expected-failures", bare[0]])):
            served = Served(home / kind, home / kind, kind, command=fixtures)
            stack.enter_context(served)
            urls[kind] = served.url, baseline
        told = ["--expected-failures", through[0]]
        urls["stdio"] = gateway(home / "stdio", stack), told
        running = {}
        for (kind, (url, more)), revision in ((u, r) for u in urls.items() for r in REVISIONS):
            out = home / f"{kind}-{revision}"
            command = ["node", SUITE, "server", "--url", url, "--requirements", revision]
            running[kind, revision] = subprocess.Popen(
                [*command, "-o", out, *more],
                env=surroundings(home),
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        said = {
            key: process.communicate(timeout=JUDGE_SECONDS)[0] for key, process in running.items()
        }
    for key, text in said.items():
        summary = text[text.find("=== SUMMARY") :]
        assert running[key].returncode == 0, (key, summary or text)
        assert "server-sse-multiple-streams: " in summary


def inspect(home: Path, *arguments: object) -> dict[str, Any]:
    command = ["node", INSPECTOR, "--cli", "--format", "json", "-q", *arguments]
    ended = subprocess.run(
        command,
        env=surroundings(home),
        cwd=home,
        capture_output=True,
        text=True,
        timeout=JUDGE_SECONDS,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)["result"]
    return found


@pytest.mark.parametrize("era", ["legacy", "modern", "auto"])
@pytest.mark.parametrize("over", ["stdio", "http"])
def test_the_inspector_finds_no_fault_with_the_tools(over: str, era: str, tmp_path: Path) -> None:
    asked = ["--protocol-era", era, "--strict", "--method", "tools/list"]
    with ExitStack() as stack:
        target: list[object] = ["--", *MCP, tmp_path / "palace"]
        if over == "http":
            server = stack.enter_context(Served(tmp_path / "palace"))
            asked += ["--transport", "http", "--server-url", server.url]
            asked += ["--header", f"Authorization: Bearer {server.token()}"]
            target = []
        found = inspect(tmp_path, *asked, *target)
    assert [tool["name"] for tool in found["tools"]] == list(tools.registry().tools)
