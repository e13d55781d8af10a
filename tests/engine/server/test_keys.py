"""Keys: scopes, collections, conditions, expiry, rates; and what exists for whom."""

import json
import time

import pytest

from quiver.engine.server.keys import Keys
from quiver.engine.server.media_tokens import Tokens
from quiver.errors import BadSpec

from .conftest import make_shop, running

SHOP = "/v1/collections/shop"


@pytest.fixture(scope="module")
def locked(tmp_path_factory):
    """Two collections served with keys, by name of what each key may do."""
    folder = tmp_path_factory.mktemp("locked")
    make_shop(folder)
    (folder / "other").symlink_to(folder / "shop")
    keys = Keys(folder / "keys")
    found = {
        "search": keys.add("search"),
        "write": keys.add("write", scopes=["write"]),
        "admin": keys.add("admin", scopes=["admin"]),
        "tenant": keys.add("tenant", scopes=["write"], where="tenant = 'a'"),
        "shop": keys.add("shop", collections=["sh*"]),
        "old": keys.add("old", days=1e-9),
    }
    with running([folder / "shop", folder / "other"], keys=keys) as server:
        server.headers = {name: {"Authorization": f"Bearer {key}"} for name, key in found.items()}
        server.made, server.keys = found, keys
        yield server


def search(locked, who, query, path=f"{SHOP}/search"):
    return locked.client.post(path, json=query, headers=locked.headers[who] if who else {})


def test_once_a_key_exists_every_request_needs_one(locked):
    for path in ("/v1/collections", SHOP, f"{SHOP}/items", "/metrics", "/v1/jobs", "/mcp"):
        answer = locked.client.get(path)
        assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    assert search(locked, None, {"text": "red"}).status_code == 401
    for wrong in ("Bearer x", "Bearer", "Basic eDp5", f"Bearer {locked.made['search'][:-1]}", "Bearer " + "q" * 9_999):
        assert locked.client.get("/v1/collections", headers={"Authorization": wrong}).status_code == 401
    assert search(locked, "old", {"text": "red"}).status_code == 401
    for path in ("/", "/livez", "/readyz", "/docs", "/openapi.json"):
        assert locked.client.get(path).status_code == 200


def test_a_key_is_taken_from_either_header(locked):
    assert search(locked, "search", {"text": "red"}).status_code == 200
    answer = locked.client.get("/v1/collections", headers={"api-key": locked.made["search"]})
    assert {each["name"] for each in answer.json()["collections"]} == {"shop", "other"}


def test_a_scope_includes_those_before_it(locked):
    delete = {"ids": ["nobody"], "missing_ok": True}
    for who, status in (("search", 403), ("write", 200), ("admin", 200)):
        answer = locked.client.request("DELETE", f"{SHOP}/items", json=delete, headers=locked.headers[who])
        assert answer.status_code == status
        index = locked.client.post(f"{SHOP}/jobs", json={"kind": "x"}, headers=locked.headers[who])
        assert index.status_code == (422 if who == "admin" else 403)
        metrics = locked.client.get("/metrics", headers=locked.headers[who])
        assert metrics.status_code == (200 if who == "admin" else 403)


def test_a_collection_that_a_key_does_not_reach_does_not_exist_for_it(locked):
    assert search(locked, "shop", {"text": "red"}).status_code == 200
    missing = search(locked, "shop", {"text": "red"}, "/v1/collections/other/search")
    assert missing.status_code == 404 and missing.json()["detail"].endswith("there are: shop")
    listed = locked.client.get("/v1/collections", headers=locked.headers["shop"]).json()["collections"]
    assert [each["name"] for each in listed] == ["shop"]


def test_only_items_that_fulfil_its_condition_exist_for_a_key(locked):
    mine, theirs = "photos/red0.png", "photos/red1.png"
    for query in (
        {"text": "red", "k": 24}, {"like": mine, "k": 24}, {"text": "red", "where": "tenant = 'b' OR 1 = 1", "k": 24},
        {"text": "thing", "candidates": [mine, theirs]}, {"like": mine, "group_by": "tenant", "k": 24},
    ):  # fmt: skip
        hits = search(locked, "tenant", query).json()["hits"]
        assert hits and {hit["meta"]["tenant"] for hit in hits} == {"a"}
    for where in ("1=1) OR (1=1", "tenant = 'b' --", "tenant = 'b' /*"):
        assert search(locked, "tenant", {"text": "red", "where": where}).status_code == 422
    headers = locked.headers["tenant"]
    assert locked.client.get(f"{SHOP}/items/photos%2Fred0.png", headers=headers).status_code == 200
    for path in ("", "/media/image", "/thumbnail"):
        assert locked.client.get(f"{SHOP}/items/photos%2Fred1.png{path}", headers=headers).status_code == 404
    counted = locked.client.post(f"{SHOP}/items/count", json={}, headers=headers).json()
    told = locked.client.get(SHOP, headers=headers).json()
    assert counted["count"] == told["items"] == 12 and told["media"] == {}
    facets = locked.client.get(f"{SHOP}/facets?column=tenant&where=1%3D1", headers=headers).json()
    assert facets["items"] == 12 and [each["value"] for each in facets["values"]] == ["a"]
    first = locked.client.get(f"{SHOP}/items?limit=24", headers=headers).json()["items"]
    assert {each["meta"]["tenant"] for each in first} == {"a"}
    got = locked.client.post(f"{SHOP}/items/get", json={"ids": [mine, theirs]}, headers=headers).json()["items"]
    assert [each["id"] for each in got] == [mine]
    assert locked.client.get(f"{SHOP}/quarantine", headers=headers).status_code == 403
    assert {each["items"] for each in locked.client.get(f"{SHOP}/versions", headers=headers).json()["versions"]} == {
        None
    }


def test_an_item_that_does_not_exist_for_a_key_is_no_example_for_it(locked):
    theirs, unknown = "photos/red1.png", "photos/nobody.png"
    for path in ("search", "pages"):
        said = [search(locked, "tenant", {"like": id}, f"{SHOP}/{path}").json() for id in (theirs, unknown)]
        assert said[0]["detail"].replace(theirs, "") == said[1]["detail"].replace(unknown, "")
    assert search(locked, "tenant", {"like": theirs, "explain": "plan"}).status_code == 422
    assert search(locked, "tenant", {"like": "photos/red0.png", "unlike": theirs}).status_code == 422
    batch = search(locked, "tenant", {"queries": [{"like": theirs}]}, f"{SHOP}/search/batch")
    assert batch.status_code == 422 or batch.json()["answers"][0]["status"] == 422


def test_near_duplicates_stored_ids_and_learning_keep_to_the_condition_of_a_key(locked):
    found = search(locked, "tenant", {"threshold": 0.1, "where": "1 = 1"}, f"{SHOP}/duplicates").json()
    assert found["items"] == 12
    mine, theirs = "photos/red0.png", "photos/red1.png"
    stored = search(locked, "tenant", {"ids": [theirs, mine], "where": "1 = 1"}, f"{SHOP}/items/stored").json()
    assert stored["ids"] == [mine]
    key = locked.keys.add("bound", scopes=["admin"], where="tenant IS NOT NULL")
    bound = {"Authorization": f"Bearer {key}"}
    for kind in ("threshold", "check_vectors", "embed", "index", "check", "catch_up"):
        answer = locked.client.post(f"{SHOP}/jobs", json={"kind": kind}, headers=bound)
        assert answer.status_code == 403 and "a job works on all" in answer.json()["detail"]
        assert search(locked, "write", {"kind": kind}, f"{SHOP}/jobs").status_code == 403
    assert locked.client.get(SHOP, headers=bound).json()["thresholds"] == []


def test_no_answer_and_no_plan_counts_items_that_do_not_exist_for_a_key(locked):
    """The collection has 24 items, of which 12 exist for the tenant, and 4 of these are red."""
    for query in ({"like": "photos/red0.png"}, {"text": "thing"}, {"like": "photos/red0.png", "text": "thing"}):
        for explain in ("plan", "analyze"):
            told = search(locked, "tenant", {**query, "k": 3, "explain": explain}).json()
            assert told["plan"]["items"] == 12 and told.get("items", 12) == 12 and told["plan"]["refused"] == []
            assert "24" not in json.dumps(told["plan"])
            assert [set(each) for each in told["plan"]["stages"]] == [{"stage", "label", "reason"}] * len(
                told["plan"]["stages"]
            )
        whole = search(locked, "search", {**query, "k": 3, "explain": "analyze"}).json()
        assert whole["items"] == whole["plan"]["items"] == 24
        assert [each["label"] for each in told["plan"]["stages"] if each["stage"] != "filter"] == [
            each["label"] for each in whole["plan"]["stages"]
        ]
    few = {"like": "photos/red0.png", "where": "colour = 'red'"}
    assert search(locked, "tenant", few).json()["items"] == 4
    nothing = search(locked, "tenant", {"like": "photos/red0.png", "where": "tenant = 'b'"}).json()
    assert nothing["hits"] == [] and nothing["reason"] == "no item matches the condition" and nothing["items"] == 0
    batch = search(locked, "tenant", {"queries": [few]}, f"{SHOP}/search/batch").json()["answers"]
    page = search(locked, "tenant", few, f"{SHOP}/pages").json()
    assert batch[0]["items"] == page["items"] == 4
    for column in locked.client.get(SHOP, headers=locked.headers["tenant"]).json()["columns"]:
        assert column["behind"] == column["promises"] == {}


def test_a_bad_example_in_a_batch_has_its_problem_in_its_place(locked):
    queries = [{"like": "photos/red1.png"}, {"like": "photos/red0.png", "k": 1}, {"like": "photos/nobody.png"}]
    for who in ("tenant", "search"):
        first, second, third = search(locked, who, {"queries": queries}, f"{SHOP}/search/batch").json()["answers"]
        assert len(second["hits"]) == 1 and third["status"] == 422
        assert ("hits" in first) == (who == "search")


def test_examples_are_looked_up_in_the_version_that_is_searched(tmp_path):
    shop = make_shop(tmp_path)
    keys = Keys(tmp_path / "keys")
    key = keys.add("a", where="tenant = 'a'")
    head = {"Authorization": f"Bearer {key}"}
    before = shop.version
    shop.update_meta({"photos/red1.png": {"tenant": "a"}, "photos/red0.png": {"tenant": "b"}})
    with running([tmp_path / "shop"], keys=keys) as server:
        for id, then, now in (("photos/red0.png", 200, 422), ("photos/red1.png", 422, 200)):
            old = {**head, "Quiver-Version": str(before)}
            for path in ("search", "pages"):
                asked = [server.client.post(f"{SHOP}/{path}", json={"like": id}, headers=each) for each in (old, head)]
                assert [each.status_code for each in asked] == [then, now]


@pytest.mark.parametrize("meta", [{"price": "much"}, {"price": 1.5}, {"price": True}, {"price": 2**70}, {"new": 1}])
def test_a_key_with_a_condition_changes_no_column_of_others(locked, meta):
    """A text in a column of numbers makes all its numbers texts, also those of other tenants."""
    before = locked.client.get(f"{SHOP}/columns", headers=locked.headers["search"]).json()
    body = {"values": {"photos/red0.png": meta}}
    answer = locked.client.patch(f"{SHOP}/items", json=body, headers=locked.headers["tenant"])
    assert answer.status_code == 403 and "condition" in answer.json()["detail"]
    assert locked.client.get(f"{SHOP}/columns", headers=locked.headers["search"]).json() == before


def test_jobs_and_metrics_do_not_exist_for_a_key_with_a_condition(locked):
    """Their reports count and name all items."""
    job = locked.client.post(f"{SHOP}/jobs", json={"kind": "check"}, headers=locked.headers["admin"]).json()["id"]
    assert locked.client.get(f"/v1/jobs/{job}", headers=locked.headers["write"]).is_success
    assert locked.client.get("/v1/jobs", headers=locked.headers["tenant"]).json() == {"jobs": []}
    for method in ("GET", "DELETE"):
        answer = locked.client.request(method, f"/v1/jobs/{job}", headers=locked.headers["tenant"])
        assert answer.status_code == 404
    for limits in ({"where": "tenant = 'a'"}, {"collections": ["shop"]}):
        head = {"Authorization": f"Bearer {locked.keys.add('narrow', scopes=['admin'], **limits)}"}
        assert locked.client.get("/metrics", headers=head).status_code == 403
    assert locked.client.get("/metrics", headers=locked.headers["admin"]).status_code == 200


@pytest.mark.parametrize(
    "job",
    [
        {"kind": "fit", "queries": [{"n_results": 3}], "answers": [["a"]]}, {"kind": "measure", "queries": []},
        {"kind": "fit", "queries": [{"text": "a"}], "answers": ["a"]}, {"kind": "threshold", "rate": "much"},
        {"kind": "fit", "queries": [{"text": "a"}], "answers": [["a"]], "scorer": "../x"}, {"kind": "forget"},
        {"kind": "threshold", "queries": [{"image": "/etc/passwd"}], "answers": [["a"]]},
        {"kind": "check_vectors", "n": 1}, {"kind": "measure"}, {"kind": "fit", "queries": [{"text": "a"}]},
    ],
)  # fmt: skip
def test_a_bad_job_is_refused_before_it_is_taken(locked, job):
    answer = locked.client.post(f"{SHOP}/jobs", json=job, headers=locked.headers["admin"])
    assert answer.status_code == 422 and answer.json()["detail"]


def test_a_key_with_a_condition_changes_its_own_items_only(locked):
    headers = locked.headers["tenant"]

    def patch(id, values):
        return locked.client.patch(f"{SHOP}/items", json={"values": {id: values}}, headers=headers)

    assert patch("photos/green0.png", {"price": 100}).json()["changed"] == 1
    assert patch("photos/green1.png", {"price": 100}).status_code == 422
    assert patch("photos/green0.png", {"tenant": "b"}).status_code == 403

    def delete(**what):
        return locked.client.request("DELETE", f"{SHOP}/items", json=what, headers=headers)

    assert delete(ids=["photos/green1.png"]).status_code == 422
    assert delete(ids=["photos/green1.png"], missing_ok=True).json()["deleted"] == 0
    assert delete(where="1 = 1", expect=12).status_code == 422
    assert delete(where="colour = 'green'", expect=8).status_code == 409
    assert delete(where="colour = 'green'", expect=4).json()["deleted"] == 4
    items = {"items": [{"id": "new", "text": "x", "meta": {"tenant": "a"}}]}
    assert locked.client.put(f"{SHOP}/items", json=items, headers=headers).status_code == 403


def test_links_to_media_work_without_a_header_for_a_while_and_for_nothing_else(locked, monkeypatch):
    link = search(locked, "tenant", {"like": "photos/red2.png", "k": 1}).json()["hits"][0]["media"]["image"]
    assert locked.client.get(link).status_code == 200
    token = link.partition("?token=")[2]
    assert locked.client.get(f"{SHOP}/items/photos%2Fred1.png/media/image?token={token}").status_code == 404
    for method, path in (
        ("GET", SHOP),
        ("GET", f"{SHOP}/items"),
        ("POST", f"{SHOP}/search"),
        ("DELETE", f"{SHOP}/items"),
    ):
        assert locked.client.request(method, f"{path}?token={token}").status_code == 401
    assert locked.client.get(link[:-1] + ("0" if link[-1] != "0" else "1")).status_code == 401
    later = time.time() + 901
    monkeypatch.setattr("quiver.engine.server.media_tokens.time.time", lambda: later)
    assert locked.client.get(link).status_code == 401


def test_a_token_of_another_process_is_none():
    path = "/v1/collections/shop/items/a/media/image"
    mine, theirs = Tokens(), Tokens()
    assert mine.key_of(mine.make("0" * 8), path) == "0" * 8 and theirs.key_of(mine.make("0" * 8), path) is None


def test_a_page_token_belongs_to_its_key(locked):
    token = search(locked, "search", {"text": "thing", "k": 2}, f"{SHOP}/pages").json()["next"]
    assert locked.client.get(f"{SHOP}/pages/{token}", headers=locked.headers["search"]).status_code == 200
    for who in ("write", "tenant"):
        assert locked.client.get(f"{SHOP}/pages/{token}", headers=locked.headers[who]).status_code == 404


def test_a_key_that_is_revoked_is_refused_and_revoking_the_last_one_opens_nothing(locked):
    made = locked.keys.add("short")
    headers = {"api-key": made}
    assert locked.client.get("/v1/collections", headers=headers).status_code == 200
    locked.keys.revoke(made.split("_")[1])
    assert locked.client.get("/v1/collections", headers=headers).status_code == 401
    kept = {path: path.read_bytes() for path in locked.keys.folder.iterdir()}
    for path in kept:
        path.unlink()
    assert locked.client.get("/v1/collections").status_code == 401
    for path, content in kept.items():
        path.write_bytes(content)


def test_another_process_sees_a_key_at_once_when_it_is_made_and_when_it_ends(tmp_path):
    ours, theirs = Keys(tmp_path / "keys"), Keys(tmp_path / "keys")
    assert not theirs.all()
    for name in ("ann", "bob", "eve"):
        key = ours.add(name)
        assert theirs.find(key) is not None and len(theirs.all()) == len(ours.all())
        if name == "bob":
            ours.revoke(key.split("_")[1])
            assert theirs.find(key) is None


def test_a_rate_is_kept(tmp_path):
    keys = Keys(tmp_path / "keys")
    make_shop(tmp_path)
    headers = {"api-key": keys.add("slow", rate=0.001)}
    with running([tmp_path / "shop"], keys=keys) as found:
        assert found.client.get("/v1/collections", headers=headers).status_code == 200
        refused = found.client.get("/v1/collections", headers=headers)
        assert refused.status_code == 429 and int(refused.headers["retry-after"]) > 100


@pytest.mark.parametrize(
    "bad",
    [{"scopes": ["root"]}, {"scopes": []}, {"days": 0}, {"rate": -1}, {"where": "a = 1) OR (1"}, {"where": "a = :x"}],
)
def test_a_key_that_cannot_be_is_refused(tmp_path, bad):
    with pytest.raises(BadSpec):
        Keys(tmp_path).add("x", **bad)
    assert not Keys(tmp_path).all()


def test_a_damaged_key_is_no_key(tmp_path):
    keys = Keys(tmp_path)
    made = keys.add("x")
    path = next(tmp_path.glob("*.json"))
    held = json.loads(path.read_text())
    for damage in ("", "{", "[]", json.dumps({**held, "scopes": ["root"]}), json.dumps({**held, "sha256": ""})):
        path.write_text(damage)
        assert Keys(tmp_path).find(made) is None


def test_the_command_line_makes_lists_and_revokes_keys(tmp_path, monkeypatch):
    from typer.testing import CliRunner

    from quiver.cli import app

    monkeypatch.setenv("QUIVER_CONFIG", str(tmp_path))
    run = CliRunner().invoke
    made = run(app, ["key", "add", "ann", "--scope", "write", "--collection", "sh*", "--where", "a = 1"]).stdout.strip()
    assert Keys().find(made).name == "ann"
    listed = run(app, ["key", "list"]).stdout
    id = made.split("_")[1]
    assert id in listed and "sh*" in listed and made not in listed
    assert "revoked" in run(app, ["key", "revoke", id]).stdout and Keys().find(made) is None
    assert isinstance(run(app, ["key", "revoke", id]).exception, BadSpec)


def test_writes_leave_a_line_that_names_the_key_and_no_content(locked, caplog):
    with caplog.at_level("INFO", "quiver.server.audit"):
        values = {"values": {"photos/blue0.png": {"name": "a secret word"}}}
        locked.client.patch(f"{SHOP}/items", json=values, headers=locked.headers["write"])
    (line,) = [json.loads(each.message) for each in caplog.records if each.name == "quiver.server.audit"]
    assert line == {"audit": "patch", "collection": "shop", "key": locked.made["write"].split("_")[1], "items": 1}
