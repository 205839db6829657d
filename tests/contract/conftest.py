import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from palatine.errors import StoreClosedError
from palatine.store.base import Store
from palatine.store.sqlite import SqliteStore
from tests.contract.model import ModelStore

# A store exists when it passes: each one is a factory here, and nothing else in the suite names it.
FACTORIES: dict[str, Callable[[Path], Store]] = {
    "sqlite": lambda folder: SqliteStore(folder),
    "model": lambda folder: ModelStore(place=str(folder)),
}


@pytest.fixture(params=FACTORIES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    opened = FACTORIES[request.param](tmp_path / "palace")
    yield opened
    with contextlib.suppress(StoreClosedError):
        assert opened.check() == []
    opened.close()
