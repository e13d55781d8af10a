"""Data sets, one file each, in their official formats; a name is a module of this folder."""

import types
from typing import Any

from quiver import registry

_KIND = "benchmarks.datasets"


def names() -> list[str]:
    """List the data sets by name, importing none of them."""
    return registry.names(_KIND)


def module(name: str) -> types.ModuleType:
    """Import the module of a data set; a dotted name is a module of somebody else's.

    Raises:
        BadSpec: there is no such module.
    """
    return registry.module(_KIND, name)


def load(spec: str, *, entry: str = "load") -> Any:
    """Load the data set that a spec names, such as ``"world track=films count=100"``: a Task.

    Args:
        spec: name and options.
        entry: ``load``, or ``neighbours`` for vectors with known neighbours.

    Raises:
        BadSpec: there is no such data set, or it takes no such option.
        BadData: the data is not on disk.
    """
    return registry.load(_KIND, spec, entry=entry)
