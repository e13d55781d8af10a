"""Answers as lists, tables, text and HTML."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from quiver.engine.execution.cards import readable, show
from quiver.engine.source import column
from quiver.errors import BadData, MissingExtra
from quiver.files import write_text
from quiver.trec_ids import encode
from quiver.types import MEDIA, Hit

if TYPE_CHECKING:
    from quiver.engine.execution.plan import Result

#: Columns of every hit.
FIRST = ("id", "score")
_FIRST_TYPES = {"id": pa.string(), "score": pa.float64()}
#: What separates columns of a TREC file, or escapes.
#: Hits shown as text, and as pictures in a notebook.
_LINES, _CARDS = 10, 24
#: Longest metadata in a line of text, in characters.
_WIDTH = 70
_BOX = "display:inline-block;vertical-align:top;width:11rem;margin:.25rem;padding:.4rem;border:1px solid #8884"
_BOX += ";border-radius:.4rem;font-size:.8rem;overflow-wrap:anywhere;overflow:hidden"


def flat(hit: Hit) -> dict[str, Any]:
    """Return a hit as one row: id, score, media, then metadata.

    A metadata column that is called ``score`` becomes ``meta_score``.
    """
    media = {name: value for name, value in hit.media.items() if name != "text"}
    meta = {f"meta_{name}" if name in FIRST else name: value for name, value in hit.meta.items()}
    return {"id": hit.id, "score": hit.score, **media, **meta}


def to_list(hits: Iterable[Hit]) -> list[dict[str, Any]]:
    """Return hits as rows with the same columns; an absent value is None."""
    rows = [flat(hit) for hit in hits]
    names = _names(rows)
    return [{name: row.get(name) for name in names} for row in rows]


def to_arrow(hits: Sequence[Hit], types: Mapping[str, pa.DataType]) -> pa.Table:
    """Return hits as an Arrow table: id (string), score (float64), media (string), then metadata.

    Args:
        hits: the hits.
        types: types of the metadata columns of the collection, by name; the table has all of them.
    """
    rows = [flat(hit) for hit in hits]
    wanted = {f"meta_{name}" if name in FIRST else name: kind for name, kind in types.items()}
    known = {**_FIRST_TYPES, **dict.fromkeys(MEDIA, pa.string()), **wanted}
    names = list(dict.fromkeys([*FIRST, *_names(rows), *wanted]))
    return pa.table({name: _array([row.get(name) for row in rows], known.get(name)) for name in names})


def joined(tables: Sequence[pa.Table]) -> pa.Table:
    """Join the tables of several answers, with a column ``query`` first: the position of the query (int64)."""
    if not tables:
        return pa.table({"query": pa.array([], pa.int64()), **{n: pa.array([], k) for n, k in _FIRST_TYPES.items()}})
    numbers = [pa.array([n] * len(table), pa.int64()) for n, table in enumerate(tables)]
    parts = [
        table.rename_columns(["meta_query" if name == "query" else name for name in table.schema.names]).add_column(
            0, "query", number
        )
        for table, number in zip(tables, numbers, strict=True)
    ]
    return pa.concat_tables(parts, promote_options="permissive")


def write_trec(path: str | Path, results: Sequence["Result"], queries: Sequence[str], tag: str) -> None:
    """Write answers as a TREC run file: see ``Results.write_trec``."""
    if len(queries) != len(results):
        raise BadData(f"{path}: {len(queries)} query ids for {len(results)} answers: give one for each")
    named = zip(map(encode, queries), results, strict=True)
    label = encode(tag)
    lines = [
        f"{query} Q0 {encode(hit.id)} {place} {hit.score!r} {label}\n"
        for query, result in named
        for place, hit in enumerate(result, 1)
    ]
    write_text(Path(path), "".join(lines))


def _names(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the columns of all rows: id and score, the media, then metadata in order of first appearance."""
    every = dict.fromkeys(name for row in rows for name in row)
    return [*FIRST, *(name for name in MEDIA if name in every), *(n for n in every if n not in (*FIRST, *MEDIA))]


def _array(values: Sequence[Any], kind: pa.DataType | None) -> pa.Array:
    try:
        return pa.array(values, kind)
    except (pa.ArrowInvalid, pa.ArrowTypeError):  # a column whose type changed after this version
        kinds = column.Inference()
        kinds.see_values("", values, dates=False)
        return column.from_values(values, kinds.schema().field(0).type)


def to_pandas(table: pa.Table) -> Any:
    """Return a table as a pandas data frame.

    Raises:
        MissingExtra: pandas is not installed.
    """
    try:
        import pandas  # type: ignore[import-untyped,unused-ignore]  # noqa: F401
    except ModuleNotFoundError as error:
        raise MissingExtra("pandas") from error
    return table.to_pandas()


def to_polars(table: pa.Table) -> Any:
    """Return a table as a polars data frame.

    Raises:
        MissingExtra: polars is not installed.
    """
    try:
        import polars  # type: ignore[import-not-found,unused-ignore]
    except ModuleNotFoundError as error:
        raise MissingExtra("polars") from error
    return polars.from_arrow(table)


def text(result: "Result") -> str:
    """Return an answer as text: one line for each of the first hits, and the notes."""
    count = len(result.hits)
    head = f"{count:,} hit{'s' * (count != 1)} among {result.plan.items:,} items (version {result.plan.version})"
    head += ", partial" if result.partial else ""
    lines = [f"{n:>3}  {hit.score:.4f}  {hit.id}  {_brief(hit.meta)}".rstrip() for n, hit in _first(result, _LINES)]
    more = [f"     ... {count - _LINES:,} more"] if count > _LINES else []
    return "\n".join([head, *lines, *more, *(f"note: {note}" for note in result.plan.notes)])


def html(result: "Result", hidden: Callable[[str], str | None]) -> str:
    """Return an answer as a grid of pictures for a notebook; everything is escaped, and pictures are inlined.

    Args:
        result: the answer.
        hidden: returns the reason why a file is not shown, or None if it may be shown.
    """
    count = len(result.hits)
    head = f"{count:,} hit{'s' * (count != 1)} among {result.plan.items:,} items{', partial' * result.partial}"
    cards = "".join(_card(n, hit, hidden) for n, hit in _first(result, _CARDS))
    more = f"<p>... {count - _CARDS:,} more</p>" if count > _CARDS else ""
    notes = "".join(f"<p><i>{escape(note)}</i></p>" for note in result.plan.notes)
    return f"<div><p>{escape(head)}</p>{notes}<div>{cards}</div>{more}</div>"


def _card(n: int, hit: Hit, hidden: Callable[[str], str | None]) -> str:
    media = readable(hit.media, hidden)
    shown = "".join(show(name, each, play=False) for name, each in media.items() if name != "text")
    shown = shown.replace("<img ", "<img style='max-width:100%;height:8rem;object-fit:contain' ")
    said = str(hit.meta.get("text") or hit.meta.get("name") or hit.meta.get("title") or "")
    more = _brief({name: value for name, value in hit.meta.items() if value != said})
    facts = f"<div>{escape(said)}</div><div style='opacity:.65'>{escape(more)}</div>"
    return f"<div style='{_BOX}'>{shown}<div>{n}. <b>{hit.score:.3f}</b> {escape(hit.id)}</div>{facts}</div>"


def _first(result: "Result", count: int) -> list[tuple[int, Hit]]:
    return list(enumerate(result.hits[:count], 1))


def _brief(meta: Mapping[str, Any]) -> str:
    line = " ".join(f"{name}={value}" for name, value in meta.items()).replace("\n", " ")
    return line if len(line) <= _WIDTH else f"{line[: _WIDTH - 3]}..."
