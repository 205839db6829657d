"""Commands for the HTTP server: serve, and the tokens that open it."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import click

from palatine.cli.options import Invocation, needing_extra, palace_option, reading
from palatine.cli.output import hint, say
from palatine.errors import InputError
from palatine.mcp import tools
from palatine.mcp.tokens import FIRST, Token, Tokens

_PORT = 8765
_FILE = click.Path(exists=True, dir_okay=False)


@click.command("serve", short_help="Serve the palace to MCP clients over HTTP.")
@click.option("--host", default="127.0.0.1", metavar="ADDRESS", help="Where to listen; 127.0.0.1.")
@click.option("--port", default=_PORT, type=click.IntRange(0, 65535), help="8765; 0: a free one.")
@click.option("--certfile", type=_FILE, help="A certificate (PEM): serve HTTPS.")
@click.option("--keyfile", type=_FILE, help="Its key, where that is in a file of its own.")
@click.option("--behind-proxy", is_flag=True, help="A proxy before it does the TLS.")
@click.option(
    "--allow-host",
    "names",
    multiple=True,
    metavar="NAME",
    help="A name that clients call it by, besides the address; may be repeated.",
)
@click.option("--read-only", is_flag=True, help="Offer no tool that writes, whatever the token.")
@palace_option
@click.pass_obj
def serve_command(
    run: Invocation,
    /,
    host: str,
    port: int,
    behind_proxy: bool,
    names: tuple[str, ...],
    read_only: bool,
    **tls: str | None,
) -> None:
    """Serves the palace to any number of MCP clients over HTTP, at /mcp.

    Prints the address when it is ready. Every request needs a bearer token, also from this
    machine; the first one is made here, `palatine token` shows it and makes others. Stop it with
    Ctrl-C or SIGTERM: calls in flight are answered first. Servers on standard input and output
    may work on the same palace meanwhile.

    \b
      palatine serve
      palatine serve --host 192.168.1.5 --certfile cert.pem --keyfile key.pem
      palatine serve --behind-proxy --allow-host memory.example.org
    """  # noqa: D301 (the mark tells click not to wrap)
    if tls["keyfile"] and not tls["certfile"]:
        raise click.UsageError("--keyfile needs the --certfile that it belongs to")
    hosts = _hosts(host, names, secured=bool(tls["certfile"]) or behind_proxy)
    with needing_extra("serve"):
        from palatine.mcp import http  # noqa: PLC0415 (an extra, and heavy)
    open_palace = tools.opener(run.folder, read_only=read_only)
    with http.listening(host, port) as listener, open_palace() as palace:
        tokens = Tokens(Path(run.folder))
        if tokens.ensure():
            hint("made the first token: palatine token show")
        shown = f"[{host}]" if ":" in host else host
        url = f"{shown}:{listener.getsockname()[1]}{http.PATH}"
        offers = tools.registry(read_only=read_only), tools.registry(read_only=True)
        http.serve(
            http.Service(*offers, palace, tokens, hosts),
            listener,
            ready=lambda: say(f"{'https' if tls['certfile'] else 'http'}://{url}"),
            **tls,
        )


def _hosts(host: str, names: tuple[str, ...], *, secured: bool) -> set[str]:
    """The names that clients may use.

    Raises:
        InputError: the address is open to other machines, and nothing protects the tokens there.
    """
    loopback = {"localhost", "127.0.0.1", "::1"}
    wanted = {name.lower() for name in names}
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if host != "localhost":
            raise InputError(f"{host!r} is no address; give an IP address, or localhost") from None
        return wanted | loopback
    if address.is_loopback:
        return wanted | loopback
    if not secured:
        raise InputError(
            f"{host} can be reached from other machines, and tokens would travel unencrypted:"
            " give --certfile and --keyfile, or --behind-proxy if a proxy does the TLS"
        )
    if not address.is_unspecified:
        wanted.add(str(address))
    if not wanted:
        raise InputError(f"{host} is every address of this machine: name it with --allow-host NAME")
    return wanted


@click.group("token", short_help="Show, make and remove the keys to palatine serve.")
def token_command() -> None:
    """Shows, makes and removes the bearer tokens that `palatine serve` asks for.

    They lie in the palace's folder. A running server heeds every change at once.

    \b
      palatine token show
      palatine token add reviewer --read-only
      palatine token add app --wing app
    """  # noqa: D301 (the mark tells click not to wrap)


def _tokens(run: Invocation) -> Tokens:
    run.open_to_read(whole=True).close()  # says so where there is no palace
    return Tokens(Path(run.folder))


def _show(run: Invocation, token: Token) -> None:
    run.tell({**_public(token), "token": token.secret}, token.secret)


def _public(token: Token) -> dict[str, object]:
    return {"name": token.name, "read_only": token.read_only, "wing": token.wing or None}


@token_command.command("show")
@click.argument("name", default=FIRST)
@reading
def show_command(run: Invocation, name: str) -> None:
    """Prints a token, the first one if no NAME is given."""
    _show(run, _tokens(run).get(name))


@token_command.command("add")
@click.argument("name")
@click.option("--read-only", is_flag=True, help="It is offered no tool that writes.")
@click.option("--wing", metavar="WING", help="It reaches only this wing.")
@reading
def add_command(run: Invocation, name: str, read_only: bool, wing: str | None) -> None:
    """Makes a token and prints it. Exit code 3 when there is one of that name."""
    _show(run, _tokens(run).add(name, read_only=read_only, wing=wing))


@token_command.command("rotate")
@click.argument("name", default=FIRST)
@reading
def rotate_command(run: Invocation, name: str) -> None:
    """Gives a token a new secret and prints it; the old one opens nothing any more."""
    _show(run, _tokens(run).rotate(name))


@token_command.command("list")
@reading
def list_command(run: Invocation) -> None:
    """Lists the tokens without their secrets."""
    found = _tokens(run).all()
    answer = {"tokens": [_public(token) for token in found]}
    rows = [(each.name, "read-only" if each.read_only else "", each.wing) for each in found]
    none = "there is no token yet; palatine serve makes the first one"
    run.show(answer, ("name", "rights", "wing"), rows, none)


@token_command.command("remove")
@click.argument("name")
@reading
def remove_command(run: Invocation, name: str) -> None:
    """Removes a token; it opens nothing any more."""
    _tokens(run).remove(name)
    hint(f"removed: {name}")
