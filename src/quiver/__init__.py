"""Quiver finds anything with anything: typed vector spaces, planned search, honest Recall@K."""

from typing import TYPE_CHECKING, Any

from quiver.errors import QuiverError
from quiver.types import Hit, Item, Probe, Query, Space, Vectors

if TYPE_CHECKING:
    from quiver.engine.collection import Collection, open

__version__ = "0.1.0"
__all__ = ["Collection", "Hit", "Item", "Probe", "Query", "QuiverError", "Space", "Vectors", "open"]


def __getattr__(name: str) -> Any:  # the engine is imported on first use, so that `import quiver` stays light
    if name in {"Collection", "open"}:
        from quiver.engine import collection

        return getattr(collection, name)
    raise AttributeError(f"module 'quiver' has no attribute {name!r}")
