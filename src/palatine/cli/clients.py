"""Where clients keep their servers and hooks, and how an entry gets into such a file and out again.

A client's file is somebody's work: an edit parses it, changes one entry, and replaces the file
whole, with the old one kept beside it. What cannot be parsed (JSON with comments) is left alone.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palatine import config
from palatine.errors import ConflictError, InputError

ENTRY = "palatine"
_BACKUP = ".before-palatine"
_OUR_HOOK = re.compile(r"palatine(?:\.exe)?[\"']? hook \w")
_INDENT = re.compile(r"^([ \t]+)\S", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Client:
    """A program that starts MCP servers.

    Attributes:
        title: its name for people.
        program: what is on the PATH where it is installed; empty: look for its folder only.
        file: its user-wide file of servers, below the home folder.
        servers: the table in that file.
        more: what its entries hold beside the command.
        seen: this file format was tried with the real client, not read in its documentation.
        home: the variable that names another folder for its files.
    """

    title: str
    program: str
    file: Mapping[str, str]
    servers: str = "mcpServers"
    more: Mapping[str, object] | None = None
    seen: bool = False
    home: str = ""

    @property
    def path(self) -> Path:
        """The file of servers on this system."""
        path = Path.home() / self.file.get(sys.platform, self.file["linux"])
        moved = config.environment().get(self.home)
        return Path(moved).expanduser() / path.name if moved else path

    def entry(self, words: Sequence[str]) -> dict[str, Any]:
        """The entry that starts this command; OpenCode alone wants it in one list."""
        if self.servers == "mcp":
            return {"type": "local", "command": list(words), "enabled": True}
        return {"command": words[0], "args": list(words[1:])} | dict(self.more or {})


def _everywhere(path: str) -> Mapping[str, str]:
    return {"linux": path}


_STDIO: Mapping[str, object] = {"type": "stdio"}
_CLAUDE_HOME, _CODEX_HOME = "CLAUDE_CONFIG_DIR", "CODEX_HOME"
CLIENTS: Mapping[str, Client] = {
    "claude-code": Client(
        "Claude Code",
        "claude",
        _everywhere(".claude.json"),
        more=_STDIO,
        seen=True,
        home=_CLAUDE_HOME,
    ),
    "claude-desktop": Client(
        "Claude Desktop",
        "",
        {
            "linux": ".config/Claude/claude_desktop_config.json",
            "darwin": "Library/Application Support/Claude/claude_desktop_config.json",
            "win32": "AppData/Roaming/Claude/claude_desktop_config.json",
        },
    ),
    "codex": Client(
        "Codex",
        "codex",
        _everywhere(".codex/config.toml"),
        "mcp_servers",
        {"startup_timeout_sec": 20},
        seen=True,
        home=_CODEX_HOME,
    ),
    "gemini": Client("Gemini CLI", "gemini", _everywhere(".gemini/settings.json")),
    "cursor": Client("Cursor", "cursor", _everywhere(".cursor/mcp.json")),
    "vscode": Client(
        "VS Code",
        "code",
        {
            "linux": ".config/Code/User/mcp.json",
            "darwin": "Library/Application Support/Code/User/mcp.json",
            "win32": "AppData/Roaming/Code/User/mcp.json",
        },
        "servers",
        _STDIO,
    ),
    "zed": Client(
        "Zed",
        "zed",
        {"linux": ".config/zed/settings.json", "win32": "AppData/Roaming/Zed/settings.json"},
        "context_servers",
    ),
    "opencode": Client(
        "OpenCode", "opencode", _everywhere(".config/opencode/opencode.json"), "mcp"
    ),
}
"""By the name that `palatine install` takes."""
HOOKED: Mapping[str, Client] = {
    "claude-code": Client(
        "Claude Code",
        "claude",
        _everywhere(".claude/settings.json"),
        "hooks",
        seen=True,
        home=_CLAUDE_HOME,
    ),
    "codex": Client(
        "Codex", "codex", _everywhere(".codex/hooks.json"), "hooks", seen=True, home=_CODEX_HOME
    ),
}
"""The clients that have hooks, and where: a list for each event."""
HOOKS: Mapping[str, int] = {
    "SessionStart": 10,
    "UserPromptSubmit": 5,
    "Stop": 10,
    "PreCompact": 10,
    "SessionEnd": 3,
}
"""The events that Palatine answers, and the seconds that a client lets it: Codex no more at the
end of a session."""


def installed(client: Client) -> bool:
    """Whether the client seems to be on this machine: its program, its file, or its own folder."""
    folder = client.path.parent
    own_folder = folder != Path.home() and folder.is_dir()
    on_path = bool(client.program) and shutil.which(client.program) is not None
    return own_folder or client.path.exists() or on_path


def server_command(palace: str | None, *, compat: bool = False) -> list[str]:
    """What starts a server."""
    more = ["--compat", "mempalace"] if compat else []
    return [*_program(), "mcp", *_where(palace), *more]


def hook_command(event: str, palace: str | None) -> list[str]:
    """What answers a hook."""
    return [*_program(), "hook", event, *_where(palace)]


def _program() -> list[str]:
    """By its whole path, because graphical clients know no PATH."""
    program = Path(sys.executable).with_name("palatine" + (".exe" if os.name == "nt" else ""))
    return [str(program)] if program.exists() else [sys.executable, "-P", "-m", "palatine"]


def _where(palace: str | None) -> list[str]:
    return ["--palace", str(Path(palace).expanduser().absolute())] if palace else []


def with_hook(groups: Any, ours: Mapping[str, object] | None) -> list[Mapping[str, Any]]:
    """An event's groups of hooks, with ours once: where it was, else last.

    Args:
        groups: as they stand in the file.
        ours: None: without it.

    Raises:
        InputError: they are no groups of hooks.
    """
    left = [ours] if ours else []
    kept: list[Mapping[str, Any]] = []
    try:
        for group in groups:
            hooks = []
            for hook in group["hooks"]:
                if not _OUR_HOOK.search(hook.get("command", "")):
                    hooks.append(hook)
                elif left:
                    hooks.append({**hook, **left.pop()})
            if hooks or not group["hooks"]:
                kept.append({**group, "hooks": hooks})
    except (LookupError, TypeError, AttributeError) as error:
        raise InputError(f"these are no hooks: {groups!r}; nothing was written") from error
    return kept + [{"hooks": [hook]} for hook in left]


class Config:
    """One client's file, read; changed in memory; written by `save` if nobody changed it since."""

    def __init__(self, client: Client) -> None:
        """Reads the file.

        Raises:
            InputError: it cannot be parsed, or holds something else where servers belong.
        """
        self.client = client
        # Where the file is a link (dotfiles in a repository) the file itself is edited.
        self.path = client.path.resolve()
        self._before = self.path.read_bytes() if self.path.exists() else b""
        try:
            self._tree = self._parsed(self._before.decode())
        except ValueError as error:
            raise InputError(
                f"{self.path}: this is not plain {self.path.suffix[1:].upper()} ({error}); nothing"
                f" was written. Add this entry by hand below {client.servers!r}:"
                f" {json.dumps({ENTRY: client.entry(server_command(None))})}"
            ) from error
        servers = self._tree.setdefault(client.servers, {})
        if not isinstance(servers, MutableMapping):
            raise InputError(
                f"{self.path}: {client.servers!r} is no table of servers; nothing was written"
            )
        self.servers = servers

    @property
    def before(self) -> str:
        """What stands in the file."""
        return self._before.decode()

    @property
    def after(self) -> str:
        """What `save` would write; a table that got empty is not in it."""
        if not self.servers:
            self._tree.pop(self.client.servers, None)
        if self.path.suffix == ".toml":
            import tomlkit  # noqa: PLC0415 (for the one client whose file is TOML)

            return tomlkit.dumps(self._tree)
        indent = _INDENT.search(self.before)
        space = indent[1] if indent else 2
        return json.dumps(self._tree, indent=space, ensure_ascii=False) + "\n"

    def named_for(self, word: str) -> list[str]:
        """The entries whose command has this word in it."""
        return [name for name, entry in self.servers.items() if word in json.dumps(entry)]

    def save(self) -> Path | None:
        """Writes the file, whole or not at all; returns where the old one is kept.

        Raises:
            ConflictError: somebody has changed the file since it was read.
        """
        text = self.after.encode()
        self.path.parent.mkdir(parents=True, exist_ok=True)
        kept = self.path.with_name(self.path.name + _BACKUP) if self._before else None
        mode = self.path.stat().st_mode & 0o777 if self._before else 0o600
        handle, name = tempfile.mkstemp(dir=self.path.parent, prefix=self.path.name)
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            Path(name).chmod(mode)
            if (self.path.read_bytes() if self.path.exists() else b"") != self._before:
                raise ConflictError(
                    f"{self.path} was changed by another program just now; nothing was written;"
                    " run the command again"
                )
            if kept:
                shutil.copy2(self.path, kept)
            Path(name).replace(self.path)
        finally:
            Path(name).unlink(missing_ok=True)
        return kept

    def _parsed(self, text: str) -> MutableMapping[str, Any]:
        if self.path.suffix == ".toml":
            import tomlkit  # noqa: PLC0415 (see above)

            return tomlkit.parse(text)
        tree = json.loads(text or "{}")
        if not isinstance(tree, dict):
            raise ValueError("its root is no object")
        return tree
