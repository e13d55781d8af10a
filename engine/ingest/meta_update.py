"""Change only the metadata of stored items."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from quiver.engine.ingest.known import Known
from quiver.engine.ingest.meta_columns import admit, agree
from quiver.engine.ingest.pipeline import commit
from quiver.engine.ingest.report import Report
from quiver.engine.ingest.row_batch import Block
from quiver.engine.source.given import Given
from quiver.engine.source.record import Problem
from quiver.engine.storage.dataset import Table
from quiver.errors import BadData, BadSpec
from quiver.types import Item

_TOGETHER = 4096
_LOG = logging.getLogger("quiver")


def update(table: Table, values: Mapping[str, Mapping[str, Any]]) -> int:
    """Set metadata of stored items by id; None clears a value. Returns the number of changed items.

    Everything is checked before anything is changed.

    Raises:
        BadData: a column name is invalid, or a value cannot be stored.
        BadSpec: a value is cleared in a column that does not exist.
    """
    given = Given.of([Item(id, {}, meta) for id, meta in values.items()], media=False).beside(table.schema)
    _refuse(given.problems())
    for field in given.schema:
        if pa.types.is_null(field.type) and field.name not in table.meta:
            raise BadSpec(f"nothing to clear: there is no metadata column {field.name!r}")
    for note in agree(table, given.schema):
        _LOG.warning(note)
    known = []
    for start, batch in enumerate(given.batches(_TOGETHER)):
        rows, problems = admit(batch, table.schema)
        _refuse(problems)
        items = given.items[start * _TOGETHER : (start + 1) * _TOGETHER]
        cleared = {f.name: pa.array([_clears(item, f.name) for item in items]) for f in given.schema}
        looked = Known.look_up(table, rows, ())
        known.append(replace(looked, cleared=cleared))
    report = Report()
    for each in known:
        block = Block()
        block.add(each, dict.fromkeys(range(len(each.batch))), {})
        commit(table, block, report)
    return report.updated


def _clears(item: Item, name: str) -> bool:
    return name in item.meta and item.meta[name] is None


def _refuse(problems: list[Problem]) -> None:
    for problem in problems:
        raise BadData(f"item {problem.id!r}: {problem.reason}")
