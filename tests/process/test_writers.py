"""Many processes that write to one palace at the same moment: nothing acknowledged is lost."""

from pathlib import Path

import pytest

from tests.process.workers import Crew, Ledger


def written(crew: Crew, place: Path) -> list[tuple[str, str]]:
    """Kind and id of all that a fresh process finds; the palace must be well."""
    problems, detail, *pages, (_, seq) = crew.start("acknowledged", str(place)).ends()
    assert problems == 0, detail
    found = [(kind, ref) for kind, refs in pages for ref in refs]
    assert seq == len(found)
    return found


stress = pytest.mark.stress


@pytest.mark.parametrize(
    ("writers", "times", "first"),
    [
        (4, 20, "fresh"),
        (4, 20, "there"),
        (16, 100, "fresh"),
        (64, 20, "fresh"),
        pytest.param(16, 100, "there", marks=stress),
        pytest.param(64, 20, "there", marks=stress),
        pytest.param(64, 200, "fresh", marks=stress),
    ],
)
def test_what_many_writers_were_acknowledged_is_all_there(
    crew: Crew, tmp_path: Path, writers: int, times: int, first: str
) -> None:
    place = tmp_path / "palace"
    if first == "there":
        crew.run("acknowledged", str(place))
    crowd = crew.start_all(
        "write_many",
        [[str(place), me, times, str(tmp_path / f"ledger {me}")] for me in range(writers)],
    )
    for each in crowd:
        each.ends()
    ledgers = [Ledger.read(tmp_path / f"ledger {me}") for me in range(writers)]
    assert [len(each) for each in ledgers] == [times] * writers
    assert sorted(written(crew, place)) == sorted(note for each in ledgers for note in each)


@pytest.mark.parametrize("deed", ["race", "race_to_open"])
@pytest.mark.parametrize("what", ["same fact", "same drawer"])
def test_the_same_from_all_at_once_is_one_and_one_is_told_that_it_made_it(
    crew: Crew, tmp_path: Path, what: str, deed: str
) -> None:
    place = tmp_path / "palace"
    crowd = crew.start_all(deed, [[str(place), me, what] for me in range(12)])
    assert sorted(each.ends() for each in crowd) == [[False]] * 11 + [[True]]
    assert len(written(crew, place)) == 1


@pytest.mark.parametrize("what", ["supersede", "undo"])
def test_of_all_who_change_the_same_exactly_one_wins_and_the_others_learn_to_whom_they_lost(
    crew: Crew, tmp_path: Path, what: str
) -> None:
    place = tmp_path / "palace"
    crew.start_all("race", [[str(place), 0, "same fact"]])[0].ends()
    crowd = crew.start_all("race", [[str(place), me, what] for me in range(1, 13)])
    said = [each.ends()[0] for each in crowd]
    winners = [(me, each) for me, each in enumerate(said, 1) if not isinstance(each, dict)]
    losers = [each["lost"] for each in said if isinstance(each, dict)]
    assert len(winners) == 1
    assert len(losers) == 11
    winner, won = winners[0]
    assert all(f"worker {winner}" in each for each in losers), losers
    if what == "supersede":
        assert won == f"Firm {winner}"
        assert all(f"Firm {winner}" in each for each in losers)


@pytest.mark.parametrize("openers", [12, pytest.param(64, marks=stress)])
def test_all_who_open_a_fresh_folder_at_once_get_the_same_palace(
    crew: Crew, tmp_path: Path, openers: int
) -> None:
    place = tmp_path / "palace"
    crowd = crew.start_all("race_to_open", [[str(place), me, "open"] for me in range(openers)])
    ids = {each.ends()[0] for each in crowd}
    assert ids == {(place / "palace.lock").read_text().strip()}
    assert written(crew, place) == []


def test_an_old_palace_is_migrated_exactly_once_by_all_who_open_it(
    crew: Crew, tmp_path: Path
) -> None:
    place = tmp_path / "palace"
    crew.run("prepare", str(place))
    crowd = crew.start_all("migrate", [[str(place)]] * 8)
    assert len({each.ends()[0] for each in crowd}) == 1
