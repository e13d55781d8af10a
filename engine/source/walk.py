"""Walks folders: which files lie there, and which of them together are one item."""

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from quiver.engine.source.record import Problem
from quiver.engine.source.roots import Roots, real
from quiver.media import kind

_CAPTIONS = (".txt", ".caption", ".cap", ".json")  # of several beside one file the first counts
_ORDER = ("image", "video", "audio")  # which file names an item of several
Report = Callable[[Problem], None]


class Entry(NamedTuple):
    """The files of one item.

    Attributes:
        id: what the ids of its folder begin with, and its name.
        path: the absolute path of the file that names it.
        below: that path below the root, with slashes.
        files: media key to absolute path, the text left out.
        text: the absolute path of its text or caption, or None.
    """

    id: str
    path: str
    below: str
    files: dict[str, str]
    text: str | None


@dataclass(frozen=True, slots=True)
class Root:
    """Where a walk starts.

    Attributes:
        path: absolute path of a folder.
        prefix: the text that the ids of items below it begin with: ``esc10/``, or nothing.
        pattern: the steps of a glob below it, where ``**`` stands for any number of folders; none for everything.
        names: the only files wanted, directly in it; none for a walk.
        roots: the roots of the collection: a folder below this one that is a root itself keeps its own prefix.
    """

    path: str
    prefix: str
    pattern: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    roots: Roots = field(default_factory=Roots, compare=False)


class Folder(NamedTuple):
    """One folder met on a walk.

    Attributes:
        path: its absolute path.
        below: its path below the root (``a/b/``).
        names: the names of its files, sorted.
        ids: the text that the ids of its files begin with.
    """

    path: str
    below: str
    names: list[str]
    ids: str


class _Place(NamedTuple):
    """A folder on the way down: its path below the root, its real path, and its prefix of ids."""

    below: str
    real: str
    ids: str


def walk(root: Root, report: Report) -> Iterator[Folder]:
    """Yield a folder and those below it, sorted; hidden ones are left out, links are followed but never in a circle."""
    if root.names:
        yield Folder(root.path, "", sorted(root.names), root.prefix)
    else:
        start = _Place("", real(root.path), root.prefix)
        yield from _descend(root, start, states=frozenset((0,)), above=(), report=report)


def _descend(
    root: Root, place: _Place, *, states: frozenset[int], above: tuple[tuple[int, int], ...], report: Report
) -> Iterator[Folder]:
    path = os.path.join(root.path, place.below).rstrip("/") or "/"
    try:
        status = os.stat(path)
        if (status.st_dev, status.st_ino) in above:
            return
        names, folders = _listing(path, place.ids, report)
    except OSError as error:
        report(Problem(place.ids.rstrip("/"), path, f"the folder cannot be read: {error.strerror}"))
        return
    end = len(root.pattern)
    yield Folder(path, place.below, [name for name in names if end in _step(root.pattern, states, name)], place.ids)
    for name in folders:
        if (inner := _step(root.pattern, states, name)) and (below := _below(root, place, name)):
            circle = (*above, (status.st_dev, status.st_ino))
            yield from _descend(root, below, states=inner, above=circle, report=report)


def _below(root: Root, place: _Place, name: str) -> _Place | None:
    """Return the place of a folder in a folder; None for a link to a folder that the same walk meets anyway."""
    below = f"{place.below}{name}/"
    where = f"{place.real.rstrip('/')}/{name}"
    if not os.path.islink(os.path.join(root.path, below.rstrip("/"))):
        return _Place(below, where, root.roots.exact(where) or f"{place.ids}{name}/")
    where = real(where)
    top = real(root.path).rstrip("/") + "/"
    if not root.pattern and f"{where}/".startswith(top):
        return None
    return _Place(below, where, root.roots.covering(where) or f"{place.ids}{name}/")


def _step(pattern: Sequence[str], states: frozenset[int], name: str) -> frozenset[int]:
    """Return how far a glob has come after one more name; ``len(pattern)`` means: here and below, everything."""
    end = len(pattern)
    reached = {state for state in states if state == end}
    for start in states - reached:
        state = start
        while state < end and pattern[state] == "**":
            reached.add(state)
            state += 1
        if state == end or fnmatchcase(name, pattern[state]):
            reached.add(min(state + 1, end))
    return frozenset(reached)


def _listing(path: str, shown: str, report: Report) -> tuple[list[str], list[str]]:
    """Return the sorted names of the files and of the folders in a folder."""
    names: list[str] = []
    folders: list[str] = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            if not _is_utf8(entry.name):
                name = entry.name.encode(errors="surrogateescape").decode(errors="replace")
                report(Problem(shown + name, path, "its name is not UTF-8: rename it"))
            elif entry.is_dir():
                folders.append(entry.name)
            elif entry.is_file():
                names.append(entry.name)
            elif entry.is_symlink():
                report(Problem(shown + entry.name, entry.path, "a link to nothing"))
    return sorted(names), sorted(folders)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def entries(folder: Folder, root: Root, *, only: frozenset[str], ignored: Counter[str]) -> Iterator[Entry]:
    """Group the files of one folder into items, in the order of their names.

    Args:
        folder: where they are.
        root: where the walk started.
        only: media keys wanted; empty for all.
        ignored: counts, by extension, the files that are no part of any item.
    """
    kinds = {name: kind(name) for name in folder.names}
    media = {name: key for name, key in kinds.items() if key in _ORDER and (not only or key in only)}
    captions = _captions(folder.names) if not only or "text" in only else {}
    companies = _companies(media, captions)
    used = {captions[stem] for stem in companies}
    for name in folder.names:
        stem, suffix = os.path.splitext(name)
        if name in media:
            files = companies.get(stem, {media[name]: name})
            if name == next(iter(files.values())):
                yield _entry(folder, root, files, captions.get(stem))
            elif name not in files.values():  # a second image of the stem shares the caption
                yield _entry(folder, root, {media[name]: name}, captions.get(stem))
        elif name not in used:
            if _is_text(suffix, kinds[name], only):
                yield _entry(folder, root, {}, name)
            else:
                ignored[suffix.lower() or "without extension"] += 1


def _captions(names: Sequence[str]) -> dict[str, str]:
    """Return stem to the file that may hold its caption."""
    found: dict[str, str] = {}
    for suffix in _CAPTIONS:
        for name in names:
            stem, end = os.path.splitext(name)
            if end.lower() == suffix:
                found.setdefault(stem, name)
    return found


def _companies(media: dict[str, str], captions: dict[str, str]) -> dict[str, dict[str, str]]:
    """Return, for stems with a caption, the first file of every kind, in the order in which they name an item."""
    groups: dict[str, dict[str, str]] = {}
    for name, key in media.items():
        stem = os.path.splitext(name)[0]
        if stem in captions:
            groups.setdefault(stem, {}).setdefault(key, name)
    return {stem: {key: files[key] for key in _ORDER if key in files} for stem, files in groups.items()}


def _is_text(suffix: str, key: str | None, only: frozenset[str]) -> bool:
    return key == "text" and ("text" in only or (not only and suffix.lower() == ".txt"))


def _entry(folder: Folder, root: Root, files: dict[str, str], text: str | None) -> Entry:
    name = next(iter(files.values())) if files else str(text)
    below = folder.below + name
    paths = {key: os.path.join(folder.path, file) for key, file in files.items()}
    caption = None if text is None else os.path.join(folder.path, text)
    return Entry(folder.ids + name, os.path.join(folder.path, name), below, paths, caption)
