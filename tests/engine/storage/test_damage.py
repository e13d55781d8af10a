"""Files of a collection that are lost, cut or changed: detected or rebuilt, in one line, never another answer."""

import shutil

import numpy as np
import pytest

import quiver
from quiver import Item
from quiver.engine.storage.quarantine import Quarantine
from quiver.engine.storage.version_watch import manifest_name
from quiver.errors import BadCollection, CannotWrite, NoCollection, QuiverError


@pytest.fixture
def place(tmp_path):
    """A collection of five texts, of several versions."""
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add(*[Item(str(n), {"text": f"thing {n}"}) for n in range(5)], workers=0)
    shop.delete(["4"])
    return tmp_path / "c"


def newest(place, dataset="items.lance"):
    return min((place / dataset / "_versions").glob("*.manifest"))


def told(attempt):
    with pytest.raises(QuiverError) as error:
        attempt()
    assert "\n" not in str(error.value) and ".rs" not in str(error.value)
    return str(error.value)


def opened(place):
    return quiver.open(place, catch_up=False)


@pytest.mark.parametrize("size", [0, 100, None])
def test_a_damaged_or_lost_manifest_is_said_to_be_and_names_the_version_that_opens(place, size):
    path, version = newest(place), opened(place).info()["version"]
    path.unlink() if size is None else path.write_bytes(path.read_bytes()[:size])
    for attempt in (opened(place).info, lambda: opened(place).add(Item("9", {"text": "x"}), workers=0)):
        said = told(attempt)
        assert "damaged" in said and str(place) in said and f"version {version}" in said
        assert f"version {version - 1}" in said and "no collection" not in said
    past = opened(place).checkout(version - 1)
    assert len(past) in (4, 5) and past.search(text="thing 3", target="text", k=1).ids == ("3",)


def test_the_collection_goes_on_from_an_older_version_when_its_user_says_so(place):
    newest(place).unlink()
    seal = place / "items.seal.json"
    assert str(seal) in told(opened(place).info)
    seal.unlink()
    assert opened(place).info()["items"] in (4, 5)
    opened(place).add(Item("9", {"text": "x"}), workers=0)
    assert opened(place).get(["9"])


def test_all_manifests_lost_is_damage_and_an_empty_place_is_none(place, tmp_path):
    for path in (place / "items.lance" / "_versions").iterdir():
        path.unlink()
    assert "no collection" not in told(opened(place).info)
    with pytest.raises(NoCollection, match=r"no collection at .*quiver.open\('.*'\).add\('photos'\) makes one"):
        opened(tmp_path / "empty").info()
    with pytest.raises(BadCollection, match="there is no version 77 of"):
        opened(tmp_path / "empty").checkout(77)


@pytest.mark.parametrize("how", ["removed", "cut", "flipped"])
@pytest.mark.parametrize("kind", ["data/*.lance", "_deletions/*", "_versions/newest"])
def test_a_file_of_rows_that_was_changed_is_named_and_never_read_as_another_answer(place, kind, how):
    lance = place / "items.lance"
    path = newest(place) if kind == "_versions/newest" else min(lance.glob(kind))
    data = path.read_bytes()
    if how == "removed":
        path.unlink()
    else:
        path.write_bytes(
            data[: len(data) // 2]
            + (b"" if how == "cut" else bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :])
        )
    said = told(lambda: opened(place).search(text="thing 3", target="text"))
    assert path.name in said or "manifest of version" in said
    path.write_bytes(data)
    assert opened(place).info()["items"] == 4


def test_a_file_that_is_lost_under_an_open_collection_is_one_line(place):
    shop = opened(place)
    for path in (place / "items.lance" / "data").iterdir():
        path.unlink()
    said = told(lambda: shop.search(text="thing 3", target="text"))
    assert "cannot be read" in said and "checkout" in said


def test_a_damaged_seal_is_no_damage(place):
    (place / "items.seal.json").write_bytes(b"\xff{")
    assert opened(place).info()["items"] == 4
    opened(place).add(Item("9", {"text": "x"}), workers=0)
    newest(place).unlink()
    assert "is lost" in told(opened(place).info)


@pytest.mark.parametrize("how", ["newest manifest", "all manifests", "rows", "cut"])
def test_a_damaged_list_of_quarantined_items_is_never_an_empty_one(place, how):
    Quarantine(f"{place}/quarantine.lance").add([("bad", None, "torn")])
    assert [row["id"] for row in opened(place).info()["quarantine"]] == ["bad"]
    lance = place / "quarantine.lance"
    if how == "newest manifest":
        newest(place, "quarantine.lance").unlink()
    elif how == "cut":
        newest(place, "quarantine.lance").write_bytes(b"x")
    else:
        for path in (lance / ("_versions" if how == "all manifests" else "data")).iterdir():
            path.unlink()
    said = told(opened(place).info)
    assert "quarantine" in said and str(place) in said
    assert opened(place).search(text="thing 3", target="text", k=1).ids == ("3",)
    shutil.rmtree(lance)
    for path in place.glob("quarantine*"):
        path.unlink()
    assert opened(place).info()["quarantine"] == []


@pytest.mark.parametrize(
    "header", [b"[]", b"{", b'{"format": 1, "encoders": []}', b'{"format": 1, "encoders": {"classic": 3}}']
)
def test_a_collection_that_does_not_describe_itself_is_one_line(place, header):
    import lance

    lance.dataset(f"{place}/items.lance").update_schema_metadata({"quiver": header.decode()})
    assert str(place) in told(lambda: opened(place).search(text="thing 3", target="text"))


def test_a_place_that_a_file_is_in_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match=r"cannot write .*/file"):
        opened(tmp_path / "file").add(Item("9", {"text": "x"}), workers=0)


def test_the_seal_knows_the_newest_version_after_every_kind_of_change(place):
    shop = opened(place)
    for change in (
        lambda: shop.update_meta({"1": {"price": 3}}),
        lambda: shop.delete(["2"]),
        lambda: shop.add(Item("8", {"text": "eight"}), workers=0),
        lambda: shop.add_vectors(np.eye(4), ids=list("abcd"), space="made"),
        lambda: shop.index("lance kind=IVF_FLAT partitions=1", spaces=["made"], recall=None) and shop.delete(["a"]),
    ):
        change()
        kept = newest(place).read_bytes()
        version = opened(place).info()["version"]
        assert newest(place).name == manifest_name(version)
        newest(place).unlink()
        assert f"version {version}" in told(opened(place).info)
        (place / "items.lance" / "_versions" / manifest_name(version)).write_bytes(kept)


@pytest.mark.parametrize("how", ["removed", "cut"])
def test_a_damaged_index_on_ids_is_done_without_and_made_anew_by_the_next_change(place, how, caplog):
    for path in (place / "items.lance" / "_indices").glob("*/page_*.lance"):
        path.unlink() if how == "removed" else path.write_bytes(path.read_bytes()[:9])
    assert [item.id for item in opened(place).get(["1", "4"])] == ["1"]
    assert "is damaged" in caplog.text
    report = opened(place).add(Item("1", {"text": "thing 1"}), Item("9", {"text": "nine"}), workers=0)
    assert (report.added, report.unchanged) == (1, 1)
    caplog.clear()
    assert opened(place).delete(["2"]) == 1 and len(opened(place).get(["1", "2", "9"])) == 2
    assert not caplog.text


def test_deleting_mends_a_damaged_index_on_ids_first(place):
    for path in (place / "items.lance" / "_indices").glob("*/page_*.lance"):
        path.unlink()
    assert opened(place).delete(["2"]) == 1
    assert [item.id for item in opened(place).get(["1", "2"])] == ["1"]
