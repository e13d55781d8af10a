"""Queries of a table: media, examples, conditions and vectors to search with, and the right answers if it names them.

One reader for ``bench recall``, ``fit``, ``threshold`` and ``index --queries``. Columns by name: the media (``text``,
``image`` ..., or ``query``, ``question`` or ``caption`` for text), ``like``, ``unlike`` and ``exclude`` (an id, or a
JSON list of ids), ``where``, ``target``, ``vector`` (numbers), ``id`` (or ``_id``, ``qid``, ``query-id``), and the
answer with its ``grade``. BEIR's ``queries.jsonl`` is such a table. An ``npy`` file holds the vectors of queries alone.
Media files are queries too: a folder, a glob or one file, with a table joined to them that has the other columns.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from glob import has_magic
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from quiver.engine.source import column
from quiver.engine.source.array import open_array
from quiver.engine.source.manifest import to_records
from quiver.engine.source.place import Place
from quiver.engine.source.relevance import grade_of
from quiver.engine.source.role import CAPTIONS, Choice, Roles, check_files, choose, media_columns, path_column
from quiver.engine.source.table import Table, open_table
from quiver.errors import BadData, BadSpec, QuiverError
from quiver.media import kind
from quiver.types import LIKE, MEDIA, UNLIKE, Query
from quiver.wording import option

if TYPE_CHECKING:
    import pyarrow as pa

#: Columns of ids of queries, of text if there is no column ``text``, and of grades of answers.
IDS = ("id", "_id", "qid", "query-id", "query_id", "question_id")
TEXT = ("query", "question")
GRADE = ("grade", "relevance")
VECTOR = "vector"
_LISTS = (LIKE, UNLIKE, "exclude")
_PLAIN = ("where", "target")
_ARRAYS = (".npy", ".npz")
_PARQUET = (".parquet", ".pq")
_BATCH = 4096
_NOTHING: Mapping[str, str | None] = {}
#: Part of the note on a column of vectors of a Parquet file, which is no metadata.
_LEFT_OUT = f"column {VECTOR} is left out"


@dataclass(slots=True, eq=False)
class GivenQuery:
    """One query of a table.

    Attributes:
        id: its id; empty if the table has no ids.
        given: keyword arguments of ``Query``.
        where: its first row, for messages.
        answers: grade by item id, from the columns of answers and grades.
    """

    id: str
    given: Mapping[str, Any]
    where: str
    answers: dict[str, int] = field(default_factory=dict)


class QueryTable(NamedTuple):
    """The queries of a table.

    Attributes:
        queries: in the order of their first rows.
        answered: whether the table has a column of answers.
        columns: its columns.
        notes: remarks for the user: rows that were left out, and columns without a use.
    """

    queries: list[GivenQuery]
    answered: bool
    columns: tuple[str, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Layout:
    """The roles of the columns of a table."""

    roles: Roles
    id: str | None
    answer: str | None
    grade: str | None
    others: tuple[str, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """All columns to read."""
        named = (self.roles.path, *self.roles.media.values(), self.id, self.answer, self.grade, *self.others)
        return tuple(dict.fromkeys(name for name in named if name))


def read(
    path: str | os.PathLike[str], *, answer: str = "answer", options: Mapping[str, str | None] = _NOTHING
) -> QueryTable:
    """Read the queries of a table, or of media files.

    Rows with one id are one query; without ids, or with answers in the table, rows that ask the same are.

    Args:
        path: a CSV, TSV, JSON lines, Parquet, npy or npz file; or a folder, glob or file of media.
        answer: column with the id of a right answer, if there is one.
        options: meta, key, media, id_column and path_column, as ``source.open`` takes them; meta and key are for media
            files.

    Raises:
        BadData: a file cannot be read, no row is a query, or one id stands for two queries.
        BadSpec: an option does not fit the files.
    """
    place = os.path.abspath(os.path.expanduser(os.fspath(path)))
    if os.path.isdir(place) or has_magic(place) or kind(place) not in (None, "text"):
        return _of_media(os.fspath(path), answer, {name: value for name, value in options.items() if value})
    if idle := next((name for name in ("meta", "key") if options.get(name)), None):
        raise BadSpec(
            f"{option(idle)} joins a table to media files, and {path} is a table itself: name its columns by"
            f" {option('id_column')}, {option('path_column')}, {option('text')} or {option('image')}"
        )
    if place.lower().endswith(_ARRAYS):
        return _of_vectors(place)
    table = open_table(place)
    choice = choose(options.get("id_column"), options.get("path_column"), options.get("media"))
    layout = _layout(table, choice, answer)
    bad: list[str] = []
    rows = list(_rows(table, layout, bad))
    return _told(rows, layout, bad, table.schema.names, path=os.fspath(path), notes=table.notes)


def _told(
    rows: Sequence[GivenQuery],
    layout: _Layout,
    bad: Sequence[str],
    names: Sequence[str],
    *,
    path: str,
    notes: Iterable[str],
) -> QueryTable:
    """Join the rows of one query, and say what was left out."""
    queries, found = _merged(rows, path=path, answered=layout.answer is not None)
    if not queries:
        raise BadData(f"{path} has no query: {bad[0] if bad else 'it has no row with media to search with'}")
    file = os.path.basename(os.path.abspath(path))
    lost = [f"{file}: {len(bad)} rows left out, such as {bad[0]}"] if bad else []
    kept = [note for note in notes if _LEFT_OUT not in note]
    unused = [n for n in names if n not in layout.columns and not n.startswith("metadata")]
    idle = [f"{file}: no use for column{'s' * (len(unused) > 1)} {', '.join(unused)}"] if unused else []
    return QueryTable(queries, layout.answer is not None, tuple(names), (*kept, *idle, *lost, *found))


def _of_media(path: str, answer: str, options: Mapping[str, Any]) -> QueryTable:
    """Read media files as queries; the columns of a table that is joined to them are used as those of queries."""
    from quiver.engine import source

    opened = source.open([path], **options)
    names = opened.schema.names
    special = tuple(name for name in (*_LISTS, *_PLAIN, VECTOR) if name in names)
    roles = Roles({}, None, None, {}, Place.of(path), choose(None, None, None))
    grade = next((name for name in GRADE if name in names), None)
    layout = _Layout(roles, None, answer if answer in names else None, grade, special)
    rows, bad = [], list[str]()
    for record in (record for batch in opened.batches(_BATCH) for record in batch.to_pylist()):
        media = {key: record[key] for key in MEDIA if record.get(key) is not None}
        row = {name: _written(record[name]) for name in names if record[name] not in (None, "")}
        try:
            given = _given(media, row, layout, None)
            Query(**given)
            rows.append(GivenQuery(record["id"], given, record["id"], _answer(row, layout, record["id"])))
        except QuiverError as error:
            bad.append(f"{record['id']}: {error}")
    bad += [f"{each.id}: {each.reason}" for each in opened.problems()]
    return _told(rows, layout, bad, names, path=path, notes=opened.notes)


def _written(value: Any) -> str:
    """Return a value of a column as it is written in a table."""
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _of_vectors(path: str) -> QueryTable:
    array = np.concatenate(list(open_array(path, None).read()))
    rows = [GivenQuery(str(n), {VECTOR: np.asarray(row, np.float32)}, f"row {n}") for n, row in enumerate(array)]
    if not rows:
        raise BadData(f"{path} holds no query vectors")
    return QueryTable(rows, False, (), ())


def _layout(table: Table, choice: Choice, answer: str) -> _Layout:
    names = table.schema.names
    media = media_columns(table, choice)
    path = path_column(table, choice, media)
    special = [name for name in (*_LISTS, *_PLAIN, VECTOR) if name in names]
    texts = TEXT if media or path else (*TEXT, *CAPTIONS)
    if "text" not in media and (text := next((n for n in texts if n in names and n not in media.values()), None)):
        media["text"] = text
    stored = table.path.lower().endswith(_PARQUET) and any(_LEFT_OUT in note for note in table.notes)
    if not (media or path or stored or {LIKE, VECTOR} & set(special)):
        raise BadData(
            f"{table.path}: no column of media: name it, as in {option('image', 'COLUMN')} or"
            f" {option('text', 'COLUMN')}; its columns are {', '.join(names)}"
        )
    taken = {path, *media.values()}
    free = [name for name in names if name not in taken]
    roles = Roles(media, path, None, {}, Place.of(table.path), choice)
    check_files(table, roles)
    return _Layout(
        roles,
        _id_column(table, choice, free),
        answer if answer in free else None,
        next((name for name in GRADE if name in free), None),
        tuple(special),
    )


def _id_column(table: Table, choice: Choice, free: Sequence[str]) -> str | None:
    """Return the column of query ids: the one that the user named, else one with such a name."""
    if choice.id_column == "none":
        return None
    if choice.id_column:
        return column.known(choice.id_column, table.schema.names, path=table.path)
    return next((name for name in IDS if name in free), None)


def _rows(table: Table, layout: _Layout, bad: list[str]) -> Iterator[GivenQuery]:
    """Yield the rows of a table as queries; reasons of bad rows go to ``bad``."""
    import pyarrow as pa

    schema = pa.schema([(name, pa.string()) for name in layout.columns])
    empty = pa.schema([])
    number = 0
    vectors = _stored_vectors(table)
    batches = table.read(schema, lambda where, reason: bad.append(reason)) if layout.columns else _bare(table)
    for batch in batches:
        ids = pa.nulls(len(batch), pa.string())
        records, _ = to_records(batch, layout.roles, schema=empty, fallback=ids, required=False)
        media = [records.column(key).to_pylist() for key in MEDIA]
        other = {name: batch.column(name).to_pylist() for name in layout.columns}
        for place in range(len(batch)):
            values = {key: column[place] for key, column in zip(MEDIA, media, strict=True) if column[place] is not None}
            row = {name: column[place] for name, column in other.items() if column[place] not in (None, "")}
            where = f"row {number + 1}"
            try:
                given = _given(values, row, layout, None if vectors is None else vectors[number])
                Query(**given)
                yield GivenQuery(row.get(layout.id or "", ""), given, where, _answer(row, layout, where))
            except QuiverError as error:
                bad.append(f"{where}: {error}")
            number += 1


def _bare(table: Table) -> "Iterator[pa.RecordBatch]":
    """Yield batches without columns, for a table of vectors alone."""
    import pyarrow as pa

    yield pa.RecordBatch.from_struct_array(pa.array([{}] * table.rows, pa.struct([])))


def _stored_vectors(table: Table) -> "np.ndarray[Any, Any] | None":
    """Return the column of vectors of a Parquet file, whose lists of numbers are no metadata."""
    if not table.path.lower().endswith(_PARQUET) or not any(_LEFT_OUT in note for note in table.notes):
        return None
    return np.concatenate(list(open_array(table.path, VECTOR).read()))


def _given(media: Mapping[str, str], row: Mapping[str, str], layout: _Layout, vector: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"media": dict(media)}
    for name in layout.others:
        if name not in row:
            continue
        if name in _LISTS:
            given[name] = _ids(row[name], name)
        elif name == VECTOR:
            given[name] = _numbers(row[name])
        else:
            given[name] = row[name]
    if vector is not None:
        given[VECTOR] = np.asarray(vector, np.float32)
    return given


def _ids(text: str, name: str) -> tuple[str, ...]:
    """Read an id, or a JSON list of ids."""
    if not text.startswith("["):
        return (text,)
    try:
        ids = json.loads(text)
    except json.JSONDecodeError:
        return (text,)  # an id that begins with a bracket
    if not all(isinstance(id, str) for id in ids):
        raise BadData(f'{name} is an id, or a list of ids such as ["a", "b"], not {text:.80}')
    return tuple(ids)


def _numbers(text: str) -> Any:
    try:
        return np.array(json.loads(text), np.float32)
    except (json.JSONDecodeError, ValueError, TypeError):
        raise BadData(f"{VECTOR} is a list of numbers, such as [0.1, 0.2], not {text:.80}") from None


def _answer(row: Mapping[str, str], layout: _Layout, where: str) -> dict[str, int]:
    if layout.answer is None or layout.answer not in row:
        return {}
    grade = 1 if layout.grade is None or layout.grade not in row else grade_of(row[layout.grade], where)
    return {row[layout.answer]: grade}


def _merged(rows: Sequence[GivenQuery], *, path: str, answered: bool) -> tuple[list[GivenQuery], list[str]]:
    """Join rows of one query.

    Raises:
        BadData: one id stands for two queries, or an answer has two grades.
    """
    by_id: dict[str, GivenQuery] = {}
    found: dict[str, GivenQuery] = {}
    renamed = []
    for row in rows:
        content = _content(row.given)
        known = by_id.get(row.id) if row.id else None
        if known is not None and _content(known.given) != content:
            raise BadData(
                f"{path}: query id {row.id!r} stands for two queries, in {known.where} and {row.where}: give each its"
                " own id"
            )
        key = content if answered or not row.id else row.id
        first = found.setdefault(key, row)
        by_id.setdefault(row.id, first)
        if first is row:
            continue
        if row.id != first.id:
            renamed.append(row)
        for item, grade in row.answers.items():
            if first.answers.setdefault(item, grade) != grade:
                raise BadData(f"{path}: {row.where} grades answer {item!r} otherwise than {first.where}: keep one")
    notes = []
    if renamed:
        notes.append(
            f"{len(renamed)} rows ask the same as a row with another id, such as {renamed[0].id!r}: with answers in the"
            " table they are one question"
        )
    return list(found.values()), notes


def _content(given: Mapping[str, Any]) -> str:
    plain = {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in given.items()}
    return json.dumps(plain, sort_keys=True)


def numbered(queries: Sequence[GivenQuery]) -> list[GivenQuery]:
    """Give queries without an id the ids q1, q2, ...; an id that a query has is never given again."""
    taken = {query.id for query in queries}
    found = []
    for number, query in enumerate(queries, 1):
        name = f"q{number}"
        while name in taken and not query.id:
            name += "_"
        found.append(query if query.id else replace(query, id=name))
    return found
