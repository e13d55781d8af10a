"""Sources: the user's files, arrays and items as a stream of Arrow record batches, never row by row.

``open`` takes folders, globs, files, manifests and WebDataset shards; ``open_vectors`` ready-made vectors.
Ids: a file is ``<folder name>/<path below it>``, whether its folder, a glob or the file itself is given; a row of a
manifest has the id of the file it names, so that a folder and the manifest in it give the same ids. See ``roots``.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from glob import glob, has_magic
from itertools import groupby
from typing import Any

from quiver.engine.source.absent import Absent
from quiver.engine.source.chain import Chain, chain
from quiver.engine.source.folder import Files, Survey, advice, empty, open_files, sample, survey
from quiver.engine.source.given_vectors import NO_MEDIA, GivenVectors
from quiver.engine.source.manifest import Manifest, open_manifest
from quiver.engine.source.memory import FORMS, MemoryTable, blocks, is_rows
from quiver.engine.source.meta import join
from quiver.engine.source.record import Problem, Source, Tally
from quiver.engine.source.role import Choice, choose
from quiver.engine.source.roots import Roots, Sample
from quiver.engine.source.rows import Rows, Seen, open_rows
from quiver.engine.source.table import SUFFIXES, is_table
from quiver.engine.source.vector import VectorSource, open_vectors, vector_parts
from quiver.engine.source.walk import Entry, Root, entries, walk
from quiver.engine.source.webdataset import Shard, Shards, open_shards
from quiver.errors import BadData, BadSpec, NothingThere
from quiver.media import kind
from quiver.wording import option

__all__ = [
    "FORMS",
    "Absent",
    "Choice",
    "GivenVectors",
    "MemoryTable",
    "Problem",
    "Rows",
    "Seen",
    "Source",
    "VectorSource",
    "blocks",
    "chain",
    "choose",
    "given_or_stored",
    "is_rows",
    "is_table",
    "open",
    "open_rows",
    "open_vectors",
    "vector_parts",
]

Surveyed = tuple[Root, Survey]


def is_one_per_file(source: Source) -> bool:
    """Whether every item of a source stands for files of its own: not so for rows and Items with ids of their own."""
    if isinstance(source, Chain):
        return all(map(is_one_per_file, source.sources))
    return isinstance(source, Files | Shards) or (isinstance(source, Manifest) and source.roles.id is None)


def given_or_stored(
    vectors: Any,
    ids: Sequence[str] | None,
    meta: Any,
    *,
    column: str | None = None,
    id_column: str | None = None,
    media: Mapping[str, str] = NO_MEDIA,
    stored: tuple[str, ...] = (),
) -> VectorSource | GivenVectors:
    """Return ready-made vectors as a source: a path is opened, anything else is an array."""
    if not isinstance(vectors, str | os.PathLike):
        if column or id_column:
            raise BadSpec("column and id_column apply to files of vectors, not to an array")
        return GivenVectors.of(vectors, ids, meta, media=media)
    if media:
        raise BadSpec("columns of media apply to vectors in memory; a table of a file of vectors names them image, ...")
    if ids is not None:
        raise BadSpec("ids apply to an array of vectors; the ids of a file come from its column id, or its row numbers")
    if meta is not None and not isinstance(meta, str | os.PathLike):
        raise BadSpec("metadata of a file of vectors must be the path of a table with a row for each vector")
    table = None if meta is None else os.fspath(meta)
    return open_vectors(os.fspath(vectors), metadata=table, column=column, id_column=id_column, stored=stored)


def open(
    paths: Sequence[str],
    *,
    meta: str | None = None,
    key: str | None = None,
    id_column: str | None = None,
    path_column: str | None = None,
    media: str | None = None,
    roots: Roots | None = None,
    absent: Absent | None = None,
) -> Source:
    """Open paths as a source: all folders and files as one, then shards, then manifests.

    Args:
        paths: folders, globs (``**`` for any depth), media files, ``.csv``, ``.tsv``, ``.jsonl`` or ``.parquet``
            manifests, ``.tar`` shards.
        meta: table of metadata of the files.
        key: column of that table with the file names; None to find it.
        id_column: column of ids; None for a column ``id`` if its values are unique; "none" for ids
            made from paths.
        path_column: column of paths of a manifest; None to find it.
        media: keys wanted (``image``), and columns that hold one (``audio=sound,text=caption``), with commas.
        roots: roots of a collection, which determine the ids; new roots are added to it.
        absent: gets the sources in which nothing is left; None makes such a source an error.

    Raises:
        BadData: a path does not exist or has nothing to add, or a table cannot be read.
        BadSpec: ``media`` is invalid, or an option names a column and there is no table.
    """
    choice = choose(id_column, path_column, media, stored=roots.columns if roots else ())
    if isinstance(paths, str) or not paths:
        raise BadData("nothing to add: give at least one path")
    known = Roots() if roots is None else roots
    found = [place for path in paths for place in _present(path, absent)]
    files = [path for path in found if isinstance(path, str)]
    folders = [_named(place, known, choice) for place in _gathered(found)]
    surveyed, shards = _survey(folders, choice, absent)
    shards += [Shard.named(path, known) for path in files if path.lower().endswith(".tar")]
    if meta and not surveyed and not (absent and absent.used):
        raise BadData(
            f"{meta} is metadata of files, but none of {', '.join(paths)} is a folder, a glob or a media file"
        )
    tables = [path for path in files if is_table(path)]
    _refuse_idle(choice, key, meta=meta, tables=bool(tables), shards=bool(shards))
    sources: list[Source] = [_files(surveyed, meta, key, choice)] if surveyed else []
    if shards:
        sources += _unless(absent, [(shard.path, "tar") for shard in shards], lambda: open_shards(shards, choice))
    for path in tables:
        sources += _unless(absent, [(path, "table")], partial(open_manifest, path, choice, known))
    return chain(sources)


def _unless(absent: Absent | None, paths: Sequence[tuple[str, str]], opens: Callable[[], Source]) -> list[Source]:
    """Open a source; return none if nothing is left in it, and that is of interest."""
    try:
        return [opens()]
    except NothingThere:
        if absent is None or not all([absent.take(*each) for each in paths]):
            raise
        return []


def _present(path: str, absent: Absent | None) -> list[Root | str]:
    try:
        return _expand(path)
    except NothingThere:
        full = os.path.abspath(os.path.expanduser(path))
        kind = "tar" if full.lower().endswith(".tar") else "table" if is_table(full) else "folder"
        if absent is None or has_magic(full) or not absent.take(full, kind):
            raise
        return []


def _gathered(found: Sequence[Root | str]) -> list[Root]:
    """Return folders and globs, then the media files that were named one by one, folder by folder."""
    media = sorted(os.path.split(place) for place in set(found) if isinstance(place, str) and kind(place))
    loose = groupby(media, key=lambda parts: parts[0])
    folders = [place for place in found if isinstance(place, Root)]
    return [*folders, *(Root(folder, "", names=tuple(name for _, name in group)) for folder, group in loose)]


def _named(root: Root, roots: Roots, choice: Choice) -> Root:
    """Give a root its prefix."""
    bare = replace(root, prefix="")

    def lies_there() -> Sample:
        yield from sample(bare, choice.files)
        for shard in _tars(bare):
            yield from ((f"{shard.prefix}/{stem}", media) for stem, media in shard.sample())

    return replace(
        root, prefix=roots.name(root.path, "files" if root.names else "folder", sample=lies_there), roots=roots
    )


def _refuse_idle(choice: Choice, key: str | None, *, meta: str | None, tables: bool, shards: bool) -> None:
    """Refuse options that would have no effect."""
    columns = bool(meta) or tables or shards
    idle = {
        "key": bool(key) and not meta,
        "path_column": bool(choice.path_column) and not tables,
        "id_column": choice.id_column not in (None, "none") and not columns,
        "media": bool(choice.named) and not columns,
    }
    for name in (name for name, is_idle in idle.items() if is_idle):
        raise BadSpec(f"{option(name)} names a column, but there is no {'manifest' if meta else 'table'}")


def _files(surveyed: Sequence[Surveyed], meta: str | None, key: str | None, choice: Choice) -> Source:
    roots = [root for root, _ in surveyed]

    def walked() -> Iterator[Entry]:
        for root in roots:
            for folder in walk(root, lambda _: None):
                yield from entries(folder, only=choice.files, ignored=Tally())

    joined = join(meta, walked, key=key, choice=choice) if meta else None
    return open_files(roots, [found for _, found in surveyed], only=choice.files, join=joined)


def _expand(path: str) -> list[Root | str]:
    """Return a folder or the folder of a glob as a root, and files as absolute paths."""
    if "://" in path:
        raise BadData(f"{path}: list the URIs in a manifest, as a column of a .csv or .jsonl file")
    full = os.path.abspath(os.path.expanduser(path))
    if os.path.isdir(full):
        return [Root(full, "")]
    if os.path.isfile(full):
        return [_known(full)]
    if not has_magic(full):
        raise _absence(path, full)
    if is_table(full) or full.lower().endswith(".tar"):
        matches: list[Root | str] = [os.path.abspath(match) for match in sorted(glob(full, recursive=True))]
        if not matches:
            raise BadData(f"{path} matches no file")
        return matches
    steps = full.split("/")
    at = next(place for place, step in enumerate(steps) if has_magic(step))
    folder = "/".join(steps[:at]) or "/"
    if not os.path.isdir(folder):
        raise BadData(f"{path} matches no file: there is no folder {folder}")
    return [Root(folder, "", pattern=tuple(steps[at:]))]


def _absence(path: str, full: str) -> BadData:
    """Return the error of a path that is neither a folder nor a file."""
    if os.path.exists(full):
        return BadData(f"{path} is a pipe, a socket or a device: give a file or a folder")
    if os.path.islink(full):
        return BadData(f"{path} is a broken link, or a link to itself")
    return NothingThere(f"there is no file or folder {path}")


def _known(path: str) -> str:
    if path.lower().endswith((".npy", ".npz")):
        raise BadData(f"{path} is an array: add it as vectors (--space, add_vectors), not as media")
    if kind(path) is None and not is_table(path) and not path.lower().endswith(".tar"):
        known = f"{path} is not a media file, a table ({', '.join(SUFFIXES)}) or a .tar of samples"
        raise BadData(known + advice(os.path.splitext(path)[1]))
    return path


def _survey(roots: Sequence[Root], choice: Choice, absent: Absent | None) -> tuple[list[Surveyed], list[Shard]]:
    """Count the items of every root; a root that contains only tars is a folder of shards."""
    surveyed: list[Surveyed] = []
    shards: list[Shard] = []
    for root in roots:
        found = survey(root, choice.files)
        if found.items:
            surveyed.append((root, found))
        elif any(each.reason == ".tar" for each in found.ignored.left_out()):
            shards += _tars(root)
        elif absent is None or not absent.take(root.path):
            raise empty(root, found, only=choice.files)
    return surveyed, shards


def _tars(root: Root) -> Iterator[Shard]:
    for folder in walk(root, lambda _: None):
        for name in folder.names:
            if name.lower().endswith(".tar"):
                yield Shard(os.path.join(folder.path, name), f"{folder.ids}{name}")
