"""scikit-learn: NearestNeighbors by brute force."""

from pathlib import Path

import numpy as np

from quiver.benchmarks.peers import Given, Knobs, Shape, Variant
from quiver.types import Floats, Rows

PACKAGES = ("scikit-learn",)
_METRIC = {"l2": "euclidean", "cosine": "cosine"}


def variants(shape: Shape) -> tuple[Variant, ...]:
    """Return its one index; none for dot products, which it does not support."""
    return (Variant("brute", exact=True),) if shape.metric in _METRIC else ()


def build(given: Given, variant: Variant) -> None:
    """Write the vectors; there is nothing to build."""
    np.save(given.folder / "vectors.npy", given.vectors)


def open(folder: Path, variant: Variant, shape: Shape) -> "Brute":
    """Fit the vectors."""
    return Brute(np.load(folder / "vectors.npy"), shape)


class Brute:
    """All vectors."""

    def __init__(self, vectors: Floats, shape: Shape) -> None:
        from sklearn.neighbors import NearestNeighbors

        # More jobs would be threads on top of the threads of BLAS.
        self.model = NearestNeighbors(algorithm="brute", metric=_METRIC[shape.metric], n_jobs=1).fit(vectors)

    def tune(self, knobs: Knobs) -> None:
        """Ignore parameters: there are none."""

    def search(self, queries: Floats, k: int) -> Rows:
        """Search."""
        return np.asarray(self.model.kneighbors(queries, k, return_distance=False), np.int64)
