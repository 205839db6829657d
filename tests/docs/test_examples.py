"""Runs what the README and the tutorial show: library code and commands, with their output.

A `python` block runs as it stands; its `# prints …` comments must be printed, in order. Of a
`console` block each line after `$ ` runs in a shell and must succeed; the lines below it must come
out, in order, where `…` stands for anything.
"""

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from palatine import rules
from palatine.cli import clients

ROOT = Path(__file__).parents[2]
PAGES = (
    "README.md",
    "docs/backup.md",
    "docs/configuration.md",
    "docs/facts.md",
    "docs/http.md",
    "docs/mcp.md",
    "docs/mining.md",
    "docs/privacy.md",
    "docs/search.md",
    "docs/tutorial.md",
)
FLAGS = re.MULTILINE | re.DOTALL
BLOCK = re.compile(r"^```(python|console)\n(.*?)^```$", FLAGS)


def blocks(page: str) -> list[tuple[str, str]]:
    return BLOCK.findall((ROOT / page).read_text("utf-8"))


def surroundings(home: Path) -> dict[str, str]:
    """A fresh home with its own palace, and the commands of this environment."""
    kept = {name: os.environ[name] for name in ("LANG", "TMPDIR") if name in os.environ}
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.defpath}"
    return kept | {"HOME": str(home), "PATH": path, "PALATINE_PALACE": str(home / "memory")}


def run(command: list[str], home: Path) -> str:
    done = subprocess.run(
        command, cwd=home, env=surroundings(home), capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


def expect(wanted: list[str], output: str) -> None:
    """Asserts that the wanted lines come out in order; `…` stands for anything."""
    lines = iter(output.splitlines())
    for want in wanted:
        pattern = ".*".join(re.escape(part.strip()) for part in want.split("…"))
        assert any(re.search(pattern, line) for line in lines), f"{want!r} not in:\n{output}"


def commands(block: str) -> Iterator[tuple[str, list[str]]]:
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, *wanted = part.replace("\\\n", " ").splitlines()
        yield command, [line for line in wanted if line.strip()]


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_shows_is_what_happens(page: str, tmp_path: Path) -> None:
    found = blocks(page)
    assert found
    for language, block in found:
        if language == "python":
            wanted = re.findall(r"# prints (.*)$", block, re.MULTILINE)
            expect(wanted, run([sys.executable, "-c", block], tmp_path))
        else:
            for command, lines in commands(block):
                expect(lines, run(["bash", "-c", command], tmp_path))


@pytest.mark.parametrize("name", clients.CLIENTS)
def test_the_entry_that_a_page_shows_is_what_install_writes(name: str, tmp_path: Path) -> None:
    page = (ROOT / "docs/clients.md").read_text()
    (block,) = re.findall(rf"^`palatine install {name}`.*?^```\w+\n(.*?)^```$", page, FLAGS)
    path = tmp_path / clients.CLIENTS[name].file["linux"]
    program = Path(sys.executable).with_name("palatine")
    shown = run(["bash", "-c", f"palatine install {name} --dry-run 2>&1"], tmp_path)
    added = [line[1:] for line in shown.splitlines() if line[:1] == "+" and line[:3] != "+++"]
    assert str(path) in shown
    read = tomllib.loads if path.suffix == ".toml" else json.loads
    assert read(block) == read("\n".join(added).replace(str(program), "palatine"))


def test_the_rules_that_a_page_shows_are_rules(tmp_path: Path) -> None:
    path = tmp_path / "palatine.toml"
    (shown,) = re.findall(r"^```toml\n(.*?)^```$", (ROOT / "docs/rules.md").read_text(), FLAGS)
    path.write_text(shown)
    decisions, jobs = rules.read(str(path))
    assert (decisions.name, decisions.where["room"]) == ("decisions", "decisions")
    assert (jobs.command, jobs.timeout_seconds) == ("jq -r .words >> jobs.txt", 5)


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")))
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+?)(?:#[^)]*)?\)", page.read_text("utf-8")):
        if not target.startswith(("http:", "https:")):
            assert (page.parent / target).exists(), target
