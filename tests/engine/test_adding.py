"""Adds of rows from memory: dicts, columns, Arrow tables, data frames, streams, and vectors in their columns."""

import inspect
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

import quiver
from quiver.engine.ingest.options import AddOptions, VectorOptions
from quiver.engine.source import memory
from quiver.errors import BadData, BadSpec
from quiver.types import Item

ROWS = [
    {"id": "a", "text": "a red dress", "price": 3, "made": date(2024, 5, 1)},
    {"id": "b", "text": "a blue shoe", "price": 4.5, "tags": ["new", "sale"]},
    {"id": "c", "text": "a green hat", "price": None, "size": {"width": 3}},
]


class Frame:
    """A data frame as pandas and polars offer it: by the Arrow protocol."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.fixture
def shop(tmp_path):
    return quiver.open(tmp_path / "shop", catch_up=False)


def meta(collection, id):
    return collection.get(id)[0].meta


FORMS = {
    "list": lambda rows: rows,
    "tuple": tuple,
    "generator": iter,
    "arrow": pa.Table.from_pylist,
    "batch": pa.RecordBatch.from_pylist,
    "reader": lambda rows: pa.RecordBatchReader.from_batches(
        (table := pa.Table.from_pylist(rows)).schema, table.to_batches()
    ),
    "frame": lambda rows: Frame(pa.Table.from_pylist(rows)),
    "frames": lambda rows: (Frame(pa.Table.from_pylist([row])) for row in rows),
    "batches": lambda rows: (pa.RecordBatch.from_pylist([row]) for row in rows),
    "lists": lambda rows: ([row] for row in rows),
    "columns": lambda rows: {name: [row[name] for row in rows] for name in rows[0]},
    "streamed columns": lambda rows: ({name: [row[name]] for name in rows[0]} for row in rows),
}


@pytest.mark.parametrize("form", FORMS)
def test_rows_in_any_form_become_the_same_items(shop, form):
    rows = [
        {"id": f"r{n}", "text": f"thing number {n}", "price": n, "colour": "red" if n % 2 else None} for n in (1, 2, 3)
    ]
    report = shop.add(FORMS[form](rows), workers=0)
    assert (report.added, report.quarantined) == (3, 0)
    assert [(item.id, dict(item.media), item.meta) for item in shop.get(["r1", "r2", "r3"])] == [
        (row["id"], {"text": row["text"]}, {name: row[name] for name in ("text", "price", "colour") if row[name]})
        for row in rows
    ]
    assert shop.search(text="thing number 2", k=1).ids == ("r2",)


def test_dicts_have_what_items_have(shop):
    assert shop.add(*ROWS, workers=0).added == 3
    assert meta(shop, "a")["price"] == 3.0 and meta(shop, "a")["made"] == date(2024, 5, 1)
    assert meta(shop, "b")["tags"] == ["new", "sale"] and meta(shop, "c")["size_width"] == 3
    assert shop.count("price > 2") == 2
    assert shop.add(ROWS, workers=0).unchanged == 3
    assert shop.add([{**ROWS[0], "price": 9}], workers=0).updated == 1 and meta(shop, "a")["price"] == 9


def test_columns_of_media_are_found_by_name_or_named(shop, photos, monkeypatch):
    monkeypatch.chdir(photos)
    names = sorted(path.name for path in photos.iterdir())[:4]
    table = pa.table({"sku": [f"s{n}" for n in range(4)], "photo": names, "price": range(4)})
    report = shop.add(table, image="photo", id_column="sku", workers=0)
    assert (report.added, report.embedded) == (4, 4)
    assert shop.get("s1")[0].media["image"] == str(photos / names[1])
    best = shop.search(image=photos / names[2], k=1)[0]
    assert best.id == "s2" and best.meta["price"] == 2 and shop.hidden(best.uri) is None
    assert shop.add([{"id": "p", "image": Path(names[3])}], workers=0).added == 1
    assert shop.get("p")[0].media["image"] == str(photos / names[3])


def test_a_row_with_a_file_and_no_id_has_the_id_of_the_file(shop, photos):
    shop.add(photos, workers=0)
    report = shop.add([{"image": str(photos / "red0.png"), "price": 3}], workers=0)
    assert (report.added, report.updated) == (0, 1) and meta(shop, "photos/red0.png")["price"] == 3


def test_paths_and_items_may_come_in_a_list(shop, photos):
    assert shop.add([photos / "red0.png", Item("t", {"text": "x"})], workers=0).added == 2
    assert (
        shop.add((Item(f"i{n}", {"text": f"{n}"}) for n in range(3)), [{"id": "z", "text": "z"}], workers=0).added == 4
    )
    assert len(shop) == 6


def test_a_stream_is_added_block_by_block(shop, monkeypatch):
    monkeypatch.setattr(memory, "ROWS", 10)
    read = []

    def stream():
        for n in range(35):
            read.append(n)
            yield {"id": f"r{n % 30}", "text": f"text {n}", **({"late": n} if n > 20 else {})}
            if n == 30:
                assert quiver.open(shop.uri).count() == 30

    report = shop.add(stream(), workers=0)
    assert report.added == 30 and report.quarantined == 5 and len(read) == 35
    assert report.reasons[0].count == 5 and "repeated in the same add" in report.reasons[0].reason
    assert meta(shop, "r25")["late"] == 25 and shop.count("late IS NULL") == 21


def test_a_stream_that_fails_keeps_the_blocks_before(shop, monkeypatch):
    monkeypatch.setattr(memory, "ROWS", 10)

    def stream():
        yield from ({"id": f"r{n}", "text": f"{n}"} for n in range(10))
        yield {"id": "r10", "text": "x", "price": b"bytes"}

    with pytest.raises(BadData, match="row 11, column 'price': a value of type bytes cannot be stored"):
        shop.add(stream(), workers=0)
    assert len(shop) == 10


def test_a_bad_row_is_quarantined_and_the_rest_goes_on(shop, photos):
    rows = [
        {"id": "good", "image": photos / "red0.png"},
        {"id": "gone", "image": photos / "nobody.png"},
        {"id": None, "text": "no id"},
        {"id": "half", "text": "x", "name": chr(0xD83D)},
        {"id": "bare", "price": 3},
        {"id": "good", "image": photos / "red1.png"},
    ]
    report = shop.add(rows, id_column="id", workers=0)
    assert report.added == 1 and report.quarantined == 5
    said = " | ".join(f"{each.reason} {each.examples}" for each in report.reasons)
    assert "it has no media" in said and "half a surrogate pair" in said and "its id is empty" in said
    assert "row 4, column 'name'" in said and "repeated in the same add" in said


@pytest.mark.parametrize(
    ("given", "fault", "problem"),
    [
        ([{"text": "no id"}], BadData, "rows need ids: give them a column id"),
        ([{"id": "a", "price": 3}], BadData, "no column of media"),
        ([{"id": "a", "image": b"png"}], BadData, "row 1, column 'image': a value of type bytes"),
        (pa.table({"id": ["a"], "image": [b"png"]}), BadData, "column image has the type binary: media are paths"),
        ([{"id": "a", "text": "x", "p": object()}], BadData, "row 1, column 'p': a value of type object"),
        ([{"id": "a", "text": "x", 3: 4}], BadData, "metadata cannot be called 3"),
        ({"id": ["a", "b"], "text": ["x"]}, BadData, "different lengths: id 2, text 1"),
        ([{"id": "a", "text": "x"}, 7], BadSpec, "add takes paths, Items, or rows .* not int"),
        (np.eye(3), BadSpec, r"vectors is added with add\(vectors=array"),
        ([[0.1, 0.2]], BadSpec, r"vectors is added with add\(vectors=array"),
        (7, BadSpec, "add takes paths, Items, or rows"),
    ],
)
def test_rows_that_cannot_be_added_are_one_line(shop, given, fault, problem):
    with pytest.raises(fault, match=problem):
        shop.add(given, workers=0)
    assert not Path(shop.uri).exists()


def test_vectors_are_added_by_keyword_as_by_method(shop):
    vectors = np.eye(4, dtype=np.float32)
    frame = Frame(pa.table({"price": [1, 2, 3, 4]}))
    report = shop.add(vectors=vectors, ids=["a", "b", "c", "d"], meta=frame, space="mine")
    assert report.added == 4 and meta(shop, "c") == {"price": 3}
    assert shop.search(vector=vectors[1], k=1).ids == ("b",)
    assert shop.add_vectors(vectors, ids=["a", "b", "c", "d"], space="mine").unchanged == 4
    assert shop.add(vectors=vectors, ids=["e", "f", "g", "h"], space="words", of="text", metric="dot").added == 4
    assert shop.search(vector=vectors[1], target="text", k=1).ids == ("f",)


def test_vectors_take_ids_and_media_from_their_metadata(shop, photos):
    files = sorted(map(str, photos.iterdir()))[:3]
    table = pa.table({"id": ["x", "y", "z"], "photo": files, "text": ["one", "two", None], "price": [1, 2, 3]})
    assert shop.add(vectors=np.eye(3), meta=table, image="photo", space="mine").added == 3
    (item,) = shop.get("y")
    assert (item.media, item.meta) == ({"text": "two", "image": files[1]}, {"text": "two", "price": 2})
    hit = shop.search(vector=[0, 0, 1], k=1)[0]
    assert (hit.id, hit.uri) == ("z", files[2]) and shop.hidden(hit.uri) is None


def test_texts_and_files_beside_vectors_that_are_stored_already_take_the_place_of_those_before(shop, photos):
    first, second, third = sorted(map(str, photos.iterdir()))[:3]
    columns = {"image": "photo", "text": "words", "space": "mine"}

    def add(ids, photos, words):
        table = pa.table({"id": ids, "photo": photos, "words": pa.array(words, pa.string())})
        return shop.add(vectors=np.eye(len(ids), 3), meta=table, **columns)

    add(["x", "y"], [first, second], ["one", "two"])
    assert add(["x", "y"], [third, second], [None, "new"]).updated == 2
    assert [item.media for item in shop.get(["x", "y"])] == [
        {"image": third, "text": "one"},
        {"image": second, "text": "new"},
    ]
    assert shop.search(text="new", k=1).ids == ("y",) and not shop.search(text="two", k=1)
    assert add(["x", "y"], [third, second], ["one", "new"]).unchanged == 2


def test_an_item_that_was_added_from_a_file_keeps_it_and_the_report_says_so(shop, photos):
    shop.add(photos, encoder="classic", workers=0)
    (item,) = shop.head(1)
    report = shop.add(vectors=np.eye(1, 3), ids=[item.id], meta={"words": ["other"]}, text="words", space="mine")
    assert report.embedded == 1 and shop.get(item.id)[0].media == item.media
    assert any("1 item was added from files or texts before" in note for note in report.notes)


@pytest.mark.parametrize("form", ["list", "arrow", "frame", "batches", "generator"])
def test_rows_may_have_a_column_of_vectors(shop, form):
    rows = [{"id": f"v{n}", "vector": np.eye(3)[n].tolist(), "price": n, "image": f"{n}.png"} for n in range(3)]
    report = shop.add(FORMS[form](rows), space="mine")
    assert report.added == 3 and shop.search(vector=[0, 1, 0], k=1).ids == ("v1",)
    assert meta(shop, "v2") == {"price": 2} and shop.get("v2")[0].media["image"].endswith("/2.png")
    named = [{"id": f"w{n}", "emb": np.eye(3, dtype=np.float32)[n]} for n in range(3)]
    assert shop.add_vectors(FORMS[form](named), column="emb", space="mine").added == 3
    assert shop.add(FORMS[form](named), vectors="emb", space="mine").unchanged == 3


def test_a_row_without_a_usable_vector_is_quarantined(shop):
    rows = [
        {"id": "a", "vector": [1.0, 0.0]},
        {"id": "b", "vector": [1.0]},
        {"id": "c", "vector": None},
        {"id": "d", "vector": [float("nan"), 0.0]},
        {"id": "e", "vector": [0.0, 1.0]},
    ]
    report = shop.add(rows, space="mine")
    assert (report.added, report.quarantined) == (2, 3) and set(shop.search(vector=[1, 0]).ids) == {"a", "e"}


@pytest.mark.parametrize(
    ("ask", "problem"),
    [
        ({"vectors": np.eye(2)}, "need the name of their space"),
        ({"vectors": np.eye(2), "space": "s"}, "need ids"),
        ({"ids": ["a"]}, "ids= has no effect here: space= is missing"),
        ({"of": "text"}, "of= has no effect here"),
        ({"space": "s"}, "give vectors=array"),
        ({"vectors": np.eye(2), "space": "s", "ids": ["a", "b"], "encoder": "classic"}, "encoder= has no effect"),
        ({"meta": [{"a": 1}]}, "rows in memory are added by themselves"),
    ],
)
def test_arguments_that_contradict_each_other_are_refused(shop, ask, problem):
    with pytest.raises(BadSpec, match=problem):
        shop.add(**ask)


def test_every_option_is_in_the_signature():
    assert set(AddOptions.__annotations__) <= set(inspect.signature(quiver.Collection.add).parameters)
    assert set(VectorOptions.__annotations__) <= set(inspect.signature(quiver.Collection.add_vectors).parameters)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_of_both_libraries_are_taken(shop, library):
    frames = pytest.importorskip(library)
    rows = {"id": ["a", "b"], "text": ["red", None], "price": [1.5, None], "name": ["x", None]}
    frame = frames.DataFrame(rows)
    assert shop.add(frame, workers=0).quarantined == 1
    assert meta(shop, "a") == {"text": "red", "price": 1.5, "name": "x"}
    assert (
        shop.add(
            vectors=np.eye(2), meta=frame.drop("text", axis=1) if library == "pandas" else frame.drop("text"), space="m"
        ).added
        == 1
    )


@pytest.mark.parametrize("form", [list, np.float32])
def test_a_vector_of_another_length_is_quarantined_with_both_lengths(tmp_path, form):
    """Whichever row comes first: most rows decide about a new space, and the space about later rows."""
    shop = quiver.open(tmp_path / "c", catch_up=False)
    made = {length: (np.ones(length, np.float32) if form is np.float32 else [1.0] * length) for length in (3, 4, 5)}
    rows = [{"id": f"r{n}", "vector": made[length]} for n, length in enumerate((3, 4, 4))]
    report = shop.add(rows, space="s")
    assert report.added == 2
    assert [each.reason for each in report.reasons] == [
        "it has a vector of 3 numbers, and vectors of this space have 4 numbers"
    ]
    later = [{"id": f"q{n}", "vector": made[length]} for n, length in enumerate((5, 5, 4))]
    report = shop.add([*later, {"id": "q3", "vector": None}], space="s")
    assert report.added == 1 and report.quarantined == 3
    assert {each.reason: each.count for each in report.reasons} == {
        "it has a vector of 5 numbers, and vectors of this space have 4 numbers": 2,
        "it has no vector, and vectors of this space have 4 numbers": 1,
    }
    assert {each.id for each in shop.info().quarantine} == {"r0", "q0", "q1", "q3"}
    with pytest.raises(BadData, match="3 wide"):
        shop.add([{"id": "z", "vector": made[3]}], space="s")


def test_an_id_that_rows_repeat_is_named(tmp_path):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    rows = [{"id": "a", "text": "x"}, {"id": "r", "text": "y"}, {"id": "r", "text": "z"}]
    with pytest.raises(BadData, match=r"^rows need ids, and column id has 'r' in rows 2 and 3: give them a column id"):
        shop.add(rows, workers=0)
    with pytest.raises(BadData, match="column id has no value in row 1"):
        shop.add([{"id": None, "text": "x"}, {"id": "b", "text": "y"}], workers=0)
