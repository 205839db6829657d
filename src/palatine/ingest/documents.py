"""Documents: which files are some, and how their text is taken out.

The parsers are other people's and read what strangers wrote. So this module is also a program,
which reads one document in a process of its own, with limits of time and memory: nothing that a
parser prints, logs or hangs on gets into ours, and a crash costs one document. HTML is read here:
there is more of it, and its parser has no pictures, no zips and no C in it.
"""

from __future__ import annotations

import json
import posixpath
import re
import sys
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout, suppress
from importlib.util import find_spec
from io import BytesIO
from pathlib import PurePosixPath
from subprocess import DEVNULL, PIPE, TimeoutExpired, run
from typing import Any, TypeAlias
from urllib.parse import unquote
from xml.etree import ElementTree
from zipfile import ZipFile, is_zipfile

from palatine.errors import InputError
from palatine.ingest import files
from palatine.ingest.base import Piece

_SECONDS = 120.0
_MEMORY_BYTES = 4 << 30
_UNPACKED_BYTES = 8 * files.MAX_BYTES
_PARSERS = ("mammoth", "markdownify", "openpyxl", "pptx", "pypdf")
_NO_TEXT = r"/(?:modern|threaded)?(chart|[Cc]omment|footer|header|image|media|oleObject)\w*\.\w+\n"

Pages: TypeAlias = Iterator[tuple[dict[str, int | str], str]]
"""The pages of a document, or what it has instead: what each is called, and its text."""


def kind_of(path: str) -> str:
    """What kind of document has such a name; empty: none, or HTML that stays as it is."""
    kind = PurePosixPath(path).suffix.lower()[1:]
    kind = "html" if kind in ("htm", "xhtml") else kind
    return kind if kind in _READERS and (kind != "html" or _ready()) else ""


def read(kind: str, data: bytes) -> list[Piece]:
    """The text of a document, in pieces; none: HTML that cannot be converted, or has no text.

    Raises:
        InputError: it cannot be read; the message says why.
    """
    if not _ready():
        raise InputError(f"to read {kind} files: pip install 'palatine[documents]'")
    answer: Any = []
    if kind == "html":
        with suppress(Exception):  # as a parser may raise anything; the file is text all the same
            answer = pages(kind, data)
    else:
        # Without -P a file in the folder that we stand in would be taken for a parser.
        command = [sys.executable, "-P", "-m", __name__, kind]
        try:
            done = run(command, input=data, stdout=PIPE, stderr=DEVNULL, timeout=_SECONDS)
            answer = json.loads(done.stdout)
        except (TimeoutExpired, ValueError):
            answer = f"it takes more than {_SECONDS:g} s, or its reader breaks down"
    if isinstance(answer, str):
        raise InputError(f"this {kind} cannot be read: {answer}")
    return [piece for text, metadata in answer for piece in files.pieces(text, metadata)]


def _ready() -> bool:
    return all(map(find_spec, _PARSERS))


def main() -> None:
    """Reads the document on standard input; prints its texts with their metadata, or what ails."""
    with suppress(ImportError, ValueError, OSError):  # another system, or a lower limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    try:
        with redirect_stdout(sys.stderr):
            answer: object = pages(sys.argv[1], sys.stdin.buffer.read())
    except Exception as error:  # noqa: BLE001 (parsers raise anything; the miner reports it)
        answer = " ".join(str(error).split())[:300] or type(error).__name__
    json.dump(answer, sys.stdout)


def pages(kind: str, data: bytes) -> list[tuple[str, dict[str, object]]]:
    """The texts of a document, with their metadata; the first one's says what was left out.

    Raises:
        Exception: of any kind; it cannot be read, or not within the limits, or has no text.
    """
    left = Counter[str]()
    found: list[tuple[str, dict[str, object]]] = []
    for where, text in _READERS[kind](data, left):
        if text.strip():
            found.append((text, {"extracted": kind, **where}))
        else:
            left.update(f"{unit} {name} without text" for unit, name in where.items())
    if not found and kind != "html":
        raise ValueError("there is no text in it; are its pages pictures?")
    if found and +left:
        found[0][1]["left_out"] = dict(+left)
    return found


def _unzip(data: bytes, left: Counter[str]) -> ZipFile:
    """The zip, unless it would fill the memory; a member never gives more than it declares."""
    if not is_zipfile(BytesIO(data)):
        raise ValueError("it is cut off, protected by a password, or of another format")
    zipped = ZipFile(BytesIO(data))
    size = sum(member.file_size for member in zipped.infolist())
    if size > _UNPACKED_BYTES:
        raise ValueError(f"{size} bytes when unpacked; at most {_UNPACKED_BYTES} are read")
    left.update(re.findall(_NO_TEXT, "\n".join(zipped.namelist()) + "\n"))
    return zipped


def _pdf(data: bytes, left: Counter[str]) -> Pages:
    import pypdf

    reader = pypdf.PdfReader(BytesIO(data))
    if reader.is_encrypted and not reader.decrypt(""):
        raise ValueError("protected by a password")
    left["attachment"] += len(reader.attachments)
    for number, page in enumerate(reader.pages, 1):
        left["image"] += len(page.images)
        notes = (note.get_object() for note in page.annotations or ())
        left["note or form field"] += sum(note.get("/Subtype") != "/Link" for note in notes)
        yield {"page": number}, page.extract_text()


def _docx(data: bytes, left: Counter[str]) -> Pages:
    import mammoth

    _unzip(data, left)
    bare = mammoth.images.img_element(lambda _: {})
    html = mammoth.convert_to_html(BytesIO(data), convert_image=bare)
    left["element"] += sum("ignored" in message.message for message in html.messages)
    return _html(html.value.encode(), Counter())


def _pptx(data: bytes, left: Counter[str]) -> Pages:
    import pptx

    _unzip(data, left)
    for number, slide in enumerate(pptx.Presentation(BytesIO(data)).slides, 1):
        texts = list(_shapes(slide.shapes))
        if slide.has_notes_slide and (notes := slide.notes_slide.notes_text_frame):
            texts.append(f"Notes: {notes.text}" if notes.text else "")
        yield {"slide": number}, "\n\n".join(filter(str.strip, texts))


def _shapes(shapes: Any) -> Iterator[str]:
    for shape in shapes:
        if hasattr(shape, "shapes"):
            yield from _shapes(shape.shapes)
        elif shape.has_text_frame:
            yield shape.text_frame.text.replace("\v", "\n")
        elif getattr(shape, "has_table", False):
            yield "\n".join(_row(cell.text for cell in row.cells) for row in shape.table.rows)


def _row(cells: Iterable[object]) -> str:
    return " | ".join("" if cell is None else str(cell) for cell in cells).rstrip(" |")


def _xlsx(data: bytes, left: Counter[str]) -> Pages:
    """A cell's value as it was last computed; its formula where the file keeps no value."""
    import openpyxl

    _unzip(data, left)
    books = (openpyxl.load_workbook(BytesIO(data), read_only=True, data_only=x) for x in (1, 0))
    for values, formulas in zip(*(book.worksheets for book in books), strict=True):
        values.reset_dimensions()  # what a sheet says of itself may be wrong
        formulas.reset_dimensions()
        rows = zip(values.values, formulas.values, strict=True)
        lines = (_row(v if v is not None else f for v, f in zip(*row, strict=True)) for row in rows)
        yield {"sheet": values.title}, "\n".join(filter(None, lines))


def _epub(data: bytes, left: Counter[str]) -> Pages:
    zipped = _unzip(data, left)
    for name in set(zipped.namelist()) & {"META-INF/encryption.xml"}:
        if re.search(rb'URI="[^"]+html?"', zipped.read(name)):  # fonts alone may be, too
            raise ValueError("its chapters are encrypted")
    container = ElementTree.fromstring(zipped.read("META-INF/container.xml"))
    book = next(container.iterfind(".//{*}rootfile")).attrib["full-path"]
    root = ElementTree.fromstring(zipped.read(book))
    items = {node.get("id"): unquote(node.attrib["href"]) for node in root.iterfind(".//{*}item")}
    for number, node in enumerate(root.iterfind(".//{*}itemref"), 1):
        name = posixpath.join(posixpath.dirname(book), items[node.get("idref")])
        for _, text in _html(zipped.read(posixpath.normpath(name)), Counter()):
            yield {"chapter": number}, text


def _html(data: bytes, left: Counter[str]) -> Pages:
    import bs4
    import markdownify

    text, _ = files.decoded(data) or ("", "")  # bs4 would log what it cannot decode
    text = re.sub(r"<\?xml.*?>", "", text).replace("</title>", "</title>\n")
    with warnings.catch_warnings(action="ignore"):
        soup = bs4.BeautifulSoup(text, "html.parser")
    for node in soup.find_all("img"):
        left["image"] += 1
        node.replace_with(str(node.get("alt") or ""))
    converter = markdownify.MarkdownConverter(heading_style="atx", bullets="-")
    yield {}, converter.convert_soup(soup).strip()


_READERS = {"pdf": _pdf, "docx": _docx, "pptx": _pptx, "xlsx": _xlsx, "epub": _epub, "html": _html}

if __name__ == "__main__":
    main()
