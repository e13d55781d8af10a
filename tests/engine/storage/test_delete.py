"""A delete counts and deletes on one version of the collection, whoever else writes meanwhile."""

import lance
import numpy as np
import pyarrow as pa
import pytest

import quiver
from quiver.conditions import Condition
from quiver.engine.storage.dataset import Table
from quiver.errors import BadSpec

CHEAP = Condition("price < 3")


class Overtaken(Table):
    """A table whose first count is followed by the commit of another writer, who knows nothing of locks."""

    other = None

    def count(self, where=None):
        found = super().count(where)
        if where is not None and self.other is not None:
            rows, self.other = self.other, None
            lance.dataset(self.uri).merge_insert("id").when_matched_update_all().execute(rows)
        return found


@pytest.fixture
def table(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    meta = {"price": list(range(6))}
    collection.add_vectors(np.eye(6), space="made", ids=list("abcdef"), meta=meta, progress=False)
    return Overtaken(f"{tmp_path / 'c'}/items.lance")


def ids(table):
    table.refresh()
    return sorted(table.read(["id"])["id"].to_pylist())


def test_a_row_that_no_longer_matches_is_not_deleted(table):
    table.other = pa.table({"id": ["a"], "price": [100]})
    assert table.delete(CHEAP) == 2 and ids(table) == list("adef")


def test_a_count_that_no_longer_holds_stops_an_expected_delete(table):
    table.other = pa.table({"id": ["f"], "price": [0]})
    with pytest.raises(BadSpec, match="4 items match, and 3 were expected: nothing is deleted"):
        table.delete(CHEAP, expect=3)
    assert ids(table) == list("abcdef")


def test_an_expected_delete_goes_on_where_others_change_other_rows(table):
    table.other = pa.table({"id": ["f"], "price": [100]})
    assert table.delete(CHEAP, expect=3) == 3 and ids(table) == list("def")
