"""Folders, globs and single files as a source: every media file is an item, with the caption beside it.

A media file and a ``.txt``, ``.caption``, ``.cap`` or ``.json`` (with a string field caption or text) of the same stem
are one item, named by the media file; a ``.txt`` alone is a text item. Other text files (``.md``, ``.rst``) usually
document the data, so they are items only if ``media`` names text.
"""

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from quiver.engine.source.meta import Join
from quiver.engine.source.place import read_text
from quiver.engine.source.record import FileSource, Gate, LeftOut, Problem, Tally, assemble
from quiver.engine.source.roots import Sample
from quiver.engine.source.table import SUFFIXES
from quiver.engine.source.value import is_utf8
from quiver.engine.source.walk import Entry, Report, Root, entries, walk
from quiver.errors import BadMedia, NothingThere
from quiver.types import MEDIA

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 4096  # files per batch


_ARCHIVES = frozenset((".zip", ".rar", ".7z", ".gz", ".tgz", ".bz2", ".xz", ".zst"))
_RAW_NAMES = "dng cr2 cr3 crw nef nrw arw srf sr2 raf orf rw2 pef srw 3fr iiq x3f"
_RAW = frozenset(f".{name}" for name in _RAW_NAMES.split())


@dataclass(frozen=True, slots=True)
class Survey:
    """Result of one walk over a root.

    Attributes:
        items: number of items.
        ignored: files that are not items, by extension.
        passed: files and folders that the walk skipped, such as hidden files.
    """

    items: int
    ignored: Tally
    passed: Tally


def survey(root: Root, only: frozenset[str]) -> Survey:
    """Count the items and other files below a root."""
    ignored, passed = Tally(), Tally()
    items = sum(1 for _ in _entries(root, only, ignored=ignored, passed=passed))
    return Survey(items, ignored, passed)


def left_out(surveys: Sequence[Survey], table: str | None = None) -> tuple[LeftOut, ...]:
    """Return the files that are not items; ``table`` is the extension of the table that is used for metadata."""
    ignored, passed = Tally(), Tally()
    for found in surveys:
        ignored.update(found.ignored)
        passed.update(found.passed)
    kinds = {each.reason: each for each in ignored.left_out()}
    if table in kinds:
        kinds[table] = kinds[table].less(1)
    told = []
    for reason, suffixes in (
        ("archives: unpack them, then add the folder", _ARCHIVES),
        ("camera raw files: convert them to JPEG or TIFF, then add those", _RAW),
    ):
        told.append(_together(reason, [kinds.pop(suffix) for suffix in sorted(suffixes & kinds.keys())]))
    rest = [each for each in kinds.values() if each.count]
    listed = ", ".join(f"{each.count:,} {each.reason}" for each in rest[:8])
    told.append(_together(f"files that are no media: {listed}", rest))
    return (*(each for each in told if each.count), *passed.left_out())


def _together(reason: str, parts: Sequence[LeftOut]) -> LeftOut:
    return LeftOut(
        reason, sum(each.count for each in parts), tuple(name for each in parts for name in each.examples)[:3]
    )


def sample(root: Root, only: frozenset[str]) -> Sample:
    """Yield the path below a root and the files of its items, lazily."""
    for entry in _entries(root, only):
        yield entry.below, entry.files if entry.files else {"text": _read(entry, lambda _: None) or ""}


def empty(root: Root, found: Survey, *, only: frozenset[str]) -> NothingThere:
    """Return the error of a root without items; it names the wanted media and the files that are there."""
    wanted = ", ".join(sorted(only)) or "images, sounds, videos and .txt files"
    kinds = {each.reason: each.count for each in found.ignored.left_out()}
    others = [str(each) for each in found.passed.left_out()]
    there = ", ".join([f"{count} {suffix}" for suffix, count in list(kinds.items())[:5]] + others) or "nothing"
    hint = advice(*kinds)
    where = os.path.join(root.path, *root.pattern)
    return NothingThere(f"nothing to add in {where}: looked for {wanted}, found {there}{hint}")


def advice(*suffixes: str) -> str:
    """Return advice for files of these extensions, as the end of a sentence."""
    hints = {
        frozenset((".npy", ".npz")): "; add arrays as vectors (--space, add_vectors)",
        frozenset(SUFFIXES): "; add a table by its own path",
        _ARCHIVES: "; unpack archives first",
        _RAW: "; convert camera raw files to JPEG or TIFF first",
    }
    wanted = {suffix.lower() for suffix in suffixes}
    return next((text for known, text in hints.items() if known & wanted), "")


@dataclass(frozen=True, slots=True)
class Files(FileSource):
    """The media files below some roots.

    Attributes:
        roots: their roots.
        only: media keys wanted; empty for all.
        join: the table of their metadata, or None.
        total: number of items.
        schema: the metadata columns.
        notes: notes for the user.
        unused: files that are not items, and why.
    """

    roots: tuple[Root, ...]
    only: frozenset[str]
    join: Join | None
    total: int | None
    schema: "pa.Schema"
    notes: tuple[str, ...]
    unused: tuple[LeftOut, ...]

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Files that are not items, and files that were named twice."""
        return (*self.unused, *self._twice.left_out())

    def _records(self, size: int) -> Iterator["pa.RecordBatch"]:
        self._problems.extend(self.join.problems if self.join else ())
        # A path is unique below its root: ids can only repeat across roots, along links, or come from a table.
        gate = Gate(self._problems, self._twice) if len(self.roots) > 1 or self.join or self.roots[0].pattern else None
        for root in self.roots:
            stream = _entries(root, self.only, report=self._problems.append)
            while chunk := list(islice(stream, _CHUNK)):
                if len(batch := self._batch(chunk)):
                    yield gate.admit(batch, uri=root.path) if gate else batch

    def _batch(self, chunk: list[Entry]) -> "pa.RecordBatch":
        import pyarrow as pa
        import pyarrow.compute as pc

        texts = [_read(entry, self._problems.append) for entry in chunk]
        kept = [pair for pair in zip(chunk, texts, strict=True) if pair[0].files or pair[1]]
        files = [entry for entry, _ in kept]
        alias = self.roots[0].roots.alias
        ids = pa.array([alias(entry.path) or entry.id for entry in files], pa.string())
        media = {key: pa.array([entry.files.get(key) for entry in files], pa.string()) for key in MEDIA[1:]}
        media["text"] = pa.array([text for _, text in kept], pa.string())
        if not self.join:
            return assemble(ids, media, meta=(), schema=self.schema)
        rows = self.join.find(files)
        for key, values in self.join.media.items():
            media[key] = pc.coalesce(media[key], values.take(rows))
        if self.join.ids is not None:
            ids = pc.coalesce(self.join.ids.take(rows), ids)
        return assemble(ids, media, meta=[values.take(rows) for values in self.join.columns], schema=self.schema)


def _entries(
    root: Root,
    only: frozenset[str],
    *,
    ignored: Tally | None = None,
    passed: Tally | None = None,
    report: Report = lambda _: None,
) -> Iterator[Entry]:
    unknown = Tally() if ignored is None else ignored
    for folder in walk(root, report, passed):
        yield from entries(folder, only=only, ignored=unknown)


def _read(entry: Entry, report: Report) -> str | None:
    """Return the text of an item; an unreadable text is reported, and the item keeps its other media."""
    if entry.text is None:
        return None
    is_json = entry.text.lower().endswith(".json")
    try:
        content = read_text(entry.text)
        text = _caption(content, entry.text) if is_json else content
        if text is None and not entry.files:
            raise BadMedia(f"{entry.text} is empty")
    except BadMedia as error:
        folder = os.path.dirname(entry.id)
        report(Problem(os.path.join(folder, os.path.basename(entry.text)), entry.text, str(error)))
        return None
    return text


def _caption(content: str | None, path: str) -> str | None:
    """Return the caption in a JSON file beside a medium; None if it has no caption."""
    try:
        value: Any = json.loads(content or "null")
    except (ValueError, RecursionError) as error:
        raise BadMedia(f"{path} is not JSON: {error}") from error
    found = [value.get(name) for name in ("caption", "text")] if isinstance(value, dict) else []
    text = next((text.strip() for text in found if isinstance(text, str) and text.strip()), None)
    if text is not None and not is_utf8(text):
        raise BadMedia(f"{path}: its caption has half a surrogate pair, such as half an emoji, which is not valid text")
    return text


def open_files(roots: Sequence[Root], surveys: Sequence[Survey], *, only: frozenset[str], join: Join | None) -> Files:
    """Make a source of surveyed roots."""
    import pyarrow as pa

    beside = join is not None and any(join.path.startswith(root.path.rstrip("/") + "/") for root in roots)
    unused = left_out(surveys, os.path.splitext(join.path)[1].lower() if join and beside else None)
    notes = list(join.notes if join else ())
    if not join and any(each.reason in SUFFIXES for found in surveys for each in found.ignored.left_out()):
        notes.append("to use a table beside the files as metadata, give it as meta")
    schema = join.schema if join else pa.schema([])
    total = sum(found.items for found in surveys)
    return Files(tuple(roots), only, join, total, schema, tuple(notes), unused)
