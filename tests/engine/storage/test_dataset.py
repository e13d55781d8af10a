"""The table of a collection: versions, commits, conditions, fragments, and rows by their address."""

import json
import threading

import lance
import numpy as np
import pyarrow as pa
import pytest

import quiver
from quiver.engine.core.sql import among
from quiver.engine.storage.dataset import FORMAT, Table, fragment_of
from quiver.errors import BadCollection, BadSpec, NoCollection, QuiverError


@pytest.fixture
def table(tmp_path):
    """Thirty items with prices and vectors, in three fragments."""
    collection = quiver.open(tmp_path / "c", catch_up=False)
    for part in range(3):
        data = np.random.default_rng(part).standard_normal((10, 4)).astype(np.float32)
        np.save(tmp_path / f"v{part}.npy", data)
        collection.add_vectors(tmp_path / f"v{part}.npy", space="made")
    collection.update_meta({f"v{part}#{n}": {"price": 10 * part + n} for part in range(3) for n in range(10)})
    return Table(f"{collection.uri}/items.lance")


def test_rows_are_counted_read_and_deleted_by_condition(table):
    assert table.count() == 30 and table.count("price < 5") == 5 and table.count("price < 0") == 0
    assert table.any("price = 7") and not table.any("price = 70")
    assert sorted(table.read(["price"], where="price > 26")["price"].to_pylist()) == [27, 28, 29]
    assert table.delete("price >= 20") == 10
    assert table.count() == 20


def test_a_condition_on_what_is_not_there_names_what_is(table):
    with pytest.raises(BadSpec, match="prize"):
        table.count("prize < 5")


def test_row_numbers_are_sorted_and_tell_their_fragment(table):
    rows = table.rows()
    assert len(rows) == 30 and (np.diff(rows) > 0).all()
    fragments = table.fragments(table.columns[0].name)
    assert set(fragment_of(rows).tolist()) == set(fragments)
    for number, fragment in fragments.items():
        assert (fragment_of(table.rows(fragments=[fragment.handle])) == number).all()


def test_a_fragment_changes_its_files_only_where_a_column_is_written(table):
    column = table.columns[0].name
    before = table.fragments(column)
    table.delete("price = 3")
    after = table.fragments(column)
    assert {n: each.files for n, each in before.items()} == {n: each.files for n, each in after.items()}
    assert sum(before[n].deleted != after[n].deleted for n in before) == 1


def test_vectors_come_with_their_row_numbers_and_deleted_rows_do_not(table):
    vectors = table.vectors(table.columns[0])
    assert vectors.data.shape == (30, 4) and sorted(vectors.rows) == table.rows().tolist()
    gone = table.rows("price = 12")
    table.delete("price = 12")
    rest = table.vectors(table.columns[0])
    assert set(vectors.rows) - set(rest.rows) == set(gone.tolist())


def test_a_chosen_version_stays_and_takes_no_change(table):
    old = table.at(table.version)
    table.delete("price < 10")
    assert (old.count(), table.count()) == (30, 20)
    old.refresh()
    assert old.count() == 30
    with pytest.raises(QuiverError, match="checked out: open the collection anew"):
        old.delete("price < 20")
    with pytest.raises(BadCollection):
        table.at(10**6)


def test_another_table_sees_a_change_when_it_is_refreshed(table):
    other = Table(table.uri)
    table.delete("price < 10")
    assert other.count() == 30
    other.refresh()
    assert other.count() == 20 and other.version == table.version
    assert [each["items"] for each in other.history()][-1] == 20


def test_a_change_that_loses_a_race_is_made_again_with_what_is_there_by_then(table):
    rival, tries = Table(table.uri), []

    def change(dataset):
        tries.append(dataset.version)
        if len(tries) == 1:
            rival.dataset.checkout_latest()
            rival.dataset.delete("price = 5")  # beside the lock, as a process on another machine would
        dataset.update({"price": "price + 100"}, where="price >= 0", conflict_retries=0)
        return sorted(dataset.to_table(columns=["price"])["price"].to_pylist())

    found = table.commit(change)
    assert len(tries) == 2 and tries[1] > tries[0]
    assert found == [n + 100 for n in range(30) if n != 5]


def test_merging_replaces_and_inserts_by_id(table):
    rows = pa.table({"id": ["v0#1", "new"], "price": pa.array([77, 88], table.schema.field("price").type)})
    table.commit(lambda dataset: table.merge(rows, insert=False))
    assert table.count() == 30 and table.read(["id"], where="price = 77")["id"].to_pylist() == ["v0#1"]


def test_tidying_joins_fragments_and_loses_nothing(table):
    before = sorted(table.read(["id", "price"]).drop_columns("_rowid").to_pylist(), key=lambda row: row["id"])
    table.tidy()
    assert len(table.fragments()) == 1
    assert sorted(table.read(["id", "price"]).drop_columns("_rowid").to_pylist(), key=lambda row: row["id"]) == before


def test_examples_come_with_their_vectors_or_by_name_where_there_are_none(table):
    found = table.examples(["v1#2", "v0#0"])
    assert set(found) == {"v1#2", "v0#0"}
    assert found["v1#2"].vectors[table.columns[0].name].shape == (4,)
    with pytest.raises(BadSpec, match="no item has the id 'absent'"):
        table.examples(["v0#0", "absent"])


def test_ids_are_quoted_whatever_is_in_them():
    assert among("id", ["it's", '"', "--", "a;b"]) == "`id` IN ('it''s', '\"', '--', 'a;b')"
    with pytest.raises(BadSpec, match="half a character"):
        among("id", ["\ud83d"])


def test_what_is_no_collection_is_told_apart_from_a_newer_one(tmp_path):
    lance.write_dataset(pa.table({"id": ["a"]}), str(tmp_path / "other"))
    with pytest.raises(BadCollection, match="a Lance dataset, but not a Quiver collection"):
        Table(str(tmp_path / "other"))
    header = {"quiver": json.dumps({"format": FORMAT + 1, "encoders": {}})}
    lance.write_dataset(pa.table({"id": ["a"]}).replace_schema_metadata(header), str(tmp_path / "newer"))
    with pytest.raises(BadCollection, match=f"has format {FORMAT + 1}; this Quiver reads {FORMAT}: upgrade it"):
        Table(str(tmp_path / "newer"))


def test_a_dataset_that_appears_while_it_is_opened_is_not_taken_for_a_damaged_one(tmp_path):
    uris = [str(tmp_path / f"{round}/items.lance") for round in range(40)]
    writer = threading.Thread(target=lambda: [Table.create(uri) for uri in uris])
    writer.start()
    for uri in uris:
        while not _opens(uri):
            assert writer.is_alive() or _opens(uri)
    writer.join()


def _opens(uri):
    try:
        Table(uri)
    except NoCollection:
        return False
    return True
