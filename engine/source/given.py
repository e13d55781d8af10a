"""Items from memory: those made in Python, and those stored in a collection."""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import Any

import pyarrow as pa
import pyarrow.types as pt

from quiver.engine.core.metadata import check_names, common
from quiver.engine.source import column
from quiver.engine.source.jsonl import flatten
from quiver.engine.source.place import Place
from quiver.engine.source.record import LeftOut, Problem
from quiver.engine.source.value import is_utf8, plain
from quiver.engine.storage.dataset import Table
from quiver.errors import BadData
from quiver.trust import Reach
from quiver.types import MEDIA, Item

#: Accepted types of file references and of text.
_FORMS: tuple[tuple[type, ...], ...] = ((str, os.PathLike, type(None)), (str, type(None)))
#: Common words for media, for advice in error messages.
_ALSO = {
    "img": "image",
    "picture": "image",
    "photo": "image",
    "caption": "text",
    "sound": "audio",
    "clip": "video",
    "movie": "video",
}


@dataclass(frozen=True, slots=True)
class Given:
    """Items made in Python.

    Attributes:
        items: valid items, with flattened plain metadata.
        schema: the metadata columns.
        notes: notes for the user.
    """

    items: Sequence[Item]
    schema: pa.Schema
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    _problems: tuple[Problem, ...] = field(default=(), repr=False)

    @classmethod
    def of(cls, items: Sequence[Item], *, media: bool = True) -> "Given":
        """Check items, and infer their metadata columns.

        Args:
            items: items to add.
            media: whether each item must have media; not needed for changes of metadata alone.

        Raises:
            BadData: an item does not have the form of ``Item``, a metadata column name is invalid, or no item can be
                stored.
        """
        for item in items:
            _check(item, media=media)
        kept, problems = [], []
        for item in items:
            try:
                kept.append(Item(item.id, _texts(item.media), flatten(_values(item.meta))))
            except ValueError as error:
                problems.append(Problem(item.id, "", str(error)))
        if problems and not kept:
            raise BadData(f"item {problems[0].id!r}: {problems[0].reason}")
        names = dict.fromkeys(name for item in kept for name in item.meta)
        check_names(names)
        fields = [_kind([item.meta.get(name) for item in kept]).with_name(name) for name in names]
        return cls(tuple(kept), pa.schema(fields), _problems=tuple(problems))

    def beside(self, stored: pa.Schema) -> "Given":
        """Read texts as numbers, dates or booleans if the column of the collection has such a type."""
        fields = []
        for each in self.schema:
            kind = each.type
            if pt.is_string(kind) and each.name in stored.names:
                kind = _written([item.meta.get(each.name) for item in self.items], stored.field(each.name).type)
            fields.append(each if kind == each.type else pa.field(each.name, kind))
        return replace(self, schema=pa.schema(fields))

    @property
    def total(self) -> int:
        """Number of items."""
        return len(self.items)

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Yield the records; paths become absolute."""
        here = Place(os.getcwd(), "")
        for start in range(0, len(self.items), size):
            part = self.items[start : start + size]
            columns: dict[str, Any] = {"id": pa.array([item.id for item in part], pa.string())}
            for name in MEDIA:
                references = pa.array([item.media.get(name) for item in part], pa.string())
                columns[name] = references if name == "text" else here.resolve(references)
            for each in self.schema:
                columns[each.name] = _column([item.meta.get(each.name) for item in part], each.type)
            yield pa.RecordBatch.from_pydict(columns)

    def problems(self) -> list[Problem]:
        """Return the invalid items, with reasons."""
        return list(self._problems)


def _check(item: Item, *, media: bool) -> None:
    """Check an item.

    Raises:
        BadData: it is invalid.
    """
    if not isinstance(item.id, str):
        raise BadData(
            f"the id of an item must be a string, not {item.id!r} ({type(item.id).__name__}): str(...) makes one"
        )
    if not item.id:
        raise BadData("an item has an empty id: give every item a unique id")
    if not is_utf8(item.id):
        raise BadData(f"the id {item.id!r} has half a surrogate pair, which is not valid text: use other characters")
    if not isinstance(item.media, Mapping) or not isinstance(item.meta, Mapping):
        raise BadData(f"item {item.id!r}: media and meta must be dicts, such as {{'image': 'a.jpg'}}")
    if media:
        _check_media(item)
    _check_meta(item)


def _check_media(item: Item) -> None:
    for name, held in item.media.items():
        if name not in MEDIA:
            raise BadData(f"item {item.id!r} has {name!r}: {_near(name)}")
        if not isinstance(held, _FORMS[name == "text"]):
            raise BadData(f"item {item.id!r}: {_advice(name, held)}")
    if all(held is None for held in item.media.values()):
        raise BadData(f"item {item.id!r} has no media: give it one of {', '.join(MEDIA)}; update_meta sets metadata")
    if (item.media.get("before") is None) != (item.media.get("after") is None):
        raise BadData(f"item {item.id!r}: a pair needs both before and after")


def _check_meta(item: Item) -> None:
    for name, value in item.meta.items():
        try:
            plain(value)
        except TypeError as error:
            raise BadData(
                f"item {item.id!r}: metadata {name!r} is of type {error}: give text, a number, a date, true or false,"
                " or a list of these"
            ) from error
        except RecursionError as error:
            raise BadData(f"item {item.id!r}: metadata {name!r} is nested too deeply") from error
        except ValueError:
            pass  # the item is quarantined, and the others are added


def _near(name: Any) -> str:
    text = str(name).lower()
    near = [_ALSO[text]] if text in _ALSO else get_close_matches(text, MEDIA, 1)
    meant = f"; did you mean {near[0]}?" if near else "; metadata goes into meta"
    return f"media are {', '.join(MEDIA)}{meant}"


def _advice(name: str, held: Any) -> str:
    kind = type(held).__name__
    if name == "text":
        return f"text must be a string, not {kind}"
    return f"{name} must be the path of a file, not {kind}: save it as a file first (only queries take {kind} directly)"


def _texts(media: Mapping[str, Any]) -> dict[str, str]:
    """Return references as text."""
    held = {name: plain(os.fspath(value)) for name, value in media.items() if value is not None}
    wrong = next((name for name, value in held.items() if "\0" in value and name != "text"), None)
    if wrong is not None:
        raise ValueError(f"the path of its {wrong} has a NUL character")
    return held


def _values(meta: Mapping[str, Any]) -> dict[str, Any]:
    values = {}
    for name, value in meta.items():
        try:
            values[name] = plain(value)
        except ValueError as error:
            raise ValueError(f"metadata {name!r} {error}") from error
    return values


def _kind(values: Sequence[Any]) -> pa.Field:
    """Infer the type of a metadata column; Python strings stay text."""
    inferred = column.Inference()
    inferred.see_values("", values, dates=False)
    return inferred.schema().field(0)


def _written(values: Sequence[Any], here: pa.DataType) -> pa.DataType:
    """Return the type of the stored column if all texts can be read as that type, else the type of text."""
    if pt.is_string(here) or pt.is_null(here) or not set(map(type, values)) <= {str, type(None)}:
        return pa.string()
    read = column.Inference()
    read.see_text("", pa.array(values, pa.string()))
    kind = read.schema().field(0).type
    return pa.string() if pt.is_string(common(here, kind)) else kind


def _column(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    if str in (types := set(map(type, values))) and types <= {str, type(None)}:
        return column.from_text(pa.array(values, pa.string()), kind)
    return column.from_values(values, kind)


@dataclass(frozen=True, slots=True)
class Stored:
    """The items of a collection, to embed them again; their metadata are not read.

    Items whose files this user has not named on this machine are left out as problems.

    Attributes:
        table: the collection.
        reach: decides which files may be read.
    """

    table: Table
    reach: Reach
    notes: tuple[str, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    schema: pa.Schema = field(default_factory=lambda: pa.schema([]))
    _problems: list[Problem] = field(default_factory=list)

    @property
    def total(self) -> int:
        """Number of items."""
        return self.table.count()

    def batches(self, size: int) -> Iterator[pa.RecordBatch]:
        """Yield ids and media references of the version at the start."""
        for batch in self.table.at(self.table.version).batches(["id", *MEDIA], size=size):
            files = [batch[name].to_pylist() for name in MEDIA if name != "text"]
            reasons = [self._refused(each) for each in zip(*files, strict=True)]
            bad = [(n, reason) for n, reason in enumerate(reasons) if reason is not None]
            self._problems.extend(Problem(batch["id"][n].as_py(), _first(files, n), reason) for n, reason in bad)
            if len(bad) < len(batch):
                yield batch.filter(pa.array([reason is None for reason in reasons])) if bad else batch

    def _refused(self, references: Sequence[str | None]) -> str | None:
        return next((reason for each in references if each and (reason := self.reach.refuses(each))), None)

    def problems(self) -> list[Problem]:
        """Return the items that were left out, with reasons."""
        return list(self._problems)


def _first(files: Sequence[Sequence[str | None]], row: int) -> str:
    return next((each[row] for each in files if each[row]), "") or ""
