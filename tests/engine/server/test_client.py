"""A program moves from a folder to a server by one line: every call gives the same results, and the same errors."""

import inspect
import socket

import numpy as np
import pytest

import quiver
from quiver.arguments import UnknownKeyword
from quiver.engine.client.remote import THERE, RemoteCollection
from quiver.engine.server.settings import Limits, Settings
from quiver.errors import BadCollection, BadSpec, MissingEncoder, NoRoute, QuiverError, Unexpected
from quiver.types import Item, Query

from .conftest import make_shop, running


@pytest.fixture(scope="module")
def both(tmp_path_factory, no_keys):
    """The same collection twice: opened from its folder, and connected to over HTTP."""
    one, other = (tmp_path_factory.mktemp(name) for name in ("folder", "server"))
    folder = make_shop(one)
    make_shop(other)
    with running([other / "shop"], keys=no_keys) as found, quiver.connect(f"{found.address}/shop") as remote:
        yield folder, remote, one, found


def plain(hits):
    return [
        (hit.id, hit.score, dict(hit.meta), {stage: dict(each) for stage, each in hit.trace.items()}) for hit in hits
    ]


def shape(plan):
    """A plan without times, and with the names of files as they are on every machine."""
    stages = [(each.label, each.reason) for each in plan.stages]
    return stages, [each.what for each in plan.refused], plan.notes, plan.items


QUERIES = [
    {"like": "photos/red0.png", "k": 5},
    {"like": ["photos/red0.png", "photos/green0.png"], "unlike": "photos/blue1.png", "weights": {"like": 2}, "k": 3},
    {"text": "green thing", "where": "price > ? AND colour IN ('green', 'red')", "params": [3], "k": 4},
    {"like": "photos/red0.png", "where": "colour = :c", "params": {"c": "blue"}, "offset": 2, "min_score": 0.1},
    {"like": "photos/blue1.png", "group_by": "colour", "group_size": 2, "k": 3},
    {"like": "photos/blue1.png", "order_by": "price desc", "deduplicate": 0.99, "diversity": 0.4, "k": 3},
    {
        "like": "photos/blue1.png",
        "exclude": ["photos/blue2.png"],
        "candidates": ["photos/blue2.png", "photos/red0.png"],
    },
]


@pytest.mark.parametrize("words", QUERIES)
def test_a_search_gives_the_same_result(both, words):
    folder, remote, *_ = both
    one, other = folder.search(**words), remote.search(**words)
    assert plain(one) == plain(other) and len(other) == len(one) and one.partial == other.partial
    assert one.ids == other.ids and other[0].id == one[0].id
    assert shape(one.plan) == shape(other.plan)
    assert [each.label for each in one.actual] == [each.label for each in other.actual] or len(other.stages) == len(
        one.stages
    )
    left, right = one.to_arrow(), other.to_arrow()
    assert left.drop_columns(["image"]).equals(right.drop_columns(["image"]))
    assert "among 24 items" in repr(other)


def test_files_arrays_and_bytes_are_sent(both):
    folder, remote, place, _ = both
    from PIL import Image

    path = place / "photos" / "green3.png"
    for given in (str(path), path.read_bytes(), np.asarray(Image.open(path)), [str(path), str(path)]):
        one, other = folder.search(image=given, k=4), remote.search(image=given, k=4)
        assert one.ids == other.ids and np.allclose([h.score for h in one], [h.score for h in other], atol=1e-6)
    with pytest.raises(QuiverError, match=r"nowhere\.png"):
        remote.search(image="nowhere.png")


def test_media_of_hits_are_addresses_with_the_bytes_of_the_files(both):
    folder, remote, _, server = both
    hit = remote.search(like="photos/red1.png", k=1)[0]
    path = folder.get(hit.id)[0].media["image"]
    assert hit.uri == hit.media["image"] and hit.uri.startswith(server.address)
    with open(path, "rb") as file:
        assert server.client.get(hit.uri).content == file.read()


def test_many_queries_give_the_same_results_and_errors(both):
    folder, remote, *_ = both
    queries = [Query(like="photos/red0.png", k=2), Query({"text": "blue"}, k=1), Query(like="nobody")]
    one, other = folder.search_each(queries), remote.search_each(queries)
    assert [plain(each) for each in one[:2]] == [plain(each) for each in other[:2]]
    assert type(one[2]) is type(other[2]) and str(one[2]) == str(other[2])
    good = remote.search_batch(queries[:2])
    assert good.ids == folder.search_batch(queries[:2]).ids
    assert good.to_list()[0]["query"] == 0
    with pytest.raises(BadSpec, match=r"queries\[2\]: no item has the id 'nobody'"):
        remote.search_batch(queries)


def test_pages_plans_counts_and_items_are_the_same(both):
    folder, remote, *_ = both
    words = {"like": "photos/red0.png", "k": 5}
    assert [each.ids for each in remote.pages(**words)] == [each.ids for each in folder.pages(**words)]
    assert shape(remote.explain(**words)) == shape(folder.explain(**words))
    assert str(remote.explain(**words)).splitlines()[0] == str(folder.explain(**words)).splitlines()[0]
    assert remote.count() == len(remote) == len(folder) == 24
    assert remote.count("price < :n", {"n": 5}) == folder.count("price < :n", {"n": 5})
    ids = ["photos/red1.png", "nobody", "photos/red0.png"]
    assert [(each.id, each.meta) for each in remote.get(ids)] == [(each.id, each.meta) for each in folder.get(ids)]
    assert [each.id for each in remote.head(3, "price > 9")] == [each.id for each in folder.head(3, "price > 9")]
    one, other = (
        [row for batch in each.scan(["id", "price"]) for row in batch.to_pylist()] for each in (folder, remote)
    )
    assert one == other


@pytest.mark.parametrize("column", ["colour", "price", "text"])
def test_facets_are_the_same(both, column):
    folder, remote, *_ = both
    for where, params in ((None, ()), ("price < :n", {"n": 7})):
        assert folder.facets(column, where, params, limit=3) == remote.facets(column, where, params, limit=3)


def test_descriptions_are_the_same(both):
    folder, remote, *_ = both
    one, other = folder.info(), remote.info()
    for name in ("items", "media", "windows", "columns", "encoders", "scorers", "meta", "quarantine"):
        assert getattr(one, name) == getattr(other, name), name
    assert [each.items for each in remote.versions()] == [each.items for each in folder.versions()]
    assert remote.version == folder.version


@pytest.mark.parametrize(
    "call",
    [
        lambda c: c.search(like="photos/red0.pn"), lambda c: c.search(), lambda c: c.search(text="x", k=0),
        lambda c: c.search(text="x", where="prize < 3"), lambda c: c.search(like="photos/red0.png", target="audio"),
        lambda c: c.search(colour="red"), lambda c: c.count("price <"), lambda c: c.delete(where="1 = 1"),
        lambda c: c.delete(), lambda c: c.delete("nobody"), lambda c: c.delete(where="price < 5", expect=4),
        lambda c: c.update_meta({"nobody": {"a": 1}}), lambda c: c.update_meta([]), lambda c: c.head(0),
        lambda c: c.scan(["nothing"]) and list(c.scan(["nothing"])), lambda c: c.get("nobody", missing_ok=False),
        lambda c: c.checkout(999),
    ],
)  # fmt: skip
def test_a_bad_call_raises_the_same_error(both, call):
    folder, remote, *_ = both
    errors = []
    for each in (folder, remote):
        with pytest.raises(QuiverError) as caught:
            call(each)
        errors.append(caught.value)
    assert isinstance(errors[1], type(errors[0])) or isinstance(errors[0], type(errors[1]))
    assert str(errors[1]).split(";")[0].split(":")[0][:20] == str(errors[0]).split(";")[0].split(":")[0][:20]
    if isinstance(errors[0], NoRoute):
        assert (errors[0].origin, errors[0].target) == (errors[1].origin, errors[1].target) == ("like", "audio")


def test_changes_have_the_same_effect(both):
    folder, remote, place, _ = both
    picture = str(place / "photos" / "red4.png")
    for each in (folder, remote):
        before = each.version
        assert each.update_meta({"photos/red0.png": {"note": "sold", "price": 99}}) == 1
        assert each.get("photos/red0.png")[0].meta["note"] == "sold"
        assert each.add({"id": "new", "image": picture, "price": 7}, Item("text", {"text": "words"})).added == 2
        assert each.get("new")[0].meta["price"] == 7
        assert each.search(like="new", k=1).ids == ("photos/red4.png",)
        with pytest.raises(Unexpected):
            each.delete(where="colour = 'green'", expect=7)
        assert each.delete(["new", "text"]) == 2
        report = each.add_vectors(
            np.eye(3, dtype="float32"), space="own", ids=["a", "b", "c"], meta={"price": [1, 2, 3]}
        )
        assert report.added == 3 and each.search(vectors={"own": [0, 1, 0]}, k=1).ids == ("b",)
        assert each.delete(where="id IN ('a', 'b', 'c')") == 3
        past = each.checkout(before)
        assert past.get("photos/red0.png")[0].meta.get("note") is None


def test_what_a_server_does_not_take_from_clients_is_one_line(both):
    _, remote, place, _ = both
    with pytest.raises(MissingEncoder, match="takes no encoder from a client"):
        remote.add({"id": "x", "text": "y"}, encoder="classic")
    with pytest.raises(BadSpec, match="a folder is added where the collection is"):
        remote.add(str(place / "photos"))
    with pytest.raises(BadSpec, match="use works only where the collection is, since it takes objects of a program"):
        remote.use()
    assert not hasattr(remote, "nothing_of_the_kind")


def test_addresses_and_keys(both):
    *_, server = both
    with quiver.connect(server.address) as one, quiver.connect(server.address, "shop") as other:
        assert one.count() == other.count()
    with pytest.raises(BadCollection, match="there are: shop"):
        quiver.connect(f"{server.address}/other")
    with pytest.raises(BadCollection, match="is `quiver serve` running there"):
        quiver.connect("http://127.0.0.1:9/shop")
    for wrong in ("shop", "ftp://x", "http://"):
        with pytest.raises(BadSpec, match="an address is http"):
            quiver.connect(wrong)


def test_a_connection_that_the_server_closed_is_opened_again(both):
    _, remote, *_ = both
    assert remote.count() >= 24
    remote._transport._held.line.sock.shutdown(socket.SHUT_RDWR)
    assert remote.count() >= 24


def public(kind):
    """The names that a program may use of a class, and of the objects of it."""
    return {name for name in dir(kind) if not name.startswith("_")} | {"uri"}


def test_every_method_is_there_or_named_as_one_that_works_elsewhere():
    folder, remote = public(quiver.Collection), public(RemoteCollection)
    assert set(THERE) == folder - remote
    assert remote - folder == set()
    assert all(reason and reason[0].islower() and not reason.endswith(".") for reason in THERE.values())


def test_a_method_takes_the_same_arguments_or_fewer():
    for name in public(quiver.Collection) - set(THERE) - {"uri"}:
        one, other = getattr(quiver.Collection, name), getattr(RemoteCollection, name)
        if isinstance(one, property):
            assert isinstance(other, property), name
            continue
        left, right = (inspect.signature(each).parameters for each in (one, other))
        extra = {each.name for each in right.values() if each.kind not in (each.VAR_KEYWORD, each.VAR_POSITIONAL)}
        assert extra <= set(left), name


@pytest.mark.parametrize("name", sorted(THERE))
def test_what_works_elsewhere_says_why(both, name):
    with pytest.raises(BadSpec, match=f"{name} works only where the collection is, since "):
        getattr(both[1], name)


def test_near_duplicates_ids_and_types_are_the_same(both):
    folder, remote, *_ = both
    assert folder.duplicates(threshold=0.9) == remote.duplicates(threshold=0.9)
    words = {"where": "colour = :c", "params": {"c": "red"}, "target": "image", "threshold": 0.5}
    assert folder.duplicates(**words) == remote.duplicates(**words) and remote.duplicates(**words).groups
    ids = ["photos/red1.png", "nobody", "photos/blue1.png", "photos/red0.png"]
    assert remote.stored(ids) == folder.stored(ids)
    assert remote.stored(ids, where="colour = 'red'") == ["photos/red1.png", "photos/red0.png"]
    assert remote.types == folder.types
    for each in (folder, remote):
        with pytest.raises(BadSpec, match="must be a cosine similarity above 0"):
            each.duplicates(threshold=2.0)


def test_near_duplicates_are_sought_among_a_bounded_number_of_items(tmp_path, no_keys):
    make_shop(tmp_path)
    limits = Limits(compared=10)
    settings = Settings(port=0, limits=limits)
    with running([tmp_path / "shop"], settings, keys=no_keys) as found, quiver.connect(found.address) as shop:
        with pytest.raises(BadSpec, match="at most 10 items here, and 24 match: add a condition"):
            shop.duplicates()
        assert shop.duplicates("price < 5").items == 5


def test_thresholds_and_checks_are_jobs_of_the_server(both):
    folder, remote, *_ = both
    one, other = (each.threshold(by="colour", target="image", rate=0.2) for each in (folder, remote))
    assert (one.min_score, one.kept, one.kind) == pytest.approx((other.min_score, other.kept, other.kind))
    assert str(one) == str(other)
    (told,) = remote.info().thresholds
    assert told.min_score == other.min_score and told.promise == other.promise() and not told.stale
    assert (
        remote.search(like="photos/red0.png", min_score="auto").ids
        == folder.search(like="photos/red0.png", min_score="auto").ids
    )
    with pytest.raises(QuiverError, match="needs at least 29 questions"):
        remote.threshold([Query(like="photos/red0.png")], [["photos/red1.png"]])
    with pytest.raises(BadSpec, match="has a file"):
        remote.threshold([Query({"image": b"x"})], [["photos/red1.png"]])
    health = remote.check_vectors(again=0)
    assert health == folder.check_vectors(again=0) and health[0].sampled
    assert remote.catch_up() == folder.catch_up()


@pytest.mark.parametrize(
    "words",
    [
        {"text": "red", "candidates": []}, {"text": "red", "exclude": []}, {"like": [], "text": "red"},
        {"like": "photos/red0.png", "unlike_image": np.full((9, 9, 3), (30, 40, 200), np.uint8)},
        {"text": "red", "where": "price < ?", "params": [np.float32(9.5)]},
    ],
)  # fmt: skip
def test_empty_lists_and_negative_files_mean_the_same_to_a_server(both, words):
    folder, remote, *_ = both
    assert remote.search(**words).ids == folder.search(**words).ids


@pytest.mark.parametrize(
    "words",
    [
        {"like": "\ud800"}, {"vector": "abc"}, {"vector": ["a"]},
        {"text": "red", "where": "colour = ?", "params": [b"x"]},
        {"text": "red", "where": "colour = :c", "params": {"c": [object()]}}, {"text": "red", "exclude": ["\ud800"]},
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_sent_is_refused_as_in_a_folder(both, words):
    for shop in both[:2]:
        with pytest.raises(QuiverError):
            shop.search(**words)


def test_methods_of_a_server_tell_unknown_words_and_what_is_not_there(both):
    folder, remote, *_ = both
    for shop in (folder, remote):
        with pytest.raises(UnknownKeyword, match="stored has no option 'params'"):
            shop.stored(["a"], params=[1])
    assert not hasattr(remote, "drop") and hasattr(remote, "search")
    with pytest.raises(BadSpec, match="drop works only where the collection is"):
        remote.drop("x")
    with pytest.raises(BadCollection, match="there is no version 0 of shop: the first is 1"):
        remote.checkout(0)
