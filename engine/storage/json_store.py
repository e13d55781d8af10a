"""Measured figures and learned weights as small JSON files, one dataclass each.

A file is written whole and read strictly, by the types of its dataclass. It carries a checksum of its figures, since a
changed digit is still JSON. A damaged or older file counts as absent, which costs a new measurement and never a wrong
answer; the log says so once. Figures are not worth failing for either: where they cannot be written, the log says it.
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

#: Version of the layout; figures of another one are measured anew.
FORMAT = 1
_LOG = logging.getLogger("quiver")


def write(path: Path, figures: Any) -> None:
    """Write a dataclass as JSON, in place of the file that was there.

    Raises:
        BadSpec, CannotWrite: see ``quiver.files.staged``.
    """
    held = {"format": FORMAT, "sha256": _checksum(figures), "figures": figures}
    write_bytes(path, msgspec.json.format(msgspec.json.encode(held), indent=1) + b"\n")


def read(path: Path, kind: type[T]) -> T | None:
    """Return the dataclass that ``write`` wrote; None where there is no file, or none that can be trusted."""
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
    """Say once that a file is not used."""
    _LOG.warning("%s cannot be used and counts as absent: %s", path, reason)


def keep(path: Path, figures: Any) -> None:
    """Write figures that a search refreshes on its way; where they cannot be written, say so once and go on."""
    try:
        write(path, figures)
    except QuiverError as error:
        _doubt(path, str(error))
