"""Searches over HTTP find what the library finds, and say in one line what is wrong with a request."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import quiver
from quiver.types import Query

from .conftest import running

SHOP = "/v1/collections/shop"


def ask(client, query, status=200, **options):
    answer = client.post(f"{SHOP}/search", json=query, **options)
    assert answer.status_code == status, answer.text
    if status != 200:
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) >= {"type", "title", "status", "detail"} and "\n" not in answer.json()["detail"]
    return answer.json()


@pytest.mark.parametrize(
    "words",
    [
        {"like": "photos/red0.png", "k": 5},
        {"like": ["photos/red0.png", "photos/red1.png"], "unlike": "photos/blue0.png", "k": 4, "offset": 2},
        {"like": "photos/red0.png", "where": "price < :most AND colour = 'green'", "params": {"most": 12}},
        {"text": "green thing", "k": 3},
        {"like": "photos/blue1.png", "group_by": "colour", "group_size": 2, "k": 2},
        {"like": "photos/blue1.png", "exclude": ["photos/blue2.png"], "min_score": 0.2, "k": 24},
        {"like": "photos/red0.png", "candidates": ["photos/green1.png", "photos/blue1.png"]},
        {"like": "photos/red0.png", "order_by": "price desc", "k": 4},
        {"like": "photos/red0.png", "deduplicate": 0.9, "diversity": 0.5, "k": 4},
    ],
)
def test_a_search_finds_what_the_library_finds(served, words):
    found = ask(served.client, {**words, "trace": True, "explain": "analyze"})
    true = served.shop.search(**words)
    assert [hit["id"] for hit in found["hits"]] == list(true.ids)
    assert [hit["score"] for hit in found["hits"]] == [hit.score for hit in true]
    assert [hit["meta"] for hit in found["hits"]] == [dict(hit.meta) for hit in true]
    assert [hit["trace"] for hit in found["hits"]] == [dict(hit.trace) for hit in true]
    assert found["version"] == true.plan.version and found["items"] == 24
    assert [each["stage"] for each in found["plan"]["stages"]] == [
        each["stage"] for each in true.plan.to_dict()["stages"]
    ]


def test_a_picture_is_sent_as_a_file(served):
    path = served.folder / "photos" / "green3.png"
    form = {"query": (None, json.dumps({"k": 4, "where": "price < 20"}))}
    answer = served.client.post(f"{SHOP}/search", files={**form, "image": ("../../x.png", path.read_bytes())})
    assert answer.status_code == 200, answer.text
    true = served.shop.search(image=str(path), k=4, where="price < 20")
    assert [hit["id"] for hit in answer.json()["hits"]] == list(true.ids)
    assert np.allclose([hit["score"] for hit in answer.json()["hits"]], [hit.score for hit in true], atol=1e-6)
    alone = served.client.post(f"{SHOP}/search", files={"image": ("x.png", path.read_bytes())})
    assert alone.json()["hits"][0]["id"] == "photos/green3.png"


def test_a_picture_that_hits_should_not_resemble_is_sent_as_a_file(served):
    path = served.folder / "photos" / "blue3.png"
    form = {"query": (None, json.dumps({"like": "photos/red0.png", "k": 24}))}
    answer = served.client.post(f"{SHOP}/search", files={**form, "unlike_image": ("x.png", path.read_bytes())})
    assert answer.status_code == 200, answer.text
    true = served.shop.search(like="photos/red0.png", unlike_image=str(path), k=24)
    assert [hit["id"] for hit in answer.json()["hits"]] == list(true.ids)
    assert list(true.ids) != list(served.shop.search(like="photos/red0.png", k=24).ids)


def test_several_pictures_and_words_join_in_one_query(served):
    paths = [served.folder / "photos" / name for name in ("red3.png", "red5.png")]
    parts = [("image", (path.name, path.read_bytes())) for path in paths]
    parts.append(("query", (None, json.dumps({"k": 3, "weights": {"image": 2}}))))
    answer = served.client.post(f"{SHOP}/search", files=parts)
    true = served.shop.search(image=[str(path) for path in paths], k=3, weights={"image": 2})
    assert [hit["id"] for hit in answer.json()["hits"]] == list(true.ids)


def test_a_pair_is_sent_as_two_files(shop, no_keys, tmp_path):
    photos = shop.folder / "photos"
    pairs = quiver.open(tmp_path / "pairs", catch_up=False)
    made = [{"before": str(photos / f"{name}0.png"), "after": str(photos / f"{name}1.png")} for name in ("red", "blue")]
    rows = [{"id": str(n), **each} for n, each in enumerate(made)]
    pairs.add(rows, encoder="classic", workers=0, progress=False)
    with running([pairs.uri], keys=no_keys) as served:
        parts = {name: (name, Path(path).read_bytes()) for name, path in made[1].items()}
        answer = served.client.post("/v1/collections/pairs/search", files=parts)
        assert answer.status_code == 200, answer.text
        assert [hit["id"] for hit in answer.json()["hits"]] == list(pairs.search(**made[1]).ids) == ["1", "0"]
        twice = [*parts.items(), ("before", parts["after"])]
        refused = served.client.post("/v1/collections/pairs/search", files=twice)
        assert refused.status_code == 422 and "before must be one image, not a list" in refused.json()["detail"]


def test_a_large_picture_is_scaled_down_while_it_is_decoded(served):
    held = io.BytesIO()
    Image.new("RGB", (4000, 3000), (30, 180, 40)).save(held, "JPEG")
    answer = served.client.post(f"{SHOP}/search", files={"image": ("big.jpg", held.getvalue())})
    assert answer.status_code == 200 and answer.json()["hits"][0]["meta"]["colour"] == "green"


def test_a_batch_answers_each_query_and_puts_a_problem_in_the_place_of_a_bad_one(served):
    queries = [{"like": "photos/red0.png", "k": 2}, {"like": "nobody"}, {"text": "blue", "k": 1}]
    answer = served.client.post(f"{SHOP}/search/batch", json={"queries": queries})
    first, bad, last = answer.json()["answers"]
    assert [hit["id"] for hit in first["hits"]] == list(served.shop.search(**queries[0]).ids)
    assert bad["status"] == 422 and "nobody" in bad["detail"]
    assert [hit["id"] for hit in last["hits"]] == list(served.shop.search(**queries[2]).ids)


def test_a_plan_is_made_without_searching(served):
    found = ask(served.client, {"like": "photos/red0.png", "where": "price < 5", "explain": "plan"})
    true = served.shop.explain(like="photos/red0.png", where="price < 5").to_dict()
    assert found["hits"] == [] and found["plan"]["stages"][0] == true["stages"][0]


def test_metadata_are_chosen_and_an_empty_answer_says_why(served):
    assert ask(served.client, {"text": "red", "k": 1, "meta": ["price"]})["hits"][0]["meta"].keys() == {"price"}
    assert ask(served.client, {"text": "red", "k": 1, "meta": False})["hits"][0]["meta"] == {}
    assert "0 of 24 items" in ask(served.client, {"text": "red", "where": "price > 99"})["reason"]


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"n_results": 3, "text": "x"}, "did you mean k"),
        ({"filter": {"must": []}, "text": "x"}, "did you mean where"),
        ({"with_payload": True, "text": "x"}, "did you mean meta"),
        ({"score_threshold": 1, "text": "x"}, "did you mean min_score"),
        ({"text": "x", "where": "prize < 3"}, "did you mean price"),
        ({"text": "x", "where": "price < 3 AND"}, "cannot filter by"),
        ({"text": "x", "where": {"price": 3}}, "where takes an SQL condition as a string"),
        ({}, "the query is empty"),
        ([], "a query is a JSON object"),
        ({"text": "x", "k": 0}, "k must be at least 1"),
        ({"text": "x", "k": "5"}, "k must be a whole number"),
        ({"text": 5}, "text must be a string"),
        ({"vector": ["a"]}, "a vector is a list of numbers"),
        ({"vectors": [1, 2]}, "vectors takes vectors by the name"),
        ({"like": "photos/red0.pn"}, "did you mean 'photos/red0.png'"),
        ({"text": "x", "explain": True}, "explain is false, 'plan' or 'analyze'"),
        ({"text": "x", "meta": "price"}, "meta is true, false, or a list"),
        ({"like": "photos/red0.png", "target": "smell"}, "target must be one of"),
        ({"like": "photos/red0.png", "unlike_image": "/etc/passwd"}, "unlike_image takes a file"),
        ({"like": "photos/red0.png", "unlike_video": ["a.mp4"]}, "unlike_video takes a file"),
        ({"like": "photos/red0.png", "min_score": "soon"}, "must be a finite number or 'auto'"),
        ({"like": "photos/red0.png", "min_score": "auto"}, "no threshold is learned for like"),
        ({"like": "photos/red0.png", "order_by": "prize"}, "no metadata column 'prize' to sort by"),
    ],
)
def test_a_bad_query_is_one_line_that_teaches(client, query, said):
    assert said in ask(client, query, 422)["detail"]


def test_the_missing_arrow_is_a_field(client):
    found = ask(client, {"like": "photos/red0.png", "target": "audio"}, 422)
    assert found["missing_arrow"] == {"from": "like", "to": "audio"} and found["type"] == "urn:quiver:no-route"


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"k": NaN}', b"{'k': 1}"])
def test_a_body_that_is_no_json_is_refused(client, body):
    answer = client.post(f"{SHOP}/search", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 400 and answer.json()["type"] == "urn:quiver:bad-json"


def test_other_kinds_of_content_are_refused(client):
    for kind in ("text/plain", "application/x-www-form-urlencoded", "application/xml"):
        answer = client.post(f"{SHOP}/search", content=b"{}", headers={"content-type": kind})
        assert answer.status_code == 415 and "multipart/form-data" in answer.json()["detail"]


def test_an_answer_names_its_version_and_a_request_can_pin_one(served):
    answer = served.client.post(f"{SHOP}/search", json={"text": "red"})
    version = int(answer.headers["Quiver-Version"])
    assert version == served.shop.version
    pinned = served.client.post(f"{SHOP}/search", json={"text": "red"}, headers={"Quiver-Version": str(version)})
    assert pinned.json() == answer.json()
    later = served.client.post(f"{SHOP}/search", json={"text": "red"}, headers={"Quiver-Version": "999"})
    assert later.status_code == 404 and "there is no version 999 of shop" in later.json()["detail"]
    odd = served.client.post(f"{SHOP}/search", json={"text": "red"}, headers={"Quiver-Version": "x"})
    assert odd.status_code == 422


def test_items_are_read_by_id_by_condition_and_counted(served):
    item = served.client.get(f"{SHOP}/items/photos%2Fred2.png").json()
    assert item["id"] == "photos/red2.png" and item["meta"] == dict(served.shop.get("photos/red2.png")[0].meta)
    assert served.client.get(f"{SHOP}/items/nobody").status_code == 404
    first = served.client.get(f"{SHOP}/items", params={"where": "price < 5", "limit": "2"}).json()["items"]
    assert [each["id"] for each in first] == [each.id for each in served.shop.head(2, "price < 5")]
    some = served.client.post(f"{SHOP}/items/get", json={"ids": ["photos/red1.png", "none", "photos/red0.png"]}).json()
    assert [each["id"] for each in some["items"]] == ["photos/red1.png", "photos/red0.png"]
    counted = served.client.post(f"{SHOP}/items/count", json={"where": "price < ?", "params": [5]}).json()
    assert counted["count"] == served.shop.count("price < 5") == 5


def test_items_are_streamed_as_arrow_without_paths(served):
    import pyarrow as pa

    answer = served.client.post(f"{SHOP}/items/scan", json={"where": "price < 5"})
    table = pa.ipc.open_stream(answer.content).read_all()
    assert sorted(table["price"].to_pylist()) == [0, 1, 2, 3, 4] and "image" not in table.schema.names
    assert served.client.post(f"{SHOP}/items/scan", json={"columns": ["image"]}).status_code == 422
    none = served.client.post(f"{SHOP}/items/scan", json={"where": "price > 99"})
    assert pa.ipc.open_stream(none.content).read_all().num_rows == 0


def test_collections_are_listed_and_described_without_paths(served):
    listed = served.client.get("/v1/collections").json()["collections"]
    assert listed == [{"name": "shop", "items": 24, "version": served.shop.version}]
    told = served.client.get(SHOP)
    assert told.json()["items"] == 24 and told.json()["meta"]["price"] == "int64"
    assert str(served.folder) not in told.text
    unknown = served.client.get("/v1/collections/nobody")
    assert unknown.status_code == 404 and "there are: shop" in unknown.json()["detail"]


def test_health_and_the_description_of_the_interface(served):
    assert served.client.get("/livez").text == "ok\n" and served.client.get("/readyz").text == "ready\n"
    described = served.client.get("/openapi.json").json()
    words = described["paths"]["/v1/collections/{collection}/search"]["post"]["requestBody"]["content"]
    known = {each.name for each in Query.__dataclass_fields__.values()} - {"media", "unlike_media"}
    assert known <= set(words["application/json"]["schema"]["properties"]) | {"vector"}
    docs = served.client.get("/docs")
    assert docs.status_code == 200 and "<script" not in docs.text and "min_score" in docs.text
    assert served.client.get("/").status_code == 200
