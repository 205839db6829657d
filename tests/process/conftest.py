import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.process.agent import Agent
from tests.process.workers import Crew


@pytest.fixture(scope="session")
def server() -> Iterator[Crew]:
    with Crew() as crew:
        yield crew


@pytest.fixture
def crew(server: Crew) -> Iterator[Crew]:
    """Starts worker processes for one test; none outlives it."""
    try:
        yield server
    finally:
        server.dismiss()


@pytest.fixture
def agent(crew: Crew) -> Iterator[Callable[[], Agent]]:
    """Makes agents; each that still lives at the end of the test must end well."""
    agents: list[Agent] = []

    def make() -> Agent:
        agents.append(Agent(crew))
        return agents[-1]

    yield make
    for each in agents:
        if each.worker.lives:
            each.ends()


@pytest.fixture
def memory(tmp_path: Path) -> Iterator[Path]:
    """A folder in memory, where there is one: what a kill leaves is the same, a disk adds time."""
    shared = Path("/dev/shm")
    if not os.access(shared, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=shared) as folder:
        yield Path(folder)
