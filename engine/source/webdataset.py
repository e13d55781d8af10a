"""WebDataset shards: uncompressed tars in which members of one stem, side by side, are one sample.

Nothing is unpacked: a medium's reference is its span of bytes in the shard. ``.txt`` becomes the text, the
fields of ``.json`` and the integer of ``.cls`` become metadata, and a field caption or text stands in for
a missing ``.txt``. A sample's id is that of its shard, a slash and its stem.
Format: https://github.com/webdataset/webdataset (README).
"""

import json
import os
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import IO, TYPE_CHECKING, Any

from quiver.engine.source import column, jsonl
from quiver.engine.source.record import Gate, Problem, assemble, rebatch
from quiver.engine.source.role import Choice
from quiver.engine.source.roots import Roots
from quiver.errors import BadData
from quiver.media import kind, span
from quiver.types import MEDIA

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 4096  # samples made into a batch at a time
_CONTENT_BYTES = 1 << 20  # a caption or a sidecar is smaller
Report = Callable[[int, str], None]  # byte offset and reason


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar, and the text that the ids of its samples begin with."""

    path: str
    prefix: str

    @classmethod
    def named(cls, path: str, roots: Roots) -> "Shard":
        """Return a tar under the prefix that the roots of a collection give it."""
        bare = cls(path, "")
        return cls(path, roots.name(path, sample=bare.sample).rstrip("/"))

    def sample(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield stems and media, until nobody asks for more."""
        for sample in samples(self.path, lambda *_: None, ignored=Counter()):
            yield sample.stem, sample.media


@dataclass(slots=True)
class Sample:
    """The members of one stem."""

    stem: str
    media: dict[str, str] = field(default_factory=dict)
    meta: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Shards:
    """Tars of samples.

    Attributes:
        shards: the tars in order.
        choice: what the user said.
        fields: the fields of the samples and their types.
        schema: the metadata columns.
        total: how many samples there are.
        notes: what a user should be told.
    """

    shards: tuple[Shard, ...]
    choice: Choice
    fields: "pa.Schema"
    schema: "pa.Schema"
    total: int | None
    notes: tuple[str, ...]
    _problems: list[Problem] = field(default_factory=list, repr=False, compare=False)

    def problems(self) -> list[Problem]:
        """Return what the latest iteration turned away."""
        return list(self._problems)

    def batches(self, size: int) -> Iterator["pa.RecordBatch"]:
        """Yield the records of all shards, one shard after the other."""
        self._problems.clear()
        yield from rebatch(self._records(), size)

    def _records(self) -> Iterator["pa.RecordBatch"]:
        gate = Gate(self._problems)
        for shard in self.shards:

            def report(offset: int, reason: str, shard: Shard = shard) -> None:
                self._problems.append(Problem(shard.prefix, shard.path, f"{shard.path}, byte {offset}: {reason}"))

            for chunk in _chunks(samples(shard.path, report, ignored=Counter())):
                if kept := [sample for sample in chunk if self._is_whole(sample, shard)]:
                    yield gate.admit(self._batch(kept, shard), uri=shard.path)

    def _is_whole(self, sample: Sample, shard: Shard) -> bool:
        media = _media(sample, self.choice)
        name = f"{shard.prefix}/{sample.stem}"
        if not media:
            self._problems.append(Problem(name, shard.path, "the sample holds no media"))
        elif self._id(sample, shard) is None:
            self._problems.append(Problem(name, shard.path, f"its field {self.choice.id_column} is empty"))
        else:
            return True
        return False

    def _id(self, sample: Sample, shard: Shard) -> str | None:
        if self.choice.id_column in (None, "none"):
            return f"{shard.prefix}/{sample.stem}"
        value = sample.meta.get(str(self.choice.id_column))
        return None if value in (None, "") else str(value)

    def _batch(self, chunk: Sequence[Sample], shard: Shard) -> "pa.RecordBatch":
        import pyarrow as pa

        media = [_media(sample, self.choice) for sample in chunk]
        arrays = {key: pa.array([found.get(key) for found in media], pa.string()) for key in MEDIA}
        ids = pa.array([self._id(sample, shard) for sample in chunk], pa.string())
        meta = jsonl.to_batch([sample.meta for sample in chunk], self.fields).columns
        return assemble(ids, arrays, meta=meta, schema=self.schema)


def open_shards(shards: Sequence[Shard], choice: Choice) -> Shards:
    """Read the headers and sidecars of all shards once, for their number and the types of their metadata.

    Raises:
        BadData: no shard holds a sample, or ``id_column`` is no field.
    """
    import pyarrow as pa

    kinds = column.Inference()
    ignored: Counter[str] = Counter()
    faults: list[str] = []
    total = 0
    for shard in shards:
        report = _collector(shard, faults)
        for chunk in _chunks(samples(shard.path, report, ignored=ignored)):
            total += len(chunk)
            jsonl.observe(kinds, [sample.meta for sample in chunk])
    if not total:
        raise BadData(faults[0] if faults else f"{shards[0].path} holds no samples")
    fields = kinds.schema()
    for name in (choice.id_column, choice.named.get("text")):
        if name and name != "none":
            column.known(name, fields.names, path=shards[0].path)
    names = column.rename(fields.names)
    schema = pa.schema([(names[f.name], f.type) for f in fields])
    left_out = ", ".join(f"{count} {suffix}" for suffix, count in ignored.most_common(8))
    notes = [f"members of shards left out: {left_out}"] if ignored else []
    return Shards(tuple(shards), choice, fields, schema, total, (*notes, *column.renaming_notes(names)))


def _collector(shard: Shard, faults: list[str]) -> Report:
    return lambda offset, reason: faults.append(f"{shard.path}, byte {offset}: {reason}")


def _chunks(stream: Iterator[Sample]) -> Iterator[list[Sample]]:
    chunk: list[Sample] = []
    for sample in stream:
        chunk.append(sample)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _media(sample: Sample, choice: Choice) -> dict[str, str]:
    """Return the media of a sample that are wanted, with its text from a field if the user or nature says so."""
    media = {key: value for key, value in sample.media.items() if not choice.only or key in choice.only}
    if choice.only and "text" not in choice.only and "text" not in choice.named:
        return media
    named = choice.named.get("text")
    for name in (named,) if named else ("caption", "text"):
        value = sample.meta.get(name)
        if isinstance(value, str) and value.strip() and (named or "text" not in media):
            media["text"] = value.strip()
    return media


def samples(path: str, report: Report, *, ignored: Counter[str]) -> Iterator[Sample]:
    """Yield the samples of a shard; damage is reported, and what stands before it is kept.

    Args:
        path: the tar.
        report: takes a byte offset and a reason.
        ignored: counts, by extension, the members that are no part of a sample.
    """
    current: Sample | None = None
    broken: str | None = None
    with open(path, "rb") as file:
        for member in members(file, report):
            folder, name = os.path.split(member.name)
            stem, _, suffix = name.partition(".")
            key = os.path.join(folder, stem)
            if current is None or current.stem != key:
                if current and current.stem != broken:
                    yield current
                current = Sample(key)
            try:
                if not _add(current, path, file, member, suffix.lower()):
                    ignored["." + suffix.lower()] += 1
            except BadData as error:
                report(member.offset, f"{member.name} {error}; its sample is left out")
                broken = key
    if current and current.stem != broken:
        yield current


def _add(sample: Sample, path: str, file: IO[bytes], member: tarfile.TarInfo, suffix: str) -> bool:
    """Put a member into its sample; False if it has no place there."""
    first, _, _ = suffix.partition(".")
    key = first if first in MEDIA and suffix != first else kind("x." + suffix)
    if suffix == "json":
        sample.meta.update(jsonl.flatten(_parse(_content(file, member))))
    elif suffix == "cls":
        text = _content(file, member).strip()
        sample.meta["cls"] = int(text) if text.removeprefix("-").isdecimal() else text
    elif key is None or key in sample.media:
        return False
    elif key == "text":
        if text := _content(file, member).strip():
            sample.media[key] = text
    else:
        sample.media[key] = span(path, member.name, offset=member.offset_data, size=member.size)
    return True


def _content(file: IO[bytes], member: tarfile.TarInfo) -> str:
    if member.size > _CONTENT_BYTES:
        raise BadData("is over 1 MiB")
    file.seek(member.offset_data)
    try:
        return file.read(member.size).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadData(f"is not UTF-8 at its byte {error.start}") from error


def _parse(content: str) -> dict[str, Any]:
    try:
        value = json.loads(content)
    except ValueError as error:
        raise BadData(f"is not JSON ({error})") from error
    if not isinstance(value, dict):
        raise BadData(f"holds a {type(value).__name__}, not an object")
    return value


def members(file: IO[bytes], report: Report) -> Iterator[tarfile.TarInfo]:
    """Yield the files of a tar from their headers, up to its end or to the first damage."""
    size = os.fstat(file.fileno()).st_size
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            while (member := tar.next()) is not None:
                tar.members.clear()  # type: ignore[attr-defined] # or it keeps every header it has seen
                if member.offset_data + member.size > size:
                    report(member.offset, f"the shard ends inside {member.name}; it has {size} bytes")
                    return
                if member.isreg() and not member.issparse() and not os.path.basename(member.name).startswith("."):
                    yield member
            end = tar.offset
    except (tarfile.TarError, EOFError) as error:
        report(file.tell(), f"not a whole uncompressed tar: {error}")
        return
    file.seek(end)
    mark = file.read(512)
    if not mark:
        report(end, "the shard ends without its end mark: if it was cut here, later samples are lost")
    elif mark.strip(b"\0"):
        report(end, "the header of the next member is damaged; it and all after it are lost")
