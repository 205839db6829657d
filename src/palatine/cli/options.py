"""What all commands have in common: which palace, who writes, and for whom the answer is."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial, wraps
from typing import TYPE_CHECKING, Any, TypeVar

import click

from palatine import config
from palatine.cli.output import give, hint, on_terminal, say, table
from palatine.errors import InputError, PalatineError, StoreReadOnlyError

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from palatine.embed import Embedder
    from palatine.palace import Palace

COMPLETE = "_PALATINE_COMPLETE"
"""The variable by which a shell asks what a command line may go on with."""

Function = TypeVar("Function", bound=Callable[..., Any])


@dataclass(slots=True)
class Invocation:
    """One run of the program, as its common options say.

    Attributes:
        palace: the folder, or the palace's name, as given; None: the default.
        json: the answer is for a program.
        agent, session: who writes; None: as the environment says.
        wing: the only wing to see and to write; None: as the environment says.
    """

    palace: str | None = None
    json: bool = False
    agent: str | None = None
    session: str | None = None
    wing: str | None = None

    @property
    def folder(self) -> str:
        """The palace's folder."""
        return config.default_palace(config.named_palace(self.palace))

    @property
    def who(self) -> tuple[str, str]:
        """Who writes: the agent, and the session."""
        agent, session = config.author()
        return (
            agent if self.agent is None else self.agent,
            session if self.session is None else self.session,
        )

    @property
    def scope(self) -> str:
        """The wing that the command is limited to; empty: none."""
        return config.default_wing(self.wing)

    def open(
        self,
        *,
        create: bool = False,
        whole: bool = False,
        embedder: Embedder | str | None = None,
        background: bool = False,
    ) -> Palace:
        """Opens the palace to write.

        Args:
            create: make one where there never was one.
            whole: all wings, whatever the command is limited to; for what cares for the files.
            embedder, background: see `Palace.open`.
        """
        agent, session = self.who
        return palace_class().open(
            self.folder,
            create=create,
            agent=agent,
            session=session,
            wing="" if whole else self.scope,
            embedder=embedder,
            background=background,
        )

    def open_to_read(self, *, whole: bool = False) -> Palace:
        """Opens the palace for a command that writes nothing; its folder may be read-only."""
        try:
            return self.open(whole=whole)
        except StoreReadOnlyError:
            wing = "" if whole else self.scope
            return palace_class().open(self.folder, create=False, read_only=True, wing=wing)

    def tell(self, answer: object, sentence: str, *rows: Sequence[object]) -> None:
        """Says what was done: as JSON, in a sentence, or to a pipe in rows, if there are any."""
        if self.json:
            give(answer)
        elif on_terminal() or not rows:
            say(sentence)
        else:
            table((), rows)

    def show(
        self,
        answer: object,
        columns: Sequence[str],
        rows: Sequence[Sequence[object]],
        nothing: str,
        *,
        cursor: str = "",
    ) -> int:
        """Shows what was found, as JSON or as a table, or says that it is nothing: exit code 1."""
        if self.json:
            give(answer)
        elif rows:
            table(columns, rows)
            if cursor:
                hint(f"there is more: --cursor {cursor}")
        elif nothing:
            hint(nothing)
        return 0 if rows else 1


def palace_class() -> type[Palace]:
    """The class, loaded by the commands that need a palace."""
    from palatine.palace import Palace  # noqa: PLC0415 (help and completion need no SQLite)

    return Palace


@contextmanager
def needing_extra(command: str) -> Iterator[None]:
    """Says which extra of the package the imports within belong to, where one is missing.

    Raises:
        InputError: a package is not installed.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        raise InputError(
            f"palatine {command} needs a package that is not installed ({error.name}):"
            f" pip install 'palatine[{command}]'"
        ) from error


def _kept(name: str) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that keeps an option's value in the invocation; the innermost one given wins."""

    def keep(context: click.Context, _parameter: click.Parameter, value: Any) -> Any:
        run = context.ensure_object(Invocation)
        if value is not None and value is not False:
            setattr(run, name, value)
        return value

    return keep


def _palaces(_context: click.Context, _option: object, begun: str) -> list[CompletionItem]:
    """The names that the shell offers for --palace; it adds the folders."""
    from click.shell_completion import CompletionItem  # noqa: PLC0415 (for a shell that asks)

    with suppress(PalatineError):  # there is nobody to be told
        names = [name for name in config.palaces().values() if name and name.startswith(begun)]
        return [CompletionItem(begun, type="dir"), *map(CompletionItem, names)]
    return []


def _common(name: str, **more: Any) -> Callable[[Function], Function]:
    return click.option(f"--{name}", expose_value=False, callback=_kept(name), **more)


palace_option = _common(
    "palace",
    metavar="DIR",
    shell_complete=_palaces,
    help="The palace's folder or name; else PALATINE_PALACE, palatine.toml, your own palace.",
)
_json_option = _common("json", is_flag=True, help="Print JSON, for a program.")
_agent_option = _common(
    "agent", metavar="NAME", help="Who writes; else PALATINE_AGENT, else your login name."
)
_session_option = _common(
    "session", metavar="ID", help="The writer's session; else PALATINE_SESSION."
)
wing_option = partial(click.option, "--wing", metavar="NAME", callback=_kept("wing"))
"""A wing as an argument, to which the whole command is then limited."""


def reading(function: Function) -> Function:
    """Gives a command that only reads the common options, and the `Invocation` first."""
    return palace_option(_json_option(_with_invocation(function)))


def writing(function: Function) -> Function:
    """Gives a command that writes the common options, and the `Invocation` first."""
    return writing_out_of_session(_session_option(function))


def writing_out_of_session(function: Function) -> Function:
    """As `writing`, for a command whose changes are of no session, or that has its own one."""
    return palace_option(_agent_option(_json_option(_with_invocation(function))))


def _with_invocation(function: Function) -> Function:
    @wraps(function)
    def run(*arguments: Any, **options: Any) -> Any:
        invocation = click.get_current_context().ensure_object(Invocation)
        return function(invocation, *arguments, **options)

    return run  # type: ignore[return-value]  # wraps keeps the signature that click reads
