"""100,000 real SIFT descriptors, 1,000 queries and their 100 exact nearest rows under Euclidean distance.

Source: OpenCV 5.0 descriptors of photographs of yuhonas/free-exercise-db @acd61f75 and alexeygrigorev/clothing-dataset
@7ed86a9c. Licence: derived from Unlicense and CC0 photographs, no further claim.
Counts: base (100,000, 128) uint8; queries (1,000, 128) uint8; neighbours (1,000, 100), ties by row number.
Queries come from images that gave nothing to the base. Splits: queries 0 to 499 are ``validation``, to tune an index
with, and 500 to 999 ``test``; descriptors of one query image may stand on both sides of that border.
This is not SIFT1M, and its figures must never be quoted as such.
"""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from quiver.benchmarks.datasets import ann
from quiver.benchmarks.datasets._place import Home
from quiver.benchmarks.datasets._read import Source

HOME = Home(
    name="sift100k",
    url="photographs of github.com/yuhonas/free-exercise-db and github.com/alexeygrigorev/clothing-dataset",
    licence="derived from Unlicense and CC0 photographs",
    put="base.npz (base) and queries.npz (queries, neighbors, sq_distances) in the folder",
)
ROWS, QUERIES, DEPTH, DIM = 100_000, 1_000, 100, 128


def neighbours(
    *,
    split: Literal["validation", "test", "all"] = "test",
    folder: Path | None = None,
    partial: bool = False,
) -> ann.Neighbours:
    """Read the base, the queries of a split and their neighbours.

    Args:
        split: ``all`` for the 1,000 queries there are.
        folder: where base.npz and queries.npz are.
        partial: read them though their counts differ.

    Raises:
        BadData: the pack is not on disk, or not as it should be.
    """
    source = Source(HOME, folder, partial=partial)
    base, queries = source.path("base.npz"), source.path("queries.npz")
    task = ann.neighbours(base=base, queries=queries, metric="l2")
    for name, what, found, expected in (
        ("base.npz", "vectors", len(task.base), ROWS),
        ("base.npz", "numbers in a vector", task.base.shape[1], DIM),
        ("queries.npz", "queries", len(task.queries), QUERIES),
        ("queries.npz", "neighbours of a query", task.rows.shape[1], DEPTH),
    ):
        source.count(name, what, found, expected)
    middle = len(task.queries) // 2
    part = {"validation": slice(0, middle), "test": slice(middle, None), "all": slice(None)}[split]
    return replace(
        task,
        name=f"sift100k split={split}",
        queries=task.queries[part],
        rows=task.rows[part],
        source=str(HOME),
        notes=(*task.notes, *source.notes, "not SIFT1M: never quote it as such"),
    )
