"""The plugin folder: what Claude Code and Codex read of it, and that it says what is so.

Both accept it (`claude plugin validate --strict`, `codex plugin add`); their programs are of some
hundred MB each, so here its shape is held.
"""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from palatine import __version__
from palatine.cli.clients import HOOKS
from palatine.mcp import tools

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "plugin"
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
PAGES = sorted([*PLUGIN.glob("skills/*/SKILL.md"), *PLUGIN.glob("commands/*.md")])


def read(path: Path) -> Any:
    return json.loads(path.read_text("utf-8"))


def test_both_manifests_say_the_same_of_this_version() -> None:
    manifest = read(PLUGIN / ".claude-plugin" / "plugin.json")
    assert read(PLUGIN / ".codex-plugin" / "plugin.json") == manifest
    assert set(manifest) == {"name", "version", "description", "author", "license", "keywords"}
    assert manifest["version"] == __version__
    assert NAME.fullmatch(manifest["name"])


def test_the_marketplace_offers_the_plugin() -> None:
    market = read(ROOT / ".claude-plugin" / "marketplace.json")
    assert {"name", "owner", "plugins"} <= set(market)
    (offered,) = market["plugins"]
    assert offered["name"] == read(PLUGIN / ".claude-plugin" / "plugin.json")["name"]
    assert (ROOT / offered["source"]).resolve() == PLUGIN


def test_the_hooks_are_those_that_install_writes() -> None:
    found = read(PLUGIN / "hooks" / "hooks.json")
    assert set(found) == {"description", "hooks"}
    assert found["hooks"] == {
        event: [
            {
                "hooks": [
                    {"type": "command", "command": f"palatine hook {event}", "timeout": seconds}
                ]
            }
        ]
        for event, seconds in HOOKS.items()
    }


def test_the_server_is_the_one_on_the_path() -> None:
    server = {"command": "palatine", "args": ["mcp"]}
    assert read(PLUGIN / ".mcp.json") == {"mcpServers": {"palatine": server}}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name + page.stem)
def test_a_page_has_its_head_and_names_tools_that_there_are(page: Path) -> None:
    _, head, body = page.read_text("utf-8").split("---\n", 2)
    fields = dict(line.split(": ", 1) for line in head.splitlines())
    assert 20 < len(fields["description"]) < 1024
    if page.name == "SKILL.md":
        assert fields["name"] == page.parent.name
        assert NAME.fullmatch(fields["name"])
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)*)`", body)) - {"kind", "seq"}
    assert named
    assert named <= set(tools.registry().tools)
