"""What a client sends: a query as JSON, with the bytes of its files; items with theirs."""

import io
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import date, time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from quiver.errors import BadSpec, MissingEncoder
from quiver.media import fetch
from quiver.types import MEDIA, THE_SPACE, Item, Query, values_of

if TYPE_CHECKING:
    import pyarrow as pa

#: Part of a form: its name, a file name, and bytes.
File = tuple[str, str, bytes]
_DEFAULTS = {each.name: each.default for each in fields(Query)}


@dataclass(frozen=True, slots=True)
class Sent:
    """A query on its way.

    Attributes:
        json: its words; vectors are arrays, which ``as_list`` turns into lists.
        files: its files.
    """

    json: dict[str, Any]
    files: list[File]


def sent(query: Query) -> Sent:
    """Turn a query into JSON and files.

    Raises:
        BadMedia: a file cannot be read.
        BadSpec: an input has a form that cannot be sent.
    """
    words: dict[str, Any] = {}
    for name, default in _DEFAULTS.items():
        value = getattr(query, name, None)
        if name in ("media", "unlike_media", "vectors", "params", "where") or value == default:
            continue
        words[name] = list(value) if isinstance(value, tuple) else dict(value) if isinstance(value, Mapping) else value
    if "text" in query.media:
        words["text"] = query.media["text"]
    if "text" in query.unlike_media:
        words["unlike_text"] = query.unlike_media["text"]
    # No candidates are none of the items; an empty list of anything else says nothing.
    words = {name: value for name, value in words.items() if name == "candidates" or value not in ({}, [], None)}
    words |= _condition(query) | _vectors(query)
    files = [name for name in MEDIA if name != "text"]
    parts = [(name, *_file(value, name)) for name in files for value in values_of(query.media, name)]
    parts += [
        (f"unlike_{name}", *_file(value, name)) for name in files for value in values_of(query.unlike_media, name)
    ]
    return Sent(words, parts)


def _condition(query: Query) -> dict[str, Any]:
    return {} if query.condition is None else condition_json(query.condition.text, query.condition.params.items)


def condition_json(text: str, items: Sequence[tuple[str | int, Any]]) -> dict[str, Any]:
    """Return a condition with its parameters as JSON-compatible values.

    Raises:
        BadSpec: a parameter is of a type that no condition compares.
    """
    if not items:
        return {"where": text}
    values = [
        (name, [_param(each) for each in value] if isinstance(value, tuple) else _param(value)) for name, value in items
    ]
    named = isinstance(items[0][0], str)
    return {"where": text, "params": dict(values) if named else [value for _, value in values]}


def stream(table: "pa.Table", note: Mapping[str, Any]) -> bytes:
    """Return a table as an Arrow stream, with a note of JSON in its schema."""
    import pyarrow as pa

    held = pa.BufferOutputStream()
    noted = table.replace_schema_metadata({"quiver": msgspec.json.encode(note)})
    with pa.ipc.new_stream(held, noted.schema) as writer:
        writer.write_table(noted)
    found: bytes = held.getvalue().to_pybytes()
    return found


def vector_column(vectors: Any) -> "pa.Array":
    """Return vectors (n, dim) float32 as a fixed-size list."""
    import pyarrow as pa

    return pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(vectors).reshape(-1)), vectors.shape[1])


def columns_of(ids: Sequence[str], meta: Any) -> "pa.Table | None":
    """Return ids and metadata as a table; None if Arrow has no type for a column, or a name means something else."""
    import pyarrow as pa

    try:
        named = {} if meta is None else dict(meta) if isinstance(meta, Mapping) else None
        table = pa.Table.from_pylist([dict(row) for row in meta]) if named is None else pa.table(named)
        if {"id", "vector", *MEDIA} & set(table.schema.names) or (table.num_columns and len(table) != len(ids)):
            return None
        return table.add_column(0, "id", pa.array(ids, pa.string())) if table.num_columns else pa.table({"id": ids})
    except (pa.ArrowException, TypeError, ValueError):
        return None


def shared_words(queries: Sequence[Mapping[str, Any]]) -> tuple[dict[str, Any], Any] | None:
    """Return the words that queries share, and their vectors (n, dim); None if they differ in more than one vector."""
    found: list[Any] = []
    shared: dict[str, Any] | None = None
    for each in queries:
        words = dict(each)
        if len(named := words.pop("vectors", {})) > (0 if "vector" in words else 1):
            return None
        vector = words.pop("vector", None)
        for space, only in named.items():
            words["space"], vector = space, only
        if np.ndim(vector) != 1 or (shared is not None and words != shared):
            return None
        shared = words
        found.append(vector)
    if shared is None or len({len(each) for each in found}) > 1:
        return None
    return shared, np.asarray(found, np.float32)


def as_list(value: Any) -> Any:
    """Return an array as a list, for JSON.

    Raises:
        NotImplementedError: it is something else.
    """
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    raise NotImplementedError(f"{type(value).__name__} has no form in JSON")


def _param(value: Any) -> Any:
    if not isinstance(value, str | int | float | bool | Decimal | date | time | np.generic | None):
        raise BadSpec(
            f"a parameter is {str(value)[:40]!r}, a {type(value).__name__}: it must be None, a bool, a number, a"
            " string, a date, a datetime or a time; several in a list, for IN"
        )
    return _plain(value)


def _plain(value: Any) -> Any:
    if isinstance(value, np.datetime64):  # of nanoseconds it would be a number
        value = value.astype("datetime64[us]")
    value = value.item() if isinstance(value, np.generic) else value
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _vectors(query: Query) -> dict[str, Any]:
    if not query.vectors:
        return {}
    found = {name: _numbers(value, name) for name, value in query.vectors.items()}
    return {"vector": found[THE_SPACE]} if THE_SPACE in found else {"vectors": found}


def _numbers(value: Any, space: str) -> Any:
    """Return a vector as float32.

    Raises:
        BadSpec: it is none.
    """
    try:
        with np.errstate(over="ignore"):  # an infinite number is refused by its space
            return np.asarray(value, np.float32)
    except (TypeError, ValueError) as error:
        named = "" if space == THE_SPACE else f" for the space {space!r}"
        raise BadSpec(f"the query vector{named} must be numbers: {str(error)[:200]}") from None


def as_json(body: Any) -> bytes:
    """Return JSON-compatible values, with arrays among them, as JSON.

    Raises:
        BadSpec: one has no form in JSON.
    """
    try:
        return msgspec.json.encode(body, enc_hook=as_list)
    except UnicodeEncodeError:
        raise BadSpec("a text ends in half a character (a lone surrogate), which no stored text holds") from None
    except (NotImplementedError, OverflowError, TypeError, ValueError) as error:
        raise BadSpec(f"this cannot be sent to a server: {str(error)[:200]}") from None


def _file(value: Any, name: str) -> tuple[str, bytes]:
    """Return the file name and bytes of an input."""
    if isinstance(value, str | os.PathLike):
        return os.path.basename(os.fspath(value)), fetch(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return name, bytes(value)
    if name in ("image", "before", "after"):
        from quiver.media.image import ImageReader

        return f"{name}.png", _png(ImageReader()(value))
    raise BadSpec(f"{name} is sent as a file or bytes, not as {type(value).__name__}")


def _png(picture: Any) -> bytes:
    from PIL import Image

    held = io.BytesIO()
    Image.fromarray(picture).save(held, "PNG", compress_level=1)
    return held.getvalue()


def items_of(sources: Iterable[Any]) -> list[Item]:
    """Return the items among the sources of an add: Items, dicts, or lists of them.

    Raises:
        BadSpec: a source is a folder or file, which only the machine of the collection can read as such.
    """
    found: list[Item] = []
    for source in sources:
        if isinstance(source, Item):
            found.append(source)
        elif isinstance(source, Mapping) and "id" in source:
            media = {name: str(source[name]) for name in MEDIA if source.get(name) is not None}
            meta = {name: value for name, value in source.items() if name not in ("id", *MEDIA)}
            found.append(Item(str(source["id"]), media, meta))
        elif isinstance(source, list | tuple):
            found += items_of(source)
        else:
            raise BadSpec(
                "a server takes Items, or rows such as {'id': 'a', 'image': 'a.jpg', 'price': 3}; a folder is added"
                f" where the collection is, by `quiver add`, not {type(source).__name__}"
            )
    if not found:
        raise BadSpec("add takes at least one item; embed=True embeds the stored items")
    return found


def rows_of(items: Sequence[Item]) -> tuple[list[dict[str, Any]], list[File]]:
    """Return items as JSON, and their files; equal files are sent once."""
    rows: list[dict[str, Any]] = []
    files: dict[str, tuple[str, bytes]] = {}
    for item in items:
        row: dict[str, Any] = {
            "id": item.id,
            "meta": {name: _plain_or_list(value) for name, value in item.meta.items()},
        }
        for name, reference in item.media.items():
            if name == "text":
                row["text"] = reference
                continue
            if reference not in files:
                suffix = os.path.splitext(reference)[1]
                files[reference] = (f"{len(files)}{suffix}", fetch(reference))
            row[name] = files[reference][0]
        rows.append(row)
    return rows, [("file", name, data) for name, data in files.values()]


def _plain_or_list(value: Any) -> Any:
    return [_plain(each) for each in value] if isinstance(value, list | tuple) else _plain(value)


def check_encoder(encoder: Any) -> None:
    """Refuse an encoder: a service takes none from its clients.

    Raises:
        MissingEncoder: one is given.
    """
    if encoder:
        raise MissingEncoder("a server takes no encoder from a client: embed with it where the collection is")
