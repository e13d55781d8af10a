"""Read one item: hash its content, and decode its media for the encoders.

Worker processes import this module and nothing heavier.
"""

import hashlib
import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quiver.errors import QuiverError
from quiver.media import NoVideo, digest, locate
from quiver.protocols import Reader
from quiver.types import keys_of, source_of

#: End of the quarantine reason of an item that is too large to decode.
TOO_LARGE = "too large for memory"
#: Quarantine reason of an item whose files changed while they were read.
CHANGED = "its files changed while they were read: add it again when they are complete"
_TRIES = 2  # to read files that change meanwhile


@dataclass(frozen=True, slots=True)
class Hashed:
    """The content hash of an item that was read before it is decoded.

    Attributes:
        sha256: the hash.
        stamps: time of change (ns) and size (bytes) of its files before they were read.
    """

    sha256: str
    stamps: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Job:
    """One item to read.

    Attributes:
        id: the item.
        media: its references by name.
        known: the hash of its stored row, or None.
        missing: the slots to decode if the hash is still the known one.
        hashed: its hash if it has been read already, or None.
    """

    id: str
    media: Mapping[str, str]
    known: str | None = None
    missing: tuple[int, ...] = ()
    hashed: Hashed | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of a job: a hash and decoded media by slot, or the reason why there are none.

    Attributes:
        id: the item.
        sha256: hash of its content.
        media: decoded media by slot.
        failed: by slot why its reader could not read a medium, where the item is kept all the same.
        reason: why it is quarantined, or None.
        found: its references by name if the content is of another medium than the file name says.
    """

    id: str
    sha256: str | None = None
    media: Mapping[int, Any] = field(default_factory=dict)
    reason: str | None = None
    found: Mapping[str, str] | None = None
    failed: Mapping[int, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Slot:
    """One medium to decode: the key of an item, and the reader of an encoder for it."""

    key: str
    reader: Reader


def decode(job: Job, slots: Sequence[Slot]) -> Decoded:
    """Hash and decode one item; any error becomes its quarantine reason, so that other items go on."""
    try:
        for _ in range(_TRIES):
            before = stamps(job.media)
            result = _decode(job, slots)
            if before == stamps(job.media):
                return result
        return Decoded(job.id, reason=CHANGED)
    except QuiverError as error:
        return Decoded(job.id, reason=str(error))
    except MemoryError:
        return Decoded(job.id, reason=TOO_LARGE)
    except Exception as error:
        return Decoded(job.id, reason=f"{type(error).__name__}: {error}")


def _decode(job: Job, slots: Sequence[Slot]) -> Decoded:
    sha256 = content_hash(job.media) if job.hashed is None else job.hashed.sha256
    stored = sha256 == job.known
    wanted = job.missing if stored else range(len(slots))
    try:
        return Decoded(job.id, sha256, **_read(job.media, slots, wanted, stored=stored))
    except NoVideo:
        if "audio" in job.media:
            raise
        # A recorder that names its sounds .mp4 is common; only the content tells.
        found = as_audio(job.media)
        return Decoded(job.id, sha256, found=found, **_read(found, slots, wanted, stored=stored))


def as_audio(media: Mapping[str, str]) -> dict[str, str]:
    """Return the references of an item whose video is only a sound."""
    return {("audio" if name == "video" else name): value for name, value in media.items()}


def _read(media: Mapping[str, str], slots: Sequence[Slot], wanted: Iterable[int], *, stored: bool) -> dict[str, Any]:
    """Return ``media`` and ``failed`` by slot.

    Raises:
        QuiverError: a medium cannot be read, and the item is nothing without it.
    """
    held, read = keys_of(media), {}
    errors: dict[int, QuiverError] = {}
    for n in (n for n in wanted if slots[n].key in held):
        try:
            read[n] = slots[n].reader(source_of(media, slots[n].key))
        except NoVideo:
            raise
        except QuiverError as error:
            errors[n] = error
    keys = {n: slots[n].key for n in (*read, *errors)}
    if (worst := unexcused(keys, errors, stored=stored)) is not None:
        raise errors[worst]
    return {"media": read, "failed": {n: str(error) for n, error in errors.items()}}


def unexcused(keys: Mapping[int, str], failed: Collection[int], *, stored: bool) -> int | None:
    """Return the first failed slot for which an item is quarantined, or None if the item is kept without those vectors.

    An encoder that cannot embed a medium which another one embeds is no fault of the item, nor is a text that an
    encoder does not understand beside other media. A file that no encoder can read is one.

    Args:
        keys: the key of each slot that was tried.
        failed: those that failed.
        stored: whether the item is stored with this content.
    """
    good = {key for n, key in keys.items() if n not in failed}
    excused = good | ({"text"} if good or stored else set())
    return next((n for n in failed if keys[n] not in excused), None)


def stamps(media: Mapping[str, str]) -> tuple[tuple[int, int], ...]:
    """Return modification time (ns) and size (bytes) of the files of an item; empty if one cannot be read."""
    try:
        files = [os.stat(locate(reference)[0]) for name, reference in media.items() if name != "text"]
    except OSError:  # the reader reports it, with its name
        return ()
    return tuple((status.st_mtime_ns, status.st_size) for status in files)


def content_hash(media: Mapping[str, str]) -> str:
    """Hash the content of an item: the bytes of its files and its text, as sha256 in hexadecimal."""
    files = digest(reference for name, reference in sorted(media.items()) if name != "text")
    return with_text(files, media.get("text"))


def with_text(files: str, text: str | None) -> str:
    """Return the content hash of an item, given the hash of its files and its text."""
    return files if text is None else hashlib.sha256(f"{files} {text}".encode()).hexdigest()
