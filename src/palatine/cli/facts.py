"""The `kg` commands: facts, what they are now, what they were, and what was believed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from palatine.beliefs import describe
from palatine.cli.options import (
    Invocation,
    palace_option,
    reading,
    session_option,
    writing,
)
from palatine.cli.output import give, hint, on_terminal, say, table
from palatine.mcp import answers
from palatine.types import Fact

_TIME = "TIME"
_WING = click.option("--wing", metavar="NAME", help="Only facts of this wing.")


@click.group("kg")
@palace_option
def kg_command() -> None:
    """Facts: subject, predicate, object, and when they are true.

    \b
      palatine kg add Max works_at Acme --from 2024-03
      palatine kg supersede Max works_at Acme Initech --at 2025-02
      palatine kg show Max --as-of 2024-06
    """  # noqa: D301 (the mark tells click not to wrap)


@kg_command.command("add", short_help="Add a fact.")
@click.argument("subject")
@click.argument("predicate")
@click.argument("object")
@click.option("--from", "valid_from", metavar=_TIME, help="True since: 2025, 2025-03, ...")
@click.option("--to", "valid_to", metavar=_TIME, help="True through; else still true.")
@click.option("--wing", metavar="NAME", default="", help="The wing that it belongs to, if any.")
@click.option("--confidence", type=float, default=1.0, help="0 to 1; else 1.")
@click.option("--source", metavar="FILE", default="", help="Where it was read.")
@click.option("--drawer", metavar="ID", default="", help="The drawer that says so.")
@writing
@session_option
def _add(run: Invocation, **fact: Any) -> None:
    """Adds a fact. The same fact again is one; what seems to contradict it is reported."""
    with run.open(create=True) as palace:
        added = palace.knowledge.add(**fact)
    if run.json:
        give(answers.fact_added(added))
        return
    _show_outcome("added" if added.created else "known already", added.fact, added.seq)
    if added.differs:
        hint(f"it differs from what you gave: {added.differs}")
    for other in added.conflicts:
        hint(f"beside it stands: {describe(other)}; to replace that: palatine kg supersede")


@kg_command.command("end", short_help="End a fact that is no longer true.")
@click.argument("subject")
@click.argument("predicate")
@click.argument("object")
@click.option("--at", "ended", metavar=_TIME, help="True through this; else now.")
@_WING
@writing
@session_option
def _end(run: Invocation, **names: Any) -> None:
    """Ends a fact; it stays on record for --as-of."""
    with run.open() as palace:
        changed = palace.knowledge.end(**names)
    if run.json:
        give(answers.fact_changed(changed))
    else:
        _show_outcome("ended" if changed.changed else "ended already", changed.fact, changed.seq)


@kg_command.command("supersede", short_help="Replace a fact by its successor.")
@click.argument("subject")
@click.argument("predicate")
@click.argument("old")
@click.argument("new")
@click.option("--at", metavar=_TIME, help="From when; else now.")
@click.option("--confidence", type=float, default=1.0, help="Of the new fact, 0 to 1; else 1.")
@click.option("--source", metavar="FILE", default="", help="Where the new fact was read.")
@_WING
@writing
@session_option
def _supersede(run: Invocation, **names: Any) -> None:
    """Ends OLD and begins NEW in one step; of two who do it at once, one wins."""
    with run.open() as palace:
        done = palace.knowledge.supersede(**names)
    if run.json:
        give(answers.superseded(done))
    else:
        _show_outcome("holds now" if done.created else "known already", done.fact, done.seq)


@kg_command.command("delete", short_help="Stop believing a fact altogether.")
@click.argument("fact_id", metavar="ID")
@writing
@session_option
def _delete(run: Invocation, fact_id: str) -> None:
    """Stops believing a fact, as if it had never been true; --known-at still shows it."""
    with run.open() as palace:
        deleted = palace.knowledge.delete(fact_id)
    if run.json:
        give(answers.fact_changed(deleted))
    else:
        _show_outcome("no longer believed", deleted.fact, deleted.seq)


@kg_command.command("show", short_help="Show what is known of a name.")
@click.argument("name")
@click.option("--as-of", metavar=_TIME, help="What was true then, instead of now.")
@click.option("--known-at", metavar=_TIME, help="What was believed then.")
@click.option("--all", "everything", is_flag=True, help="Also what is past or to come.")
@click.option(
    "--direction",
    type=click.Choice(["both", "outgoing", "incoming"]),
    default="both",
    help="Facts that have it as subject, as object, or both (else).",
)
@click.option("--limit", type=int, default=1000, help="Most facts, 1 to 10000; else 1000.")
@_WING
@reading
def _show(run: Invocation, name: str, everything: bool, as_of: str | None, **asked: Any) -> int:
    """Shows the facts about NAME: those true now, unless asked otherwise."""
    if everything and as_of:
        raise click.UsageError("--all and --as-of exclude each other", click.get_current_context())
    state: Any = "all" if everything else "current"
    with run.open_to_read() as palace:
        facts = palace.knowledge.about(name, as_of=as_of, state=state, **asked)
        entity = palace.knowledge.entity(name)
    if run.json:
        give({"entity": entity.name, "facts": [answers.fact(fact) for fact in facts]})
    elif facts:
        _show_facts(facts)
    else:
        hint(f"{entity.name} is known, but no fact matches; palatine kg show NAME --all")
    return 0 if facts else 1


@kg_command.command("timeline", short_help="Show facts over time.")
@click.argument("name", required=False)
@click.option("--limit", type=int, default=100, help="Facts on a page, 1 to 10000; else 100.")
@click.option("--cursor", default="", help="Go on where a page ended.")
@_WING
@reading
def _timeline(run: Invocation, name: str | None, **asked: Any) -> int:
    """Shows all facts, of NAME or of everything, by the date they began; undated last."""
    with run.open_to_read() as palace:
        page = palace.knowledge.timeline(name, **asked)
    if run.json:
        give(answers.timeline(page))
    elif page:
        _show_facts(page.items)
        if page.cursor:
            hint(f"there is more: --cursor {page.cursor}")
    else:
        hint("there are no facts; palatine kg add SUBJECT PREDICATE OBJECT adds one")
    return 0 if page else 1


@kg_command.command("path", short_help="Show how two names are connected.")
@click.argument("start")
@click.argument("goal")
@click.option("--depth", "max_depth", type=int, default=4, help="Most facts, 1 to 10; else 4.")
@click.option("--as-of", metavar=_TIME, help="Over facts that were true then, instead of now.")
@_WING
@reading
def _path(run: Invocation, start: str, goal: str, **asked: Any) -> int:
    """Shows the facts of a shortest path between START and GOAL."""
    with run.open_to_read() as palace:
        path = palace.knowledge.path(start, goal, **asked)
    if run.json:
        give({"facts": [answers.fact(fact) for fact in path]})
    elif path:
        _show_facts(path)
    else:
        hint(f"no path from {start} to {goal}; a greater --depth (up to 10) may find one")
    return 0 if path else 1


@kg_command.command("stats", short_help="Count facts.")
@_WING
@reading
def _stats(run: Invocation, wing: str | None) -> None:
    """Counts entities, facts and predicates."""
    with run.open_to_read() as palace:
        counts = answers.counts(palace.knowledge.stats(wing=wing), palace.knowledge.predicates())
    if run.json:
        give(counts)
        return
    predicates: Any = counts.pop("predicates")
    counts.pop("single_predicates", None)
    rows = [*counts.items(), *(("predicate", *counted) for counted in predicates.items())]
    table((), rows)


def _show_outcome(what: str, fact: Fact, seq: int) -> None:
    if not on_terminal():
        table((), [(fact.id, what, describe(fact))])
        return
    undo = f"; palatine undo {seq} takes it back" if seq else ""
    say(f"{what}: {describe(fact)} ({fact.id}){undo}")


def _show_facts(facts: Sequence[Fact]) -> None:
    rows = [
        (
            fact.id,
            fact.subject,
            fact.predicate,
            fact.object,
            fact.valid_from,
            fact.valid_to,
            fact.wing,
            "" if fact.confidence == 1 else f"{fact.confidence:g}",
        )
        for fact in facts
    ]
    head = ("fact", "subject", "predicate", "object", "from", "to", "wing", "confidence")
    table(head, rows)
