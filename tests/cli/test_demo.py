import json
import os
import re
import shlex
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from palatine import Palace
from palatine.cli import demo, demo_agents, demo_story
from palatine.cli.demo_agents import Agent, Crew, Server
from tests.cli.conftest import SECONDS


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The demo, run once, and its palace."""
    folder = tmp_path_factory.mktemp("demo") / "a palace"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "palatine", "demo", "--palace", folder],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        env=os.environ | {"PALATINE_EMBEDDER": "minilm"},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout, folder


def test_the_last_table_counts_every_write_and_none_lost(told: tuple[str, Path]) -> None:
    story, folder = told
    counted = {
        name: re.search(rf"^{name} +(\d+)", story, re.MULTILINE)
        for name in ("writes acknowledged", "lost", "errors", "slowest wait")
    }
    numbers = {name: int(found[1]) for name, found in counted.items() if found}
    # Three agents with 40 writes each, one killed after 20, and the two of the reversal.
    assert numbers.pop("slowest wait") < 60_000
    assert numbers == {"writes acknowledged": 142, "lost": 0, "errors": 0}
    assert re.search(r"^again with 64 agents .* demo --agents 64$", story, re.MULTILINE)
    with Palace.open(folder, create=False) as palace:
        assert not palace.check()


def test_the_story_tells_what_happened(told: tuple[str, Path]) -> None:
    story, _ = told
    assert len(re.findall(r"^  operations +\d+ +20 .*SIGKILL", story, re.MULTILINE)) == 1
    assert re.search(r"After operations was killed, [1-9]\d* more writes", story)
    assert re.search(r"in March +as_of 2025-03 +Northpost, from 2025-02-11 to 2025-05-05", story)
    assert re.search(r"today +Swiftbox, since 2025-05-06", story)
    assert re.search(r"before act 2 +known_at .* Northpost, since 2025-02-11$", story, re.MULTILINE)
    assert "is called CHECKOUT_SIGNING_KEY_7F3A" in " ".join(story.split())
    assert re.search(r"without a word of it:\n  Prices are whole cents", story)


def test_the_last_lines_work_when_pasted(told: tuple[str, Path], tmp_path: Path) -> None:
    story, _ = told
    commands = [line.strip() for line in story.splitlines() if " --palace " in line]
    assert len(commands) == 3
    for command in commands:
        done = subprocess.run(
            ["/bin/sh", "-c", command], capture_output=True, timeout=SECONDS, check=False
        )
        assert (done.returncode, done.stderr) == (0, b""), command
    for client in ("claude", "codex"):
        (command,) = re.findall(rf"^  {client} mcp add .*$", story, re.MULTILINE)
        server = shlex.split(command.partition(" -- ")[2])
        hello = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {}}
        line = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
        # A file of the project that the client works in must not be taken for one of Python's.
        (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
        done = subprocess.run(
            server,
            cwd=tmp_path,
            input=json.dumps(line).encode() + b"\n",
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["result"]["serverInfo"]["name"] == "palatine"


def test_a_folder_that_is_not_empty_is_left_alone(run, tmp_path: Path) -> None:
    run("add", "mine")
    assert "not empty" in run("demo", "--palace", str(tmp_path / "palace"), code=2).err
    assert len(run("list").rows) == 1


def test_the_users_own_palace_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = demo._fresh_folder(None)
    assert folder.parent == tmp_path
    assert not (tmp_path / "palace").exists()


def test_a_write_that_is_not_there_is_lost(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "palace"
    verdict = demo.Verdict()
    with Crew(str(folder)) as crew:
        agent = Agent("shipping", crew.server("shipping"))
        agent.server.start()
        for write in list(demo_story.writes("shipping", 4)):
            agent.do(write)
        with Palace.open(folder, create=False) as palace:
            palace.forget(agent.ledger[0].ref)
            palace.knowledge.delete(agent.ledger[1].ref)
        demo._count(crew, [agent], verdict)
    assert verdict.lost == agent.ledger[:2]
    assert not verdict.held
    assert re.search(r"^lost +2$", capsys.readouterr().out, re.MULTILINE)


def test_an_error_of_a_server_breaks_the_promise(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    verdict = demo.Verdict()
    with Crew(str(tmp_path / "palace")) as crew:
        agent = Agent("shipping", crew.server("shipping"))
        agent.server.start()
        agent.do(demo_story.Call("kg_add", {"subject": "", "predicate": "p", "object": "o"}))
        agent.server.kill()
        agent.do(next(demo_story.writes("shipping", 1)))
        assert agent.ledger == []
        demo._count(crew, [agent], verdict)
    assert len(verdict.errors) == 2
    assert not verdict.held
    assert re.search(r"^errors +2$", capsys.readouterr().out, re.MULTILINE)


def test_a_place_where_no_palace_can_be_made_is_told_in_one_line(process, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    refused = process("demo", "--palace", str(tmp_path / "file" / "below"), code=4)
    assert len(refused.err.splitlines()) == 1


def test_leaving_the_demo_ends_its_servers(tmp_path: Path) -> None:
    pids = []

    def interrupted() -> None:
        with Crew(str(tmp_path / "palace")) as crew:
            first, second = crew.server("one"), crew.server("two")
            pids.extend([first.pid, second.pid])
            first.start()
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(pids) == 2
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


def test_the_servers_are_real_ones(tmp_path: Path) -> None:
    command = [sys.executable, *demo_agents.SERVER, "--palace", str(tmp_path / "palace")]
    with Server(command, "me") as server:
        server.start()
        assert server.call("status")["drawers"] == 0
        with pytest.raises(demo_agents.CallError, match="drawer"):
            server.call("get_drawer", id="dunknown")
        assert server.kill() == -signal.SIGKILL
        with pytest.raises(demo_agents.CallError, match="gone"):
            server.call("status")
