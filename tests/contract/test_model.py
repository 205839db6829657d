"""The model is a store: what mypy says of it, and that both stores offer exactly the port."""

import inspect
from pathlib import Path

import pytest
from mypy import api

from palatine.store import base
from palatine.store.sqlite import SqliteStore
from palatine.store.transactions import SqliteReadTx, SqliteWriteTx
from tests.contract import model
from tests.contract.model import ModelReadTx, ModelStore, ModelWriteTx

STORE: base.Store = ModelStore()
"""This assignment is what mypy is asked about."""

PAIRS = [
    (base.Store, SqliteStore),
    (base.ReadTx, SqliteReadTx),
    (base.WriteTx, SqliteWriteTx),
    (base.Store, ModelStore),
    (base.ReadTx, ModelReadTx),
    (base.WriteTx, ModelWriteTx),
]


def test_mypy_accepts_the_model_as_a_store() -> None:
    files = [str(Path(__file__)), str(Path(model.__file__))]
    out, errors, code = api.run(["--strict", *files])
    assert (errors, code) == ("", 0), out


@pytest.mark.parametrize(("port", "adapter"), PAIRS)
def test_a_store_has_the_arguments_of_the_port(port: type, adapter: type) -> None:
    for name, verb in inspect.getmembers(port, inspect.isfunction):
        if not name.startswith("_"):
            own = getattr(adapter, name)
            assert inspect.signature(own).parameters == inspect.signature(verb).parameters, name
