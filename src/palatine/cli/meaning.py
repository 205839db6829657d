"""Commands for search by meaning: embed what waits for it, and change the embedder."""

from __future__ import annotations

import click

from palatine import config, embed
from palatine.cli.options import Invocation, writing_out_of_session
from palatine.cli.output import give, hint, progress, say
from palatine.errors import InputError
from palatine.types import Embedded


@click.command("embed", short_help="Make new texts findable by meaning.")
@writing_out_of_session
def embed_command(run: Invocation) -> int:
    """Embeds every text that is not embedded yet, so that search finds it by meaning, too.

    Texts are found by their words at once; a server that searches embeds them by itself. Others
    may go on working. Interrupted, it goes on next time. Exit code 3 when the palace's vectors
    are another embedder's: see reembed.
    """
    with run.open(whole=True) as palace, progress("embedding") as told:
        embedded = palace.embed(progress=told)
    return _show(run, embedded)


@click.command("reembed", short_help="Change the embedder of the palace.")
@click.option(
    "--embedder",
    metavar="NAME|URL",
    help="minilm, or the URL of an OpenAI-compatible endpoint; kept for this palace.",
)
@click.option("--model", metavar="NAME", help="The model's name at the endpoint.")
@writing_out_of_session
def reembed_command(run: Invocation, embedder: str | None, model: str | None) -> int:
    """Embeds every text anew: with another embedder, or with the one that is set now.

    --embedder is kept in your settings, so that all your servers and commands use it for this
    palace from then on. The endpoint is asked first; if it does not answer as it must, nothing is
    changed. Its key, if it wants one, is PALATINE_EMBEDDER_KEY, in the servers' environment, too.

    Others may go on working: what is not embedded anew yet is found by its words. Interrupted, it
    goes on next time; with the embedder that the palace has it is the same as embed.

    \b
      palatine reembed --embedder http://localhost:11434/v1 --model bge-m3
      palatine reembed --embedder minilm              back to the packaged model
    """  # noqa: D301 (the mark tells click not to wrap)
    if model and not embedder:
        raise InputError("--model is the endpoint's; give its URL, too: --embedder URL")
    chosen = _chosen(embedder, model) if embedder else None
    with run.open(whole=True, embedder=chosen) as palace, progress("embedding") as told:
        if embedder:
            settings = {"embedder": embedder, "embedder_model": model}
            config.change(settings, palace=run.folder)
        embedded = palace.reembed(progress=told)
    if embedder and config.setting("embedder", palace=run.folder)[0] != embedder:
        hint("PALATINE_EMBEDDER names another embedder, and counts first where it is set")
    return _show(run, embedded)


def _chosen(name: str, model: str | None) -> embed.Embedder | str:
    """The embedder; an endpoint has given a vector."""
    if config.checked_embedder(name) == "none":
        raise InputError(
            "reembed needs an embedder; to search by words only, set PALATINE_EMBEDDER=none"
        )
    if not name.startswith("http"):
        if model:
            raise InputError(f"{name} is one model, and takes no --model")
        return name
    if not model:
        raise InputError("an endpoint has many models; name one: --model NAME")
    return embed.open_remote(name, model, api_key=config.setting("embedder_key")[0])


def _show(run: Invocation, embedded: Embedded) -> int:
    if run.json:
        give(
            {
                "stored": embedded.stored,
                "pending": embedded.pending,
                "another_process_is_at_it": not embedded.alone,
            }
        )
    elif embedded.alone:
        say(f"embedded: {embedded.stored} passages; {embedded.pending} not embedded yet")
    else:
        hint(f"another process is embedding; {embedded.pending} passages not embedded yet")
    return 0
