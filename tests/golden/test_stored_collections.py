"""Collections that earlier versions stored still open, and answer as they did then.

``collections/0.1.tar.xz`` was made by version 0.1 (commit 1e2a65d, pylance 14.0.2): six pictures of ``photos`` with
metadata and ``classic`` vectors, one bad file, 64 vectors in a space ``mine`` (l2) with a FAISS and a Lance index, a
text item, then one updated and two deleted items. The numbers below are the answers of that version.
"""

import tarfile
from pathlib import Path

import numpy as np
import pytest

import quiver

HERE = Path(__file__).parent / "collections"


@pytest.fixture
def stored(tmp_path):
    with tarfile.open(HERE / "0.1.tar.xz") as archive:
        archive.extractall(tmp_path, filter="data")
    return tmp_path / "collection"


def query():
    rng = np.random.default_rng(7)
    for _ in range(6):  # the pictures were drawn first
        rng.integers(-25, 25, (8, 8, 3))
    return rng.normal(size=(64, 4)).astype(np.float32)[5]


@pytest.mark.parametrize("kind", ["exact", "faiss", "lance", None])
def test_vectors_are_found_on_every_kind_of_index(stored, kind):
    hits = quiver.open(stored, catch_up=False).search(vectors={"mine": query()}, k=4, index=kind)
    assert hits.ids[0] == "v#5" and hits[0].score == pytest.approx(0, abs=1e-5)
    if kind in ("exact", "faiss"):
        assert hits.ids == ("v#5", "v#31", "v#28", "v#23")
        assert [hit.score for hit in hits] == pytest.approx([0, -1.37235, -1.42627, -1.55774], abs=1e-4)


def test_items_metadata_words_and_quarantine_are_there(stored):
    shop = quiver.open(stored, catch_up=False)
    assert len(shop) == 69 and len(shop.versions()) == 20
    red, note = shop.get(["photos/red0.png", "note"])
    assert {name: str(value) for name, value in red.meta.items()} == {
        "colour": "red",
        "price": "0.5",
        "when": "2024-01-01",
        "rating": "4",
    }
    assert note.meta["price"] == 3.5 and note.media["text"] == "a red thing, it's odd"
    assert shop.get(["v#3", "photos/blue2.png"]) == []
    assert shop.search(text="odd", k=4).ids == ("note",)
    assert shop.search(vectors={"mine": query()}, k=5, where="price > 3").ids == ()
    alike = shop.search(like="photos/red1.png", spaces=["classic/image"], k=3)
    assert alike.ids == ("photos/red2.png", "photos/red0.png", "photos/blue0.png")
    assert [each["id"] for each in shop.info()["quarantine"]] == ["photos/bad.png"]


def test_it_can_be_changed_and_earlier_versions_stay(stored):
    shop = quiver.open(stored, catch_up=False)
    shop.update_meta({"note": {"price": 9.25}})
    shop.delete(["v#5"])
    shop.add_vectors(query()[None] + 0.01, ids=["new"], space="mine", metric="l2", progress=False)
    assert shop.search(vectors={"mine": query()}, k=2).ids == ("new", "v#31")
    assert shop.checkout(20).search(vectors={"mine": query()}, k=2, index="exact").ids == ("v#5", "v#31")
    assert shop.get(["note"])[0].meta["price"] == 9.25
