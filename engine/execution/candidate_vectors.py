"""Vectors of candidates, read in one batch, for stages that compare candidates with each other."""

from collections.abc import Sequence

import numpy as np

from quiver.engine.core.column import Column, Derived
from quiver.engine.core.near_duplicates import unit
from quiver.engine.execution.context import Context
from quiver.types import Floats, Rows


def unit_vectors(context: Context, column: Column | Derived, lists: Sequence[Rows]) -> list[Floats]:
    """Return the vectors of each list of rows, (n, dim) of length 1; zeros for a row without a vector."""
    every = np.unique(np.concatenate(lists)) if lists else np.empty(0, np.int64)
    found = context.session.resident(column).take(every)
    data = np.zeros((len(every), column.space.dim), np.float32)
    data[np.searchsorted(every, found.rows)] = unit(found.data)
    return [data[np.searchsorted(every, rows)] for rows in lists]
