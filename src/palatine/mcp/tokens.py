"""The bearer tokens of the HTTP server: one small file each, in the palace's folder.

A file is linked or renamed into its place whole, so two people can add tokens at once, a running
server reads no half of one, and what is removed or rotated counts from the next request on. The
secret stands there in plain text: it can be shown again, and who can read the file can read the
palace beside it without any token.
"""

from __future__ import annotations

import hmac
import json
import os
import re
import secrets
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

from palatine.errors import ConflictError, InputError, NotFoundError
from palatine.text import clean_name

FIRST = "default"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SECRET_BYTES = 32


@dataclass(frozen=True, slots=True)
class Token:
    """A key to a palace over HTTP.

    Attributes:
        read_only: it is offered no tool that writes.
        wing: it reaches only this wing; empty: all.
    """

    name: str
    secret: str
    read_only: bool = False
    wing: str = ""


class Tokens:
    """The tokens of one palace. Any number of processes may read and change them at once."""

    def __init__(self, palace: Path) -> None:
        """Takes the folder of a palace, which exists."""
        self._folder = palace / "tokens"

    def reachable(self) -> bool:
        """Whether the folder of the tokens is there: without it, none can be told from another."""
        return self._folder.is_dir()

    def all(self) -> list[Token]:
        """Every token, by name.

        Raises:
            InputError: one is damaged.
        """
        return [token for path in self._paths() if (token := _read(path)) is not None]

    def usable(self) -> Iterator[Token]:
        """The tokens that open something: a damaged one does not, and shuts no other out."""
        for path in self._paths():
            with suppress(InputError, PermissionError, IsADirectoryError):
                if (token := _read(path)) is not None:
                    yield token

    def _paths(self) -> list[Path]:
        if not self.reachable():
            return []
        return sorted(path for path in self._folder.iterdir() if _NAME.fullmatch(path.name))

    def get(self, name: str) -> Token:
        """The token of this name.

        Raises:
            NotFoundError: there is none.
        """
        token = _read(self._folder / name) if _NAME.fullmatch(name) else None
        if token is None:
            raise NotFoundError(f"there is no token {name!r}; see palatine token list")
        return token

    def holder(self, secret: str) -> Token | None:
        """The token with this secret; takes the same time whichever it is."""
        given, found = secret.encode("utf-8", "surrogateescape"), None
        for token in self.usable():
            if hmac.compare_digest(token.secret.encode(), given):
                found = token
        return found

    def ensure(self) -> Token | None:
        """Makes the first token where there is none; returns it if it is new."""
        try:
            return None if self.all() else self.add(FIRST)
        except ConflictError:  # another server was quicker
            return None

    def add(self, name: str, *, read_only: bool = False, wing: str | None = None) -> Token:
        """Makes a token; None is for all wings.

        Raises:
            InputError: the name or the wing cannot be used.
            ConflictError: there is a token of this name.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                f"{name!r} cannot be the name of a token: give letters, digits, dots, dashes and"
                " underscores, at most 64, the first a letter or a digit"
            )
        wing = "" if wing is None else clean_name(wing, "the wing")
        token = Token(name, secrets.token_urlsafe(_SECRET_BYTES), read_only, wing)
        written = self._written(token)
        try:
            os.link(written, self._folder / name)
        except FileExistsError:
            raise ConflictError(
                f"there is a token {name!r}; rotate it, or remove it first"
            ) from None
        finally:
            written.unlink()
        return token

    def rotate(self, name: str) -> Token:
        """Gives a token a new secret; the old one opens nothing from now on."""
        token = replace(self.get(name), secret=secrets.token_urlsafe(_SECRET_BYTES))
        self._written(token).replace(self._folder / name)
        return token

    def remove(self, name: str) -> None:
        """Removes a token, also a damaged one; it opens nothing from now on."""
        with suppress(InputError):
            self.get(name)
        (self._folder / name).unlink(missing_ok=True)

    def _written(self, token: Token) -> Path:
        """A new file with the token, under a name that is no token's, readable by its owner."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._folder.chmod(0o700)
        path = self._folder / f".{secrets.token_hex(8)}"
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:  # noqa: PTH123 (of a descriptor)
            os.fchmod(descriptor, 0o600)
            json.dump(asdict(token), file)
        return path


def _read(path: Path) -> Token | None:
    try:
        token = Token(**json.loads(path.read_text("utf-8")))
        # A copy under another name would stay when the token is rotated.
        if [*map(type, astuple(token))] != [str, str, bool, str] or token.name != path.name:
            raise ValueError
        return token
    except FileNotFoundError:  # removed since its name was read
        return None
    except (ValueError, TypeError) as error:
        raise InputError(f"{path} is no token: remove it, and add the token again") from error
