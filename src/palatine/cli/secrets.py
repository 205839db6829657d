"""`palatine secrets`: where keys, tokens and passwords stand, and how to be rid of them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from palatine.cli.care import sure
from palatine.cli.options import Invocation, wing_option, writing
from palatine.cli.output import give, hint, on_terminal, progress, say, table
from palatine.errors import InputError

if TYPE_CHECKING:
    from palatine.secrets import Cure

LEFT = 5


@click.command("secrets", short_help="Find keys and passwords; mask or forget them.")
@click.option("--mask", is_flag=True, help="Put a mark in the place of each, for good.")
@click.option("--forget", is_flag=True, help="Forget the whole texts and facts that hold one.")
@wing_option(help="Only in this wing.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@writing
def secrets_command(run: Invocation, mask: bool, forget: bool, wing: str | None, yes: bool) -> int:
    """Lists where keys, tokens and passwords stand, by the rules of `mine`; never shows them.

    Looks at texts, earlier versions, what was deleted, facts, links, what is said of names, and
    the names of wings, rooms, agents and sessions.
    --mask leaves the rest of a text as it is and removes its earlier versions; a fact cannot be
    masked. No undo brings back what is masked or forgotten. Exit code 5 when secrets are left.

    \b
      palatine secrets
      palatine secrets --mask
    """  # noqa: D301 (the mark tells click not to wrap)
    if mask and forget:
        raise InputError("--mask and --forget exclude each other; give one of them")
    cure: Cure = "mask" if mask else "forget" if forget else ""
    with run.open() if cure else run.open_to_read() as palace:
        if cure and not yes:
            with progress("looking for secrets") as told:
                count = len(palace.secrets(progress=told).found)
            if count and not sure(yes, f"{cure} {count} secrets for good"):
                return 1
        with progress("looking for secrets") as told:
            seen = palace.secrets(cure, progress=told)
    shown = seen.left
    if run.json:
        give({"found": len(seen.found), "left": [asdict(each) for each in shown]})
        return LEFT if shown else 0
    rows = [tuple(asdict(each).values()) for each in shown]
    heads = ("secret", "in", "id", "part", "before", "line", "column", "wing", "room", "source")
    if rows:
        table(heads, rows)
    if cure and seen.found:
        say(f"{len(seen.found) - len(shown)} of {len(seen.found)} secrets are gone")
    if shown:
        more = "--forget forgets what cannot be masked" if mask else "--mask masks them"
        hint(f"places that hold secrets: {len(shown)}; palatine secrets {more}")
    elif on_terminal():
        say("no secret is known to be left")
    return LEFT if shown else 0
