"""`palatine token` and what `palatine serve` says before it serves."""

import json
import sys
from multiprocessing import get_context
from pathlib import Path

import pytest

import palatine.mcp
from palatine.errors import ConflictError
from palatine.mcp.tokens import Tokens


@pytest.fixture(autouse=True)
def palace(run, tmp_path: Path) -> Path:
    run("add", "x")
    return tmp_path / "palace"


def test_tokens_are_made_shown_listed_rotated_and_removed(run, palace: Path) -> None:
    assert run("token", "list").out == ""
    assert run("token", "show", code=1).err == (
        "palatine: there is no token 'default'; see palatine token list\n"
    )
    secret = run("token", "add", "laptop").out.strip()
    assert len(secret) > 40
    assert run("token", "show", "laptop").out.strip() == secret
    made = run("token", "add", "app", "--read-only", "--wing", " app ", "--json").json
    assert made == {"name": "app", "read_only": True, "wing": "app", "token": made["token"]}
    assert run("token", "list").rows == [["app", "read-only", "app"], ["laptop", "", ""]]
    assert run("token", "list", "--json").json == {
        "tokens": [
            {"name": "app", "read_only": True, "wing": "app"},
            {"name": "laptop", "read_only": False, "wing": None},
        ]
    }
    rotated = run("token", "rotate", "laptop").out.strip()
    assert rotated != secret
    assert run("token", "show", "laptop").out.strip() == rotated
    assert run("token", "add", "laptop", code=3).out == ""
    run("token", "remove", "laptop")
    run("token", "remove", "laptop", code=1)
    run("token", "rotate", "laptop", code=1)
    assert [token.name for token in Tokens(palace).all()] == ["app"]


@pytest.mark.parametrize("name", ["", ".", "..", ".hidden", "a/b", "../x", "ü", "a b", "x" * 65])
def test_a_name_that_is_no_file_is_refused(run, palace: Path, name: str) -> None:
    run("token", "add", name, code=2)
    run("token", "show", name, code=1)
    run("token", "remove", name, code=1)
    assert not (palace / "tokens").exists()


def test_an_empty_wing_is_not_the_whole_palace(run, palace: Path) -> None:
    assert "the wing is empty" in run("token", "add", "x", "--wing", "", code=2).err
    assert Tokens(palace).all() == []


def test_only_the_owner_can_read_a_token_whatever_the_umask(palace: Path) -> None:
    Tokens(palace).add("one")
    (palace / "tokens").chmod(0o755)
    Tokens(palace).add("two")
    assert (palace / "tokens").stat().st_mode & 0o777 == 0o700
    modes = {path.name: path.stat().st_mode & 0o777 for path in (palace / "tokens").iterdir()}
    assert modes == {"one": 0o600, "two": 0o600}


def test_a_secret_opens_only_as_a_whole(palace: Path) -> None:
    tokens = Tokens(palace)
    secret = tokens.add("one").secret
    other = tokens.add("two", read_only=True)
    assert tokens.holder(other.secret) == other
    for wrong in ("", secret[:-1], secret + "x", secret.swapcase(), "\udcff"):
        assert tokens.holder(wrong) is None


def test_a_damaged_token_opens_nothing_and_is_named(run, palace: Path) -> None:
    tokens = Tokens(palace)
    one, other = tokens.add("one"), tokens.add("other")
    whole = (palace / "tokens" / "one").read_text()
    misfits = ("secret", 5), ("wing", 3), ("name", "other"), ("read_only", "")
    changed = [json.dumps(json.loads(whole) | {name: value}) for name, value in misfits]
    for damaged in ("[]", "garbage", "\0", *changed):
        (palace / "tokens" / "one").write_text(damaged)
        assert "tokens/one is no token: remove it" in run("token", "list", code=2).err, damaged
        assert tokens.holder(one.secret) is None
        assert tokens.holder(other.secret) == other
    (palace / "tokens" / "folder").mkdir()
    assert tokens.holder(other.secret) == other
    (palace / "tokens" / "folder").rmdir()
    run("token", "remove", "one")
    assert tokens.all() == [other]


def race(folder: str, gate, told) -> None:
    gate.wait()
    try:
        Tokens(Path(folder)).add("same")
        told.put("made")
    except ConflictError:
        told.put("refused")


def test_of_many_who_make_the_same_token_one_does(palace: Path) -> None:
    context = get_context("spawn")
    gate, told = context.Barrier(4), context.SimpleQueue()
    crew = [context.Process(target=race, args=(str(palace), gate, told)) for _ in range(4)]
    for process in crew:
        process.start()
    for process in crew:
        process.join(60)
    assert [process.exitcode for process in crew] == [0] * 4
    assert sorted(told.get() for _ in crew) == ["made"] + ["refused"] * 3
    assert [path.name for path in (palace / "tokens").iterdir()] == ["same"]


def test_without_a_palace_there_is_no_token(run, tmp_path: Path) -> None:
    refused = run("token", "add", "x", "--palace", str(tmp_path / "nowhere"), code=4)
    assert "nowhere" in refused.err
    assert not (tmp_path / "nowhere").exists()


def test_serving_without_its_packages_says_what_to_install(
    run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "palatine.mcp.http", raising=False)
    monkeypatch.delattr(palatine.mcp, "http", raising=False)
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    refused = run("serve", code=2).err
    assert "pip install 'palatine[serve]'" in refused
    assert len(refused.splitlines()) == 1
