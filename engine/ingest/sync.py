"""Find stored items whose files are gone from the sources of an add.

Only items of those sources are checked. A file is gone only if it certainly does not exist: not if it is unreadable.
If nothing is left at all in a folder, table or tar, a disk may not be mounted there: such items are counted, and
deleted only if the user confirms how many there are.
"""

import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from quiver.engine.core.sql import among
from quiver.engine.ingest.options import Options
from quiver.engine.ingest.report import Report
from quiver.engine.source import Absent
from quiver.engine.source.roots import Roots, Used, real_file
from quiver.engine.storage.dataset import Table
from quiver.errors import BadSpec
from quiver.media import kind, locate
from quiver.types import MEDIA
from quiver.wording import either

_DELETED = 10_000  # ids in one condition


@dataclass(slots=True)
class Seen:
    """The items and files that an add found.

    Attributes:
        ids: ids of items, including those that could not be read.
        folders: real paths of the folders of the files.
        archives: real paths of the tars of the samples.
        damaged: files that could not be read to the end.
    """

    ids: set[str] = field(default_factory=set)
    folders: set[str] = field(default_factory=set)
    archives: set[str] = field(default_factory=set)
    damaged: set[str] = field(default_factory=set)

    def take(self, id: str, media: Mapping[str, str]) -> None:
        """Record an item."""
        self.ids.add(id)
        for reference, file in _files(media):
            if "?offset=" in reference:
                self.archives.add(file)
            self.folders.add(os.path.dirname(file))


def gone(
    table: Table, used: Iterable[Used], seen: Seen, *, absent: Iterable[Used] = ()
) -> tuple[list[str], dict[str, list[str]]]:
    """Find stored items whose files are gone from some sources.

    Args:
        table: the collection.
        used: the sources.
        seen: what was found there.
        absent: sources in which nothing is left.

    Returns:
        Ids of the items that are gone for certain; and by place those of a place where nothing is left.
    """
    nothing = {root.path: root for root in absent}
    seen.archives.update(path for path, root in nothing.items() if root.kind == "tar")
    roots = [root for root in used if root.path not in seen.damaged and root.path not in nothing]
    ids: list[str] = []
    empty: dict[str, list[str]] = {}
    for batch in table.batches(["id", *MEDIA], size=8192):
        for row in batch.to_pylist():
            id = row.pop("id")
            media = {name: value for name, value in row.items() if value is not None}
            if id in seen.ids:
                continue
            place = next((path for path, root in nothing.items() if _is_gone(id, media, root, seen)), None)
            if place is None and not any(_is_gone(id, media, root, seen) for root in roots):
                continue
            place = place or next((folder for folder in _folders(media) if _is_empty(folder)), None)
            (ids if place is None else empty.setdefault(place, [])).append(id)
    return ids, empty


def compare(table: Table, roots: Roots, seen: Seen, *, absent: Absent, report: Report, options: Options) -> None:
    """Add the missing items to a report, and delete them if requested.

    Items of a place where nothing is left are deleted only if the number of all missing items is the expected one.

    Raises:
        BadSpec: another number is missing; nothing is deleted then.
    """
    report.gone, empty = gone(table, roots.used, seen, absent=absent.used)
    report.emptied = [id for ids in empty.values() for id in ids]
    missing = len(report.gone) + len(report.emptied)
    if options.expect is not None and options.expect != missing:
        raise BadSpec(f"{missing:,} items are gone, and {options.expect:,} were expected: nothing is deleted")
    if options.expect is not None:
        report.deleted = delete(table, [*report.gone, *report.emptied])
        return
    if options.prune:
        report.deleted = delete(table, report.gone)
    for place, ids in empty.items():
        state = "is empty" if os.path.exists(place) else "is gone"
        several = f"{len(ids):,} items are" if len(ids) > 1 else "1 item is"
        report.notes.append(f"{place} {state}: its {several} kept, since a disk may not be mounted there")
    if empty:
        count = len(report.emptied) + (0 if options.prune else len(report.gone))
        report.notes.append(
            f"to delete these {count:,} items, confirm their number: "
            + either(f"--prune --expect {count}, or --prune --yes", f"add(..., prune=True, expect={count})")
        )


def delete(table: Table, ids: list[str]) -> int:
    """Delete items by id; returns their number."""
    parts = (ids[start : start + _DELETED] for start in range(0, len(ids), _DELETED))
    return sum(table.delete(among("id", part)) for part in parts)


def _is_gone(id: str, media: Mapping[str, str], root: Used, seen: Seen) -> bool:
    files = list(_files(media))
    if not files:
        return "text" in media and _text_is_gone(id, root)
    for reference, file in files:
        if file in seen.archives and "?offset=" in reference and file not in seen.damaged:
            continue  # the tar was read to its end, and the sample was not in it
        if not (_lies_in(file, root, seen) and _is_missing(file)):
            return False
    return True


def _text_is_gone(id: str, root: Used) -> bool:
    """Check a text item, which has no path, by its id."""
    if not id.startswith(root.prefix):
        return False
    below = id[len(root.prefix) :]
    if root.kind in ("tar", "table"):
        return True
    if kind(below) != "text" or "#" in below or (root.kind == "files" and "/" in below):
        return False
    return _is_missing(f"{root.path}/{below}")


def _lies_in(file: str, root: Used, seen: Seen) -> bool:
    if root.kind == "tar":
        return file in (root.path, root.before)
    if root.kind == "table":
        return os.path.dirname(file) in seen.folders
    if root.kind == "files":
        return os.path.dirname(file) in (root.path, root.before)
    return any(file == path or file.startswith(path.rstrip("/") + "/") for path in (root.path, root.before) if path)


def _files(media: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Yield the local references of an item, and the real paths of their files."""
    for name, reference in media.items():
        if name != "text" and "://" not in reference:
            yield reference, real_file(locate(reference)[0])


def _folders(media: Mapping[str, str]) -> Iterator[str]:
    """Yield the folders of an item's files, each with those above it."""
    for _, file in _files(media):
        folder = os.path.dirname(file)
        while folder != os.path.dirname(folder):
            yield folder
            folder = os.path.dirname(folder)


def _is_missing(path: str) -> bool:
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False
    return False


def _is_empty(folder: str) -> bool:
    try:
        with os.scandir(folder) as entries:
            return next(entries, None) is None
    except OSError:
        return False
