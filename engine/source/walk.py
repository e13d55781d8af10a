"""Walk folders, and group their files into items."""

import errno
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import NamedTuple

from quiver.engine.source.record import Problem, Tally
from quiver.engine.source.roots import Roots, real
from quiver.engine.source.value import is_utf8
from quiver.media import kind

_CAPTIONS = (".txt", ".caption", ".cap", ".json")  # of several beside one file the first is used
_ORDER = ("image", "video", "audio")  # order in which a file names an item of several files
Report = Callable[[Problem], None]
_SYSTEM = (".ds_store", "thumbs.db", "desktop.ini", "@eadir")
_MET = "links to folders that are added anyway"


class Entry(NamedTuple):
    """The files of one item.

    Attributes:
        id: the id prefix of its folder and its name.
        path: the absolute path of the file that names it.
        below: that path below the root, with slashes.
        files: absolute path by media key, without text.
        text: the absolute path of its text or caption, or None.
    """

    id: str
    path: str
    below: str
    files: dict[str, str]
    text: str | None


@dataclass(frozen=True, slots=True)
class Root:
    """The start of a walk.

    Attributes:
        path: absolute path of a folder.
        prefix: prefix of the ids below it, such as ``esc10/``, or empty.
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
        ids: prefix of the ids of its files.
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


def walk(root: Root, report: Report, tally: Tally | None = None) -> Iterator[Folder]:
    """Yield a folder and those below it, sorted; links are followed, but never in a circle.

    Args:
        root: where to start.
        report: receives unreadable files and folders.
        tally: counts left out entries: hidden files and folders, pipes, sockets, links to folders that are visited
            anyway.
    """
    if root.names:
        yield Folder(root.path, "", sorted(root.names), root.prefix)
    else:
        start = _Place("", real(root.path), root.prefix)
        yield from _Walk(root, report, Tally() if tally is None else tally).descend(start, frozenset((0,)), ())


@dataclass(frozen=True, slots=True)
class _Walk:
    root: Root
    report: Report
    tally: Tally

    def descend(self, place: _Place, states: frozenset[int], above: tuple[tuple[int, int], ...]) -> Iterator[Folder]:
        """Yield a folder and those below it, unless it is one of those above."""
        pattern = self.root.pattern
        path = os.path.join(self.root.path, place.below).rstrip("/") or "/"
        try:
            status = os.stat(path)
            names, folders = self._listing(path, place.ids)
        except OSError as error:
            self.report(Problem(place.ids.rstrip("/"), path, f"the folder cannot be read: {error.strerror}"))
            return
        here = (status.st_dev, status.st_ino)
        if here in above:
            self.tally.add(_MET, place.ids.rstrip("/"))
            return
        yield Folder(
            path, place.below, [name for name in names if len(pattern) in _step(pattern, states, name)], place.ids
        )
        for name in folders:
            if inner := _step(pattern, states, name):
                below = _below(self.root, place, name)
                if below is None:
                    self.tally.add(_MET, f"{place.ids}{name}")
                else:
                    yield from self.descend(below, inner, (*above, here))

    def _listing(self, path: str, shown: str) -> tuple[list[str], list[str]]:
        """Return the sorted names of the files and of the folders in a folder."""
        names: list[str] = []
        folders: list[str] = []
        with os.scandir(path) as entries:
            for entry in sorted(entries, key=lambda entry: entry.name):
                try:
                    self._sort(entry, shown, names, folders)
                except OSError as error:  # one entry must not hide the others
                    why = "a link that leads back to itself" if error.errno == errno.ELOOP else error.strerror
                    self.report(Problem(shown + entry.name, entry.path, f"it cannot be examined: {why}"))
        return names, folders

    def _sort(self, entry: "os.DirEntry[str]", shown: str, names: list[str], folders: list[str]) -> None:
        if entry.name.lower() in _SYSTEM or entry.name.startswith("._"):
            self.tally.add("files that an operating system left", shown + entry.name)
        elif entry.name.startswith("."):
            self.tally.add("hidden files and folders", shown + entry.name)
        elif not is_utf8(entry.name):
            name = entry.name.encode(errors="surrogateescape").decode(errors="replace")
            self.report(Problem(shown + name, entry.path, "its name is not UTF-8: rename it"))
        elif entry.is_dir():
            folders.append(entry.name)
        elif entry.is_file():
            names.append(entry.name)
        elif entry.is_symlink() and not os.path.exists(entry.path):
            self.report(Problem(shown + entry.name, entry.path, "a link to nothing"))
        else:
            self.tally.add("pipes, sockets and devices", shown + entry.name)


def _below(root: Root, place: _Place, name: str) -> _Place | None:
    """Return the place of a folder in a folder; None for a link to a folder that the same walk meets anyway."""
    below = f"{place.below}{name}/"
    where = f"{place.real.rstrip('/')}/{name}"
    if not os.path.islink(os.path.join(root.path, below.rstrip("/"))):
        ids = root.roots.exact(where)
        return _Place(below, where, root.roots.inner(place.ids, name, where) if ids is None else ids)
    where = real(where)
    top = real(root.path).rstrip("/") + "/"
    if not root.pattern and f"{where}/".startswith(top):
        return None
    ids = root.roots.covering(where)
    return _Place(below, where, f"{place.ids}{name}/" if ids is None else ids)


def _step(pattern: Sequence[str], states: frozenset[int], name: str) -> frozenset[int]:
    """Return the position in a glob after one more name; ``len(pattern)`` matches everything from here down."""
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


def entries(folder: Folder, *, only: frozenset[str], ignored: Tally) -> Iterator[Entry]:
    """Group the files of one folder into items, in the order of their names.

    Args:
        folder: where they are.
        only: media keys wanted; empty for all.
        ignored: counts, by extension, files that belong to no item.
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
                yield _entry(folder, files, captions.get(stem))
            elif name not in files.values():  # a second image of the stem shares the caption
                yield _entry(folder, {media[name]: name}, captions.get(stem))
        elif name not in used:
            if _is_text(suffix, kinds[name], only):
                yield _entry(folder, {}, name)
            else:
                ignored.add(suffix.lower() or "without extension", folder.below + name)


def _captions(names: Sequence[str]) -> dict[str, str]:
    """Return the possible caption file by stem."""
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


def _entry(folder: Folder, files: dict[str, str], text: str | None) -> Entry:
    name = next(iter(files.values())) if files else str(text)
    below = folder.below + name
    paths = {key: os.path.join(folder.path, file) for key, file in files.items()}
    caption = None if text is None else os.path.join(folder.path, text)
    return Entry(folder.ids + name, os.path.join(folder.path, name), below, paths, caption)
