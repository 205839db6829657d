"""Mining a folder: what is read, what is left out, and what a second run does."""

import io
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palatine import Palace, cli
from palatine.errors import InputError
from palatine.ingest import files, redact
from palatine.ingest.mine import Mined, Options

Mine = Callable[..., Mined]
NOBODY = 65534


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace", agent="ann") as opened:
        yield opened


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "teashop"
    (tree / ".git").mkdir(parents=True)
    (tree / "src").mkdir()
    (tree / "README.md").write_text("# Teashop\n\nWe sell tea.\n")
    (tree / "src" / "shop.py").write_text("def sell(tea):\n    return tea\n")
    return tree


@pytest.fixture
def mine(palace: Palace, tree: Path) -> Mine:
    return lambda path=tree, **options: palace.mine(path, options=Options(**options))


def texts_of(palace: Palace) -> dict[tuple[str, int], str]:
    return {(drawer.source, drawer.position): drawer.text for drawer in palace.list(limit=1000)}


def test_files_become_drawers_with_their_wing_room_and_source(palace: Palace, mine: Mine) -> None:
    done = mine()
    assert (done.files, done.added, done.problems) == (2, 2, [])
    places = {(d.wing, d.room, d.source, d.position) for d in palace.list()}
    assert places == {
        ("teashop", "notes", "teashop/README.md", 0),
        ("teashop", "src", "teashop/src/shop.py", 0),
    }
    assert palace.search("sell tea", wing="teashop").hits


def test_a_second_run_opens_no_file_and_writes_nothing(
    palace: Palace, mine: Mine, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine()
    seq = palace.status().seq
    opened: list[object] = []
    real = io.open
    monkeypatch.setattr(
        io, "open", lambda name, *a, **k: opened.append(name) or real(name, *a, **k)
    )
    done = mine()
    assert (done.files, done.unchanged, done.added) == (0, 2, 0)
    assert palace.status().seq == seq
    assert [name for name in opened if "teashop" in str(name)] == []


def test_a_touched_file_is_read_but_nothing_is_written_for_it(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    mine()
    seq = palace.status().seq
    os.utime(tree / "README.md", ns=(1, 1))
    assert (mine().files, palace.status().seq) == (1, seq)
    assert mine().unchanged == 2


def test_a_changed_file_replaces_its_own_drawers_and_they_keep_their_ids(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    mine()
    before = {drawer.source: drawer for drawer in palace.list()}
    (tree / "README.md").write_text("# Teashop\n\nWe sell coffee.\n")
    done = mine()
    assert (done.changed, done.added, done.removed) == (1, 0, 0)
    after = {drawer.source: drawer for drawer in palace.list()}
    assert after["teashop/README.md"].id == before["teashop/README.md"].id
    assert "coffee" in after["teashop/README.md"].text
    assert after["teashop/src/shop.py"] == before["teashop/src/shop.py"]
    palace.undo(palace.changes()[-1].seq)
    assert palace.get(before["teashop/README.md"].id).text == before["teashop/README.md"].text


def test_a_long_file_becomes_pieces_that_put_together_are_the_file(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    parts = [f"## Part {n}\n\n" + f"Line of part {n}.\n" * 700 + "\n" for n in range(9)]
    (tree / "long.md").write_text("".join(parts))
    mine()
    found = texts_of(palace)
    pieces = [found[key] for key in sorted(found) if key[0] == "teashop/long.md"]
    assert len(pieces) > 3
    assert "".join(pieces) == "".join(parts)
    assert all(piece.startswith("## Part") for piece in pieces)
    assert max(map(len, pieces)) <= files.PIECE_CHARS
    (tree / "long.md").write_text("".join(parts[:2]))
    assert mine().removed == len(pieces) - 1


def test_a_file_that_is_gone_is_reported_and_deleted_only_when_asked(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    mine()
    (tree / "src" / "shop.py").unlink()
    done = mine()
    assert (done.gone, done.removed) == (["src/shop.py"], 0)
    assert mine(tree / "README.md").gone == []
    done = mine(prune=True)
    assert (done.gone, done.removed) == (["src/shop.py"], 1)
    assert (mine().gone, len(palace.list())) == ([], 1)


def test_what_ignore_files_name_is_left_out_and_what_they_take_back_is_not(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    (tree / ".gitignore").write_text("*.log\n/build\nsecret/\n")
    (tree / "src" / ".palatineignore").write_text("!keep.log\ngenerated_*\n")
    for name in ("a.log", "src/keep.log", "src/generated_x.py", "secret/x.md", "src/build/y.md"):
        path = tree / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"content of {name}")
    mine()
    sources = {drawer.source.removeprefix("teashop/") for drawer in palace.list()}
    assert "src/keep.log" in sources
    assert not sources & {"a.log", "src/generated_x.py", "secret/x.md"}


def test_mining_a_folder_of_a_project_is_mining_a_part_of_it(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    (tree / ".gitignore").write_text("*.tmp\n")
    (tree / "src" / "x.tmp").write_text("ignored by the project")
    assert mine(tree / "src").added == 1
    assert mine().added == 2
    assert {drawer.source for drawer in palace.list()} == {
        "teashop/.gitignore",
        "teashop/README.md",
        "teashop/src/shop.py",
    }


def test_binary_and_secret_files_and_links_out_of_the_folder_are_not_read(
    palace: Palace, mine: Mine, tree: Path, tmp_path: Path
) -> None:
    (tree / "logo.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    (tree / ".env").write_text("A=b")
    (tree / "server.pem").write_text("x")
    outside = tmp_path / "outside.md"
    outside.write_text("not of the project")
    (tree / "out.md").symlink_to(outside)
    (tree / "in.md").symlink_to(tree / "README.md")
    (tree / "dangling.md").symlink_to(tree / "nothing")
    (tree / "loop").symlink_to(tree)
    done = mine()
    assert {drawer.source.removeprefix("teashop/") for drawer in palace.list()} == {
        "README.md",
        "in.md",
        "src/shop.py",
    }
    assert [(problem.path, "link" in problem.reason) for problem in done.problems] == [
        ("out.md", True)
    ]


def test_other_encodings_come_in_and_say_so(palace: Palace, mine: Mine, tree: Path) -> None:
    (tree / "old.txt").write_bytes("Grüße aus Köln".encode("cp1252"))
    (tree / "win.txt").write_bytes("Grüße".encode("utf-16"))
    (tree / "bom.txt").write_bytes("Grüße".encode("utf-8-sig"))
    mine()
    found = {d.source.removeprefix("teashop/"): (d.text, d.metadata) for d in palace.list()}
    assert found["old.txt"] == ("Grüße aus Köln", {"encoding": "windows-1252"})
    assert found["win.txt"] == ("Grüße", {"encoding": "utf-16"})
    assert found["bom.txt"][0] == "\ufeffGrüße"


def test_a_folder_that_moved_keeps_its_root_and_its_drawers(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    mine()
    moved = tree.rename(tree.parent / "elsewhere")
    done = mine(moved, root="teashop")
    assert (done.root, done.added, done.unchanged) == ("teashop", 0, 2)


def test_two_folders_of_one_name_do_not_take_each_others_place(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    other = tree.parent / "other" / "teashop"
    other.mkdir(parents=True)
    (other / "README.md").write_text("Another shop.")
    mine()
    second = mine(other)
    assert second.root != "teashop"
    assert second.added == 1
    assert mine(other).root == second.root
    assert (mine().unchanged, mine(other).unchanged) == (2, 1)
    with pytest.raises(InputError, match="give another --root"):
        mine(other, root="teashop")


def test_secrets_are_masked_counted_and_kept_when_asked(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    key = "ghp_" + "a1B2" * 9
    (tree / "conf.md").write_text(f"token is {key}\npostgres://bob:hunter22@db/x\n")
    done = mine()
    assert done.masked.total() == 2
    text = texts_of(palace)["teashop/conf.md", 0]
    assert key not in text
    assert "hunter22" not in text
    assert "postgres://bob:" in text
    drawer = next(d for d in palace.list() if d.source == "teashop/conf.md")
    assert drawer.metadata["masked"] == dict(done.masked)
    (tree / "conf.md").write_text(f"the token is {key}\n")
    mine(verbatim=True)
    assert key in texts_of(palace)["teashop/conf.md", 0]


@pytest.mark.parametrize(
    "secret",
    [
        "-----BEGIN RSA PRIVATE KEY-----\nabc\ndef\n-----END RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\nnever ended",
        "export STRIPE_API_KEY=abcdefgh12345678",
        'db_password = "correct horse"',
        "https://ann:pa55word@example.org/",
        "AKIAIOSFODNN7EXAMPLE",
        "sk-ant-" + "x1Y2" * 8,
    ],
)
def test_the_rules_find(secret: str) -> None:
    masked, counts = redact.mask(f"before\n{secret}\nafter")
    assert counts.total() == 1
    assert masked.startswith("before\n")
    assert masked.endswith("after") or "never ended" in secret
    for word in ("abc\ndef", "never", "12345678", "horse", "pa55word", "AKIA", "x1Y2"):
        assert word not in masked


@pytest.mark.parametrize(
    "harmless",
    [
        "password = get_password()",
        "the token is on the table",
        "10.0.0.1",
        "https://example.org/a@b",
    ],
)
def test_the_rules_leave_alone(harmless: str) -> None:
    assert redact.mask(harmless) == (harmless, {})


def test_an_unreadable_file_among_others_is_reported_and_the_rest_filed() -> None:
    """As another user than root, for whom no file is unreadable."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        home.chmod(0o777)
        tree = home / "tree"
        (tree / "closed").mkdir(parents=True)
        for number in range(20):
            (tree / f"n{number}.md").write_text(f"note {number}")
        (tree / "n7.md").chmod(0)
        (tree / "closed").chmod(0)
        tree.chmod(0o755)
        code, output = run_as_nobody(home, "mine", str(tree), "--no-embed")
    assert code == 6, output
    assert "19 added" in output
    assert "n7.md\tPermission denied" in output
    assert "closed/\tPermission denied" in output


def run_as_nobody(home: Path, *words: str) -> tuple[int, str]:
    """Runs a command in a child that gives its rights away; returns exit code and output."""
    output = home / "output"
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            os.environ |= {"HOME": str(home), "PALATINE_PALACE": str(home / "palace")}
            os.chdir(home)
            with output.open("w") as file:
                os.dup2(file.fileno(), 1)
                sys.stdout = file
                code = cli.main(words)
            os._exit(code)
        finally:
            os._exit(99)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), output.read_text()
