"""Commands that change what is filed: update, delete, pin and unpin; links; diaries."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import click

from palatine.cli.drawers import KIND, TIME, given_text, list_drawers, show_filed, warn
from palatine.cli.options import Invocation, palace_option, reading, writing
from palatine.cli.output import hint, on_terminal
from palatine.errors import InputError
from palatine.mcp import answers
from palatine.types import Removed, Updated

if TYPE_CHECKING:
    from palatine.palace import Palace

_COUNTED = 1000


@click.command("update", short_help="Change a text, or where it is filed.")
@click.argument("drawer_id", metavar="ID")
@click.argument("text", metavar="[TEXT|-]", required=False)
@click.option("--wing", metavar="NAME", help="Move it to this wing.")
@click.option("--room", metavar="NAME", help="Move it to this room.")
@click.option("--kind", type=click.Choice(KIND.choices[:-1]), help="Make it one.")
@click.option("--said-at", metavar=TIME, help="When it was said; empty: not known.")
@click.option("--pin/--unpin", "pinned", default=None, help="Pin it, or take the pin away.")
@writing
def update_command(run: Invocation, drawer_id: str, text: str | None, **fields: Any) -> None:
    """Changes what is given; the id stays, and `undo` puts back what stood before.

    \b
      palatine update dabc... --room decisions --pin
      palatine get dabc... | sed s/Friday/Monday/ | palatine update dabc... -
    """  # noqa: D301 (the mark tells click not to wrap)
    changes = {name: value for name, value in fields.items() if value is not None}
    if text is not None:
        changes["text"] = given_text(text)
    if not changes:
        raise InputError("nothing says what to change; give a text or an option")
    if "said_at" in changes:
        changes["said_at"] = changes["said_at"] or None
    with run.open() as palace:
        _show_updated(run, palace.update(drawer_id, **changes))


@click.command("pin", short_help="Show a text first when an agent wakes up.")
@click.argument("drawer_id", metavar="ID")
@writing
def pin_command(run: Invocation, drawer_id: str) -> None:
    """Pins a drawer: it is shown first when an agent wakes up.

    \b
      palatine pin dabc...
      palatine list --pinned
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open() as palace:
        _show_updated(run, palace.pin(drawer_id))


@click.command("unpin", short_help="Take a pin away.")
@click.argument("drawer_id", metavar="ID")
@writing
def unpin_command(run: Invocation, drawer_id: str) -> None:
    """Takes the pin away from a drawer.

    \b
      palatine unpin dabc...
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open() as palace:
        _show_updated(run, palace.pin(drawer_id, pinned=False))


def _show_updated(run: Invocation, done: Updated) -> None:
    drawer = done.drawer
    warn(done.warnings)
    warnings = {"warnings": list(done.warnings)} if done.warnings else {}
    answer = {"id": drawer.id, "changed": done.changed, "seq": done.seq, **warnings}
    if done.changed:
        sentence = f"changed: {drawer.id}; palatine undo {done.seq} takes it back"
    else:
        sentence = f"it is so already: {drawer.id}"
    run.tell(answer, sentence, (drawer.id, "changed" if done.changed else "unchanged"))


@click.command("delete", short_help="Delete texts; undo puts them back.")
@click.argument("drawer_ids", metavar="ID...", nargs=-1)
@click.option("--wing", metavar="NAME", help="All of this wing.")
@click.option("--room", metavar="NAME", help="All of this room.")
@click.option("--source", metavar="FILE", help="All that came from this source.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@writing
def delete_command(run: Invocation, drawer_ids: tuple[str, ...], yes: bool, **where: Any) -> int:
    """Deletes drawers by ID, or all of a wing, a room or a source: all or none.

    The reply says which `undo` puts them back; `forget` removes for good. Whole wings, rooms and
    sources are asked about first; without a terminal they need --yes.

    \b
      palatine delete dabc... ddef...
      palatine delete --wing shop --room ideas
    """  # noqa: D301 (the mark tells click not to wrap)
    bulk = any(value is not None for value in where.values())
    if bulk == bool(drawer_ids):
        raise InputError("say which: either ids, or one or more of --wing, --room and --source")
    with run.open() as palace:
        if bulk and not yes and not _is_sure(palace, where):
            hint("nothing was deleted")
            return 1
        removed = palace.delete(*drawer_ids, **where)
    _show_removed(run, removed, "deleted")
    return 0 if removed.refs else 1


def _is_sure(palace: Palace, where: dict[str, str | None]) -> bool:
    if not (sys.stdin.isatty() and on_terminal()):
        raise InputError("without a terminal, confirm with --yes that all of it shall be deleted")
    page = palace.list(**where, limit=_COUNTED)  # type: ignore[arg-type]  # click's values
    names = " ".join(f"{name} {value}" for name, value in where.items() if value is not None)
    count = f"{'more than ' if page.cursor else ''}{len(page)}"
    return click.confirm(f"Delete {count} drawers of {names}?", err=True)


def _show_removed(run: Invocation, removed: Removed, what: str) -> None:
    if not removed.refs and not run.json:
        hint("no drawer matches; nothing was deleted")
        return
    refs = removed.refs if len(removed.refs) <= 10 else (f"{len(removed.refs)} drawers",)
    sentence = f"{what}: {', '.join(refs)}; palatine undo {removed.seq} takes it back"
    answer = {"refs": list(removed.refs), "seq": removed.seq}
    run.tell(answer, sentence, *((ref, removed.seq) for ref in removed.refs))


@click.command("link", short_help="Link two texts or rooms.")
@click.argument("ends", metavar="A B", nargs=2)
@click.option("--label", metavar="WORDS", default="", help="What connects them.")
@writing
def link_command(run: Invocation, ends: tuple[str, str], label: str) -> None:
    """Links A and B, each a drawer's ID or a room as WING/ROOM; a link has no direction.

    \b
      palatine link dabc... shop/shipping --label "decided here"
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open() as palace:
        done = palace.link(answers.end(ends[0]), answers.end(ends[1]), label)
    if done.created:
        sentence = f"linked: {done.link.id}; palatine undo {done.seq} takes it back"
    else:
        sentence = f"linked already: {done.link.id}"
    run.tell(answers.linked(done), sentence, (done.link.id, "linked" if done.created else "known"))
    if done.differs and not run.json:
        hint(f"it differs from what you gave: {done.differs}")


@click.command("links", short_help="List links.")
@click.argument("drawer_id", metavar="[ID]", required=False)
@reading
def links_command(run: Invocation, drawer_id: str | None) -> int:
    """Lists all links, or those of one drawer. Exit code 1 when there are none.

    \b
      palatine links
      palatine links dabc...
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open_to_read() as palace:
        found = palace.links(palace.get(drawer_id).id if drawer_id else None)
    shown = [answers.link(link) for link in found]
    rows = [(each["id"], *each["ends"], each["label"], each["linked_at"]) for each in shown]
    none = "there is no link; palatine link A B makes one"
    return run.show({"links": shown}, ("link", "a", "b", "label", "linked"), rows, none)


@click.command("unlink", short_help="Remove a link.")
@click.argument("link_id", metavar="ID")
@writing
def unlink_command(run: Invocation, link_id: str) -> None:
    """Removes a link by its ID, as `palatine links` shows it.

    \b
      palatine unlink labc...
    """  # noqa: D301 (the mark tells click not to wrap)
    with run.open() as palace:
        _show_removed(run, palace.unlink(link_id), "removed")


@click.group("diary", short_help="Write and read agents' diaries.")
@palace_option
def diary_command() -> None:
    """Agents' diaries: entries in order, each a new one, also when its text is not.

    \b
      palatine diary write ann "Learned that the carrier rests at weekends"
      palatine diary read ann
    """  # noqa: D301 (the mark tells click not to wrap)


@diary_command.command("write", short_help="Add an entry.")
@click.argument("name", metavar="AGENT")
@click.argument("text", metavar="TEXT|-")
@click.option("--topic", metavar="WORDS", default="general", help="What it is about; else general.")
@writing
def _write(run: Invocation, name: str, text: str, topic: str) -> None:
    """Adds an entry to the diary of AGENT; `-` reads it from standard input.

    \b
      palatine diary write ann "Learned that the carrier rests at weekends" --topic shipping
    """  # noqa: D301 (the mark tells click not to wrap)
    text = given_text(text)
    with run.open(create=True) as palace:
        show_filed(run, palace.diary_write(name, text, topic=topic))


@diary_command.command("read", short_help="List entries, the newest first.")
@click.argument("name", metavar="AGENT")
@click.option("--limit", type=int, default=10, help="Most entries, 1 to 1000; else 10.")
@click.option("--cursor", default="", help="Go on where a page ended.")
@reading
def _read(run: Invocation, name: str, limit: int, cursor: str) -> int:
    """Lists the diary of AGENT, the newest entry first. Exit code 1 when there is none.

    \b
      palatine diary read ann --limit 3
    """  # noqa: D301 (the mark tells click not to wrap)
    return list_drawers(run, lambda palace: palace.diary_read(name, limit=limit, cursor=cursor))
