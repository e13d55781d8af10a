"""The output of every source: record batches of one form, and problems.

A record has the columns ``id`` (string, never null), the six media columns of ``quiver.types.MEDIA``
(string, null where absent), then the metadata columns of its source.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from quiver.types import MEDIA

if TYPE_CHECKING:
    import pyarrow as pa

_EXAMPLES = 3  # examples kept per reason


@dataclass(frozen=True, slots=True)
class Problem:
    """One item or row that was left out, and why.

    Attributes:
        id: the item's id, or the file and row if it has none.
        uri: its first media reference, or the file that was read.
        reason: one line to show after the id.
    """

    id: str
    uri: str
    reason: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Files or rows that are not items, and why.

    Attributes:
        reason: in plain words, such as ``hidden files``.
        count: how many.
        examples: the names of the first.
    """

    reason: str
    count: int
    examples: tuple[str, ...]

    def less(self, count: int) -> "LeftOut":
        """Return it with a smaller count."""
        return LeftOut(self.reason, self.count - count, self.examples)

    def __str__(self) -> str:
        more = ", ..." if self.count > len(self.examples) else ""
        return f"{self.count:,} {self.reason}" + (f" ({', '.join(self.examples)}{more})" if self.examples else "")


class Tally:
    """Counts files and rows that are left out, by reason, and keeps the first names as examples."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}
        self._counts: Counter[str] = Counter()

    def add(self, reason: str, name: str) -> None:
        """Count one file or row."""
        self._counts[reason] += 1
        if self._counts[reason] <= _EXAMPLES:
            self._found.setdefault(reason, []).append(name)

    def clear(self) -> None:
        """Start anew."""
        self._found.clear()
        self._counts.clear()

    def update(self, other: "Tally") -> None:
        """Add the counts of another tally."""
        for each in other.left_out():
            names = self._found.setdefault(each.reason, [])
            names += each.examples[: _EXAMPLES - len(names)]
            self._counts[each.reason] += each.count

    def left_out(self) -> tuple[LeftOut, ...]:
        """Return the counts, the most frequent first."""
        return tuple(LeftOut(reason, count, tuple(self._found[reason])) for reason, count in self._counts.most_common())


class Source(Protocol):
    """A stream of items as Arrow record batches; every call of ``batches`` starts again."""

    @property
    def total(self) -> int | None:
        """Number of items, bad ones included, or None if counting is too expensive."""
        ...

    @property
    def schema(self) -> "pa.Schema":
        """The metadata columns alone."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user, such as renamed columns and rows without a file."""
        ...

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files and rows that are not items, and why."""
        ...

    def batches(self, size: int) -> Iterator["pa.RecordBatch"]:
        """Yield records, ``size`` to a batch except in the last one."""
        ...

    def problems(self) -> list[Problem]:
        """Return the problems of the latest iteration."""
        ...


@dataclass(frozen=True, slots=True)
class FileSource:
    """What sources of files have in common: the problems of the latest iteration, and items that were named twice.

    A subclass yields its records by ``_records``.
    """

    _problems: list[Problem] = field(default_factory=list, repr=False, compare=False, kw_only=True)
    _twice: Tally = field(default_factory=Tally, repr=False, compare=False, kw_only=True)

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Items that were named twice."""
        return self._twice.left_out()

    def problems(self) -> list[Problem]:
        """Return the problems of the latest iteration."""
        return list(self._problems)

    def batches(self, size: int) -> Iterator["pa.RecordBatch"]:
        """Yield the records, read as they are needed."""
        self._problems.clear()
        self._twice.clear()
        yield from rebatch(self._records(size), size)

    def _records(self, size: int) -> Iterator["pa.RecordBatch"]:
        """Yield batches of any length; ``size`` is the length that is wanted."""
        raise NotImplementedError


def columns(schema: "pa.Schema") -> "pa.Schema":
    """Return the schema of a source's batches, given the schema of its metadata."""
    import pyarrow as pa

    head = [pa.field("id", pa.string(), nullable=False), *(pa.field(key, pa.string()) for key in MEDIA)]
    return pa.schema([*head, *schema])


def assemble(
    ids: "pa.Array", media: Mapping[str, "pa.Array"], *, meta: Sequence["pa.Array"], schema: "pa.Schema"
) -> "pa.RecordBatch":
    """Assemble the columns of one batch; a missing media key becomes a column of nulls."""
    import pyarrow as pa

    empty = pa.nulls(len(ids), pa.string())
    arrays = [ids, *(media.get(key, empty) for key in MEDIA), *meta]
    return pa.RecordBatch.from_arrays(arrays, schema=columns(schema))


def first_reference(media: Mapping[str, "pa.Array"], row: int) -> str | None:
    """Return the first media reference of a row, text excluded."""
    values = (media[key][row].as_py() for key in MEDIA[1:] if key in media)
    return next((value for value in values if value), None)


def rebatch(batches: Iterator["pa.RecordBatch"], size: int) -> Iterator["pa.RecordBatch"]:
    """Regroup a stream into batches of exactly ``size`` rows; the last may be smaller, none is empty."""
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
    """Passes each id once, and keeps the seen ids in memory.

    A repeated id is a problem, unless the item has the same file and text and no metadata: then it was only named
    twice.
    """

    def __init__(self, problems: list[Problem], twice: Tally) -> None:
        self._seen: dict[str, int] = {}
        self._problems = problems
        self._twice = twice

    def admit(self, batch: "pa.RecordBatch", *, uri: str) -> "pa.RecordBatch":
        """Return the rows with a new id; ``uri`` is reported for problems of rows with text alone."""
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
            reason = "this id is repeated in the same add; the first item is kept: ids must be unique"
            self._problems.append(Problem(item, reference or uri, reason))
        return False
