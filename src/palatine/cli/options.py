"""What all commands have in common: which palace, who writes, and for whom the answer is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from palatine import config
from palatine.errors import StoreReadOnlyError

if TYPE_CHECKING:
    from palatine.palace import Palace

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(slots=True)
class Invocation:
    """One run of the program, as its common options say.

    Attributes:
        palace: the folder as given; None: the default.
        json: the answer is for a program.
        agent, session: who writes; None: as the environment says.
    """

    palace: str | None = None
    json: bool = False
    agent: str | None = None
    session: str | None = None

    def open(self, *, create: bool = False) -> Palace:
        """Opens the palace to write.

        Args:
            create: make one where there never was one.
        """
        agent, session = config.author()
        return _palace_class().open(
            self.palace,
            create=create,
            agent=agent if self.agent is None else self.agent,
            session=session if self.session is None else self.session,
        )

    def open_to_read(self) -> Palace:
        """Opens the palace for a command that writes nothing; its folder may be read-only."""
        try:
            return self.open()
        except StoreReadOnlyError:
            return _palace_class().open(self.palace, create=False, read_only=True)


def _palace_class() -> type[Palace]:
    from palatine.palace import Palace  # noqa: PLC0415 (help and completion need no SQLite)

    return Palace


def _kept(name: str) -> Callable[[click.Context, click.Parameter, Any], None]:
    """A callback that keeps an option's value in the invocation; the innermost one given wins."""

    def keep(context: click.Context, _parameter: click.Parameter, value: Any) -> None:
        run = context.ensure_object(Invocation)
        if value is not None and value is not False:
            setattr(run, name, value)

    return keep


palace_option = click.option(
    "--palace",
    metavar="DIR",
    expose_value=False,
    callback=_kept("palace"),
    help="The palace's folder; else PALATINE_PALACE, else your own palace.",
)
_json_option = click.option(
    "--json",
    is_flag=True,
    expose_value=False,
    callback=_kept("json"),
    help="Print JSON, for a program.",
)
_agent_option = click.option(
    "--agent",
    metavar="NAME",
    expose_value=False,
    callback=_kept("agent"),
    help="Who writes; else PALATINE_AGENT, else your login name.",
)
session_option = click.option(
    "--session",
    metavar="ID",
    expose_value=False,
    callback=_kept("session"),
    help="The writer's session; else PALATINE_SESSION.",
)


def reading(function: Function) -> Function:
    """Gives a command that only reads the common options, and the `Invocation` first."""
    return palace_option(_json_option(_with_invocation(function)))


def writing(function: Function) -> Function:
    """Gives a command that writes the common options, and the `Invocation` first."""
    return palace_option(_agent_option(_json_option(_with_invocation(function))))


def _with_invocation(function: Function) -> Function:
    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        invocation = click.get_current_context().ensure_object(Invocation)
        return function(invocation, *arguments, **options)

    return run  # type: ignore[return-value]  # wraps keeps the signature that click reads


def project_wing(folder: Path | None = None) -> str:
    """The wing of the project that one works in.

    Args:
        folder: None: the working folder.

    Returns:
        The name of the git repository's root, else of the folder; empty (the palace's default
        wing) in the home folder and above it, and where there is no folder any more.
    """
    try:
        here = (folder or Path.cwd()).resolve()
        home = Path.home().resolve()
    except (OSError, RuntimeError):
        return ""
    if here == home or here in home.parents:
        return ""
    for candidate in (here, *here.parents):
        if candidate == home:  # a repository of dotfiles is no project
            break
        if (candidate / ".git").exists():
            return candidate.name
    return here.name
