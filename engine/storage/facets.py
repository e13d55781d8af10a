"""Facets: the values of a metadata column with the number of items that have them, counted by Arrow."""

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as pt

from quiver.engine.core.metadata import describe
from quiver.engine.core.sql import Sql
from quiver.engine.storage.table_reader import TableReader
from quiver.errors import BadSpec
from quiver.records import FacetRange, Facets, FacetValue
from quiver.wording import nearest

#: Largest number of ranges.
RANGES = 12
#: Calendar units of ranges, finest first: multiple, unit.
_UNITS = (
    (1, "minute"),
    (1, "hour"),
    (1, "day"),
    (1, "month"),
    (1, "year"),
    (10, "year"),
    (100, "year"),
    (1000, "year"),
)


def facets(table: TableReader, column: str, where: Sql | None, *, limit: int) -> Facets:
    """Count the values of a column over the rows that a condition selects; see ``Collection.facets``.

    Raises:
        BadSpec: there is no such column.
    """
    _check(table, column)
    held = table.read([column], where=where)[column].combine_chunks()
    kind = held.type
    items = pa.array(np.arange(len(held)))
    if pt.is_list(kind):
        items, held = pc.list_parent_indices(held), pc.list_flatten(held)
    valid = pc.is_valid(held)
    if pt.is_floating(held.type):
        valid = pc.and_(valid, pc.invert(pc.fill_null(pc.is_nan(held), False)))
    items, held = items.filter(valid), held.filter(valid)
    total = table.count(where)
    counted = _counted(items, held, lists=pt.is_list(kind))
    order = [("count", "descending"), ("value", "ascending")]
    best = counted.take(pc.select_k_unstable(counted, min(limit, len(counted)), order)) if len(counted) else counted
    low, high, ranges = _ranges(items, held, lists=pt.is_list(kind))
    return Facets(
        column=column,
        kind=describe(kind),
        items=total,
        missing=total - pc.count_distinct(items).as_py(),
        distinct=len(counted),
        values=[FacetValue(row["value"], row["count"]) for row in best.to_pylist()],
        low=low,
        high=high,
        ranges=ranges,
    )


def _check(table: TableReader, column: str) -> None:
    names = ("text", *table.meta)
    if column not in names:
        near = nearest(column, names) if isinstance(column, str) else None
        hint = f" (did you mean {near}?)" if near else ""
        raise BadSpec(f"there is no metadata column {column!r} to count{hint}; columns here: {', '.join(names)}")


def _counted(items: pa.Array, values: pa.Array, *, lists: bool) -> pa.Table:
    """Return the different values and the number of items that have each: columns value and count."""
    if lists:  # a member that an item has twice counts once
        values = pa.table({"item": items, "value": values}).group_by(["item", "value"]).aggregate([])["value"]
    found = pc.value_counts(values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values)
    return pa.table({"value": found.field("values"), "count": found.field("counts")})


def _ranges(items: pa.Array, values: pa.Array, *, lists: bool) -> tuple[Any, Any, Sequence[FacetRange]]:
    """Return the smallest and the largest value, and the counts by range; nothing for values without an order."""
    numeric = pt.is_integer(values.type) or pt.is_floating(values.type)
    if not len(values) or not (numeric or pt.is_temporal(values.type)):
        return None, None, ()
    bounds = pc.min_max(values)
    low, high = bounds["min"].as_py(), bounds["max"].as_py()
    if numeric:
        finite = pc.is_finite(values)
        return low, high, _number_ranges(items.filter(finite), values.filter(finite), lists=lists)
    return low, high, _time_ranges(items, values, lists=lists)


def _number_ranges(items: pa.Array, values: pa.Array, *, lists: bool) -> list[FacetRange]:
    if not len(values):
        return []
    bounds, whole = pc.min_max(values), pt.is_integer(values.type)
    step = _step(bounds["max"].as_py() - bounds["min"].as_py(), whole=whole)
    if not math.isfinite(step):
        return []
    bins = pa.array(np.floor_divide(values.to_numpy(zero_copy_only=False), step))
    digits = max(0, -math.floor(math.log10(step)))
    lows = _counted(items, bins, lists=lists).sort_by("value").to_pylist()
    if whole:
        return [FacetRange(int(row["value"]) * step, (int(row["value"]) + 1) * step, row["count"]) for row in lows]
    return [
        FacetRange(round(row["value"] * step, digits), round((row["value"] + 1) * step, digits), row["count"])
        for row in lows
    ]


def _step(span: float, *, whole: bool) -> Any:
    """Return the smallest of 1, 2, 5, 10, 20 ... (or 0.1, 0.2 ...) that cuts a span into at most RANGES - 1 parts.

    >>> _step(100, whole=True), _step(3, whole=True), _step(0.7, whole=False)
    (10, 1, 0.1)
    """
    least = span / (RANGES - 1)
    if whole and least <= 1:
        return 1
    if not least:
        return 1.0
    power = math.floor(math.log10(least))
    step = next(each for n in (power, power + 1) for each in (10.0**n, 2 * 10.0**n, 5 * 10.0**n) if each >= least)
    return round(step) if whole else step


def _time_ranges(items: pa.Array, values: pa.Array, *, lists: bool) -> list[FacetRange]:
    kind = values.type
    plain = values if pt.is_date(kind) else values.cast(pa.timestamp("us"))
    units = [unit for unit in _UNITS if not pt.is_date(kind) or unit[1] not in ("minute", "hour")]
    for multiple, unit in units:
        starts = pc.floor_temporal(plain, multiple, unit)
        counted = _counted(items, starts, lists=lists)
        if len(counted) <= RANGES:
            break
    lows = counted.sort_by("value")
    ends = [_after(each, multiple, unit) for each in lows["value"].to_pylist()]
    first = lows["value"].combine_chunks().cast(kind).to_pylist()
    last = pa.array(ends, plain.type).cast(kind).to_pylist()
    return [FacetRange(*each) for each in zip(first, last, lows["count"].to_pylist(), strict=True)]


def _after(start: Any, multiple: int, unit: str) -> Any:
    """Return the start of the next unit; the last year that dates have ends at its last day."""
    if unit in ("minute", "hour", "day"):
        return start + timedelta(**{f"{unit}s": multiple})
    if unit == "month" and start.month < 12:
        return start.replace(month=start.month + 1)
    year = start.year + (1 if unit == "month" else multiple)
    if year > datetime.max.year:
        return start.replace(year=datetime.max.year, month=12, day=31)
    return start.replace(year=year, month=1)
