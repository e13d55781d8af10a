"""Answers as lists, tables, text, and pictures in a notebook."""

import re
from datetime import date

import numpy as np
import pyarrow as pa
import pytest

import quiver
from quiver.errors import BadData, MissingExtra
from quiver.types import Hit, Item


@pytest.fixture
def shop(tmp_path, photos):
    collection = quiver.open(tmp_path / "shop", catch_up=False)
    files = sorted(photos.iterdir())
    items = [
        Item("a", {"image": files[0], "text": "one"}, {"price": 1, "made": date(2024, 5, 1), "score": 7}),
        Item("b", {"image": files[1]}, {"price": 2, "tags": ["x", "y"]}),
        Item("<b>&'\"", {"image": files[9]}, {"price": 3, "name": "<script>alert(1)</script>"}),
    ]
    collection.add(*items, workers=0)
    return collection


def test_a_hit_has_its_media(shop, photos):
    hit = shop.search(like="b", k=1)[0]
    first = sorted(map(str, photos.iterdir()))[0]
    assert hit.media == {"text": "one", "image": first} and hit.uri == first
    assert repr(hit).startswith(f"Hit('a', score={hit.score:.4f}, media=")


def test_a_list_has_the_same_columns_in_every_row(shop, photos):
    found = shop.search(like="b", k=2)
    rows = found.to_list()
    assert [row["id"] for row in rows] == list(found.ids) and rows[0]["id"] == "a"
    assert list(rows[0]) == list(rows[1]) == ["id", "score", "text", "image", "price", "made", "meta_score", "name"]
    assert rows[0] == {
        "id": "a",
        "score": found[0].score,
        "text": "one",
        "image": found[0].uri,
        "price": 1,
        "made": date(2024, 5, 1),
        "meta_score": 7,
        "name": None,
    }
    assert rows[1]["made"] is None and rows[1]["text"] is None


def test_a_table_has_all_metadata_columns_with_their_stored_types(shop):
    table = shop.search(like="b", k=2).to_arrow()
    assert table.column_names == ["id", "score", "text", "image", "price", "made", "meta_score", "name", "tags"]
    assert table.schema.field("made").type == pa.date32() and table.schema.field("tags").type == pa.list_(pa.string())
    empty = shop.search(like="b", where="price > 99").to_arrow()
    assert empty.num_rows == 0 and empty.schema.field("price").type == pa.int64()
    assert empty.schema.field("score").type == pa.float64()


def test_answers_of_a_batch_are_one_table_with_the_number_of_the_query(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    collection.add_vectors(np.eye(3), ids=["a", "b", "c"], meta={"price": [1, 2, 3]}, space="mine")
    table = collection.search_batch(vector=np.eye(3)[[2, 0]], k=1).to_arrow()
    assert table.select(["query", "id", "price"]).to_pylist() == [
        {"query": 0, "id": "c", "price": 3},
        {"query": 1, "id": "a", "price": 1},
    ]
    assert collection.search_batch([]).to_arrow().column_names == ["query", "id", "score"]
    assert repr(collection.search_batch(vector=np.eye(3), k=1)).startswith(
        "answers to 3 queries; the first:\n1 hit among"
    )


def test_answers_of_a_batch_are_written_as_a_trec_run(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    collection.add_vectors(np.eye(3), ids=["a", "b b", "c"], space="mine", metric="dot")
    found = collection.search_batch(vector=np.array([[0, 1, 0.5], [1, 0.25, 0]]), k=2)
    found.write_trec(tmp_path / "run.txt", ["q1", "q2"], tag="mine")
    assert (tmp_path / "run.txt").read_text().splitlines() == [
        "q1 Q0 b%20b 1 1.0 mine",
        "q1 Q0 c 2 0.5 mine",
        "q2 Q0 a 1 1.0 mine",
        "q2 Q0 b%20b 2 0.25 mine",
    ]
    with pytest.raises(BadData, match="1 query ids for 2 answers"):
        found.write_trec(tmp_path / "run.txt", ["q1"])


def test_an_answer_shows_its_hits_as_text(shop):
    found = shop.search(like="b", k=2)
    lines = repr(found).splitlines()
    assert lines[0] == f"2 hits among 3 items (version {found.plan.version})"
    assert lines[1].startswith(f"  1  {found[0].score:.4f}  a  text=one price=1")
    assert repr(found.plan) == str(found.plan)


def test_a_notebook_shows_pictures_that_are_inlined_and_escaped(shop):
    page = shop.search(like="b", k=2)._repr_html_()
    assert len(re.findall(r"<img [^>]*src='data:image/jpeg;base64,[A-Za-z0-9+/=]+'", page)) == 2
    assert "<script" not in page and "&lt;script&gt;" in page and "&lt;b&gt;&amp;&#x27;&quot;" in page
    assert re.findall(r"(?:src|href)=.{6}", page) == ["src='data:"] * 2 and "url(" not in page


def test_a_notebook_shows_no_file_that_this_user_has_not_added(shop, monkeypatch, tmp_path):
    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path / "another user"))
    page = quiver.open(shop.uri).search(like="b", k=2)._repr_html_()
    assert "<img" not in page and "is not read: you added no file of its folder here" in page


def test_a_page_of_an_answer_shows_its_pictures_too(shop):
    pages = list(shop.pages(like="b", k=1))
    assert len(pages) == 2 and all("<img" in page._repr_html_() for page in pages)


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_data_frame_of_a_missing_library_names_it(shop, library, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, library, None)
    with pytest.raises(MissingExtra, match=f"pip install {library}"):
        getattr(shop.search(like="b"), f"to_{library}")()


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_data_frames_have_a_row_for_each_hit(shop, library):
    pytest.importorskip(library)
    frame = getattr(shop.search(like="b", k=2), f"to_{library}")()
    assert list(frame.columns)[:2] == ["id", "score"] and frame["id"].to_list()[0] == "a"


def test_hits_can_still_be_made_by_hand():
    assert Hit("a", 0.5).media == {} and repr(Hit("a", 0.5)) == "Hit('a', score=0.5000, meta={})"
