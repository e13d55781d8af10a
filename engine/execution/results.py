"""Lazy hits: a search finds row numbers; ids and metadata are read on first access, since reading costs more."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeVar, overload

from quiver.engine.core.ranking import Scores
from quiver.engine.execution.frames import Frames
from quiver.engine.execution.plan import Result
from quiver.engine.storage.item_cache import Shelf, View
from quiver.types import Hit, Rows, uri_of

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")
#: Returns the entries of each stage for some rows of query n.
Traces = Callable[[int, Sequence[int]], Sequence[Mapping[str, Any]]]


class BatchHits:
    """The rows found by a batch of queries, at the searched version.

    Attributes:
        rows: (q, w) row numbers, padded with -1.
        scores: (q, w).
        counts: number of hits per query.
        ms: milliseconds spent so far on reading hits.
    """

    def __init__(self, shelf: Shelf, view: View, rows: Rows, scores: Scores, traces: Traces) -> None:
        self.rows, self.scores = rows, scores
        full = rows.size and rows.min() >= 0
        self.counts: list[int] = [rows.shape[1]] * len(rows) if full else (rows >= 0).sum(axis=1).tolist()
        self.ms = 0.0
        self._shelf, self._view, self._traces = shelf, view, traces

    @cached_property
    def ids(self) -> Sequence[tuple[str, ...]]:
        """The ids of the hits of each query."""
        return self._timed(self._named)

    def _named(self) -> Sequence[tuple[str, ...]]:
        every = self._shelf.ids(self._view, self._every())
        return [
            tuple(every[end - count : end]) for count, end in zip(self.counts, accumulate(self.counts), strict=True)
        ]

    @cached_property
    def items(self) -> Mapping[int, Mapping[str, Any]]:
        """Id, media and metadata of all hits, by row number."""
        return self._timed(lambda: self._shelf.items(self._view, self._every()))

    def hits(self, n: int) -> tuple[Hit, ...]:
        """Build the hits of query n."""
        rows, scores = (each[n, : self.counts[n]].tolist() for each in (self.rows, self.scores))
        items = [self.items[row] for row in rows]
        return self._timed(
            lambda: tuple(
                Hit(item["id"], score, uri_of(item["media"]), item["meta"], trace, item["media"])
                for item, score, trace in zip(items, scores, self._traces(n, rows), strict=True)
            )
        )

    @property
    def types(self) -> Mapping[str, Any]:
        """Arrow types of the metadata columns, by name."""
        schema = self._shelf.table.schema
        return {name: schema.field(name).type for name in self._view.names if name in schema.names}

    def _every(self) -> Rows:
        full = sum(self.counts) == self.rows.size
        return self.rows.ravel() if full else self.rows[self.rows >= 0]

    def _timed(self, read: Callable[[], T]) -> T:
        started = perf_counter()
        found = read()
        self.ms += (perf_counter() - started) * 1e3
        return found


class Hits(Sequence[Hit]):
    """The hits of one query, best first; equal to a tuple of the same hits."""

    __slots__ = ("_found", "_made", "_n")

    def __init__(self, found: BatchHits, n: int) -> None:
        self._found, self._n = found, n
        self._made: tuple[Hit, ...] | None = None

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the hits; cheaper than the hits themselves."""
        if self._made is not None:
            return tuple(hit.id for hit in self._made)
        return self._found.ids[self._n]

    @property
    def ms(self) -> float:
        """Milliseconds spent so far on reading hits of the whole batch."""
        return self._found.ms

    def _all(self) -> tuple[Hit, ...]:
        if self._made is None:
            self._made = self._found.hits(self._n)
        return self._made

    def __len__(self) -> int:
        return self._found.counts[self._n]

    def __iter__(self) -> Iterator[Hit]:
        return iter(self._all())

    @overload
    def __getitem__(self, n: int) -> Hit: ...
    @overload
    def __getitem__(self, n: slice) -> tuple[Hit, ...]: ...
    def __getitem__(self, n: int | slice) -> Hit | tuple[Hit, ...]:
        return self._all()[n]

    def __eq__(self, other: object) -> bool:
        return self._all() == (other._all() if isinstance(other, Hits) else other)

    def __repr__(self) -> str:
        return repr(self._all())

    @property
    def types(self) -> Mapping[str, Any]:
        """Arrow types of the metadata columns, by name."""
        return self._found.types


class Results(Frames, Sequence[Result]):
    """The answers to a batch, in order of the queries; each is built on first access. Equal to a list of the same."""

    __slots__ = ("_count", "_ids", "_made", "_make")

    def __init__(
        self, count: int, make: Callable[[int], Result], ids: Callable[[], Sequence[tuple[str, ...]]] | None = None
    ) -> None:
        self._count, self._make, self._ids = count, make, ids
        self._made: dict[int, Result] = {}

    @classmethod
    def none(cls) -> "Results":
        """Return an empty list of answers."""
        return cls.of(())

    @classmethod
    def of(cls, results: Sequence[Result]) -> "Results":
        """Wrap existing answers."""
        return cls(len(results), results.__getitem__)

    @property
    def ids(self) -> Sequence[tuple[str, ...]]:
        """The ids of the hits of each query; cheaper than the answers themselves."""
        return [each.ids for each in self] if self._ids is None else self._ids()

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, n: int) -> Result: ...
    @overload
    def __getitem__(self, n: slice) -> "Results": ...
    def __getitem__(self, n: int | slice) -> "Result | Results":
        places = range(self._count)[n]
        if isinstance(places, range):
            part = slice(places.start, places.stop, places.step)
            return Results(len(places), lambda i: self[places[i]], lambda: self.ids[part])
        if places not in self._made:
            self._made[places] = self._make(places)
        return self._made[places]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and list(self) == list(other)

    def __repr__(self) -> str:
        count = len(self)
        first = f"; the first:\n{self[0]!r}" if count else ""
        return f"answers to {count:,} quer{'y' if count == 1 else 'ies'}{first}"

    def to_list(self) -> list[dict[str, Any]]:
        """Return the hits of all answers as dicts, as ``Result.to_list`` does, with the position of the query first."""
        return self.to_arrow().to_pylist()

    def to_arrow(self) -> "pa.Table":
        """Return the hits of all answers as an Arrow table; the column ``query`` is the position of the query."""
        from quiver.engine.execution import output

        return output.joined([result.to_arrow() for result in self])

    def write_trec(self, path: str | Path, queries: Sequence[str], *, tag: str = "quiver") -> None:
        """Write the hits as a TREC run file: query, Q0, id, rank, score, tag.

        Whitespace and ``%`` in ids are written as ``%XX``.

        Args:
            path: the file; an existing one is replaced.
            queries: an id for each query.
            tag: name of the run.

        Raises:
            BadData: an id is empty, or there are not as many ids as queries.
        """
        from quiver.engine.execution import output

        output.write_trec(path, list(self), queries, tag)
