"""The benchmarks of budgets and of freshness, on a small scale."""

import numpy as np
import pytest

from quiver.benchmarks.speed import freshness, latency_budget


def test_a_budget_that_is_long_enough_lets_everything_be_reranked(tmp_path):
    (found,) = latency_budget.run(tmp_path, model=None, items=40, queries=2, budgets=[60_000.0])
    assert (found["budget_ms"], found["queries"]) == (60_000.0, 2)
    assert 0 < found["pairs"][0] <= found["pairs"][2] <= 40  # as many as have a word in common, all of them
    assert 0 < found["p50"] <= found["p95"] <= found["p99"]
    assert found["p95_of_budget"] == pytest.approx(found["p95"] / 60_000)


def test_made_texts_differ_in_length_and_repeat_with_their_seed():
    texts = latency_budget.words(50, seed=1)
    lengths = [len(text.split()) for text in texts]
    assert (min(lengths) >= 5, max(lengths) <= 30, len(set(texts)), texts) == (
        True,
        True,
        50,
        latency_budget.words(50, seed=1),
    )
    assert np.std(lengths) > 4


@pytest.mark.parametrize("kind", ["exact", "lance"])
def test_every_change_is_seen_by_every_searcher(tmp_path, monkeypatch, kind):
    monkeypatch.setitem(freshness.KINDS, "lance", "lance kind=IVF_FLAT partitions=2")
    found = freshness.measure(tmp_path, kind, rows=300, dim=8, rounds=1, batch=5, threads=2)
    assert all(0 < each["median"] <= each["worst"] < 60 for each in found["seen_s"].values())
    assert found["searches_a_second"] > 0 and list(found["seen_s"]) == ["added", "rewritten", "deleted"]
