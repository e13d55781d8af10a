"""Cost model of searches: a few measured figures of the machine, and the milliseconds that follow from them."""

from dataclasses import dataclass

#: Batch size of the batched measurement; between 1 and TOGETHER queries, time is interpolated.
TOGETHER = 64
#: Up to this fraction of matching rows an exact scan gathers them; above, it scans all rows.
_PICKED = 0.25


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds per query, for a single query and in a batch of TOGETHER."""

    alone: float
    together: float

    def ms(self, queries: int) -> float:
        """Return the milliseconds per query in a batch of this size.

        >>> Cost(1.0, 0.25).ms(1), Cost(1.0, 0.25).ms(64)
        (1.0, 0.25)
        """
        each = max(0.0, TOGETHER * self.together - self.alone) / (TOGETHER - 1)
        return (self.alone - each) / queries + each

    def times(self, factor: float) -> "Cost":
        """Return a multiple of this cost."""
        return Cost(self.alone * factor, self.together * factor)

    def plus(self, other: "Cost") -> "Cost":
        """Return the sum of both costs."""
        return Cost(self.alone + other.alone, self.together + other.together)


@dataclass(frozen=True, slots=True)
class Machine:
    """Search costs of a machine, as measured by ``quiver.engine.tuning.calibration``.

    The defaults are for two cores of an AMD EPYC with AVX-512; unmeasured machines use them.

    Attributes:
        scan: nanoseconds per number (rows x dimension) of an exact scan of all rows, per query.
        pick: the same for rows gathered by number.
        exact: fixed overhead of one exact search call, in milliseconds.
        faiss: fixed overhead of FAISS.
        lance: fixed overhead of Lance.
        bandwidth: memory bandwidth in GB per second.
        at: time of the measurement; None for the defaults.
        key: machine and library versions of the measurement.
    """

    scan: Cost = Cost(0.04, 0.008)
    pick: Cost = Cost(1.6, 0.08)
    exact: Cost = Cost(0.3, 0.01)
    faiss: Cost = Cost(0.1, 0.02)
    lance: Cost = Cost(3.0, 1.0)
    bandwidth: float = 20.0
    at: str | None = None
    key: str = ""

    def scanning(self, rows: int, dim: int, *, matching: int | None = None) -> Cost:
        """Estimate an exact search over rows, some of which match a filter."""
        few = matching is not None and matching <= _PICKED * rows
        numbers = (matching if few and matching is not None else rows) * dim
        return (self.pick if few else self.scan).times(numbers * 1e-6).plus(self.exact)

    def floor(self, kind: str) -> Cost:
        """Return the least cost of a search with a kind of index."""
        return {"exact": self.exact, "lance": self.lance}.get(kind, self.faiss)
