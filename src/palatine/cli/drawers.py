"""Commands about drawers: add, search, get, list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click

from palatine import text as texts
from palatine.cli.options import (
    Invocation,
    reading,
    wing_option,
    writing,
)
from palatine.cli.output import give, give_bytes, hint, on_terminal, one_line, say, table
from palatine.errors import InputError
from palatine.ingest.projects import project_wing
from palatine.mcp import answers

if TYPE_CHECKING:
    from palatine.palace import Palace
    from palatine.types import Added, Drawer, Hit, Page

_EXCERPT_CHARS = 600
_FIRST_WORDS_CHARS = 80
TIME = "TIME"
KIND = click.Choice(["note", "decision", "question", "identity", "diary"])


@click.command("add", short_help="File a text, word for word.")
@click.argument("text", metavar="TEXT|-")
@wing_option(default="", help="A person or project; else this project.")
@click.option("--room", metavar="NAME", default="", help="A topic; else notes.")
@click.option("--kind", type=click.Choice(KIND.choices[:-1]), default="note", help="Else note.")
@click.option("--source", metavar="FILE", default="", help="Where it comes from.")
@click.option("--said-at", metavar=TIME, help="When it was said: 2025, 2025-03, 2025-03-14, ...")
@click.option("--pin", "pinned", is_flag=True, help="Show it first when an agent wakes up.")
@writing
def add_command(run: Invocation, text: str, wing: str, **about: Any) -> None:
    """Files TEXT, word for word, and says where; `-` reads it from standard input.

    The wing is the project that you are in: the folder of its git repository, else the working
    folder, else (at home) personal. The same text in the same place is filed once.

    \b
      palatine add "We ship on Fridays because the carrier rests at weekends"
      git log -1 --format=%B | palatine add - --room releases --kind decision
      palatine add -- "- a text that begins with a dash"
    """  # noqa: D301 (the mark tells click not to wrap)
    text = given_text(text)
    with run.open(create=True) as palace:
        added = palace.add(text, wing=wing or run.scope or project_wing(), **about)
    show_filed(run, added)


def show_filed(run: Invocation, added: Added) -> None:
    """Says where a text went."""
    drawer = added.drawer
    warn(added.warnings)
    sentence = f"known already: {drawer.id} in {_place(drawer)}"
    if added.created:
        undo = f"palatine undo {added.seq} takes it back"
        sentence = f"filed in {_place(drawer)} as {drawer.id}; {undo}"
    cells = (drawer.id, _place(drawer), "filed" if added.created else "known")
    run.tell(answers.added(added), sentence, cells)


def warn(warnings: Sequence[str]) -> None:
    """Says on standard error what came with a write."""
    for warning in warnings:
        hint(warning)


def given_text(text: str) -> str:
    """The text of an argument; `-` stands for what is on standard input."""
    if text == "-":
        return texts.decode(sys.stdin.buffer.read())
    if any("\udc80" <= character <= "\udcff" for character in text):
        raise InputError("the text is not UTF-8; give the bytes on standard input, as UTF-8")
    return text


@click.command("search", short_help="Find texts by their words and their meaning.")
@click.argument("words", nargs=-1, required=True, metavar="WORDS...")
@wing_option(help="Only this wing.")
@click.option("--room", metavar="NAME", help="Only this room.")
@click.option("--kind", type=KIND, help="Only this kind.")
@click.option("--source", metavar="FILE", help="Only this source.")
@click.option("--author", metavar="NAME", help="Only by this agent.")
@click.option("--said-since", metavar=TIME, help="Only said at or after.")
@click.option("--said-before", metavar=TIME, help="Only said before.")
@click.option("--filed-since", metavar=TIME, help="Only filed at or after.")
@click.option("--filed-before", metavar=TIME, help="Only filed before.")
@click.option("--limit", type=int, default=10, help="Most hits, 1 to 100; else 10.")
@reading
def search_command(run: Invocation, words: tuple[str, ...], limit: int, **where: Any) -> int:
    """Finds texts by WORDS and by what they mean, the best first.

    Any text is a query; words in double quotes are a phrase, and nothing is an operator. Exit
    code 1 when nothing is found. In a pipe: id, place, date, confidence and text between tabs.

    \b
      palatine search why do we ship on fridays
      palatine search '"exact phrase"' --wing shop --limit 3
    """  # noqa: D301 (the mark tells click not to wrap)
    query = " ".join(words)
    with run.open_to_read() as palace:
        found = palace.search(query, **where, limit=limit)
        if run.json:
            give(answers.found(found, palace, max_chars=2**62))
        elif not found:
            what = one_line(query, max_chars=80)
            hint(f"nothing found for {what!r}; {_what_is_there(run, palace)}")
            hint("try other or fewer words, or without filters; facts: palatine kg show NAME")
    if not run.json:
        _show_hits(found.hits)
    if found.dropped and not run.json:
        hint(f"left out, because they stand nearly everywhere: {', '.join(found.dropped)}")
    for sentence in () if run.json else answers.how_it_looked(found):
        hint(sentence)
    return 0 if found else 1


def _show_hits(hits: tuple[Hit, ...]) -> None:
    if not on_terminal():
        for hit in hits:
            drawer = hit.drawer
            head = (drawer.id, _place(drawer), _when(drawer), f"{hit.confidence:.2f}")
            table((), [(*head, hit.span)])
        return
    for hit in hits:
        drawer = hit.drawer
        author = f"  by {drawer.author}" if drawer.author else ""
        say(f"{drawer.id}  {_place(drawer)}  {_when(drawer)}{author}", bold=True)
        shown = hit.span.strip("\n")
        more = len(shown) > _EXCERPT_CHARS or len(hit.span) < len(hit.text.strip())
        for line in shown[:_EXCERPT_CHARS].splitlines():
            say(f"    {line}")
        if more:
            say(f"    … palatine get {drawer.id}")


@click.command("get", short_help="Print one text, whole.")
@click.argument("drawer_id", metavar="ID")
@reading
def get_command(run: Invocation, drawer_id: str) -> None:
    """Prints the text of a drawer; in a pipe nothing but the text, byte for byte.

    ID stands in what `add`, `search` and `list` print.

    \b
      palatine get dabc... > text.md
      palatine get dabc... --json
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open_to_read() as palace:
        drawer = palace.get(drawer_id)
    if run.json:
        give(answers.whole(drawer))
    elif on_terminal():
        for name, value in answers.whole(drawer).items():
            if name not in ("text", "total_chars"):
                say(f"{name:9} {value}")
        say(f"\n{drawer.text}")
    else:
        give_bytes(texts.encode(drawer.text))


@click.command("list", short_help="List texts, the newest first.")
@wing_option(help="Only this wing.")
@click.option("--room", metavar="NAME", help="Only this room.")
@click.option("--kind", type=KIND, help="Only this kind.")
@click.option("--source", metavar="FILE", help="Only this source.")
@click.option("--author", metavar="NAME", help="Only by this agent.")
@click.option("--session", metavar="ID", help="Only of this session.")
@click.option("--pinned", is_flag=True, default=None, help="Only what is pinned.")
@click.option("--since", metavar=TIME, help="Only filed at or after.")
@click.option("--before", metavar=TIME, help="Only filed before.")
@click.option("--limit", type=int, default=20, help="Most drawers, 1 to 1000; else 20.")
@click.option("--cursor", default="", help="Go on where a page ended.")
@reading
def list_command(run: Invocation, **where: Any) -> int:
    """Lists drawers, the newest filing first. Exit code 1 when there are none.

    In a pipe: id, place, date, author, kind and the beginning of the text between tabs.

    \b
      palatine list --wing shop --kind decision
      palatine list --author claude-code --since 2025-03
    """  # noqa: D301 (the mark tells click not to wrap)
    return list_drawers(run, lambda palace: palace.list(**where))


def list_drawers(run: Invocation, ask: Callable[[Palace], Page[Drawer]]) -> int:
    """Shows a page of drawers; returns the exit code."""
    with run.open_to_read() as palace:
        page = ask(palace)
        none = "" if page else f"no drawer matches; {_what_is_there(run, palace)}"
    rows = []
    for drawer in page:
        kind = drawer.kind + (", pinned" if drawer.pinned else "")
        words = one_line(drawer.text, max_chars=_FIRST_WORDS_CHARS)
        rows.append((drawer.id, _place(drawer), _when(drawer), drawer.author, kind, words))
    answer = {"drawers": [answers.whole(drawer) for drawer in page], "cursor": page.cursor}
    head = ("drawer", "place", "date", "author", "kind", "text")
    return run.show(answer, head, rows, none, cursor=page.cursor)


def _place(drawer: Drawer) -> str:
    return f"{drawer.wing}/{drawer.room}"


def _when(drawer: Drawer) -> str:
    """When it was said as it was given, else the day on which it was filed."""
    return str(drawer.said_at) if drawer.said_at else str(drawer.filed_at)[:10]


def _what_is_there(run: Invocation, palace: Palace) -> str:
    state = palace.status()
    wings = list(dict.fromkeys(place.wing for place in state.places))
    if not wings and run.scope:
        return f"wing {run.scope} holds no drawer; palatine status names the wings that there are"
    if not wings:
        return "the palace holds no drawer yet; palatine add TEXT files one"
    more = f" and {len(wings) - 10} more" if len(wings) > 10 else ""
    return f"the palace holds {state.drawers} drawers in {', '.join(wings[:10])}{more}"
