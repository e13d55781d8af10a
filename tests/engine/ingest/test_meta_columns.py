"""Metadata columns: names are checked before anything is committed, and types widen when they must."""

import datetime
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import quiver
from quiver.engine.core import metadata
from quiver.engine.storage.dataset import Table
from quiver.engine.storage.retype import retype
from quiver.errors import BadData, BadSpec, QuiverError
from quiver.types import Item

DAY, NOON = datetime.date(2024, 2, 29), datetime.datetime(2024, 2, 29, 12)
ZONED = NOON.replace(tzinfo=datetime.UTC)
REFUSED = [
    *("", " ", "a`b", "a.b", 'a"b', "_rowid", "_rowaddr", "_rowoffset", "_RowId", "_row_created_at_version"),
    *("_score", "_distance", "id", "ID", "text", "Image", "sha256", "words", "vec_image", "vector", "__quiver_new"),
    *("a\nb", "a\x00b", "\x1b[1m", "\ud83d", "x" * 300, None, 7),
]
TAKEN = ["a b", "a'b", "order", "select", "null", "Price", "价格", "größe", "1a", "a-b", "a/b", "%", "_x", "x" * 200]


@pytest.fixture
def shop(tmp_path):
    collection = quiver.open(tmp_path / "shop", catch_up=False)
    collection.add_vectors(np.eye(3), ids=["a", "b", "c"], space="mine", meta={"n": [1, 2, 3]}, progress=False)
    return collection


def values(collection, name, ids=("a", "b", "c")):
    return [item.meta.get(name) for item in collection.get(ids)]


def kind(collection, name):
    return collection.info()["meta"][name]


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_a_name_that_would_break_the_collection_is_refused_and_nothing_is_committed(shop, name):
    version = shop.info()["version"]
    for change in (
        lambda: shop.update_meta({"a": {name: 1}}),
        lambda: shop.add(Item("d", {"text": "x"}, {name: 1}), workers=0, progress=False),
        lambda: shop.add_vectors(np.eye(3)[:1], ids=["d"], space="mine", meta=[{name: 1}], progress=False),
    ):
        with pytest.raises(BadData) as refused:
            change()
        assert "\n" not in str(refused.value) and len(str(refused.value)) < 300
    assert shop.info()["version"] == version
    assert shop.search(vectors={"mine": [0, 1, 0]}, k=1).ids == ("b",)


@pytest.mark.parametrize("name", TAKEN)
def test_a_name_that_is_only_unusual_can_be_stored_searched_and_changed(shop, name):
    shop.update_meta({"a": {name: 7}})
    shop.add_vectors(np.eye(3)[1:2], ids=["b"], space="mine", meta=[{name: 8}], progress=False)
    shop.update_meta({"c": {name: 9.5}})
    assert values(shop, name) == [7, 8, 9.5]
    assert shop.search(vectors={"mine": [0, 1, 0]}, k=1)[0].meta[name] == 8


def test_names_that_differ_in_case_alone_are_refused(shop):
    with pytest.raises(BadData, match="'n' and 'N' differ only in upper and lower case"):
        shop.update_meta({"a": {"N": 1}})
    with pytest.raises(BadData, match="'x' and 'X' differ"):
        shop.update_meta({"a": {"x": 1, "X": 2}})


def test_the_storage_itself_refuses_a_name_that_would_break_it(shop):
    table = Table(f"{shop.uri}/items.lance")
    with pytest.raises(BadData, match="cannot be called '_rowid'"):
        table.add_fields([pa.field("_rowid", pa.int64())])


@pytest.mark.parametrize(
    ("first", "then", "found", "stored"),
    [
        (1, 19.99, [1.0, 19.99], "double"),
        (1.5, 2, [1.5, 2.0], "double"),
        (1, "cheap", ["1", "cheap"], "string"),
        (1.5, "cheap", ["1.5", "cheap"], "string"),
        ("cheap", 1, ["cheap", "1"], "string"),
        (True, "maybe", ["true", "maybe"], "string"),
        (True, 2, ["true", "2"], "string"),
        (DAY, NOON, [datetime.datetime(2024, 2, 29), NOON], "timestamp[us]"),
        (NOON, DAY, [NOON, datetime.datetime(2024, 2, 29)], "timestamp[us]"),
        (DAY, "soon", ["2024-02-29", "soon"], "string"),
        (NOON, ZONED, ["2024-02-29 12:00:00", "2024-02-29 12:00:00Z"], "string"),
        (["x"], "y", ['["x"]', "y"], "string"),
        ([1], [0.5], [[1.0], [0.5]], "list<item: double>"),
        (2**53 + 1, 0.5, ["9007199254740993", "0.5"], "string"),
        (1, 2**60, [1, 2**60], "int64"),
        (1, 2**70, ["1", str(2**70)], "string"),
        (None, 3, [None, 3], "int64"),
        (3, None, [3, None], "int64"),
        (np.int8(3), np.float32(0.5), [3.0, 0.5], "double"),
        (DAY, "2024-03-01", [DAY, datetime.date(2024, 3, 1)], "date32[day]"),
        (1, "12", [1, 12], "int64"),
        (1, "007", ["1", "007"], "string"),
    ],
    ids=repr,
)
@pytest.mark.parametrize("by", ["update_meta", "add", "add_vectors"])
def test_a_column_widens_to_hold_what_comes_later(shop, by, first, then, found, stored):
    if by == "add_vectors" and isinstance(then, str) and found[1] != then:
        pytest.skip("columns of an array come typed")
    shop.add_vectors(np.eye(3)[:1], ids=["a"], space="mine", meta=[{"v": first}], progress=False)
    if by == "update_meta":
        shop.update_meta({"b": {"v": then}})
    elif by == "add":
        shop.add(Item("b", {"text": "x"}, {"v": then}), workers=0, progress=False)
    else:
        shop.add_vectors(np.eye(3)[1:2], ids=["b"], space="mine", meta=[{"v": then}], progress=False)
    assert values(shop, "v", ["a", "b"]) == found and kind(shop, "v") == stored
    assert values(shop, "n") == [1, 2, 3]
    assert shop.search(vectors={"mine": [0, 1, 0]}, k=1).ids == ("b",)


def test_a_number_that_a_column_cannot_hold_exactly_is_turned_away_alone(shop):
    shop.update_meta({"a": {"v": 0.5}})
    report = shop.add_vectors(
        np.eye(3)[:2], ids=["b", "d"], space="mine", meta=[{"v": 7}, {"v": 2**60 + 1}], progress=False
    )
    (bad,) = shop.info()["quarantine"]
    assert (report.quarantined, bad["id"]) == (1, "d")
    assert "v is 1152921504606846977, which a column of fractions cannot store exactly" in bad["reason"]
    assert values(shop, "v", ["a", "b"]) == [0.5, 7.0] and len(shop) == 3
    with pytest.raises(BadData, match="item 'a': v is 1152921504606846977"):
        shop.update_meta({"a": {"v": 2**60 + 1}})


def test_what_became_of_a_column_is_told_once(shop, caplog):
    told = shop.add(Item("d", {"text": "x"}, {"n": 0.5}), workers=0, progress=False).notes
    assert told == ["column n now stores fractions instead of whole numbers"]
    assert shop.add(Item("e", {"text": "x"}, {"n": 0.5}), workers=0, progress=False).notes == []
    shop.update_meta({"a": {"n": "many"}})
    assert "column n stored fractions, but the new data has text" in caplog.text
    told = shop.add(Item("f", {"text": "x"}, {"n": 5}), workers=0, progress=False).notes
    assert told == ["column n is a text column: whole numbers of the new data are stored as text"]


def test_full_text_finds_numbers_that_became_text(shop):
    shop.update_meta({"c": {"n": "many"}})
    assert shop.search(text="2", k=5).ids == ("b",) and shop.search(text="many", k=5).ids == ("c",)


def test_none_clears_a_value_and_leaves_the_others(shop):
    shop.update_meta({"a": {"m": "x"}, "b": {"m": "y"}})
    assert shop.update_meta({"a": {"n": None}, "b": {"m": None, "n": 9}}) == 2
    assert (values(shop, "n"), values(shop, "m")) == ([None, 9, 3], ["x", None, None])
    assert shop.update_meta({"a": {"n": None}}) == 0
    assert shop.search(text="y", k=5).ids == ()
    with pytest.raises(BadSpec, match="no metadata column 'colour'"):
        shop.update_meta({"a": {"colour": None}})


def test_a_column_without_values_is_taken_and_takes_any_type_later(shop):
    shop.add_vectors(np.eye(3)[:1], ids=["a"], space="mine", meta=[{"v": None}], progress=False)
    assert kind(shop, "v") == "null" and shop.search(vectors={"mine": [1, 0, 0]}, where="v IS NULL", k=9).ids[0] == "a"
    shop.add_vectors(np.eye(3)[1:2], ids=["b"], space="mine", meta=[{"v": None}], progress=False)
    shop.update_meta({"a": {"v": 2.5}})
    assert shop.search(vectors={"mine": [1, 0, 0]}, where="v > 2", k=9).ids == ("a",)


def test_a_cleared_text_column_takes_numbers(shop):
    shop.update_meta({"a": {"v": "x"}})
    shop.update_meta({"a": {"v": None}})
    shop.update_meta({"b": {"v": 5}})
    assert (values(shop, "v"), kind(shop, "v")) == ([None, 5, None], "int64")


def test_a_column_widens_beside_a_reader_and_rewrites_neither_rows_nor_vectors(shop):
    reader = quiver.open(shop.uri, catch_up=False).checkout(shop.info()["version"])
    before = Table(f"{shop.uri}/items.lance")
    vector = before.columns[0].name
    files = {number: part.files for number, part in before.fragments(vector, "id").items()}
    retype(Table(f"{shop.uri}/items.lance"), {"n": pa.float64()})
    after = Table(f"{shop.uri}/items.lance")
    assert {number: part.files for number, part in after.fragments(vector, "id").items()} == files
    assert (after.rows() == before.rows()).all() and after.has_index("id")
    assert kind(reader, "n") == "int64" and kind(shop, "n") == "double"
    assert not [name for name in after.schema.names if name.startswith(metadata.TEMPORARY)]


def test_a_change_of_type_that_was_killed_leaves_nothing_that_is_seen(shop):
    table = Table(f"{shop.uri}/items.lance")
    table.commit(lambda dataset: dataset.add_columns({f"{metadata.TEMPORARY}new": "CAST(n AS DOUBLE)"}))
    assert list(shop.info()["meta"]) == ["n"] and shop.get(["a"])[0].meta == {"n": 1}
    shop.update_meta({"a": {"n": 0.5}})
    shop.add(Item("d", {"text": "x"}, {"n": 4}), workers=0, progress=False)
    assert values(shop, "n", ["a", "b", "d"]) == [0.5, 2.0, 4.0]


def test_values_that_another_writer_adds_while_a_type_changes_are_kept(shop, monkeypatch):
    table = Table(f"{shop.uri}/items.lance")
    from quiver.engine.storage import retype as module

    written = module._write

    def late(dataset, name, kind):
        written(dataset, name, kind)
        rows = pa.table({"id": ["late"], "n": pa.array([9], pa.int64())})
        Table(table.uri).dataset.merge_insert("id").when_not_matched_insert_all().execute(rows)

    monkeypatch.setattr(module, "_write", late)
    retype(table, {"n": pa.float64()})
    assert values(shop, "n", ["a", "late"]) == [1.0, 9.0]


CSV = {"int": "1", "float": "2.5", "text": "x", "bool": "true", "date": "2024-01-02", "nothing": ""}


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_a_later_table_may_hold_anything_in_a_column(tmp_path, form):

    read = {"int": 1, "float": 2.5, "text": "x", "bool": True, "date": DAY, "nothing": None}
    order = ["int", "nothing", "float", "bool", "text", "date"]
    collection = quiver.open(tmp_path / "c", catch_up=False)
    for n, name in enumerate(order):
        value, path = read[name], tmp_path / f"{n}.{form}"
        if form == "csv":
            path.write_text(f"text,v\nitem {n},{CSV[name]}\n")
        elif form == "jsonl":
            path.write_text(json.dumps({"text": f"item {n}", "v": value}, default=str) + "\n")
        else:
            pq.write_table(pa.table({"text": [f"item {n}"], "v": [value]}), path)
        collection.add(path, workers=0, progress=False)
    assert len(collection) == len(order) and kind(collection, "v") == "string"
    found = {hit.meta["text"]: hit.meta.get("v") for hit in collection.search(text="item", k=10)}
    assert [found[f"item {n}"] for n in range(5)] == ["1", None, "2.5", "true", "x"]


@pytest.mark.parametrize("others", [[], [1, 2], ["a"], 3, True, 1.5, DAY])
def test_an_empty_text_is_no_value_beside_values_of_another_type(others):
    from quiver.engine.source.given import Given

    made = Given.of([Item("a", {}, {"v": ""}), Item("b", {}, {"v": None}), Item("c", {}, {"v": others})], media=False)
    assert [value for batch in made.batches(2) for value in batch["v"].to_pylist()] == [None, None, others]


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**70), 2**70), st.floats(), st.text(), st.dates(), st.binary(max_size=3),
    st.lists(st.one_of(st.integers(), st.text(), st.none()), max_size=3), st.datetimes(), st.decimals(),
    st.dictionaries(st.text(), st.integers(), max_size=2), st.uuids(), st.times(),
)  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(SCALARS, SCALARS), min_size=1, max_size=3))
def test_any_values_are_stored_or_refused_in_one_line(pairs):
    from quiver.engine.source.given import Given

    items = [Item(str(n), {}, {"v": a, "w": b}) for n, (a, b) in enumerate(pairs)]
    try:
        made = Given.of(items, media=False)
    except QuiverError as refused:
        assert "\n" not in str(refused)
        return
    assert sum(len(batch) for batch in made.batches(2)) == len(made.items)
    for field in made.schema:
        assert metadata.plain(field.type) == field.type


HUGE = 2**70
BEYOND = "whole numbers beyond 64 bits"


def write(path, values):
    """Write a table with a column v, in the form that the suffix of the path names."""
    if path.suffix == ".csv":
        rows = "".join(f"t{n},{'' if value is None else value}\n" for n, value in enumerate(values))
        path.write_text("text,v\n" + rows)
    else:
        path.write_text("".join(json.dumps({"text": f"t{n}", "v": value}) + "\n" for n, value in enumerate(values)))
    return path


@pytest.mark.parametrize(
    ("values", "held"),
    [
        ([HUGE], BEYOND),
        ([-HUGE, 3], BEYOND),
        ([2**63], BEYOND),
        ([2**60, HUGE], BEYOND),
        ([HUGE, 0.5], "fractions beside whole numbers above 2**53"),
        ([2**60 + 1, 0.5], "fractions beside whole numbers above 2**53"),
        ([True, 3], "values of several types"),
        (["many"], "text"),
        ([HUGE, "many"], "text"),
    ],
)
@pytest.mark.parametrize("form", ["items", ".jsonl", ".csv", "rows", "vectors"])
def test_the_note_says_what_made_a_column_of_numbers_text_and_all_values_are_exact(tmp_path, values, held, form):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add(Item("old", {"text": "x"}, {"v": 2**55 + 1}), workers=0, progress=False)
    if form == "items":
        report = shop.add(*(Item(f"n{n}", {"text": "x"}, {"v": v}) for n, v in enumerate(values)), workers=0)
    elif form == "vectors":
        meta = [{"text": "x", "v": v} for v in values]
        told = {"ids": [f"n{n}" for n in range(len(values))], "space": "s", "meta": meta, "text": "text"}
        report = shop.add_vectors(np.eye(3)[: len(values)], progress=False, **told)
    elif form == "rows":
        report = shop.add([{"id": f"n{n}", "text": "x", "v": v} for n, v in enumerate(values)], workers=0)
    else:
        report = shop.add(write(tmp_path / f"t{form}", values), workers=0)
    assert report.quarantined == 0
    if form == ".csv" and True in values:
        held = "text"  # a file of text says no more
    told = [note for note in report.notes if "column v" in note]
    assert told == [
        f"column v stored whole numbers, but the new data has {held}: it now stores text, in which all values are"
        " exact, and which is compared as text"
    ]
    stored = set(Table(f"{tmp_path}/c/items.lance").read(["v"])["v"].to_pylist())
    wanted = {str(v).lower() if isinstance(v, bool) and form != ".csv" else str(v) for v in values}
    assert stored == {str(2**55 + 1), *wanted}


def test_a_new_column_of_numbers_beyond_64_bits_says_that_it_stores_text(tmp_path):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    report = shop.add(Item("a", {"text": "x"}, {"v": HUGE}), Item("b", {"text": "x"}, {"v": 1}), workers=0)
    assert f"column v has {BEYOND}: it stores text, which keeps them exact and is compared as text" in report.notes
    assert [item.meta["v"] for item in shop.get(["a", "b"])] == [str(HUGE), "1"]
    assert shop.count("v = '1'") == 1
    again = shop.add(Item("c", {"text": "x"}, {"v": HUGE + 1}), workers=0)
    assert not [note for note in again.notes if "column v" in note]


def test_fractions_after_long_whole_numbers_make_text_for_the_true_reason(tmp_path):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add(Item("a", {"text": "x"}, {"v": 2**55 + 1}), workers=0)
    (told,) = (note for note in shop.add(Item("b", {"text": "x"}, {"v": 0.1}), workers=0).notes if "column v" in note)
    assert told.startswith("column v stored whole numbers above 2**53, but the new data has fractions: it now stores")
    assert [item.meta["v"] for item in shop.get(["a", "b"])] == [str(2**55 + 1), "0.1"]


def test_unsigned_numbers_of_a_stored_table_are_described_as_what_they_are(tmp_path):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add(Item("a", {"text": "x"}, {"v": 1}), workers=0)
    pq.write_table(pa.table({"text": ["y"], "v": pa.array([2**64 - 1], pa.uint64())}), tmp_path / "t.parquet")
    (told,) = (note for note in shop.add(tmp_path / "t.parquet", workers=0).notes if "column v" in note)
    assert "has whole numbers of 64 bits without a sign" in told
    assert shop.count(f"v = '{2**64 - 1}'") == 1


def test_an_update_tells_the_same(tmp_path, caplog):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add(Item("a", {"text": "x"}, {"v": 1}), workers=0)
    shop.update_meta({"a": {"v": HUGE}})
    assert f"the new data has {BEYOND}" in caplog.text and shop.get("a")[0].meta["v"] == str(HUGE)


@pytest.mark.parametrize("form", ["items", "rows", "frame", "vectors", "update", ".csv", ".jsonl", ".parquet", "join"])
def test_one_rule_of_names_for_every_way_in(tmp_path, form):
    """A metadata column is called as the user calls it, by whatever way it comes."""
    shop = quiver.open(tmp_path / "c", catch_up=False)
    meta = {"na me": 1, "größe": 2, "a-b": 3, "_x": 4, "uri": "u", "Price (EUR)": 5}
    row, file = {"id": "a", "text": "x", **meta}, tmp_path / f"t{form}"
    if form == "items":
        shop.add(Item("a", {"text": "x"}, meta), workers=0)
    elif form == "rows":
        shop.add([row], workers=0)
    elif form == "frame":
        shop.add(pa.Table.from_pylist([row]), workers=0)
    elif form == "vectors":
        shop.add_vectors(np.eye(1), ids=["a"], space="s", meta=[meta], progress=False)
    elif form == "update":
        shop.add(Item("a", {"text": "x"}), workers=0)
        shop.update_meta({"a": meta})
    elif form == ".jsonl":
        file.write_text(json.dumps(row) + "\n")
    elif form == ".parquet":
        pq.write_table(pa.Table.from_pylist([row]), file)
    elif form == ".csv":
        file.write_text(",".join(row) + "\n" + ",".join(map(str, row.values())) + "\n")
    else:
        (tmp_path / "notes").mkdir()
        (tmp_path / "notes" / "a.txt").write_text("x")
        file = tmp_path / "join.csv"
        file.write_text(f"id,file,{','.join(meta)}\na,a.txt,{','.join(map(str, meta.values()))}\n")
        shop.add(tmp_path / "notes", meta=file, workers=0)
    if form.startswith("."):
        shop.add(file, workers=0)
    assert {name: value for name, value in shop.get("a")[0].meta.items() if name != "text"} == meta
    where = '"na me" = 1 AND größe = 2 AND `a-b` = 3 AND _x = 4 AND uri = \'u\' AND "Price (EUR)" = 5'
    assert shop.count(where) == 1


def test_a_condition_tells_how_such_a_name_is_written(tmp_path):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add(Item("a", {"text": "x"}, {"base colour": "red", "a-b": 3}), workers=0)
    for where, said in (
        ("base_colour = 'red'", 'did you mean "base colour"?'),
        ("base colour = 'red'", '; a name of several words takes double quotes, as in "base colour"'),
        ("a-b > 2", 'did you mean "a-b"?'),
        ('"base color" = 1', 'did you mean "base colour"?'),
    ):
        with pytest.raises(BadSpec) as refused:
            shop.count(where)
        assert said in str(refused.value)


def test_a_collection_of_an_earlier_version_gets_no_second_column(tmp_path):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add(Item("a", {"text": "x"}, {"base_colour": "red"}), workers=0)
    (tmp_path / "t.csv").write_text("id,text,base colour\nb,y,blue\n")
    report = shop.add(tmp_path / "t.csv", workers=0)
    assert "column 'base colour' is stored as base_colour" in report.notes
    shop.add([{"id": "c", "text": "z", "base colour": "green"}], workers=0)
    assert set(shop.info()["meta"]) == {"base_colour"} and shop.count("base_colour = 'blue'") == 1
