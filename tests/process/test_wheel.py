"""The wheel alone: built here, installed where nothing else is, and cut off from the network."""

import importlib.metadata
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECONDS = 120


def run(command: list[str | Path], **options: object) -> str:
    done = subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=SECONDS, **options
    )  # type: ignore[call-overload]
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder], cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


def needed(by: importlib.metadata.Distribution) -> Iterator[importlib.metadata.Distribution]:
    """All that a distribution declares to need, and what that needs, without any extra."""
    for requirement in by.requires or ():
        if "extra ==" not in requirement and not re.search(r"python_version *<", requirement):
            name = re.split(r"[^\w.-]", requirement, maxsplit=1)[0]
            yield (found := importlib.metadata.distribution(name))
            yield from needed(found)


@pytest.fixture(scope="module")
def program(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installed program.

    Its environment borrows what the wheel declares to need, and nothing more, from the one that
    runs the tests: by links, so that no registry is asked.
    """
    home = tmp_path_factory.mktemp("empty")
    venv.create(home, with_pip=False, symlinks=True)
    python = home / "bin" / "python"
    install = ["install", "--quiet", "--no-index", "--no-deps", "--disable-pip-version-check"]
    run([sys.executable, "-m", "pip", "--python", python, *install, wheel])
    (packages,) = home.glob("lib/python*/site-packages")
    (installed,) = importlib.metadata.distributions(name="palatine", path=[str(packages)])
    for found in needed(installed):
        for top in {file.parts[0] for file in found.files or () if file.parts[0] != ".."}:
            if top != "__pycache__" and not (packages / top).exists():
                (packages / top).symlink_to(found.locate_file(top))
    return home / "bin" / "palatine"


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    source = ROOT / "src"
    files = {
        str(path.relative_to(source))
        for path in (source / "palatine").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {name for name in names if ".dist-info/" not in name} == files
    assert any(name.endswith("licenses/NOTICE") for name in names)


def test_the_installed_wheel_searches_by_meaning_without_a_network(
    program: Path, tmp_path: Path
) -> None:
    environment = {
        "HOME": str(tmp_path),
        "PATH": os.defpath,
        "PYTHONPATH": str(ROOT / "tests" / "no_network"),
        "PALATINE_PALACE": str(tmp_path / "palace"),
    }

    def palatine(*words: str, **more: str) -> str:
        return run([program, *words], env=environment | more, cwd=tmp_path)

    answer = "The physician told her to rest for two weeks."
    for text in (answer, "The invoice is due in March.", "We ship parcels on Fridays."):
        palatine("add", text)
    assert palatine("embed") == "embedded: 3 passages; 0 not embedded yet\n"
    question = "medical advice from a doctor"  # no word of it stands in its answer
    assert palatine("search", question).splitlines()[0].endswith(answer)
    with pytest.raises(AssertionError, match="nothing found"):
        palatine("search", question, PALATINE_EMBEDDER="none")
    palatine("kg", "add", "Max", "works_at", "Acme")
    assert "Max" in palatine("kg", "export", "--format", "html")
    assert {line.split("\t")[1] for line in palatine("doctor").splitlines()} == {"ok"}
    where = "import palatine, sys; sys.exit(not palatine.__file__.startswith(sys.prefix))"
    run([program.with_name("python"), "-c", where], env=environment, cwd=tmp_path)
    with pytest.raises(AssertionError, match="may not use the network"):
        run([program.with_name("python"), "-c", "import socket; socket.socket()"], env=environment)
