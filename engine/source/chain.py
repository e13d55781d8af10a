"""Several sources in sequence, with the union of their metadata columns."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from quiver.engine.core.metadata import convert
from quiver.engine.source.column import union
from quiver.engine.source.record import Gate, LeftOut, Problem, Source, Tally, columns, rebatch
from quiver.errors import BadData

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Chain:
    """Sources in the given order; a repeated id is reported as a problem of the later source.

    Attributes:
        sources: the sources.
        schema: all their metadata columns; a column of several types gets a common type.
    """

    sources: tuple[Source, ...]
    schema: "pa.Schema"
    _problems: list[Problem] = field(default_factory=list, repr=False, compare=False)
    _twice: Tally = field(default_factory=Tally, repr=False, compare=False)

    @property
    def total(self) -> int | None:
        """The sum of the sources' totals, or None if one is unknown."""
        totals = [source.total for source in self.sources]
        return None if None in totals else sum(total for total in totals if total is not None)

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of all sources."""
        return tuple(note for source in self.sources for note in source.notes)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files and rows that the sources leave out."""
        return (*(each for source in self.sources for each in source.left_out), *self._twice.left_out())

    def problems(self) -> list[Problem]:
        """Return the problems of the latest iteration."""
        return [*(problem for source in self.sources for problem in source.problems()), *self._problems]

    def batches(self, size: int) -> Iterator["pa.RecordBatch"]:
        """Yield the records of all sources."""
        self._problems.clear()
        self._twice.clear()
        yield from rebatch(self._records(size), size)

    def _records(self, size: int) -> Iterator["pa.RecordBatch"]:
        gate = Gate(self._problems, self._twice)
        wanted = columns(self.schema)
        for source in self.sources:
            for batch in source.batches(size):
                yield gate.admit(_widen(batch, wanted), uri="")


def chain(sources: Sequence[Source], *, check: bool = False) -> Source:
    """Return one source for several.

    Args:
        sources: the sources in order.
        check: whether to check even a single source for repeated ids.
    """
    if len(sources) == 1 and not check:
        return sources[0]
    return Chain(tuple(sources), union([source.schema for source in sources]))


def _widen(batch: "pa.RecordBatch", wanted: "pa.Schema") -> "pa.RecordBatch":
    """Convert a batch to the columns and types of all sources.

    Raises:
        BadData: an integer is too large for the floats that the column has in another source.
    """
    import pyarrow as pa

    arrays = []
    for each in wanted:
        if each.name not in batch.schema.names:
            arrays.append(pa.nulls(len(batch), each.type))
            continue
        try:
            arrays.append(convert(pa.chunked_array([batch.column(each.name)]), each.type).combine_chunks())
        except pa.ArrowInvalid as error:
            raise BadData(
                f"column {each.name} has different types in the sources: {error}; add them one by one"
            ) from error
    return pa.RecordBatch.from_arrays(arrays, schema=wanted)
