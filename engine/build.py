"""Build an index of one column and publish it, the old one serving until then."""

from collections.abc import Mapping
from time import perf_counter
from typing import Any

from quiver import registry
from quiver.engine.column import Column, Derived
from quiver.engine.library import Library
from quiver.errors import BadSpec


def build(library: Library, column: Column | Derived, kind: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Build one index and describe it.

    Raises:
        BadSpec: there is no such kind, it takes no such option, or it needs no building.
    """
    if kind == "exact":
        raise BadSpec("exact needs no building: it reads the vectors themselves")
    started = perf_counter()
    count = _build_lance(library, column, options) if kind == "lance" else _build_file(library, column, kind, options)
    return {
        "column": str(column),
        "kind": kind,
        "options": dict(options),
        "vectors": count,
        "seconds": round(perf_counter() - started, 3),
    }


def _build_lance(library: Library, column: Column | Derived, options: Mapping[str, str]) -> int:
    if isinstance(column, Derived):
        raise BadSpec(f"{column}: lance indexes what is stored only; use faiss")
    module = registry.module("indexers", "lance")
    values = registry.convert(module.over, dict(options), name="lance")
    library.table.commit(lambda dataset: module.over(dataset, column.name, column.space, **values))
    return library.count(None)


def _build_file(library: Library, column: Column | Derived, kind: str, options: Mapping[str, str]) -> int:
    module = registry.module("indexers", kind)
    values = registry.convert(module.build, dict(options), name=kind)
    resident = library.resident(column)
    fragments = library.table.fragments(column.stored.name)
    files = {number: fragment.files for number, fragment in fragments.items()}
    vectors = resident.read()
    index = module.build(vectors, **values)
    note = {"version": library.table.version, "files": files, "options": dict(options), "vectors": len(vectors)}
    library.cache.save(column, kind, index, note)
    resident.forget(kind)
    return len(vectors)
