"""The user's own files as items: a folder, glob, manifest or webdataset tar, with options after its path.

``"shop.csv text=name image=photo"`` names columns of a table; ``"photos meta=photos.csv"`` joins a table to files.
Training (``--data``) and ``quiver bench recall --items`` read files this way.
"""

import os
import shlex
from collections.abc import Mapping
from difflib import get_close_matches
from glob import has_magic
from typing import NamedTuple

import pyarrow as pa

from quiver import registry
from quiver.errors import BadSpec
from quiver.item_table import ItemTable
from quiver.types import MEDIA

#: Options that name tables and columns.
OPTIONS = ("meta", "key", "media", *MEDIA, "id_column", "path_column")
#: Columns that name a further picture of a pair (see ``encoders/clip4idc``): their paths start where those of media do.
PICTURES = ("distractor",)
_BATCH = 4096


class Files(NamedTuple):
    """Items read from files.

    Attributes:
        items: with media and ``PICTURES`` as absolute paths, and all other columns as metadata; a table of which items
            are made when they are asked for.
        notes: notes for the user: columns with a special meaning, and rows that were left out.
    """

    items: ItemTable
    notes: tuple[str, ...]


def is_path(text: str) -> bool:
    """Whether a text is a path on disk or a glob."""
    return has_magic(text) or os.path.exists(os.path.expanduser(text))


def split(spec: str) -> tuple[str, dict[str, str]]:
    """Split a spec into path and options; a path may contain spaces."""
    return (spec, {}) if is_path(spec) else registry.split(spec)


def written(path: str, options: Mapping[str, str]) -> str:
    """Return the spec of an absolute path and options."""
    return shlex.join([os.path.abspath(os.path.expanduser(path)), *(f"{k}={v}" for k, v in options.items())])


def with_options(spec: str, given: Mapping[str, str | None]) -> str:
    """Add options to a spec of files; options in the spec itself take precedence."""
    path, options = split(spec)
    added = {name: value for name, value in given.items() if value is not None and name not in options}
    return shlex.join([path, *(f"{name}={value}" for name, value in {**options, **added}.items())])


def columns(media: str | None, named: Mapping[str, str | None]) -> str | None:
    """Join ``media`` and columns by media key into one ``media``, as ``source.open`` takes it."""
    parts = [media] if media else []
    parts += [f"{key}={shlex.quote(column)}" for key, column in named.items() if column]
    return ",".join(parts) or None


def read(path: str, options: Mapping[str, str], *, what: str, more: tuple[str, ...] = ()) -> Files:
    """Read items.

    Args:
        path: a folder, glob, manifest or webdataset tar.
        options: of ``OPTIONS``.
        what: command-line option that named the files, for messages.
        more: further options, which the caller reads, for messages.

    Raises:
        BadData: the files cannot be read.
        BadSpec: an option is unknown, or names a column that does not exist.
    """
    from quiver.engine import source
    from quiver.engine.source.located import located

    if unknown := [name for name in options if name not in OPTIONS]:
        near = get_close_matches(unknown[0], [*OPTIONS, *more], n=1)
        hint = f"did you mean {near[0]}? " if near else ""
        raise BadSpec(
            f"{what} {path!r} has no option {unknown[0]!r}: {hint}it takes {', '.join((*OPTIONS, *more))}, "
            f'as in {what} "{os.path.basename(path)} text=COLUMN"'
        )
    named = {key: options.get(key) for key in MEDIA}
    opened = source.open(
        [path],
        meta=options.get("meta"),
        key=options.get("key"),
        id_column=options.get("id_column"),
        path_column=options.get("path_column"),
        media=columns(options.get("media"), named),
    )
    stream = located(opened, PICTURES)
    tables = [pa.Table.from_batches([batch]) for batch in stream.batches(_BATCH)]
    none = pa.table({"id": pa.array([], pa.string())})
    items = ItemTable(pa.concat_tables(tables, promote_options="permissive") if tables else none)
    problems = stream.problems()
    lost = [f"{len(problems)} left out, such as {problems[0].id}: {problems[0].reason}"] if problems else []
    unused = [f"left out: {each}" for each in stream.left_out]
    return Files(items, (*stream.notes, *unused, *lost))
