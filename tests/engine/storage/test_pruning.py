"""Old versions are removed when asked, the newest stays, and what is gone says so."""

import numpy as np
import pytest

import quiver
from quiver.errors import BadCollection, BadSpec


def test_pruning_keeps_the_newest_version_and_frees_disk(tmp_path):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    for n in range(5):
        shop.add_vectors(np.eye(4) + n, ids=list("abcd"), space="s", metric="l2", progress=False)
    shop.index("faiss factory=Flat")
    old, newest = shop.versions()[2]["version"], shop.versions()[-1]["version"]
    before = shop.search(vectors={"s": np.eye(4)[2] + 4}, k=4, index="exact")
    pruned = shop.prune(days=0)
    assert pruned.versions >= 5 and pruned.bytes > 0
    assert [each["version"] for each in shop.versions()] == [newest]
    for kind in ("exact", "faiss"):
        after = shop.search(vectors={"s": np.eye(4)[2] + 4}, k=4, index=kind)
        assert [(hit.id, hit.score) for hit in after] == [(hit.id, hit.score) for hit in before]
    with pytest.raises(BadCollection):
        shop.checkout(old)


def test_young_versions_stay(tmp_path):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add_vectors(np.eye(4), ids=list("abcd"), space="s", progress=False)
    versions = shop.versions()
    assert shop.prune().versions == 0 and shop.versions() == versions


@pytest.mark.parametrize("days", [-1, float("nan"), float("inf"), "7"])
def test_days_are_a_number_of_at_least_none(tmp_path, days):
    shop = quiver.open(tmp_path / "c", catch_up=False)
    shop.add_vectors(np.eye(4), ids=list("abcd"), space="s", progress=False)
    with pytest.raises(BadSpec, match="a number of days, 0 or more"):
        shop.prune(days=days)
