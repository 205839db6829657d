"""`palatine demo`: a story that shows what the palace promises, and counts whether it held."""

from __future__ import annotations

import shlex
import shutil
import sys
import tempfile
import textwrap
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from palatine.cli import demo_story as story
from palatine.cli.demo_agents import SERVER, Agent, Answered, CallError, Crew, Server
from palatine.cli.demo_story import Call
from palatine.cli.options import Invocation, palace_class, palace_option
from palatine.cli.output import say
from palatine.embed import EmbedderError
from palatine.errors import InputError

BROKEN_PROMISE = 4
_WRITES = 40
_SHOWN_AGENTS = 8
_MOST_AGENTS = 200


@click.command("demo", short_help="See four agents share one palace, one of them killed.")
@click.option(
    "--agents",
    type=click.IntRange(len(story.AGENTS), _MOST_AGENTS),
    default=len(story.AGENTS),
    help="How many write at once; else 4.",
)
@palace_option
@click.pass_context
def demo_command(context: click.Context, agents: int) -> int:
    """Tells a story: agents write to one new palace at once, one is killed, nothing is lost.

    The agents are real `palatine mcp` processes. The palace is made in a new temporary folder, or
    in --palace DIR, which must be empty, and stays. Exit code 4 if a promise was broken.
    """
    folder = _fresh_folder(context.ensure_object(Invocation).palace)
    verdict = Verdict()
    say("One palace, many agents", bold=True)
    say(f"\n{story.LEAD}\n  {folder}")
    with Crew(str(folder)) as crew:
        everybody = [
            Agent(name, crew.server(name), list(story.writes(name, _WRITES)))
            for name in story.names(agents)
        ]
        shipping, checkout, catalogue, operations = everybody[: len(story.AGENTS)]
        operations.killed_after = _WRITES // 2
        _write_at_once(crew, everybody, verdict)
        before = datetime.now(UTC).isoformat()
        _reverse(shipping, catalogue, verdict)
        _find_key(catalogue, verdict)
        _find_by_meaning(folder, catalogue, verdict)
        _ask_for_march(checkout, before, verdict)
        _count(crew, everybody, verdict)
    _show_commands(folder)
    return 0 if verdict.held else BROKEN_PROMISE


@dataclass(slots=True)
class Verdict:
    """What was counted.

    Attributes:
        errors: what went wrong, in words.
        lost: acknowledged writes that a fresh process did not find.
    """

    errors: list[str] = field(default_factory=list)
    lost: list[Answered] = field(default_factory=list)

    @property
    def held(self) -> bool:
        """Whether every promise was kept."""
        return not self.errors and not self.lost

    def expect(self, kept: bool, promise: str) -> None:
        """Counts a promise that was not kept as an error."""
        if not kept:
            self.errors.append(f"not kept: {promise}")


def _fresh_folder(given: str | None) -> Path:
    if given is None:
        return Path(tempfile.mkdtemp(prefix="palatine-demo-"))
    folder = Path(given).expanduser().absolute()
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} is not empty; the demo needs a new folder for its palace")
    return folder


def _write_at_once(crew: Crew, agents: Sequence[Agent], verdict: Verdict) -> None:
    _act(1, f"{len(agents)} agents write at the same time, and another process searches")
    if len(agents) > _SHOWN_AGENTS:
        say(f"Starting {len(agents) + 1} servers takes a few seconds.")
    searcher = Agent("searcher", crew.server("searcher"))
    crew.work(agents, searcher)
    rows = [("agent", "process", "acknowledged", "slowest", "")]
    for agent in agents[:_SHOWN_AGENTS]:
        how = "killed by SIGKILL while it wrote" if agent.unanswered else ""
        count, slowest = str(len(agent.ledger)), _milliseconds(agent.slowest_seconds)
        rows.append((agent.name, str(agent.server.pid), count, slowest, how))
    _columns(rows)
    if len(agents) > _SHOWN_AGENTS:
        say(f"  ... and {len(agents) - _SHOWN_AGENTS} more testers")
    seqs = [done.answer["seq"] for done in searcher.ledger] or [0]
    say(
        f"\nThe searching process ({searcher.server.pid}) got {len(searcher.ledger)} answers"
        f" meanwhile, the slowest after {_milliseconds(searcher.slowest_seconds)}:"
        f"\nthe first one saw {seqs[0]} changes of the palace, the last one {seqs[-1]}."
    )
    ledger = [done for agent in agents for done in agent.ledger]
    killed = [agent for agent in agents if agent.unanswered]
    for agent in killed:
        later = sum(done.at > agent.killed_at for done in ledger)
        say(f"After {agent.name} was killed, {later} more writes were acknowledged to others.")
    verdict.errors += searcher.errors
    verdict.expect(seqs[-1] >= len(ledger), "the last search sees every acknowledged write")
    verdict.expect(bool(killed), "one agent is killed as it writes")


def _reverse(shipping: Agent, catalogue: Agent, verdict: Verdict) -> None:
    _act(2, "A decision is reversed")
    (decision, *_), (reversal,) = story.part("shipping"), story.part("reversal")
    say(f"shipping, 11 February 2025:\n  {_wrapped(decision.arguments['text'])}")
    shipping.do(reversal)
    change = {**story.CARRIER, "old": story.OLD_CARRIER, "new": story.NEW_CARRIER}
    shipping.do(Call("kg_supersede", {**change, "at": story.SWITCHED}))
    say(f"shipping, 6 May 2025:\n  {_wrapped(reversal.arguments['text'])}")
    facts = catalogue.ask("kg_query", **story.CARRIER).get("facts", [])
    say("catalogue, another process, asks at once what the shop ships with:")
    say(f"  {_interval(facts)}")
    right = [fact["object"] for fact in facts] == [story.NEW_CARRIER]
    verdict.expect(right, "a neighbour sees the reversed decision at once")


def _find_key(agent: Agent, verdict: Verdict) -> None:
    _act(3, "A key is found by its exact name")
    hits = agent.ask("search", query=story.KEY, limit=1).get("hits", [])
    say(f"{agent.name} searches for {story.KEY}:")
    verdict.expect(_show_hits(hits, story.KEY), "the key is found")


def _find_by_meaning(folder: Path, agent: Agent, verdict: Verdict) -> None:
    _act(4, "A text is found by what it means")
    began = time.monotonic()
    try:
        with palace_class().open(folder, create=False, agent=agent.name) as palace:
            while not palace.embed().alone:  # a server that has searched is at it
                time.sleep(0.1)
    except EmbedderError as error:
        say(f"Not here: {error}")
        return
    say(f"All texts are embedded, after {_milliseconds(time.monotonic() - began)} more.")
    hits = agent.ask("search", query=story.MEANT, limit=1).get("hits", [])
    say(f"{agent.name} searches for {story.MEANT}, and finds, without a word of it:")
    verdict.expect(_show_hits(hits, story.PRICES), "a text is found by what it means")


def _show_hits(hits: Sequence[dict[str, Any]], wanted: str) -> bool:
    """Shows the hits that hold what is wanted; whether there are any."""
    found = [hit for hit in hits if wanted in hit["text"]]
    for hit in found:
        say(f"  {_wrapped(hit['text'])}\n  (by {hit['author']}, {hit['said_at']}, {hit['id']})")
    return bool(found)


def _ask_for_march(agent: Agent, before: str, verdict: Verdict) -> None:
    _act(5, "What did we believe in March?")
    moment = f"known_at {before[11:19]}Z, a moment ago"
    asked: Sequence[tuple[str, str, dict[str, str], str]] = (
        ("today", "", {}, story.NEW_CARRIER),
        ("in March", "as_of 2025-03", {"as_of": "2025-03"}, story.OLD_CARRIER),
        ("before act 2", moment, {"known_at": before}, story.OLD_CARRIER),
    )
    rows = [("the shop ships with", "asked with", "")]
    for when, parameter, how, right in asked:
        facts = agent.ask("kg_query", **story.CARRIER, **how).get("facts", [])
        rows.append((when, parameter, _interval(facts)))
        verdict.expect([f["object"] for f in facts] == [right], f"the carrier {when} is {right}")
    _columns(rows)
    say(
        "\nas_of asks what was true then: the reversal did not rewrite March. known_at asks what"
        "\nthe palace had been told by then: before act 2 it knew of no end. (In March 2025 this"
        "\npalace did not exist, so known_at 2025-03 answers: nothing.)"
    )


def _count(crew: Crew, agents: Sequence[Agent], verdict: Verdict) -> None:
    _act(6, "A fresh process looks for every acknowledged write")
    server = crew.server("verifier")
    server.start()
    ledger = [done for agent in agents for done in agent.ledger]
    verdict.lost = [done for done in ledger if not _is_there(server, done)]
    for agent in agents:
        verdict.errors += agent.errors
        if agent.unanswered is not None:
            there = "there, whole" if _holding(server, agent.unanswered) else "not there"
            say(
                f"{agent.name} died waiting for an answer. That write, which nobody acknowledged,"
                f" is {there}.\n"
            )
    for what in (*verdict.errors, *(f"lost: {done.call.arguments}" for done in verdict.lost)):
        say(f"  {what}")
    counted = {
        "writes acknowledged": len(ledger),
        "lost": len(verdict.lost),
        "errors": len(verdict.errors),
        "slowest wait": _milliseconds(max(agent.slowest_seconds for agent in agents)),
    }
    for name, value in counted.items():
        say(f"{name:21}{value:>8}", bold=True)
    say(f"{'again with 64 agents':21}    {_program()} demo --agents 64")


def _is_there(server: Server, done: Answered) -> bool:
    try:
        if done.call.tool == "add_drawer":
            found = server.call("get_drawer", id=done.ref)
            return all(found[key] == done.call.arguments[key] for key in ("text", "wing", "room"))
        return done.ref in _holding(server, done.call)
    except CallError:
        return False


def _holding(server: Server, write: Call) -> list[str]:
    """The ids of what holds what was written; of a drawer, those with its text."""
    given = write.arguments
    if write.tool == "add_drawer":
        hits = server.call("search", query=given["text"], limit=10)["hits"]
        return [hit["id"] for hit in hits if hit["text"] == given["text"]]
    asked = {name: given[name] for name in ("subject", "predicate")}
    asked["object"] = given.get("object") or given["new"]
    return [fact["id"] for fact in server.call("kg_query", **asked, state="all")["facts"]]


def _show_commands(folder: Path) -> None:
    program = f"{_program()} --palace {shlex.quote(str(folder))}"
    server = shlex.join([sys.executable, *SERVER])
    say("\nThe demo's palace stays. Look into it:", bold=True)
    say(f"  {program} search {story.WHY}")
    say(f"  {program} kg timeline {story.CARRIER['subject']}")
    say(f"  {program} status")
    say("\nGive your own agents a palace, one for all of them:", bold=True)
    say(f"  claude mcp add --scope user palatine -- {server}")
    say(f"  codex mcp add palatine -- {server}")


def _program() -> str:
    """How this program is called from a shell: shortly where that leads to this installation."""
    script = Path(sys.executable).with_name("palatine")
    if shutil.which("palatine") == str(script):
        return "palatine"
    return shlex.join([str(script)] if script.exists() else [sys.executable, *SERVER[:-1]])


def _act(number: int, title: str) -> None:
    say(f"\n{number}. {title}", bold=True)


def _wrapped(text: str) -> str:
    return "\n  ".join(textwrap.wrap(text, 90, break_long_words=False, break_on_hyphens=False))


def _interval(facts: Sequence[dict[str, Any]]) -> str:
    shown = [
        f"{fact['object']}, from {fact['valid_from']} to {fact['valid_to']}"
        if fact["valid_to"]
        else f"{fact['object']}, since {fact['valid_from']}"
        for fact in facts
    ]
    return "; ".join(shown) or "nothing"


def _columns(rows: Sequence[Sequence[str]]) -> None:
    """Prints rows aligned, the same on a terminal and in a pipe; the first row is their head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        say(f"  {'  '.join(cells)}".rstrip())


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.0f} ms"
