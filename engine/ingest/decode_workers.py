"""Decoding in spawned workers, while the main process encodes.

Workers are spawned, never forked (FAISS and Lance do not survive a fork), and import nothing heavy: readers decode
with Pillow, soundfile and PyAV. A worker that dies takes only its own chunk down; that chunk is decoded again item
by item, so that the file that killed it can be named.
"""

import hashlib
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Any

from quiver.errors import QuiverError
from quiver.media import digest
from quiver.protocols import Reader
from quiver.types import keys_of, source_of

#: How much workers stand back on a busy machine, in the steps of nice(2); an idle one does not notice.
_NICENESS = 10


@dataclass(frozen=True, slots=True)
class Job:
    """One item to read.

    Attributes:
        id: the item.
        media: its references by name.
        known: the hash that its stored row has, or None.
        missing: slots still to be decoded where the hash turns out to be the known one.
    """

    id: str
    media: Mapping[str, str]
    known: str | None = None
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """What became of a job: a hash and decoded media by slot, or the reason there are none."""

    id: str
    sha256: str | None = None
    media: Mapping[int, Any] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One thing to decode: the key of an item, and how its encoder wants it."""

    key: str
    reader: Reader


def decode(jobs: Sequence[Job], slots: Sequence[Slot]) -> list[Decoded]:
    """Hash and decode items; one that fails carries its reason and the rest goes on."""
    return [_decode(job, slots) for job in jobs]


def _decode(job: Job, slots: Sequence[Slot]) -> Decoded:
    held = keys_of(job.media)
    try:
        sha256 = content_hash(job.media)
        wanted = job.missing if sha256 == job.known else range(len(slots))
        media = {n: slots[n].reader(source_of(job.media, slots[n].key)) for n in wanted if slots[n].key in held}
    except QuiverError as error:
        return Decoded(job.id, reason=str(error))
    except (OSError, ValueError, MemoryError) as error:
        return Decoded(job.id, reason=f"{type(error).__name__}: {error}")
    return Decoded(job.id, sha256, media)


def content_hash(media: Mapping[str, str]) -> str:
    """Hash what an item is: the bytes of its files and its text, as sha256 in hexadecimal."""
    files = digest(reference for name, reference in sorted(media.items()) if name != "text")
    if "text" not in media:
        return files
    return hashlib.sha256(f"{files} {media['text']}".encode()).hexdigest()


def _serve() -> None:
    """Set a worker up: it lets the model's threads go first, and it ends when the main process is no more.

    Each of a model's threads waits for the slowest, so a decoder that holds one up holds up all.
    """
    if hasattr(os, "nice"):
        os.nice(_NICENESS)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Workers:
    """A pool of spawned decoders that yields chunks in the order they were asked for."""

    def __init__(self, slots: Sequence[Slot], *, count: int) -> None:
        self.slots = tuple(slots)
        self.count = count
        self._pool = self._start()

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def _start(self) -> ProcessPoolExecutor:
        context = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self.count, mp_context=context, initializer=_serve)

    def map(self, chunks: Iterable[Sequence[Job]]) -> Iterator[list[Decoded]]:
        """Decode chunks, a few ahead of the consumer, so that memory stays flat."""
        waiting: deque[tuple[Sequence[Job], Future[list[Decoded]]]] = deque()
        for jobs in chunks:
            waiting.append((jobs, self._submit(jobs)))
            if len(waiting) > self.count + 1:
                yield self._result(*waiting.popleft())
        while waiting:
            yield self._result(*waiting.popleft())

    def _submit(self, jobs: Sequence[Job]) -> Future[list[Decoded]]:
        try:
            return self._pool.submit(decode, jobs, self.slots)
        except BrokenProcessPool:
            self._restart()
            return self._pool.submit(decode, jobs, self.slots)

    def _result(self, jobs: Sequence[Job], future: Future[list[Decoded]]) -> list[Decoded]:
        try:
            return future.result()
        except BrokenProcessPool:
            return [self._alone(job) for job in jobs]

    def _alone(self, job: Job) -> Decoded:
        try:
            return self._submit([job]).result()[0]
        except BrokenProcessPool:
            self._restart()
            return Decoded(job.id, reason="decoding this item killed its worker process")

    def _restart(self) -> None:
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pool = self._start()
