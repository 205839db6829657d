"""The few limits that a machine holds: public names, sizes, forbidden words, foreign paths."""

import ast
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

import palatine

ROOT = Path(__file__).parents[1]
PACKAGE = Path(palatine.__path__[0])
SOURCES = {path: path.read_text("utf-8") for path in sorted(PACKAGE.rglob("*.py"))}
LINES_PER_FILE, LINES_PER_FUNCTION, CODE_LINES_IN_ALL = 900, 60, 17_650
ENVIRONMENT = {"environ", "environb", "getenv", "getenvb", "putenv", "unsetenv"}
LAYOUT = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
MACHINE_PATH = re.compile(
    r"(?<![\w.~])/(?:root|home|Users|work|workspace|builds)/|\b[A-Z]:\\+Users\b"
)


def test_the_package_shows_exactly_what_all_lists() -> None:
    listed = {name: getattr(palatine, name) for name in palatine.__all__}
    shown = {
        name
        for name, value in (vars(palatine) | listed).items()
        if not name.startswith("_") and not isinstance(value, ModuleType)
    }
    assert shown - {"TYPE_CHECKING", "annotations"} == {n for n in listed if n != "__version__"}


def test_files_and_functions_stay_short_and_keep_away_from_state_stdout_and_environment() -> None:
    found = [fault for path, text in SOURCES.items() for fault in faults(path, text)]
    assert not found, "\n".join(found)


def faults(path: Path, text: str) -> Iterator[str]:
    where = path.relative_to(PACKAGE)
    if (lines := text.count("\n")) > LINES_PER_FILE:
        yield f"{where}: {lines} lines"
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                if (lines := (node.end_lineno or 0) - node.lineno + 1) > LINES_PER_FUNCTION:
                    yield f"{where}:{node.lineno}: {name} has {lines} lines"
            case ast.Global():
                yield f"{where}:{node.lineno}: global"
            case ast.Call(func=ast.Name(id="print")):
                yield f"{where}:{node.lineno}: print"
            case ast.Attribute(attr=name) | ast.alias(name=name):
                if name in ENVIRONMENT and where.name != "config.py":
                    yield f"{where}:{node.lineno}: {name} outside config.py"


def test_no_file_names_a_path_of_a_particular_machine() -> None:
    if not (ROOT / ".git").exists():
        pytest.skip("the list of files comes from git, and this tree is not a clone")
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    files = [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()}"
        for path in files
        for number, line in enumerate(path.read_text("utf-8", "replace").splitlines(), 1)
        if MACHINE_PATH.search(line)
    ]
    assert not found, "\n".join(found)


def test_the_code_fits_in_its_budget(capsys: pytest.CaptureFixture[str]) -> None:
    counts: Counter[str] = Counter()
    for path, text in SOURCES.items():
        counts[path.relative_to(PACKAGE.parent).parent.as_posix()] += code_lines(text)
    with capsys.disabled():
        report = ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))
        sys.stdout.write(f"\ncode lines: {counts.total()} of {CODE_LINES_IN_ALL} ({report})\n")
    assert counts.total() <= CODE_LINES_IN_ALL


def code_lines(text: str) -> int:
    lines = {
        number
        for token in tokenize.generate_tokens(iter(text.splitlines(keepends=True)).__next__)
        if token.type not in LAYOUT
        for number in range(token.start[0], token.end[0] + 1)
    }
    for node in ast.walk(ast.parse(text)):
        match node:
            case ast.Expr(value=ast.Constant(value=str())):
                lines.difference_update(range(node.lineno, (node.end_lineno or 0) + 1))
    return len(lines)
