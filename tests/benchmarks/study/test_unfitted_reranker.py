"""The study of unfitted rerankers: its figures on made vectors are those that the ways of ranking must have."""

import numpy as np

from quiver.benchmarks.study.unfitted_reranker import Sample, compare


def test_the_safe_blend_keeps_recall_with_a_random_scorer_and_gains_with_a_good_one():
    rng = np.random.default_rng(0)
    middles = rng.standard_normal((20, 16))
    label = np.repeat(np.arange(20), 30)

    def vectors(noise):
        rows = middles[label] + noise * rng.standard_normal((600, 16))
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

    sample = Sample({"weak": vectors(1.2), "good": vectors(0.6)}, label.astype(str), np.arange(600).astype(str), 600)
    found = {(recall, scorer): {w: f[3] for w, f in each.items()} for recall, scorer, each in compare(sample)}
    by_good = found["weak", "good"]
    assert by_good["recall"] + 0.05 < by_good["safe blend"] < by_good["scorer alone"]
    for recall in ("weak", "good"):
        for scorer in ("random", "random per item"):
            figures = found[recall, scorer]
            assert abs(figures["safe blend"] - figures["recall"]) < 0.01
            assert figures["scorer alone"] < figures["rank fusion"] < figures["recall"] - 0.05
    assert found["good", "weak"]["safe blend"] > found["good", "weak"]["recall"] - 0.01
