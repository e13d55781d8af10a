"""A metadata table of a folder: its rows become the metadata of the files they name."""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from quiver.engine.source import column
from quiver.engine.source.place import Place
from quiver.engine.source.record import Problem
from quiver.engine.source.references import composed, plain
from quiver.engine.source.role import PATHS, Choice, identity, media_columns
from quiver.engine.source.table import Table, open_table
from quiver.engine.source.walk import Entry
from quiver.errors import BadData
from quiver.wording import either

if TYPE_CHECKING:
    import pyarrow as pa

_KEYS = (*PATHS, "image", "audio", "video", "img", "key", "name", "stem", "id")
#: Ways in which a value can name a file, in order of preference: a tie goes to the stricter way.
_WAYS: Mapping[str, Callable[[Entry], str]] = {
    "path below the folder": lambda entry: entry.below,
    "id": lambda entry: entry.id,
    "path from the table": lambda entry: entry.path,
    "file name": lambda entry: os.path.basename(entry.below),
    "stem": lambda entry: os.path.splitext(os.path.basename(entry.below))[0],
}


@dataclass(frozen=True, slots=True)
class Match:
    """How the rows of a table name files.

    Attributes:
        column: the column of file names.
        way: the form of its file names.
        rows: row by value.
        plain: row by normalised value, see ``references.plain``.
        files: number of files.
        matched: number of files with a row.
        used: number of rows with a file.
    """

    column: str
    way: str
    rows: Mapping[str, int]
    plain: Mapping[str, int]
    files: int
    matched: int
    used: int


@dataclass(frozen=True, slots=True)
class Join:
    """Metadata in memory, and the row of each file.

    Attributes:
        path: the table.
        schema: the metadata columns.
        columns: their values.
        media: absolute references that the table adds, by media key.
        ids: the id of every row, or None to keep the ids of the files.
        match: the row of each file.
        notes: what a user should be told.
        problems: rows that could not be read.
    """

    path: str
    schema: "pa.Schema"
    columns: Sequence["pa.Array"]
    media: Mapping[str, "pa.Array"]
    ids: "pa.Array | None"
    match: Match
    notes: tuple[str, ...]
    problems: tuple[Problem, ...]

    def find(self, entries: Iterable[Entry]) -> "pa.Array":
        """Return the row of every entry, null where it has none."""
        import pyarrow as pa

        name = _WAYS[self.match.way]
        return pa.array([_row(self.match.rows, self.match.plain, name(entry)) for entry in entries], pa.int64())


def join(path: str, entries: Callable[[], Iterator[Entry]], *, key: str | None, choice: Choice) -> Join:
    """Read a table and find its column of file names, and their form.

    Args:
        path: the table.
        entries: walks over the files from the start.
        key: column of file names; None to find it.
        choice: the user's options for its columns.

    Raises:
        BadData: the table has no column ``key``, or none of its values names a file.
    """
    import pyarrow as pa

    table = open_table(os.path.abspath(path))
    names = table.schema.names
    wanted = [column.known(key, names, path=path)] if key else [name for name in _KEYS if name in names]
    match = _match(table, wanted, entries)
    ids, id_notes = identity(table, choice, among=("id",))
    added = {k: v for k, v in media_columns(table, choice).items() if k in choice.named or k == "text"}
    used = {match.column, *added.values(), *(("id",) if ids == "id" else ())}
    meta = column.rename([name for name in names if name not in used], choice.stored)
    problems: list[Problem] = []
    columns = _load(table, pa.schema([table.schema.field(name) for name in meta]), problems)
    strings = _load(table, pa.schema([(name, pa.string()) for name in {*added.values(), ids} - {None}]), [])
    place = Place.of(table.path)
    filled = {name: column.filled(values) for name, values in strings.items()}
    return Join(
        path=table.path,
        schema=pa.schema([table.schema.field(old).with_name(new) for old, new in meta.items()]),
        columns=tuple(columns.values()),
        media={k: filled[v] if k == "text" else place.resolve(filled[v]) for k, v in added.items()},
        ids=filled[ids] if ids else None,
        match=match,
        notes=(
            *table.notes,
            *_match_notes(table, match),
            *_nearly(match, entries),
            *id_notes,
            *column.renaming_notes(meta),
        ),
        problems=tuple(problems),
    )


def _load(table: Table, schema: "pa.Schema", problems: list[Problem]) -> dict[str, "pa.Array"]:
    """Read whole columns into memory."""
    import pyarrow as pa

    if not len(schema):
        return {}

    def report(where: str, reason: str) -> None:
        problems.append(Problem(where, table.path, reason))

    whole = pa.Table.from_batches(table.read(schema, report), schema).combine_chunks()
    return {name: whole.column(name).combine_chunks() for name in schema.names}


def _row(rows: Mapping[str, int], plain: Mapping[str, int], name: str) -> int | None:
    """Return the row that names a file, as written or in normalised form."""
    row = rows.get(name)
    if row is not None:
        return row
    form = composed(name)
    return rows.get(form, plain.get(form))


def _match(table: Table, wanted: Sequence[str], entries: Callable[[], Iterator[Entry]]) -> Match:
    """Return the column and way that match most files."""
    trials = [(name, way) for name in wanted for way in _WAYS]
    rows = {(name, way): found for name in wanted for way, found in _rows(table, name).items()}
    loose = {trial: _plain(trial[1], found) for trial, found in rows.items()}
    counts = dict.fromkeys(trials, 0)
    hit = {trial: bytearray(table.rows) for trial in trials}
    files = 0
    example = ""
    for entry in entries():
        files += 1
        example = example or entry.below
        for trial in trials:
            row = _row(rows[trial], loose[trial], _WAYS[trial[1]](entry))
            if row is not None:
                counts[trial] += 1
                hit[trial][row] = 1
    best = max(trials, key=lambda trial: counts[trial], default=None)
    if best is None or not counts[best]:
        shown = either("COLUMN", "'column'")
        raise BadData(
            f"{table.path}: no value of {' or '.join(wanted) or 'any column'} names a file such as {example}; "
            f"name the column that does, as in {either('--key ', 'key=')}{shown}; there are"
            f" {', '.join(table.schema.names)}"
        )
    return Match(*best, rows[best], loose[best], files=files, matched=counts[best], used=sum(hit[best]))


def _rows(table: Table, name: str) -> dict[str, dict[str, int]]:
    """Return, for every way, the row by value, with normalised paths; the first row of a repeated value."""
    place = Place.of(table.path)
    plain: dict[str, int] = {}
    below: dict[str, int] = {}
    absolute: dict[str, int] = {}
    values = (value for batch in table.texts(name) for value in batch.column(0).to_pylist())
    for row, value in enumerate(values):
        if value:
            plain.setdefault(value, row)
            below.setdefault(os.path.normpath(value), row)
            absolute.setdefault(place.absolute(value), row)
    return {way: plain for way in _WAYS} | {"path below the folder": below, "path from the table": absolute}


def _plain(way: str, rows: Mapping[str, int]) -> dict[str, int]:
    """Return the values whose normalised form differs; the first row of a repeated value."""
    found: dict[str, int] = {}
    for escapes in (False, True):
        for value, row in rows.items():
            form = plain(value, escapes=escapes)
            form = os.path.normpath(form) if way == "path below the folder" else form
            if form != value:
                found.setdefault(form, row)
    return found


def _nearly(match: Match, entries: Callable[[], Iterator[Entry]]) -> Iterator[str]:
    """Return a note on files that differ from a row only in upper and lower case."""
    if match.matched == match.files:
        return
    name = _WAYS[match.way]
    folded = {plain(value).casefold(): value for value in match.rows}
    missed = (name(entry) for entry in entries() if _row(match.rows, match.plain, name(entry)) is None)
    near = [(each, folded[form]) for each in missed if (form := composed(each).casefold()) in folded]
    if near:
        yield f"files that match no row only because upper and lower case differ: {len(near)}, such as " + " and ".join(
            near[0]
        )


def _match_notes(table: Table, match: Match) -> Iterator[str]:
    name = os.path.basename(table.path)
    yield f"{name}: column {match.column} names {match.matched} of {match.files} files by {match.way}"
    if match.files > match.matched:
        yield f"files without a row in {name}, their metadata null: {match.files - match.matched}"
    if table.rows > match.used:
        yield f"rows of {name} without a file, or of a file named before: {table.rows - match.used}"
    if match.matched > match.used:
        yield f"files that share a row of {name} with another of the same {match.way}: {match.matched - match.used}"
