"""A batch of queries prepared by a scorer, and scored against all rows or against candidates.

The scorer reads columns tile by tile (views of contiguous rows where possible), and only the k best of each query are
kept. So memory stays bounded for any collection size.

Shapes: q queries, n candidates, m vectors of a probe.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np

from quiver.engine.core.graph import Recipe
from quiver.engine.core.ranking import Best
from quiver.engine.storage.column_index import Resident
from quiver.errors import SpaceMismatch, failing
from quiver.protocols import Held, Scorer
from quiver.types import Floats, Rows, Space

#: Numbers in a tile and in its scores (8 MiB of float32 each), and least rows of a tile.
_NUMBERS, _LEAST = 1 << 21, 1024
#: Queries scored together, and queries whose candidates are gathered together.
_QUERIES, _GATHERED = 256, 32


@dataclass(frozen=True, slots=True, eq=False)
class Composer:
    """Queries prepared by a scorer.

    Attributes:
        scorer: the scorer.
        held: arrays that the scorer made of the queries; row i belongs to query i.
        count: number of queries.
        residents: the stored vectors that it reads, by space.
        label: label of the stage that made it, for the trace.
        lock: held while the scorer works; others get their turn between two blocks of candidates.
    """

    scorer: Scorer
    held: Held
    count: int
    residents: Mapping[Space, Resident]
    label: str
    lock: AbstractContextManager[Any] = field(default_factory=nullcontext)

    @property
    def device(self) -> str:
        """The device of the scorer; empty if unknown."""
        return str(getattr(self.scorer, "device", ""))

    @contextmanager
    def _scoring(self) -> Iterator[None]:
        with self.lock, failing(f"the scorer {self.scorer.name}", "score"):
            yield

    def probes(self, recipe: Recipe) -> list[Floats]:
        """Return the vectors (q, m, dim) of each probe of a recipe.

        Raises:
            SpaceMismatch: the scorer returned probes in other spaces than it declared.
        """
        moments = _Moments(self.residents)
        with self.lock, failing(f"the scorer {self.scorer.name}", "prepare the query"):
            made = self.scorer.probes(self.held, recipe.name, moments)
        if tuple(probe.space for probe in made) != recipe.spaces:
            said, asked = (", ".join(map(str, spaces)) for spaces in (recipe.spaces, (p.space for p in made)))
            raise SpaceMismatch(
                f"the scorer {self.scorer.name} made probes in {asked}, but declared {said} for {recipe.name}"
            )
        return [p.vectors if p.reduce == "max" else p.vectors.mean(axis=1, keepdims=True) for p in made]

    def score(self, k: int, allow: Rows | None) -> tuple[Floats, Rows]:
        """Score all matching rows: (q, w) scores and rows, best first."""
        rows = reduce(_common, [resident.rows() for resident in self.residents.values()])
        rows = rows if allow is None else _common(rows, allow)
        best = Best(self.count, min(k, len(rows)))
        widest = max(min(self.count, _QUERIES), *(space.dim for space in self.residents))
        size = max(_LEAST, _NUMBERS // widest)
        for at in range(0, len(rows), size):
            here, columns = self.gather(rows[at : at + size])
            for start in range(0, self.count, _QUERIES):
                with self._scoring():
                    scores = self.scorer.score(self._part(start, start + _QUERIES), columns)
                best.look(scores, here, start=start)
        return best.scores, best.rows

    def rescore(self, candidates: Rows, k: int) -> tuple[Floats, Rows]:
        """Score each query's own candidates (q, n), padded with -1: (q, w) scores and rows, best first."""
        best = Best(self.count, min(k, candidates.shape[1]))
        for start in range(0, self.count, _GATHERED):
            block = candidates[start : start + _GATHERED]
            rows, columns = self.gather(np.unique(block[block >= 0]))
            for n, own in enumerate(block, start):
                places = np.searchsorted(rows, np.intersect1d(rows, own))
                theirs = {space: data[places] for space, data in columns.items()}
                with self._scoring():
                    scores = self.scorer.score(self._part(n, n + 1), theirs)
                best.look(scores, rows[places], start=n)
        return best.scores, best.rows

    def terms(self, n: int, rows: Sequence[int]) -> list[dict[str, float]]:
        """Return the score terms of query n for some rows; these rows must have been scored."""
        if not rows:
            return []
        found, columns = self.gather(np.unique(np.array(rows, np.int64)))
        terms = self.terms_of(n, columns)
        at = {row: place for place, row in enumerate(found.tolist())}
        return [{name: float(values[0, at[row]]) for name, values in terms.items()} for row in rows if row in at]

    def _part(self, start: int, end: int) -> Held:
        return {name: values[start:end] for name, values in self.held.items()}

    def terms_of(self, n: int, columns: Mapping[Space, Floats]) -> Mapping[str, Floats]:
        """Return the score terms of query n for candidates given as vectors: (1, n) by name."""
        with self.lock:
            return self.scorer.terms(self._part(n, n + 1), columns)

    def gather(self, rows: Rows) -> tuple[Rows, dict[Space, Floats]]:
        """Return the rows that have all vectors read by the scorer, ascending, and these vectors."""
        taken = {space: resident.take(rows) for space, resident in self.residents.items()}
        common = reduce(_common, [vectors.rows for vectors in taken.values()])
        whole = {space: len(vectors) == len(common) for space, vectors in taken.items()}
        return common, {
            space: vectors.data if whole[space] else vectors.data[np.searchsorted(vectors.rows, common)]
            for space, vectors in taken.items()
        }


class _Moments(Mapping[Space, Floats]):
    """The moments of stored vectors by space, read only when a scorer asks for them: they need every vector."""

    def __init__(self, residents: Mapping[Space, Resident]) -> None:
        self._residents = residents

    def __getitem__(self, space: Space) -> Floats:
        return self._residents[space].moments()

    def __iter__(self) -> Iterator[Space]:
        return iter(self._residents)

    def __len__(self) -> int:
        return len(self._residents)


def _common(ours: Rows, theirs: Rows) -> Rows:
    return ours if ours is theirs else np.intersect1d(ours, theirs, assume_unique=True)
