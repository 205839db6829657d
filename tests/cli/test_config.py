"""What is set, by whom, and which of it counts."""

import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from palatine import Palace, config
from palatine.errors import InputError
from tests.cli.conftest import SECONDS, Run
from tests.server.client import Client


@pytest.fixture
def home(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home in which nothing is said about the palace."""
    monkeypatch.delenv("PALATINE_PALACE")
    monkeypatch.delenv("PALATINE_AGENT")
    monkeypatch.setenv("USER", "ann")
    monkeypatch.chdir(project)
    return project.parents[1]


@pytest.fixture
def settings(home: Path) -> Path:
    """The user's file, which is not there yet."""
    return home / ".config" / "palatine" / "config.toml"


def palace_of(run: Callable[..., Run]) -> tuple[str, str]:
    found = run("config", "--json").json["palace"]
    return found["value"], found["from"]


def test_the_palace_is_the_option_the_variable_the_project_the_settings_the_default(
    run, home: Path, project: Path, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = str(home / ".local" / "share" / "palatine" / "palace")
    assert palace_of(run) == (own, "default")
    run("config", "set", "palace", "mine")
    assert palace_of(run) == (str(project / "mine"), str(settings))
    toml = project.parent / "palatine.toml"
    toml.write_text('palace = "../shared memory"\n')
    assert palace_of(run) == (str(home / "shared memory"), str(toml))
    run("add", "x")
    assert run("status").rows[0] == ["palace", str(home / "shared memory")]
    monkeypatch.setenv("PALATINE_PALACE", "named")
    assert palace_of(run) == ("named", "PALATINE_PALACE")
    run("add", "x", "--palace", "given")
    assert (project / "given" / "palace.db").exists()
    assert not (project / "named").exists()


def test_the_nearest_file_of_a_project_counts_and_may_name_the_home(
    run, home: Path, project: Path
) -> None:
    (home / "palatine.toml").write_text('palace = "far"\nwing = "far"')
    (project / "palatine.toml").write_text('palace = "~/near"')
    found = run("config", "--json").json
    assert found["palace"]["value"] == str(home / "near")
    assert found["wing"] == {"value": "", "from": "default"}


def test_the_wing_of_a_project_limits_commands_unless_they_name_another(
    run, project: Path, home: Path
) -> None:
    run("add", "of another wing", "--wing", "other")
    (project / "palatine.toml").write_text('wing = "tea"')
    assert run("add", "of the project", "--json").json["wing"] == "tea"
    assert len(run("list").rows) == 1
    assert run("list", "--wing", "other").rows[0][1] == "other/notes"


def test_a_server_finds_the_file_of_its_project_when_the_palace_is_opened(
    home: Path, project: Path
) -> None:
    (project / "palatine.toml").write_text('palace = "memory"\nwing = "tea"')
    watched = (sys.executable, "-X", "importtime", "-m", "palatine", "mcp")
    with Client(*watched) as client:
        client.initialize()
        assert client.ask("tools/list")["result"]["tools"]
        assert "tomllib" not in client.errors()
        assert not (project / "memory").exists()
        assert client.call("add_drawer", text="oolong")["wing"] == "tea"
        assert client.call("status")["palace"]["place"] == str(project / "memory")


def test_a_server_tells_a_broken_file_to_the_caller_and_goes_on_when_it_is_mended(
    home: Path, project: Path
) -> None:
    toml = project / "palatine.toml"
    toml.write_text("palac = 'memory'")
    with Client(sys.executable, "-m", "palatine", "mcp") as client:
        client.initialize()
        refused = client.try_call("status")
        assert refused["isError"]
        assert str(toml) in str(refused)
        toml.write_text("palace = 'memory'")
        assert client.call("status")["palace"]["place"] == str(project / "memory")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (b'palace = "x"\nwing "y"\n', "line 2"),
        (b'palace = "x"\nwing = [', "line 2"),
        (b'# caf\xe9\npalace = "x"', "UTF-8 (at line 1)"),
        (b'\npalac = "x"\n', "there is no setting 'palac' here; there is palace"),
        (b'embedder = "http://elsewhere"', "there is palace, wing"),
        (b"palace = 3", "palace must be text"),
        (b'palace = ""', "palace must be text"),
        (b'palace = "a\\u0000b"', "palace must be text"),
        (b'[palace]\nname = "x"', "palace must be text"),
        (b"a = " + b"[" * 100_000, "recursion"),
    ],
)
def test_a_project_file_that_cannot_be_used_is_named_with_the_place(
    run, home: Path, project: Path, text: bytes, complaint: str
) -> None:
    (project / "palatine.toml").write_bytes(text)
    for command in (("add", "x"), ("config",)):
        told = run(*command, code=2).err
        assert str(project / "palatine.toml") in told
        assert complaint in told
        assert len(told.splitlines()) == 1
    with pytest.raises(InputError, match=r"palatine\.toml"):
        Palace.open()
    run("list", "--palace", "elsewhere", "--wing", "x", code=4)  # it is not asked for


def test_a_byte_order_mark_and_windows_lines_are_no_fault(run, home: Path, project: Path) -> None:
    (project / "palatine.toml").write_bytes(b'\xef\xbb\xbfpalace = "x"\r\nwing = "y"\r\n')
    assert palace_of(run)[0] == str(project / "x")


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a file to somebody else")
def test_the_file_of_a_stranger_in_a_folder_above_does_not_count(
    run, home: Path, project: Path
) -> None:
    toml = home / "palatine.toml"
    toml.write_text('palace = "trap"')
    os.chown(toml, 12345, 12345)
    assert palace_of(run)[1] == "default"
    os.chown(project, 12345, 12345)  # who works in a stranger's folder works with his file
    assert palace_of(run)[1] == str(toml)


def test_every_setting_is_shown_with_its_origin_and_the_key_is_not(
    run, settings: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("config", "set", "agent", "bob")
    monkeypatch.setenv("PALATINE_EMBEDDER_KEY", "sesame")
    shown = run("config")
    assert [row[0] for row in shown.rows] == list(config.SETTINGS)
    assert ["agent", "bob", str(settings)] in shown.rows
    assert ["embedder", "none", "PALATINE_EMBEDDER"] in shown.rows
    assert ["embedder_key", "(not shown)", "PALATINE_EMBEDDER_KEY"] in shown.rows
    assert ["session", "", "default"] in shown.rows
    monkeypatch.setenv("CLAUDE_CODE_SESSION_ID", "s1")
    assert ["agent", "claude-code", "CLAUDE_CODE_SESSION_ID"] in run("config").rows


def test_what_is_set_counts_and_what_else_stands_in_the_file_stays(run, settings: Path) -> None:
    run("config", "set", "agent", "bob")
    assert stat.S_IMODE(settings.stat().st_mode) == 0o600
    assert stat.S_IMODE(settings.parent.stat().st_mode) == 0o700
    settings.write_text("# mine\nagent = 'bob' # him\n\n[palaces.'/far']\nname = 'far'\n# end\n")
    before = settings.read_text().splitlines()
    assert run("config", "set", "palace", "~/x").out == f"palace: {Path.home()}/x\n"
    run("add", "x")
    assert "bob" in run("log").rows[0]
    assert set(before) < set(settings.read_text().splitlines())
    run("config", "unset", "palace")
    assert [line for line in settings.read_text().splitlines() if line] == [b for b in before if b]
    run("config", "unset", "agent")
    assert run("config", "--json").json["agent"] == {"value": "ann", "from": "default"}


def test_a_file_of_settings_that_is_a_link_stays_one(run, settings: Path, home: Path) -> None:
    settings.parent.mkdir(parents=True)
    (home / "dotfiles").mkdir()
    settings.symlink_to(home / "dotfiles" / "palatine")
    run("config", "set", "agent", "bob")
    assert settings.is_symlink()
    assert (home / "dotfiles" / "palatine").read_text() == 'agent = "bob"\n'


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("set", "embeder", "minilm"), "'embedder'"),
        (("set", "nonsense", "x"), "'palace', 'agent'"),
        (("set", "embedder_key", "sesame"), "is not one of"),
        (("set", "wing", "x"), "is not one of"),
        (("set", "embedder", "nonsense"), "no embedder 'nonsense'"),
        (("set", "embedder", "https://me:sesame@host/v1"), "PALATINE_EMBEDDER_KEY"),
        (("set", "agent", " "), "agent must be text"),
        (("set", "agent", "a\nb"), "agent must be text"),
        (("set", "agent", "bad\udcff"), "agent must be text"),
        (("unset", "embeder"), "'embedder'"),
    ],
)
def test_what_cannot_be_set_is_refused_and_nothing_is_written(
    run, settings: Path, words: tuple[str, ...], complaint: str
) -> None:
    told = run("config", *words, code=2).err
    assert complaint in told
    assert "sesame" not in told
    assert not settings.exists()


def test_what_is_set_but_does_not_count_here_is_said(run, settings: Path) -> None:
    told = run("config", "set", "embedder", "minilm")
    assert told.err == "PALATINE_EMBEDDER says 'none', and counts before it here\n"
    assert told.out == "embedder: none\n"


@pytest.mark.parametrize(
    "text",
    ["agent = 3", "agent", "agnet = 'x'", "palaces = 3", "[palaces]\nx = 1", "palaces.x.y=1"],
)
def test_a_broken_file_of_settings_is_named_and_is_not_written_over(
    run, settings: Path, text: str
) -> None:
    settings.parent.mkdir(parents=True)
    settings.write_text(text)
    for words in (("list",), ("config",), ("config", "set", "agent", "x"), ("palaces",)):
        assert str(settings) in run(*words, code=2).err
    assert settings.read_text() == text
    assert list(settings.parent.iterdir()) == [settings]


def test_a_file_that_another_command_is_writing_is_left_alone(run, settings: Path) -> None:
    run("config", "set", "agent", "ann")
    half = settings.with_name("config.toml.new")
    half.write_text("agent = ")
    assert str(half) in run("config", "set", "agent", "bob", code=3).err
    assert settings.read_text() == 'agent = "ann"\n'
    half.unlink()
    run("config", "set", "agent", "bob")


NAMING = """
import sys
from palatine import config
from palatine.errors import ConflictError
sys.stdin.read()  # until all are here
for number in range(10):
    while True:
        try:
            config.change({"name": f"n{number}"}, palace=f"/{sys.argv[1]}/{number}")
            break
        except ConflictError:
            pass
"""


def test_of_settings_that_many_processes_write_at_once_none_is_lost(settings: Path) -> None:
    writers = [
        subprocess.Popen([sys.executable, "-c", NAMING, name], stdin=subprocess.PIPE)
        for name in "abcd"
    ]
    for each in writers:
        assert each.stdin is not None
        each.stdin.close()
    assert [each.wait(SECONDS) for each in writers] == [0] * 4
    wanted = {f"/{name}/{number}": f"n{number}" for name in "abcd" for number in range(10)}
    assert config.palaces() == wanted
    assert list(settings.parent.iterdir()) == [settings]


def test_a_command_loads_no_reader_or_writer_of_settings_where_there_are_none(run, home) -> None:
    run("add", "x")
    check = (
        "import sys; from palatine.cli import main; assert main(['list']) == 0;"
        "sys.exit(bool({'tomllib', 'tomlkit', 'rich'} & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, timeout=SECONDS, check=False
    )
    assert done.returncode == 0, done.stderr


def test_where_no_home_is_known_nothing_is_read_or_written_below_the_working_folder(
    run, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As platformdirs answers a user whom the system does not know.
    monkeypatch.setattr("palatine.config._folder", lambda _: "~/x")
    settings = project / "~" / "x" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("broken")
    run("add", "x")
    run("status")
    assert "home folder" in run("config", "set", "agent", "ann", code=2).err
    assert [path for path in (project / "~").rglob("*") if path.is_file()] == [settings]
