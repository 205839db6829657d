"""Mining: folders and transcripts become drawers, and stay so while the files change.

What was read of each file is a row (its size, time, digest, and where reading goes on), so a file
that has not changed is not opened again. Several miners on one tree share it by their claims. Files
are read outside, and filed in batches of one transaction, which decides again under the writer lock
what is new: claims save work, and nothing relies on them. A file that changed keeps the ids of its
drawers, position by position.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from io import BytesIO
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from palatine import text as texts
from palatine.drawers import DEFAULT_ROOM, replace_source
from palatine.errors import InputError
from palatine.ingest import documents, files, redact, transcripts
from palatine.ingest.base import Piece
from palatine.ingest.claims import Claims
from palatine.ingest.facts import Extracted
from palatine.ingest.files import Found, Problem
from palatine.ingest.projects import project_wing, root_of
from palatine.ingest.transcripts.agents import LINE_BYTES
from palatine.store.base import Store, WriteTx
from palatine.types import Author, NewDrawer, Source

CONVERSATIONS = "conversations"
_HEAD_BYTES = 64 * 1024
_BEFORE_BYTES = 4096
_BATCH_CHARS = 500_000
_BATCH_FILES = 200
_TRANSCRIPT_PIECES = 200
_UNFINISHED = -1
_BROKEN = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)
"""Broken, or not what it looks like; what was whole before that is filed."""


@dataclass(slots=True)
class Mined:
    """What came of mining.

    Attributes:
        root: what the sources are named by.
        wing: where texts went that do not say where they belong.
        files: read because they are new or changed.
        unchanged: not opened.
        added, changed, removed: drawers.
        masked: secrets, by kind.
        problems: files that could not be read, or not to their end.
        gone: mined files that are not there any more.
        facts: what came of reading notes for facts.
    """

    root: str
    wing: str
    files: int = 0
    unchanged: int = 0
    added: int = 0
    changed: int = 0
    removed: int = 0
    masked: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    facts: Extracted | None = None


Progress = Callable[[Mined, int], None]
"""Called after each batch, with what came of it so far and how many files there are in all."""


@dataclass(frozen=True, slots=True)
class Options:
    """How to mine.

    Attributes:
        wing, room: for everything; empty: from the project, the folder, the transcript.
        root: what the folder is called in sources; empty: the project's name.
        verbatim: leave secrets as they stand.
        prune: also delete the drawers of files that are gone.
        facts: read the notes under the root for facts, too.
    """

    wing: str = ""
    room: str = ""
    root: str = ""
    verbatim: bool = False
    prune: bool = False
    facts: bool = False


@dataclass(slots=True)
class _Read:
    """What a file gave, from some position on; not filed yet.

    Attributes:
        known: what was known of the file when it was read.
        source: what is known after it.
        to_end: drawers behind the last of these are of an older state of the file.
        whole: the file was read from its beginning to its end.
    """

    known: Source | None
    source: Source
    drawers: list[NewDrawer]
    to_end: bool = True
    whole: bool = True


class Miner:
    """Mines one folder, or one file of it."""

    def __init__(self, store: Store, path: Path, options: Options, *, author: Author) -> None:
        """Takes what is to be read.

        Raises:
            InputError: nothing is there, or the palace's own files.
        """
        if not (path.is_dir() or path.is_file()):
            raise InputError(f"{path}: there is no such file or folder")
        self._own = os.path.realpath(store.place), _own_files(store.place)
        if self._is_own(path.resolve()):
            raise InputError(f"{path}: belongs to the palace itself; give other files")
        self._store = store
        self._author = author
        self._options = options
        self._given = path.resolve()
        within = self._given if self._given.is_dir() else self._given.parent
        self._folder, name = root_of(within)
        wing = texts.clean_label(options.wing, "the wing") or project_wing(within) or name
        self._done = Mined(self._named(options.root or name), wing)
        self._batch: list[_Read] = []
        self._chars = 0

    def run(self, *, progress: Progress | None = None) -> Mined:
        """Reads what is new and files it. Interrupted at any moment, the next run goes on."""
        with self._store.read() as tx:
            known = tx.sources(self._done.root)
            work = f"{tx.state().palace_id}\0{self._done.root}"
        found = self._found()
        with closing(Claims(work)) as claims:
            later = []
            for entry in found.values():
                if self._is_read(entry, known.get(entry.path)):
                    self._done.unchanged += 1
                elif claims.take(entry.path):
                    self._take_over(entry, claims)
                else:
                    later.append(entry)
                if progress:
                    progress(self._done, len(found))
            for entry in later:
                if not claims.take(entry.path):
                    self._flush()  # nobody waits for what is ours while we wait for theirs
                    claims.drop()
                    claims.wait(entry.path)
                self._take_over(entry, claims)
                if progress:
                    progress(self._done, len(found))
            self._flush()
        if self._given.is_dir():
            self._see_what_is_gone(known.keys() - found.keys())
        return self._done

    def _found(self) -> dict[str, Found]:
        """The files that are there, by their paths; what cannot be told apart is reported."""
        found: dict[str, Found] = {}
        for entry in self._parts():
            if isinstance(entry, Problem):
                self._done.problems.append(entry)
            elif entry.path in found:
                reason = (
                    f"another file has this name, but for blanks and accents: {entry.file.name!r}"
                )
                self._done.problems.append(Problem(entry.path, reason))
            else:
                found[entry.path] = entry
        return found

    def _is_read(self, entry: Found, before: Source | None) -> bool:
        unchanged = before and (before.size, before.modified) == (entry.size, entry.modified)
        return bool(unchanged) and not _is_unread_document(before)

    def _take_over(self, entry: Found, claims: Claims) -> None:
        """Reads a file that is ours, unless another miner has done so since we looked."""
        with self._store.read() as tx:
            before = tx.source(self._done.root, entry.path)
        if self._is_read(entry, before):
            self._done.unchanged += 1
        else:
            self._take(entry, None if _is_unread_document(before) else before)
        if not self._batch:
            claims.drop()

    def _see_what_is_gone(self, missing: Iterable[str]) -> None:
        below = f"{self._path()}/".removeprefix("./")
        # What lies below a folder or in a database that cannot be read is not gone.
        failed = {problem.path.rstrip("/") for problem in self._done.problems}
        unread = tuple(f"{path}/".removeprefix("./") for path in failed)
        gone = (path for path in missing if path.startswith(below))
        self._done.gone = sorted(path for path in gone if not f"{path}/".startswith(unread))
        if self._options.prune:
            self._prune(self._done.gone)

    def _entries(self) -> Iterator[Found | Problem]:
        if self._given.is_dir():
            for entry in files.walk(self._folder, self._given):
                if isinstance(entry, Problem) or not self._is_own(entry.file):
                    yield entry
            return
        state = self._given.stat()
        yield Found(self._path(), self._given, state.st_size, state.st_mtime_ns)

    def _is_own(self, file: Path) -> bool:
        """Whether it is the palace's: to close it is to give up this process's locks on it."""
        path = os.path.realpath(file) if file.is_symlink() else str(file)
        return path == self._own[0] or path.startswith(self._own[1])

    def _parts(self) -> Iterator[Found | Problem]:
        for entry in self._entries():
            yield from [entry] if isinstance(entry, Problem) else transcripts.parts(entry)

    def _path(self) -> str:
        return files.source_path(self._given.relative_to(self._folder).as_posix())

    def _named(self, name: str) -> str:
        """The root's name: a name that another folder has is made longer; a moved one is ours."""
        name = texts.clean_name(name, "the root's name")
        folder = str(self._folder)
        with self._store.write(self._author) as tx:
            taken = tx.roots()
            if self._options.root == "" and folder in taken.values():
                return next(known for known, at in taken.items() if at == folder)
            if name in taken and taken[name] != folder and Path(taken[name]).is_dir():
                if self._options.root:
                    raise InputError(f"root {name!r} is {taken[name]}; give another --root")
                name = (
                    f"{self._folder.parent.name}-{name}-{texts.digest(folder.encode()).hex()[:6]}"
                )
            tx.put_root(name, folder)
        return name

    def _take(self, entry: Found, before: Source | None) -> None:
        try:
            for read in self._read(entry, before):
                self._batch.append(read)
                self._chars += sum(len(drawer.text) for drawer in read.drawers)
                if self._chars > _BATCH_CHARS or len(self._batch) >= _BATCH_FILES:
                    self._flush()
        except (OSError, InputError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            self._done.problems.append(Problem(entry.path, reason))
        except _BROKEN as error:
            self._done.problems.append(Problem(entry.path, f"cannot be read on: {error}"))
        self._done.files += 1

    def _read(self, entry: Found, before: Source | None) -> Iterator[_Read]:
        source = Source(self._done.root, entry.path, entry.size, entry.modified, b"")
        if entry.read is not None:
            whole = transcripts.Format("", entry.read, grows=False)
            yield from self._transcript(BytesIO(), whole, source, before)
            return
        with entry.file.open("rb") as file:
            head = file.read(_HEAD_BYTES)
            if head[:1] == b"{":
                head += file.readline(LINE_BYTES)  # a record is known when it is whole
            format_ = transcripts.detect(head, entry.file.suffix.lower())
            file.seek(0)
            if format_ is not None:
                yield from self._transcript(file, format_, source, before)
                return
            if entry.size > files.MAX_BYTES:
                self._done.problems.append(
                    Problem(entry.path, f"{entry.size} bytes; at most {files.MAX_BYTES} are read")
                )
                return
            data = file.read()
            state = os.fstat(file.fileno())
        if (state.st_size, state.st_mtime_ns) != (entry.size, entry.modified):
            problem = Problem(entry.path, "changed while it was read; the next run reads it again")
            self._done.problems.append(problem)
            return
        source = replace(source, digest=texts.digest(data))
        if before and before.digest == source.digest:
            yield _Read(before, replace(source, position=before.position), [], to_end=False)
            return
        kind = documents.kind_of(entry.path)
        pieces = documents.read(kind, data) if kind else []
        source = replace(source, position=len(pieces))
        if not pieces:
            text, encoding = files.decoded(data) or ("", "")
            metadata: dict[str, object] = {} if encoding == "utf-8" else {"encoding": encoding}
            pieces = list(files.pieces(text, metadata))
        yield _Read(before, source, self._drawers(pieces, source, 0))

    def _transcript(
        self, file: BinaryIO, format_: transcripts.Format, source: Source, before: Source | None
    ) -> Iterator[_Read]:
        """A part at a time; each remembers where its last exchange begins, which may yet grow."""
        at = position = 0
        if before and before.at and before.digest == _digest_before(file, before.at):
            at, position = before.at, before.position
        file.seek(at)
        pieces = format_.read(file)
        known, first = before, True
        broken: list[Exception] = []
        part = _some(pieces, broken)
        while part or first:
            more = _some(pieces, broken)
            here = replace(source, position=position + max(0, len(part) - 1))
            if part and format_.grows:
                here = replace(here, at=part[-1].at, digest=_digest_before(file, part[-1].at))
            if more or broken:
                here = replace(here, size=_UNFINISHED)
            drawers = self._drawers(part, source, position)
            yield _Read(known, here, drawers, to_end=first, whole=False)
            position += len(part)
            known, part, first = here, more, False
        if broken:
            raise broken[0]

    def _drawers(self, pieces: Iterable[Piece], source: Source, first: int) -> list[NewDrawer]:
        drawers = []
        for number, piece in enumerate(pieces, first):
            text, metadata = piece.text, dict(piece.metadata)
            if not self._options.verbatim:
                text, masked = redact.mask(text)
                for key, value in metadata.items():
                    if isinstance(value, str):
                        metadata[key], more = redact.mask(value)
                        masked += more
                if masked:
                    metadata["masked"] = dict(masked)
                    self._done.masked = dict(Counter(self._done.masked) + masked)
            drawers.append(
                NewDrawer(
                    text=text,
                    wing=self._wing(piece),
                    room=self._options.room
                    or texts.safe_label(piece.room or _room(source.path, piece)),
                    source=source.name,
                    position=number,
                    author=texts.safe_label(piece.author),
                    session=texts.safe_label(piece.session),
                    said_at=piece.said_at,
                    metadata=metadata,
                )
            )
        return drawers

    def _wing(self, piece: Piece) -> str:
        """The wing that was asked for, else that of the project the conversation worked in."""
        if piece.folder and not self._options.wing:
            return texts.safe_label(project_wing(Path(piece.folder))) or self._done.wing
        return self._done.wing

    def _flush(self) -> None:
        batch, self._batch, self._chars = self._batch, [], 0
        if not batch:
            return
        with self._store.write(self._author) as tx:
            counts = Counter[str]()
            for read in batch:
                counts += _file(tx, read, self._author)
        self._done.added += counts["added"]
        self._done.changed += counts["changed"]
        self._done.removed += counts["removed"]

    def _prune(self, gone: Sequence[str]) -> None:
        for path in gone:
            with self._store.write(self._author) as tx:
                source = tx.source(self._done.root, path)
                if source is not None:
                    counts = replace_source(tx, source.name, [], author=self._author)
                    tx.delete_source(source.root, source.path)
                    self._done.removed += counts["removed"]


def _file(tx: WriteTx, read: _Read, author: Author) -> Counter[str]:
    """Files what a file gave, unless somebody else has read it since."""
    now = tx.source(read.source.root, read.source.path)
    # Somebody else has read it since: a part cannot follow on theirs, an older state is not wanted.
    if now != read.known and (not read.whole or (now and now.modified > read.source.modified)):
        return Counter()
    counts: Counter[str] = Counter()
    if now == read.source:
        return counts
    if read.drawers or read.to_end:
        first = read.drawers[0].position if read.drawers else read.source.position
        counts = replace_source(
            tx, read.source.name, read.drawers, first=first, author=author, to_end=read.to_end
        )
    tx.put_source(read.source)
    return counts


def _own_files(place: str) -> tuple[str, ...]:
    """What the paths of a palace's own files begin with: its folder, or its one file's name."""
    own = os.path.realpath(place)
    if Path(own).is_dir():
        return (own + os.sep,)
    return tuple(own + end for end in ("-wal", "-shm", "-journal", ".lock", ".embed", ".backups"))


def _is_unread_document(source: Source | None) -> bool:
    """Whether it was filed as the text it is, for want of packages: now it may be read as one."""
    return bool(source and not source.position and documents.kind_of(source.path))


def _some(pieces: Iterator[Piece], broken: list[Exception]) -> list[Piece]:
    """The next pieces; what breaks the reading off is put aside until they are filed."""
    found: list[Piece] = []
    try:
        found.extend(islice(pieces, _TRANSCRIPT_PIECES))
    except _BROKEN as error:
        broken.append(error)
    return found


def _room(path: str, piece: Piece) -> str:
    """The folder's name; of a conversation, that it is one."""
    if "format" in piece.metadata:
        return CONVERSATIONS
    parts = PurePosixPath(path).parts
    return parts[0] if len(parts) > 1 else DEFAULT_ROOM


def _digest_before(file: BinaryIO, at: int) -> bytes:
    """The digest of the bytes just before a place: whether a file only grew behind it."""
    here = file.tell()
    file.seek(max(0, at - _BEFORE_BYTES))
    data = file.read(min(at, _BEFORE_BYTES))
    file.seek(here)
    return texts.digest(data + at.to_bytes(8, "big"))
