"""Descriptions of collections: typed, JSON-able, and read like dicts for one more release."""

import json

import numpy as np
import pytest

import quiver
from quiver.record import Record
from quiver.records import Version


@pytest.fixture
def store(tmp_path):
    collection = quiver.open(tmp_path / "c", catch_up=False)
    vectors = np.random.default_rng(2).normal(size=(300, 8)).astype(np.float32)
    collection.add_vectors(vectors, ids=[f"v{n}" for n in range(300)], meta={"n": list(range(300))}, space="mine")
    return collection


def test_a_summary_has_fields_and_can_still_be_read_like_a_dict(store):
    found = store.info()
    assert isinstance(found, quiver.Summary) and found.items == found["items"] == 300
    assert found.columns[0].space == found["columns"][0]["space"] == "mine" and found.meta == {"n": "int64"}
    assert "items" in found and "prize" not in found and found.get("prize", 3) == 3 and dict(found)["version"]
    with pytest.raises(KeyError, match="prize"):
        found["prize"]
    assert json.loads(json.dumps(found.to_dict()))["columns"][0]["dim"] == 8


def test_indexes_and_versions_are_described_by_classes(store):
    (built,) = store.index("faiss factory=IVF4,Flat", recall=0.9)
    assert isinstance(built, quiver.BuiltIndex) and (built.kind, built.vectors) == ("faiss", 300)
    assert built.promise.recall == built["promise"]["recall"] == 0.9 and built.promise.settings[0].k >= 1
    (checked,) = store.check()
    assert isinstance(checked, quiver.CheckedIndex) and checked.promise.recall == 0.9 and checked.found[0].k >= 1
    versions = store.versions()
    assert all(isinstance(each, Version) for each in versions) and versions[-1].items == 300
    assert store.catch_up() == []


def test_the_public_classes_are_exported():
    for name in ("Result", "Results", "Plan", "Report", "Summary", "Version", "BuiltIndex", "Exported", "Relocated"):
        assert name in quiver.__all__ and isinstance(getattr(quiver, name), type)
    assert issubclass(quiver.Summary, Record)
