"""A table as a source: every row is an item."""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quiver.engine.source import column
from quiver.engine.source.place import read_text
from quiver.engine.source.record import FileSource, Gate, Problem, assemble, first_reference
from quiver.engine.source.references import plain
from quiver.engine.source.role import Choice, Roles, assign
from quiver.engine.source.roots import Roots, Sample, Used, real
from quiver.engine.source.table import Table, open_table
from quiver.errors import BadMedia
from quiver.media import kind
from quiver.types import MEDIA
from quiver.wording import option

if TYPE_CHECKING:
    import pyarrow as pa

#: Order of the media that give a row its id if there is no id column.
_NAMING = ("image", "video", "audio", "before", "after")
_SAMPLED = 100  # rows at a time


@dataclass(frozen=True, slots=True)
class Manifest(FileSource):
    """The rows of a table.

    Attributes:
        table: the table.
        roles: the roles of its columns.
        schema: the metadata columns.
        notes: notes for the user.
    """

    table: Table
    roles: Roles
    schema: "pa.Schema"
    notes: tuple[str, ...]

    @property
    def total(self) -> int | None:
        """The number of well-formed rows."""
        return self.table.rows

    def rows(self) -> Iterator["pa.RecordBatch"]:
        """Yield the records of all readable rows, including rows with a repeated id."""
        self._problems.clear()
        yield from self._checked(unique=False)

    def _records(self, size: int) -> Iterator["pa.RecordBatch"]:
        return self._checked(unique=True)

    def _checked(self, *, unique: bool) -> Iterator["pa.RecordBatch"]:
        import pyarrow as pa

        path = self.table.path
        gate = Gate(self._problems, self._twice)
        first = 0
        for batch in self.table.read(self.roles.reading(self.table.schema), self._report):
            fallback = self.roles.place.prefix + os.path.basename(path)
            ids = pa.array([f"{fallback}#{row}" for row in range(first, first + len(batch))])
            records, bad = to_records(batch, self.roles, schema=self.schema, fallback=ids)
            kept = turn_away(records, bad, problems=self._problems, uri=path)
            yield gate.admit(kept, uri=path) if unique else kept
            first += len(batch)

    def sample(self) -> Sample:
        """Yield the path below the table's folder and the media of its rows, lazily."""
        for batch in self.batches(_SAMPLED):
            for row in batch.select(["id", *MEDIA]).to_pylist():
                below = row.pop("id").removeprefix(self.roles.place.prefix)
                yield below, {key: value for key, value in row.items() if value is not None}

    def _report(self, where: str, reason: str) -> None:
        self._problems.append(Problem(where, self.table.path, reason))


def open_manifest(path: str, choice: Choice, roots: Roots | None = None) -> Manifest:
    """Open a table as a source.

    Args:
        path: the table.
        choice: the user's options for its columns.
        roots: the roots of the collection; the folder of the table becomes one, unless a column holds the ids.

    Raises:
        BadData: it cannot be read, or it has no column of media.
    """
    table = open_table(os.path.abspath(path))
    roles, notes = assign(table, choice)
    manifest = Manifest(table, roles, roles.metadata(table.schema), notes)
    if roots is None:
        return manifest
    place = replace(roles.place, roots=roots)
    if not roles.id:
        prefix = roots.name(place.root, "table", sample=manifest.sample)
        place = replace(place, prefix=prefix)
        roots.used.pop()
    roots.used.append(Used(real(table.path), f"{place.prefix}{os.path.basename(table.path)}#", "table"))
    return replace(manifest, roles=replace(roles, place=place))


def to_records(
    batch: "pa.RecordBatch", roles: Roles, *, schema: "pa.Schema", fallback: "pa.Array", required: bool = True
) -> tuple["pa.RecordBatch", dict[int, str]]:
    """Convert rows of a table to records.

    Args:
        batch: columns as in ``roles.reading``.
        roles: the roles of the columns.
        schema: the metadata columns.
        fallback: ids of rows without any other id.
        required: whether a row without media is a problem.

    Returns:
        One record per row, and the reasons of bad rows by row.
    """
    import pyarrow.compute as pc

    bad: dict[int, str] = {}
    written = {key: column.filled(batch.column(name)) for key, name in roles.media.items()}
    media = {key: values if key == "text" else roles.place.resolve(values) for key, values in written.items()}
    names = [written[key] for key in _NAMING if key in written]
    if roles.path:
        names.insert(0, column.filled(batch.column(roles.path)))
        _add_paths(media, names[0], roles, bad=bad if required else {})
    if required:
        _check_media(media, len(batch), roles, bad)
    if roles.id:
        ids = column.filled(batch.column(roles.id))
        bad.update((row, f"its id is empty (column {roles.id})") for row in _rows(pc.is_null(ids)))
        ids = pc.coalesce(ids, fallback)
    elif names and required:
        ids = pc.coalesce(roles.place.identify(pc.coalesce(*names)), fallback)
    else:
        ids = fallback
    return assemble(ids, media, meta=[batch.column(name) for name in roles.meta], schema=schema), bad


def turn_away(records: "pa.RecordBatch", bad: dict[int, str], *, problems: list[Problem], uri: str) -> "pa.RecordBatch":
    """Return the good rows and report the bad ones; ``uri`` replaces a missing media reference."""
    import numpy as np
    import pyarrow as pa

    if not bad:
        return records
    media = {key: records.column(key) for key in MEDIA}
    keep = np.ones(len(records), bool)
    for row in sorted(bad):
        keep[row] = False
        problems.append(Problem(records.column("id")[row].as_py(), first_reference(media, row) or uri, bad[row]))
    return records.filter(pa.array(keep))


def _rows(mask: "pa.Array") -> list[int]:
    import pyarrow.compute as pc

    return pc.indices_nonzero(mask).to_pylist()


def _add_paths(media: dict[str, "pa.Array"], written: "pa.Array", roles: Roles, *, bad: dict[int, str]) -> None:
    """Assign every path to the medium of its extension; columns named after a medium take precedence."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kinds = _kinds(written, roles.choice.only_kind)
    unknown = pc.and_(pc.is_valid(written), pc.is_null(kinds))
    for row in _rows(unknown):
        bad[row] = f"{written[row]} has no known extension: name its medium, as in {option('media', 'image')}"
    paths = roles.place.resolve(written)
    only = roles.choice.only
    for key in pc.unique(kinds.drop_null()).to_pylist():
        if only and key not in only:
            continue
        found = pc.if_else(pc.fill_null(pc.equal(kinds, key), False), paths, pa.scalar(None, pa.string()))
        found = _contents(found, bad) if key == "text" else found
        media[key] = pc.coalesce(media[key], found) if key in media else found


def _kinds(written: "pa.Array", otherwise: str | None) -> "pa.Array":
    """Return the medium of every path, determined once per extension."""
    import pyarrow as pa
    import pyarrow.compute as pc

    tails = pc.replace_substring_regex(written, r"^.*[.]([^./]*)$", r"\1").dictionary_encode()
    kinds = [kind("x." + plain(re.split("[?#]", tail)[0])) or otherwise for tail in tails.dictionary.to_pylist()]
    return pa.array(kinds, pa.string()).take(tails.indices)


def _contents(paths: "pa.Array", bad: dict[int, str]) -> "pa.Array":
    import pyarrow as pa

    texts: list[str | None] = []
    for row, path in enumerate(paths.to_pylist()):
        try:
            texts.append(None if path is None else read_text(path))
        except BadMedia as error:
            bad[row] = str(error)
            texts.append(None)
    return pa.array(texts, pa.string())


def _check_media(media: dict[str, "pa.Array"], rows: int, roles: Roles, bad: dict[int, str]) -> None:
    import pyarrow as pa
    import pyarrow.compute as pc

    nothing = pa.nulls(rows, pa.string())
    empty = pc.is_null(nothing)
    for values in media.values():
        empty = pc.and_(empty, pc.is_null(values))
    columns = ", ".join(name for name in (roles.path, *roles.media.values()) if name)
    wanted = f" that is {' or '.join(sorted(roles.choice.only))}" if roles.choice.only else ""
    for row in _rows(empty):
        bad.setdefault(row, f"it has no media{wanted} (looked in {columns})")
    if "before" in media or "after" in media:
        halves = [pc.is_null(media.get(key, nothing)) for key in ("before", "after")]
        for row in _rows(pc.xor(*halves)):
            bad.setdefault(row, "a pair needs both before and after")
