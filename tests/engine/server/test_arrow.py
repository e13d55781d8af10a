"""Vectors as Arrow streams: searches and items without JSON, answers as tables, and the same results as by JSON."""

import datetime
import json

import numpy as np
import pyarrow as pa
import pytest

import quiver
from quiver.engine.client import remote
from quiver.engine.client.sending import shared_words, stream, vector_column
from quiver.types import Query

from .conftest import running

ARROW = "application/vnd.apache.arrow.stream"
PATH = "/v1/collections/shop"
ROWS, DIM = 300, 16


@pytest.fixture(scope="module")
def arrow(tmp_path_factory, no_keys):
    """A collection of vectors with metadata of several types, served."""
    folder = tmp_path_factory.mktemp("arrow")
    vectors = np.random.default_rng(0).normal(size=(ROWS, DIM)).astype("float32")
    day = datetime.date(2026, 1, 1)
    meta = {"price": list(range(ROWS)), "day": [day + datetime.timedelta(n % 9) for n in range(ROWS)]}
    shop = quiver.open(folder / "shop", catch_up=False)
    shop.add_vectors(vectors, space="mine", ids=[str(n) for n in range(ROWS)], meta=meta, progress=False)
    with running([folder / "shop"], keys=no_keys) as found:
        found.shop, found.vectors = shop, vectors
        yield found


def body(vectors, **note):
    return stream(pa.table({"vector": vector_column(np.asarray(vectors, "float32"))}), note)


def deep():
    """A stream whose note is lists in lists, deeper than Python goes."""
    held = pa.BufferOutputStream()
    table = pa.table({"vector": ones(DIM)}).replace_schema_metadata({"quiver": "[" * 100_000})
    with pa.ipc.new_stream(held, table.schema) as writer:
        writer.write_table(table)
    return held.getvalue().to_pybytes()


def post(arrow, data, accept="*/*"):
    return arrow.client.post(f"{PATH}/search/batch", content=data, headers={"Content-Type": ARROW, "Accept": accept})


def put(arrow, table, note):
    return arrow.client.put(f"{PATH}/items", content=stream(table, note), headers={"Content-Type": ARROW})


def ones(dim):
    return vector_column(np.ones((1, dim), "float32"))


def test_vectors_of_a_stream_are_searched_as_those_of_json(arrow):
    words = {"k": 4, "where": "price < :most", "params": {"most": 200}}
    by_json = arrow.client.post(
        f"{PATH}/search/batch", json={"queries": [{"vector": each.tolist(), **words} for each in arrow.vectors[:5]]}
    ).json()
    by_stream = post(arrow, body(arrow.vectors[:5], **words)).json()
    assert by_stream == by_json and len(by_stream["answers"]) == 5
    named = post(arrow, body(arrow.vectors[:5], **words, space="mine")).json()
    assert named["answers"][0]["hits"] == by_json["answers"][0]["hits"]


def test_answers_come_as_one_table_with_stored_types(arrow):
    answer = post(arrow, body(arrow.vectors[:3], k=2, where="price < 200"), accept=ARROW)
    assert answer.status_code == 200 and answer.headers["content-type"] == ARROW
    with pa.ipc.open_stream(answer.content) as found:
        table = found.read_all()
    true = arrow.shop.search_batch([Query(vector=each, k=2, where="price < 200") for each in arrow.vectors[:3]])
    assert table["query"].to_pylist() == [0, 0, 1, 1, 2, 2]
    assert table["id"].to_pylist() == [id for ids in true.ids for id in ids]
    assert np.allclose(table["score"].to_numpy(), [hit.score for each in true for hit in each], atol=1e-6)
    assert table.schema.field("price").type == pa.int64() and pa.types.is_date(table.schema.field("day").type)
    told = json.loads(table.schema.metadata[b"quiver"])["queries"]
    assert [each["version"] for each in told] == [int(answer.headers["quiver-version"])] * 3
    assert not any(each["partial"] for each in told)


def test_columns_of_metadata_are_chosen_in_a_table_too(arrow):
    queries = [{"vector": arrow.vectors[0].tolist(), "k": 1, "meta": chosen} for chosen in (["day"], ["day"])]
    answer = arrow.client.post(f"{PATH}/search/batch", json={"queries": queries}, headers={"Accept": ARROW})
    with pa.ipc.open_stream(answer.content) as found:
        assert found.read_all().schema.names == ["query", "id", "score", "day"]


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"", 400, "no Arrow stream"),
        (b"nonsense" * 9, 400, "no Arrow stream"),
        (deep(), 400, "recursion"),
        (body(np.eye(DIM))[:-70], 400, "no Arrow stream"),
        (stream(pa.table({"vector": [[1.0] * DIM]}), {}), 422, "fixed-size list of float32"),
        (stream(pa.table({"text": ["a"]}), {}), 422, "there is no column 'text' here"),
        (stream(pa.table({"vector": vector_column(np.zeros((0, 4), "float32"))}), {}), 422, "at least one row"),
        (body(np.eye(DIM), n_results=3), 422, "did you mean k"),
        (body(np.eye(3)), 422, "3"),
        (body(np.ones((300, DIM))), 422, "at most 256 rows"),
        (body(np.eye(DIM), space=3), 422, "space is the name"),
        (stream(pa.table({"vector": vector_column(np.full((1, DIM), np.nan, "float32"))}), {}), 422, "queries[0]"),
    ],
)
def test_a_bad_stream_is_one_line(arrow, data, status, said):
    answer = post(arrow, data, accept=ARROW)
    assert answer.status_code == status and said in answer.json()["detail"]
    assert answer.headers["content-type"] == "application/problem+json"


def test_items_come_as_a_stream(arrow):
    table = pa.table(
        {
            "id": ["x", "y"], "vector": vector_column(np.eye(2, DIM, dtype="float32")), "text": ["red", "green"],
            "price": pa.array([1_000, None], pa.int64()), "day": [datetime.date(2026, 5, 1)] * 2,
        }
    )  # fmt: skip
    before = arrow.shop.count()
    answer = arrow.client.put(
        f"{PATH}/items", content=stream(table, {"space": "mine"}), headers={"Content-Type": ARROW}
    )
    assert answer.status_code == 200 and answer.json()["added"] == 2
    (x, y) = arrow.shop.get(["x", "y"])
    assert (x.meta["price"], x.meta["day"], x.media["text"]) == (1_000, datetime.date(2026, 5, 1), "red")
    assert y.meta.get("price") is None and arrow.shop.search(vector=np.eye(2, DIM)[1], k=1).ids == ("y",)
    assert arrow.shop.delete(["x", "y"]) == 2 and arrow.shop.count() == before


@pytest.mark.parametrize(
    ("columns", "note", "said"),
    [
        ({"id": ["x"]}, {"space": "mine"}, "fixed-size list"),
        ({"vector": ones(DIM)}, {"space": "mine"}, "needs a column id"),
        ({"id": ["x"], "vector": ones(DIM)}, {}, "the name of the space"),
        ({"id": ["x"], "vector": ones(DIM)}, {"place": "mine"}, "there is no 'place'"),
        ({"id": ["x"], "vector": ones(3)}, {"space": "mine"}, "16"),
        (
            {"id": ["x"], "vector": ones(DIM), "image": ["/etc/passwd"]},
            {"space": "mine"}, "would name files",
        ),
    ],
)  # fmt: skip
def test_bad_items_are_one_line_and_add_nothing(arrow, columns, note, said):
    before = arrow.shop.count()
    answer = put(arrow, pa.table(columns), note)
    assert answer.status_code == 422 and said in answer.json()["detail"]
    assert arrow.shop.count() == before


def test_the_client_sends_large_arrays_as_streams_and_gives_the_same_results(arrow, monkeypatch):
    with quiver.connect(f"{arrow.address}/shop") as shop:
        kinds = []
        ask = shop._transport.ask
        monkeypatch.setattr(
            shop._transport, "ask",
            lambda *words, **more: (kinds.append(more["headers"].get("Content-Type")), ask(*words, **more))[-1],
        )  # fmt: skip
        many = arrow.vectors[:200]
        one, other = (each.search_batch(vector=many, k=3, where="price < 250") for each in (arrow.shop, shop))
        assert one.ids == other.ids and kinds == [ARROW]
        assert [hit.meta for each in one for hit in each] == [hit.meta for each in other for hit in each]
        few = shop.search_batch(vector=many[:2], k=3)
        assert few.ids == arrow.shop.search_batch(vector=many[:2], k=3).ids and kinds[-1] is None
        with pytest.raises(quiver.errors.QuiverError, match=r"queries\[0\]"):
            shop.search_batch(vector=np.full((200, DIM), np.nan), k=3)
        meta = {"price": list(range(200)), "day": [datetime.date(2026, 7, 1)] * 200}
        ids = [f"own{n}" for n in range(200)]
        report = shop.add_vectors(many, space="mine", ids=ids, meta=meta)
        assert report.added == 200 and kinds[-1] == ARROW
        assert arrow.shop.get("own7")[0].meta == {"price": 7, "day": datetime.date(2026, 7, 1)}
        assert shop.delete(ids) == 200


def test_only_queries_that_differ_in_one_vector_share_a_stream():
    vector = np.ones(3, "float32")
    words, array = shared_words([{"vector": vector, "k": 3}, {"vector": vector, "k": 3}])
    assert words == {"k": 3} and array.shape == (2, 3)
    assert shared_words([{"vectors": {"a": vector}}, {"vectors": {"a": vector}}])[0] == {"space": "a"}
    for others in (
        [{"vector": vector, "k": 3}, {"vector": vector, "k": 4}],
        [{"vectors": {"a": vector}}, {"vectors": {"b": vector}}],
        [{"vectors": {"a": vector, "b": vector}}],
        [{"vector": vector}, {"text": "a"}],
        [{"vector": np.ones((2, 3), "float32")}],
        [{"vector": vector}, {"vector": np.ones(4, "float32")}],
        [],
    ):
        assert shared_words(others) is None


def test_metadata_without_an_arrow_type_go_as_json(arrow):
    with quiver.connect(f"{arrow.address}/shop") as shop:
        assert remote.columns_of(["a", "b"], [{"note": 1}, {"note": "x"}]) is None
        ids = [f"odd{n}" for n in range(200)]
        rows = [{"note": n if n % 2 else str(n)} for n in range(200)]
        assert shop.add_vectors(arrow.vectors[:200], space="mine", ids=ids, meta=rows).added == 200
        assert shop.delete(ids) == 200
