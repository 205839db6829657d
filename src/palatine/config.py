"""What the surroundings say: the only module that reads the environment."""

from __future__ import annotations

import os
from collections.abc import Mapping


def environment() -> Mapping[str, str]:
    """The process's environment; cheap, for the start of the MCP server."""
    return os.environ


def default_palace(given: str | None = None) -> str:
    """The folder of the palace: what was given, else `PALATINE_PALACE`, else the user's own.

    Args:
        given: a path as the user typed it; `~` is expanded.
    """
    path = given or environment().get("PALATINE_PALACE")
    if path:
        return os.path.expanduser(path)  # noqa: PTH111 (pathlib is not imported on the way in)
    from platformdirs import user_data_path  # noqa: PLC0415 (only where nothing was said)

    return str(user_data_path("palatine", appauthor=False) / "palace")


def embedder_name() -> str:
    """The embedder that texts and questions get: `PALATINE_EMBEDDER`, else `minilm`."""
    return environment().get("PALATINE_EMBEDDER") or "minilm"


def endpoint() -> tuple[str, str]:
    """What an embedder's endpoint is asked for: its model, and the key that opens it."""
    given = environment()
    return given.get("PALATINE_EMBEDDER_MODEL", ""), given.get("PALATINE_EMBEDDER_KEY", "")


def cache_folder() -> str:
    """Where files lie that can be made again, for all palaces of the user."""
    from platformdirs import user_cache_path  # noqa: PLC0415 (where a model is loaded)

    return str(user_cache_path("palatine", appauthor=False))


def author() -> tuple[str, str]:
    """Who runs a command, as (agent, session): what is set, else an agent's shell, else the user.

    `PALATINE_AGENT` and `PALATINE_SESSION` come first. A shell of Claude Code has its session's
    id, and its commands count as that session's; otherwise the agent is the user's login name.
    """
    given = environment()
    session = given.get("CLAUDE_CODE_SESSION_ID", "")
    user = "claude-code" if session else given.get("USER") or given.get("USERNAME") or "cli"
    return given.get("PALATINE_AGENT") or user, given.get("PALATINE_SESSION") or session
