"""Mining documents: what of them becomes drawers, and what happens to those that cannot be read."""

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import bs4
import openpyxl
import pptx
import pypdf
import pytest

from palatine import Palace, cli
from palatine.ingest import documents, files
from palatine.ingest.mine import Mined, Options

Mine = Callable[..., Mined]
W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
INSTALL = "pip install 'palatine[documents]'"


def pdf(*pages: str) -> bytes:
    """A PDF whose pages each say one line, or nothing."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    parts = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, text in enumerate(pages):
        drawn = f"BT /F1 12 Tf 72 720 Td ({text}) Tj ET" if text else ""
        parts += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792]"
            f" /Resources << /Font << /F1 3 0 R >> >> /Contents {5 + 2 * number} 0 R >>",
            f"<< /Length {len(drawn)} >>\nstream\n{drawn}\nendstream",
        ]
    body, places = "%PDF-1.4\n", []
    for number, part in enumerate(parts, 1):
        places.append(f"{len(body):010} 00000 n \n")
        body += f"{number} 0 obj\n{part}\nendobj\n"
    table = f"xref\n0 {len(parts) + 1}\n0000000000 65535 f \n{''.join(places)}"
    trailer = f"trailer << /Size {len(parts) + 1} /Root 1 0 R >>\nstartxref\n{len(body)}\n%%EOF\n"
    return (body + table + trailer).encode()


def encrypted(password: str, algorithm: str) -> bytes:
    writer, out = pypdf.PdfWriter(clone_from=io.BytesIO(pdf("We ship on Fridays."))), io.BytesIO()
    writer.encrypt(password, "owner", algorithm=algorithm)
    writer.write(out)
    return out.getvalue()


def zipped(members: Mapping[str, str | bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return out.getvalue()


def docx(*paragraphs: str, head: str = "", **members: str) -> bytes:
    text = "".join(f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>" for text in paragraphs)
    relation = "http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument"
    main = f"<?xml version='1.0'?>{head}<w:document {W}><w:body>{text}</w:body></w:document>"
    relations = "http://schemas.openxmlformats.org/package/2006/relationships"
    return zipped(
        {
            "[Content_Types].xml": "<Types xmlns='http://schemas.openxmlformats.org/package/2006/"
            "content-types'><Default Extension='xml' ContentType='application/xml'/></Types>",
            "_rels/.rels": f"<Relationships xmlns='{relations}'><Relationship Id='r' "
            f"Type='{relation}' Target='word/document.xml'/></Relationships>",
            "word/document.xml": main,
            **members,
        }
    )


def slides() -> bytes:
    deck, out = pptx.Presentation(), io.BytesIO()
    slide = deck.slides.add_slide(deck.slide_layouts[5])
    slide.shapes.title.text = "Plans"
    group = slide.shapes.add_group_shape()
    group.shapes.add_textbox(0, 0, 9, 9).text_frame.text = "in a group"
    table = slide.shapes.add_table(1, 2, 0, 0, 9, 9).table
    table.cell(0, 0).text, table.cell(0, 1).text = "tea", "4.50"
    slide.notes_slide.notes_text_frame.text = "say it slowly"
    deck.slides.add_slide(deck.slide_layouts[6])
    deck.save(out)
    return out.getvalue()


def book(rows: int = 1) -> bytes:
    made, out = openpyxl.Workbook(), io.BytesIO()
    made.active.title = "Costs"
    for number in range(rows):
        made.active.append(["tea", None, number, "=C1*2", None])
    made.create_sheet("Empty")
    made.create_sheet("Last").append([True, "milk"])
    made.save(out)
    return out.getvalue()


def epub(*chapters: str, head: str = "", **members: str) -> bytes:
    items = [f"<item id='c{n}' href='my%20c{n}.xhtml'/>" for n in range(len(chapters))]
    order = [f"<itemref idref='c{n}'/>" for n in reversed(range(len(chapters)))]
    opf = "xmlns='http://www.idpf.org/2007/opf'"
    return zipped(
        {
            "META-INF/container.xml": "<container xmlns='urn:oasis:names:tc:opendocument:xmlns:"
            "container'><rootfiles><rootfile full-path='OEBPS/book.opf'/></rootfiles></container>",
            "OEBPS/book.opf": f"{head}<package {opf}><manifest>{''.join(items)}</manifest>"
            f"<spine>{''.join(order)}</spine></package>",
            **{f"OEBPS/my c{n}.xhtml": text for n, text in enumerate(chapters)},
            **members,
        }
    )


HTML = """<?xml version="1.0"?><html><head><title>Shop</title><style>p {}</style></head><body>
<h1>Tea</h1><script>steal()</script><p>Good <b>tea</b> &amp; more <img alt="a cup" src="data:x"></p>
</body></html>"""
MARKDOWN = "Shop\n\n# Tea\n\nGood **tea** & more a cup"


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace", agent="ann") as opened:
        yield opened


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "shop"
    (tree / ".git").mkdir(parents=True)
    return tree


@pytest.fixture
def mine(palace: Palace, tree: Path) -> Mine:
    return lambda **options: palace.mine(tree, options=Options(**options))


def drawers(palace: Palace) -> list[tuple[str, dict[str, object]]]:
    found = sorted(palace.list(limit=1000), key=lambda drawer: (drawer.source, drawer.position))
    return [(drawer.text, dict(drawer.metadata)) for drawer in found]


@pytest.mark.parametrize(
    ("name", "data", "expected"),
    [
        (
            "a.pdf",
            pdf("We ship on Fridays.", "", "The carrier rests."),
            [
                (
                    "We ship on Fridays.",
                    {"extracted": "pdf", "page": 1, "left_out": {"page 2 without text": 1}},
                ),
                ("The carrier rests.", {"extracted": "pdf", "page": 3}),
            ],
        ),
        (
            "a.PDF",
            encrypted("", "AES-256"),
            [("We ship on Fridays.", {"extracted": "pdf", "page": 1})],
        ),
        (
            "a.docx",
            docx("We chose", "résumé &amp; tea", **{"word/media/image1.png": "x"}),
            [("We chose\n\nrésumé & tea", {"extracted": "docx", "left_out": {"image": 1}})],
        ),
        (
            "a.pptx",
            slides(),
            [
                (
                    "Plans\n\nin a group\n\ntea | 4.50\n\nNotes: say it slowly",
                    {"extracted": "pptx", "slide": 1, "left_out": {"slide 2 without text": 1}},
                )
            ],
        ),
        (
            "a.xlsx",
            book(2),
            [
                (
                    "tea |  | 0 | =C1*2\ntea |  | 1 | =C1*2",
                    {
                        "extracted": "xlsx",
                        "sheet": "Costs",
                        "left_out": {"sheet Empty without text": 1},
                    },
                ),
                ("True | milk", {"extracted": "xlsx", "sheet": "Last"}),
            ],
        ),
        (
            "a.epub",
            epub("<html><p>The end.</p></html>", HTML),
            [
                (MARKDOWN, {"extracted": "epub", "chapter": 1}),
                ("The end.", {"extracted": "epub", "chapter": 2}),
            ],
        ),
        (
            "a.htm",
            HTML.encode(),
            [(MARKDOWN, {"extracted": "html", "left_out": {"image": 1}})],
        ),
        ("a.html", b"<script>only()</script>", [("<script>only()</script>", {})]),
        ("a.xhtml", b"<b>" * 9999 + b"deep", [("<b>" * 9999 + "deep", {})]),
    ],
)
def test_a_document_becomes_a_drawer_a_page_that_says_what_was_left_out(
    palace: Palace,
    mine: Mine,
    tree: Path,
    name: str,
    data: bytes,
    expected: list[tuple[str, dict[str, object]]],
) -> None:
    (tree / name).write_bytes(data)
    done = mine()
    pieces = [
        (piece.text, dict(metadata))
        for text, metadata in expected
        for piece in files.pieces(text, metadata)
    ]
    assert (drawers(palace), done.problems) == (pieces, [])
    seq = palace.status().seq
    assert mine().problems == []
    assert palace.status().seq == seq


def test_an_unchanged_document_is_not_read_again_and_a_changed_one_keeps_its_ids(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    (tree / "a.pdf").write_bytes(pdf("We ship on Fridays.", "The carrier rests."))
    mine()
    before = {drawer.position: drawer for drawer in palace.list()}
    assert (mine().files, mine().unchanged) == (0, 1)
    seq = palace.status().seq
    os.utime(tree / "a.pdf", ns=(1, 1))
    assert (mine().files, mine().unchanged, palace.status().seq) == (1, 1, seq)
    (tree / "a.pdf").write_bytes(pdf("We ship on Mondays.", "The carrier rests."))
    assert mine().changed == 1
    after = {drawer.position: drawer for drawer in palace.list()}
    assert (after[0].id, after[0].text) == (before[0].id, "We ship on Mondays.")
    assert after[1] == before[1]
    (tree / "a.pdf").write_bytes(pdf("We ship on Mondays."))
    assert mine().removed == 1


def test_long_sheets_are_split_and_secrets_in_them_masked(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    made = openpyxl.Workbook()
    for number in range(3000):
        made.active.append([number, "a row of some length"])
    made.active.append(["token", "ghp_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1dE3fG5"])
    made.save(tree / "a.xlsx")
    done = mine()
    found = drawers(palace)
    assert len(found) > 2
    assert "".join(text for text, _ in found).count("a row of some length") == 3000
    assert {metadata["sheet"] for _, metadata in found} == {"Sheet"}
    assert max(len(text) for text, _ in found) <= files.PIECE_CHARS
    assert sum(done.masked.values()) == 1
    assert "ghp_" not in found[-1][0]


def test_what_a_sheet_says_of_its_size_is_not_believed(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    with zipfile.ZipFile(io.BytesIO(book())) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    sheet = members["xl/worksheets/sheet1.xml"]
    for size in (b"A1", b"A1:XFD1048576"):
        changed = sheet.replace(b'ref="A1:E1"', b'ref="' + size + b'"')
        assert changed != sheet
        (tree / "a.xlsx").write_bytes(zipped({**members, "xl/worksheets/sheet1.xml": changed}))
        assert mine().problems == []
        assert drawers(palace)[0][0] == "tea |  | 0 | =C1*2"


LAUGHS = "<!DOCTYPE l [<!ENTITY a0 'ha'>{}]>".format(
    "".join(f"<!ENTITY a{n + 1} '{f'&a{n};' * 10}'>" for n in range(12))
)


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("locked.pdf", encrypted("geheim", "RC4-128"), "protected by a password"),
        ("short.pdf", pdf("abc", "def")[:-300], "Stream has ended"),
        ("empty.pdf", b"", "empty file"),
        ("scanned.pdf", pdf("", ""), "no text in it; are its pages pictures?"),
        ("odd.pdf", b"no PDF at all\n" * 9, "Stream has ended"),
        ("short.docx", docx("abc")[:-30], "cut off, protected by a password, or of another format"),
        ("pdf.xlsx", pdf("abc"), "cut off, protected by a password, or of another format"),
        ("docx.pptx", docx("abc"), "this pptx cannot be read: "),
        ("docx.epub", docx("abc"), "container.xml"),
        ("laughs.docx", docx("&a12;", head=LAUGHS), "limit on input amplification"),
        (
            "laughs.epub",
            epub("a", **{"OEBPS/book.opf": f"{LAUGHS}<package>&a12;</package>"}),
            "limit on input amplification",
        ),
        ("bomb.docx", docx(**{"word/bomb.xml": "0" * (300 << 20)}), "bytes when unpacked; at most"),
        (
            "locked.epub",
            epub("a", **{"META-INF/encryption.xml": '<CipherReference URI="OEBPS/c1.xhtml"/>'}),
            "its chapters are encrypted",
        ),
    ],
)
def test_what_cannot_be_read_is_one_line_each_time_and_the_rest_is_filed(
    palace: Palace,
    tree: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    name: str,
    data: bytes,
    reason: str,
) -> None:
    (tree / name).write_bytes(data)
    (tree / "notes.md").write_text("We sell tea.\n")
    for added in (1, 0):
        assert cli.main(["mine", str(tree), "--palace", str(tmp_path / "palace")]) == 6
        told = capfd.readouterr()
        first, second, *more = told.out.splitlines()
        assert f"{added} added, 0 changed, 0 removed" in first
        assert second.startswith(f"{name}\t")
        assert reason in second
        assert (more, told.err) == ([], "")
    assert [text for text, _ in drawers(palace)] == ["We sell tea.\n"]


def test_what_takes_too_long_is_cut_off_and_reported(
    palace: Palace, mine: Mine, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a.pdf").write_bytes(pdf("We ship on Fridays."))
    with monkeypatch.context() as patch:
        patch.setattr(documents, "_SECONDS", 0.001)
        (problem,) = mine().problems
        assert "it takes more than 0.001 s" in problem.reason
    assert (mine().problems, len(palace.list())) == ([], 1)


def test_an_entity_from_outside_the_document_is_not_fetched(
    palace: Palace, mine: Mine, tree: Path, tmp_path: Path
) -> None:
    (tmp_path / "private").write_text("the neighbour's secret")
    head = f"<!DOCTYPE l [<!ENTITY private SYSTEM '{(tmp_path / 'private').as_uri()}'>]>"
    with zipfile.ZipFile(io.BytesIO(book())) as archive:
        members = {name: archive.read(name).decode() for name in archive.namelist()}
    sheet = members["xl/worksheets/sheet1.xml"]
    for name, data in {
        "a.docx": docx("tea &private;", head=head),
        "a.epub": epub(f"{head}<p>tea &private;</p>"),
        "a.html": f"{head}<p>tea &private;</p>".encode(),
        "a.xlsx": zipped(
            {**members, "xl/worksheets/sheet1.xml": head + sheet.replace("tea", "tea &private;")}
        ),
    }.items():
        (tree / name).write_bytes(data)
    mine()
    assert "neighbour" not in json.dumps(drawers(palace))


def test_what_a_parser_prints_and_logs_stays_with_it(
    tree: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # The place of the table of contents is wrong: pypdf repairs that, and logs that it did.
    (tree / "a.pdf").write_bytes(
        pdf("We ship on Fridays.").replace(b"startxref\n", b"startxref\n9")
    )
    (tree / "a.html").write_bytes(b"http://example.org/")  # bs4 warns that this is no HTML
    assert cli.main(["mine", str(tree), "--palace", str(tmp_path / "palace")]) == 0
    told = capfd.readouterr()
    assert (told.out.count("\n"), told.err) == (1, "")
    with Palace.open(tmp_path / "palace") as palace:
        assert drawers(palace) == [
            ("http://example.org/", {"extracted": "html"}),
            ("We ship on Fridays.", {"extracted": "pdf", "page": 1}),
        ]


WITHOUT = (
    "import sys; sys.modules['pptx'] = None;"
    "from palatine import cli; sys.exit(cli.main(sys.argv[1:]))"
)


def test_without_the_packages_a_document_waits_for_them_and_html_is_text(
    palace: Palace, mine: Mine, tree: Path, tmp_path: Path
) -> None:
    (tree / "a.pdf").write_bytes(pdf("We ship on Fridays."))
    (tree / "a.html").write_text("<h1>Tea</h1>")
    command = [sys.executable, "-c", WITHOUT, "mine", tree, "--palace", tmp_path / "palace"]
    for added in (1, 0):
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (6, "")
        first, second = done.stdout.splitlines()
        assert f"{added} added" in first
        assert second == f"a.pdf\tto read pdf files: {INSTALL}"
    assert drawers(palace) == [("<h1>Tea</h1>", {})]
    (html,) = palace.list()
    done = mine()
    assert (done.problems, done.unchanged) == ([], 0)
    assert [text for text, _ in drawers(palace)] == ["# Tea", "We ship on Fridays."]
    assert palace.get(html.id).text == "# Tea"
    # What was read stays read where the packages are missing again.
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 unchanged; drawers: 0 added, 0 changed, 0 removed" in done.stdout
    assert mine().unchanged == 2


def test_a_document_that_was_once_passed_over_as_a_binary_file_is_read_now(
    palace: Palace, mine: Mine, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a.pdf").write_bytes(b"%PDF\0" + pdf("We ship on Fridays."))
    (tree / "a.bin").write_bytes(b"\0\1\2")
    with monkeypatch.context() as patch:  # an earlier version knew of no documents
        patch.setattr(documents, "_READERS", {})
        assert (mine().problems, mine().unchanged, drawers(palace)) == ([], 2, [])
    done = mine()
    assert (done.files, done.unchanged, done.problems) == (1, 1, [])
    assert [text for text, _ in drawers(palace)] == ["We ship on Fridays."]


def test_mining_what_is_no_document_loads_no_parser(tree: Path, tmp_path: Path) -> None:
    (tree / "a.md").write_text("We sell tea.\n")
    (tree / "a.py").write_text("x = 1\n")
    program = (
        "import sys; from palatine import cli; code = cli.main(sys.argv[1:]);"
        "print(sorted({'bs4', 'lxml', *sys.argv} & set(sys.modules)), code);"
    ).replace("*sys.argv", "'mammoth', 'markdownify', 'openpyxl', 'pptx', 'pypdf'")
    command = [sys.executable, "-c", program, "mine", tree, "--palace", tmp_path / "palace"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1] == "[] 0"


def test_a_file_in_the_current_folder_is_not_taken_for_a_parser(
    palace: Palace, mine: Mine, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tree / "a.pdf").write_bytes(pdf("We ship on Fridays."))
    (tree / "pypdf.py").write_text("raise SystemExit\n")
    monkeypatch.chdir(tree)
    assert mine().problems == []
    assert "We ship on Fridays." in {text for text, _ in drawers(palace)}


def test_facts_are_read_from_notes_and_not_from_documents(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    (tree / "a.md").write_text("Max works at Acme.\n")
    (tree / "a.docx").write_bytes(docx("Ann works at Globex."))
    (tree / "a.html").write_text("<p>Eve works at Initech.</p>")
    done = mine(facts=True)
    assert (len(drawers(palace)), done.facts and done.facts.read) == (3, 1)
    assert {fact.subject for fact in palace.knowledge.timeline()} == {"Max"}


def test_html_that_its_parser_rejects_stays_as_it_is(
    palace: Palace, mine: Mine, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def rejects(*_: object) -> None:
        raise bs4.exceptions.ParserRejectedMarkup("expected name token")

    monkeypatch.setattr(bs4, "BeautifulSoup", rejects)
    (tree / "a.html").write_text("<h1>Tea</h1>")
    assert mine().problems == []
    assert drawers(palace) == [("<h1>Tea</h1>", {})]
