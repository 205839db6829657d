"""The command that shows what an agent is told at the start of a session."""

from __future__ import annotations

import click

from palatine import config
from palatine.cli.options import Invocation, reading, wing_option
from palatine.cli.output import give, say
from palatine.mcp import answers


@click.command("wakeup", short_help="Show what to know at the start of a session.")
@wing_option(help="Only about this wing; else the whole palace.")
@click.option("--agent", metavar="NAME", help="Who wakes up; else as who you write.")
@click.option("--budget", type=int, default=1500, help="Most tokens, 200 to 100000; else 1500.")
@reading
def wakeup_command(run: Invocation, wing: str | None, agent: str | None, budget: int) -> None:
    """Shows what an agent should know at the start of a session, as Markdown.

    Who and what this is about, pinned texts, current facts, open questions, decisions, what others
    did since the agent's own last change, and what was filed last. A token is counted as four
    bytes.

    \b
      palatine wakeup --wing shop --budget 800
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open_to_read() as palace:
        told = palace.wake_up(wing=wing, agent=agent or config.author()[0], budget_tokens=budget)
    if run.json:
        give(answers.briefing(told))
    else:
        say(told.text)
