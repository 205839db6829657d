import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.no_network.refusal import refuse

# Files, locks and processes make the first example slow, which says nothing about a test.
settings.register_profile(
    "ci", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile(
    "stress", max_examples=2_000, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("ci")

# Most tests are about other things than meaning, and their processes shall load no model.
os.environ.setdefault("PALATINE_EMBEDDER", "none")

# Who starts the tests in the background may have turned Ctrl-C off, for all children, too.
signal.signal(signal.SIGINT, signal.default_int_handler)

_allowed = [False]


def _audit(event: str, arguments: tuple[object, ...]) -> None:
    if not _allowed[0]:
        refuse(event, arguments)


sys.addaudithook(_audit)


@pytest.fixture(scope="session", autouse=True)
def _user(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The tests' own folders: nobody's settings count, and nobody's list of palaces grows."""
    for name in ("XDG_CONFIG_HOME", "XDG_STATE_HOME"):
        os.environ[name] = str(tmp_path_factory.mktemp(name))


@pytest.fixture(autouse=True)
def _sockets_are_forbidden(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Refuses network sockets to every test, and to its child processes, but those marked so."""
    if request.node.get_closest_marker("network"):
        _allowed[0] = True
        yield
        _allowed[0] = False
        return
    # Before what stands there already: mutants.py names its copy of the package by it.
    folder = str(Path(__file__).parent / "no_network")
    monkeypatch.setenv("PYTHONPATH", folder, prepend=os.pathsep)
    yield
