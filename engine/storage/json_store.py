"""Measured figures and learned weights as small JSON files, one dataclass each.

A file is written atomically and read strictly, by the types of its dataclass. It has a checksum of its figures, since a
changed digit is still JSON. A damaged or older file counts as absent, which costs a new measurement and never a wrong
answer; a log message says so once. A failed write is logged and raises no error.
"""

import hashlib
import logging
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from quiver.errors import QuiverError
from quiver.files import write_bytes

T = TypeVar("T")

#: Version of the layout; figures of another version are measured again.
FORMAT = 1
_LOG = logging.getLogger("quiver")


def write(path: Path, figures: Any) -> None:
    """Write a dataclass as JSON, replacing the earlier file.

    Raises:
        BadSpec, CannotWrite: see ``quiver.files.staged``.
    """
    held = {"format": FORMAT, "sha256": _checksum(figures), "figures": figures}
    write_bytes(path, msgspec.json.format(msgspec.json.encode(held), indent=1) + b"\n")


def read(path: Path, kind: type[T]) -> T | None:
    """Return the dataclass written by ``write``; None if there is no file, or if it is damaged."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        return _doubt(path, error.strerror or type(error).__name__)
    try:
        held = msgspec.json.decode(data, type=_Envelope)
        if held.format != FORMAT:
            return _doubt(path, f"it has format {held.format}, this Quiver reads {FORMAT}")
        figures = msgspec.json.decode(held.figures, type=kind)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        return _doubt(path, str(error))
    return figures if _checksum(figures) == held.sha256 else _doubt(path, "its checksum does not match")


class _Envelope(msgspec.Struct):
    format: int
    sha256: str
    figures: msgspec.Raw


def _checksum(figures: Any) -> str:
    return hashlib.sha256(msgspec.json.encode(figures)).hexdigest()


@cache
def _doubt(path: Path, reason: str) -> None:
    """Log once that a file is not used."""
    _LOG.warning("%s cannot be used and counts as absent: %s", path, reason)


def keep(path: Path, figures: Any) -> None:
    """Write figures updated during a search; a failed write is logged once and raises no error."""
    try:
        write(path, figures)
    except QuiverError as error:
        _doubt(path, str(error))
