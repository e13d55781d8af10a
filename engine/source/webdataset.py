"""WebDataset shards: uncompressed tars in which members of one stem, side by side, are one sample (see ``tar``).

``.txt`` becomes the text, the fields of ``.json`` and the integer of ``.cls`` become metadata, and a field caption or
text stands in for a missing ``.txt``. A sample's id is that of its shard, a slash and its stem.
Format: https://github.com/webdataset/webdataset (README).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from quiver.engine.source import column, jsonl
from quiver.engine.source.record import FileSource, Gate, LeftOut, Problem, Tally, assemble
from quiver.engine.source.role import Choice
from quiver.engine.source.roots import Roots
from quiver.engine.source.tar import Report, Sample, repeated, samples
from quiver.errors import BadData, NothingThere
from quiver.types import MEDIA

if TYPE_CHECKING:
    import pyarrow as pa

_CHUNK = 4096  # samples per batch


@dataclass(frozen=True, slots=True)
class Shard:
    """A tar.

    Attributes:
        path: path of the tar.
        prefix: prefix of the ids of its samples.
        split: stems whose members are not adjacent, see ``tar.samples``.
    """

    path: str
    prefix: str
    split: frozenset[str] = frozenset()

    @classmethod
    def named(cls, path: str, roots: Roots) -> "Shard":
        """Return a tar with its prefix in the roots of a collection."""
        bare = cls(path, "")
        return cls(path, roots.name(path, "tar", sample=bare.sample).rstrip("/"))

    def sample(self) -> Iterator[tuple[str, dict[str, str]]]:
        """Yield stems and media, lazily."""
        for sample in samples(self.path, lambda *_: None, split=repeated(self.path)):
            yield sample.stem, sample.media


@dataclass(frozen=True, slots=True)
class Shards(FileSource):
    """Tars of samples.

    Attributes:
        shards: the tars in order.
        choice: the user's options.
        fields: the fields of the samples and their types.
        schema: the metadata columns.
        total: number of samples.
        notes: notes for the user.
        unused: members that belong to no sample.
    """

    shards: tuple[Shard, ...]
    choice: Choice
    fields: "pa.Schema"
    schema: "pa.Schema"
    total: int | None
    notes: tuple[str, ...]
    unused: tuple[LeftOut, ...]

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Members that belong to no sample, and repeated samples."""
        return (*self.unused, *self._twice.left_out())

    def _records(self, size: int) -> Iterator["pa.RecordBatch"]:
        gate = Gate(self._problems, self._twice)
        for shard in self.shards:

            def report(offset: int, reason: str, shard: Shard = shard) -> None:
                self._problems.append(Problem(shard.prefix, shard.path, f"{shard.path}, byte {offset}: {reason}"))

            for chunk in _chunks(samples(shard.path, report, split=shard.split)):
                if kept := [sample for sample in chunk if self._is_whole(sample, shard)]:
                    yield gate.admit(self._batch(kept, shard), uri=shard.path)

    def _is_whole(self, sample: Sample, shard: Shard) -> bool:
        media = _media(sample, self.choice)
        name = f"{shard.prefix}/{sample.stem}"
        if not media:
            self._problems.append(Problem(name, shard.path, "the sample has no media"))
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
        BadData: no shard has a sample, or ``id_column`` is not a field.
    """
    import pyarrow as pa

    kinds = column.Inference()
    tally = Tally()
    faults: list[str] = []
    total = 0
    shards = [replace(shard, split=repeated(shard.path)) for shard in shards]
    for shard in shards:
        report = _collector(shard, faults)
        for chunk in _chunks(samples(shard.path, report, tally=tally, split=shard.split)):
            total += len(chunk)
            jsonl.observe(kinds, [sample.meta for sample in chunk])
    if not total:
        raise BadData(faults[0]) if faults else NothingThere(f"{shards[0].path} contains no samples")
    fields = kinds.schema()
    for name in (choice.id_column, choice.named.get("text")):
        if name and name != "none":
            column.known(name, fields.names, path=shards[0].path)
    names = column.rename(fields.names, choice.stored)
    schema = pa.schema([f.with_name(names[f.name]) for f in fields])
    return Shards(tuple(shards), choice, fields, schema, total, column.renaming_notes(names), tally.left_out())


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
    """Return the wanted media of a sample; its text comes from a field if the user names one or it has no text file."""
    media = {key: value for key, value in sample.media.items() if not choice.only or key in choice.only}
    if choice.only and "text" not in choice.only and "text" not in choice.named:
        return media
    named = choice.named.get("text")
    for name in (named,) if named else ("caption", "text"):
        value = sample.meta.get(name)
        if isinstance(value, str) and value.strip() and (named or "text" not in media):
            media["text"] = value.strip()
    return media
