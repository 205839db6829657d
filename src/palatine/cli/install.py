"""`palatine install`: connects the palace to the programs that agents live in."""

from __future__ import annotations

import difflib
import json
import shlex
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Timer

import click

from palatine import config as settings
from palatine.cli.clients import (
    CLIENTS,
    ENTRY,
    HOOKED,
    HOOKS,
    Config,
    hook_command,
    installed,
    server_command,
    with_hook,
)
from palatine.cli.demo_agents import CallError, Server
from palatine.cli.options import Invocation, palace_class, reading
from palatine.cli.output import give, hint, say, table
from palatine.errors import NotFoundError, PalatineError

_PROBE = "Palatine's self-check wrote this text and found it again."
_CHECK_SECONDS = 30


@click.command("install", short_help="Connect an MCP client to the palace.")
@click.argument("client", required=False, type=click.Choice(list(CLIENTS)))
@click.option("--list", "listing", is_flag=True, help="Show which clients are on this machine.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@click.option("--remove", is_flag=True, help="Take the entry, or the hooks, out again.")
@click.option("--hooks", is_flag=True, help="The hooks instead of the server: brief, recall, save.")
@click.option(
    "--replace-mempalace",
    is_flag=True,
    help="Give MemPalace's entries, under their names, a server that answers its tools.",
)
@reading
def install_command(
    run: Invocation,
    client: str | None,
    listing: bool,
    dry_run: bool,
    remove: bool,
    hooks: bool,
    replace_mempalace: bool,
) -> int:
    """Puts the palace into a client's list of MCP servers, then checks that it works.

    With --hooks (Claude Code and Codex) it puts Palatine among the client's hooks: sessions begin
    with a briefing, prompts recall what matters to them, and conversations file themselves.

    Shows what it changes, touches no other entry, and keeps the file as it was beside it
    (.before-palatine). Again is no change. The check starts the server as the client would, on a
    palace that is thrown away. With --palace the client gets that palace, else your own.

    \b
      palatine install --list
      palatine install claude-code
      palatine install claude-code --hooks
      palatine install codex --palace ~/work/memory --dry-run
    """  # noqa: D301 (the mark tells click not to wrap)
    if listing or client is None:
        _list(run)
        return 0
    if hooks and (client not in HOOKED or replace_mempalace):
        raise click.UsageError(f"--hooks is for {' and '.join(HOOKED)}, and stands alone")
    config = Config((HOOKED if hooks else CLIENTS)[client])
    palace = run.palace and run.folder
    if hooks:
        _hook(config, palace, remove=remove)
    elif remove:
        _leave(config)
    else:
        words = server_command(palace, compat=replace_mempalace)
        _enter(config, words, replace_mempalace=replace_mempalace)
    changed = _write(config, dry_run=dry_run)
    seen = []
    if not (remove or dry_run):
        seen = check_hooks(client) if hooks else self_check(compat=replace_mempalace)
    if run.json:
        give({"file": str(config.path), "changed": changed, "written": changed and not dry_run})
    elif seen:
        for line in seen:
            say(line)
        say(f"restart {config.client.title}, or start a new session in it, to use the palace")
    return 0


def _list(run: Invocation) -> None:
    rows = []
    for name, client in CLIENTS.items():
        has, hooked = False, ""
        with suppress(PalatineError, OSError):
            has = ENTRY in Config(client).servers
        with suppress(PalatineError, OSError):
            hooked = "hooks" if name in HOOKED and _is_hooked(Config(HOOKED[name])) else ""
        state = "connected" if has else "found" if installed(client) else "not found"
        rows.append((name, client.title, state, client.path, hooked))
    names = ("client", "title", "state", "file", "hooks")
    if run.json:
        give([dict(zip(names, map(str, row), strict=True)) for row in rows])
        return
    table(names, rows)
    hint("palatine install CLIENT connects one")


def _is_hooked(config: Config) -> bool:
    return any(with_hook(groups, None) != groups for groups in config.servers.values())


def _hook(config: Config, palace: str | None, *, remove: bool) -> None:
    """Sets our hooks, or takes them out; others stay as they are."""
    if remove and not _is_hooked(config):
        raise NotFoundError(f"{config.path} has no hook of Palatine; nothing was written")
    for event, seconds in HOOKS.items():
        command = shlex.join(hook_command(event, palace))
        ours = {"type": "command", "command": command, "timeout": seconds}
        groups = with_hook(config.servers.get(event, []), None if remove else ours)
        if groups:
            config.servers[event] = groups
        else:
            config.servers.pop(event, None)


def _leave(config: Config) -> None:
    if ENTRY not in config.servers:
        raise NotFoundError(f"{config.path} has no server {ENTRY!r}; nothing was written")
    del config.servers[ENTRY]


def _enter(config: Config, words: Sequence[str], *, replace_mempalace: bool) -> None:
    """Sets the entry; MemPalace's keep their names and all but what starts the server."""
    entry = config.client.entry(words)
    if not replace_mempalace:
        config.servers[ENTRY] = {**config.entry(ENTRY), **entry}
        return
    names = config.of_mempalace()
    if not names:
        raise NotFoundError(f"{config.path} has no server of MemPalace; nothing was written")
    for name in names:
        config.servers[name] = {**config.entry(name), **entry}


def _write(config: Config, *, dry_run: bool) -> bool:
    """Shows the difference and writes it; returns whether there is one."""
    before, after = config.before, config.after
    difference = list(
        difflib.unified_diff(
            before.splitlines(), after.splitlines(), str(config.path), "after", lineterm="", n=2
        )
    )
    if not difference:
        hint(f"{config.path} needs no change")
        return False
    for line in difference:
        hint(line)
    if dry_run:
        hint("dry run: nothing was written")
    elif kept := config.save():
        hint(f"written; as it was: {kept}")
    return True


def self_check(*, compat: bool) -> list[str]:
    """Starts the server as a client would, on a palace to throw away; says what it saw.

    Raises:
        PalatineError: it did not answer, or not what it should.
    """
    probe = {"wing": "check", "room": "check", "content" if compat else "text": _PROBE}
    prefix = "mempalace_" if compat else ""
    with tempfile.TemporaryDirectory(prefix="palatine-check-") as folder:
        command = server_command(str(Path(folder, "palace")), compat=compat)
        with Server(command, "palatine-install") as server:
            late = Timer(_CHECK_SECONDS, server.kill)
            late.start()
            try:
                known = server.greet()["serverInfo"]
                tools = server.ask("tools/list", {})["tools"]
                server.call(f"{prefix}add_drawer", **probe)
                found = server.call(f"{prefix}search", query="self-check wrote")
            except CallError as error:
                raise PalatineError(f"self-check: {error}") from error
            finally:
                late.cancel()
                server.kill()
    if _PROBE not in json.dumps(found):
        raise PalatineError(f"self-check: the server did not find what it wrote: {found}")
    return [
        f"checked: {known['name']} {known['version']} answers with {len(tools)} tools;"
        " in a palace to throw away it kept a text and found it again"
    ]


def check_hooks(client: str) -> list[str]:
    """Runs each hook once as the client would, on a palace to throw away; says what it saw.

    Raises:
        PalatineError: a hook did not do what it should.
    """
    codex = client == "codex"
    with tempfile.TemporaryDirectory(prefix="palatine-check-") as folder:
        transcript = Path(folder, "rollout-check.jsonl" if codex else "check.jsonl")
        transcript.write_text(
            "".join(f"{json.dumps(r)}\n" for r in HOOKED[client].exchange), "utf-8"
        )
        place = str(Path(folder, "palace"))
        given = {"session_id": "check", "cwd": folder, "transcript_path": str(transcript)}
        with palace_class().open(place, embedder="none") as palace:
            palace.add(_PROBE, pinned=True)
            for event in HOOKS:
                told = _told(hook_command(event, place), {**given, "hook_event_name": event})
                if event in ("SessionStart", "UserPromptSubmit") and _PROBE not in told:
                    raise PalatineError(f"self-check: {event} did not tell what the palace holds")
            drawers = palace.status().drawers
        settings.forget(place)
    if drawers != 2:  # the probe, and the one exchange
        raise PalatineError(
            f"self-check: {drawers - 1} drawers were filed of one exchange, see log"
        )
    seen = [
        "checked: SessionStart and UserPromptSubmit told what a palace to throw away holds;"
        " Stop, PreCompact and SessionEnd filed a conversation there, once"
    ]
    return seen + ["Codex runs a new hook once you trust it: /hooks in Codex"] * codex


def _told(command: Sequence[str], given: Mapping[str, object]) -> str:
    """What a hook prints, run as clients do: by a shell; it sees no setting of the user's."""
    mine = [name for name in settings.environment() if name.startswith("PALATINE_")]
    done = subprocess.run(
        shlex.join(command),
        shell=True,
        cwd=str(given["cwd"]),
        env={name: v for name, v in settings.environment().items() if name not in mine},
        input=json.dumps({**given, "prompt": _PROBE, "palatine_waits": True}).encode(),
        capture_output=True,
        timeout=_CHECK_SECONDS,
        check=False,
    )
    if done.returncode or done.stderr:
        raise PalatineError(f"self-check: {command} ended with {done.returncode}: {done.stderr!r}")
    return done.stdout.decode()
