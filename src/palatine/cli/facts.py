"""The `kg` commands: facts, what they are now, what they were, and what was believed."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from palatine import config, pictures
from palatine.beliefs import describe
from palatine.cli.options import (
    Invocation,
    palace_option,
    reading,
    wing_option,
    writing,
)
from palatine.cli.output import give, hint, on_terminal, one_line, progress, say, table
from palatine.cli.transfer import new_file
from palatine.errors import InputError
from palatine.mcp import answers
from palatine.types import Cardinality, Fact

_TIME = "TIME"
_MOST = 10_000
_SUFFIXES = {".html": "html", ".htm": "html", ".graphml": "graphml", ".mmd": "mermaid"}
_WING = wing_option(help="Only facts of this wing.")


@click.group("kg")
@palace_option
def kg_command() -> None:
    """Facts: subject, predicate, object, and when they are true.

    \b
      palatine kg add Max works_at Acme --from 2024-03
      palatine kg supersede Max works_at Acme Initech --at 2025-02
      palatine kg show Max --as-of 2024-06
      palatine kg export max.html --about Max
    """  # noqa: D301 (the mark tells click not to wrap)


@kg_command.command("add", short_help="Add a fact.")
@click.argument("subject")
@click.argument("predicate")
@click.argument("object")
@click.option("--from", "valid_from", metavar=_TIME, help="True since: 2025, 2025-03, ...")
@click.option("--to", "valid_to", metavar=_TIME, help="True through; else still true.")
@wing_option(default="", help="The wing that it belongs to, if any.")
@click.option("--confidence", type=float, default=1.0, help="0 to 1; else 1.")
@click.option("--source", metavar="FILE", default="", help="Where it was read.")
@click.option("--drawer", metavar="ID", default="", help="The drawer that says so.")
@writing
def _add(run: Invocation, **fact: Any) -> None:
    """Adds a fact. The same fact again is one; what seems to contradict it is reported.

    \b
      palatine kg add Max works_at Acme --from 2024-03
      palatine kg add Max lived_in Oslo --from 2018 --to 2021 --confidence 0.8
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open(create=True) as palace:
        added = palace.knowledge.add(**fact)
    what = "added" if added.created else "known already"
    _show_outcome(run, answers.fact_added(added), what, added.fact, added.seq)
    if added.differs and not run.json:
        hint(f"it differs from what you gave: {added.differs}")
    for other in () if run.json else added.conflicts:
        hint(f"beside it stands: {describe(other)}; to replace that: palatine kg supersede")


@kg_command.command("end", short_help="End a fact that is no longer true.")
@click.argument("subject")
@click.argument("predicate")
@click.argument("object")
@click.option("--at", "ended", metavar=_TIME, help="True through this; else now.")
@_WING
@writing
def _end(run: Invocation, **names: Any) -> None:
    """Ends a fact; it stays on record for --as-of.

    \b
      palatine kg end Max works_at Acme --at 2025-02
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open() as palace:
        changed = palace.knowledge.end(**names)
    what = "ended" if changed.changed else "ended already"
    _show_outcome(run, answers.fact_changed(changed), what, changed.fact, changed.seq)


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
def _supersede(run: Invocation, **names: Any) -> None:
    """Ends OLD and begins NEW in one step; of two who do it at once, one wins.

    \b
      palatine kg supersede Max works_at Acme Initech --at 2025-02
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open() as palace:
        done = palace.knowledge.supersede(**names)
    what = "holds now" if done.created else "known already"
    _show_outcome(run, answers.superseded(done), what, done.fact, done.seq)


@kg_command.command("delete", short_help="Stop believing a fact altogether.")
@click.argument("fact_id", metavar="ID")
@writing
def _delete(run: Invocation, fact_id: str) -> None:
    """Stops believing a fact, as if it had never been true; --known-at still shows it.

    \b
      palatine kg delete fabc...
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open() as palace:
        deleted = palace.knowledge.delete(fact_id)
    answer = answers.fact_changed(deleted)
    _show_outcome(run, answer, "no longer believed", deleted.fact, deleted.seq)


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
@click.option("--graph", is_flag=True, help="Draw a tree of what is around it.")
@click.option("--depth", type=int, help="Facts from it to the tree's ends, 1 to 10; else 2.")
@_WING
@reading
def _show(run: Invocation, name: str, graph: bool, depth: int | None, **asked: Any) -> int:
    """Shows the facts about NAME: those true now, unless asked otherwise.

    --graph draws the neighbourhood as a tree. A line that ends in ↺ is spread out elsewhere.

    \b
      palatine kg show Max
      palatine kg show Max --all
      palatine kg show Max --graph --depth 3 --as-of 2024-06
    """  # noqa: D301 (the mark tells click not to wrap)
    everything = asked.pop("everything")
    if everything and asked["as_of"]:
        raise click.UsageError("--all and --as-of exclude each other", click.get_current_context())
    if depth is not None and not graph:
        raise click.UsageError("--depth needs --graph", click.get_current_context())
    if graph and asked.pop("direction") != "both":
        raise click.UsageError("--graph goes in both directions", click.get_current_context())
    asked["state"] = "all" if everything else "current"
    depth = 2 if depth is None else depth
    with run.open_to_read() as palace:
        known = palace.knowledge
        facts = known.graph(name, depth=depth, **asked) if graph else known.about(name, **asked)
        entity = known.entity(name)
    if facts and graph and not run.json:
        _show_tree(entity.name, pictures.tree(facts, entity.key, depth=depth))
        return 0
    answer = {"entity": entity.name, "facts": [answers.fact(fact) for fact in facts]}
    none = f"{entity.name} is known, but no fact matches; --all shows what is past or to come"
    return run.show(answer, _HEAD, _rows(facts), none)


@kg_command.command("timeline", short_help="Show facts over time.")
@click.argument("name", required=False)
@click.option("--limit", type=int, default=100, help="Facts on a page, 1 to 10000; else 100.")
@click.option("--cursor", default="", help="Go on where a page ended.")
@_WING
@reading
def _timeline(run: Invocation, name: str | None, **asked: Any) -> int:
    """Shows all facts, of NAME or of everything, by the date they began; undated last.

    \b
      palatine kg timeline Max
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open_to_read() as palace:
        page = palace.knowledge.timeline(name, **asked)
    none = "there are no facts; palatine kg add SUBJECT PREDICATE OBJECT adds one"
    return run.show(answers.timeline(page), _HEAD, _rows(page.items), none, cursor=page.cursor)


@kg_command.command("path", short_help="Show how two names are connected.")
@click.argument("start")
@click.argument("goal")
@click.option("--depth", "max_depth", type=int, default=4, help="Most facts, 1 to 10; else 4.")
@click.option("--as-of", metavar=_TIME, help="Over facts that were true then, instead of now.")
@_WING
@reading
def _path(run: Invocation, start: str, goal: str, **asked: Any) -> int:
    """Shows the facts of a shortest path between START and GOAL.

    \b
      palatine kg path Max Berlin --depth 6
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open_to_read() as palace:
        path = palace.knowledge.path(start, goal, **asked)
    answer = {"facts": [answers.fact(fact) for fact in path]}
    none = f"no path from {start} to {goal}; a greater --depth (up to 10) may find one"
    return run.show(answer, _HEAD, _rows(path), none)


@kg_command.command("export", short_help="Draw facts: a page, a graph file, a flowchart.")
@click.argument("file", metavar="[FILE|-]", default="-")
@click.option(
    "--format",
    "format_",
    type=click.Choice([*pictures.FORMATS]),
    help="Else what FILE ends in says: .html, .graphml or .mmd.",
)
@click.option("--about", "name", metavar="NAME", help="Only what is around this name.")
@click.option("--depth", type=int, default=2, help="Facts from it, 1 to 10; else 2.")
@click.option("--as-of", metavar=_TIME, help="Only what was true then; else over all time.")
@_WING
@palace_option
def _export(file: str, format_: str | None, name: str | None, **asked: Any) -> int:
    """Writes one picture of all facts, or of those around NAME, to FILE or standard output.

    html is one page that needs no network: a graph with a slider for the time, and a search.
    graphml is for networkx, Gephi and the like; mermaid is for Markdown. FILE is readable by you
    alone; of files that are there, only an older picture is replaced. Exit code 1 when there are
    no facts.

    \b
      palatine kg export facts.html
      palatine kg export --format mermaid --about Max --depth 1 --as-of 2024-06
      palatine kg export shop.graphml --wing shop
    """  # noqa: D301 (the mark tells click not to wrap)
    format_ = format_ or _SUFFIXES.get(Path(file).suffix.lower())
    if format_ is None:
        raise InputError("say --format html, graphml or mermaid, or name a FILE such as facts.html")
    run = click.get_current_context().ensure_object(Invocation)
    with run.open_to_read() as palace:
        facts = palace.knowledge.graph(name, state="all", limit=_MOST, **asked)
    if not facts:
        hint("no fact matches, nothing was written; palatine kg stats counts what there is")
        return 1
    drawn = pictures.FORMATS[format_](facts, f"Facts around {name}" if name else "Facts")
    if len(facts) == _MOST:
        hint(f"only {_MOST} facts are in the picture; --about, --wing and --as-of choose")
    if file == "-":
        click.echo(drawn, nl=False)
        return 0
    with new_file(
        Path(file), mark=drawn.split("\n")[0].encode(), what=f"{format_} picture"
    ) as target:
        target.write(drawn.encode())
    say(f"{len(facts)} facts drawn to {file}")
    return 0


@kg_command.command("extract", short_help="Read notes for facts.")
@click.option("--room", metavar="NAME", help="Only notes of this room.")
@click.option("--conversations", is_flag=True, help="Texts of conversations, too.")
@click.option("--endpoint", metavar="URL", help="Send the texts to this OpenAI-compatible model.")
@click.option("--model", metavar="NAME", help="The model's name at the endpoint.")
@wing_option(help="Only notes of this wing.")
@writing
def _extract(run: Invocation, endpoint: str | None, model: str | None, **asked: Any) -> int:
    """Reads notes for facts that they plainly state; again, only what has changed since.

    Each fact names its drawer and line. One that no note states any more is not believed any
    longer; one that you have changed stays. Nothing leaves the computer, unless --endpoint names
    a model: it then gets each note, with keys and passwords masked; its own key, if it wants one,
    is PALATINE_FACTS_KEY. Interrupted, it goes on next time. Exit code 6 when a text could not be
    read.

    \b
      palatine kg extract --wing teashop
      palatine kg extract --endpoint http://localhost:11434/v1 --model qwen3
    """  # noqa: D301 (the mark tells click not to wrap)
    if bool(endpoint) != bool(model):
        raise InputError("an endpoint has many models: give both, --endpoint URL and --model NAME")
    from palatine.ingest.ask import Asking  # noqa: PLC0415 (the rules of secrets take 0.2 s)

    key = config.setting("facts_key")[0]
    reader = Asking(endpoint, model or "", api_key=key) if endpoint else None
    with run.open() as palace, progress("reading") as told:
        seen = (lambda done: told(done.read, 0)) if told else None
        done = palace.extract(reader=reader, progress=seen, **asked)
    if run.json:
        give(asdict(done))
    else:
        say(
            f"{done.read} notes read; facts: {done.added} added, {done.known} known,"
            f" {done.withdrawn} withdrawn, {done.refused} refused"
            + (f"; secrets masked: {done.masked}" if done.masked else "")
        )
        if done.problems:
            table(("text", "not read"), [(each.path, each.reason) for each in done.problems])
    return 6 if done.problems else 0


@kg_command.command("conflicts", short_help="List facts that contradict each other.")
@click.option("--unsaid", is_flag=True, help="Also where nobody has said single or many.")
@click.option("--limit", type=int, default=100, help="Most contradictions; else 100.")
@_WING
@reading
def _conflicts(run: Invocation, unsaid: bool, **asked: Any) -> None:
    """Lists where several objects of a single predicate hold at the same time; changes nothing.

    Each fact comes with where it was read, and the command that ends it. `kg predicate` says that
    a predicate takes one object at a time.

    \b
      palatine kg conflicts
      palatine kg conflicts --unsaid
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open_to_read() as palace:
        found = palace.knowledge.contradictions(unsaid=unsaid, **asked)
    told = [
        {
            "single": each.cardinality == "single",
            "facts": [answers.fact(fact) | {"end": _ending(fact)} for fact in each.facts],
        }
        for each in found
    ]
    rows = [
        (fact.id, describe(fact), fact.wing, fact.source or fact.drawer, _ending(fact))
        for each in found
        for fact in each.facts
    ]
    head = ("fact", "says", "wing", "read in", "to end it")
    none = "no single predicate has two objects at a time; --unsaid shows others that may"
    run.show({"contradictions": told}, head, rows, "" if unsaid else none)


def _ending(fact: Fact) -> str:
    wing = ["--wing", fact.wing] if fact.wing else []
    names = (fact.subject, fact.predicate, fact.object)
    return shlex.join(["palatine", "kg", "end", *wing, "--", *names])


@kg_command.command("predicate", short_help="Say whether a predicate takes one object or many.")
@click.argument("name")
@click.argument("cardinality", type=click.Choice(["single", "many"]))
@writing
def _predicate(run: Invocation, name: str, cardinality: Cardinality) -> None:
    """Says whether a subject has one object of predicate NAME at a time, or may have many.

    \b
      palatine kg predicate works_at single
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open() as palace:
        palace.knowledge.set_predicate(name, cardinality)
        known = palace.knowledge.predicates()
    what = "one object at a time" if cardinality == "single" else "many objects"
    run.tell({"predicates": known}, f"{name} takes {what}")


@kg_command.command("stats", short_help="Count facts.")
@_WING
@reading
def _stats(run: Invocation, wing: str | None) -> None:
    """Counts entities, facts and predicates.

    \b
      palatine kg stats --wing shop
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open_to_read() as palace:
        counts = answers.counts(palace.knowledge.stats(wing=wing), palace.knowledge.predicates())
    predicates: Any = counts["predicates"]
    rows: list[tuple[object, ...]] = [(k, n) for k, n in counts.items() if "predicates" not in k]
    rows += [("predicate", *counted) for counted in predicates.items()]
    run.show(counts, (), rows, "")


def _show_tree(root: str, lines: Iterable[pictures.Line]) -> None:
    if not on_terminal():
        for depth, text in (pictures.Line(0, root), *lines):
            click.echo("  " * depth + one_line(text))
        return
    # Only where a tree is drawn: rich takes longer to load than most commands take to run.
    from rich.console import Console  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415
    from rich.tree import Tree  # noqa: PLC0415

    branches = [Tree(Text(one_line(root), style="bold"))]
    for depth, text in lines:
        branches[depth:] = [branches[depth - 1].add(Text(one_line(text)))]
    Console(highlight=False).print(branches[0])


def _show_outcome(run: Invocation, answer: object, what: str, fact: Fact, seq: int) -> None:
    undo = f"; palatine undo {seq} takes it back" if seq else ""
    sentence = f"{what}: {describe(fact)} ({fact.id}){undo}"
    run.tell(answer, sentence, (fact.id, what, describe(fact)))


_HEAD = ("fact", "subject", "predicate", "object", "from", "to", "wing", "confidence")


_CELLS = ("id", "subject", "predicate", "object", "valid_from", "valid_to", "wing")


def _rows(facts: Sequence[Fact]) -> list[tuple[object, ...]]:
    rows = []
    for fact in facts:
        sure = "" if fact.confidence == 1 else f"{fact.confidence:g}"
        rows.append((*(getattr(fact, name) for name in _CELLS), sure))
    return rows
