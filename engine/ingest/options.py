"""The options of an add, checked before anything is created or changed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypedDict

from quiver.arguments import check_known
from quiver.engine.core.caption import CAPTION
from quiver.engine.core.metadata import check_names
from quiver.engine.ingest.decode_workers import checked_count, limits_of
from quiver.engine.ingest.replicas import devices_of
from quiver.engine.ingest.worker_process import Limits
from quiver.errors import BadSpec
from quiver.media import check_window
from quiver.wording import option


class AddOptions(TypedDict, total=False):
    """Options of ``Collection.add`` for reading items.

    Attributes:
        workers: number of decoding processes; by default one less than the cores, at most 8. 0 decodes in this process,
            without limits.
        progress: whether to show a progress bar; by default if standard error is a terminal.
        max_seconds: longest time to decode one item (s); a slower one is quarantined. 120 by default.
        max_memory: memory limit for decoding one item, in bytes or as ``8GB``; an item that needs more is quarantined.
            By default 4 GB, or the worker's share of half the machine.
        max_pixels: pixel limit of a decoded picture, for a JPEG after scaling; 268 million by default.
        sync: whether to list stored items whose files are gone from the folders, tables and tars that are added.
        prune: whether to delete those items too.
        expect: number of items to delete, those of emptied folders, tables and tars included; any other number is
            refused.
        id_column: column of ids in a table; by default ``id`` if its values are unique. ``none``
            makes ids from paths.
        path_column: column of file paths in a table, of any medium; by default it is found by its name.
        window: split videos and sounds into windows of so many seconds, which are items of their own: see
            ``quiver.media.split``. They get the metadata columns film, start and end.
        stride: seconds from the start of a window to the next; by default ``window``, so that windows do not overlap.
        tell: the model that writes captions, or whether one does.
        caption_column: the metadata column of captions, ``caption`` by default.
        beams: width of the beam search for captions; 1, greedy decoding, by default.
        devices: devices that embed, each a part of every batch: a list, or names joined by commas.
    """

    workers: int | None
    progress: bool | None
    max_seconds: float | None
    max_memory: int | str | None
    max_pixels: int | None
    sync: bool
    prune: bool
    expect: int | None
    id_column: str | None
    path_column: str | None
    window: float | None
    stride: float | None
    tell: bool | str
    caption_column: str | None
    beams: int | None
    devices: str | Sequence[str] | None


class VectorOptions(TypedDict, total=False):
    """Options of ``Collection.add_vectors`` for reading files.

    Attributes:
        column: the vectors to read from a file with several arrays: name of an array of an npz or of a column of a
            Parquet file; or ``img_emb`` or ``text_emb`` of a folder of clip-retrieval.
        id_column: column of ids in the table; by default ``id`` or ``key`` if its values are unique. ``none`` makes
            ids from file names and row numbers.
        progress: whether to show a progress bar; by default if standard error is a terminal.
    """

    column: str | None
    id_column: str | None
    progress: bool | None


@dataclass(frozen=True, slots=True)
class Tell:
    """How to write captions.

    Attributes:
        spec: spec of the model; None for the one of the collection.
        column: the caption column.
        beams: width of the beam search.
    """

    spec: str | None
    column: str
    beams: int

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> "Tell | None":
        """Check the options of captions; None if no captions are asked for.

        Raises:
            BadSpec: an option is invalid, or given without ``tell``.
        """
        asked = values.get("tell") or False
        if not isinstance(asked, bool | str) or values.get("tell") == "":
            raise BadSpec(f"tell must be True, False or the spec of a model, not {values.get('tell')!r}")
        column, beams = values.get("caption_column"), values.get("beams")
        if not asked:
            if given := [name for name in ("caption_column", "beams") if values.get(name) is not None]:
                raise BadSpec(f"{option(given[0])} needs {option('tell')}: captions are written only if asked for")
            return None
        check_names([column := column or CAPTION])
        return cls(asked if isinstance(asked, str) else None, column, beam_width(1 if beams is None else beams))


def beam_width(beams: object) -> int:
    """Check the width of a beam search.

    Raises:
        BadSpec: it is not a whole number of at least 1.
    """
    if isinstance(beams, bool) or not isinstance(beams, int) or beams < 1:
        raise BadSpec(f"{option('beams')} must be a whole number of at least 1, not {beams!r}")
    return beams


@dataclass(frozen=True, slots=True)
class Options:
    """Checked options.

    Attributes:
        workers: number of decoding processes; 0 decodes in the caller's process.
        progress: whether to show a progress bar; None shows it if standard error is a terminal.
        limits: limits on the decoding of one item.
        sync: whether to look for stored items whose files are gone.
        prune: whether to delete those items.
        expect: number of items to delete, those of emptied sources included; None deletes no items of these.
        columns: ``id_column`` and ``path_column``, as given.
        window: length of a window and stride (s), or None to add videos and sounds whole.
        tell: how to write captions; None writes none.
        devices: devices that embed; empty for those that the encoders choose.
    """

    workers: int
    progress: bool | None
    limits: Limits
    sync: bool = False
    prune: bool = False
    expect: int | None = None
    columns: Mapping[str, str | None] = field(default_factory=dict)
    window: tuple[float, float] | None = None
    tell: Tell | None = None
    devices: tuple[str, ...] = ()

    @classmethod
    def of(cls, given: AddOptions) -> "Options":
        """Check options.

        Raises:
            BadSpec: an option is unknown, or its value is invalid.
        """
        values = known_options(given, AddOptions, "add")
        count = checked_count(values.get("workers"))
        limits = limits_of(
            count,
            seconds=values.get("max_seconds"),
            memory=values.get("max_memory"),
            pixels=values.get("max_pixels"),
        )
        for name in ("sync", "prune"):
            if not isinstance(values.get(name, False), bool):
                raise BadSpec(f"{name} must be True or False, not {values[name]!r}")
        prune = values.get("prune", False)
        columns = {name: _column(values, name) for name in ("id_column", "path_column")}
        sync = values.get("sync", False) or prune
        expect = values.get("expect")
        if expect is not None and (not prune or isinstance(expect, bool) or not isinstance(expect, int) or expect < 0):
            raise BadSpec(f"{option('expect')} is the number of items that {option('prune', True)} deletes")
        window = values.get("window"), values.get("stride")
        spans = None if window == (None, None) else check_window(*window)
        told, show = Tell.of(values), values.get("progress")
        devices = values.get("devices")
        placed = () if devices is None else devices_of(devices)
        more: dict[str, Any] = {"columns": columns, "window": spans, "tell": told, "devices": placed}
        return cls(count, show, limits, sync=sync, prune=prune, expect=expect, **more)


def known_options(given: Any, kind: type, what: str) -> dict[str, Any]:
    """Return options as a plain dict.

    Args:
        given: the options.
        kind: the TypedDict of all options.
        what: name of the method.

    Raises:
        BadSpec: an option is unknown, or a column name is not a string.
    """
    check_known(what, given, kind.__annotations__)
    values = dict(given)
    for name in ("column", "id_column", "path_column", "caption_column"):
        _column(values, name)
    return values


def _column(values: Mapping[str, Any], name: str) -> str | None:
    value = values.get(name)
    if value is not None and (not isinstance(value, str) or not value):
        raise BadSpec(f"{name} must be the name of a column, not {value!r}")
    return value
