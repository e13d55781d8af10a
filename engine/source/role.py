"""Roles of the columns of a table: media, path, id, or metadata.

Columns named as the media keys are media. If there is none, or ``path_column`` asks for it, a path column
gives one reference per row, whose extension tells what it is. A ``caption`` (or ``captions``) column is the
text of a table that has no other media, and metadata otherwise; ``media="text=caption"`` makes it the text.
A column that became the id or a medium is not repeated among the metadata.
"""

import os
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from quiver.engine.source import column
from quiver.engine.source.place import Place
from quiver.engine.source.references import plain
from quiver.errors import BadData, BadSpec
from quiver.media import kind, times
from quiver.types import MEDIA
from quiver.wording import nearest, option

if TYPE_CHECKING:
    import pyarrow as pa

PATHS = [
    "file",
    "path",
    "filename",
    "file_name",
    "filepath",
    "file_path",
    "image_path",
    "img_path",
    "audio_path",
    "video_path",
    "uri",
    "url",
]
#: Columns of text in a table that has no other media.
CAPTIONS = ("caption", "captions")
_PROBED = 20  # paths looked up on disk to check a manifest


class Described(Protocol):
    """A table whose columns get roles."""

    @property
    def schema(self) -> "pa.Schema":
        """The columns under their original names."""
        ...

    @property
    def path(self) -> str:
        """Its name in messages."""
        ...

    @property
    def base(self) -> str:
        """Where its relative paths start, in words."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user."""
        ...

    def texts(self, *names: str) -> Iterator["pa.RecordBatch"]:
        """Yield columns as strings."""
        ...


@dataclass(frozen=True, slots=True)
class Choice:
    """The user's options for the columns of a table.

    Attributes:
        id_column: the column of ids; "none" for ids made from paths; None to use ``id`` where it is unique.
        path_column: the column of paths; None to find it.
        only: media keys wanted; empty for all.
        named: column by media key.
        stored: the metadata columns of the collection.
    """

    id_column: str | None = None
    path_column: str | None = None
    only: frozenset[str] = frozenset()
    named: Mapping[str, str] = field(default_factory=dict)
    stored: tuple[str, ...] = ()

    @property
    def files(self) -> frozenset[str]:
        """The media keys to take from a folder: a key with a column is not also taken from files."""
        return self.only - self.named.keys()

    @property
    def only_kind(self) -> str | None:
        """Medium of a path without a known extension: the only wanted medium of files, if there is just one."""
        files = self.only - {"text"}
        return next(iter(files)) if len(files) == 1 else None


def choose(
    id_column: str | None, path_column: str | None, media: str | None, *, stored: tuple[str, ...] = ()
) -> Choice:
    """Read the options of ``open``; ``media`` is like ``image`` or ``image=photo,text='product name'``.

    Raises:
        BadSpec: a word of ``media`` is not a media key.
    """
    only: set[str] = set()
    named: dict[str, str] = {}
    for word in _words(media or ""):
        key, equals, name = word.partition("=")
        if key not in MEDIA or (equals and not name):
            raise BadSpec(f"{option('media')} takes key or key=column with a key of {', '.join(MEDIA)}, not {word!r}")
        if equals:
            named[key] = name
        else:
            only.add(key)
    return Choice(id_column, path_column, frozenset(only), named, stored)


def _words(media: str) -> list[str]:
    """Split at commas and spaces outside quotes; column names may contain both."""
    lexer = shlex.shlex(media, posix=True)
    lexer.whitespace, lexer.whitespace_split, lexer.commenters = lexer.whitespace + ",", True, ""
    try:
        return list(lexer)
    except ValueError:  # an apostrophe without a closing quote
        return media.replace(",", " ").split()


@dataclass(frozen=True, slots=True)
class Roles:
    """The role of every column of a table.

    Attributes:
        media: column by media key.
        path: the column of paths typed by extension, or None.
        id: the column of ids, or None.
        meta: name of the metadata column by column.
        place: base of relative paths.
        choice: the user's options.
    """

    media: Mapping[str, str]
    path: str | None
    id: str | None
    meta: Mapping[str, str]
    place: Place
    choice: Choice

    def reading(self, schema: "pa.Schema") -> "pa.Schema":
        """Return the columns to read: as strings for ids and media, typed for metadata."""
        import pyarrow as pa

        texts = dict.fromkeys(name for name in (self.id, self.path, *self.media.values()) if name)
        typed = [schema.field(name) for name in self.meta if name not in texts]
        return pa.schema([*(pa.field(name, pa.string()) for name in texts), *typed])

    def metadata(self, schema: "pa.Schema") -> "pa.Schema":
        """Return the metadata columns under their new names; a column that is also the id is a string."""
        import pyarrow as pa

        read = self.reading(schema)
        return pa.schema([read.field(old).with_name(new) for old, new in self.meta.items()])


def assign(table: Described, choice: Choice, *, vectors: bool = False) -> tuple[Roles, tuple[str, ...]]:
    """Assign every column of a table its role; returns notes for the user too.

    Args:
        table: the table.
        choice: the user's options.
        vectors: whether its rows describe ready-made vectors: then media are optional, and ``key`` may be the id.

    Raises:
        BadData: a named column is missing, there is no column of media or of the other picture of a pair, or none of
            the named files exists.
    """
    names = table.schema.names
    media = media_columns(table, choice)
    if not vectors:
        check_pair(table, media)
    path = path_column(table, choice, media)
    notes = []
    caption = next((name for name in CAPTIONS if name in names and name not in media.values()), None)
    if caption and not media and not path:
        media["text"] = caption
    elif caption and "text" not in media:
        notes.append(f"column {caption} is metadata; {option('text', caption)} makes it the items' text")
    if not (media or path or vectors):
        raise BadData(
            f"{table.path}: no column of media: name it, as in {option('image', 'COLUMN')} or"
            f" {option('text', 'COLUMN')}, or the column of paths by {option('path_column', 'COLUMN')}; its columns are"
            f" {', '.join(names)}"
        )
    ids, id_notes = identity(table, choice, among=("id", "key") if vectors else ("id",))
    used = {path, *media.values(), *(("id",) if ids == "id" else ())}
    meta = column.rename([name for name in names if name not in used], choice.stored)
    roles = Roles(media, path, ids, meta, Place.of(table.path), choice)
    if not vectors:
        check_files(table, roles)
    return roles, (*table.notes, *notes, *id_notes, *column.renaming_notes(meta))


def media_columns(table: Described, choice: Choice) -> dict[str, str]:
    """Return the column by media key: columns the user named, then columns named like a wanted key."""
    names = table.schema.names
    media = {key: column.known(name, names, path=table.path) for key, name in choice.named.items()}
    for key in MEDIA:
        if key in names and key not in media.values() and (not choice.only or key in choice.only):
            media.setdefault(key, key)
    return media


def check_pair(table: Described, media: Mapping[str, str]) -> None:
    """See that a table with a column of one picture of a pair has the other picture's column too.

    Raises:
        BadData: it has not; no row could be an item.
    """
    halves = [key for key in ("before", "after") if key in media]
    if len(halves) != 1:
        return
    lacking = "after" if halves == ["before"] else "before"
    names = table.schema.names
    near = nearest(lacking, [name for name in names if name not in media.values()])
    hint = f"did you mean {near!r}? Name" if near else "name"
    raise BadData(
        f"{table.path}: a pair needs both before and after, and there is a column {media[halves[0]]!r} but no column"
        f" {lacking!r}: {hint} it, as in {option('media', f'{lacking}=COLUMN')}, or name the media to take, as in"
        f" {option('media', 'image')}; its columns are {', '.join(names)}"
    )


def path_column(table: Described, choice: Choice, media: Mapping[str, str]) -> str | None:
    """Return the column of paths: the one named, or the first whose name and values both look like paths."""
    if choice.path_column:
        return column.known(choice.path_column, table.schema.names, path=table.path)
    if any(key == name and key != "text" for key, name in media.items()):
        return None
    names = [name for name in PATHS if name in table.schema.names and name not in media.values()]
    if not names:
        return None
    sample = next(table.texts(*names)).slice(0, 1000)
    for name in names:
        values = [value for value in sample.column(name).to_pylist() if value]
        if values and 2 * sum(kind(plain(value)) is not None for value in values) >= len(values):
            return name
    return None


def identity(table: Described, choice: Choice, *, among: tuple[str, ...]) -> tuple[str | None, tuple[str, ...]]:
    """Return the column of ids: the named one, else the first of ``among`` with unique values."""
    if choice.id_column == "none":
        return None, ()
    if choice.id_column:
        return column.known(choice.id_column, table.schema.names, path=table.path), ()
    notes = []
    for name in (name for name in among if name in table.schema.names):
        if (fault := _same(table, name)) is None:
            return name, ()
        notes.append(f"column {name} has {fault}, so it is not used as id")
    return None, tuple(notes)


def _same(table: Described, name: str) -> str | None:
    """Return why a column does not tell all rows apart, or None if it does."""
    seen: set[str] = set()
    for batch in table.texts(name):
        values = batch.column(0).to_pylist()
        before = len(seen)
        seen.update(value for value in values if value)
        if len(seen) < before + len(values):
            return _repeated(table, name)
    return None


def _repeated(table: Described, name: str) -> str:
    rows: dict[str, int] = {}
    values = (value for batch in table.texts(name) for value in batch.column(0).to_pylist())
    for row, value in enumerate(values, 1):
        if not value:
            return f"no value in row {row:,}"
        if value in rows:
            return f"{value[:80]!r} in rows {rows[value]:,} and {row:,}"
        rows[value] = row
    return "repeated values"


def check_files(table: Described, roles: Roles) -> None:
    """Refuse a manifest if its first files are all missing: it is read from the wrong folder."""
    columns = [name for name in (roles.path, *(roles.media[key] for key in roles.media if key != "text")) if name]
    if not columns:
        return
    sample = next(table.texts(*columns)).slice(0, _PROBED)
    written = [value for name in columns for value in sample.column(name).to_pylist() if value]
    paths = [roles.place.absolute(value) for value in written]
    local = [path for path in paths if "://" not in path and "?offset=" not in path]
    if local and len(local) == len(paths) and not any(os.path.exists(times(path)[0]) for path in local):
        raise BadData(
            f"{table.path}: none of the first {len(local)} files exists, such as {local[0]}; "
            f"relative paths start from {table.base}"
        )
