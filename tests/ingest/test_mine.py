"""Mining a folder: what is read, what is left out, and what a second run does."""

import io
import json
import os
import random
import stat
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palatine import Palace, cli
from palatine.errors import InputError
from palatine.ingest import files, redact
from palatine.ingest.mine import Mined, Options
from palatine.types import DrawerFilter

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


@pytest.mark.parametrize("before", ["word\n" * 4790, "word " * 4795])
def test_a_long_file_is_not_cut_within_a_secret(
    palace: Palace, mine: Mine, tree: Path, before: str
) -> None:
    key = "-----BEGIN PRIVATE KEY-----\n" + ("A1b2" * 16 + "\n") * 24 + "-----END PRIVATE KEY-----"
    for name, secret in (("key.txt", key), ("token.txt", f"{'-' * 9} ghp_" + "a1B2" * 9)):
        (tree / name).write_text(f"{before}{secret}\n" + "word\n" * 900)
    assert sum(mine().masked.values()) == 2
    for name in ("key.txt", "token.txt"):
        found = [text for (source, _), text in texts_of(palace).items() if source.endswith(name)]
        assert len(found) == 2
        assert not any("1b2A" in text or "1B2a" in text for text in found)


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
    (tree / ".gitignore").write_text("\ufeff*.log\n/build\nsecret/\n", "utf-8")
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
    odd = bytes(byte for byte in range(256) if byte > 31) + b"\n"
    (tree / "odd.txt").write_bytes(odd)
    (tree / "talk.txt").write_bytes("User: Grüße\nAI: a\nUser: b\n".encode("cp1252"))
    mine()
    found = {d.source.removeprefix("teashop/"): (d.text, d.metadata) for d in palace.list()}
    assert found["old.txt"] == ("Grüße aus Köln", {"encoding": "windows-1252"})
    assert found["win.txt"] == ("Grüße", {"encoding": "utf-16"})
    assert found["bom.txt"][0] == "\ufeffGrüße"
    text, metadata = found["odd.txt"]
    assert text.encode(str(metadata["encoding"])) == odd
    talk = {(d.text, d.metadata.get("encoding")) for d in palace.list() if "talk" in d.source}
    assert talk == {("User: Grüße\nAI: a\n", "windows-1252"), ("User: b\n", None)}


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
    assert sum(done.masked.values()) == 2
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
        "-----BEGIN OPENSSH PRIVATE KEY-----\n" + "never0ended" * 6,
        '{"key": "-----BEGIN PRIVATE KEY-----\\n' + "abc0def1" * 8 + '"}',
        "hub = github_pat_" + "x1Y2" * 8,
        "the model is at hf_" + "x1Y2" * 8,
        "npm_" + "x1Y2" * 9,
        "sk_live_" + "x1Y2" * 30,
        "a token: eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJ4In0.x1Y2_x1Y2-x1Y2 to try",
        "curl -H 'Authorization: Bearer x1Y2.x1Y2x1Y2x1Y2' example.org",
        'password: "hunter22x"',
        '  "api_key": "hunter22x",',
        "- DB_PASSWORD=hunter22x",
        "docker run -e DB_PASSWORD=hunter22x img",
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
    assert masked.endswith("after") or "never" in secret
    for word in (
        "abc\ndef",
        "never",
        "12345678",
        "horse",
        "pa55word",
        "AKIA",
        "x1Y2",
        "hunter",
        "0def",
    ):
        assert word not in masked


@pytest.mark.parametrize(
    "harmless",
    [
        "password = get_password()",
        "A key file begins with -----BEGIN PRIVATE KEY----- and is for its owner.\nThe rest stays.",
        "the class APBillingAccount bills",
        "npm i sk-folding-cube-spinner-animation",
        "max_tokens=100000000",
        "token_url=https://example.org/oauth/token2",
        "self.token = token_value",
        "    password=new_password,",
        "1700000000:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "commit da39a3ee5e6b4b0d3255bfef95601890afd80709",
        "id 123e4567-e89b-12d3-a456-426614174000",
        "Bearer tokens are sent in a header",
        "Password: ask Ann about it",
        "the token is on the table",
        "10.0.0.1",
        "https://example.org/a@b",
    ],
)
def test_the_rules_leave_alone(harmless: str) -> None:
    assert redact.mask(harmless) == (harmless, {})


@pytest.mark.parametrize(
    "bit", ["sk-", "secret_token_key", "-eyJ", "A_TOKEN", "bearer ", "key: ", "a." * 8, "http://a:"]
)
def test_masking_a_text_made_to_hurt_costs_no_more_than_its_length_asks(bit: str) -> None:
    """Quadratic rules would take minutes; the time limit of a test is what this one fails by."""
    assert redact.mask(bit * 50_000 + "://")[0]


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


def test_the_quick_search_for_secrets_finds_what_every_rule_finds_by_itself() -> None:
    bits = ["\n", " ", ".=:\"'/@-_", "sk-", "AKC", "AKCp8abcdefghij", "APA12345678", "token"]
    bits += ["secret_key", "=", "password:", "ibm_cloud_api_key", "Bearer ", " DB_TOKEN="]
    bits += [
        "a1" * 12,
        "f0" * 24,
        "Zz9_" * 11,
        "x" * 19,
        "1" * 9 + ":" + "az" * 17 + "a",
        "0" * 32 + "-us1",
    ]
    bits += [
        "cl_key=",
        "cos_secret_key:",
        "sl_token ",
        "xoxb-12-ab",
        "http://",
        "http://ann:pa55@",
        "https://hooks.slack.com/services/T1/B1/a",
        "ü",
        "\u0130",
        "🙂",
        "\n",
    ]
    bits += [
        "//r/:_authToken=npm_a",
        "aws key '" + "A/+b" * 10 + "'",
        "sk_live_" + "a" * 24,
        "MN" + "a" * 22 + ".abcdef." + "b" * 27,
    ]
    dice = random.Random(7)
    seen: set[str] = set()
    for _ in range(3000):
        text = "".join(dice.choices(bits, k=dice.randrange(12)))
        slow = [
            (kind, *match.span("secret" if "secret" in rule.groupindex else 0))
            for kind, rule in redact._rules()
            for match in rule.finditer(text)
            if not (kind in redact._NONE and redact._NONE[kind].fullmatch(match[0]))
        ]
        assert list(redact.find(text)) == slow
        seen |= {kind for kind, *_ in slow}
    assert redact._WHERE.keys() - seen == set()


def test_the_rows_read_to_file_a_file_do_not_grow_with_the_palace(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    def steps() -> int:
        """Of SQLite, in hundreds, to read the drawers of one source."""
        count = 0

        def step() -> bool:
            nonlocal count
            count += 1
            return False

        with palace._store.read() as tx:
            connection = tx.connection  # type: ignore[attr-defined]
            connection.set_progress_handler(step, 100)
            tx.drawers(DrawerFilter(source="teashop/README.md"), limit=500, texts=False)
            connection.set_progress_handler(None)
        return count

    mine()
    before = steps()
    for number in range(500):
        (tree / f"n{number}.md").write_text(f"note {number}")
    mine()
    assert steps() <= before + 1  # to look at each of the 500 takes 25 and more


def jsonl(**record: object) -> str:
    return json.dumps({"sessionId": "s", "type": "user", "message": {"content": "hi"}, **record})


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "not UTF-8 in the name": (
        lambda tree: Path(os.fsdecode(os.fsencode(tree) + b"/\xff.md")).write_text("x"),
        "U+DCFF",
    ),
    "names that are one but for blanks": (
        lambda tree: [(tree / name).write_text(name) for name in ("a\nb.md", "a b.md")],
        "another file",
    ),
    "a pipe": (lambda tree: os.mkfifo(tree / "pipe"), "a pipe"),
    "a socket": (lambda tree: _socket(tree / "socket"), "a socket"),
    "a pattern that is none": (
        lambda tree: (tree / "sub").mkdir() or (tree / "sub" / ".gitignore").write_text("!"),
        "Invalid git pattern",
    ),
    "an export of another shape": (
        lambda tree: (tree / "conversations.json").write_text(
            '[{"uuid": "u", "chat_messages": [1]}]'
        ),
        "1 conversations cannot be read",
    ),
    "a file that is too large": (lambda tree: _sparse(tree / "large.txt", 2**31), "at most"),
    "folders in folders": (lambda tree: _nested(tree, 250), "folders deep"),
}


def _socket(path: Path) -> None:
    os.mknod(path, stat.S_IFSOCK | 0o600)


def _nested(path: Path, depth: int) -> None:
    at = os.open(path, os.O_DIRECTORY)
    for _ in range(depth):
        os.mkdir("a", dir_fd=at)
        above, at = at, os.open("a", os.O_DIRECTORY, dir_fd=at)
        os.close(above)
    os.close(at)


def _broken_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    path.write_bytes(path.read_bytes().replace(b"PK\x01\x02", b"PK__"))


def _sparse(path: Path, size: int) -> None:
    with path.open("wb") as file:
        file.truncate(size)


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_read_is_reported_and_the_rest_filed(
    palace: Palace, mine: Mine, tree: Path, case: str
) -> None:
    make, reason = BAD[case]
    make(tree)
    done = mine()
    assert [reason in problem.reason for problem in done.problems] == [True], done.problems
    assert {"teashop/README.md", "teashop/src/shop.py"} <= {d.source for d in palace.list()}
    assert [problem.reason for problem in mine().problems] == [p.reason for p in done.problems]


FINE: dict[str, Callable[[Path], object]] = {
    "a circle of links": lambda tree: [
        (tree / one).symlink_to(other) for one, other in (("x", "y"), ("y", "x"))
    ],
    "an empty folder": lambda tree: (tree / "empty").mkdir(),
    "an empty file": lambda tree: (tree / "empty.md").write_text(""),
    "a very long line": lambda tree: (tree / "line.txt").write_text("word " * 200_000),
    "a long folder's name": lambda tree: (
        (tree / ("d" * 220)).mkdir() or (tree / ("d" * 220) / "a.md").write_text("x")
    ),
    "a transcript cut off": lambda tree: (tree / "s.jsonl").write_text(jsonl() + '\n{"sess'),
    "times that are none": lambda tree: (tree / "s.jsonl").write_text(
        "".join(jsonl(timestamp=time) + "\n" for time in (float("inf"), 1e18, -1e11, 5))
    ),
    "a folder that is no path": lambda tree: (tree / "s.jsonl").write_text(jsonl(cwd="/a\0b")),
    "a folder with a name too long": lambda tree: (tree / "s.jsonl").write_text(
        jsonl(cwd="/" + "a" * 5000)
    ),
    "brackets that never end": lambda tree: (tree / "s.json").write_text("[" * 100_000),
    "a zip that is broken": lambda tree: _broken_zip(tree / "a.zip"),
    "a session that is no name": lambda tree: (tree / "s.jsonl").write_text(
        jsonl(sessionId="\0" + "s" * 300)
    ),
}


@pytest.mark.parametrize("case", FINE)
def test_what_is_only_odd_is_no_problem(palace: Palace, mine: Mine, tree: Path, case: str) -> None:
    FINE[case](tree)
    assert mine().problems == []
    assert {"teashop/README.md", "teashop/src/shop.py"} <= {d.source for d in palace.list()}
    assert palace.check() == []
    assert mine().added == 0


def test_a_palace_in_the_folder_is_not_read_and_keeps_its_locks(tmp_path: Path) -> None:
    """To close a file of an open database is to lose this process's locks on it."""
    (tmp_path / "note.md").write_text("note")
    opened: list[str] = []
    real = io.open
    with Palace.open(tmp_path / "memory") as palace, pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            io, "open", lambda name, *a, **k: opened.append(str(name)) or real(name, *a, **k)
        )
        assert palace.mine(tmp_path).added == 1
    assert [name for name in opened if "memory" in name] == []


@pytest.mark.parametrize("place", ["memory", "memory.sqlite"])
def test_files_of_the_palace_are_never_opened_to_be_mined(tmp_path: Path, place: str) -> None:
    (tmp_path / "note.md").write_text("note")
    (tmp_path / "memory.md").write_text("another note")
    opened: list[str] = []
    real = io.open
    folder = tmp_path / place
    if place == "memory":
        folder.mkdir(mode=0o700)
    else:
        folder.touch(mode=0o600)
    with Palace.open(folder) as palace, pytest.MonkeyPatch.context() as patch:
        (tmp_path / "link.md").symlink_to(folder / "palace.db" if folder.is_dir() else folder)
        patch.setattr(
            io, "open", lambda name, *a, **k: opened.append(str(name)) or real(name, *a, **k)
        )
        done = palace.mine(tmp_path)
        assert (done.added, done.problems) == (2, [])
        for own in (folder, tmp_path / "link.md"):
            with pytest.raises(InputError, match="belongs to the palace itself"):
                palace.mine(own)
        assert palace.check() == []
    assert {str(tmp_path / "memory.md"), str(tmp_path / "note.md")} <= set(opened)
    assert not {str(folder), str(folder / "palace.db"), str(tmp_path / "link.md")} & set(opened)


AWS = "AKIA" + "IOSFODNN7EXAMPLE"


def test_a_secret_in_a_title_is_masked_too(palace: Palace, mine: Mine, tree: Path) -> None:
    record = {"sessionId": "s", "type": "user", "title": f"keys: {AWS}"}
    record |= {"message": {"role": "user", "content": "Which?"}}
    (tree / "s.jsonl").write_text(json.dumps(record) + "\n")
    mine()
    (drawer,) = [each for each in palace.list() if each.text == "User: Which?"]
    assert AWS not in str(drawer.metadata)
    assert drawer.metadata["masked"]


def test_a_file_that_changes_while_it_is_read_is_left_as_it_was_and_read_by_the_next_run(
    palace: Palace, mine: Mine, tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine()
    path = tree / "README.md"

    class Growing(io.BufferedReader):
        def read(self, size: int | None = -1, /) -> bytes:
            with real(path, "a") as other:
                other.write("more\n")
            return super().read(size)

    real = io.open
    path.write_text("begun\n")
    with monkeypatch.context() as patch:
        patch.setattr(
            io,
            "open",
            lambda name, *a, **k: Growing(io.FileIO(name)) if name == path else real(name, *a, **k),
        )
        done = mine()
    assert [(p.path, "changed while" in p.reason) for p in done.problems] == [("README.md", True)]
    assert "We sell tea" in texts_of(palace)["teashop/README.md", 0]
    assert (mine().changed, mine().unchanged) == (1, 2)
    assert texts_of(palace)["teashop/README.md", 0] == path.read_text()


def test_what_is_neither_a_file_nor_a_folder_is_refused(mine: Mine, tree: Path) -> None:
    os.mkfifo(tree / "pipe")
    for name in ("pipe", "nothing"):
        with pytest.raises(InputError, match="no such file"):
            mine(tree / name)


def test_an_older_state_of_a_file_is_not_filed_over_a_newer_one(
    palace: Palace, mine: Mine, tree: Path
) -> None:
    path = tree / "README.md"

    def meanwhile(done: Mined, total: int) -> None:
        """Before the first miner files what it has read, a second one mines a newer state."""
        if path.read_text() == "older":
            path.write_text("newer")
            os.utime(path, ns=(2, 2 * 10**18))
            mine()

    path.write_text("older")
    os.utime(path, ns=(1, 10**18))
    palace.mine(tree, progress=meanwhile)
    assert texts_of(palace)["teashop/README.md", 0] == "newer"
    assert mine().unchanged == 2
