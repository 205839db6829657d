"""`palatine watch`: folders stay mined, and rules run."""

from __future__ import annotations

import json
import signal
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from palatine import config, hooks
from palatine.cli.mine import in_words
from palatine.cli.options import Invocation, needing_extra, writing
from palatine.cli.output import hint, one_line, say
from palatine.errors import InputError

if TYPE_CHECKING:
    from palatine.ingest.mine import Mined


@click.command("watch", short_help="Keep folders mined, and run rules on changes.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@click.option("--wing", default="", help="Where all goes; else the project's name.")
@click.option("--room", default="", help="The topic of all; else the folder's name.")
@click.option(
    "--rules", default="", help="The file of rules; else palatine.toml beside your settings."
)
@click.option("--verbatim", is_flag=True, help="Do not mask keys, tokens and passwords.")
@click.option("--no-embed", is_flag=True, help="Leave search by meaning to others.")
@writing
def watch_command(
    run: Invocation, paths: tuple[Path, ...], wing: str, rules: str, no_embed: bool, **how: Any
) -> int:
    """Files what is new in folders and transcripts, at once and whenever they change.

    Reads what mine reads, and deletes nothing. Start it as often as you like: one of them does the
    work, and when it ends, however that is, another goes on. Runs the rules, too: your commands
    for changes of the palace. Ends with 0 on Ctrl-C or SIGTERM; faults stand in watch.log.

    \b
      palatine watch ~/.claude/projects ~/notes
    """  # noqa: D301 (the mark tells click not to wrap)
    with needing_extra("watch"):
        from palatine.ingest.mine import Options  # noqa: PLC0415 (help needs no SQLite)
        from palatine.rules import Runner  # noqa: PLC0415
        from palatine.watch import Watch  # noqa: PLC0415 (an extra)
    log = hooks.open_log("watch")

    def report(done: Mined) -> None:
        if run.json:
            click.echo(json.dumps(asdict(done)))
            return
        say(in_words(done))
        for problem in done.problems:
            warn(one_line(f"not read: {problem.path}: {problem.reason}"))

    def warn(news: str) -> None:
        hint(news)
        log.warning("%s", news)

    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with (
        suppress(KeyboardInterrupt),
        run.open(create=True, whole=bool(wing), background=True) as palace,
    ):
        path = rules or config.rules_file()
        if rules and not Path(rules).is_file():
            raise InputError(f"{rules}: there is no such file")
        runner = Runner(palace, run.folder, path, warn=warn)
        if not (paths or runner.rules):
            raise InputError(f"there is nothing to do: give a path, or a rule in {path}")
        options = Options(wing=wing or run.scope, **how)
        work = Watch(
            palace, paths, runner, options=options, embed=not no_embed, report=report, warn=warn
        )
        work.run()
    return 0
