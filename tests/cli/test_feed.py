import json
import signal
import subprocess
import sys
from pathlib import Path

import apsw

from tests.cli.conftest import SECONDS


def words(run, *options: str) -> list[list[str]]:
    """What was done, to what kind, in words."""
    return [row[3:6] for row in run("log", *options).rows]


def test_a_log_tells_in_words_what_was_done_the_newest_last(run) -> None:
    key = run("add", "We ship on\nFridays", "--session", "s1").rows[0][0]
    fact = run("kg", "add", "Max", "works_at", "Acme", "--from", "2024").rows[0][0]
    run("kg", "end", "Max", "works_at", "Acme", "--at", "2025-03", "--agent", "bob")
    run("add", "y", "--wing", "team", "--room", "r")
    run("link", key, "team/r", "--label", "see")
    run("update", key, "We ship on Mondays")
    run("delete", key)
    run("kg", "delete", fact)
    assert words(run) == [
        ["add", "drawer", "We ship on Mondays"],
        ["add", "fact", "Max works_at Acme from 2024"],
        ["end", "fact", "Max works_at Acme from 2024 to 2025-03"],
        ["add", "drawer", "y"],
        ["add", "link", f"{key} - team/r see"],
        ["update", "drawer", "We ship on Mondays"],
        ["delete", "drawer", "We ship on Mondays"],
        ["delete", "link", f"{key} - team/r see"],
        ["delete", "fact", "Max works_at Acme from 2024 to 2025-03"],
    ]
    assert words(run, "--session", "s1") == [["add", "drawer", "We ship on Mondays"]]
    assert len(words(run, "--wing", "team")) == 1
    assert words(run, "--limit", "1") == words(run)[-1:]
    ((entry),) = run("log", "--agent", "bob", "--json").json["log"]
    assert (entry["seq"], entry["agent"]) == (3, "bob")
    assert entry["words"] == "Max works_at Acme from 2024 to 2025-03"
    run("log", "--agent", "eve", code=1)


def test_a_log_has_no_words_of_what_is_forgotten(run) -> None:
    key = run("add", "The key lies under the flowerpot").rows[0][0]
    run("forget", key, "--yes")
    assert words(run) == [["add", "drawer", ""], ["forget", "drawer", ""]]


def following(*options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "palatine", "changes", "--follow", *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def interrupted(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=SECONDS)
    return process.returncode, out, err


def test_who_follows_sees_each_change_as_it_happens_until_ctrl_c(run) -> None:
    run("add", "one")
    follower = following("--after", "0", "--agent", "ann", "--session", "s1")
    assert follower.stdout
    run("add", "two", "--session", "s1", "--agent", "bob")
    run("add", "three", "--session", "s1")
    seen = follower.stdout.readline().rstrip("\n").split("\t")
    assert (seen[0], seen[2:5], seen[7]) == ("3", ["ann", "add", "drawer"], "s1")
    run("kg", "add", "a", "b", "c", "--session", "s1")
    assert follower.stdout.readline().split("\t")[4] == "fact"
    assert interrupted(follower) == (0, "", "")


def test_what_a_program_follows_is_one_json_object_a_line(run) -> None:
    run("add", "one")
    run("add", "two")
    follower = following("--after", "1", "--json")
    assert follower.stdout
    assert json.loads(follower.stdout.readline())["seq"] == 2
    assert interrupted(follower) == (0, "", "")


def test_who_follows_notices_that_an_older_palace_was_put_back(run, tmp_path: Path) -> None:
    run("add", "one")
    run("add", "two")
    follower = following("--after", "0")
    assert follower.stdout
    assert [follower.stdout.readline()[0] for _ in range(2)] == ["1", "2"]
    connection = apsw.Connection(str(tmp_path / "palace" / "palace.db"))
    connection.execute("UPDATE change SET at = at + 1 WHERE seq = 2")
    connection.close()
    assert follower.stderr
    assert "put back" in follower.stderr.readline()
    run("add", "three")
    assert follower.stdout.readline()[0] == "3"
    assert interrupted(follower) == (0, "", "")
