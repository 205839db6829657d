"""What the surroundings say: the environment, a project's `palatine.toml`, the user's settings.

The only module that reads the environment. Light to import, for the start of the MCP server: files
are read when a palace is opened.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from palatine.errors import ConflictError, InputError, NotFoundError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

SETTINGS = (
    *("palace", "wing", "agent", "session"),
    *("embedder", "embedder_model", "embedder_key", "facts_key"),
)
"""All there are; each has a variable, `PALATINE_` and its name in capitals."""
USER_KEYS = ("palace", "agent", "embedder", "embedder_model")
"""What the user's `config.toml` may say."""
_PALACE_KEYS = ("name", "embedder", "embedder_model")
"""What it may say about one palace."""
_PROJECT_KEYS = ("palace", "wing")
"""What a `palatine.toml` may say: one from elsewhere must not choose who is sent the texts."""
_CLAUDE_SESSION = "CLAUDE_CODE_SESSION_ID"


def environment() -> Mapping[str, str]:
    """The process's environment; cheap, for the start of the MCP server."""
    return os.environ


def setting(key: str, *, palace: str = "") -> tuple[str, str]:
    """A setting, and where it comes from: a variable, a file, or `default`.

    A variable counts first, then the project's file, then the user's.

    Args:
        key: one of `SETTINGS`.
        palace: the palace's folder: what is set for it alone counts before the rest of the file.

    Raises:
        InputError: a file cannot be used; says which, where and why.
    """
    variable = f"PALATINE_{key.upper()}"
    if value := environment().get(variable):
        return value, variable
    if key in ("agent", "session") and (value := environment().get(_CLAUDE_SESSION)):
        return value if key == "session" else "claude-code", _CLAUDE_SESSION
    if key in _PROJECT_KEYS:
        origin, found = _project()
        if key in found:
            return _from(origin, found, key), origin
    if key in USER_KEYS:
        origin, found = user_file(), user_settings()
        own = found["palaces"].get(os.path.realpath(palace), {}) if palace else {}
        if key in own or key in found:
            return _from(origin, found | own, key), origin
    return _default(key), "default"


def _from(origin: str, found: Mapping[str, str], key: str) -> str:
    value = found[key]
    if key != "palace":
        return value
    return os.path.normpath(os.path.join(os.path.dirname(origin), os.path.expanduser(value)))


def _default(key: str) -> str:
    if key == "palace":
        return os.path.join(_folder("data"), "palace")
    if key == "agent":
        return environment().get("USER") or environment().get("USERNAME") or "cli"
    return "minilm" if key == "embedder" else ""


def default_palace(given: str | None = None) -> str:
    """The folder of the palace: what was given, else what is set, else the user's own.

    Args:
        given: a path as the user typed it; `~` is expanded.
    """
    return os.path.expanduser(given or setting("palace")[0])


def named_palace(given: str | None) -> str | None:
    """The path that `--palace` means: a folder, else the palace that the user calls so.

    Raises:
        NotFoundError: there is neither, but a palace with nearly this name.
    """
    if not given or os.path.basename(given) != given or given[0] == "~" or os.path.isdir(given):
        return given
    named = user_settings()["palaces"].items()
    names: dict[str, str] = {each["name"]: place for place, each in named if "name" in each}
    if given not in names and (near := _near(given, names)):
        raise NotFoundError(
            f"there is no folder {given!r} here and no palace of that name; there is"
            f" {', '.join(near)} (for a new folder: {os.path.join('.', given)})",
            candidates=tuple(near),
        )
    return names.get(given, given)


def default_wing(given: str | None = None, *, from_files: bool = True) -> str:
    """The only wing to see and to write: what was given, else what is set; empty: all.

    Args:
        given: a wing; empty is as if not given.
        from_files: also what a project's file says; False: load nothing more.
    """
    given = given or environment().get("PALATINE_WING")
    return given or (setting("wing")[0] if from_files else "")


def checked_embedder(name: str) -> str:
    """The name of an embedder, or the URL of an endpoint.

    Raises:
        InputError: there is no such embedder.
    """
    if name.startswith(("http://", "https://")):
        if "@" in name.split("/")[2]:
            raise InputError("an endpoint's URL holds no secret; PALATINE_EMBEDDER_KEY has its key")
    elif name not in ("minilm", "none", "hashing"):
        raise InputError(
            f"there is no embedder {name!r}; give minilm, none, or the URL of an endpoint"
        )
    return name


def author() -> tuple[str, str]:
    """Who runs a command, as (agent, session): what is set, else an agent's shell, else the user.

    `PALATINE_AGENT` and `PALATINE_SESSION` come first. A shell of Claude Code has its session's
    id, and its commands count as that session's; otherwise the agent is what the user has set, or
    the login name.
    """
    return setting("agent")[0], setting("session")[0]


def cache_folder() -> str:
    """Where files lie that can be made again, for all palaces of the user."""
    return _folder("cache")


def state_folder() -> str:
    """Where logs lie, and the notes of which palaces are known."""
    return _folder("state")


def _folder(kind: str) -> str:
    """The user's folder of this kind; relative where nobody knows the user's home."""
    import platformdirs

    return str(getattr(platformdirs, f"user_{kind}_path")("palatine", appauthor=False))


# Files


def user_file() -> str:
    """The path of the user's settings, whether there are any or not."""
    return os.path.join(_folder("config"), "config.toml")


def user_settings() -> dict[str, Any]:
    """What stands in the user's settings; `palaces` has what is set for one, by its path."""
    path = user_file()
    if not (os.path.isabs(path) and os.path.isfile(path)):
        return {"palaces": {}}
    found = _parsed(path, _read(path))
    sections = found.setdefault("palaces", {})
    if not isinstance(sections, dict) or not all(isinstance(s, dict) for s in sections.values()):
        raise InputError(f"{path}: palaces must be tables, as [palaces.'/srv/memory']")
    for section in sections.values():
        _check(path, section, _PALACE_KEYS)
    _check(path, {key: value for key, value in found.items() if key != "palaces"}, USER_KEYS)
    return found


def _project() -> tuple[str, Mapping[str, str]]:
    """The nearest `palatine.toml` from the working folder upward: its path, and what it says.

    One that belongs to a stranger (not you, not root, not the working folder's owner) does not
    count: anybody can leave one in a folder that all share.
    """
    try:
        here = os.getcwd()
        trusted = {0, os.stat(here).st_uid, *((os.getuid(),) if hasattr(os, "getuid") else ())}
    except OSError:  # the folder is gone
        return "", {}
    folder, below = here, ""
    while folder != below:
        path = os.path.join(folder, "palatine.toml")
        if os.path.isfile(path) and os.stat(path).st_uid in trusted:
            found = _parsed(path, _read(path))
            found.pop("on", None)  # rules: never those of a file that came with a project
            _check(path, found, _PROJECT_KEYS)
            return path, found
        folder, below = os.path.dirname(folder), folder
    return "", {}


def rules_file() -> str:
    """The path of the user's own rules, beside the settings, whether there are any or not."""
    return os.path.join(os.path.dirname(user_file()), "palatine.toml")


def rules(path: str) -> list[dict[str, Any]]:
    """The `[[on]]` tables of a file; none when there is no such file.

    Raises:
        InputError: it is broken, or somebody else than the user could have written it.
    """
    if not os.path.isfile(path):
        return []
    state = os.stat(path)
    if hasattr(os, "getuid") and (state.st_uid not in (0, os.getuid()) or state.st_mode & 0o22):
        raise InputError(
            f"{path}: its commands are not run, for others can write it; make it yours alone"
            " (chmod go-w)"
        )
    found = _parsed(path, _read(path)).get("on", [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise InputError(f"{path}: rules are tables, as [[on]]")
    return found


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error


def _parsed(path: str, data: bytes) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(data.decode("utf-8-sig").replace("\r\n", "\n"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"{path}: this is not UTF-8 (at line {line})") from error
    except (ValueError, RecursionError) as error:
        end = len(data.splitlines())
        why = str(error).replace("at end of document", f"at line {end}, the last")
        raise InputError(f"{path}: {why}") from error


def _check(path: str, found: Mapping[str, object], keys: Iterable[str]) -> None:
    for key, value in found.items():
        if key not in keys:
            there = ", ".join(_near(key, keys) or keys)
            raise InputError(f"{path}: there is no setting {key!r} here; there is {there}")
        if not isinstance(value, str) or not value.strip() or not value.isprintable():
            raise InputError(f'{path}: {key} must be text in one line, as {key} = "..."')


def _near(word: str, words: Iterable[str]) -> list[str]:
    import difflib

    return difflib.get_close_matches(word, words)


def change(values: Mapping[str, str | None], *, palace: str = "") -> None:
    """Writes the user's settings, all or none; whatever else stands in the file stays.

    Args:
        values: None takes a setting away.
        palace: the folder that they are for; empty: all.

    Raises:
        InputError: a value cannot be used, or the file cannot; nothing was written.
        ConflictError: another process is writing the file; nothing was written.
    """
    path = os.path.realpath(user_file())
    given = {key: value for key, value in values.items() if value is not None}
    _check(path, given, _PALACE_KEYS if palace else USER_KEYS)
    if not palace.isprintable():
        raise InputError(f"{palace!r} cannot stand in the settings; nothing was written")
    if not os.path.isabs(user_file()):
        raise InputError("nobody knows your home folder (HOME is not set); nothing was written")
    os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
    try:  # what is written is the lock, too: who makes it may write
        descriptor = os.open(new := path + ".new", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise ConflictError(
            f"another command is writing the settings, nothing was written; try again, and if none"
            f" is running, remove {new}"
        ) from None
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(_changed(path, values, os.path.realpath(palace) if palace else ""))
            file.flush()
            os.fsync(descriptor)
        os.replace(new, path)
    except BaseException:
        os.unlink(new)
        raise


def _changed(path: str, values: Mapping[str, str | None], palace: str) -> bytes:
    """The user's file with these values; one that is broken is not made worse."""
    import tomlkit

    user_settings()
    text = _read(path).decode("utf-8-sig") if os.path.isfile(path) else ""
    section = document = tomlkit.parse(text)
    for name in ("palaces", palace) if palace else ():
        section = section.setdefault(name, {})
    for key, value in values.items():
        if value is None:
            section.pop(key, None)
        else:
            section[key] = value
    if palace and not section:
        document["palaces"].pop(palace)
    return tomlkit.dumps(document).encode()


# Known palaces


def palaces() -> dict[str, str]:
    """The palaces that this user has written to or named: their paths, and their names or ""."""
    named = {place: each.get("name", "") for place, each in user_settings()["palaces"].items()}
    return dict.fromkeys(_noted(), "") | named


def palace_name(palace: str) -> str:
    """What the user calls this palace; mostly nothing."""
    section = user_settings()["palaces"].get(os.path.realpath(palace), {})
    return str(section.get("name", ""))


def remember(palace: str) -> None:
    """Notes, once, that the user has opened this palace to write; where that fails, nothing.

    Each palace has a file of its own, so that nobody waits for anybody.
    """
    try:
        note = _note(palace)
        if os.path.exists(note) or not os.path.isabs(note):
            return
        os.makedirs(os.path.dirname(note), mode=0o700, exist_ok=True)
        descriptor = os.open(f"{note}.new", os.O_WRONLY | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "wb") as file:  # the same bytes, whoever else is at it
            file.write(os.fsencode(os.path.realpath(palace)))
        os.replace(f"{note}.new", note)
    except OSError:
        pass


def forget(palace: str) -> None:
    """Forgets a palace, its name and what is set for it; its folder stays as it is."""
    if os.path.realpath(palace) in user_settings()["palaces"]:
        change(dict.fromkeys(_PALACE_KEYS), palace=palace)
    if os.path.exists(note := _note(palace)):
        os.unlink(note)


def _note(palace: str) -> str:
    import hashlib

    digest = hashlib.sha256(os.fsencode(os.path.realpath(palace))).hexdigest()
    return os.path.join(_folder("state"), "palaces", digest)


def _noted() -> list[str]:
    folder = os.path.dirname(_note(""))
    found = []
    for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
        with open(os.path.join(folder, name), "rb") as file:
            place = os.fsdecode(file.read())
        found += [place] if not name.endswith(".new") else []
    return found
