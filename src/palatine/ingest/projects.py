"""Which project a folder belongs to: it names the wing, and the root of sources."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

_TRANSCRIPTS: dict[tuple[str, ...], str] = {
    (".claude", "projects"): "claude-code",
    (".codex", "sessions"): "codex",
    (".gemini", "tmp"): "gemini",
    ("Cursor", "User"): "cursor",
    ("share", "opencode"): "opencode",
}


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
    except (OSError, RuntimeError, ValueError):
        return ""
    if here == home or here in home.parents:
        return ""
    return (_repository(here, home) or here).name


def root_of(folder: Path) -> tuple[Path, str]:
    """The folder that sources are named relative to, and its name.

    The transcripts of a client have one root, a repository is one, and any other folder.
    """
    for candidate in (folder, *folder.parents):
        if name := _TRANSCRIPTS.get(candidate.parts[-2:]):
            return candidate, name
    root = _repository(folder, Path.home().resolve()) or folder
    return root, root.name


def _repository(folder: Path, home: Path) -> Path | None:
    for candidate in (folder, *folder.parents):
        if candidate == home:  # a repository of dotfiles is no project
            return None
        with suppress(OSError):  # where we may not look, or that is too long to be a path
            if (candidate / ".git").exists():
                return candidate
    return None
