"""Reading one item: the hash of its content, and its media decoded as the encoders want them.

Worker processes import this module and nothing heavier.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from quiver.errors import QuiverError
from quiver.media import digest
from quiver.protocols import Reader
from quiver.types import keys_of, source_of

#: The end of the reason of an item for which there is no memory.
TOO_LARGE = "too large for memory"


@dataclass(frozen=True, slots=True)
class Job:
    """One item to read.

    Attributes:
        id: the item.
        media: its references by name.
        known: the hash of its stored row, or None.
        missing: the slots to decode if the hash is still the known one.
    """

    id: str
    media: Mapping[str, str]
    known: str | None = None
    missing: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Decoded:
    """The result of a job: a hash and decoded media by slot, or the reason why there are none."""

    id: str
    sha256: str | None = None
    media: Mapping[int, Any] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """One thing to decode: the key of an item, and the reader of an encoder for it."""

    key: str
    reader: Reader


def decode(job: Job, slots: Sequence[Slot]) -> Decoded:
    """Hash and decode one item; whatever goes wrong becomes its reason, so that other items go on."""
    held = keys_of(job.media)
    try:
        sha256 = content_hash(job.media)
        wanted = job.missing if sha256 == job.known else range(len(slots))
        media = {n: slots[n].reader(source_of(job.media, slots[n].key)) for n in wanted if slots[n].key in held}
    except QuiverError as error:
        return Decoded(job.id, reason=str(error))
    except MemoryError:
        return Decoded(job.id, reason=TOO_LARGE)
    except Exception as error:
        return Decoded(job.id, reason=f"{type(error).__name__}: {error}")
    return Decoded(job.id, sha256, media)


def content_hash(media: Mapping[str, str]) -> str:
    """Hash the content of an item: the bytes of its files and its text, as sha256 in hexadecimal."""
    files = digest(reference for name, reference in sorted(media.items()) if name != "text")
    if "text" not in media:
        return files
    return hashlib.sha256(f"{files} {media['text']}".encode()).hexdigest()
