"""Metadata columns that name further pictures of a pair: their relative paths start where those of media do."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quiver.engine.source import column
from quiver.engine.source.chain import Chain
from quiver.engine.source.folder import Files
from quiver.engine.source.manifest import Manifest
from quiver.engine.source.meta import Join
from quiver.engine.source.place import Place
from quiver.engine.source.record import LeftOut, Problem, Source

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class _Located:
    """A manifest of pairs whose columns of paths are absolute."""

    table: Manifest
    names: Collection[str]

    @property
    def schema(self) -> "pa.Schema":
        return self.table.schema

    @property
    def total(self) -> int | None:
        return self.table.total

    @property
    def notes(self) -> tuple[str, ...]:
        return self.table.notes

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        return self.table.left_out

    def problems(self) -> list[Problem]:
        return self.table.problems()

    def batches(self, size: int) -> Iterator["pa.RecordBatch"]:
        for batch in self.table.batches(size):
            yield self._rewritten(batch)

    def _rewritten(self, batch: "pa.RecordBatch") -> "pa.RecordBatch":
        import pyarrow as pa

        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        columns |= {name: _absolute(self.table.roles.place, columns[name]) for name in self.names}
        return pa.RecordBatch.from_arrays(list(columns.values()), schema=batch.schema)


def located(source: Source, names: Collection[str]) -> Source:
    """Return a source in which the paths of some metadata columns are absolute, as those of its media are.

    A relative path starts from the folder of the table that it stands in. Only tables of pairs are changed, and only
    columns of strings; URIs, nulls and empty values stay as they are.

    Args:
        source: of ``open``.
        names: columns, such as ``distractor``; those that are not there are passed over.
    """
    if isinstance(source, Chain):
        return replace(source, sources=tuple(located(each, names) for each in source.sources))
    if isinstance(source, Manifest) and "before" in source.roles.media:
        found = _strings(source.schema, names)
        return _Located(source, found) if found else source
    if isinstance(source, Files) and source.join is not None and "before" in source.join.media:
        return replace(source, join=_joined(source.join, _strings(source.join.schema, names)))
    return source


def _joined(join: Join, names: Collection[str]) -> Join:
    place = Place.of(join.path)
    columns = [
        _absolute(place, values) if name in names else values
        for name, values in zip(join.schema.names, join.columns, strict=True)
    ]
    return replace(join, columns=tuple(columns))


def _strings(schema: "pa.Schema", names: Collection[str]) -> list[str]:
    import pyarrow as pa

    texts = (pa.types.is_string, pa.types.is_large_string)
    return [name for name in names if name in schema.names and any(is_a(schema.field(name).type) for is_a in texts)]


def _absolute(place: Place, values: "pa.Array") -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    written = values.cast(pa.string())
    return pc.coalesce(place.resolve(column.filled(written)), written).cast(values.type)
