"""The place of a collection: what is there instead, if it is none, and whether a new one may be made there."""

import os
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator

from quiver.engine.storage.write_lock import local_path
from quiver.errors import BadCollection, BadSpec, CannotWrite
from quiver.media import kind
from quiver.wording import either, nearest

#: Folder of the dataset in a collection.
DATASET = "items.lance"
#: Most entries of a folder that are looked at.
_LOOKED = 2000
_TABLES = (".csv", ".tsv", ".jsonl", ".parquet", ".tar")
_SAID = {"image": "image", "audio": "sound", "video": "video", "text": "text"}


def is_collection(path: str) -> bool:
    """Whether a local folder is a collection."""
    return os.path.isdir(os.path.join(path, DATASET))


def absence(uri: str, *, rest: str = "") -> str:
    """Return the message for a place without a collection: what is there, and a call or command that would work.

    Args:
        uri: the place.
        rest: the options of the command, with a space before each.
    """
    path = local_path(uri)
    if path is None or not (os.path.lexists(path) or os.path.isdir(os.path.dirname(path))):
        return f"no collection at {uri}: {_first(uri, rest=rest)}"
    outer = _collection_above(path)
    if outer is not None:
        return f"no collection at {path}: it is a part of the collection {outer}; name that one"
    if os.path.isfile(path):
        known = kind(path) or path.lower().endswith(_TABLES)
        return f"{path} is a file, not a collection: {_first(fresh(path), path if known else None, rest)}"
    if found := _media(path):
        return f"{path} is a folder of files ({found}), not a collection: {_first(fresh(path), path, rest)}"
    return f"no collection at {path}: {_neighbours(path)}{_first(uri, rest=rest)}"


def check_new(uri: str) -> None:
    """Check that a new collection may be made at a place.

    Raises:
        BadCollection: it is in another collection, or a folder of media files, which a collection would be mixed with.
        CannotWrite: it is a file.
    """
    path = local_path(uri)
    if path is None:
        return
    if (outer := _collection_above(path)) is not None:
        raise BadCollection(f"{path} is in the collection {outer}: choose another place")
    if os.path.isfile(path):
        raise CannotWrite(f"cannot write a collection to {path}, which is a file: choose another path")
    if _media(path):
        raise BadCollection(absence(uri))


def check_order(sources: Iterable[str]) -> None:
    """Check that no source of an add is a collection.

    Raises:
        BadSpec: one is; probably the arguments are swapped.
    """
    for source in sources:
        if "://" not in source and is_collection(os.path.expanduser(source)):
            raise BadSpec(
                f"{source} is a collection, not files to add: "
                + either(
                    f"the collection comes first, as in `quiver add {shlex.quote(source)} FILES`",
                    f"add to it, as in quiver.open({source!r}).add('photos')",
                )
            )


def fresh(path: str) -> str:
    """Return the name of a new collection beside a file or folder."""
    base = os.path.splitext(path.rstrip("/"))[0]
    names = (f"{base}-collection{number or ''}" for number in range(100))
    return next((name for name in names if not os.path.lexists(name)), f"{base}-collection")


def _first(collection: str, files: str | None = None, rest: str = "") -> str:
    """Return the call or command that makes a collection."""
    command = f"`quiver add {_short(collection)} {'FILES' if files is None else _short(files)}{rest}` makes one"
    return either(command, f"quiver.open({collection!r}).add({files or 'photos'!r}) makes one")


def _neighbours(path: str) -> str:
    """Name the collections in a folder, or beside a path that does not exist: the one of the nearest name, or some."""
    beside = _collections(path if os.path.isdir(path) else os.path.dirname(path))
    near = nearest(os.path.basename(path), beside)
    if near:
        return f"did you mean {_short(beside[near])}? "
    some = ", ".join(_short(each) for each in list(beside.values())[:5])
    return f"collections there are {some}{' ...' if len(beside) > 5 else ''}; " if some else ""


def _short(path: str) -> str:
    """Return a path for the shell, relative to the working directory if it is below it."""
    near = os.path.relpath(path) if "://" not in path else path
    return shlex.quote(path if near.startswith("..") else near)


def _collection_above(path: str) -> str | None:
    above = os.path.dirname(path)
    while above != os.path.dirname(above):
        if is_collection(above):
            return above
        above = os.path.dirname(above)
    return None


def _media(path: str) -> str:
    """Count the media files that are directly in a folder, as text; empty if there are none."""
    counts = Counter(medium for entry in _entries(path) if (medium := kind(entry.name)) and entry.is_file())
    counts.pop("text", None)  # a README.txt beside collections is usual
    return ", ".join(f"{count:,} {_SAID[medium]}{'s' if count > 1 else ''}" for medium, count in counts.items())


def _collections(folder: str) -> dict[str, str]:
    """Return the collections in a folder, by name."""
    return {entry.name: entry.path for entry in _entries(folder) if is_collection(entry.path)}


def _entries(folder: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            yield from (entry for _, entry in zip(range(_LOOKED), entries, strict=False))
    except OSError:
        return
