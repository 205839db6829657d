"""`palatine mine`: files and transcripts become drawers."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from palatine import config
from palatine.cli import INTERRUPTED
from palatine.cli.options import Invocation, palace_option, writing
from palatine.cli.output import give, hint, progress, say, table
from palatine.errors import InputError

if TYPE_CHECKING:
    from palatine.ingest.mine import Mined

UNREAD = 6


@click.command("mine", short_help="File a folder of code, documents or transcripts.")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--wing", default="", help="Where all goes; else the project's name.")
@click.option("--room", default="", help="The topic of all; else the folder's name.")
@click.option("--root", default="", help="What sources are named by; else the project's name.")
@click.option("--prune", is_flag=True, help="Delete what was mined of files that are gone.")
@click.option("--verbatim", is_flag=True, help="Do not mask keys, tokens and passwords.")
@click.option("--facts", is_flag=True, help="Read notes for facts, too.")
@click.option("--no-embed", is_flag=True, help="Leave search by meaning to others.")
@writing
def mine_command(
    run: Invocation, paths: tuple[Path, ...], wing: str, no_embed: bool, **how: Any
) -> int:
    """Files folders and files; again, only what has changed since.

    Reads text, code, Markdown, transcripts of Claude Code, Codex, Gemini CLI, claude.ai and
    ChatGPT, and with 'palatine[documents]' PDF, office, EPUB and HTML files; leaves out what
    .gitignore and .palatineignore name, binary files, and files of secrets. Keys, tokens and
    passwords in texts are masked. --facts also reads the notes (Markdown, text; no conversations)
    for facts that they plainly state. Interrupt it at any moment: what is filed stays, and the next
    run goes on. Exit code 6 when a file could not be read.

    \b
      palatine mine ~/code/teashop
      palatine mine ~/.claude/projects --wing me
      palatine mine conversations.json --room chats
    """  # noqa: D301 (the mark tells click not to wrap)
    from palatine.ingest.mine import Options  # noqa: PLC0415 (the rules take 0.2 s to load)

    done: dict[Path, Mined] = {}
    for path in paths:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder; nothing was mined")
    try:
        with run.open(create=True, whole=bool(wing)) as palace:
            for path in paths:
                options = Options(wing=wing or run.scope, **how)
                with progress(f"mining {path.name}") as told:

                    def note(mined: Mined, total: int, path: Path = path, told: Any = told) -> None:
                        done[path] = mined
                        if told:
                            read = mined.files + mined.unchanged
                            told(read, total - read)

                    done[path] = palace.mine(path, options=options, progress=note)
            no_embed |= config.setting("embedder", palace=run.folder)[0] == "none"
            with progress("embedding") as told:
                embedded = None if no_embed else palace.embed(progress=told)
    except KeyboardInterrupt:
        filed = sum(each.added + each.changed for each in done.values())
        hint(f"interrupted: {filed} drawers were filed and stay; the next run goes on from there")
        return INTERRUPTED
    if run.json:
        mined = [asdict(each) for each in done.values()]
        give({"mined": mined, "embedded": embedded.stored if embedded else 0})
    else:
        for each in done.values():
            _show(each)
        if embedded:
            say(f"{embedded.stored} passages embedded")
    return UNREAD if any(each.problems for each in done.values()) else 0


def in_words(done: Mined) -> str:
    """What came of mining, in a line."""
    masked = ", ".join(f"{count} {kind}" for kind, count in done.masked.items())
    return (
        f"{done.root}: {done.files} files read, {done.unchanged} unchanged; drawers: {done.added}"
        f" added, {done.changed} changed, {done.removed} removed"
        + (f"; masked: {masked}" if masked else "")
    )


def _show(done: Mined) -> None:
    say(in_words(done))
    if done.facts and done.facts.read:
        read = done.facts
        say(f"{read.read} notes read: {read.added} facts added, {read.withdrawn} withdrawn")
    if done.gone and not done.removed:
        hint(f"{len(done.gone)} mined files are gone; --prune deletes what was mined of them")
    if done.problems:
        table(("file", "not read"), [(each.path, each.reason) for each in done.problems])


@click.command(
    "hook",
    short_help="Answer a hook of Claude Code or Codex.",
    context_settings={"ignore_unknown_options": True},
)
@click.argument("event", required=False)
@palace_option
def hook_command(event: str | None) -> None:
    """Answers EVENT, given as JSON on standard input; what to print is JSON, or nothing.

    SessionStart briefs the agent, UserPromptSubmit recalls, Stop, PreCompact and SessionEnd file
    what is new in the transcript. Ends with 0 whatever happens; faults stand in hooks.log.
    """
    raise click.UsageError("`hook` comes first: palatine hook EVENT --palace DIR")
