"""Captions in a collection: the columns that hold them, and the provenance of each caption.

A caption column (``caption``) is an ordinary metadata column that full-text search reads. Beside it stands a column of
provenance (``caption_by``), marked in its field metadata and never searched: the model, its revision, and hashes of the
described content and of the caption. So it can be told, for each item and without looking elsewhere, whether a caption
is still right, and whether a user has written or changed it.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum

import pyarrow as pa

from quiver.engine.core.metadata import names_of
from quiver.errors import BadSpec
from quiver.wording import option

#: The default caption column.
CAPTION = "caption"
#: End of the name of a provenance column.
_BY = "_by"
#: Mark of a provenance column in its field metadata; the value is the name of its caption column.
_MARK = b"quiver:captions"
#: Characters of a hash or revision in a provenance.
_SHORT = 8


class State(Enum):
    """What a caption of an item is to a model that could write it."""

    MISSING = "missing, of former content, or by another model"
    CURRENT = "current"
    OWN = "written by the user"


@dataclass(frozen=True, slots=True)
class Provenance:
    """Who wrote a caption, and of what.

    Attributes:
        model: name and revision of the model, and its settings, such as ``blip@1a2b3c4d beams=4``.
        content: start of the content hash of the item; ``-`` for an item without one.
        text: start of the hash of the caption.
    """

    model: str
    content: str
    text: str

    @classmethod
    def of(cls, model: str, sha256: str | None, text: str | None) -> "Provenance":
        """Describe a caption of some content; None for the text if the model said nothing."""
        return cls(model, sha256[:_SHORT] if sha256 else "-", _digest(text))

    @classmethod
    def read(cls, written: str | None) -> "Provenance | None":
        """Read what ``str`` wrote; None for anything else."""
        parts = (written or "").rsplit(" ", 4)
        if len(parts) != 5 or parts[1] != "of" or parts[3] != "text":
            return None
        return cls(parts[0], parts[2], parts[4])

    def __str__(self) -> str:
        return f"{self.model} of {self.content} text {self.text}"


def model_of(name: str, revision: str, beams: int) -> str:
    """Describe a model for a provenance.

    >>> model_of("blip", "1a2b3c4d5e6f", 4)
    'blip@1a2b3c4d beams=4'
    """
    return f"{' '.join(name.split())}@{revision[:_SHORT]}" + (f" beams={beams}" if beams > 1 else "")


def state(caption: str | None, by: str | None, sha256: str | None, model: str) -> State:
    """Compare a stored caption with the one that a model would write.

    A caption without provenance, or changed or cleared since the model wrote it, is the user's own.

    Args:
        caption: the stored caption, or None.
        by: its stored provenance, or None.
        sha256: content hash of the item, or None.
        model: result of ``model_of``.
    """
    if by is None:
        return State.MISSING if caption is None else State.OWN
    held = Provenance.read(by)
    if held is None or held.text != _digest(caption):
        return State.OWN
    return State.CURRENT if held == Provenance.of(model, sha256, caption) else State.MISSING


def is_told(caption: str | None, by: str | None) -> bool:
    """Whether a model wrote a stored caption, and nobody changed it since."""
    held = Provenance.read(by)
    return held is not None and held.text == _digest(caption)


def fields(column: str) -> list[pa.Field]:
    """Return the fields of a caption column and its provenance column."""
    return [pa.field(column, pa.string()), pa.field(column + _BY, pa.string(), metadata={_MARK: column.encode()})]


def columns_of(schema: pa.Schema) -> dict[str, str]:
    """Return the provenance columns of a collection by their caption columns."""
    marked = ((field.metadata or {}).get(_MARK) for field in schema)
    found = {mark.decode(): field.name for field, mark in zip(schema, marked, strict=True) if mark is not None}
    return {column: by for column, by in found.items() if column in schema.names}


def check_column(column: str, schema: pa.Schema) -> None:
    """See that a caption column is new, or one that a model writes.

    Args:
        column: its name.
        schema: of a collection, or of the metadata of a source.

    Raises:
        BadSpec: it holds other metadata.
    """
    for name in (column, column + _BY):
        if name in schema.names and columns_of(schema).get(column) != column + _BY:
            raise BadSpec(
                f"the metadata column {name!r} is your own, and captions never replace it: name another one by"
                f" {option('caption_column', column + '2')}"
            )


def searched(schema: pa.Schema) -> list[str]:
    """Return the metadata columns that full-text search may read: all but provenance columns."""
    silent = set(columns_of(schema).values())
    return [name for name in names_of(schema) if name not in silent]


def _digest(text: str | None) -> str:
    return hashlib.sha256((text or "").encode()).hexdigest()[:_SHORT]
