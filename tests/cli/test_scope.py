"""Commands that are limited to one wing, by `--wing` or by the surroundings."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from palatine import Palace, cli
from tests.contract.test_scope import fill, hidden_ids

READING = (
    ["search", "ships"],
    ["search", "zebra"],  # nothing found: then it says what there is
    ["list"],
    ["list", "--source", "nowhere"],
    ["kg", "show", "Max", "--all"],
    ["kg", "show", "Hushman"],
    ["kg", "timeline"],
    ["kg", "path", "Tea", "Water"],
    ["kg", "stats"],
    ["log"],
    ["changes"],
)
UNNAMED = (["status"], ["links"], ["export", "-"])  # these have no --wing


@pytest.fixture
def palace(tmp_path: Path) -> Iterator[Palace]:
    with Palace.open(tmp_path / "palace", embedder="hashing") as opened:
        fill(opened)
        yield opened


def hidden(palace: Palace, told: str, words: list[str]) -> list[str]:
    given = [word for word in words if "Hush" in word]
    for word in given:
        told = told.replace(word, "")
    return [secret for secret in (*hidden_ids(palace), "hush", "shop") if secret in told.casefold()]


@pytest.mark.parametrize("json", [[], ["--json"]], ids=["plain", "json"])
def test_a_command_tells_nothing_outside_its_wing(
    run, palace: Palace, capsys: pytest.CaptureFixture[str], monkeypatch, json: list[str]
) -> None:
    def told(*words: str) -> str:
        assert cli.main([*words, *json]) in (0, 1)
        captured = capsys.readouterr()
        return captured.out + captured.err

    for words in READING:
        assert hidden(palace, told(*words, "--wing", "app"), words) == []
    monkeypatch.setenv("PALATINE_WING", "app")
    for words in (*READING, *UNNAMED):
        assert hidden(palace, told(*words), words) == [], words
    monkeypatch.setenv("PALATINE_WING", "shop")
    assert hidden(palace, told("list", "--wing", "app"), []) == []
    assert "hush" in told("list")


def test_what_is_written_goes_to_the_wing_of_the_surroundings(
    run, palace: Palace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALATINE_WING", "app")
    assert run("add", "x", "--json").json["wing"] == "app"
    assert run("kg", "add", "Max", "rows", "Boats", "--json").json["fact"]["wing"] == "app"
    assert run("add", "x", "--wing", "shop", "--json").json["wing"] == "shop"
    assert run("status", "--json").json["palace"]["limited_to_wing"] == "app"
    assert "only wing app" in run("status").out


def test_what_is_outside_the_wing_is_refused(
    run, palace: Palace, monkeypatch: pytest.MonkeyPatch
) -> None:
    (theirs,) = [d.id for d in palace.list(wing="shop") if d.text == "hush hush ships"]
    (own,) = [d.id for d in palace.list(wing="app") if d.text.startswith("Ships")]
    monkeypatch.setenv("PALATINE_WING", "app")
    before = palace.status().seq
    assert "no drawer" in run("get", theirs, code=1).err
    for words in (["delete", theirs], ["pin", theirs], ["forget", theirs, "--yes"]):
        run(*words, code=1)
    for words in (
        ["update", own, "--wing", "shop"],
        ["delete", "--wing", "shop", "--yes"],
        ["link", own, "shop/hushroom"],
        ["diary", "write", "ann", "x"],
    ):
        assert "outside wing 'app'" in run(*words, code=2).err
    assert palace.status().seq == before


def test_what_cares_for_the_files_is_for_the_whole_palace(
    run, palace: Palace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PALATINE_WING", "app")
    monkeypatch.setenv("PALATINE_EMBEDDER", "hashing")
    assert palace.status().pending == 2
    run("embed")
    assert palace.status().pending == 0
    assert run("doctor", "--repair", "--json").json["problems"] == []
