"""Where clients keep their servers and hooks, and how an entry gets into such a file and out again.

A client's file is somebody's work: an edit changes one entry where it stands, comments and all
else kept, and replaces the file whole, with the old one beside it. What cannot be parsed is left
alone.
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
from palatine.cli import jsonc
from palatine.errors import ConflictError, InputError

ENTRY = "palatine"
_BACKUP = ".before-palatine"
_OUR_HOOK = re.compile(r"palatine(?:\.exe)?[\"']? hook \w")
_MEMPALACE = re.compile(r"mempalace(?!.*[/\\])|.*[/\\]mempalace[/\\]mcp_server\.py$")


@dataclass(frozen=True, slots=True)
class Client:
    """A program that starts MCP servers.

    Attributes:
        title: its name for people.
        program: what is on the PATH where it is installed; empty: look for its folder only.
        file: its user-wide file of servers, below the home folder.
        servers: the table in that file.
        more: what its entries hold beside the command.
        home: the variable that names another folder for its files.
        exchange: one, as its transcripts have it, to try its hooks with.
    """

    title: str
    program: str
    file: Mapping[str, str]
    servers: str = "mcpServers"
    more: Mapping[str, object] | None = None
    home: str = ""
    exchange: Sequence[Mapping[str, object]] = ()

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


_KNOWN = json.loads(Path(__file__).with_name("clients.json").read_text("utf-8"))
CLIENTS: Mapping[str, Client] = {name: Client(**said) for name, said in _KNOWN["clients"].items()}
"""By the name that `palatine install` takes."""
HOOKED: Mapping[str, Client] = {name: Client(**said) for name, said in _KNOWN["hooked"].items()}
"""The clients that have hooks, and where: a list for each event."""
HOOKS: Mapping[str, int] = _KNOWN["events"]
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


def _starts_mempalace(entry: Any) -> bool:
    """Whether a command starts MemPalace: a folder of that name may be another server's."""
    given = [entry.get("command"), entry.get("args")] if isinstance(entry, Mapping) else []
    words = [str(word) for part in given for word in (part if isinstance(part, list) else [part])]
    words[:1] = [re.split(r"[/\\]", word)[-1] for word in words[:1]]
    return any(_MEMPALACE.match(word) for word in words)


class Config:
    """One client's file, read; changed in memory; written by `save` if nobody changed it since."""

    def __init__(self, client: Client) -> None:
        """Reads the file.

        Raises:
            InputError: it cannot be parsed, or holds something else where servers belong.
        """
        self.client = client
        # Where the file is a link (dotfiles in a repository) the file itself is edited.
        self.path = Path(os.path.realpath(client.path))  # also where links go in a circle
        self._before = self.path.read_bytes() if self.path.exists() else b""
        try:
            self._tree = self._parsed(self._before.decode())
        except ValueError as error:
            raise InputError(
                f"{self.path}: this is not {self.path.suffix[1:].upper()} ({error}); nothing"
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
        """What `save` would write; a table that got empty is not in it.

        Raises:
            InputError: a name stands twice in the file where one entry is to be changed.
        """
        if self.path.suffix == ".toml":
            import tomlkit  # noqa: PLC0415 (for the one client whose file is TOML)

            if not self.servers:
                self._tree.pop(self.client.servers, None)
            return tomlkit.dumps(self._tree)
        text, table = self.before, self.client.servers
        try:
            for name in jsonc.parse(text).get(table, {}).keys() - self.servers.keys():
                text = jsonc.drop(text, (table, name))
            for name, entry in self.servers.items():
                text = jsonc.put(text, (table, name), entry)
        except ValueError as error:
            raise InputError(f"{self.path}: {error}; nothing was written") from error
        return text

    def entry(self, name: str) -> Mapping[str, Any]:
        """The entry of this name, an empty one where there is none.

        Raises:
            InputError: what stands there is no table.
        """
        entry = self.servers.get(name, {})
        if not isinstance(entry, Mapping):
            raise InputError(f"{self.path}: {name!r} is no table; nothing was written")
        return entry

    def of_mempalace(self) -> list[str]:
        """The entries that start MemPalace, or our server in its place."""
        return [name for name, entry in self.servers.items() if _starts_mempalace(entry)]

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
        tree = jsonc.parse(text)
        if not isinstance(tree, dict):
            raise ValueError("its root is no object")
        return tree
