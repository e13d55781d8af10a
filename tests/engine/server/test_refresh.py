"""The service sees what other processes change: versions at once in a folder, and by looking in an object store."""

import subprocess
import sys
import time

import numpy as np
import pytest

import quiver
from quiver.engine.server.settings import Settings

from .conftest import make_shop, running

ADD = """
import sys, numpy as np, quiver
shop = quiver.open(sys.argv[1], catch_up=False)
shop.add_vectors(np.ones((1, 16), np.float32), space="mine", ids=[sys.argv[2]], progress=False)
"""
INDEX = """
import sys, quiver
quiver.open(sys.argv[1], catch_up=False).index("faiss factory=IVF8,Flat", recall=0.9)
"""


def elsewhere(code, *arguments):
    """Run a program in another process."""
    subprocess.run([sys.executable, "-c", code, *map(str, arguments)], check=True, timeout=120)


@pytest.fixture
def place(tmp_path):
    vectors = np.random.default_rng(0).normal(size=(600, 16)).astype("float32")
    shop = quiver.open(tmp_path / "shop", catch_up=False)
    shop.add_vectors(vectors, space="mine", ids=[str(n) for n in range(600)], progress=False)
    return tmp_path / "shop"


def nearest(client, **headers):
    body = {"vector": [1.0] * 16, "k": 1, "explain": "analyze"}
    answer = client.post("/v1/collections/shop/search", json=body, headers=headers)
    assert answer.status_code == 200, answer.text
    return answer.json()


def until(true):
    """Wait until something is true, at most a minute."""
    end = time.monotonic() + 60
    while not (found := true()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def test_a_version_that_another_process_makes_in_a_folder_is_seen_by_the_next_search(place, no_keys):
    with running([place], Settings(port=0, refresh=3_600), keys=no_keys) as found:
        assert nearest(found.client)["hits"][0]["id"] != "new"
        elsewhere(ADD, place, "new")
        told = nearest(found.client)
        assert told["hits"][0]["id"] == "new" and told["items"] == 601


def test_an_index_that_another_process_builds_is_used(place, no_keys):
    body = {"vector": [1.0] * 16, "k": 1, "index": "faiss"}
    with running([place], Settings(port=0, refresh=0.05), keys=no_keys) as found:
        path = "/v1/collections/shop/search"
        assert found.client.post(path, json=body).status_code == 422
        elsewhere(INDEX, place)
        assert until(lambda: found.client.post(path, json=body).status_code == 200)
        assert found.client.get("/v1/collections/shop").json()["columns"][0]["promises"]["faiss"]["recall"] == 0.9


def test_in_an_object_store_no_search_looks_and_the_service_does(place, no_keys):
    with running([f"file://{place}"], Settings(port=0, refresh=3_600), keys=no_keys) as found:
        (served,) = found.service.catalogue.all()
        assert not served.collection.looks
        version = nearest(found.client)["version"]
        elsewhere(ADD, place, "new")
        assert nearest(found.client)["version"] == version
        told = nearest(found.client, **{"Quiver-At-Least": str(version + 1)})
        assert told["version"] > version and told["hits"][0]["id"] == "new"
        assert nearest(found.client, **{"Quiver-Version": str(version)})["items"] == 600


def test_the_service_looks_every_so_often(place, no_keys):
    with running([f"file://{place}"], Settings(port=0, refresh=0.05), keys=no_keys) as found:
        assert nearest(found.client)["items"] == 600
        elsewhere(ADD, place, "new")
        assert until(lambda: nearest(found.client)["items"] == 601)


def test_own_writes_are_seen_at_once_in_an_object_store(place, no_keys):
    with running([f"file://{place}"], Settings(port=0, refresh=3_600), keys=no_keys) as found:
        items = {"items": [{"id": "own", "meta": {"price": 3}}], "space": "mine", "vectors": [[1.0] * 16]}
        done = found.client.put("/v1/collections/shop/items", json=items)
        assert done.status_code == 200, done.text
        told = nearest(found.client)
        assert told["hits"][0]["id"] == "own" and str(told["version"]) == done.headers["quiver-version"]
        patched = found.client.patch("/v1/collections/shop/items", json={"values": {"own": {"price": 4}}})
        assert patched.json() == {"changed": 1} and nearest(found.client)["hits"][0]["meta"]["price"] == 4
        gone = found.client.request("DELETE", "/v1/collections/shop/items", json={"ids": ["own"]})
        assert gone.json() == {"deleted": 1} and nearest(found.client)["items"] == 600


def test_a_collection_that_cannot_be_read_is_not_ready_and_the_service_goes_on(tmp_path, no_keys):
    make_shop(tmp_path)
    with running([tmp_path / "shop"], Settings(port=0, refresh=0.05), keys=no_keys) as found:
        assert found.client.get("/readyz").status_code == 200
        away = tmp_path / "shop" / "items.lance" / "_versions"
        away.rename(away.with_name("away"))
        answer = found.client.get("/readyz")
        assert answer.status_code == 503 and "shop cannot be read now" in answer.json()["detail"]
        assert str(tmp_path) not in answer.text
        away.with_name("away").rename(away)
        assert found.client.get("/readyz").status_code == 200
