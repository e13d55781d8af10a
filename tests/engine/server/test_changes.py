"""Changes over HTTP: upsert with files, patch, delete with the number that the caller saw; pages; long jobs."""

import json
import time

import numpy as np
import pytest

import quiver

from .conftest import make_shop, running

SHOP = "/v1/collections/shop"


@pytest.fixture(scope="module")
def shopping(tmp_path_factory, no_keys):
    """A collection that tests may change."""
    folder = tmp_path_factory.mktemp("changes")
    shop = make_shop(folder)
    with running([folder / "shop"], keys=no_keys) as found:
        found.shop, found.folder = shop, folder
        yield found


def upload(client, items, files, **options):
    parts = [("items", (None, json.dumps({"items": items})))]
    return client.put(f"{SHOP}/items", files=[*parts, *(("file", each) for each in files)], **options)


def test_an_item_comes_with_its_file_and_is_found(shopping):
    content = (shopping.folder / "photos" / "blue7.png").read_bytes() + b"\0"
    item = {"id": "new/one", "image": "p.png", "text": "a novelty", "meta": {"price": 3}}
    answer = upload(shopping.client, [item], [("p.png", content)])
    assert answer.status_code == 200, answer.text
    assert answer.json()["added"] == 1 and int(answer.headers["quiver-version"]) == shopping.shop.version
    found = shopping.client.post(f"{SHOP}/search", json={"like": "photos/blue7.png", "k": 1}).json()["hits"][0]
    assert found["id"] == "new/one" and found["meta"]["price"] == 3
    assert shopping.client.get(found["media"]["image"]).content == content
    assert upload(shopping.client, [item], [("p.png", content)]).json()["unchanged"] == 1
    after = upload(shopping.client, [{**item, "meta": {"price": 4}}], [("p.png", content)]).json()
    assert after["added"] == 0 and shopping.shop.get("new/one")[0].meta["price"] == 4
    shopping.shop.delete("new/one")


@pytest.mark.parametrize("path", ["/etc/passwd", "../photos/red0.png", "http://127.0.0.1/x.png", "photos/red0.png"])
def test_an_item_names_uploads_only(shopping, path):
    answer = upload(shopping.client, [{"id": "x", "image": path}], [("p.png", b"x")])
    assert answer.status_code == 422 and "none of the uploaded files" in answer.json()["detail"]
    answer = shopping.client.put(f"{SHOP}/items", json={"items": [{"id": "x", "image": path}]})
    assert answer.status_code == 422


def test_the_name_of_an_upload_is_no_place(shopping):
    name = "../../../../escape.png"
    content = (shopping.folder / "photos" / "red1.png").read_bytes() + b"\1"
    assert upload(shopping.client, [{"id": "x", "image": name}], [(name, content)]).status_code == 200
    (reference,) = (item.media["image"] for item in shopping.shop.get("x"))
    assert reference.startswith(str(shopping.folder / "shop" / "uploads")) and "escape" not in reference
    shopping.shop.delete("x")


@pytest.mark.parametrize(
    ("items", "said"),
    [
        ([], "at least one item"), ([{"text": "x"}], "items[0] needs an id"), ([{"id": 5}], "items[0] needs an id"),
        ([{"id": "x", "price": 3}], "metadata go into meta"), ([{"id": "x", "text": 3}], "items[0].text is a text"),
        ([{"id": "x", "text": "y", "meta": []}], None), ([{"id": "x", "image": "a.exe"}], "needs the ending"),
        ([{"id": "x", "image": "empty.png"}], "is empty"), ([{"id": "x", "image": "noend"}], "needs the ending"),
    ],
)  # fmt: skip
def test_a_bad_item_is_one_line(shopping, items, said):
    files = [("a.exe", b"MZ"), ("empty.png", b""), ("noend", b"x")]
    answer = upload(shopping.client, items, files)
    if said is not None:
        assert answer.status_code == 422 and said in answer.json()["detail"]
    else:
        shopping.shop.delete("x", missing_ok=True)


def test_a_file_that_is_no_picture_is_quarantined_and_the_rest_goes_on(shopping):
    good = (shopping.folder / "photos" / "red2.png").read_bytes() + b"\2"
    items = [{"id": "bad", "image": "bad.png"}, {"id": "good", "image": "good.png"}]
    report = upload(shopping.client, items, [("bad.png", b"no picture"), ("good.png", good)]).json()
    assert (report["added"], report["quarantined"]) == (1, 1)
    (row,) = shopping.client.get(f"{SHOP}/quarantine").json()["quarantine"]
    assert row["id"] == "bad" and str(shopping.folder) not in json.dumps(row) and row["reason"]
    shopping.shop.delete("good")


def test_ready_made_vectors_are_taken_as_they_are(shopping):
    items = [{"id": f"v{n}", "meta": {"price": n}} for n in range(3)]
    body = {"items": items, "space": "mine", "vectors": np.eye(3).tolist()}
    assert shopping.client.put(f"{SHOP}/items", json=body).json()["added"] == 3
    found = shopping.client.post(f"{SHOP}/search", json={"vectors": {"mine": [0, 1, 0]}, "k": 1}).json()
    assert found["hits"][0]["id"] == "v1" and found["hits"][0]["score"] == 1
    for bad in ({"vectors": [[1, 2]]}, {"vectors": [["a"]] * 3}, {"space": None}, {"vectors": [[1], [1, 2], [1]]}):
        assert shopping.client.put(f"{SHOP}/items", json={**body, **bad}).status_code == 422
    shopping.shop.delete(["v0", "v1", "v2"])


def test_metadata_are_set_and_cleared(shopping):
    values = {"photos/red3.png": {"price": 50, "note": "sold"}, "photos/red4.png": {"note": None}}
    answer = shopping.client.patch(f"{SHOP}/items", json={"values": values})
    assert answer.status_code == 200 and shopping.shop.get("photos/red3.png")[0].meta["note"] == "sold"
    for bad in ({"nobody": {"price": 1}}, {"photos/red3.png": 5}, []):
        assert shopping.client.patch(f"{SHOP}/items", json={"values": bad}).status_code == 422


def test_a_deletion_by_condition_needs_the_number_that_the_caller_saw(shopping):
    def delete(**what):
        return shopping.client.request("DELETE", f"{SHOP}/items", json=what)

    where = "colour = 'green'"
    count = shopping.client.post(f"{SHOP}/items/count", json={"where": where}).json()["count"]
    assert delete(where=where).status_code == 422
    refused = delete(where=where, expect=count + 1)
    assert refused.status_code == 409 and shopping.shop.count(where) == count == 8
    for bad in ({}, {"ids": ["a"], "where": where}, {"ids": "photos/red0.png"}, {"where": where, "expect": True}):
        assert delete(**bad).status_code == 422
    assert delete(ids=["nobody"]).status_code == 422 and delete(ids=["nobody"], missing_ok=True).json()["deleted"] == 0
    before = shopping.shop.version
    done = delete(where=where, expect=count)
    assert done.json()["deleted"] == count and shopping.shop.count(where) == 0
    pinned = shopping.client.post(f"{SHOP}/items/count", json={"where": where}, headers={"Quiver-Version": str(before)})
    assert pinned.json()["count"] == count
    version = done.headers["quiver-version"]
    read = shopping.client.post(f"{SHOP}/search", json={"text": "green"}, headers={"Quiver-At-Least": version})
    assert read.status_code == 200 and int(read.headers["quiver-version"]) >= int(version)


def test_pages_have_every_hit_once_and_one_version_whatever_changes(shopping):
    query = {"like": "photos/red0.png", "k": 3}
    true = shopping.shop.search(like="photos/red0.png", k=100).ids
    page = shopping.client.post(f"{SHOP}/pages", json=query)
    found, versions = [], set()
    while True:
        found += [hit["id"] for hit in page.json()["hits"]]
        versions.add(page.headers["quiver-version"])
        if "next" not in page.json():
            break
        if len(found) == 6:
            shopping.client.patch(f"{SHOP}/items", json={"values": {"photos/blue1.png": {"note": "changed"}}})
        page = shopping.client.get(f"{SHOP}/pages/{page.json()['next']}")
        assert page.status_code == 200, page.text
    assert found == list(true) and len(versions) == 1
    for wrong in ("x", "x.y", "é.é", "." * 60_000):
        assert shopping.client.get(f"{SHOP}/pages/{wrong}").status_code in (400, 404, 414)


def wait(client, job, seconds=300):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        told = client.get(f"/v1/jobs/{job}").json()
        if told["state"] in ("done", "failed", "stopped"):
            return told
        time.sleep(0.05)
    raise AssertionError(told)


def test_a_job_adds_items_while_searches_go_on_and_tells_its_progress(shopping):
    content = (shopping.folder / "photos" / "red6.png").read_bytes()
    parts = [
        ("items", (None, json.dumps({"items": [{"id": "j", "image": "j.png"}]}))),
        ("file", ("j.png", content + b"3")),
    ]
    answer = shopping.client.post(f"{SHOP}/jobs", files=parts)
    assert answer.status_code == 202
    job = answer.json()["id"]
    assert answer.headers["location"] == f"/v1/jobs/{job}"
    assert shopping.client.post(f"{SHOP}/search", json={"text": "red"}).status_code == 200
    with shopping.client.stream("GET", f"/v1/jobs/{job}", headers={"Accept": "text/event-stream"}) as events:
        lines = [line for line in events.iter_lines() if line]
    names = [line.removeprefix("event: ") for line in lines if line.startswith("event: ")]
    assert names[0] == "started" and names[-1] == "done"
    told = shopping.client.get(f"/v1/jobs/{job}").json()
    assert told["state"] == "done" and told["report"]["added"] == 1 and "options" not in told
    assert shopping.shop.get("j")
    last = {"Accept": "text/event-stream", "Last-Event-ID": str(len(names) - 1)}
    again = shopping.client.get(f"/v1/jobs/{job}", headers=last)
    assert [line for line in again.text.splitlines() if line.startswith("id: ")] == [f"id: {len(names)}"]


def test_jobs_build_and_check_indexes_and_a_bad_one_fails_in_one_line(shopping):
    for body in ({"kind": "index", "spec": "faiss factory=Flat"}, {"kind": "rm"}, {"kind": "index", "k": True}, [],
                 {"kind": "embed", "encoder": "x"}, {"kind": "index", "updates": "x"}):  # fmt: skip
        assert shopping.client.post(f"{SHOP}/jobs", json=body).status_code == 422
    job = shopping.client.post(f"{SHOP}/jobs", json={"kind": "index", "spaces": ["nowhere"]}).json()["id"]
    told = wait(shopping.client, job)
    assert told["state"] == "failed" and "nowhere" in told["detail"] and str(shopping.folder) not in told["detail"]
    assert shopping.client.get("/v1/jobs/none").status_code == 404
    assert job in {each["id"] for each in shopping.client.get("/v1/jobs").json()["jobs"]}


def test_a_job_that_was_cut_short_goes_on_when_the_service_starts_again(tmp_path, no_keys):
    make_shop(tmp_path)
    held = {"id": "ab12", "collection": "shop", "kind": "embed", "options": {}, "key": "", "state": "running",
            "made": 1.0, "events": [{"event": "started"}, {"event": "progress", "done": 3, "total": 9}]}  # fmt: skip
    (tmp_path / "shop" / "jobs").mkdir()
    (tmp_path / "shop" / "jobs" / "ab12.json").write_text(json.dumps(held))
    (tmp_path / "shop" / "jobs" / "damaged.json").write_text("{")
    with running([tmp_path / "shop"], keys=no_keys) as found:
        assert wait(found.client, "ab12")["state"] == "done"
    assert json.loads((tmp_path / "shop" / "jobs" / "ab12.json").read_text())["state"] == "done"


def test_quiver_open_sees_what_clients_changed(shopping):
    assert quiver.open(shopping.folder / "shop").count() == shopping.shop.count()
