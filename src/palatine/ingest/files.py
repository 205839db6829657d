"""Which files of a folder are read, and how a text file becomes pieces."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pathspec

from palatine.errors import InputError
from palatine.ingest import redact
from palatine.ingest.base import Piece, Reader
from palatine.text import clean_label

MAX_BYTES = 32 * 1024 * 1024
PIECE_CHARS = 24_000
MAX_DEPTH = 200
_SECRET_CHARS = 4000
IGNORE_FILES = (".gitignore", ".palatineignore")

# Never read: what other programs made or keep, and files that are secrets as a whole. And palaces:
# to close a file is to give up this process's locks on it, which SQLite counts on.
FOLDERS = frozenset(
    """.git .hg .svn .venv venv node_modules __pycache__ .tox .nox .mypy_cache .ruff_cache
    .pytest_cache .idea .vscode dist build target .next .cache site-packages""".split()  # noqa: SIM905
)
_NEVER = pathspec.GitIgnoreSpec.from_lines(
    """.env .env.* !.env.example *.pem *.key *.p12 *.pfx *.kdbx *.keystore id_rsa* id_ed25519*
    id_ecdsa* .netrc .npmrc .pypirc credentials *.min.js *.min.css *.map *.lock *.svg
    package-lock.json pnpm-lock.yaml palace.db palace.db-*""".split()  # noqa: SIM905
)
_HEADING = re.compile(r"^(?:#{1,3} |def |class |func |fn |pub |export |impl )", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Found:
    """A file to read: below the root, with slashes, and its state when it was seen.

    Attributes:
        read: what reads it, when it is a conversation in a file of many.
    """

    path: str
    file: Path
    size: int
    modified: int
    read: Reader | None = None


@dataclass(frozen=True, slots=True)
class Problem:
    """A file that was not read, and why."""

    path: str
    reason: str


def walk(root: Path, folder: Path) -> Iterator[Found | Problem]:
    """The files below a folder, in the order of their paths, but for what is ignored.

    A link that leads out of the root, or to a folder, is not followed.

    Args:
        root: what paths are relative to, and where ignore files begin to count.
        folder: the root, or a folder in it.
    """
    specs: list[tuple[str, pathspec.GitIgnoreSpec]] = []
    here, below = root, ""
    for name in folder.relative_to(root).parts:
        specs += _ignores(here, below, set(IGNORE_FILES))
        here, below = here / name, f"{below}{name}/"
    yield from _walk(folder, root, below, specs)


def _walk(
    folder: Path, root: Path, below: str, specs: list[tuple[str, pathspec.GitIgnoreSpec]]
) -> Iterator[Found | Problem]:
    if below.count("/") > MAX_DEPTH:
        yield Problem(below, f"not read: more than {MAX_DEPTH} folders deep")
        return
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        yield Problem(below or ".", error.strerror or str(error))
        return
    try:
        specs = [*specs, *_ignores(folder, below, {entry.name for entry in entries})]
    except InputError as error:
        yield Problem(below or ".", str(error))
        return
    for entry in entries:
        path = below + entry.name
        try:
            if entry.is_dir(follow_symlinks=False):
                if entry.name not in FOLDERS and not _ignored(specs, path + "/"):
                    yield from _walk(folder / entry.name, root, path + "/", specs)
            elif not _ignored(specs, path):
                yield from _file(entry, root, path)
        except OSError as error:
            yield Problem(path, error.strerror or str(error))
        except InputError as error:
            yield Problem(path, str(error))


def _file(entry: os.DirEntry[str], root: Path, path: str) -> Iterator[Found | Problem]:
    if _NEVER.match_file(entry.name):
        return
    if entry.is_symlink():
        target = Path(os.path.realpath(entry.path))  # `resolve` fails in a circle of links
        if not target.is_file():
            return
        if not target.is_relative_to(root):
            yield Problem(path, f"a link out of the folder, to {target}")
            return
    if entry.is_file():
        state = entry.stat()
        yield Found(source_path(path), Path(entry.path), state.st_size, state.st_mtime_ns)
    else:
        yield Problem(path, "no file but a pipe, a socket or a device")


def source_path(path: str) -> str:
    """A path as sources name it.

    Raises:
        InputError: it holds what cannot be part of a name.
    """
    return clean_label(path, "the path", max_chars=3800)


def _ignores(
    folder: Path, below: str, names: set[str]
) -> Iterator[tuple[str, pathspec.GitIgnoreSpec]]:
    for name in IGNORE_FILES:
        if name in names and (folder / name).is_file():
            try:
                lines = (folder / name).read_text("utf-8-sig", "replace").splitlines()
                spec = pathspec.GitIgnoreSpec.from_lines(lines)
            except (OSError, ValueError) as error:
                raise InputError(f"not read: {name} cannot be used ({error})") from error
            yield below, spec


def _ignored(specs: list[tuple[str, pathspec.GitIgnoreSpec]], path: str) -> bool:
    ignored = False
    for below, spec in specs:
        verdict = spec.check_file(path[len(below) :]).include
        ignored = ignored if verdict is None else verdict
    return ignored


def decoded(data: bytes) -> tuple[str, str] | None:
    """The text of a file and its encoding; None when it is no text.

    What is neither UTF-8 nor marked as UTF-16 is read as `in_one_byte`, unless it holds NUL.
    """
    if data.startswith((b"\xff\xfe", b"\xfe\xff")):
        try:
            return data.decode("utf-16"), "utf-16"
        except UnicodeDecodeError:
            return None
    if b"\0" in data[:8192]:
        return None
    try:
        return data.decode(), "utf-8"
    except UnicodeDecodeError:
        pass
    odd = sum(data.count(bytes([byte])) for byte in (*range(1, 9), *range(14, 27), 127))
    if odd * 100 > len(data):
        return None
    return in_one_byte(data)


def in_one_byte(data: bytes) -> tuple[str, str]:
    """The text of any bytes and the encoding that gives them back."""
    try:
        return data.decode("cp1252"), "windows-1252"
    except UnicodeDecodeError:
        return data.decode("latin-1"), "iso-8859-1"


def pieces(text: str, metadata: dict[str, object]) -> Iterator[Piece]:
    """A text in pieces that, put together, are the text; long ones end before a heading, if any.

    Never within a secret: neither half of it would be known as one.
    """
    start = 0
    while start < len(text):
        end = _beside_secrets(text, start, _end(text, start))
        if text[start:end].strip():
            yield Piece(text[start:end], metadata=metadata)
        start = end


def _end(text: str, start: int) -> int:
    high = start + PIECE_CHARS
    if len(text) <= high:
        return len(text)
    low = start + PIECE_CHARS // 2
    heads = [match.start() for match in _HEADING.finditer(text, low, high)]
    for cut in (*heads[-1:], text.rfind("\n\n", low, high) + 2, text.rfind("\n", low, high) + 1):
        if cut > low:
            return cut
    return high


def _beside_secrets(text: str, start: int, end: int) -> int:
    """The end of a piece, or the beginning of the secret that it stands in."""
    if end == len(text):
        return end
    first = max(start, end - _SECRET_CHARS)
    for _, begin, stop in redact.places(text[first : end + _SECRET_CHARS]):
        if first + begin < end < first + stop:
            return first + begin if first + begin > start else first + stop
    return end
