"""Quiver finds anything with anything: typed vector spaces, planned search, honest Recall@K."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from quiver.errors import QuiverError
from quiver.types import Hit, Item, Probe, Query, Space, Vectors

if TYPE_CHECKING:
    from quiver.engine.client.remote import connect
    from quiver.engine.collection import Collection, open
    from quiver.engine.execution.plan import Plan, Result
    from quiver.engine.execution.results import Results
    from quiver.engine.exporting import Exported
    from quiver.engine.ingest.relocation import Relocated
    from quiver.engine.ingest.report import Report
    from quiver.engine.tellers import caption
    from quiver.protocols import Told
    from quiver.records import (
        BuiltIndex,
        CheckedIndex,
        ColumnSummary,
        Duplicates,
        Facets,
        Summary,
        UpdatedIndex,
        Version,
    )

__version__ = "0.1.0"
__all__ = [
    "BuiltIndex",
    "CheckedIndex",
    "Collection",
    "ColumnSummary",
    "Duplicates",
    "Exported",
    "Facets",
    "Hit",
    "Item",
    "Plan",
    "Probe",
    "Query",
    "QuiverError",
    "Relocated",
    "Report",
    "Result",
    "Results",
    "Space",
    "Summary",
    "Told",
    "UpdatedIndex",
    "Vectors",
    "Version",
    "caption",
    "connect",
    "open",
]
#: Names of the engine and where they are.
_LAZY = {
    "Collection": "quiver.engine.collection",
    "open": "quiver.engine.collection",
    "caption": "quiver.engine.tellers",
    "connect": "quiver.engine.client.remote",
    "Told": "quiver.protocols",
    "Plan": "quiver.engine.execution.plan",
    "Result": "quiver.engine.execution.plan",
    "Results": "quiver.engine.execution.results",
    "Exported": "quiver.engine.exporting",
    "Relocated": "quiver.engine.ingest.relocation",
    "Report": "quiver.engine.ingest.report",
    "BuiltIndex": "quiver.records",
    "CheckedIndex": "quiver.records",
    "ColumnSummary": "quiver.records",
    "Duplicates": "quiver.records",
    "Facets": "quiver.records",
    "Summary": "quiver.records",
    "UpdatedIndex": "quiver.records",
    "Version": "quiver.records",
}


def __getattr__(name: str) -> Any:  # the engine is imported on first use, so that `import quiver` stays light
    if name in _LAZY:
        return getattr(_import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'quiver' has no attribute {name!r}")
