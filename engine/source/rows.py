"""Rows from memory as a source of items, or of ready-made vectors if a column holds them."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from quiver.engine.source import column
from quiver.engine.source.array import to_matrix
from quiver.engine.source.manifest import to_records, turn_away
from quiver.engine.source.memory import MemoryTable
from quiver.engine.source.place import Place
from quiver.engine.source.record import Gate, LeftOut, Problem, Tally, columns, rebatch
from quiver.engine.source.role import Choice, Roles, assign
from quiver.engine.source.roots import Roots
from quiver.errors import BadData
from quiver.types import MEDIA


class Seen:
    """The ids of all blocks of one add, so that an id that comes twice is a problem, not an update."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self.twice = Tally()
        self.gate = Gate(self.problems, self.twice)


@dataclass(frozen=True, slots=True)
class Rows:
    """One block of rows.

    Attributes:
        table: the rows.
        roles: the roles of their columns.
        schema: the metadata columns.
        notes: notes for the user.
        seen: the ids so far.
        vector: the column of vectors, or None.
        dim: dimension of the vectors; 0 without any.
    """

    table: MemoryTable
    roles: Roles
    schema: pa.Schema
    notes: tuple[str, ...]
    seen: Seen
    vector: str | None = None
    dim: int = 0
    _problems: list[Problem] = field(default_factory=list, repr=False, compare=False)

    @property
    def total(self) -> int:
        """Number of rows."""
        return self.table.rows

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Rows that name an item again."""
        return self.seen.twice.left_out()

    def problems(self) -> list[Problem]:
        """Return the problems of the latest iteration, each once."""
        found = [*self.table.problems, *self._problems, *self.seen.problems]
        self.seen.problems.clear()
        return found

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Yield the records, and their vectors if there are any."""
        self._problems.clear()
        yield from rebatch(self._records(), size)

    def _records(self) -> Iterator[pa.RecordBatch]:
        first = self.table.first
        start = 0
        for batch in self.table.read(self.roles.reading(self.table.schema), _ignore):
            nameless = pa.array([f"{self.table.path}#{first + start + row}" for row in range(len(batch))], pa.string())
            records, bad = to_records(
                batch, self.roles, schema=self.schema, fallback=nameless, required=self.vector is None
            )
            ids = records.column("id").to_pylist()
            for row, (id, other) in enumerate(zip(ids, nameless.to_pylist(), strict=True)):
                if id == other:
                    bad.setdefault(row, "it has no id: give the rows a column id, or name one with id_column=")
            if self.vector is not None:
                records = self._with_vectors(records, start, bad)
            kept = turn_away(records, bad, problems=self._problems, uri="")
            yield self.seen.gate.admit(kept, uri="")
            start += len(batch)

    def _with_vectors(self, records: pa.RecordBatch, start: int, bad: dict[int, str]) -> pa.RecordBatch:
        """Add the vectors of some rows; reasons of rows without one of the right length go to ``bad``."""
        values = self.table.table[self.vector].slice(start, len(records)).combine_chunks()
        for row, length in enumerate(pc.list_value_length(values).to_pylist()):
            if length != self.dim:
                has = f"a vector of {length:,} numbers" if length else "no vector"
                bad.setdefault(row, f"it has {has}, and vectors of this space have {self.dim:,} numbers")
        data = np.ascontiguousarray(to_matrix(values, self.dim), np.float32)
        lists = pa.FixedSizeListArray.from_arrays(pa.array(data.reshape(-1)), self.dim)
        whole = pa.schema([*columns(self.schema), ("vector", lists.type)])
        return pa.RecordBatch.from_arrays([*records.columns, lists], schema=whole)


def _ignore(where: str, reason: str) -> None:
    """Rows in memory are well-formed."""


def open_rows(
    table: MemoryTable, choice: Choice, *, roots: Roots, seen: Seen, vector: str | None = None, dim: int | None = None
) -> Rows:
    """Open a block of rows as a source; relative paths start from the working directory.

    Args:
        table: the rows.
        choice: the user's options for its columns.
        roots: roots of the collection: a file below one has the id that it has there.
        seen: the ids of earlier blocks.
        vector: the column of vectors, or None.
        dim: dimension of the space, or None for a new space: then it is the length of most vectors.

    Raises:
        BadData: there is no column of media, or of vectors, or no row can have an id.
    """
    _refuse_contents(table, choice)
    width = 0 if vector is None else _dim(table, vector, dim)
    readable = table if vector is None else replace_columns(table, vector)
    roles, notes = assign(readable, choice, vectors=vector is not None)
    own = Place.of(table.path)
    roles = replace(roles, place=replace(own, root=os.getcwd(), prefix="", roots=roots))
    files = roles.path or any(key != "text" for key in roles.media)
    if not (roles.id or (files and vector is None)):
        has = next(
            (
                f", and {note.removesuffix(', so it is not used as id')}"
                for note in notes
                if note.endswith("not used as id")
            ),
            "",
        )
        raise BadData(
            f"rows need ids{has}: give them a column id with a different value in each row, or name one with"
            f" id_column=; the columns are {', '.join(table.table.schema.names)}"
        )
    return Rows(readable, roles, roles.metadata(readable.schema), notes, seen, vector, width)


def replace_columns(table: MemoryTable, vector: str) -> MemoryTable:
    """Return the rows without the column of vectors among their metadata."""
    kept = pa.schema([each for each in table.schema if each.name != vector])
    notes = tuple(note for note in table.notes if not note.startswith(f"column {vector} is left out"))
    return replace(table, schema=kept, notes=notes)


def _dim(table: MemoryTable, name: str, wanted: int | None) -> int:
    """Return the length of the vectors in a column: the wanted length if some have it, else that of most.

    Raises:
        BadData: there is no such column, or it has no vectors.
    """
    known = table.table.schema.names
    values = table.table[column.known(name, known, path=table.path)]
    kind = values.type
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    if pa.types.is_list(kind) or pa.types.is_large_list(kind):
        lengths = pc.value_counts(pc.list_value_length(values)).to_pylist()
        counts: dict[int, int] = {each["values"]: each["counts"] for each in lengths if each["values"]}
        if counts and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
            return wanted if wanted is not None and wanted in counts else max(counts, key=lambda length: counts[length])
    raise BadData(f"column {name} has no vectors: it has the type {kind}, and vectors are lists of numbers")


def _refuse_contents(table: MemoryTable, choice: Choice) -> None:
    """Refuse media that are given as content: items refer to files."""
    for name in {*MEDIA, *choice.named.values()} - {*table.schema.names}:
        if name in table.table.schema.names and (
            name in choice.named.values() or not choice.only or name in choice.only
        ):
            kind = table.table.schema.field(name).type
            raise BadData(
                f"column {name} has the type {kind}: media are paths or URIs of files: save them as files first"
            )
