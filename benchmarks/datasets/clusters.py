"""Made vectors of unit length in overlapping clusters: as large as is wanted, and labelled as made.

Real embeddings are neither noise nor separate balls: they lie near a space of far fewer dimensions than their width,
in regions of very unequal density that run into one another. So every vector is a sum of a few of 96 directions. A
centre is a random mixture of the first 48, those that come first weighing more; around it a cluster spreads along 16
directions of its own choice, each by another length, and wider or narrower than others; sizes of clusters fall as a
power of their rank (the largest of 4,000 holds 3.5 % of the rows, half of them less than one in 8,500). A little noise
in all dimensions is added last. Queries are drawn likewise, and are not in the base. Of 100,000 rows the local
intrinsic dimension (Levina and Bickel 2004, 50 neighbours) is 11, and a query's tenth neighbour is half as far as the
average row.

A row depends on the seed and its number alone, so that fewer rows are the beginning of more. Vectors and true
neighbours are kept in a cache folder, mapped from disk, and made anew where they are missing.
"""

import hashlib
from pathlib import Path

import numpy as np

from quiver import files
from quiver.benchmarks.datasets import ann
from quiver.benchmarks.datasets._pack import made
from quiver.benchmarks.datasets._truth import nearest
from quiver.errors import BadSpec
from quiver.types import Floats

DEPTH = 100  # true neighbours of each query
RECIPE = 1  # to be raised with every change of what is made
_CHUNK = 1 << 14
_CENTRAL, _SPREAD, _OWN = 48, 96, 16


def neighbours(
    *,
    n: int = 1_000_000,
    dim: int = 512,
    queries: int = 1_000,
    clusters: int = 4_000,
    spread: float = 0.65,
    noise: float = 0.3,
    seed: int = 0,
    cache: Path | None = None,
) -> ann.Neighbours:
    """Generate the vectors, or map those of an earlier call.

    Args:
        n: rows of the base.
        dim: width, at least 96.
        queries: how many.
        clusters: how many centres.
        spread: length of a typical deviation from a centre, whose own length is 1.
        noise: length of the noise in all dimensions.
        seed: of all numbers.
        cache: where they are kept; None for the cache folder of Quiver.

    Raises:
        BadSpec: a number is not positive, or dim too small.
    """
    if min(n, queries, clusters) < 1 or dim < _SPREAD:
        raise BadSpec(f"clusters: n, queries and clusters must be positive, and dim at least {_SPREAD}")
    recipe = f"{RECIPE} dim={dim} clusters={clusters} spread={spread:g} noise={noise:g} seed={seed}"
    revision = hashlib.sha256(f"{recipe} n={n} queries={queries}".encode()).hexdigest()
    folder = (cache or made("clusters")) / hashlib.sha256(recipe.encode()).hexdigest()[:16]
    model = Model(dim, clusters, spread, noise, seed)
    files.once(folder / f"base-{n}.npy", lambda part: _write(part, model, n))
    base = np.load(folder / f"base-{n}.npy", mmap_mode="r")
    asked = model.rows(-1, queries)
    truth = folder / f"truth-{n}-{queries}.npy"
    files.once(truth, lambda part: _save(part, nearest(base, asked, "cosine", DEPTH)))
    return ann.Neighbours(
        name=f"clusters n={n} dim={dim} queries={queries} seed={seed}",
        revision=revision,
        base=base,
        queries=asked,
        rows=np.load(truth),
        metric="cosine",
        source="made here",
        notes=("made vectors: a figure on them says nothing of any real data",),
    )


class Model:
    """The distribution of the vectors.

    Attributes:
        basis: (96, dim) orthonormal directions.
        centres: (c, 96) coefficients.
        axes: (c, 16) numbers of the directions that each cluster spreads along.
        lengths: (c, 16) how far.
        share: (c,) of the rows that belong to each cluster, summed up.
    """

    def __init__(self, dim: int, clusters: int, spread: float, noise: float, seed: int) -> None:
        rng = np.random.default_rng([seed, RECIPE])
        self.seed, self.dim, self.noise = seed, dim, noise
        self.basis = np.linalg.qr(rng.standard_normal((dim, _SPREAD)))[0].T.astype(np.float32)
        centres = np.zeros((clusters, _SPREAD), np.float32)
        centres[:, :_CENTRAL] = rng.standard_normal((clusters, _CENTRAL)) / np.sqrt(1 + np.arange(_CENTRAL) / 8)
        self.centres = centres / np.linalg.norm(centres, axis=1, keepdims=True)
        self.axes = np.argsort(rng.random((clusters, _SPREAD)), axis=1)[:, :_OWN]
        lengths = rng.lognormal(0, 0.5, (clusters, _OWN)) * rng.lognormal(0, 0.3, (clusters, 1))
        self.lengths = (spread * lengths / np.sqrt(_OWN)).astype(np.float32)
        weights = rng.permutation((1 + np.arange(clusters)) ** -0.75)
        self.share = np.cumsum(weights) / weights.sum()

    def rows(self, chunk: int, count: int) -> Floats:
        """Return the first vectors of a chunk, (count, dim) float32; -1 is the chunk of queries.

        A whole chunk is always made: a product of fewer rows may be summed in another order, and differ in last bits.
        """
        if count > _CHUNK:
            raise BadSpec(f"clusters: at most {_CHUNK} queries can be drawn")
        rng = np.random.default_rng([self.seed, RECIPE, chunk + 1])
        home = np.minimum(np.searchsorted(self.share, rng.random(_CHUNK)), len(self.share) - 1)
        mixed = self.centres[home]
        own = rng.standard_normal((_CHUNK, _OWN), np.float32) * self.lengths[home]
        np.put_along_axis(mixed, self.axes[home], np.take_along_axis(mixed, self.axes[home], 1) + own, 1)
        made = mixed @ self.basis
        made += rng.standard_normal((_CHUNK, self.dim), np.float32) * np.float32(self.noise / np.sqrt(self.dim))
        made = made[:count]
        made /= np.linalg.norm(made, axis=1, keepdims=True)
        return np.asarray(made, np.float32)


def _write(path: Path, model: Model, n: int) -> None:
    base = np.lib.format.open_memmap(path, mode="w+", dtype=np.float32, shape=(n, model.dim))
    for chunk, at in enumerate(range(0, n, _CHUNK)):
        base[at : at + _CHUNK] = model.rows(chunk, min(_CHUNK, n - at))
    base.flush()


def _save(path: Path, rows: object) -> None:
    with path.open("wb") as file:
        np.save(file, np.asarray(rows), allow_pickle=False)
