import json
import shlex
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palatine.cli import clients
from palatine.cli.clients import CLIENTS, HOOKED, HOOKS, Config
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


def test_comments_numbers_and_doubled_names_of_others_stay(run: Runs) -> None:
    path = CLIENTS["zed"].path
    path.parent.mkdir(parents=True)
    before = '// mine\n{\n  "ui_font_size": 16.10, // big\n  "x": 1,\n  "x": 1e400,\n}\n'
    path.write_text(before)
    run("install", "zed")
    after = path.read_text()
    ours = after[after.index('  "context_servers"') : -2]
    assert after.replace(ours, "") == before
    run("install", "zed", "--remove")
    assert path.read_text() == before


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("zed", '{\n  # mine\n  "theme": "x"\n}\n'),
        ("zed", '{"context_servers": {}, "context_servers": {}}'),
        ("codex", "[mcp_servers\n"),
        ("cursor", '{"mcpServers": []}'),
        ("cursor", "[]"),
        ("cursor", '{"mcpServers": {"palatine": "x"}}'),
        ("cursor", '{"mcpServers": {"palatine": null}}'),
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


@pytest.mark.parametrize(
    ("command", "ours"),
    [
        (["mempalace-mcp"], True),
        (["/opt/py/bin/mempalace"], True),
        (["python", "-m", "mempalace.mcp_server"], True),
        (["uvx", "--from", "mempalace==3.11", "mempalace-mcp"], True),
        (
            ["uv", "run", "--directory", "/x/mempalace", "python", "-m", "mempalace.mcp_server"],
            True,
        ),
        (["python", "/x/mempalace/mcp_server.py"], True),
        (["palatine", "mcp", "--compat", "mempalace"], True),
        (["server-filesystem", "/x/mempalace-notes"], False),
        (["/x/mempalace/bin/other", "--db", "/x/.mempalace/x"], False),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_only_what_starts_mempalace_is_replaced(run: Runs, command: list[str], ours: bool) -> None:
    path = CLIENTS["claude-code"].path
    entries = {
        "it": {"command": command[0], "args": command[1:]},
        "web": {"type": "http", "url": "http://127.0.0.1/mempalace"},
        "odd": "mempalace",
    }
    path.write_text(json.dumps({"mcpServers": entries}))
    said = run("install", "claude-code", "--replace-mempalace", "--dry-run", code=0 if ours else 1)
    assert ('"mcp"' in said.err) == ours


def test_a_date_in_an_entry_does_not_disturb(run: Runs) -> None:
    path = CLIENTS["codex"].path
    path.parent.mkdir()
    path.write_text('[mcp_servers.mem]\ncommand = "mempalace-mcp"\nsince = 2026-01-01\n')
    run("install", "codex", "--replace-mempalace")
    assert "since = 2026-01-01" in path.read_text()
    assert servers("codex")["mem"]["args"] == ["mcp", "--compat", "mempalace"]


def test_one_file_that_cannot_be_read_does_not_hide_the_others(run: Runs) -> None:
    CLIENTS["claude-code"].path.mkdir()
    CLIENTS["cursor"].path.parent.mkdir()
    CLIENTS["cursor"].path.symlink_to(CLIENTS["cursor"].path)
    run("install", "codex")
    states = {row["client"]: row["state"] for row in run("install", "--list", "--json").json}
    assert (states["codex"], states["claude-code"]) == ("connected", "found")
    assert "s a directory" in run("install", "claude-code", code=4).err


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


def hooks(name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(HOOKED[name].path.read_text())["hooks"]
    return found


@pytest.mark.parametrize("name", HOOKED)
def test_hooks_are_written_beside_those_that_are_there_and_taken_out_again(
    run: Runs, name: str, tmp_path: Path
) -> None:
    path = HOOKED[name].path
    path.parent.mkdir(parents=True)
    mine = {"matcher": "", "hooks": [{"type": "command", "command": "say done", "timeout": 1}]}
    before = json.dumps({"model": "x", "hooks": {"Stop": [mine], "PreToolUse": [mine]}}, indent=2)
    path.write_text(before + "\n")
    place = tmp_path / "a palace"
    told = run("install", name, "--hooks", "--palace", str(place))
    assert "filed a conversation there, once" in told.out
    assert ("/hooks" in told.out) == (name == "codex")
    found = hooks(name)
    assert set(found) == {*HOOKS, "PreToolUse"}
    assert found["Stop"][0] == found["PreToolUse"][0] == mine
    for event, seconds in HOOKS.items():
        (hook,) = found[event][-1]["hooks"]
        program, *words = shlex.split(hook["command"])
        assert Path(program).is_absolute()
        assert words == ["hook", event, "--palace", str(place)]
        assert hook["timeout"] == seconds
    assert json.loads(path.read_text())["model"] == "x"
    assert path.with_name(path.name + KEPT).read_text() == before + "\n"
    assert not place.exists()
    again = run("install", name, "--hooks", "--palace", str(place))
    assert "needs no change" in again.err
    run("install", name, "--hooks", "--remove")
    assert path.read_text() == before + "\n"
    assert "no hook of Palatine" in run("install", name, "--hooks", "--remove", code=1).err


def test_hooks_are_replaced_where_they_stand_and_leave_no_empty_table(run: Runs) -> None:
    path = HOOKED["claude-code"].path
    path.parent.mkdir(parents=True)
    old = {"type": "command", "command": "'/old venv/bin/palatine' hook Stop", "async": True}
    other = {"type": "command", "command": "say done"}
    path.write_text(json.dumps({"hooks": {"Stop": [{"hooks": [other, old, other, old]}]}}))
    run("install", "claude-code", "--hooks")
    (group,) = hooks("claude-code")["Stop"]
    first, ours, last = group["hooks"]
    assert first == last == other
    assert ours["async"]
    assert "old venv" not in ours["command"]
    run("install", "claude-code", "--hooks", "--remove")
    assert hooks("claude-code") == {"Stop": [{"hooks": [other, other]}]}
    path.write_text("{}")
    run("install", "claude-code", "--hooks")
    run("install", "claude-code", "--hooks", "--remove")
    assert json.loads(path.read_text()) == {}


def test_a_dry_run_of_hooks_writes_nothing_and_the_list_knows_them(run: Runs) -> None:
    assert "+" in run("install", "codex", "--hooks", "--dry-run").err
    assert not HOOKED["codex"].path.exists()
    run("install", "codex", "--hooks")
    listed = {row["client"]: row["hooks"] for row in run("install", "--list", "--json").json}
    assert listed == {name: "hooks" if name == "codex" else "" for name in CLIENTS}
    assert run("palaces", "--json").json == []


@pytest.mark.parametrize("found", ['{"Stop": 5}', '{"Stop": [{"matcher": ""}]}', '{"Stop": [[]]}'])
def test_hooks_that_are_no_hooks_are_left_alone(run: Runs, found: str) -> None:
    path = HOOKED["claude-code"].path
    path.parent.mkdir(parents=True)
    path.write_text(f'{{"hooks": {found}}}')
    assert "nothing was written" in run("install", "claude-code", "--hooks", code=2).err
    assert path.read_text() == f'{{"hooks": {found}}}'


def test_hooks_are_for_clients_that_have_them(run: Runs) -> None:
    assert "claude-code and codex" in run("install", "zed", "--hooks", code=2).err
    assert "stands alone" in run("install", "codex", "--hooks", "--replace-mempalace", code=2).err


def test_a_client_whose_files_lie_elsewhere_is_found_there(
    run: Runs, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CODEX_HOME", str(tmp_path / "codex"))
    run("install", "codex", "--hooks")
    assert (tmp_path / "codex" / "hooks.json").exists()


def test_a_hook_that_does_nothing_is_said_to(run: Runs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("palatine.cli.install.hook_command", lambda *_: ["true"])
    assert "self-check" in run("install", "codex", "--hooks", code=4).err
