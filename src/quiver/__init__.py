"""Quiver finds anything with anything: typed vector spaces, planned search, honest Recall@K."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from quiver.errors import QuiverError
from quiver.types import Hit, Item, Probe, Query, Space, Vectors

if TYPE_CHECKING:
    from quiver.engine.collection import Collection, open
    from quiver.engine.tellers import caption
    from quiver.protocols import Told

__version__ = "0.1.0"
__all__ = [
    "Collection",
    "Hit",
    "Item",
    "Probe",
    "Query",
    "QuiverError",
    "Space",
    "Told",
    "Vectors",
    "caption",
    "open",
]
#: Names of the engine and where they are.
_LAZY = {
    "Collection": "quiver.engine.collection",
    "open": "quiver.engine.collection",
    "caption": "quiver.engine.tellers",
    "Told": "quiver.protocols",
}


def __getattr__(name: str) -> Any:  # the engine is imported on first use, so that `import quiver` stays light
    if name in _LAZY:
        return getattr(import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'quiver' has no attribute {name!r}")
