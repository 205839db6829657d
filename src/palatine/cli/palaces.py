"""Commands about which palaces there are, what is set, and what the shell completes."""

from __future__ import annotations

import re
from pathlib import Path

import click

from palatine import config
from palatine.cli.options import COMPLETE, Invocation, reading
from palatine.cli.output import hint
from palatine.errors import ConflictError, InputError, NotFoundError, PalatineError

_NAME = re.compile(r"\w[\w.-]{0,63}")


@click.group("palaces", invoke_without_command=True, short_help="List your palaces; name them.")
@reading
def palaces_command(_run: Invocation) -> None:
    """Your palaces: those that you have written to on this computer, and those that you named.

    \b
      palatine palaces                        lists them
      palatine palaces name work ~/work/mem   then: palatine search fridays --palace work
      palatine palaces forget work            forgets that it is there; nothing in it is touched
    """  # noqa: D301 (the mark tells click not to wrap)
    _otherwise(list_palaces)


def _otherwise(command: click.Command) -> None:
    """Runs a command where a group is given none."""
    context = click.get_current_context()
    if context.invoked_subcommand is None:
        context.invoke(command)


@palaces_command.command("list", short_help="List your palaces.")
@reading
def list_palaces(run: Invocation) -> None:
    """Lists your palaces: name, folder, whether it is there, drawers, last change."""
    found = [
        {"name": name, "place": place, **_seen(place)}
        for place, name in sorted(config.palaces().items(), key=lambda p: (not p[1], p[1], p[0]))
    ]
    head = ("name", "palace", "state", "drawers", "last change")
    none = "no palace is known yet; palatine add TEXT makes one"
    run.show(found, head, [tuple(each.values()) for each in found], none)


def _seen(place: str) -> dict[str, object]:
    from palatine.palace import Palace  # noqa: PLC0415 (the rest here needs no SQLite)

    seen: dict[str, object] = {"state": "gone", "drawers": None, "last_change": None}
    if not Path(place, "palace.db").exists():
        return seen
    try:
        with Palace.open(place, read_only=True, create=False, embedder="none") as palace:
            last = palace.log(limit=1)
            drawers = palace.status().drawers
    except PalatineError as error:
        return seen | {"state": str(error)}
    at = str(last[0].change.at) if last else None
    return {"state": "there", "drawers": drawers, "last_change": at}


@palaces_command.command("name", short_help="Call a palace by a name.")
@click.argument("name")
@click.argument("folder", metavar="[DIR]", required=False)
@reading
def name_palace(run: Invocation, name: str, folder: str | None) -> None:
    """Gives a name to the palace in DIR, else to the one used here: --palace NAME finds it."""
    place = config.default_palace(folder) if folder else run.folder
    if not _NAME.fullmatch(name):
        raise InputError(
            f"no palace can be called {name!r}: letters, digits, `_`, `-` and `.` only"
        )
    if not Path(place, "palace.db").exists():
        raise NotFoundError(f"{place}: there is no palace here; nothing was named")
    place = str(Path(place).resolve())
    for other, taken in config.palaces().items():
        if taken == name and other != place:
            raise ConflictError(
                f"{other} is called {name}; palatine palaces forget {name} ends that"
            )
    config.change({"name": name}, palace=place)
    run.tell({"name": name, "place": place}, f"{place} is called {name}")


@palaces_command.command("forget", short_help="Forget that a palace is there.")
@click.argument("which", metavar="NAME|DIR")
@reading
def forget_palace(run: Invocation, which: str) -> None:
    """Forgets a palace, its name and what is set for it; nothing in its folder is touched."""
    known = config.palaces()
    named = [place for place, name in known.items() if name == which]
    place = named[0] if named else str(Path(config.default_palace(which)).resolve())
    if place not in known:
        raise NotFoundError(f"{place} is not among your palaces; see palatine palaces")
    config.forget(place)
    run.tell({"forgotten": place}, f"forgotten: {place}; the folder stays as it is")


@click.group("config", invoke_without_command=True, short_help="Show what is set, and set it.")
@reading
def config_command(_run: Invocation) -> None:
    """Your settings: what counts here, and where it comes from.

    \b
      palatine config                               shows all of them
      palatine config set palace ~/memory           your own palace
      palatine config set embedder none             search by words only, in all palaces
      palatine config unset embedder
    """  # noqa: D301 (the mark tells click not to wrap)
    _otherwise(show_settings)


@config_command.command("show", short_help="Show every setting and where it comes from.")
@reading
def show_settings(run: Invocation) -> None:
    """Shows every setting, its value, and where it comes from: a variable, a file, the default."""
    found = {key: config.setting(key, palace=run.folder) for key in config.SETTINGS}
    if found["embedder_key"][0]:
        found["embedder_key"] = "(not shown)", found["embedder_key"][1]
    answer = {key: {"value": value, "from": origin} for key, (value, origin) in found.items()}
    run.show(answer, ("setting", "value", "from"), [(k, *pair) for k, pair in found.items()], "")


_key = click.argument("key", metavar="KEY", type=click.Choice(config.USER_KEYS))


@config_command.command("set", short_help="Set a value for all your palaces.")
@_key
@click.argument("value")
@reading
def set_setting(run: Invocation, key: str, value: str) -> None:
    """Sets KEY to VALUE in your settings: palace, agent, embedder or embedder_model.

    The environment and a project's palatine.toml count before it. The key of an endpoint is
    kept out of files: PALATINE_EMBEDDER_KEY.
    """
    if key == "embedder":
        config.checked_embedder(value)
    _change(run, key, str(Path(value).expanduser().absolute()) if key == "palace" else value)


@config_command.command("unset", short_help="Take a value away.")
@_key
@reading
def unset_setting(run: Invocation, key: str) -> None:
    """Takes KEY out of your settings."""
    _change(run, key, None)


def _change(run: Invocation, key: str, value: str | None) -> None:
    config.change({key: value})
    now, origin = config.setting(key, palace=run.folder)
    if value is not None and origin != config.user_file():
        hint(f"{origin} says {now!r}, and counts before it here")
    run.tell({"key": key, "value": now, "from": origin}, f"{key}: {now or 'not set'}")


@click.command("completion", short_help="Print what makes the shell complete commands.")
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion_command(context: click.Context, shell: str) -> None:
    """Prints the script that makes your shell complete commands, options and palaces' names.

    \b
      bash: put this line into ~/.bashrc
              eval "$(palatine completion bash)"
      zsh:  put this line into ~/.zshrc, after compinit
              eval "$(palatine completion zsh)"
      fish: palatine completion fish > ~/.config/fish/completions/palatine.fish
    """  # noqa: D301 (the mark tells click not to wrap)
    # Only for this command: it asks bash for its version.
    from click.shell_completion import BashComplete, FishComplete, ZshComplete  # noqa: PLC0415

    kind = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}[shell]
    click.echo(kind(context.find_root().command, {}, "palatine", COMPLETE).source())
