"""Decode items in order; windows of one film that follow each other are hashed and decoded in one pass over the film.

Worker processes import this module and nothing heavier.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby, repeat
from typing import Any, NamedTuple

from quiver.engine.ingest.decode import CHANGED, Decoded, Job, Slot, decode, stamps, with_text
from quiver.errors import QuiverError
from quiver.media import NoVideo, digests, read_windows, times
from quiver.media.windows import Span, attempt
from quiver.types import keys_of


class _Film(NamedTuple):
    """The file of a window: its name of MEDIA, its reference, and the text that all its windows have."""

    name: str
    reference: str
    text: str | None


def decode_all(jobs: Sequence[Job], slots: Sequence[Slot]) -> Iterator[Decoded]:
    """Hash and decode items, and yield each as soon as it is done; any error becomes its quarantine reason."""
    for film, group in groupby(jobs, key=_film_of):
        if film is None:
            yield from (decode(job, slots) for job in group)
        else:
            yield from (each for run in _ascending(group) for each in _windows(film, run, slots))


def _film_of(job: Job) -> _Film | None:
    """Return the film of a window; None for an item that is no window of one file."""
    files = [(name, reference) for name, reference in job.media.items() if name != "text"]
    if len(files) != 1 or files[0][0] not in ("audio", "video"):
        return None
    whole, _, stop = times(files[0][1])
    return None if stop is None else _Film(files[0][0], whole, job.media.get("text"))


def _span(film: _Film, job: Job) -> Span:
    _, start, stop = times(job.media[film.name])
    return start, start if stop is None else stop


def _ascending(jobs: Iterable[Job]) -> Iterator[list[Job]]:
    """Cut jobs into runs whose windows have ascending starts."""
    run: list[Job] = []
    latest = 0.0
    for job in jobs:
        start = next(times(each)[1] for name, each in job.media.items() if name != "text")
        if run and start < latest:
            yield run
            run = []
        run.append(job)
        latest = start
    yield run


def _windows(film: _Film, jobs: Sequence[Job], slots: Sequence[Slot]) -> Iterator[Decoded]:
    before = stamps(jobs[0].media)
    try:
        hashes = _hashes(film, jobs, before)
    except QuiverError as error:
        yield from (Decoded(job.id, reason=str(error)) for job in jobs)
        return
    held = keys_of(jobs[0].media)
    every = tuple(n for n, slot in enumerate(slots) if slot.key in held)
    wanted = [
        tuple(n for n in job.missing if n in every) if sha256 == job.known else every
        for job, sha256 in zip(jobs, hashes, strict=True)
    ]
    asking = [[job for job, own in zip(jobs, wanted, strict=True) if n in own] for n in range(len(slots))]
    streams = [_stream(film, slot, own) for slot, own in zip(slots, asking, strict=True)]
    for job, sha256, own in zip(jobs, hashes, wanted, strict=True):
        media = {n: next(streams[n]) for n in own}
        fault = next((value for value in media.values() if isinstance(value, Exception)), None)
        if sha256 is None or before != stamps(job.media):
            yield Decoded(job.id, reason=CHANGED)
        elif isinstance(fault, NoVideo) or not isinstance(fault, QuiverError | None):
            yield decode(job, slots)  # by itself: it has no video, or a reader failed that reads other windows
        elif fault is not None:
            yield Decoded(job.id, reason=str(fault))
        else:
            yield Decoded(job.id, sha256, media)


def _hashes(film: _Film, jobs: Sequence[Job], now: tuple[tuple[int, int], ...]) -> list[str | None]:
    """Return the content hash of each window; None if its film has changed since its hash was taken."""
    known = [job.hashed.sha256 if job.hashed is not None and job.hashed.stamps == now else None for job in jobs]
    missing = [job for job in jobs if job.hashed is None]
    made = iter(digests(film.reference, [_span(film, job) for job in missing]) if missing else ())
    return [
        with_text(next(made), film.text) if job.hashed is None else sha256
        for job, sha256 in zip(jobs, known, strict=True)
    ]


def _stream(film: _Film, slot: Slot, jobs: Sequence[Job]) -> Iterator[Any]:
    """Yield for each window what the reader of a slot returns, or its error."""
    done = 0
    try:
        for value in _values(film, slot, jobs):
            done += 1
            yield value
    except Exception as error:  # of a reader of a third party
        yield from repeat(error, len(jobs) - done)
    yield from repeat(LookupError("the reader yields too few windows"))


def _values(film: _Film, slot: Slot, jobs: Sequence[Job]) -> Iterator[Any]:
    if slot.key == film.name:
        return read_windows(slot.reader, film.reference, [_span(film, job) for job in jobs])
    return repeat(attempt(slot.reader, film.text or ""), len(jobs))
