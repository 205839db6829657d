import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palatine.cli import clients
from palatine.cli.clients import CLIENTS, Config
from palatine.errors import ConflictError
from tests.cli.conftest import Run

Runs = Callable[..., Run]
KEPT = ".before-palatine"


def servers(name: str) -> dict[str, Any]:
    client = CLIENTS[name]
    text = client.path.read_text()
    tree = tomllib.loads(text) if client.path.suffix == ".toml" else json.loads(text)
    found: dict[str, Any] = tree[client.servers]
    return found


@pytest.mark.parametrize("name", CLIENTS)
def test_each_client_gets_a_server_that_starts_and_keeps_a_text(run: Runs, name: str) -> None:
    assert "it kept a text and found it again" in run("install", name).out
    entry = servers(name)["palatine"]
    words = entry["command"]
    words = words if isinstance(words, list) else [words, *entry["args"]]
    assert words == clients.server_command(None)
    assert Path(words[0]).is_absolute()


@pytest.mark.parametrize("name", CLIENTS)
def test_what_else_stands_in_the_file_stays_and_again_is_no_change(run: Runs, name: str) -> None:
    client = CLIENTS[name]
    client.path.parent.mkdir(parents=True, exist_ok=True)
    if client.path.suffix == ".toml":
        mine = '# mine\nmodel = "x"\n\n[mcp_servers.other]\ncommand = "y"  # keep\n'
    else:
        other = {"zoë": 1, client.servers: {"other": {"command": "y", "args": []}}}
        mine = json.dumps(other, indent=4, ensure_ascii=False) + "\n"
    client.path.write_text(mine)
    client.path.chmod(0o640)
    run("install", name, "--palace", "/tmp/elsewhere")
    once = client.path.read_text()
    assert "/tmp/elsewhere" in once
    assert servers(name)["other"]["command"] == "y"
    assert client.path.stat().st_mode & 0o777 == 0o640
    assert client.path.with_name(client.path.name + KEPT).read_text() == mine
    assert "needs no change" in run("install", name, "--palace", "/tmp/elsewhere").err
    assert client.path.read_text() == once
    run("install", name, "--remove")
    assert client.path.read_text().strip() == mine.strip()
    assert "nothing was written" in run("install", name, "--remove", code=1).err


def test_a_dry_run_shows_the_difference_and_writes_nothing(run: Runs) -> None:
    shown = run("install", "codex", "--dry-run")
    assert "+[mcp_servers.palatine]" in shown.err
    assert "nothing was written" in shown.err
    assert not CLIENTS["codex"].path.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("zed", '{\n  // mine\n  "theme": "x"\n}\n'),
        ("codex", "[mcp_servers\n"),
        ("cursor", '{"mcpServers": []}'),
        ("cursor", "[]"),
        ("gemini", "\udcff"),
    ],
)
def test_a_file_that_cannot_be_parsed_is_left_alone(run: Runs, name: str, text: str) -> None:
    path = CLIENTS[name].path
    path.parent.mkdir(parents=True)
    path.write_bytes(before := text.encode("utf-8", "surrogateescape"))
    refused = run("install", name, code=2).err
    assert str(path) in refused
    assert "nothing was written" in refused
    assert path.read_bytes() == before
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_a_file_that_its_client_changed_meanwhile_is_not_overwritten(run: Runs) -> None:
    path = CLIENTS["claude-code"].path
    path.write_text("{}")
    config = Config(CLIENTS["claude-code"])
    config.servers["palatine"] = {}
    path.write_text('{"newer": true}')
    with pytest.raises(ConflictError, match="run the command again"):
        config.save()
    assert path.read_text() == '{"newer": true}'
    assert "palatine" in run("install", "claude-code").err
    assert json.loads(path.read_text())["newer"] is True


def test_a_linked_file_is_edited_where_it_lies(run: Runs, tmp_path: Path) -> None:
    dotfiles = tmp_path / "dotfiles.json"
    dotfiles.write_text("{}")
    link = CLIENTS["claude-code"].path
    link.symlink_to(dotfiles)
    run("install", "claude-code")
    assert link.is_symlink()
    assert "palatine" in json.loads(dotfiles.read_text())["mcpServers"]


def test_a_server_of_mempalace_keeps_its_name_and_gets_ours_that_answers_its_tools(
    run: Runs,
) -> None:
    path = CLIENTS["claude-code"].path
    old = {"command": "python", "args": ["-m", "mempalace.mcp_server"], "env": {"A": "b"}}
    path.write_text(json.dumps({"mcpServers": {"memory": old, "other": {"command": "y"}}}))
    assert "it kept a text" in run("install", "claude-code", "--replace-mempalace").out
    found = servers("claude-code")
    assert found["memory"]["args"] == ["mcp", "--compat", "mempalace"]
    assert found["memory"]["env"] == {"A": "b"}
    assert found["other"] == {"command": "y"}
    assert set(found) == {"memory", "other"}
    assert "no server of MemPalace" in run("install", "cursor", "--replace-mempalace", code=1).err


def test_the_list_says_which_clients_are_here(run: Runs) -> None:
    (Path.home() / ".gemini").mkdir()
    run("install", "codex")
    states = {row["client"]: row["state"] for row in run("install", "--list", "--json").json}
    assert set(states) == set(CLIENTS)
    assert states["codex"] == "connected"
    assert states["gemini"] == "found"
    assert states["opencode"] == "not found"
    assert "\tconnected\t" in run("install").out


def test_a_server_that_does_not_start_is_said_to(
    run: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "palatine.cli.install.server_command", lambda *_, **__: ["/bin/false", "mcp"]
    )
    assert "self-check" in run("install", "codex", code=4).err
