"""The rows of each step: a seeded permutation per epoch, cut into batches, divided among ranks.

The order depends only on (seed, step, rank), so that a run can resume at any step without a difference. The rows of
all ranks together depend on (seed, step, batch * ranks) alone, so that it can resume on another number of ranks too.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from quiver.errors import BadData
from quiver.types import Rows

#: Purposes of random streams; two purposes never share one.
_ROWS, _FETCH, _MODEL = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Order:
    """The order of rows.

    The rows that do not fill a last batch are left out of an epoch; the next epoch's permutation leaves out others.

    Attributes:
        count: rows of the training set.
        batch: rows per step and rank, at most ``count // ranks``.
        seed: of the permutations.
        rank: this process.
        ranks: processes that train together.
        split: parts of a batch that go through the model one after the other, at most ``batch``.
    """

    count: int
    batch: int
    seed: int
    rank: int = 0
    ranks: int = 1
    split: int = 1

    @classmethod
    def of(cls, count: int, batch: int, *, seed: int, rank: int = 0, ranks: int = 1, split: int = 1) -> "Order":
        """Divide ``count`` rows; a training set smaller than a batch is one batch.

        Raises:
            BadData: there is not one row for each rank.
        """
        if count < ranks:
            raise BadData(f"the training set has {count} rows, and {ranks} rank(s) need at least one each")
        size = min(batch, count // ranks)
        return cls(count, size, seed, rank, ranks, min(split, size))

    @property
    def steps(self) -> int:
        """Steps of an epoch."""
        return self.count // (self.batch * self.ranks)

    def rows(self, step: int) -> Rows:
        """Return the (batch,) int64 rows of this rank at a step."""
        epoch, place = divmod(step, self.steps)
        start = (place * self.ranks + self.rank) * self.batch
        return _permutation(self.count, self.seed, epoch)[start : start + self.batch].copy()

    @property
    def parts(self) -> list[int]:
        """Rows of each part of a batch."""
        return [len(part) for part in np.array_split(np.empty(self.batch), self.split)]

    def generator(self, step: int) -> np.random.Generator:
        """Return the random generator for fetching the batch of a step."""
        return np.random.default_rng([self.seed, step, self.rank, _FETCH])

    def torch_seed(self, step: int, part: int = 0) -> int:
        """Return the seed of the model's own randomness in a part of a step, such as dropout."""
        words = [self.seed, step, self.rank, _MODEL, *([part] if part else [])]
        return int(np.random.SeedSequence(words).generate_state(1, np.uint64)[0])


@lru_cache(maxsize=2)  # of the epoch that is trained, and of the next while it is fetched ahead
def _permutation(count: int, seed: int, epoch: int) -> Rows:
    return np.random.default_rng([seed, epoch, 0, _ROWS]).permutation(count)
