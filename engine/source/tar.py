"""The members of a tar, grouped into samples.

By the WebDataset convention the stem of a sample ends at the first dot: ``7.jpg``, ``7.txt`` and ``7.left.jpg`` are one
sample. Where that would make one sample of several pictures (``img.1.png``, ``img.2.png``), the stem of each ends at
its last dot instead, and sidecars that only fit the shorter stem are shared. Nothing is unpacked: a medium's
reference is its span of bytes in the tar.
"""

import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from quiver.engine.source import jsonl
from quiver.engine.source.record import Tally
from quiver.errors import BadData
from quiver.media import kind, span
from quiver.types import MEDIA

_CONTENT_BYTES = 1 << 20  # captions and sidecars are smaller
Report = Callable[[int, str], None]  # byte offset and reason


@dataclass(slots=True)
class Sample:
    """A sample: the members of one stem."""

    stem: str
    media: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Member:
    """A member: its stems up to the first and up to the last dot, and its possible key in a sample.

    The part before the extension may name the key, as in ``7.before.jpg``; then both stems end at the first dot.
    """

    info: tarfile.TarInfo
    short: str
    long: str
    suffix: str
    key: str | None

    @classmethod
    def of(cls, info: tarfile.TarInfo) -> "_Member":
        folder, name = os.path.split(info.name)
        stem, _, suffix = name.partition(".")
        first = suffix.lower().partition(".")[0]
        named = first if first in MEDIA and suffix.lower() != first else None
        last = stem if named else os.path.splitext(name)[0]
        key = named or kind("x." + suffix)
        return cls(info, os.path.join(folder, stem), os.path.join(folder, last), suffix.lower(), key)

    @property
    def is_sidecar(self) -> bool:
        return self.suffix.rpartition(".")[2] in ("json", "cls") or self.key == "text"


def samples(
    path: str, report: Report, *, tally: Tally | None = None, split: frozenset[str] = frozenset()
) -> Iterator[Sample]:
    """Yield the samples of a tar; damage is reported, and the samples before it are kept.

    Args:
        path: the tar.
        report: takes a byte offset and a reason.
        tally: counts members that belong to no sample.
        split: stems up to the first dot whose members are not adjacent, see ``repeated``.
    """
    tally = Tally() if tally is None else tally
    with open(path, "rb") as file:
        reader = _Reader(path, file, report, tally)
        for group in _groups(file, report, tally):
            yield from reader.samples(group, apart=group[0].short in split)


def repeated(path: str) -> frozenset[str]:
    """Return the stems up to the first dot that non-adjacent members with the same medium share."""
    groups: Counter[str] = Counter()
    with open(path, "rb") as file:
        groups.update(group[0].short for group in _groups(file, lambda *_: None, Tally()))
    return frozenset(stem for stem, count in groups.items() if count > 1)


def _groups(file: IO[bytes], report: Report, tally: Tally) -> Iterator[list[_Member]]:
    """Yield groups of adjacent members with the same stem up to the first dot."""
    group: list[_Member] = []
    for info in members(file, report, tally):
        member = _Member.of(info)
        if group and group[0].short != member.short:
            yield group
            group = []
        group.append(member)
    if group:
        yield group


@dataclass(frozen=True, slots=True)
class _Reader:
    """Groups members into samples."""

    path: str
    file: IO[bytes]
    report: Report
    tally: Tally

    def samples(self, group: Sequence[_Member], *, apart: bool) -> Iterator[Sample]:
        """Yield the samples of members that share a stem."""
        keys = [member.key for member in group if member.key is not None]
        if not apart and len(set(keys)) == len(keys):
            yield from self._one(group[0].short, group)
            return
        media = [member for member in group if member.key is not None and not member.is_sidecar]
        media = media or [member for member in group if member.key == "text"]
        own = {member.long for member in media}
        shared = [member for member in group if member.long not in own]
        for stem in dict.fromkeys(member.long for member in media):
            company = [member for member in group if member.long == stem]
            yield from self._spread(stem, company, shared)

    def _spread(self, stem: str, company: Sequence[_Member], shared: Sequence[_Member]) -> Iterator[Sample]:
        """Yield the sample of one stem; a second file of the same medium makes a sample of its own."""
        sidecars = [member for member in company if member.is_sidecar]
        first: dict[str | None, _Member] = {}
        for member in company:
            if not member.is_sidecar and first.setdefault(member.key, member) is not member:
                yield from self._one(member.info.name, [*shared, *sidecars, member])
        yield from self._one(stem, [*shared, *sidecars, *first.values()])

    def _one(self, stem: str, group: Sequence[_Member]) -> Iterator[Sample]:
        sample = Sample(stem)
        for member in group:
            try:
                if not self._add(sample, member):
                    self.tally.add("members of tars that are no media", member.info.name)
            except BadData as error:
                self.report(member.info.offset, f"{member.info.name} {error}; its sample is left out")
                return
        yield sample

    def _add(self, sample: Sample, member: _Member) -> bool:
        """Put a member into its sample; a later text or field replaces an earlier one. False if it belongs to none."""
        end = member.suffix.rpartition(".")[2]
        if end == "json":
            sample.meta.update(jsonl.flatten(jsonl.parse(self._content(member.info))))
        elif end == "cls":
            text = self._content(member.info).strip()
            sample.meta["cls"] = int(text) if text.removeprefix("-").isdecimal() else text
        elif member.key is None:
            return False
        elif member.key == "text":
            if text := self._content(member.info).strip():
                sample.media[member.key] = text
        else:
            info = member.info
            sample.media[member.key] = span(self.path, info.name, offset=info.offset_data, size=info.size)
        return True

    def _content(self, info: tarfile.TarInfo) -> str:
        if info.size > _CONTENT_BYTES:
            raise BadData("is over 1 MiB")
        self.file.seek(info.offset_data)
        try:
            return self.file.read(info.size).decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise BadData(f"is not UTF-8 at its byte {error.start}") from error


def members(file: IO[bytes], report: Report, tally: Tally) -> Iterator[tarfile.TarInfo]:
    """Yield the files of a tar from their headers, up to the end or the first damage."""
    size = os.fstat(file.fileno()).st_size
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined] # or it keeps every header in memory
                if member.offset_data + member.size > size:
                    report(member.offset, f"the shard ends inside {member.name}; it has {size} bytes")
                    return
                if _is_file(member, tally):
                    yield member
            end = tar.offset
    except (tarfile.TarError, EOFError) as error:
        report(file.tell(), f"not a complete uncompressed tar: {error}")
        return
    file.seek(end)
    mark = file.read(512)
    if not mark:
        report(end, "the shard has no end mark: if it was truncated, later samples are lost")
    elif mark.strip(b"\0"):
        report(end, "the header of the next member is damaged; it and all after it are lost")


def _is_file(member: tarfile.TarInfo, tally: Tally) -> bool:
    if member.isdir():
        return False
    if not member.isreg() or member.issparse():
        tally.add("members of tars that are links, sparse or no files", member.name)
        return False
    if os.path.basename(member.name).startswith("."):
        tally.add("hidden members of tars", member.name)
        return False
    return True
