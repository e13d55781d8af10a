"""What every source gives: record batches of one form, and the problems met on the way.

A record has the columns ``id`` (string, never null), the six media columns of ``quiver.types.MEDIA``
(string, null where absent), then the metadata columns of its source.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from quiver.types import MEDIA

if TYPE_CHECKING:
    import pyarrow as pa

_EXAMPLES = 3  # names kept of each reason


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that was left out, and why.

    Attributes:
        id: the item's id, or the file and row where it has none.
        uri: its first media reference, or the file that was being read.
        reason: one line fit to be shown beside the id.
    """

    id: str
    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files or rows that are no items, and why.

    Attributes:
        reason: in plain words, such as ``hidden files``.
        count: how many.
        examples: the names of the first.
    """

    reason: str
    count: int
    examples: tuple[str, ...]

    def less(self, count: int) -> "LeftOut":
        """Return it without so many."""
        return LeftOut(self.reason, self.count - count, self.examples)

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count:,} {self.reason}" + (f" ({', '.join(self.examples)}{more})" if self.examples else "")


class Tally:
    """Counts things that are left out, by reason, and keeps the names of the first."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, reason: str, name: str) -> None:
        """Count one thing."""
        self._counts[reason] += 1
        if self._counts[reason] <= _EXAMPLES:
            self._found.setdefault(reason, []).append(name)

    def clear(self) -> None:
        """Start anew."""
        self._found.clear()
        self._counts.clear()

    def update(self, other: "Tally") -> None:
        """Take over the counts of another one."""
        for each in other.left_out():
            names = self._found.setdefault(each.reason, [])
            names += each.examples[: _EXAMPLES - len(names)]
            self._counts[each.reason] += each.count

    def left_out(self) -> tuple[LeftOut, ...]:
        """Return the counts, the most frequent first."""
        return tuple(LeftOut(reason, count, tuple(self._found[reason])) for reason, count in self._counts.most_common())


class Source(Protocol):
    """A stream of items as Arrow record batches; ``batches`` may be called again and starts anew."""

    @property
    def total(self) -> int | None:
        """How many items there are before any is turned away, or None where counting costs too much."""
        ...

    @property
    def schema(self) -> "pa.Schema":
        """The metadata columns alone."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """What a user should be told: renamed columns, rows without a file."""
        ...

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files and rows that are no items, and why."""
        ...

    def batches(self, size: int) -> Iterator["pa.RecordBatch"]:
        """Yield records, ``size`` to a batch except in the last one."""
        ...

    def problems(self) -> list[Problem]:
        """Return what the latest iteration turned away."""
        ...


def columns(schema: "pa.Schema") -> "pa.Schema":
    """Return the schema of a source's batches, given that of its metadata."""
    import pyarrow as pa

    head = [pa.field("id", pa.string(), nullable=False), *(pa.field(key, pa.string()) for key in MEDIA)]
    return pa.schema([*head, *schema])


def assemble(
    ids: "pa.Array", media: Mapping[str, "pa.Array"], *, meta: Sequence["pa.Array"], schema: "pa.Schema"
) -> "pa.RecordBatch":
    """Put the columns of one batch together; a media key that is missing is null throughout."""
    import pyarrow as pa

    empty = pa.nulls(len(ids), pa.string())
    arrays = [ids, *(media.get(key, empty) for key in MEDIA), *meta]
    return pa.RecordBatch.from_arrays(arrays, schema=columns(schema))


def first_reference(media: Mapping[str, "pa.Array"], row: int) -> str | None:
    """Return the first media reference of a row that is not its text."""
    values = (media[key][row].as_py() for key in MEDIA[1:] if key in media)
    return next((value for value in values if value), None)


def rebatch(batches: Iterator["pa.RecordBatch"], size: int) -> Iterator["pa.RecordBatch"]:
    """Cut and join a stream into batches of exactly ``size`` rows; the last may be smaller, none is empty."""
    import pyarrow as pa

    if size < 1:
        raise ValueError(f"a batch has at least one row, not {size}")
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        waiting.append(batch)
        count += len(batch)
        if count >= size:
            whole = pa.concat_batches(waiting)
            cut = count - count % size
            yield from (whole.slice(start, size) for start in range(0, cut, size))
            waiting, count = [whole.slice(cut)], count - cut
    if count:
        yield pa.concat_batches(waiting)


class Gate:
    """Lets each id through once, and keeps the ids it saw in memory.

    A repeated id is a problem, unless it comes with the same file and text and no metadata: then something was named
    twice.
    """

    def __init__(self, problems: list[Problem], twice: Tally) -> None:
        self._seen: dict[str, int] = {}
        self._problems = problems
        self._twice = twice

    def admit(self, batch: "pa.RecordBatch", *, uri: str) -> "pa.RecordBatch":
        """Return the rows whose id is new; ``uri`` stands in a problem whose row holds text alone."""
        import pyarrow as pa
        import pyarrow.compute as pc

        ids = batch.column("id").to_pylist()
        files = pc.coalesce(*(batch.column(key) for key in MEDIA[1:])).to_pylist()
        fresh = dict(zip(ids, map(hash, zip(files, batch.column("text").to_pylist(), strict=True)), strict=True))
        if len(fresh) == len(ids) and self._seen.keys().isdisjoint(fresh):
            self._seen |= fresh
            return batch
        keep = [self._is_new(batch, row, uri) for row in range(len(ids))]
        return batch.filter(pa.array(keep))

    def _is_new(self, batch: "pa.RecordBatch", row: int, uri: str) -> bool:
        item = batch.column("id")[row].as_py()
        media = {key: batch.column(key) for key in MEDIA}
        reference, text = first_reference(media, row), media["text"][row].as_py()
        found = hash((reference, text))
        if item not in self._seen:
            self._seen[item] = found
            return True
        if self._seen[item] == found and (reference or text) and batch.num_columns == 1 + len(MEDIA):
            self._twice.add("items that were named twice", item)
        else:
            reason = "this id came before in the same add, and the first one is kept: ids must be unique"
            self._problems.append(Problem(item, reference or uri, reason))
        return False
