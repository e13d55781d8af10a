"""A collection as a dict and NumPy: what every search must answer, computed in float64 by brute force.

Scores are as Quiver's: larger is better, cosine and dot products as they are, l2 minus the squared distance. Float32
rounding is allowed for: two scores closer than ``tolerance`` may change places.
"""

import copy
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np

METRICS = {"round": "cosine", "flat": "l2", "long": "dot"}
DIMS = {"round": 6, "flat": 9, "long": 5}
#: Share of the largest possible score that float32 sums of few terms may be wrong by.
ROUNDING = 2e-6


@dataclass
class Oracle:
    """Items by id: metadata, and vectors by space."""

    meta: dict[str, dict] = field(default_factory=dict)
    vectors: dict[str, dict[str, np.ndarray]] = field(default_factory=lambda: {space: {} for space in METRICS})

    def copy(self) -> "Oracle":
        return copy.deepcopy(self)

    def put(self, space, ids, vectors, meta):
        """Add or replace vectors; the columns given replace metadata, others stay."""
        for n, id in enumerate(ids):
            self.vectors[space][id] = np.asarray(vectors[n], np.float32)
            row = self.meta.setdefault(id, {})
            row.update({name: values[n] for name, values in meta.items()})
            self.meta[id] = {name: value for name, value in row.items() if value is not None}

    def update(self, values):
        for id, row in values.items():
            self.meta[id] = {k: v for k, v in {**self.meta[id], **row}.items() if v is not None}

    def delete(self, ids):
        for id in ids:
            del self.meta[id]
            for stored in self.vectors.values():
                stored.pop(id, None)

    def scores(self, space, query, ids) -> dict[str, float]:
        """Score items of a space that are among some ids."""
        ids = [id for id in ids if id in self.vectors[space]]
        if not ids:
            return {}
        data = np.stack([self.vectors[space][id] for id in ids]).astype(np.float64)
        query = np.asarray(query, np.float64)
        if METRICS[space] == "cosine":
            data /= np.linalg.norm(data, axis=1, keepdims=True)
            query = query / np.linalg.norm(query)
        found = -((data - query) ** 2).sum(1) if METRICS[space] == "l2" else data @ query
        return dict(zip(ids, found.tolist(), strict=True))

    def tolerance(self, space, query) -> float:
        """How far apart two scores have to be for their order to be certain."""
        if METRICS[space] == "cosine":
            return ROUNDING
        length = max((float(np.linalg.norm(v)) for v in self.vectors[space].values()), default=0.0)
        asked = float(np.linalg.norm(query))
        return ROUNDING * (asked * length if METRICS[space] == "dot" else (asked + length) ** 2)

    def example(self, space, like, unlike):
        """The query vector that examples stand for: p + (p - n), means of unit vectors under cosine."""
        stored = self.vectors[space]

        def mean(ids):
            found = np.stack([stored[id] for id in ids]).astype(np.float64)
            if METRICS[space] == "cosine":
                found /= np.linalg.norm(found, axis=1, keepdims=True)
            return found.mean(0)

        p = mean(like)
        return p if not unlike else 2 * p - mean(unlike)


def check_hits(hits, scores, k, tolerance, *, exact=True):
    """Hold an answer against all scores that were possible: (id, score) best first."""
    ids = [id for id, _ in hits]
    assert len(set(ids)) == len(ids), f"an id comes twice: {ids}"
    strangers = [id for id in ids if id not in scores]
    assert not strangers, f"these may not be found: {strangers}"
    for id, score in hits:
        assert abs(score - scores[id]) <= tolerance, f"{id} scores {scores[id]}, not {score}"
    assert all(a[1] >= b[1] for a, b in pairwise(hits)), "hits are not in order"
    if not exact:
        assert len(hits) <= k
        return
    assert len(hits) == min(k, len(scores)), f"{len(hits)} hits of {min(k, len(scores))}"
    if hits and len(hits) < len(scores):
        worst = hits[-1][1]
        missed = {id: score for id, score in scores.items() if id not in set(ids) and score > worst + 2 * tolerance}
        assert not missed, f"missed {missed}, the worst hit scores {worst}"


def check_groups(hits, scores, group_of, k, each, tolerance):
    """Hold an answer in groups against all scores that were possible."""
    check_hits(sorted(hits, key=lambda hit: -hit[1]), scores, len(hits) or 1, tolerance, exact=False)
    best, found = {}, {}
    for id, score in scores.items():
        best.setdefault(group_of(id), []).append(score)
    for id, score in hits:
        found.setdefault(group_of(id), []).append(score)
    assert len(found) == min(k, len(best)), f"{len(found)} groups of {min(k, len(best))}"
    for group, theirs in found.items():
        wanted = sorted(best[group], reverse=True)[:each]
        assert len(theirs) == len(wanted), f"{len(theirs)} hits of group {group}, not {len(wanted)}"
        assert np.allclose(sorted(theirs, reverse=True), wanted, rtol=0, atol=2 * tolerance)
    worst = min((max(theirs) for theirs in found.values()), default=np.inf)
    missed = [g for g, theirs in best.items() if g not in found and max(theirs) > worst + 2 * tolerance]
    assert not missed, f"groups were missed: {missed}"
