"""Reading without ranking: count, head, scan, export, close; and files that have moved."""

import shutil
from pathlib import Path

import faiss
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import quiver
from quiver.errors import BadData, BadSpec
from quiver.types import Item


@pytest.fixture
def store(tmp_path):
    collection = quiver.open(tmp_path / "store", catch_up=False)
    rows = [{"id": f"r{n}", "text": f"t{n}", "price": n, "vector": [n, 1.0]} for n in range(10)]
    collection.add(rows, space="mine", metric="l2")
    return collection


@pytest.fixture
def shop(tmp_path, photos):
    collection = quiver.open(tmp_path / "shop", catch_up=False)
    collection.add(photos, workers=0)
    return collection


def test_head_returns_the_first_items(store):
    assert [item.id for item in store.head()] == ["r0", "r1", "r2", "r3", "r4"]
    assert [item.meta["price"] for item in store.head(2, "price > ?", [6])] == [7, 8]
    with pytest.raises(BadSpec, match="positive number"):
        store.head(0)


def test_scan_reads_columns_in_batches(store):
    batches = list(store.scan(["id", "price"], "price >= :least", {"least": 3}, batch_size=4))
    assert [len(batch) for batch in batches] == [4, 3] and batches[0].schema.names == ["id", "price"]
    assert pa.Table.from_batches(batches)["price"].to_pylist() == list(range(3, 10))
    assert next(store.scan()).schema.names == ["id", "text", "price"]
    assert list(store.scan(where="price > 99")) == []


def test_scan_reads_vectors_under_the_name_of_their_space(store):
    batch = next(store.scan("id", spaces="mine"))
    assert batch.schema.field("mine").type == pa.list_(pa.float32(), 2)
    assert batch["mine"].to_pylist()[3] == [3.0, 1.0]
    store.add_vectors(np.eye(2), ids=["r0", "r1"], space="two", key="text")
    store.add_vectors(np.eye(2), ids=["r0", "r1"], space="two", key="image")
    assert next(store.scan("id", spaces=["two"])).schema.names == ["id", "two (text)", "two (image)"]


def test_a_scan_sees_one_version_whatever_is_written_meanwhile(store):
    scan = store.scan("price", batch_size=2)
    seen = [next(scan)]
    store.delete(where="price > 5")
    store.add([{"id": "new", "text": "x", "price": 77}], workers=0, encoder="classic")
    assert pa.Table.from_batches([*seen, *scan])["price"].to_pylist() == list(range(10))


@pytest.mark.parametrize(
    ("call", "problem"),
    [
        (lambda store: store.scan(["prize"]), "did you mean price"),
        (lambda store: store.scan("id", spaces="other"), "there is no space 'other' here; spaces here: mine"),
        (lambda store: store.scan("id", "cost < 3"), "there is no column 'cost'"),
        (lambda store: store.scan("id", batch_size=0), "batch_size must be a positive whole number"),
        (lambda store: store.export("a.csv"), "an export is .parquet, .npy, .faiss"),
        (lambda store: store.export("a.npy", space="other"), "there is no space 'other'"),
        (lambda store: store.export("a.faiss", factory="IVF4096,Flat"), "FAISS cannot build factory='IVF4096,Flat'"),
    ],
)
def test_what_is_not_there_is_named_at_once(store, call, problem, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadSpec, match=problem):
        call(store)


def test_parquet_has_items_and_vectors_and_is_read_back(store, tmp_path):
    done = store.export(tmp_path / "out.parquet")
    assert (done.items, done.files) == (10, (str(tmp_path / "out.parquet"),))
    table = pq.read_table(tmp_path / "out.parquet")
    assert table.column_names == ["id", "text", "price", "mine"] and table["mine"][4].as_py() == [4.0, 1.0]
    again = quiver.open(tmp_path / "again", catch_up=False)
    again.add(table, vectors="mine", space="mine", metric="l2")
    assert again.search(vector=[6, 1], k=1)[0].meta["price"] == 6
    assert store.export(tmp_path / "some.parquet", where="price > ?", params=[7]).items == 2


def test_npy_and_its_table_are_read_back(store, tmp_path):
    store.add([Item("bare", {"text": "no vector of mine"})], encoder="classic", workers=0)
    done = store.export(tmp_path / "out.npy", space="mine")
    assert (done.items, done.space) == (10, "mine")
    assert np.array_equal(np.load(tmp_path / "out.npy"), [[n, 1] for n in range(10)])
    again = quiver.open(tmp_path / "again", catch_up=False)
    again.add_vectors(tmp_path / "out.npy", meta=str(tmp_path / "out.parquet"), space="mine", metric="l2")
    assert again.search(vector=[6, 1], k=1).ids == store.search(vectors={"mine": [6, 1]}, k=1).ids == ("r6",)
    with pytest.raises(BadSpec, match=r"one space, and here are 2: .*name one with space="):
        store.export(tmp_path / "out.npy")


def test_a_failed_export_replaces_nothing(store, tmp_path):
    pair = [Path(each) for each in store.export(tmp_path / "out.faiss").files]
    before = [each.read_bytes() for each in pair]
    with pytest.raises(BadSpec, match="FAISS cannot build"):
        store.export(tmp_path / "out.faiss", factory="IVF4096,Flat", where="price < 5")
    assert [each.read_bytes() for each in pair] == before
    assert sorted(path.name for path in tmp_path.glob("*out*")) == ["out.faiss", "out.parquet"]


@pytest.mark.parametrize("suffix", ["npy", "faiss"])
def test_a_table_that_nobody_named_is_not_replaced(store, tmp_path, suffix):
    store.export(tmp_path / "all.parquet")
    before = (tmp_path / "all.parquet").read_bytes()
    with pytest.raises(BadSpec, match=r"its table would replace .*all\.parquet"):
        store.export(tmp_path / f"all.{suffix}")
    assert (tmp_path / "all.parquet").read_bytes() == before and not (tmp_path / f"all.{suffix}").exists()
    for where in ("price < 5", "price < 3"):  # the pair of an earlier export is replaced as one
        count = store.export(tmp_path / f"own.{suffix}", where=where).items
    assert count == 3 == pq.read_table(tmp_path / "own.parquet").num_rows


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_a_faiss_index_finds_what_a_search_finds(tmp_path, metric):
    vectors = np.random.default_rng(5).normal(size=(50, 8)).astype(np.float32)
    collection = quiver.open(tmp_path / "c", catch_up=False)
    collection.add_vectors(vectors, ids=[f"v{n}" for n in range(50)], space="mine", metric=metric)
    collection.delete(["v3", "v7"])
    done = collection.export(tmp_path / "out.faiss")
    index = faiss.read_index(done.files[0])
    ids = pq.read_table(done.files[1])["id"].to_pylist()
    assert index.ntotal == len(ids) == 48
    _, rows = index.search(vectors[:1], 5)
    assert [ids[row] for row in rows[0]] == list(collection.search(vector=vectors[0], k=5).ids)


def test_a_closed_collection_says_so_and_its_answers_stay(store):
    found = store.search(vector=[3, 1], k=2)
    store.close()
    store.close()
    assert found[0].meta["price"] == 3
    for use in (store.count, lambda: store.search(vector=[1, 1]), lambda: store.delete("r1"), store.info):
        with pytest.raises(BadSpec, match=r"was closed: quiver\.open"):
            use()
    with quiver.open(store.uri) as again:
        assert len(again) == 10
    with pytest.raises(BadSpec, match="was closed"):
        len(again)


def test_files_that_moved_keep_their_ids_and_vectors(shop, photos, tmp_path):
    before = {item.id: item for item in shop.get(list(shop.search(like="photos/red0.png", k=30).ids))}
    moved = tmp_path / "elsewhere" / "pictures"
    moved.parent.mkdir()
    shutil.move(photos, moved)
    done = shop.relocate(photos, moved)
    assert (done.items, done.missing) == (24, 0)
    for item in shop.get(list(before)):
        assert item.media["image"] == str(moved / item.id.removeprefix("photos/"))
    report = shop.add(moved, workers=0)
    assert (report.added, report.unchanged, report.moved) == (0, 24, 0)
    best = shop.search(image=moved / "red0.png", k=1)[0]
    assert best.id == "photos/red0.png" and quiver.open(shop.uri).hidden(best.uri) is None


def test_a_folder_above_may_move_and_only_what_is_below_it_follows(shop, photos, tmp_path):
    other = tmp_path / "photos2"
    shutil.copytree(photos, other)
    shop.add(other, workers=0)
    (tmp_path / "new").mkdir()
    shutil.move(photos, tmp_path / "new" / "photos")
    assert shop.relocate(f"{photos}/", tmp_path / "new" / "photos").items == 24
    assert shop.get("photos2/red0.png")[0].media["image"] == str(other / "red0.png")
    assert len(shop) == 48


@pytest.mark.parametrize(
    ("old", "new", "fault", "problem"),
    [
        ("nowhere", "photos", BadSpec, "no item refers to a file below .*nowhere/; items were added from"),
        ("photos", "nowhere", BadData, "none of the first 24 files is below .*nowhere/"),
        ("photos", "photos/", BadSpec, "are the same place"),
        ("photo", "photos", BadSpec, "no item refers to a file below"),
    ],
)
def test_a_relocation_that_cannot_be_meant_changes_nothing(shop, tmp_path, monkeypatch, old, new, fault, problem):
    monkeypatch.chdir(tmp_path)
    version = shop.versions()[-1]["version"]
    with pytest.raises(fault, match=problem):
        shop.relocate(old, new)
    assert shop.versions()[-1]["version"] == version


def test_uris_move_by_their_start(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    rows = [{"id": f"{n}", "image": f"s3://old/a%20b/{n}.png", "vector": [n, 1]} for n in range(3)]
    collection.add(rows, space="mine")
    assert collection.relocate("s3://old/a%20b", "https://new/x").items == 3
    assert collection.get("2")[0].media["image"] == "https://new/x/2.png"
