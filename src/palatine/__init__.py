"""Palatine: a memory palace that any number of AI agents share."""

from __future__ import annotations

import importlib

TYPE_CHECKING = False
if TYPE_CHECKING:
    from palatine.compat.knowledge_graph import KnowledgeGraph
    from palatine.errors import PalatineError
    from palatine.palace import Palace
    from palatine.types import Author, End, NewDrawer

__version__ = "0.1.0"
__all__ = ["Author", "End", "KnowledgeGraph", "NewDrawer", "Palace", "PalatineError"]

_HOMES = {
    "Author": "palatine.types",
    "End": "palatine.types",
    "KnowledgeGraph": "palatine.compat.knowledge_graph",
    "NewDrawer": "palatine.types",
    "Palace": "palatine.palace",
    "PalatineError": "palatine.errors",
}


def __getattr__(name: str) -> object:
    # Lazy (PEP 562): the MCP server answers its first request before any of these is loaded.
    if name not in _HOMES:
        raise AttributeError(f"module 'palatine' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
