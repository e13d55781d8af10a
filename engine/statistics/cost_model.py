"""What a search takes: a few figures of the machine, and the arithmetic from them to milliseconds."""

from dataclasses import dataclass

#: Queries that are timed together; between one and so many, time grows evenly with their number.
TOGETHER = 64
#: Up to this share of the rows, those that match are picked; above, all are gone through.
_PICKED = 0.25


@dataclass(frozen=True, slots=True)
class Cost:
    """Milliseconds per query, asked alone and in a batch of TOGETHER."""

    alone: float
    together: float

    def ms(self, queries: int) -> float:
        """Return the milliseconds of each of so many queries asked at once.

        >>> Cost(1.0, 0.25).ms(1), Cost(1.0, 0.25).ms(64)
        (1.0, 0.25)
        """
        each = max(0.0, TOGETHER * self.together - self.alone) / (TOGETHER - 1)
        return (self.alone - each) / queries + each

    def times(self, factor: float) -> "Cost":
        """Return so many times this cost."""
        return Cost(self.alone * factor, self.together * factor)

    def plus(self, other: "Cost") -> "Cost":
        """Return both costs together."""
        return Cost(self.alone + other.alone, self.together + other.together)


@dataclass(frozen=True, slots=True)
class Machine:
    """What searching takes on a machine, as ``quiver.engine.tuning.calibration`` measures it.

    The defaults are those of two cores of an AMD EPYC with AVX-512, for machines that were not measured yet.

    Attributes:
        scan: nanoseconds per number (row x width) of an exact scan of all rows; as a Cost, so per query.
        pick: the same, of rows that are picked by number.
        exact: milliseconds of an exact search that has next to nothing to do.
        faiss: the same of FAISS.
        lance: the same of Lance.
        bandwidth: gigabytes read per second.
        at: when it was measured, None for the defaults.
        key: which machine and versions it was measured with.
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
        """Estimate an exact search of so many rows, of which some match a condition."""
        few = matching is not None and matching <= _PICKED * rows
        numbers = (matching if few and matching is not None else rows) * dim
        return (self.pick if few else self.scan).times(numbers * 1e-6).plus(self.exact)

    def floor(self, kind: str) -> Cost:
        """Return the least that a search by a kind of index takes."""
        return {"exact": self.exact, "lance": self.lance}.get(kind, self.faiss)
